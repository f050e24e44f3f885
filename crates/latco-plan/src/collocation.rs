//! Collocation: latents and actions are optimised together, the dynamics are constraints.
//!
//! ```text
//! min_{λ, ν ≥ 0}  max_{z, a}   Σ_t r(z_t) − Σ_t λ_t (c_t − ε) − Σ_t ν_t (b_t − ε)
//! c_t = ‖z_{t+1} − μ(z_t, a_t)‖²        b_t = ‖max(|a_t| − 1, 0)‖²
//! ```
//!
//! # How the dual ascent behaves
//!
//! While λ is small a plan may jump to where the reward is: latents gather there, with gaps that no
//! action bridges. The reward is at its highest then, and means nothing. Dual ascent raises λ of each
//! step by itself, wherever its gap is above ε; the gaps close, the reward falls to what the dynamics
//! allow, and λ levels off where violation and ε agree. The logarithmic rule multiplies,
//! `λ ← λ (1 + κ log₁₀((c + ε/10)/ε))`: a gap of 100 ε adds 2 κ of λ an iteration, one of ε next to
//! nothing, and none at all takes κ of λ away again. λ that ends at its ceiling says that constraints
//! and reward cannot be had together.
//!
//! One plan in three stages, where each latent within the circle earns a reward of 1:
//!
#![doc = include_str!("../doc/collocation.svg")]
//!
//! ```
//! # use burn::tensor::{Device, Tensor};
//! # use latco_plan::{Belief, DiagonalGaussian, LatentModel};
//! # struct Cart;
//! # impl LatentModel for Cart {
//! #     fn latent_size(&self) -> usize { 2 }
//! #     fn action_size(&self) -> usize { 1 }
//! #     fn transition(&self, latents: Tensor<2>, actions: Tensor<2>) -> DiagonalGaussian {
//! #         let velocity = latents.clone().narrow(1, 1, 1) * 0.9 + actions * 0.1;
//! #         let position = latents.narrow(1, 0, 1) + velocity.clone();
//! #         let mean = Tensor::cat(vec![position, velocity], 1);
//! #         let std = mean.full_like(0.01);
//! #         DiagonalGaussian::new(mean, std)
//! #     }
//! #     fn reward(&self, latents: Tensor<2>) -> Tensor<1> {
//! #         (latents.narrow(1, 0, 1) - 1.0).square().neg().exp().squeeze_dim(1)
//! #     }
//! # }
//! # let belief = Belief::certain(Tensor::zeros([2], &Device::default()));
//! use latco_plan::{
//!     Planner,
//!     collocation::{GaussNewtonConfig, Initialisation},
//!     solve::Solver,
//! };
//!
//! let settings = GaussNewtonConfig {
//!     horizon: 20,
//!     initialisation: Initialisation::Normal { std: 1.0 },
//!     ..GaussNewtonConfig::default()
//! };
//! let planner = Solver::new("relaxed", settings)?;
//! let plan = planner.plan(&Cart, &belief)?;
//! let (first, last) = (plan.trace.first().unwrap(), plan.trace.last().unwrap());
//! assert!(last.violation_max < first.violation_max && last.violation_max < 1e-4);
//! assert!(last.multiplier_max > 10.0 * first.multiplier_max);
//! assert!(plan.is_backed_by_rollout());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Choosing ε
//!
//! ε is a squared distance in the units of your latents, for each step: latents that move by 0.05 a
//! step need an ε well below `0.05²`, else a plan may move without acting. 1e-4 suits latents of
//! about unit size; Gaussian plans, whose prediction is sampled, are noisier, and the paper gives them
//! 1e-2. Defects add up: after T steps a rollout may be off by `T √ε`, more where the dynamics are
//! unstable. Gauss–Newton closes what is left with a few iterations that only raise λ
//! ([penalty continuation](GaussNewtonConfig::continuation)).
//!
//! # The parts
//!
//! [`FirstOrderConfig`] takes the primal steps with Adam through autodiff, [`GaussNewtonConfig`] with
//! regularised least squares.
//!
//! A method is a composition: a [`Transcription`] says what a node of the plan is, a [`Divergence`]
//! how far it may be from the dynamics' prediction, the planner how primal steps are taken, a
//! [`DualRule`] how multipliers follow. Divergences are open: settings take one of the library's by name
//! ([`Measure`]) or any other, `measure: MyDivergence.into()`. A user's own [`Constraint`]s join with
//! multipliers of their own.

mod bounds;
mod cem_latco;
mod constraint;
mod divergence;
mod first_order;
mod gauss_newton;
mod gradient;
mod grasp;
mod image_collocation;
pub(crate) mod lagrangian;
mod least_squares;
mod multipliers;
mod nodes;
mod relaxed;
pub mod residual_space;
mod riccati;
mod trajectories;
pub(crate) mod transcription;

use burn::tensor::{Device, Int, Tensor};

pub use crate::dual::{DualConfig, DualRule};
pub use crate::gauss_newton::Elimination;
pub use bounds::ActionBounds;
pub use cem_latco::CemLatcoConfig;
pub use constraint::Constraint;
pub use divergence::{
    Bregman, ConvexFunction, Divergence, Generator, Likelihood, Measure, Moments, NegativeEntropy,
    Residuals, SquaredNorm, Structure,
};
pub use first_order::FirstOrderConfig;
pub use gauss_newton::{GaussNewtonConfig, LEAST_PLANS};
pub use grasp::GraspConfig;
pub use image_collocation::ImageCollocationConfig;
pub(crate) use least_squares::StepResiduals;
pub use least_squares::{LeastSquares, Step, Weights};
pub use trajectories::{Initialisation, Trajectories};
pub use transcription::{GaussianLift, ParticleLift, Transcription};

/// Some of the plans of a batch.
pub(crate) struct Rows(Tensor<1, Int>);

impl Rows {
    pub(crate) fn new(plans: &[usize], device: &Device) -> Self {
        let plans: Vec<i32> = plans.iter().map(|&plan| plan as i32).collect();
        Self(Tensor::from_ints(plans.as_slice(), device))
    }

    /// Their rows of `batch`.
    pub(crate) fn of<const D: usize>(&self, batch: &Tensor<D>) -> Tensor<D> {
        batch.clone().select(0, self.0.clone())
    }
}
