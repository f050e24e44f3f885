use burn::tensor::Tensor;
use latco_kernels::join;
use serde::{Deserialize, Serialize};

use super::sampling::{Distribution, Sampling, elites, first_mean};
use crate::{
    ConfigError, Noise, PlanError,
    solve::{Method, Pool, Problem, Search},
    starts::Colouring,
};

/// The improved cross-entropy method (Pinneri et al., "Sample-efficient Cross-Entropy Method for
/// Real-time Planning", CoRL 2020, arXiv 2008.06389, algorithm 1).
///
/// ```text
/// a^i ~ clip(m + s ∘ C^β, −1, 1),   i = 1 … max(N γ^−j, 2 K)   in iteration j
/// m, s ← α (m, s) + (1 − α) (mean, standard deviation of the elites)
/// ```
///
/// where `C^β` is noise of unit variance whose power falls with frequency f as `1 / f^β`, so that
/// sequences stay smooth and reach further than white noise. A share of the elites enters the next
/// population, and the mean enters the last one. A warm start shifts the earlier plan, the one
/// elite that a [plan](crate::Plan) leaves for the next one: it is the first mean and a member of the first population.
///
/// Choose it over [`CemConfig`](super::CemConfig) wherever actions should be smooth, and where model steps
/// are dear. The plan is the best sequence ever drawn.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct IcemConfig {
    /// Steps of the plan, T.
    pub horizon: usize,
    /// Action sequences drawn in the first iteration, N.
    pub samples: usize,
    /// The best of them, which the next distribution is fitted to, K.
    pub elites: usize,
    /// Rounds of drawing and fitting.
    pub iterations: usize,
    /// Standard deviation of the first distribution.
    pub initial_std: f64,
    /// Exponent β of the noise: 0 is white, 2 and more is smooth.
    pub noise_exponent: f64,
    /// The population falls by this factor with each iteration, γ, but not below `2 K`.
    pub decay: f64,
    /// Share of the old mean and standard deviation in the new ones, α.
    pub momentum: f64,
    /// Share of the elites that enter the next population, ξ.
    pub kept: f64,
    /// Sequences rolled out at once, where [`Resources::rows`](crate::Resources) does not ask for more:
    /// bounds the memory, not the result.
    pub chunk: usize,
}

impl Default for IcemConfig {
    fn default() -> Self {
        Self {
            horizon: 30,
            samples: 500,
            elites: 20,
            iterations: 10,
            initial_std: 1.0,
            noise_exponent: 2.0,
            decay: 1.15,
            momentum: 0.1,
            kept: 0.3,
            chunk: 256,
        }
    }
}

impl IcemConfig {
    /// What the authors keep fixed over their tasks (10 elites, standard deviation 0.5, decay
    /// 1.25, momentum 0.1, a share of 0.3 kept) with their noise for sparse rewards (exponent
    /// 2.5).
    pub fn paper() -> Self {
        Self {
            elites: 10,
            initial_std: 0.5,
            noise_exponent: 2.5,
            decay: 1.25,
            ..Self::default()
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
        ConfigError::require_positive_real("initial_std", self.initial_std)?;
        ConfigError::require_non_negative("noise_exponent", self.noise_exponent)?;
        ConfigError::require(
            self.decay.is_finite() && self.decay >= 1.0,
            "decay",
            self.decay,
            "a finite number of at least 1",
        )?;
        ConfigError::require(
            (0.0..1.0).contains(&self.momentum),
            "momentum",
            self.momentum,
            "at least 0 and below 1",
        )?;
        ConfigError::require(
            (0.0..=1.0).contains(&self.kept),
            "kept",
            self.kept,
            "between 0 and 1",
        )
    }

    /// The sequences drawn in an iteration, `max(N γ^−i, 2 K)`.
    fn population(&self, iteration: usize) -> usize {
        let decayed = self.samples as f64 * self.decay.powf(-(iteration as f64));
        (decayed as usize).max(2 * self.elites)
    }
}

impl Method for IcemConfig {
    fn horizon(&self) -> usize {
        self.horizon
    }

    fn set_horizon(&mut self, horizon: usize) {
        self.horizon = horizon;
    }

    fn validate(&self) -> Result<(), ConfigError> {
        IcemConfig::validate(self)
    }

