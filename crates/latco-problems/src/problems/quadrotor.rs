use burn::tensor::Tensor;

use super::ProblemInfo;
use crate::dynamics::{Dynamics, column, squared_chord};

pub(crate) const INFO: ProblemInfo = ProblemInfo {
    name: "quadrotor",
    about: "fly a planar quadrotor to the side and up, level at the goal; coupled and unstable",
    size: 1,
    largest_size: 1,
    build: |settings| Box::new(Quadrotor::new(settings.horizon())),
};

/// How long a plan lasts, in seconds.
const SECONDS: f64 = 3.0;
/// Gravity, and the thrust at rest, in m s⁻².
const GRAVITY: f64 = 9.81;
/// The thrust that a full action of a rotor adds, in m s⁻².
const THRUST: f64 = 4.9;
/// The angular acceleration of a full action of a rotor, in rad s⁻².
const TORQUE: f64 = 15.0;
/// The units of velocity (m s⁻¹) and angular velocity (rad s⁻¹).
const UNITS: (f64, f64) = (2.0, 4.0);

/// A quadrotor in the vertical plane, by semi-implicit Euler with steps of `3 s / T`:
///
/// ```text
/// z = [x, y, θ, ẋ/2, ẏ/2, θ̇/4] (m, rad, s⁻¹),   a = [left, right],   z_0 = 0
/// F = 9.81 + 4.9 (a_0 + a_1)
/// ẍ = −F sin θ,     ÿ = F cos θ − 9.81,     θ̈ = 15 (a_1 − a_0)
/// d² = (x − 1)² + (y − 0.5)² + 2 (1 − cos θ)
/// ```
///
/// The rotors hover where the action is zero and never push downwards. Tedrake, "Underactuated
/// Robotics", chapter 3, the planar quadrotor with its masses divided out.
pub(super) struct Quadrotor {
    seconds: f64,
}

impl Quadrotor {
    fn new(horizon: usize) -> Self {
        Self {
            seconds: SECONDS / horizon as f64,
        }
    }
}

impl Dynamics for Quadrotor {
    fn start(&self) -> Vec<f32> {
        vec![0.0; 6]
    }

    fn action_size(&self) -> usize {
        2
    }

    fn step(&self, latents: Tensor<2>, actions: Tensor<2>) -> Tensor<2> {
        let (linear, angular) = UNITS;
        let (left, right) = (column(&actions, 0), column(&actions, 1));
        let angle = column(&latents, 2);
        let thrust = (left.clone() + right.clone()) * THRUST + GRAVITY;
        let across = thrust.clone() * angle.clone().sin() * (-self.seconds / linear);
        let upward = (thrust * angle.clone().cos() - GRAVITY) * (self.seconds / linear);

        let spin = column(&latents, 5) + (right - left) * (TORQUE * self.seconds / angular);
        let angle = angle + spin.clone() * (self.seconds * angular);
        let (speed_x, speed_y) = (column(&latents, 3) + across, column(&latents, 4) + upward);
        let x = column(&latents, 0) + speed_x.clone() * (self.seconds * linear);
        let y = column(&latents, 1) + speed_y.clone() * (self.seconds * linear);
        Tensor::cat(vec![x, y, angle, speed_x, speed_y, spin], 1)
    }

    fn squared_distances(&self, latents: Tensor<2>) -> Tensor<2> {
        let offset = (column(&latents, 0) - 1.0).square() + (column(&latents, 1) - 0.5).square();
        offset + squared_chord(column(&latents, 2))
    }
}
