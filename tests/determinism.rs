//! What a seed determines: the same plan on the same device, the same search on every backend.

mod common {
    pub mod compare;
    pub mod devices;
    pub mod numbers;
    pub mod worlds;
}

use std::{path::Path, sync::LazyLock};

use burn::tensor::Device;
use common::{
    compare::assert_close, devices::compiled_devices, numbers::values, worlds::tiny_config,
};
use latco_agent::image_tensor;
use latco_env::{EnvOptions, Image, make};
use latco_model::{Precision, WorldModel};
use latco_plan::{
    Belief, Iteration, NoObserver, Noise, Plan, PlanContext, Resources,
    catalogue::{PLANNERS, planner},
    collocation::DualConfig,
};

/// Steps of a plan.
const HORIZON: usize = 6;

/// A checkpoint's model and what it believes after one image.
struct World {
    name: &'static str,
    model: WorldModel,
    belief: Belief,
}

impl World {
    /// A tiny model with random weights that has been through a checkpoint, and, where it is
    /// there, the one that ships.
    fn all(device: &Device) -> Vec<Self> {
        [Some(Self::tiny(device)), Self::shipped(device)]
            .into_iter()
            .flatten()
            .collect()
    }

    fn tiny(device: &Device) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("tiny.safetensors");
        let config = tiny_config(6);
        let size = config.image_size;
        let model = WorldModel::new(config, 3, device).unwrap();
        model.save(&path, Precision::Full).unwrap();
        let pixels = (0..3 * size * size).map(|index| (index * index % 251) as u8);
        let image = Image::new(size, size, pixels.collect()).unwrap();
        Self::load("tiny", &path, &image, device)
    }

    fn shipped(device: &Device) -> Option<Self> {
        let path =
            Path::new(env!("CARGO_MANIFEST_DIR")).join("assets/checkpoints/reach.safetensors");
        path.exists().then(|| {
            let image = make("reach", &EnvOptions::default())
                .unwrap()
                .reset(4)
                .unwrap();
            Self::load("reach", &path, &image, device)
        })
    }

    fn load(name: &'static str, path: &Path, image: &Image, device: &Device) -> Self {
        let model = WorldModel::load(path, device).unwrap();
        let image = image_tensor(&model, image, device).unwrap();
        Self {
            name,
            belief: model.first_belief(image),
            model,
        }
    }

    fn plan(&self, planner_name: &str, seed: u64) -> Plan {
        self.plan_on(Resources::default(), planner_name, seed)
    }

    fn plan_on(&self, resources: Resources, planner_name: &str, seed: u64) -> Plan {
        let mut observer = NoObserver;
        let context = PlanContext::new(seed, &mut observer).with_resources(resources);
        let planner = planner(planner_name, Some(HORIZON)).unwrap();
        planner
            .plan_with(&self.model, &self.belief, context)
            .unwrap()
    }
}

/// Every bit of a plan but its times.
fn bits(plan: &Plan) -> Vec<u32> {
    let trace = plan.trace.iter().flat_map(numbers);
    let tensors = [&plan.actions, &plan.latents, &plan.rollout_latents];
    let tensors = tensors
        .into_iter()
        .flat_map(|tensor| values(tensor.clone()));
    let results = [
        &plan.virtual_.rewards,
        &plan.rollout.rewards,
        &plan.violation,
    ];
    let results = results.into_iter().flatten().copied();
    trace
        .chain(tensors)
        .chain(results)
        .map(f32::to_bits)
        .collect()
}

fn numbers(iteration: &Iteration) -> [f32; 6] {
    [
        iteration.reward,
        iteration.violation_mean,
        iteration.violation_max,
        iteration.multiplier_mean,
        iteration.multiplier_max,
        iteration.action_multiplier_max,
    ]
}

/// What is planned twice on a backend: everything on a CPU, the default planner elsewhere, where a
/// software driver takes minutes for a plan.
fn planners_on(backend: &str) -> impl Iterator<Item = &'static str> {
    let is_cpu = matches!(backend, "flex" | "ndarray");
    let names = PLANNERS.iter().map(|info| info.name);
    names.filter(move |&name| is_cpu || name == "latco")
}

