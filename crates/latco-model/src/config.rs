use latco_plan::ConfigError;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{Activation, PixelLayout};

/// How the reward head models rewards.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum RewardKind {
    /// `N(r(z), 1)`: any real reward (the reference).
    Gaussian,
    /// `Bernoulli(σ(l(z)))` over the reward's range: rewards in `[r_min, r_max]`, `[0, 1]` by default.
    /// The expected reward stays within the data's range, so that a planner cannot exploit it.
    Bernoulli,
}

/// What a [`WorldModel`](crate::WorldModel) sees and does, and its sizes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct WorldModelConfig {
    /// Side in pixels of the square pictures that each camera's are resized to: 32 or 64 times
    /// `pooling`.
    pub image_size: usize,
    /// Cameras, whose pictures lie side by side in an image and are channels to the model.
    #[serde(default = "one")]
    pub cameras: usize,
    /// One channel a camera, the luma, in place of red, green and blue.
    #[serde(default)]
    pub grey: bool,
    /// Width and height in pixels of each camera's picture as the environment gives it; empty where it
    /// has the size of the model's already.
    #[serde(default)]
    pub raw_size: Vec<usize>,
    /// What is seen of each camera's picture, `[left, top, width, height]` in pixels, before it is
    /// resized; empty for all of it.
    #[serde(default)]
    pub crop: Vec<usize>,
    /// Side of the squares of pixels that are averaged before the encoder sees them, 1 or 2:
    /// halving the resolution takes three quarters of the training time away.
    #[serde(default = "one")]
    pub pooling: usize,
    /// Components of an action.
    pub action_size: usize,
    /// The least value of each component in the environment's units; empty for −1. The model itself
    /// sees `[−1, 1]`.
    #[serde(default)]
    pub action_low: Vec<f32>,
    /// The largest value of each component; empty for 1.
    #[serde(default)]
    pub action_high: Vec<f32>,
    /// Stochastic part of the latent.
    pub stochastic: usize,
    /// Deterministic part of the latent; 0 selects the SSM.
    pub deterministic: usize,
    /// Units of the hidden layers of prior and posterior.
    pub hidden: usize,
    /// Units of each of the reward head's two hidden layers.
    pub reward_units: usize,
    /// Channels of the first convolution; later layers have multiples of it.
    pub depth: usize,
    /// The reward head's distribution.
    pub reward: RewardKind,
    /// The least and the largest reward of a Bernoulli head; a Gaussian one has no bounds.
    #[serde(default = "unit_range")]
    pub reward_range: [f64; 2],
    /// Whether a head learns the probability that an episode goes on, by which plans weigh later
    /// rewards: for tasks that can end before their time.
    #[serde(default)]
    pub continuation: bool,
    /// Networks that predict the next latent beside the prior, whose disagreement is the model's
    /// uncertainty; 1 is the prior alone, which knows none.
    #[serde(default = "one")]
    pub ensemble: usize,
    /// The non-linearity between dense layers.
    #[serde(default)]
    pub activation: Activation,
}

fn one() -> usize {
    1
}

fn unit_range() -> [f64; 2] {
    [0.0, 1.0]
}

impl WorldModelConfig {
    /// The sizes of LatCo and PlaNet: latent 30 + 200, depth 32, 64×64 images.
    pub fn paper(action_size: usize) -> Self {
        Self {
            image_size: 64,
            cameras: 1,
            grey: false,
            raw_size: Vec::new(),
            crop: Vec::new(),
            pooling: 1,
            action_size,
            action_low: Vec::new(),
            action_high: Vec::new(),
            stochastic: 30,
            deterministic: 200,
            hidden: 200,
            reward_units: 400,
            depth: 32,
            reward: RewardKind::Gaussian,
            reward_range: unit_range(),
            continuation: false,
            ensemble: 1,
            activation: Activation::Elu,
        }
    }

