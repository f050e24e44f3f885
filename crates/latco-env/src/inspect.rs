//! What is in recordings: figures and a contact sheet.

use std::collections::BTreeSet;

use serde::Serialize;

use crate::episode::EpisodeSeries;
use crate::image::Image;
use crate::npz::EpisodeFileError;
use crate::recorded::Recorded;

/// Pixels between the frames of a contact sheet, and their grey.
const GAP: usize = 2;
const PAPER: u8 = 255;

/// The range of some numbers.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Summary {
    /// The smallest.
    pub minimum: f64,
    /// The arithmetic mean.
    pub mean: f64,
    /// The largest.
    pub maximum: f64,
}

impl Summary {
    /// The range of `values`, `None` where there are none.
    pub fn of(values: impl IntoIterator<Item = f64>) -> Option<Self> {
        let mut count = 0.0;
        let mut sum = 0.0;
        let (mut minimum, mut maximum) = (f64::INFINITY, f64::NEG_INFINITY);
        for value in values {
            count += 1.0;
            sum += value;
            minimum = minimum.min(value);
            maximum = maximum.max(value);
        }
        (count > 0.0).then(|| Self {
            minimum,
            mean: sum / count,
            maximum,
        })
    }
}

/// The figures of some episodes.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Inspection {
    /// The number of episodes.
    pub episodes: usize,
    /// The number of frames in all of them, resets included.
    pub frames: usize,
    /// Frames an episode.
    pub lengths: Summary,
    /// Sums of rewards, one an episode.
    pub returns: Summary,
    /// Frames with a reward other than zero.
    pub rewarded_frames: usize,
    /// Episodes in which the task was solved, of those that tell.
    pub solved: usize,
    /// Episodes that tell whether the task was solved.
    pub told: usize,
    /// The sizes of images that occur, `[height, width]`.
    pub image_sizes: Vec<[usize; 2]>,
    /// The range of each action entry, resets left out; empty where there are only resets.
    pub actions: Vec<Summary>,
}

impl Inspection {
    /// The figures of `episodes`, `None` where there are none.
    pub fn of(episodes: &[&EpisodeSeries]) -> Option<Self> {
        let lengths = || episodes.iter().map(|episode| episode.len());
        let rewards = episodes
            .iter()
            .flat_map(|episode| episode.rewards().iter().skip(1));
        let successes = episodes.iter().filter_map(|episode| episode.success());
        let successes: Vec<bool> = successes.collect();
        let sizes = episodes
            .iter()
            .map(|episode| [episode.image_height(), episode.image_width()])
            .collect::<BTreeSet<_>>();
        Some(Self {
            episodes: episodes.len(),
            frames: lengths().sum(),
            lengths: Summary::of(lengths().map(|length| length as f64))?,
            returns: Summary::of(episodes.iter().map(|e| f64::from(e.total_reward())))?,
            rewarded_frames: rewards.filter(|&&reward| reward != 0.0).count(),
            solved: successes.iter().filter(|&&solved| solved).count(),
            told: successes.len(),
            image_sizes: sizes.into_iter().collect(),
            actions: action_ranges(episodes),
        })
    }
}

fn action_ranges(episodes: &[&EpisodeSeries]) -> Vec<Summary> {
    let sizes = episodes.iter().map(|episode| episode.action_size());
    let size = sizes.max().unwrap_or(0);
    let column = |entry: usize| {
        episodes
            .iter()
            .flat_map(|episode| {
                episode
                    .actions()
                    .chunks_exact(episode.action_size())
                    .skip(1)
            })
            .filter_map(move |action| action.get(entry).copied().map(f64::from))
    };
    (0..size)
        .filter_map(|entry| Summary::of(column(entry)))
        .collect()
}

