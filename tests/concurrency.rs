//! Several planners at once on one model and one device: each plans as it does alone.

mod common {
    pub mod devices;
    pub mod worlds;
}

use std::sync::Barrier;

use burn::tensor::{Device, Tensor};
use common::{devices::compiled_devices, worlds::tiny_config};
use latco_agent::device::{resources, trainer_on};
use latco_model::{TrainerConfig, WorldModel};
use latco_plan::{
    Belief, DiagonalGaussian, NoObserver, Plan, PlanContext, Planner, Resources,
    catalogue::{PLANNERS, planner},
    shooting::CemConfig,
    solve::Solver,
};

const HORIZON: usize = 3;

/// Threads that plan at the same time.
const THREADS: usize = 3;

fn world() -> (WorldModel, Belief) {
    let device = Device::default();
    let model = WorldModel::new(tiny_config(6), 3, &device).unwrap();
    let mean = Tensor::<2>::zeros([1, model.config().latent_size()], &device);
    let belief = Belief::new(DiagonalGaussian::new(mean.clone(), mean.full_like(0.1)));
    (model, belief)
}

fn plan(model: &WorldModel, belief: &Belief, name: &str, seed: u64) -> Plan {
    let mut observer = NoObserver;
    let context = PlanContext::new(seed, &mut observer);
    planner(name, Some(HORIZON))
        .unwrap()
        .plan_with(model, belief, context)
        .unwrap()
}

/// As [`plan`], its batches shared out among so many threads.
fn shared_plan(model: &WorldModel, belief: &Belief, name: &str, workers: usize) -> Plan {
    let mut observer = NoObserver;
    let context = PlanContext::new(5, &mut observer).with_resources(Resources { workers, rows: 1 });
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
    let (model, belief) = world();
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

#[test]
fn samples_shared_out_among_threads_are_scored_as_on_one() {
    let (model, belief) = world();
    for name in ["cem", "icem", "mppi"] {
        let alone = bits(&shared_plan(&model, &belief, name, 1));
        for workers in [2, 3, 64] {
            let shared = bits(&shared_plan(&model, &belief, name, workers));
            assert!(shared == alone, "{name} with {workers} workers");
        }
    }
}

#[test]
fn a_processor_shares_batches_out_and_a_gpu_takes_them_whole() {
    let shards = TrainerConfig::default().shards;
    for (name, device) in compiled_devices() {
        let trainer = trainer_on(&device, TrainerConfig::default());
        let Resources { workers, rows } = resources(&device);
        match name {
            "flex" | "ndarray" => {
                let cores = std::thread::available_parallelism().unwrap().get();
                assert_eq!(
                    (workers, rows, trainer.shards),
                    (cores, 1, shards),
                    "{name}"
                );
            }
            _ => {
                assert_eq!((workers, trainer.shards), (1, 1), "{name}");
                assert!(rows > 10_000, "{name}: {rows}");
            }
        }
    }
}

#[test]
fn samples_rolled_out_at_once_are_scored_as_in_parts() {
    let (model, belief) = world();
    let actions = |rows: usize| {
        let mut observer = NoObserver;
        let resources = Resources { workers: 1, rows };
        let context = PlanContext::new(5, &mut observer).with_resources(resources);
        let cem = Solver::new(
            "cem",
            CemConfig {
                horizon: HORIZON,
                chunk: 3,
                ..CemConfig::default()
            },
        );
        let plan = cem.unwrap().plan_with(&model, &belief, context).unwrap();
        plan.actions
    };
    // A product of more rows may round otherwise.
    let difference: f32 = (actions(1) - actions(10_000)).abs().max().into_scalar();
    assert!(difference < 1e-3, "{difference}");
}

#[test]
fn plans_shared_out_among_threads_are_those_of_one() {
    let (model, belief) = world();
    for name in ["latco", "latco-first-order", "latco-no-relax"] {
        let alone = shared_plan(&model, &belief, name, 1);
        for workers in [2, 3, 64] {
            let shared = shared_plan(&model, &belief, name, workers);
            // A product of fewer rows may round otherwise.
            let difference = (shared.actions.clone() - alone.actions.clone()).abs().max();
            let difference: f32 = difference.into_scalar();
            assert!(difference < 1e-3, "{name}, {workers} workers: {difference}");
            assert!(bits(&shared) == bits(&shared_plan(&model, &belief, name, workers)));
        }
    }
}

#[test]
fn plans_shared_out_among_threads_take_the_iterations_of_one() {
    let (model, belief) = world();
    for name in ["latco-first-order", "latco-no-relax"] {
        let alone = shared_plan(&model, &belief, name, 1);
        for workers in [2, 3, 64] {
            let shared = shared_plan(&model, &belief, name, workers);
            assert_eq!(shared.trace.len(), alone.trace.len(), "{name}");
            // A refused step is tried anew with the plans of its thread alone.
            assert!(shared.model_steps <= alone.model_steps, "{name}");
        }
    }
}
