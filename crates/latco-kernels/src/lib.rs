//! Operations of latent models that are worth doing at once.
//!
//! Callers name an operation, never a backend. On a GPU it is one kernel (CubeCL, through Burn's
//! `backend_extension`). On the CPU backend `flex` it is a loop over the numbers where they lie, with products
//! whose last pass does what follows them. Elsewhere, and where derivatives are recorded, an operation answers
//! `None`, for its caller to go step by step, or computes with plain tensors.
//!
//! - [`ModelPasses`]: a recurrent state-space model's rollouts, rewards and derivatives;
//! - [`SequenceLayers`]: its posterior along training sequences, with derivatives by its weights;
//! - [`elu_of_layer`], [`RecurrentLayers`]: what follows the product of a layer;
//! - [`FusedAdam`], [`Penalties`]: single numbers, and those of a plan's steps;
//! - [`join`], [`stack`]: parts into one tensor.
#![forbid(unsafe_code)]
#![warn(missing_docs)]

mod convolution;
#[cfg(feature = "cube")]
#[allow(
    clippy::too_many_arguments,
    reason = "each tensor of a kernel is an argument of its own"
)]
mod cube;
mod device;
mod elementwise;
#[cfg_attr(
    not(feature = "cube"),
    allow(
        dead_code,
        unused_variables,
        reason = "what is generated for no backend"
    )
)]
mod extension;
#[cfg_attr(
    not(feature = "flex"),
    allow(dead_code, reason = "only passes over this process's memory use it")
)]
mod host;
mod join;
#[cfg_attr(
    not(feature = "cube"),
    allow(dead_code, reason = "only kernels look into it")
)]
mod layout;
mod model;
mod optimiser;
mod penalties;
mod posterior;
mod products;

/// Added to every standard deviation of a model's states, as in the reference.
pub const MIN_STD: f64 = 0.1;

/// Keeps the square root of a Bernoulli head's residual differentiable where reward is certain.
pub const RESIDUAL_FLOOR: f64 = 1e-8;

pub use convolution::{convolve, convolve_transposed};
pub use elementwise::{
    RecurrentLayers, RecurrentSlopes, elu, elu_of_layer, overwrite_first, sigmoid, tanh,
};
pub use join::{join, stack};
pub use layout::{Activation, Likelihood, Slope};
pub use model::{Layers, LinearPass, ModelPasses, RewardParts};
pub use optimiser::FusedAdam;
pub use penalties::Penalties;
pub use posterior::{Observed, SequenceLayers};
pub use products::inner_products;
