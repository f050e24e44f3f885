mod descent;
mod team;

use serde::{Deserialize, Serialize};

use self::team::Team;
use super::{
    ActionBounds, Constraint, DualConfig, DualRule, Initialisation, Measure, Transcription,
    result::{CollocationResult, LiftedResults},
    start::Start,
    terms::{Problem, Summary},
};
use crate::{
    Belief, ConfigError, Deadline, LatentModel, Noise, Plan, PlanContext, PlanError, Planner,
    iterations::{Iterations, Progress},
    planner::check_belief,
};

/// Settings of Gauss–Newton collocation.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct GaussNewtonConfig {
    /// Steps of the plan, T.
    pub horizon: usize,
    /// Starts optimised side by side; the best by rollout is returned.
    pub plans: usize,
    /// As many where an earlier plan is gone on from, which is one of them. As long as less than a
    /// tenth of it has been executed, it is gone on from alone.
    pub warm_plans: usize,
    /// After so many iterations the half of the plans whose rollouts cost more is given up, and again
    /// after as many, until [`FINALISTS`] are left. 0 keeps all to the end, as unstable dynamics
    /// need, where a rollout says nothing before the plan obeys them.
    pub race: usize,
    /// Largest number of Gauss–Newton steps.
    pub iterations: usize,
    /// Damping of actions that is always there.
    pub damping: f64,
    /// Additional damping, of actions and defects, after the first refused step. It grows fourfold
    /// with each refused step and shrinks threefold with each accepted one.
    pub trust: f64,
    /// Where plans start.
    pub initialisation: Initialisation,
    /// What a node of the plan is. Nodes are matched by squared distance: of mean and standard
    /// deviation for a Gaussian.
    pub transcription: Transcription,
    /// How actions are kept within their bounds.
    pub bounds: ActionBounds,
    /// The dual ascent.
    pub dual: DualConfig,
    /// Iterations at the end in each of which λ rises by [`CLOSING_FACTOR`] in place of the dual
    /// ascent, so that the planned latents come to lie on the rollout of the planned actions; a plan
    /// that is above ε after them goes on so.
    pub closing: usize,
    /// As many where an earlier plan, of which less than a tenth has been executed, is gone on
    /// from: its multipliers, where they stood before so many rises, leave the dynamics relaxed
    /// enough for the little that has changed since.
    pub warm_closing: usize,
    /// The closing iterations begin once every violation is below this; λ then rises faster than
    /// by the dual ascent, which slows down as it nears ε.
    pub closing_below: f64,
    /// Stops early once every violation is below ε and the summed reward, or 1 where that is more,
    /// has changed by less than this share in an iteration; 0 never does.
    pub tolerance: f64,
}

impl Default for GaussNewtonConfig {
    fn default() -> Self {
        Self {
            horizon: 30,
            plans: 4,
            warm_plans: 4,
            race: 8,
            iterations: 100,
            damping: 1e-3,
            trust: 1e-3,
            initialisation: Initialisation::Screened {
                std: 0.7,
                exponent: 2.0,
                candidates: 2048,
            },
            transcription: Transcription::default(),
            bounds: ActionBounds::default(),
            closing: 4,
            warm_closing: 2,
            closing_below: 1e-3,
            dual: DualConfig {
                rule: DualRule::Logarithmic { rate: 0.3 },
                dynamics: 1000.0,
                ..DualConfig::default()
            },
            tolerance: 1e-4,
        }
    }
}

impl GaussNewtonConfig {
    /// The reference's: 200 steps from one normal start, damping 1e-3, log rule with κ = 0.1,
    /// λ₀ = ν₀ = 1, ε = 1e-4.
    pub fn paper() -> Self {
        Self {
            plans: 1,
            warm_plans: 1,
            race: 0,
            iterations: 200,
            initialisation: Initialisation::Normal { std: 1.0 },
            bounds: ActionBounds::Penalised,
            dual: DualConfig::default(),
            tolerance: 0.0,
            closing: 0,
            warm_closing: 0,
            ..Self::default()
        }
    }

    /// Gaussian LatCo: mean and standard deviation of each step planned, 50 samples, ε = 1e-2.
    pub fn gaussian() -> Self {
        let standard = Self::default();
        Self {
            plans: 2,
            warm_plans: 2,
            transcription: Transcription::Gaussian { samples: 50 },
            bounds: ActionBounds::Penalised,
            // Each candidate is rolled out with all of its samples.
            initialisation: Initialisation::Screened {
                std: 0.7,
                exponent: 2.0,
                candidates: 512,
            },
            dual: DualConfig {
                threshold: 1e-2,
                ..standard.dual
            },
            // Variances are far from the dynamics' for long: the multipliers that bind them are reached
            // by closing early and further.
            closing: 8,
            warm_closing: 4,
            closing_below: 1.0,
            tolerance: 3e-4,
            ..standard
        }
    }

    /// The ablation without constraint: λ stays at 8 and ν at 16, so that the dynamics are a mere
    /// penalty.
    pub fn no_constraint() -> Self {
        Self {
            closing: 0,
            warm_closing: 0,
            bounds: ActionBounds::Penalised,
            dual: DualConfig {
                rule: DualRule::Fixed,
                dynamics: 8.0,
                actions: 16.0,
                ..DualConfig::default()
            },
            ..Self::default()
        }
    }

