//! Gauss–Newton on plans: shooting where the dynamics hold, collocation where defects are further
//! controls.

pub(crate) mod box_quadratic;
mod cholesky;
pub(crate) mod constraints;
pub(crate) mod cost;
pub(crate) mod descent;
pub(crate) mod riccati;

pub use cost::Surrogate;
pub use descent::Elimination;
