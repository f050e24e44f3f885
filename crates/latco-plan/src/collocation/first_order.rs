use std::thread;

use serde::{Deserialize, Serialize};

use super::{
    DualConfig, Generator, Initialisation, Measure, Trajectories, Transcription,
    gradient::{Differentiation, helpers},
    lagrangian::Values,
    multipliers::Multipliers,
    nodes::Nodes,
    relaxed::{Relaxed, Setting},
};
use crate::{
    ConfigError, Noise, Objective, PlanError, StopReason,
    adam::AdamSteps,
    solve::{Method, Pool, Problem, Progress, Search},
    threads::WorkerPool,
};

/// Deterministic collocation with Adam on latents and actions and dual ascent on λ and ν: an
/// autodiff training loop over the plan tensors (Rybkin et al. 2021, algorithm 1, first-order variant).
///
/// ```text
/// z, a    ← Adam step on  −L = −Σ f(z_t) + Σ λ_t c_t + Σ ν_t b_t + Σ κ_t h_t²
/// λ, ν, κ ← dual rule on  c, b, h²
/// ```
///
/// Choose it for models without usable second-order structure, and for constraints that are not
/// sums of squares. [`GaussNewtonConfig`](super::GaussNewtonConfig) needs far fewer iterations.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct FirstOrderConfig {
    /// Steps of the plan, T.
    pub horizon: usize,
    /// Starts optimised side by side; the best by rollout is returned.
    pub plans: usize,
    /// Adam steps.
    pub iterations: usize,
    /// Adam's step size.
    pub learning_rate: f64,
    /// What is maximised.
    pub objective: Objective,
    /// Where plans start.
    pub initialisation: Initialisation,
    /// What a node of the plan is.
    pub transcription: Transcription,
    /// How far a node may be from the dynamics' prediction: any [`Divergence`](super::Divergence).
    pub measure: Measure,
    /// The dual ascent.
    pub dual: DualConfig,
    /// Stops early once every violation is below ε and the summed reward changes by less than
    /// this share between iterations; 0 never does.
    pub tolerance: f64,
}

impl Default for FirstOrderConfig {
    fn default() -> Self {
        Self {
            horizon: 30,
            plans: 4,
            iterations: 300,
            learning_rate: 0.05,
            objective: Objective::Residuals,
            initialisation: Initialisation::BestOfN {
                std: 0.7,
                exponent: 2.0,
                candidates: 64,
            },
            transcription: Transcription::default(),
            measure: Measure::default(),
            dual: DualConfig::default(),
            tolerance: 0.0,
        }
    }
}

impl FirstOrderConfig {
    /// One plan from a normal start, the summed reward itself, as in the first-order ablation of
    /// LatCo.
    pub fn paper() -> Self {
        Self {
            plans: 1,
            iterations: 5_000,
            objective: Objective::Reward,
            initialisation: Initialisation::Normal { std: 1.0 },
            ..Self::default()
        }
    }

    /// Gaussian LatCo: mean and variance of each step planned, 50 samples, ε = 1e-2.
    pub fn gaussian() -> Self {
        Self {
            plans: 1,
            transcription: Transcription::Gaussian { samples: 50 },
            dual: DualConfig {
                threshold: 1e-2,
                ..DualConfig::default()
            },
            ..Self::default()
        }
    }

    /// Gaussian plans whose steps are held together by the KL divergence.
    pub fn kl() -> Self {
        Self {
            measure: Measure::Bregman(Generator::NegativeEntropy { std_floor: 0.1 }),
            ..Self::gaussian()
        }
    }

    /// Plans of `count` particles, matched by their moments.
    pub fn particles(count: usize) -> Self {
        Self {
            plans: 1,
            transcription: Transcription::Particles { count },
            ..Self::default()
        }
    }

    /// The likelihood of the planned latents under the dynamics as the constraint.
    pub fn likelihood() -> Self {
        Self {
            measure: Measure::Likelihood { std_floor: 0.1 },
            dual: DualConfig {
                threshold: 1e-2,
                ..DualConfig::default()
            },
            ..Self::default()
        }
    }
}

impl Method for FirstOrderConfig {
    fn horizon(&self) -> usize {
        self.horizon
    }

    fn set_horizon(&mut self, horizon: usize) {
        self.horizon = horizon;
    }

    fn validate(&self) -> Result<(), ConfigError> {
        ConfigError::require_positive("horizon", self.horizon)?;
        ConfigError::require_positive("plans", self.plans)?;
        ConfigError::require_positive("iterations", self.iterations)?;
        ConfigError::require_positive_real("learning_rate", self.learning_rate)?;
        ConfigError::require_non_negative("tolerance", self.tolerance)?;
        self.transcription.validate()?;
        self.measure.divergence().validate(self.transcription)?;
        self.dual.validate_without_vectors()
    }

    fn takes_constraints(&self) -> bool {
        true
    }

    fn init<'a>(
        &self,
        problem: &'a Problem<'a>,
        _pool: &Pool,
        noise: &mut Noise,
    ) -> Result<Box<dyn Search + 'a>, PlanError> {
        let mut noise = noise.take();
        let setting = Setting {
            transcription: self.transcription,
            measure: &self.measure,
            objective: self.objective,
            dual: self.dual,
        };
        Ok(Box::new(FirstOrder {
            relaxed: Relaxed::new(problem, setting, &mut noise)?,
            ascent: Ascent {
                settings: self.clone(),
                variables: None,
                reward: f32::INFINITY,
                iteration: 0,
                noise,
            },
        }))
    }
}

/// What is moved, and how.
struct Variables {
    /// z and a.
    plan: Trajectories,
    /// λ, ν and κ.
    multipliers: Multipliers,
    /// Whether the gradient is taken in parts, since that is faster.
    in_parts: bool,
    latent_steps: AdamSteps<3>,
    action_steps: AdamSteps<3>,
}

