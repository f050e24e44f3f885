use burn::tensor::Tensor;

use crate::{
    Belief, Deadline, Iteration, LatentModel, Outcome, Plan, PlanError, StopReason,
    host::{read, require_finite},
    roll_out,
};

/// The returns of `actions` `[samples, horizon, action]` from the belief's mean, rolling out at
/// most `chunk` samples at once so that memory stays bounded by `chunk · horizon · latent`.
pub(crate) fn returns_in_chunks(
    model: &dyn LatentModel,
    belief: &Belief,
    actions: &Tensor<3>,
    chunk: usize,
    iteration: usize,
) -> Result<Vec<f32>, PlanError> {
    let [samples, horizon, _] = actions.dims();
    let mut returns = Vec::with_capacity(samples);
    for first in (0..samples).step_by(chunk) {
        let count = chunk.min(samples - first);
        let rollout = roll_out(
            model,
            belief.mean_of(count),
            actions.clone().narrow(0, first, count),
        );
        let rewards = read("reward", rollout.rewards)?;
        require_finite("reward", iteration, &rewards, horizon)?;
        returns.extend(rewards.chunks(horizon).map(|row| row.iter().sum::<f32>()));
    }
    Ok(returns)
}

/// What a shooting method found, before it becomes a [`Plan`].
pub(crate) struct ShootingResult {
    /// `[horizon, action]`.
    pub actions: Tensor<2>,
    pub trace: Vec<Iteration>,
    pub stop: StopReason,
    pub model_steps: usize,
}

impl ShootingResult {
    /// Rolls the actions out; virtual and rollout results coincide by construction.
    pub fn into_plan(
        self,
        model: &dyn LatentModel,
        belief: &Belief,
        deadline: &Deadline,
    ) -> Result<Plan, PlanError> {
        let actions = self.actions.clamp(-1.0, 1.0);
        let [horizon, _] = actions.dims();
        let rollout = roll_out(model, belief.mean(), actions.clone().unsqueeze_dim(0));
        let rewards = read("reward", rollout.rewards)?;
        require_finite("reward", self.trace.len(), &rewards, horizon)?;
        let outcome = Outcome { rewards };
        let latents = rollout.latents.squeeze_dim::<2>(0);
        let plan = Plan {
            actions,
            rollout_latents: latents.clone(),
            std: None,
            nodes: latents.clone(),
            latents,
            virtual_: outcome.clone(),
            rollout: outcome,
            violation: vec![0.0; horizon],
            multipliers: Vec::new(),
            trace: self.trace,
            stop: self.stop,
            elapsed: deadline.elapsed(),
            late: deadline.overrun(),
            model_steps: self.model_steps + horizon,
        };
        plan.require_finite()
    }
}
