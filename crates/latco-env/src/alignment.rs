//! Whether actions lie beside the images that they led to.

use serde::Serialize;

use crate::npz::EpisodeFileError;
use crate::recorded::Recorded;

/// Changes from image to image that are looked at.
const MOST_STEPS: usize = 1_000;

/// With fewer, chance correlates.
const LEAST_STEPS: usize = 50;

/// Images that are read at once.
const AT_ONCE: usize = 16;

/// What a change is measured by: how far red, green and blue move along either side, and how much changes.
const MEASURES: usize = 7;

/// How much of the change from image `t − 1` to image `t` one entry of an action explains: the squared
/// correlation `r²` of that measure of the change and that entry, or its size, for which any of the three is
/// largest.
///
/// The measures are linear in how far a thing moves before a plain background: the first moments
/// `Σ_p p (I_t(p) − I_{t−1}(p))` of each colour, and how much changes at all.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Alignment {
    /// The action beside image `t`, as it is to be.
    pub own: f64,
    /// The action beside image `t − 1`.
    pub before: f64,
    /// The action beside image `t + 1`.
    pub after: f64,
}

/// Where actions seem to lie.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Shift {
    /// Beside the image that they were chosen at, one row too early.
    Early,
    /// One row too late.
    Late,
}

impl Alignment {
    /// Of the first steps of some episodes; none where there are too few, or nothing moves.
    ///
    /// # Errors
    /// [`EpisodeFileError`] where images cannot be read.
    pub fn of(episodes: &[&dyn Recorded]) -> Result<Option<Self>, EpisodeFileError> {
        let size = episodes
            .first()
            .map_or(0, |episode| episode.series().action_size());
        let mut correlations = Correlations::new(size);
        for episode in episodes {
            if correlations.steps >= MOST_STEPS {
                break;
            }
            if episode.series().action_size() == size {
                correlations.add(*episode)?;
            }
        }
        Ok((correlations.steps >= LEAST_STEPS)
            .then(|| correlations.strongest())
            .flatten())
    }

    /// Where the actions lie, if another row than their own explains the changes far better.
    pub fn shift(&self) -> Option<Shift> {
        let (other, shift) = match self.before >= self.after {
            true => (self.before, Shift::Early),
            false => (self.after, Shift::Late),
        };
        (other >= 0.3 && other >= self.own + 0.2).then_some(shift)
    }
}

/// Sums over the steps, for each row of actions, measure and predictor.
struct Correlations {
    steps: usize,
    predictors: usize,
    /// `[before, own, after]` of each pair of a measure and a predictor.
    pairs: Vec<[Moments; 3]>,
}

impl Correlations {
    fn new(action_size: usize) -> Self {
        let predictors = 2 * action_size;
        Self {
            steps: 0,
            predictors,
            pairs: vec![[Moments::default(); 3]; MEASURES * predictors],
        }
    }

    fn add(&mut self, episode: &dyn Recorded) -> Result<(), EpisodeFileError> {
        let series = episode.series();
        let (width, height) = (series.image_width(), series.image_height());
        // Each step needs an action on either side, and the first entry is no action.
        let end = (series.len().saturating_sub(1)).min(2 + MOST_STEPS - self.steps);
        for start in (2..end).step_by(AT_ONCE) {
            let stop = end.min(start + AT_ONCE);
            let images = episode.images(start - 1..stop)?;
            let frames: Vec<_> = images.chunks_exact(3 * width * height).collect();
            for (pair, t) in frames.windows(2).zip(start..stop) {
                let measures = measures(pair[0], pair[1], width);
                let actions = [t - 1, t, t + 1].map(|row| series.action(row));
                self.count(&measures, actions);
            }
        }
        Ok(())
    }

    fn count(&mut self, measures: &[f64; MEASURES], actions: [&[f32]; 3]) {
        self.steps += 1;
        for (row, action) in actions.into_iter().enumerate() {
            let entries = action.iter().map(|&entry| f64::from(entry));
            let predictors: Vec<_> = entries.flat_map(|entry| [entry, entry.abs()]).collect();
            for (m, measure) in measures.iter().enumerate() {
                for (p, predictor) in predictors.iter().enumerate() {
                    self.pairs[m * self.predictors + p][row].add(*predictor, *measure);
                }
            }
        }
    }

