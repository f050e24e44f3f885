use burn::tensor::{Tensor, activation::log_sigmoid};

use super::ProblemInfo;
use crate::dynamics::{Dynamics, column, columns};

pub(crate) const INFO: ProblemInfo = ProblemInfo {
    name: "push",
    about: "push a puck to its goal with a hand; the hand is paid only by way of the puck",
    size: 1,
    largest_size: 1,
    build: |settings| Box::new(Push::new(settings.horizon())),
};

/// The speed of a full action, in lengths a plan.
const SPEED: f64 = 4.0;
/// How far apart hand and puck touch.
const REACH: f64 = 0.15;
/// How sharp the contact is, in lengths to the power −1.
const SHARPNESS: f64 = 40.0;
/// Keeps the direction from hand to puck finite where they coincide.
const LEAST_SQUARE: f64 = 1e-4;

/// A hand and a heavy puck in the plane: the puck moves by as much as the hand overlaps it, softly,
/// `h = 1/T`:
///
/// ```text
/// z = [hand (2), puck (2)],   a (2),   z_0 = [0, 0, 0.5, 0.3]
/// hand' = hand + 4 h a
/// e = puck − hand',     l = √(‖e‖² + 10⁻⁴)
/// puck' = puck + (e / l) · log(1 + exp(40 (0.15 − l))) / 40
/// d² = ‖puck − [1, 0.9]‖²
/// ```
///
/// The overlap is the smoothed maximum of `0.15 − l` and 0 (softplus), as of a frictional puck that
/// stops where it is left: quasi-static pushing (Mason, "Mechanics of Robotic Manipulation", 2001,
/// chapter 7) without rotation.
pub(super) struct Push {
    step: f64,
}

impl Push {
    fn new(horizon: usize) -> Self {
        Self {
            step: SPEED / horizon as f64,
        }
    }
}

impl Dynamics for Push {
    fn start(&self) -> Vec<f32> {
        vec![0.0, 0.0, 0.5, 0.3]
    }

    fn action_size(&self) -> usize {
        2
    }

    fn step(&self, latents: Tensor<2>, actions: Tensor<2>) -> Tensor<2> {
        let hand = columns(&latents, 0, 2) + actions * self.step;
        let puck = columns(&latents, 2, 2);
        let gap = puck.clone() - hand.clone();
        let length = (gap.clone().square().sum_dim(1) + LEAST_SQUARE).sqrt();
        // softplus(x) = −log σ(−x)
        let overlap = log_sigmoid((length.clone() - REACH) * SHARPNESS) * -SHARPNESS.recip();
        Tensor::cat(vec![hand, puck + gap * (overlap / length)], 1)
    }

    fn squared_distances(&self, latents: Tensor<2>) -> Tensor<2> {
        (column(&latents, 2) - 1.0).square() + (column(&latents, 3) - 0.9).square()
    }
}
