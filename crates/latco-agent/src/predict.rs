use burn::tensor::{Device, Tensor, TensorData};
use latco_env::{ActionSpace, Episode, Image};
use latco_model::{WorldModel, tensor_to_images};
use latco_plan::{LatentModel, roll_out};
use thiserror::Error;

use crate::{AgentError, image_tensor, images::told_bounds, preprocessed};

/// Latents decoded at once, which bounds the memory of long predictions.
const DECODED_AT_ONCE: usize = 64;

/// What a model makes of a recording: the belief filtered through the first `context` images,
/// then the mean of the prior rolled out with the recorded actions, no further image seen.
///
/// Entry `t` of every list belongs to frame `t` of the recording.
#[derive(Clone, Debug, PartialEq)]
pub struct Prediction {
    /// Frames that the model was shown.
    pub context: usize,
    /// The decoded beliefs, then the imagined frames.
    pub images: Vec<Image>,
    /// The frames of the recording, as the model sees them.
    pub recorded: Vec<Image>,
    /// The expected reward `r(z_t)`.
    pub rewards: Vec<f32>,
    /// The mean squared difference from the recorded image, pixels in `[0, 1]`.
    pub image_errors: Vec<f32>,
    /// The same of the image before where the model is shown it, and of the last shown image
    /// afterwards: what a guess that nothing moves would reach.
    pub still_errors: Vec<f32>,
}

/// Why a recording cannot be predicted.
#[derive(Debug, Error)]
pub enum PredictionError {
    /// Nothing to show, or nothing left to predict.
    #[error("a context of {context} frames, expected 1 to {} of the recording's {frames}", frames.saturating_sub(1))]
    Context {
        /// Frames to be shown.
        context: usize,
        /// Frames of the recording.
        frames: usize,
    },
    /// The recording has other actions than the model.
    #[error("the recording has {found} action components, the model {expected}")]
    ActionSize {
        /// Components of the recording.
        found: usize,
        /// Components of the model.
        expected: usize,
    },
    /// The recording has images of another size than the model.
    #[error(transparent)]
    Image(#[from] AgentError),
}

/// Predicts `horizon` frames of `episode`, at least one, or as many as there are, from the `context` frames
/// before them.
///
/// # Errors
///
/// If the recording is too short, or has other sizes than the model.
pub fn predict(
    model: &WorldModel,
    episode: &Episode,
    context: usize,
    horizon: usize,
    device: &Device,
) -> Result<Prediction, PredictionError> {
    check(model, episode, context)?;
    let horizon = horizon.max(1);
    let frames = episode.len().min(context.saturating_add(horizon));
    let space = told_bounds(model.config(), episode);
    let space = space.as_ref().unwrap_or(episode.action_space());
    let shown = filtered(model, episode, space, context, device)?;
    let belief = shown.clone().narrow(0, context - 1, 1);
    let actions = recorded_actions(episode, space, context..frames, device);
    let imagined = roll_out(model, belief, actions.unsqueeze_dim(0));
    let latents = Tensor::cat(vec![shown, imagined.latents.squeeze_dim(0)], 0);
    let images = decoded_images(model, latents.clone());
    let seen = |frame| Ok(preprocessed(model.config(), &episode.image(frame))?.into_owned());
    let recorded: Vec<Image> = (0..frames).map(seen).collect::<Result<_, AgentError>>()?;
    let still = |frame: usize| &recorded[frame.min(context).saturating_sub(1)];
    Ok(Prediction {
        context,
        image_errors: errors(&recorded, |frame| &images[frame]),
        still_errors: errors(&recorded, still),
        rewards: model.reward(latents).into_data_as::<f32>().iter().collect(),
        images,
        recorded,
    })
}

/// Images as the model sees them, its cameras' pictures side by side, of `latents` `[rows, latent]`.
pub fn decoded_images(model: &WorldModel, latents: Tensor<2>) -> Vec<Image> {
    let layout = model.config().pixel_layout();
    let (width, height) = (layout.cameras * layout.size, layout.size);
    latents
        .split(DECODED_AT_ONCE, 0)
        .into_iter()
        .flat_map(|rows| tensor_to_images(model.decode(rows), layout))
        .collect::<Vec<u8>>()
        .chunks_exact(layout.bytes())
        .map(|pixels| Image::new(width, height, pixels.to_vec()).expect("sizes are the model's"))
        .collect()
}

fn check(model: &WorldModel, episode: &Episode, context: usize) -> Result<(), PredictionError> {
    let (found, expected) = (episode.action_size(), model.action_size());
    if found != expected {
        return Err(PredictionError::ActionSize { found, expected });
    }
    let frames = episode.len();
    if !(1..frames).contains(&context) {
        return Err(PredictionError::Context { context, frames });
    }
    Ok(())
}

/// The means of the belief after each of the first `context` images, `[context, latent]`.
fn filtered(
    model: &WorldModel,
    episode: &Episode,
    space: &ActionSpace,
    context: usize,
    device: &Device,
) -> Result<Tensor<2>, PredictionError> {
    let image = |frame: usize| image_tensor(model, &episode.image(frame), device);
    let mut means = vec![model.first_belief(image(0)?).mean()];
    for frame in 1..context {
        let action = recorded_actions(episode, space, frame..frame + 1, device);
        let before = means[frame - 1].clone();
        means.push(model.observe(before, action, image(frame)?).mean);
    }
    Ok(Tensor::cat(means, 0))
}

/// The actions that led to some frames, `[frames, action]`, of bounds `space` in the model's units.
fn recorded_actions(
    episode: &Episode,
    space: &ActionSpace,
    frames: std::ops::Range<usize>,
    device: &Device,
) -> Tensor<2> {
    let shape = [frames.len(), episode.action_size()];
    let values: Vec<f32> = frames.flat_map(|t| episode.action(t)).copied().collect();
    let values = space.normalised(&values);
    Tensor::from_data(TensorData::new(values, shape), device)
}

/// The error of `guess` in each frame.
fn errors<'a>(recorded: &'a [Image], guess: impl Fn(usize) -> &'a Image) -> Vec<f32> {
    recorded
        .iter()
        .enumerate()
        .map(|(frame, image)| mean_squared_difference(image, guess(frame)))
        .collect()
}

/// `mean((a − b)²)` over all bytes, scaled to `[0, 1]`.
fn mean_squared_difference(one: &Image, other: &Image) -> f32 {
    let pairs = one.pixels().iter().zip(other.pixels());
    let sum: u64 = pairs.map(|(&a, &b)| u64::from(a.abs_diff(b)).pow(2)).sum();
    (sum as f64 / (255.0 * 255.0 * one.pixels().len() as f64)) as f32
}
