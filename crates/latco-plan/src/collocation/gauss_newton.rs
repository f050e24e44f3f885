use serde::{Deserialize, Serialize};

use super::{
    ActionBounds, DualConfig, DualRule, Initialisation, Measure, Trajectories, Transcription,
    nodes::Nodes,
    relaxed::{Relaxed, Setting},
};
use crate::{
    ConfigError, LatentModel, Noise, Objective, PlanError, StopReason,
    dual::{GROWTH, INNER, Penalty, STATIONARY, largest_violation},
    gauss_newton::{constraints::Constraints, cost::Cost, descent::Descent},
    host::{read, require_finite},
    rollout::rewards_along,
    solve::{Method, Pool, Problem, Progress, Relaxation, Search},
};

/// Collocation with Levenberg–Marquardt steps on latents and actions and dual ascent on λ and ν (Rybkin
/// et al. 2021, algorithm 1), for any [divergence](super::Divergence) with residuals.
///
/// A step is kept only where it lowers the merit, the residual form of the Lagrangian
///
/// ```text
/// ½ Σ ‖ρ(z_t)‖² + ½ Σ λ_t ‖d_t‖² + ½ Σ ν_t b_t + ½ Σ κ_t h_t²
/// ```
///
/// for each plan by itself; where it does not, the damping rises. Under [`DualRule::Augmented`] the terms
/// `y · d` of vector multipliers join it, and bounds and inequalities `h ≤ 0` count by `d = max(h, −y / κ)`.
///
/// The step's actions are followed through the model itself and its defects `e_t` added on the way,
/// `z_{t+1} = μ(z_t, a_t) + e_t` (Giftthaler et al. 2018, arXiv 1711.11006; Mastalli et al. 2020, arXiv
/// 1909.04947), so that the dynamics' curvature does not add to the violations: with latents that move along a
/// straight line a large λ would leave only the shortest of steps.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct GaussNewtonConfig {
    /// Steps of the plan, T.
    pub horizon: usize,
    /// Starts optimised side by side; the best by rollout is returned. What is left of an earlier plan, or
    /// what a search before has handed on, is optimised without further starts.
    pub plans: usize,
    /// Successive halving: after so many iterations the half of the plans whose rollouts cost more is
    /// given up, and again after as many, until [`LEAST_PLANS`] are left. 0 keeps all to the end, as
    /// unstable dynamics need, where a rollout says nothing before the plan obeys them.
    pub halving: usize,
    /// Largest number of Gauss–Newton steps.
    pub iterations: usize,
    /// Where plans start.
    pub initialisation: Initialisation,
    /// What a node of the plan is.
    pub transcription: Transcription,
    /// How far a node may be from the dynamics' prediction: any [`Divergence`](super::Divergence) with
    /// residuals. A step takes how they change with the planned node alone. Their change with the prediction,
    /// where it is more than a shift of the node, is left out: it vanishes with residuals of points, Gaussian moments and the
    /// likelihood, not with the moments of several particles, for which
    /// [`FirstOrderConfig`](super::FirstOrderConfig) has the whole gradient.
    pub measure: Measure,
    /// How actions are kept within their bounds.
    pub bounds: ActionBounds,
    /// The dual ascent.
    pub dual: DualConfig,
    /// Penalty continuation: iterations at the end in each of which λ rises fourfold in place of the dual
    /// ascent, that of the user's constraints apart, so that the planned latents come to lie on the rollout of the
    /// planned actions; a plan that is above ε after them goes on so, as does one that has converged and whose
    /// rollout violates the user's constraints.
    pub continuation: usize,
    /// The continuation begins once every violation is below this; λ then rises faster than
    /// by the dual ascent, which slows down as it nears ε.
    pub continuation_below: f64,
    /// Stops early once every violation is below ε, a step with small damping has changed the summed
    /// reward, or 1 where that is more, by less than this share, or no step has lowered the merit, and the
    /// rollout delivers what the plan promises; 0 never does.
    pub tolerance: f64,
}

