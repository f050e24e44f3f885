use std::time::Duration;

use burn::tensor::Tensor;
use latco_kernels::join;
use serde::{Deserialize, Serialize};

use crate::{
    Deadline, PlanError,
    host::{read, require_finite, require_finite_steps},
};

/// A planned trajectory with its two results.
///
/// The plan's tensors live on the belief's device.
#[derive(Clone, Debug)]
pub struct Plan {
    /// `a_0 … a_{T−1}`, `[horizon, action]`, within `[−1, 1]`.
    pub actions: Tensor<2>,
    /// The planned latents `z_1 … z_T`, `[horizon, latent]`. A shooting plan has those of its
    /// rollout.
    pub latents: Tensor<2>,
    /// Standard deviations of the planned latents, `[horizon, latent]`, where the plan is Gaussian.
    pub std: Option<Tensor<2>>,
    /// The plan's nodes as its transcription has them, `[horizon, node]`: means and deviations, particles,
    /// images. The latents themselves for a deterministic plan.
    pub nodes: Tensor<2>,
    /// The latents that the actions lead to through the model, `[horizon, latent]`.
    pub rollout_latents: Tensor<2>,
    /// Rewards along the planned latents.
    pub virtual_: Outcome,
    /// Rewards of the same actions rolled out through the model from `z_0`.
    pub rollout: Outcome,
    /// The dynamics violation `‖z_{t+1} − μ(z_t, a_t)‖²` of each step.
    pub violation: Vec<f32>,
    /// The multipliers λ of the dynamics at the end, one a step for each constraint of the measure;
    /// empty for shooting.
    pub multipliers: Vec<Vec<f32>>,
    /// The mean return over copies with disturbed actions ([`robust_return`](crate::trust::robust_return)): what
    /// is left of the promise where things go a little wrong. Of models that err
    /// ([`LatentModel::action_noise`](crate::LatentModel::action_noise)), unless the deadline came first
    /// or a copy overflows; of plans that were chosen by it, that over the copies they were chosen by.
    pub robust_return: Option<f32>,
    /// How uncertain the model is of each step of the rollout, of models that can tell
    /// ([`LatentModel::uncertainty`](crate::LatentModel::uncertainty)), unless the deadline came first.
    pub uncertainty: Option<Vec<f32>>,
    /// One entry an iteration.
    pub trace: Vec<Iteration>,
    /// Why the planner stopped.
    pub stop: StopReason,
    /// Wall time of the whole plan.
    pub elapsed: Duration,
    /// By how much the deadline was missed, if it was.
    pub late: Option<Duration>,
    /// Rows that went through the model's transition.
    pub model_steps: usize,
}

impl Plan {
    /// The number of steps T.
    pub fn horizon(&self) -> usize {
        self.actions.dims()[0]
    }

    /// The action of one step, `[action]`, on the host.
    ///
    /// # Errors
    ///
    /// If the device fails, or the plan has no such step.
    pub fn action(&self, step: usize) -> Result<Vec<f32>, PlanError> {
        if step >= self.horizon() {
            return Err(PlanError::BeyondHorizon {
                step,
                horizon: self.horizon(),
            });
        }
        read("the plan's action", self.actions.clone().narrow(0, step, 1))
    }

    /// The largest violation of any step.
    pub fn violation_max(&self) -> f32 {
        self.violation.iter().copied().fold(0.0, f32::max)
    }

    /// The share of the sequences that a model was trained on whose mean uncertainty exceeds 1.
    pub const UNFAMILIAR: f64 = 0.05;

    /// The mean uncertainty of a step, of models that can tell.
    pub fn uncertainty_mean(&self) -> Option<f32> {
        let steps = self.uncertainty.as_ref()?;
        Some(steps.iter().sum::<f32>() / steps.len().max(1) as f32)
    }

    /// Whether the plan leaves what the model was trained on, of models that can tell: its mean uncertainty
    /// is above 1, which that of [a few](Self::UNFAMILIAR) of the sequences there exceeds.
    pub fn leaves_data(&self) -> Option<bool> {
        Some(self.uncertainty_mean()? > 1.0)
    }

    /// The plan with the time read from `clock`, once: whether it is late agrees with how long it
    /// took.
    pub(crate) fn timed(self, clock: &Deadline) -> Self {
        let elapsed = clock.elapsed();
        Self {
            elapsed,
            late: clock.overrun(elapsed),
            ..self
        }
    }

    /// The plan itself where every number of it is finite.
    pub(crate) fn require_finite(self) -> Result<Self, PlanError> {
        let (horizon, iterations) = (self.horizon(), self.trace.len());
        let tensors = [
            &self.actions,
            &self.latents,
            &self.nodes,
            &self.rollout_latents,
        ];
        let tensors = tensors.into_iter().chain(&self.std).cloned().collect();
        let values = read("the plan", join(tensors, 1))?;
        require_finite_steps("the plan", iterations, &values, [1, horizon])?;
        require_finite("the violation", iterations, &self.violation, horizon)?;
        let robust: Vec<f32> = self.robust_return.into_iter().collect();
        require_finite("the return under noise", iterations, &robust, horizon)?;
        if let Some(steps) = &self.uncertainty {
            require_finite("the uncertainty", iterations, steps, horizon)?;
        }
        for multipliers in &self.multipliers {
            require_finite("a multiplier", iterations, multipliers, horizon)?;
        }
        Ok(self)
    }

    /// Whether the rollout supports what the plan promises: the virtual reward exceeds the
    /// rollout's by at most a tenth (of the larger magnitude).
    pub fn is_backed_by_rollout(&self) -> bool {
        let (virtual_, rollout) = (self.virtual_.total(), self.rollout.total());
        virtual_ - rollout <= 0.1 * virtual_.abs().max(rollout.abs()).max(1e-3)
    }
}

/// Rewards along a trajectory.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Outcome {
    /// `r(z_1) … r(z_T)`.
    pub rewards: Vec<f32>,
}

impl Outcome {
    /// The summed reward.
    pub fn total(&self) -> f32 {
        self.rewards.iter().sum()
    }
}

/// Why a planner stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StopReason {
    /// The plan is stationary: a step with small damping no longer improves it, nor does any that is shorter, and
    /// what it promises its rollout delivers.
    Converged,
    /// Steps have become too short to improve the plan much, although it is not stationary.
    Stalled,
    /// The number of iterations was reached.
    Iterations,
    /// The deadline came first.
    Deadline,
    /// The reward has no slope anywhere near: what came back is the best of what was sampled.
    NoSlope,
    /// The search ended with no plan whose rollout keeps the user's constraints: what came back is the best rollout
    /// seen that does, such as that of no action, or, where none does, the one that violates them least.
    Infeasible,
}

/// What an observer sees of one iteration: the best plan of the batch at that moment.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Iteration {
    /// Counted from 0.
    pub index: usize,
    /// The summed reward along the planned latents.
    pub reward: f32,
    /// The mean dynamics violation of a step.
    pub violation_mean: f32,
    /// The largest dynamics violation of a step.
    pub violation_max: f32,
    /// The mean multiplier λ of the dynamics; zero for shooting.
    pub multiplier_mean: f32,
    /// The largest multiplier λ of the dynamics; zero for shooting.
    pub multiplier_max: f32,
    /// The largest multiplier ν of the action bounds; zero for shooting, and where steps stop at the
    /// bounds ([`ActionBounds::Projected`](crate::collocation::ActionBounds)).
    pub action_multiplier_max: f32,
}