    fn init<'a>(
        &self,
        problem: &'a Problem<'a>,
        _pool: &Pool,
        noise: &mut Noise,
    ) -> Result<Box<dyn Search + 'a>, PlanError> {
        let mean = first_mean(problem).unsqueeze_dim::<3>(0);
        let device = mean.device();
        let distribution = Icem {
            colouring: Colouring::new(problem.horizon, self.noise_exponent, &device),
            std: mean.full_like(self.initial_std),
            kept: problem.earlier.is_some().then(|| mean.clone()),
            noise: noise.take(),
            settings: self.clone(),
            mean,
        };
        let sizes = [self.chunk, self.iterations];
        Ok(Box::new(Sampling::new(problem, distribution, sizes)))
    }
}

/// The distribution over action sequences, and what is kept of earlier populations.
struct Icem {
    settings: IcemConfig,
    noise: Noise,
    colouring: Colouring,
    /// `[1, horizon, action]`.
    mean: Tensor<3>,
    std: Tensor<3>,
    /// Sequences that enter the next population, `[kept, horizon, action]`.
    kept: Option<Tensor<3>>,
}

impl Distribution for Icem {
    fn draw(&mut self, iteration: usize) -> Tensor<3> {
        let action = self.mean.dims()[2];
        let samples = self.settings.population(iteration);
        let noise = self.colouring.draw([samples, action], &mut self.noise);
        let drawn = (self.mean.clone() + self.std.clone() * noise).clamp(-1.0, 1.0);
        let mut population = vec![drawn];
        population.extend(self.kept.take());
        if iteration + 1 == self.settings.iterations {
            population.push(self.mean.clone());
        }
        join(population, 0)
    }

    fn fit(&mut self, samples: Tensor<3>, returns: &[f32]) {
        let elites = elites(&samples, returns, self.settings.elites);
        let mean = elites.clone().mean_dim(0);
        let variance = (elites.clone() - mean.clone()).square().mean_dim(0);
        let old = self.settings.momentum;
        self.mean = self.mean.clone() * old + mean * (1.0 - old);
        self.std = self.std.clone() * old + variance.sqrt() * (1.0 - old);
        let kept = (self.settings.kept * self.settings.elites as f64).round() as usize;
        self.kept = (kept > 0).then(|| elites.narrow(0, 0, kept));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shooting::testing::{Check, HORIZON, Regulator, solver};

    fn config() -> IcemConfig {
        IcemConfig {
            horizon: HORIZON,
            ..IcemConfig::default()
        }
    }

    #[test]
    fn the_regulator_is_found() {
        let planner = solver(IcemConfig {
            noise_exponent: 0.5,
            iterations: 20,
            ..config()
        });
        Check::of(&planner).misses_at_most(5e-3, &Regulator::inside_the_bounds());
        Check::of(&planner).misses_at_most(5e-3, &Regulator::at_the_bounds());
    }

    #[test]
    fn the_contract_of_planners_is_kept() {
        Check::of(&solver(config())).keeps_the_contract();
        let small_chunks = IcemConfig {
            chunk: 7,
            ..config()
        };
        Check::of(&solver(config())).plans_the_same_as(&solver(small_chunks));
    }

    #[test]
    fn settings_outside_their_range_are_named() {
        let refused = |change: fn(&mut IcemConfig)| {
            let mut config = config();
            change(&mut config);
            config.validate().unwrap_err().name
        };
        assert_eq!(refused(|config| config.elites = 501), "elites");
        assert_eq!(refused(|config| config.decay = 0.5), "decay");
        assert_eq!(refused(|config| config.momentum = 1.0), "momentum");
        assert_eq!(refused(|config| config.kept = 1.5), "kept");
        assert_eq!(
            refused(|config| config.noise_exponent = -1.0),
            "noise_exponent"
        );
        assert!(IcemConfig::paper().validate().is_ok());
    }

    #[test]
    fn the_population_falls_to_twice_the_elites() {
        let config = IcemConfig::paper();
        assert_eq!(config.population(0), config.samples);
        assert_eq!(
            config.population(1),
            (config.samples as f64 / 1.25) as usize
        );
        assert_eq!(config.population(100), 2 * config.elites);
    }
}
