//! One action held for several steps.

use crate::environment::{EnvError, Environment, Step};
use crate::image::Image;

/// The reward of a repeated action.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RepeatReward {
    /// That of the last repeat: the reward stays a function of the state that the image shows.
    Last,
    /// The sum over the repeats, for tasks that pay for events rather than states.
    Sum,
}

/// Executes each action `repeat` times and shows only the last image. Success counts at any of
/// the repeats; an inner step that is done ends the repeating.
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
    fn name(&self) -> &'static str {
        self.inner.name()
    }

    fn action_size(&self) -> usize {
        self.inner.action_size()
    }

    fn image_size(&self) -> usize {
        self.inner.image_size()
    }

    fn time_limit(&self) -> usize {
        self.inner.time_limit().div_ceil(self.repeat)
    }

    fn reset(&mut self, seed: u64) -> Image {
        self.inner.reset(seed)
    }

    fn step(&mut self, action: &[f32]) -> Result<Step, EnvError> {
        let mut step = self.inner.step(action)?;
        for _ in 1..self.repeat {
            if step.done {
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
                discount: step.discount * next.discount,
                ..next
            };
        }
        Ok(step)
    }

    fn scripted_action(&mut self) -> Vec<f32> {
        self.inner.scripted_action()
    }
}
