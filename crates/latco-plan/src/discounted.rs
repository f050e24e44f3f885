use std::ops::Range;

use burn::tensor::{
    Tensor,
    activation::{sigmoid, softplus},
};
use latco_kernels::join;

use crate::{
    Belief, DiagonalGaussian, Differentiable, LatentModel, Linearisation, Objective,
    RewardLinearisation, Rewards, base::Base, linearisation::gradients_of,
};

/// A model of episodes that may end: rewards count as far as the episode is likely to get there,
///
/// ```text
/// Σ_t w_t r(z_t),    w_0 = 1,    w_{t+1} = w_t γ(z_t)
/// ```
///
/// with the probability `γ(z)` that an episode goes on after `z` (Hafner et al., "Mastering Atari with
/// Discrete World Models", arXiv 2010.02193). The weight is one more component of the latent,
/// `[z, w]`, so that every planner takes it into account. Plans that may leave the dynamics choose it as they
/// choose z: of a weight outside `[0, 1]`, which is none, the nearest one in there counts.
pub struct Discounted<'a> {
    model: Base<'a>,
    continuation: Continuation<'a>,
}

/// The probabilities `γ(z)` `[rows]` that an episode goes on after latents `[rows, latent]`.
pub type Continuation<'a> = Box<dyn Fn(Tensor<2>) -> Tensor<1> + Sync + 'a>;

/// The least weight that still has a logarithm.
const LEAST_WEIGHT: f64 = 1e-30;

impl<'a> Discounted<'a> {
    /// `model` with the probabilities that its episodes go on.
    pub fn new(model: &'a dyn LatentModel, continuation: Continuation<'a>) -> Self {
        Self {
            model: Base::Borrowed(model),
            continuation,
        }
    }

    /// The belief `[z, 1]` of an episode that is on.
    pub fn belief(&self, belief: &Belief) -> Belief {
        let rows = belief.mean().dims()[0];
        let device = belief.device();
        let mean = join(vec![belief.mean(), Tensor::ones([rows, 1], &device)], 1);
        let std = join(vec![belief.std(), Tensor::zeros([rows, 1], &device)], 1);
        Belief::new(DiagonalGaussian::new(mean, std))
    }

    /// `z` `[rows, latent]` and `w` `[rows, 1]` of `latents` `[rows, latent + 1]`.
    fn parts(&self, latents: Tensor<2>) -> (Tensor<2>, Tensor<2>) {
        let size = self.model.latent_size();
        let weights = latents.clone().narrow(1, size, 1);
        (latents.narrow(1, 0, size), weights)
    }

    /// The weights `[rows, 1]` as they count.
    fn counted(weights: Tensor<2>) -> Tensor<2> {
        weights.clamp(0.0, 1.0)
    }

    fn next_weights(&self, latents: Tensor<2>, weights: Tensor<2>) -> Tensor<2> {
        weights * (self.continuation)(latents).unsqueeze_dim::<2>(1)
    }
}

impl LatentModel for Discounted<'_> {
    fn latent_size(&self) -> usize {
        self.model.latent_size() + 1
    }

    fn action_size(&self) -> usize {
        self.model.action_size()
    }

    fn transition(&self, latents: Tensor<2>, actions: Tensor<2>) -> DiagonalGaussian {
        let (latents, weights) = self.parts(latents);
        let next = self.model.transition(latents.clone(), actions);
        let weights = self.next_weights(latents, weights);
        let certain = weights.zeros_like();
        DiagonalGaussian::new(
            join(vec![next.mean, weights], 1),
            join(vec![next.std, certain], 1),
        )
    }

    fn transition_mean(&self, latents: Tensor<2>, actions: Tensor<2>) -> Tensor<2> {
        let (latents, weights) = self.parts(latents);
        let mean = self.model.transition_mean(latents.clone(), actions);
        join(vec![mean, self.next_weights(latents, weights)], 1)
    }

    fn reward(&self, latents: Tensor<2>) -> Tensor<1> {
        let (latents, weights) = self.parts(latents);
        self.model.reward(latents) * Self::counted(weights).squeeze_dim::<1>(1)
    }

    /// With 0 in it, since nothing is paid after the end.
    fn reward_range(&self) -> Option<[f64; 2]> {
        let [least, most] = self.model.reward_range()?;
        Some([least.min(0.0), most.max(0.0)])
    }

    /// `log w + log r` where the least reward is 0; else of the weighted reward itself.
    fn log_reward(&self, latents: Tensor<2>) -> Tensor<1> {
        if let Some([0.0, _]) = self.model.reward_range() {
            let (latents, weights) = self.parts(latents);
            let weights = Self::counted(weights).squeeze_dim::<1>(1);
            let weights = weights.clamp_min(LEAST_WEIGHT);
            return self.model.log_reward(latents) + weights.log();
        }
        let reward = self.reward(latents);
        match self.reward_range() {
            Some([least, most]) => ((reward - least) / (most - least))
                .clamp_min(LEAST_WEIGHT)
                .log(),
            None => softplus(reward.neg(), 1.0).square() * -0.5,
        }
    }

    fn action_noise(&self) -> f64 {
        self.model.action_noise()
    }

    fn uncertainty(&self, latents: Tensor<2>, actions: Tensor<2>) -> Option<Tensor<1>> {
        self.model.uncertainty(self.parts(latents).0, actions)
    }

    fn as_differentiable(&self) -> Option<&dyn Differentiable> {
        self.model.as_differentiable().map(|_| self as _)
    }
}

