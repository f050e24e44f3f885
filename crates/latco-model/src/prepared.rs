use std::{ops::Range, sync::OnceLock};

use burn::tensor::Tensor;
use latco_kernels::{LinearPass, ModelPasses, RewardParts, Slope};
use latco_plan::{
    DiagonalGaussian, Differentiable, ImageSpace, LatentModel, Linearisation, Objective, Passes,
    RewardLinearisation, Rewards, RewardsAlong, Rollout,
};

use crate::{
    WorldModel,
    dynamics::{Prior, laid_out},
};

/// A world model whose weights lie in memory as fast products want them, transposed and with columns
/// that fill vectors: others are packed anew at each product, which took a fifth of a first-order
/// iteration.
///
/// Where there are whole passes through such a model, these take the place of everything else.
pub(crate) struct Prepared<'a> {
    model: &'a WorldModel,
    passes: Option<ModelPasses>,
    closed: OnceLock<Closed<'a>>,
}

/// What closed forms of derivatives are made of.
struct Closed<'a> {
    prior: Prior<'a>,
    /// Of the reward head.
    transposed: Vec<Tensor<2>>,
}

impl<'a> Prepared<'a> {
    pub fn new(model: &'a WorldModel) -> Self {
        Self {
            passes: model.model_passes(),
            closed: OnceLock::new(),
            model,
        }
    }

    /// The passes over `latents`, if there are any.
    fn passes_of<const D: usize>(&self, latents: &Tensor<D>) -> Option<&ModelPasses> {
        self.passes.as_ref().filter(|passes| passes.takes(latents))
    }

    fn closed(&self) -> &Closed<'a> {
        self.closed.get_or_init(|| {
            let transposed = self.model.reward.transposed_weights();
            Closed {
                prior: Prior::prepared(&self.model.dynamics),
                transposed: transposed.into_iter().map(laid_out).collect(),
            }
        })
    }
}

impl LatentModel for Prepared<'_> {
    fn latent_size(&self) -> usize {
        self.model.latent_size()
    }

    fn action_size(&self) -> usize {
        LatentModel::action_size(self.model)
    }

    fn transition(&self, latents: Tensor<2>, actions: Tensor<2>) -> DiagonalGaussian {
        self.model.transition(latents, actions)
    }

    fn transition_mean(&self, latents: Tensor<2>, actions: Tensor<2>) -> Tensor<2> {
        self.model.transition_mean(latents, actions)
    }

    fn reward(&self, latents: Tensor<2>) -> Tensor<1> {
        match self.passes_of(&latents) {
            Some(passes) => passes.rewards(latents).expected(),
            None => self.model.reward(latents),
        }
    }

    fn reward_residuals(&self, latents: Tensor<2>) -> Tensor<2> {
        match self.passes_of(&latents) {
            Some(passes) => passes.rewards(latents).residuals(),
            None => self.model.reward_residuals(latents),
        }
    }

    fn rewards(&self, latents: Tensor<2>) -> Rewards {
        match self.passes_of(&latents) {
            Some(passes) => rewards_of(&passes.rewards(latents)),
            None => self.model.rewards(latents),
        }
    }

    fn reward_range(&self) -> Option<[f64; 2]> {
        self.model.reward_range()
    }

    fn log_reward(&self, latents: Tensor<2>) -> Tensor<1> {
        match self.passes_of(&latents) {
            Some(passes) => passes.rewards(latents).logarithms(),
            None => self.model.log_reward(latents),
        }
    }

    fn action_noise(&self) -> f64 {
        self.model.action_noise()
    }

    fn uncertainty(&self, latents: Tensor<2>, actions: Tensor<2>) -> Option<Tensor<1>> {
        self.model.uncertainty(latents, actions)
    }

    fn as_differentiable(&self) -> Option<&dyn Differentiable> {
        Some(self)
    }

    fn passes(&self) -> Option<&dyn Passes> {
        self.passes.is_some().then_some(self)
    }

    fn image_space(&self) -> Option<&dyn ImageSpace> {
        self.model.image_space()
    }
}

