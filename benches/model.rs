//! The parts that planning and training are made of, at small and paper sizes:
//! `cargo bench --bench model`.

use std::time::Duration;

use burn::tensor::{Device, Tensor};
use common::{
    device::device,
    finished::finished,
    presets::{ACTION_SIZE, presets},
    problem::Problem,
};
use criterion::{
    BatchSize, BenchmarkGroup, BenchmarkId, Criterion, criterion_group, criterion_main,
    measurement::WallTime,
};
use latco::{
    LatentModel, WorldModel,
    model::{Batch, PixelLayout, Sequences, Trainer, TrainerConfig, WorldModelConfig},
    plan::{Noise, collocation::Elimination},
};

mod common {
    pub mod device;
    pub mod finished;
    pub mod presets;
    pub mod problem;
}

/// Steps of a plan.
const HORIZON: usize = 30;
/// Sequences of a training batch, and their steps.
const BATCH: [usize; 2] = [16, 20];

type Group<'a> = BenchmarkGroup<'a, WallTime>;

/// A model with random weights, and random inputs for it.
struct Workbench {
    model: WorldModel,
    noise: Noise,
    device: Device,
}

impl Workbench {
    fn new(config: WorldModelConfig) -> Self {
        let device = device();
        Self {
            model: WorldModel::new(config, 0, &device).expect("valid sizes"),
            noise: Noise::new(0),
            device,
        }
    }

    fn normal<const D: usize>(&mut self, shape: [usize; D]) -> Tensor<D> {
        self.noise.normal(shape, &self.device)
    }

    /// Latents and actions, `[rows, latent]` and `[rows, action]`.
    fn points(&mut self, rows: usize) -> (Tensor<2>, Tensor<2>) {
        let latents = self.normal([rows, self.model.latent_size()]);
        (latents, self.normal([rows, ACTION_SIZE]))
    }
}

/// The mean transition of a step of a rollout, of a whole plan, and of samples side by side.
fn transition(group: &mut Group, bench: &mut Workbench) {
    for rows in [1, HORIZON, 1_000] {
        let (latents, actions) = bench.points(rows);
        let (model, device) = (&bench.model, &bench.device);
        group.bench_function(BenchmarkId::new("transition", rows), |bencher| {
            bencher.iter(|| {
                let means = model.transition_mean(latents.clone(), actions.clone());
                finished(means, device)
            });
        });
    }
}

/// The linearisation of a plan.
fn linearise(group: &mut Group, bench: &mut Workbench) {
    let (latents, actions) = bench.points(HORIZON);
    let (dynamics, device) = (bench.model.dynamics(), &bench.device);
    group.bench_function("linearise", |bencher| {
        bencher.iter(|| {
            let linearisation = dynamics.linearise(latents.clone(), actions.clone());
            finished(linearisation, device)
        });
    });
}

/// A step of the adjoint sweep at its widest: the cotangents of every reward residual through one
/// transition.
fn pullback(group: &mut Group, bench: &mut Workbench) {
    let (latents, actions) = bench.points(HORIZON);
    let cotangents = bench.normal([1, HORIZON, bench.model.latent_size()]);
    let linearisation = bench.model.dynamics().linearise(latents, actions);
    group.bench_function("pullback", |bencher| {
        bencher.iter(|| {
            let inputs = linearisation.pullback(0..1, cotangents.clone());
            finished(inputs, &bench.device)
        });
    });
}

/// A step of the forward sweep: one tangent through one transition.
fn pushforward(group: &mut Group, bench: &mut Workbench) {
    let (latents, actions) = bench.points(HORIZON);
    let latent_tangent = bench.normal([1, 1, bench.model.latent_size()]);
    let action_tangent = bench.normal([1, 1, ACTION_SIZE]);
    let linearisation = bench.model.dynamics().linearise(latents, actions);
    group.bench_function("pushforward", |bencher| {
        bencher.iter(|| {
            let tangent =
                linearisation.pushforward(0..1, latent_tangent.clone(), action_tangent.clone());
            finished(tangent, &bench.device)
        });
    });
}

/// The Gauss–Newton step of one plan by both eliminations, its linearisation left out. Each is
/// solved once, since a system keeps its adjoints for the next damping.
fn solve(group: &mut Group, bench: &mut Workbench) {
    let config = bench.model.config().clone();
    let problem = Problem::new(config, [1, HORIZON], &bench.device);
    for (name, elimination) in [
        ("residual-space solve", Elimination::ResidualSpace),
        ("riccati solve", Elimination::Riccati),
    ] {
        group.bench_function(name, |bencher| {
            bencher.iter_batched(
                || finished(problem.linearise(elimination), &bench.device),
                |system| finished(problem.solve(&system), &bench.device),
                BatchSize::PerIteration,
            );
        });
    }
}

/// One image, as when acting, and a batch of them.
fn encoder(group: &mut Group, bench: &mut Workbench) {
    let config = bench.model.config();
    let side = config.image_size / config.pooling / 2;
    for rows in [1, 50] {
        let blocks = bench.normal([rows, 12, side, side]);
        let (encoder, device) = (bench.model.encoder(), &bench.device);
        group.bench_function(BenchmarkId::new("encoder", rows), |bencher| {
            bencher.iter(|| finished(encoder.forward(blocks.clone()), device));
        });
    }
}

/// One gradient step on 16 sequences of 20.
fn train_step(group: &mut Group, bench: &mut Workbench) {
    let model = bench.model.clone();
    let side = model.config().image_size;
    let config = TrainerConfig::default();
    let mut trainer = Trainer::new(model, config, 0, &bench.device).expect("valid settings");
    let batch = random_batch(side, &mut bench.noise, trainer.device());
    group.sample_size(10);
    group.bench_function("train step", |bencher| {
        bencher.iter(|| finished(trainer.step(&batch), &bench.device));
    });
}

/// Sequences of images without meaning.
fn random_batch(side: usize, noise: &mut Noise, device: &Device) -> Batch {
    let [rows, length] = BATCH;
    let frames = rows * length;
    let bytes = (0..=u8::MAX).cycle();
    let pixels: Vec<u8> = bytes.take(frames * side * side * 3).collect();
    let actions = (0..frames * ACTION_SIZE)
        .map(|_| noise.uniform_scalar())
        .collect();
    let rewards = vec![0.5; frames];
    let sequences = Sequences {
        rows,
        length,
        pixels: &pixels,
        actions,
        rewards,
        ..Sequences::default()
    };
    Batch::new(sequences, PixelLayout::new(side), device)
}

/// Every part at both sizes.
fn parts(criterion: &mut Criterion) {
    for (name, config) in presets() {
        let bench = &mut Workbench::new(config);
        let group = &mut criterion.benchmark_group(name);
        transition(group, bench);
        linearise(group, bench);
        pullback(group, bench);
        pushforward(group, bench);
        solve(group, bench);
        encoder(group, bench);
        train_step(group, bench);
    }
}

criterion_group! {
    name = benches;
    config = Criterion::default()
        .sample_size(20)
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(2));
    targets = parts
}
criterion_main!(benches);
