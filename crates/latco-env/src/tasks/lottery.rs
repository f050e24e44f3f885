//! Choose between a lottery and a sure payment.

use rand::Rng;
use rand_chacha::ChaCha8Rng;
use rapier2d::math::Vector;

use super::{Task, uniform_point};
use crate::canvas::{Canvas, Colour, palette};

const STEP_SECONDS: f64 = 0.01;
const SUBSTEPS: usize = 5;
/// Force per distance to the commanded position, and per velocity.
const GAIN: f64 = 100.0;
const DAMPING: f64 = 10.0;
const ARMATURE: f64 = 0.004;
const SPHERE_RADIUS: f64 = 0.05;
const DENSITY: f64 = 1000.0;
/// The joints' range is `[-LIMIT, LIMIT]`.
const LIMIT: f64 = 1.0;

const LOTTERY: Vector = Vector::new(-0.8, 0.7);
const SURE: Vector = Vector::new(0.8, 0.7);
const TARGET_RADIUS: f32 = 0.25;
const LOSS_PROBABILITY: f64 = 0.2;
const LOSS: f32 = -10.0;
const WIN: f32 = 2.0;
const SURE_PAYMENT: f32 = 1.0;
/// The sphere is drawn larger than it is, to be seen, and larger still while it is paid.
const DRAWN_RADIUS: f32 = 0.16;
const PAYING_RADIUS: f32 = 0.34;
const LOSS_COLOUR: Colour = [20, 20, 24];

/// A slide joint with a position actuator, integrated as MuJoCo's Euler integrator does:
/// velocity first, implicit in the damping, with soft joint limits.
#[derive(Clone, Copy)]
struct Slide {
    position: f64,
    velocity: f64,
}

impl Slide {
    fn sphere_mass() -> f64 {
        DENSITY * 4.0 / 3.0 * std::f64::consts::PI * SPHERE_RADIUS.powi(3)
    }

    /// The inertia that the joint moves.
    fn mass() -> f64 {
        Self::sphere_mass() + ARMATURE
    }

    /// One step of `h`: `v ← v + h F / (m + h d)`, `x ← x + h v`, with
    /// `F = k (u − x) − d v + limit`.
    fn advance(&mut self, command: f64) {
        let free = GAIN * (command - self.position) - DAMPING * self.velocity;
        let force = free + self.limit_force(free / Self::mass());
        self.velocity += STEP_SECONDS * force / (Self::mass() + STEP_SECONDS * DAMPING);
        self.position += STEP_SECONDS * self.velocity;
    }

    /// MuJoCo's constraint force of a joint limit, in closed form for one joint, with its default
    /// softness: time constant 0.02, damping ratio 1, impedance from 0.9 to 0.95 over 0.001.
    fn limit_force(&self, free_acceleration: f64) -> f64 {
        const TIME_CONSTANT: f64 = 0.02;
        const IMPEDANCE: [f64; 2] = [0.9, 0.95];
        const WIDTH: f64 = 0.001;
        let excess = self.position.abs() - LIMIT;
        if excess <= 0.0 {
            return 0.0;
        }
        let inward = -self.position.signum();
        let ramp = (excess / WIDTH).min(1.0);
        let smooth = if ramp < 0.5 {
            2.0 * ramp * ramp
        } else {
            1.0 - 2.0 * (1.0 - ramp).powi(2)
        };
        let impedance = IMPEDANCE[0] + smooth * (IMPEDANCE[1] - IMPEDANCE[0]);
        let damping = 2.0 / (IMPEDANCE[1] * TIME_CONSTANT);
        let stiffness = (IMPEDANCE[1] * TIME_CONSTANT).powi(-2);
        let reference = stiffness * impedance * excess - damping * self.velocity * inward;
        let needed = reference - free_acceleration * inward;
        let softness = (1.0 - impedance) / impedance / Self::sphere_mass();
        inward * (needed / (Self::mass().recip() + softness)).max(0.0)
    }
}

/// What became of the choice.
#[derive(Clone, Copy, PartialEq)]
enum Choice {
    Open,
    /// Paid in this step.
    Paying(f32),
    /// Paid before.
    Paid(f32),
}

/// A point mass that goes where it is told, `action` being the position to hold. The first of two
/// targets that it touches pays, once: the lottery at the left −10 with probability 0.2 and else
/// +2 (on average −0.4), the sure one at the right +1. The mass shows what was paid by
/// its colour, and when by its size.
/// Success is a payment above 0. The dense reward adds `exp(−d)` to the payment, `d` being the
/// distance to the nearer target, 0 once the choice is made.
pub(crate) struct Lottery {
    axes: [Slide; 2],
    choice: Choice,
    random: ChaCha8Rng,
}

impl Lottery {
    fn position(&self) -> Vector {
        let [x, y] = self.axes.map(|axis| axis.position as f32);
        Vector::new(x, y)
    }

    fn touches(&self, target: Vector) -> bool {
        self.position().distance(target) <= TARGET_RADIUS
    }

    fn choose(&mut self) {
        self.choice = match self.choice {
            Choice::Open if self.touches(LOTTERY) => Choice::Paying(self.draw_lottery()),
            Choice::Open if self.touches(SURE) => Choice::Paying(SURE_PAYMENT),
            Choice::Paying(payment) => Choice::Paid(payment),
            other => other,
        };
    }

