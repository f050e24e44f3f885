use burn::{
    module::Module,
    nn::Linear,
    tensor::{
        Device, Tensor,
        activation::{elu, sigmoid, softplus},
    },
};
use latco_plan::Noise;

use crate::{RewardKind, WorldModelConfig, initialise::linear};

/// `p(r | z)`: a multi-layer perceptron with ELU whose output is the mean of a unit Gaussian or
/// the logit of a Bernoulli.
#[derive(Module, Debug)]
pub struct RewardHead {
    layers: Vec<Linear>,
    #[module(skip)]
    kind: RewardKind,
}

impl RewardHead {
    pub(crate) fn new(config: &WorldModelConfig, noise: &mut Noise, device: &Device) -> Self {
        let units = config.reward_units;
        let sizes = [config.latent_size(), units, units, 1];
        let layers = sizes
            .windows(2)
            .map(|ends| linear(ends[0], ends[1], noise, device))
            .collect();
        Self {
            layers,
            kind: config.reward,
        }
    }

    /// The network's output for `latents` `[rows, latent]`, `[rows]`: a mean or a logit.
    pub fn output(&self, latents: Tensor<2>) -> Tensor<1> {
        let last = self.layers.len() - 1;
        let hidden = self.layers[..last]
            .iter()
            .fold(latents, |hidden, layer| elu(layer.forward(hidden), 1.0));
        self.layers[last].forward(hidden).squeeze_dim(1)
    }

    /// The expected reward of `latents` `[rows, latent]`, `[rows]`.
    pub fn expected(&self, latents: Tensor<2>) -> Tensor<1> {
        let output = self.output(latents);
        match self.kind {
            RewardKind::Gaussian => output,
            RewardKind::Bernoulli => sigmoid(output),
        }
    }

    /// `−log p(r | z)` up to a constant, `[rows]`:
    ///
    /// ```text
    /// Gaussian   ½ (r − r(z))²
    /// Bernoulli  softplus(l(z)) − r l(z)
    /// ```
    pub fn negative_log_likelihood(&self, latents: Tensor<2>, rewards: Tensor<1>) -> Tensor<1> {
        let output = self.output(latents);
        match self.kind {
            RewardKind::Gaussian => (output - rewards).square() * 0.5,
            RewardKind::Bernoulli => softplus(output.clone(), 1.0) - rewards * output,
        }
    }

    pub(crate) fn layers(&self) -> &[Linear] {
        &self.layers
    }
}
