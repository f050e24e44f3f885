//! One palette for all frames of an animation, so that still parts stay perfectly still.

use std::collections::HashMap;

use color_quant::NeuQuant;
use latco_env::Image;

use super::canvas::Colour;

/// Colours of the palette; a GIF has 256 and one of them stands for "as before".
const COLOURS: usize = 255;
/// The most frequent colours, which are kept exactly.
const EXACT: usize = 63;
/// A common colour weighs at most so many times as much as one that occurs once.
const LARGEST_WEIGHT: u32 = 16;

/// At most 255 colours and the nearest of them for every colour that occurs.
pub struct Palette {
    colours: Vec<Colour>,
    indices: HashMap<Colour, u8>,
}

impl Palette {
    /// The palette of some frames: their own colours where these are few, else the most frequent
    /// ones and a neural quantisation (Dekker 1994) of the rest.
    pub fn of(frames: &[Image]) -> Self {
        let counts = counted_colours(frames);
        let colours = choose(&counts);
        let indices = counts
            .iter()
            .map(|&(colour, _)| (colour, nearest(&colours, colour)))
            .collect();
        Self { colours, indices }
    }

    /// The index that no colour has.
    pub fn transparent(&self) -> u8 {
        COLOURS as u8
    }

    /// Red, green and blue of every index.
    pub fn bytes(&self) -> Vec<u8> {
        self.colours.concat()
    }

    /// Whether no channel of two colours differs by more than `tolerance`.
    pub fn are_close(&self, one: u8, other: u8, tolerance: u8) -> bool {
        let [one, other] = [one, other].map(|index| self.colours[usize::from(index)]);
        one.iter()
            .zip(other)
            .all(|(&a, b)| a.abs_diff(b) <= tolerance)
    }

    /// An image of the frames as indices.
    pub fn indices(&self, image: &Image) -> Vec<u8> {
        let index = |pixel: &[u8]| {
            let colour = [pixel[0], pixel[1], pixel[2]];
            self.indices.get(&colour).copied().unwrap_or(0)
        };
        image.pixels().chunks_exact(3).map(index).collect()
    }
}

/// Every colour with its number of pixels, the most frequent first.
fn counted_colours(frames: &[Image]) -> Vec<(Colour, u32)> {
    let mut counts: HashMap<Colour, u32> = HashMap::new();
    for pixel in frames
        .iter()
        .flat_map(|frame| frame.pixels().chunks_exact(3))
    {
        *counts.entry([pixel[0], pixel[1], pixel[2]]).or_default() += 1;
    }
    let mut counts: Vec<_> = counts.into_iter().collect();
    counts.sort_unstable_by_key(|&(colour, count)| (std::cmp::Reverse(count), colour));
    counts
}

fn choose(counts: &[(Colour, u32)]) -> Vec<Colour> {
    let exact = if counts.len() <= COLOURS {
        COLOURS
    } else {
        EXACT
    };
    let (exact, rest) = counts.split_at(exact.min(counts.len()));
    let mut colours: Vec<Colour> = exact.iter().map(|&(colour, _)| colour).collect();
    if !rest.is_empty() {
        colours.extend(quantised(rest, COLOURS - exact.len()));
    }
    colours
}

/// `size` colours that stand for many, rare ones not lost among the common.
fn quantised(counts: &[(Colour, u32)], size: usize) -> Vec<Colour> {
    let mut pixels = Vec::new();
    for &([red, green, blue], count) in counts {
        for _ in 0..(1 + count.ilog2()).min(LARGEST_WEIGHT) {
            pixels.extend([red, green, blue, u8::MAX]);
        }
    }
    NeuQuant::new(1, size, &pixels)
        .color_map_rgb()
        .chunks_exact(3)
        .map(|colour| [colour[0], colour[1], colour[2]])
        .collect()
}

fn nearest(colours: &[Colour], colour: Colour) -> u8 {
    let distance = |known: &Colour| -> i32 {
        let channels = known.iter().zip(colour);
        channels
            .map(|(&a, b)| (i32::from(a) - i32::from(b)).pow(2))
            .sum()
    };
    let best = (0..colours.len()).min_by_key(|&index| distance(&colours[index]));
    best.unwrap_or(0) as u8
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gradient(side: usize, step: usize) -> Image {
        let pixels = (0..side * side)
            .flat_map(|index| [(index * step % 256) as u8, (index / side) as u8, 60])
            .collect();
        Image::new(side, side, pixels).unwrap()
    }

    fn error(image: &Image) -> i32 {
        let palette = Palette::of(std::slice::from_ref(image));
        let shown = palette.indices(image).into_iter();
        let shown = shown.flat_map(|index| palette.colours[usize::from(index)]);
        let pairs = image.pixels().iter().zip(shown);
        pairs
            .map(|(&a, b)| (i32::from(a) - i32::from(b)).abs())
            .max()
            .unwrap()
    }

    #[test]
    fn few_colours_are_kept_exactly() {
        assert_eq!(error(&gradient(15, 1)), 0);
    }

    #[test]
    fn many_colours_are_met_closely() {
        assert!(error(&gradient(96, 7)) < 24);
    }
}
