//! Problems with known answers, and what every shooting planner must do on them.

use std::time::Duration;

use burn::tensor::{Device, Tensor, TensorData};
use nalgebra::{DMatrix, DVector};

use crate::{
    Belief, DiagonalGaussian, Iteration, LatentModel, NoObserver, Plan, PlanContext, PlanError,
    Planner, StopReason,
    solve::{Method, Solver},
};

/// Steps of the plans of these tests.
pub const HORIZON: usize = 8;

/// The values of a tensor, in row-major order.
pub fn values<const D: usize>(tensor: Tensor<D>) -> Vec<f32> {
    tensor.try_into_vec_as::<f32>().unwrap()
}

pub fn assert_near(found: f32, expected: f32, tolerance: f32) {
    assert!(
        (found - expected).abs() <= tolerance,
        "{found} is not {expected}"
    );
}

fn rows(matrix: &DMatrix<f64>) -> Tensor<2> {
    let shape = [matrix.nrows(), matrix.ncols()];
    let values: Vec<f32> = matrix
        .transpose()
        .iter()
        .map(|&value| value as f32)
        .collect();
    Tensor::from_data(TensorData::new(values, shape), &Device::default())
}

fn row(vector: &DVector<f64>) -> Tensor<2> {
    rows(&DMatrix::from_row_slice(1, vector.len(), vector.as_slice()))
}

/// Linear dynamics with a quadratic reward, `μ = A z + B a`, `ρ = L (z − g)`, `r = −½ ‖ρ‖²`.
pub struct Regulator {
    by_latent: DMatrix<f64>,
    by_action: DMatrix<f64>,
    reward: DMatrix<f64>,
    goal: DVector<f64>,
    start: DVector<f64>,
}

impl Regulator {
    /// The best actions keep clear of their bounds.
    pub fn inside_the_bounds() -> Self {
        let problem = Self::with_goal(0.5);
        assert!(problem.optimum().amax() < 0.9);
        problem
    }

    /// Some of the best actions are at their bounds, some are not.
    pub fn at_the_bounds() -> Self {
        let problem = Self::with_goal(3.0);
        let optimum = problem.optimum();
        let held = optimum.iter().filter(|action| action.abs() == 1.0).count();
        assert!(held > 0 && held < optimum.len(), "{optimum}");
        problem
    }

    fn with_goal(scale: f64) -> Self {
        Self {
            by_latent: DMatrix::from_row_slice(
                3,
                3,
                &[0.9, 0.2, 0.0, -0.1, 0.8, 0.2, 0.1, -0.2, 0.7],
            ),
            by_action: DMatrix::from_row_slice(3, 2, &[0.6, 0.1, 0.2, 0.1, -0.1, 0.6]),
            reward: DMatrix::from_row_slice(3, 3, &[1.5, 0.2, -0.3, 0.1, 1.0, 0.4, 0.0, 0.3, 1.2]),
            goal: DVector::from_vec(vec![1.0, -0.4, 0.6]) * scale,
            start: DVector::from_vec(vec![-0.1, 0.05, 0.0]),
        }
    }

    pub fn belief(&self) -> Belief {
        Belief::certain(row(&self.start).squeeze())
    }

    /// `ρ` of every step as `ρ₀ + J a`, by rolling out unit actions.
    fn residuals(&self) -> (DVector<f64>, DMatrix<f64>) {
        let size = HORIZON * self.by_action.ncols();
        let along = |actions: &DVector<f64>| {
            let mut latent = self.start.clone();
            let mut residuals = Vec::new();
            for step in 0..HORIZON {
                let action = actions.rows(step * self.by_action.ncols(), self.by_action.ncols());
                latent = &self.by_latent * latent + &self.by_action * action;
                residuals.extend((&self.reward * (&latent - &self.goal)).iter().copied());
            }
            DVector::from_vec(residuals)
        };
        let idle = along(&DVector::zeros(size));
        let columns: Vec<_> = (0..size)
            .map(|index| {
                let unit = DVector::from_fn(size, |row, _| f64::from(u8::from(row == index)));
                along(&unit) - &idle
            })
            .collect();
        (idle, DMatrix::from_columns(&columns))
    }

