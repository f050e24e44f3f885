//! Data sets of LeRobot: `meta/info.json`, Parquet files below `data/`, whose rows have `action`,
//! `episode_index` and where recorded `next.reward`, and images: in the same rows as PNG or JPEG, or in MP4
//! files below `videos/`, encoded in AV1.
//!
//! Action and reward of a row belong to the step from its image to the next: those of an episode's last row
//! lead beyond what was seen, and are left out, and so is whether the episode was over there. A positive
//! reward that is the episode's only one, as where success ends it, is paid at the last image instead.

#[cfg(feature = "lerobot")]
mod columns;
#[cfg(feature = "lerobot")]
mod data_set;
#[cfg(feature = "lerobot")]
mod mp4;
#[cfg(feature = "lerobot")]
mod pictures;
#[cfg(feature = "lerobot")]
mod statistics;
#[cfg(feature = "lerobot")]
mod table;
#[cfg(feature = "lerobot")]
mod template;
#[cfg(feature = "lerobot")]
mod video;
#[cfg(feature = "lerobot")]
mod writer;

#[cfg(feature = "lerobot")]
pub use writer::{LeRobotSettings, LeRobotWriter};

use std::path::Path;

use latco_env::{EpisodeFileError, Recordings};

use crate::error::at;
use crate::open::Options;

#[cfg(not(feature = "lerobot"))]
pub(crate) fn open(path: &Path, _options: &Options) -> Result<Recordings, EpisodeFileError> {
    use crate::error::FormatProblem;

    let problem = "a data set of LeRobot, which this build does not read: build with the feature \
                   lerobot (cargo install … --features lerobot)";
    Err(at(path, FormatProblem::Unsupported(problem.to_owned())))
}

#[cfg(feature = "lerobot")]
pub(crate) fn open(path: &Path, options: &Options) -> Result<Recordings, EpisodeFileError> {
    data_set::open(path, options).map_err(|(file, problem)| at(&file, problem))
}
