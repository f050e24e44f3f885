use burn::{
    module::{Module, Param},
    nn::Linear,
    tensor::{Device, Tensor},
};
use latco_plan::Noise;

use crate::{Activation, WorldModelConfig, elbo::recorded_mean, initialise::linear};

/// Networks that each predict the next stochastic state's mean, beside the prior:
///
/// ```text
/// m_k(z, a) = W f(W [z, a]),     k = 1 … K
/// u(z, a)   = √( mean_d Var_k m_kd(z, a) / σ̄_d² ) / q
/// ```
///
/// They differ by their first weights and by the weights that each sequence of a batch has for each of them, so
/// that they agree on transitions like those that they were trained on, and elsewhere do not: `u` is the
/// model's uncertainty (Lakshminarayanan et al., "Simple and Scalable Predictive Uncertainty Estimation
/// using Deep Ensembles", arXiv 1612.01474; of latent models Sekar et al., "Planning to Explore via
/// Self-Supervised World Models", arXiv 2005.05960). `σ̄_d²` is the mean variance of the prior's component
/// d on training data, and q the quantile there of the mean of √(…) over a sequence, taken for log-normal, so
/// that the mean uncertainty of one sequence of twenty exceeds 1.
#[derive(Module, Debug)]
pub struct Ensemble {
    heads: Vec<Head>,
    /// `σ̄_d²`, `[stochastic]`.
    variance: Param<Tensor<1>>,
    /// `log q`, `[1]`.
    log_quantile: Param<Tensor<1>>,
    #[module(skip)]
    activation: Activation,
}

/// `m_k`.
#[derive(Module, Debug)]
struct Head {
    hidden: Linear,
    output: Linear,
}

/// How much of what a batch shows goes into the running variance and quantile.
const RATE: f64 = 0.02;

/// Keeps the root differentiable where all heads agree, and the logarithm of the quantile finite.
const LEAST_SQUARE: f64 = 1e-12;

/// What an ensemble is trained on: transitions, one a row.
pub(crate) struct Transitions {
    /// `z`, `[rows, latent]`.
    pub latents: Tensor<2>,
    /// `[rows, action]`.
    pub actions: Tensor<2>,
    /// The mean of the posterior after it, `[rows, stochastic]`.
    pub targets: Tensor<2>,
    /// The variance of the prior, `[rows, stochastic]`.
    pub variances: Tensor<2>,
}

/// What a batch shows of the units of uncertainty.
#[derive(Clone, Debug)]
pub struct EnsembleUnits {
    /// `σ_d²` of the prior, `[stochastic]`.
    pub variance: Tensor<1>,
    /// The logarithm of the quantile of the heads' disagreement, `[1]`.
    pub log_quantile: Tensor<1>,
}

impl EnsembleUnits {
    /// The mean of what several parts of a batch show.
    pub(crate) fn mean(parts: Vec<Self>) -> Option<Self> {
        let share = 1.0 / parts.len().max(1) as f64;
        let sum = parts.into_iter().reduce(|sum, part| Self {
            variance: sum.variance + part.variance,
            log_quantile: sum.log_quantile + part.log_quantile,
        })?;
        Some(Self {
            variance: sum.variance * share,
            log_quantile: sum.log_quantile * share,
        })
    }
}

impl Ensemble {
    pub(crate) fn new(config: &WorldModelConfig, noise: &mut Noise, device: &Device) -> Self {
        let inputs = config.latent_size() + config.action_size;
        let heads = (0..config.ensemble).map(|_| Head {
            hidden: linear(inputs, config.hidden, noise, device),
            output: linear(config.hidden, config.stochastic, noise, device),
        });
        Self {
            heads: heads.collect(),
            variance: Param::from_tensor(Tensor::ones([config.stochastic], device)),
            log_quantile: Param::from_tensor(Tensor::zeros([1], device)),
            activation: config.activation,
        }
    }

    /// `m_k(z, a)` of each head, of `latents` `[rows, latent]` and `actions` `[rows, action]`,
    /// `[heads, rows, stochastic]`.
    pub fn predictions(&self, latents: Tensor<2>, actions: Tensor<2>) -> Tensor<3> {
        let inputs = Tensor::cat(vec![latents, actions], 1);
        let of_head = |head: &Head| {
            let hidden = self.activation.of_layer(&head.hidden, inputs.clone());
            head.output.forward(hidden)
        };
        Tensor::stack(self.heads.iter().map(of_head).collect(), 0)
    }