    /// The best actions within the bounds, by exact minimisation over one after another.
    fn optimum(&self) -> DVector<f64> {
        let (idle, jacobian) = self.residuals();
        let mut actions = DVector::zeros(jacobian.ncols());
        for _ in 0..20_000 {
            for index in 0..actions.len() {
                let column = jacobian.column(index);
                let slope = column.dot(&(&idle + &jacobian * &actions));
                let best: f64 = actions[index] - slope / column.norm_squared();
                actions[index] = best.clamp(-1.0, 1.0);
            }
        }
        actions
    }

    fn best_return(&self) -> f64 {
        let (idle, jacobian) = self.residuals();
        -0.5 * (idle + jacobian * self.optimum()).norm_squared()
    }

    fn idle_return(&self) -> f64 {
        -0.5 * self.residuals().0.norm_squared()
    }
}

impl LatentModel for Regulator {
    fn latent_size(&self) -> usize {
        self.by_latent.nrows()
    }

    fn action_size(&self) -> usize {
        self.by_action.ncols()
    }

    fn transition(&self, latents: Tensor<2>, actions: Tensor<2>) -> DiagonalGaussian {
        let mean = latents.matmul(rows(&self.by_latent.transpose()))
            + actions.matmul(rows(&self.by_action.transpose()));
        DiagonalGaussian::new(mean.clone(), mean.zeros_like())
    }

    fn reward(&self, latents: Tensor<2>) -> Tensor<1> {
        let squares = self.reward_residuals(latents).square();
        squares.sum_dim(1).squeeze_dim::<1>(1) * -0.5
    }

    fn reward_residuals(&self, latents: Tensor<2>) -> Tensor<2> {
        let goal = row(&self.goal);
        (latents - goal).matmul(rows(&self.reward.transpose()))
    }
}

/// One latent, from 0 on, and one action: `z' = μ(z, a)` for certain, and a reward of `z'`.
pub struct Scalar {
    pub mean: fn(Tensor<2>, Tensor<2>) -> Tensor<2>,
    pub reward: fn(Tensor<1>) -> Tensor<1>,
    pub action_noise: f64,
}

impl Scalar {
    /// `z' = a`.
    pub const SET: fn(Tensor<2>, Tensor<2>) -> Tensor<2> = |_, actions| actions;

    /// `z' = z + a`.
    pub const MOVED: fn(Tensor<2>, Tensor<2>) -> Tensor<2> = |latents, actions| latents + actions;

    pub fn belief() -> Belief {
        Belief::certain(Tensor::zeros([1], &Device::default()))
    }
}

impl LatentModel for Scalar {
    fn latent_size(&self) -> usize {
        1
    }

    fn action_size(&self) -> usize {
        1
    }

    fn transition(&self, latents: Tensor<2>, actions: Tensor<2>) -> DiagonalGaussian {
        let mean = (self.mean)(latents, actions);
        DiagonalGaussian::new(mean.clone(), mean.zeros_like())
    }

    fn reward(&self, latents: Tensor<2>) -> Tensor<1> {
        (self.reward)(latents.squeeze_dim(1))
    }

    fn action_noise(&self) -> f64 {
        self.action_noise
    }
}

/// A model whose reward stops being a number at step 3.
struct Failing;

impl LatentModel for Failing {
    fn latent_size(&self) -> usize {
        1
    }

    fn action_size(&self) -> usize {
        2
    }

    fn transition(&self, latents: Tensor<2>, actions: Tensor<2>) -> DiagonalGaussian {
        let mean = latents + 1.0 + actions.sum_dim(1) * 1e-3;
        DiagonalGaussian::new(mean.clone(), mean.zeros_like())
    }

    fn reward(&self, latents: Tensor<2>) -> Tensor<1> {
        (-latents + 3.5).sqrt().squeeze_dim(1)
    }
}

/// The planner of a method.
pub fn solver(method: impl Method + 'static) -> Solver {
    Solver::new("tested", method).unwrap()
}

/// What a planner does, stated as assertions.
pub struct Check<'a> {
    planner: &'a dyn Planner,
}

impl<'a> Check<'a> {
    /// A planner of [`HORIZON`] steps.
    pub fn of(planner: &'a dyn Planner) -> Self {
        Self { planner }
    }

