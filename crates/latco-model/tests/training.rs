//! What gradient steps do, seen from outside.

#[path = "../../../tests/common"]
mod common {
    pub mod batches;
    pub mod parameters;
    pub mod worlds;
}

use burn::tensor::{Bytes, Device, Tensor};
use common::{batches::random_batch, parameters::parameters, worlds::tiny_config};
use latco_model::{
    Batch, ElboConfig, RewardKind, Sequences, TrainStep, Trainer, TrainerConfig, WorldModel,
    WorldModelConfig,
};
use latco_plan::{LatentModel, Noise};

fn trainer(config: TrainerConfig, seed: u64) -> Trainer {
    let device = Device::default();
    let model = WorldModel::new(tiny_config(6), seed, &device).unwrap();
    Trainer::new(model, config, seed, &device).unwrap()
}

/// The same with so many dynamics heads.
fn with_heads(heads: usize, config: TrainerConfig) -> Trainer {
    let device = Device::default();
    let model = WorldModel::new(tiny_config(6), 1, &device).unwrap();
    let model = model.with_ensemble(heads, 2).unwrap();
    Trainer::new(model, config, 1, &device).unwrap()
}

fn batch(seed: u64) -> Batch {
    random_batch(&tiny_config(6), seed, &Device::default())
}

