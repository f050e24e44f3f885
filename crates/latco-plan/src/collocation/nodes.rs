//! What becomes of plans when their search is over.

use std::time::Duration;

use burn::tensor::Tensor;

use super::Trajectories;
use crate::{
    Outcome, Plan, PlanError, Rollout, StopReason,
    host::{read, require_finite, returns},
    solve::Pool,
};

/// What the variables of a plan stand for.
pub(super) trait Nodes {
    /// Where actions `[plans, horizon, action]` lead from the first node.
    fn roll_out(&self, actions: Tensor<3>) -> Rollout;

    /// The variables of plans that lie on the `rollout` of their `actions`.
    fn on_rollout(&self, actions: Tensor<3>, rollout: &Rollout) -> Trajectories;

    /// One plan, by its variables.
    fn planned(&self, chosen: Trajectories) -> Planned;

    /// The latents of a rollout of one plan, `[horizon, …]` to `[horizon, latent]`.
    fn latents(&self, rollout: Tensor<2>) -> Tensor<2>;

    /// Whether nodes are the model's own latents.
    fn are_latents(&self) -> bool;

    /// By how much each rollout violates the user's constraints: the largest `h²` where that is above ε, +∞
    /// where some is no number, 0 where the rollout is allowed.
    fn excess(&self, rollouts: &Trajectories) -> Result<Vec<f32>, PlanError> {
        Ok(vec![0.0; rollouts.actions.dims()[0]])
    }

    /// Offers the one of the plans `found` whose rollout is best, in full, with what is said of its
    /// multipliers λ, and adds all of them to the candidates. Of rollouts none of which is allowed that of
    /// the least violation is the best.
    /// Where nodes are not latents the best rollout of all is offered in full too, since only a plan of
    /// such nodes can be gone on from.
    fn finish(
        &self,
        found: Option<(Trajectories, impl Fn(usize) -> Vec<Vec<f32>>)>,
        pool: &mut Pool,
    ) -> Result<(), PlanError> {
        let mut reached = f32::NEG_INFINITY;
        if let Some((trajectories, multipliers_of)) = found {
            let rollouts = Rollouts::of(self, trajectories.actions, pool)?;
            pool.keeps_constraints |= rollouts.excess.contains(&0.0);
            let best = rollouts.best();
            let values = rollouts.values();
            let chosen = Trajectories {
                latents: trajectories.latents.narrow(0, best, 1),
                actions: rollouts.actions.clone().narrow(0, best, 1),
            };
            let plan = rollouts.plan(self, best, chosen, multipliers_of(best))?;
            reached = values[best];
            pool.offer_plan(plan, reached);
            pool.add_candidates(&rollouts.actions, &values);
        }
        if !self.are_latents() && reached < pool.best.total {
            let rollouts = Rollouts::of(self, pool.best.actions.clone().unsqueeze_dim(0), pool)?;
            let chosen = self.on_rollout(rollouts.actions.clone(), &rollouts.rollout);
            let plan = rollouts.plan(self, 0, chosen, Vec::new())?;
            pool.best.total = rollouts.values()[0];
            pool.offer_plan(plan, pool.best.total);
        }
        Ok(())
    }
}

