//! The gradient of the Lagrangian faster than by one tape: by the model's closed forms where it has them,
//! shared out among threads.

use std::{ops::Range, sync::Arc};

use burn::tensor::{Gradients, Tensor};
use latco_kernels::{Penalties, join};

use super::{
    Structure, Trajectories,
    lagrangian::{Lagrangian, Terms, Violations, action_excess, costs},
    multipliers::Weights,
};
use crate::{
    DiagonalGaussian, Objective, RewardLinearisation, Rewards, threads, threads::WorkerPool,
};

/// So few points that a thread of their own would not pay.
const LEAST_POINTS: usize = 12;

/// From so many points on the thread of the rewards takes one part in [`RELIEF`] of the violations.
const MANY_POINTS: usize = 96;
const RELIEF: usize = 7;

/// The gradient of [`Terms::cost`] in parts.
///
/// The work is shared out among threads by steps, which do not wait for each other. Where the model
/// knows the derivatives of `r`, `ρ` and its mean transition `μ` in closed form, the constraints are
/// differentiated as functions of `z`, `a` and `μ` alone, and the chain rule does the rest:
///
/// ```text
/// ∇z_t = −∂f/∂z_t + ∂c/∂z_t + (∂μ/∂z)ᵀ ∂c/∂μ_{t+1},    ∇a_t = ∂c/∂a_t + (∂μ/∂a)ᵀ ∂c/∂μ_{t+1}
/// ```
///
/// so that the model's layers are not recorded on a tape at every iteration. Squared distances need
/// no tape at all: `∂c/∂z_t = 2 λ (z_t − μ_t) = −∂c/∂μ_t`.
#[derive(Clone, Copy)]
pub(super) struct Differentiation<'a>(&'a Lagrangian<'a>);

impl<'a> Differentiation<'a> {
    pub fn of(lagrangian: &'a Lagrangian<'a>) -> Self {
        Self(lagrangian)
    }

    /// Whether it is faster than one tape, as it is not for a model without closed forms on one thread.
    pub fn pays(&self, workers: usize) -> bool {
        workers > 1 || self.0.model().as_differentiable().is_some()
    }