    /// The plan misses at most this share of what can be gained over doing nothing.
    pub fn misses_at_most(&self, tolerance: f64, problem: &Regulator) {
        let plan = self.planner.plan(problem, &problem.belief()).unwrap();
        let (best, idle) = (problem.best_return(), problem.idle_return());
        let regret = (best - f64::from(plan.rollout.total())) / (best - idle);
        println!(
            "{}: regret {regret:.1e} after {} iterations, {} model steps, {:?}",
            self.planner.name(),
            plan.trace.len(),
            plan.model_steps,
            plan.stop
        );
        // Nothing is better than the best, up to rounding.
        assert!(regret > -1e-5 && regret <= tolerance, "{regret:e}");
    }

    /// Both planners find the same plan, up to rounding.
    pub fn plans_the_same_as(&self, other: &dyn Planner) {
        let problem = Regulator::at_the_bounds();
        let actions = |planner: &dyn Planner| {
            let plan = planner.plan(&problem, &problem.belief()).unwrap();
            values(plan.actions)
        };
        for (found, expected) in actions(other).into_iter().zip(actions(self.planner)) {
            assert_near(found, expected, 1e-3);
        }
    }

    /// Seeds, bounds, observers, warm starts, deadlines and failures are as for every planner.
    pub fn keeps_the_contract(&self) {
        let plan = self.observed_plan();
        self.repeats(&plan);
        self.starts_from(&plan);
        self.ends_by_the_deadline();
        self.names_the_step_that_fails();
    }

    fn plan(
        &self,
        seed: u64,
        warm_start: Option<(&Plan, usize)>,
        deadline: Option<Duration>,
    ) -> Result<Plan, PlanError> {
        let problem = Regulator::at_the_bounds();
        let mut observer = NoObserver;
        let context = PlanContext::new(seed, &mut observer)
            .with_warm_start(warm_start)
            .with_deadline(deadline);
        self.planner.plan_with(&problem, &problem.belief(), context)
    }

    /// A plan whose trace is what its observer saw.
    fn observed_plan(&self) -> Plan {
        let problem = Regulator::at_the_bounds();
        let mut seen: Vec<Iteration> = Vec::new();
        let mut observer = |iteration: &Iteration| seen.push(iteration.clone());
        let context = PlanContext::new(7, &mut observer);
        let belief = problem.belief();
        let plan = self.planner.plan_with(&problem, &belief, context).unwrap();
        assert_eq!(seen, plan.trace);
        assert!(seen.is_sorted_by(|a, b| a.reward <= b.reward));
        assert_eq!(plan.horizon(), HORIZON);
        assert!(values(plan.actions.clone()).iter().all(|a| a.abs() <= 1.0));
        assert_eq!(plan.virtual_, plan.rollout);
        let last = seen.last().unwrap().reward;
        assert_near(plan.rollout.total(), last, 1e-3 * last.abs());
        assert!(plan.model_steps > 0 && plan.late.is_none());
        plan
    }

    fn repeats(&self, plan: &Plan) {
        let again = self.plan(7, None, None).unwrap();
        assert_eq!(values(again.actions), values(plan.actions.clone()));
    }

    fn starts_from(&self, plan: &Plan) {
        let again = self.plan(8, Some((plan, 0)), None).unwrap();
        let (before, after) = (plan.rollout.total(), again.rollout.total());
        assert!(after >= before - 1e-3 * before.abs(), "{after} < {before}");
        let shorter = Plan {
            actions: plan.actions.clone().narrow(0, 0, HORIZON - 1),
            ..plan.clone()
        };
        let refused = self.plan(8, Some((&shorter, 0)), None);
        assert!(matches!(
            refused,
            Err(PlanError::WarmStart { found: 7, .. })
        ));
    }

    fn ends_by_the_deadline(&self) {
        let plan = self.plan(7, None, Some(Duration::ZERO)).unwrap();
        assert!(plan.trace.len() <= 1);
        assert_eq!(plan.stop, StopReason::Deadline);
        assert!(plan.late.is_some());
    }

    fn names_the_step_that_fails(&self) {
        let belief = Belief::certain(Tensor::zeros([1], &Device::default()));
        let refused = self.planner.plan(&Failing, &belief);
        assert!(
            matches!(refused, Err(PlanError::NotFinite { step: 3, .. })),
            "{refused:?}"
        );
    }
}
