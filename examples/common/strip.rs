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
    let left = episode.len().saturating_sub(SHOWN);
    let prediction = predict(&model, episode, SHOWN, left, device)?;
    let some =
        |images: &[Image]| -> Vec<Image> { images.iter().step_by(STRIDE).cloned().collect() };
    let recorded = beside(&some(&prediction.recorded))?;
    let (upper, lower) = (recorded, beside(&some(&prediction.images))?);
    let pixels = [upper.pixels(), lower.pixels()].concat();
    Ok(Image::new(upper.width(), 2 * upper.height(), pixels)?)
}
