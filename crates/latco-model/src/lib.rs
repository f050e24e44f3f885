//! Latent world models learnt from images.
//!
//! A [`WorldModel`] is an image encoder, latent dynamics with a prior `p(z' | z, a)` and a
//! posterior `q(z' | o', a, z)`, an image decoder and a reward head, trained on the evidence lower
//! bound ([`ElboConfig`]) by a [`Trainer`]. It implements [`latco_plan::LatentModel`], so that
//! every planner of `latco-plan` plans with it.
//!
#![doc = include_str!("../doc/world_model.svg")]
//!
//! With a deterministic part the dynamics are the recurrent state-space model ([`Rssm`]) of
//! Hafner et al., "Learning Latent Dynamics for Planning from Pixels" (arXiv 1811.04551); without
//! one they are the stochastic state-space model ([`Ssm`]).
#![forbid(unsafe_code)]
#![warn(missing_docs)]

mod activation;
mod batch;
mod checkpoint;
mod config;
mod continuation;
pub mod convert;
mod decoder;
mod dynamics;
mod elbo;
mod encoder;
mod ensemble;
mod gradients;
mod initialise;
mod pixels;
mod prepared;
mod quantised;
mod reward;
mod trainer;
mod world_model;

pub use activation::Activation;
pub use batch::{Batch, Sequences};
pub use checkpoint::{CheckpointError, Precision};
pub use config::{RewardKind, WorldModelConfig};
pub use continuation::ContinuationHead;
pub use decoder::Decoder;
pub use dynamics::{Dynamics, Gru, Rssm, Ssm, Transition};
pub use elbo::{Elbo, ElboConfig, EnsembleLoss};
pub use encoder::Encoder;
pub use ensemble::{Ensemble, EnsembleUnits};
pub use pixels::{PixelLayout, fold_pixels, images_to_tensor, tensor_to_images, unfold_pixels};
pub use reward::RewardHead;
pub use trainer::{TrainStep, Trainer, TrainerConfig, TrainerState};
pub use world_model::WorldModel;

/// Compiles and runs the README's snippet.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