    /// `u(z, a)` of `latents` `[rows, latent]` and `actions` `[rows, action]`, `[rows]`.
    pub fn uncertainty(&self, latents: Tensor<2>, actions: Tensor<2>) -> Tensor<1> {
        let predictions = self.predictions(latents, actions);
        let scale = self.log_quantile.val().neg().exp();
        self.disagreement(predictions) * scale
    }

    /// `√( mean_d Var_k m_kd / σ̄_d² )` of `[heads, rows, stochastic]`, `[rows]`.
    fn disagreement(&self, predictions: Tensor<3>) -> Tensor<1> {
        let mean = predictions.clone().mean_dim(0);
        let variance = (predictions - mean)
            .square()
            .mean_dim(0)
            .squeeze_dim::<2>(0);
        let relative = variance / self.variance.val().unsqueeze_dim(0);
        (relative.mean_dim(1).squeeze_dim::<1>(1) + LEAST_SQUARE).sqrt()
    }

    /// The mean over transitions and heads of `½ w ‖(m_k(z, a) − s') / σ‖²`, `[1]`: what of the divergence
    /// from the posterior depends on the heads, in nats, of `rows` sequences, time-major. `weights` are
    /// `[heads, length · rows]`; where there is a `mask` `[length · rows]`, frames without a recording count
    /// for nothing. Beside it, what the batch shows of the units.
    pub(crate) fn loss(
        &self,
        transitions: Transitions,
        rows: usize,
        weights: Tensor<2>,
        mask: Option<&Tensor<1>>,
    ) -> (Tensor<1>, EnsembleUnits) {
        let Transitions {
            latents,
            actions,
            targets,
            variances,
        } = transitions;
        let predictions = self.predictions(latents, actions);
        let units = EnsembleUnits {
            variance: recorded_mean(variances.clone(), mask).squeeze_dim(0),
            log_quantile: log_quantile(self.of_sequences(predictions.clone().detach(), rows, mask)),
        };
        let squares = (predictions - targets.unsqueeze_dim(0)).square();
        let nats = (squares / variances.unsqueeze_dim(0)).sum_dim(2) * 0.5;
        let weighted = (nats.squeeze_dim::<2>(2) * weights).mean_dim(0);
        let loss = recorded_mean(weighted.swap_dims(0, 1), mask);
        (loss.squeeze_dim(1), units)
    }

    /// The mean disagreement over each of the `rows` sequences, `[rows]`, of `[heads, length · rows, stochastic]`.
    fn of_sequences(
        &self,
        predictions: Tensor<3>,
        rows: usize,
        mask: Option<&Tensor<1>>,
    ) -> Tensor<1> {
        let time_major = |values: Tensor<1>| values.reshape([-1, rows as i32]);
        let disagreement = time_major(self.disagreement(predictions).detach());
        let means = match mask.map(|mask| time_major(mask.clone())) {
            None => disagreement.mean_dim(0),
            Some(mask) => {
                let (sums, frames) = ((disagreement * mask.clone()).sum_dim(0), mask.sum_dim(0));
                let mean = sums.clone().sum() / frames.clone().sum().clamp_min(1.0);
                // A sequence without a frame shows nothing of its own: the mean of the others.
                let means = sums / frames.clone().clamp_min(1.0);
                let mean = mean.unsqueeze_dim::<2>(0).expand(means.shape());
                means.mask_where(frames.lower_elem(0.5), mean.clamp_min(LEAST_SQUARE.sqrt()))
            }
        };
        means.squeeze_dim::<1>(0)
    }

    /// The ensemble with its units brought nearer to what a batch showed.
    pub(crate) fn following(mut self, units: EnsembleUnits) -> Self {
        let blend = |old: Param<Tensor<1>>, new: Tensor<1>| {
            old.map(|old| {
                let old = old.detach();
                let new = match old.is_autodiff() {
                    true => new.autodiff(),
                    false => new,
                };
                (old * (1.0 - RATE) + new * RATE).detach()
            })
        };
        self.variance = blend(self.variance, units.variance);
        self.log_quantile = blend(self.log_quantile, units.log_quantile);
        self
    }
}

