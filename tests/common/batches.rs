//! Random sequences to train on.

use burn::tensor::Device;
use latco_model::{Batch, Sequences, WorldModelConfig};
use latco_plan::Noise;

/// Sequences of a fixed random picture that random actions brighten or darken, with rewards of 0
/// and 1.
pub fn random_batch(config: &WorldModelConfig, seed: u64, device: &Device) -> Batch {
    const ROWS: usize = 3;
    const LENGTH: usize = 4;
    let noise = &mut Noise::new(seed);
    let uniform = |noise: &mut Noise| noise.uniform_scalar();
    let picture: Vec<f32> = (0..config.pixel_layout().bytes())
        .map(|_| uniform(noise))
        .collect();
    let steps = ROWS * LENGTH;
    let actions: Vec<f32> = (0..steps * config.action_size)
        .map(|_| uniform(noise))
        .collect();
    let rewards = (0..steps).map(|_| f32::from(uniform(noise) > 0.0));
    let pixels: Vec<u8> = actions
        .chunks(config.action_size)
        .flat_map(|action| {
            let brightness = action.iter().sum::<f32>();
            picture
                .iter()
                .map(move |pixel| (128.0 + 60.0 * (pixel + brightness)) as u8)
        })
        .collect();
    let sequences = Sequences {
        rows: ROWS,
        length: LENGTH,
        pixels: &pixels,
        rewards: rewards.collect(),
        actions,
        ..Sequences::default()
    };
    Batch::new(sequences, config.pixel_layout(), device)
}
