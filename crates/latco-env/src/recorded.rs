//! Recordings whose images may stay on disk.

use std::borrow::Cow;
use std::fmt;
use std::mem;
use std::ops::Range;
use std::panic::resume_unwind;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;

use crate::episode::{Episode, EpisodeSeries};
use crate::folder::SkippedFile;
use crate::npz::EpisodeFileError;

/// Frames that are read at once where all are read, which bounds the memory.
const READ_AT_ONCE: usize = 64;

/// A recorded episode: its series in memory, its images there too or read when they are asked for.
///
/// A reader of another format implements this for its episodes; [`Replay`](crate::Replay) draws from
/// any of them.
pub trait Recorded: fmt::Debug + Send + Sync {
    /// The file that the episode is read from; empty where there is none.
    fn path(&self) -> &Path;

    /// All but the images.
    fn series(&self) -> &EpisodeSeries;

    /// The images `[frames, height, width, 3]` of a range of frames within the episode.
    ///
    /// # Errors
    /// [`EpisodeFileError`] where they cannot be read, or not any more.
    fn images(&self, frames: Range<usize>) -> Result<Cow<'_, [u8]>, EpisodeFileError>;

    /// Hands all images to `visit`, one after another, in bounded memory.
    ///
    /// # Errors
    /// Those of [`images`](Self::images).
    fn each_image(&self, visit: &mut dyn FnMut(&[u8])) -> Result<(), EpisodeFileError> {
        let (length, size) = (self.series().len(), self.series().frame_bytes());
        for start in (0..length).step_by(READ_AT_ONCE) {
            let images = self.images(start..length.min(start + READ_AT_ONCE))?;
            images.chunks_exact(size).for_each(&mut *visit);
        }
        Ok(())
    }

    /// Whether the images are in memory, so that reading them costs and fails nothing.
    fn is_in_memory(&self) -> bool {
        false
    }

    /// Whether a sequence is read for the cost of its own episode at most; where not, all episodes
    /// before it in the file are read too.
    fn is_random_access(&self) -> bool {
        true
    }
}

impl Recorded for Episode {
    fn path(&self) -> &Path {
        Path::new("")
    }

    fn series(&self) -> &EpisodeSeries {
        self.series()
    }

    fn images(&self, frames: Range<usize>) -> Result<Cow<'_, [u8]>, EpisodeFileError> {
        Ok(Cow::Borrowed(self.frames(frames)))
    }

    fn is_in_memory(&self) -> bool {
        true
    }
}

impl Episode {
    /// The whole of a recorded episode, in memory.
    ///
    /// # Errors
    /// Those of [`Recorded::images`].
    pub fn read(recorded: &dyn Recorded) -> Result<Self, EpisodeFileError> {
        let series = recorded.series().clone();
        let mut images = Vec::new();
        recorded.each_image(&mut |image| images.extend_from_slice(image))?;
        Self::from_series(series, images).map_err(|error| EpisodeFileError {
            path: recorded.path().to_path_buf(),
            problem: error.into(),
        })
    }
}

/// What a file or folder of recordings holds.
#[derive(Debug, Default)]
pub struct Recordings {
    /// The usable episodes.
    pub episodes: Vec<Arc<dyn Recorded>>,
    /// What was left out, each with the reason.
    pub skipped: Vec<SkippedFile>,
    /// The files that the episodes are read from.
    pub files: Vec<PathBuf>,
}

impl Recordings {
    /// Reads every image once, in bounded memory, and moves the episodes that are damaged to
    /// [`skipped`](Self::skipped). Returns which they were.
    pub fn remove_damaged(&mut self) -> Vec<usize> {
        let problems = verify(&self.episodes);
        let mut damaged = Vec::new();
        let mut kept = Vec::new();
        let pairs = mem::take(&mut self.episodes).into_iter().zip(problems);
        for (index, (episode, problem)) in pairs.enumerate() {
            match problem {
                None => kept.push(episode),
                Some(problem) => {
                    damaged.push(index);
                    self.skipped.push(SkippedFile(problem));
                }
            }
        }
        self.episodes = kept;
        damaged
    }
}

/// What is wrong with the images of each episode, read on as many threads as there are cores where that
/// is not slower.
fn verify(episodes: &[Arc<dyn Recorded>]) -> Vec<Option<EpisodeFileError>> {
    let check = |episode: &Arc<dyn Recorded>| episode.each_image(&mut |_| {}).err();
    let threads = match episodes.iter().all(|episode| episode.is_random_access()) {
        true => thread::available_parallelism().map_or(1, usize::from),
        false => 1,
    };
    let share = episodes.len().div_ceil(threads).max(1);
    thread::scope(|scope| {
        let shares = episodes.chunks(share);
        let threads: Vec<_> = shares
            .map(|share| scope.spawn(move || share.iter().map(check).collect::<Vec<_>>()))
            .collect();
        let checked = threads.into_iter().map(|thread| thread.join());
        checked
            .flat_map(|share| share.unwrap_or_else(|panic| resume_unwind(panic)))
            .collect()
    })
}