impl Variables {
    /// Algorithm 1 of Rybkin et al. (2021): one primal step, one dual step.
    fn step<'s, 'a: 's>(
        &mut self,
        relaxed: &'a Relaxed<'a>,
        workers: &WorkerPool<'s>,
    ) -> Result<Values, PlanError> {
        let Trajectories { latents, actions } = self.plan.clone();
        let weights = self.multipliers.on_device(&actions.device());
        let lagrangian = &relaxed.lagrangian;
        let (terms, gradient) = match self.in_parts {
            true => Differentiation::of(lagrangian).at(&self.plan, &weights, workers),
            false => {
                let plan = self.plan.leaves();
                let terms = lagrangian.terms(&plan);
                let mut gradients = terms.cost(&weights).backward();
                (terms, plan.gradient(&mut gradients))
            }
        };
        // The latents, most of the variables, have a thread of their own.
        let (mut latent_steps, by_latent) = (self.latent_steps.take(), gradient.latents);
        let step_latents = move || (latent_steps.step(latents, by_latent), latent_steps);
        let ((latents, latent_steps), (actions, values)) = workers.both(step_latents, || {
            let actions = self.action_steps.step(actions, gradient.actions);
            (actions, terms.read())
        });
        self.latent_steps = latent_steps;
        self.plan = Trajectories { latents, actions };
        let values = values?;
        self.multipliers.ascend(&relaxed.dual, &values);
        Ok(values)
    }
}

/// The search of a batch of plans.
struct FirstOrder<'a> {
    relaxed: Relaxed<'a>,
    ascent: Ascent,
}

/// Where the search is.
struct Ascent {
    settings: FirstOrderConfig,
    noise: Noise,
    /// Since the first iteration.
    variables: Option<Variables>,
    /// The summed reward of the last iteration.
    reward: f32,
    iteration: usize,
}

impl Ascent {
    fn begin(
        &mut self,
        relaxed: &Relaxed<'_>,
        workers: usize,
        pool: &mut Pool,
    ) -> Result<Variables, PlanError> {
        let FirstOrderConfig {
            plans,
            initialisation,
            learning_rate,
            ..
        } = self.settings;
        Ok(Variables {
            plan: relaxed.first_trajectories(plans, initialisation, pool, &mut self.noise)?,
            multipliers: relaxed.first_multipliers(plans),
            in_parts: Differentiation::of(&relaxed.lagrangian).pays(workers),
            latent_steps: AdamSteps::new(learning_rate),
            action_steps: AdamSteps::new(learning_rate),
        })
    }

    fn step<'s, 'a: 's>(
        &mut self,
        relaxed: &'a Relaxed<'a>,
        workers: &WorkerPool<'s>,
        pool: &mut Pool,
    ) -> Result<Progress, PlanError> {
        let mut variables = match self.variables.take() {
            Some(variables) => variables,
            None => self.begin(relaxed, workers.size(), pool)?,
        };
        let values = variables.step(relaxed, workers)?;
        let summary = values.summarise(&variables.multipliers)?;
        self.iteration += 1;
        pool.model_steps += self.settings.plans * self.settings.horizon;
        let stop = if self.has_converged(&values, summary.reward) {
            Some(StopReason::Converged)
        } else {
            (self.iteration >= self.settings.iterations).then_some(StopReason::Iterations)
        };
        let progress = summary.progress(&variables.plan, stop);
        self.variables = Some(variables);
        Ok(progress)
    }

    fn has_converged(&mut self, values: &Values, reward: f32) -> bool {
        let FirstOrderConfig {
            dual, tolerance, ..
        } = &self.settings;
        let change = f64::from((reward - self.reward).abs());
        self.reward = reward;
        let violation = (0..values.plans()).map(|plan| values.violation(plan));
        f64::from(violation.fold(0.0, f32::max)) < dual.threshold
            && change < tolerance * f64::from(reward.abs()).max(1.0)
    }
}

impl Search for FirstOrder<'_> {
    fn step(&mut self, pool: &mut Pool) -> Result<Progress, PlanError> {
        self.ascent.step(&self.relaxed, &WorkerPool::alone(), pool)
    }

    fn finish(&mut self, pool: &mut Pool) -> Result<(), PlanError> {
        let variables = self.ascent.variables.take();
        let found = variables.map(
            |Variables {
                 plan, multipliers, ..
             }| { (plan, move |plan: usize| multipliers.of_dynamics(plan)) },
        );
        self.relaxed.finish(found, pool)
    }

    fn with_threads(&mut self, steps: &mut dyn FnMut(&mut dyn Search)) -> bool {
        let FirstOrder { relaxed, ascent } = self;
        let points = ascent.settings.plans * ascent.settings.horizon;
        let helpers = helpers(points, relaxed.problem.resources.workers);
        thread::scope(|scope| {
            let workers = WorkerPool::new(scope, helpers);
            steps(&mut Shared {
                relaxed,
                ascent,
                workers,
            });
        });
        true
    }
}

/// The search with threads among which the steps of all plans are shared out.
struct Shared<'s, 'a> {
    relaxed: &'a Relaxed<'a>,
    ascent: &'s mut Ascent,
    workers: WorkerPool<'s>,
}

impl<'s, 'a: 's> Search for Shared<'s, 'a> {
    fn step(&mut self, pool: &mut Pool) -> Result<Progress, PlanError> {
        self.ascent.step(self.relaxed, &self.workers, pool)
    }

    /// Left to the search without threads.
    fn finish(&mut self, _pool: &mut Pool) -> Result<(), PlanError> {
        Ok(())
    }
}
