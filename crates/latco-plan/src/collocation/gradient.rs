//! The gradient of a Lagrangian, by the model's closed forms where it has them.

use std::ops::Range;

use burn::tensor::{Gradients, Tensor};

use super::{
    Trajectories,
    multipliers::Multipliers,
    terms::{Problem, Terms, Violations},
};
use crate::{
    DiagonalGaussian, Linearisation, Objective, RewardLinearisation, Rewards,
    threads::{both, on_threads},
};

/// So few points that a thread of their own would not pay.
const LEAST_POINTS: usize = 12;

/// How the gradient of a problem's Lagrangian `Σ_t f(z_t) + Σ λ c + Σ ν b` is taken, `f` being
/// `−r(z)` or `½ ‖ρ(z)‖²`, as the objective says; the constants `λ ε` have no gradient.
///
/// Rewards and constraints are differentiated at the same time. Where the model knows the
/// derivatives of `r`, `ρ` and its mean transition `μ` in closed form, autodiff differentiates the
/// constraints as functions of `z`, `a` and `μ` alone, and the chain rule does the rest:
///
/// ```text
/// ∇z_t = ∂f/∂z_t + ∂c/∂z_t + (∂μ/∂z)ᵀ ∂c/∂μ_{t+1},     ∇a_t = ∂c/∂a_t + (∂μ/∂a)ᵀ ∂c/∂μ_{t+1}
/// ```
///
/// so that the model's layers are not recorded on a tape at every iteration.
pub(super) struct Differentiation<'a> {
    pub problem: &'a Problem<'a>,
    pub objective: Objective,
    /// Threads that share out the work.
    pub workers: usize,
}