    fn draw_lottery(&mut self) -> f32 {
        if self.random.random_bool(LOSS_PROBABILITY) {
            LOSS
        } else {
            WIN
        }
    }

    fn payment(&self) -> Option<f32> {
        match self.choice {
            Choice::Open => None,
            Choice::Paying(payment) | Choice::Paid(payment) => Some(payment),
        }
    }
}

impl Task for Lottery {
    const NAME: &'static str = "lottery";
    const ABOUT: &'static str = "touch the risky purple target (-10 or +2) or the safe green one (+1): the first one counts";
    const TIME_LIMIT: usize = 30;
    const REWARD_RANGE: [f32; 2] = [LOSS, WIN];
    const DENSE_REWARD_RANGE: [f32; 2] = [LOSS, WIN + 1.0];

    fn new(mut random: ChaCha8Rng) -> Self {
        let start = uniform_point(&mut random, Vector::new(-0.6, -0.1), Vector::new(-0.4, 0.1));
        let axes = [start.x, start.y].map(|position| Slide {
            position: f64::from(position),
            velocity: 0.0,
        });
        Self {
            axes,
            choice: Choice::Open,
            random,
        }
    }

    fn advance(&mut self, action: [f32; 2]) {
        for (axis, command) in self.axes.iter_mut().zip(action) {
            for _ in 0..SUBSTEPS {
                axis.advance(f64::from(command));
            }
        }
        self.choose();
    }

    fn success(&self) -> bool {
        self.payment().is_some_and(|payment| payment > 0.0)
    }

    fn remaining(&self) -> f32 {
        let distance = |target| self.position().distance(target) - TARGET_RADIUS;
        match self.payment() {
            Some(_) => 0.0,
            None => distance(LOTTERY).min(distance(SURE)).max(0.0),
        }
    }

    fn reward(&self, dense: bool) -> f32 {
        let shaped = if dense {
            (-self.remaining()).exp()
        } else {
            0.0
        };
        match self.choice {
            Choice::Paying(payment) => payment + shaped,
            Choice::Open | Choice::Paid(_) => shaped,
        }
    }

    fn draw(&self, canvas: &mut Canvas) {
        canvas.disc(LOTTERY, TARGET_RADIUS, palette::SPECIAL);
        canvas.disc(SURE, TARGET_RADIUS, palette::GOAL);
        let colour = match self.payment() {
            None => palette::EFFECTOR,
            Some(LOSS) => LOSS_COLOUR,
            Some(WIN) => palette::OBJECT,
            Some(_) => palette::TOOL,
        };
        let radius = match self.choice {
            Choice::Paying(_) => PAYING_RADIUS,
            Choice::Open | Choice::Paid(_) => DRAWN_RADIUS,
        };
        canvas.disc(self.position(), radius, colour);
    }

    fn scripted_action(&self) -> [f32; 2] {
        SURE.into()
    }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;
    use serde::Deserialize;

    use super::*;

    #[derive(Deserialize)]
    struct Reference {
        cases: Vec<Case>,
    }

    #[derive(Deserialize)]
    struct Case {
        name: String,
        start: [f64; 2],
        actions: Vec<[f64; 2]>,
        positions: Vec<[f64; 2]>,
    }

    fn largest_difference(case: &Case) -> f64 {
        let mut axes = case.start.map(|position| Slide {
            position,
            velocity: 0.0,
        });
        let mut largest: f64 = 0.0;
        for (action, expected) in case.actions.iter().zip(&case.positions) {
            for entry in 0..2 {
                for _ in 0..SUBSTEPS {
                    axes[entry].advance(action[entry]);
                }
                largest = largest.max((axes[entry].position - expected[entry]).abs());
            }
        }
        largest
    }

    #[test]
    fn the_motion_agrees_with_mujoco() {
        let text = include_str!("../../tests/data/lottery_mujoco.json");
        let reference: Reference = serde_json::from_str(text).unwrap();
        for case in &reference.cases {
            assert_eq!(case.positions.len(), 100);
            let difference = largest_difference(case);
            println!("{}: {difference:.1e}", case.name);
            assert!(difference < 1e-9, "{}", case.name);
        }
    }

    #[test]
    fn the_lottery_pays_once_and_its_odds_are_as_announced() {
        let mut losses = 0;
        for seed in 0..1000 {
            let mut task = Lottery::new(ChaCha8Rng::seed_from_u64(seed));
            let payments: Vec<f32> = (0..Lottery::TIME_LIMIT)
                .map(|_| {
                    task.advance(LOTTERY.into());
                    task.reward(false)
                })
                .filter(|&payment| payment != 0.0)
                .collect();
            assert!(payments == [LOSS] || payments == [WIN], "{payments:?}");
            losses += usize::from(payments == [LOSS]);
        }
        assert!((160..=240).contains(&losses), "{losses}");
    }

    #[test]
    fn the_second_target_pays_nothing() {
        let mut task = Lottery::new(ChaCha8Rng::seed_from_u64(0));
        let mut total = 0.0;
        for target in [SURE, LOTTERY] {
            for _ in 0..30 {
                task.advance(target.into());
                total += task.reward(false);
            }
        }
        assert_eq!(total, SURE_PAYMENT);
    }
}