/// By the chain rule from the derivatives of the model within.
impl Differentiable for Discounted<'_> {
    fn linearise(&self, latents: Tensor<2>, actions: Tensor<2>) -> Box<dyn Linearisation + '_> {
        let (latents, weights) = self.parts(latents);
        let of_model = self.model.linearise(latents.clone(), actions);
        Box::new(self.with_weights(of_model, latents, weights))
    }

    fn linearise_moments(
        &self,
        latents: Tensor<2>,
        actions: Tensor<2>,
    ) -> Box<dyn Linearisation + '_> {
        let (latents, weights) = self.parts(latents);
        let of_model = self.model.linearise_moments(latents.clone(), actions);
        Box::new(self.with_weights(of_model, latents, weights))
    }

    /// `∂(w r) = [w ∂r, r]`, `∂ softplus(−w r) = −σ(−w r) ∂(w r)`, and `∂(log w + log r) = [∂ log r, 1/w]`, the
    /// derivatives by w where it is within `[0, 1]`.
    fn linearise_reward(&self, latents: Tensor<2>, objective: Objective) -> RewardLinearisation {
        let least_is_zero = matches!(self.model.reward_range(), Some([0.0, _]));
        if objective == Objective::LogReward && !least_is_zero {
            return RewardLinearisation::by_autodiff(self, latents, objective);
        }
        let (latents, chosen) = self.parts(latents);
        let weights = Self::counted(chosen.clone());
        let moves = weights.clone().equal(chosen).float();
        let of_model = match objective {
            Objective::LogReward => Objective::LogReward,
            Objective::Reward | Objective::Residuals => Objective::Reward,
        };
        let RewardLinearisation { rewards, jacobian } =
            self.model.linearise_reward(latents, of_model);
        let reward = rewards.expected.unsqueeze_dim::<2>(1);
        let weighted = reward.clone() * weights.clone();
        let jacobian = match objective {
            Objective::LogReward => {
                let has_log = weights.clone().greater_equal_elem(LEAST_WEIGHT).float();
                let by_weight = moves * has_log / weights.clamp_min(LEAST_WEIGHT);
                join(vec![jacobian, by_weight.unsqueeze_dim(2)], 2)
            }
            Objective::Reward | Objective::Residuals => {
                let by_weight = (moves * reward).unsqueeze_dim(2);
                join(vec![jacobian * weights.unsqueeze_dim(2), by_weight], 2)
            }
        };
        let jacobian = match objective {
            Objective::Residuals => {
                jacobian * sigmoid(weighted.clone().neg()).neg().unsqueeze_dim(2)
            }
            Objective::Reward | Objective::LogReward => jacobian,
        };
        let rewards = Rewards {
            residuals: softplus(weighted.clone().neg(), 1.0),
            expected: weighted.squeeze_dim(1),
        };
        RewardLinearisation { rewards, jacobian }
    }

    fn prepared(&self) -> Option<Box<dyn LatentModel + '_>> {
        let prepared = self.model.as_differentiable()?.prepared()?;
        Some(Box::new(Discounted {
            model: Base::Owned(prepared),
            continuation: Box::new(|latents| (self.continuation)(latents)),
        }))
    }
}

