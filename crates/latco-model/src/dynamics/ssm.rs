use burn::{
    module::Module,
    nn::Linear,
    tensor::{Device, Tensor},
};
use latco_kernels::join;
use latco_plan::{DiagonalGaussian, Noise};

use super::{Inferred, Transition, at_step, gaussian};
use crate::{Activation, WorldModelConfig, initialise::linear};

/// The stochastic state-space model without a deterministic path (Hafner et al., arXiv
/// 1811.04551, section 3):
///
/// ```text
/// prior      p(z' | z, a)     = N from  f(W f(W [z, a]))      → [mean, raw]
/// posterior  q(z' | o', a, z) = N from  f(W [f(W [z, a]), e'])  → [mean, raw]
/// std = softplus(raw) + 0.1,   f = ELU or ReLU
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
    /// f.
    #[module(skip)]
    pub activation: Activation,
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
            activation: config.activation,
        }
    }

    fn features(&self, latents: Tensor<2>, actions: Tensor<2>) -> Tensor<2> {
        let input = join(vec![latents, actions], 1);
        self.activation.of_layer(&self.input, input)
    }

    fn predict(&self, features: Tensor<2>) -> DiagonalGaussian {
        let hidden = self.activation.of_layer(&self.prior_hidden, features);
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
        let seen = join(vec![features.clone(), embedding], 1);
        let hidden = self.activation.of_layer(&self.posterior_hidden, seen);
        Transition {
            prior: self.predict(features),
            posterior: gaussian(self.posterior_output.forward(hidden)),
            deterministic: None,
        }
    }

    /// The prior of all steps at once.
    pub(super) fn infer(
        &self,
        embeddings: Tensor<2>,
        [actions, memory, noise]: [Tensor<3>; 3],
    ) -> Inferred {
        let [length, rows, _] = actions.dims();
        let mut latent = Tensor::zeros(at_step(&noise, 0).dims(), &actions.device());
        let (mut latents, mut all) = (Vec::new(), Vec::new());
        let (mut means, mut stds) = (Vec::new(), Vec::new());
        for step in 0..length {
            let known = latent * at_step(&memory, step);
            let features = self.features(known, at_step(&actions, step));
            let embedding = embeddings.clone().narrow(0, step * rows, rows);
            let seen = join(vec![features.clone(), embedding], 1);
            let hidden = self.activation.of_layer(&self.posterior_hidden, seen);
            let posterior = gaussian(self.posterior_output.forward(hidden));
            latent = posterior.sample(at_step(&noise, step));
            latents.push(latent.clone());
            all.push(features);
            means.push(posterior.mean);
            stds.push(posterior.std);
        }
        Inferred {
            latents: join(latents, 0),
            prior: self.predict(join(all, 0)),
            posterior: DiagonalGaussian::new(join(means, 0), join(stds, 0)),
        }
    }
}
