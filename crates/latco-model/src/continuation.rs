use burn::{
    module::Module,
    tensor::{Device, Tensor},
};
use latco_plan::Noise;

use crate::{RewardHead, RewardKind, WorldModelConfig};

/// `p(γ | z)`: the probability that an episode goes on after a latent, a Bernoulli head of the reward
/// head's sizes.
#[derive(Module, Debug)]
pub struct ContinuationHead {
    head: RewardHead,
}

impl ContinuationHead {
    pub(crate) fn new(config: &WorldModelConfig, noise: &mut Noise, device: &Device) -> Self {
        let config = WorldModelConfig {
            reward: RewardKind::Bernoulli,
            reward_range: [0.0, 1.0],
            ..config.clone()
        };
        Self {
            head: RewardHead::new(&config, noise, device),
        }
    }

    /// `γ(z)` of `latents` `[rows, latent]`, `[rows]`.
    pub fn probability(&self, latents: Tensor<2>) -> Tensor<1> {
        self.head.expected(latents)
    }

    /// `−log p(γ | z)` of `latents` `[rows, latent]` and recorded continuation factors `[rows]`.
    pub fn negative_log_likelihood(&self, latents: Tensor<2>, discounts: Tensor<1>) -> Tensor<1> {
        self.head.negative_log_likelihood(latents, discounts)
    }
}
