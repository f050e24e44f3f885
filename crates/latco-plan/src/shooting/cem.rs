use burn::tensor::{Int, Tensor, TensorData};
use serde::{Deserialize, Serialize};

use super::{ShootingResult, returns_in_chunks};
use crate::{
    Belief, ConfigError, Deadline, Iteration, LatentModel, Noise, Plan, PlanContext, PlanError,
    Planner, StopReason, planner::check_belief,
};

/// Settings of the cross-entropy method.
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
    /// Sequences rolled out at once: bounds the memory, not the result.
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
            chunk: 2_500,
        }
    }
}

impl CemConfig {
    /// The settings of PlaNet and LatCo: 10,000 samples, 100 elites, 100 iterations.
    pub fn paper() -> Self {
        Self {
            samples: 10_000,
            elites: 100,
            iterations: 100,
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
        ConfigError::require_non_negative("min_std", self.min_std)
    }
}

/// The cross-entropy method over action sequences (Rubinstein & Kroese 2004; as used for latent
/// models by Hafner et al., PlaNet, arXiv 1811.04551, algorithm 2).
///
/// ```text
/// a^i ~ clip(N(m, diag s²), −1, 1),   i = 1 … samples
/// m, s ← mean and standard deviation of the elites, the samples of highest return
/// ```
///
/// Choose it for rewards without useful gradients and where many model steps are cheap. The plan
/// is the best sequence ever drawn.
#[derive(Clone, Debug)]
pub struct Cem {
    config: CemConfig,
}

impl Cem {
    /// A planner with these settings.
    ///
    /// # Errors
    ///
    /// Names the first setting outside its range.
    pub fn new(config: CemConfig) -> Result<Self, ConfigError> {
        config.validate()?;
        Ok(Self { config })
    }
}

impl Planner for Cem {
    fn name(&self) -> &'static str {
        "cem"
    }

    fn horizon(&self) -> usize {
        self.config.horizon
    }

    fn plan_with(
        &self,
        model: &dyn LatentModel,
        belief: &Belief,
        context: PlanContext<'_>,
    ) -> Result<Plan, PlanError> {
        check_belief(model, belief)?;
        let deadline = Deadline::start(context.deadline);
        let mut noise = Noise::new(context.seed);
        let mut search = Search::new(&self.config, model.action_size(), belief);
        let mut stop = StopReason::Iterations;
        let mut trace = Vec::with_capacity(self.config.iterations);
        for index in 0..self.config.iterations {
            let started = deadline.elapsed();
            let samples = search.draw(&mut noise);
            let returns = returns_in_chunks(model, belief, &samples, self.config.chunk, index)?;
            search.fit(&samples, &returns);
            trace.push(Iteration::of_shooting(index, search.best_return));
            context.observer.iteration(&trace[index]);
            if deadline.is_over_after(deadline.elapsed() - started) {
                stop = StopReason::Deadline;
                break;
            }
        }
        ShootingResult {
            actions: search.best,
            model_steps: trace.len() * self.config.samples * self.config.horizon,
            trace,
            stop,
        }
        .into_plan(model, belief, &deadline)
    }
}

/// The distribution over action sequences, and the best sequence drawn from it.
struct Search<'a> {
    config: &'a CemConfig,
    mean: Tensor<3>,
    std: Tensor<3>,
    best: Tensor<2>,
    best_return: f32,
}

impl<'a> Search<'a> {
    fn new(config: &'a CemConfig, action_size: usize, belief: &Belief) -> Self {
        let mean = Tensor::zeros([1, config.horizon, action_size], &belief.device());
        Self {
            std: mean.full_like(config.initial_std),
            best: mean.clone().squeeze_dim(0),
            mean,
            best_return: f32::NEG_INFINITY,
            config,
        }
    }

    /// Action sequences `[samples, horizon, action]` from the present distribution.
    fn draw(&self, noise: &mut Noise) -> Tensor<3> {
        let [_, horizon, action] = self.mean.dims();
        let noise = noise.normal([self.config.samples, horizon, action], &self.mean.device());
        (self.mean.clone() + self.std.clone() * noise).clamp(-1.0, 1.0)
    }

    /// Refits the distribution to the elites.
    fn fit(&mut self, samples: &Tensor<3>, returns: &[f32]) {
        let mut order: Vec<usize> = (0..returns.len()).collect();
        order.sort_by(|&a, &b| returns[b].total_cmp(&returns[a]));
        order.truncate(self.config.elites);
        if returns[order[0]] > self.best_return {
            self.best_return = returns[order[0]];
            self.best = samples.clone().narrow(0, order[0], 1).squeeze_dim(0);
        }
        let indices: Vec<i64> = order.iter().map(|&index| index as i64).collect();
        let indices =
            Tensor::<1, Int>::from_data(TensorData::new(indices, [order.len()]), &samples.device());
        let elites = samples.clone().select(0, indices);
        self.mean = elites.clone().mean_dim(0);
        let variance = (elites - self.mean.clone()).square().mean_dim(0);
        self.std = variance.sqrt() + self.config.min_std;
    }
}
