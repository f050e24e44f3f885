//! What is wrong with recordings of other formats.

use std::path::Path;

use latco_env::{EpisodeFileError, EpisodeFileProblem};

/// What is wrong with recordings of other formats.
#[derive(Debug, thiserror::Error)]
pub enum FormatProblem {
    /// The array of images holds something else.
    #[error(
        "`{name}` has shape {shape:?}: expected images, [T, height, width, 3], [T, 3, height, width] or \
         [T, height, width]; name the array that has them: --map image=NAME"
    )]
    NoImages {
        /// The array.
        name: String,
        /// Its sides.
        shape: Vec<usize>,
    },
    /// An array is missing.
    #[error(
        "there is no `{name}`, as {format} calls it; there are {found}: --map {key}=NAME tells its name"
    )]
    Missing {
        /// The format.
        format: &'static str,
        /// The name that was looked for.
        name: String,
        /// What it is called in a mapping.
        key: &'static str,
        /// The names there are.
        found: String,
    },
    /// An array has another number of rows than the images.
    #[error("`{name}` has {got} rows, expected {expected}")]
    Rows {
        /// The array.
        name: String,
        /// Rows of the images, or one fewer.
        expected: usize,
        /// Rows of the array.
        got: usize,
    },
    /// An episode reaches beyond the rows there are.
    #[error("episode {episode} is said to be rows {start} to {end} of {rows}")]
    Episode {
        /// The episode.
        episode: usize,
        /// Its first row.
        start: usize,
        /// The row behind its last.
        end: usize,
        /// Rows of the images.
        rows: usize,
    },
    /// A mapping names something that the format does not have.
    #[error("--map {key}=…: expected one of {expected}")]
    Key {
        /// The key of the mapping.
        key: String,
        /// The keys there are.
        expected: String,
    },
    /// An array has other elements.
    #[error("`{name}` has elements {got}, expected {expected}")]
    Elements {
        /// The array.
        name: String,
        /// What was expected.
        expected: &'static str,
        /// What they are.
        got: String,
    },
    /// An array claims more than its file can hold.
    #[error("`{name}` claims {claimed} bytes in a file of {file}")]
    Size {
        /// The array.
        name: String,
        /// The bytes claimed.
        claimed: u64,
        /// The bytes of the file.
        file: u64,
    },
    /// Something is wrong with one of a file's groups.
    #[error("group `{group}`: {problem}")]
    Group {
        /// The group.
        group: String,
        /// What is wrong with it.
        #[source]
        problem: Box<EpisodeFileProblem>,
    },
    /// An HDF5 file of no known format.
    #[error(
        "an HDF5 file of no known format: expected groups `episode_0`, … (Minari), arrays `ep_len` and \
         `ep_offset` (stable-worldmodel), or `step_type` (V-D4RL)"
    )]
    UnknownHdf5,
    /// The file is of a format, or of a kind of it, that this build does not read.
    #[error("{0}")]
    Unsupported(String),
    /// The library that reads the format refuses the file.
    #[error("{0}")]
    Library(#[source] Box<dyn std::error::Error + Send + Sync>),
}

impl From<FormatProblem> for EpisodeFileProblem {
    fn from(problem: FormatProblem) -> Self {
        Self::Format(Box::new(problem))
    }
}

/// Attaches the file.
pub(crate) fn at(path: &Path, problem: impl Into<EpisodeFileProblem>) -> EpisodeFileError {
    EpisodeFileError {
        path: path.to_path_buf(),
        problem: problem.into(),
    }
}