/// `returns`, −∞ in the place of those with an [excess](Nodes::excess).
pub(super) fn allowed(returns: impl Iterator<Item = f32>, excess: &[f32]) -> Vec<f32> {
    let pairs = returns.zip(excess);
    pairs
        .map(|(total, &excess)| {
            if excess == 0.0 {
                total
            } else {
                f32::NEG_INFINITY
            }
        })
        .collect()
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

/// Where plans lead.
struct Rollouts {
    /// Within the bounds, `[plans, horizon, action]`.
    actions: Tensor<3>,
    rollout: Rollout,
    /// Of all plans, one after the other.
    rewards: Vec<f32>,
    /// Their sums; −∞ where they overflow.
    returns: Vec<f32>,
    /// [`Nodes::excess`].
    excess: Vec<f32>,
}

impl Rollouts {
    fn of(
        nodes: &(impl Nodes + ?Sized),
        actions: Tensor<3>,
        pool: &mut Pool,
    ) -> Result<Self, PlanError> {
        let [plans, horizon, _] = actions.dims();
        let actions = actions.clamp(-1.0, 1.0);
        let rollout = nodes.roll_out(actions.clone());
        pool.model_steps += plans * horizon;
        let rewards = read("rollout reward", rollout.rewards.clone())?;
        let returns = returns("rollout reward", &rewards, horizon)?;
        let excess = nodes.excess(&Trajectories {
            latents: rollout.latents.clone(),
            actions: actions.clone(),
        })?;
        Ok(Self {
            actions,
            rollout,
            rewards,
            returns,
            excess,
        })
    }

    /// The return of each plan; −∞ where it is not allowed.
    fn values(&self) -> Vec<f32> {
        allowed(self.returns.iter().copied(), &self.excess)
    }

    /// The allowed plan of highest return, else that of the least violation; the first of equals. What
    /// overflows comes last.
    fn best(&self) -> usize {
        let returns = &self.returns;
        let is_finite = |plan: usize| returns[plan] > f32::NEG_INFINITY;
        let order = |&a: &usize, &b: &usize| {
            let sounder = is_finite(a).cmp(&is_finite(b));
            let nearer = self.excess[b].total_cmp(&self.excess[a]);
            let better = returns[a].total_cmp(&returns[b]);
            sounder.then(nearer).then(better).then(b.cmp(&a))
        };
        (0..returns.len()).max_by(order).unwrap_or_default()
    }

    /// The plan at `index`, whose variables were `chosen`; what the solver knows of it is left open.
    fn plan(
        &self,
        nodes: &(impl Nodes + ?Sized),
        index: usize,
        chosen: Trajectories,
        multipliers: Vec<Vec<f32>>,
    ) -> Result<Plan, PlanError> {
        let horizon = self.actions.dims()[1];
        let latents = self.rollout.latents.clone().narrow(0, index, 1);
        let planned = nodes.planned(chosen);
        let rewards = read("virtual reward", planned.rewards)?;
        require_finite("virtual reward", 0, &rewards, horizon)?;
        Ok(Plan {
            actions: self.actions.clone().narrow(0, index, 1).squeeze_dim(0),
            std: planned.std,
            latents: planned.latents,
            nodes: planned.nodes,
            rollout_latents: nodes.latents(latents.squeeze_dim(0)),
            virtual_: Outcome { rewards },
            rollout: Outcome {
                rewards: self.rewards[index * horizon..][..horizon].to_vec(),
            },
            violation: read("violation", planned.violation)?,
            multipliers,
            robust_return: None,
            uncertainty: None,
            trace: Vec::new(),
            stop: StopReason::Iterations,
            elapsed: Duration::ZERO,
            late: None,
            model_steps: 0,
        })
    }
}

#[cfg(test)]
mod tests {
    use burn::tensor::Device;

    use super::*;
    use crate::{
        shooting::testing::{HORIZON, Regulator},
        solve::{Problem, first_rollout},
    };

    /// The reward of an action is its logarithm.
    struct Logarithm;

    impl Nodes for Logarithm {
        fn roll_out(&self, actions: Tensor<3>) -> Rollout {
            Rollout {
                rewards: actions.clone().log().sum_dim(2).squeeze_dim(2),
                latents: actions,
            }
        }

        fn on_rollout(&self, actions: Tensor<3>, rollout: &Rollout) -> Trajectories {
            Trajectories {
                latents: rollout.latents.clone(),
                actions,
            }
        }

        fn planned(&self, _chosen: Trajectories) -> Planned {
            unreachable!("only rollouts are looked at")
        }

        fn latents(&self, rollout: Tensor<2>) -> Tensor<2> {
            rollout
        }

        fn are_latents(&self) -> bool {
            true
        }
    }

    #[test]
    fn a_rollout_that_overflows_is_worth_nothing_and_costs_no_other() {
        let model = Regulator::inside_the_bounds();
        let belief = model.belief();
        let pool = &mut first_rollout(&Problem::new(&model, &belief, HORIZON)).unwrap();
        let device = Device::default();
        let actions = Tensor::<3>::from_floats([[[0.0], [1.0]], [[0.5], [1.0]]], &device);
        let mut rollouts = Rollouts::of(&Logarithm, actions, pool).unwrap();
        let values = rollouts.values();
        assert!(values[0] == f32::NEG_INFINITY && values[1].is_finite());
        assert_eq!(rollouts.best(), 1);
        rollouts.excess = vec![0.0, 0.5];
        assert_eq!(rollouts.best(), 1);
        let none = Tensor::<3>::from_floats([[[1.0], [0.0]], [[1.0], [0.0]]], &device);
        let refused = Rollouts::of(&Logarithm, none, pool);
        assert!(matches!(refused, Err(PlanError::NotFinite { step: 1, .. })));
    }
}
