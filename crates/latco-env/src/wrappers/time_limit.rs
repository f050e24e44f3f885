//! Episodes of at most so many steps.

use crate::action::ActionSpace;
use crate::environment::{EnvError, Environment, Expert, ImageShape, Step};
use crate::image::Image;

/// Cuts each episode off after a number of steps. The last step is truncated, not terminated: the
/// time being up says nothing about the state.
pub struct TimeLimit<E> {
    inner: E,
    limit: usize,
    elapsed: usize,
    over: bool,
}

impl<E: Environment> TimeLimit<E> {
    /// Limits `inner` to `limit` steps.
    ///
    /// # Errors
    /// [`EnvError::Option`] where `limit` is zero.
    pub fn new(inner: E, limit: usize) -> Result<Self, EnvError> {
        if limit == 0 {
            return Err(EnvError::Option {
                option: "time_limit",
                got: "0".to_owned(),
                expected: "at least one step",
            });
        }
        Ok(Self {
            inner,
            limit,
            elapsed: 0,
            over: false,
        })
    }
}

impl<E: Environment> Environment for TimeLimit<E> {
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
        self.limit
    }

    fn reward_range(&self) -> Option<[f32; 2]> {
        self.inner.reward_range()
    }

    fn reset(&mut self, seed: u64) -> Result<Image, EnvError> {
        self.elapsed = 0;
        self.over = false;
        self.inner.reset(seed)
    }

    fn step(&mut self, action: &[f32]) -> Result<Step, EnvError> {
        if self.over {
            return Err(EnvError::EpisodeOver {
                steps: self.elapsed,
            });
        }
        let mut step = self.inner.step(action)?;
        self.elapsed += 1;
        step.truncated |= self.elapsed == self.limit && !step.terminated;
        self.over = step.is_last();
        Ok(step)
    }

    fn expert(&mut self) -> Option<&mut dyn Expert> {
        self.inner.expert()
    }
}
