//! The tasks, one a file, and the environment that runs any of them.

pub(crate) mod button;
pub(crate) mod drawer;
pub(crate) mod hammer;
pub(crate) mod lottery;
pub(crate) mod push;
pub(crate) mod reach;
pub(crate) mod reacher;
mod tabletop;
pub(crate) mod thermos;
pub(crate) mod two_room;
pub(crate) mod window;

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rapier2d::math::Vector;

use crate::action;
use crate::action::ActionSpace;
use crate::canvas::{Canvas, VIEW, palette};
use crate::catalogue::Protocol;
use crate::environment::{EnvError, EnvOptions, Environment, Expert, ImageShape, Step};
use crate::image::Image;
use crate::scene::{Scene, Thing, to_share, to_world};

/// The number of entries of an action: every task of the suite moves in the plane.
const ACTION_SIZE: usize = 2;

/// The state of one episode of a task. [`TaskEnvironment`] adds seeds, images and action checks.
pub(crate) trait Task: Send + Sized {
    /// The name in the catalogue.
    const NAME: &'static str;
    /// One line on what is to be done.
    const ABOUT: &'static str;
    /// Steps of an episode, before action repeat.
    const TIME_LIMIT: usize;
    /// Steps for which the catalogue holds each action.
    const ACTION_REPEAT: usize = 1;
    /// Steps of a plan, counted after action repeat: a whole episode.
    const HORIZON: usize = Self::TIME_LIMIT.div_ceil(Self::ACTION_REPEAT);
    /// Steps executed of a plan before the next is made: open loop.
    const REPLAN_EVERY: usize = Self::HORIZON;
    /// The least and the largest reward that is not dense.
    const REWARD_RANGE: [f32; 2] = [0.0, 1.0];
    /// The same of the dense reward.
    const DENSE_REWARD_RANGE: [f32; 2] = [0.0, 1.0];

    /// A randomised start.
    fn new(random: ChaCha8Rng) -> Self;

    /// Executes one action of `[-1, 1]²`.
    fn advance(&mut self, action: [f32; ACTION_SIZE]);

    /// Whether the task is solved in this state.
    fn success(&self) -> bool;

    /// How far the task is from its solution, in world units that things still have to move: at
    /// least 0.
    fn remaining(&self) -> f32;

    /// The reward of this state: 1 in success and 0 elsewhere, or the dense one
    /// `exp(−remaining)` in `(0, 1]`.
    fn reward(&self, dense: bool) -> f32 {
        if dense {
            (-self.remaining()).exp()
        } else {
            f32::from(u8::from(self.success()))
        }
    }

    /// Draws this state on a cleared canvas.
    fn draw(&self, canvas: &mut Canvas);

    /// The expert's action in this state.
    fn scripted_action(&self) -> [f32; ACTION_SIZE];

    /// What can be moved by hand, the effector first.
    fn movables(&self) -> Vec<Movable> {
        Vec::new()
    }

    /// Moves the thing of this name, one of [`movables`](Self::movables), as far towards `position` as it
    /// may be.
    fn place(&mut self, _name: &str, _position: Vector) {}
}

/// Something that can be moved by hand.
pub(crate) struct Movable {
    name: &'static str,
    position: Vector,
    half: Vector,
}

impl Movable {
    /// A thing about `position` with these half sides.
    pub(crate) fn new(name: &'static str, position: Vector, half: Vector) -> Self {
        Self {
            name,
            position,
            half,
        }
    }

    /// A disc.
    pub(crate) fn disc(name: &'static str, position: Vector, radius: f32) -> Self {
        Self::new(name, position, Vector::splat(radius))
    }
}

/// Runs a [`Task`] as an [`Environment`] without a time limit.
pub(crate) struct TaskEnvironment<T> {
    task: T,
    canvas: Canvas,
    dense_reward: bool,
    actions: ActionSpace,
}

