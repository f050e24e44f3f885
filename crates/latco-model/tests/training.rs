//! What gradient steps do, seen from outside.

#[path = "../../../tests/common"]
mod common {
    pub mod batches;
    pub mod parameters;
    pub mod worlds;
}

use burn::tensor::Device;
use common::{batches::random_batch, parameters::parameters, worlds::tiny_config};
use latco_model::{Batch, ElboConfig, TrainStep, Trainer, TrainerConfig, WorldModel};

fn trainer(config: TrainerConfig, seed: u64) -> Trainer {
    let device = Device::default();
    let model = WorldModel::new(tiny_config(6), seed, &device).unwrap();
    Trainer::new(model, config, seed, &device).unwrap()
}

fn batch(seed: u64) -> Batch {
    random_batch(&tiny_config(6), seed, &Device::default())
}

/// Gradient steps on the batches of these seeds.
fn steps(trainer: &mut Trainer, seeds: std::ops::Range<u64>) -> Vec<TrainStep> {
    seeds.map(|seed| trainer.step(&batch(seed))).collect()
}

#[test]
fn steps_on_one_batch_lower_its_loss() {
    // All frames and pixels alike: the loss of a few frames drawn at random is another one each time.
    let config = TrainerConfig {
        learning_rate: 3e-3,
        elbo: ElboConfig {
            foreground_scale: 0.0,
            decoded_share: 1.0,
            ..ElboConfig::default()
        },
        ..TrainerConfig::default()
    };
    let mut trainer = trainer(config, 1);
    let batch = batch(2);
    let losses: Vec<f32> = (0..60).map(|_| trainer.step(&batch).loss).collect();
    let (first, last) = (losses[0], losses[losses.len() - 1]);
    println!("loss {first} to {last}");
    // The samples of the posterior make single steps noisy; half is far beyond that.
    assert!(last < 0.5 * first, "{losses:?}");
}

#[test]
fn the_same_seed_trains_alike_bit_for_bit() {
    let run = || {
        let mut trainer = trainer(TrainerConfig::default(), 1);
        let seen = steps(&mut trainer, 0..3);
        (seen, parameters(&trainer.model()))
    };
    assert_eq!(run(), run());
}

#[test]
fn a_restored_trainer_goes_on_bit_for_bit() {
    let mut uninterrupted = trainer(TrainerConfig::default(), 1);
    steps(&mut uninterrupted, 0..3);
    let state = uninterrupted.state().unwrap();
    let mut resumed = trainer(TrainerConfig::default(), 9);
    // Moments and random numbers of its own, which the state must replace.
    steps(&mut resumed, 20..22);
    resumed.restore(state).unwrap();
    assert_eq!(
        parameters(&resumed.model()),
        parameters(&uninterrupted.model())
    );
    let expected = steps(&mut uninterrupted, 3..6);
    assert_eq!(steps(&mut resumed, 3..6), expected);
    assert_eq!(
        parameters(&resumed.model()),
        parameters(&uninterrupted.model())
    );
}

#[test]
fn a_batch_that_is_not_finite_is_skipped() {
    for damage in [f32::NAN, f32::INFINITY] {
        let mut trainer = trainer(TrainerConfig::default(), 1);
        steps(&mut trainer, 0..1);
        let before = parameters(&trainer.model());
        let mut bad = batch(1);
        bad.rewards = bad.rewards * damage;
        let seen = trainer.step(&bad);
        assert!(seen.skipped && !seen.loss.is_finite(), "{seen:?}");
        assert_eq!(parameters(&trainer.model()), before);
        let seen = trainer.step(&batch(1));
        assert!(!seen.skipped && seen.loss.is_finite(), "{seen:?}");
        assert_ne!(parameters(&trainer.model()), before);
    }
}

/// With an ε far above the gradient Adam's first step is `η g / (|g| + ε)`, so that its length
/// shows the length of the clipped gradient.
#[test]
fn the_norm_of_the_whole_gradient_is_clipped() {
    const CLIP: f64 = 1e-2;
    const RATE: f64 = 0.1;
    let config = TrainerConfig {
        learning_rate: RATE,
        adam_epsilon: 1.0,
        gradient_clip: CLIP,
        ..TrainerConfig::default()
    };
    let mut trainer = trainer(config, 1);
    let before = parameters(&trainer.model());
    let seen = trainer.step(&batch(0));
    let after = parameters(&trainer.model());
    assert!(f64::from(seen.gradient_norm) > 10.0 * CLIP, "{seen:?}");
    let squares = before.iter().zip(&after);
    let squares = squares.map(|(before, after)| f64::from(after - before).powi(2));
    let length = squares.sum::<f64>().sqrt();
    // |g| ≤ CLIP shortens the step by up to that share; weights round at 1e-7.
    let share = length / (RATE * CLIP);
    assert!((0.98..1.002).contains(&share), "{share}");
}

#[test]
fn settings_out_of_range_are_named() {
    let model = || WorldModel::new(tiny_config(6), 1, &Device::default()).unwrap();
    for (name, config) in [
        (
            "learning_rate",
            TrainerConfig {
                learning_rate: f64::NAN,
                ..TrainerConfig::default()
            },
        ),
        (
            "gradient_clip",
            TrainerConfig {
                gradient_clip: 0.0,
                ..TrainerConfig::default()
            },
        ),
    ] {
        let refused = Trainer::new(model(), config, 0, &Device::default());
        assert_eq!(refused.err().unwrap().name, name);
    }
}
