//! Push a puck to a goal.

use rand_chacha::ChaCha8Rng;
use rapier2d::math::Vector;

use super::tabletop::{Body, EFFECTOR_RADIUS, Tabletop, disc};
use super::{Task, uniform_point};
use crate::canvas::{Canvas, palette};

/// World units that a full action moves the effector in a step.
const SPEED: f32 = 0.1;
const PUCK_RADIUS: f32 = 0.18;
const GOAL_RADIUS: f32 = 0.25;
/// Between the centres of the effector and the puck in contact.
const CONTACT: f32 = EFFECTOR_RADIUS + PUCK_RADIUS;

/// A puck is at its goal while their centres are within 0.25. The remaining distance is that from
/// the effector to the puck, and from the puck to the goal.
pub(crate) struct Push {
    table: Tabletop,
    puck: Body,
    goal: Vector,
}

impl Push {
    fn puck(&self) -> Vector {
        self.table.position(self.puck)
    }
}

impl Task for Push {
    const NAME: &'static str = "push";
    const ABOUT: &'static str = "push the orange puck onto the green goal";
    const TIME_LIMIT: usize = 50;
    const REPLAN_EVERY: usize = 25;

    fn new(mut random: ChaCha8Rng) -> Self {
        loop {
            let effector = uniform_point(&mut random, Vector::splat(-0.85), Vector::splat(0.85));
            let puck = uniform_point(&mut random, Vector::splat(-0.5), Vector::splat(0.5));
            let goal = uniform_point(&mut random, Vector::splat(-0.7), Vector::splat(0.7));
            let free = effector.distance(puck) > CONTACT + 0.1;
            if free && (0.6..=1.1).contains(&puck.distance(goal)) {
                let mut table = Tabletop::new(effector, SPEED);
                table.add_marking(goal, disc(GOAL_RADIUS, palette::GOAL));
                let puck = table.add_puck(puck, disc(PUCK_RADIUS, palette::OBJECT));
                return Self { table, puck, goal };
            }
        }
    }

    fn advance(&mut self, action: [f32; 2]) {
        self.table.drive(action);
    }

    fn success(&self) -> bool {
        self.puck().distance(self.goal) <= GOAL_RADIUS
    }

    fn remaining(&self) -> f32 {
        let reach = (self.puck().distance(self.table.effector()) - CONTACT).max(0.0);
        reach + self.puck().distance(self.goal)
    }

    fn draw(&self, canvas: &mut Canvas) {
        self.table.draw(canvas);
    }

    /// Goes around the puck to the point behind it, then pushes through its centre.
    fn scripted_action(&self) -> [f32; 2] {
        let puck = self.puck();
        let way = self.goal - puck;
        if way.length() < 0.4 * GOAL_RADIUS {
            return [0.0; 2];
        }
        let forward = way.normalize();
        let from_puck = self.table.effector() - puck;
        let along = from_puck.dot(forward);
        let aside = from_puck - forward * along;
        if along < -0.5 * CONTACT && aside.length() < 0.06 {
            return self.table.towards(puck + forward * 0.1 - aside);
        }
        let side = aside.normalize_or(forward.perp());
        let clear = CONTACT + 0.08;
        if along > -0.8 * CONTACT && aside.length() < clear {
            return self
                .table
                .towards(puck + forward * along + side * (clear + 0.05));
        }
        if along > -clear {
            return self
                .table
                .towards(puck - forward * (clear + 0.04) + side * aside.length());
        }
        self.table.towards(puck - forward * clear)
    }
}