impl Differentiation<'_> {
    /// Every term at `trajectories`, and the gradient of the Lagrangian.
    pub fn at(
        &self,
        trajectories: &Trajectories,
        multipliers: &Multipliers,
    ) -> (Terms, Trajectories) {
        let ((rewards, by_reward), (violations, by_violation)) = both(
            self.workers,
            || self.rewards(trajectories),
            || self.violations(trajectories, multipliers),
        );
        let shape = trajectories.latents.dims();
        let gradient = Trajectories {
            latents: by_violation.latents + by_reward.reshape(shape),
            actions: by_violation.actions,
        };
        (Terms::new(rewards, violations), gradient)
    }

    /// The rewards of the nodes, and the gradient of `Σ f`, `[points, node]`.
    fn rewards(&self, trajectories: &Trajectories) -> (Rewards, Tensor<2>) {
        let planned: Tensor<2> = trajectories.latents.clone().flatten(0, 1);
        let shares = on_threads(self.shares(planned.dims()[0]), |points| {
            let nodes = planned.clone().narrow(0, points.start, points.len());
            let model = self.problem.model;
            match model.analytic_reward_linearisation(nodes.clone(), self.objective) {
                Some(closed) => self.rewards_in_closed_form(closed),
                None => self.rewards_by_tape(nodes),
            }
        });
        let joined_by = |part: fn(&(Rewards, Tensor<2>)) -> Tensor<2>| {
            Tensor::cat(shares.iter().map(part).collect(), 0)
        };
        let expected = shares.iter().map(|share| share.0.expected.clone());
        let rewards = Rewards {
            expected: Tensor::cat(expected.collect(), 0),
            residuals: joined_by(|share| share.0.residuals.clone()),
        };
        (rewards, joined_by(|share| share.1.clone()))
    }

    fn rewards_in_closed_form(&self, reward: RewardLinearisation) -> (Rewards, Tensor<2>) {
        let RewardLinearisation { rewards, jacobian } = reward;
        let gradient = match self.objective {
            Objective::Reward => jacobian.neg(),
            Objective::Residuals => jacobian * rewards.residuals.clone().unsqueeze_dim(2),
        };
        (rewards, gradient.sum_dim(1).squeeze_dim(1))
    }

    fn rewards_by_tape(&self, nodes: Tensor<2>) -> (Rewards, Tensor<2>) {
        let nodes = leaf(&nodes);
        let rewards = self.problem.model.rewards(nodes.clone());
        let cost = match self.objective {
            Objective::Reward => rewards.expected.clone().sum().neg(),
            Objective::Residuals => rewards.residuals.clone().square().sum() * 0.5,
        };
        let gradient = match cost.is_tracked() {
            true => gradient_at(&nodes, &mut cost.backward()),
            false => nodes.without_autodiff().zeros_like(),
        };
        let rewards = Rewards {
            expected: rewards.expected.without_autodiff(),
            residuals: rewards.residuals.without_autodiff(),
        };
        (rewards, gradient)
    }

    /// The violations, and the gradient of `Σ λ c + Σ ν b`.
    fn violations(
        &self,
        trajectories: &Trajectories,
        multipliers: &Multipliers,
    ) -> (Violations, Trajectories) {
        let problem = self.problem;
        let leaves = trajectories.leaves();
        let penalty = |predicted: &DiagonalGaussian| {
            let violations = problem.violations(&leaves, predicted);
            let penalty = violations.penalty(multipliers).sum();
            (violations.without_autodiff(), penalty)
        };
        let Some(dynamics) = self.dynamics(trajectories) else {
            let previous = leaves.previous(problem.start.clone()).flatten(0, 1);
            let actions = leaves.actions.clone().flatten(0, 1);
            let (violations, penalty) = penalty(&problem.predict(previous, actions));
            return (violations, leaves.gradient(&mut penalty.backward()));
        };
        let means = dynamics.iter().map(|share| share.derivative.value());
        let mean = leaf(&Tensor::cat(means.collect(), 0));
        let predicted = DiagonalGaussian::new(mean.clone(), mean.clone());
        let (violations, penalty) = penalty(&predicted);
        let mut gradients = penalty.backward();
        let mut gradient = leaves.gradient(&mut gradients);
        let of_mean = gradient_at(&mean, &mut gradients);
        let shares = on_threads(dynamics, |share| share.pull_back(&of_mean));
        let (previous, actions): (Vec<_>, Vec<_>) = shares.into_iter().unzip();
        gradient.add_of_starts(Tensor::cat(previous, 0), Tensor::cat(actions, 0));
        (violations, gradient)
    }

    /// The derivative of the mean transition in closed form; `None` where the model has none, or the
    /// measure needs more of the dynamics than their mean.
    fn dynamics(&self, trajectories: &Trajectories) -> Option<Vec<Share<'_>>> {
        if self.problem.needs_deviations() {
            return None;
        }
        let previous: Tensor<2> = trajectories
            .previous(self.problem.start.clone())
            .flatten(0, 1);
        let actions = trajectories.actions.clone().flatten(0, 1);
        let shares = on_threads(self.shares(previous.dims()[0]), |points| {
            let of = |rows: &Tensor<2>| rows.clone().narrow(0, points.start, points.len());
            let model = self.problem.model;
            Some(Share {
                derivative: model.analytic_linearisation(of(&previous), of(&actions))?,
                points,
            })
        });
        shares.into_iter().collect()
    }

    /// The points of each thread, in order: rewards and constraints have half of the workers each.
    fn shares(&self, points: usize) -> Vec<Range<usize>> {
        let threads = (self.workers / 2).min(points / LEAST_POINTS).max(1);
        let first = |thread: usize| thread * points / threads;
        (0..threads)
            .map(|thread| first(thread)..first(thread + 1))
            .collect()
    }
}

/// The derivative of the mean transition at some of the points.
struct Share<'a> {
    points: Range<usize>,
    derivative: Box<dyn Linearisation + 'a>,
}

