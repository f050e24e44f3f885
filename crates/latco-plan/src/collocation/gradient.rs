//! The gradient of a Lagrangian, by the model's closed forms where it has them.

use std::ops::Range;

use burn::tensor::{Gradients, Tensor};

use super::{
    Trajectories,
    terms::{Outputs, Problem, Terms},
};
use crate::{
    DiagonalGaussian, Linearisation, Objective, RewardLinearisation, Rewards, threads::on_threads,
};

/// So few points that a thread of their own would not pay.
const LEAST_POINTS: usize = 12;

/// How the gradient of a problem's Lagrangian is taken.
///
/// The Lagrangian is `ℓ(z, a, μ(z, a), ρ(z))`, or `r(z)` in place of `ρ(z)`, as the objective says.
/// Where the model knows the derivatives of `μ` and `ρ` in closed form, autodiff differentiates `ℓ`
/// alone, and the chain rule does the rest:
///
/// ```text
/// ∇z_t = ∂ℓ/∂z_t + (∂μ/∂z)ᵀ ∂ℓ/∂μ_{t+1} + (∂ρ/∂z)ᵀ ∂ℓ/∂ρ_t,     ∇a_t = ∂ℓ/∂a_t + (∂μ/∂a)ᵀ ∂ℓ/∂μ_{t+1}
/// ```
///
/// so that the model's layers are not recorded on a tape at every iteration.
pub(super) struct Differentiation<'a> {
    pub problem: &'a Problem<'a>,
    pub objective: Objective,
    /// Threads that share out the steps of all plans.
    pub workers: usize,
}

/// The model's derivatives in closed form along a batch of trajectories, for some of its points
/// each.
struct ClosedForms<'a> {
    parts: Vec<Part<'a>>,
    objective: Objective,
}

/// Some of the points.
struct Part<'a> {
    points: Range<usize>,
    dynamics: Box<dyn Linearisation + 'a>,
    reward: RewardLinearisation,
}

/// What the points receive from their cotangents, a row each.
struct Received {
    previous: Tensor<2>,
    actions: Tensor<2>,
    latents: Tensor<2>,
}

impl Differentiation<'_> {
    /// Every term at `trajectories`, and the gradient of `lagrangian` of them.
    pub fn at(
        &self,
        trajectories: &Trajectories,
        lagrangian: impl Fn(&Terms) -> Tensor<1>,
    ) -> (Terms, Trajectories) {
        let leaves = trajectories.leaves();
        let (terms, gradient) = match self.closed_forms(trajectories) {
            Some(forms) => forms.differentiate(self.problem, leaves, lagrangian),
            None => {
                let terms = self.problem.terms(&leaves);
                let mut gradients = lagrangian(&terms).backward();
                (terms, leaves.gradient(&mut gradients))
            }
        };
        (terms.without_autodiff(), gradient)
    }

    /// `None` where the model has no closed forms, or the measure needs more of the dynamics than
    /// their mean.
    fn closed_forms(&self, trajectories: &Trajectories) -> Option<ClosedForms<'_>> {
        let Self {
            problem, objective, ..
        } = *self;
        if problem.needs_deviations() {
            return None;
        }
        let previous = trajectories.previous(problem.start.clone()).flatten(0, 1);
        let actions: Tensor<2> = trajectories.actions.clone().flatten(0, 1);
        let planned = trajectories.latents.clone().flatten(0, 1);
        let parts = on_threads(self.shares(actions.dims()[0]), |points| {
            let of = |rows: &Tensor<2>| rows.clone().narrow(0, points.start, points.len());
            let model = problem.model;
            Some(Part {
                reward: model.analytic_reward_linearisation(of(&planned), objective)?,
                dynamics: model.analytic_linearisation(of(&previous), of(&actions))?,
                points,
            })
        });
        let parts: Option<Vec<_>> = parts.into_iter().collect();
        parts.map(|parts| ClosedForms { parts, objective })
    }

    /// The points of each thread, in order.
    fn shares(&self, points: usize) -> Vec<Range<usize>> {
        let threads = self.workers.min(points / LEAST_POINTS).max(1);
        let first = |thread: usize| thread * points / threads;
        (0..threads)
            .map(|thread| first(thread)..first(thread + 1))
            .collect()
    }
}

