//! The methods, one a file. Each is a value: settings that begin a search.

pub use crate::gauss_newton::Elimination;

mod best_of_n;
mod goals;
mod latco;
mod latco_paper;
mod refined;
mod relaxed_collocation;
mod shooting;
mod smoothing;

pub use best_of_n::BestOfN;
pub use latco::Latco;
pub use latco_paper::LatcoPaper;
pub use refined::Refined;
pub use relaxed_collocation::{PlanStart, RelaxedCollocation};
pub use shooting::GaussNewtonPolish;
pub use smoothing::Smoothing;
