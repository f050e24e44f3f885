use std::ops::{Deref, Range};

use burn::tensor::Tensor;

use crate::{
    ConfigError, DiagonalGaussian, ImageSpace, LatentModel, Linearisation, Objective,
    RewardLinearisation,
};

/// A model whose reward is the closeness of its latents to a goal, in place of its own:
///
/// ```text
/// r(z) = −½ ‖z − g‖²,      ρ(z) = z − g      (over the chosen components)
/// ```
///
/// Every planner plans with it as with the model itself. As with the goal images of Nair et al.,
/// "Visual Reinforcement Learning with Imagined Goals" (arXiv 1807.04742), distances between latents
/// stand for distances between what they depict.
pub struct LatentGoal<'a> {
    model: Base<'a>,
    goal: Tensor<2>,
    components: Range<usize>,
}

/// A model of somebody else's, or one of our own.
enum Base<'a> {
    Borrowed(&'a dyn LatentModel),
    Owned(Box<dyn LatentModel + 'a>),
}

impl<'a> Deref for Base<'a> {
    type Target = dyn LatentModel + 'a;

    fn deref(&self) -> &Self::Target {
        match self {
            Self::Borrowed(model) => *model,
            Self::Owned(model) => model.as_ref(),
        }
    }
}

impl<'a> LatentGoal<'a> {
    /// The goal to come to the latent `goal` `[latent]` of `model`, and stay there.
    ///
    /// # Errors
    ///
    /// If the goal has another size than the model's latent.
    pub fn new(model: &'a dyn LatentModel, goal: Tensor<1>) -> Result<Self, ConfigError> {
        let size = goal.dims()[0];
        ConfigError::require(
            size == model.latent_size(),
            "goal",
            size,
            "as many components as the model's latent",
        )?;
        Ok(Self {
            components: 0..size,
            goal: goal.unsqueeze_dim(0),
            model: Base::Borrowed(model),
        })
    }

    /// Only these components of the latent count.
    ///
    /// # Errors
    ///
    /// If the latent has no such components, or there are none of them.
    pub fn over(mut self, components: Range<usize>) -> Result<Self, ConfigError> {
        ConfigError::require(
            components.start < components.end && components.end <= self.model.latent_size(),
            "components",
            format!("{}..{}", components.start, components.end),
            "a range within the model's latent",
        )?;
        self.components = components;
        Ok(self)
    }

    /// `z − g` over the chosen components, `[rows, components]`.
    fn difference(&self, latents: Tensor<2>) -> Tensor<2> {
        let goal = if latents.is_tracked() {
            self.goal.clone().autodiff()
        } else {
            self.goal.clone()
        };
        (latents - goal).narrow(1, self.components.start, self.components.len())
    }
}

impl LatentModel for LatentGoal<'_> {
    fn latent_size(&self) -> usize {
        self.model.latent_size()
    }

    fn action_size(&self) -> usize {
        self.model.action_size()
    }

    fn transition(&self, latents: Tensor<2>, actions: Tensor<2>) -> DiagonalGaussian {
        self.model.transition(latents, actions)
    }

    fn reward(&self, latents: Tensor<2>) -> Tensor<1> {
        let squares = self.difference(latents).square();
        squares.sum_dim(1).squeeze_dim::<1>(1) * -0.5
    }

    fn transition_mean(&self, latents: Tensor<2>, actions: Tensor<2>) -> Tensor<2> {
        self.model.transition_mean(latents, actions)
    }

    fn reward_residuals(&self, latents: Tensor<2>) -> Tensor<2> {
        self.difference(latents)
    }

    fn action_noise(&self) -> f64 {
        self.model.action_noise()
    }

    fn analytic_linearisation(
        &self,
        latents: Tensor<2>,
        actions: Tensor<2>,
    ) -> Option<Box<dyn Linearisation + '_>> {
        self.model.analytic_linearisation(latents, actions)
    }

    fn analytic_gaussian_linearisation(
        &self,
        latents: Tensor<2>,
        actions: Tensor<2>,
    ) -> Option<Box<dyn Linearisation + '_>> {
        self.model.analytic_gaussian_linearisation(latents, actions)
    }

    fn analytic_reward_linearisation(
        &self,
        latents: Tensor<2>,
        objective: Objective,
    ) -> Option<RewardLinearisation> {
        let [points, latent] = latents.dims();
        let unit = Tensor::<2>::eye(latent, &latents.device());
        let rows = unit.narrow(0, self.components.start, self.components.len());
        let rewards = self.rewards(latents);
        let jacobian = match objective {
            // The logarithm of an unnormalised Gaussian is this reward itself.
            Objective::Reward | Objective::LogReward => rewards
                .residuals
                .clone()
                .neg()
                .matmul(rows)
                .unsqueeze_dim(1),
            Objective::Residuals => rows.unsqueeze_dim::<3>(0).repeat_dim(0, points),
        };
        Some(RewardLinearisation { rewards, jacobian })
    }

    fn prepared(&self) -> Option<Box<dyn LatentModel + '_>> {
        let prepared = self.model.prepared()?;
        Some(Box::new(LatentGoal {
            model: Base::Owned(prepared),
            goal: self.goal.clone(),
            components: self.components.clone(),
        }))
    }

    fn image_space(&self) -> Option<&dyn ImageSpace> {
        self.model.image_space()
    }
}
