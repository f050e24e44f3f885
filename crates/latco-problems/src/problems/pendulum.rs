use burn::tensor::Tensor;

use super::ProblemInfo;
use crate::dynamics::{Dynamics, column};

pub(crate) const INFO: ProblemInfo = ProblemInfo {
    name: "pendulum",
    about: "swing a pendulum up with a torque too weak to lift it, and hold it upright",
    size: 1,
    largest_size: 1,
    build: |settings| Box::new(Pendulum::new(settings.horizon())),
};

/// How long a plan lasts, in seconds.
const SECONDS: f64 = 5.0;
/// Gravity over length, in s⁻².
const GRAVITY: f64 = 9.81;
/// The angular acceleration of a full action, in rad s⁻².
const TORQUE: f64 = 4.0;
/// The unit of angular velocity, in rad s⁻¹.
const UNIT: f64 = 4.0;

/// A pendulum of length 1 m hanging at θ = 0, by semi-implicit Euler with steps of `5 s / T`:
///
/// ```text
/// z = [θ, ω/4] (rad, rad s⁻¹),   a (1),   z_0 = 0
/// θ̈ = −9.81 sin θ + 4 a
/// d² = 2 (1 + cos θ) + ¼ (ω/4)²
/// ```
///
/// The first term of d² is the squared distance of the tip to the upright one. The torque holds the
/// pendulum up to 24° only: it has to be pumped (Åström and Furuta, "Swinging up a pendulum by energy
/// control", Automatica 36, 2000).
pub(super) struct Pendulum {
    seconds: f64,
}

impl Pendulum {
    fn new(horizon: usize) -> Self {
        Self {
            seconds: SECONDS / horizon as f64,
        }
    }
}

impl Dynamics for Pendulum {
    fn start(&self) -> Vec<f32> {
        vec![0.0; 2]
    }

    fn action_size(&self) -> usize {
        1
    }

    fn step(&self, latents: Tensor<2>, actions: Tensor<2>) -> Tensor<2> {
        let angle = column(&latents, 0);
        let acceleration = angle.clone().sin() * -GRAVITY + actions * TORQUE;
        let speed = column(&latents, 1) + acceleration * (self.seconds / UNIT);
        let angle = angle + speed.clone() * (self.seconds * UNIT);
        Tensor::cat(vec![angle, speed], 1)
    }

    fn squared_distances(&self, latents: Tensor<2>) -> Tensor<2> {
        let from_upright = column(&latents, 0).cos() * 2.0 + 2.0;
        from_upright + column(&latents, 1).square() * 0.25
    }
}
