use burn::tensor::{Tensor, TensorData};
use latco_kernels::join;
use serde::{Deserialize, Serialize};

use super::{
    best::ranked,
    sampling::{Distribution, Sampling, first_mean},
};
use crate::{
    ConfigError, Noise, PlanError,
    collocation::Rows,
    solve::{Method, Pool, Problem, Search},
    starts::Colouring,
};

/// Model-predictive path integral control (Williams et al., "Information Theoretic MPC for
/// Model-Based Reinforcement Learning", ICRA 2017; with elites and a fitted standard deviation as
/// in TD-MPC2, Hansen et al., arXiv 2310.16828).
///
/// ```text
/// a^i ~ clip(m + s ∘ noise, −1, 1)
/// w_i ∝ exp(τ (R_i − max R))                      over the elites
/// m ← η m + (1 − η) Σ w_i a^i,    s ← clip(√Σ w_i (a^i − Σ w_j a^j)², s_min, s_max)
/// ```
///
/// for returns `R`, temperature `τ`, momentum `η`. The mean itself is rolled out with the samples,
/// a warm start is the first mean. Choose it where returns differ gradually, so that weights carry
/// more than the elites' membership. The plan is the best sequence ever rolled out.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct MppiConfig {
    /// Steps of the plan, T.
    pub horizon: usize,
    /// Action sequences drawn an iteration.
    pub samples: usize,
    /// The best of them, which are weighted; as many as samples weights all.
    pub elites: usize,
    /// Rounds of drawing and weighting.
    pub iterations: usize,
    /// What returns are multiplied with in the weights' exponent, τ.
    pub temperature: f64,
    /// Share of the old mean in the new one.
    pub momentum: f64,
    /// Standard deviation of the first distribution.
    pub initial_std: f64,
    /// The least standard deviation.
    pub min_std: f64,
    /// The largest standard deviation.
    pub max_std: f64,
    /// Exponent β of the noise: 0 is white, 2 and more is smooth.
    pub noise_exponent: f64,
    /// Sequences rolled out at once, where [`Resources::rows`](crate::Resources) does not ask for more:
    /// bounds the memory, not the result.
    pub chunk: usize,
}

impl Default for MppiConfig {
    fn default() -> Self {
        Self {
            iterations: 10,
            temperature: 2.0,
            momentum: 0.1,
            initial_std: 1.0,
            noise_exponent: 2.0,
            ..Self::paper()
        }
    }
}

impl MppiConfig {
    /// The settings of TD-MPC2: 512 samples, 64 elites, 6 iterations, temperature 0.5, standard
    /// deviations from 2 down to 0.05. Its short horizon is not among them, which needs a value
    /// function.
    pub fn paper() -> Self {
        Self {
            horizon: 30,
            samples: 512,
            elites: 64,
            iterations: 6,
            temperature: 0.5,
            momentum: 0.0,
            initial_std: 2.0,
            min_std: 0.05,
            max_std: 2.0,
            noise_exponent: 0.0,
            chunk: 256,
        }
    }

    fn validate(&self) -> Result<(), ConfigError> {
        ConfigError::require_positive("horizon", self.horizon)?;
        ConfigError::require_positive("samples", self.samples)?;
        ConfigError::require_positive("iterations", self.iterations)?;
        ConfigError::require_positive("chunk", self.chunk)?;
        ConfigError::require(
            (1..=self.samples).contains(&self.elites),
            "elites",
            self.elites,
            "between 1 and the number of samples",
        )?;
        ConfigError::require_positive_real("temperature", self.temperature)?;
        ConfigError::require(
            (0.0..1.0).contains(&self.momentum),
            "momentum",
            self.momentum,
            "at least 0 and below 1",
        )?;
        ConfigError::require_positive_real("initial_std", self.initial_std)?;
        ConfigError::require_non_negative("min_std", self.min_std)?;
        ConfigError::require(
            self.max_std.is_finite() && self.max_std >= self.min_std,
            "max_std",
            self.max_std,
            "a finite number of at least `min_std`",
        )?;
        ConfigError::require_non_negative("noise_exponent", self.noise_exponent)
    }
}

impl Method for MppiConfig {
    fn horizon(&self) -> usize {
        self.horizon
    }

    fn set_horizon(&mut self, horizon: usize) {
        self.horizon = horizon;
    }

    fn validate(&self) -> Result<(), ConfigError> {
        MppiConfig::validate(self)
    }

