//! Animated GIFs.

use std::{error::Error, fs::File, io::BufWriter, path::Path};

use gif::{Encoder, Frame, Repeat};
use latco::Image;

/// Hundredths of a second that frames stay, the last one and the others.
const LAST: u16 = 200;
const EACH: u16 = 12;

/// Frames are shown at least this high, in pixels.
const HEIGHT: usize = 256;

/// Writes frames of one size, endlessly repeated; small ones enlarged.
pub fn save_gif(path: &Path, frames: &[Image]) -> Result<(), Box<dyn Error>> {
    let first = frames.first().ok_or("a film needs a frame")?;
    let scale = (HEIGHT / first.height()).max(1);
    let width = u16::try_from(scale * first.width())?;
    let height = u16::try_from(scale * first.height())?;
    let file = BufWriter::new(File::create(path)?);
    let mut encoder = Encoder::new(file, width, height, &[])?;
    encoder.set_repeat(Repeat::Infinite)?;
    for (index, image) in frames.iter().enumerate() {
        let mut frame = Frame::from_rgb_speed(width, height, &enlarged(image, scale), 10);
        frame.delay = if index + 1 == frames.len() {
            LAST
        } else {
            EACH
        };
        encoder.write_frame(&frame)?;
    }
    Ok(())
}

/// The pixels of `image`, each `scale` pixels wide and high.
fn enlarged(image: &Image, scale: usize) -> Vec<u8> {
    let row = |y: usize| {
        let line = image.pixels().chunks(3).skip(y / scale * image.width());
        let wide = line
            .take(image.width())
            .flat_map(|pixel| pixel.repeat(scale));
        wide.collect::<Vec<u8>>()
    };
    (0..scale * image.height()).flat_map(row).collect()
}
