mod batch;
mod descent;
mod multipliers;
mod terms;

use serde::{Deserialize, Serialize};

use self::{batch::Batch, multipliers::Multipliers, terms::Summary};
use super::{
    ActionBounds, DualConfig, DualRule, Initialisation, Measure, Transcription,
    nodes::Nodes,
    relaxed::{Relaxed, Setting},
};
use crate::{
    ConfigError, Noise, PlanError, StopReason,
    solve::{Method, Pool, Problem, Progress, Search},
};

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
    /// Successive halving: after so many iterations the half of the plans whose rollouts cost more is
    /// given up, and again after as many, until [`LEAST_PLANS`] are left. 0 keeps all to the end, as
    /// unstable dynamics need, where a rollout says nothing before the plan obeys them.
    pub halving: usize,
    /// Largest number of Gauss–Newton steps.
    pub iterations: usize,
    /// Damping of actions that is always there.
    pub damping: f64,
    /// Additional damping, of actions and defects, after the first refused step. It grows fourfold
    /// with each refused step and shrinks threefold with each accepted one.
    pub step_damping: f64,
    /// Where plans start.
    pub initialisation: Initialisation,
    /// What a node of the plan is. Nodes are matched by squared distance: of mean and standard
    /// deviation for a Gaussian.
    pub transcription: Transcription,
    /// How actions are kept within their bounds.
    pub bounds: ActionBounds,
    /// The dual ascent.
    pub dual: DualConfig,
    /// Penalty continuation: iterations at the end in each of which λ rises by
    /// [`CONTINUATION_FACTOR`] in place of the dual ascent, so that the planned latents come to lie on
    /// the rollout of the planned actions; a plan that is above ε after them goes on so.
    pub continuation: usize,
    /// As many where an earlier plan, of which less than a tenth has been executed, is gone on
    /// from: its multipliers, where they stood before so many rises, leave the dynamics relaxed
    /// enough for the little that has changed since.
    pub warm_continuation: usize,
    /// The continuation begins once every violation is below this; λ then rises faster than
    /// by the dual ascent, which slows down as it nears ε.
    pub continuation_below: f64,
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
            halving: 8,
            iterations: 100,
            damping: 1e-3,
            step_damping: 1e-3,
            initialisation: Initialisation::BestOfN {
                std: 0.7,
                exponent: 2.0,
                candidates: 2048,
            },
            transcription: Transcription::default(),
            bounds: ActionBounds::default(),
            continuation: 4,
            warm_continuation: 2,
            continuation_below: 1e-3,
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
            halving: 0,
            iterations: 200,
            initialisation: Initialisation::Normal { std: 1.0 },
            bounds: ActionBounds::Penalised,
            dual: DualConfig::default(),
            tolerance: 0.0,
            continuation: 0,
            warm_continuation: 0,
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
            initialisation: Initialisation::BestOfN {
                std: 0.7,
                exponent: 2.0,
                candidates: 512,
            },
            dual: DualConfig {
                threshold: 1e-2,
                ..standard.dual
            },
            // Variances are far from the dynamics' for long: the multipliers that bind them are reached
            // by a continuation that is early and long.
            continuation: 8,
            warm_continuation: 4,
            continuation_below: 1.0,
            tolerance: 3e-4,
            ..standard
        }
    }

    /// The ablation without constraint: λ stays at 8 and ν at 16, so that the dynamics are a mere
    /// penalty.
    pub fn no_constraint() -> Self {
        Self {
            continuation: 0,
            warm_continuation: 0,
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
            continuation: 0,
            warm_continuation: 0,
            dual: DualConfig {
                rule: DualRule::Fixed,
                dynamics: 1e8,
                ..DualConfig::default()
            },
            ..Self::default()
        }
    }

    /// The number of plans and of iterations of their continuation.
    fn starts(&self, problem: &Problem<'_>, pool: &Pool) -> (usize, usize) {
        if !pool.candidates.is_empty() {
            return (self.plans.min(pool.candidates.len()), self.continuation);
        }
        let Some((earlier, executed)) = problem.warm_start else {
            return (self.plans, self.continuation);
        };
        if executed * 10 >= self.horizon {
            return (self.warm_plans, self.continuation);
        }
        // A plan of a shooting method has no multipliers to go on from.
        let continuation = match earlier.multipliers.is_empty() {
            true => self.continuation,
            false => self.warm_continuation,
        };
        (1, continuation)
    }
}

/// The growth of λ in each iteration of the penalty continuation.
pub const CONTINUATION_FACTOR: f64 = 4.0;

/// Plans that successive halving does not give up.
pub const LEAST_PLANS: usize = 2;

