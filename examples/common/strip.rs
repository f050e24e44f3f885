//! A recording above what a model makes of it.

use std::{error::Error, path::Path};

use burn::tensor::Device;
use latco::{Image, WorldModel, agent::predict, env::Episode};

use super::picture::beside;

/// Images that the model is shown before it imagines the rest.
const SHOWN: usize = 5;
/// Every so many frames one is drawn.
const STRIDE: usize = 3;

/// Recorded images in the upper row, predicted ones in the lower one.
pub fn prediction_strip(
    checkpoint: &Path,
    episode: &Episode,
    device: &Device,
) -> Result<Image, Box<dyn Error>> {
    let model = WorldModel::load(checkpoint, device)?;
    let predicted = predict(&model, episode, SHOWN, episode.len() - SHOWN, device)?.images;
    let frames: Vec<usize> = (0..predicted.len()).step_by(STRIDE).collect();
    let recorded: Vec<Image> = frames.iter().map(|&frame| episode.image(frame)).collect();
    let imagined: Vec<Image> = frames
        .iter()
        .map(|&frame| predicted[frame].clone())
        .collect();
    let (upper, lower) = (beside(&recorded)?, beside(&imagined)?);
    let pixels = [upper.pixels(), lower.pixels()].concat();
    Ok(Image::new(upper.width(), 2 * upper.height(), pixels)?)
}
