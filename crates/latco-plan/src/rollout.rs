use burn::tensor::Tensor;
use latco_kernels::stack;

use crate::{LatentModel, Passes};

/// Latents and rewards that a batch of action sequences leads to under the model's mean.
#[derive(Clone, Debug)]
pub struct Rollout {
    /// `z_1 … z_T`, `[plans, horizon, latent]`.
    pub latents: Tensor<3>,
    /// `r(z_1) … r(z_T)`, `[plans, horizon]`.
    pub rewards: Tensor<2>,
}

impl Rollout {
    /// The summed reward of each plan, `[plans]`.
    pub fn returns(&self) -> Tensor<1> {
        self.rewards.clone().sum_dim(1).squeeze_dim(1)
    }
}

/// Rolls `actions` `[plans, horizon, action]` out from `start` `[plans, latent]`:
/// `z_{t+1} = μ(z_t, a_t)`.
pub fn roll_out(model: &dyn LatentModel, start: Tensor<2>, actions: Tensor<3>) -> Rollout {
    let at_once = |passes: &dyn Passes| passes.roll_out(start.clone(), actions.clone());
    if let Some(rollout) = model.passes().and_then(at_once) {
        return rollout;
    }
    let latents = latents_along(model, start, actions);
    Rollout {
        rewards: rewards_along(model, latents.clone()),
        latents,
    }
}

/// The latents of the same rollout, `[plans, horizon, latent]`.
pub(crate) fn latents_along(
    model: &dyn LatentModel,
    start: Tensor<2>,
    actions: Tensor<3>,
) -> Tensor<3> {
    let at_once = |passes: &dyn Passes| passes.latents_along(start.clone(), actions.clone(), None);
    if let Some(latents) = model.passes().and_then(at_once) {
        return latents;
    }
    let horizon = actions.dims()[1];
    let mut latent = start;
    let latents = (0..horizon).map(|step| {
        latent = model.transition_mean(latent.clone(), at_step(&actions, step));
        latent.clone()
    });
    stack(latents.collect(), 1)
}

/// What every plan has at one step, `[plans, …]`.
pub(crate) fn at_step(plans: &Tensor<3>, step: usize) -> Tensor<2> {
    plans.clone().narrow(1, step, 1).squeeze_dim(1)
}

/// The rewards of `latents` `[plans, horizon, latent]`, `[plans, horizon]`.
pub(crate) fn rewards_along(model: &dyn LatentModel, latents: Tensor<3>) -> Tensor<2> {
    let [plans, horizon, latent] = latents.dims();
    model
        .reward(latents.reshape([plans * horizon, latent]))
        .reshape([plans, horizon])
}