impl Default for GaussNewtonConfig {
    fn default() -> Self {
        Self {
            horizon: 30,
            plans: 4,
            halving: 8,
            iterations: 100,
            initialisation: Initialisation::BestOfN {
                std: 0.7,
                exponent: 2.0,
                candidates: 2048,
            },
            transcription: Transcription::default(),
            measure: Measure::default(),
            bounds: ActionBounds::default(),
            continuation: 4,
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
    /// The reference's: 200 steps from one normal start, log rule with κ = 0.1, λ₀ = ν₀ = 1, ε = 1e-4.
    pub fn paper() -> Self {
        Self {
            plans: 1,
            halving: 0,
            iterations: 200,
            initialisation: Initialisation::Normal { std: 1.0 },
            bounds: ActionBounds::Penalised,
            dual: DualConfig::default(),
            tolerance: 0.0,
            continuation: 0,
            ..Self::default()
        }
    }

    /// Gaussian LatCo: mean and variance of each step planned, 50 samples, ε = 1e-2.
    pub fn gaussian() -> Self {
        let standard = Self::default();
        Self {
            plans: 2,
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
            dual: DualConfig {
                rule: DualRule::Fixed,
                dynamics: 1e8,
                ..DualConfig::default()
            },
            ..Self::default()
        }
    }
}

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
        ConfigError::require_positive("iterations", self.iterations)?;
        ConfigError::require_non_negative("tolerance", self.tolerance)?;
        ConfigError::require_positive_real("continuation_below", self.continuation_below)?;
        self.transcription.validate()?;
        let divergence = self.measure.divergence();
        divergence.validate(self.transcription)?;
        ConfigError::require(
            divergence.residuals().is_some(),
            "measure",
            format!("{divergence:?}"),
            "a divergence with residuals; latco-first-order takes any",
        )?;
        self.dual.validate()
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
            objective: Objective::Residuals,
            dual: self.dual,
        };
        Ok(Box::new(GaussNewton {
            relaxed: Relaxed::new(problem, setting, &mut noise)?,
            settings: self.clone(),
            ascent: None,
            iteration: 0,
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
    ascent: Option<Ascent<'a>>,
    iteration: usize,
}

/// Where the search is.
struct Ascent<'a> {
    descent: Descent<'a>,
    states: Vec<State>,
    /// Iterations of penalty continuation that each plan takes.
    continuation: usize,
    /// Constraints of the divergence, and of all but the user, which come last.
    dynamics: usize,
    scaled: usize,
}

/// What is known of one plan of the batch.
#[derive(Clone, Copy)]
struct State {
    /// The summed virtual reward after the last iteration, and its change in it.
    reward: f32,
    change: f32,
    /// The largest `‖d_t‖²` of any constraint; +∞ where one is no number.
    violation: f64,
    /// By how much the last step lowered the merit, relative to its size; 0 where none did.
    decrease: f64,
    /// Whether it was one with small damping, or there was none.
    undamped: bool,
    /// Steps since vector multipliers moved.
    inner: usize,
    phase: Phase,
}

impl State {
    /// Whether multipliers of this `rule` move now: vectors once the plan has settled under the present ones.
    fn is_due(&self, rule: DualRule) -> bool {
        rule != DualRule::Augmented || self.decrease < STATIONARY || self.inner >= INNER
    }
}

/// How the multipliers of a plan move.
#[derive(Clone, Copy, PartialEq)]
enum Phase {
    /// By dual ascent.
    Relaxed,
    /// They rise by [`GROWTH`] in so many more iterations, and in each further one that finds the plan
    /// above ε.
    Continuation(usize),
}

/// The share of a return, or of 1 where that is more, by which the rollout of a converged plan may fall
/// short of what it promises.
const LARGEST_GAP: f32 = 0.1;

/// Iterations of a continuation that was not asked for.
const FURTHER: usize = 4;

/// The most damping that is carried over to other multipliers.
const CARRIED_DAMPING: f64 = 1e-2;

impl<'a> GaussNewton<'a> {
    fn begin(&mut self, pool: &mut Pool) -> Result<Ascent<'a>, PlanError> {
        let GaussNewton {
            settings, relaxed, ..
        } = self;
        let problem = relaxed.problem;
        let plans = match pool.candidates.len() {
            0 => settings.plans,
            candidates => settings.plans.min(candidates),
        };
        let initialisation = settings.initialisation;
        let first = relaxed.first_trajectories(plans, initialisation, pool, &mut self.noise)?;
        let constraints = Constraints {
            lagrangian: relaxed.lagrangian.clone(),
            bounds: settings.bounds,
        };
        let user = constraints.of_user();
        let sizes = [problem.horizon, problem.model.action_size()];
        let penalties = constraints.first_penalties(&settings.dual, sizes)?;
        let scaled = penalties.len() - user;
        let dynamics = scaled - usize::from(settings.bounds == ActionBounds::Penalised);
        let penalties = vec![penalties; plans];
        let cost = Cost::of_residuals();
        let batch = constraints.batch(first);
        let descent = Descent::new(problem, constraints, cost, batch, penalties)?;
        let state = State {
            reward: f32::INFINITY,
            change: f32::INFINITY,
            violation: f64::INFINITY,
            decrease: 0.0,
            undamped: false,
            inner: 0,
            phase: Phase::Relaxed,
        };
        Ok(Ascent {
            states: vec![state; plans],
            descent,
            continuation: settings.continuation,
            dynamics,
            scaled,
        })
    }

    /// Gives the worse half of the plans up where it is time to, by what their rollouts violate of the user's
    /// constraints and then by their cost: what a plan promises before it obeys the dynamics says little.
    fn halve(&self, ascent: &mut Ascent<'a>, pool: &mut Pool) -> Result<(), PlanError> {
        let every = self.settings.halving;
        let due = every > 0 && self.iteration.is_multiple_of(every);
        if !due || ascent.states.len() <= LEAST_PLANS {
            return Ok(());
        }
        let (rollouts, costs) = ascent.rollouts(&self.relaxed)?;
        self.relaxed
            .offer(&self.relaxed.in_nodes(), &rollouts, pool)?;
        let excess = self.relaxed.excess(&rollouts)?;
        ascent.keep(&better_half(&costs, &excess));
        Ok(())
    }

    /// Whether the rollout of the plan of highest reward delivers what it promises.
    fn is_backed(&self, ascent: &mut Ascent<'a>) -> Result<bool, PlanError> {
        let (rollouts, _) = ascent.rollouts(&self.relaxed)?;
        let best = ascent.best();
        let rewards = rewards_along(self.relaxed.model(), rollouts.latents).sum_dim(1);
        let rolled_out = read("reward", rewards)?[best];
        let promised = ascent.states[best].reward;
        let scale = promised.abs().max(rolled_out.abs()).max(1.0);
        Ok(promised - rolled_out <= LARGEST_GAP * scale)
    }

    /// Whether that rollout keeps the user's constraints, as the planned latents do.
    fn keeps_constraints(&self, ascent: &mut Ascent<'a>) -> Result<bool, PlanError> {
        if self.relaxed.problem.constraints.is_empty() {
            return Ok(true);
        }
        let (rollouts, _) = ascent.rollouts(&self.relaxed)?;
        Ok(self.relaxed.excess(&rollouts)?[ascent.best()] == 0.0)
    }
}

impl Ascent<'_> {
    /// One step of every plan; whether the deadline let them be taken.
    fn iterate(&mut self, model: &dyn LatentModel) -> Result<bool, PlanError> {
        let (decreases, in_time) = match self.descent.iterate() {
            Err(PlanError::Interrupted) => (vec![0.0; self.states.len()], false),
            decreases => (decreases?, true),
        };
        for (plan, (state, decrease)) in self.states.iter_mut().zip(decreases).enumerate() {
            let reward = self.descent.scores[plan].total as f32;
            let penalties = self.descent.penalties[plan].iter();
            let squares = penalties
                .zip(&self.descent.misses[plan])
                .flat_map(|(penalty, misses)| penalty.residual_squares(misses));
            state.violation = largest_violation(squares);
            state.change = (reward - state.reward).abs();
            state.reward = reward;
            state.decrease = decrease;
            state.undamped = decrease == 0.0 || self.descent.dampings[plan].is_small();
            state.inner += 1;
        }
        let horizon = self.horizon();
        if self.states.iter().all(|state| state.reward.is_finite()) {
            return Ok(in_time);
        }
        let rewards = rewards_along(model, self.descent.present.latents.clone());
        require_finite("reward", 0, &read("reward", rewards)?, horizon)?;
        Err(PlanError::NotFinite {
            what: "the sum over all steps",
            iteration: 0,
            step: horizon - 1,
        })
    }

