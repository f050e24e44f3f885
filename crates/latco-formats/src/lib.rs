//! The formats that recordings come in.
//!
//! [`open`] looks at a file or folder, finds its format, and returns its episodes: their actions and
//! rewards in memory, their images on disk until they are asked for ([`Recorded`](latco_env::Recorded)).
//! With the feature `lerobot`, `LeRobotWriter` writes data sets of LeRobot.
//! A [`Manifest`] tells later whether the files are still the same.
#![forbid(unsafe_code)]
#![warn(missing_docs)]

mod dreamer;
mod error;
mod frames;
mod hdf5;
mod lerobot;
mod manifest;
mod minari;
mod ogbench;
mod open;
mod rows;
mod swm;
mod table;
mod vd4rl;

pub use error::FormatProblem;
#[cfg(feature = "lerobot")]
pub use lerobot::{LeRobotSettings, LeRobotWriter};
pub use manifest::{Manifest, ManifestError};
pub use open::{Options, open};

/// Compiles and runs the README's snippet.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
