use std::fmt::Debug;

use burn::tensor::Tensor;
use latco_kernels::join;

use super::{Divergence, Residuals, Structure};
use crate::{ConfigError, DiagonalGaussian, collocation::Transcription};

/// The Bregman divergence of any convex function F,
///
/// ```text
/// D_F(p, q) = F(p) − F(q) − ⟨∇F(q), p − q⟩,     p planned, q predicted
/// ```
///
/// (Bregman 1967). Gauss–Newton takes the [squared norm](SquaredNorm) alone.
#[derive(Clone, Copy, Debug)]
pub struct Bregman<F>(pub F);

/// A convex function F of nodes, with its gradient.
pub trait ConvexFunction: Debug + Send + Sync {
    /// The coordinates that F is a function of, `[rows, coordinates]` of nodes `[rows, node]`; the nodes
    /// themselves by default.
    fn coordinates(&self, nodes: Tensor<2>) -> Tensor<2> {
        nodes
    }

    /// `F(x)`, `[rows]`.
    fn value(&self, coordinates: Tensor<2>) -> Tensor<1>;

    /// `∇F(x)`, `[rows, coordinates]`.
    fn gradient(&self, coordinates: Tensor<2>) -> Tensor<2>;

    /// `D_F(p, q)` of nodes, `[rows]`. Override where rounding would outweigh the differences.
    fn divergence(&self, planned: Tensor<2>, predicted: Tensor<2>) -> Tensor<1> {
        let (planned, predicted) = (self.coordinates(planned), self.coordinates(predicted));
        let slope = self.gradient(predicted.clone());
        let linear = (slope * (planned.clone() - predicted.clone())).sum_dim(1);
        self.value(planned) - self.value(predicted) - linear.squeeze_dim(1)
    }

    /// Refuses nodes that F is no function of, and parameters outside their range.
    ///
    /// # Errors
    ///
    /// Names the setting.
    fn validate(&self, _node: Transcription) -> Result<(), ConfigError> {
        Ok(())
    }
}

impl<F: ConvexFunction> Divergence for Bregman<F> {
    fn violations(
        &self,
        _node: Transcription,
        planned: Tensor<2>,
        predicted: &DiagonalGaussian,
    ) -> Vec<Tensor<1>> {
        vec![self.0.divergence(planned, predicted.mean.clone())]
    }

    fn validate(&self, node: Transcription) -> Result<(), ConfigError> {
        self.0.validate(node)
    }

    fn needs_deviations(&self, _node: Transcription) -> bool {
        false
    }
}

/// `F(x) = ‖x‖²` of the means: the squared distance, the same as moment matching of the mean.
#[derive(Clone, Copy, Debug)]
pub struct SquaredNorm;

impl Residuals for SquaredNorm {
    fn residuals(
        &self,
        node: Transcription,
        planned: Tensor<2>,
        predicted: &DiagonalGaussian,
    ) -> Vec<Tensor<2>> {
        let mean = |nodes: Tensor<2>| match node {
            Transcription::Gaussian { .. } => node.moments(nodes).0,
            Transcription::Deterministic | Transcription::Particles { .. } => nodes,
        };
        vec![mean(planned) - mean(predicted.mean.clone())]
    }

    fn needs_deviations(&self, _node: Transcription) -> bool {
        false
    }

    fn structure(&self, node: Transcription) -> Structure {
        match node {
            Transcription::Gaussian { .. } => Structure::Dense,
            Transcription::Deterministic | Transcription::Particles { .. } => Structure::Difference,
        }
    }
}

/// The negative entropy of Gaussians, `D_F = KL(planned ‖ predicted)`, of both after noise of deviation
/// `std_floor` was added, so that what is all but certain does not weigh without bound. With the moments
/// `x = [m, m² + s²]` as coordinates,
///
/// ```text
/// F(x) = −½ Σ_i log(x'_i − x_i²),   ∇F = [x / (x' − x²), −½ / (x' − x²)]
/// ```
///
/// Nodes need a variance.
#[derive(Clone, Copy, Debug)]
pub struct NegativeEntropy {
    /// The deviation of the noise.
    pub std_floor: f64,
}

impl NegativeEntropy {
    /// The Gaussians of nodes `[m, s]` plus noise.
    fn gaussian(&self, nodes: Tensor<2>) -> DiagonalGaussian {
        let (mean, std) = halves(nodes);
        DiagonalGaussian::new(mean, (std.square() + self.std_floor.powi(2)).sqrt())
    }
}

