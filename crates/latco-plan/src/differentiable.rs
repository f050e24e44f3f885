use burn::tensor::Tensor;

use crate::{AutodiffLinearisation, LatentModel, Linearisation, Objective, RewardLinearisation};

/// Closed forms of a model's derivatives: an optimisation, since autodiff gives the same for every
/// [`LatentModel`], and slower.
///
/// A model that has them implements this trait and answers `Some(self)` from
/// [`LatentModel::as_differentiable`]. Where it lacks a formula for one of the three it returns what
/// autodiff gives: an [`AutodiffLinearisation`], or [`RewardLinearisation::by_autodiff`].
pub trait Differentiable: Sync {
    /// The derivative of the mean transition `μ` at `latents` `[points, latent]` and `actions`
    /// `[points, action]`.
    fn linearise(&self, latents: Tensor<2>, actions: Tensor<2>) -> Box<dyn Linearisation + '_>;

    /// The derivative of `[μ, σ]`, mean and standard deviation of the transition side by side,
    /// `[points, 2 · latent]`, at `latents` `[points, latent]` and `actions` `[points, action]`: what
    /// Gaussian plans differentiate.
    fn linearise_moments(
        &self,
        latents: Tensor<2>,
        actions: Tensor<2>,
    ) -> Box<dyn Linearisation + '_>;

    /// The rewards at `latents` `[points, latent]` and the derivative of what `objective` is made of.
    fn linearise_reward(&self, latents: Tensor<2>, objective: Objective) -> RewardLinearisation;

    /// The same model with what its many calls in a plan would each compute anew, such as transposed
    /// weights, at hand: asked for once a plan. `None`, the default, where there is nothing of the
    /// kind.
    fn prepared(&self) -> Option<Box<dyn LatentModel + '_>> {
        None
    }
}

/// Every model has derivatives: its own closed forms, else those of autodiff.
impl dyn LatentModel + '_ {
    /// See [`Differentiable::linearise`].
    pub fn linearise(&self, latents: Tensor<2>, actions: Tensor<2>) -> Box<dyn Linearisation + '_> {
        match self.as_differentiable() {
            Some(model) => model.linearise(latents, actions),
            None => Box::new(AutodiffLinearisation::new(self, latents, actions)),
        }
    }

    /// See [`Differentiable::linearise_moments`].
    pub fn linearise_moments(
        &self,
        latents: Tensor<2>,
        actions: Tensor<2>,
    ) -> Box<dyn Linearisation + '_> {
        match self.as_differentiable() {
            Some(model) => model.linearise_moments(latents, actions),
            None => Box::new(AutodiffLinearisation::of_moments(self, latents, actions)),
        }
    }

    /// See [`Differentiable::linearise_reward`].
    pub fn linearise_reward(
        &self,
        latents: Tensor<2>,
        objective: Objective,
    ) -> RewardLinearisation {
        match self.as_differentiable() {
            Some(model) => model.linearise_reward(latents, objective),
            None => RewardLinearisation::by_autodiff(self, latents, objective),
        }
    }
}
