use burn::tensor::{Device, Int, Tensor, TensorData};
use latco_plan::{ConfigError, DiagonalGaussian, Noise};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{Batch, EnsembleUnits, WorldModel, dynamics::Inferred, ensemble::Transitions};

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
    /// How much more pixels count that differ from the batch's mean image: a pixel weighs
    /// `1 + foreground_scale · |o − mean|`. Small things that move are then found as early as large
    /// ones that stay.
    pub foreground_scale: f64,
    /// The share of frames, drawn anew for each gradient step, whose images are decoded: the
    /// decoder is most of a step's work, and neighbouring frames are alike. Above 0, at most 1.
    pub decoded_share: f64,
    /// Weight of the reward's log-likelihood.
    pub reward_scale: f64,
    /// Weight of the continuation's log-likelihood, where the model has that head.
    pub continuation_scale: f64,
    /// Weight of the open-loop likelihoods: images and rewards from latents that the prior's mean
    /// carries on to a sequence's end, from a step in its first half that is drawn anew for each
    /// gradient step. They teach the dynamics what planners use them for, also where one image is
    /// all that has been seen; 0 leaves the evidence lower bound alone.
    pub open_loop_scale: f64,
    /// The share of sequences that forget what they have seen at a step drawn anew for each gradient
    /// step: from there on the latent is inferred as at a start, from one image alone. Episodes
    /// that all begin alike would otherwise leave goals given as images, and beliefs that begin
    /// amid an episode, untaught.
    pub fresh_start_share: f64,
}

impl Default for ElboConfig {
    /// Settings under which small moving things are found early: likelihood ×10, moving pixels ×10
    /// again, one free nat; and a step's work goes into long sequences: a fifth of the frames is
    /// decoded.
    fn default() -> Self {
        Self {
            free_nats: 1.0,
            kl_scale: 1.0,
            kl_balance: 0.8,
            pixel_scale: 10.0,
            foreground_scale: 10.0,
            decoded_share: 0.2,
            reward_scale: 10.0,
            continuation_scale: 10.0,
            open_loop_scale: 1.0,
            fresh_start_share: 0.5,
        }
    }
}

