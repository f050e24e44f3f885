//! Fetch the stick, then push the thermos with it.

use rand_chacha::ChaCha8Rng;
use rapier2d::math::Vector;

use super::tabletop::{Body, EFFECTOR_RADIUS, Tabletop, block, disc};
use super::{Movable, Task, uniform_point};
use crate::canvas::{Canvas, palette};

/// World units that a full action moves the effector in a step, before action repeat.
const SPEED: f32 = 0.05;
/// Half sides of the stick.
const STICK: Vector = Vector::new(0.38, 0.1);
const THERMOS_RADIUS: f32 = 0.18;
/// Half sides of the zone along the right side of the table in which the thermos belongs.
const ZONE: Vector = Vector::new(0.24, 1.2);
const ZONE_X: f32 = 0.98;
/// The fence keeps the effector from the thermos.
const FENCE: Vector = Vector::new(0.025, 1.2);
const FENCE_X: f32 = 0.2;
/// Where episodes start: the effector left of this, stick and thermos between two corners each.
const START_X: f32 = -0.8;
const STICK_LOW: Vector = Vector::new(-0.25, -0.7);
const STICK_HIGH: Vector = Vector::new(-0.15, 0.7);
const THERMOS_LOW: Vector = Vector::new(0.45, -0.6);
const THERMOS_HIGH: Vector = Vector::new(0.52, 0.6);

/// A thermos beyond the effector's reach is in place while its centre is in the zone; only a
/// stick, picked up by touch, passes the fence. The remaining distance is that from the effector
/// to the stick, from the stick to the thermos, and from the thermos to the zone.
pub(crate) struct Thermos {
    table: Tabletop,
    stick: Body,
    thermos: Body,
}

impl Thermos {
    fn with(effector: Vector, stick: Vector, thermos: Vector) -> Self {
        let mut table = Tabletop::new(effector, SPEED);
        table.add_marking(
            Vector::new(ZONE_X, 0.0),
            block(ZONE.x, ZONE.y, palette::GOAL),
        );
        table.add_fence(
            Vector::new(FENCE_X, 0.0),
            block(FENCE.x, FENCE.y, palette::FENCE),
        );
        let thermos = table.add_puck(thermos, disc(THERMOS_RADIUS, palette::OBJECT));
        let stick = table.add_tool(stick, vec![block(STICK.x, STICK.y, palette::TOOL)]);
        Self {
            table,
            stick,
            thermos,
        }
    }

    /// The far end of the stick.
    fn tip(&self) -> Vector {
        self.table.position(self.stick) + Vector::X * STICK.x
    }

    /// The near end of the stick.
    fn grip(&self) -> Vector {
        self.table.position(self.stick) - Vector::X * STICK.x
    }

    fn thermos(&self) -> Vector {
        self.table.position(self.thermos)
    }

    /// How far the thermos is from the zone.
    fn to_zone(&self) -> f32 {
        (ZONE_X - ZONE.x - self.thermos().x).max(0.0)
    }
}

impl Task for Thermos {
    const NAME: &'static str = "thermos";
    const ABOUT: &'static str =
        "pick up the blue stick, then push the orange thermos into the green zone with it";
    const TIME_LIMIT: usize = 100;
    const ACTION_REPEAT: usize = 2;
    /// The return rises from 25 down to 5, where `latco` solves most.
    const REPLAN_EVERY: usize = 5;

    fn new(mut random: ChaCha8Rng) -> Self {
        let effector = uniform_point(
            &mut random,
            Vector::new(-0.95, -0.9),
            Vector::new(START_X, 0.9),
        );
        let stick = uniform_point(&mut random, STICK_LOW, STICK_HIGH);
        let thermos = uniform_point(&mut random, THERMOS_LOW, THERMOS_HIGH);
        Self::with(effector, stick, thermos)
    }

    fn advance(&mut self, action: [f32; 2]) {
        self.table.drive(action);
    }

    fn success(&self) -> bool {
        self.to_zone() == 0.0
    }

    fn remaining(&self) -> f32 {
        let fetch = self.grip().distance(self.table.effector()) - EFFECTOR_RADIUS;
        let fetch = if self.table.carrying() {
            0.0
        } else {
            fetch.max(0.0)
        };
        let reach = self.tip().distance(self.thermos()) - THERMOS_RADIUS;
        fetch + reach.max(0.0) + self.to_zone()
    }

    fn draw(&self, canvas: &mut Canvas) {
        self.table.draw(canvas);
    }

    fn scripted_action(&self) -> [f32; 2] {
        if !self.table.carrying() {
            return self.table.towards(self.grip());
        }
        let way = self.thermos() - self.tip();
        let aligned = way.y.abs() < 0.4 * STICK.y;
        let before = (way.x - THERMOS_RADIUS - 0.1).min(0.0);
        let forward = if aligned { 1.0 } else { before };
        self.table
            .towards(self.table.effector() + Vector::new(forward, way.y))
    }

    fn movables(&self) -> Vec<Movable> {
        vec![
            Movable::disc("effector", self.table.effector(), EFFECTOR_RADIUS),
            Movable::new("stick", self.table.position(self.stick), STICK),
            Movable::disc("thermos", self.thermos(), THERMOS_RADIUS),
        ]
    }

    /// What carries the stick gets no further to the right by hand, what does not stays left of it; where
    /// anything else is moved, the stick is let go.
    fn place(&mut self, name: &str, position: Vector) {
        if name == "effector" {
            let furthest = match self.table.carrying() {
                true => self.table.effector().x,
                false => START_X,
            };
            return self
                .table
                .put_effector(position.min(Vector::new(furthest, 1.0)));
        }
        let (stick, thermos) = match name {
            "stick" => (position, self.thermos()),
            _ => (self.table.position(self.stick), position),
        };
        let effector = self.table.effector().min(Vector::new(START_X, 1.0));
        let stick = stick.clamp(STICK_LOW, STICK_HIGH);
        *self = Self::with(effector, stick, thermos.clamp(THERMOS_LOW, THERMOS_HIGH));
    }
}
