//! Move the effector onto the goal.

use rand_chacha::ChaCha8Rng;
use rapier2d::math::Vector;

use super::{Movable, Task, uniform_point};
use crate::canvas::{Canvas, palette};

/// World units that a full action moves the effector in a step, along each axis.
const SPEED: f32 = 0.12;
const EFFECTOR_RADIUS: f32 = 0.26;
const GOAL_RADIUS: f32 = 0.38;
/// Starts and goals lie in `[-MARGIN, MARGIN]²`.
const MARGIN: f32 = 0.75;
const NEAREST_START: f32 = 0.9;
/// A disc moves over the square table `[-1, 1]²`: `x ← clamp(x + 0.12 a)`. Solved while its centre
/// `x` is within the goal `g`: `|x − g| ≤ 0.38`.
pub(crate) struct Reach {
    effector: Vector,
    goal: Vector,
}

impl Reach {
    fn distance(&self) -> f32 {
        self.effector.distance(self.goal)
    }
}

impl Task for Reach {
    const NAME: &'static str = "reach";
    const ABOUT: &'static str = "move the red effector onto the green goal";
    const TIME_LIMIT: usize = 30;

    fn new(mut random: ChaCha8Rng) -> Self {
        let corner = Vector::splat(MARGIN);
        loop {
            let effector = uniform_point(&mut random, -corner, corner);
            let goal = uniform_point(&mut random, -corner, corner);
            let start = Self { effector, goal };
            if start.distance() >= NEAREST_START {
                return start;
            }
        }
    }

    fn advance(&mut self, action: [f32; 2]) {
        let moved = self.effector + SPEED * Vector::from(action);
        self.effector = moved.clamp(Vector::NEG_ONE, Vector::ONE);
    }

    fn success(&self) -> bool {
        self.distance() <= GOAL_RADIUS
    }

    fn remaining(&self) -> f32 {
        self.distance()
    }

    fn draw(&self, canvas: &mut Canvas) {
        canvas.disc(self.goal, GOAL_RADIUS, palette::GOAL);
        canvas.disc(self.effector, EFFECTOR_RADIUS, palette::EFFECTOR);
    }

    fn scripted_action(&self) -> [f32; 2] {
        ((self.goal - self.effector) / SPEED)
            .clamp(Vector::NEG_ONE, Vector::ONE)
            .into()
    }

    fn movables(&self) -> Vec<Movable> {
        vec![
            Movable::disc("effector", self.effector, EFFECTOR_RADIUS),
            Movable::disc("goal", self.goal, GOAL_RADIUS),
        ]
    }

    fn place(&mut self, name: &str, position: Vector) {
        match name {
            "effector" => self.effector = position.clamp(Vector::NEG_ONE, Vector::ONE),
            _ => self.goal = position.clamp(Vector::splat(-MARGIN), Vector::splat(MARGIN)),
        }
    }
}
