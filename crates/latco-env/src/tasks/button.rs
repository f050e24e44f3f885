//! Press a button that springs back.

use rand::Rng;
use rand_chacha::ChaCha8Rng;
use rapier2d::math::Vector;

use super::tabletop::{EFFECTOR_RADIUS, Rail, Slider, Tabletop, block};
use super::{Movable, Task, uniform_point};
use crate::canvas::{Canvas, palette};

/// World units that a full action moves the effector in a step.
const SPEED: f32 = 0.1;
/// Half sides of the button and of the housing above it.
const BUTTON: Vector = Vector::new(0.18, 0.14);
const HOUSING: Vector = Vector::new(0.36, 0.16);
const HOUSING_Y: f32 = 0.95;
/// The button at rest stands out of its housing by its whole height.
const BUTTON_Y: f32 = HOUSING_Y - HOUSING.y - BUTTON.y;
const TRAVEL: f32 = 0.2;
/// The effector's centre when it touches the button at rest from below.
const LOWEST_Y: f32 = BUTTON_Y - BUTTON.y - EFFECTOR_RADIUS;
const PRESSED: f32 = 0.14;

/// A button at the far side of the table is pressed while its travel is at least 0.14 of 0.2. The
/// remaining distance is that from the effector to the pressed button.
pub(crate) struct Button {
    table: Tabletop,
    button: Slider,
}

impl Button {
    fn with(effector: Vector, x: f32) -> Self {
        let mut table = Tabletop::new(effector, SPEED);
        let rail = Rail {
            axis: Vector::Y,
            length: TRAVEL,
            start: 0.0,
            spring: true,
        };
        let face = block(BUTTON.x, BUTTON.y, palette::OBJECT);
        let button = table.add_slider(Vector::new(x, BUTTON_Y), vec![face], rail);
        let housing = block(HOUSING.x, HOUSING.y, palette::FIXTURE);
        table.add_fixture(Vector::new(x, HOUSING_Y), housing);
        Self { table, button }
    }
}

impl Task for Button {
    const NAME: &'static str = "button";
    const ABOUT: &'static str = "press the orange button and hold it";
    const TIME_LIMIT: usize = 30;

    fn new(mut random: ChaCha8Rng) -> Self {
        let effector = uniform_point(
            &mut random,
            Vector::new(-0.85, -0.85),
            Vector::new(0.85, 0.1),
        );
        Self::with(effector, random.random_range(-0.6..=0.6))
    }

    fn advance(&mut self, action: [f32; 2]) {
        self.table.drive(action);
    }

    fn success(&self) -> bool {
        self.table.travel(&self.button) >= PRESSED
    }

    fn remaining(&self) -> f32 {
        let face = self.table.slider_position(&self.button) - Vector::Y * BUTTON.y;
        let reach = (face.distance(self.table.effector()) - EFFECTOR_RADIUS).max(0.0);
        reach + (PRESSED - self.table.travel(&self.button)).max(0.0)
    }

    fn draw(&self, canvas: &mut Canvas) {
        self.table.draw(canvas);
    }

    fn scripted_action(&self) -> [f32; 2] {
        let button = self.table.slider_position(&self.button);
        let below = Vector::new(button.x, BUTTON_Y - BUTTON.y - 2.0 * EFFECTOR_RADIUS);
        let aligned = (self.table.effector().x - button.x).abs() < 0.5 * BUTTON.x;
        self.table.towards(if aligned { button } else { below })
    }

    fn movables(&self) -> Vec<Movable> {
        let button = self.table.slider_position(&self.button);
        vec![
            Movable::disc("effector", self.table.effector(), EFFECTOR_RADIUS),
            Movable::new("button", button, BUTTON),
        ]
    }

    fn place(&mut self, name: &str, position: Vector) {
        match name {
            "effector" => self
                .table
                .put_effector(position.min(Vector::new(1.0, LOWEST_Y))),
            _ => *self = Self::with(self.table.effector(), position.x.clamp(-0.6, 0.6)),
        }
    }
}
