//! Environments that render images, episodes on disk, and replay.
//!
//! Data takes one way through this crate: an [`Environment`] renders an [`Image`] a step, the
//! steps make an [`Episode`], an [`EpisodeFolder`] keeps episodes as `.npz` files that numpy
//! reads too, and a [`Replay`] draws [`SequenceBatch`]es from them for training.
//!
//! Nothing here knows tensors, models or planners: images are bytes, actions are `f32` slices in
//! the units of their environment's [`ActionSpace`], and every random number comes from a seeded [`ChaCha8Rng`] whose state serialises.
//!
//! ```
//! use latco_env::{EnvOptions, expert_action, make, record_episode};
//!
//! let mut environment = make("reach", &EnvOptions::default())?;
//! let episode = record_episode(environment.as_mut(), 7, expert_action)?;
//! assert_eq!(episode.len(), environment.time_limit() + 1);
//! assert!(episode.total_reward() > 0.0);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
#![forbid(unsafe_code)]
#![warn(missing_docs)]

mod action;
mod alignment;
mod archive;
mod arrays;
mod atomic;
mod canvas;
mod catalogue;
mod environment;
mod episode;
mod folder;
mod image;
mod import;
mod inspect;
mod npy;
mod npz;
pub mod process;
mod record;
mod recorded;
mod replay;
mod scene;
mod tasks;
mod wrappers;

pub use action::{ActionSpace, uniform_action};
pub use alignment::{Alignment, Shift};
pub use archive::{ByteRows, NpzArchive, Numbers, RowCursor};
pub use arrays::{ArraysError, FloatArray, read_arrays};
pub use atomic::{remove_unfinished, write as write_atomic};
pub use catalogue::{EnvInfo, Protocol, catalogue, info, make, scene};
pub use environment::{EnvError, EnvOptions, Environment, Expert, ImageShape, Step, expert_action};
pub use episode::{Episode, EpisodeArrays, EpisodeError, EpisodeSeries};
pub use folder::{EpisodeFolder, LoadedEpisodes, SkippedFile, is_hidden};
pub use image::{Image, ImageError};
pub use import::{FrameFolder, ImportError, import_folder};
pub use inspect::{Inspection, Summary, contact_sheet};
pub use npy::{ArrayError, MOST_NUMBERS};
pub use npz::{EpisodeFileError, EpisodeFileProblem, NpzEpisode};
pub use process::ProcessError;
pub use rand;
pub use rand_chacha::ChaCha8Rng;
pub use record::record_episode;
pub use recorded::{Recorded, Recordings};
pub use replay::{Replay, ReplayError, SequenceBatch};
pub use scene::{Scene, Thing};
pub use wrappers::{ActionRepeat, RepeatReward, TimeLimit};

/// Compiles and runs the README's snippet.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
