use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

use burn::{
    module::Module,
    optim::{GradientsParams, ModuleOptimizer, OptimizerRecord},
    store::RecordError,
    tensor::{Bytes, Device, Tensor},
};
use latco_kernels::FusedAdam;
use latco_plan::{ConfigError, Noise};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    Batch, CheckpointError, Elbo, ElboConfig, EnsembleUnits, WorldModel,
    gradients::{add_gradients, clip_by_global_norm, take_gradients},
};

/// Settings of the optimiser and the loss.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct TrainerConfig {
    /// Adam's step size.
    pub learning_rate: f64,
    /// Gradient steps after which the step size is multiplied by `decay`: for a last phase of small steps,
    /// such as `[4000]`. Training runs of `latco-agent` count them; beside a [`Trainer`] of one's own
    /// [`set_learning_rate`](Trainer::set_learning_rate) takes what
    /// [`learning_rate_after`](Self::learning_rate_after) says.
    pub milestones: Vec<usize>,
    /// What the step size is multiplied by at each milestone.
    pub decay: f64,
    /// Adam's ε.
    pub adam_epsilon: f64,
    /// Largest 2-norm of the whole gradient; that of an ensemble of dynamics heads is clipped by itself.
    pub gradient_clip: f64,
    /// Parts that a batch is cut into, each of which a thread of its own differentiates; a batch that
    /// cannot be cut into as many equal parts stays whole. Worth while on a CPU, whose tensor
    /// operations do not fill two cores; the command `latco` keeps a batch whole on a GPU.
    pub shards: usize,
    /// Trains the ensemble of dynamics heads alone and leaves the rest of the model as it is; nothing is
    /// predicted open loop meanwhile, and one frame a step decoded.
    pub ensemble_only: bool,
    /// Weights of the loss.
    pub elbo: ElboConfig,
}

impl Default for TrainerConfig {
    fn default() -> Self {
        Self {
            learning_rate: 1e-3,
            milestones: Vec::new(),
            decay: 0.2,
            adam_epsilon: 1e-5,
            gradient_clip: 100.0,
            shards: 2,
            ensemble_only: false,
            elbo: ElboConfig::default(),
        }
    }
}

impl TrainerConfig {
    /// The settings of LatCo: learning rate 6e-4, clip 100. Its Adam has an ε of 1e-7, this one 1e-5.
    pub fn paper() -> Self {
        Self {
            learning_rate: 6e-4,
            shards: 1,
            elbo: ElboConfig::paper(),
            ..Self::default()
        }
    }

    /// The step size after `steps` gradient steps: `learning_rate · decay^m` with the number `m` of
    /// milestones that are not beyond them.
    pub fn learning_rate_after(&self, steps: usize) -> f64 {
        let reached = self.milestones.iter().filter(|&&at| at <= steps).count();
        self.learning_rate * self.decay.powi(reached as i32)
    }

    /// Refuses settings outside their range.
    ///
    /// # Errors
    ///
    /// Names the first such setting.
    pub fn validate(&self) -> Result<(), ConfigError> {
        ConfigError::require_positive_real("learning_rate", self.learning_rate)?;
        ConfigError::require_positive_real("decay", self.decay)?;
        ConfigError::require_positive_real("adam_epsilon", self.adam_epsilon)?;
        ConfigError::require_positive_real("gradient_clip", self.gradient_clip)?;
        ConfigError::require_positive("shards", self.shards)?;
        self.elbo.validate()
    }
}

/// What one gradient step saw, each a mean over sequences and steps.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct TrainStep {
    /// The weighted loss.
    pub loss: f32,
    /// `−log p(o | z)` up to a constant.
    pub image: f32,
    /// `−log p(r | z)` up to a constant, resets left out.
    pub reward: f32,
    /// `KL(q ‖ p)`.
    pub kl: f32,
    /// The loss of the dynamics heads, where the model has an ensemble of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ensemble: Option<f32>,
    /// 2-norm of the gradient before clipping.
    pub gradient_norm: f32,
    /// Whether loss or gradient were not finite, so that the weights were left alone.
    pub skipped: bool,
}

/// Trains a [`WorldModel`] with Adam and gradient clipping.
pub struct Trainer {
    model: WorldModel,
    optimizer: ModuleOptimizer,
    noise: Noise,
    config: TrainerConfig,
    device: Device,
}