    /// Sizes that train on two CPU cores within the hour: latent 16 + 64, depth 16, 64×64 images
    /// seen at half their resolution, bounded reward.
    pub fn small(action_size: usize) -> Self {
        Self {
            image_size: 64,
            cameras: 1,
            grey: false,
            raw_size: Vec::new(),
            crop: Vec::new(),
            pooling: 2,
            action_size,
            action_low: Vec::new(),
            action_high: Vec::new(),
            stochastic: 16,
            deterministic: 64,
            hidden: 64,
            reward_units: 64,
            depth: 16,
            reward: RewardKind::Bernoulli,
            reward_range: unit_range(),
            continuation: false,
            ensemble: 1,
            activation: Activation::Elu,
        }
    }

    /// The size of a latent `z = [stochastic, deterministic]`.
    pub fn latent_size(&self) -> usize {
        self.stochastic + self.deterministic
    }

    /// The size of an encoded image: the encoder ends at 2×2 positions.
    pub fn embedding_size(&self) -> usize {
        (4 * self.depth) << (self.convolutions() - 1)
    }

    /// Width and height in pixels of each camera's picture as the environment gives it.
    pub fn camera_size(&self) -> [usize; 2] {
        match self.raw_size.as_slice() {
            &[width, height] => [width, height],
            _ => [self.image_size; 2],
        }
    }

    /// Channels of an image: three colours or one, of each camera.
    pub fn channels(&self) -> usize {
        self.cameras * if self.grey { 1 } else { 3 }
    }

    /// How images lie in memory before they become tensors.
    pub fn pixel_layout(&self) -> PixelLayout {
        PixelLayout {
            size: self.image_size,
            cameras: self.cameras,
            grey: self.grey,
        }
    }

    /// Stride-2 convolutions that bring the image to 2×2 positions.
    pub(crate) fn convolutions(&self) -> usize {
        if self.network_size() == 64 { 4 } else { 3 }
    }

    /// Side in pixels of the pooled images that encoder and decoder work on.
    pub(crate) fn network_size(&self) -> usize {
        self.image_size / self.pooling
    }

    /// The number of weights of a model of these sizes, which must be
    /// [valid](Self::validate).
    pub fn weights(&self) -> usize {
        self.encoder_weights()
            + self.dynamics_weights()
            + self.decoder_weights()
            + self.head_weights() * if self.continuation { 2 } else { 1 }
            + self.ensemble_weights()
    }

    fn ensemble_weights(&self) -> usize {
        let inputs = self.latent_size() + self.action_size;
        match self.has_ensemble() {
            true => {
                let head = linear_weights(inputs, self.hidden)
                    + linear_weights(self.hidden, self.stochastic);
                self.ensemble * head + self.stochastic + 1
            }
            false => 0,
        }
    }

    /// Whether networks beside the prior tell of its uncertainty.
    pub fn has_ensemble(&self) -> bool {
        self.ensemble > 1
    }

    /// Of the reward head, or the continuation head.
    fn head_weights(&self) -> usize {
        let units = self.reward_units;
        linear_weights(self.latent_size(), units)
            + linear_weights(units, units)
            + linear_weights(units, 1)
    }

    fn encoder_weights(&self) -> usize {
        let convolutions = (1..self.convolutions()).map(|layer| {
            let outputs = self.depth << layer;
            linear_weights(16 * outputs / 2, outputs)
        });
        linear_weights(16 * self.channels(), self.depth) + convolutions.sum::<usize>()
    }

    fn dynamics_weights(&self) -> usize {
        let (state, hidden) = (self.deterministic, self.hidden);
        let features = if state > 0 { state } else { hidden };
        let gru = match state {
            0 => 0,
            _ => linear_weights(hidden, 3 * state) + linear_weights(state, 3 * state),
        };
        linear_weights(self.stochastic + self.action_size, hidden)
            + gru
            + linear_weights(features, hidden)
            + linear_weights(features + self.embedding_size(), hidden)
            + 2 * linear_weights(hidden, 2 * self.stochastic)
    }