    /// Every term at `trajectories`, and the gradient of their cost.
    pub fn at<'s>(
        self,
        trajectories: &Trajectories,
        weights: &Weights,
        workers: &WorkerPool<'s>,
    ) -> (Terms, Trajectories)
    where
        'a: 's,
    {
        let [plans, _] = trajectories.shape();
        let steps = Steps::of(trajectories, self.0.start(plans), weights);
        let steps = Arc::new(steps);
        let jobs = shares(steps.count(), workers.size())
            .into_iter()
            .map(|share| {
                let steps = Arc::clone(&steps);
                move || {
                    let rewards = share.rewards.map(|points| self.rewards(&steps, &points));
                    let violations = share.violations.map(|points| {
                        let own = steps.at(&points);
                        self.violations(&own)
                    });
                    (rewards, violations)
                }
            });
        let shares = workers.all(jobs.collect());
        let (rewards, violations): (Vec<_>, Vec<_>) = shares.into_iter().unzip();
        let (costs, rewards, by_reward) = joined_rewards(rewards.into_iter().flatten());
        let (violations, by_step) =
            joined_violations(violations.into_iter().flatten(), trajectories.shape());
        let gradient = by_step.with_rewards(by_reward, trajectories);
        (Terms::new(costs, rewards, violations), gradient)
    }

    /// Costs and rewards of some nodes, and the gradient of the costs.
    fn rewards(&self, steps: &Steps, points: &Range<usize>) -> Rewarded {
        let nodes = rows(&steps.planned, points);
        let objective = self.0.objective;
        let model = self.0.model();
        let Some(closed) = model.as_differentiable() else {
            return self.rewards_by_tape(nodes);
        };
        let RewardLinearisation { rewards, jacobian } =
            closed.linearise_reward(nodes.clone(), objective);
        let gradient = match objective {
            Objective::Reward | Objective::LogReward => jacobian.neg(),
            Objective::Residuals => jacobian * rewards.residuals.clone().unsqueeze_dim(2),
        };
        let costs = costs(model, objective, nodes, &rewards);
        (costs, rewards, gradient.sum_dim(1).squeeze_dim(1))
    }

    fn rewards_by_tape(&self, nodes: Tensor<2>) -> Rewarded {
        let nodes = leaf(&nodes);
        let rewards = self.0.model().rewards(nodes.clone());
        let costs = costs(self.0.model(), self.0.objective, nodes.clone(), &rewards);
        let gradient = match costs.is_tracked() {
            true => gradient_at(&nodes, &mut costs.clone().sum().backward()),
            false => nodes.without_autodiff().zeros_like(),
        };
        let rewards = Rewards {
            expected: rewards.expected.without_autodiff(),
            residuals: rewards.residuals.without_autodiff(),
        };
        (costs.without_autodiff(), rewards, gradient)
    }

    /// The violations, `[1, steps]` each, and the gradient of `Σ λ c + Σ ν b`.
    fn violations(&self, steps: &Steps) -> (Violations, ByStep) {
        let lagrangian = self.0;
        let model = lagrangian.model();
        let closed = match lagrangian.needs_deviations() {
            true => None,
            false => model.as_differentiable(),
        };
        let Some(closed) = closed else {
            return self.violations_by_tape(steps);
        };
        let derivative = closed.linearise(steps.previous.clone(), steps.actions.clone());
        let mean = derivative.value();
        let structure = lagrangian.divergence.structure(lagrangian.node);
        let only_differences =
            structure == Some(Structure::Difference) && lagrangian.constraints.is_empty();
        let (violations, penalty) = match only_differences {
            true => steps.squared_distances(mean),
            false => self.penalty_by_tape(steps, mean),
        };
        let cotangents = penalty.mean.unsqueeze_dim(1);
        let (previous, actions) = derivative.pullback(0..steps.count(), cotangents);
        let gradient = ByStep {
            planned: penalty.planned,
            previous: previous.squeeze_dim(1),
            actions: penalty.actions + actions.squeeze_dim(1),
        };
        (violations, gradient)
    }

    /// The violations where the dynamics predict `mean`, on a tape that begins there.
    fn penalty_by_tape(&self, steps: &Steps, mean: Tensor<2>) -> (Violations, Penalty) {
        let (planned, actions, mean) = (leaf(&steps.planned), leaf(&steps.actions), leaf(&mean));
        let predicted = DiagonalGaussian::new(mean.clone(), mean.clone());
        let (violations, mut gradients) = self.penalty(steps, [&planned, &actions], &predicted);
        let penalty = Penalty {
            planned: gradient_at(&planned, &mut gradients),
            actions: gradient_at(&actions, &mut gradients),
            mean: gradient_at(&mean, &mut gradients),
        };
        (violations, penalty)
    }

    /// The violations, the dynamics on the tape.
    fn violations_by_tape(&self, steps: &Steps) -> (Violations, ByStep) {
        let (planned, previous) = (leaf(&steps.planned), leaf(&steps.previous));
        let actions = leaf(&steps.actions);
        let predicted = self.0.predict(previous.clone(), actions.clone());
        let (violations, mut gradients) = self.penalty(steps, [&planned, &actions], &predicted);
        let gradient = ByStep {
            planned: gradient_at(&planned, &mut gradients),
            previous: gradient_at(&previous, &mut gradients),
            actions: gradient_at(&actions, &mut gradients),
        };
        (violations, gradient)
    }

    /// The violations of leaves `[planned, actions]`, and the gradients of their penalty.
    fn penalty(
        &self,
        steps: &Steps,
        [planned, actions]: [&Tensor<2>; 2],
        predicted: &DiagonalGaussian,
    ) -> (Violations, Gradients) {
        let leaves = Trajectories {
            latents: planned.clone().unsqueeze_dim(0),
            actions: actions.clone().unsqueeze_dim(0),
        };
        let violations = self.0.violations(&leaves, predicted);
        let gradients = violations.penalty(&steps.weights).sum().backward();
        (violations.without_autodiff(), gradients)
    }
}

/// The steps of all plans, one below the other.
struct Steps {
    /// The nodes that steps end in, `[steps, node]`.
    planned: Tensor<2>,
    /// The nodes that they start from, `[steps, node]`.
    previous: Tensor<2>,
    /// `[steps, action]`.
    actions: Tensor<2>,
    /// `[1, steps]` each.
    weights: Weights,
}

