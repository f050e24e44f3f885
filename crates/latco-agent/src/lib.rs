//! Agents that see images, plan in latent space, collect episodes and learn from them.
//!
//! An [`Agent`] holds a model, a planner and the belief filtered through everything observed; any
//! [`BeliefFilter`] serves as its model.
//! [`evaluate`] runs it over seeded episodes, a [`TrainingRun`] alternates collecting with gradient
//! steps, [`predict`] shows what a model makes of a recording.
//!
//! A plan is made every [`replan_every`](AgentConfig::replan_every) steps, from the belief at that moment:
//!
#![doc = include_str!("../doc/closed_loop.svg")]
#![forbid(unsafe_code)]
#![warn(missing_docs)]

mod agent;
pub mod device;
mod evaluate;
mod filter;
mod goal;
mod images;
mod interface;
mod policy;
mod predict;
#[cfg(feature = "rl")]
pub mod rl;
mod run;
mod state;
mod train;

pub use agent::{Agent, AgentConfig, AgentError, plan_reward};
pub use evaluate::{EpisodeResult, Evaluation, PlanSummary, Promise, evaluate, evaluate_examined};
pub use filter::BeliefFilter;
pub use goal::ObservedGoal;
pub use images::{image_tensor, preprocessed, preprocessed_episode};
pub use interface::{InterfaceError, check_interface};
pub use policy::{
    AgentPolicy, DriftingPolicy, EpisodeRunError, Policy, RandomPolicy, RecordedEpisode,
    ScriptedPolicy, run_episode,
};
pub use predict::{Prediction, PredictionError, decoded_images, predict};
pub use run::{Actor, RunConfig, RunError, RunFolder, usual_horizon};
pub use train::{Progress, Source, TrainingRun};

/// Compiles and runs the README's snippet.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
