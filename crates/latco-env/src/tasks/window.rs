//! Slide a window open by its handle.

use rand::Rng;
use rand_chacha::ChaCha8Rng;
use rapier2d::math::Vector;

use super::tabletop::{EFFECTOR_RADIUS, Rail, Slider, Tabletop, block};
use super::{Movable, Task, uniform_point};
use crate::canvas::{Canvas, palette};

/// World units that a full action moves the effector in a step.
const SPEED: f32 = 0.1;
/// Half sides of the frame, the pane in it and the handle below it.
const FRAME: Vector = Vector::new(1.0, 0.32);
const PANE: Vector = Vector::new(0.36, 0.22);
const HANDLE: Vector = Vector::new(0.09, 0.22);
const TRAVEL: f32 = 0.95;
const OPEN: f32 = 0.85;
/// Where the pane is closed.
const CLOSED_X: f32 = -0.5;

/// A pane that a handle moves along its frame is open where its travel is at least 0.85 of 0.95.
/// The remaining distance is that from the effector to the handle, and of the handle to there.
pub(crate) struct Window {
    table: Tabletop,
    pane: Slider,
}

impl Window {
    /// The frame at the height `y`, open by `travel`.
    fn with(effector: Vector, y: f32, travel: f32) -> Self {
        let mut table = Tabletop::new(effector, SPEED);
        let frame = Vector::new(0.0, y);
        table.add_fixture(frame, block(FRAME.x, FRAME.y, palette::FIXTURE));
        let zone = frame + Vector::X * (CLOSED_X + TRAVEL);
        table.add_marking(zone, block(PANE.x, FRAME.y, palette::GOAL));
        let rail = Rail {
            axis: Vector::X,
            length: TRAVEL,
            start: travel,
            spring: false,
        };
        let parts = vec![
            block(PANE.x, PANE.y, palette::PANE),
            block(HANDLE.x, HANDLE.y, palette::SPECIAL).at(0.0, -FRAME.y - HANDLE.y),
        ];
        let pane = table.add_slider(frame + Vector::X * CLOSED_X, parts, rail);
        Self { table, pane }
    }

    fn handle(&self) -> Vector {
        self.table.slider_position(&self.pane) - Vector::Y * (FRAME.y + HANDLE.y)
    }
}

impl Task for Window {
    const NAME: &'static str = "window";
    const ABOUT: &'static str = "slide the cyan window to the green end by its purple handle";
    const TIME_LIMIT: usize = 30;
    /// The hand slips past the tip of the handle where a plan is off by a pixel.
    const REPLAN_EVERY: usize = 5;

    fn new(mut random: ChaCha8Rng) -> Self {
        let effector = uniform_point(&mut random, Vector::new(-0.9, -0.9), Vector::new(0.9, -0.3));
        let y = random.random_range(0.55..=0.75);
        Self::with(effector, y, random.random_range(0.0..=0.35))
    }

    fn advance(&mut self, action: [f32; 2]) {
        self.table.drive(action);
    }

    fn success(&self) -> bool {
        self.table.travel(&self.pane) >= OPEN
    }

    fn remaining(&self) -> f32 {
        let reach = self.handle().distance(self.table.effector()) - HANDLE.x - EFFECTOR_RADIUS;
        reach.max(0.0) + (OPEN - self.table.travel(&self.pane)).max(0.0)
    }

    fn draw(&self, canvas: &mut Canvas) {
        self.table.draw(canvas);
    }

    fn scripted_action(&self) -> [f32; 2] {
        let handle = self.handle();
        let effector = self.table.effector();
        let beside = handle.x - HANDLE.x - EFFECTOR_RADIUS;
        let height = handle.y - 0.5 * HANDLE.y;
        let target = if effector.x <= beside + 0.01 && effector.y > handle.y - HANDLE.y {
            Vector::new(1.0, height)
        } else if effector.x <= beside {
            Vector::new(beside - 0.02, height)
        } else {
            Vector::new(beside - 0.05, handle.y - HANDLE.y - 1.5 * EFFECTOR_RADIUS)
        };
        self.table.towards(target)
    }

    fn movables(&self) -> Vec<Movable> {
        vec![
            Movable::disc("effector", self.table.effector(), EFFECTOR_RADIUS),
            Movable::new("handle", self.handle(), HANDLE),
        ]
    }

    fn place(&mut self, name: &str, position: Vector) {
        match name {
            "effector" => self
                .table
                .put_effector(position.min(Vector::new(1.0, -0.3))),
            _ => {
                let frame = self.table.slider_position(&self.pane).y;
                let travel = (position.x - CLOSED_X).clamp(0.0, TRAVEL);
                *self = Self::with(self.table.effector(), frame, travel);
            }
        }
    }
}
