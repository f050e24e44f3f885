//! Plans of models that know where they are uncertain.

use burn::tensor::{Device, Tensor};
use common::point_mass::PointMass;
use latco_plan::{
    Belief, DiagonalGaussian, Discounted, ImageSpace, LatentGoal, LatentModel, Plan, Planner,
    catalogue::{PLANNERS, planner},
    methods::Latco,
    solve::Solver,
};

mod common {
    pub mod point_mass;
}

const HORIZON: usize = 5;

/// A point mass that is the less certain the further it is from where it began, and under strong actions.
struct Explored(PointMass);

impl LatentModel for Explored {
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
        0.1
    }

    fn uncertainty(&self, latents: Tensor<2>, actions: Tensor<2>) -> Option<Tensor<1>> {
        let position = latents.narrow(1, 0, 2).square().sum_dim(1);
        Some((position + actions.square().sum_dim(1)).squeeze_dim(1))
    }

    fn image_space(&self) -> Option<&dyn ImageSpace> {
        self.0.image_space()
    }
}

/// By hand, from the plan's own actions.
fn expected(plan: &Plan) -> Vec<f32> {
    let actions: Vec<Vec<f32>> = (0..HORIZON).map(|t| plan.action(t).unwrap()).collect();
    let (mut position, mut velocity) = ([0.0_f32; 2], [0.0_f32; 2]);
    let mut uncertainty = Vec::new();
    for action in actions {
        let squares = position.iter().chain(&action).map(|x| x * x);
        uncertainty.push(squares.sum());
        for axis in 0..2 {
            velocity[axis] = 0.8 * velocity[axis] + 0.3 * action[axis];
            position[axis] += velocity[axis];
        }
    }
    uncertainty
}

fn assert_carried(name: &str, plan: &Plan) {
    let found = plan.uncertainty.as_ref();
    let found = found.unwrap_or_else(|| panic!("{name} lost the uncertainty"));
    let expected = expected(plan);
    assert_eq!(found.len(), HORIZON, "{name}");
    for (found, expected) in found.iter().zip(&expected) {
        assert!(
            (found - expected).abs() < 1e-4,
            "{name}: {found} {expected}"
        );
    }
    let mean = expected.iter().sum::<f32>() / HORIZON as f32;
    assert_eq!(plan.leaves_data(), Some(mean > 1.0), "{name}");
    assert!(plan.robust_return.is_some(), "{name}");
}

#[test]
fn plans_of_every_planner_carry_the_uncertainty_of_their_steps() {
    let model = Explored(PointMass { spread: 0.01 });
    // Known exactly, so that particles begin alike.
    let belief = Belief::certain(Tensor::zeros([4], &Device::default()));
    for info in PLANNERS {
        let planner = planner(info.name, Some(HORIZON)).unwrap();
        assert_carried(info.name, &planner.plan(&model, &belief).unwrap());
    }
}

#[test]
fn models_built_on_others_do_not_lose_it() {
    let (model, belief) = (Explored(PointMass { spread: 0.01 }), PointMass::belief());
    let goal = Tensor::<1>::ones([4], &Device::default());
    let going_on = |latents: Tensor<2>| Tensor::ones([latents.dims()[0]], &latents.device());
    for name in ["latco", "icem", "shooting-gd"] {
        let planner = planner(name, Some(HORIZON)).unwrap();
        let goal = LatentGoal::new(&model, goal.clone()).unwrap();
        assert_carried(name, &planner.plan(&goal, &belief).unwrap());
        let discounted = Discounted::new(&model, Box::new(going_on));
        let belief = discounted.belief(&belief);
        assert_carried(name, &planner.plan(&discounted, &belief).unwrap());
    }
}

#[test]
fn plans_of_other_models_say_nothing() {
    let (model, belief) = (PointMass { spread: 0.01 }, PointMass::belief());
    let plan = planner("icem", Some(HORIZON)).unwrap();
    let plan = plan.plan(&model, &belief).unwrap();
    assert!(plan.uncertainty.is_none() && plan.leaves_data().is_none());
    assert!(plan.robust_return.is_none(), "an exact model");
}

/// A walk on a line that pays most at 1, and whose model knows the less the further beyond ½ it is.
struct Unexplored;

impl LatentModel for Unexplored {
    fn latent_size(&self) -> usize {
        1
    }

    fn action_size(&self) -> usize {
        1
    }

    fn transition(&self, latents: Tensor<2>, actions: Tensor<2>) -> DiagonalGaussian {
        let mean = latents + actions * 0.3;
        let std = mean.full_like(1e-3);
        DiagonalGaussian::new(mean, std)
    }

    fn reward(&self, latents: Tensor<2>) -> Tensor<1> {
        (latents - 1.0).square().neg().exp().squeeze_dim(1)
    }

    fn reward_range(&self) -> Option<[f64; 2]> {
        Some([0.0, 1.0])
    }

    fn action_noise(&self) -> f64 {
        0.1
    }

    fn uncertainty(&self, latents: Tensor<2>, _actions: Tensor<2>) -> Option<Tensor<1>> {
        Some((latents - 0.5).clamp_min(0.0).squeeze_dim::<1>(1) * 4.0)
    }
}

#[test]
fn a_penalty_keeps_plans_where_the_model_is_certain() {
    let belief = Belief::certain(Tensor::zeros([1], &Device::default()));
    // Where the last action is taken.
    let end = |uncertainty_penalty: f64| {
        let method = Latco {
            horizon: 12,
            uncertainty_penalty,
            ..Latco::default()
        };
        let planner = Solver::new("latco", method).unwrap();
        let plan = planner.plan(&Unexplored, &belief).unwrap();
        let latents = plan.rollout_latents.clone();
        let last = latents.narrow(0, 10, 1).into_scalar::<f32>();
        (last, plan.leaves_data())
    };
    let (last, leaves) = end(0.0);
    assert!(
        (0.9..1.1).contains(&last) && leaves == Some(true),
        "{last} {leaves:?}"
    );
    let (last, leaves) = end(0.5);
    assert!(
        (0.35..0.65).contains(&last) && leaves == Some(false),
        "{last} {leaves:?}"
    );
}
