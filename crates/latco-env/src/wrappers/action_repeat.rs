//! One action held for several steps.

use crate::action::ActionSpace;
use crate::catalogue::Protocol;
use crate::environment::{EnvError, Environment, Expert, ImageShape, Step};
use crate::image::Image;
use crate::scene::{Scene, Thing};

/// The reward of a repeated action.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RepeatReward {
    /// That of the last repeat: the reward stays a function of the state that the image shows.
    Last,
    /// The sum over the repeats, for tasks that pay for events rather than states.
    Sum,
}

/// Executes each action `repeat` times and shows only the last image. Success counts at any of
/// the repeats; an inner step that is the last ends the repeating.
pub struct ActionRepeat<E> {
    inner: E,
    repeat: usize,
    reward: RepeatReward,
}

impl<E: Environment> ActionRepeat<E> {
    /// Repeats each action of `inner` `repeat` times.
    ///
    /// # Errors
    /// [`EnvError::Option`] where `repeat` is zero.
    pub fn new(inner: E, repeat: usize, reward: RepeatReward) -> Result<Self, EnvError> {
        if repeat == 0 {
            return Err(EnvError::Option {
                option: "action_repeat",
                got: "0".to_owned(),
                expected: "at least one",
            });
        }
        Ok(Self {
            inner,
            repeat,
            reward,
        })
    }
}

impl<E: Environment> Environment for ActionRepeat<E> {
    fn name(&self) -> &str {
        self.inner.name()
    }

    fn action_space(&self) -> &ActionSpace {
        self.inner.action_space()
    }

    fn image_shape(&self) -> ImageShape {
        self.inner.image_shape()
    }

    fn time_limit(&self) -> usize {
        self.inner.time_limit().div_ceil(self.repeat)
    }

    fn reward_range(&self) -> Option<[f32; 2]> {
        let [least, most] = self.inner.reward_range()?;
        let times = match self.reward {
            RepeatReward::Last => 1.0,
            RepeatReward::Sum => self.repeat as f32,
        };
        // An episode may end at the first repeat.
        Some([least.min(times * least), most.max(times * most)])
    }

    fn reset(&mut self, seed: u64) -> Result<Image, EnvError> {
        self.inner.reset(seed)
    }

    fn step(&mut self, action: &[f32]) -> Result<Step, EnvError> {
        let mut step = self.inner.step(action)?;
        for _ in 1..self.repeat {
            if step.is_last() {
                break;
            }
            let next = self.inner.step(action)?;
            let before = match self.reward {
                RepeatReward::Last => 0.0,
                RepeatReward::Sum => step.reward,
            };
            step = Step {
                reward: before + next.reward,
                success: step.success || next.success,
                ..next
            };
        }
        Ok(step)
    }

    fn expert(&mut self) -> Option<&mut dyn Expert> {
        self.inner.expert()
    }
}

impl<S: Scene> Scene for ActionRepeat<S> {
    fn things(&self) -> Vec<Thing> {
        self.inner.things()
    }

    fn move_thing(&mut self, name: &str, position: [f32; 2]) -> Result<(), EnvError> {
        self.inner.move_thing(name, position)
    }

    fn picture(&self, size: usize) -> Result<Image, EnvError> {
        self.inner.picture(size)
    }

    fn is_solved(&self) -> bool {
        self.inner.is_solved()
    }

    fn effector_colour(&self) -> [u8; 3] {
        self.inner.effector_colour()
    }

    fn protocol(&self) -> Protocol {
        self.inner.protocol()
    }
}