impl Discounted<'_> {
    /// The derivative with the weight's at `latents` `[points, latent]` and `weights` `[points, 1]`.
    fn with_weights<'s>(
        &'s self,
        model: Box<dyn Linearisation + 's>,
        latents: Tensor<2>,
        weights: Tensor<2>,
    ) -> DiscountedLinearisation<'s> {
        let inputs = latents.clone().autodiff().require_grad();
        let goes_on = (self.continuation)(inputs.clone());
        let (slope, _) = gradients_of(goes_on.clone().sum(), &inputs, &inputs);
        DiscountedLinearisation {
            model,
            latent: latents.dims()[1],
            weights: weights.unsqueeze_dim(2),
            goes_on: goes_on.without_autodiff().reshape([-1, 1, 1]),
            slope: slope.unsqueeze_dim(1),
        }
    }
}

/// Of `[μ, w γ]`, or `[μ, w γ, σ, 0]` where the model's outputs are `[μ, σ]`.
struct DiscountedLinearisation<'a> {
    model: Box<dyn Linearisation + 'a>,
    latent: usize,
    /// w, `[points, 1, 1]`.
    weights: Tensor<3>,
    /// γ, `[points, 1, 1]`.
    goes_on: Tensor<3>,
    /// `∂γ/∂z`, `[points, 1, latent]`.
    slope: Tensor<3>,
}

impl DiscountedLinearisation<'_> {
    /// Puts the weight beside the mean, and a certain weight's deviation beside the deviations.
    fn joined(&self, outputs: Tensor<3>, weights: Tensor<3>) -> Tensor<3> {
        let deviations = outputs.dims()[2] - self.latent;
        let mean = outputs.clone().narrow(2, 0, self.latent);
        if deviations == 0 {
            return join(vec![mean, weights], 2);
        }
        let std = outputs.narrow(2, self.latent, deviations);
        let certain = weights.zeros_like();
        join(vec![mean, weights, std, certain], 2)
    }

    /// The parts of [`joined`](Self::joined) that a derivative passes through.
    fn split(&self, joined: Tensor<3>) -> (Tensor<3>, Tensor<3>) {
        let part = |start, size| joined.clone().narrow(2, start, size);
        let latent = self.latent;
        let outputs = match joined.dims()[2] > latent + 1 {
            true => join(vec![part(0, latent), part(latent + 1, latent)], 2),
            false => part(0, latent),
        };
        (outputs, part(latent, 1))
    }
}

impl Linearisation for DiscountedLinearisation<'_> {
    fn value(&self) -> Tensor<2> {
        let outputs = self.model.value().unsqueeze_dim(1);
        let weights = self.weights.clone() * self.goes_on.clone();
        self.joined(outputs, weights).squeeze_dim(1)
    }

    fn pullback(&self, points: Range<usize>, cotangents: Tensor<3>) -> (Tensor<3>, Tensor<3>) {
        let at = |values: &Tensor<3>| values.clone().narrow(0, points.start, points.len());
        let (outputs, of_weight) = self.split(cotangents);
        let (latents, actions) = self.model.pullback(points.clone(), outputs);
        let latents = latents + of_weight.clone() * at(&self.weights) * at(&self.slope);
        let weights = of_weight * at(&self.goes_on);
        (join(vec![latents, weights], 2), actions)
    }

    fn pushforward(
        &self,
        points: Range<usize>,
        latents: Tensor<3>,
        actions: Tensor<3>,
    ) -> Tensor<3> {
        let at = |values: &Tensor<3>| values.clone().narrow(0, points.start, points.len());
        let weights = latents.clone().narrow(2, self.latent, 1);
        let latents = latents.narrow(2, 0, self.latent);
        let by_latent = (latents.clone() * at(&self.slope)).sum_dim(2) * at(&self.weights);
        let weights = weights * at(&self.goes_on) + by_latent;
        let outputs = self.model.pushforward(points, latents, actions);
        self.joined(outputs, weights)
    }
}

#[cfg(test)]
mod tests {
    use burn::tensor::Device;

    use super::*;
    use crate::{AutodiffLinearisation, catalogue::planner};

    /// A walk on a line that pays a little everywhere and more at 1, with an abyss beyond −½.
    struct Ledge;

    impl LatentModel for Ledge {
        fn latent_size(&self) -> usize {
            1
        }

        fn action_size(&self) -> usize {
            1
        }