impl ClosedForms<'_> {
    fn differentiate(
        self,
        problem: &Problem<'_>,
        leaves: Trajectories,
        lagrangian: impl Fn(&Terms) -> Tensor<1>,
    ) -> (Terms, Trajectories) {
        let mean = leaf(&self.joined(|part| part.dynamics.value()));
        let residuals = leaf(&self.joined(|part| part.reward.rewards.residuals.clone()));
        let expected = leaf(&self.joined(|part| part.reward.rewards.expected.clone()));
        let outputs = Outputs {
            predicted: DiagonalGaussian::new(mean.clone(), mean.clone()),
            rewards: Rewards {
                expected: expected.clone(),
                residuals: residuals.clone(),
            },
        };
        let terms = problem.terms_of(&leaves, outputs);
        let mut gradients = lagrangian(&terms).backward();
        let mut gradient = leaves.gradient(&mut gradients);
        let of_mean = gradient_at(&mean, &mut gradients);
        let of_reward = match self.objective {
            Objective::Reward => gradient_at(&expected, &mut gradients).unsqueeze_dim(1),
            Objective::Residuals => gradient_at(&residuals, &mut gradients),
        };
        gradient.add(self.pull_back(&of_mean, &of_reward));
        (terms, gradient)
    }

    fn joined<const D: usize>(&self, of: impl Fn(&Part<'_>) -> Tensor<D>) -> Tensor<D> {
        Tensor::cat(self.parts.iter().map(of).collect(), 0)
    }

    /// What cotangents of the predicted means, `[points, latent]`, and of rewards or residuals,
    /// `[points, outputs]`, say of nodes and actions.
    fn pull_back(self, of_mean: &Tensor<2>, of_reward: &Tensor<2>) -> Received {
        let received = on_threads(self.parts, |part| part.pull_back(of_mean, of_reward));
        let joined = |of: fn(&Received) -> &Tensor<2>| {
            Tensor::cat(received.iter().map(|one| of(one).clone()).collect(), 0)
        };
        Received {
            previous: joined(|one| &one.previous),
            actions: joined(|one| &one.actions),
            latents: joined(|one| &one.latents),
        }
    }
}

impl Part<'_> {
    fn pull_back(self, of_mean: &Tensor<2>, of_reward: &Tensor<2>) -> Received {
        let count = self.points.len();
        let own = |rows: &Tensor<2>| rows.clone().narrow(0, self.points.start, count);
        let of_mean = own(of_mean).unsqueeze_dim(1);
        let (previous, actions) = self.dynamics.pullback(0..count, of_mean);
        let of_reward = own(of_reward).unsqueeze_dim::<3>(2);
        Received {
            previous: previous.squeeze_dim(1),
            actions: actions.squeeze_dim(1),
            latents: (of_reward * self.reward.jacobian).sum_dim(1).squeeze_dim(1),
        }
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

    /// Adds what the points of all plans received: the nodes and actions that steps start from (the
    /// first node is given), and the nodes that they end in.
    fn add(&mut self, received: Received) {
        let [plans, horizon, latent] = self.latents.dims();
        let Received {
            previous,
            actions,
            latents,
        } = received;
        let previous = previous.reshape([plans, horizon, latent]);
        let later = previous.clone().narrow(1, 1, horizon - 1);
        let none = previous.narrow(1, 0, 1).zeros_like();
        self.latents = self.latents.clone()
            + latents.reshape([plans, horizon, latent])
            + Tensor::cat(vec![later, none], 1);
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

    /// The gradient of a Lagrangian in which every term has a weight of its own.
    fn gradient(closed: bool, objective: Objective, workers: usize) -> Vec<f32> {
        let device = Device::default();
        let mut noise = Noise::new(3);
        let [plans, horizon, latent] = SHAPE;
        let problem = Problem {
            model: &Bent { closed },
            start: noise.normal([plans, latent], &device),
            transcription: Transcription::Deterministic,
            measure: Measure::Moments,
            constraints: &[],
        };
        let trajectories = Trajectories {
            latents: noise.normal(SHAPE, &device),
            actions: noise.normal([plans, horizon, 2], &device) * 2.0,
        };
        let weights = noise.uniform([plans, horizon], &device) + 2.0;
        let lagrangian = |terms: &Terms| {
            let reward = match objective {
                Objective::Reward => terms.rewards.clone() * 0.7,
                Objective::Residuals => terms.residuals.clone() * 1.3,
            };
            let parts = terms.dynamics[0].clone() * weights.clone() + terms.actions.clone() * 5.0;
            (parts + reward).sum()
        };
        let differentiation = Differentiation {
            problem: &problem,
            objective,
            workers,
        };
        let gradient = differentiation.at(&trajectories, lagrangian).1;
        let values = |values: Tensor<3>| values.to_data_as::<f32>().iter().collect::<Vec<_>>();
        [values(gradient.latents), values(gradient.actions)].concat()
    }

    #[test]
    fn the_chain_rule_gives_the_gradient_of_the_whole_tape() {
        for objective in [Objective::Reward, Objective::Residuals] {
            let tape = gradient(false, objective, 1);
            for workers in [1, 2, 3] {
                let closed = gradient(true, objective, workers);
                for (closed, tape) in closed.iter().zip(&tape) {
                    assert!((closed - tape).abs() < 1e-4 * tape.abs().max(1.0));
                }
            }
        }
    }
}
