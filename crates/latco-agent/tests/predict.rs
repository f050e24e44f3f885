//! Predictions see nothing beyond their context.

#[path = "../../../tests/common"]
mod common {
    pub mod worlds;
}

use burn::tensor::{Device, Tensor, TensorData};
use common::worlds::tiny_config;
use latco_agent::{
    Prediction, PredictionError, ScriptedPolicy, decoded_images, image_tensor, predict, run_episode,
};
use latco_env::{ActionSpace, EnvOptions, Episode, EpisodeArrays, Image, make};
use latco_model::{WorldModel, WorldModelConfig};
use latco_plan::LatentModel;

const CONTEXT: usize = 4;

fn model() -> WorldModel {
    WorldModel::new(tiny_config(6), 1, &Device::default()).unwrap()
}

fn episode(image_size: usize) -> Episode {
    let options = EnvOptions {
        image_size,
        ..EnvOptions::default()
    };
    let mut environment = make("reach", &options).unwrap();
    let mut policy = ScriptedPolicy::disturbed(0.3);
    run_episode(environment.as_mut(), &mut policy, 2)
        .unwrap()
        .episode
}

fn prediction(episode: &Episode) -> Prediction {
    predict(&model(), episode, CONTEXT, 100, &Device::default()).unwrap()
}

/// The arrays of an episode, to be changed.
fn arrays(episode: &Episode) -> EpisodeArrays {
    EpisodeArrays {
        image_height: episode.image_height(),
        image_width: episode.image_width(),
        cameras: 1,
        action_space: episode.action_space().clone(),
        images: episode.images().to_vec(),
        actions: episode.actions().to_vec(),
        rewards: episode.rewards().to_vec(),
        discounts: episode.discounts().to_vec(),
        sparse_rewards: None,
    }
}

/// Latents step by step: posterior means through the context, then prior means.
#[test]
fn a_prediction_filters_and_then_rolls_out() {
    let (device, model, episode) = (Device::default(), model(), episode(32));
    let mut latent = model.initial_latent(1, &device);
    let (mut images, mut rewards) = (Vec::new(), Vec::new());
    for frame in 0..episode.len() {
        let action = TensorData::new(episode.action(frame).to_vec(), [1, 2]);
        let action = Tensor::<2>::from_data(action, &device);
        latent = if frame < CONTEXT {
            let image = image_tensor(&model, &episode.image(frame), &device).unwrap();
            model.observe(latent, action, image).mean
        } else {
            model.transition_mean(latent, action)
        };
        images.extend(decoded_images(&model, latent.clone()));
        rewards.push(model.reward(latent.clone()).into_scalar::<f32>());
    }
    let prediction = prediction(&episode);
    assert_eq!(prediction.images.len(), episode.len());
    for (frame, (found, expected)) in prediction.images.iter().zip(&images).enumerate() {
        let pairs = found.pixels().iter().zip(expected.pixels());
        // Batched and single rows may round differently.
        assert!(
            pairs.into_iter().all(|(a, b)| a.abs_diff(*b) <= 1),
            "frame {frame}"
        );
    }
    for (found, expected) in prediction.rewards.iter().zip(&rewards) {
        assert!((found - expected).abs() < 1e-5, "{found} {expected}");
    }
}

/// As training does: a recording that tells no bounds is of those that the model was told.
#[test]
fn actions_are_of_the_bounds_that_the_model_was_told() {
    let config = WorldModelConfig {
        action_low: vec![0.0, 100.0],
        action_high: vec![512.0, 300.0],
        ..tiny_config(6)
    };
    let model = WorldModel::new(config, 1, &Device::default()).unwrap();
    let unit = episode(32);
    let told = ActionSpace::new(vec![0.0, 100.0], vec![512.0, 300.0]).unwrap();
    let mut raw = arrays(&unit);
    let actions = unit.actions().chunks(2);
    raw.actions = actions
        .flat_map(|action| told.denormalised(action))
        .collect();
    let raw = Episode::from_arrays(raw).unwrap();
    let predicted = |episode: &Episode| {
        let prediction = predict(&model, episode, CONTEXT, 100, &Device::default());
        prediction.unwrap().images
    };
    assert!(raw.action_space().is_unit());
    let known = raw.clone().with_action_space(told).unwrap();
    assert_eq!(predicted(&raw), predicted(&known));
}

