use burn::tensor::{Tensor, TensorData};
use serde::{Deserialize, Serialize};

use super::{
    Constraint, DualConfig, DualRule, Initialisation, LeastSquares, Measure, Trajectories,
    Transcription, Weights,
    multipliers::Multipliers,
    result::CollocationResult,
    select_rows,
    start::Start,
    terms::{Problem, Summary, Terms},
};
use crate::{
    Belief, ConfigError, Deadline, LatentModel, Noise, Plan, PlanContext, PlanError, Planner,
    host::read,
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
    /// As many where an earlier plan is gone on from, which is one of them. As long as no more than
    /// a tenth of it has been executed, it is gone on from alone.
    pub warm_plans: usize,
    /// Largest number of Gauss–Newton steps.
    pub iterations: usize,
    /// Damping of actions that is always there.
    pub damping: f64,
    /// Additional damping, of actions and defects, after the first refused step. It grows tenfold
    /// with each refused step and shrinks threefold with each accepted one.
    pub trust: f64,
    /// Where plans start.
    pub initialisation: Initialisation,
    /// What a node of the plan is. Nodes are matched by squared distance: of mean and standard
    /// deviation for a Gaussian.
    pub transcription: Transcription,
    /// The dual ascent.
    pub dual: DualConfig,
    /// Iterations at the end in each of which λ rises by [`CLOSING_FACTOR`] in place of the dual
    /// ascent, so that the planned latents come to lie on the rollout of the planned actions.
    pub closing: usize,
    /// As many where an earlier plan, of which no more than a tenth has been executed, is gone on
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
            plans: 2,
            warm_plans: 2,
            iterations: 100,
            damping: 1e-3,
            trust: 1e-3,
            initialisation: Initialisation::Screened {
                std: 0.7,
                exponent: 2.0,
                candidates: 64,
            },
            transcription: Transcription::default(),
            closing: 4,
            warm_closing: 2,
            closing_below: 1e-3,
            dual: DualConfig {
                rule: DualRule::Logarithmic { rate: 0.3 },
                dynamics: 10.0,
                ..DualConfig::default()
            },
            tolerance: 1e-3,
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
            iterations: 200,
            initialisation: Initialisation::Normal { std: 1.0 },
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
            transcription: Transcription::Gaussian { samples: 50 },
            dual: DualConfig {
                threshold: 1e-2,
                ..standard.dual
            },
            // Variances are far from the dynamics' for long: the multipliers that bind them are reached
            // by closing early and further.
            closing: 8,
            warm_closing: 4,
            closing_below: 1.0,
            ..standard
        }
    }

    /// The ablation without constraint: λ stays at 8 and ν at 16, so that the dynamics are a mere
    /// penalty.
    pub fn no_constraint() -> Self {
        Self {
            closing: 0,
            warm_closing: 0,
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
        if executed * 10 > self.horizon {
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

/// Collocation with Levenberg–Marquardt steps on latents and actions and dual ascent
/// on λ and ν (Rybkin et al. 2021, algorithm 1; the step is that of [`LeastSquares`]).
///
/// A step is kept only where it lowers the merit
///
/// ```text
/// ½ Σ λ_t c_t + ½ Σ ν_t b_t + ½ Σ ‖ρ(z_t)‖²,
/// ```
///
/// for each plan by itself; where it does not, the damping rises. Choose it wherever the model is
/// differentiable: it is the default.
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
            dual: &config.dual,
            relaxation: CLOSING_FACTOR.powi(closing as i32) as f32,
        };
        let (trajectories, multipliers) =
            start.prepare(&problem, &first_node, context.warm_start, &mut noise)?;
        let mut descent = Descent::new(config, &problem, trajectories, multipliers, closing);
        let iterations =
            Iterations::run(config.iterations, &deadline, context.observer, |index| {
                let summary = descent.iterate(index)?;
                let converged = descent.is_done(&summary);
                if !converged {
                    descent.adapt_multipliers(&summary, config.iterations - index - 1);
                }
                Ok(Progress {
                    iteration: summary.iteration,
                    actions: descent.trajectories.actions.clone(),
                    nodes: Some(descent.trajectories.latents.clone()),
                    converged,
                })
            })?;
        CollocationResult {
            trajectories: descent.trajectories,
            multipliers: descent.multipliers,
            model_steps: descent.model_steps,
            trace: iterations.trace,
            stop: iterations.stop,
        }
        .into_plan(&lifted, &problem, &first_node, &deadline)
    }
}

