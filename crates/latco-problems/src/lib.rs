#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]
#![warn(missing_docs)]

mod benchmark;
mod dynamics;
mod error;
mod head;
mod problem;
mod problems;
mod settings;

pub use benchmark::{BENCHMARK, Reference, best_known};
pub use error::ProblemError;
pub use head::Head;
pub use problem::Problem;
pub use problems::{PROBLEMS, ProblemInfo};
pub use settings::ProblemSettings;
