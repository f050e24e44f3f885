//! Smoothing: plans that withstand noise, for models that have been learnt.

mod common {
    pub mod point_mass;
}

use burn::tensor::Tensor;
use common::point_mass::PointMass;
use latco_plan::{DiagonalGaussian, LatentModel, NoObserver, PlanContext, catalogue::planner};

/// A point mass that a model has learnt, so that plans for it are smoothed.
#[derive(Debug)]
struct Learnt(PointMass);

impl LatentModel for Learnt {
    fn latent_size(&self) -> usize {
        self.0.latent_size()
    }

    fn action_size(&self) -> usize {
        self.0.action_size()
    }

    fn transition(&self, latents: Tensor<2>, actions: Tensor<2>) -> DiagonalGaussian {
        self.0.transition(latents, actions)
    }

    fn reward(&self, latents: Tensor<2>) -> Tensor<1> {
        self.0.reward(latents)
    }

    fn action_noise(&self) -> f64 {
        0.2
    }
}

/// Wherever in a search the deadline comes, there is a plan, also in the midst of the smoothing, whose
/// plans are not judged yet then.
#[test]
fn a_deadline_within_the_smoothing_leaves_a_plan() {
    let (model, belief) = (Learnt(PointMass { spread: 0.1 }), PointMass::belief());
    let planner = planner("latco", None).unwrap();
    let plan = |deadline| {
        let mut observer = NoObserver;
        let context = PlanContext::new(0, &mut observer).with_deadline(deadline);
        planner.plan_with(&model, &belief, context)
    };
    plan(None).unwrap();
    let whole = plan(None).unwrap().elapsed;
    for share in 1..100 {
        let deadline = whole * share / 100;
        let plan = plan(Some(deadline)).unwrap_or_else(|error| panic!("{deadline:?}: {error}"));
        assert!(plan.rollout.total() > 0.0);
    }
}
