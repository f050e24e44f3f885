//! Frames of one or more films side by side, each with its steps and rewards.

use latco_env::Image;

use super::canvas::{Align, Canvas, Colour, enlarged};
use crate::error::CliError;

const PAPER: Colour = [250, 250, 248];
const INK: Colour = [32, 38, 46];
const SOFT_INK: Colour = [96, 104, 116];
const EMPTY: Colour = [226, 228, 230];
const NEUTRAL: Colour = [176, 180, 186];
const GAIN: Colour = [0, 158, 115];
const LOSS: Colour = [213, 94, 0];

/// Pixels around and between the films.
const MARGIN: usize = 14;
/// Heights of a film's rows of text and of its strip of rewards.
const TITLE: usize = 30;
const STRIP: usize = 8;
const STRIP_GAP: usize = 7;
const CAPTION: usize = 26;
const TITLE_SIZE: usize = 15;
const CAPTION_SIZE: usize = 13;

/// One film: its frames and the reward that each frame after the first came with.
pub struct Reel {
    /// What the film shows.
    pub title: String,
    /// The images, beginning with the one before any action.
    pub frames: Vec<Image>,
    /// Rewards of the second image on.
    pub rewards: Vec<f32>,
}

/// Lays films out in rows of `columns`, each image enlarged to `side` pixels; shorter films wait
/// on their last frame.
pub fn compose(reels: &[Reel], columns: usize, side: usize) -> Result<Vec<Image>, CliError> {
    let length = reels.iter().map(|reel| reel.frames.len()).max();
    (0..length.unwrap_or(0))
        .map(|index| compose_frame(reels, columns, side, index))
        .collect()
}

fn compose_frame(
    reels: &[Reel],
    columns: usize,
    side: usize,
    index: usize,
) -> Result<Image, CliError> {
    let columns = columns.clamp(1, reels.len().max(1));
    let rows = reels.len().div_ceil(columns);
    let cell = (side + MARGIN, TITLE + side + STRIP_GAP + STRIP + CAPTION);
    let width = columns * cell.0 + MARGIN;
    let height = rows * cell.1 + MARGIN;
    let mut canvas = Canvas::new(width, height, PAPER);
    for (position, reel) in reels.iter().enumerate() {
        let (column, row) = (position % columns, position / columns);
        let corner = (MARGIN + column * cell.0, MARGIN / 2 + row * cell.1);
        draw_reel(&mut canvas, reel, corner, side, index)?;
    }
    canvas.into_image()
}

fn draw_reel(
    canvas: &mut Canvas,
    reel: &Reel,
    (x, y): (usize, usize),
    side: usize,
    index: usize,
) -> Result<(), CliError> {
    let Some(frame) = reel.frames.get(index).or(reel.frames.last()) else {
        return Ok(());
    };
    let title = (x, y + TITLE / 2);
    canvas.write(title, &reel.title, TITLE_SIZE, INK, Align::Left)?;
    canvas.paste((x, y + TITLE), &enlarged(frame, side)?);
    let strip = y + TITLE + side + STRIP_GAP;
    draw_strip(canvas, &reel.rewards, (x, strip), side, index);
    let middle = strip + STRIP + CAPTION / 2;
    draw_caption(canvas, &reel.rewards, (x, middle), side, index)
}

/// A timeline: one cell a step, filled up to the present one with the colour of its reward.
fn draw_strip(
    canvas: &mut Canvas,
    rewards: &[f32],
    (x, y): (usize, usize),
    side: usize,
    index: usize,
) {
    let edge = |step: usize| step * side / rewards.len();
    for (step, &reward) in rewards.iter().enumerate() {
        let colour = if step < index { shade(reward) } else { EMPTY };
        let width = (edge(step + 1) - edge(step)).saturating_sub(1).max(1);
        canvas.fill((x + edge(step), y), (width, STRIP), colour);
    }
}

/// Step and reward in words.
fn draw_caption(
    canvas: &mut Canvas,
    rewards: &[f32],
    (x, y): (usize, usize),
    side: usize,
    index: usize,
) -> Result<(), CliError> {
    let step = index.min(rewards.len());
    let steps = format!("step {step:>2}/{}", rewards.len());
    canvas.write((x, y), &steps, CAPTION_SIZE, SOFT_INK, Align::Left)?;
    let so_far: f32 = rewards[..step].iter().sum();
    let reward = match step.checked_sub(1).map(|last| rewards[last]) {
        Some(reward) => format!("reward {reward:.2}, sum {so_far:.1}"),
        None => "start".to_owned(),
    };
    canvas.write((x + side, y), &reward, CAPTION_SIZE, SOFT_INK, Align::Right)
}

/// Green for a reward of one and more, orange for minus one and less, grey for none.
fn shade(reward: f32) -> Colour {
    let towards = if reward < 0.0 { LOSS } else { GAIN };
    let share = reward.abs().min(1.0);
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
        Reel {
            title: "film".to_owned(),
            frames: vec![image; frames],
            rewards: vec![0.5; frames - 1],
        }
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
    fn nothing_to_show_makes_no_frames() {
        assert!(compose(&[], 2, 64).unwrap().is_empty());
        assert_eq!(compose(&[reel(1)], 3, 64).unwrap().len(), 1);
    }

    #[test]
    fn rewards_shade_from_orange_to_green() {
        assert_eq!([shade(-9.0), shade(0.0), shade(1.0)], [LOSS, NEUTRAL, GAIN]);
    }
}
