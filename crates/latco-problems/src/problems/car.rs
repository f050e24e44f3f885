use burn::tensor::Tensor;

use super::ProblemInfo;
use crate::dynamics::{Dynamics, column, squared_chord};

pub(crate) const INFO: ProblemInfo = ProblemInfo {
    name: "car",
    about: "park a car parallel, to its side; no small change of the actions leads there",
    size: 1,
    largest_size: 1,
    build: |settings| Box::new(Car::new(settings.horizon())),
};

/// The unit of speed, in lengths a plan.
const SPEED: f64 = 2.0;
/// The acceleration of a full action, in units of speed.
const ACCELERATION: f64 = 8.0;
/// The curvature of a full turn of the steering wheel, in lengths to the power −1.
const CURVATURE: f64 = 2.5;

/// The kinematic bicycle: a car that moves along its heading θ with speed 2v and turns by the
/// curvature κ of its path, by semi-implicit Euler, `h = 1/T`:
///
/// ```text
/// z = [x, y, θ, v],   a = [throttle, steering],   z_0 = 0
/// v' = v (1 − h) + 8 h a_0
/// θ' = θ + 2 h v' κ,     κ = 2.5 a_1
/// x' = x + 2 h v' cos θ',     y' = y + 2 h v' sin θ'
/// d² = x² + (y − 0.8)² + 2 (1 − cos θ) + ¼ v²
/// ```
///
/// The goal is 0.8 to the left with the same heading, at rest. Rajamani, "Vehicle Dynamics and
/// Control", 2nd edition, 2012, section 2.2, with the rear axle as reference, and the curvature in
/// place of the tangent of the steering angle over the wheelbase.
pub(super) struct Car {
    h: f64,
}

impl Car {
    fn new(horizon: usize) -> Self {
        Self {
            h: (horizon as f64).recip(),
        }
    }
}

impl Dynamics for Car {
    fn start(&self) -> Vec<f32> {
        vec![0.0; 4]
    }

    fn action_size(&self) -> usize {
        2
    }

    fn step(&self, latents: Tensor<2>, actions: Tensor<2>) -> Tensor<2> {
        let (throttle, steering) = (column(&actions, 0), column(&actions, 1));
        let speed = column(&latents, 3) * (1.0 - self.h) + throttle * (ACCELERATION * self.h);
        let way = speed.clone() * (SPEED * self.h);
        let heading = column(&latents, 2) + way.clone() * steering * CURVATURE;
        let x = column(&latents, 0) + way.clone() * heading.clone().cos();
        let y = column(&latents, 1) + way * heading.clone().sin();
        Tensor::cat(vec![x, y, heading, speed], 1)
    }

    fn squared_distances(&self, latents: Tensor<2>) -> Tensor<2> {
        let offset = column(&latents, 0).square() + (column(&latents, 1) - 0.8).square();
        let turn = squared_chord(column(&latents, 2));
        offset + turn + column(&latents, 3).square() * 0.25
    }
}
