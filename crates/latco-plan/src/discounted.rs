use burn::tensor::{Tensor, activation::softplus};

use crate::{Belief, DiagonalGaussian, LatentModel};

/// A model of episodes that may end: rewards count as far as the episode is likely to get there,
///
/// ```text
/// Σ_t w_t r(z_t),    w_0 = 1,    w_{t+1} = w_t γ(z_t)
/// ```
///
/// with the probability `γ(z)` that an episode goes on after `z` (Hafner et al., "Mastering Atari with
/// Discrete World Models", arXiv 2010.02193). The weight is one more component of the latent,
/// `[z, w]`, so that every planner takes it into account.
pub struct Discounted<'a> {
    model: &'a dyn LatentModel,
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
            model,
            continuation,
        }
    }

    /// The belief `[z, 1]` of an episode that is on.
    pub fn belief(&self, belief: &Belief) -> Belief {
        let rows = belief.mean().dims()[0];
        let device = belief.device();
        let mean = Tensor::cat(vec![belief.mean(), Tensor::ones([rows, 1], &device)], 1);
        let std = Tensor::cat(vec![belief.std(), Tensor::zeros([rows, 1], &device)], 1);
        Belief::new(DiagonalGaussian::new(mean, std))
    }

    /// `z` `[rows, latent]` and `w` `[rows, 1]` of `latents` `[rows, latent + 1]`.
    fn parts(&self, latents: Tensor<2>) -> (Tensor<2>, Tensor<2>) {
        let size = self.model.latent_size();
        let weights = latents.clone().narrow(1, size, 1);
        (latents.narrow(1, 0, size), weights)
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
            Tensor::cat(vec![next.mean, weights], 1),
            Tensor::cat(vec![next.std, certain], 1),
        )
    }

    fn transition_mean(&self, latents: Tensor<2>, actions: Tensor<2>) -> Tensor<2> {
        let (latents, weights) = self.parts(latents);
        let mean = self.model.transition_mean(latents.clone(), actions);
        Tensor::cat(vec![mean, self.next_weights(latents, weights)], 1)
    }

    fn reward(&self, latents: Tensor<2>) -> Tensor<1> {
        let (latents, weights) = self.parts(latents);
        self.model.reward(latents) * weights.squeeze_dim::<1>(1)
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
            let weights = weights.squeeze_dim::<1>(1).clamp_min(LEAST_WEIGHT);
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
}

#[cfg(test)]
mod tests {
    use burn::tensor::Device;

    use super::*;
    use crate::catalogue::planner;

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
}