impl ElboConfig {
    /// The weights of PlaNet and LatCo: three free nats, all scales one. (LatCo's continuation head, off by
    /// default there, has a scale of 10.)
    pub fn paper() -> Self {
        Self {
            free_nats: 3.0,
            kl_scale: 1.0,
            kl_balance: 0.5,
            pixel_scale: 1.0,
            foreground_scale: 0.0,
            decoded_share: 1.0,
            reward_scale: 1.0,
            continuation_scale: 1.0,
            open_loop_scale: 0.0,
            fresh_start_share: 0.0,
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
        ConfigError::require_non_negative("foreground_scale", self.foreground_scale)?;
        ConfigError::require(
            self.decoded_share > 0.0 && self.decoded_share <= 1.0,
            "decoded_share",
            self.decoded_share,
            "above 0 and at most 1",
        )?;
        ConfigError::require_non_negative("reward_scale", self.reward_scale)?;
        ConfigError::require_non_negative("continuation_scale", self.continuation_scale)?;
        ConfigError::require_non_negative("open_loop_scale", self.open_loop_scale)?;
        ConfigError::require(
            (0.0..=1.0).contains(&self.fresh_start_share),
            "fresh_start_share",
            self.fresh_start_share,
            "between 0 and 1",
        )
    }
}

/// The negative evidence lower bound of a batch and its parts, each a mean over the recorded steps
/// of all sequences, `[1]`.
#[derive(Clone, Debug)]
pub struct Elbo {
    /// `pixel_scale · image + reward_scale · reward + kl_scale · max(kl, free_nats)`, and
    /// `− continuation_scale · log p(γ | z)` where the model has that head; `open_loop_scale` times the
    /// same of open-loop latents, without the divergence; and the [ensemble's](Self::ensemble) loss.
    pub loss: Tensor<1>,
    /// `−log p(o | z)` with variances of one over the pixels' weights, up to a constant.
    pub image: Tensor<1>,
    /// `−log p(r | z)`, up to a constant; resets, which pay nothing, are left out.
    pub reward: Tensor<1>,
    /// `KL(q ‖ p)`, free nats not applied.
    pub kl: Tensor<1>,
    /// What the ensemble of dynamics heads makes of the batch, where the model has one.
    pub ensemble: Option<EnsembleLoss>,
}

/// The loss of the dynamics heads, which the [loss](Elbo::loss) includes, and what the batch shows of the
/// units of their disagreement.
#[derive(Clone, Debug)]
pub struct EnsembleLoss {
    /// The mean over steps and heads of `½ ‖(m_k(z, a) − s') / σ‖²`, `[1]`.
    pub loss: Tensor<1>,
    /// What the units follow.
    pub units: EnsembleUnits,
}

/// What the latents of `frames` frames are to explain.
struct Targets {
    /// `[frames, …]`.
    blocks: Tensor<4>,
    /// Weights of the same shape; `None` where all are one.
    weights: Option<Tensor<4>>,
    /// `[frames]`.
    rewards: Tensor<1>,
    /// Continuation factors `[frames]`; `None` where all are one.
    discounts: Option<Tensor<1>>,
    /// 1 for a recorded frame, else 0, `[frames]`; `None` where all are recorded.
    mask: Option<Tensor<1>>,
    /// 1 for a frame whose reward counts, else 0, `[frames]`; `None` where all do.
    reward_mask: Option<Tensor<1>>,
}

impl Targets {
    /// `count` frames from `first` on.
    fn part(&self, first: usize, count: usize) -> Self {
        let part = |images: &Tensor<4>| images.clone().narrow(0, first, count);
        let series = |values: &Option<Tensor<1>>| {
            let values = values.as_ref();
            values.map(|values| values.clone().narrow(0, first, count))
        };
        Self {
            blocks: part(&self.blocks),
            weights: self.weights.as_ref().map(part),
            rewards: self.rewards.clone().narrow(0, first, count),
            discounts: series(&self.discounts),
            mask: series(&self.mask),
            reward_mask: series(&self.reward_mask),
        }
    }
}

/// The mean of `values` `[frames, …]` over the frames for which the `mask` `[frames]` is 1, such as those that
/// are recorded, `[1, …]`.
pub(crate) fn recorded_mean<const D: usize>(
    values: Tensor<D>,
    mask: Option<&Tensor<1>>,
) -> Tensor<D> {
    let Some(mask) = mask else {
        return values.mean_dim(0);
    };
    let recorded = mask.clone().sum().clamp_min(1.0).reshape([1; D]);
    let mut rows = [1; D];
    rows[0] = values.dims()[0];
    (values * mask.clone().reshape(rows)).sum_dim(0) / recorded
}

/// What is expected of the latents of some frames, each a mean over those that count, `[1]`.
struct Likelihoods {
    /// `−log p(o | z)`.
    image: Tensor<1>,
    /// `−log p(r | z)`.
    reward: Tensor<1>,
    /// `−log p(γ | z)`, where the model has that head.
    continuation: Option<Tensor<1>>,
}

impl Likelihoods {
    /// Their weighted sum.
    fn loss(&self, config: &ElboConfig) -> Tensor<1> {
        let loss =
            self.image.clone() * config.pixel_scale + self.reward.clone() * config.reward_scale;
        match &self.continuation {
            Some(continuation) => loss + continuation.clone() * config.continuation_scale,
            None => loss,
        }
    }
}

/// `1 + scale · |o − mean over the frames that are recorded|` of each value of `blocks`; `None` where all are one.
fn pixel_weights(blocks: &Tensor<4>, mask: Option<&Tensor<1>>, scale: f64) -> Option<Tensor<4>> {
    (scale > 0.0).then(|| {
        let mean = recorded_mean(blocks.clone(), mask);
        (blocks.clone() - mean).abs() * scale + 1.0
    })
}

/// A share of the indices below `frames`, at least one, each at most once; `None` for all of them.
fn drawn(frames: usize, share: f64, noise: &mut Noise, device: &Device) -> Option<Tensor<1, Int>> {
    if share >= 1.0 {
        return None;
    }
    let count = ((share * frames as f64).round() as usize).max(1);
    let mut keys: Vec<(f32, i32)> = (0..frames)
        .map(|index| (noise.uniform_scalar(), index as i32))
        .collect();
    keys.sort_by(|a, b| a.0.total_cmp(&b.0));
    let indices: Vec<i32> = keys[..count].iter().map(|&(_, index)| index).collect();
    Some(Tensor::from_data(TensorData::new(indices, [count]), device))
}

/// One of `1 … most`, all as likely.
fn drawn_up_to(most: usize, noise: &mut Noise) -> usize {
    let share = f64::midpoint(f64::from(noise.uniform_scalar()), 1.0);
    1 + ((share * most as f64) as usize).min(most - 1)
}

/// `[length, rows, 1]`: 0 where a sequence starts from the zero latent, 1 elsewhere. All of them do
/// at their first step, and so does a `share` of them at one later step.
fn memory(length: usize, rows: usize, share: f64, noise: &mut Noise, device: &Device) -> Tensor<3> {
    let mut kept = vec![1.0_f32; length * rows];
    kept[..rows].fill(0.0);
    if share > 0.0 && length > 1 {
        for row in 0..rows {
            let chance = f64::midpoint(f64::from(noise.uniform_scalar()), 1.0);
            let step = drawn_up_to(length - 1, noise);
            if chance < share {
                kept[step * rows + row] = 0.0;
            }
        }
    }
    Tensor::from_data(TensorData::new(kept, [length, rows, 1]), device)
}

impl WorldModel {
    /// The negative evidence lower bound of `batch` (Hafner et al., arXiv 1811.04551, eq. 3) with
    /// one reparametrised sample a step.
    ///
    /// A sequence starts from the zero latent, and its first action is taken as zero, since what
    /// came before is not part of it; `fresh_start_share` of the sequences start once again.
    pub fn elbo(&self, batch: &Batch, config: &ElboConfig, noise: &mut Noise) -> Elbo {
        let blocks = self.blocks(batch.images.clone());
        let flat = |series: &Option<Tensor<2>>| series.clone().map(|series| series.flatten(0, 1));
        let mask = flat(&batch.mask);
        let targets = Targets {
            weights: pixel_weights(&blocks, mask.as_ref(), config.foreground_scale),
            blocks: blocks.clone(),
            rewards: batch.rewards.clone().flatten(0, 1),
            discounts: flat(&batch.discounts),
            mask,
            reward_mask: flat(&batch.reward_mask),
        };
        let (inferred, transitions) = self.infer(batch, blocks, config, noise);
        let divergences = balanced_kl(&inferred, config.kl_balance);
        let latents = inferred.latents;
        let kl = recorded_mean(divergences, targets.mask.as_ref());
        let share = config.decoded_share;
        let seen = self.likelihoods(latents.clone(), &targets, share, noise);
        let mut loss = seen.loss(config) + kl.clone().clamp_min(config.free_nats) * config.kl_scale;
        if config.open_loop_scale > 0.0 && batch.length() > 1 {
            let (start, targets) = OpenLoop::drawn(batch, &latents, &targets, noise);
            let latents = self.open_loop(start);
            let predicted = self.likelihoods(latents, &targets, share, noise);
            loss = loss + predicted.loss(config) * config.open_loop_scale;
        }
        // Last, so that the model learns the same with and without heads.
        let ensemble = self.ensemble_loss(transitions, batch, noise);
        if let Some(ensemble) = &ensemble {
            loss = loss + ensemble.loss.clone();
        }
        Elbo {
            loss,
            image: seen.image,
            reward: seen.reward,
            kl,
            ensemble,
        }
    }