/// How many standard deviations above the mean of a normal variable [a few](latco_plan::Plan::UNFAMILIAR) are.
const DEVIATIONS: f64 = 1.645;

/// The logarithm, `[1]`, of what [a few](latco_plan::Plan::UNFAMILIAR) of as many log-normal `values` `[rows]` as one likes
/// exceed:
///
/// ```text
/// m + 1.645 s / c₄,    c₄ ≈ (4 n − 4) / (4 n − 3)
/// ```
///
/// with mean m and standard deviation s of their logarithms. Unlike the quantile of so few values themselves it
/// is the same in the mean for batches of any size from two on; one value alone shows no spread, and m is all.
fn log_quantile(values: Tensor<1>) -> Tensor<1> {
    let rows = values.dims()[0];
    let logs = values.log();
    let mean = logs.clone().mean();
    if rows == 1 {
        return mean;
    }
    let variance = (logs - mean.clone()).square().sum() / (rows - 1) as f64;
    let unbiased = (4 * rows - 3) as f64 / (4 * rows - 4) as f64;
    mean + variance.sqrt() * (DEVIATIONS * unbiased)
}

#[cfg(test)]
mod tests {
    use latco_plan::Plan;

    use super::*;

    /// As many sequences are above the unit as are said to be, whatever the batches that it was found from.
    #[test]
    fn the_unit_does_not_depend_on_the_batch() {
        const VALUES: usize = 40_000;
        let values = Noise::new(3).normal::<1>([VALUES], &Device::default()) * 0.6 - 0.3;
        let values = values.exp();
        for rows in [2, 8, 16, 50] {
            let batches = values.clone().chunk(VALUES / rows, 0).into_iter();
            let unit = batches.map(log_quantile).reduce(|sum, log| sum + log);
            let unit = (unit.unwrap() / (VALUES / rows) as f64).exp();
            let above = values.clone().greater(unit).float().mean();
            let above = f64::from(above.into_scalar::<f32>());
            assert!((above - Plan::UNFAMILIAR).abs() < 0.01, "{rows}: {above}");
        }
        let alone = log_quantile(Tensor::from_floats([2.0], &Device::default()));
        assert!((alone.into_scalar::<f32>() - 2.0_f32.ln()).abs() < 1e-6);
    }

    const LENGTH: usize = 3;
    const ROWS: usize = 2;

    /// Transitions of `length` frames, those of the first `LENGTH` the same for any.
    fn transitions(config: &WorldModelConfig, length: usize, later: f64) -> Transitions {
        let device = Device::default();
        let mut noise = Noise::new(5);
        let mut drawn = |size: usize| {
            let recorded = noise.normal([LENGTH * ROWS, size], &device);
            let filled = Tensor::full([(length - LENGTH) * ROWS, size], later, &device);
            Tensor::cat(vec![recorded, filled], 0)
        };
        Transitions {
            latents: drawn(config.stochastic + config.deterministic),
            actions: drawn(config.action_size),
            targets: drawn(config.stochastic),
            variances: drawn(config.stochastic).square() + 0.1,
        }
    }

    /// Sequences that are filled up teach what they would without, whatever they are filled up with.
    #[test]
    fn filled_up_frames_count_for_nothing() {
        let device = Device::default();
        let config = WorldModelConfig {
            ensemble: 3,
            ..WorldModelConfig::small(2)
        };
        let ensemble = Ensemble::new(&config, &mut Noise::new(1), &device);
        let shown = |length: usize, later: f64| {
            let frames = length * ROWS;
            let mask = Tensor::<1>::ones([frames], &device);
            let unrecorded = LENGTH * ROWS..frames;
            let mask = (length > LENGTH).then(|| {
                mask.slice_assign(
                    [unrecorded.clone()],
                    Tensor::zeros([unrecorded.len()], &device),
                )
            });
            let weights = Tensor::ones([config.ensemble, frames], &device);
            let transitions = transitions(&config, length, later);
            let (loss, units) = ensemble.loss(transitions, ROWS, weights, mask.as_ref());
            Tensor::cat(vec![loss, units.variance, units.log_quantile], 0).into_data()
        };
        let expected = shown(LENGTH, 0.0);
        for later in [0.5, 2.0] {
            let tolerance = burn::tensor::Tolerance::relative(1e-5);
            shown(LENGTH + 4, later).assert_approx_eq::<f32>(&expected, tolerance);
        }
    }
}