        fn transition(&self, latents: Tensor<2>, actions: Tensor<2>) -> DiagonalGaussian {
            let mean = latents + actions * 0.2;
            let std = mean.full_like(1e-3);
            DiagonalGaussian::new(mean, std)
        }

        /// Twice as much at −1 as at 1.
        fn reward(&self, latents: Tensor<2>) -> Tensor<1> {
            let at = |place: f64| ((latents.clone() - place) * 3.0).square().neg().exp();
            (at(1.0) + at(-1.0) * 2.0).squeeze_dim(1)
        }
    }

    fn going_on(latents: Tensor<2>) -> Tensor<1> {
        burn::tensor::activation::sigmoid((latents + 0.5) * 30.0).squeeze_dim(1)
    }

    #[test]
    fn rewards_behind_the_end_do_not_count() {
        let model = Discounted::new(&Ledge, Box::new(going_on));
        let device = Device::default();
        let belief = model.belief(&Belief::certain(Tensor::zeros([1], &device)));
        let actions = Tensor::full([1, 8, 1], -1.0, &device);
        let rollout = crate::roll_out(&model, belief.mean(), actions.clone());
        let discounted = rollout
            .latents
            .clone()
            .narrow(2, 1, 1)
            .sum()
            .into_scalar::<f32>();
        // Weights of the steps to −0.2, −0.4, …: 1, 1, σ(3), σ(3) σ(−3), ….
        assert!((2.99..3.01).contains(&discounted), "{discounted}");
        let paid = model
            .reward(rollout.latents.squeeze_dim(0))
            .sum()
            .into_scalar::<f32>();
        let undiscounted = crate::roll_out(&Ledge, Tensor::zeros([1, 1], &device), actions);
        let promised = Ledge.reward(undiscounted.latents.squeeze_dim(0)).sum();
        assert!(paid < 0.3 * promised.into_scalar::<f32>());
    }

    /// However a relaxed plan chooses its weights, no more is promised than the model pays, and nothing less
    /// than nothing.
    #[test]
    fn weights_that_are_none_count_as_the_nearest_one() {
        let model = Discounted::new(
            &Plane,
            Box::new(|latents| latents.ones_like().mean_dim(1).squeeze_dim(1)),
        );
        let at = |weight: f32| Tensor::<2>::from_floats([[0.3, -0.1, weight]], &Device::default());
        let rewards = |weight| model.reward(at(weight)).into_scalar::<f32>();
        let logs = |weight| model.log_reward(at(weight)).into_scalar::<f32>();
        assert_eq!([rewards(1.5), rewards(-0.5)], [rewards(1.0), 0.0]);
        assert_eq!(logs(1.5), logs(1.0));
        assert!(logs(1.5) <= 0.0 && logs(-0.5) < -50.0);
        for objective in [
            Objective::Reward,
            Objective::LogReward,
            Objective::Residuals,
        ] {
            for weight in [-0.5, 0.4, 1.0, 1.5] {
                let found = model.linearise_reward(at(weight), objective);
                let expected = RewardLinearisation::by_autodiff(&model, at(weight), objective);
                let what = format!("{objective:?} at {weight}");
                assert_near(&what, found.jacobian.clone(), expected.jacobian);
                let slope = found
                    .jacobian
                    .slice([0..1, 0..1, 2..3])
                    .into_scalar::<f32>();
                assert_eq!(slope != 0.0, (0.0..=1.0).contains(&weight), "{what}");
            }
        }
    }

    #[test]
    fn every_kind_of_planner_avoids_the_end() {
        let device = Device::default();
        let start = Belief::certain(Tensor::zeros([1], &device));
        let model = Discounted::new(&Ledge, Box::new(going_on));
        for name in ["latco", "latco-first-order", "icem", "ilqr"] {
            let planner = planner(name, Some(12)).unwrap();
            let last = |model: &dyn LatentModel, belief: &Belief| {
                let plan = planner.plan(model, belief).unwrap();
                plan.rollout_latents
                    .narrow(0, 11, 1)
                    .narrow(1, 0, 1)
                    .into_scalar::<f32>()
            };
            assert!(last(&Ledge, &start) < -0.5, "{name} without an end");
            assert!(last(&model, &model.belief(&start)) > 0.5, "{name}");
        }
    }

    /// A model whose latents have two components, with the closed forms of autodiff.
    struct Plane;

    impl LatentModel for Plane {
        fn latent_size(&self) -> usize {
            2
        }