impl ConvexFunction for NegativeEntropy {
    fn coordinates(&self, nodes: Tensor<2>) -> Tensor<2> {
        let DiagonalGaussian { mean, std } = self.gaussian(nodes);
        join(vec![mean.clone(), mean.square() + std.square()], 1)
    }

    fn value(&self, coordinates: Tensor<2>) -> Tensor<1> {
        let (mean, square) = halves(coordinates);
        (square - mean.square())
            .log()
            .sum_dim(1)
            .squeeze_dim::<1>(1)
            * -0.5
    }

    fn gradient(&self, coordinates: Tensor<2>) -> Tensor<2> {
        let (mean, square) = halves(coordinates);
        let precision = (square - mean.clone().square()).recip();
        join(vec![mean * precision.clone(), precision * -0.5], 1)
    }

    fn divergence(&self, planned: Tensor<2>, predicted: Tensor<2>) -> Tensor<1> {
        self.gaussian(planned)
            .kl_divergence(&self.gaussian(predicted))
    }

    fn validate(&self, node: Transcription) -> Result<(), ConfigError> {
        ConfigError::require(
            matches!(node, Transcription::Gaussian { .. }),
            "measure",
            "negative_entropy",
            "a Gaussian transcription with it",
        )?;
        ConfigError::require_positive_real("std_floor", self.std_floor)
    }
}

/// Splits columns in the middle.
fn halves(values: Tensor<2>) -> (Tensor<2>, Tensor<2>) {
    let half = values.dims()[1] / 2;
    (
        values.clone().narrow(1, 0, half),
        values.narrow(1, half, half),
    )
}

#[cfg(test)]
mod tests {
    use burn::tensor::Device;

    use super::*;
    use crate::{
        Noise,
        shooting::testing::{assert_near, values},
    };

    /// The default formula alone.
    #[derive(Debug)]
    struct ByDefinition<F>(F);

    impl<F: ConvexFunction> ConvexFunction for ByDefinition<F> {
        fn coordinates(&self, nodes: Tensor<2>) -> Tensor<2> {
            self.0.coordinates(nodes)
        }

        fn value(&self, coordinates: Tensor<2>) -> Tensor<1> {
            self.0.value(coordinates)
        }

        fn gradient(&self, coordinates: Tensor<2>) -> Tensor<2> {
            self.0.gradient(coordinates)
        }
    }

    /// `F(x) = ‖x‖²`.
    #[derive(Debug)]
    struct Norm;

    impl ConvexFunction for Norm {
        fn value(&self, coordinates: Tensor<2>) -> Tensor<1> {
            coordinates.square().sum_dim(1).squeeze_dim(1)
        }

        fn gradient(&self, coordinates: Tensor<2>) -> Tensor<2> {
            coordinates * 2.0
        }
    }

    const ROWS: usize = 5;

    fn nodes() -> [Tensor<2>; 2] {
        let noise = &mut Noise::new(4);
        [(); 2].map(|()| noise.normal([ROWS, 4], &Device::default()))
    }

    fn violation(divergence: &dyn Divergence, node: Transcription) -> Vec<f32> {
        let [planned, predicted] = nodes();
        let predicted = DiagonalGaussian::new(predicted.clone(), predicted.zeros_like());
        let [violation] = divergence
            .violations(node, planned, &predicted)
            .try_into()
            .expect("one constraint");
        values(violation)
    }

    fn assert_same(found: Vec<f32>, expected: Vec<f32>) {
        assert_eq!(found.len(), ROWS);
        for (found, expected) in found.into_iter().zip(expected) {
            assert!(expected > 0.1, "{expected} shows nothing");
            assert_near(found, expected, 1e-4 * expected);
        }
    }

    #[test]
    fn that_of_the_squared_norm_is_the_squared_distance() {
        let node = Transcription::Deterministic;
        assert_same(
            violation(&Bregman(Norm), node),
            violation(&SquaredNorm, node),
        );
    }

    #[test]
    fn that_of_the_negative_entropy_is_the_kullback_leibler_divergence() {
        let node = Transcription::Gaussian { samples: 2 };
        let entropy = NegativeEntropy { std_floor: 0.5 };
        assert_same(
            violation(&Bregman(ByDefinition(entropy)), node),
            violation(&Bregman(entropy), node),
        );
    }
}
