//! How the cost of planning grows with the horizon, with the number of plans side by side and with
//! the size of the latent: `cargo bench --bench growth`.
//!
//! Where nothing else is said the sizes are those of the paper, with one plan of 30 steps. A
//! Gauss–Newton step is measured whole, with its linearisation. The horizon at which its two
//! eliminations cross depends on the size of the latent, so that both presets are there.

use std::time::Duration;

use common::{
    device::device,
    finished::finished,
    iterations::{IterationClock, Task},
    presets::{ACTION_SIZE, presets},
    problem::Problem,
};
use criterion::{
    BenchmarkGroup, BenchmarkId, Criterion, SamplingMode, Throughput, criterion_group,
    criterion_main, measurement::WallTime,
};
use latco::{
    model::WorldModelConfig,
    plan::collocation::{
        Elimination::{self, ResidualSpace, Riccati},
        FirstOrderConfig,
    },
    plan::solve::Solver,
};

mod common {
    pub mod device;
    pub mod finished;
    pub mod iterations;
    pub mod presets;
    pub mod problem;
}

const HORIZONS: [usize; 5] = [10, 30, 100, 300, 1_000];
const PLANS: [usize; 5] = [1, 4, 16, 64, 256];
const LATENTS: [usize; 3] = [32, 128, 512];

/// Steps of a plan where the horizon does not grow.
const HORIZON: usize = 30;

/// The memory of the residual-space elimination grows with the square of the horizon, so that it is
/// left out beyond this one: at 1,000 steps its adjoints alone take a gigabyte, and the planner has
/// long changed to the Riccati sweep.
const LONGEST_IN_RESIDUAL_SPACE: usize = 300;

type Group<'a> = BenchmarkGroup<'a, WallTime>;

fn paper() -> WorldModelConfig {
    WorldModelConfig::paper(ACTION_SIZE)
}

/// Sizes for a latent of which an eighth is stochastic, as in the paper, and layers as wide as it.
fn with_latent(size: usize) -> WorldModelConfig {
    WorldModelConfig {
        stochastic: size / 8,
        deterministic: size - size / 8,
        hidden: size,
        reward_units: 2 * size,
        ..paper()
    }
}

/// Linearises and solves; the benchmark is named after the elimination and `grown`.
fn gauss_newton(
    group: &mut Group,
    elimination: Elimination,
    grown: usize,
    config: WorldModelConfig,
    shape: [usize; 2],
) {
    let name = match elimination {
        ResidualSpace => "residual-space",
        Riccati => "riccati",
        Elimination::Automatic => "automatic",
    };
    let device = device();
    let problem = Problem::new(config, shape, &device);
    group.bench_function(BenchmarkId::new(name, grown), |bencher| {
        bencher.iter(|| finished(problem.solve(&problem.linearise(elimination)), &device));
    });
}

/// One iteration by Adam.
fn first_order(
    group: &mut Group,
    grown: usize,
    config: WorldModelConfig,
    [plans, horizon]: [usize; 2],
) {
    let settings = FirstOrderConfig {
        plans,
        horizon,
        ..FirstOrderConfig::default()
    };
    let planner = Solver::new("latco-first-order", settings).expect("valid settings");
    let task = Task::new(config, &device());
    let mut clock = IterationClock::new(&planner, &task);
    group.bench_function(BenchmarkId::new("first-order", grown), |bencher| {
        bencher.iter_custom(|count| clock.mean().mul_f64(count as f64));
    });
}

/// Horizons 10 to 1,000 at both sizes.
fn horizon(criterion: &mut Criterion) {
    for (name, config) in presets() {
        let group = &mut criterion.benchmark_group(format!("horizon/{name}"));
        group.sampling_mode(SamplingMode::Flat);
        for horizon in HORIZONS {
            let shape = [1, horizon];
            if horizon <= LONGEST_IN_RESIDUAL_SPACE {
                gauss_newton(group, ResidualSpace, horizon, config.clone(), shape);
            }
            gauss_newton(group, Riccati, horizon, config.clone(), shape);
            first_order(group, horizon, config.clone(), shape);
        }
    }
}

/// 1 to 256 plans side by side; the throughput is in plans.
fn plans(criterion: &mut Criterion) {
    let group = &mut criterion.benchmark_group("plans");
    group.sampling_mode(SamplingMode::Flat);
    for plans in PLANS {
        let shape = [plans, HORIZON];
        group.throughput(Throughput::Elements(plans as u64));
        for elimination in [ResidualSpace, Riccati] {
            gauss_newton(group, elimination, plans, paper(), shape);
        }
        first_order(group, plans, paper(), shape);
    }
}

/// Latents of 32 to 512.
fn latent(criterion: &mut Criterion) {
    let group = &mut criterion.benchmark_group("latent");
    group.sampling_mode(SamplingMode::Flat);
    for latent in LATENTS {
        let shape = [1, HORIZON];
        for elimination in [ResidualSpace, Riccati] {
            gauss_newton(group, elimination, latent, with_latent(latent), shape);
        }
        first_order(group, latent, with_latent(latent), shape);
    }
}

criterion_group! {
    name = benches;
    config = Criterion::default()
        .sample_size(10)
        .warm_up_time(Duration::from_millis(100))
        .measurement_time(Duration::from_secs(2));
    targets = horizon, plans, latent
}
criterion_main!(benches);