impl<T: Task> TaskEnvironment<T> {
    /// The task as after `reset(0)`.
    pub(crate) fn new(options: &EnvOptions) -> Result<Self, EnvError> {
        options.validate()?;
        Ok(Self {
            task: T::new(ChaCha8Rng::seed_from_u64(0)),
            canvas: Canvas::new(options.image_size),
            dense_reward: options.dense_reward,
            actions: ActionSpace::unit(ACTION_SIZE),
        })
    }

    fn render(&mut self) -> Image {
        drawn(&self.task, &mut self.canvas)
    }
}

impl<T: Task> Environment for TaskEnvironment<T> {
    fn name(&self) -> &str {
        T::NAME
    }

    fn action_space(&self) -> &ActionSpace {
        &self.actions
    }

    fn image_shape(&self) -> ImageShape {
        ImageShape::new(self.canvas.size(), self.canvas.size())
    }

    fn time_limit(&self) -> usize {
        T::TIME_LIMIT
    }

    fn reward_range(&self) -> Option<[f32; 2]> {
        Some(match self.dense_reward {
            true => T::DENSE_REWARD_RANGE,
            false => T::REWARD_RANGE,
        })
    }

    fn reset(&mut self, seed: u64) -> Result<Image, EnvError> {
        self.task = T::new(ChaCha8Rng::seed_from_u64(seed));
        Ok(self.render())
    }

    fn step(&mut self, action: &[f32]) -> Result<Step, EnvError> {
        self.task.advance(action::checked(action)?);
        Ok(Step {
            image: self.render(),
            reward: self.task.reward(self.dense_reward),
            success: self.task.success(),
            terminated: false,
            truncated: false,
        })
    }

    fn expert(&mut self) -> Option<&mut dyn Expert> {
        Some(self)
    }
}

/// The state of `task` on `canvas`.
fn drawn<T: Task>(task: &T, canvas: &mut Canvas) -> Image {
    canvas.clear();
    task.draw(canvas);
    canvas.image()
}

impl<T: Task> Scene for TaskEnvironment<T> {
    fn things(&self) -> Vec<Thing> {
        let thing = |movable: Movable| Thing {
            name: movable.name,
            position: to_share(movable.position.into()),
            half: (0.5 / VIEW * movable.half).into(),
        };
        self.task.movables().into_iter().map(thing).collect()
    }

    fn move_thing(&mut self, name: &str, position: [f32; 2]) -> Result<(), EnvError> {
        let movables = self.task.movables();
        if movables.iter().all(|movable| movable.name != name) {
            let known: Vec<_> = movables.iter().map(|movable| movable.name).collect();
            return Err(EnvError::Thing {
                env: T::NAME,
                name: name.to_owned(),
                known: known.join(", "),
            });
        }
        action::check(&position, position.len())?;
        self.task.place(name, to_world(position).into());
        Ok(())
    }

    fn picture(&self, size: usize) -> Result<Image, EnvError> {
        let options = EnvOptions {
            image_size: size,
            ..EnvOptions::default()
        };
        options.validate()?;
        Ok(drawn(&self.task, &mut Canvas::new(size)))
    }

    fn is_solved(&self) -> bool {
        self.task.success()
    }

    fn effector_colour(&self) -> [u8; 3] {
        palette::EFFECTOR
    }

    fn protocol(&self) -> Protocol {
        Protocol {
            horizon: T::HORIZON,
            replan_every: T::REPLAN_EVERY,
        }
    }
}

impl<T: Task> Expert for TaskEnvironment<T> {
    fn action(&mut self) -> Result<Vec<f32>, EnvError> {
        Ok(self.task.scripted_action().to_vec())
    }
}

/// A point drawn uniformly from the rectangle between two corners.
pub(crate) fn uniform_point(random: &mut ChaCha8Rng, low: Vector, high: Vector) -> Vector {
    Vector::new(
        random.random_range(low.x..=high.x),
        random.random_range(low.y..=high.y),
    )
}
