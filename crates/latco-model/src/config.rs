use latco_plan::ConfigError;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::Activation;

/// How the reward head models rewards.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum RewardKind {
    /// `N(r(z), 1)`: any real reward (the reference).
    Gaussian,
    /// `Bernoulli(σ(l(z)))`: rewards in `[0, 1]`. The expected reward stays within the data's
    /// range, so that a planner cannot exploit it.
    Bernoulli,
}

/// Sizes of a [`WorldModel`](crate::WorldModel).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct WorldModelConfig {
    /// Side of the square RGB images in pixels: 64 or 32, or 128 with `pooling` 2.
    pub image_size: usize,
    /// Side of the squares of pixels that are averaged before the encoder sees them, 1 or 2:
    /// halving the resolution takes three quarters of the training time away.
    #[serde(default = "no_pooling")]
    pub pooling: usize,
    /// Components of an action.
    pub action_size: usize,
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
    /// The non-linearity between dense layers.
    #[serde(default)]
    pub activation: Activation,
}

fn no_pooling() -> usize {
    1
}

impl WorldModelConfig {
    /// The sizes of LatCo and PlaNet: latent 30 + 200, depth 32, 64×64 images.
    pub fn paper(action_size: usize) -> Self {
        Self {
            image_size: 64,
            pooling: 1,
            action_size,
            stochastic: 30,
            deterministic: 200,
            hidden: 200,
            reward_units: 400,
            depth: 32,
            reward: RewardKind::Gaussian,
            activation: Activation::Elu,
        }
    }

    /// Sizes that train on two CPU cores within the hour: latent 16 + 64, depth 16, 64×64 images
    /// seen at half their resolution, bounded reward.
    pub fn small(action_size: usize) -> Self {
        Self {
            image_size: 64,
            pooling: 2,
            action_size,
            stochastic: 16,
            deterministic: 64,
            hidden: 64,
            reward_units: 64,
            depth: 16,
            reward: RewardKind::Bernoulli,
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
            + self.reward_weights()
    }

    fn reward_weights(&self) -> usize {
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
        linear_weights(48, self.depth) + convolutions.sum::<usize>()
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
        let depth = self.depth;
        let layers: &[[usize; 3]] = if self.network_size() == 64 {
            &[
                [32 * depth, 4 * depth, 5],
                [4 * depth, 2 * depth, 5],
                [2 * depth, depth, 6],
                [depth, 12, 3],
            ]
        } else {
            &[
                [32 * depth, 4 * depth, 5],
                [4 * depth, 2 * depth, 6],
                [2 * depth, 12, 3],
            ]
        };
        let convolutions = layers
            .iter()
            .map(|&[inputs, outputs, kernel]| linear_weights(inputs * kernel * kernel, outputs));
        linear_weights(self.latent_size(), 32 * depth) + convolutions.sum::<usize>()
    }

    /// Refuses sizes that no model can have.
    ///
    /// # Errors
    ///
    /// Names the first setting outside its range.
    pub fn validate(&self) -> Result<(), ConfigError> {
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
        let bounded = |name, size| {
            ConfigError::require((1..=4096).contains(&size), name, size, "between 1 and 4096")
        };
        bounded("action_size", self.action_size)?;
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
            (1..=256).contains(&self.depth),
            "depth",
            self.depth,
            "between 1 and 256",
        )
    }
}

/// Weights and biases of a layer.
fn linear_weights(inputs: usize, outputs: usize) -> usize {
    (inputs + 1) * outputs
}
