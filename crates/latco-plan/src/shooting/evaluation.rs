use burn::tensor::Tensor;

use crate::{
    Belief, Deadline, Iteration, LatentModel, Outcome, Plan, PlanError, StopReason,
    host::{read, require_finite},
    roll_out,
    rollout::action_at,
};

/// The returns of `actions` `[samples, horizon, action]` from the belief's mean, rolling out at
/// most `chunk` samples at once so that memory stays bounded by `chunk · latent`, and what a step
/// works on stays in a processor's cache. The rewards are read at once, at the end.
pub(crate) fn returns_in_chunks(
    model: &dyn LatentModel,
    belief: &Belief,
    actions: &Tensor<3>,
    chunk: usize,
    iteration: usize,
) -> Result<Vec<f32>, PlanError> {
    let [samples, horizon, _] = actions.dims();
    let chunks = (0..samples).step_by(chunk).map(|first| {
        let count = chunk.min(samples - first);
        let actions = actions.clone().narrow(0, first, count);
        rewards_of(model, belief.mean_of(count), &actions)
    });
    let rewards = read("reward", Tensor::cat(chunks.collect(), 0))?;
    require_finite("reward", iteration, &rewards, horizon)?;
    Ok(rewards
        .chunks(horizon)
        .map(|row| row.iter().sum())
        .collect())
}

/// The rewards `[plans, horizon]` that `actions` `[plans, horizon, action]` lead to from `start`
/// `[plans, latent]`; no latent is kept.
fn rewards_of(model: &dyn LatentModel, start: Tensor<2>, actions: &Tensor<3>) -> Tensor<2> {
    let [_, horizon, _] = actions.dims();
    let mut latent = start;
    let rewards = (0..horizon).map(|step| {
        latent = model.transition_mean(latent.clone(), action_at(actions, step));
        model.reward(latent.clone())
    });
    Tensor::stack(rewards.collect(), 1)
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
