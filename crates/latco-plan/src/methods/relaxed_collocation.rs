use burn::tensor::Tensor;
use latco_kernels::join;
use serde::{Deserialize, Serialize};

use super::goals::{goal_latents, goal_starts};
use crate::{
    ConfigError, DualConfig, DualRule, Noise, PlanError, StopReason, Surrogate,
    collocation::Trajectories,
    dual::{INNER, STATIONARY},
    gauss_newton::{constraints::Constraints, cost::Cost, descent::Descent},
    host::read,
    solve::{Method, Pool, Problem, Progress, Relaxation, Search},
};

/// Where relaxed plans start.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PlanStart {
    /// Latents of high reward are found first, without any dynamics; plans lead straight to one of them
    /// each and stay there.
    Goals,
    /// Latents and actions are standard normal (Rybkin et al. 2021).
    Normal,
    /// The rollouts that earlier searches have handed on.
    Rollouts,
}

/// Relaxed collocation: latents and actions are optimised together, the dynamics are constraints that
/// are enforced by and by.
///
/// ```text
/// max_{z, a}  log Σ r(z_t) − Σ ½ λ_t ‖e_t‖² − Σ y_t · e_t,     e_t = z_{t+1} − μ(z_t, a_t),   |a_t| ≤ 1
/// ```
///
/// by Gauss–Newton steps in which defects are further controls, and [`DualRule`] ascent on λ and y after
/// every [`INNER`](RelaxedCollocation::INNER) of them, until no `‖e_t‖²` exceeds ε. The actions are then
/// rolled out and handed on.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RelaxedCollocation {
    /// Steps of the plan, T.
    pub horizon: usize,
    /// Plans side by side.
    pub plans: usize,
    /// Where they start.
    pub start: PlanStart,
    /// What is minimised.
    pub surrogate: Surrogate,
    /// Largest number of Gauss–Newton steps.
    pub iterations: usize,
    /// λ at the start.
    pub multiplier: f64,
    /// How the dynamics are enforced.
    pub dual: DualRule,
    /// The largest `‖e_t‖²` of a plan that obeys the dynamics, ε.
    pub epsilon: f64,
}

impl Default for RelaxedCollocation {
    fn default() -> Self {
        Self {
            horizon: 30,
            plans: 4,
            start: PlanStart::Goals,
            iterations: 120,
            surrogate: Surrogate::LogReturn,
            multiplier: 100.0,
            dual: DualRule::Augmented,
            epsilon: 1e-4,
        }
    }
}

impl RelaxedCollocation {
    /// Gauss–Newton steps between two ascents of the multipliers.
    pub const INNER: usize = INNER;

    /// The dual ascent; its rule has no settings of its own beyond the rate, and λ at the start is within its
    /// limits.
    fn dual_ascent(&self) -> DualConfig {
        let standard = DualConfig::default();
        DualConfig {
            rule: self.dual,
            dynamics: self.multiplier,
            threshold: self.epsilon,
            floor: standard.floor.min(self.multiplier),
            ceiling: LARGEST_WEIGHT.max(self.multiplier),
            ..standard
        }
    }
}

impl Method for RelaxedCollocation {
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
        ConfigError::require_positive_real("multiplier", self.multiplier)?;
        ConfigError::require_positive_real("epsilon", self.epsilon)?;
        self.dual.validate()
    }

    fn init<'a>(
        &self,
        problem: &'a Problem<'a>,
        _pool: &Pool,
        noise: &mut Noise,
    ) -> Result<Box<dyn Search + 'a>, PlanError> {
        Ok(Box::new(Ascent {
            settings: self.clone(),
            noise: noise.split(),
            problem,
            descent: None,
            closed: Vec::new(),
            inner: 0,
            done: 0,
        }))
    }
}

struct Ascent<'a> {
    settings: RelaxedCollocation,
    noise: Noise,
    problem: &'a Problem<'a>,
    /// The plans that still violate the dynamics.
    descent: Option<Descent<'a>>,
    /// The actions of those that no longer do, `[1, horizon, action]` each.
    closed: Vec<Tensor<3>>,
    /// Steps since the last ascent of the multipliers.
    inner: usize,
    done: usize,
}

/// λ grows no further, which the least defects of single precision would outweigh.
const LARGEST_WEIGHT: f64 = 1e7;

/// The most damping that is carried over to other multipliers.
const CARRIED_DAMPING: f64 = 1e-2;

