//! Trajectory planning on any latent model written with Burn.
//!
//! A [`LatentModel`] gives a transition `p(z' | z, a)` and a reward `r(z)`, and every planner here
//! works on that trait alone: no images, no environments, no particular network.
//!
//! *Shooting* optimises the actions and rolls the model out; *collocation* optimises latents and
//! actions together,
//!
//! ```text
//! max  Σ_t r(z_t)   subject to   z_{t+1} = μ(z_t, a_t),   |a_t| ≤ 1,
//! ```
//!
//! with the dynamics first relaxed and then enforced by dual ascent on their multipliers λ, after
//! Rybkin et al., "Model-Based Reinforcement Learning via Latent-Space Collocation" (ICML 2021).
//!
//! Each [`Plan`] carries the *virtual* result (reward along the planned latents) beside the
//! *rollout* result (the same actions rolled out through the model from `z_0`): only the second
//! is backed by the dynamics.
#![forbid(unsafe_code)]
#![warn(missing_docs)]

mod belief;
pub mod catalogue;

pub mod collocation;
mod error;
mod gaussian;
mod goal;
mod host;
mod iterations;
mod linearisation;
mod model;
mod noise;
mod observer;
mod plan;
mod planner;
mod random;
mod rollout;
pub mod shooting;
mod starts;
mod stopping;

pub use belief::Belief;
pub use error::{ConfigError, PlanError};
pub use gaussian::DiagonalGaussian;
pub use goal::LatentGoal;
pub use linearisation::{AutodiffLinearisation, Linearisation, RewardLinearisation};
pub use model::{ImageSpace, LatentModel};
pub use noise::Noise;
pub use observer::{NoObserver, Observer};
pub use plan::{Iteration, Outcome, Plan, StopReason};
pub use planner::{PlanContext, Planner};
pub use random::{RandomActions, RandomActionsConfig};
pub use rollout::{Rollout, roll_out};
pub use stopping::Deadline;
