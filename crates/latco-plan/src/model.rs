use burn::tensor::{Tensor, activation::softplus};

use crate::{AutodiffLinearisation, DiagonalGaussian, Linearisation, RewardLinearisation};

/// A model that can be planned with.
///
/// Rows are independent of each other: row `i` of an output depends on row `i` of the inputs
/// alone, so that planners may batch plans, samples and time steps freely. Inputs may be tracked
/// by autodiff, the model's own parameters need not be. Several threads may ask at once.
pub trait LatentModel: Sync {
    /// The size of a latent `z`.
    fn latent_size(&self) -> usize;

    /// The size of an action `a`, each component in `[−1, 1]`.
    fn action_size(&self) -> usize;

    /// The transition `p(z' | z, a)` for `latents` `[rows, latent]` and `actions`
    /// `[rows, action]`.
    fn transition(&self, latents: Tensor<2>, actions: Tensor<2>) -> DiagonalGaussian;

    /// The expected reward `r(z)` of `latents` `[rows, latent]`, `[rows]`.
    fn reward(&self, latents: Tensor<2>) -> Tensor<1>;

    /// The mean `μ(z, a)` of the transition, `[rows, latent]`.
    ///
    /// Override where the mean alone is cheaper.
    fn transition_mean(&self, latents: Tensor<2>, actions: Tensor<2>) -> Tensor<2> {
        self.transition(latents, actions).mean
    }

    /// Residuals `ρ(z)` `[rows, residuals]` whose half sum of squares a least-squares planner
    /// minimises in place of maximising the reward.
    ///
    /// The default is `softplus(−r(z))`, one residual a row (Rybkin et al. 2021, appendix).
    /// Override with true least-squares terms where the reward has that form, or with a logit
    /// where the reward saturates.
    fn reward_residuals(&self, latents: Tensor<2>) -> Tensor<2> {
        softplus(self.reward(latents).neg(), 1.0).unsqueeze_dim(1)
    }

    /// The derivative of `μ` at `latents` `[points, latent]` and `actions` `[points, action]`,
    /// from a model that knows it in closed form.
    ///
    /// `None`, the default, lets [`linearise`](trait.LatentModel.html#method.linearise)
    /// differentiate [`transition_mean`](Self::transition_mean) with autodiff.
    fn analytic_linearisation(
        &self,
        _latents: Tensor<2>,
        _actions: Tensor<2>,
    ) -> Option<Box<dyn Linearisation + '_>> {
        None
    }

    /// The derivative of `[μ, σ]`, mean and standard deviation of the transition side by side,
    /// `[points, 2 · latent]`, from a model that knows it in closed form. Gaussian plans then have
    /// closed forms too; `None`, the default, has them differentiated with autodiff.
    fn analytic_gaussian_linearisation(
        &self,
        _latents: Tensor<2>,
        _actions: Tensor<2>,
    ) -> Option<Box<dyn Linearisation + '_>> {
        None
    }

    /// The reward residuals and their Jacobian at `latents` `[points, latent]`, from a model that
    /// knows them in closed form; `None`, the default, differentiates with autodiff.
    fn analytic_reward_linearisation(&self, _latents: Tensor<2>) -> Option<RewardLinearisation> {
        None
    }

    /// The images behind the latents, for planning among images; `None` where there are none.
    fn image_space(&self) -> Option<&dyn ImageSpace> {
        None
    }
}

/// Images that latents can be decoded to and inferred from.
pub trait ImageSpace: Sync {
    /// Numbers in an image.
    fn image_size(&self) -> usize;

    /// The latents `[rows, latent]` that `images` `[rows, image]` suggest, nothing else known.
    fn encode(&self, images: Tensor<2>) -> Tensor<2>;

    /// The mean images `[rows, image]` of `latents` `[rows, latent]`.
    fn decode(&self, latents: Tensor<2>) -> Tensor<2>;
}

impl dyn LatentModel + '_ {
    /// The derivative of `μ` at `latents` `[points, latent]` and `actions` `[points, action]`:
    /// the model's own, else by autodiff.
    pub fn linearise(&self, latents: Tensor<2>, actions: Tensor<2>) -> Box<dyn Linearisation + '_> {
        self.analytic_linearisation(latents.clone(), actions.clone())
            .unwrap_or_else(|| Box::new(AutodiffLinearisation::new(self, latents, actions)))
    }

    /// The reward residuals and their Jacobian at `latents` `[points, latent]`: the model's own,
    /// else by autodiff, one backward pass a residual.
    pub fn linearise_reward(&self, latents: Tensor<2>) -> RewardLinearisation {
        self.analytic_reward_linearisation(latents.clone())
            .unwrap_or_else(|| RewardLinearisation::by_autodiff(self, latents))
    }
}
