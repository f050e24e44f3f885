use burn::tensor::{Device, Tensor};

use crate::DiagonalGaussian;

/// What is known of the present latent `z_0`: the Gaussian that a plan starts from.
///
/// Deterministic planners fix `z_0` at the mean.
#[derive(Clone, Debug)]
pub struct Belief {
    distribution: DiagonalGaussian,
}

impl Belief {
    /// The belief `N(mean, diag std²)`; both `[1, latent]`.
    pub fn new(distribution: DiagonalGaussian) -> Self {
        Self { distribution }
    }

    /// A latent known exactly, `[latent]`.
    pub fn certain(latent: Tensor<1>) -> Self {
        let mean = latent.unsqueeze_dim::<2>(0);
        let std = mean.zeros_like();
        Self::new(DiagonalGaussian::new(mean, std))
    }

    /// The mean of `z_0`, `[1, latent]`.
    pub fn mean(&self) -> Tensor<2> {
        self.distribution.mean.clone()
    }

    /// The standard deviation of `z_0`, `[1, latent]`.
    pub fn std(&self) -> Tensor<2> {
        self.distribution.std.clone()
    }

    /// The mean repeated for a batch of plans, `[plans, latent]`.
    pub fn mean_of(&self, plans: usize) -> Tensor<2> {
        self.mean().repeat_dim(0, plans)
    }

    /// The device that the belief, and so the plan, lives on.
    pub fn device(&self) -> Device {
        self.distribution.mean.device()
    }
}
