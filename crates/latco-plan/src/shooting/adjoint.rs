use burn::tensor::Tensor;
use latco_kernels::join;

use crate::{LatentModel, Linearisation, collocation::Trajectories};

/// The model linearised along a batch of rollouts, to carry derivatives by latents back to the
/// actions that caused them.
///
/// ```text
/// p_T = g_T,     p_t = g_t + A_tᵀ p_{t+1},     ∂/∂a_t = B_tᵀ p_{t+1}
/// ```
///
/// with `g_t` the direct derivative by `z_t`, and `A_t`, `B_t` those of `μ(z_t, a_t)`. One
/// vector–Jacobian product a step, no Jacobian of the model, no graph of the whole rollout.
pub(crate) struct Adjoint<'a> {
    linearisation: Box<dyn Linearisation + 'a>,
    shape: [usize; 2],
}

impl<'a> Adjoint<'a> {
    /// Linearises along `rollouts` from `start` `[plans, latent]`.
    pub fn new(model: &'a dyn LatentModel, start: Tensor<2>, rollouts: &Trajectories) -> Self {
        Self {
            linearisation: model.linearise(
                time_major(rollouts.previous(start)),
                time_major(rollouts.actions.clone()),
            ),
            shape: rollouts.shape(),
        }
    }

    /// The gradient by the actions, `[plans, horizon, action]`, of a sum over steps whose direct
    /// derivatives by the latents are `own` `[horizon · plans, latent]`, time-major.
    pub fn gradient(&self, own: Tensor<2>) -> Tensor<3> {
        let own = own.unsqueeze_dim::<3>(1);
        let [plans, horizon] = self.shape;
        if let Some(gradient) = self.linearisation.gradient_along(&own, plans) {
            return gradient;
        }
        let mut by_action = Vec::with_capacity(horizon);
        let mut later: Option<Tensor<3>> = None;
        for step in (0..horizon).rev() {
            let points = step * plans..(step + 1) * plans;
            let entering = own.clone().narrow(0, points.start, plans);
            let cotangents = match later.take() {
                Some(later) => entering + later,
                None => entering,
            };
            let (latents, actions) = self.linearisation.pullback(points, cotangents);
            later = Some(latents);
            by_action.push(actions);
        }
        by_action.reverse();
        join(by_action, 1)
    }
}

/// `[plans, horizon, size]` as rows `[horizon · plans, size]`.
pub(crate) fn time_major(batch: Tensor<3>) -> Tensor<2> {
    batch.swap_dims(0, 1).flatten(0, 1)
}
