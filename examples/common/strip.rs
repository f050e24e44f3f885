//! A recording above what a model makes of it.

use std::{error::Error, path::Path};

use burn::tensor::Device;
use latco::{Image, WorldModel, agent::predict, env::Episode};

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
    let [upper, lower] = [recorded, imagined].map(|row| beside(&row));
    let pixels = [upper.concat(), lower.concat()].concat();
    let side = episode.image_width();
    Ok(Image::new(frames.len() * side, 2 * side, pixels)?)
}

/// The lines of pixels of square pictures from left to right.
fn beside(pictures: &[Image]) -> Vec<Vec<u8>> {
    let height = pictures.first().map_or(0, Image::height);
    let line = |y: usize| {
        let part = |picture: &Image| {
            let bytes = 3 * picture.width();
            picture.pixels()[y * bytes..][..bytes].to_vec()
        };
        pictures.iter().flat_map(part).collect()
    };
    (0..height).map(line).collect()
}
