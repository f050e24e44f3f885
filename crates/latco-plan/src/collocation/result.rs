use std::time::Duration;

use burn::tensor::Tensor;

use super::{Trajectories, multipliers::Multipliers, terms::Problem, transcription::Lifted};
use crate::{
    Belief, Deadline, Iteration, Outcome, Plan, PlanError, StopReason,
    host::{read, require_finite},
    roll_out,
    rollout::rewards_along,
};

/// What a collocation method found, before the best of its plans is chosen.
pub(super) struct CollocationResult {
    pub trajectories: Trajectories,
    pub multipliers: Multipliers,
    pub trace: Vec<Iteration>,
    pub stop: StopReason,
    pub model_steps: usize,
}

impl CollocationResult {
    /// Rolls every plan's actions out through the lifted model and keeps the plan with the highest
    /// rollout reward.
    pub fn into_plan(
        self,
        lifted: &Lifted<'_>,
        problem: &Problem<'_>,
        first_node: &Belief,
        deadline: &Deadline,
    ) -> Result<Plan, PlanError> {
        let model = problem.model;
        let [plans, horizon] = self.trajectories.shape();
        let iterations = self.trace.len();
        let actions = self.trajectories.actions.clone().clamp(-1.0, 1.0);
        let rollout = roll_out(model, first_node.mean_of(plans), actions.clone());
        let rollout_rewards = read("rollout reward", rollout.rewards)?;
        require_finite("rollout reward", iterations, &rollout_rewards, horizon)?;
        let best = best_row(&rollout_rewards, horizon);
        let row = |batch: Tensor<3>| batch.narrow(0, best, 1);
        let chosen = Trajectories {
            latents: row(self.trajectories.latents),
            actions: row(actions),
        };
        let rewards = read(
            "virtual reward",
            rewards_along(model, chosen.latents.clone()),
        )?;
        require_finite("virtual reward", iterations, &rewards, horizon)?;
        let violation = Problem {
            start: first_node.mean(),
            ..*problem
        }
        .terms(&chosen)
        .violations
        .largest();
        let nodes = chosen.latents.squeeze_dim::<2>(0);
        let plan = Plan {
            actions: chosen.actions.squeeze_dim(0),
            std: lifted.std_latents(nodes.clone()),
            latents: lifted.mean_latents(nodes.clone()),
            nodes,
            rollout_latents: lifted.mean_latents(row(rollout.latents).squeeze_dim(0)),
            virtual_: Outcome { rewards },
            rollout: Outcome {
                rewards: rollout_rewards[best * horizon..][..horizon].to_vec(),
            },
            violation: read("violation", violation)?,
            multipliers: self
                .multipliers
                .dynamics
                .into_iter()
                .map(|multipliers| read("multiplier", multipliers.narrow(0, best, 1)))
                .collect::<Result<_, _>>()?,
            trace: self.trace,
            stop: self.stop,
            elapsed: Duration::ZERO,
            late: None,
            model_steps: self.model_steps + plans * horizon,
        };
        plan.timed(deadline).require_finite()
    }
}

/// The row of `rewards` `[plans · horizon]` with the largest sum; the first of equals.
fn best_row(rewards: &[f32], horizon: usize) -> usize {
    let mut best = (0, f32::NEG_INFINITY);
    for (row, rewards) in rewards.chunks(horizon).enumerate() {
        let total = rewards.iter().sum();
        if total > best.1 {
            best = (row, total);
        }
    }
    best.0
}