    /// The loss of the dynamics heads on detached `transitions`, which therefore do not change by it. Each
    /// sequence has a weight of its own for each head, exponentially distributed as in a Bayesian bootstrap,
    /// but drawn anew for each gradient step.
    fn ensemble_loss(
        &self,
        transitions: Option<Transitions>,
        batch: &Batch,
        noise: &mut Noise,
    ) -> Option<EnsembleLoss> {
        let (ensemble, transitions) = (self.ensemble.as_ref()?, transitions?);
        let (length, rows) = (batch.length(), batch.rows());
        let heads = self.config().ensemble;
        let device = batch.actions.device();
        let uniform = noise.uniform([heads, 1, rows], &device) * 0.5 + 0.5;
        let weights = uniform.clamp_min(1e-6).log().neg();
        let weights = weights.repeat_dim(1, length).flatten::<2>(1, 2);
        let mask = batch.mask.clone().map(|mask| mask.flatten::<1>(0, 1));
        let (loss, units) = ensemble.loss(transitions, rows, weights, mask.as_ref());
        Some(EnsembleLoss { loss, units })
    }

    /// What `latents` `[frames, latent]` make of the targets; images of a share of the frames.
    fn likelihoods(
        &self,
        latents: Tensor<2>,
        targets: &Targets,
        share: f64,
        noise: &mut Noise,
    ) -> Likelihoods {
        let mask = targets.mask.as_ref();
        let reward = self
            .reward
            .negative_log_likelihood(latents.clone(), targets.rewards.clone());
        let continuation = self.continuation.as_ref().map(|head| {
            let ones = || targets.rewards.ones_like();
            let discounts = targets.discounts.clone().unwrap_or_else(ones);
            recorded_mean(
                head.negative_log_likelihood(latents.clone(), discounts),
                mask,
            )
        });
        Likelihoods {
            image: self.image_likelihood(latents, targets, share, noise),
            reward: recorded_mean(reward, targets.reward_mask.as_ref()),
            continuation,
        }
    }

