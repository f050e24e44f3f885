use burn::{
    module::Module,
    nn::Linear,
    tensor::{Device, Tensor, activation::elu},
};
use latco_plan::{DiagonalGaussian, Noise};

use super::{Transition, gaussian};
use crate::{WorldModelConfig, initialise::linear};

/// The stochastic state-space model without a deterministic path (Hafner et al., arXiv
/// 1811.04551, section 3):
///
/// ```text
/// prior      p(z' | z, a)     = N from  elu(W elu(W [z, a]))      → [mean, raw]
/// posterior  q(z' | o', a, z) = N from  elu(W [elu(W [z, a]), e'])  → [mean, raw]
/// std = softplus(raw) + 0.1
/// ```
#[derive(Module, Debug)]
pub struct Ssm {
    /// `[z, a]` to features that prior and posterior share.
    pub input: Linear,
    /// The prior's hidden layer.
    pub prior_hidden: Linear,
    /// The prior's output layer.
    pub prior_output: Linear,
    /// The posterior's hidden layer.
    pub posterior_hidden: Linear,
    /// The posterior's output layer.
    pub posterior_output: Linear,
}

impl Ssm {
    pub(crate) fn new(config: &WorldModelConfig, noise: &mut Noise, device: &Device) -> Self {
        let (size, hidden) = (config.stochastic, config.hidden);
        let mut layer = |inputs, outputs| linear(inputs, outputs, noise, device);
        Self {
            input: layer(size + config.action_size, hidden),
            prior_hidden: layer(hidden, hidden),
            prior_output: layer(hidden, 2 * size),
            posterior_hidden: layer(hidden + config.embedding_size(), hidden),
            posterior_output: layer(hidden, 2 * size),
        }
    }

    fn features(&self, latents: Tensor<2>, actions: Tensor<2>) -> Tensor<2> {
        elu(
            self.input.forward(Tensor::cat(vec![latents, actions], 1)),
            1.0,
        )
    }

    fn predict(&self, features: Tensor<2>) -> DiagonalGaussian {
        let hidden = elu(self.prior_hidden.forward(features), 1.0);
        gaussian(self.prior_output.forward(hidden))
    }

    pub(super) fn prior(&self, latents: Tensor<2>, actions: Tensor<2>) -> DiagonalGaussian {
        self.predict(self.features(latents, actions))
    }

    pub(super) fn prior_mean(&self, latents: Tensor<2>, actions: Tensor<2>) -> Tensor<2> {
        self.prior(latents, actions).mean
    }

    pub(super) fn transition(
        &self,
        latents: Tensor<2>,
        actions: Tensor<2>,
        embedding: Tensor<2>,
    ) -> Transition {
        let features = self.features(latents, actions);
        let seen = Tensor::cat(vec![features.clone(), embedding], 1);
        let hidden = elu(self.posterior_hidden.forward(seen), 1.0);
        Transition {
            prior: self.predict(features),
            posterior: gaussian(self.posterior_output.forward(hidden)),
            deterministic: None,
        }
    }
}
