use burn::tensor::Tensor;
use latco_kernels::join;
use serde::{Deserialize, Serialize};

use super::sampling::{Distribution, Sampling, elites, first_mean};
use crate::{
    ConfigError, Noise, PlanError,
    solve::{Method, Pool, Problem, Search},
};

/// The cross-entropy method over action sequences (Rubinstein & Kroese 2004; as used for latent
/// models by Hafner et al., PlaNet, arXiv 1811.04551, algorithm 2).
///
/// ```text
/// a^i ~ clip(N(m, diag s²), −1, 1),   i = 1 … samples
/// m, s ← mean and standard deviation of the elites, the samples of highest return
/// ```
///
/// Choose it for rewards without useful gradients and where many model steps are cheap. The plan
/// is the best sequence ever drawn. A warm start is the first mean, and one of the first samples.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CemConfig {
    /// Steps of the plan, T.
    pub horizon: usize,
    /// Action sequences drawn an iteration.
    pub samples: usize,
    /// The best of them, which the next distribution is fitted to.
    pub elites: usize,
    /// Rounds of drawing and fitting.
    pub iterations: usize,
    /// Standard deviation of the first distribution.
    pub initial_std: f64,
    /// Added to the fitted standard deviation, so that it never collapses.
    pub min_std: f64,
    /// Sequences rolled out at once, where [`Resources::rows`](crate::Resources) does not ask for more:
    /// bounds the memory, not the result.
    pub chunk: usize,
}

impl Default for CemConfig {
    fn default() -> Self {
        Self {
            horizon: 30,
            samples: 500,
            elites: 50,
            iterations: 10,
            initial_std: 1.0,
            min_std: 1e-3,
            chunk: 336,
        }
    }
}

impl CemConfig {
    /// The settings that LatCo was compared with (Rybkin et al. 2021): 10,000 samples, 100 elites, 100
    /// iterations.
    pub fn paper() -> Self {
        Self {
            samples: 10_000,
            elites: 100,
            iterations: 100,
            ..Self::default()
        }
    }
}

impl Method for CemConfig {
    fn horizon(&self) -> usize {
        self.horizon
    }

    fn set_horizon(&mut self, horizon: usize) {
        self.horizon = horizon;
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
        ConfigError::require_non_negative("min_std", self.min_std)
    }

    fn init<'a>(
        &self,
        problem: &'a Problem<'a>,
        _pool: &Pool,
        noise: &mut Noise,
    ) -> Result<Box<dyn Search + 'a>, PlanError> {
        let mean = first_mean(problem).unsqueeze_dim::<3>(0);
        let distribution = Cem {
            std: mean.full_like(self.initial_std),
            earlier: problem.earlier.is_some().then(|| mean.clone()),
            noise: noise.take(),
            settings: self.clone(),
            mean,
        };
        let sizes = [self.chunk, self.iterations];
        Ok(Box::new(Sampling::new(problem, distribution, sizes)))
    }
}

/// The distribution over action sequences.
struct Cem {
    settings: CemConfig,
    noise: Noise,
    /// `[1, horizon, action]`.
    mean: Tensor<3>,
    std: Tensor<3>,
    /// What is left of an earlier plan, which joins the first samples, `[1, horizon, action]`.
    earlier: Option<Tensor<3>>,
}

impl Distribution for Cem {
    fn draw(&mut self, _iteration: usize) -> Tensor<3> {
        let [_, horizon, action] = self.mean.dims();
        let earlier = self.earlier.take();
        let samples = self.settings.samples - usize::from(earlier.is_some());
        let noise = self
            .noise
            .normal([samples, horizon, action], &self.mean.device());
        let drawn = (self.mean.clone() + self.std.clone() * noise).clamp(-1.0, 1.0);
        match earlier {
            Some(earlier) if samples > 0 => join(vec![earlier, drawn], 0),
            Some(earlier) => earlier,
            None => drawn,
        }
    }

    fn fit(&mut self, samples: Tensor<3>, returns: &[f32]) {
        let elites = elites(&samples, returns, self.settings.elites);
        self.mean = elites.clone().mean_dim(0);
        let variance = (elites - self.mean.clone()).square().mean_dim(0);
        self.std = variance.sqrt() + self.settings.min_std;
    }
}