    /// Mean `−log p(o | z)` over a share of the frames, `[1]`.
    fn image_likelihood(
        &self,
        latents: Tensor<2>,
        targets: &Targets,
        share: f64,
        noise: &mut Noise,
    ) -> Tensor<1> {
        let frames = drawn(latents.dims()[0], share, noise, &targets.rewards.device());
        let chosen = |images: &Tensor<4>| match &frames {
            Some(frames) => images.clone().select(0, frames.clone()),
            None => images.clone(),
        };
        let mask = targets.mask.as_ref().map(|mask| match &frames {
            Some(frames) => mask.clone().select(0, frames.clone()),
            None => mask.clone(),
        });
        let latents = match &frames {
            Some(frames) => latents.select(0, frames.clone()),
            None => latents,
        };
        let error = (self.decoder.forward(latents) - chosen(&targets.blocks)).square();
        let error = match &targets.weights {
            Some(weights) => error * chosen(weights),
            None => error,
        };
        recorded_mean(error.sum_dims_squeeze::<1, i64>(&[1, 2, 3]), mask.as_ref()) * 0.5
    }

    /// The latents that the prior's mean carries on to, `[steps · rows, latent]`.
    fn open_loop(&self, start: OpenLoop) -> Tensor<2> {
        self.dynamics.imagine(start.latent, &start.actions)
    }

