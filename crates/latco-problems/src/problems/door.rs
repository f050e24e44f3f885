use burn::tensor::{Tensor, activation::sigmoid};

use super::ProblemInfo;
use crate::dynamics::{Dynamics, column, columns};

pub(crate) const INFO: ProblemInfo = ProblemInfo {
    name: "door",
    about: "get past a wall through its door; the straight line to the goal ends in the wall",
    size: 1,
    largest_size: 1,
    build: |settings| Box::new(Door::new(settings.horizon())),
};

/// The unit of speed, in lengths a plan.
const SPEED: f64 = 3.0;
/// The acceleration of a full action, in units of speed.
const ACCELERATION: f64 = 8.0;
/// The share of its speed that the mass loses to friction in a plan.
const FRICTION: f64 = 2.0;
/// The share of its speed that the mass loses in a step inside the wall.
const WALL_LOSS: f64 = 0.97;

/// A mass in the plane, and a wall at `x = 0.5 ± 0.05` that takes its speed but at the door at
/// `y = 0.8 ± 0.12`, `h = 1/T`:
///
/// ```text
/// z = [x, y, v (2)],   a (2),   z_0 = 0
/// wall = σ(100 (0.05 − |x − 0.5|)),     door = σ(60 (0.12 − |y − 0.8|))
/// v' = (v (1 − 2h) + 8 h a) (1 − 0.97 wall (1 − door)),     [x, y]' = [x, y] + 3 h v'
/// d² = (x − 1)² + y²
/// ```
pub(super) struct Door {
    h: f64,
}

impl Door {
    fn new(horizon: usize) -> Self {
        Self {
            h: (horizon as f64).recip(),
        }
    }
}

impl Dynamics for Door {
    fn start(&self) -> Vec<f32> {
        vec![0.0; 4]
    }

    fn action_size(&self) -> usize {
        2
    }

    fn step(&self, latents: Tensor<2>, actions: Tensor<2>) -> Tensor<2> {
        let wall = band(column(&latents, 0), 0.5, 0.05, 100.0);
        let beside_door = band(column(&latents, 1), 0.8, 0.12, 60.0) * -1.0 + 1.0;
        let kept = wall * beside_door * -WALL_LOSS + 1.0;
        let speeds = columns(&latents, 2, 2) * (1.0 - FRICTION * self.h);
        let speeds = (speeds + actions * (ACCELERATION * self.h)) * kept;
        let positions = columns(&latents, 0, 2) + speeds.clone() * (SPEED * self.h);
        Tensor::cat(vec![positions, speeds], 1)
    }

    fn squared_distances(&self, latents: Tensor<2>) -> Tensor<2> {
        (column(&latents, 0) - 1.0).square() + column(&latents, 1).square()
    }
}

/// Nearly 1 within `half_width` of `middle`, nearly 0 elsewhere.
fn band(positions: Tensor<2>, middle: f64, half_width: f64, sharpness: f64) -> Tensor<2> {
    let distances = (positions - middle).abs();
    sigmoid(distances * -sharpness + half_width * sharpness)
}
