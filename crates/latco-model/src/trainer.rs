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
    Batch, CheckpointError, Elbo, ElboConfig, WorldModel,
    gradients::{add_gradients, clip_by_global_norm, scale_gradients},
};

/// Settings of the optimiser and the loss.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct TrainerConfig {
    /// Adam's step size.
    pub learning_rate: f64,
    /// Adam's ε.
    pub adam_epsilon: f64,
    /// Largest 2-norm of the whole gradient.
    pub gradient_clip: f64,
    /// Parts that a batch is cut into, each of which a thread of its own differentiates. It must
    /// divide the batch. Worth while on a CPU, whose tensor operations do not fill two cores; the
    /// command `latco` keeps a batch whole on a GPU.
    pub shards: usize,
    /// Weights of the loss.
    pub elbo: ElboConfig,
}

impl Default for TrainerConfig {
    fn default() -> Self {
        Self {
            learning_rate: 1e-3,
            adam_epsilon: 1e-5,
            gradient_clip: 100.0,
            shards: 2,
            elbo: ElboConfig::default(),
        }
    }
}

impl TrainerConfig {
    /// The settings of LatCo: learning rate 6e-4, clip 100.
    pub fn paper() -> Self {
        Self {
            learning_rate: 6e-4,
            shards: 1,
            elbo: ElboConfig::paper(),
            ..Self::default()
        }
    }

    /// Refuses settings outside their range.
    ///
    /// # Errors
    ///
    /// Names the first such setting.
    pub fn validate(&self) -> Result<(), ConfigError> {
        ConfigError::require_positive_real("learning_rate", self.learning_rate)?;
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
    /// `−log p(r | z)` up to a constant.
    pub reward: f32,
    /// `KL(q ‖ p)`.
    pub kl: f32,
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
    /// Names the first setting outside its range.
    pub fn new(
        model: WorldModel,
        config: TrainerConfig,
        seed: u64,
        device: &Device,
    ) -> Result<Self, ConfigError> {
        config.validate()?;
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

    /// One gradient step on `batch`.
    pub fn step(&mut self, batch: &Batch) -> TrainStep {
        let (mut seen, mut gradients) = self.differentiate(batch);
        let norm = clip_by_global_norm(&self.model, &mut gradients, self.config.gradient_clip);
        seen.gradient_norm = norm as f32;
        seen.skipped = !(seen.loss.is_finite() && norm.is_finite());
        if !seen.skipped {
            let model = self.model.clone();
            self.model = self
                .optimizer
                .step(self.config.learning_rate, model, gradients);
        }
        seen
    }

    /// The mean loss over the shards of `batch` and its gradients.
    fn differentiate(&mut self, batch: &Batch) -> (TrainStep, GradientsParams) {
        let shards = batch.split(self.config.shards);
        let count = shards.len();
        let elbo = &self.config.elbo;
        let mut work: Vec<_> = shards
            .into_iter()
            .map(|shard| {
                // A fork has leaves of its own, so that threads share no autodiff graph.
                let model = self.model.clone().fork(&self.device);
                (model, shard, self.noise.split())
            })
            .collect();
        // The last shard is the caller's own, so that one alone takes no thread.
        let own = work.pop();
        let gradients = |(model, shard, mut noise): (WorldModel, Batch, Noise)| {
            shard_gradients(&model, &shard, elbo, &mut noise)
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
        let Some((mut seen, mut gradients)) = results.next() else {
            return (TrainStep::default(), GradientsParams::new());
        };
        for (other, further) in results {
            seen.add(&other);
            add_gradients(&self.model, &mut gradients, further);
        }
        let share = 1.0 / count as f64;
        scale_gradients(&self.model, &mut gradients, share);
        (seen.scaled(share as f32), gradients)
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
        self.model = caught(|| present.try_load_record(model))?;
        let optimizer = OptimizerRecord::from_bytes(state.optimizer)?;
        let present = self.optimizer.clone();
        self.optimizer = caught(|| Ok(present.load_record(optimizer)))?;
        self.noise = state.noise;
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

/// Loss and gradients of one shard.
fn shard_gradients(
    model: &WorldModel,
    shard: &Batch,
    config: &ElboConfig,
    noise: &mut Noise,
) -> (TrainStep, GradientsParams) {
    let elbo = model.elbo(shard, config, noise);
    let gradients = elbo.loss.backward();
    let gradients = GradientsParams::from_grads(gradients, model);
    (TrainStep::read(elbo), gradients)
}

impl TrainStep {
    fn read(elbo: Elbo) -> Self {
        let values =
            Tensor::cat(vec![elbo.loss, elbo.image, elbo.reward, elbo.kl], 0).into_data_as::<f32>();
        let mut values = values.iter::<f32>();
        let mut next = || values.next().unwrap_or(f32::NAN);
        Self {
            loss: next(),
            image: next(),
            reward: next(),
            kl: next(),
            ..Self::default()
        }
    }

    fn add(&mut self, other: &Self) {
        self.loss += other.loss;
        self.image += other.image;
        self.reward += other.reward;
        self.kl += other.kl;
    }

    fn scaled(self, factor: f32) -> Self {
        Self {
            loss: self.loss * factor,
            image: self.image * factor,
            reward: self.reward * factor,
            kl: self.kl * factor,
            ..self
        }
    }
}
