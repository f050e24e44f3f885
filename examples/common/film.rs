//! Animated GIFs.

use std::{error::Error, fs::File, io::BufWriter, path::Path};

use gif::{Encoder, Frame, Repeat};
use latco::Image;

/// Hundredths of a second that frames stay, the last one and the others.
const LAST: u16 = 200;
const EACH: u16 = 12;

/// Writes frames of one size, endlessly repeated.
pub fn save_gif(path: &Path, frames: &[Image]) -> Result<(), Box<dyn Error>> {
    let first = frames.first().ok_or("a film needs a frame")?;
    let (width, height) = (first.width() as u16, first.height() as u16);
    let file = BufWriter::new(File::create(path)?);
    let mut encoder = Encoder::new(file, width, height, &[])?;
    encoder.set_repeat(Repeat::Infinite)?;
    for (index, image) in frames.iter().enumerate() {
        let mut frame = Frame::from_rgb_speed(width, height, image.pixels(), 10);
        frame.delay = if index + 1 == frames.len() {
            LAST
        } else {
            EACH
        };
        encoder.write_frame(&frame)?;
    }
    Ok(())
}