/// A sheet with a row for each episode and `columns` frames a row, evenly spaced from the first to
/// the last. Rows and columns are as large as the largest image. `None` where there is no episode
/// or no column.
///
/// # Errors
/// [`EpisodeFileError`] where a frame cannot be read.
pub fn contact_sheet(
    episodes: &[&dyn Recorded],
    columns: usize,
) -> Result<Option<Image>, EpisodeFileError> {
    let sizes = episodes.iter().map(|episode| {
        let series = episode.series();
        (series.image_width(), series.image_height())
    });
    let (cell_width, cell_height) = sizes.fold((0, 0), |(width, height), size| {
        (width.max(size.0), height.max(size.1))
    });
    if episodes.is_empty() || columns == 0 {
        return Ok(None);
    }
    let width = columns * (cell_width + GAP) - GAP;
    let height = episodes.len() * (cell_height + GAP) - GAP;
    let mut pixels = vec![PAPER; width * height * 3];
    for (row, episode) in episodes.iter().enumerate() {
        let size = (
            episode.series().image_width(),
            episode.series().image_height(),
        );
        for column in 0..columns {
            let frame = spread(column, columns, episode.series().len());
            let image = episode.images(frame..frame + 1)?;
            let corner = (column * (cell_width + GAP), row * (cell_height + GAP));
            paste(&mut pixels, width, (&image, size), corner);
        }
    }
    Ok(Image::new(width, height, pixels).ok())
}

/// The `index`-th of `count` positions that are spread evenly over `length` frames.
fn spread(index: usize, count: usize, length: usize) -> usize {
    match count {
        1 => 0,
        _ => index * (length - 1) / (count - 1),
    }
}

/// Copies an image of some width and height into `pixels` of `width` columns, its top left corner at
/// `(x, y)`.
fn paste(
    pixels: &mut [u8],
    width: usize,
    (image, size): (&[u8], (usize, usize)),
    (x, y): (usize, usize),
) {
    for (row, line) in image.chunks_exact(3 * size.0).take(size.1).enumerate() {
        let start = 3 * ((y + row) * width + x);
        pixels[start..start + line.len()].copy_from_slice(line);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::action::ActionSpace;
    use crate::environment::Step;
    use crate::episode::Episode;

    fn episode(frames: u8, side: usize) -> Episode {
        let image = |value| Image::new(side, side, vec![value; side * side * 3]).unwrap();
        let mut episode = Episode::new(&image(0), &ActionSpace::unit(2));
        for frame in 1..frames {
            let step = Step {
                image: image(frame),
                reward: f32::from(u8::from(frame == 2)),
                success: frame == 2,
                terminated: false,
                truncated: false,
            };
            episode.push(&[0.5, -f32::from(frame)], &step).unwrap();
        }
        episode
    }

    /// No action led to the first image.
    #[test]
    fn a_reward_of_the_first_image_counts_for_nothing() {
        let mut arrays = episode(4, 8).into_arrays();
        arrays.rewards[0] = 100.0;
        let episode = Episode::from_arrays(arrays).unwrap();
        assert_eq!(episode.total_reward(), 1.0);
        let inspection = Inspection::of(&[&episode]).unwrap();
        assert_eq!(
            (inspection.rewarded_frames, inspection.returns.maximum),
            (1, 1.0)
        );
    }

    #[test]
    fn figures_of_mixed_episodes() {
        let inspection = Inspection::of(&[&episode(2, 4), &episode(4, 8)]).unwrap();
        assert_eq!((inspection.episodes, inspection.frames), (2, 6));
        assert_eq!((inspection.solved, inspection.told), (1, 2));
        assert_eq!(inspection.rewarded_frames, 1);
        assert_eq!(inspection.lengths.mean, 3.0);
        assert_eq!(inspection.returns.maximum, 1.0);
        assert_eq!(inspection.image_sizes, [[4, 4], [8, 8]]);
        assert_eq!(inspection.actions[0].minimum, 0.5);
        assert_eq!(inspection.actions[1].minimum, -3.0);
        assert!(Inspection::of(&[]).is_none());
    }

    #[test]
    fn the_contact_sheet_runs_from_the_first_to_the_last_frame() {
        let sheet = contact_sheet(&[&episode(5, 4), &episode(9, 4)], 3);
        let sheet = sheet.unwrap().unwrap();
        assert_eq!((sheet.width(), sheet.height()), (16, 10));
        let value = |x: usize, y: usize| sheet.pixels()[3 * (y * 16 + x)];
        assert_eq!([value(0, 0), value(6, 0), value(12, 0)], [0, 2, 4]);
        assert_eq!([value(0, 9), value(6, 9), value(12, 9)], [0, 4, 8]);
        assert_eq!(value(4, 0), PAPER);
        assert!(contact_sheet(&[], 3).unwrap().is_none());
        assert!(contact_sheet(&[&episode(2, 4)], 0).unwrap().is_none());
    }
}