    fn init<'a>(
        &self,
        problem: &'a Problem<'a>,
        _pool: &Pool,
        noise: &mut Noise,
    ) -> Result<Box<dyn Search + 'a>, PlanError> {
        let mean = first_mean(problem).unsqueeze_dim::<3>(0);
        let device = mean.device();
        let distribution = Mppi {
            colouring: Colouring::new(problem.horizon, self.noise_exponent, &device),
            std: mean.full_like(self.initial_std),
            noise: noise.take(),
            settings: self.clone(),
            mean,
        };
        let sizes = [self.chunk, self.iterations];
        Ok(Box::new(Sampling::new(problem, distribution, sizes)))
    }
}

/// The distribution over action sequences.
struct Mppi {
    settings: MppiConfig,
    noise: Noise,
    colouring: Colouring,
    /// `[1, horizon, action]`.
    mean: Tensor<3>,
    std: Tensor<3>,
}

impl Distribution for Mppi {
    /// The mean, then samples around it, `[1 + samples, horizon, action]`.
    fn draw(&mut self, _iteration: usize) -> Tensor<3> {
        let action = self.mean.dims()[2];
        let shape = [self.settings.samples, action];
        let noise = self.colouring.draw(shape, &mut self.noise);
        let drawn = (self.mean.clone() + self.std.clone() * noise).clamp(-1.0, 1.0);
        join(vec![self.mean.clone(), drawn], 0)
    }

    fn fit(&mut self, samples: Tensor<3>, returns: &[f32]) {
        let order = ranked(returns, self.settings.elites);
        let weights = weights(&order, returns, self.settings.temperature);
        let device = samples.device();
        let weights = TensorData::new(weights, [order.len(), 1, 1]);
        let weights = Tensor::<3>::from_data(weights, &device);
        let elites = Rows::new(&order, &device).of(&samples);
        let mean = (elites.clone() * weights.clone()).sum_dim(0);
        let variance = ((elites - mean.clone()).square() * weights).sum_dim(0);
        let old = self.settings.momentum;
        self.mean = self.mean.clone() * old + mean * (1.0 - old);
        self.std = variance
            .sqrt()
            .clamp(self.settings.min_std, self.settings.max_std);
    }
}

/// `exp(τ (R_i − max R))` of the samples in `order`, best first, with sum one; equal where all returns are −∞.
fn weights(order: &[usize], returns: &[f32], temperature: f64) -> Vec<f32> {
    let best = f64::from(returns[order[0]]);
    let exponential = |&index: &usize| match f64::from(returns[index]) {
        total if total == best => 1.0,
        total => (temperature * (total - best)).exp(),
    };
    let exponentials: Vec<f64> = order.iter().map(exponential).collect();
    let sum: f64 = exponentials.iter().sum();
    exponentials
        .iter()
        .map(|weight| (weight / sum) as f32)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shooting::testing::{Check, HORIZON, Regulator, assert_near, solver};

    fn config() -> MppiConfig {
        MppiConfig {
            horizon: HORIZON,
            min_std: 0.01,
            ..MppiConfig::default()
        }
    }

    #[test]
    fn the_regulator_is_found() {
        let planner = solver(MppiConfig {
            iterations: 20,
            noise_exponent: 0.0,
            ..config()
        });
        Check::of(&planner).misses_at_most(5e-3, &Regulator::inside_the_bounds());
        Check::of(&planner).misses_at_most(1e-2, &Regulator::at_the_bounds());
    }

    #[test]
    fn the_contract_of_planners_is_kept() {
        Check::of(&solver(config())).keeps_the_contract();
        let small_chunks = MppiConfig {
            chunk: 7,
            ..config()
        };
        Check::of(&solver(config())).plans_the_same_as(&solver(small_chunks));
    }

    #[test]
    fn weights_fall_exponentially_with_the_return() {
        let found = weights(&[2, 0], &[1.0, 0.0, 3.0], 0.5);
        assert_near(found[0] + found[1], 1.0, 1e-6);
        assert_near(found[1] / found[0], (-1.0f32).exp(), 1e-6);
        // Far from the best nothing overflows.
        assert_eq!(weights(&[0, 1], &[0.0, -1e30], 1.0), [1.0, 0.0]);
        let overflown = [f32::NEG_INFINITY; 2];
        assert_eq!(weights(&[0, 1], &overflown, 1.0), [0.5, 0.5]);
    }

    #[test]
    fn settings_outside_their_range_are_named() {
        let refused = |change: fn(&mut MppiConfig)| {
            let mut config = config();
            change(&mut config);
            config.validate().unwrap_err().name
        };
        assert_eq!(refused(|config| config.elites = 0), "elites");
        assert_eq!(refused(|config| config.temperature = 0.0), "temperature");
        assert_eq!(refused(|config| config.max_std = 0.0), "max_std");
        assert!(MppiConfig::paper().validate().is_ok());
    }
}
