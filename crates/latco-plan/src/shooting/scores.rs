use burn::tensor::Tensor;

use crate::{
    LatentModel, PlanError, Rollout,
    host::{read, require_finite, require_finite_steps},
};

/// What a batch of rollouts is worth.
pub(super) struct Scores {
    /// `Σ r(z_t)` of each plan.
    pub returns: Vec<f32>,
    /// `½ Σ ‖ρ(z_t)‖²` of each plan.
    pub costs: Vec<f64>,
}

impl Scores {
    /// Reads both from the device in one transfer.
    pub fn new(
        model: &dyn LatentModel,
        rollout: &Rollout,
        iteration: usize,
    ) -> Result<Self, PlanError> {
        let [plans, horizon, latent] = rollout.latents.dims();
        let rows = rollout.latents.clone().reshape([plans * horizon, latent]);
        let squares = model.reward_residuals(rows).square().sum_dim(1) * 0.5;
        let joined = vec![rollout.rewards.clone(), squares.reshape([plans, horizon])];
        let values = read("reward", Tensor::cat(joined, 0))?;
        let (rewards, costs) = values.split_at(plans * horizon);
        require_finite("reward", iteration, rewards, horizon)?;
        require_finite("reward residual", iteration, costs, horizon)?;
        let total = |row: &[f32]| row.iter().copied().map(f64::from).sum::<f64>();
        Ok(Self {
            returns: rewards
                .chunks(horizon)
                .map(|row| row.iter().sum())
                .collect(),
            costs: costs.chunks(horizon).map(total).collect(),
        })
    }
}

/// Reads a tensor and refuses values that are not finite, as [`require_finite_steps`].
pub(super) fn read_steps<const D: usize>(
    what: &'static str,
    iteration: usize,
    tensor: Tensor<D>,
    shape: [usize; 2],
) -> Result<Vec<f32>, PlanError> {
    let values = read(what, tensor)?;
    require_finite_steps(what, iteration, &values, shape)?;
    Ok(values)
}
