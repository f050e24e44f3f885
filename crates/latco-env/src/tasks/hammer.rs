//! Fetch the hammer, then drive the nail home.

use rand::Rng;
use rand_chacha::ChaCha8Rng;
use rapier2d::math::Vector;

use super::tabletop::{Body, EFFECTOR_RADIUS, Rail, Slider, Tabletop, block};
use super::{Movable, Task, uniform_point};
use crate::canvas::{Canvas, palette};

/// World units that a full action moves the effector in a step, before action repeat.
const SPEED: f32 = 0.05;
/// Half sides of the hammer's handle and head, of the nail and of the wood that holds it.
const HANDLE: Vector = Vector::new(0.28, 0.07);
const HEAD: Vector = Vector::new(0.1, 0.22);
const NAIL: Vector = Vector::new(0.15, 0.1);
const WOOD: Vector = Vector::new(0.2, 0.36);
const WOOD_X: f32 = 0.95;
/// From the centre of the hammer to that of its head.
const TO_HEAD: f32 = HANDLE.x + HEAD.x;
const NAIL_X: f32 = WOOD_X - WOOD.x - NAIL.x;
const TRAVEL: f32 = 0.24;
const HOME: f32 = 0.18;
/// The fence keeps the effector from the nail.
const FENCE: Vector = Vector::new(0.025, 1.2);
const FENCE_X: f32 = 0.36;
/// Where episodes start: the effector left of this, the hammer between two corners, the nail this far up
/// or down.
const START_X: f32 = -0.75;
const HAMMER_LOW: Vector = Vector::new(-0.2, -0.7);
const HAMMER_HIGH: Vector = Vector::new(-0.1, 0.7);
const NAIL_Y: f32 = 0.6;

/// A nail beyond the effector's reach is home where its travel is at least 0.18 of 0.24; only a
/// hammer, picked up by touch, passes the fence. The remaining distance is that from the effector
/// to the handle, from the hammer's head to the nail, and of the nail to its end.
pub(crate) struct Hammer {
    table: Tabletop,
    hammer: Body,
    nail: Slider,
}

impl Hammer {
    /// The nail at the height `y`, the hammer untouched.
    fn with(effector: Vector, hammer: Vector, y: f32) -> Self {
        let mut table = Tabletop::new(effector, SPEED);
        table.add_fence(
            Vector::new(FENCE_X, 0.0),
            block(FENCE.x, FENCE.y, palette::FENCE),
        );
        let rail = Rail {
            axis: Vector::X,
            length: TRAVEL,
            start: 0.0,
            spring: false,
        };
        let nail = block(NAIL.x, NAIL.y, palette::SPECIAL);
        let nail = table.add_slider(Vector::new(NAIL_X, y), vec![nail], rail);
        table.add_fixture(
            Vector::new(WOOD_X, y),
            block(WOOD.x, WOOD.y, palette::OBJECT),
        );
        let parts = vec![
            block(HANDLE.x, HANDLE.y, palette::PANE),
            block(HEAD.x, HEAD.y, palette::TOOL).at(TO_HEAD, 0.0),
        ];
        let hammer = table.add_tool(hammer, parts);
        Self {
            table,
            hammer,
            nail,
        }
    }

    /// The middle of the striking face.
    fn face(&self) -> Vector {
        self.table.position(self.hammer) + Vector::X * (TO_HEAD + HEAD.x)
    }

    /// The middle of the nail's head.
    fn nail_head(&self) -> Vector {
        self.table.slider_position(&self.nail) - Vector::X * NAIL.x
    }

    /// The end of the handle.
    fn grip(&self) -> Vector {
        self.table.position(self.hammer) - Vector::X * HANDLE.x
    }
}

impl Task for Hammer {
    const NAME: &'static str = "hammer";
    const ABOUT: &'static str = "pick up the blue hammer, then drive the purple nail into the wood";
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
        let hammer = uniform_point(&mut random, HAMMER_LOW, HAMMER_HIGH);
        Self::with(effector, hammer, random.random_range(-NAIL_Y..=NAIL_Y))
    }

    fn advance(&mut self, action: [f32; 2]) {
        self.table.drive(action);
    }

    fn success(&self) -> bool {
        self.table.travel(&self.nail) >= HOME
    }

    fn remaining(&self) -> f32 {
        let fetch = self.grip().distance(self.table.effector()) - EFFECTOR_RADIUS;
        let fetch = if self.table.carrying() {
            0.0
        } else {
            fetch.max(0.0)
        };
        let strike = self.face().distance(self.nail_head());
        fetch + strike + (HOME - self.table.travel(&self.nail)).max(0.0)
    }

    fn draw(&self, canvas: &mut Canvas) {
        self.table.draw(canvas);
    }

    fn scripted_action(&self) -> [f32; 2] {
        if !self.table.carrying() {
            return self.table.towards(self.grip());
        }
        let way = self.nail_head() - self.face();
        let aligned = way.y.abs() < 0.3 * HEAD.y;
        let forward = if aligned { 1.0 } else { (way.x - 0.1).min(0.0) };
        self.table
            .towards(self.table.effector() + Vector::new(forward, way.y))
    }

    fn movables(&self) -> Vec<Movable> {
        vec![
            Movable::disc("effector", self.table.effector(), EFFECTOR_RADIUS),
            Movable::new("hammer", self.table.position(self.hammer), HANDLE + HEAD),
            Movable::new("nail", self.table.slider_position(&self.nail), NAIL),
        ]
    }

    /// What carries the hammer gets no further to the right by hand, what does not stays left of it; where
    /// anything else is moved, the hammer is let go.
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
        let (hammer, y) = match name {
            "hammer" => (position, self.table.slider_position(&self.nail).y),
            _ => (self.table.position(self.hammer), position.y),
        };
        let effector = self.table.effector().min(Vector::new(START_X, 1.0));
        let hammer = hammer.clamp(HAMMER_LOW, HAMMER_HIGH);
        *self = Self::with(effector, hammer, y.clamp(-NAIL_Y, NAIL_Y));
    }
}