/// The state of one saddle-point search.
struct Descent<'a> {
    config: &'a GaussNewtonConfig,
    problem: &'a Problem<'a>,
    trajectories: Trajectories,
    multipliers: Multipliers,
    terms: Terms,
    searches: Vec<Search>,
    /// Closing iterations of each plan.
    closing: usize,
    model_steps: usize,
}

/// What is known of one plan of the batch.
#[derive(Clone)]
struct Search {
    /// Damping beyond the constant one.
    trust: f32,
    /// The summed virtual reward after the last iteration, and its change in it.
    reward: f32,
    change: f32,
    phase: Phase,
}

/// How the multipliers of a plan move.
#[derive(Clone, Copy, PartialEq)]
enum Phase {
    /// By dual ascent.
    Relaxed,
    /// They rise by [`CLOSING_FACTOR`] in so many more iterations, and then stay.
    Closing(usize),
}

impl Terms {
    /// `½ Σ ‖ρ‖² + ½ Σ λ c + ½ Σ ν b` of each plan, `[plans]`.
    fn merit(&self, multipliers: &Multipliers) -> Tensor<1> {
        let terms = self.residuals.clone() + self.penalty(multipliers);
        terms.sum_dim(1).squeeze_dim::<1>(1) * 0.5
    }

    /// Takes the candidate's rows where `accepted` `[plans, 1]` is one.
    fn keep(&mut self, candidate: Self, accepted: &Tensor<2>) {
        let choose = |present: &mut Tensor<2>, candidate: Tensor<2>| {
            *present = select_rows(present.clone(), candidate, accepted.clone());
        };
        choose(&mut self.rewards, candidate.rewards);
        choose(&mut self.residuals, candidate.residuals);
        choose(&mut self.actions, candidate.actions);
        let present = self.dynamics.iter_mut().chain(&mut self.user);
        let candidates = candidate.dynamics.into_iter().chain(candidate.user);
        for (present, candidate) in present.zip(candidates) {
            choose(present, candidate);
        }
    }
}

/// Tries of one linearisation before the iteration is given up.
const TRIES: usize = 6;

/// Bounds of the damping beyond the constant one.
const TRUST_CEILING: f32 = 1e8;

impl<'a> Descent<'a> {
    fn new(
        config: &'a GaussNewtonConfig,
        problem: &'a Problem<'a>,
        trajectories: Trajectories,
        multipliers: Multipliers,
        closing: usize,
    ) -> Self {
        let [plans, horizon] = trajectories.shape();
        Self {
            closing,
            terms: problem.terms(&trajectories),
            searches: vec![
                Search {
                    trust: 0.0,
                    reward: f32::INFINITY,
                    change: f32::INFINITY,
                    phase: Phase::Relaxed,
                };
                plans
            ],
            model_steps: 2 * plans * horizon,
            multipliers,
            trajectories,
            problem,
            config,
        }
    }

    /// One accepted step for each plan that has one.
    fn iterate(&mut self, index: usize) -> Result<Summary, PlanError> {
        let [plans, horizon] = self.trajectories.shape();
        let system = self.linearise();
        self.model_steps += plans * horizon;
        let before = self.merits(index)?;
        let mut pending = vec![true; plans];
        for _ in 0..TRIES {
            self.attempt(&system, &before, &mut pending, index)?;
            if !pending.contains(&true) {
                break;
            }
        }
        let summary = self.terms.summarise(&self.multipliers, index)?;
        for (search, seen) in self.searches.iter_mut().zip(&summary.plans) {
            search.change = (seen.reward - search.reward).abs();
            search.reward = seen.reward;
        }
        Ok(summary)
    }