impl Trainer {
    /// A trainer for `model`, which is moved onto the autodiff side of `device`; `seed` determines
    /// the posterior's samples.
    ///
    /// # Errors
    ///
    /// Names the first setting outside its range; `ensemble_only` needs a model with an ensemble.
    pub fn new(
        model: WorldModel,
        config: TrainerConfig,
        seed: u64,
        device: &Device,
    ) -> Result<Self, ConfigError> {
        config.validate()?;
        ConfigError::require(
            !config.ensemble_only || model.ensemble.is_some(),
            "ensemble_only",
            config.ensemble_only,
            "false, or a model with an ensemble",
        )?;
        Ok(Self {
            model: model.train(),
            optimizer: FusedAdam::new(config.adam_epsilon as f32).into(),
            noise: Noise::new(seed),
            config,
            device: device.clone().without_autodiff(),
        })
    }

    /// The model for inference, without autodiff.
    pub fn model(&self) -> WorldModel {
        self.model.valid()
    }

    /// The device that batches belong on.
    pub fn device(&self) -> &Device {
        &self.device
    }

    /// Takes steps of another size from now on.
    pub fn set_learning_rate(&mut self, learning_rate: f64) {
        self.config.learning_rate = learning_rate;
    }

    /// One gradient step on `batch`, of the size that was set last, at first `learning_rate`.
    pub fn step(&mut self, batch: &Batch) -> TrainStep {
        let (mut seen, mut gradients, units) = self.differentiate(batch);
        let norm = self.clip(&mut gradients);
        seen.gradient_norm = norm as f32;
        seen.skipped = !(seen.loss.is_finite() && norm.is_finite());
        if !seen.skipped {
            let model = self.model.clone();
            self.model = self
                .optimizer
                .step(self.config.learning_rate, model, gradients);
            if let Some(units) = units {
                self.model.ensemble =
                    (self.model.ensemble.take()).map(|ensemble| ensemble.following(units));
            }
        }
        seen
    }

    /// Clips the gradient, that of the ensemble apart from the others, which it must not change; their
    /// norm before.
    fn clip(&self, gradients: &mut GradientsParams) -> f64 {
        let limit = self.config.gradient_clip;
        let Some(ensemble) = &self.model.ensemble else {
            return clip_by_global_norm(&self.model, gradients, limit);
        };
        let mut of_ensemble = take_gradients(ensemble, gradients);
        let norms = [
            clip_by_global_norm(&self.model, gradients, limit),
            clip_by_global_norm(ensemble, &mut of_ensemble, limit),
        ];
        add_gradients(ensemble, gradients, of_ensemble);
        norms[0].hypot(norms[1])
    }

    /// The mean loss over the recorded frames of `batch`, whose shards are differentiated by themselves, and its
    /// gradients.
    fn differentiate(
        &mut self,
        batch: &Batch,
    ) -> (TrainStep, GradientsParams, Option<EnsembleUnits>) {
        let shards = batch.split(self.config.shards);
        let shares = shares_of_frames(&shards);
        let elbo = &ElboConfig {
            open_loop_scale: match self.config.ensemble_only {
                true => 0.0,
                false => self.config.elbo.open_loop_scale,
            },
            // One frame is decoded, for the figures.
            decoded_share: match self.config.ensemble_only {
                true => f64::MIN_POSITIVE,
                false => self.config.elbo.decoded_share,
            },
            ..self.config.elbo.clone()
        };
        let mut work: Vec<_> = shards
            .into_iter()
            .zip(shares)
            .map(|(shard, share)| {
                // A fork has leaves of its own, so that threads share no autodiff graph.
                let model = self.model.clone().fork(&self.device);
                let model = match self.config.ensemble_only {
                    true => model.with_ensemble_alone_trained(),
                    false => model,
                };
                (model, shard, share, self.noise.split())
            })
            .collect();
        // The last shard is the caller's own, so that one alone takes no thread.
        let own = work.pop();
        let gradients = |(model, shard, share, mut noise): (WorldModel, Batch, f64, Noise)| {
            shard_gradients(&model, &shard, share, elbo, &mut noise)
        };
        let results: Vec<_> = std::thread::scope(|scope| {
            let threads: Vec<_> = work
                .into_iter()
                .map(|work| scope.spawn(move || gradients(work)))
                .collect();
            let own = own.map(gradients);
            let joined = threads
                .into_iter()
                .map(|thread| thread.join().unwrap_or_else(|panic| resume_unwind(panic)));
            joined.chain(own).collect()
        });
        let mut results = results.into_iter();
        let Some((mut seen, mut gradients, first)) = results.next() else {
            return (TrainStep::default(), GradientsParams::new(), None);
        };
        let mut units: Vec<_> = first.into_iter().collect();
        for (other, further, shown) in results {
            seen.add(&other);
            add_gradients(&self.model, &mut gradients, further);
            units.extend(shown);
        }
        (seen, gradients, EnsembleUnits::mean(units))
    }