    fn horizon(&self) -> usize {
        self.descent.present.actions.dims()[1]
    }

    fn plan(&self) -> Trajectories {
        Trajectories {
            latents: self.descent.present.latents.clone(),
            actions: self.descent.present.actions.clone(),
        }
    }

    /// The plan of highest virtual reward.
    fn best(&self) -> usize {
        let reward = |plan: &usize| self.states[*plan].reward;
        let order = (0..self.states.len()).max_by(|a, b| reward(a).total_cmp(&reward(b)));
        order.unwrap_or_default()
    }

    /// The rollouts of all plans, and `½ Σ ‖ρ‖²` along them.
    fn rollouts(&mut self, relaxed: &Relaxed<'_>) -> Result<(Trajectories, Vec<f64>), PlanError> {
        let actions = self.descent.present.actions.clone().clamp(-1.0, 1.0);
        let nodes = relaxed.in_nodes();
        let latents = nodes.roll_out(actions.clone()).latents;
        self.descent.model_steps += self.states.len() * self.horizon();
        let scores = Cost::of_residuals().scores(nodes.model, &latents)?;
        let costs = scores.iter().map(|score| score.cost);
        Ok((Trajectories { latents, actions }, costs.collect()))
    }

    /// Goes on with these plans alone.
    fn keep(&mut self, plans: &[usize]) {
        self.descent.keep(plans);
        self.states = plans.iter().map(|&plan| self.states[plan]).collect();
    }