    /// The pair with the largest r² of any row.
    fn strongest(&self) -> Option<Alignment> {
        let found = self
            .pairs
            .iter()
            .map(|rows| rows.map(|row| row.r_squared()));
        let largest = |rows: &[f64; 3]| rows.iter().copied().fold(0.0, f64::max);
        let strongest = found.max_by(|one, other| largest(one).total_cmp(&largest(other)))?;
        let [before, own, after] = strongest;
        (largest(&strongest) > 0.0).then_some(Alignment { own, before, after })
    }
}

/// The measures of a change, from images `[height, width, 3]`.
fn measures(old: &[u8], new: &[u8], width: usize) -> [f64; MEASURES] {
    let mut measures = [0.0; MEASURES];
    for (i, (&old, &new)) in old.iter().zip(new).enumerate() {
        let change = f64::from(new) - f64::from(old);
        if change != 0.0 {
            let (pixel, colour) = (i / 3, i % 3);
            measures[2 * colour] += change * (pixel % width) as f64;
            measures[2 * colour + 1] += change * (pixel / width) as f64;
            measures[6] += change.abs();
        }
    }
    measures
}

/// Sums of `x`, `y` and their products.
#[derive(Clone, Copy, Default)]
struct Moments {
    count: f64,
    x: f64,
    y: f64,
    xx: f64,
    yy: f64,
    xy: f64,
}

impl Moments {
    fn add(&mut self, x: f64, y: f64) {
        self.count += 1.0;
        self.x += x;
        self.y += y;
        self.xx += x * x;
        self.yy += y * y;
        self.xy += x * y;
    }

    /// The squared correlation; zero where either does not vary.
    fn r_squared(&self) -> f64 {
        let covariance = self.count * self.xy - self.x * self.y;
        let variances =
            (self.count * self.xx - self.x * self.x) * (self.count * self.yy - self.y * self.y);
        if variances > 0.0 {
            covariance * covariance / variances
        } else {
            0.0
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{ActionSpace, Episode, EpisodeArrays};

    /// A square that moves by three pixels an action, which lies so many rows from the image that it led to.
    fn moved(offset: isize) -> Episode {
        let (side, length) = (48, 200);
        let action = |t: isize| {
            if t < 1 {
                0.0
            } else {
                (1.7 * t as f32 * t as f32).sin()
            }
        };
        let mut images = Vec::new();
        let mut position = 20.0_f32;
        for t in 0..length as isize {
            position = (position + 3.0 * action(t)).clamp(4.0, 40.0);
            let left = position.round() as usize;
            images.extend((0..side * side).flat_map(|pixel| {
                let is_square = (left..left + 5).contains(&(pixel % side)) && pixel / side > 30;
                [if is_square { 200 } else { 30 }; 3]
            }));
        }
        Episode::from_arrays(EpisodeArrays {
            image_height: side,
            image_width: side,
            cameras: 1,
            action_space: ActionSpace::unit(1),
            images,
            actions: (0..length as isize).map(|t| action(t + offset)).collect(),
            rewards: vec![0.0; length],
            discounts: vec![1.0; length],
            sparse_rewards: None,
        })
        .unwrap()
    }

    fn shift(episode: &Episode) -> Option<Shift> {
        let alignment = Alignment::of(&[episode as &dyn Recorded]).unwrap();
        alignment.unwrap().shift()
    }

    #[test]
    fn a_shift_by_one_row_is_told() {
        assert_eq!(shift(&moved(0)), None);
        assert_eq!(shift(&moved(1)), Some(Shift::Early));
        assert_eq!(shift(&moved(-1)), Some(Shift::Late));
    }

    #[test]
    fn nothing_is_told_of_a_still_scene_or_of_few_steps() {
        let still = Episode::from_arrays(EpisodeArrays {
            images: vec![7; 48 * 48 * 3 * 200],
            ..moved(0).into_arrays()
        });
        let still = still.unwrap();
        assert_eq!(Alignment::of(&[&still as &dyn Recorded]).unwrap(), None);
        assert_eq!(Alignment::of(&[]).unwrap(), None);
    }
}
