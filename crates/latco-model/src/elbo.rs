use burn::tensor::Tensor;
use latco_plan::{ConfigError, DiagonalGaussian, Noise};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{Batch, WorldModel, dynamics::Transition};

/// Weights of the evidence lower bound.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ElboConfig {
    /// Nats of KL divergence a step that cost nothing.
    pub free_nats: f64,
    /// Weight β of the KL divergence.
    pub kl_scale: f64,
    /// How much more the KL divergence moves the prior than the posterior, in `[0, 1]`: ½ treats
    /// them alike, as the evidence lower bound does, larger values teach the prior first (Hafner
    /// et al., arXiv 2010.02193, algorithm 2).
    pub kl_balance: f64,
    /// Weight of the image's log-likelihood.
    pub pixel_scale: f64,
    /// Weight of the reward's log-likelihood.
    pub reward_scale: f64,
    /// Weight of the open-loop likelihoods: images and rewards of a sequence's second half, from
    /// latents that the prior's mean carries on from its middle. They teach the dynamics what
    /// planners use them for; 0 leaves the evidence lower bound alone.
    pub open_loop_scale: f64,
}

impl Default for ElboConfig {
    /// Settings under which small moving things are found early: likelihood ×10, one free nat.
    fn default() -> Self {
        Self {
            free_nats: 1.0,
            kl_scale: 1.0,
            kl_balance: 0.8,
            pixel_scale: 10.0,
            reward_scale: 10.0,
            open_loop_scale: 1.0,
        }
    }
}

impl ElboConfig {
    /// The weights of PlaNet and LatCo: three free nats, all scales one.
    pub fn paper() -> Self {
        Self {
            free_nats: 3.0,
            kl_scale: 1.0,
            kl_balance: 0.5,
            pixel_scale: 1.0,
            reward_scale: 1.0,
            open_loop_scale: 0.0,
        }
    }

    /// Refuses weights that are negative or not finite.
    ///
    /// # Errors
    ///
    /// Names the first such weight.
    pub fn validate(&self) -> Result<(), ConfigError> {
        ConfigError::require_non_negative("free_nats", self.free_nats)?;
        ConfigError::require_non_negative("kl_scale", self.kl_scale)?;
        ConfigError::require(
            (0.0..=1.0).contains(&self.kl_balance),
            "kl_balance",
            self.kl_balance,
            "between 0 and 1",
        )?;
        ConfigError::require_non_negative("pixel_scale", self.pixel_scale)?;
        ConfigError::require_non_negative("reward_scale", self.reward_scale)?;
        ConfigError::require_non_negative("open_loop_scale", self.open_loop_scale)
    }
}

/// The negative evidence lower bound of a batch and its parts, each a mean over sequences and
/// steps, `[1]`.
#[derive(Clone, Debug)]
pub struct Elbo {
    /// `pixel_scale · image + reward_scale · reward + kl_scale · max(kl, free_nats)`.
    pub loss: Tensor<1>,
    /// `−log p(o | z)` with unit variance, up to a constant.
    pub image: Tensor<1>,
    /// `−log p(r | z)`, up to a constant.
    pub reward: Tensor<1>,
    /// `KL(q ‖ p)`, free nats not applied.
    pub kl: Tensor<1>,
}

impl WorldModel {
    /// The negative evidence lower bound of `batch` (Hafner et al., arXiv 1811.04551, eq. 3) with
    /// one reparametrised sample a step.
    ///
    /// A sequence starts from the zero latent, and its first action is taken as zero, since what
    /// came before is not part of it.
    pub fn elbo(&self, batch: &Batch, config: &ElboConfig, noise: &mut Noise) -> Elbo {
        let blocks = self.blocks(batch.images.clone());
        let (latents, kl) = self.infer(batch, blocks.clone(), config.kl_balance, noise);
        let rewards = batch.rewards.clone().flatten(0, 1);
        let (image, reward) = self.likelihoods(latents.clone(), &blocks, &rewards);
        let weighted = |image: Tensor<1>, reward: Tensor<1>| {
            image * config.pixel_scale + reward * config.reward_scale
        };
        let mut loss = weighted(image.clone(), reward.clone())
            + kl.clone().clamp_min(config.free_nats) * config.kl_scale;
        if config.open_loop_scale > 0.0 && batch.length() > 1 {
            let (image, reward) = self.open_loop_likelihoods(batch, latents, &blocks, &rewards);
            loss = loss + weighted(image, reward) * config.open_loop_scale;
        }
        Elbo {
            loss,
            image,
            reward,
            kl,
        }
    }

