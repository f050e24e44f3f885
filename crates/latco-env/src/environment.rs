//! What every environment does, and how one is configured.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::action::ActionSpace;
use crate::episode::EpisodeError;
use crate::image::Image;
use crate::process::ProcessError;

/// What one step of an [`Environment`] gives.
#[derive(Clone, Debug, PartialEq)]
pub struct Step {
    /// The image after the action.
    pub image: Image,
    /// The reward of the state that the image shows.
    pub reward: f32,
    /// Whether the task is solved in this state.
    pub success: bool,
    /// Whether the state is terminal: nothing is to be had after it.
    pub terminated: bool,
    /// Whether the episode is cut off, by a time limit say, at a state that is not terminal.
    pub truncated: bool,
}

impl Step {
    /// A step into a state that is neither solved nor the last; the fields say otherwise where it is.
    pub fn new(image: Image, reward: f32) -> Self {
        Self {
            image,
            reward,
            success: false,
            terminated: false,
            truncated: false,
        }
    }

    /// A step with the sparse reward: 1 in a state that solves the task, else 0.
    pub fn sparse(image: Image, solved: bool) -> Self {
        Self {
            success: solved,
            ..Self::new(image, f32::from(solved))
        }
    }

    /// Whether the episode is over: the next call is [`Environment::reset`].
    pub fn is_last(&self) -> bool {
        self.terminated || self.truncated
    }

    /// The continuation factor that recordings keep: 0 at a terminal state, else 1.
    pub fn discount(&self) -> f32 {
        if self.terminated { 0.0 } else { 1.0 }
    }
}

/// The images of an environment: `cameras` pictures of `width / cameras` × `height` pixels side by
/// side.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImageShape {
    /// Height in pixels.
    pub height: usize,
    /// Width in pixels, of all cameras together.
    pub width: usize,
    /// Cameras, at least one.
    pub cameras: usize,
    /// Whether red, green and blue are always alike.
    pub grey: bool,
}

impl ImageShape {
    /// Colour images of one camera.
    pub fn new(height: usize, width: usize) -> Self {
        Self {
            height,
            width,
            cameras: 1,
            grey: false,
        }
    }

    /// The longest side that is accepted, of one camera's picture, in pixels.
    pub const LONGEST_SIDE: usize = 512;

    /// Refuses shapes that no model can be given.
    ///
    /// # Errors
    /// [`EnvError::Shape`].
    pub fn validate(&self) -> Result<(), EnvError> {
        let width = self.width.checked_div(self.cameras).unwrap_or(0);
        let fits = |side: usize| (1..=Self::LONGEST_SIDE).contains(&side);
        if fits(width) && fits(self.height) && width * self.cameras == self.width {
            return Ok(());
        }
        Err(EnvError::Shape {
            width: self.width,
            height: self.height,
            cameras: self.cameras,
        })
    }
}

/// A task that is seen through images and steered by actions within an [`ActionSpace`].
///
/// Everything random comes from the seed of [`reset`](Self::reset): the same seed and actions give
/// the same images and rewards. An environment in this process stands as after `reset(0)` before its
/// first reset. `examples/own_environment.rs` implements one.
pub trait Environment: Send {
    /// What it is called, in results and run folders.
    fn name(&self) -> &str;

    /// The bounds of its actions.
    fn action_space(&self) -> &ActionSpace;

    /// The shape of its images.
    fn image_shape(&self) -> ImageShape;

    /// The most steps that an episode lasts, counted after action repeat.
    fn time_limit(&self) -> usize;

    /// The least and the largest reward of a step, where that is known.
    fn reward_range(&self) -> Option<[f32; 2]> {
        None
    }

    /// Starts the episode of this seed and returns its first image.
    ///
    /// # Errors
    /// [`EnvError::Process`] and [`EnvError::External`] where something outside this process fails.
    fn reset(&mut self, seed: u64) -> Result<Image, EnvError>;

