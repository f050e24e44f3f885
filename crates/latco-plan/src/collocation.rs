//! Collocation: latents and actions are optimised together, the dynamics are constraints.
//!
//! ```text
//! min_{λ, ν ≥ 0}  max_{z, a}   Σ_t r(z_t) − Σ_t λ_t (c_t − ε) − Σ_t ν_t (b_t − ε)
//! c_t = ‖z_{t+1} − μ(z_t, a_t)‖²        b_t = ‖max(|a_t| − 1, 0)‖²
//! ```
//!
//! While λ is small a plan may jump to where the reward is; dual ascent then raises λ wherever the
//! dynamics are violated, until the jumps are gone. [`FirstOrder`] takes the primal steps with
//! Adam through autodiff, [`GaussNewton`] with regularised least squares.

//!
//! A method is a composition: a [`Transcription`] says what a node of the plan is, a [`Measure`]
//! how far it may be from the dynamics' prediction, the planner how primal steps are taken, a
//! [`DualRule`] how multipliers follow. A user's own [`Constraint`]s join with multipliers of their
//! own.

mod adam;
mod block_tridiagonal;
mod cem_latco;
mod constraint;
mod first_order;
mod gauss_newton;
mod grasp;
mod least_squares;
mod measure;
mod multipliers;
mod residual_space;
mod result;
mod start;
mod terms;
mod trajectories;
mod transcription;
mod violation;

use burn::tensor::Tensor;

pub(crate) use adam::AdamSteps;
pub use cem_latco::{CemLatco, CemLatcoConfig};
pub use constraint::Constraint;
pub use first_order::{FirstOrder, FirstOrderConfig, Objective};
pub use gauss_newton::{CLOSING_FACTOR, GaussNewton, GaussNewtonConfig};
pub use grasp::{Grasp, GraspConfig};
pub use least_squares::{Elimination, LeastSquares, Step, Weights};
pub use measure::{Generator, Measure};
pub use multipliers::{DualConfig, DualRule};
pub use trajectories::{Initialisation, Trajectories};
pub use transcription::{GaussianLift, ImageLift, ParticleLift, Transcription};

/// Rows of `candidate` where `mask` is one, else of `present`.
fn select_rows<const D: usize>(
    present: Tensor<D>,
    candidate: Tensor<D>,
    mask: Tensor<D>,
) -> Tensor<D> {
    let chosen = mask.expand(present.shape()).greater_scalar(0.5);
    present.mask_where(chosen, candidate)
}
