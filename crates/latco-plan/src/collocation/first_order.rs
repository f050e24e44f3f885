use std::thread;

use serde::{Deserialize, Serialize};

use super::{
    Constraint, DualConfig, Generator, Initialisation, Measure, Trajectories, Transcription,
    adam::AdamSteps,
    gradient::{Differentiation, helpers},
    multipliers::Multipliers,
    result::{CollocationResult, LiftedResults},
    start::Start,
    terms::{Problem, Summary},
};
use crate::{
    Belief, ConfigError, Deadline, LatentModel, Noise, Objective, Plan, PlanContext, PlanError,
    Planner,
    iterations::{Iterations, Progress},
    planner::check_belief,
    threads::Crew,
};

/// Settings of first-order collocation.
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
    /// How far a node may be from the dynamics' prediction.
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
            initialisation: Initialisation::Screened {
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

    fn validate(&self) -> Result<(), ConfigError> {
        ConfigError::require_positive("horizon", self.horizon)?;
        ConfigError::require_positive("plans", self.plans)?;
        ConfigError::require_positive("iterations", self.iterations)?;
        ConfigError::require_positive_real("learning_rate", self.learning_rate)?;
        ConfigError::require_non_negative("tolerance", self.tolerance)?;
        self.transcription.validate()?;
        self.measure.validate(self.transcription)?;
        self.dual.validate()
    }
}

/// Deterministic collocation with Adam on latents and actions and dual ascent on λ and ν: an
/// autodiff training loop over the plan tensors (Rybkin et al. 2021, first-order variant).
///
/// ```text
/// z, a ← Adam step on  −Σ r(z_t) + Σ λ_t c_t + Σ ν_t b_t
/// λ, ν ← dual rule on  c, b
/// ```
///
/// Choose it for models without usable second-order structure, and for constraints that are not
/// sums of squares. [`GaussNewton`](super::GaussNewton) needs far fewer iterations.
#[derive(Clone, Debug)]
pub struct FirstOrder {
    name: &'static str,
    config: FirstOrderConfig,
    constraints: Vec<Constraint>,
}

impl FirstOrder {
    /// A planner with these settings.
    ///
    /// # Errors
    ///
    /// Names the first setting outside its range.
    pub fn new(config: FirstOrderConfig) -> Result<Self, ConfigError> {
        config.validate()?;
        Ok(Self {
            name: "latco-first-order",
            config,
            constraints: Vec::new(),
        })
    }

    /// Gives a composition of settings a name of its own.
    pub fn named(mut self, name: &'static str) -> Self {
        self.name = name;
        self
    }

    /// Adds a constraint with multipliers of its own.
    pub fn with_constraint(mut self, constraint: Constraint) -> Self {
        self.constraints.push(constraint);
        self
    }
}

impl Planner for FirstOrder {
    fn name(&self) -> &'static str {
        self.name
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
        let prepared = model.prepared();
        let model = prepared.as_deref().unwrap_or(model);
        let config = &self.config;
        let mut noise = Noise::new(context.seed);
        let lifted = config.transcription.lift(model, belief, &mut noise)?;
        let first_node = lifted.first_node(belief, &mut noise);
        let problem = Problem {
            model: lifted.model(),
            start: first_node.mean_of(config.plans),
            transcription: config.transcription,
            measure: config.measure,
            constraints: &self.constraints,
        };
        let start = Start {
            shape: [config.plans, config.horizon],
            initialisation: config.initialisation,
            resources: context.resources,
            dual: &config.dual,
            relaxation: 1.0,
        };
        let (trajectories, multipliers) =
            start.prepare(&problem, &first_node, context.warm_start, &mut noise)?;
        let ((trajectories, multipliers), iterations) = thread::scope(|scope| {
            let points = config.plans * config.horizon;
            let mut ascent = Ascent {
                config,
                differentiation: Differentiation {
                    problem: &problem,
                    objective: config.objective,
                },
                crew: Crew::new(scope, helpers(points, context.resources.workers)),
                trajectories,
                multipliers,
                latent_steps: AdamSteps::new(config.learning_rate),
                action_steps: AdamSteps::new(config.learning_rate),
                reward: f32::INFINITY,
            };
            let iterations =
                Iterations::run(config.iterations, &deadline, context.observer, |index| {
                    let summary = ascent.iterate(index)?;
                    Ok(Progress {
                        converged: ascent.has_converged(&summary),
                        iteration: summary.iteration,
                        actions: ascent.trajectories.actions.clone(),
                        nodes: Some(ascent.trajectories.latents.clone()),
                    })
                })?;
            Ok::<_, PlanError>((ascent.end(), iterations))
        })?;
        CollocationResult {
            trajectories,
            multipliers,
            model_steps: iterations.trace.len() * config.plans * config.horizon
                + start.model_steps(context.warm_start.is_some()),
            trace: iterations.trace,
            stop: iterations.stop,
        }
        .into_plan(
            &LiftedResults {
                lifted: &lifted,
                problem: &problem,
                first_node: &first_node,
            },
            &deadline,
        )
    }
}

/// The state of one saddle-point ascent.
struct Ascent<'a> {
    config: &'a FirstOrderConfig,
    differentiation: Differentiation<'a>,
    /// Threads that share out the steps of all plans.
    crew: Crew<'a>,
    trajectories: Trajectories,
    multipliers: Multipliers,
    latent_steps: AdamSteps,
    action_steps: AdamSteps,
    /// The summed reward of the last iteration.
    reward: f32,
}

impl<'a> Ascent<'a> {
    /// One primal step, one dual step. The latents, most of the variables, have a thread of their own.
    fn iterate(&mut self, index: usize) -> Result<Summary, PlanError> {
        let Trajectories { latents, actions } = self.trajectories.clone();
        let (terms, gradient) =
            self.differentiation
                .at(&self.trajectories, &self.multipliers, &self.crew);
        let (mut latent_steps, slopes) = (self.latent_steps.take(), gradient.latents);
        let step_latents = move || {
            let latents = latent_steps.step(latents, slopes);
            (latents, latent_steps)
        };
        let ((latents, latent_steps), (actions, summary)) = self.crew.both(step_latents, || {
            let actions = self.action_steps.step(actions, gradient.actions);
            self.multipliers.ascend(&self.config.dual, &terms);
            (actions, terms.summarise(&self.multipliers, index))
        });
        self.latent_steps = latent_steps;
        self.trajectories = Trajectories { latents, actions };
        summary
    }

    fn end(self) -> (Trajectories, Multipliers) {
        (self.trajectories, self.multipliers)
    }

    fn has_converged(&mut self, summary: &Summary) -> bool {
        let reward = summary.iteration.reward;
        let change = f64::from((reward - self.reward).abs());
        self.reward = reward;
        f64::from(summary.violation()) < self.config.dual.threshold
            && change < self.config.tolerance * f64::from(reward.abs()).max(1.0)
    }
}
