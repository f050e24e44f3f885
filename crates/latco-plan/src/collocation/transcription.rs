//! What the nodes of a plan are: a point, particles, or a Gaussian.
//!
//! Each transcription *lifts* the model: its nodes are the latents of another [`LatentModel`],
//! whose mean transition carries a node of one step to the next. Everything else, the dynamics as
//! constraints, primal and dual steps, rollouts, is then the same for all of them.

mod gaussian;
mod particles;
mod samples;

use burn::tensor::Tensor;
use serde::{Deserialize, Serialize};

use crate::{Belief, ConfigError, DiagonalGaussian, LatentModel, Noise, PlanError};
pub use gaussian::GaussianLift;
pub use particles::ParticleLift;

/// What a plan holds for each step.
///
/// A node, what the dynamics make of it, and the node after it, with crosses at means:
///
#[doc = include_str!("../../doc/transcription.svg")]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Transcription {
    /// One latent, with the mean of the dynamics between them (certainty equivalence).
    #[default]
    Deterministic,
    /// Several latents, equally weighted.
    Particles {
        /// How many, K.
        count: usize,
    },
    /// A Gaussian with diagonal covariance.
    Gaussian {
        /// Reparametrised samples that estimate what the dynamics make of it, at least 3 (the reference,
        /// 50).
        samples: usize,
    },
}

impl Transcription {
    /// Refuses zero particles, and fewer samples than have noise of a latent and of a transition without
    /// correlation.
    ///
    /// # Errors
    ///
    /// Names the setting.
    pub fn validate(&self) -> Result<(), ConfigError> {
        match *self {
            Self::Deterministic => Ok(()),
            Self::Particles { count } => ConfigError::require_positive("count", count),
            Self::Gaussian { samples } => {
                ConfigError::require(samples >= 3, "samples", samples, "at least 3")
            }
        }
    }

    /// Mean and variance of `nodes` `[rows, node]`, `[rows, latent]` each; no variance where a node is a
    /// single latent.
    pub fn moments(self, nodes: Tensor<2>) -> (Tensor<2>, Option<Tensor<2>>) {
        let [rows, size] = nodes.dims();
        match self {
            Self::Deterministic | Self::Particles { count: 1 } => (nodes, None),
            Self::Particles { count } => {
                let particles = nodes.reshape([rows, count, size / count]);
                let mean = particles.clone().mean_dim(1);
                let variance = (particles - mean.clone()).square().mean_dim(1);
                (mean.squeeze_dim(1), Some(variance.squeeze_dim(1)))
            }
            Self::Gaussian { .. } => {
                let mean = nodes.clone().narrow(1, 0, size / 2);
                let std = nodes.narrow(1, size / 2, size / 2);
                (mean, Some(std.square()))
            }
        }
    }

    /// The same of nodes that the dynamics predict: what each of several particles spreads by itself adds
    /// to their variance.
    pub fn predicted_moments(self, predicted: &DiagonalGaussian) -> (Tensor<2>, Option<Tensor<2>>) {
        let (mean, variance) = self.moments(predicted.mean.clone());
        let of_each = match self {
            Self::Particles { .. } => self.moments(predicted.std.clone().square()).0,
            Self::Deterministic | Self::Gaussian { .. } => return (mean, variance),
        };
        (mean, variance.map(|between| between + of_each))
    }

    /// The model whose latents are this transcription's nodes.
    pub(super) fn lift<'a>(
        &self,
        model: &'a dyn LatentModel,
        belief: &Belief,
        noise: &mut Noise,
    ) -> Result<Lifted<'a>, PlanError> {
        Ok(match *self {
            Self::Deterministic => Lifted::Identity(model),
            Self::Particles { count } => Lifted::Particles(ParticleLift::new(model, count)),
            Self::Gaussian { samples } => {
                let device = belief.device();
                Lifted::Gaussian(Box::new(GaussianLift::new(model, samples, noise, &device)))
            }
        })
    }
}

/// A lifted model.
pub(crate) enum Lifted<'a> {
    Identity(&'a dyn LatentModel),
    Particles(ParticleLift<'a>),
    Gaussian(Box<GaussianLift<'a>>),
}

impl Lifted<'_> {
    pub fn model(&self) -> &dyn LatentModel {
        match self {
            Self::Identity(model) => *model,
            Self::Particles(lift) => lift,
            Self::Gaussian(lift) => lift.as_ref(),
        }
    }

    /// Whether nodes are latents of the model itself.
    pub fn is_identity(&self) -> bool {
        matches!(self, Self::Identity(_))
    }

    /// The first node, fixed by the belief.
    pub fn first_node(&self, belief: &Belief, noise: &mut Noise) -> Belief {
        match self {
            Self::Identity(_) => belief.clone(),
            Self::Particles(lift) => lift.first_node(belief, noise),
            Self::Gaussian(lift) => lift.first_node(belief),
        }
    }

    /// The mean latents of nodes, `[horizon, node]` to `[horizon, latent]`.
    pub fn mean_latents(&self, nodes: Tensor<2>) -> Tensor<2> {
        match self {
            Self::Identity(_) => nodes,
            Self::Particles(lift) => lift.mean_latents(nodes),
            Self::Gaussian(lift) => lift.mean(nodes),
        }
    }

    /// The standard deviations of nodes, `[horizon, latent]`, for plans that have them.
    pub fn std_latents(&self, nodes: Tensor<2>) -> Option<Tensor<2>> {
        match self {
            Self::Gaussian(lift) => Some(lift.std(nodes).abs()),
            Self::Identity(_) | Self::Particles(_) => None,
        }
    }
}
