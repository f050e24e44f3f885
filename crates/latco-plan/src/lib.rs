#![doc = include_str!("../README.md")]
//!
//! # Shooting and collocation
//!
//! A [`LatentModel`] gives a transition `p(z' | z, a)` with mean `μ(z, a)` and a reward `r(z)`.
//! *Shooting* optimises the actions and rolls the model out; [*collocation*](collocation) optimises
//! latents and actions together,
//!
//! ```text
//! max  Σ_t r(z_t)   subject to   z_{t+1} = μ(z_t, a_t),   |a_t| ≤ 1,
//! ```
//!
//! with the dynamics first relaxed and then enforced by dual ascent on their multipliers λ, after
//! Rybkin et al., "Model-Based Reinforcement Learning via Latent-Space Collocation" (ICML 2021).
//! Shooting meets a reward only where some rollout already comes near it. A collocation plan may
//! begin with latents anywhere, in places that no action reaches yet, and is pulled onto the dynamics
//! afterwards.
//!
#![doc = include_str!("../doc/shooting_and_collocation.svg")]
//!
//! # Virtual and rollout
//!
//! Each [`Plan`] carries two results: [`virtual_`](Plan::virtual_), the reward along the planned
//! latents, and [`rollout`](Plan::rollout), the reward of the same actions rolled out through the
//! model from `z_0`. Only the second is backed by the dynamics: planners select by it, and
//! [`Plan::is_backed_by_rollout`] compares the two. For shooting they are the same.
//!
//! - Virtual far above rollout: the plan promises what its actions do not deliver. Where the
//!   [violation](Plan::violation) is above ε, allow more iterations; where it is below and the two
//!   still differ, small defects add up over the horizon: lower ε.
//! - Both low: the optimiser saw no slope. Start more plans, from further apart, or search first
//!   (`cem-latco`).
//! - Both high and the task fails: the model is wrong where the plan went.
//!
//! # Which planner, which horizon
//!
//! [`catalogue::planner`] makes any of them by name. Begin with `latco`; take
//! `latco-gaussian` where outcomes are uncertain and that matters, `latco-first-order` where only
//! gradients can be trusted, `cem`, `icem` or `mppi` where the reward has no useful slope at all and
//! model steps are cheap, `ilqr` or `shooting-gn` where the start is good and the horizon short. All
//! return the same [`Plan`], so that trying is a change of a word.
//!
//! The horizon must reach the reward, and no further than the model can be trusted: roll a recording's
//! actions out and see for how many steps the latents agree. Beyond that, replan: a
//! [warm start](PlanContext::with_warm_start) goes on from what is left of the last plan, and a
//! [deadline](PlanContext::with_deadline) returns the best plan so far when time is up.
#![forbid(unsafe_code)]
#![warn(missing_docs)]

mod adam;
mod base;
mod belief;
pub mod catalogue;

pub mod collocation;
mod differentiable;
mod discounted;
mod dual;
mod error;
mod gauss_newton;
mod gaussian;
mod goal;
mod host;
mod linearisation;
mod many;
pub mod methods;
mod model;
mod noise;
mod observer;
mod plan;
mod planner;
mod random;
mod rollout;
mod settings;
pub mod shooting;
pub mod solve;
mod starts;
mod stopping;
mod threads;
pub mod trust;

pub use belief::Belief;
pub use differentiable::Differentiable;
pub use discounted::{Continuation, Discounted};
pub use dual::{DualConfig, DualRule};
pub use error::{ConfigError, PlanError};
pub use gauss_newton::Surrogate;
pub use gaussian::DiagonalGaussian;
pub use goal::LatentGoal;
pub use host::host_reads;
pub use linearisation::{AutodiffLinearisation, Linearisation, RewardLinearisation};
pub use many::{PlanRequest, plan_many};
pub use model::{ImageSpace, LatentModel, Objective, Passes, Rewards, RewardsAlong};
pub use noise::Noise;
pub use observer::{NoObserver, Observer};
pub use plan::{Iteration, Outcome, Plan, StopReason};
pub use planner::{PlanContext, Planner, Resources};
pub use random::RandomActionsConfig;
pub use rollout::{Rollout, roll_out};
pub use stopping::Deadline;
