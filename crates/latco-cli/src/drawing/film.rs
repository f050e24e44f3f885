//! Frames of one or more films side by side, each with its steps and rewards.

use latco_env::Image;

use super::canvas::{Align, Canvas, Colour, fitted, fitting};
use crate::error::CliError;

pub const PAPER: Colour = [250, 250, 248];
pub const INK: Colour = [32, 38, 46];
pub const SOFT_INK: Colour = [96, 104, 116];
const EMPTY: Colour = [226, 228, 230];
const NEUTRAL: Colour = [176, 180, 186];
const GAIN: Colour = [0, 158, 115];
const LOSS: Colour = [213, 94, 0];
/// What sets the frames of an opening off, and those after it.
pub const OPENING: Colour = [0, 114, 178];
pub const OPENED: Colour = LOSS;

/// Pixels around and between the films.
const MARGIN: usize = 14;
/// Heights of a film's rows of text and of its strip of rewards.
const TITLE: usize = 30;
const STRIP: usize = 8;
const STRIP_GAP: usize = 7;
const CAPTION: usize = 26;
/// Widths of what sets an opening off.
const BORDER: usize = 4;
const UNDERLINE: usize = 3;
const TITLE_SIZE: usize = 15;
const CAPTION_SIZE: usize = 13;

/// One film: its frames, and what each of them comes with.
pub struct Reel {
    title: String,
    frames: Vec<Image>,
    /// What is written below each frame.
    notes: Vec<String>,
    /// The colour of each frame after the first in the timeline: 1 and more is green, −1 and less
    /// orange, 0 grey.
    shades: Vec<f32>,
    opening: Option<Opening>,
}

/// The first frames of a film, set off from the others.
struct Opening {
    frames: usize,
    title: String,
}

impl Reel {
    /// A film of `frames`, beginning with the one before any action, and the rewards of the others.
    pub fn new(title: impl Into<String>, frames: Vec<Image>, rewards: Vec<f32>) -> Self {
        let mut sum = 0.0;
        let later = rewards.iter().map(|reward| {
            sum += reward;
            format!("return {sum:.1}")
        });
        Self {
            title: title.into(),
            frames,
            notes: std::iter::once("start".to_owned()).chain(later).collect(),
            shades: rewards,
            opening: None,
        }
    }

    /// A film of `frames` with the error of each, orange where it comes to `large`.
    pub fn of_errors(
        title: impl Into<String>,
        frames: Vec<Image>,
        errors: &[f32],
        large: f32,
    ) -> Self {
        let share = |&error: &f32| -error / large.max(f32::MIN_POSITIVE);
        Self {
            title: title.into(),
            frames,
            notes: errors.iter().map(|e| format!("error {e:.4}")).collect(),
            shades: errors.iter().skip(1).map(share).collect(),
            opening: None,
        }
    }

    /// Sets the first frames off: another title, a blue frame, the others an orange one.
    pub fn with_opening(mut self, frames: usize, title: impl Into<String>) -> Self {
        self.opening = Some(Opening {
            frames,
            title: title.into(),
        });
        self
    }

    /// The title at one frame.
    fn title(&self, index: usize) -> &str {
        match &self.opening {
            Some(opening) if index < opening.frames => &opening.title,
            _ => &self.title,
        }
    }

    /// The colour that sets a frame off, where there is an opening.
    fn accent(&self, index: usize) -> Option<Colour> {
        let opening = self.opening.as_ref()?;
        Some(match index < opening.frames {
            true => OPENING,
            false => OPENED,
        })
    }
}

/// Lays films out in rows of `columns`, each image enlarged until its longer side has `side` pixels;
/// shorter films wait on their last frame.
pub fn compose(reels: &[Reel], columns: usize, side: usize) -> Result<Vec<Image>, CliError> {
    let length = reels.iter().map(|reel| reel.frames.len()).max();
    let images = reels.iter().filter_map(|reel| reel.frames.first());
    let heights = images.map(|image| fitting(image, (side, side)).1);
    // Wide images, as of two cameras beside each other, leave no empty rows.
    let area = (side, heights.max().unwrap_or(side));
    (0..length.unwrap_or(0))
        .map(|index| compose_frame(reels, columns, area, index))
        .collect()
}

fn compose_frame(
    reels: &[Reel],
    columns: usize,
    area: (usize, usize),
    index: usize,
) -> Result<Image, CliError> {
    let columns = columns.clamp(1, reels.len().max(1));
    let rows = reels.len().div_ceil(columns);
    let cell = (
        area.0 + MARGIN,
        TITLE + area.1 + STRIP_GAP + STRIP + CAPTION,
    );
    let width = columns * cell.0 + MARGIN;
    let height = rows * cell.1 + MARGIN;
    let mut canvas = Canvas::new(width, height, PAPER);
    for (position, reel) in reels.iter().enumerate() {
        let (column, row) = (position % columns, position / columns);
        let corner = (MARGIN + column * cell.0, MARGIN / 2 + row * cell.1);
        draw_reel(&mut canvas, reel, corner, area, index)?;
    }
    canvas.into_image()
}

