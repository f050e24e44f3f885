use burn::tensor::{Device, Tensor};

use crate::{Belief, DiagonalGaussian, LatentModel, Noise};

/// Nodes `[m, s]` of Gaussians `N(m, diag s²)`, which the dynamics carry on by their moments
/// (Rybkin et al. 2021, section 5, "Gaussian LatCo"):
///
/// ```text
/// zⁱ = m + s ∘ εⁱ,   xⁱ = μ(zⁱ, a) + σ(zⁱ, a) ∘ ηⁱ,   i = 1 … N
/// next m = mean of x,   next s² = (1/N) variance of x
/// ```
///
/// ε and η are drawn once for a plan, so that the moments are smooth functions of node and action.
/// The sign of `s` has no meaning.
pub struct GaussianLift<'a> {
    model: &'a dyn LatentModel,
    /// ε, `[samples, latent]`.
    latent_noise: Tensor<2>,
    /// η, `[samples, latent]`.
    transition_noise: Tensor<2>,
}

/// Keeps the square root of a variance differentiable at zero.
const VARIANCE_FLOOR: f64 = 1e-10;

impl<'a> GaussianLift<'a> {
    /// Lifts `model` with `samples` pairs of noise.
    ///
    /// Over the samples, each component of the noise has mean 0 and variance 1, and that of the
    /// transition is uncorrelated with that of the latent: each component of a linear map of a
    /// Gaussian then has its exact mean and variance.
    pub fn new(
        model: &'a dyn LatentModel,
        samples: usize,
        noise: &mut Noise,
        device: &Device,
    ) -> Self {
        let mut draw = || standardised(noise.normal([samples, model.latent_size()], device));
        let latent_noise = draw();
        let transition_noise = draw();
        let shared = (latent_noise.clone() * transition_noise.clone()).mean_dim(0);
        Self {
            transition_noise: standardised(transition_noise - latent_noise.clone() * shared),
            latent_noise,
            model,
        }
    }

    /// Lifts `model` with given noise, `[samples, latent]` each.
    pub fn with_noise(
        model: &'a dyn LatentModel,
        latent_noise: Tensor<2>,
        transition_noise: Tensor<2>,
    ) -> Self {
        Self {
            model,
            latent_noise,
            transition_noise,
        }
    }

    pub(super) fn first_node(&self, belief: &Belief) -> Belief {
        let node = Tensor::cat(vec![belief.mean(), belief.std()], 1);
        Belief::certain(node.squeeze_dim(0))
    }

    /// `m` of nodes `[rows, 2 · latent]`, `[rows, latent]`.
    pub fn mean(&self, nodes: Tensor<2>) -> Tensor<2> {
        nodes.narrow(1, 0, self.model.latent_size())
    }

    /// `s` of nodes `[rows, 2 · latent]`, `[rows, latent]`.
    pub fn std(&self, nodes: Tensor<2>) -> Tensor<2> {
        let latent = self.model.latent_size();
        nodes.narrow(1, latent, latent)
    }

    /// `m + s ∘ εⁱ`, `[rows · samples, latent]`.
    fn draw(&self, nodes: Tensor<2>) -> Tensor<2> {
        let [rows, _] = nodes.dims();
        let [samples, latent] = self.latent_noise.dims();
        let mean = self.mean(nodes.clone()).unsqueeze_dim::<3>(1);
        let std = self.std(nodes).unsqueeze_dim::<3>(1);
        let noise = self.latent_noise.clone().unsqueeze_dim::<3>(0);
        (mean.repeat_dim(1, samples) + std.repeat_dim(1, samples) * noise)
            .reshape([rows * samples, latent])
    }

    fn samples(&self) -> usize {
        self.latent_noise.dims()[0]
    }

    /// Samples of the next latent, `[rows, samples, latent]`.
    fn next_samples(&self, nodes: Tensor<2>, actions: Tensor<2>) -> Tensor<3> {
        let [rows, action] = actions.dims();
        let [samples, latent] = self.transition_noise.dims();
        let actions = actions
            .unsqueeze_dim::<3>(1)
            .repeat_dim(1, samples)
            .reshape([rows * samples, action]);
        let next = self.model.transition(self.draw(nodes), actions);
        let shape = [rows, samples, latent];
        let noise = self.transition_noise.clone().unsqueeze_dim::<3>(0);
        next.mean.reshape(shape) + next.std.reshape(shape) * noise
    }
}

impl LatentModel for GaussianLift<'_> {
    fn latent_size(&self) -> usize {
        2 * self.model.latent_size()
    }

    fn action_size(&self) -> usize {
        self.model.action_size()
    }

    fn transition(&self, nodes: Tensor<2>, actions: Tensor<2>) -> DiagonalGaussian {
        let mean = self.transition_mean(nodes, actions);
        let std = mean.zeros_like();
        DiagonalGaussian::new(mean, std)
    }

    fn transition_mean(&self, nodes: Tensor<2>, actions: Tensor<2>) -> Tensor<2> {
        let next = self.next_samples(nodes, actions);
        let mean = next.clone().mean_dim(1);
        let variance = (next - mean.clone()).square().mean_dim(1);
        let std = (variance + VARIANCE_FLOOR).sqrt();
        Tensor::cat(vec![mean, std], 2).squeeze_dim(1)
    }

    /// `E_q r(z)` over the samples.
    fn reward(&self, nodes: Tensor<2>) -> Tensor<1> {
        let [rows, _] = nodes.dims();
        self.model
            .reward(self.draw(nodes))
            .reshape([rows, self.samples()])
            .mean_dim(1)
            .squeeze_dim(1)
    }

    /// Each residual averaged over the samples.
    fn reward_residuals(&self, nodes: Tensor<2>) -> Tensor<2> {
        let [rows, _] = nodes.dims();
        let residuals = self.model.reward_residuals(self.draw(nodes));
        let count = residuals.dims()[1];
        residuals
            .reshape([rows, self.samples(), count])
            .mean_dim(1)
            .squeeze_dim(1)
    }
}

/// Columns with mean 0 and variance 1.
fn standardised(noise: Tensor<2>) -> Tensor<2> {
    let mean = noise.clone().mean_dim(0);
    let centred = noise - mean;
    let variance = centred.clone().square().mean_dim(0);
    centred / variance.sqrt()
}
