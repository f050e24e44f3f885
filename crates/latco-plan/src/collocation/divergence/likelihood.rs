use burn::tensor::Tensor;

use super::{Residuals, Structure};
use crate::{ConfigError, DiagonalGaussian, collocation::Transcription};

/// `½ ‖(z' − μ) / σ‖²`, half the squared Mahalanobis distance of the planned latents from `p_φ(z' | z, a)`. The
/// `Σ log σ` of their negative log-likelihood is left out: it is not 0 where both agree, and says how certain
/// the dynamics are, not how far the plan is from them. Deviations below `std_floor` count as `std_floor`.
#[derive(Clone, Copy, Debug)]
pub struct Likelihood {
    /// The least standard deviation, needed for the deterministic part of a latent.
    pub std_floor: f64,
}

impl Residuals for Likelihood {
    fn residuals(
        &self,
        _node: Transcription,
        planned: Tensor<2>,
        predicted: &DiagonalGaussian,
    ) -> Vec<Tensor<2>> {
        let std = predicted.std.clone().clamp_min(self.std_floor);
        let scaled = (planned - predicted.mean.clone()) / std;
        vec![scaled * std::f64::consts::FRAC_1_SQRT_2]
    }

    fn validate(&self, node: Transcription) -> Result<(), ConfigError> {
        ConfigError::require(
            !matches!(node, Transcription::Gaussian { .. }),
            "measure",
            "likelihood",
            "a transcription of points or particles with it",
        )?;
        ConfigError::require_positive_real("std_floor", self.std_floor)
    }

    fn structure(&self, _node: Transcription) -> Structure {
        Structure::Elementwise
    }
}
