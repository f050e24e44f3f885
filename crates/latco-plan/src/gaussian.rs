use burn::tensor::Tensor;

/// Rows of independent Gaussians with diagonal covariance, `N(mean, diag std²)`.
#[derive(Clone, Debug)]
pub struct DiagonalGaussian {
    /// Means, `[rows, size]`.
    pub mean: Tensor<2>,
    /// Standard deviations, `[rows, size]`; zero where the variable is deterministic.
    pub std: Tensor<2>,
}

impl DiagonalGaussian {
    /// Pairs means and standard deviations of the same shape `[rows, size]`.
    pub fn new(mean: Tensor<2>, std: Tensor<2>) -> Self {
        Self { mean, std }
    }

    /// The reparametrised sample `mean + std ∘ noise` for standard normal `noise`, `[rows, size]`
    /// (Kingma & Welling, arXiv 1312.6114, eq. 4).
    pub fn sample(&self, noise: Tensor<2>) -> Tensor<2> {
        self.mean.clone() + self.std.clone() * noise
    }

    /// `KL(self ‖ other)` of each row, `[rows]`:
    ///
    /// ```text
    /// Σ_i log(σ'_i / σ_i) + (σ_i² + (μ_i − μ'_i)²) / (2 σ'_i²) − ½
    /// ```
    ///
    /// Both must have strictly positive standard deviations.
    pub fn kl_divergence(&self, other: &Self) -> Tensor<1> {
        let log_ratio = other.std.clone().log() - self.std.clone().log();
        let spread = self.std.clone().square() + (self.mean.clone() - other.mean.clone()).square();
        let terms = log_ratio + spread / other.std.clone().square().mul_scalar(2.0) - 0.5;
        terms.sum_dim(1).squeeze_dim(1)
    }
}
