//! Episodes that are rows of larger arrays.

use std::borrow::Cow;
use std::fmt;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use latco_env::{
    ByteRows, EpisodeArrays, EpisodeFileError, EpisodeFileProblem, EpisodeSeries, Recorded,
    RowCursor,
};

use crate::error::{FormatProblem, at};

/// Images `[rows, …]` in a file, read row by row.
pub(crate) trait RowSource: fmt::Debug + Send + Sync {
    /// The bytes of some rows.
    fn read(&self, rows: Range<usize>) -> Result<Vec<u8>, EpisodeFileProblem>;

    /// Whether rows are read without those that lie before them.
    fn is_random_access(&self) -> bool {
        true
    }
}

/// How the bytes of an image lie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Pixels {
    /// `[height, width, 3]`.
    Colour,
    /// `[height, width]` or `[height, width, 1]`.
    Grey,
    /// `[3, height, width]`.
    Planes,
}

/// The sides of images in an array.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ImageLayout {
    pub rows: usize,
    pub height: usize,
    pub width: usize,
    pixels: Pixels,
}

impl ImageLayout {
    /// From a shape `[rows, height, width, 3]`, `[rows, 3, height, width]`, `[rows, height, width, 1]` or
    /// `[rows, height, width]`.
    pub fn of(name: &str, shape: &[usize]) -> Result<Self, FormatProblem> {
        let (rows, height, width, pixels) = match *shape {
            [rows, height, width, 3] => (rows, height, width, Pixels::Colour),
            [rows, 3, height, width] => (rows, height, width, Pixels::Planes),
            [rows, height, width, 1] | [rows, height, width] => (rows, height, width, Pixels::Grey),
            _ => {
                return Err(FormatProblem::NoImages {
                    name: name.to_owned(),
                    shape: shape.to_vec(),
                });
            }
        };
        Ok(Self {
            rows,
            height,
            width,
            pixels,
        })
    }

    /// Images `[height, width, 3]` from those of the file.
    fn coloured(self, bytes: Vec<u8>) -> Vec<u8> {
        let plane = self.height * self.width;
        match self.pixels {
            Pixels::Colour => bytes,
            Pixels::Grey => bytes.into_iter().flat_map(|grey| [grey; 3]).collect(),
            Pixels::Planes => bytes
                .chunks_exact(3 * plane)
                .flat_map(|image| {
                    (0..plane).flat_map(|p| [image[p], image[plane + p], image[2 * plane + p]])
                })
                .collect(),
        }
    }
}

/// An episode in some rows of a file's images.
#[derive(Debug)]
pub(crate) struct RowEpisode {
    pub path: PathBuf,
    pub series: EpisodeSeries,
    pub source: Arc<dyn RowSource>,
    pub layout: ImageLayout,
    /// The row of the first frame.
    pub start: usize,
}

impl Recorded for RowEpisode {
    fn path(&self) -> &Path {
        &self.path
    }

    fn series(&self) -> &EpisodeSeries {
        &self.series
    }

    fn images(&self, frames: Range<usize>) -> Result<Cow<'_, [u8]>, EpisodeFileError> {
        let rows = self.start + frames.start..self.start + frames.end;
        let bytes = self
            .source
            .read(rows)
            .map_err(|problem| at(&self.path, problem))?;
        Ok(Cow::Owned(self.layout.coloured(bytes)))
    }

    fn is_random_access(&self) -> bool {
        self.source.is_random_access()
    }
}

/// Rows of an `.npz` file. In a compressed one, reading goes on where it ended; rows further back begin
/// at the first.
#[derive(Debug)]
pub(crate) struct NpzRows {
    array: ByteRows,
    cursor: Mutex<Option<RowCursor>>,
}

impl NpzRows {
    pub fn new(array: ByteRows) -> Self {
        Self {
            array,
            cursor: Mutex::new(None),
        }
    }
}

impl RowSource for NpzRows {
    fn read(&self, rows: Range<usize>) -> Result<Vec<u8>, EpisodeFileProblem> {
        if self.array.is_random_access() {
            return self.array.read(rows);
        }
        let mut kept = self.cursor.lock().unwrap_or_else(PoisonError::into_inner);
        let mut cursor = match kept.take() {
            Some(cursor) if cursor.row() <= rows.start => cursor,
            _ => self.array.cursor()?,
        };
        cursor.skip(rows.start - cursor.row())?;
        let bytes = cursor.read(rows.len())?;
        *kept = Some(cursor);
        Ok(bytes)
    }

    fn is_random_access(&self) -> bool {
        self.array.is_random_access()
    }
}

/// What an entry of an array belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Leads {
    /// The image of its row: the action led to it, the reward was paid there.
    To,
    /// The step from the image of its row to the next: the last row's counts for nothing.
    From,
}

impl Leads {
    /// The entries of an episode, `width` a row, so that each belongs to the image that it led to; the
    /// first row, which nothing led to, is zero.
    pub fn aligned(self, values: &[f32], width: usize, frames: usize) -> Vec<f32> {
        let nothing = vec![0.0; width];
        let led = width..(width * frames).max(width);
        let led = match self {
            Self::To => values.get(led),
            Self::From => values.get(..led.end - width),
        };
        [&nothing, led.unwrap_or_default()].concat()
    }
}

