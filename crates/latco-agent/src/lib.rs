//! Agents that see images, plan in latent space, collect episodes and learn from them.
//!
//! An [`Agent`] holds a world model, a planner and the belief filtered through every image seen.
//! [`evaluate`] runs it over seeded episodes, a [`TrainingRun`] alternates collecting with gradient
//! steps, [`predict`] shows what a model makes of a recording.
#![forbid(unsafe_code)]
#![warn(missing_docs)]

mod agent;
pub mod device;
mod evaluate;
mod goal;
mod policy;
mod predict;
#[cfg(feature = "rl")]
pub mod rl;
mod run;
mod train;

pub use agent::{Agent, AgentConfig, AgentError, image_tensor};
pub use evaluate::{EpisodeResult, Evaluation, evaluate};
pub use goal::ImageGoal;
pub use policy::{
    AgentPolicy, DriftingPolicy, EpisodeRunError, Policy, RandomPolicy, RecordedEpisode,
    ScriptedPolicy, run_episode,
};
pub use predict::{Prediction, PredictionError, decoded_images, predict};
pub use run::{Actor, RunConfig, RunError, RunFolder};
pub use train::{Progress, TrainingRun};

/// Compiles and runs the README's snippet.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
