//! Shooting: the actions are the only decision variables, latents follow by rolling out the model.
//!
//! Dynamics hold at every moment, so that there is nothing to relax and no multiplier; in return
//! the effect of an early action on a late reward goes through every step between.
//! [`Cem`], [`Icem`] and [`Mppi`] draw action sequences and need no derivative;
//! [`GradientShooting`], [`GaussNewtonShooting`] and [`Ilqr`] follow those of the model.

mod adjoint;
mod best;
mod box_quadratic;
mod cem;
mod damping;
mod evaluation;
mod gauss_newton;
mod gradient_descent;
mod icem;
mod ilqr;
mod mppi;
mod scores;
#[cfg(test)]
pub(crate) mod testing;

pub use cem::{Cem, CemConfig};
pub(crate) use evaluation::{Chunks, ShootingResult, returns_in_chunks, scores_in_chunks};
pub use gauss_newton::{GaussNewtonShooting, GaussNewtonShootingConfig};
pub use gradient_descent::{GradientShooting, GradientShootingConfig};
pub use icem::{Icem, IcemConfig};
pub use ilqr::{Ilqr, IlqrConfig};
pub use mppi::{Mppi, MppiConfig};