    /// Whether a plan has converged that no other can be expected to surpass: one that has not converged
    /// still violates the dynamics, so that its reward is rather too high.
    fn is_settled(&self, settings: &GaussNewtonConfig) -> bool {
        let best = self.states[self.best()].reward;
        let least = best - settings.tolerance as f32 * best.abs();
        let last = match self.continuation {
            0 => Phase::Relaxed,
            _ => Phase::Continuation(0),
        };
        let mut near = self.states.iter().filter(|state| state.reward >= least);
        near.all(|state| {
            let scale = f64::from(state.reward.abs()).max(1.0);
            state.phase == last
                && state.undamped
                && state.violation < settings.dual.threshold
                && f64::from(state.change) < settings.tolerance * scale
        })
    }

    /// One step of each plan's dual ascent or penalty continuation. The continuation begins once a
    /// plan's violations are small, or no more iterations than it needs are left of the `remaining`
    /// ones. The user's constraints have no part in it.
    fn adapt(&mut self, settings: &GaussNewtonConfig, remaining: usize) {
        let length = self.continuation;
        for (plan, state) in self.states.iter_mut().enumerate() {
            let due = state.violation < settings.continuation_below || remaining <= length;
            if length > 0 && due && state.phase == Phase::Relaxed {
                state.phase = Phase::Continuation(length);
            }
            let growth = match &mut state.phase {
                Phase::Relaxed => None,
                Phase::Continuation(0) if state.violation < settings.dual.threshold => Some(1.0),
                Phase::Continuation(0) => Some(GROWTH),
                Phase::Continuation(left) => {
                    *left -= 1;
                    Some(GROWTH)
                }
            };
            let is_due = state.is_due(settings.dual.rule);
            let penalties = self.descent.penalties[plan].iter_mut();
            let terms = penalties.zip(&self.descent.misses[plan]).enumerate();
            for (place, (penalty, misses)) in terms {
                match growth {
                    Some(factor) if place < self.scaled => penalty.grow(factor, &settings.dual),
                    _ if is_due => penalty.ascend(&settings.dual, misses),
                    _ => {}
                }
            }
            if is_due {
                state.inner = 0;
            }
            if is_due || growth.is_some() {
                self.descent.dampings[plan].cap(CARRIED_DAMPING);
            }
        }
    }

    /// Has plans that have settled go on by penalty continuation: defects that ε allows add up along a rollout,
    /// until it violates what the planned latents keep.
    fn approach_rollouts(&mut self) {
        let further = if self.continuation == 0 { FURTHER } else { 1 };
        self.continuation = self.continuation.max(further);
        for state in &mut self.states {
            state.phase = Phase::Continuation(further);
        }
    }

