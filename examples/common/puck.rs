//! A point on a plane that is to come to a goal: linear dynamics, a quadratic reward.

use burn::tensor::Tensor;
use latco_plan::{DiagonalGaussian, LatentModel};

/// Position and velocity where it begins.
pub const START: [f32; 4] = [-0.9, -0.7, 0.0, 0.0];
/// The position of the goal.
pub const GOAL: [f32; 2] = [0.8, 0.7];

/// A point with position and velocity, accelerated by the action.
///
/// ```text
/// v' = 0.8 v + 0.04 a,     x' = x + v',     r = −½ ‖x − goal‖²
/// ```
pub struct Puck;

impl LatentModel for Puck {
    fn latent_size(&self) -> usize {
        4
    }

    fn action_size(&self) -> usize {
        2
    }

    fn transition(&self, latents: Tensor<2>, actions: Tensor<2>) -> DiagonalGaussian {
        let velocity = latents.clone().narrow(1, 2, 2) * 0.8 + actions * 0.04;
        let position = latents.narrow(1, 0, 2) + velocity.clone();
        let mean = Tensor::cat(vec![position, velocity], 1);
        let std = mean.zeros_like();
        DiagonalGaussian::new(mean, std)
    }

    fn reward(&self, latents: Tensor<2>) -> Tensor<1> {
        let squares = self.reward_residuals(latents).square();
        squares.sum_dim(1).squeeze_dim::<1>(1) * -0.5
    }

    fn reward_residuals(&self, latents: Tensor<2>) -> Tensor<2> {
        let goal = Tensor::<2>::from_data([GOAL], &latents.device());
        latents.narrow(1, 0, 2) - goal
    }
}
