//! The penalised cost of one plan, from a model's public functions.

use burn::tensor::Tensor;
use latco_plan::{LatentModel, collocation::Trajectories};

/// The terms of each step of one plan, `[horizon]`.
pub struct StepTerms {
    /// `‖z_{t+1} − μ(z_t, a_t)‖²`.
    pub dynamics: Tensor<1>,
    /// `‖max(|a_t| − 1, 0)‖²`.
    pub actions: Tensor<1>,
    /// `‖ρ(z_{t+1})‖²`.
    pub residuals: Tensor<1>,
}

impl StepTerms {
    /// The terms of the single plan in `trajectories`, which starts from `start` `[1, latent]`.
    pub fn new(model: &dyn LatentModel, start: Tensor<2>, trajectories: &Trajectories) -> Self {
        let planned = trajectories.latents.clone().squeeze_dim::<2>(0);
        let actions = trajectories.actions.clone().squeeze_dim::<2>(0);
        let previous = trajectories.previous(start).squeeze_dim::<2>(0);
        let defects = planned.clone() - model.transition_mean(previous, actions.clone());
        let squares = |rows: Tensor<2>| rows.square().sum_dim(1).squeeze_dim::<1>(1);
        Self {
            dynamics: squares(defects),
            actions: squares((actions.abs() - 1.0).clamp_min(0.0)),
            residuals: squares(model.reward_residuals(planned)),
        }
    }

    /// `½ Σ ‖ρ‖² + Σ λ_t c_t + Σ ν_t b_t`, `[1]`, for λ and ν `[horizon]`.
    pub fn cost(self, dynamics: Tensor<1>, actions: Tensor<1>) -> Tensor<1> {
        let terms = self.residuals * 0.5 + dynamics * self.dynamics + actions * self.actions;
        terms.sum()
    }
}