        fn action_size(&self) -> usize {
            1
        }

        fn transition(&self, latents: Tensor<2>, actions: Tensor<2>) -> DiagonalGaussian {
            let mean = (latents.clone() + actions * 0.4).tanh();
            DiagonalGaussian::new(mean, latents.sin().square() + 0.1)
        }

        fn reward(&self, latents: Tensor<2>) -> Tensor<1> {
            sigmoid(latents.sum_dim(1)).squeeze_dim(1)
        }

        fn reward_range(&self) -> Option<[f64; 2]> {
            Some([0.0, 1.0])
        }

        fn as_differentiable(&self) -> Option<&dyn Differentiable> {
            Some(self)
        }
    }

    impl Differentiable for Plane {
        fn linearise(&self, latents: Tensor<2>, actions: Tensor<2>) -> Box<dyn Linearisation + '_> {
            Box::new(AutodiffLinearisation::new(self, latents, actions))
        }

        fn linearise_moments(
            &self,
            latents: Tensor<2>,
            actions: Tensor<2>,
        ) -> Box<dyn Linearisation + '_> {
            Box::new(AutodiffLinearisation::of_moments(self, latents, actions))
        }

        fn linearise_reward(
            &self,
            latents: Tensor<2>,
            objective: Objective,
        ) -> RewardLinearisation {
            RewardLinearisation::by_autodiff(self, latents, objective)
        }
    }

    fn assert_near<const D: usize>(what: &str, found: Tensor<D>, expected: Tensor<D>) {
        assert_eq!(found.dims(), expected.dims(), "{what}");
        let values = |tensor: Tensor<D>| tensor.to_data_as::<f32>().iter().collect::<Vec<_>>();
        for (found, expected) in values(found).into_iter().zip(values(expected)) {
            let near = f32::abs(found - expected) <= 1e-5 * f32::abs(expected).max(1.0);
            assert!(near, "{what}: {found}, {expected} expected");
        }
    }

    #[test]
    fn the_chain_rule_gives_the_derivatives_of_autodiff() {
        let device = Device::default();
        let going_on = |latents: Tensor<2>| sigmoid(latents.sum_dim(1) * 2.0).squeeze_dim(1);
        let model = Discounted::new(&Plane, Box::new(going_on));
        let closed = model.as_differentiable().expect("closed forms");
        let mut noise = crate::Noise::new(5);
        let (points, rows, part) = (5, 3, 1..4);
        let latents = noise.normal([points, 2], &device);
        let weights = noise.uniform([points, 1], &device) * 0.4 + 0.5;
        let latents = join(vec![latents, weights], 1);
        let actions = noise.uniform([points, 1], &device);
        let by_autodiff = [
            AutodiffLinearisation::new(&model, latents.clone(), actions.clone()),
            AutodiffLinearisation::of_moments(&model, latents.clone(), actions.clone()),
        ];
        let by_chain_rule = [
            closed.linearise(latents.clone(), actions.clone()),
            closed.linearise_moments(latents.clone(), actions.clone()),
        ];
        for (found, expected) in by_chain_rule.iter().zip(&by_autodiff) {
            assert_near("value", found.value(), expected.value());
            let outputs = expected.value().dims()[1];
            let cotangents = noise.normal([part.len(), rows, outputs], &device);
            let (by_latent, by_action) = found.pullback(part.clone(), cotangents.clone());
            let expected_back = expected.pullback(part.clone(), cotangents);
            assert_near("by latent", by_latent, expected_back.0);
            assert_near("by action", by_action, expected_back.1);
            let dz = noise.normal([part.len(), rows, 3], &device);
            let da = noise.normal([part.len(), rows, 1], &device);
            let forward = found.pushforward(part.clone(), dz.clone(), da.clone());
            assert_near(
                "forward",
                forward,
                expected.pushforward(part.clone(), dz, da),
            );
        }
        for objective in [
            Objective::Reward,
            Objective::LogReward,
            Objective::Residuals,
        ] {
            let found = closed.linearise_reward(latents.clone(), objective);
            let expected = RewardLinearisation::by_autodiff(&model, latents.clone(), objective);
            assert_near("reward", found.rewards.expected, expected.rewards.expected);
            assert_near(
                "residual",
                found.rewards.residuals,
                expected.rewards.residuals,
            );
            assert_near("jacobian", found.jacobian, expected.jacobian);
        }
    }
}