impl Steps {
    fn of(trajectories: &Trajectories, start: Tensor<2>, weights: &Weights) -> Self {
        let [plans, horizon] = trajectories.shape();
        Self {
            planned: trajectories.latents.clone().flatten(0, 1),
            previous: trajectories.previous(start).flatten(0, 1),
            actions: trajectories.actions.clone().flatten(0, 1),
            weights: weights.with_each(|steps| steps.reshape([1, plans * horizon])),
        }
    }

    fn count(&self) -> usize {
        self.planned.dims()[0]
    }

    fn at(&self, points: &Range<usize>) -> Self {
        Self {
            planned: rows(&self.planned, points),
            previous: rows(&self.previous, points),
            actions: rows(&self.actions, points),
            weights: self
                .weights
                .with_each(|steps| steps.narrow(1, points.start, points.len())),
        }
    }

    /// `c = ‖z − μ‖²` and `b = ‖max(|a| − 1, 0)‖²`, and the gradient of `Σ λ c + Σ ν b`.
    fn squared_distances(&self, mean: Tensor<2>) -> (Violations, Penalty) {
        let weights = [&self.weights.dynamics[0], &self.weights.actions];
        if let Some(found) = Penalties::of(&self.planned, &mean, &self.actions, weights) {
            let violations = Violations {
                dynamics: vec![found.dynamics],
                actions: found.bounds,
                user: Vec::new(),
            };
            let penalty = Penalty {
                planned: found.by_planned,
                mean: found.by_mean,
                actions: found.by_action,
            };
            return (violations, penalty);
        }
        let doubled = |multiplier: &Tensor<2>| multiplier.clone().transpose() * 2.0;
        let summed = |squares: Tensor<2>| squares.sum_dim(1).transpose();
        let defect = self.planned.clone() - mean;
        let excess = action_excess(self.actions.clone());
        let violations = Violations {
            dynamics: vec![summed(defect.clone().square())],
            actions: summed(excess.clone().square()),
            user: Vec::new(),
        };
        let planned = defect * doubled(&self.weights.dynamics[0]);
        let penalty = Penalty {
            mean: planned.clone().neg(),
            planned,
            actions: excess * self.actions.clone().sign() * doubled(&self.weights.actions),
        };
        (violations, penalty)
    }
}

/// The gradient of `Σ λ c + Σ ν b` by what it is a function of, `[steps, size]` each.
struct Penalty {
    planned: Tensor<2>,
    actions: Tensor<2>,
    /// By what the dynamics predict.
    mean: Tensor<2>,
}

/// A gradient by the variables of each step, `[steps, size]` each.
struct ByStep {
    planned: Tensor<2>,
    previous: Tensor<2>,
    actions: Tensor<2>,
}

impl ByStep {
    /// The gradient by the variables of `trajectories`, with that of the rewards, `[steps, node]`,
    /// added. The node that the first step starts from is given; all others end a step too.
    fn with_rewards(self, by_reward: Tensor<2>, trajectories: &Trajectories) -> Trajectories {
        let [plans, horizon, node] = trajectories.latents.dims();
        let by_plan = |values: Tensor<2>| values.reshape([plans, horizon, node]);
        let previous = by_plan(self.previous);
        let after_last = previous.clone().narrow(1, 0, 1).zeros_like();
        let next = join(vec![previous, after_last], 1).narrow(1, 1, horizon);
        Trajectories {
            latents: by_plan(self.planned + by_reward) + next,
            actions: self.actions.reshape(trajectories.actions.dims()),
        }
    }
}

/// What a thread works on: the rewards of some points, the violations of some.
struct Share {
    rewards: Option<Range<usize>>,
    violations: Option<Range<usize>>,
}

/// How many threads besides the caller's have work with so many `points`, where there are `workers`.
pub(super) fn helpers(points: usize, workers: usize) -> usize {
    shares(points, workers).len() - 1
}

/// Half of the threads take the violations, half the rewards, which are done earlier: where there are
/// many points they take the first violations too. Few are not worth it, since the weights for the
/// matrix products would be packed twice. A thread alone takes everything.
fn shares(points: usize, workers: usize) -> Vec<Share> {
    if workers < 2 {
        return vec![Share {
            rewards: Some(0..points),
            violations: Some(0..points),
        }];
    }
    let pair = |all: Range<usize>| {
        let relief = match all.len() >= MANY_POINTS {
            true => all.len() / RELIEF,
            false => 0,
        };
        let relieved = all.start + relief;
        let violations = Share {
            rewards: None,
            violations: Some(relieved..all.end),
        };
        let rewards = Share {
            violations: (relief > 0).then_some(all.start..relieved),
            rewards: Some(all),
        };
        [rewards, violations]
    };
    let pairs = (workers / 2).min(points / LEAST_POINTS);
    threads::shares(points, pairs).flat_map(pair).collect()
}

