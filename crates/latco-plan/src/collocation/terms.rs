use burn::tensor::Tensor;

use super::{
    Constraint, Measure, Trajectories, Transcription, multipliers::Multipliers, relaxed::Relaxed,
    violation::action_violation,
};
use crate::{
    DiagonalGaussian, PlanError, Rewards, StopReason,
    host::{read, require_finite},
    solve::{Progress, Relaxation},
};

/// The parts of the Lagrangian at a batch of trajectories, `[plans, horizon]` each.
#[derive(Clone)]
pub(super) struct Terms {
    /// `r(z_{t+1})`.
    pub rewards: Tensor<2>,
    /// `‖ρ(z_{t+1})‖²`.
    pub residuals: Tensor<2>,
    pub violations: Violations,
}

/// How far a batch of trajectories is from obeying its constraints, `[plans, horizon]` each.
#[derive(Clone)]
pub(super) struct Violations {
    /// What the measure says of each step, one entry a constraint.
    pub dynamics: Vec<Tensor<2>>,
    /// `‖max(|a_t| − 1, 0)‖²`.
    pub actions: Tensor<2>,
    /// Squared residuals of the user's constraints.
    pub user: Vec<Tensor<2>>,
}

impl Relaxed<'_> {
    /// Evaluates every term; tracked by autodiff where the trajectories are.
    pub fn terms(&self, trajectories: &Trajectories) -> Terms {
        let [plans, _] = trajectories.shape();
        let planned = trajectories.latents.clone().flatten::<2>(0, 1);
        let previous = trajectories.previous(self.start(plans)).flatten(0, 1);
        let actions = trajectories.actions.clone().flatten(0, 1);
        let rewards = self.model().rewards(planned);
        let violations = self.violations(trajectories, &self.predict(previous, actions));
        Terms::new(rewards, violations)
    }

    /// The violations where the dynamics say `predicted`, `p(z_{t+1} | z_t, a_t)` of the nodes and
    /// actions, `[plans · horizon, node]`.
    pub fn violations(
        &self,
        trajectories: &Trajectories,
        predicted: &DiagonalGaussian,
    ) -> Violations {
        let shape = trajectories.shape();
        let steps = |values: Tensor<1>| values.reshape(shape);
        let planned = trajectories.latents.clone().flatten::<2>(0, 1);
        let dynamics = self
            .measure
            .violations(self.transcription, planned, predicted);
        Violations {
            dynamics: dynamics.into_iter().map(steps).collect(),
            actions: action_violation(trajectories.actions.clone()),
            user: self.user_violations(trajectories),
        }
    }

    /// The squared residuals of the user's constraints, `[plans, horizon]` each.
    pub fn user_violations(&self, trajectories: &Trajectories) -> Vec<Tensor<2>> {
        let residual = |constraint: &Constraint| {
            let planned = trajectories.latents.clone().flatten(0, 1);
            let actions = trajectories.actions.clone().flatten(0, 1);
            let residual = constraint.residual(planned, actions);
            residual.square().reshape(trajectories.shape())
        };
        self.problem.constraints.iter().map(residual).collect()
    }

    /// How many constraints the measure puts on each step.
    pub fn constraints_of_dynamics(&self) -> usize {
        self.measure.constraints(self.transcription)
    }

    /// The dynamics' prediction; without deviations where the measure has no use for them.
    pub fn predict(&self, previous: Tensor<2>, actions: Tensor<2>) -> DiagonalGaussian {
        if self.needs_deviations() {
            return self.model().transition(previous, actions);
        }
        let mean = self.model().transition_mean(previous, actions);
        let std = mean.clone();
        DiagonalGaussian::new(mean, std)
    }

    /// Whether every violation but the actions' is a squared distance of a node to its prediction.
    pub fn is_sum_of_squared_distances(&self) -> bool {
        self.problem.constraints.is_empty() && self.measure.is_squared_distance(self.transcription)
    }

    pub fn needs_deviations(&self) -> bool {
        let several = matches!(self.transcription, Transcription::Particles { count } if count > 1);
        several || matches!(self.measure, Measure::Likelihood { .. })
    }
}

impl Violations {
    /// `Σ λ c + Σ ν b` of each step, `[plans, horizon]`.
    pub fn penalty(&self, multipliers: &Multipliers) -> Tensor<2> {
        let dynamics = self.dynamics.iter().zip(&multipliers.dynamics);
        let user = self.user.iter().zip(&multipliers.user);
        dynamics.chain(user).fold(
            self.actions.clone() * multipliers.actions.clone(),
            |sum, (violation, multiplier)| sum + violation.clone() * multiplier.clone(),
        )
    }

    /// Those of `parts`, of which there is one at least, `[1, steps]` each, one after the other and
    /// in the `shape` `[plans, horizon]`.
    pub fn joined(parts: &[Self], shape: [usize; 2]) -> Self {
        let mut joined = parts[0].clone();
        for (index, steps) in joined.all_mut().enumerate() {
            let of_all = parts.iter().filter_map(|part| part.all().nth(index));
            *steps = Tensor::cat(of_all.cloned().collect(), 1).reshape(shape);
        }
        joined
    }

    /// The same numbers without autodiff.
    pub fn without_autodiff(mut self) -> Self {
        self.all_mut()
            .for_each(|steps| *steps = steps.clone().without_autodiff());
        self
    }

    /// The dynamics', the actions', the user's.
    pub fn all(&self) -> impl Iterator<Item = &Tensor<2>> {
        let dynamics = self.dynamics.iter();
        dynamics.chain([&self.actions]).chain(&self.user)
    }

    fn all_mut(&mut self) -> impl Iterator<Item = &mut Tensor<2>> {
        let dynamics = self.dynamics.iter_mut();
        dynamics.chain([&mut self.actions]).chain(&mut self.user)
    }

    /// The largest of each step over the measure's constraints and the user's.
    pub fn largest(&self) -> Tensor<2> {
        let mut all = self.dynamics.iter().chain(&self.user).cloned();
        let first = all.next().unwrap_or_else(|| self.actions.zeros_like());
        all.fold(first, Tensor::max_pair)
    }
}

impl Terms {
    /// From the rewards of the nodes, `plans · horizon` rows, and the violations.
    pub fn new(rewards: Rewards, violations: Violations) -> Self {
        let shape = violations.actions.dims();
        let squares = rewards.residuals.square().sum_dim(1);
        Self {
            rewards: rewards.expected.reshape(shape),
            residuals: squares.reshape(shape),
            violations,
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
            },
            bound_multiplier: best[5],
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
    /// The largest ν.
    pub bound_multiplier: f32,
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

    /// The summed virtual reward of each plan.
    pub fn rewards(&self) -> Vec<f32> {
        self.plans.iter().map(|seen| seen.reward).collect()
    }

    /// The largest violation of any plan.
    pub fn violation(&self) -> f32 {
        let violations = self.plans.iter().map(|seen| seen.violation);
        violations.fold(0.0, f32::max)
    }
}

/// One plan of the batch.
pub(super) struct Seen {
    /// The summed virtual reward.
    pub reward: f32,
    /// The largest violation of any constraint, the bounds of actions included.
    pub violation: f32,
}
