//! The gradient of a Lagrangian, by the model's closed forms where it has them.

use burn::tensor::{Gradients, Tensor};

use super::{
    Trajectories,
    terms::{Outputs, Problem, Terms},
};
use crate::{DiagonalGaussian, Linearisation, RewardLinearisation};

/// The model's derivatives in closed form along a batch of trajectories.
struct ClosedForms<'a> {
    dynamics: Box<dyn Linearisation + 'a>,
    reward: RewardLinearisation,
}

impl Problem<'_> {
    /// Every term at `trajectories`, and the gradient of `lagrangian` of them.
    ///
    /// The Lagrangian is `ℓ(z, a, μ(z, a), ρ(z))`. Where the model knows the derivatives of `μ` and
    /// `ρ` in closed form, autodiff differentiates `ℓ` alone, and the chain rule does the rest:
    ///
    /// ```text
    /// ∇z_t = ∂ℓ/∂z_t + (∂μ/∂z)ᵀ ∂ℓ/∂μ_{t+1} + (∂ρ/∂z)ᵀ ∂ℓ/∂ρ_t,     ∇a_t = ∂ℓ/∂a_t + (∂μ/∂a)ᵀ ∂ℓ/∂μ_{t+1}
    /// ```
    ///
    /// so that the model's layers are not recorded on a tape at every iteration.
    pub fn differentiate(
        &self,
        trajectories: &Trajectories,
        lagrangian: impl Fn(&Terms) -> Tensor<1>,
    ) -> (Terms, Trajectories) {
        let leaves = trajectories.leaves();
        let (terms, gradient) = match self.closed_forms(trajectories) {
            Some(forms) => self.differentiate_with(&forms, leaves, lagrangian),
            None => {
                let terms = self.terms(&leaves);
                let mut gradients = lagrangian(&terms).backward();
                (terms, leaves.gradient(&mut gradients))
            }
        };
        (terms.without_autodiff(), gradient)
    }

    /// `None` where the model has no closed forms, or the measure needs more of the dynamics than
    /// their mean.
    fn closed_forms(&self, trajectories: &Trajectories) -> Option<ClosedForms<'_>> {
        if self.needs_deviations() {
            return None;
        }
        let previous = trajectories.previous(self.start.clone()).flatten(0, 1);
        let actions = trajectories.actions.clone().flatten(0, 1);
        let planned = trajectories.latents.clone().flatten(0, 1);
        Some(ClosedForms {
            reward: self.model.analytic_reward_linearisation(planned)?,
            dynamics: self.model.analytic_linearisation(previous, actions)?,
        })
    }

    fn differentiate_with(
        &self,
        forms: &ClosedForms<'_>,
        leaves: Trajectories,
        lagrangian: impl Fn(&Terms) -> Tensor<1>,
    ) -> (Terms, Trajectories) {
        let mean = leaf(&forms.dynamics.value());
        let residuals = leaf(&forms.reward.residuals);
        let terms = self.terms_of(
            &leaves,
            Outputs {
                predicted: DiagonalGaussian::new(mean.clone(), mean.clone()),
                rewards: self.model.reward(leaves.latents.clone().flatten(0, 1)),
                residuals: residuals.clone(),
            },
        );
        let mut gradients = lagrangian(&terms).backward();
        let mut gradient = leaves.gradient(&mut gradients);
        if let Some(cotangents) = mean.grad_remove(&mut gradients) {
            gradient.add_through_dynamics(forms.dynamics.as_ref(), cotangents);
        }
        if let Some(cotangents) = residuals.grad_remove(&mut gradients) {
            gradient.add_through_reward(&forms.reward, cotangents);
        }
        (terms, gradient)
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
        let mut of = |variable: &Tensor<3>| {
            variable
                .grad_remove(gradients)
                .unwrap_or_else(|| variable.clone().without_autodiff().zeros_like())
        };
        Self {
            latents: of(&self.latents),
            actions: of(&self.actions),
        }
    }

    /// Adds what cotangents of the predicted means, `[plans · horizon, latent]`, say of the node and
    /// the action that each step starts from. The first node is given.
    fn add_through_dynamics(&mut self, dynamics: &dyn Linearisation, cotangents: Tensor<2>) {
        let [plans, horizon, latent] = self.latents.dims();
        let points = 0..plans * horizon;
        let (by_previous, by_action) = dynamics.pullback(points, cotangents.unsqueeze_dim(1));
        self.actions = self.actions.clone() + by_action.reshape(self.actions.dims());
        if horizon == 1 {
            return;
        }
        let by_previous = by_previous.reshape([plans, horizon, latent]);
        let later = by_previous.clone().narrow(1, 1, horizon - 1);
        let none = by_previous.narrow(1, 0, 1).zeros_like();
        self.latents = self.latents.clone() + Tensor::cat(vec![later, none], 1);
    }

    /// Adds what cotangents of the reward residuals, `[plans · horizon, residuals]`, say of the
    /// nodes.
    fn add_through_reward(&mut self, reward: &RewardLinearisation, cotangents: Tensor<2>) {
        let by_latent = cotangents.unsqueeze_dim::<3>(2) * reward.jacobian.clone();
        let by_latent = by_latent.sum_dim(1).reshape(self.latents.dims());
        self.latents = self.latents.clone() + by_latent;
    }
}

fn leaf<const D: usize>(values: &Tensor<D>) -> Tensor<D> {
    values.clone().autodiff().require_grad()
}

#[cfg(test)]
mod tests {
    use burn::tensor::Device;

    use super::*;
    use crate::{
        AutodiffLinearisation, LatentModel, Noise,
        collocation::{Measure, Transcription},
    };

    const SHAPE: [usize; 3] = [2, 4, 3];

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

        fn analytic_reward_linearisation(&self, latents: Tensor<2>) -> Option<RewardLinearisation> {
            self.closed
                .then(|| RewardLinearisation::by_autodiff(self, latents))
        }
    }

    /// The gradient of a Lagrangian in which every term has a weight of its own.
    fn gradient(closed: bool) -> Vec<f32> {
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
            let parts = terms.dynamics[0].clone() * weights.clone()
                + terms.rewards.clone() * 0.7
                + terms.residuals.clone() * 1.3
                + terms.actions.clone() * 5.0;
            parts.sum()
        };
        let gradient = problem.differentiate(&trajectories, lagrangian).1;
        let values = |values: Tensor<3>| values.to_data_as::<f32>().iter().collect::<Vec<_>>();
        [values(gradient.latents), values(gradient.actions)].concat()
    }

    #[test]
    fn the_chain_rule_gives_the_gradient_of_the_whole_tape() {
        let (closed, tape) = (gradient(true), gradient(false));
        for (closed, tape) in closed.iter().zip(&tape) {
            assert!((closed - tape).abs() < 1e-4 * tape.abs().max(1.0));
        }
    }
}
