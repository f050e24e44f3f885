use burn::{
    module::Module,
    tensor::{Device, Tensor},
};
use latco_kernels::ModelPasses;
use latco_plan::{
    Belief, ConfigError, DiagonalGaussian, Differentiable, ImageSpace, LatentModel, Linearisation,
    Noise, Objective, RewardLinearisation, Rewards,
};

use crate::{
    ContinuationHead, Decoder, Dynamics, Encoder, Ensemble, RewardHead, WorldModelConfig,
    fold_pixels,
    pixels::{enlarge, pool},
    prepared::Prepared,
    unfold_pixels,
};

/// A latent world model: image encoder, dynamics, decoder and reward head.
#[derive(Module, Debug)]
pub struct WorldModel {
    pub(crate) encoder: Encoder,
    pub(crate) dynamics: Dynamics,
    pub(crate) decoder: Decoder,
    pub(crate) reward: RewardHead,
    pub(crate) continuation: Option<ContinuationHead>,
    pub(crate) ensemble: Option<Ensemble>,
    #[module(skip)]
    config: WorldModelConfig,
}

impl WorldModel {
    /// A model with random weights that `seed` determines.
    ///
    /// # Errors
    ///
    /// Names the first size outside its range.
    pub fn new(config: WorldModelConfig, seed: u64, device: &Device) -> Result<Self, ConfigError> {
        config.validate()?;
        let noise = &mut Noise::new(seed);
        Ok(Self {
            encoder: Encoder::new(&config, noise, device),
            dynamics: Dynamics::new(&config, noise, device),
            decoder: Decoder::new(&config, noise, device),
            reward: RewardHead::new(&config, noise, device),
            continuation: (config.continuation)
                .then(|| ContinuationHead::new(&config, noise, device)),
            ensemble: (config.has_ensemble()).then(|| Ensemble::new(&config, noise, device)),
            config,
        })
    }

    /// A model of given parts, whose sizes `config` must tell.
    pub(crate) fn from_parts(
        encoder: Encoder,
        dynamics: Dynamics,
        decoder: Decoder,
        reward: RewardHead,
        config: WorldModelConfig,
    ) -> Self {
        Self {
            encoder,
            dynamics,
            decoder,
            reward,
            continuation: None,
            ensemble: None,
            config,
        }
    }

    /// The same model with an untrained ensemble of so many heads that `seed` determines, or without one
    /// where it is 1.
    ///
    /// # Errors
    ///
    /// If it is none or too many.
    pub fn with_ensemble(mut self, heads: usize, seed: u64) -> Result<Self, ConfigError> {
        self.config.ensemble = heads;
        self.config.validate()?;
        let (noise, device) = (&mut Noise::new(seed), self.device());
        let config = &self.config;
        self.ensemble = (config.has_ensemble()).then(|| Ensemble::new(config, noise, &device));
        Ok(self)
    }

    /// The model's sizes.
    pub fn config(&self) -> &WorldModelConfig {
        &self.config
    }

    /// The device that the weights are on.
    pub fn device(&self) -> Device {
        self.devices().remove(0)
    }

    /// The encoder.
    pub fn encoder(&self) -> &Encoder {
        &self.encoder
    }

    /// The latent dynamics.
    pub fn dynamics(&self) -> &Dynamics {
        &self.dynamics
    }

    /// The reward head.
    pub fn reward_head(&self) -> &RewardHead {
        &self.reward
    }

    /// The continuation head, where the model has one.
    pub fn continuation_head(&self) -> Option<&ContinuationHead> {
        self.continuation.as_ref()
    }

    /// The ensemble of dynamics heads, where the model has one.
    pub fn ensemble(&self) -> Option<&Ensemble> {
        self.ensemble.as_ref()
    }

    /// The model with every weight fixed but those of the ensemble.
    pub(crate) fn with_ensemble_alone_trained(mut self) -> Self {
        let ensemble = self.ensemble.take();
        Self {
            ensemble,
            ..self.no_grad()
        }
    }

    /// The latent before any image: zeros, `[rows, latent]`.
    pub fn initial_latent(&self, rows: usize, device: &Device) -> Tensor<2> {
        Tensor::zeros([rows, self.config.latent_size()], device)
    }

    /// Filters one image into the belief: `q(z' | o', a, z)` with `z` at `latents`
    /// `[rows, latent]`, for `actions` `[rows, action]` and `images`
    /// `[rows, channels, size, size]`.
    pub fn observe(
        &self,
        latents: Tensor<2>,
        actions: Tensor<2>,
        images: Tensor<4>,
    ) -> DiagonalGaussian {
        let embedding = self.encoder.forward(self.blocks(images));
        self.dynamics
            .transition(latents, actions, embedding)
            .posterior_latent()
    }

