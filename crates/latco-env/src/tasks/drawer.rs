//! Push a drawer shut.

use rand::Rng;
use rand_chacha::ChaCha8Rng;
use rapier2d::math::Vector;

use super::tabletop::{EFFECTOR_RADIUS, Rail, Slider, Tabletop, block};
use super::{Movable, Task, uniform_point};
use crate::canvas::{Canvas, palette};

/// World units that a full action moves the effector in a step.
const SPEED: f32 = 0.1;
/// Half sides of the drawer, its front plate and the cabinet.
const DRAWER: Vector = Vector::new(0.3, 0.24);
const FRONT: Vector = Vector::new(0.07, 0.32);
const CABINET: Vector = Vector::new(0.36, 0.36);
const CABINET_X: f32 = 0.77;
/// The drawer's centre when shut: its front plate lies against the cabinet.
const SHUT_X: f32 = CABINET_X - CABINET.x - 2.0 * FRONT.x + DRAWER.x + FRONT.x;
const LONGEST: f32 = 0.6;
const SHUT: f32 = 0.06;

/// A drawer in a cabinet at the right is shut while it stands out by at most 0.06. The remaining
/// distance is that from the effector to its front, and of the front to the cabinet.
pub(crate) struct Drawer {
    table: Tabletop,
    drawer: Slider,
}

impl Drawer {
    /// The drawer at the height `y`, open by `travel`.
    fn with(effector: Vector, y: f32, travel: f32) -> Self {
        let mut table = Tabletop::new(effector, SPEED);
        let rail = Rail {
            axis: Vector::NEG_X,
            length: LONGEST,
            start: travel,
            spring: false,
        };
        let parts = vec![
            block(DRAWER.x, DRAWER.y, palette::OBJECT),
            block(FRONT.x, FRONT.y, palette::SPECIAL).at(-DRAWER.x, 0.0),
        ];
        let drawer = table.add_slider(Vector::new(SHUT_X, y), parts, rail);
        let cabinet = block(CABINET.x, CABINET.y, palette::FIXTURE);
        table.add_fixture(Vector::new(CABINET_X, y), cabinet);
        Self { table, drawer }
    }

    fn front(&self) -> Vector {
        self.table.slider_position(&self.drawer) - Vector::X * (DRAWER.x + FRONT.x)
    }
}

impl Task for Drawer {
    const NAME: &'static str = "drawer";
    const ABOUT: &'static str = "push the orange drawer into its cabinet";
    const TIME_LIMIT: usize = 30;

    fn new(mut random: ChaCha8Rng) -> Self {
        let effector = uniform_point(&mut random, Vector::new(-0.9, -0.9), Vector::new(-0.5, 0.9));
        let y = random.random_range(-0.6..=0.6);
        Self::with(effector, y, random.random_range(0.35..=LONGEST))
    }

    fn advance(&mut self, action: [f32; 2]) {
        self.table.drive(action);
    }

    fn success(&self) -> bool {
        self.table.travel(&self.drawer) <= SHUT
    }

    fn remaining(&self) -> f32 {
        let reach = self.front().distance(self.table.effector()) - EFFECTOR_RADIUS;
        reach.max(0.0) + (self.table.travel(&self.drawer) - SHUT).max(0.0)
    }

    fn draw(&self, canvas: &mut Canvas) {
        self.table.draw(canvas);
    }

    fn scripted_action(&self) -> [f32; 2] {
        let front = self.front();
        let before = front - Vector::X * 2.0 * EFFECTOR_RADIUS;
        let aligned = (self.table.effector().y - front.y).abs() < 0.5 * FRONT.y;
        self.table.towards(if aligned { front } else { before })
    }

    fn movables(&self) -> Vec<Movable> {
        vec![
            Movable::disc("effector", self.table.effector(), EFFECTOR_RADIUS),
            Movable::new("drawer", self.front(), FRONT),
        ]
    }

    fn place(&mut self, name: &str, position: Vector) {
        match name {
            "effector" => self
                .table
                .put_effector(position.min(Vector::new(-0.5, 1.0))),
            _ => {
                let travel = SHUT_X - DRAWER.x - FRONT.x - position.x;
                let (y, travel) = (position.y.clamp(-0.6, 0.6), travel.clamp(0.0, LONGEST));
                *self = Self::with(self.table.effector(), y, travel);
            }
        }
    }
}
