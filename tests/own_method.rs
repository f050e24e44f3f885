//! A planner from outside the crate: one method, one file.

mod common {
    pub mod point_mass;
}

use std::time::Duration;

use common::point_mass::PointMass;
use latco_plan::{
    ConfigError, LatentModel, NoObserver, Noise, Plan, PlanContext, PlanError, Planner, StopReason,
    methods::{BestOfN, GaussNewtonPolish},
    solve::{Method, Pool, Problem, Progress, Search, Solver, sequence},
};

/// Random local search: `a ← a + s ξ` wherever that has a higher return.
#[derive(Clone, Debug)]
struct LocalSearch {
    horizon: usize,
    step: f64,
    iterations: usize,
}

const SETTINGS: LocalSearch = LocalSearch {
    horizon: 12,
    step: 0.2,
    iterations: 60,
};

impl Method for LocalSearch {
    fn horizon(&self) -> usize {
        self.horizon
    }

    fn set_horizon(&mut self, horizon: usize) {
        self.horizon = horizon;
    }

    fn validate(&self) -> Result<(), ConfigError> {
        ConfigError::require_positive_real("step", self.step)
    }

    fn init<'a>(
        &self,
        problem: &'a Problem<'a>,
        _pool: &Pool,
        noise: &mut Noise,
    ) -> Result<Box<dyn Search + 'a>, PlanError> {
        Ok(Box::new(Walk {
            settings: self.clone(),
            noise: noise.split(),
            done: 0,
            problem,
        }))
    }
}

struct Walk<'a> {
    settings: LocalSearch,
    problem: &'a Problem<'a>,
    noise: Noise,
    done: usize,
}

impl Search for Walk<'_> {
    fn step(&mut self, pool: &mut Pool) -> Result<Progress, PlanError> {
        let present = pool.best.actions.clone().unsqueeze_dim::<3>(0);
        let change = self.noise.normal(present.dims(), &present.device()) * self.settings.step;
        let moved = (present + change).clamp(-1.0, 1.0);
        let returns = self.problem.roll_out(moved.clone()).returns();
        let returns = returns.try_into_vec_as::<f32>().unwrap();
        pool.offer(&moved, &returns);
        pool.model_steps += self.settings.horizon;
        self.done += 1;
        let is_over = self.done >= self.settings.iterations;
        Ok(Progress::of_rollouts(
            pool,
            is_over.then_some(StopReason::Iterations),
        ))
    }

    fn finish(&mut self, _pool: &mut Pool) -> Result<(), PlanError> {
        Ok(())
    }
}

const MODEL: PointMass = PointMass { spread: 0.0 };

fn plan(planner: &Solver, seed: u64, deadline: Option<Duration>) -> Plan {
    let mut observer = NoObserver;
    let context = PlanContext::new(seed, &mut observer).with_deadline(deadline);
    let plan = planner.plan_with(&MODEL, &PointMass::belief(), context);
    plan.unwrap()
}

fn actions(plan: &Plan) -> Vec<f32> {
    plan.actions.clone().try_into_vec_as::<f32>().unwrap()
}

#[test]
fn it_plans_in_the_loop_of_every_method() {
    let planner = Solver::new("local-search", SETTINGS).unwrap();
    assert_eq!((planner.name(), planner.horizon()), ("local-search", 12));
    let found = plan(&planner, 3, None);
    assert_eq!(found.trace.len(), SETTINGS.iterations);
    assert_eq!(found.stop, StopReason::Iterations);
    assert!(found.trace.is_sorted_by(|a, b| a.reward <= b.reward));
    assert!(found.rollout.total() > found.trace[0].reward);
    assert_eq!(actions(&found), actions(&plan(&planner, 3, None)));
    assert_ne!(actions(&found), actions(&plan(&planner, 4, None)));
    let late = plan(&planner, 3, Some(Duration::ZERO));
    assert_eq!(late.stop, StopReason::Deadline);
    assert_eq!(late.horizon(), 12);
    let belief = PointMass::belief();
    let mut observer = NoObserver;
    let again = PlanContext::new(5, &mut observer).with_warm_start(Some((&found, 0)));
    let again = planner.plan_with(&MODEL, &belief, again).unwrap();
    assert!(again.rollout.total() >= found.rollout.total());
}

#[test]
fn its_settings_are_checked() {
    let refused = Solver::new(
        "local-search",
        LocalSearch {
            step: 0.0,
            ..SETTINGS
        },
    );
    assert_eq!(refused.unwrap_err().name, "step");
}

/// A composition of methods of the library and of one's own.
#[derive(Clone, Debug)]
struct Composed(LocalSearch);

impl Method for Composed {
    fn horizon(&self) -> usize {
        self.0.horizon
    }

    fn set_horizon(&mut self, horizon: usize) {
        self.0.horizon = horizon;
    }

    fn validate(&self) -> Result<(), ConfigError> {
        self.0.validate()
    }

    fn init<'a>(
        &self,
        problem: &'a Problem<'a>,
        _pool: &Pool,
        noise: &mut Noise,
    ) -> Result<Box<dyn Search + 'a>, PlanError> {
        let mut starts = BestOfN::default();
        let mut polish = GaussNewtonPolish::default();
        starts.set_horizon(self.0.horizon);
        polish.set_horizon(self.0.horizon);
        let parts: Vec<Box<dyn Method>> = vec![starts.into(), self.0.clone().into(), polish.into()];
        Ok(sequence(parts, problem, noise))
    }
}

#[test]
fn it_composes_with_the_library_s_own() {
    let alone = plan(&Solver::new("alone", SETTINGS).unwrap(), 1, None);
    let composed = plan(
        &Solver::new("composed", Composed(SETTINGS)).unwrap(),
        1,
        None,
    );
    assert!(composed.trace.len() > SETTINGS.iterations);
    assert!(composed.rollout.total() > alone.rollout.total());
    assert_eq!(MODEL.action_size(), composed.actions.dims()[1]);
}