    /// Everything that a resumed trainer needs to go on as if it had not stopped.
    ///
    /// # Errors
    ///
    /// If a tensor cannot be read back.
    pub fn state(&self) -> Result<TrainerState, CheckpointError> {
        Ok(TrainerState {
            model: self.model.clone().into_record().into_bytes()?,
            optimizer: self.optimizer.into_bytes()?,
            noise: self.noise.clone(),
        })
    }

    /// Puts the trainer back to `state`, which must come from a trainer of the same sizes.
    ///
    /// # Errors
    ///
    /// If the records are damaged.
    pub fn restore(&mut self, state: TrainerState) -> Result<(), CheckpointError> {
        let model = burn::store::ModuleRecord::from_bytes(state.model)?;
        let present = self.model.clone();
        let model = caught(|| present.try_load_record(model))?;
        let optimizer = OptimizerRecord::from_bytes(state.optimizer)?;
        let present = self.optimizer.clone();
        let optimizer = caught(|| Ok(present.load_record(optimizer)))?;
        // All of it or nothing.
        (self.model, self.optimizer, self.noise) = (model, optimizer, state.noise);
        Ok(())
    }
}

/// What loading a record comes to. Burn panics where a tensor has another type, or moments name no
/// parameter, and offers no other way to load them.
fn caught<T>(load: impl FnOnce() -> Result<T, RecordError>) -> Result<T, RecordError> {
    catch_unwind(AssertUnwindSafe(load)).unwrap_or_else(|_| {
        let damaged = "a tensor is not what its name says";
        Err(RecordError::Validation(damaged.to_owned()))
    })
}

/// A trainer's weights, optimiser moments and random state, in full precision.
pub struct TrainerState {
    /// The model's record.
    pub model: Bytes,
    /// The optimiser's record.
    pub optimizer: Bytes,
    /// The generator behind the posterior's samples.
    pub noise: Noise,
}

/// How much each shard counts: as many of all recorded frames as it has.
fn shares_of_frames(shards: &[Batch]) -> Vec<f64> {
    let frames = shards.iter().map(|shard| match &shard.mask {
        Some(mask) if shards.len() > 1 => f64::from(mask.clone().sum().into_scalar::<f32>()),
        _ => (shard.length() * shard.rows()) as f64,
    });
    let frames: Vec<_> = frames.collect();
    let total = frames.iter().sum::<f64>().max(1.0);
    frames.into_iter().map(|frames| frames / total).collect()
}

/// Loss and gradients of one shard, times its `share`.
fn shard_gradients(
    model: &WorldModel,
    shard: &Batch,
    share: f64,
    config: &ElboConfig,
    noise: &mut Noise,
) -> (TrainStep, GradientsParams, Option<EnsembleUnits>) {
    let elbo = model.elbo(shard, config, noise);
    let gradients = (elbo.loss.clone() * share).backward();
    let gradients = GradientsParams::from_grads(gradients, model);
    let units = elbo
        .ensemble
        .as_ref()
        .map(|ensemble| ensemble.units.clone());
    (TrainStep::read(elbo).scaled(share as f32), gradients, units)
}

impl TrainStep {
    fn read(elbo: Elbo) -> Self {
        let means = [elbo.loss, elbo.image, elbo.reward, elbo.kl].into_iter();
        let means = means.chain(elbo.ensemble.map(|ensemble| ensemble.loss));
        let values = Tensor::cat(means.collect(), 0).into_data_as::<f32>();
        let mut values = values.iter::<f32>();
        let mut next = || values.next().unwrap_or(f32::NAN);
        Self {
            loss: next(),
            image: next(),
            reward: next(),
            kl: next(),
            ensemble: values.next(),
            ..Self::default()
        }
    }

    fn add(&mut self, other: &Self) {
        self.loss += other.loss;
        self.image += other.image;
        self.reward += other.reward;
        self.kl += other.kl;
        self.ensemble = self.ensemble.zip(other.ensemble).map(|(a, b)| a + b);
    }

    fn scaled(self, factor: f32) -> Self {
        Self {
            loss: self.loss * factor,
            image: self.image * factor,
            reward: self.reward * factor,
            kl: self.kl * factor,
            ensemble: self.ensemble.map(|loss| loss * factor),
            ..self
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_step_size_falls_at_each_milestone() {
        let config = TrainerConfig {
            learning_rate: 1e-3,
            milestones: vec![20, 10],
            decay: 0.5,
            ..TrainerConfig::default()
        };
        let rates = [0, 9, 10, 19, 20, 99].map(|steps| config.learning_rate_after(steps));
        assert_eq!(rates, [1e-3, 1e-3, 5e-4, 5e-4, 2.5e-4, 2.5e-4]);
        assert_eq!(TrainerConfig::default().learning_rate_after(5_000), 1e-3);
    }
}
