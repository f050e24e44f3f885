use burn::{
    module::Module,
    nn::Linear,
    tensor::{Device, Tensor},
};
use latco_plan::{DiagonalGaussian, Noise};

use super::{Gru, Transition, gaussian, whole};
use crate::{Activation, WorldModelConfig, initialise::linear};

/// The recurrent state-space model (Hafner et al., arXiv 1811.04551), `z = [s, h]`:
///
/// ```text
/// h' = GRU(f(W [s, a]), h)
/// prior      p(s' | h')     = N from  f(W h')        → [mean, raw]
/// posterior  q(s' | h', e') = N from  f(W [h', e'])  → [mean, raw]
/// std = softplus(raw) + 0.1,   f = ELU or ReLU
/// ```
#[derive(Module, Debug)]
pub struct Rssm {
    /// `[s, a]` to the recurrent input.
    pub recurrent_input: Linear,
    /// The deterministic path.
    pub gru: Gru,
    /// The prior's hidden layer.
    pub prior_hidden: Linear,
    /// The prior's output layer.
    pub prior_output: Linear,
    /// The posterior's hidden layer, over `[h', e']`.
    pub posterior_hidden: Linear,
    /// The posterior's output layer.
    pub posterior_output: Linear,
    /// f.
    #[module(skip)]
    pub activation: Activation,
}

impl Rssm {
    pub(crate) fn new(config: &WorldModelConfig, noise: &mut Noise, device: &Device) -> Self {
        let WorldModelConfig {
            stochastic,
            deterministic,
            hidden,
            action_size,
            ..
        } = *config;
        let mut layer = |inputs, outputs| linear(inputs, outputs, noise, device);
        Self {
            recurrent_input: layer(stochastic + action_size, hidden),
            prior_hidden: layer(deterministic, hidden),
            prior_output: layer(hidden, 2 * stochastic),
            posterior_hidden: layer(deterministic + config.embedding_size(), hidden),
            posterior_output: layer(hidden, 2 * stochastic),
            gru: Gru::new(hidden, deterministic, noise, device),
            activation: config.activation,
        }
    }

    /// `h'`, `[rows, deterministic]`.
    fn recur(&self, latents: Tensor<2>, actions: Tensor<2>) -> Tensor<2> {
        let (stochastic, deterministic) = self.split(latents);
        let input = Tensor::cat(vec![stochastic, actions], 1);
        let input = self.activation.apply(self.recurrent_input.forward(input));
        self.gru.forward(input, deterministic)
    }

    /// `p(s' | h')` from `[rows, deterministic]`.
    fn predict(&self, deterministic: Tensor<2>) -> DiagonalGaussian {
        let hidden = self
            .activation
            .apply(self.prior_hidden.forward(deterministic));
        gaussian(self.prior_output.forward(hidden))
    }

    pub(super) fn prior(&self, latents: Tensor<2>, actions: Tensor<2>) -> DiagonalGaussian {
        let deterministic = self.recur(latents, actions);
        whole(&self.predict(deterministic.clone()), Some(deterministic))
    }

    pub(super) fn prior_mean(&self, latents: Tensor<2>, actions: Tensor<2>) -> Tensor<2> {
        let deterministic = self.recur(latents, actions);
        let hidden = self.prior_hidden.forward(deterministic.clone());
        let hidden = self.activation.apply(hidden);
        let output = self.prior_output.forward(hidden);
        let size = output.dims()[1] / 2;
        Tensor::cat(vec![output.narrow(1, 0, size), deterministic], 1)
    }

    pub(super) fn transition(
        &self,
        latents: Tensor<2>,
        actions: Tensor<2>,
        embedding: Tensor<2>,
    ) -> Transition {
        let deterministic = self.recur(latents, actions);
        let seen = Tensor::cat(vec![deterministic.clone(), embedding], 1);
        let hidden = self.activation.apply(self.posterior_hidden.forward(seen));
        Transition {
            prior: self.predict(deterministic.clone()),
            posterior: gaussian(self.posterior_output.forward(hidden)),
            deterministic: Some(deterministic),
        }
    }

    /// Splits `z` into `s` and `h`.
    pub(crate) fn split(&self, latents: Tensor<2>) -> (Tensor<2>, Tensor<2>) {
        let deterministic = self.prior_hidden.weight.dims()[0];
        let stochastic = latents.dims()[1] - deterministic;
        (
            latents.clone().narrow(1, 0, stochastic),
            latents.narrow(1, stochastic, deterministic),
        )
    }
}