    /// What the plan of highest virtual reward is like.
    fn progress(&self) -> Progress {
        let plan = self.best();
        let horizon = self.horizon();
        let (penalties, misses) = (&self.descent.penalties[plan], &self.descent.misses[plan]);
        let mut largest = vec![0.0f64; horizon];
        let bounds = self.dynamics..self.scaled;
        for (place, (penalty, misses)) in penalties.iter().zip(misses).enumerate() {
            if !bounds.contains(&place) {
                for (most, violation) in largest.iter_mut().zip(penalty.violations(misses)) {
                    *most = largest_violation([*most, violation]);
                }
            }
        }
        let mean = |values: &[f64]| (values.iter().sum::<f64>() / horizon as f64) as f32;
        let most = |values: &[f64]| values.iter().copied().fold(0.0, f64::max) as f32;
        let bound = penalties[bounds].first();
        Progress {
            reward: self.states[plan].reward,
            relaxation: Relaxation {
                violation_mean: mean(&largest),
                violation_max: most(&largest),
                multiplier_mean: mean(&penalties[0].weights),
                multiplier_max: most(&penalties[0].weights),
                bound_multiplier_max: bound.map_or(0.0, |penalty| most(&penalty.weights)),
            },
            actions: self.descent.present.actions.clone(),
            nodes: Some(self.descent.present.latents.clone()),
            stop: None,
        }
    }

    /// λ of each plan, one entry for each constraint of the divergence.
    fn multipliers(&self) -> Vec<Vec<Vec<f32>>> {
        let single = |penalty: &Penalty| {
            penalty
                .weights
                .iter()
                .map(|&weight| weight as f32)
                .collect()
        };
        let of_plan =
            |penalties: &Vec<Penalty>| penalties[..self.dynamics].iter().map(single).collect();
        self.descent.penalties.iter().map(of_plan).collect()
    }
}

/// The half of the plans with the lowest costs; of equals the first.
fn better_half(costs: &[f64], excess: &[f32]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..costs.len()).collect();
    // NaN may have either sign, and a negative one would come first.
    let rank = |plan: usize| (f64::from(excess[plan]).abs(), costs[plan].abs());
    order.sort_by(|&a, &b| {
        let ((a, cost_of_a), (b, cost_of_b)) = (rank(a), rank(b));
        a.total_cmp(&b).then(cost_of_a.total_cmp(&cost_of_b))
    });
    order.truncate(costs.len().div_ceil(2).max(LEAST_PLANS));
    order.sort_unstable();
    order
}

impl Search for GaussNewton<'_> {
    fn step(&mut self, pool: &mut Pool) -> Result<Progress, PlanError> {
        let mut ascent = match self.ascent.take() {
            Some(ascent) => ascent,
            None => self.begin(pool)?,
        };
        let in_time = ascent.iterate(self.relaxed.model())?;
        self.iteration += 1;
        let remaining = self.settings.iterations.saturating_sub(self.iteration);
        let mut progress = ascent.progress();
        let is_settled =
            in_time && ascent.is_settled(&self.settings) && self.is_backed(&mut ascent)?;
        progress.stop = if !in_time {
            Some(StopReason::Deadline)
        } else if is_settled && self.keeps_constraints(&mut ascent)? {
            Some(StopReason::Converged)
        } else {
            if is_settled {
                ascent.approach_rollouts();
            }
            ascent.adapt(&self.settings, remaining);
            self.halve(&mut ascent, pool)?;
            (remaining == 0).then_some(StopReason::Iterations)
        };
        pool.model_steps += std::mem::take(&mut ascent.descent.model_steps);
        self.ascent = Some(ascent);
        Ok(progress)
    }

    fn finish(&mut self, pool: &mut Pool) -> Result<(), PlanError> {
        let found = self.ascent.take().map(|ascent| {
            let multipliers = ascent.multipliers();
            (ascent.plan(), move |plan: usize| multipliers[plan].clone())
        });
        self.relaxed.finish(found, pool)
    }
}

#[cfg(test)]
mod tests {
    use burn::tensor::{Device, Tensor};

    use super::*;
    use crate::{
        Belief, DiagonalGaussian,
        collocation::{Constraint, Elimination},
        gauss_newton::descent::Damping,
        shooting::testing::{HORIZON, Regulator, values},
        solve::first_rollout,
    };

    fn search<'a>(problem: &'a Problem<'a>, settings: &GaussNewtonConfig) -> GaussNewton<'a> {
        let noise = &mut Noise::new(1);
        let setting = Setting {
            transcription: settings.transcription,
            measure: &settings.measure,
            objective: Objective::Residuals,
            dual: settings.dual,
        };
        GaussNewton {
            relaxed: Relaxed::new(problem, setting, noise).unwrap(),
            settings: settings.clone(),
            noise: noise.split(),
            ascent: None,
            iteration: 0,
        }
    }

    /// `z' = a` and `r = −½ ρ(z)²`.
    struct Direct(fn(Tensor<2>) -> Tensor<2>);

