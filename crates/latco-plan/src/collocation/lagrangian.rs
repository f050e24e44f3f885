//! The saddle point that collocation looks for, over plans `(z, a)` and multipliers λ, ν, κ:
//!
//! ```text
//! min_{λ, ν, κ ≥ 0}  max_{z, a}  L(z, a, λ, ν, κ)
//!
//! L = Σ_t f(z_{t+1}) − Σ_t λ_t · (c_t − ε) − Σ_t ν_t (b_t − ε) − Σ_t κ_t · (h_t² − ε)
//!
//! f   the objective: the reward r, −½ ‖ρ‖² of its residuals, or log r
//! c   the divergence between z_{t+1} and what the dynamics make of (z_t, a_t)
//! b   ‖max(|a_t| − 1, 0)‖², the violation of the actions' bounds
//! h   the user's constraints on (z_{t+1}, a_t)
//! ```
//!
//! (Rybkin et al. 2021, section 4, with ε on every constraint.) `z` are nodes: latents, particles or
//! Gaussians. First-order methods follow the gradient of `−L` ([`Terms::cost`]); the constants `λ ε` have
//! none. Where the divergence is a sum of squares, `c = ‖d‖²`, the residual form
//!
//! ```text
//! ½ Σ_t ‖ρ(z_{t+1})‖² + ½ Σ_t λ_t ‖d_t‖² + ½ Σ_t ν_t b_t + ½ Σ_t κ_t h_t²
//! ```
//!
//! is what Gauss–Newton minimises.

use std::sync::Arc;

use burn::tensor::Tensor;
use latco_kernels::join;

use super::{
    Constraint, Divergence, Moments, Trajectories, Transcription,
    multipliers::{Multipliers, Weights},
    transcription::Lifted,
};
use crate::{
    Belief, DiagonalGaussian, LatentModel, Objective, PlanError, Rewards, StopReason,
    host::{read, require_finite},
    solve::{Problem, Progress, Relaxation},
};

/// The parts of L that a problem and a planner's settings fix.
#[derive(Clone)]
pub(crate) struct Lagrangian<'a> {
    /// The model whose latents are nodes.
    pub lifted: Arc<Lifted<'a>>,
    /// The node that plans start from.
    pub first_node: Belief,
    /// What a node is.
    pub node: Transcription,
    pub objective: Objective,
    pub divergence: Arc<dyn Divergence>,
    pub constraints: &'a [Constraint],
}

impl<'a> Lagrangian<'a> {
    /// Of latents as nodes, matched by their squared distance.
    pub fn of_latents(problem: &'a Problem<'a>) -> Self {
        Self {
            lifted: Arc::new(Lifted::Identity(problem.model)),
            first_node: problem.belief.clone(),
            node: Transcription::Deterministic,
            objective: Objective::Residuals,
            divergence: Arc::new(Moments),
            constraints: &[],
        }
    }
}

impl Lagrangian<'_> {
    /// The model whose latents are nodes.
    pub fn model(&self) -> &dyn LatentModel {
        self.lifted.model()
    }

    /// The node that each of so many plans starts from, `[plans, node]`.
    pub fn start(&self, plans: usize) -> Tensor<2> {
        self.first_node.mean_of(plans)
    }

    /// Every term of L at `plan`; tracked by autodiff where the plan is.
    pub fn terms(&self, plan: &Trajectories) -> Terms {
        let [plans, _] = plan.shape();
        let planned = plan.latents.clone().flatten::<2>(0, 1);
        let previous = plan.previous(self.start(plans)).flatten(0, 1);
        let actions = plan.actions.clone().flatten(0, 1);
        let rewards = self.model().rewards(planned.clone());
        Terms::new(
            costs(self.model(), self.objective, planned, &rewards),
            rewards,
            self.violations(plan, &self.predict(previous, actions)),
        )
    }

    /// The violations where the dynamics say `predicted`, `p(z_{t+1} | z_t, a_t)` of the nodes and
    /// actions, `[plans · horizon, node]`.
    pub fn violations(&self, plan: &Trajectories, predicted: &DiagonalGaussian) -> Violations {
        let shape = plan.shape();
        let planned = plan.latents.clone().flatten::<2>(0, 1);
        let dynamics = self.divergence.violations(self.node, planned, predicted);
        let steps = |violation: Tensor<1>| violation.reshape(shape);
        Violations {
            dynamics: dynamics.into_iter().map(steps).collect(),
            actions: action_violation(plan.actions.clone()),
            user: self.user_violations(plan),
        }
    }

    /// `h²` of the user's constraints, `[plans, horizon]` each.
    pub fn user_violations(&self, plan: &Trajectories) -> Vec<Tensor<2>> {
        let square = |constraint: &Constraint| {
            let planned = self.means(plan.latents.clone().flatten(0, 1));
            let actions = plan.actions.clone().flatten(0, 1);
            let residual = constraint.residual(planned, actions);
            residual.square().reshape(plan.shape())
        };
        self.constraints.iter().map(square).collect()
    }

    /// The mean latents of `nodes` `[rows, node]`, `[rows, latent]`: what the user's constraints see of them.
    pub fn means(&self, nodes: Tensor<2>) -> Tensor<2> {
        self.node.moments(nodes).0
    }

    /// The dynamics' prediction; without deviations where the divergence has no use for them.
    pub fn predict(&self, previous: Tensor<2>, actions: Tensor<2>) -> DiagonalGaussian {
        if self.needs_deviations() {
            return self.model().transition(previous, actions);
        }
        let mean = self.model().transition_mean(previous, actions);
        let std = mean.clone();
        DiagonalGaussian::new(mean, std)
    }

    pub fn needs_deviations(&self) -> bool {
        self.divergence.needs_deviations(self.node)
    }

    /// How many constraints the divergence puts on each step.
    pub fn constraints_of_dynamics(&self) -> usize {
        self.divergence.constraints(self.node, self.start(1))
    }
}