    /// Mean `−log p(o | z)` and `−log p(r | z)` of `latents` `[frames, latent]`, `[1]` each.
    fn likelihoods(
        &self,
        latents: Tensor<2>,
        blocks: &Tensor<4>,
        rewards: &Tensor<1>,
    ) -> (Tensor<1>, Tensor<1>) {
        let error = self.decoder.forward(latents.clone()) - blocks.clone();
        let image = error.square().sum_dims_squeeze::<1, i64>(&[1, 2, 3]).mean() * 0.5;
        let reward = self
            .reward
            .negative_log_likelihood(latents, rewards.clone())
            .mean();
        (image, reward)
    }

    /// The likelihoods of the second half, from latents that the prior's mean carries on from the
    /// last of the first half's `latents` `[length · rows, latent]`.
    fn open_loop_likelihoods(
        &self,
        batch: &Batch,
        latents: Tensor<2>,
        blocks: &Tensor<4>,
        rewards: &Tensor<1>,
    ) -> (Tensor<1>, Tensor<1>) {
        let (length, rows) = (batch.length(), batch.rows());
        let middle = length / 2;
        let mut latent = latents.narrow(0, (middle - 1) * rows, rows);
        let predicted = (middle..length)
            .map(|step| {
                let action = batch.actions.clone().narrow(0, step, 1).squeeze_dim::<2>(0);
                latent = self.dynamics.prior_mean(latent.clone(), action);
                latent.clone()
            })
            .collect();
        let (first, count) = (middle * rows, (length - middle) * rows);
        self.likelihoods(
            Tensor::cat(predicted, 0),
            &blocks.clone().narrow(0, first, count),
            &rewards.clone().narrow(0, first, count),
        )
    }

    /// Samples of the posterior along the batch, `[length · rows, latent]`, and the mean
    /// `KL(q ‖ p)` of a step.
    fn infer(
        &self,
        batch: &Batch,
        blocks: Tensor<4>,
        balance: f64,
        noise: &mut Noise,
    ) -> (Tensor<2>, Tensor<1>) {
        let (length, rows) = (batch.length(), batch.rows());
        let device = batch.actions.device();
        let embeddings = self.encoder.forward(blocks);
        let stochastic = self.config().stochastic;
        let mut latent = self.initial_latent(rows, &device);
        let mut latents = Vec::with_capacity(length);
        let mut divergences = Vec::with_capacity(length);
        for step in 0..length {
            let action = batch.actions.clone().narrow(0, step, 1).squeeze_dim::<2>(0);
            let action = if step == 0 {
                action.zeros_like()
            } else {
                action
            };
            let embedding = embeddings.clone().narrow(0, step * rows, rows);
            let transition = self.dynamics.transition(latent, action, embedding);
            let sample = transition
                .posterior
                .sample(noise.normal([rows, stochastic], &device));
            divergences.push(balanced_kl(&transition, balance));
            latent = transition.latent(sample);
            latents.push(latent.clone());
        }
        (Tensor::cat(latents, 0), Tensor::cat(divergences, 0).mean())
    }
}

/// `KL(q ‖ p)` of each row, `[rows]`, whose gradient is weighted `2α` for the prior and
/// `2 (1 − α)` for the posterior.
fn balanced_kl(transition: &Transition, balance: f64) -> Tensor<1> {
    let Transition {
        prior, posterior, ..
    } = transition;
    if balance == 0.5 {
        return posterior.kl_divergence(prior);
    }
    let for_prior = detached(posterior).kl_divergence(prior);
    let for_posterior = posterior.kl_divergence(&detached(prior));
    // The value is KL(q ‖ p) itself: what the weights add or take away is detached.
    let value = for_prior.clone().detach();
    let weighted = for_prior * (2.0 * balance) + for_posterior * (2.0 * (1.0 - balance));
    value + weighted.clone() - weighted.detach()
}

fn detached(gaussian: &DiagonalGaussian) -> DiagonalGaussian {
    DiagonalGaussian::new(
        gaussian.mean.clone().detach(),
        gaussian.std.clone().detach(),
    )
}
