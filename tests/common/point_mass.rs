//! A point that is pushed towards a goal: a model so cheap that planners' own work is what counts.

use burn::tensor::{Device, Tensor};
use latco_plan::{Belief, DiagonalGaussian, ImageSpace, LatentModel};

/// Position and velocity in the plane; the action accelerates, friction brakes.
///
/// ```text
/// v' = 0.8 v + 0.3 a,     x' = x + v',     r = exp(−‖x − (1, 1)‖²)
/// ```
///
/// An image is the latent doubled.
#[derive(Clone, Copy, Debug)]
pub struct PointMass {
    /// The standard deviation of the transition.
    pub spread: f64,
}

/// Coordinates of the plane.
const PLANE: usize = 2;

impl PointMass {
    /// At rest in the origin, known up to 0.1.
    pub fn belief() -> Belief {
        let mean = Tensor::<2>::zeros([1, 2 * PLANE], &Device::default());
        let std = mean.full_like(0.1);
        Belief::new(DiagonalGaussian::new(mean, std))
    }
}

impl LatentModel for PointMass {
    fn latent_size(&self) -> usize {
        2 * PLANE
    }

    fn action_size(&self) -> usize {
        PLANE
    }

    fn transition(&self, latents: Tensor<2>, actions: Tensor<2>) -> DiagonalGaussian {
        let position = latents.clone().narrow(1, 0, PLANE);
        let velocity = latents.narrow(1, PLANE, PLANE) * 0.8 + actions * 0.3;
        let mean = Tensor::cat(vec![position + velocity.clone(), velocity], 1);
        let std = mean.full_like(self.spread);
        DiagonalGaussian::new(mean, std)
    }

    fn reward(&self, latents: Tensor<2>) -> Tensor<1> {
        let distance = latents.narrow(1, 0, PLANE) - 1.0;
        distance.square().sum_dim(1).squeeze_dim::<1>(1).neg().exp()
    }

    fn image_space(&self) -> Option<&dyn ImageSpace> {
        Some(self)
    }
}

impl ImageSpace for PointMass {
    fn image_size(&self) -> usize {
        2 * PLANE
    }

    fn infer(&self, _: Tensor<2>, _: Tensor<2>, images: Tensor<2>) -> Tensor<2> {
        images * 0.5
    }

    fn decode(&self, latents: Tensor<2>) -> Tensor<2> {
        latents * 2.0
    }
}
