use burn::tensor::Tensor;
use latco_kernels::join;
use serde::{Deserialize, Serialize};

use super::Rows;
use crate::{
    Noise, Plan, PlanError, Rewards,
    host::read,
    shooting::Chunks,
    solve::{Pool, Problem},
    starts::{Colouring, shifted},
};

/// The decision variables of a batch of plans.
#[derive(Clone, Debug)]
pub struct Trajectories {
    /// `z_1 … z_T`, `[plans, horizon, latent]`.
    pub latents: Tensor<3>,
    /// `a_0 … a_{T−1}`, `[plans, horizon, action]`.
    pub actions: Tensor<3>,
}

/// Where a plan starts from.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Initialisation {
    /// Latents and actions independent and standard normal, times `std` (the reference, 1).
    Normal {
        /// The standard deviation.
        std: f64,
    },
    /// Normal actions, and the latents that the model rolls them out to: feasible from the start.
    Rollout {
        /// The standard deviation of the actions.
        std: f64,
    },
    /// Rollouts of actions that change slowly; of all candidates those of least residual cost.
    BestOfN {
        /// The standard deviation of the actions.
        std: f64,
        /// The exponent of the actions' noise: 0 is white, 2 Brownian.
        exponent: f64,
        /// Action sequences rolled out, at least as many as plans.
        candidates: usize,
    },
}

/// Candidates that a thread rolls out at once.
const ROLLED_OUT_AT_ONCE: usize = 256;

impl Initialisation {
    /// Whether the first latents are those that the first actions lead to.
    pub(super) fn rolls_out(&self) -> bool {
        !matches!(self, Self::Normal { .. })
    }

    /// So many first `plans`. Candidates that are not among them are offered to the `pool`.
    pub(super) fn draw(
        &self,
        problem: &Problem<'_>,
        plans: usize,
        pool: &mut Pool,
        noise: &mut Noise,
    ) -> Result<Trajectories, PlanError> {
        let device = problem.belief.device();
        let horizon = problem.horizon;
        let action = problem.model.action_size();
        let rolled_out = |actions: Tensor<3>, pool: &mut Pool| {
            pool.model_steps += plans * horizon;
            Trajectories {
                latents: problem.latents_along(actions.clone()),
                actions,
            }
        };
        Ok(match *self {
            Self::Normal { std } => {
                let latent = problem.model.latent_size();
                Trajectories {
                    latents: noise.normal([plans, horizon, latent], &device) * std,
                    actions: noise.normal([plans, horizon, action], &device) * std,
                }
            }
            Self::Rollout { std } => {
                let actions = noise.normal([plans, horizon, action], &device) * std;
                rolled_out(actions.clamp(-1.0, 1.0), pool)
            }
            Self::BestOfN {
                std,
                exponent,
                candidates,
            } => {
                let colouring = Colouring::new(horizon, exponent, &device);
                let actions = colouring.draw([candidates.max(plans), action], noise) * std;
                let best = best_of(actions.clamp(-1.0, 1.0), plans, problem, pool)?;
                rolled_out(best, pool)
            }
        })
    }
}

/// The `plans` sequences of `actions` `[candidates, horizon, action]` whose rollouts have the least
/// `Σ ‖ρ‖²`; those that overflow come last.
fn best_of(
    actions: Tensor<3>,
    plans: usize,
    problem: &Problem<'_>,
    pool: &mut Pool,
) -> Result<Tensor<3>, PlanError> {
    let candidates = actions.dims()[0];
    let chunks = Chunks::new(ROLLED_OUT_AT_ONCE, problem.horizon, problem.resources);
    let of_rewards = |rewards: Rewards| {
        let cost = rewards.residuals.square().sum_dim(1);
        join(vec![rewards.expected.unsqueeze_dim(1), cost], 1)
    };
    let scores = problem.scores(
        &actions,
        chunks,
        |latents| of_rewards(problem.model.rewards(latents)),
        |along| of_rewards(along.rewards),
    )?;
    pool.model_steps += candidates * problem.horizon;
    let sums = read("cost of a start", scores.sum_dim(1))?;
    let column = |column: usize| sums.iter().skip(column).step_by(2).copied();
    if problem.constraints.is_empty() {
        pool.offer(&actions, &column(0).collect::<Vec<_>>());
    }
    let costs: Vec<f32> = column(1).collect();
    let mut order: Vec<usize> = (0..candidates).collect();
    // NaN may have either sign, and a negative one would come first.
    order.sort_by(|&a, &b| costs[a].abs().total_cmp(&costs[b].abs()));
    Ok(Rows::new(&order[..plans], &actions.device()).of(&actions))
}

