//! What observers see of each planner's iterations.

use burn::tensor::Tensor;
use common::point_mass::PointMass;
use latco_plan::{Belief, Iteration, LatentModel, Observer, PlanContext, catalogue, roll_out};

mod common {
    pub mod point_mass;
}

const HORIZON: usize = 6;

/// Every iteration with the plans it was shown.
#[derive(Default)]
struct Recorder {
    iterations: Vec<Iteration>,
    actions: Vec<Tensor<3>>,
    nodes: Vec<Option<Tensor<3>>>,
}

impl Observer for Recorder {
    fn iteration(&mut self, iteration: &Iteration) {
        assert_eq!(self.iterations.len(), self.actions.len());
        self.iterations.push(iteration.clone());
    }

    fn trajectories(&mut self, actions: &Tensor<3>, nodes: Option<&Tensor<3>>) {
        self.actions.push(actions.clone());
        self.nodes.push(nodes.cloned());
    }
}

fn summed(rewards: Tensor<2>) -> Vec<f32> {
    rewards.sum_dim(1).into_data_as::<f32>().iter().collect()
}

fn assert_near(found: f32, expected: f32) {
    assert!(
        (found - expected).abs() < 1e-4,
        "{found}, expected {expected}"
    );
}

/// The figures of an iteration are those of one of the plans shown with it.
fn assert_shows_what_it_counts(name: &str, model: &PointMass, belief: &Belief) {
    let mut seen = Recorder::default();
    let planner = catalogue::planner(name, Some(HORIZON)).unwrap();
    let context = PlanContext::new(3, &mut seen);
    let plan = planner.plan_with(model, belief, context).unwrap();
    assert_eq!(seen.iterations, plan.trace, "{name}");
    assert_eq!(seen.actions.len(), plan.trace.len(), "{name}");
    let shown = seen.actions.into_iter().zip(seen.nodes);
    for (iteration, (actions, nodes)) in seen.iterations.iter().zip(shown) {
        let [plans, horizon, action] = actions.dims();
        assert_eq!([horizon, action], [HORIZON, model.action_size()], "{name}");
        let latents = nodes.unwrap_or_else(|| {
            assert_eq!(plans, 1, "{name}");
            roll_out(model, belief.mean(), actions).latents
        });
        assert_eq!(latents.dims(), [plans, HORIZON, model.latent_size()]);
        let rewards = model
            .reward(latents.flatten(0, 1))
            .reshape([plans, HORIZON]);
        let best = summed(rewards)
            .into_iter()
            .fold(f32::NEG_INFINITY, f32::max);
        assert_near(best, iteration.reward);
    }
}

#[test]
fn every_iteration_shows_the_plans_that_its_figures_come_from() {
    let model = PointMass { spread: 0.01 };
    let belief = PointMass::belief();
    for name in [
        "latco",
        "cem",
        "icem",
        "mppi",
        "shooting-gd",
        "shooting-gn",
        "ilqr",
    ] {
        assert_shows_what_it_counts(name, &model, &belief);
    }
}

/// `latco-no-constraint` penalises what passes the bounds.
#[test]
fn multipliers_are_shown_where_they_act() {
    let model = PointMass { spread: 0.01 };
    let belief = PointMass::belief();
    for (name, dynamics, bounds) in [
        ("latco-no-relax", true, false),
        ("latco-no-constraint", true, true),
        ("shooting-gd", false, false),
    ] {
        let planner = catalogue::planner(name, Some(HORIZON)).unwrap();
        let trace = planner.plan(&model, &belief).unwrap().trace;
        assert!(!trace.is_empty(), "{name}");
        for iteration in trace {
            assert_eq!(iteration.multiplier_max > 0.0, dynamics, "{name}");
            assert_eq!(iteration.action_multiplier_max > 0.0, bounds, "{name}");
        }
    }
}
