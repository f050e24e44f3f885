//! Animated GIFs.

use gif::{DisposalMethod, Encoder, EncodingError, Frame, Repeat};
use latco_env::Image;

use super::palette::Palette;
use crate::error::CliError;

/// Hundredths of a second that frames stay: the first, those between, the last.
const FIRST: u16 = 80;
const BETWEEN: u16 = 11;
const LAST: u16 = 250;

/// Pixels whose channels change by no more than this stay as shown: decoded images flicker by so
/// little everywhere, and would fill the file with it.
const TOLERANCE: u8 = 4;

/// Frames of one size as an endlessly repeated GIF, about nine frames a second with a pause at
/// either end. Pixels that hardly change are not stored again.
pub fn encode_gif(frames: &[Image]) -> Result<Vec<u8>, CliError> {
    encode(frames).map_err(CliError::drawing)
}

fn encode(frames: &[Image]) -> Result<Vec<u8>, EncodingError> {
    let palette = Palette::of(frames);
    let (width, height) = frames.first().map_or((1, 1), size);
    let mut encoder = Encoder::new(Vec::new(), width, height, &palette.bytes())?;
    encoder.set_repeat(Repeat::Infinite)?;
    let mut shown = Vec::new();
    for (index, frame) in frames.iter().enumerate() {
        let changed = show(&mut shown, palette.indices(frame), &palette);
        let delay = delay(index, frames.len());
        encoder.write_frame(&gif_frame(frame, changed, &palette, delay))?;
    }
    encoder.into_inner()
}

fn gif_frame(image: &Image, buffer: Vec<u8>, palette: &Palette, delay: u16) -> Frame<'static> {
    let (width, height) = size(image);
    Frame {
        width,
        height,
        delay,
        dispose: DisposalMethod::Keep,
        transparent: Some(palette.transparent()),
        buffer: buffer.into(),
        ..Frame::default()
    }
}

/// Brings `shown` up to `indices` and returns what is to be stored for it: transparent where
/// `shown` was close enough to stay.
fn show(shown: &mut Vec<u8>, indices: Vec<u8>, palette: &Palette) -> Vec<u8> {
    if shown.is_empty() {
        shown.clone_from(&indices);
        return indices;
    }
    let update = |(shown, new): (&mut u8, u8)| {
        if palette.are_close(*shown, new, TOLERANCE) {
            return palette.transparent();
        }
        *shown = new;
        new
    };
    shown.iter_mut().zip(indices).map(update).collect()
}

fn delay(index: usize, frames: usize) -> u16 {
    match index {
        _ if index + 1 == frames => LAST,
        0 => FIRST,
        _ => BETWEEN,
    }
}

fn size(image: &Image) -> (u16, u16) {
    let side = |pixels: usize| u16::try_from(pixels).unwrap_or(u16::MAX);
    (side(image.width()), side(image.height()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_animation_decodes_to_its_frames() {
        let image = |value: u8| {
            let pixels = (0..48)
                .map(|index| if index < 24 { 9 } else { value })
                .collect();
            Image::new(4, 4, pixels).unwrap()
        };
        let bytes = encode_gif(&[image(50), image(60), image(70)]).unwrap();
        let mut decoder = gif::DecodeOptions::new();
        decoder.set_color_output(gif::ColorOutput::RGBA);
        let mut decoder = decoder.read_info(bytes.as_slice()).unwrap();
        let mut delays = Vec::new();
        let mut last = Vec::new();
        while let Some(frame) = decoder.read_next_frame().unwrap() {
            delays.push(frame.delay);
            last = frame.buffer.to_vec();
        }
        assert_eq!(delays, [FIRST, BETWEEN, LAST]);
        assert_eq!(last[3], 0, "unchanged pixels are transparent");
        assert_eq!(last[60..64], [70, 70, 70, 255]);
    }
}
