//! Find the door between two rooms.

use rand::Rng;
use rand_chacha::ChaCha8Rng;
use rapier2d::math::Vector;

use super::tabletop::{EFFECTOR_RADIUS, Tabletop, block, disc};
use super::{Movable, Task, uniform_point};
use crate::canvas::{Canvas, palette};

/// World units that a full action moves the effector in a step.
const SPEED: f32 = 0.1;
const GOAL_RADIUS: f32 = 0.25;
const WALL_HALF_THICKNESS: f32 = 0.07;
/// Half the width of the door.
const DOOR: f32 = 0.27;
/// The outer ends of the wall.
const WALL_END: f32 = 1.2;

/// A wall along `x = 0` parts the table; the door lies away from the straight way, beyond both the
/// start and the goal, so that no step towards the goal leads there. Solved while the effector's
/// centre is within 0.25 of the goal. The remaining distance is that of the way through the door.
pub(crate) struct TwoRoom {
    table: Tabletop,
    door: Vector,
    goal: Vector,
}

impl TwoRoom {
    /// The effector at `start`, the goal and the door where they are said to be.
    fn with(start: Vector, goal: Vector, door: Vector) -> Self {
        let mut table = Tabletop::new(start, SPEED);
        table.add_marking(goal, disc(GOAL_RADIUS, palette::GOAL));
        for (low, high) in [(-WALL_END, door.y - DOOR), (door.y + DOOR, WALL_END)] {
            let centre = Vector::new(0.0, 0.5 * (low + high));
            let part = block(WALL_HALF_THICKNESS, 0.5 * (high - low), palette::FIXTURE);
            table.add_fixture(centre, part);
        }
        Self { table, door, goal }
    }

    /// The place next to `position` that is not in the wall.
    fn beside_wall(&self, position: Vector) -> Vector {
        let clear = WALL_HALF_THICKNESS + EFFECTOR_RADIUS;
        let in_doorway = (position.y - self.door.y).abs() < DOOR - EFFECTOR_RADIUS;
        if in_doorway || position.x.abs() >= clear {
            return position;
        }
        Vector::new(clear.copysign(position.x), position.y)
    }

    /// Whether the effector is still in the other room than the goal.
    fn other_room(&self) -> bool {
        self.table.effector().x * self.goal.x < 0.0
    }

    fn in_doorway(&self) -> bool {
        (self.table.effector().y - self.door.y).abs() < DOOR - EFFECTOR_RADIUS
    }
}

impl Task for TwoRoom {
    const NAME: &'static str = "two-room";
    const ABOUT: &'static str = "go through the door in the wall to the green goal";
    const TIME_LIMIT: usize = 50;
    const REPLAN_EVERY: usize = 10;

    fn new(mut random: ChaCha8Rng) -> Self {
        let side = if random.random() { 1.0 } else { -1.0 };
        let half = if random.random() { 1.0 } else { -1.0 };
        let place = Vector::new(side, half);
        let (near, far) = (Vector::new(0.4, 0.1), Vector::new(0.8, 0.8));
        let start = place * uniform_point(&mut random, near, far);
        let goal = place * Vector::new(-1.0, 1.0) * uniform_point(&mut random, near, far);
        let door = Vector::new(0.0, -half * random.random_range(0.35..=0.75));
        Self::with(start, goal, door)
    }

    fn advance(&mut self, action: [f32; 2]) {
        self.table.drive(action);
    }

    fn success(&self) -> bool {
        self.table.effector().distance(self.goal) <= GOAL_RADIUS
    }

    fn remaining(&self) -> f32 {
        let effector = self.table.effector();
        if self.other_room() {
            effector.distance(self.door) + self.door.distance(self.goal)
        } else {
            effector.distance(self.goal)
        }
    }

    fn draw(&self, canvas: &mut Canvas) {
        self.table.draw(canvas);
    }

    fn scripted_action(&self) -> [f32; 2] {
        let clear = WALL_HALF_THICKNESS + EFFECTOR_RADIUS + 0.05;
        let effector = self.table.effector();
        let ahead = self.goal.x.signum();
        let passed = effector.x * ahead > clear;
        let target = if passed {
            self.goal
        } else if self.in_doorway() {
            self.door + Vector::X * ahead * 2.0 * clear
        } else {
            self.door - Vector::X * ahead * clear
        };
        self.table.towards(target)
    }

    fn movables(&self) -> Vec<Movable> {
        vec![
            Movable::disc("effector", self.table.effector(), EFFECTOR_RADIUS),
            Movable::disc("goal", self.goal, GOAL_RADIUS),
            Movable::new("door", self.door, Vector::new(WALL_HALF_THICKNESS, DOOR)),
        ]
    }

    fn place(&mut self, name: &str, position: Vector) {
        let (mut goal, mut door) = (self.goal, self.door);
        match name {
            "goal" => {
                let x = position.x.abs().clamp(0.4, 0.8).copysign(position.x);
                goal = Vector::new(x, position.y.clamp(-0.8, 0.8));
            }
            "door" => door.y = position.y.clamp(-0.75, 0.75),
            _ => return self.table.put_effector(self.beside_wall(position)),
        }
        *self = Self::with(self.table.effector(), goal, door);
        self.table
            .put_effector(self.beside_wall(self.table.effector()));
    }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;

    use super::*;

    #[test]
    fn the_greedy_way_ends_at_the_wall() {
        for seed in 0..100 {
            let mut task = TwoRoom::new(ChaCha8Rng::seed_from_u64(seed));
            for _ in 0..TwoRoom::TIME_LIMIT {
                task.advance(task.table.towards(task.goal));
                assert!(!task.success(), "seed {seed}");
            }
        }
    }
}