/// Two sequences, of which the first may begin with a reset, and is then said to pay `reward` there.
fn batch_with_reset(config: &WorldModelConfig, is_first: bool, reward: f32) -> Batch {
    const ROWS: usize = 2;
    const LENGTH: usize = 4;
    let layout = config.pixel_layout();
    let bytes = (0..=u8::MAX).cycle().take(ROWS * LENGTH * layout.bytes());
    let mut rewards = vec![0.5; ROWS * LENGTH];
    rewards[0] = reward;
    let sequences = Sequences {
        rows: ROWS,
        length: LENGTH,
        pixels: &bytes.collect::<Vec<u8>>(),
        actions: vec![0.25; ROWS * LENGTH * config.action_size],
        rewards,
        is_first: vec![is_first, false],
        ..Sequences::default()
    };
    Batch::new(sequences, layout, &Device::default())
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
fn the_reward_of_a_reset_counts_for_nothing() {
    for reward in [RewardKind::Gaussian, RewardKind::Bernoulli] {
        let config = WorldModelConfig {
            reward,
            ..tiny_config(6)
        };
        let model = WorldModel::new(config.clone(), 1, &Device::default()).unwrap();
        let losses = |is_first, paid| {
            let batch = batch_with_reset(&config, is_first, paid);
            let elbo = model.elbo(&batch, &ElboConfig::default(), &mut Noise::new(3));
            [elbo.loss, elbo.image, elbo.reward, elbo.kl].map(|part| part.into_scalar::<f32>())
        };
        assert_eq!(losses(true, 1e6), losses(true, 0.0), "{reward:?}");
        assert_ne!(losses(false, 1e6), losses(false, 0.0), "{reward:?}");
        // All else of the frame counts.
        let [counted, left_out] = [losses(false, 0.0), losses(true, 0.0)];
        assert_eq!((counted[1], counted[3]), (left_out[1], left_out[3]));
        assert_ne!(counted[2], left_out[2]);
    }
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
fn a_state_that_is_damaged_changes_nothing() {
    let mut whole = trainer(TrainerConfig::default(), 1);
    steps(&mut whole, 0..2);
    let mut state = whole.state().unwrap();
    state.optimizer = Bytes::from_bytes_vec(vec![1, 2, 3]);
    let mut other = trainer(TrainerConfig::default(), 9);
    let before = parameters(&other.model());
    assert!(other.restore(state).is_err());
    assert_eq!(parameters(&other.model()), before);
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

/// Those that are numbers of double precision alone are not.
#[test]
fn rewards_have_a_range_of_single_precision() {
    for (range, is_allowed) in [
        ([-1e38, 1e38], true),
        ([0.0, 1e39], false),
        ([-3e38, 3e38], false),
        ([1.0, 1.0 + 1e-9], false),
    ] {
        let config = WorldModelConfig {
            reward_range: range,
            ..tiny_config(6)
        };
        let refused = config.validate().err().map(|error| error.name);
        assert_eq!(
            refused,
            (!is_allowed).then_some("reward_range"),
            "{range:?}"
        );
    }
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
        // The model has no heads.
        (
            "ensemble_only",
            TrainerConfig {
                ensemble_only: true,
                ..TrainerConfig::default()
            },
        ),
    ] {
        let refused = Trainer::new(model(), config, 0, &Device::default());
        assert_eq!(refused.err().unwrap().name, name);
    }
}

/// Two sequences of the rewards 100 and 0, of which `recorded` frames are recorded.
fn batch_with_mask(config: &WorldModelConfig, recorded: [usize; 2]) -> Batch {
    const LENGTH: usize = 10;
    let layout = config.pixel_layout();
    let per_frame = |values: [f32; 2]| {
        values
            .into_iter()
            .flat_map(|value| [value; LENGTH])
            .collect()
    };
    let mask = recorded.map(|frames| (0..LENGTH).map(move |frame| f32::from(frame < frames)));
    let sequences = Sequences {
        rows: 2,
        length: LENGTH,
        pixels: &vec![100; 2 * LENGTH * layout.bytes()],
        actions: vec![0.25; 2 * LENGTH * config.action_size],
        rewards: per_frame([100.0, 0.0]),
        mask: mask.into_iter().flatten().collect(),
        ..Sequences::default()
    };
    Batch::new(sequences, layout, &Device::default())
}

/// ½ 100² of ten frames out of eleven, whether or not the eleventh is in a shard of its own.
#[test]
fn every_recorded_frame_counts_the_same_in_whichever_shard() {
    let config = WorldModelConfig {
        reward: RewardKind::Gaussian,
        ..tiny_config(6)
    };
    let batch = batch_with_mask(&config, [10, 1]);
    for shards in [1, 2] {
        let settings = TrainerConfig {
            shards,
            ..TrainerConfig::default()
        };
        let model = WorldModel::new(config.clone(), 1, &Device::default()).unwrap();
        let mut trainer = Trainer::new(model, settings, 1, &Device::default()).unwrap();
        let seen = trainer.step(&batch).reward;
        let expected = 0.5 * 100.0_f32.powi(2) * 10.0 / 11.0;
        assert!(
            (seen / expected - 1.0).abs() < 0.05,
            "{shards}: {seen} for {expected}"
        );
    }
}

#[test]
fn a_sequence_without_a_recorded_frame_leaves_the_unit_of_uncertainty_finite() {
    for shards in [1, 2] {
        let mut trainer = with_heads(
            3,
            TrainerConfig {
                shards,
                ..TrainerConfig::default()
            },
        );
        let batch = batch_with_mask(&tiny_config(6), [10, 0]);
        trainer.step(&batch);
        let model = trainer.model();
        let latents = model.initial_latent(1, &Device::default());
        let actions = Tensor::zeros([1, tiny_config(6).action_size], &Device::default());
        let uncertainty = model.uncertainty(latents, actions).unwrap();
        assert!(
            uncertainty.into_scalar::<f32>().is_finite(),
            "{shards} shards"
        );
    }
}

/// Also where gradients are clipped.
#[test]
fn a_model_learns_the_same_with_and_without_dynamics_heads() {
    let config = TrainerConfig {
        gradient_clip: 1.0,
        ..TrainerConfig::default()
    };
    let mut alone = with_heads(1, config.clone());
    let mut together = with_heads(3, config);
    let seen = [&mut alone, &mut together].map(|trainer| steps(trainer, 0..3));
    let expected = parameters(&alone.model());
    let found = parameters(&together.model());
    assert_eq!(expected, found[..expected.len()]);
    assert!(seen[0].iter().all(|step| step.ensemble.is_none()));
    assert!(seen[1].iter().all(|step| step.ensemble.unwrap() > 0.0));
}

#[test]
fn heads_alone_are_trained_where_that_is_asked_for() {
    let config = TrainerConfig {
        learning_rate: 3e-3,
        ensemble_only: true,
        ..TrainerConfig::default()
    };
    let mut trainer = with_heads(5, config);
    let rest = parameters(&with_heads(1, TrainerConfig::default()).model()).len();
    let before = parameters(&trainer.model());
    let seen = steps(&mut trainer, 0..60);
    let after = parameters(&trainer.model());
    assert_eq!(before[..rest], after[..rest]);
    let mean = |steps: &[TrainStep]| {
        let losses = steps.iter().map(|step| step.ensemble.unwrap());
        losses.sum::<f32>() / steps.len() as f32
    };
    let (first, last) = (mean(&seen[..10]), mean(&seen[50..]));
    assert!(last < 0.7 * first, "{first} to {last}");
}

#[test]
fn heads_agree_where_they_were_trained_and_not_elsewhere() {
    let config = TrainerConfig {
        learning_rate: 3e-3,
        ensemble_only: true,
        ..TrainerConfig::default()
    };
    let mut trainer = with_heads(5, config);
    steps(&mut trainer, 0..250);
    let model = trainer.model();
    let batch = batch(1_000);
    let (length, rows) = (batch.length(), batch.rows());
    let mut latents = model.initial_latent(rows, &Device::default());
    let (mut near, mut far) = (Vec::new(), Vec::new());
    for step in 0..length {
        let action = batch.actions.clone().narrow(0, step, 1).squeeze_dim::<2>(0);
        let values = |latents, actions, into: &mut Vec<f32>| {
            let uncertainty = model.uncertainty(latents, actions).unwrap();
            into.extend(uncertainty.into_data_as::<f32>().iter::<f32>());
        };
        if step > 0 {
            values(latents.clone(), action.clone(), &mut near);
            values(latents.clone() * 8.0 + 4.0, action.clone(), &mut far);
        }
        let images = batch.images.clone().narrow(0, step * rows, rows);
        latents = model.observe(latents, action, images).mean;
    }
    let mean = |values: &[f32]| values.iter().sum::<f32>() / values.len() as f32;
    println!("near {near:?}, far {far:?}");
    // In units of what one training transition of twenty exceeds.
    assert!((0.1..1.2).contains(&mean(&near)), "{near:?}");
    assert!(mean(&far) > 4.0 * mean(&near), "{near:?} {far:?}");
}
