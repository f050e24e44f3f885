use std::ops::Range;

use burn::tensor::Tensor;

use crate::{
    ConfigError, DiagonalGaussian, Differentiable, ImageSpace, LatentModel, Linearisation,
    Objective, RewardLinearisation, base::Base,
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

    fn uncertainty(&self, latents: Tensor<2>, actions: Tensor<2>) -> Option<Tensor<1>> {
        self.model.uncertainty(latents, actions)
    }

    fn as_differentiable(&self) -> Option<&dyn Differentiable> {
        Some(self)
    }

    fn image_space(&self) -> Option<&dyn ImageSpace> {
        self.model.image_space()
    }
}

impl Differentiable for LatentGoal<'_> {
    fn linearise(&self, latents: Tensor<2>, actions: Tensor<2>) -> Box<dyn Linearisation + '_> {
        self.model.linearise(latents, actions)
    }

    fn linearise_moments(
        &self,
        latents: Tensor<2>,
        actions: Tensor<2>,
    ) -> Box<dyn Linearisation + '_> {
        self.model.linearise_moments(latents, actions)
    }

    fn linearise_reward(&self, latents: Tensor<2>, objective: Objective) -> RewardLinearisation {
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
        RewardLinearisation { rewards, jacobian }
    }

    fn prepared(&self) -> Option<Box<dyn LatentModel + '_>> {
        let prepared = self.model.as_differentiable()?.prepared()?;
        Some(Box::new(LatentGoal {
            model: Base::Owned(prepared),
            goal: self.goal.clone(),
            components: self.components.clone(),
        }))
    }
}
