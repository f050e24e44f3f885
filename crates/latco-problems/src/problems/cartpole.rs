use burn::tensor::Tensor;

use super::ProblemInfo;
use crate::dynamics::{Dynamics, column};

pub(crate) const INFO: ProblemInfo = ProblemInfo {
    name: "cartpole",
    about: "swing a pole up by moving the cart that it hangs from, and balance it in the middle",
    size: 1,
    largest_size: 1,
    build: |settings| Box::new(Cartpole::new(settings.horizon())),
};

/// How long a plan lasts, in seconds.
const SECONDS: f64 = 4.0;
/// The mass of the cart, in kg.
const CART: f64 = 1.0;
/// The mass at the pole's tip, in kg.
const POLE: f64 = 0.3;
/// The length of the pole, in m.
const LENGTH: f64 = 0.5;
/// Gravity, in m s⁻².
const GRAVITY: f64 = 9.81;
/// The force of a full action, in N.
const FORCE: f64 = 8.0;
/// The units of velocity (m s⁻¹) and angular velocity (rad s⁻¹).
const UNITS: (f64, f64) = (2.0, 4.0);

/// A cart of mass `m = 1 kg` on a rail and a pole of `l = 0.5 m` hanging from it at θ = 0 with
/// `p = 0.3 kg` at its tip, by semi-implicit Euler with steps of `4 s / T`:
///
/// ```text
/// z = [x, θ, ẋ/2, θ̇/4] (m, rad, s⁻¹),   a (1),   u = 8 N · a,   z_0 = 0
/// ẍ = (l p θ̇² sin θ + u + p g cos θ sin θ) / (m + p (1 − cos² θ))
/// θ̈ = −(l p θ̇² cos θ sin θ + u cos θ + (m + p) g sin θ) / (l (m + p (1 − cos² θ)))
/// d² = 2 (1 + cos θ) + x² + 0.1 (θ̇/4)²
/// ```
///
/// Kelly, "An Introduction to Trajectory Optimization: How to Do Your Own Direct Collocation", SIAM
/// Review 59(4), 2017, section 6, whose masses and length these are.
pub(super) struct Cartpole {
    seconds: f64,
}

impl Cartpole {
    fn new(horizon: usize) -> Self {
        Self {
            seconds: SECONDS / horizon as f64,
        }
    }
}

impl Dynamics for Cartpole {
    fn start(&self) -> Vec<f32> {
        vec![0.0; 4]
    }

    fn action_size(&self) -> usize {
        1
    }

    fn step(&self, latents: Tensor<2>, actions: Tensor<2>) -> Tensor<2> {
        let (linear, angular) = UNITS;
        let angle = column(&latents, 1);
        let (sine, cosine) = (angle.clone().sin(), angle.clone().cos());
        let force = actions * FORCE;
        let swing = (column(&latents, 3) * angular).square() * sine.clone() * (LENGTH * POLE);
        let mass = cosine.clone().square() * -POLE + (CART + POLE);

        let pull = cosine.clone() * sine.clone() * (POLE * GRAVITY);
        let acceleration = (swing.clone() + force.clone() + pull) / mass.clone();
        let weight = sine * ((CART + POLE) * GRAVITY);
        let angular_acceleration = ((swing + force) * cosine + weight) / (mass * -LENGTH);

        let speed = column(&latents, 2) + acceleration * (self.seconds / linear);
        let spin = column(&latents, 3) + angular_acceleration * (self.seconds / angular);
        let position = column(&latents, 0) + speed.clone() * (self.seconds * linear);
        let angle = angle + spin.clone() * (self.seconds * angular);
        Tensor::cat(vec![position, angle, speed, spin], 1)
    }

    fn squared_distances(&self, latents: Tensor<2>) -> Tensor<2> {
        let from_upright = column(&latents, 1).cos() * 2.0 + 2.0;
        from_upright + column(&latents, 0).square() + column(&latents, 3).square() * 0.1
    }
}