#[test]
fn later_images_change_nothing_but_the_errors() {
    let episode = episode(32);
    let mut blinded = arrays(&episode);
    let frame = 32 * 32 * 3;
    blinded.images[CONTEXT * frame..].fill(7);
    let blinded = Episode::from_arrays(blinded).unwrap();
    let (seeing, blind) = (prediction(&episode), prediction(&blinded));
    assert_eq!(seeing.images, blind.images);
    assert_eq!(seeing.rewards, blind.rewards);
    assert_eq!(
        seeing.image_errors[..CONTEXT],
        blind.image_errors[..CONTEXT]
    );
    assert_ne!(
        seeing.image_errors[CONTEXT..],
        blind.image_errors[CONTEXT..]
    );

    let mut other = arrays(&episode);
    for action in &mut other.actions[CONTEXT * 2..] {
        *action = -*action;
    }
    let other = prediction(&Episode::from_arrays(other).unwrap());
    assert_ne!(other.images[CONTEXT..], seeing.images[CONTEXT..]);
}

#[test]
fn errors_are_mean_squares_of_unit_pixels() {
    let mut flat = arrays(&episode(32));
    let frame = 32 * 32 * 3;
    for (index, value) in [0, 51, 51, 102, 153, 204].into_iter().enumerate() {
        flat.images[index * frame..(index + 1) * frame].fill(value);
    }
    let episode = Episode::from_arrays(flat).unwrap();
    let prediction = prediction(&episode);
    let expected = [0.0, 0.04, 0.0, 0.04, 0.04, 0.16];
    for (found, expected) in prediction.still_errors.iter().zip(expected) {
        assert!(
            (found - expected).abs() < 1e-6,
            "{:?}",
            prediction.still_errors
        );
    }
    let error = |image: &Image, value: f32| {
        let squares = image
            .pixels()
            .iter()
            .map(|&byte| (f32::from(byte) / 255.0 - value).powi(2));
        squares.sum::<f32>() / frame as f32
    };
    let expected = error(&prediction.images[5], 0.8);
    assert!((prediction.image_errors[5] - expected).abs() < 1e-5);
}

#[test]
fn the_horizon_limits_what_is_imagined() {
    let (device, episode) = (Device::default(), episode(32));
    let short = predict(&model(), &episode, CONTEXT, 3, &device).unwrap();
    let long = prediction(&episode);
    assert_eq!(short.images.len(), CONTEXT + 3);
    assert_eq!(short.rewards.len(), CONTEXT + 3);
    assert_eq!(short.image_errors.len(), CONTEXT + 3);
    assert_eq!(short.images, long.images[..CONTEXT + 3]);
}

#[test]
fn recordings_that_do_not_fit_are_refused() {
    let device = Device::default();
    for context in [0, 31, 99] {
        let error = predict(&model(), &episode(32), context, 5, &device).unwrap_err();
        assert!(matches!(error, PredictionError::Context { .. }), "{error}");
        assert!(error.to_string().contains("1 to 30"), "{error}");
    }
    let error = predict(&model(), &episode(64), CONTEXT, 5, &device).unwrap_err();
    assert!(error.to_string().contains("64×64"), "{error}");
    let mut other = arrays(&episode(32));
    other.action_space = ActionSpace::unit(1);
    other.actions.truncate(other.rewards.len());
    let other = Episode::from_arrays(other).unwrap();
    let error = predict(&model(), &other, CONTEXT, 5, &device).unwrap_err();
    assert!(matches!(
        error,
        PredictionError::ActionSize {
            found: 1,
            expected: 2
        }
    ));
}