/// The numbers of an episode, row by row as they are in the file.
pub(crate) struct Steps {
    pub frames: usize,
    /// `[rows, action_size]`.
    pub actions: Vec<f32>,
    pub action_size: usize,
    pub actions_lead: Leads,
    /// `[rows]`; all zero where there are none.
    pub rewards: Option<Vec<f32>>,
    pub rewards_lead: Leads,
    /// `[rows]`, other than zero where the episode ended in a terminal state; nowhere where there are
    /// none.
    pub terminals: Option<Vec<f32>>,
    pub terminals_lead: Leads,
}

impl Steps {
    pub fn series(&self, layout: &ImageLayout) -> Result<EpisodeSeries, EpisodeFileProblem> {
        let terminals = self.column(&self.terminals, self.terminals_lead);
        Ok(EpisodeSeries::from_arrays(EpisodeArrays {
            image_height: layout.height,
            image_width: layout.width,
            cameras: 1,
            action_space: space(self.action_size)?,
            images: Vec::new(),
            actions: self
                .actions_lead
                .aligned(&self.actions, self.action_size, self.frames),
            rewards: self.paid_rewards(),
            discounts: terminals
                .into_iter()
                .map(|terminal| if terminal == 0.0 { 1.0 } else { 0.0 })
                .collect(),
            sparse_rewards: None,
        })?)
    }

    fn column(&self, values: &Option<Vec<f32>>, leads: Leads) -> Vec<f32> {
        match values {
            Some(values) => leads.aligned(values, 1, self.frames),
            None => vec![0.0; self.frames],
        }
    }

    /// The reward of each image. That of a step beyond the last image is lost, unless it is the episode's
    /// only one, as where success ends it: then it is paid at the last image.
    fn paid_rewards(&self) -> Vec<f32> {
        let mut paid = self.column(&self.rewards, self.rewards_lead);
        let beyond = match (self.rewards_lead, &self.rewards) {
            (Leads::From, Some(rewards)) if self.frames > 1 => rewards.get(self.frames - 1),
            _ => None,
        };
        if let Some(&beyond) = beyond
            && beyond > 0.0
            && paid.iter().all(|&reward| reward == 0.0)
            && let Some(last) = paid.last_mut()
        {
            *last = beyond;
        }
        paid
    }
}

/// The unit box of so many entries.
fn space(size: usize) -> Result<latco_env::ActionSpace, EpisodeFileProblem> {
    match size {
        0 => Err(latco_env::EpisodeError::Empty { field: "action" }.into()),
        size => Ok(latco_env::ActionSpace::unit(size)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_go_to_the_image_that_they_led_to() {
        let actions = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0];
        assert_eq!(
            Leads::To.aligned(&actions, 2, 3),
            [0.0, 0.0, 3.0, 4.0, 5.0, 6.0]
        );
        assert_eq!(
            Leads::From.aligned(&actions, 2, 3),
            [0.0, 0.0, 1.0, 2.0, 3.0, 4.0]
        );
        // Minari has one action fewer than images.
        assert_eq!(
            Leads::From.aligned(&actions[..4], 2, 3),
            [0.0, 0.0, 1.0, 2.0, 3.0, 4.0]
        );
        assert_eq!(Leads::From.aligned(&actions, 2, 1), [0.0, 0.0]);
    }

    #[test]
    fn a_success_beyond_the_last_image_is_paid_there() {
        let paid = |rewards: &[f32], rewards_lead| {
            let steps = Steps {
                frames: 3,
                actions: vec![0.0; 3],
                action_size: 1,
                actions_lead: Leads::From,
                rewards: Some(rewards.to_vec()),
                rewards_lead,
                terminals: None,
                terminals_lead: Leads::From,
            };
            steps.paid_rewards()
        };
        assert_eq!(paid(&[0.0, 0.0, 1.0], Leads::From), [0.0, 0.0, 1.0]);
        // Where others are paid, or it is a cost, what is known of the last image stays.
        assert_eq!(paid(&[0.1, 0.2, 0.3], Leads::From), [0.0, 0.1, 0.2]);
        assert_eq!(paid(&[-1.0, 0.0, 1.0], Leads::From), [0.0, -1.0, 0.0]);
        assert_eq!(paid(&[0.0, 0.0, -1.0], Leads::From), [0.0, 0.0, 0.0]);
        // Nothing is beyond.
        assert_eq!(paid(&[0.0, 1.0], Leads::From), [0.0, 0.0, 1.0]);
        assert_eq!(paid(&[0.0, 0.0, 1.0], Leads::To), [0.0, 0.0, 1.0]);
    }

    #[test]
    fn planes_and_greys_become_colours() {
        let planes = ImageLayout::of("pixels", &[1, 3, 1, 2]).unwrap();
        assert_eq!(planes.coloured(vec![1, 2, 3, 4, 5, 6]), [1, 3, 5, 2, 4, 6]);
        let grey = ImageLayout::of("pixels", &[1, 1, 2]).unwrap();
        assert_eq!(grey.coloured(vec![1, 2]), [1, 1, 1, 2, 2, 2]);
        assert!(ImageLayout::of("observations", &[9, 4]).is_err());
    }
}