    impl LatentModel for Direct {
        fn latent_size(&self) -> usize {
            1
        }

        fn action_size(&self) -> usize {
            1
        }

        fn transition(&self, _latents: Tensor<2>, actions: Tensor<2>) -> DiagonalGaussian {
            let std = actions.zeros_like();
            DiagonalGaussian::new(actions, std)
        }

        fn reward(&self, latents: Tensor<2>) -> Tensor<1> {
            let squares = self.reward_residuals(latents).square();
            squares.squeeze_dim::<1>(1) * -0.5
        }

        fn reward_residuals(&self, latents: Tensor<2>) -> Tensor<2> {
            (self.0)(latents)
        }
    }

    fn origin() -> Belief {
        Belief::certain(Tensor::zeros([1], &Device::default()))
    }

    /// That of a bound that holds the plan back becomes the slope there, and nothing is left of that of one
    /// which does not; so with the user's `a ≤ ½`.
    #[test]
    fn multipliers_of_inequalities_are_the_slopes_that_they_hold() {
        // ρ, and the multiplier at first, the action and the multiplier at the end.
        type Case = (ActionBounds, fn(Tensor<2>) -> Tensor<2>, [f64; 3]);
        let below = [Constraint::inequality("below", |_, actions| {
            actions.squeeze_dim::<1>(1) - 0.5
        })];
        let cases: [Case; 4] = [
            (ActionBounds::Penalised, |z| z - 2.0, [0.0, 1.0, 1.0]),
            (ActionBounds::Penalised, |z| z - 0.5, [3.0, 0.5, 0.0]),
            (ActionBounds::Projected, |z| z - 1.5, [0.0, 0.5, 1.0]),
            (ActionBounds::Projected, |z| z + 0.5, [3.0, -0.5, 0.0]),
        ];
        for elimination in [Elimination::ResidualSpace, Elimination::Riccati] {
            for (bounds, residual, [first, action, multiplier]) in cases {
                let (model, belief) = (Direct(residual), origin());
                let mut problem = Problem::new(&model, &belief, 1);
                if bounds == ActionBounds::Projected {
                    problem.constraints = &below;
                }
                let settings = GaussNewtonConfig {
                    horizon: 1,
                    plans: 1,
                    initialisation: Initialisation::Rollout { std: 0.1 },
                    bounds,
                    continuation: 0,
                    dual: DualConfig {
                        rule: DualRule::Augmented,
                        dynamics: 10.0,
                        actions: 10.0,
                        ceiling: 100.0,
                        ..DualConfig::default()
                    },
                    ..GaussNewtonConfig::default()
                };
                let mut pool = first_rollout(&problem).unwrap();
                let mut ascent = search(&problem, &settings).begin(&mut pool).unwrap();
                ascent.descent = ascent.descent.with_elimination(elimination).unwrap();
                ascent.descent.penalties[0][1].multipliers = vec![first];
                for _ in 0..60 {
                    ascent.iterate(&model).unwrap();
                    ascent.adapt(&settings, 100);
                }
                let found = values(ascent.descent.present.actions.clone())[0];
                let miss = (f64::from(found) - action).abs();
                assert!(miss < 1e-3, "{elimination:?}: {found} is not {action}");
                let found = ascent.descent.penalties[0][1].multipliers[0];
                let miss = (found - multiplier).abs();
                assert!(miss < 2e-2, "{elimination:?}: {found} is not {multiplier}");
            }
        }
    }

    /// `ρ = 1 − 0.3 z + 100 z²` falls up to 0.003 alone: a step must be all but along the slope to be that short.
    #[test]
    fn a_damped_step_is_no_sign_of_convergence() {
        let model = Direct(|z| z.clone().square() * 100.0 - z * 0.3 + 1.0);
        let belief = origin();
        let problem = Problem::new(&model, &belief, 1);
        let settings = GaussNewtonConfig {
            horizon: 1,
            plans: 1,
            initialisation: Initialisation::Rollout { std: 0.0 },
            ..GaussNewtonConfig::default()
        };
        let mut pool = first_rollout(&problem).unwrap();
        let mut ascent = search(&problem, &settings).begin(&mut pool).unwrap();
        ascent.descent.dampings = vec![Damping::new(CARRIED_DAMPING)];
        ascent.iterate(&model).unwrap();
        let [state] = ascent.states.as_slice() else {
            panic!("one plan");
        };
        assert!(state.decrease > 0.0 && !state.undamped);
    }

