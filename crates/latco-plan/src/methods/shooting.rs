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
    use burn::tensor::{Device, TensorData};

    use super::*;
    use crate::{
        Belief, DiagonalGaussian, LatentModel, Resources,
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

    fn polish<'a>(problem: &'a Problem<'a>, elimination: Elimination) -> Polish<'a> {
        Polish {
            settings: GaussNewtonPolish {
                elimination,
                horizon: HORIZON,
                ..GaussNewtonPolish::default()
            },
            problem,
            descent: None,
            progress: Vec::new(),
            done: 0,
        }
    }

    /// `x' = x + a_0 / 10`, paid for by 1, and `y' = y + y³ + a_1`, which runs away.
    struct Runaway;

    impl LatentModel for Runaway {
        fn latent_size(&self) -> usize {
            2
        }

        fn action_size(&self) -> usize {
            2
        }

        fn transition(&self, latents: Tensor<2>, actions: Tensor<2>) -> DiagonalGaussian {
            let part = |values: &Tensor<2>, index| values.clone().narrow(1, index, 1);
            let x = part(&latents, 0) + part(&actions, 0) * 0.1;
            let y = part(&latents, 1);
            let y = y.clone() + y.powi_scalar(3) + part(&actions, 1);
            let mean = Tensor::cat(vec![x, y], 1);
            DiagonalGaussian::new(mean.clone(), mean.zeros_like())
        }

        fn reward(&self, latents: Tensor<2>) -> Tensor<1> {
            let missed = latents.narrow(1, 0, 1) - 1.0;
            missed.square().neg().exp().squeeze_dim(1)
        }

        fn reward_range(&self) -> Option<[f64; 2]> {
            Some([0.0, 1.0])
        }
    }

    /// Whether a plan goes on does not depend on the plans beside it, nor on which thread it is on.
    #[test]
    fn a_plan_without_finite_numbers_stops_no_other() {
        let device = Device::default();
        let belief = Belief::certain(Tensor::zeros([2], &device));
        let mut starts = vec![0.0; 2 * HORIZON * 2];
        for step in 0..HORIZON {
            starts[2 * HORIZON + 2 * step + 1] = 1.0;
        }
        let starts = TensorData::new(starts, [2, HORIZON, 2]);
        let totals = |elimination, workers| {
            let mut problem = Problem::new(&Runaway, &belief, HORIZON);
            problem.resources = Resources {
                workers,
                ..problem.resources
            };
            let polish = polish(&problem, elimination);
            let starts = Tensor::from_data(starts.clone(), &device);
            let mut descent = polish.begin(starts).unwrap();
            let first = descent.totals();
            for _ in 0..6 {
                descent.iterate().unwrap();
            }
            [first[0], descent.totals()[0]]
        };
        for elimination in [Elimination::ResidualSpace, Elimination::Riccati] {
            for workers in [1, 2] {
                let [first, last] = totals(elimination, workers);
                assert!(
                    last > first + 0.5,
                    "{elimination:?}, {workers}: {first} {last}"
                );
            }
        }
    }

    #[test]
    fn plans_are_ranked_whatever_sign_their_nan_has() {
        let (model, device) = (Regulator::inside_the_bounds(), Device::default());
        let belief = model.belief();
        let problem = Problem::new(&model, &belief, HORIZON);
        let polish = polish(&problem, Elimination::Automatic);
        let starts = Tensor::zeros([3, HORIZON, model.action_size()], &device);
        let mut descent = polish.begin(starts).unwrap();
        for (score, cost) in descent.scores.iter_mut().zip([-f64::NAN, 1.0, 0.0]) {
            score.cost = cost;
        }
        assert_eq!(descent.ranked(), [2, 1, 0]);
    }

    /// A regulator with one component more, which is large and stays as it is.
    struct Aloft(Regulator);

    const ALTITUDE: f32 = 2e4;

    impl LatentModel for Aloft {
        fn latent_size(&self) -> usize {
            self.0.latent_size() + 1
        }

        fn action_size(&self) -> usize {
            self.0.action_size()
        }

        fn transition(&self, latents: Tensor<2>, actions: Tensor<2>) -> DiagonalGaussian {
            let size = self.0.latent_size();
            let next = self
                .0
                .transition(latents.clone().narrow(1, 0, size), actions);
            let altitude = latents.narrow(1, size, 1);
            let std = Tensor::cat(vec![next.std, altitude.zeros_like()], 1);
            DiagonalGaussian::new(Tensor::cat(vec![next.mean, altitude], 1), std)
        }

        fn reward(&self, latents: Tensor<2>) -> Tensor<1> {
            self.0.reward(latents.narrow(1, 0, self.0.latent_size()))
        }

        fn reward_residuals(&self, latents: Tensor<2>) -> Tensor<2> {
            self.0
                .reward_residuals(latents.narrow(1, 0, self.0.latent_size()))
        }
    }

    #[test]
    fn latents_may_be_in_any_unit() {
        let (device, idle) = (Device::default(), [1, HORIZON, 2]);
        let total = |model: &dyn LatentModel, belief: &Belief| {
            let problem = Problem::new(model, belief, HORIZON);
            let mut descent = polish(&problem, Elimination::Automatic)
                .begin(Tensor::zeros(idle, &device))
                .unwrap();
            for _ in 0..20 {
                descent.iterate().unwrap();
            }
            descent.totals()[0]
        };
        let model = Aloft(Regulator::inside_the_bounds());
        let start = model.0.belief();
        let altitude = Tensor::full([1, 1], ALTITUDE, &device);
        let above = Tensor::cat(vec![start.mean(), altitude], 1);
        let [expected, found] = [
            total(&model.0, &start),
            total(&model, &Belief::certain(above.squeeze_dim(0))),
        ];
        assert!(
            (expected - found).abs() < 1e-3 * expected.abs().max(1.0),
            "{found} {expected}"
        );
    }

    #[test]
    fn the_worse_plans_are_given_up() {
        let settings = GaussNewtonPolish::default();
        assert!(settings.plans_left(7) > 1_000);
        assert_eq!([8, 47, 48].map(|done| settings.plans_left(done)), [3, 3, 1]);
    }
}