impl Passes for Prepared<'_> {
    fn latents_along(
        &self,
        start: Tensor<2>,
        actions: Tensor<3>,
        defects: Option<Tensor<3>>,
    ) -> Option<Tensor<3>> {
        let passes = self.passes_of(&start)?;
        let takes = |of: &Tensor<3>| passes.takes(of);
        let all = takes(&actions) && defects.as_ref().is_none_or(takes);
        all.then(|| passes.latents_along(start, actions, defects))
    }

    fn roll_out(&self, start: Tensor<2>, actions: Tensor<3>) -> Option<Rollout> {
        let passes = self.passes_of(&start)?;
        if !passes.takes(&actions) {
            return None;
        }
        let [plans, horizon, _] = actions.dims();
        let (latents, rewards) = passes.roll_out(start, actions);
        let rewards = rewards.expected().reshape([plans, horizon]);
        Some(Rollout { latents, rewards })
    }

    fn rewards_along(&self, start: Tensor<2>, actions: Tensor<3>) -> Option<RewardsAlong> {
        let passes = self.passes_of(&start)?;
        passes.takes(&actions).then(|| {
            let along = passes.rewards_along(start, actions);
            RewardsAlong {
                rewards: rewards_of(&along),
                logarithms: along.logarithms(),
            }
        })
    }
}

fn rewards_of(parts: &RewardParts) -> Rewards {
    Rewards {
        expected: parts.expected(),
        residuals: parts.residuals(),
    }
}

impl Differentiable for Prepared<'_> {
    fn linearise(&self, latents: Tensor<2>, actions: Tensor<2>) -> Box<dyn Linearisation + '_> {
        match self.passes_of(&latents) {
            Some(passes) => Box::new(Passed(passes.linearise(latents, actions))),
            None => self.closed().prior.linearise(latents, actions),
        }
    }

    fn linearise_moments(
        &self,
        latents: Tensor<2>,
        actions: Tensor<2>,
    ) -> Box<dyn Linearisation + '_> {
        self.closed().prior.linearise_gaussian(latents, actions)
    }

    fn linearise_reward(&self, latents: Tensor<2>, objective: Objective) -> RewardLinearisation {
        let Some(passes) = self.passes_of(&latents) else {
            let reward = &self.model.reward;
            return reward.linearise_with(&self.closed().transposed, latents, objective);
        };
        let slope = match objective {
            Objective::Reward => Slope::Expected,
            Objective::Residuals => Slope::Residual,
            Objective::LogReward => Slope::Logarithm,
        };
        let (rewards, jacobian) = passes.linearise_reward(latents, slope);
        RewardLinearisation {
            rewards: rewards_of(&rewards),
            jacobian: jacobian.unsqueeze_dim(1),
        }
    }
}

/// The prior's derivative by whole passes.
struct Passed(LinearPass);

impl Linearisation for Passed {
    fn value(&self) -> Tensor<2> {
        self.0.value()
    }

    fn pullback(&self, points: Range<usize>, cotangents: Tensor<3>) -> (Tensor<3>, Tensor<3>) {
        self.0.pullback(points.start, cotangents)
    }

    fn pushforward(
        &self,
        points: Range<usize>,
        latents: Tensor<3>,
        actions: Tensor<3>,
    ) -> Tensor<3> {
        self.0.pushforward(points.start, latents, actions)
    }

    fn gradient_along(&self, own: &Tensor<3>, plans: usize) -> Option<Tensor<3>> {
        let gradient = self.0.gradient(own.clone(), plans);
        Some(gradient.squeeze_dim(1))
    }

    fn adjoints_along(
        &self,
        own: &Tensor<3>,
        plans: usize,
        workers: usize,
    ) -> Option<(Tensor<3>, Tensor<3>)> {
        let (by_latent, by_action) = self.0.adjoints(own.clone(), plans, workers);
        Some((by_latent.flatten(2, 3), by_action.flatten(2, 3)))
    }

    fn changes_along(&self, actions: &Tensor<3>, drive: &Tensor<3>) -> Option<Tensor<3>> {
        Some(self.0.changes(actions.clone(), drive.clone()))
    }
}