    /// Executes one action in the environment's units, clamped to the bounds.
    ///
    /// # Errors
    /// [`EnvError::ActionLength`] and [`EnvError::ActionNotFinite`]; [`EnvError::EpisodeOver`]
    /// after the [last](Step::is_last) step. The state is then unchanged.
    /// [`EnvError::Process`] and [`EnvError::External`] where something outside this process fails:
    /// the episode is then over.
    fn step(&mut self, action: &[f32]) -> Result<Step, EnvError>;

    /// An expert that knows how the task is solved; `None`, the default, where there is none.
    fn expert(&mut self) -> Option<&mut dyn Expert> {
        None
    }
}

/// What sees the true state of an [`Environment`] and solves its task.
pub trait Expert {
    /// The next action in the present state, in the environment's units.
    ///
    /// # Errors
    /// [`EnvError::External`] and [`EnvError::Process`] where something outside this process fails.
    fn action(&mut self) -> Result<Vec<f32>, EnvError>;
}

/// What the expert of `environment` would do now.
///
/// # Errors
/// [`EnvError::NoExpert`] where there is none, else those of [`Expert::action`].
pub fn expert_action(environment: &mut dyn Environment) -> Result<Vec<f32>, EnvError> {
    if let Some(expert) = environment.expert() {
        return expert.action();
    }
    let name = environment.name().to_owned();
    Err(EnvError::NoExpert { name })
}

/// A boxed environment, so that what [`make`](crate::make) returns can be wrapped again.
impl<E: Environment + ?Sized> Environment for Box<E> {
    fn name(&self) -> &str {
        (**self).name()
    }

    fn action_space(&self) -> &ActionSpace {
        (**self).action_space()
    }

    fn image_shape(&self) -> ImageShape {
        (**self).image_shape()
    }

    fn time_limit(&self) -> usize {
        (**self).time_limit()
    }

    fn reward_range(&self) -> Option<[f32; 2]> {
        (**self).reward_range()
    }

    fn reset(&mut self, seed: u64) -> Result<Image, EnvError> {
        (**self).reset(seed)
    }

    fn step(&mut self, action: &[f32]) -> Result<Step, EnvError> {
        (**self).step(action)
    }

    fn expert(&mut self) -> Option<&mut dyn Expert> {
        (**self).expert()
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
        /// The size of [`Environment::action_space`].
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
    /// An entry of the actions has no finite bounds.
    #[error(
        "entry {index} of the actions is bounded by {low} and {high}: planners need finite bounds with low < high"
    )]
    ActionBounds {
        /// The first such entry.
        index: usize,
        /// Its lower bound.
        low: f32,
        /// Its upper bound.
        high: f32,
    },
    /// Images have a shape that cannot be used.
    #[error(
        "images of {width}x{height} pixels of {cameras} cameras, expected the cameras side by side, each at most 512x512"
    )]
    Shape {
        /// Width of all cameras together.
        width: usize,
        /// Height.
        height: usize,
        /// Cameras.
        cameras: usize,
    },
    /// There is no scripted expert.
    #[error("`{name}` has no expert to demonstrate: collect random or planned episodes instead")]
    NoExpert {
        /// The environment.
        name: String,
    },
    /// A scene has no thing of this name to move.
    #[error("`{env}` has nothing called `{name}` to move, expected one of: {known}")]
    Thing {
        /// The environment.
        env: &'static str,
        /// The name given.
        name: String,
        /// What can be moved.
        known: String,
    },
    /// Something outside this process failed.
    #[error("environment `{name}`: {reason}")]
    External {
        /// The environment.
        name: String,
        /// What happened, and what to do about it.
        reason: String,
    },
    /// An environment in another process failed, or cannot be had.
    #[error("environment `{name}`: {problem}")]
    Process {
        /// The environment.
        name: String,
        /// What happened, and what to do about it.
        problem: Box<ProcessError>,
    },
    /// A step cannot be recorded.
    #[error(
        "environment `{name}`: a step cannot be recorded, {problem}; have it give finite rewards and images of one size"
    )]
    Unrecordable {
        /// The environment.
        name: String,
        /// What is wrong with the step.
        problem: EpisodeError,
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
    /// A shaped reward in place of the sparse one of 0 or 1, in training; evaluations pay the sparse one.
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
