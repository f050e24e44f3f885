use burn::tensor::Tensor;

use super::{LARGEST_SIZE, ProblemInfo};
use crate::dynamics::{Constants, Dynamics};

pub(crate) const INFO: ProblemInfo = ProblemInfo {
    name: "effectors",
    about: "move n effectors each onto its goal; the reward is a product, by chance exponentially rare in n",
    size: 8,
    largest_size: LARGEST_SIZE,
    build: |settings| Box::new(Effectors::new(settings.size(), settings.horizon())),
};

/// The speed of a full action, in lengths a plan.
const SPEED: f64 = 2.0;

/// The angle between the goals of an effector and the next, in radians.
const TURN: f32 = 2.4;

/// n effectors in the plane whose actions are their speeds, `h = 1/T`:
///
/// ```text
/// z = [x_1, y_1, x_2, …] (2n),   a (2n),   z_0 = 0
/// z' = z + 2 h a
/// d_i² = ‖[x_i, y_i] − [cos 2.4 i, sin 2.4 i]‖²,     i = 0 … n − 1: n parts
/// ```
pub(super) struct Effectors {
    size: usize,
    step: f64,
    goals: Constants,
}

impl Effectors {
    fn new(size: usize, horizon: usize) -> Self {
        let goals = (0..size).flat_map(|index| {
            let (sine, cosine) = (TURN * index as f32).sin_cos();
            [cosine, sine]
        });
        Self {
            size,
            step: SPEED / horizon as f64,
            goals: Constants::new(goals.collect()),
        }
    }
}

impl Dynamics for Effectors {
    fn start(&self) -> Vec<f32> {
        vec![0.0; 2 * self.size]
    }

    fn action_size(&self) -> usize {
        2 * self.size
    }

    fn step(&self, latents: Tensor<2>, actions: Tensor<2>) -> Tensor<2> {
        latents + actions * self.step
    }

    fn squared_distances(&self, latents: Tensor<2>) -> Tensor<2> {
        let rows = latents.dims()[0];
        let goals = self.goals.beside(&latents);
        let squares = (latents - goals).square();
        squares
            .reshape([rows, self.size, 2])
            .sum_dim(2)
            .squeeze_dim(2)
    }
}