    fn linearise(&self) -> LeastSquares<'a> {
        let constraints: Vec<_> = self
            .problem
            .constraints
            .iter()
            .zip(self.multipliers.user.iter().cloned())
            .collect();
        LeastSquares::linearise_with(
            self.problem.model,
            self.problem.start.clone(),
            &self.trajectories,
            &constraints,
        )
    }

    /// Solves with the present damping and keeps the step of each pending plan whose merit it
    /// lowers; raises the damping of the others.
    fn attempt(
        &mut self,
        system: &LeastSquares<'_>,
        before: &[f32],
        pending: &mut [bool],
        index: usize,
    ) -> Result<(), PlanError> {
        let step = system.step(&self.weights(), index)?;
        let candidate = Trajectories {
            latents: self.trajectories.latents.clone() + step.latents,
            actions: self.trajectories.actions.clone() + step.actions,
        };
        let terms = self.problem.terms(&candidate);
        let [plans, horizon] = candidate.shape();
        self.model_steps += plans * horizon;
        let merits = read("merit", terms.merit(&self.multipliers))?;
        let mut accepted = vec![0.0; plans];
        for (plan, search) in self.searches.iter_mut().enumerate() {
            if !pending[plan] {
                continue;
            }
            if merits[plan] <= before[plan] {
                accepted[plan] = 1.0;
                pending[plan] = false;
                search.trust = relaxed(search.trust, self.config.trust);
            } else {
                let least = self.config.trust as f32;
                search.trust = (search.trust * 10.0).clamp(least, TRUST_CEILING);
            }
        }
        self.keep(candidate, terms, accepted);
        Ok(())
    }

    fn keep(&mut self, candidate: Trajectories, terms: Terms, accepted: Vec<f32>) {
        if accepted.iter().all(|&plan| plan == 0.0) {
            return;
        }
        let plans = accepted.len();
        let device = self.problem.start.device();
        let accepted = Tensor::<2>::from_data(TensorData::new(accepted, [plans, 1]), &device);
        let choose = |present: &mut Tensor<3>, candidate: Tensor<3>| {
            let mask = accepted.clone().unsqueeze_dim::<3>(2);
            *present = select_rows(present.clone(), candidate, mask);
        };
        choose(&mut self.trajectories.latents, candidate.latents);
        choose(&mut self.trajectories.actions, candidate.actions);
        self.terms.keep(terms, &accepted);
    }

    fn weights(&self) -> Weights {
        let device = self.problem.start.device();
        let trust: Vec<f32> = self.searches.iter().map(|search| search.trust).collect();
        let plans = trust.len();
        let trust = Tensor::<1>::from_data(TensorData::new(trust, [plans]), &device);
        Weights {
            dynamics: self.multipliers.dynamics[0].clone(),
            actions: self.multipliers.actions.clone(),
            action_damping: trust.clone() + self.config.damping,
            defect_damping: trust,
            latent_damping: None,
        }
    }

    fn merits(&self, index: usize) -> Result<Vec<f32>, PlanError> {
        let merits = read("merit", self.terms.merit(&self.multipliers))?;
        if merits.iter().all(|merit| merit.is_finite()) {
            return Ok(merits);
        }
        Err(self.terms.not_finite(&self.multipliers, index))
    }

    /// One step of each plan's dual ascent or closing. A plan closes once its violations are small,
    /// or no more iterations than it needs are left of the `remaining` ones.
    fn adapt_multipliers(&mut self, summary: &Summary, remaining: usize) {
        let config = self.config;
        let growth: Vec<Option<f64>> = self
            .searches
            .iter_mut()
            .zip(&summary.plans)
            .map(|(search, seen)| {
                let close =
                    f64::from(seen.violation) < config.closing_below || remaining <= self.closing;
                if self.closing > 0 && close && search.phase == Phase::Relaxed {
                    search.phase = Phase::Closing(self.closing);
                }
                match &mut search.phase {
                    Phase::Relaxed => None,
                    Phase::Closing(0) => Some(1.0),
                    Phase::Closing(left) => {
                        *left -= 1;
                        Some(CLOSING_FACTOR)
                    }
                }
            })
            .collect();
        self.multipliers.adapt(&config.dual, &self.terms, &growth);
    }

    /// Whether a plan has converged that no other can be expected to surpass: one that has not
    /// converged still violates the dynamics, so that its reward is rather too high.
    fn is_done(&self, summary: &Summary) -> bool {
        let best = summary.plans.iter().map(|seen| seen.reward);
        let best = best.fold(f32::NEG_INFINITY, f32::max);
        let plans = self.searches.iter().zip(&summary.plans);
        plans
            .filter(|(_, seen)| seen.reward >= best - self.config.tolerance as f32 * best.abs())
            .all(|(search, seen)| self.has_converged(search, seen.violation))
    }

    fn has_converged(&self, search: &Search, violation: f32) -> bool {
        let last = match self.closing {
            0 => Phase::Relaxed,
            _ => Phase::Closing(0),
        };
        search.phase == last
            && f64::from(violation) < self.config.dual.threshold
            && f64::from(search.change)
                < self.config.tolerance * f64::from(search.reward.abs()).max(1.0)
    }
}

/// The damping after an accepted step: a third, and none once it is below `least`.
fn relaxed(trust: f32, least: f64) -> f32 {
    let trust = trust / 3.0;
    if f64::from(trust) < least { 0.0 } else { trust }
}
