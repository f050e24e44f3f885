use burn::tensor::Tensor;
use serde::{Deserialize, Serialize};

use super::Rows;
use crate::{
    Belief, LatentModel, Noise, Plan, PlanError, Resources,
    host::read,
    roll_out,
    shooting::{Chunks, scores_in_chunks},
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
    Screened {
        /// The standard deviation of the actions.
        std: f64,
        /// The exponent of the actions' noise: 0 is white, 2 Brownian.
        exponent: f64,
        /// Action sequences rolled out, at least as many as plans.
        candidates: usize,
    },
}

impl Initialisation {
    /// Steps of the model that `plans` starts of `horizon` steps take.
    pub(super) fn model_steps(&self, [plans, horizon]: [usize; 2]) -> usize {
        match *self {
            Self::Screened { candidates, .. } if plans > 0 => {
                (candidates.max(plans) + plans) * horizon
            }
            Self::Rollout { .. } => plans * horizon,
            Self::Normal { .. } | Self::Screened { .. } => 0,
        }
    }
}

/// Candidates that a thread rolls out at once.
const SCREENED_AT_ONCE: usize = 256;

impl Trajectories {
    /// `plans` starts of `horizon` steps.
    ///
    /// # Errors
    ///
    /// If a candidate's cost cannot be read back from its device.
    pub fn initial(
        model: &dyn LatentModel,
        belief: &Belief,
        shape: [usize; 2],
        initialisation: Initialisation,
        noise: &mut Noise,
    ) -> Result<Self, PlanError> {
        Self::initial_on(
            model,
            belief,
            shape,
            initialisation,
            Resources::default(),
            noise,
        )
    }

    /// As [`initial`](Self::initial), with these resources to screen candidates.
    pub(super) fn initial_on(
        model: &dyn LatentModel,
        belief: &Belief,
        [plans, horizon]: [usize; 2],
        initialisation: Initialisation,
        resources: Resources,
        noise: &mut Noise,
    ) -> Result<Self, PlanError> {
        let device = belief.device();
        let actions = [plans, horizon, model.action_size()];
        Ok(match initialisation {
            Initialisation::Normal { std } => Self {
                latents: noise.normal([plans, horizon, model.latent_size()], &device) * std,
                actions: noise.normal(actions, &device) * std,
            },
            Initialisation::Rollout { std } => {
                let actions = (noise.normal(actions, &device) * std).clamp(-1.0, 1.0);
                Self {
                    latents: roll_out(model, belief.mean_of(plans), actions.clone()).latents,
                    actions,
                }
            }
            Initialisation::Screened {
                std,
                exponent,
                candidates,
            } => {
                let count = candidates.max(plans);
                let colouring = Colouring::new(horizon, exponent, &device);
                let actions = colouring.draw([count, model.action_size()], noise) * std;
                let actions = actions.clamp(-1.0, 1.0);
                Self::best_rollouts(model, belief, actions, plans, resources)?
            }
        })
    }

    /// The `plans` sequences of `actions` `[candidates, horizon, action]` whose rollouts have the
    /// least `Σ ‖ρ‖²`; those that overflow come last.
    fn best_rollouts(
        model: &dyn LatentModel,
        belief: &Belief,
        actions: Tensor<3>,
        plans: usize,
        resources: Resources,
    ) -> Result<Self, PlanError> {
        let [candidates, _, _] = actions.dims();
        let chunks = Chunks::new(SCREENED_AT_ONCE, resources);
        let costs = scores_in_chunks(model, belief, &actions, chunks, |latents| {
            let residuals = model.reward_residuals(latents);
            residuals.square().sum_dim(1).squeeze_dim(1)
        });
        let costs = read("cost of a start", costs.sum_dim(1))?;
        let mut order: Vec<usize> = (0..candidates).collect();
        // NaN may have either sign, and a negative one would come first.
        order.sort_by(|&a, &b| costs[a].abs().total_cmp(&costs[b].abs()));
        let actions = Rows::new(&order[..plans], &actions.device()).of(&actions);
        Ok(Self {
            latents: roll_out(model, belief.mean_of(plans), actions.clone()).latents,
            actions,
        })
    }

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
        require_shape("latents", &plan.nodes, [horizon, latent])?;
        require_shape("actions", &plan.actions, [horizon, action])?;
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
            latents: Tensor::cat(latents, 0),
            actions: Tensor::cat(actions, 0),
        }
    }

    /// Some of the plans.
    pub(super) fn rows(&self, rows: &Rows) -> Self {
        Self {
            latents: rows.of(&self.latents),
            actions: rows.of(&self.actions),
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
        Tensor::cat(
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

fn require_shape(
    what: &'static str,
    rows: &Tensor<2>,
    expected: [usize; 2],
) -> Result<(), PlanError> {
    for (expected, found) in expected.into_iter().zip(rows.dims()) {
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
