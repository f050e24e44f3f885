use std::time::Duration;

use burn::tensor::Tensor;

use super::{Trajectories, multipliers::Multipliers, terms::Problem, transcription::Lifted};
use crate::{
    Belief, Deadline, Iteration, Outcome, Plan, PlanError, Rollout, StopReason,
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

/// A plan as it was optimised, before its rollout.
pub(super) struct Planned {
    /// `[1, horizon]`.
    pub rewards: Tensor<2>,
    /// `[1, horizon]`.
    pub violation: Tensor<2>,
    /// `[horizon, node]`.
    pub nodes: Tensor<2>,
    /// `[horizon, latent]`.
    pub latents: Tensor<2>,
    /// `[horizon, latent]`, of plans that have deviations.
    pub std: Option<Tensor<2>>,
}

/// What a method's variables say of a plan.
pub(super) trait Results {
    /// Where actions `[plans, horizon, action]` lead from the first node.
    fn roll_out(&self, actions: Tensor<3>) -> Rollout;

    /// One plan, by its variables.
    fn planned(&self, chosen: Trajectories) -> Planned;

    /// The latents of a rollout of one plan, `[horizon, …]` to `[horizon, latent]`.
    fn latents(&self, rollout: Tensor<2>) -> Tensor<2>;
}

/// The results of nodes that a lifted model has as its latents.
pub(super) struct LiftedResults<'a> {
    pub lifted: &'a Lifted<'a>,
    pub problem: &'a Problem<'a>,
    pub first_node: &'a Belief,
}

impl Results for LiftedResults<'_> {
    fn roll_out(&self, actions: Tensor<3>) -> Rollout {
        let plans = actions.dims()[0];
        roll_out(self.problem.model, self.first_node.mean_of(plans), actions)
    }

    fn planned(&self, chosen: Trajectories) -> Planned {
        let problem = Problem {
            start: self.first_node.mean(),
            ..*self.problem
        };
        let rewards = rewards_along(problem.model, chosen.latents.clone());
        let violation = problem.terms(&chosen).violations.largest();
        let nodes = chosen.latents.squeeze_dim::<2>(0);
        Planned {
            rewards,
            violation,
            std: self.lifted.std_latents(nodes.clone()),
            latents: self.lifted.mean_latents(nodes.clone()),
            nodes,
        }
    }

    fn latents(&self, rollout: Tensor<2>) -> Tensor<2> {
        self.lifted.mean_latents(rollout)
    }
}

impl CollocationResult {
    /// Rolls every plan's actions out and keeps the plan with the highest rollout reward.
    pub fn into_plan(self, results: &dyn Results, deadline: &Deadline) -> Result<Plan, PlanError> {
        let [plans, horizon] = self.trajectories.shape();
        let iterations = self.trace.len();
        let actions = self.trajectories.actions.clone().clamp(-1.0, 1.0);
        let rollout = results.roll_out(actions.clone());
        let rollout_rewards = read("rollout reward", rollout.rewards)?;
        require_finite("rollout reward", iterations, &rollout_rewards, horizon)?;
        let best = best_row(&rollout_rewards, horizon);
        let row = |batch: Tensor<3>| batch.narrow(0, best, 1);
        let actions = row(actions);
        let planned = results.planned(Trajectories {
            latents: row(self.trajectories.latents),
            actions: actions.clone(),
        });
        let rewards = read("virtual reward", planned.rewards)?;
        require_finite("virtual reward", iterations, &rewards, horizon)?;
        let plan = Plan {
            actions: actions.squeeze_dim(0),
            std: planned.std,
            latents: planned.latents,
            nodes: planned.nodes,
            rollout_latents: results.latents(row(rollout.latents).squeeze_dim(0)),
            virtual_: Outcome { rewards },
            rollout: Outcome {
                rewards: rollout_rewards[best * horizon..][..horizon].to_vec(),
            },
            violation: read("violation", planned.violation)?,
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
