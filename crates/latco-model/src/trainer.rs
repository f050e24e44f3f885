use burn::{
    module::Module,
    optim::{AdamConfig, GradientsParams, ModuleOptimizer, OptimizerRecord},
    tensor::{Bytes, Device},
};
use latco_plan::{ConfigError, Noise};
use serde::{Deserialize, Serialize};

use crate::{
    Batch, CheckpointError, Elbo, ElboConfig, WorldModel, gradient_clipping::clip_by_global_norm,
};

/// Settings of the optimiser and the loss.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TrainerConfig {
    /// Adam's step size.
    pub learning_rate: f64,
    /// Adam's ε.
    pub adam_epsilon: f64,
    /// Largest 2-norm of the whole gradient.
    pub gradient_clip: f64,
    /// Weights of the loss.
    pub elbo: ElboConfig,
}

impl Default for TrainerConfig {
    fn default() -> Self {
        Self {
            learning_rate: 1e-3,
            adam_epsilon: 1e-5,
            gradient_clip: 100.0,
            elbo: ElboConfig::default(),
        }
    }
}

impl TrainerConfig {
    /// The settings of LatCo: learning rate 6e-4, clip 100.
    pub fn paper() -> Self {
        Self {
            learning_rate: 6e-4,
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
        self.elbo.validate()
    }
}

/// What one gradient step saw, each a mean over sequences and steps.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
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
            optimizer: AdamConfig::new()
                .with_epsilon(config.adam_epsilon as f32)
                .init(),
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
        let elbo = self
            .model
            .elbo(batch, &self.config.elbo, &mut self.noise);
        let gradients = elbo.loss.backward();
        let mut gradients = GradientsParams::from_grads(gradients, &self.model);
        let norm = clip_by_global_norm(&self.model, &mut gradients, self.config.gradient_clip);
        let mut seen = TrainStep::read(elbo, norm as f32);
        seen.skipped = !(seen.loss.is_finite() && norm.is_finite());
        if !seen.skipped {
            let model = self.model.clone();
            self.model = self
                .optimizer
                .step(self.config.learning_rate, model, gradients);
        }
        seen
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
        self.model = self.model.clone().load_record(model);
        let optimizer = OptimizerRecord::from_bytes(state.optimizer)?;
        self.optimizer = self.optimizer.clone().load_record(optimizer);
        self.noise = state.noise;
        Ok(())
    }
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

impl TrainStep {
    fn read(elbo: Elbo, gradient_norm: f32) -> Self {
        let values = burn::tensor::Tensor::cat(vec![elbo.loss, elbo.image, elbo.reward, elbo.kl], 0)
            .into_data_as::<f32>();
        let mut values = values.iter::<f32>();
        let mut next = || values.next().unwrap_or(f32::NAN);
        Self {
            loss: next(),
            image: next(),
            reward: next(),
            kl: next(),
            gradient_norm,
            skipped: false,
        }
    }
}
