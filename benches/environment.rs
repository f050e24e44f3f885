//! Steps of every task with rendering, on one core: `cargo bench --bench environment`.
//!
//! The throughput is in steps. Actions are random and drawn beforehand; the resets between episodes
//! count, as they do when episodes are collected.

use std::time::Duration;

use criterion::{
    BenchmarkGroup, Criterion, Throughput, criterion_group, criterion_main, measurement::WallTime,
};
use latco::{
    Environment,
    env::{EnvOptions, catalogue, make},
    plan::Noise,
};

/// Actions drawn beforehand.
const ACTIONS: usize = 256;

/// Sides of the images in pixels: that of the paper, and twice it.
const IMAGE_SIZES: [usize; 2] = [64, 128];

fn random_actions(size: usize) -> Vec<Vec<f32>> {
    let noise = &mut Noise::new(0);
    let mut action = || (0..size).map(|_| noise.uniform_scalar()).collect();
    (0..ACTIONS).map(|_| action()).collect()
}

/// Steps `environment` through episode after episode.
fn step(group: &mut BenchmarkGroup<WallTime>, environment: &mut dyn Environment) {
    let actions = random_actions(environment.action_space().size());
    let mut actions = actions.iter().cycle();
    let mut seed = 0;
    environment.reset(seed).expect("tasks reset");
    let name = environment.name().to_owned();
    group.bench_function(name, |bencher| {
        bencher.iter(|| {
            let action = actions.next().expect("actions without end");
            let step = environment.step(action).expect("a valid action");
            if step.is_last() {
                seed += 1;
                environment.reset(seed).expect("tasks reset");
            }
            step
        });
    });
}

/// Every task at both image sizes.
fn steps(criterion: &mut Criterion) {
    for image_size in IMAGE_SIZES {
        let name = format!("environment step/{image_size} pixels");
        let group = &mut criterion.benchmark_group(name);
        group.throughput(Throughput::Elements(1));
        let options = EnvOptions {
            image_size,
            ..EnvOptions::default()
        };
        for task in catalogue() {
            let mut environment = make(task.name, &options).expect("a task of the catalogue");
            step(group, environment.as_mut());
        }
    }
}

criterion_group! {
    name = benches;
    config = Criterion::default()
        .sample_size(20)
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(2));
    targets = steps
}
criterion_main!(benches);