    /// The belief after a first image `[1, channels, size, size]`.
    pub fn first_belief(&self, image: Tensor<4>) -> Belief {
        let device = image.device();
        let action = Tensor::zeros([1, self.config.action_size], &device);
        Belief::new(self.observe(self.initial_latent(1, &device), action, image))
    }

    /// Whole passes through prior and reward head as one kernel each, where the device has such kernels and
    /// the model a deterministic part.
    pub(crate) fn model_passes(&self) -> Option<ModelPasses> {
        match &self.dynamics {
            Dynamics::Rssm(rssm) => self.reward.passes_after(rssm),
            Dynamics::Ssm(_) => None,
        }
    }

    /// What the encoder sees of `images` `[rows, channels, size, size]`: pooled, and folded into
    /// blocks.
    pub(crate) fn blocks(&self, images: Tensor<4>) -> Tensor<4> {
        fold_pixels(pool(images, self.config.pooling))
    }

    /// Mean images `[rows, channels, size, size]` of `latents` `[rows, latent]`.
    pub fn decode(&self, latents: Tensor<2>) -> Tensor<4> {
        enlarge(
            unfold_pixels(self.decoder.forward(latents)),
            self.config.pooling,
        )
    }
}

impl LatentModel for WorldModel {
    fn latent_size(&self) -> usize {
        self.config.latent_size()
    }

    fn action_size(&self) -> usize {
        self.config.action_size
    }

    fn transition(&self, latents: Tensor<2>, actions: Tensor<2>) -> DiagonalGaussian {
        self.dynamics.prior(latents, actions)
    }

    fn transition_mean(&self, latents: Tensor<2>, actions: Tensor<2>) -> Tensor<2> {
        self.dynamics.prior_mean(latents, actions)
    }

    fn reward(&self, latents: Tensor<2>) -> Tensor<1> {
        self.reward.expected(latents)
    }

    fn reward_residuals(&self, latents: Tensor<2>) -> Tensor<2> {
        self.reward.residuals(latents)
    }

    fn reward_range(&self) -> Option<[f64; 2]> {
        self.reward.range()
    }

    fn log_reward(&self, latents: Tensor<2>) -> Tensor<1> {
        self.reward.log_expected(latents)
    }

    fn action_noise(&self) -> f64 {
        0.2
    }

    fn uncertainty(&self, latents: Tensor<2>, actions: Tensor<2>) -> Option<Tensor<1>> {
        let ensemble = self.ensemble.as_ref()?;
        Some(ensemble.uncertainty(latents, actions))
    }

    fn rewards(&self, latents: Tensor<2>) -> Rewards {
        self.reward.rewards(latents)
    }

    fn as_differentiable(&self) -> Option<&dyn Differentiable> {
        Some(self)
    }

    fn image_space(&self) -> Option<&dyn ImageSpace> {
        Some(self)
    }
}

impl Differentiable for WorldModel {
    fn linearise(&self, latents: Tensor<2>, actions: Tensor<2>) -> Box<dyn Linearisation + '_> {
        self.dynamics.linearise(latents, actions)
    }

    fn linearise_moments(
        &self,
        latents: Tensor<2>,
        actions: Tensor<2>,
    ) -> Box<dyn Linearisation + '_> {
        self.dynamics.linearise_gaussian(latents, actions)
    }

    fn linearise_reward(&self, latents: Tensor<2>, objective: Objective) -> RewardLinearisation {
        self.reward.linearise(latents, objective)
    }

    fn prepared(&self) -> Option<Box<dyn LatentModel + '_>> {
        Some(Box::new(Prepared::new(self)))
    }
}

/// Images as the networks see them: pooled and folded into blocks.
impl ImageSpace for WorldModel {
    fn image_size(&self) -> usize {
        self.config.channels() * self.config.network_size().pow(2)
    }

    fn infer(&self, latents: Tensor<2>, actions: Tensor<2>, images: Tensor<2>) -> Tensor<2> {
        let [rows, _] = images.dims();
        let (side, channels) = (self.config.network_size() / 2, self.config.channels());
        let blocks = images.reshape([rows, 4 * channels, side, side]);
        let embedding = self.encoder.forward(blocks);
        self.dynamics
            .transition(latents, actions, embedding)
            .posterior_latent()
            .mean
    }

    fn decode(&self, latents: Tensor<2>) -> Tensor<2> {
        self.decoder.forward(latents).flatten(1, 3)
    }
}
