use burn::{backend::Dispatch, tensor::Tensor};

use crate::{extension::PlanKernels, join::join, model::has_kernels};

/// Violations of steps and what they cost.
pub struct Penalties {
    /// `c = ‖z − μ‖²`, `[1, steps]`.
    pub dynamics: Tensor<2>,
    /// `b = ‖max(|a| − 1, 0)‖²`, `[1, steps]`.
    pub bounds: Tensor<2>,
    /// `∂/∂z`, `[steps, node]`.
    pub by_planned: Tensor<2>,
    /// `∂/∂μ`, `[steps, node]`.
    pub by_mean: Tensor<2>,
    /// `∂/∂a`, `[steps, action]`.
    pub by_action: Tensor<2>,
}

impl Penalties {
    /// The violations of nodes `z` and their predicted `μ` `[steps, node]` and of actions `a`
    /// `[steps, action]`, and the gradient of `Σ λ c + Σ ν b` for `weights` λ and ν, `[1, steps]` each, in
    /// one kernel; `None` where the device has none.
    pub fn of(
        planned: &Tensor<2>,
        mean: &Tensor<2>,
        actions: &Tensor<2>,
        weights: [&Tensor<2>; 2],
    ) -> Option<Self> {
        let inputs = [planned, mean, actions, weights[0], weights[1]];
        if !inputs.into_iter().all(|input| has_kernels(&input.device())) {
            return None;
        }
        let weights = join(weights.map(Tensor::clone).to_vec(), 0);
        let (violations, by_planned, by_mean, by_action) = Dispatch::penalties(
            planned.clone().into_dispatch(),
            mean.clone().into_dispatch(),
            actions.clone().into_dispatch(),
            weights.into_dispatch(),
        );
        let violations = Tensor::<2>::from_dispatch(violations);
        Some(Self {
            dynamics: violations.clone().narrow(0, 0, 1),
            bounds: violations.narrow(0, 1, 1),
            by_planned: Tensor::from_dispatch(by_planned),
            by_mean: Tensor::from_dispatch(by_mean),
            by_action: Tensor::from_dispatch(by_action),
        })
    }
}