/// The plans of a backend with seed 1.
struct Expected {
    world: World,
    plans: Vec<(&'static str, Vec<u32>)>,
}

/// Of every backend.
static EXPECTED: LazyLock<Vec<Expected>> = LazyLock::new(|| {
    let expected = |(backend, device)| {
        let world = World::tiny(&device);
        let plan = |name| (name, bits(&world.plan(name, 1)));
        Expected {
            plans: planners_on(backend).map(plan).collect(),
            world,
        }
    };
    compiled_devices().into_iter().map(expected).collect()
});

#[test]
fn the_same_seed_gives_the_same_plan_bit_for_bit() {
    for Expected { world, plans } in &*EXPECTED {
        for (name, expected) in plans {
            assert_eq!(&bits(&world.plan(name, 1)), expected, "{name}");
            let other = bits(&world.plan(name, 2));
            assert_ne!(&other, expected, "{name} ignores the seed");
        }
    }
}

#[test]
fn two_threads_plan_as_one_does() {
    for Expected { world, plans } in &*EXPECTED {
        for (name, expected) in plans {
            std::thread::scope(|scope| {
                let threads = [(); 2].map(|()| scope.spawn(|| bits(&world.plan(name, 1))));
                for thread in threads {
                    assert_eq!(&thread.join().unwrap(), expected, "{name}");
                }
            });
        }
    }
}

/// Where a device takes many rows at once Gauss–Newton tries its dampings side by side, in place of one after
/// the other.
#[test]
fn dampings_side_by_side_find_the_same_plan() {
    let many = Resources {
        workers: 1,
        rows: 64,
    };
    for world in World::all(&Device::default()) {
        for name in ["latco", "shooting-gn"] {
            let expected = world.plan(name, 1);
            let found = world.plan_on(many, name, 1);
            // More is tried, and what is accepted is the same.
            assert!(found.model_steps > expected.model_steps, "{name}");
            assert_eq!(found.trace.len(), expected.trace.len(), "{name}");
            let what = format!("{name} on {}", world.name);
            let expected: Vec<f64> = values(expected.actions)
                .into_iter()
                .map(f64::from)
                .collect();
            assert_close(&what, &values(found.actions), &expected, FIRST_TOLERANCE);
        }
    }
}

/// Iterations that must agree between backends.
const FIRST: usize = 10;

/// Rounding differs between backends, and ten iterations amplify it.
const FIRST_TOLERANCE: f64 = 1e-3;

/// The whole search amplifies it further.
const ROLLOUT_TOLERANCE: f64 = 0.02;

#[test]
fn every_backend_searches_alike() {
    let devices = compiled_devices();
    let [(reference, device), others @ ..] = devices.as_slice() else {
        unreachable!("there is at least one");
    };
    if others.is_empty() {
        println!("only {reference} is compiled: nothing to compare with");
        return;
    }
    let expected = searches(device);
    let mut apart = Vec::new();
    for (backend, device) in others {
        for (found, expected) in searches(device).iter().zip(&expected) {
            let differences = found.differences(expected);
            apart.extend(differences.map(|what| format!("{} on {backend}: {what}", found.name)));
        }
    }
    assert!(apart.is_empty(), "{}", apart.join("\n"));
}

/// What one planner did in one world.
struct Search {
    name: String,
    plan: Plan,
}

/// The planners that are compared on every run: a software Vulkan driver takes minutes for the
/// others' hundreds of iterations through autodiff. `LATCO_ALL_PLANNERS=1` compares all.
const QUICK: [&str; 7] = [
    "latco",
    "cem",
    "icem",
    "mppi",
    "shooting-gn",
    "ilqr",
    "random",
];

fn is_compared(planner: &str) -> bool {
    QUICK.contains(&planner) || std::env::var_os("LATCO_ALL_PLANNERS").is_some()
}

fn searches(device: &Device) -> Vec<Search> {
    let mut searches = Vec::new();
    for world in World::all(device) {
        for info in PLANNERS.iter().filter(|info| is_compared(info.name)) {
            let name = format!("{} in {}", info.name, world.name);
            let plan = world.plan(info.name, 1);
            println!(
                "{name}: {} iterations in {:.1?}",
                plan.trace.len(),
                plan.elapsed
            );
            searches.push(Search { name, plan });
        }
    }
    searches
}

impl Search {
    /// What is further from `expected` than it may be.
    fn differences(&self, expected: &Self) -> impl Iterator<Item = String> {
        let parts = [
            ("rewards", (|seen| seen.reward) as fn(&Iteration) -> f32),
            ("mean violations", |seen| seen.violation_mean),
            ("largest violations", |seen| seen.violation_max),
        ];
        let of_iterations = parts.map(|(part, of)| {
            let [found, expected] = [self, expected].map(|search| search.first(of));
            (part, difference(&found, &expected), FIRST_TOLERANCE)
        });
        let [found, expected] = [self, expected].map(|search| search.plan.rollout.total());
        let of_rollout = difference(&[found], &[expected]);
        of_iterations
            .into_iter()
            .chain([("rollout", of_rollout, ROLLOUT_TOLERANCE)])
            .filter(|(_, error, tolerance)| error.is_nan() || error > tolerance)
            .map(|(part, error, tolerance)| format!("{part} differ by {error:.1e} > {tolerance}"))
    }

    fn first(&self, of: fn(&Iteration) -> f32) -> Vec<f32> {
        self.plan.trace.iter().take(FIRST).map(of).collect()
    }
}

/// Relative to the largest expected number, or to ε where all are smaller: a violation far below it
/// is rounding.
fn difference(found: &[f32], expected: &[f32]) -> f64 {
    let threshold = DualConfig::default().threshold;
    let differences = found
        .iter()
        .zip(expected)
        .map(|(a, b)| f64::from((a - b).abs()));
    let scale = expected
        .iter()
        .fold(threshold, |most, x| most.max(f64::from(x.abs())));
    if found.len() != expected.len() {
        return f64::INFINITY;
    }
    differences.fold(0.0, |most: f64, x| if x <= most { most } else { x }) / scale
}

/// The numbers behind every plan come from the host, so that they are the same on every backend.
#[test]
fn every_backend_draws_the_same_numbers() {
    let draw = |device: &Device| values(Noise::new(9).normal([4, 5], device));
    for (backend, device) in compiled_devices() {
        assert_eq!(draw(&device), draw(&Device::default()), "{backend}");
    }
}
