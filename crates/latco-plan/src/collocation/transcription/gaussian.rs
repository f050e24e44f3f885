use std::ops::Range;

use burn::tensor::{Device, Tensor};
use latco_kernels::join;

use super::samples::{average, average_residuals, average_reward};
use crate::{
    AutodiffLinearisation, Belief, DiagonalGaussian, Differentiable, LatentModel, Linearisation,
    Noise, Objective, RewardLinearisation, Rewards,
};

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
    /// Lifts `model` with `samples` pairs of noise, at least 3.
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
        let node = join(vec![belief.mean(), belief.std()], 1);
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

    /// Each action once for every sample, `[rows · samples, action]`.
    fn repeated(&self, actions: Tensor<2>) -> Tensor<2> {
        let [rows, action] = actions.dims();
        let samples = self.samples();
        actions
            .unsqueeze_dim::<3>(1)
            .repeat_dim(1, samples)
            .reshape([rows * samples, action])
    }

    /// Samples of the next latent, `[rows, samples, latent]`, from mean and standard deviation of
    /// each sample's transition, `[rows · samples, latent]`.
    fn next_samples(&self, next: &DiagonalGaussian) -> Tensor<3> {
        let [samples, latent] = self.transition_noise.dims();
        let shape = [next.mean.dims()[0] / samples, samples, latent];
        let noise = self.transition_noise.clone().unsqueeze_dim::<3>(0);
        next.mean.clone().reshape(shape) + next.std.clone().reshape(shape) * noise
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
        let actions = self.repeated(actions);
        let next = self.model.transition(self.draw(nodes), actions);
        let Moments { mean, std } = Moments::of(self.next_samples(&next));
        join(vec![mean, std], 2).squeeze_dim(1)
    }

    /// `E_q r(z)` over the samples.
    fn reward(&self, nodes: Tensor<2>) -> Tensor<1> {
        average_reward(self.model.reward(self.draw(nodes)), self.samples())
    }

    /// `E_q log r(z)` over the samples.
    fn log_reward(&self, nodes: Tensor<2>) -> Tensor<1> {
        average_reward(self.model.log_reward(self.draw(nodes)), self.samples())
    }

    /// Each residual averaged over the samples.
    fn reward_residuals(&self, nodes: Tensor<2>) -> Tensor<2> {
        average_residuals(
            self.model.reward_residuals(self.draw(nodes)),
            self.samples(),
        )
    }

    fn rewards(&self, nodes: Tensor<2>) -> Rewards {
        average(self.model.rewards(self.draw(nodes)), self.samples())
    }

    fn as_differentiable(&self) -> Option<&dyn Differentiable> {
        self.model.as_differentiable().map(|_| self as _)
    }
}

impl Differentiable for GaussianLift<'_> {
    fn linearise(&self, nodes: Tensor<2>, actions: Tensor<2>) -> Box<dyn Linearisation + '_> {
        let (latents, actions) = (self.draw(nodes), self.repeated(actions));
        let transitions = self.model.linearise_moments(latents, actions);
        Box::new(GaussianLiftLinearisation::new(self, transitions))
    }

    fn linearise_moments(
        &self,
        nodes: Tensor<2>,
        actions: Tensor<2>,
    ) -> Box<dyn Linearisation + '_> {
        Box::new(AutodiffLinearisation::of_moments(self, nodes, actions))
    }

    fn linearise_reward(&self, nodes: Tensor<2>, objective: Objective) -> RewardLinearisation {
        let [rows, _] = nodes.dims();
        let latents = self.draw(nodes);
        let RewardLinearisation { rewards, jacobian } =
            self.model.linearise_reward(latents, objective);
        let [_, count, latent] = jacobian.dims();
        let samples = self.samples();
        let jacobian = jacobian.reshape([rows, samples, count, latent]);
        let noise = self.latent_noise.clone().reshape([1, samples, 1, latent]);
        let mean = |values: Tensor<4>| values.mean_dim(1).squeeze_dim::<3>(1);
        let by_mean = mean(jacobian.clone());
        let by_std = mean(jacobian * noise);
        RewardLinearisation {
            rewards: average(rewards, samples),
            jacobian: join(vec![by_mean, by_std], 2),
        }
    }
}

/// Columns with mean 0 and variance 1.
fn standardised(noise: Tensor<2>) -> Tensor<2> {
    let mean = noise.clone().mean_dim(0);
    let centred = noise - mean;
    let variance = centred.clone().square().mean_dim(0);
    centred / variance.sqrt()
}

/// Mean and standard deviation over samples `[rows, samples, latent]`, `[rows, 1, latent]` each.
struct Moments {
    mean: Tensor<3>,
    std: Tensor<3>,
}

impl Moments {
    fn of(samples: Tensor<3>) -> Self {
        let mean = samples.clone().mean_dim(1);
        let variance = (samples - mean.clone()).square().mean_dim(1);
        Self {
            mean,
            std: (variance + VARIANCE_FLOOR).sqrt(),
        }
    }
}

