use burn::tensor::Tensor;

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
pub(super) struct Adjoint<'a> {
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
        let summed = self.sweep(own.unsqueeze_dim(1), |own, later| own + later);
        Tensor::cat(summed, 1)
    }

    /// The Jacobian by the actions, `[plans, horizon · residuals, horizon · action]`, of residuals
    /// whose direct derivatives are `own` `[horizon · plans, residuals, latent]`, time-major.
    pub fn jacobian(&self, own: Tensor<3>) -> Tensor<3> {
        let [plans, horizon] = self.shape;
        let rows = horizon * own.dims()[1];
        let stacked = self.sweep(own, |own, later| Tensor::cat(vec![own, later], 1));
        let columns = stacked
            .into_iter()
            .map(|block| {
                let [_, present, action] = block.dims();
                if present == rows {
                    return block;
                }
                // An action does not move the residuals of earlier steps.
                let zeros = Tensor::zeros([plans, rows - present, action], &block.device());
                Tensor::cat(vec![zeros, block], 1)
            })
            .collect();
        Tensor::cat(columns, 2)
    }

    /// The derivatives by each step's action, first step first, of the cotangents that `join`
    /// makes of a step's own and the later ones.
    fn sweep(
        &self,
        own: Tensor<3>,
        join: impl Fn(Tensor<3>, Tensor<3>) -> Tensor<3>,
    ) -> Vec<Tensor<3>> {
        let [plans, horizon] = self.shape;
        let mut by_action = Vec::with_capacity(horizon);
        let mut later: Option<Tensor<3>> = None;
        for step in (0..horizon).rev() {
            let points = step * plans..(step + 1) * plans;
            let entering = own.clone().narrow(0, points.start, plans);
            let cotangents = match later.take() {
                Some(later) => join(entering, later),
                None => entering,
            };
            let (latents, actions) = self.linearisation.pullback(points, cotangents);
            later = Some(latents);
            by_action.push(actions);
        }
        by_action.reverse();
        by_action
    }
}

/// `[plans, horizon, size]` as rows `[horizon · plans, size]`.
pub(super) fn time_major(batch: Tensor<3>) -> Tensor<2> {
    batch.swap_dims(0, 1).flatten(0, 1)
}

/// Rows `[horizon · plans, size]` as `[plans, horizon, size]`.
pub(super) fn plan_major(rows: Tensor<2>, [plans, horizon]: [usize; 2]) -> Tensor<3> {
    let size = rows.dims()[1];
    rows.reshape([horizon, plans, size]).swap_dims(0, 1)
}