/// Costs and rewards of points, and the gradient of the costs, `[points, node]`.
type Rewarded = (Tensor<1>, Rewards, Tensor<2>);

fn joined_rewards(parts: impl Iterator<Item = Rewarded>) -> Rewarded {
    let [mut costs, mut expected] = [Vec::new(), Vec::new()];
    let [mut residuals, mut gradients] = [Vec::new(), Vec::new()];
    for (cost, rewards, gradient) in parts {
        costs.push(cost);
        expected.push(rewards.expected);
        residuals.push(rewards.residuals);
        gradients.push(gradient);
    }
    let rewards = Rewards {
        expected: joined(expected),
        residuals: joined(residuals),
    };
    (joined(costs), rewards, joined(gradients))
}

/// Violations of the `shape` `[plans, horizon]`, and the gradient by all steps.
fn joined_violations(
    parts: impl Iterator<Item = (Violations, ByStep)>,
    shape: [usize; 2],
) -> (Violations, ByStep) {
    let (violations, gradients): (Vec<_>, Vec<_>) = parts.unzip();
    let all = |part: fn(&ByStep) -> &Tensor<2>| {
        joined(gradients.iter().map(|all| part(all).clone()).collect())
    };
    let gradient = ByStep {
        planned: all(|all| &all.planned),
        previous: all(|all| &all.previous),
        actions: all(|all| &all.actions),
    };
    (Violations::joined(&violations, shape), gradient)
}

/// All `parts`, one below the other; a single one as it is.
fn joined<const D: usize>(mut parts: Vec<Tensor<D>>) -> Tensor<D> {
    match parts.len() {
        1 => parts.remove(0),
        _ => join(parts, 0),
    }
}

fn rows(values: &Tensor<2>, points: &Range<usize>) -> Tensor<2> {
    values.clone().narrow(0, points.start, points.len())
}

impl Trajectories {
    /// The same values as leaves of a tape.
    pub(super) fn leaves(&self) -> Self {
        Self {
            latents: leaf(&self.latents),
            actions: leaf(&self.actions),
        }
    }

    /// The gradient at these leaves; zero where there is none.
    pub(super) fn gradient(&self, gradients: &mut Gradients) -> Self {
        Self {
            latents: gradient_at(&self.latents, gradients),
            actions: gradient_at(&self.actions, gradients),
        }
    }
}

fn leaf<const D: usize>(values: &Tensor<D>) -> Tensor<D> {
    values.clone().autodiff().require_grad()
}

/// The gradient at a leaf; zero where nothing depends on it.
fn gradient_at<const D: usize>(leaf: &Tensor<D>, gradients: &mut Gradients) -> Tensor<D> {
    leaf.grad_remove(gradients)
        .unwrap_or_else(|| leaf.clone().without_autodiff().zeros_like())
}

#[cfg(test)]
mod tests {
    use std::thread;

    use burn::tensor::Device;

    use super::*;
    use crate::{
        AutodiffLinearisation, Belief, Differentiable, LatentModel, Linearisation, Noise,
        collocation::{
            Constraint, DualConfig, Measure, Transcription,
            relaxed::{Relaxed, Setting},
        },
        solve::Problem,
    };

    /// Of a plan's nodes.
    const LATENT: usize = 3;

    /// `μ = tanh(z + 0.3 (a₁ + a₂))`, `r = Σ z²`; with closed forms if asked for.
    struct Bent {
        closed: bool,
    }

    impl LatentModel for Bent {
        fn latent_size(&self) -> usize {
            LATENT
        }

        fn action_size(&self) -> usize {
            2
        }

        fn transition(&self, latents: Tensor<2>, actions: Tensor<2>) -> DiagonalGaussian {
            let mean = (latents + actions.sum_dim(1) * 0.3).tanh();
            let std = mean.zeros_like();
            DiagonalGaussian::new(mean, std)
        }