    /// The posterior along the batch, and what led to it, of models with dynamics heads.
    fn infer(
        &self,
        batch: &Batch,
        blocks: Tensor<4>,
        config: &ElboConfig,
        noise: &mut Noise,
    ) -> (Inferred, Option<Transitions>) {
        let (length, rows) = (batch.length(), batch.rows());
        let device = batch.actions.device();
        let memory = memory(length, rows, config.fresh_start_share, noise, &device);
        let actions = batch.actions.clone() * memory.clone();
        let drawn = noise.normal([length, rows, self.config().stochastic], &device);
        let embeddings = self.encoder.forward(blocks);
        let inferred = self
            .dynamics
            .infer(embeddings, [actions.clone(), memory.clone(), drawn]);
        let transitions = self.ensemble.is_some().then(|| {
            let first = self.initial_latent(rows, &device);
            let latents = inferred.latents.clone().detach();
            let before = Tensor::cat(vec![first, latents], 0).narrow(0, 0, length * rows);
            Transitions {
                latents: before * memory.flatten::<2>(0, 1),
                actions: actions.flatten(0, 1),
                targets: inferred.posterior.mean.clone().detach(),
                variances: inferred.prior.std.clone().detach().square(),
            }
        });
        (inferred, transitions)
    }
}

/// What an open-loop prediction begins with.
struct OpenLoop {
    /// `[rows, latent]`.
    latent: Tensor<2>,
    /// `[steps, rows, action]`.
    actions: Tensor<3>,
}

impl OpenLoop {
    /// From a step of the first half of `latents` `[length · rows, latent]`, drawn at random, to the end,
    /// and what was seen there.
    fn drawn(
        batch: &Batch,
        latents: &Tensor<2>,
        targets: &Targets,
        noise: &mut Noise,
    ) -> (Self, Targets) {
        let (length, rows) = (batch.length(), batch.rows());
        let seen = drawn_up_to(length / 2, noise);
        let start = Self {
            latent: latents.clone().narrow(0, (seen - 1) * rows, rows),
            actions: batch.actions.clone().narrow(0, seen, length - seen),
        };
        let later = targets.part(seen * rows, (length - seen) * rows);
        (start, later)
    }
}

/// `KL(q ‖ p)` of each row, `[rows]`, whose gradient is weighted `2α` for the prior and
/// `2 (1 − α)` for the posterior.
fn balanced_kl(inferred: &Inferred, balance: f64) -> Tensor<1> {
    let Inferred {
        prior, posterior, ..
    } = inferred;
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pixels_weigh_by_their_distance_from_the_mean_image() {
        let device = Device::default();
        let images = Tensor::<4>::from_data([[[[0.2, 0.5]]], [[[0.2, -0.3]]]], &device);
        assert!(pixel_weights(&images, None, 0.0).is_none());
        let first = Tensor::<1>::from_floats([1.0, 0.0], &device);
        for (mask, expected) in [
            (None, [[[[1.0_f32, 5.0]]], [[[1.0, 5.0]]]]),
            // What fills a short episode up is no part of the mean.
            (Some(&first), [[[[1.0, 1.0]]], [[[1.0, 9.0]]]]),
        ] {
            let weights = pixel_weights(&images, mask, 10.0).unwrap();
            weights.into_data().assert_approx_eq::<f32>(
                &TensorData::from(expected),
                burn::tensor::Tolerance::absolute(1e-5),
            );
        }
    }

    #[test]
    fn every_frame_is_drawn_as_often_as_the_share_says() {
        let (device, mut noise) = (Device::default(), Noise::new(4));
        let mut counts = [0; 10];
        for _ in 0..1_000 {
            let frames = drawn(10, 0.3, &mut noise, &device).unwrap();
            let mut frames: Vec<i64> = frames.to_data_as::<i64>().iter().collect();
            frames.sort_unstable();
            frames.dedup();
            assert_eq!(frames.len(), 3, "a frame was drawn twice");
            frames.iter().for_each(|&frame| counts[frame as usize] += 1);
        }
        // Four standard deviations of 1,000 draws.
        assert!(
            counts.iter().all(|count| (242..=358).contains(count)),
            "{counts:?}"
        );
        assert!(drawn(10, 1.0, &mut noise, &device).is_none());
    }

    #[test]
    fn sequences_start_anew_as_often_as_the_share_says() {
        let (device, mut noise) = (Device::default(), Noise::new(4));
        let (length, rows) = (6, 1_000);
        for share in [0.0, 0.3, 1.0] {
            let memory = memory(length, rows, share, &mut noise, &device);
            let kept: Vec<f32> = memory.to_data_as::<f32>().iter().collect();
            assert!(kept[..rows].iter().all(|&kept| kept == 0.0));
            let starts_anew = |row: usize, step: usize| kept[step * rows + row] == 0.0;
            let later = |row| (1..length).filter(|&step| starts_anew(row, step)).collect();
            let starts: Vec<Vec<usize>> = (0..rows).map(later).collect();
            assert!(starts.iter().all(|starts| starts.len() <= 1));
            let again = starts.iter().filter(|starts| !starts.is_empty()).count();
            // Four standard deviations of 1,000 draws.
            let spread = 4.0 * (share * (1.0 - share) * rows as f64).sqrt();
            assert!(
                (again as f64 - share * rows as f64).abs() <= spread,
                "{again}"
            );
            let steps: std::collections::BTreeSet<_> = starts.concat().into_iter().collect();
            assert!(share == 0.0 || steps == (1..length).collect());
        }
    }

    #[test]
    fn means_are_over_the_frames_that_count() {
        let device = Device::default();
        let values = Tensor::<1>::from_floats([1.0, 1e6, 3.0, -1e6], &device);
        let mask = Tensor::<1>::from_floats([1.0, 0.0, 1.0, 0.0], &device);
        let none = mask.zeros_like();
        let mean = |mask: &Tensor<1>| recorded_mean(values.clone(), Some(mask));
        assert_eq!(mean(&mask).into_scalar::<f32>(), 2.0);
        assert_eq!(mean(&none).into_scalar::<f32>(), 0.0);
    }

    #[test]
    fn open_loop_starts_are_drawn_from_the_whole_first_half() {
        let mut noise = Noise::new(4);
        let starts: std::collections::BTreeSet<_> =
            (0..1_000).map(|_| drawn_up_to(8, &mut noise)).collect();
        assert_eq!(starts, (1..=8).collect());
    }
}