    /// A constraint that holds anyway costs less and less, while the dynamics' multipliers grow.
    #[test]
    fn continuation_leaves_the_multipliers_of_the_user_alone() {
        let model = Regulator::inside_the_bounds();
        let belief = model.belief();
        let slack = [Constraint::inequality("slack", |latents, _| {
            latents.narrow(1, 0, 1).squeeze_dim::<1>(1) - 1e3
        })];
        let mut problem = Problem::new(&model, &belief, HORIZON);
        problem.constraints = &slack;
        let mut pool = first_rollout(&problem).unwrap();
        let settings = GaussNewtonConfig {
            horizon: HORIZON,
            ..GaussNewtonConfig::default()
        };
        let mut ascent = search(&problem, &settings).begin(&mut pool).unwrap();
        ascent.iterate(&model).unwrap();
        ascent.states[0].phase = Phase::Continuation(1);
        ascent.adapt(&settings, 100);
        let [dynamics, user] = ascent.descent.penalties[0].as_slice() else {
            panic!("one constraint of the dynamics, one of the user");
        };
        let first = settings.dual.dynamics;
        assert!(
            dynamics
                .weights
                .iter()
                .all(|&weight| weight == GROWTH * first)
        );
        let fallen = settings
            .dual
            .rule
            .update(first, 0.0, settings.dual.threshold);
        assert!(fallen < first && user.weights.iter().all(|&weight| weight == fallen));
    }

    #[test]
    fn steps_of_plans_that_are_given_up_are_counted() {
        let model = Regulator::inside_the_bounds();
        let belief = model.belief();
        let problem = Problem::new(&model, &belief, HORIZON);
        let settings = GaussNewtonConfig {
            horizon: HORIZON,
            ..GaussNewtonConfig::default()
        };
        let mut pool = first_rollout(&problem).unwrap();
        let mut search = search(&problem, &settings);
        let mut ascent = search.begin(&mut pool).unwrap();
        ascent.iterate(&model).unwrap();
        let iterated = ascent.descent.model_steps;
        search.halve(&mut ascent, &mut pool).unwrap();
        assert_eq!(ascent.states.len(), LEAST_PLANS);
        let rolled_out = settings.plans * HORIZON;
        assert_eq!(ascent.descent.model_steps, iterated + rolled_out);
    }

    /// Such a plan has no merit to be lowered: nothing moves it, and yet it is not settled.
    #[test]
    fn a_constraint_that_is_no_number_is_violated() {
        let (model, belief) = (Direct(|z| z - 0.5), origin());
        let none = [Constraint::inequality("none", |latents, _| {
            latents.squeeze_dim::<1>(1) * f32::NAN
        })];
        let mut problem = Problem::new(&model, &belief, 1);
        problem.constraints = &none;
        let settings = GaussNewtonConfig {
            horizon: 1,
            plans: 1,
            initialisation: Initialisation::Rollout { std: 0.1 },
            ..GaussNewtonConfig::default()
        };
        let mut pool = first_rollout(&problem).unwrap();
        let mut ascent = search(&problem, &settings).begin(&mut pool).unwrap();
        for _ in 0..2 {
            ascent.iterate(&model).unwrap();
            ascent.states[0].phase = Phase::Continuation(0);
        }
        assert_eq!(ascent.states[0].violation, f64::INFINITY);
        assert!(!ascent.is_settled(&settings));
        let relaxation = ascent.progress().relaxation;
        assert_eq!(relaxation.violation_max, f32::INFINITY);
    }

    #[test]
    fn the_better_half_goes_on() {
        let costs = [3.0, -f64::NAN, 2.0, 7.0, 4.0, 1.0, 9.0, 8.0];
        assert_eq!(better_half(&costs, &[0.0; 8]), [0, 2, 4, 5]);
        assert_eq!(better_half(&[1.0, 2.0, 3.0], &[0.0; 3]), [0, 1]);
        // What violates the user's constraints comes last, the less the better.
        assert_eq!(
            better_half(&[1.0, 4.0, 3.0, 2.0], &[0.5, 0.0, 0.2, 0.3]),
            [1, 2]
        );
    }

    #[test]
    fn halving_leaves_the_least_number_of_plans() {
        assert_eq!(better_half(&[2.0, 1.0], &[0.0; 2]), [0, 1]);
    }
}
