//! Push a puck to a goal.

use rand_chacha::ChaCha8Rng;
use rapier2d::math::Vector;

use super::tabletop::{Body, Part, Tabletop, block, disc};
use super::{Movable, Task, uniform_point};
use crate::canvas::{Canvas, palette};

/// World units that a full action moves the hand in a step.
const SPEED: f32 = 0.1;
const PUCK_RADIUS: f32 = 0.18;
const GOAL: Vector = Vector::new(0.0, 0.6);
const GOAL_RADIUS: f32 = 0.25;
/// The hand's fingers lie to either side of its centre, so far apart that a puck between them
/// touches both and stays there while it is pushed up to 34° aside.
const FINGER_RADIUS: f32 = 0.09;
const FINGER_X: f32 = 0.15;
/// Half the width of the hand.
const HALF_WIDTH: f32 = FINGER_X + FINGER_RADIUS;
/// How far ahead of the hand's centre a held puck is: √((0.18 + 0.09)² − 0.15²).
const HELD: f32 = 0.2245;
/// The steepest way from a puck's start to the goal: sideways over forward.
const STEEPEST: f32 = 0.45;
/// Between the centres of hand and puck, when the hand passes beside it and when it is behind it.
const BESIDE: f32 = HALF_WIDTH + PUCK_RADIUS + 0.06;
const BEHIND: f32 = HELD + 0.12;

/// A two-fingered hand that opens upwards, as the grippers of the published task have two fingers,
/// has to get behind the puck first. A puck is at its goal while their centres are within 0.25. The
/// remaining distance is that from the hand to where it holds the puck, and from the puck to the
/// goal.
///
/// A single disc as effector makes the task one of balance: the puck slips aside eight times as far
/// as the disc had missed its centre.
pub(crate) struct Push {
    table: Tabletop,
    puck: Body,
}

impl Push {
    fn with(hand_at: Vector, puck: Vector) -> Self {
        let mut table = Tabletop::with_effector(hand_at, SPEED, hand());
        table.add_marking(GOAL, disc(GOAL_RADIUS, palette::GOAL));
        let puck = table.add_puck(puck, disc(PUCK_RADIUS, palette::OBJECT));
        Self { table, puck }
    }

    fn puck(&self) -> Vector {
        self.table.position(self.puck)
    }
}

/// Two fingers and the palm that joins them.
fn hand() -> Vec<Part> {
    let finger = disc(FINGER_RADIUS, palette::EFFECTOR);
    vec![
        block(FINGER_X, 0.04, palette::EFFECTOR).at(0.0, -0.05),
        finger.at(-FINGER_X, 0.0),
        finger.at(FINGER_X, 0.0),
    ]
}

/// Whether the hand is clear of the puck.
fn apart(hand: Vector, puck: Vector) -> bool {
    let between = (hand - puck).abs();
    between.x > BESIDE || between.y > BEHIND
}

/// Whether a puck can be pushed to the goal in one go.
fn can_be_pushed(puck: Vector) -> bool {
    let way = GOAL - puck;
    way.length() >= 0.6 && way.x.abs() <= STEEPEST * way.y
}

impl Task for Push {
    const NAME: &'static str = "push";
    const ABOUT: &'static str =
        "get the hand behind the orange puck and push it onto the green goal";
    const TIME_LIMIT: usize = 50;
    /// The return rises from 25 down to 5, where `latco` solves most.
    const REPLAN_EVERY: usize = 5;

    fn new(mut random: ChaCha8Rng) -> Self {
        loop {
            let hand_at = uniform_point(&mut random, Vector::splat(-0.85), Vector::splat(0.85));
            let puck = uniform_point(&mut random, Vector::splat(-0.4), Vector::splat(0.4));
            if apart(hand_at, puck) && can_be_pushed(puck) {
                return Self::with(hand_at, puck);
            }
        }
    }

    fn advance(&mut self, action: [f32; 2]) {
        self.table.drive(action);
    }

    fn success(&self) -> bool {
        self.puck().distance(GOAL) <= GOAL_RADIUS
    }

    fn remaining(&self) -> f32 {
        let held = self.puck() - Vector::Y * HELD;
        held.distance(self.table.effector()) + self.puck().distance(GOAL)
    }

    fn draw(&self, canvas: &mut Canvas) {
        self.table.draw(canvas);
    }

    /// Passes beside the puck, moves behind it and up to it, then pushes it ahead to the goal.
    fn scripted_action(&self) -> [f32; 2] {
        let (hand, puck) = (self.table.effector(), self.puck());
        let from_puck = hand - puck;
        let aside = from_puck.x.abs();
        if from_puck.y < 0.0 && from_puck.length() < HELD + 0.04 && aside < FINGER_X {
            return self.table.towards(GOAL - Vector::Y * HELD);
        }
        if from_puck.y < 0.0 && aside < FINGER_X - 0.03 {
            return self.table.towards(puck - Vector::Y * (HELD - 0.1));
        }
        let behind = puck - Vector::Y * (BEHIND + 0.02);
        if from_puck.y <= -BEHIND {
            return self.table.towards(behind);
        }
        let side = if from_puck.x < 0.0 { -1.0 } else { 1.0 };
        let beside = puck.x + side * (BESIDE + 0.03);
        if aside < BESIDE {
            return self.table.towards(Vector::new(beside, hand.y));
        }
        self.table.towards(Vector::new(beside, behind.y))
    }

    fn movables(&self) -> Vec<Movable> {
        vec![
            Movable::disc("effector", self.table.effector(), HALF_WIDTH),
            Movable::disc("puck", self.puck(), PUCK_RADIUS),
        ]
    }

    fn place(&mut self, name: &str, position: Vector) {
        match name {
            "effector" => self.table.put_effector(position),
            _ => {
                let puck = position.clamp(Vector::splat(-0.7), Vector::splat(0.7));
                *self = Self::with(self.table.effector(), puck);
            }
        }
    }
}