    /// The ablation without relaxation: the dynamics are enforced from the start, λ₀ = 1e8.
    pub fn no_relaxation() -> Self {
        Self {
            closing: 0,
            warm_closing: 0,
            dual: DualConfig {
                rule: DualRule::Fixed,
                dynamics: 1e8,
                ..DualConfig::default()
            },
            ..Self::default()
        }
    }

    /// The number of starts and of closing iterations.
    fn starts(&self, warm_start: Option<(&Plan, usize)>) -> (usize, usize) {
        let Some((earlier, executed)) = warm_start else {
            return (self.plans, self.closing);
        };
        if executed * 10 >= self.horizon {
            return (self.warm_plans, self.closing);
        }
        // A plan of a shooting method has no multipliers to go on from.
        let closing = match earlier.multipliers.is_empty() {
            true => self.closing,
            false => self.warm_closing,
        };
        (1, closing)
    }

    fn validate(&self) -> Result<(), ConfigError> {
        ConfigError::require_positive("horizon", self.horizon)?;
        ConfigError::require_positive("plans", self.plans)?;
        ConfigError::require_positive("warm_plans", self.warm_plans)?;
        ConfigError::require_positive("iterations", self.iterations)?;
        ConfigError::require_positive_real("damping", self.damping)?;
        ConfigError::require_positive_real("trust", self.trust)?;
        ConfigError::require_non_negative("tolerance", self.tolerance)?;
        ConfigError::require_positive_real("closing_below", self.closing_below)?;
        self.transcription.validate()?;
        self.dual.validate()
    }
}

/// The growth of λ in each closing iteration.
pub const CLOSING_FACTOR: f64 = 4.0;

/// Plans that no race gives up.
pub const FINALISTS: usize = 2;

/// Collocation with Levenberg–Marquardt steps on latents and actions and dual ascent
/// on λ and ν (Rybkin et al. 2021, algorithm 1; the step is that of [`LeastSquares`](super::LeastSquares)).
///
/// A step is kept only where it lowers the merit
///
/// ```text
/// ½ Σ λ_t c_t + ½ Σ ν_t b_t + ½ Σ ‖ρ(z_t)‖²,
/// ```
///
/// for each plan by itself; where it does not, the damping rises. The step's actions are followed
/// through the model itself and its defects `e_t` added on the way, `z_{t+1} = μ(z_t, a_t) + e_t`
/// (Giftthaler et al. 2018, arXiv 1711.11006; Mastalli et al. 2020, arXiv 1909.04947), so that the
/// dynamics' curvature does not add to the violations: with latents that move along a straight line a
/// large λ would leave only the shortest of steps. Choose it wherever the model is differentiable: it is
/// the default.
#[derive(Clone, Debug)]
pub struct GaussNewton {
    name: &'static str,
    config: GaussNewtonConfig,
    constraints: Vec<Constraint>,
}

impl GaussNewton {
    /// A planner with these settings.
    ///
    /// # Errors
    ///
    /// Names the first setting outside its range.
    pub fn new(config: GaussNewtonConfig) -> Result<Self, ConfigError> {
        config.validate()?;
        Ok(Self {
            name: "latco",
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

impl Planner for GaussNewton {
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
        let (plans, closing) = config.starts(context.warm_start);
        let problem = Problem {
            model: lifted.model(),
            start: first_node.mean_of(plans),
            transcription: Transcription::Deterministic,
            measure: Measure::Moments,
            constraints: &self.constraints,
        };
        let start = Start {
            shape: [plans, config.horizon],
            initialisation: config.initialisation,
            resources: context.resources,
            dual: &config.dual,
            relaxation: CLOSING_FACTOR.powi(closing as i32) as f32,
        };
        let (trajectories, multipliers) =
            start.prepare(&problem, &first_node, context.warm_start, &mut noise)?;
        let mut team = Team::new(
            config,
            problem,
            trajectories,
            multipliers,
            [closing, context.resources.workers],
        );
        let iterations =
            Iterations::run(config.iterations, &deadline, context.observer, |index| {
                let summaries = team.iterate(index)?;
                let converged = team.is_done(&summaries);
                if !converged {
                    team.adapt_multipliers(&summaries, config.iterations - index - 1);
                    team.race(index)?;
                }
                let trajectories = team.trajectories();
                Ok(Progress {
                    iteration: Summary::best(&summaries),
                    actions: trajectories.actions,
                    nodes: Some(trajectories.latents),
                    converged,
                })
            })?;
        let whole = team.join();
        CollocationResult {
            trajectories: whole.trajectories,
            multipliers: whole.multipliers,
            model_steps: whole.model_steps + start.model_steps(context.warm_start.is_some()),
            trace: iterations.trace,
            stop: iterations.stop,
        }
        .into_plan(
            &LiftedResults {
                lifted: &lifted,
                problem: &whole.problem,
                first_node: &first_node,
            },
            &deadline,
        )
    }
}
