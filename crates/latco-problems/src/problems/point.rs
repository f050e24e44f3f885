use burn::tensor::Tensor;

use super::{LARGEST_SIZE, ProblemInfo};
use crate::dynamics::{Constants, Dynamics, columns};

pub(crate) const INFO: ProblemInfo = ProblemInfo {
    name: "point",
    about: "move a mass to one corner of a cube of n dimensions and stay; random actions end nowhere near",
    size: 4,
    largest_size: LARGEST_SIZE,
    build: |settings| Box::new(Point::new(settings.size(), settings.horizon())),
};

/// The unit of speed, and the acceleration of a full action in it: `3.33² = 11.1` lengths, so that the
/// way of length 1 from rest to rest takes `√(4 / 11.1) = 0.6` of the plan.
const SPEED: f64 = 3.33;

/// A point mass in n dimensions, a double integrator by semi-implicit Euler, `h = 1/T`:
///
/// ```text
/// z = [x, v] (2n),   a (n),   z_0 = 0
/// v' = v + 3.33 h a,     x' = x + 3.33 h v'
/// d² = ‖x − g‖²,         g = [1, −1, 1, …]
/// ```
pub(super) struct Point {
    size: usize,
    step: f64,
    goal: Constants,
}

impl Point {
    fn new(size: usize, horizon: usize) -> Self {
        let goal = (0..size).map(|index| if index % 2 == 0 { 1.0 } else { -1.0 });
        Self {
            size,
            step: SPEED / horizon as f64,
            goal: Constants::new(goal.collect()),
        }
    }
}

impl Dynamics for Point {
    fn start(&self) -> Vec<f32> {
        vec![0.0; 2 * self.size]
    }

    fn action_size(&self) -> usize {
        self.size
    }

    fn step(&self, latents: Tensor<2>, actions: Tensor<2>) -> Tensor<2> {
        let speeds = columns(&latents, self.size, self.size) + actions * self.step;
        let positions = columns(&latents, 0, self.size) + speeds.clone() * self.step;
        Tensor::cat(vec![positions, speeds], 1)
    }

    fn squared_distances(&self, latents: Tensor<2>) -> Tensor<2> {
        let offsets = columns(&latents, 0, self.size) - self.goal.beside(&latents);
        offsets.square().sum_dim(1)
    }
}
