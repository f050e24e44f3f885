//! Episodes of at most so many steps.

use crate::environment::{EnvError, Environment, Step};
use crate::image::Image;

/// Ends each episode after a number of steps. The last step is `done` and keeps its discount: the
/// time being up says nothing about the state.
pub struct TimeLimit<E> {
    inner: E,
    limit: usize,
    elapsed: usize,
    done: bool,
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
            done: false,
        })
    }
}

impl<E: Environment> Environment for TimeLimit<E> {
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
        self.limit
    }

    fn reset(&mut self, seed: u64) -> Image {
        self.elapsed = 0;
        self.done = false;
        self.inner.reset(seed)
    }

    fn step(&mut self, action: &[f32]) -> Result<Step, EnvError> {
        if self.done {
            return Err(EnvError::EpisodeOver {
                steps: self.elapsed,
            });
        }
        let mut step = self.inner.step(action)?;
        self.elapsed += 1;
        step.done |= self.elapsed == self.limit;
        self.done = step.done;
        Ok(step)
    }

    fn scripted_action(&mut self) -> Vec<f32> {
        self.inner.scripted_action()
    }
}
