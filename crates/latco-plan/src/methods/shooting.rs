use burn::tensor::Tensor;
use serde::{Deserialize, Serialize};

use crate::{
    ConfigError, Noise, PlanError, StopReason, Surrogate,
    gauss_newton::{
        Elimination,
        constraints::Constraints,
        cost::Cost,
        descent::{Batch, Damping, Descent},
    },
    solve::{Method, Pool, Problem, Progress, Search},
};

/// Gauss–Newton on the actions of what earlier searches have found, the worse plans given up by and by.
///
/// ```text
/// max log Σ r(z_t),    z_{t+1} = μ(z_t, a_t),   |a_t| ≤ 1
/// ```
///
/// A step maximises the quadratic model of `Σ w_t log r(z_t)` with `w_t = r_t / Σ r`, which lies below
/// `log Σ r` and touches it at the present plan, as in expectation maximisation (Dempster, Laird & Rubin
/// 1977): it has a slope however far the reward is, and only the return itself counts once the reward is
/// reached. Where rewards have no [range](crate::LatentModel::reward_range) it minimises the model's
/// residuals. The step is a feedback law with the actions' bounds in it, followed through the model with
/// several step lengths side by side; refused steps are damped (Levenberg–Marquardt).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct GaussNewtonPolish {
    /// Steps of the plan, T.
    pub horizon: usize,
    /// Iterations on all plans, after which the worse are given up.
    pub first: usize,
    /// Plans that are kept then.
    pub kept: usize,
    /// Largest number of iterations in all.
    pub iterations: usize,
    /// What is minimised.
    pub surrogate: Surrogate,
    /// Levenberg–Marquardt damping of the first step. The larger it is, the closer plans stay at first to
    /// where they start, so that one that only flies past the reward is slowed down there, and not led
    /// back to the place where all the others wait.
    pub damping: f64,
    /// How steps are found.
    pub elimination: Elimination,
    /// A plan is done once three iterations in turn have lowered its cost by a smaller share.
    pub tolerance: f64,
}

impl Default for GaussNewtonPolish {
    fn default() -> Self {
        Self {
            horizon: 30,
            first: 8,
            kept: 3,
            iterations: 100,
            surrogate: Surrogate::LogReturn,
            damping: Damping::FIRST,
            elimination: Elimination::Automatic,
            tolerance: 1e-4,
        }
    }
}

/// All but the best plan are given up after so many times the first iterations.
const LAST_ROUND: usize = 6;

impl GaussNewtonPolish {
    /// The plans that are gone on with after so many iterations.
    fn plans_left(&self, done: usize) -> usize {
        match done {
            done if done < self.first => usize::MAX,
            done if done < self.first * LAST_ROUND => self.kept,
            _ => 1,
        }
    }
}

impl Method for GaussNewtonPolish {
    fn horizon(&self) -> usize {
        self.horizon
    }

    fn set_horizon(&mut self, horizon: usize) {
        self.horizon = horizon;
    }

    fn validate(&self) -> Result<(), ConfigError> {
        ConfigError::require_positive("horizon", self.horizon)?;
        ConfigError::require_positive("kept", self.kept)?;
        ConfigError::require_positive("iterations", self.iterations)?;
        ConfigError::require_non_negative("damping", self.damping)?;
        ConfigError::require_non_negative("tolerance", self.tolerance)
    }

    fn init<'a>(
        &self,
        problem: &'a Problem<'a>,
        _pool: &Pool,
        _noise: &mut Noise,
    ) -> Result<Box<dyn Search + 'a>, PlanError> {
        Ok(Box::new(Polish {
            settings: self.clone(),
            problem,
            descent: None,
            progress: Vec::new(),
            done: 0,
        }))
    }
}

struct Polish<'a> {
    settings: GaussNewtonPolish,
    problem: &'a Problem<'a>,
    descent: Option<Descent<'a>>,
    /// What each plan's last iterations have won.
    progress: Vec<Won>,
    done: usize,
}

/// What the last iterations of a plan have won.
#[derive(Clone, Copy, Default)]
struct Won {
    /// Iterations in turn that it has hardly moved in.
    still: usize,
    /// Whether the last of them was a step with small damping, or one than which none is shorter.
    undamped: bool,
}