        fn reward(&self, latents: Tensor<2>) -> Tensor<1> {
            latents.square().sum_dim(1).squeeze_dim(1)
        }

        fn as_differentiable(&self) -> Option<&dyn Differentiable> {
            self.closed.then_some(self)
        }
    }

    impl Differentiable for Bent {
        fn linearise(&self, latents: Tensor<2>, actions: Tensor<2>) -> Box<dyn Linearisation + '_> {
            Box::new(AutodiffLinearisation::new(self, latents, actions))
        }

        fn linearise_moments(
            &self,
            latents: Tensor<2>,
            actions: Tensor<2>,
        ) -> Box<dyn Linearisation + '_> {
            Box::new(AutodiffLinearisation::of_moments(self, latents, actions))
        }

        fn linearise_reward(
            &self,
            latents: Tensor<2>,
            objective: Objective,
        ) -> RewardLinearisation {
            RewardLinearisation::by_autodiff(self, latents, objective)
        }
    }

    /// How a gradient is found.
    #[derive(Clone, Copy)]
    enum Way {
        WholeTape,
        Parts { closed: bool, workers: usize },
    }

    /// The gradient of a Lagrangian of three plans in which every term has a weight of its own.
    fn gradient(
        horizon: usize,
        objective: Objective,
        constraints: &[Constraint],
        way: Way,
    ) -> Vec<f32> {
        let device = Device::default();
        let mut noise = Noise::new(3);
        let plans = 3;
        let model = Bent {
            closed: matches!(way, Way::Parts { closed: true, .. }),
        };
        let belief = Belief::certain(noise.normal([LATENT], &device));
        let mut problem = Problem::new(&model, &belief, horizon);
        problem.constraints = constraints;
        let setting = Setting {
            transcription: Transcription::Deterministic,
            measure: &Measure::Moments,
            dual: DualConfig::default(),
            objective,
        };
        let relaxed = Relaxed::new(&problem, setting, &mut noise).unwrap();
        let lagrangian = &relaxed.lagrangian;
        let trajectories = Trajectories {
            latents: noise.normal([plans, horizon, LATENT], &device),
            actions: noise.normal([plans, horizon, 2], &device) * 2.0,
        };
        let mut weights = || noise.uniform([plans, horizon], &device) + 2.0;
        let weights = Weights {
            dynamics: vec![weights()],
            actions: weights(),
            user: constraints.iter().map(|_| weights()).collect(),
        };
        let gradient = match way {
            Way::WholeTape => {
                let leaves = trajectories.leaves();
                let cost = lagrangian.terms(&leaves).cost(&weights);
                leaves.gradient(&mut cost.backward())
            }
            Way::Parts { workers, .. } => thread::scope(|scope| {
                let workers = WorkerPool::new(scope, helpers(plans * horizon, workers));
                let parts = Differentiation(lagrangian);
                parts.at(&trajectories, &weights, &workers).1
            }),
        };
        let values = |values: Tensor<3>| values.to_data_as::<f32>().iter().collect::<Vec<_>>();
        [values(gradient.latents), values(gradient.actions)].concat()
    }

    /// Of one step, and of enough for several threads.
    #[test]
    fn the_parts_add_up_to_the_gradient_of_the_whole_tape() {
        let bound = Constraint::inequality("bound", |latents, actions| {
            (latents.sum_dim(1) * actions.sum_dim(1)).squeeze_dim(1) - 0.5
        });
        let (reward, residuals) = (Objective::Reward, Objective::Residuals);
        let cases = [
            (reward, vec![]),
            (residuals, vec![]),
            (Objective::LogReward, vec![]),
            (reward, vec![bound]),
        ];
        for (objective, constraints) in &cases {
            for horizon in [1, LEAST_POINTS, MANY_POINTS / 2] {
                let found = |way| gradient(horizon, *objective, constraints, way);
                let whole = found(Way::WholeTape);
                for (closed, workers) in [(false, 1), (false, 4), (true, 1), (true, 2), (true, 6)] {
                    assert_near(&found(Way::Parts { closed, workers }), &whole);
                }
            }
        }
    }

    fn assert_near(parts: &[f32], whole: &[f32]) {
        for (part, whole) in parts.iter().zip(whole) {
            assert!((part - whole).abs() < 1e-4 * whole.abs().max(1.0));
        }
    }
}