impl Share<'_> {
    /// What cotangents of all predicted means, `[points, node]`, say of these points' nodes and
    /// actions.
    fn pull_back(self, of_mean: &Tensor<2>) -> (Tensor<2>, Tensor<2>) {
        let count = self.points.len();
        let own = of_mean.clone().narrow(0, self.points.start, count);
        let (previous, actions) = self.derivative.pullback(0..count, own.unsqueeze_dim(1));
        (previous.squeeze_dim(1), actions.squeeze_dim(1))
    }
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

    /// Adds the gradient by the nodes and actions that steps start from, `plans · horizon` rows. The
    /// first node is given.
    fn add_of_starts(&mut self, previous: Tensor<2>, actions: Tensor<2>) {
        let [plans, horizon, latent] = self.latents.dims();
        let previous = previous.reshape([plans, horizon, latent]);
        let later = previous.clone().narrow(1, 1, horizon - 1);
        let none = previous.narrow(1, 0, 1).zeros_like();
        self.latents = self.latents.clone() + Tensor::cat(vec![later, none], 1);
        self.actions = self.actions.clone() + actions.reshape(self.actions.dims());
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
    use burn::tensor::Device;

    use super::*;
    use crate::{
        AutodiffLinearisation, LatentModel, Noise,
        collocation::{Measure, Transcription},
    };

    /// Enough points for three threads.
    const SHAPE: [usize; 3] = [3, LEAST_POINTS, 3];

    /// `μ = tanh(z + 0.3 (a₁ + a₂))`, `r = Σ z²`; with closed forms if asked for.
    struct Bent {
        closed: bool,
    }

    impl LatentModel for Bent {
        fn latent_size(&self) -> usize {
            SHAPE[2]
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

        fn analytic_linearisation(
            &self,
            latents: Tensor<2>,
            actions: Tensor<2>,
        ) -> Option<Box<dyn Linearisation + '_>> {
            let by_autodiff = || AutodiffLinearisation::new(self, latents, actions);
            self.closed.then(|| Box::new(by_autodiff()) as Box<_>)
        }

        fn analytic_reward_linearisation(
            &self,
            latents: Tensor<2>,
            objective: Objective,
        ) -> Option<RewardLinearisation> {
            self.closed
                .then(|| RewardLinearisation::by_autodiff(self, latents, objective))
        }
    }

    /// How a gradient is found.
    #[derive(Clone, Copy)]
    enum Way {
        WholeTape,
        Parts { closed: bool, workers: usize },
    }

    /// The gradient of a Lagrangian in which every term has a weight of its own.
    fn gradient(objective: Objective, way: Way) -> Vec<f32> {
        let device = Device::default();
        let mut noise = Noise::new(3);
        let [plans, horizon, latent] = SHAPE;
        let problem = Problem {
            model: &Bent {
                closed: matches!(way, Way::Parts { closed: true, .. }),
            },
            start: noise.normal([plans, latent], &device),
            transcription: Transcription::Deterministic,
            measure: Measure::Moments,
            constraints: &[],
        };
        let trajectories = Trajectories {
            latents: noise.normal(SHAPE, &device),
            actions: noise.normal([plans, horizon, 2], &device) * 2.0,
        };
        let mut weights = || noise.uniform([plans, horizon], &device) + 2.0;
        let multipliers = Multipliers {
            dynamics: vec![weights()],
            actions: weights(),
            user: Vec::new(),
        };
        let gradient = match way {
            Way::WholeTape => {
                let leaves = trajectories.leaves();
                let terms = problem.terms(&leaves);
                let cost = match objective {
                    Objective::Reward => terms.rewards.neg(),
                    Objective::Residuals => terms.residuals * 0.5,
                };
                let lagrangian = cost + terms.violations.penalty(&multipliers);
                leaves.gradient(&mut lagrangian.sum().backward())
            }
            Way::Parts { workers, .. } => {
                let differentiation = Differentiation {
                    problem: &problem,
                    objective,
                    workers,
                };
                differentiation.at(&trajectories, &multipliers).1
            }
        };
        let values = |values: Tensor<3>| values.to_data_as::<f32>().iter().collect::<Vec<_>>();
        [values(gradient.latents), values(gradient.actions)].concat()
    }

    #[test]
    fn the_parts_add_up_to_the_gradient_of_the_whole_tape() {
        for objective in [Objective::Reward, Objective::Residuals] {
            let whole = gradient(objective, Way::WholeTape);
            for (closed, workers) in [(false, 1), (false, 4), (true, 1), (true, 2), (true, 6)] {
                let parts = gradient(objective, Way::Parts { closed, workers });
                for (part, whole) in parts.iter().zip(&whole) {
                    assert!((part - whole).abs() < 1e-4 * whole.abs().max(1.0));
                }
            }
        }
    }
}
