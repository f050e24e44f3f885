//! What every environment does, and how one is configured.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::image::Image;

/// What one step of an [`Environment`] gives.
#[derive(Clone, Debug, PartialEq)]
pub struct Step {
    /// The image after the action.
    pub image: Image,
    /// The reward of the state that the image shows.
    pub reward: f32,
    /// Whether the task is solved in this state.
    pub success: bool,
    /// Continuation factor in `[0, 1]`: 0 at a terminal state, else 1. A time limit is not
    /// terminal.
    pub discount: f32,
    /// Whether the episode is over: the next call is [`Environment::reset`].
    pub done: bool,
}

/// A task that is seen through images and steered by actions in `[-1, 1]`.
///
/// Everything random comes from the seed of [`reset`](Self::reset): the same seed and actions
/// give the same images and rewards, bit for bit. Before the first reset an environment stands as
/// after `reset(0)`.
pub trait Environment: Send {
    /// The name in the [`catalogue`](crate::catalogue).
    fn name(&self) -> &'static str;

    /// The number of entries of an action.
    fn action_size(&self) -> usize;

    /// The side of the square images, in pixels.
    fn image_size(&self) -> usize;

    /// The number of steps that an episode lasts, counted after action repeat.
    fn time_limit(&self) -> usize;

    /// Starts the episode of this seed and returns its first image.
    fn reset(&mut self, seed: u64) -> Image;

    /// Executes one action, clamped to `[-1, 1]`.
    ///
    /// # Errors
    /// [`EnvError::ActionLength`] and [`EnvError::ActionNotFinite`]; [`EnvError::EpisodeOver`]
    /// after a step that was `done`. The state is then unchanged.
    fn step(&mut self, action: &[f32]) -> Result<Step, EnvError>;

    /// The next action of an expert that sees the true state and solves the task.
    fn scripted_action(&mut self) -> Vec<f32>;
}

/// A boxed environment, so that what [`make`](crate::make) returns can be wrapped again.
impl<E: Environment + ?Sized> Environment for Box<E> {
    fn name(&self) -> &'static str {
        (**self).name()
    }

    fn action_size(&self) -> usize {
        (**self).action_size()
    }

    fn image_size(&self) -> usize {
        (**self).image_size()
    }

    fn time_limit(&self) -> usize {
        (**self).time_limit()
    }

    fn reset(&mut self, seed: u64) -> Image {
        (**self).reset(seed)
    }

    fn step(&mut self, action: &[f32]) -> Result<Step, EnvError> {
        (**self).step(action)
    }

    fn scripted_action(&mut self) -> Vec<f32> {
        (**self).scripted_action()
    }
}

/// Why an environment could not be made or stepped.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum EnvError {
    /// No environment has this name.
    #[error("unknown environment `{name}`: did you mean `{nearest}`? Known: {known}")]
    Unknown {
        /// The name given.
        name: String,
        /// The known name that is nearest to it.
        nearest: &'static str,
        /// All known names.
        known: String,
    },
    /// An option is out of its range.
    #[error("option `{option}` is {got}, expected {expected}")]
    Option {
        /// The field of [`EnvOptions`] or the argument of a wrapper.
        option: &'static str,
        /// Its value.
        got: String,
        /// What is accepted.
        expected: &'static str,
    },
    /// An action has the wrong number of entries.
    #[error("an action has {expected} entries here, not {got}")]
    ActionLength {
        /// [`Environment::action_size`].
        expected: usize,
        /// Entries given.
        got: usize,
    },
    /// An action has an entry that is infinite or not a number.
    #[error("entry {index} of the action is {value}, expected a finite number")]
    ActionNotFinite {
        /// The first such entry.
        index: usize,
        /// Its value.
        value: f32,
    },
    /// The episode is over.
    #[error("the episode is over after {steps} steps: reset the environment first")]
    EpisodeOver {
        /// Steps taken.
        steps: usize,
    },
}

/// How an environment renders and rewards.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct EnvOptions {
    /// The side of the square images, in pixels: 16 to 1024.
    pub image_size: usize,
    /// A shaped reward in place of the sparse one of 0 or 1.
    pub dense_reward: bool,
}

impl Default for EnvOptions {
    fn default() -> Self {
        Self {
            image_size: 64,
            dense_reward: false,
        }
    }
}

impl EnvOptions {
    /// Checks every field; [`make`](crate::make) calls it.
    ///
    /// # Errors
    /// [`EnvError::Option`].
    pub fn validate(&self) -> Result<(), EnvError> {
        if !(16..=1024).contains(&self.image_size) {
            return Err(EnvError::Option {
                option: "image_size",
                got: self.image_size.to_string(),
                expected: "16 to 1024 pixels",
            });
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_default_from_partial_input_and_refuse_unknown_fields() {
        let options: EnvOptions = serde_json::from_str("{\"image_size\": 32}").unwrap();
        assert_eq!((options.image_size, options.dense_reward), (32, false));
        assert!(serde_json::from_str::<EnvOptions>("{\"imagesize\": 32}").is_err());
    }

    #[test]
    fn options_out_of_range_are_refused() {
        let options = EnvOptions {
            image_size: 3,
            ..EnvOptions::default()
        };
        let message = options.validate().unwrap_err().to_string();
        assert!(message.contains("image_size") && message.contains("16"));
    }
}