/// `max(|a| − 1, 0)` of each component.
pub(crate) fn action_excess<const D: usize>(actions: Tensor<D>) -> Tensor<D> {
    (actions.abs() - 1.0).clamp_min(0.0)
}

/// `b = ‖max(|a_t| − 1, 0)‖²`, `[plans, horizon]`.
pub(super) fn action_violation(actions: Tensor<3>) -> Tensor<2> {
    action_excess(actions).square().sum_dim(2).squeeze_dim(2)
}

/// `−f` of `nodes` `[rows, node]`, whose `rewards` are known, `[rows]`.
pub(super) fn costs(
    model: &dyn LatentModel,
    objective: Objective,
    nodes: Tensor<2>,
    rewards: &Rewards,
) -> Tensor<1> {
    match objective {
        Objective::Reward => rewards.expected.clone().neg(),
        Objective::LogReward => model.log_reward(nodes).neg(),
        Objective::Residuals => {
            let squares = rewards.residuals.clone().square().sum_dim(1);
            squares.squeeze_dim::<1>(1) * 0.5
        }
    }
}

/// The terms of L at a batch of plans, `[plans, horizon]` each.
#[derive(Clone)]
pub(crate) struct Terms {
    /// `−f(z_{t+1})`.
    pub costs: Tensor<2>,
    /// `r(z_{t+1})`.
    pub rewards: Tensor<2>,
    pub violations: Violations,
}

/// How far a batch of plans is from obeying its constraints, `[plans, horizon]` each.
#[derive(Clone)]
pub(crate) struct Violations {
    /// `c`, one entry for each constraint of the divergence.
    pub dynamics: Vec<Tensor<2>>,
    /// `b`.
    pub actions: Tensor<2>,
    /// `h²`.
    pub user: Vec<Tensor<2>>,
}

impl Terms {
    /// From costs and rewards of the nodes, `plans · horizon` rows, and the violations.
    pub fn new(costs: Tensor<1>, rewards: Rewards, violations: Violations) -> Self {
        let shape = violations.actions.dims();
        Self {
            costs: costs.reshape(shape),
            rewards: rewards.expected.reshape(shape),
            violations,
        }
    }

    /// `−L` but for the constants `λ ε`, summed over steps and plans, `[1]`.
    pub fn cost(&self, weights: &Weights) -> Tensor<1> {
        (self.costs.clone() + self.violations.penalty(weights)).sum()
    }

    /// The same numbers on the host, in one transfer.
    ///
    /// # Errors
    ///
    /// Names the first that is not finite, and its step.
    pub fn read(&self) -> Result<Values, PlanError> {
        let [plans, horizon] = self.rewards.dims();
        let parts = [&self.costs, &self.rewards].into_iter();
        let parts = parts.chain(self.violations.all());
        let joined = join(parts.cloned().collect(), 0);
        let values = read("terms", joined.without_autodiff())?;
        let mut parts = values.chunks(plans * horizon);
        let mut next = |what| {
            let part = parts.next().unwrap_or_default();
            require_finite(what, 0, part, horizon)?;
            Ok::<_, PlanError>(part.to_vec())
        };
        let several = |count: usize, next: &mut dyn FnMut() -> Result<Vec<f32>, PlanError>| {
            (0..count).map(|_| next()).collect::<Result<Vec<_>, _>>()
        };
        // The cost is that of the rewards, whose error says more.
        let costs = next("the reward's cost");
        let rewards = next("reward")?;
        costs?;
        let violations = &self.violations;
        Ok(Values {
            horizon,
            rewards,
            dynamics: several(violations.dynamics.len(), &mut || {
                next("dynamics violation")
            })?,
            actions: next("action violation")?,
            user: several(violations.user.len(), &mut || next("constraint"))?,
        })
    }
}