impl Trajectories {
    /// What is left of an earlier plan: its steps after `executed`, the last of them repeated.
    ///
    /// # Errors
    ///
    /// If the plan has another horizon than `horizon`, or others than these sizes of latents and
    /// actions.
    pub fn remaining(
        plan: &Plan,
        executed: usize,
        horizon: usize,
        [latent, action]: [usize; 2],
    ) -> Result<Self, PlanError> {
        require_shape("a latent size", &plan.nodes, [horizon, latent])?;
        require_shape("an action size", &plan.actions, [horizon, action])?;
        Ok(Self {
            latents: shifted(&plan.nodes, executed).unsqueeze_dim(0),
            actions: shifted(&plan.actions, executed).unsqueeze_dim(0),
        })
    }

    /// The plans of all `batches`, one after the other.
    pub(super) fn joined<'b>(batches: impl Iterator<Item = &'b Self>) -> Self {
        let (latents, actions) = batches
            .map(|batch| (batch.latents.clone(), batch.actions.clone()))
            .unzip();
        Self {
            latents: join(latents, 0),
            actions: join(actions, 0),
        }
    }

    /// The latent that each step starts from, `z_0 … z_{T−1}`, `[plans, horizon, latent]`, for
    /// `start` `[plans, latent]`.
    pub fn previous(&self, start: Tensor<2>) -> Tensor<3> {
        let [_, horizon, _] = self.latents.dims();
        let start = start.unsqueeze_dim::<3>(1);
        if horizon == 1 {
            return start;
        }
        join(
            vec![start, self.latents.clone().narrow(1, 0, horizon - 1)],
            1,
        )
    }

    /// The number of plans and of steps.
    pub fn shape(&self) -> [usize; 2] {
        let [plans, horizon, _] = self.actions.dims();
        [plans, horizon]
    }
}

/// Refuses `rows` of another number, or of another `size`.
fn require_shape(
    size: &'static str,
    rows: &Tensor<2>,
    expected: [usize; 2],
) -> Result<(), PlanError> {
    let dimensions = ["a horizon", size].into_iter().zip(expected);
    for ((what, expected), found) in dimensions.zip(rows.dims()) {
        if expected != found {
            return Err(PlanError::WarmStart {
                what,
                expected,
                found,
            });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        Planner, RandomActionsConfig,
        shooting::testing::{HORIZON, Regulator, solver},
    };

    #[test]
    fn what_does_not_fit_of_an_earlier_plan_is_named() {
        let model = Regulator::inside_the_bounds();
        let planner = solver(RandomActionsConfig { horizon: HORIZON });
        let plan = planner.plan(&model, &model.belief()).unwrap();
        for (horizon, sizes, what) in [
            (9, [3, 2], "a horizon of 8, this problem needs 9"),
            (8, [4, 2], "a latent size of 3, this problem needs 4"),
            (8, [3, 1], "an action size of 2, this problem needs 1"),
        ] {
            let refused = Trajectories::remaining(&plan, 0, horizon, sizes);
            let error = refused.unwrap_err().to_string();
            assert_eq!(error, format!("the warm start has {what}"));
        }
        assert!(Trajectories::remaining(&plan, 0, 8, [3, 2]).is_ok());
    }
}