impl Method for GaussNewtonConfig {
    fn horizon(&self) -> usize {
        self.horizon
    }

    fn set_horizon(&mut self, horizon: usize) {
        self.horizon = horizon;
    }

    fn validate(&self) -> Result<(), ConfigError> {
        ConfigError::require_positive("horizon", self.horizon)?;
        ConfigError::require_positive("plans", self.plans)?;
        ConfigError::require_positive("warm_plans", self.warm_plans)?;
        ConfigError::require_positive("iterations", self.iterations)?;
        ConfigError::require_positive_real("damping", self.damping)?;
        ConfigError::require_positive_real("step_damping", self.step_damping)?;
        ConfigError::require_non_negative("tolerance", self.tolerance)?;
        ConfigError::require_positive_real("continuation_below", self.continuation_below)?;
        self.transcription.validate()?;
        self.dual.validate()
    }

    fn takes_constraints(&self) -> bool {
        true
    }

    fn init<'a>(
        &self,
        problem: &'a Problem<'a>,
        pool: &Pool,
        noise: &mut Noise,
    ) -> Result<Box<dyn Search + 'a>, PlanError> {
        let mut noise = noise.take();
        let setting = Setting {
            transcription: self.transcription,
            measure: &Measure::Moments,
            objective: crate::Objective::Residuals,
            dual: self.dual,
        };
        let mut relaxed = Relaxed::new(problem, setting, pool, &mut noise)?;
        relaxed.lagrangian.node = Transcription::Deterministic;
        Ok(Box::new(GaussNewton {
            settings: self.clone(),
            batch: None,
            iteration: 0,
            relaxed,
            noise,
        }))
    }
}

/// The saddle-point search of a batch of plans.
struct GaussNewton<'a> {
    settings: GaussNewtonConfig,
    relaxed: Relaxed<'a>,
    noise: Noise,
    /// Since the first iteration.
    batch: Option<Batch<'a>>,
    iteration: usize,
}

impl<'a> GaussNewton<'a> {
    fn begin(&mut self, pool: &mut Pool) -> Result<Batch<'a>, PlanError> {
        let (settings, relaxed) = (self.settings.clone(), self.relaxed.clone());
        let (plans, continuation) = settings.starts(relaxed.problem, pool);
        let relaxation = CONTINUATION_FACTOR.powi(continuation as i32) as f32;
        let initialisation = settings.initialisation;
        let first = relaxed.first_trajectories(plans, initialisation, pool, &mut self.noise)?;
        let mut multipliers = relaxed.first_multipliers(plans);
        if let Some((earlier, executed)) = relaxed.gone_on_from() {
            let mut earlier = earlier.multipliers.clone();
            earlier
                .iter_mut()
                .flatten()
                .for_each(|multiplier| *multiplier /= relaxation);
            multipliers.warm_start(&earlier, executed, &relaxed.dual);
        }
        let multipliers = Multipliers::of(multipliers.on_device(&relaxed.start(1).device()));
        Ok(Batch::new(
            settings,
            relaxed,
            &first,
            &multipliers,
            continuation,
        ))
    }
}

impl Search for GaussNewton<'_> {
    fn step(&mut self, pool: &mut Pool) -> Result<Progress, PlanError> {
        let mut batch = match self.batch.take() {
            Some(batch) => batch,
            None => self.begin(pool)?,
        };
        let summaries = batch.iterate()?;
        self.iteration += 1;
        let remaining = self.settings.iterations.saturating_sub(self.iteration);
        let stop = if batch.is_done(&summaries) {
            Some(StopReason::Converged)
        } else {
            batch.adapt_multipliers(&summaries, remaining);
            batch.halve(self.iteration, pool)?;
            (remaining == 0).then_some(StopReason::Iterations)
        };
        pool.model_steps += batch.take_model_steps();
        let best = Summary::best(&summaries);
        let progress = best.progress(&batch.trajectories(), stop);
        self.batch = Some(batch);
        Ok(progress)
    }

    fn finish(&mut self, pool: &mut Pool) -> Result<(), PlanError> {
        let batch = self.batch.take();
        let found = match batch {
            Some(batch) => {
                let multipliers = batch.multipliers().dynamics;
                let mut read = Vec::new();
                for multiplier in multipliers {
                    read.push(crate::host::read("multiplier", multiplier)?);
                }
                let horizon = self.settings.horizon;
                let of = move |plan: usize| -> Vec<Vec<f32>> {
                    read.iter()
                        .map(|all| all[plan * horizon..][..horizon].to_vec())
                        .collect()
                };
                Some((batch.trajectories(), of))
            }
            None => None,
        };
        self.relaxed.finish(found, pool)
    }
}
