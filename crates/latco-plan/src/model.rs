use burn::tensor::{Tensor, activation::softplus};
use serde::{Deserialize, Serialize};

use crate::{DiagonalGaussian, Differentiable, Rollout};

/// What a plan maximises.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Objective {
    /// `Σ r(z_t)`.
    Reward,
    /// `−½ Σ ‖ρ(z_t)‖²` with the reward residuals ρ, which keep a slope where a bounded reward is
    /// flat.
    Residuals,
    /// `Σ log r(z_t)`, see [`LatentModel::log_reward`].
    LogReward,
}

/// The rewards of a batch of latents.
#[derive(Clone, Debug)]
pub struct Rewards {
    /// Expected rewards `r(z)`, `[rows]`.
    pub expected: Tensor<1>,
    /// Residuals `ρ(z)`, `[rows, residuals]`.
    pub residuals: Tensor<2>,
}

/// The least normalised reward that still has a logarithm in single precision.
const LEAST_REWARD: f64 = 1e-30;

/// A model that can be planned with.
///
/// Rows are independent of each other: row `i` of an output depends on row `i` of the inputs
/// alone, so that planners may batch plans, samples and time steps freely. Inputs may be tracked
/// by autodiff, the model's own parameters need not be. Several threads may ask at once.
///
/// Four methods make a model. The others have defaults that hold for every model; derivatives are
/// taken by autodiff, unless the model is [`Differentiable`] by formulas of its own.
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

    /// The least and the largest reward `[r_min, r_max]` that the model can give; `None`, the default,
    /// where rewards have no bounds or nobody knows them.
    ///
    /// With bounds planners maximise the reward itself, `r_max − r(z)` being half the square of
    /// `√(2 (r_max − r(z)))`; without, they minimise the [residuals](Self::reward_residuals).
    fn reward_range(&self) -> Option<[f64; 2]> {
        None
    }

    /// `log ((r(z) − r_min) / (r_max − r_min))` of `latents` `[rows, latent]`, `[rows]`: at most 0, with
    /// a slope where the reward itself is flat. Without a [range](Self::reward_range) it is
    /// `−½ ‖ρ(z)‖²`, the logarithm of an unnormalised Gaussian reward.
    ///
    /// The default takes the logarithm of the reward, which ends where the reward underflows.
    /// Override with what the reward is made of: `−½ d²/w²` of a Gaussian, `−softplus(−l)` of a logit l.
    fn log_reward(&self, latents: Tensor<2>) -> Tensor<1> {
        match self.reward_range() {
            Some([least, most]) => ((self.reward(latents) - least) / (most - least))
                .clamp_min(LEAST_REWARD)
                .log(),
            None => self
                .reward_residuals(latents)
                .square()
                .sum_dim(1)
                .squeeze_dim::<1>(1)
                .mul_scalar(-0.5),
        }
    }

    /// The standard deviation of white noise on the actions that plans should withstand; 0, the default,
    /// of a model that is exact. The errors of a learned model are of this kind, and plans for it are
    /// chosen by their mean return under such noise.
    fn action_noise(&self) -> f64 {
        0.0
    }

    /// How little the model knows of the transitions from `latents` `[rows, latent]` under `actions`
    /// `[rows, action]`, `[rows]`: a distance between answers that could all be right, such as those of
    /// several networks, in units in which the mean over [a few](crate::Plan::UNFAMILIAR) of the sequences
    /// that the model was trained on exceeds 1. `None`, the default, of a model that cannot tell.
    fn uncertainty(&self, latents: Tensor<2>, actions: Tensor<2>) -> Option<Tensor<1>> {
        let _ = (latents, actions);
        None
    }

    /// Rewards and residuals of `latents` `[rows, latent]`.
    ///
    /// Override where they share their work.
    fn rewards(&self, latents: Tensor<2>) -> Rewards {
        Rewards {
            expected: self.reward(latents.clone()),
            residuals: self.reward_residuals(latents),
        }
    }

    /// Derivatives that the model knows better than autodiff; `None`, the default, has everything
    /// differentiated by autodiff.
    ///
    /// A model with closed forms answers `Some(self)`.
    fn as_differentiable(&self) -> Option<&dyn Differentiable> {
        None
    }

    /// Whole rollouts at once; `None`, the default, takes them step by step.
    fn passes(&self) -> Option<&dyn Passes> {
        None
    }

    /// The images behind the latents, for planning among images; `None` where there are none.
    fn image_space(&self) -> Option<&dyn ImageSpace> {
        None
    }
}

/// Rollouts that a model takes at once: an optimisation, since every operation on tensors takes time to start.
/// All answers are `None` where the tensors are not ones that the model does so for.
pub trait Passes: Sync {
    /// The latents `[plans, horizon, latent]` that `actions` `[plans, horizon, action]` lead to from `start`
    /// `[plans, latent]`, with `defects` `[plans, horizon, latent]` if there are any:
    /// `z_{t+1} = μ(z_t, a_t) + e_t`.
    fn latents_along(
        &self,
        start: Tensor<2>,
        actions: Tensor<3>,
        defects: Option<Tensor<3>>,
    ) -> Option<Tensor<3>>;

    /// The same without defects, and the rewards.
    fn roll_out(&self, start: Tensor<2>, actions: Tensor<3>) -> Option<Rollout>;

    /// The rewards alone; no latent is kept.
    fn rewards_along(&self, start: Tensor<2>, actions: Tensor<3>) -> Option<RewardsAlong>;
}

/// Rewards of `plans · horizon` latents, plan by plan.
#[derive(Clone, Debug)]
pub struct RewardsAlong {
    /// Rewards and residuals.
    pub rewards: Rewards,
    /// Log rewards, `[plans · horizon]`.
    pub logarithms: Tensor<1>,
}

/// Images that latents can be decoded to and inferred from.
pub trait ImageSpace: Sync {
    /// Numbers in an image.
    fn image_size(&self) -> usize;

    /// The mean of `q(z' | o', a, z)`, `[rows, latent]`: what `images` `[rows, image]` tell of the
    /// latents after `actions` `[rows, action]` at `latents` `[rows, latent]`.
    fn infer(&self, latents: Tensor<2>, actions: Tensor<2>, images: Tensor<2>) -> Tensor<2>;

    /// The mean images `[rows, image]` of `latents` `[rows, latent]`.
    fn decode(&self, latents: Tensor<2>) -> Tensor<2>;
}
