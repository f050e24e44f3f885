use burn::tensor::Tensor;

use super::{Residuals, Structure};
use crate::{DiagonalGaussian, collocation::Transcription};

/// Moment matching: `‖Δ mean‖²`, and `‖Δ variance‖²` where the node has a variance, the variance itself
/// and not the standard deviation. Each has multipliers of its own.
#[derive(Clone, Copy, Debug)]
pub struct Moments;

impl Residuals for Moments {
    fn residuals(
        &self,
        node: Transcription,
        planned: Tensor<2>,
        predicted: &DiagonalGaussian,
    ) -> Vec<Tensor<2>> {
        let (mean, variance) = node.moments(planned);
        let (predicted_mean, predicted_variance) = node.predicted_moments(predicted);
        let variances = variance.zip(predicted_variance);
        let of_variance = variances.map(|(planned, predicted)| planned - predicted);
        [mean - predicted_mean]
            .into_iter()
            .chain(of_variance)
            .collect()
    }

    fn needs_deviations(&self, node: Transcription) -> bool {
        matches!(node, Transcription::Particles { count } if count > 1)
    }

    fn structure(&self, node: Transcription) -> Structure {
        match node {
            Transcription::Deterministic | Transcription::Particles { count: 1 } => {
                Structure::Difference
            }
            Transcription::Gaussian { .. } => Structure::Elementwise,
            Transcription::Particles { .. } => Structure::Dense,
        }
    }
}
