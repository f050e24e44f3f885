//! Several planners at once on one model and one device: each plans as it does alone.

mod common {
    pub mod worlds;
}

use std::sync::Barrier;

use burn::tensor::{Device, Tensor};
use common::worlds::tiny_config;
use latco_model::WorldModel;
use latco_plan::{
    Belief, DiagonalGaussian, NoObserver, Plan, PlanContext,
    catalogue::{PLANNERS, planner},
};

const HORIZON: usize = 3;

/// Threads that plan at the same time.
const THREADS: usize = 3;

fn plan(model: &WorldModel, belief: &Belief, name: &str, seed: u64) -> Plan {
    let mut observer = NoObserver;
    let context = PlanContext::new(seed, &mut observer);
    planner(name, Some(HORIZON))
        .unwrap()
        .plan_with(model, belief, context)
        .unwrap()
}

fn bits(plan: &Plan) -> Vec<u32> {
    let tensors = [&plan.actions, &plan.latents, &plan.rollout_latents];
    let values = |tensor: &Tensor<2>| tensor.clone().try_into_vec_as::<f32>().unwrap();
    let numbers = tensors.into_iter().flat_map(values);
    let rewards = plan.virtual_.rewards.iter().chain(&plan.rollout.rewards);
    numbers.chain(rewards.copied()).map(f32::to_bits).collect()
}

#[test]
fn different_planners_at_once_plan_as_each_does_alone() {
    let device = Device::default();
    let model = WorldModel::new(tiny_config(6), 3, &device).unwrap();
    let mean = Tensor::<2>::zeros([1, model.config().latent_size()], &device);
    let belief = Belief::new(DiagonalGaussian::new(mean.clone(), mean.full_like(0.1)));
    let alone: Vec<_> = PLANNERS
        .iter()
        .map(|info| bits(&plan(&model, &belief, info.name, 1)))
        .collect();
    let together = Barrier::new(THREADS);
    std::thread::scope(|scope| {
        for thread in 0..THREADS {
            let (model, belief, alone, together) = (&model, &belief, &alone, &together);
            scope.spawn(move || {
                together.wait();
                // Each begins elsewhere in the catalogue, so that different planners meet.
                let order = (0..PLANNERS.len()).map(|place| (place + 5 * thread) % PLANNERS.len());
                for index in order {
                    let name = PLANNERS[index].name;
                    let found = bits(&plan(model, belief, name, 1));
                    assert!(found == alone[index], "{name} on thread {thread}");
                }
            });
        }
    });
}