    fn decoder_weights(&self) -> usize {
        let (depth, block) = (self.depth, 4 * self.channels());
        let layers: &[[usize; 3]] = if self.network_size() == 64 {
            &[
                [32 * depth, 4 * depth, 5],
                [4 * depth, 2 * depth, 5],
                [2 * depth, depth, 6],
                [depth, block, 3],
            ]
        } else {
            &[
                [32 * depth, 4 * depth, 5],
                [4 * depth, 2 * depth, 6],
                [2 * depth, block, 3],
            ]
        };
        let convolutions = layers
            .iter()
            .map(|&[inputs, outputs, kernel]| linear_weights(inputs * kernel * kernel, outputs));
        linear_weights(self.latent_size(), 32 * depth) + convolutions.sum::<usize>()
    }

    /// Refuses what no model can have.
    ///
    /// # Errors
    ///
    /// Names the first setting outside its range.
    pub fn validate(&self) -> Result<(), ConfigError> {
        self.validate_images()?;
        self.validate_actions()?;
        self.validate_reward()?;
        let bounded = |name, size| {
            ConfigError::require((1..=4096).contains(&size), name, size, "between 1 and 4096")
        };
        bounded("stochastic", self.stochastic)?;
        ConfigError::require(
            self.deterministic <= 4096,
            "deterministic",
            self.deterministic,
            "at most 4096",
        )?;
        bounded("hidden", self.hidden)?;
        bounded("reward_units", self.reward_units)?;
        ConfigError::require(
            (1..=64).contains(&self.ensemble),
            "ensemble",
            self.ensemble,
            "between 1 and 64",
        )?;
        ConfigError::require(
            (1..=256).contains(&self.depth),
            "depth",
            self.depth,
            "between 1 and 256",
        )
    }

    fn validate_images(&self) -> Result<(), ConfigError> {
        ConfigError::require(
            matches!(self.pooling, 1 | 2),
            "pooling",
            self.pooling,
            "1 or 2",
        )?;
        ConfigError::require(
            matches!(self.network_size(), 32 | 64) && self.image_size.is_multiple_of(self.pooling),
            "image_size",
            self.image_size,
            "32 or 64 times the pooling",
        )?;
        ConfigError::require(
            (1..=16).contains(&self.cameras),
            "cameras",
            self.cameras,
            "between 1 and 16",
        )?;
        let raw = self.raw_size.as_slice();
        ConfigError::require(
            raw.is_empty() || matches!(raw, [width, height] if *width > 0 && *height > 0),
            "raw_size",
            format!("{raw:?}"),
            "[width, height] in pixels, or nothing",
        )?;
        let ([width, height], crop) = (self.camera_size(), self.crop.as_slice());
        let fits = |start: usize, length: usize, whole: usize| {
            length > 0 && start.checked_add(length).is_some_and(|end| end <= whole)
        };
        ConfigError::require(
            crop.is_empty()
                || matches!(crop, &[x, y, w, h] if fits(x, w, width) && fits(y, h, height)),
            "crop",
            format!("{crop:?}"),
            "[left, top, width, height] within raw_size, or nothing",
        )
    }

    fn validate_actions(&self) -> Result<(), ConfigError> {
        ConfigError::require(
            (1..=4096).contains(&self.action_size),
            "action_size",
            self.action_size,
            "between 1 and 4096",
        )?;
        let (low, high) = (&self.action_low, &self.action_high);
        let lengths = [low.len(), high.len()];
        let finite =
            (low.iter().zip(high)).all(|(low, high)| low < high && (high - low).is_finite());
        ConfigError::require(
            finite && (lengths == [0; 2] || lengths == [self.action_size; 2]),
            "action_low",
            format!("{low:?} below {high:?}"),
            "finite bounds, low < high, of each of the action's components, or none",
        )
    }

    fn validate_reward(&self) -> Result<(), ConfigError> {
        let [least, most] = self.reward_range;
        // Models reckon in single precision.
        let [low, high] = [least as f32, most as f32];
        ConfigError::require(
            low < high && (high - low).is_finite(),
            "reward_range",
            format!("[{least}, {most}]"),
            "two numbers, the smaller first, whose difference is finite in single precision",
        )
    }
}

/// Weights and biases of a layer.
fn linear_weights(inputs: usize, outputs: usize) -> usize {
    (inputs + 1) * outputs
}