fn draw_reel(
    canvas: &mut Canvas,
    reel: &Reel,
    (x, y): (usize, usize),
    (width, height): (usize, usize),
    index: usize,
) -> Result<(), CliError> {
    let Some(frame) = reel.frames.get(index).or(reel.frames.last()) else {
        return Ok(());
    };
    let title = (x, y + TITLE / 2);
    let ink = reel.accent(index).unwrap_or(INK);
    canvas.write(title, reel.title(index), TITLE_SIZE, ink, Align::Left)?;
    if let Some(accent) = reel.accent(index) {
        let corner = (x - BORDER, y + TITLE - BORDER);
        canvas.fill(corner, (width + 2 * BORDER, height + 2 * BORDER), accent);
    }
    canvas.paste((x, y + TITLE), &fitted(frame, (width, height))?);
    let strip = y + TITLE + height + STRIP_GAP;
    draw_strip(canvas, reel, (x, strip), width, index);
    let middle = strip + STRIP + CAPTION / 2;
    draw_caption(canvas, reel, (x, middle), width, index)
}

/// A timeline: one cell a step, filled up to the present one with its colour; the steps of an
/// opening are underlined.
fn draw_strip(canvas: &mut Canvas, reel: &Reel, (x, y): (usize, usize), side: usize, index: usize) {
    let edge = |step: usize| step * side / reel.shades.len();
    for (step, &value) in reel.shades.iter().enumerate() {
        let colour = if step < index { shade(value) } else { EMPTY };
        let width = (edge(step + 1) - edge(step)).saturating_sub(1).max(1);
        canvas.fill((x + edge(step), y), (width, STRIP), colour);
        if let Some(accent) = reel.accent(step + 1) {
            canvas.fill((x + edge(step), y + STRIP), (width, UNDERLINE), accent);
        }
    }
}

/// Step and what it came with in words.
fn draw_caption(
    canvas: &mut Canvas,
    reel: &Reel,
    (x, y): (usize, usize),
    side: usize,
    index: usize,
) -> Result<(), CliError> {
    let step = index.min(reel.shades.len());
    let steps = format!("step {step:>2}/{}", reel.shades.len());
    canvas.write((x, y), &steps, CAPTION_SIZE, SOFT_INK, Align::Left)?;
    let note = reel.notes.get(step).map_or("", String::as_str);
    canvas.write((x + side, y), note, CAPTION_SIZE, SOFT_INK, Align::Right)
}

/// Green for one and more, orange for minus one and less, grey for zero.
fn shade(value: f32) -> Colour {
    let towards = if value < 0.0 { LOSS } else { GAIN };
    let share = value.abs().min(1.0);
    core::array::from_fn(|channel| {
        let (from, to) = (f32::from(NEUTRAL[channel]), f32::from(towards[channel]));
        (from + share * (to - from)).round() as u8
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reel(frames: usize) -> Reel {
        let image = Image::new(8, 8, vec![120; 192]).unwrap();
        Reel::new("film", vec![image; frames], vec![0.5; frames - 1])
    }

    #[test]
    fn films_of_different_lengths_share_frames_of_one_size() {
        let frames = compose(&[reel(3), reel(5), reel(2)], 2, 64).unwrap();
        assert_eq!(frames.len(), 5);
        let size = |image: &Image| (image.width(), image.height());
        assert!(frames.iter().all(|frame| size(frame) == size(&frames[0])));
        assert_eq!(frames[0].width(), 3 * MARGIN + 2 * 64);
        assert_ne!(frames[1], frames[4]);
    }

    #[test]
    fn wide_images_leave_no_empty_rows() {
        let wide = Image::new(16, 8, vec![120; 384]).unwrap();
        let wide = Reel::new("film", vec![wide], Vec::new());
        let height = |reels: &[Reel]| compose(reels, 1, 64).unwrap()[0].height();
        assert_eq!(height(&[reel(1)]) - height(&[wide]), 32);
    }

    #[test]
    fn nothing_to_show_makes_no_frames() {
        assert!(compose(&[], 2, 64).unwrap().is_empty());
        assert_eq!(compose(&[reel(1)], 3, 64).unwrap().len(), 1);
    }

    #[test]
    fn an_opening_is_set_off() {
        let plain = compose(&[reel(4)], 1, 64).unwrap();
        let film = compose(&[reel(4).with_opening(2, "opening")], 1, 64).unwrap();
        let border = |frame: &Image| {
            let place = 3 * ((TITLE + MARGIN / 2 - 1) * frame.width() + MARGIN + 9);
            frame.pixels()[place..place + 3].to_vec()
        };
        let colours: Vec<_> = film.iter().map(border).collect();
        assert_eq!(colours, [OPENING, OPENING, OPENED, OPENED]);
        assert!(plain.iter().all(|frame| border(frame) == PAPER));
    }

    #[test]
    fn rewards_shade_from_orange_to_green() {
        assert_eq!([shade(-9.0), shade(0.0), shade(1.0)], [LOSS, NEUTRAL, GAIN]);
    }
}