impl<'a> Ascent<'a> {
    /// The first plans; `None` where no latent is rewarded.
    fn begin(&mut self, pool: &mut Pool) -> Result<Option<Descent<'a>>, PlanError> {
        let Some((latents, actions)) = self.starts(pool)? else {
            return Ok(None);
        };
        let problem = self.problem;
        let [plans, horizon, action] = actions.dims();
        let constraints = Constraints::of_latents(problem);
        let dual = self.settings.dual_ascent();
        let penalties = constraints.first_penalties(&dual, [horizon, action])?;
        let batch = constraints.batch(Trajectories { latents, actions });
        let cost = Cost::of(problem.model, self.settings.surrogate);
        let penalties = vec![penalties; plans];
        Descent::new(problem, constraints, cost, batch, penalties).map(Some)
    }

    /// `[plans, horizon, latent]` and `[plans, horizon, action]`.
    fn starts(&mut self, pool: &mut Pool) -> Result<Option<(Tensor<3>, Tensor<3>)>, PlanError> {
        let problem = self.problem;
        let device = problem.belief.device();
        let (horizon, plans) = (problem.horizon, self.settings.plans);
        let shape = [plans, horizon, problem.model.action_size()];
        match self.settings.start {
            PlanStart::Goals => {
                let goals = goal_latents(problem, &mut self.noise)?;
                match goals.is_empty() {
                    true => Ok(None),
                    false => goal_starts(problem, &goals, shape, &mut self.noise).map(Some),
                }
            }
            PlanStart::Normal => {
                let latents = [plans, horizon, problem.model.latent_size()];
                let latents = self.noise.normal(latents, &device);
                let actions = self.noise.normal(shape, &device).clamp(-1.0, 1.0);
                Ok(Some((latents, actions)))
            }
            PlanStart::Rollouts => {
                let actions = pool.starts();
                let plans = plans.min(actions.dims()[0]);
                let actions = actions.narrow(0, 0, plans);
                pool.model_steps += plans * horizon;
                Ok(Some((problem.latents_along(actions.clone()), actions)))
            }
        }
    }

    /// One ascent of every plan's multipliers; plans that obey the dynamics are done. Whether any is
    /// left.
    fn ascend(&mut self, descent: &mut Descent<'a>) -> bool {
        self.inner = 0;
        let dual = self.settings.dual_ascent();
        let mut open = Vec::new();
        for plan in 0..descent.plans() {
            let defects = &descent.misses[plan][0];
            let violations = descent.penalties[plan][0].violations(defects);
            let largest = violations.into_iter().fold(0.0, f64::max);
            if largest <= self.settings.epsilon {
                let actions = descent.present.actions.clone().narrow(0, plan, 1);
                self.closed.push(actions);
                continue;
            }
            descent.penalties[plan][0].ascend(&dual, defects);
            descent.dampings[plan].cap(CARRIED_DAMPING);
            open.push(plan);
        }
        if !open.is_empty() && open.len() < descent.plans() {
            descent.keep(&open);
        }
        !open.is_empty()
    }
}

impl Search for Ascent<'_> {
    fn step(&mut self, pool: &mut Pool) -> Result<Progress, PlanError> {
        let mut descent = match self.descent.take() {
            Some(descent) => descent,
            None => match self.begin(pool)? {
                Some(descent) => descent,
                None => return Ok(Progress::of_rollouts(pool, Some(StopReason::NoSlope))),
            },
        };
        let decreases = match descent.iterate() {
            Ok(decreases) => decreases,
            Err(error) => {
                // What it has come to by the deadline is handed on.
                self.descent = Some(descent);
                return Err(error);
            }
        };
        pool.model_steps += std::mem::take(&mut descent.model_steps);
        self.done += 1;
        self.inner += 1;
        let mut progress = relaxed_progress(&descent);
        let settled = decreases.iter().all(|&decrease| decrease < STATIONARY);
        let due = settled || self.inner == RelaxedCollocation::INNER;
        if due && !self.ascend(&mut descent) {
            progress.stop = Some(StopReason::Converged);
            return Ok(progress);
        }
        if self.done >= self.settings.iterations {
            progress.stop = Some(StopReason::Iterations);
        }
        self.descent = Some(descent);
        Ok(progress)
    }

    fn finish(&mut self, pool: &mut Pool) -> Result<(), PlanError> {
        let mut actions = std::mem::take(&mut self.closed);
        actions.extend(self.descent.take().map(|descent| descent.present.actions));
        if actions.is_empty() {
            return Ok(());
        }
        let actions = join(actions, 0);
        let totals = read("return", self.problem.roll_out(actions.clone()).returns())?;
        pool.model_steps += totals.len() * self.problem.horizon;
        pool.add_candidates(&actions, &totals);
        Ok(())
    }
}

/// What the plan of least cost is like.
fn relaxed_progress(descent: &Descent<'_>) -> Progress {
    let plan = descent.ranked()[0];
    let penalty = &descent.penalties[plan][0];
    let steps = penalty.weights.len();
    let violations = penalty.violations(&descent.misses[plan][0]);
    let mean = |values: &[f64]| (values.iter().sum::<f64>() / steps as f64) as f32;
    let largest = |values: &[f64]| values.iter().copied().fold(0.0, f64::max) as f32;
    Progress {
        reward: descent.scores[plan].total as f32,
        relaxation: Relaxation {
            violation_mean: mean(&violations),
            violation_max: largest(&violations),
            multiplier_mean: mean(&penalty.weights),
            multiplier_max: largest(&penalty.weights),
            bound_multiplier_max: 0.0,
        },
        actions: descent.present.actions.clone(),
        nodes: Some(descent.present.latents.clone()),
        stop: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        shooting::testing::{HORIZON, Regulator},
        solve::first_rollout,
    };

    #[test]
    fn a_fixed_multiplier_is_the_first_whatever_its_size() {
        for multiplier in [1e-6, 100.0, 1e9] {
            let settings = RelaxedCollocation {
                dual: DualRule::Fixed,
                multiplier,
                ..RelaxedCollocation::default()
            };
            let dual = settings.dual_ascent();
            assert_eq!(dual.update(multiplier, 1.0), multiplier);
        }
    }

    /// One rollout to start from, and its defects.
    #[test]
    fn rows_of_the_starts_are_counted() {
        let model = Regulator::inside_the_bounds();
        let belief = model.belief();
        let problem = Problem::new(&model, &belief, HORIZON);
        let mut pool = first_rollout(&problem).unwrap();
        let first = pool.model_steps;
        let mut ascent = Ascent {
            settings: RelaxedCollocation {
                horizon: HORIZON,
                start: PlanStart::Rollouts,
                ..RelaxedCollocation::default()
            },
            noise: Noise::new(0),
            problem: &problem,
            descent: None,
            closed: Vec::new(),
            inner: 0,
            done: 0,
        };
        let descent = ascent.begin(&mut pool).unwrap().expect("a rollout");
        assert_eq!(pool.model_steps + descent.model_steps - first, 2 * HORIZON);
    }
}