/// The derivative of the moments, from those of the samples' transitions: with
/// `xⁱ = μⁱ + σⁱ ∘ ηⁱ` and `δⁱ = (xⁱ − next m) / next s`,
///
/// ```text
/// d(next m) = mean of dxⁱ,   d(next s) = mean of δⁱ ∘ dxⁱ,   dzⁱ = dm + εⁱ ∘ ds
/// ```
struct GaussianLiftLinearisation<'a> {
    /// Of `[μ, σ]` at every point's samples.
    transitions: Box<dyn Linearisation + 'a>,
    /// `[m, s]`, `[points, 2 · latent]`.
    value: Tensor<2>,
    /// δ, `[points, samples, 1, latent]`.
    deviation: Tensor<4>,
    /// ε, `[1, samples, 1, latent]`.
    latent_noise: Tensor<4>,
    /// η, `[1, samples, 1, latent]`.
    transition_noise: Tensor<4>,
}

impl<'a> GaussianLiftLinearisation<'a> {
    fn new(lift: &GaussianLift<'_>, transitions: Box<dyn Linearisation + 'a>) -> Self {
        let [samples, latent] = lift.latent_noise.dims();
        let outputs = transitions.value();
        let next = lift.next_samples(&DiagonalGaussian::new(
            outputs.clone().narrow(1, 0, latent),
            outputs.narrow(1, latent, latent),
        ));
        let Moments { mean, std } = Moments::of(next.clone());
        let deviation = (next - mean.clone()) / std.clone();
        let per_sample = |noise: &Tensor<2>| noise.clone().reshape([1, samples, 1, latent]);
        Self {
            transitions,
            value: join(vec![mean, std], 2).squeeze_dim(1),
            deviation: deviation.unsqueeze_dim(2),
            latent_noise: per_sample(&lift.latent_noise),
            transition_noise: per_sample(&lift.transition_noise),
        }
    }

    fn samples(&self) -> usize {
        self.latent_noise.dims()[1]
    }

    /// The samples of some points.
    fn rows(&self, points: &Range<usize>) -> Range<usize> {
        points.start * self.samples()..points.end * self.samples()
    }

    fn deviation(&self, points: &Range<usize>) -> Tensor<4> {
        self.deviation.clone().narrow(0, points.start, points.len())
    }

    /// `[points · samples, rows, size]` as `[points, samples, rows, size]`.
    fn by_point(&self, values: Tensor<3>) -> Tensor<4> {
        let [all, rows, size] = values.dims();
        let samples = self.samples();
        values.reshape([all / samples, samples, rows, size])
    }
}

/// Joins points and samples: `[points · samples, rows, size]`.
fn by_sample(values: Tensor<4>) -> Tensor<3> {
    values.flatten(0, 1)
}

/// Splits `[points, rows, 2 · latent]` in the middle, with a dimension for the samples.
fn moments_of(values: Tensor<3>) -> (Tensor<4>, Tensor<4>) {
    let half = values.dims()[2] / 2;
    let part = |start: usize| values.clone().narrow(2, start, half).unsqueeze_dim::<4>(1);
    (part(0), part(half))
}

impl Linearisation for GaussianLiftLinearisation<'_> {
    fn value(&self) -> Tensor<2> {
        self.value.clone()
    }

    fn pullback(&self, points: Range<usize>, cotangents: Tensor<3>) -> (Tensor<3>, Tensor<3>) {
        let (of_mean, of_std) = moments_of(cotangents);
        let share = 1.0 / self.samples() as f64;
        let of_samples = (of_mean + of_std * self.deviation(&points)) * share;
        let of_deviations = of_samples.clone() * self.transition_noise.clone();
        let cotangents = by_sample(join(vec![of_samples, of_deviations], 3));
        let (latents, actions) = self.transitions.pullback(self.rows(&points), cotangents);
        let latents = self.by_point(latents);
        let summed = |values: Tensor<4>| values.sum_dim(1).squeeze_dim::<3>(1);
        let of_mean = summed(latents.clone());
        let of_std = summed(latents * self.latent_noise.clone());
        (
            join(vec![of_mean, of_std], 2),
            summed(self.by_point(actions)),
        )
    }

    fn pushforward(
        &self,
        points: Range<usize>,
        latents: Tensor<3>,
        actions: Tensor<3>,
    ) -> Tensor<3> {
        let (mean, std) = moments_of(latents);
        let latents = by_sample(mean + std * self.latent_noise.clone());
        let actions = actions.unsqueeze_dim::<4>(1);
        let actions = by_sample(actions.repeat_dim(1, self.samples()));
        let outputs = self
            .transitions
            .pushforward(self.rows(&points), latents, actions);
        let outputs = self.by_point(outputs);
        let latent = outputs.dims()[3] / 2;
        let of_mean = outputs.clone().narrow(3, 0, latent);
        let of_std = outputs.narrow(3, latent, latent);
        let next = of_mean + of_std * self.transition_noise.clone();
        let averaged = |values: Tensor<4>| values.mean_dim(1).squeeze_dim::<3>(1);
        let mean = averaged(next.clone());
        let std = averaged(next * self.deviation(&points));
        join(vec![mean, std], 2)
    }
}