impl Violations {
    /// `Σ λ c + ν b + Σ κ h²` of each step, `[plans, horizon]`.
    pub fn penalty(&self, weights: &Weights) -> Tensor<2> {
        let dynamics = self.dynamics.iter().zip(&weights.dynamics);
        let user = self.user.iter().zip(&weights.user);
        dynamics.chain(user).fold(
            self.actions.clone() * weights.actions.clone(),
            |sum, (violation, weight)| sum + violation.clone() * weight.clone(),
        )
    }

    /// Those of `parts`, of which there is one at least, `[1, steps]` each, one after the other and
    /// in the `shape` `[plans, horizon]`.
    pub fn joined(parts: &[Self], shape: [usize; 2]) -> Self {
        let mut joined = parts[0].clone();
        for (index, steps) in joined.all_mut().enumerate() {
            if parts.len() > 1 {
                let of_all = parts.iter().filter_map(|part| part.all().nth(index));
                *steps = join(of_all.cloned().collect(), 1);
            }
            *steps = steps.clone().reshape(shape);
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

    pub fn all_mut(&mut self) -> impl Iterator<Item = &mut Tensor<2>> {
        let dynamics = self.dynamics.iter_mut();
        dynamics.chain([&mut self.actions]).chain(&mut self.user)
    }

    /// The largest of each step over the constraints of dynamics and user.
    pub fn largest(&self) -> Tensor<2> {
        let mut all = self.dynamics.iter().chain(&self.user).cloned();
        let first = all.next().unwrap_or_else(|| self.actions.zeros_like());
        all.fold(first, Tensor::max_pair)
    }
}

/// [`Terms`] on the host, `plans · horizon` numbers each.
pub(crate) struct Values {
    pub horizon: usize,
    pub rewards: Vec<f32>,
    pub dynamics: Vec<Vec<f32>>,
    pub actions: Vec<f32>,
    pub user: Vec<Vec<f32>>,
}

impl Values {
    pub fn plans(&self) -> usize {
        self.rewards.len() / self.horizon
    }

    /// The summed virtual reward of each plan.
    pub fn totals(&self) -> Vec<f32> {
        let plans = self.rewards.chunks(self.horizon);
        plans.map(|rewards| rewards.iter().sum()).collect()
    }

    /// The largest violation of any constraint of dynamics and user in each step of a plan.
    fn largest(&self, plan: usize) -> Vec<f32> {
        let steps = plan * self.horizon..(plan + 1) * self.horizon;
        let all = || self.dynamics.iter().chain(&self.user);
        let largest = |step: usize| all().map(|one| one[step]).fold(0.0, f32::max);
        steps.map(largest).collect()
    }

    /// The largest violation of any constraint of a plan, the bounds of actions included.
    pub fn violation(&self, plan: usize) -> f32 {
        let bounds = &self.actions[plan * self.horizon..(plan + 1) * self.horizon];
        let all = self.largest(plan);
        all.iter().chain(bounds).copied().fold(0.0, f32::max)
    }

    /// What an observer sees of the plan of highest reward.
    ///
    /// # Errors
    ///
    /// If a sum overflows.
    pub fn summarise(&self, multipliers: &Multipliers) -> Result<Summary, PlanError> {
        let totals = self.totals();
        require_finite("the sum over all steps", 0, &totals, 1)?;
        let best = (0..self.plans()).max_by(|&a, &b| totals[a].total_cmp(&totals[b]));
        let best = best.unwrap_or_default();
        let violations = self.largest(best);
        let (multiplier_mean, multiplier_max) = multipliers.first_of_dynamics(best);
        Ok(Summary {
            reward: totals[best],
            relaxation: Relaxation {
                violation_mean: violations.iter().sum::<f32>() / self.horizon as f32,
                violation_max: violations.iter().copied().fold(0.0, f32::max),
                multiplier_mean,
                multiplier_max,
                bound_multiplier_max: multipliers.largest_of_bounds(best),
            },
        })
    }
}

/// What is seen of the plan with the highest reward.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Summary {
    pub reward: f32,
    pub relaxation: Relaxation,
}

impl Summary {
    /// An iteration that has arrived at `plan`.
    pub fn progress(&self, plan: &Trajectories, stop: Option<StopReason>) -> Progress {
        Progress {
            reward: self.reward,
            relaxation: self.relaxation,
            actions: plan.actions.clone(),
            nodes: Some(plan.latents.clone()),
            stop,
        }
    }
}
