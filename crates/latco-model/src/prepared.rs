use burn::tensor::Tensor;
use latco_plan::{
    DiagonalGaussian, Differentiable, ImageSpace, LatentModel, Linearisation, Objective,
    RewardLinearisation, Rewards,
};

use crate::{
    WorldModel,
    dynamics::{Prior, laid_out},
};

/// A world model whose weights lie in memory as fast products want them, transposed and with columns
/// that fill vectors: others are packed anew at each product, which took a fifth of a first-order
/// iteration.
pub(crate) struct Prepared<'a> {
    model: &'a WorldModel,
    prior: Prior<'a>,
    /// Of the reward head.
    transposed: Vec<Tensor<2>>,
}

impl<'a> Prepared<'a> {
    pub fn new(model: &'a WorldModel) -> Self {
        let transposed = model.reward.transposed_weights();
        Self {
            prior: Prior::prepared(&model.dynamics),
            transposed: transposed.into_iter().map(laid_out).collect(),
            model,
        }
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
        self.model.reward(latents)
    }

    fn reward_residuals(&self, latents: Tensor<2>) -> Tensor<2> {
        self.model.reward_residuals(latents)
    }

    fn rewards(&self, latents: Tensor<2>) -> Rewards {
        self.model.rewards(latents)
    }

    fn reward_range(&self) -> Option<[f64; 2]> {
        self.model.reward_range()
    }

    fn log_reward(&self, latents: Tensor<2>) -> Tensor<1> {
        self.model.log_reward(latents)
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

    fn image_space(&self) -> Option<&dyn ImageSpace> {
        self.model.image_space()
    }
}

impl Differentiable for Prepared<'_> {
    fn linearise(&self, latents: Tensor<2>, actions: Tensor<2>) -> Box<dyn Linearisation + '_> {
        self.prior.linearise(latents, actions)
    }

    fn linearise_moments(
        &self,
        latents: Tensor<2>,
        actions: Tensor<2>,
    ) -> Box<dyn Linearisation + '_> {
        self.prior.linearise_gaussian(latents, actions)
    }

    fn linearise_reward(&self, latents: Tensor<2>, objective: Objective) -> RewardLinearisation {
        let reward = &self.model.reward;
        reward.linearise_with(&self.transposed, latents, objective)
    }
}
