use burn::tensor::Tensor;

use super::multipliers::Multipliers;
use crate::{
    PlanError, StopReason,
    collocation::{Trajectories, lagrangian::Violations, relaxed::Relaxed},
    host::{read, require_finite},
    solve::{Progress, Relaxation},
};

/// The parts of the merit at a batch of trajectories, `[plans, horizon]` each.
#[derive(Clone)]
pub(super) struct Terms {
    /// `r(z_{t+1})`.
    pub rewards: Tensor<2>,
    /// `‖ρ(z_{t+1})‖²`.
    pub residuals: Tensor<2>,
    pub violations: Violations,
}

impl Terms {
    /// Evaluates every term.
    pub fn at(relaxed: &Relaxed<'_>, trajectories: &Trajectories) -> Self {
        let [plans, horizon] = trajectories.shape();
        let lagrangian = &relaxed.lagrangian;
        let planned = trajectories.latents.clone().flatten::<2>(0, 1);
        let previous = trajectories.previous(lagrangian.start(plans)).flatten(0, 1);
        let actions = trajectories.actions.clone().flatten(0, 1);
        let rewards = lagrangian.model().rewards(planned);
        let squares = rewards.residuals.square().sum_dim(1);
        Self {
            rewards: rewards.expected.reshape([plans, horizon]),
            residuals: squares.reshape([plans, horizon]),
            violations: lagrangian.violations(trajectories, &lagrangian.predict(previous, actions)),
        }
    }

    /// Every term.
    pub fn all_mut(&mut self) -> impl Iterator<Item = &mut Tensor<2>> {
        let rewards = [&mut self.rewards, &mut self.residuals];
        rewards.into_iter().chain(self.violations.all_mut())
    }

    /// The error that names the first term, or multiplier, that is not finite, and its step.
    pub fn not_finite(&self, multipliers: &Multipliers) -> PlanError {
        let [_, horizon] = self.rewards.dims();
        let named = |what, all: &[Tensor<2>]| -> Vec<_> {
            all.iter().map(|one| (what, one.clone())).collect()
        };
        let Violations {
            dynamics,
            actions,
            user,
        } = &self.violations;
        let parts = named("dynamics violation", dynamics)
            .into_iter()
            .chain([("reward", self.rewards.clone())])
            .chain([("reward residual", self.residuals.clone())])
            .chain([("action violation", actions.clone())])
            .chain(named("constraint", user))
            .chain(named("multiplier", &multipliers.dynamics))
            .chain(named("multiplier", &multipliers.user))
            .chain([("multiplier", multipliers.actions.clone())]);
        let overflow = PlanError::NotFinite {
            what: "the sum over all steps",
            iteration: 0,
            step: horizon - 1,
        };
        parts
            .map(|(what, steps)| require_finite(what, 0, &read(what, steps)?, horizon))
            .find_map(Result::err)
            .unwrap_or(overflow)
    }

    /// Reads what an observer sees of the plan with the highest reward, and the largest violation
    /// of any plan, in one transfer.
    pub fn summarise(&self, multipliers: &Multipliers) -> Result<Summary, PlanError> {
        let [plans, _] = self.rewards.dims();
        let violation = self.violations.largest();
        let dynamics = multipliers.dynamics[0].clone();
        let columns = vec![
            self.rewards.clone().sum_dim(1),
            violation.clone().mean_dim(1),
            violation.max_dim(1),
            dynamics.clone().mean_dim(1),
            dynamics.max_dim(1),
            multipliers.actions.clone().max_dim(1),
            self.violations.actions.clone().max_dim(1),
        ];
        let values = read("plan", Tensor::cat(columns, 1))?;
        if !values.iter().all(|value| value.is_finite()) {
            return Err(self.not_finite(multipliers));
        }
        let rows: Vec<&[f32]> = values.chunks(7).collect();
        debug_assert_eq!(rows.len(), plans);
        let best = rows.iter().max_by(|a, b| a[0].total_cmp(&b[0]));
        let best = best.copied().unwrap_or(&[0.0; 7]);
        Ok(Summary {
            reward: best[0],
            relaxation: Relaxation {
                violation_mean: best[1],
                violation_max: best[2],
                multiplier_mean: best[3],
                multiplier_max: best[4],
                bound_multiplier_max: best[5],
            },
            plans: rows
                .iter()
                .map(|row| Seen {
                    reward: row[0],
                    violation: row[2].max(row[6]),
                })
                .collect(),
        })
    }
}

/// What is seen of the plan with the highest reward, and what the stopping rule needs besides.
pub(super) struct Summary {
    pub reward: f32,
    pub relaxation: Relaxation,
    pub plans: Vec<Seen>,
}

impl Summary {
    /// An iteration that has arrived at `trajectories`.
    pub fn progress(&self, trajectories: &Trajectories, stop: Option<StopReason>) -> Progress {
        Progress {
            reward: self.reward,
            relaxation: self.relaxation,
            actions: trajectories.actions.clone(),
            nodes: Some(trajectories.latents.clone()),
            stop,
        }
    }

    /// That of several batches, of which there is one at least, with the plan of highest reward.
    pub fn best(batches: &[Self]) -> &Self {
        batches[1..].iter().fold(&batches[0], |best, other| {
            match other.reward > best.reward {
                true => other,
                false => best,
            }
        })
    }
}

/// One plan of the batch.
pub(super) struct Seen {
    /// The summed virtual reward.
    pub reward: f32,
    /// The largest violation of any constraint, the bounds of actions included.
    pub violation: f32,
}
