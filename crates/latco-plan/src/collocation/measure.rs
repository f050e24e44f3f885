use burn::tensor::Tensor;
use serde::{Deserialize, Serialize};

use super::Transcription;
use crate::{ConfigError, DiagonalGaussian};

/// How far a planned node is from what the dynamics make of the one before.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Measure {
    /// Moment matching: `‖Δ mean‖²`, and `‖Δ variance‖²` where the node has a variance.
    #[default]
    Moments,
    /// A Bregman divergence `D_F(planned, predicted)`.
    Bregman(Generator),
    /// `½ ‖(z' − μ) / σ‖²`, the particle's negative log-likelihood under `p_φ(z' | z, a)` up to a
    /// constant; deviations below `std_floor` count as `std_floor`.
    Likelihood {
        /// The least standard deviation, needed for the deterministic part of a latent.
        std_floor: f64,
    },
}

/// The convex function F that generates a Bregman divergence
/// `D_F(p, q) = F(p) − F(q) − ⟨∇F(q), p − q⟩` (Bregman 1967).
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Generator {
    /// `F(x) = ‖x‖²`: the squared distance of the means, the same as moment matching of the mean.
    SquaredNorm,
    /// The negative entropy of Gaussians: `D_F = KL(planned ‖ predicted)`, of both after noise of
    /// deviation `std_floor` was added, so that what is all but certain does not weigh without
    /// bound. Nodes need a variance.
    NegativeEntropy {
        /// The deviation of the noise.
        std_floor: f64,
    },
}

impl Measure {
    /// Refuses measures that the transcription's nodes do not allow.
    ///
    /// # Errors
    ///
    /// Names the setting.
    pub fn validate(&self, transcription: Transcription) -> Result<(), ConfigError> {
        let gaussian = matches!(transcription, Transcription::Gaussian { .. });
        match *self {
            Self::Moments => Ok(()),
            Self::Bregman(Generator::SquaredNorm) => Ok(()),
            Self::Bregman(Generator::NegativeEntropy { std_floor }) => {
                ConfigError::require(
                    gaussian,
                    "measure",
                    "negative_entropy",
                    "a Gaussian transcription with it",
                )?;
                ConfigError::require_positive_real("std_floor", std_floor)
            }
            Self::Likelihood { std_floor } => {
                ConfigError::require(
                    !gaussian,
                    "measure",
                    "likelihood",
                    "a transcription of points or particles with it",
                )?;
                ConfigError::require_positive_real("std_floor", std_floor)
            }
        }
    }

    /// How many constraints there are on each step.
    pub(super) fn constraints(&self, transcription: Transcription) -> usize {
        let has_variance = match transcription {
            Transcription::Deterministic => false,
            Transcription::Particles { count } => count > 1,
            Transcription::Gaussian { .. } => true,
        };
        if *self == Self::Moments && has_variance {
            2
        } else {
            1
        }
    }

    /// Whether the only violation is `‖planned − predicted mean‖²` of whole nodes.
    pub(super) fn is_squared_distance(&self, transcription: Transcription) -> bool {
        let gaussian = matches!(transcription, Transcription::Gaussian { .. });
        match *self {
            Self::Moments => self.constraints(transcription) == 1,
            Self::Bregman(Generator::SquaredNorm) => !gaussian,
            Self::Bregman(Generator::NegativeEntropy { .. }) | Self::Likelihood { .. } => false,
        }
    }

    /// The violations between `planned` nodes `[rows, node]` and the `predicted` ones, one
    /// `[rows]` for each constraint.
    pub(super) fn violations(
        &self,
        transcription: Transcription,
        planned: Tensor<2>,
        predicted: &DiagonalGaussian,
    ) -> Vec<Tensor<1>> {
        match *self {
            Self::Moments => moments(transcription, planned, predicted),
            Self::Bregman(Generator::SquaredNorm) => match transcription {
                Transcription::Gaussian { .. } => {
                    let (planned, predicted) = (halves(planned), halves(predicted.mean.clone()));
                    vec![squared_distance(planned.0, predicted.0)]
                }
                _ => vec![squared_distance(planned, predicted.mean.clone())],
            },
            Self::Bregman(Generator::NegativeEntropy { std_floor }) => {
                let predicted = gaussian(predicted.mean.clone(), std_floor);
                vec![gaussian(planned, std_floor).kl_divergence(&predicted)]
            }
            Self::Likelihood { std_floor } => {
                let std = predicted.std.clone().clamp_min(std_floor);
                let scaled = (planned - predicted.mean.clone()) / std;
                vec![sum_of_squares(scaled) * 0.5]
            }
        }
    }
}

fn moments(
    transcription: Transcription,
    planned: Tensor<2>,
    predicted: &DiagonalGaussian,
) -> Vec<Tensor<1>> {
    match transcription {
        Transcription::Deterministic | Transcription::Particles { count: 1 } => {
            vec![squared_distance(planned, predicted.mean.clone())]
        }
        Transcription::Gaussian { .. } => {
            let (mean, std) = halves(planned);
            let (predicted_mean, predicted_std) = halves(predicted.mean.clone());
            vec![
                squared_distance(mean, predicted_mean),
                squared_distance(std.square(), predicted_std.square()),
            ]
        }
        Transcription::Particles { count } => {
            let (mean, variance) = particle_moments(planned, count);
            let (predicted_mean, spread) = particle_moments(predicted.mean.clone(), count);
            let (own_variance, _) = particle_moments(predicted.std.clone().square(), count);
            vec![
                squared_distance(mean, predicted_mean),
                squared_distance(variance, spread + own_variance),
            ]
        }
    }
}

/// Mean and variance over the particles of `[rows, K · latent]`, `[rows, latent]` each.
fn particle_moments(nodes: Tensor<2>, count: usize) -> (Tensor<2>, Tensor<2>) {
    let [rows, size] = nodes.dims();
    let particles = nodes.reshape([rows, count, size / count]);
    let mean = particles.clone().mean_dim(1);
    let variance = (particles - mean.clone()).square().mean_dim(1);
    (mean.squeeze_dim(1), variance.squeeze_dim(1))
}

/// Splits `[m, s]`.
fn halves(nodes: Tensor<2>) -> (Tensor<2>, Tensor<2>) {
    let half = nodes.dims()[1] / 2;
    (
        nodes.clone().narrow(1, 0, half),
        nodes.narrow(1, half, half),
    )
}

/// The Gaussians of nodes `[m, s]` plus noise of deviation `std_floor`.
fn gaussian(nodes: Tensor<2>, std_floor: f64) -> DiagonalGaussian {
    let (mean, std) = halves(nodes);
    DiagonalGaussian::new(mean, (std.square() + std_floor.powi(2)).sqrt())
}

fn squared_distance(a: Tensor<2>, b: Tensor<2>) -> Tensor<1> {
    sum_of_squares(a - b)
}

fn sum_of_squares(values: Tensor<2>) -> Tensor<1> {
    values.square().sum_dim(1).squeeze_dim(1)
}