/// Iterations without progress after which a plan is given up.
const STILL: usize = 3;

impl<'a> Polish<'a> {
    fn begin(&self, starts: Tensor<3>) -> Result<Descent<'a>, PlanError> {
        let problem = self.problem;
        let rollout = problem.roll_out(starts.clone());
        let batch = Batch {
            latents: rollout.latents,
            actions: starts,
            defects: None,
        };
        let cost = Cost::of(problem.model, self.settings.surrogate);
        let constraints = Constraints::of_latents(problem);
        let mut descent = Descent::new(problem, constraints, cost, batch, Vec::new())?;
        descent.dampings = vec![Damping::new(self.settings.damping); descent.plans()];
        descent.with_elimination(self.settings.elimination)
    }

    /// Gives up all but the best plans, and those that have converged to a return below the best.
    fn select(&mut self) {
        let Some(descent) = &mut self.descent else {
            return;
        };
        let mut order = descent.ranked();
        order.truncate(self.settings.plans_left(self.done));
        let best = order[0];
        let won = &self.progress;
        order.retain(|&plan| plan == best || won[plan].still < STILL);
        if order.len() < descent.plans() {
            self.progress = order.iter().map(|&plan| self.progress[plan]).collect();
            descent.keep(&order);
        }
    }
}

impl Search for Polish<'_> {
    fn step(&mut self, pool: &mut Pool) -> Result<Progress, PlanError> {
        if self.descent.is_none() {
            let descent = self.begin(pool.starts())?;
            self.progress = vec![Won::default(); descent.plans()];
            self.descent = Some(descent);
        }
        let Some(descent) = &mut self.descent else {
            return Ok(Progress::of_rollouts(pool, Some(StopReason::Converged)));
        };
        let tried = descent.dampings.clone();
        let decreases = descent.iterate()?;
        pool.model_steps += std::mem::take(&mut descent.model_steps);
        pool.offer(&descent.present.actions, &descent.totals());
        for (plan, won) in self.progress.iter_mut().enumerate() {
            won.undamped = tried[plan].is_small() || descent.dampings[plan].is_exhausted();
            won.still = match decreases[plan] < self.settings.tolerance {
                true => won.still + 1,
                false => 0,
            };
        }
        self.done += 1;
        self.select();
        let stop = if self.progress.iter().all(|won| won.still >= STILL) {
            let stationary = self.progress.iter().all(|won| won.undamped);
            Some(match stationary {
                true => StopReason::Converged,
                false => StopReason::Stalled,
            })
        } else if self.done >= self.settings.iterations {
            Some(StopReason::Iterations)
        } else {
            None
        };
        Ok(Progress::of_rollouts(pool, stop))
    }

    fn finish(&mut self, pool: &mut Pool) -> Result<(), PlanError> {
        if let Some(descent) = self.descent.take() {
            pool.candidates.clear();
            pool.add_candidates(&descent.present.actions, &descent.totals());
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        methods::{BestOfN, Refined},
        shooting::testing::{Check, HORIZON, Regulator, solver},
    };

    fn polished() -> Refined<BestOfN> {
        let mut method = Refined {
            search: BestOfN {
                samples: 16,
                kept: 1,
                ..BestOfN::default()
            },
            refinement: GaussNewtonPolish {
                tolerance: 1e-7,
                ..GaussNewtonPolish::default()
            },
        };
        method.set_horizon(HORIZON);
        method
    }

    #[test]
    fn the_regulator_is_found() {
        let planner = solver(polished());
        Check::of(&planner).misses_at_most(1e-5, &Regulator::inside_the_bounds());
        Check::of(&planner).misses_at_most(1e-5, &Regulator::at_the_bounds());
    }

    #[test]
    fn the_contract_of_planners_is_kept() {
        Check::of(&solver(polished())).keeps_the_contract();
    }

    #[test]
    fn the_worse_plans_are_given_up() {
        let settings = GaussNewtonPolish::default();
        assert!(settings.plans_left(7) > 1_000);
        assert_eq!([8, 47, 48].map(|done| settings.plans_left(done)), [3, 3, 1]);
    }
}
