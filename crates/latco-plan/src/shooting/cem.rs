use burn::tensor::Tensor;
use serde::{Deserialize, Serialize};

use super::{
    Chunks, ShootingResult,
    best::{Best, ranked, select_rows},
    returns_in_chunks,
};
use crate::{
    Belief, ConfigError, Deadline, LatentModel, Noise, Plan, PlanContext, PlanError, Planner,
    iterations::{Iterations, Progress},
    planner::check_belief,
    starts::remaining_actions,
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
/// is the best sequence ever drawn. A warm start is the first mean, and one of the first samples.
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
        let config = &self.config;
        let mut noise = Noise::new(context.seed);
        let chunks = Chunks::new(config.chunk, context.resources);
        let shape = [config.horizon, model.action_size()];
        let earlier = remaining_actions(context.warm_start, shape)?;
        let mut search = Search::new(config, shape, earlier, belief);
        let iterations =
            Iterations::run(config.iterations, &deadline, context.observer, |index| {
                let samples = search.draw(&mut noise);
                let returns = returns_in_chunks(model, belief, &samples, chunks, index)?;
                search.fit(&samples, &returns);
                Ok(Progress::of_shooting(
                    index,
                    search.best.total,
                    &search.best.actions,
                    false,
                ))
            })?;
        ShootingResult {
            actions: search.best.actions,
            model_steps: iterations.trace.len() * config.samples * config.horizon,
            trace: iterations.trace,
            stop: iterations.stop,
        }
        .into_plan(model, belief, &deadline)
    }
}

/// The distribution over action sequences, and the best sequence drawn from it.
struct Search<'a> {
    config: &'a CemConfig,
    /// `[1, horizon, action]`.
    mean: Tensor<3>,
    std: Tensor<3>,
    /// What is left of an earlier plan, which joins the first samples.
    earlier: Option<Tensor<3>>,
    best: Best,
}

impl<'a> Search<'a> {
    fn new(
        config: &'a CemConfig,
        [horizon, action]: [usize; 2],
        earlier: Option<Tensor<2>>,
        belief: &Belief,
    ) -> Self {
        let earlier = earlier.map(|actions| actions.unsqueeze_dim::<3>(0));
        let mean = earlier
            .clone()
            .unwrap_or_else(|| Tensor::zeros([1, horizon, action], &belief.device()));
        Self {
            std: mean.full_like(config.initial_std),
            best: Best::none(mean.clone().squeeze_dim(0)),
            earlier,
            mean,
            config,
        }
    }

    /// Action sequences `[samples, horizon, action]` from the present distribution.
    fn draw(&mut self, noise: &mut Noise) -> Tensor<3> {
        let [_, horizon, action] = self.mean.dims();
        let earlier = self.earlier.take();
        let samples = self.config.samples - usize::from(earlier.is_some());
        let noise = noise.normal([samples, horizon, action], &self.mean.device());
        let drawn = (self.mean.clone() + self.std.clone() * noise).clamp(-1.0, 1.0);
        match earlier {
            Some(earlier) if samples > 0 => Tensor::cat(vec![earlier, drawn], 0),
            Some(earlier) => earlier,
            None => drawn,
        }
    }

    /// Refits the distribution to the elites.
    fn fit(&mut self, samples: &Tensor<3>, returns: &[f32]) {
        self.best.offer(samples, returns);
        let elites = select_rows(samples.clone(), &ranked(returns, self.config.elites));
        self.mean = elites.clone().mean_dim(0);
        let variance = (elites - self.mean.clone()).square().mean_dim(0);
        self.std = variance.sqrt() + self.config.min_std;
    }
}
