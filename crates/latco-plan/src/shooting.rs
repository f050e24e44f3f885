//! Shooting: the actions are the only decision variables, latents follow by rolling out the model.
//!
//! Dynamics hold at every moment, so that there is nothing to relax and no multiplier; in return
//! the effect of an early action on a late reward goes through every step between.
//! [`CemConfig`], [`IcemConfig`] and [`MppiConfig`] draw action sequences and need no derivative;
//! [`GradientShootingConfig`], and [`GaussNewtonPolish`](crate::methods::GaussNewtonPolish) follow those of the model.

mod adjoint;
pub(crate) use adjoint::{Adjoint, time_major};
mod best;
pub(crate) use best::ranked;
mod cem;
mod chunks;
mod gradient_descent;
mod icem;
mod mppi;
mod sampling;
#[cfg(test)]
pub(crate) mod testing;

pub use cem::CemConfig;
pub(crate) use chunks::Chunks;
pub use gradient_descent::GradientShootingConfig;
pub use icem::IcemConfig;
pub use mppi::MppiConfig;
