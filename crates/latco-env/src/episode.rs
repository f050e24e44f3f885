//! One episode in memory.

use std::ops::{Deref, Range};

use crate::action::ActionSpace;
use crate::environment::Step;
use crate::image::Image;

/// A recorded episode of `T` frames: entry `t` holds the image seen at `t` and the action that
/// *led* to it. Entry 0 is the reset, with a zero action and zero reward.
///
/// Here the last step ends in a terminal state:
///
#[doc = include_str!("../doc/episode.svg")]
///
/// It is an [`EpisodeSeries`] with its images.
#[derive(Clone, Debug, PartialEq)]
pub struct Episode {
    series: EpisodeSeries,
    images: Vec<u8>,
}

/// The arrays of an [`Episode`], row by row.
#[derive(Clone, Debug, PartialEq)]
pub struct EpisodeArrays {
    /// Height of the images in pixels.
    pub image_height: usize,
    /// Width of the images in pixels.
    pub image_width: usize,
    /// Cameras, whose pictures lie side by side in an image.
    pub cameras: usize,
    /// The bounds of the actions; the unit box where a recording does not tell.
    pub action_space: ActionSpace,
    /// Images `[T, image_height, image_width, 3]`, red, green, blue.
    pub images: Vec<u8>,
    /// Actions `[T, action_size]`, in the units of the bounds.
    pub actions: Vec<f32>,
    /// Rewards `[T]`.
    pub rewards: Vec<f32>,
    /// Continuation factors `[T]` in `[0, 1]`: 0 at a terminal state.
    pub discounts: Vec<f32>,
    /// Where recorded, 1 in the frames in which the task was solved and 0 elsewhere `[T]`.
    pub sparse_rewards: Option<Vec<f32>>,
}

/// All of an [`Episode`] but its images: what of a recording stays in memory where the images are read
/// from disk.
#[derive(Clone, Debug, PartialEq)]
pub struct EpisodeSeries {
    image_height: usize,
    image_width: usize,
    cameras: usize,
    action_space: ActionSpace,
    actions: Vec<f32>,
    rewards: Vec<f32>,
    discounts: Vec<f32>,
    sparse_rewards: Option<Vec<f32>>,
}

/// Why arrays are no episode.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum EpisodeError {
    /// An array has another number of entries than the rewards ask for.
    #[error("field `{field}` has {got} entries, expected {expected}")]
    Length {
        /// The field, by its name in the file.
        field: &'static str,
        /// Entries that the other fields ask for.
        expected: usize,
        /// Entries given.
        got: usize,
    },
    /// A number is infinite, not a number, or a continuation factor outside `[0, 1]`.
    #[error("field `{field}` is {value} at entry {index}, expected {expected}")]
    Value {
        /// The field, by its name in the file.
        field: &'static str,
        /// The first such entry, counted over the whole array.
        index: usize,
        /// Its value.
        value: f32,
        /// What is accepted.
        expected: &'static str,
    },
    /// There is no frame, no pixel or no action entry.
    #[error("field `{field}` is empty")]
    Empty {
        /// The field, by its name in the file.
        field: &'static str,
    },
    /// A pushed image has another size than the first.
    #[error("an image of {got_width}x{got_height} pixels in an episode of {width}x{height}")]
    ImageSize {
        /// Width of the first image.
        width: usize,
        /// Height of the first image.
        height: usize,
        /// Width given.
        got_width: usize,
        /// Height given.
        got_height: usize,
    },
}

impl Deref for Episode {
    type Target = EpisodeSeries;

    fn deref(&self) -> &EpisodeSeries {
        &self.series
    }
}

impl Episode {
    /// An episode that begins with the image of a reset, of one camera.
    pub fn new(first: &Image, action_space: &ActionSpace) -> Self {
        Self {
            series: EpisodeSeries::begin(first, action_space),
            images: first.pixels().to_vec(),
        }
    }

    /// The same with the pictures of several cameras side by side in each image.
    #[must_use]
    pub fn with_cameras(mut self, cameras: usize) -> Self {
        self.series.cameras = cameras;
        self
    }

    /// The same with other bounds of its actions, whose number must be the same.
    ///
    /// # Errors
    /// [`EpisodeError::Length`].
    pub fn with_action_space(mut self, space: ActionSpace) -> Result<Self, EpisodeError> {
        self.series = self.series.with_action_space(space)?;
        Ok(self)
    }

    /// An episode from whole arrays.
    ///
    /// # Errors
    /// [`EpisodeError`] where lengths disagree, an array is empty or a number is out of range.
    pub fn from_arrays(mut arrays: EpisodeArrays) -> Result<Self, EpisodeError> {
        let images = std::mem::take(&mut arrays.images);
        Self::from_series(EpisodeSeries::from_arrays(arrays)?, images)
    }

    /// An episode from its series and its images `[T, height, width, 3]`.
    ///
    /// # Errors
    /// [`EpisodeError::Length`] where there are more or fewer bytes.
    pub fn from_series(series: EpisodeSeries, images: Vec<u8>) -> Result<Self, EpisodeError> {
        let expected = series.len().saturating_mul(series.frame_bytes());
        check_length("image", expected, images.len())?;
        Ok(Self { series, images })
    }

    /// The arrays, without a copy.
    pub fn into_arrays(self) -> EpisodeArrays {
        let EpisodeSeries {
            image_height,
            image_width,
            cameras,
            action_space,
            actions,
            rewards,
            discounts,
            sparse_rewards,
        } = self.series;
        EpisodeArrays {
            image_height,
            image_width,
            cameras,
            action_space,
            images: self.images,
            actions,
            rewards,
            discounts,
            sparse_rewards,
        }
    }

    /// Appends the step that `action` led to. Success is recorded as the sparse reward, where
    /// the episode has one.
    ///
    /// # Errors
    /// [`EpisodeError`] where the sizes differ from the first frame's or a number is out of range;
    /// the episode is then unchanged.
    pub fn push(&mut self, action: &[f32], step: &Step) -> Result<(), EpisodeError> {
        self.series.push(action, step)?;
        self.images.extend_from_slice(step.image.pixels());
        Ok(())
    }

    /// All of the episode but its images.
    pub fn series(&self) -> &EpisodeSeries {
        &self.series
    }

    /// All images `[T, height, width, 3]`.
    pub fn images(&self) -> &[u8] {
        &self.images
    }

    /// The image of frame `t`.
    ///
    /// # Panics
    /// Where `t` is not below [`len`](EpisodeSeries::len).
    pub fn image(&self, t: usize) -> Image {
        let pixels = self.frames(t..t + 1).to_vec();
        Image::new(self.image_width(), self.image_height(), pixels)
            .expect("frames have the episode's size")
    }

    /// The images `[range, height, width, 3]` of a range of frames.
    pub(crate) fn frames(&self, range: Range<usize>) -> &[u8] {
        let size = self.frame_bytes();
        &self.images[range.start * size..range.end * size]
    }
}

impl EpisodeSeries {
    fn begin(first: &Image, action_space: &ActionSpace) -> Self {
        Self {
            image_height: first.height(),
            image_width: first.width(),
            cameras: 1,
            action_space: action_space.clone(),
            actions: vec![0.0; action_space.size()],
            rewards: vec![0.0],
            discounts: vec![1.0],
            sparse_rewards: Some(vec![0.0]),
        }
    }

    /// The series among whole arrays; the images are left aside, there may be none.
    ///
    /// # Errors
    /// [`EpisodeError`] where lengths disagree, an array is empty or a number is out of range.
    pub fn from_arrays(arrays: EpisodeArrays) -> Result<Self, EpisodeError> {
        check_lengths(&arrays)?;
        check_finite("action", &arrays.actions)?;
        check_finite("reward", &arrays.rewards)?;
        check_discounts(&arrays.discounts)?;
        check_finite(
            "sparse_reward",
            arrays.sparse_rewards.as_deref().unwrap_or(&[]),
        )?;
        Ok(Self {
            image_height: arrays.image_height,
            image_width: arrays.image_width,
            cameras: arrays.cameras,
            action_space: arrays.action_space,
            actions: arrays.actions,
            rewards: arrays.rewards,
            discounts: arrays.discounts,
            sparse_rewards: arrays.sparse_rewards,
        })
    }

    /// The same with other bounds of its actions, whose number must be the same.
    ///
    /// # Errors
    /// [`EpisodeError::Length`].
    pub fn with_action_space(mut self, space: ActionSpace) -> Result<Self, EpisodeError> {
        check_length("action_low", self.action_size(), space.size())?;
        self.action_space = space;
        Ok(self)
    }

    /// The same with images of another size.
    ///
    /// # Errors
    /// [`EpisodeError`] where they have no pixel or cannot be divided among the cameras.
    pub fn with_image_size(mut self, width: usize, height: usize) -> Result<Self, EpisodeError> {
        check_images(height, width, self.cameras)?;
        (self.image_width, self.image_height) = (width, height);
        Ok(self)
    }

    fn push(&mut self, action: &[f32], step: &Step) -> Result<(), EpisodeError> {
        self.check_step(action, step)?;
        self.actions.extend_from_slice(action);
        self.rewards.push(step.reward);
        self.discounts.push(step.discount());
        if let Some(sparse_rewards) = &mut self.sparse_rewards {
            sparse_rewards.push(f32::from(u8::from(step.success)));
        }
        Ok(())
    }

    fn check_step(&self, action: &[f32], step: &Step) -> Result<(), EpisodeError> {
        let (width, height) = (self.image_width, self.image_height);
        if (step.image.width(), step.image.height()) != (width, height) {
            return Err(EpisodeError::ImageSize {
                width,
                height,
                got_width: step.image.width(),
                got_height: step.image.height(),
            });
        }
        check_length("action", self.action_size(), action.len())?;
        check_finite("action", action)?;
        check_finite("reward", &[step.reward])
    }

    /// The number of frames `T`, the reset included: at least 1.
    #[expect(clippy::len_without_is_empty, reason = "an episode is never empty")]
    pub fn len(&self) -> usize {
        self.rewards.len()
    }

    /// Height of the images in pixels.
    pub fn image_height(&self) -> usize {
        self.image_height
    }

    /// Width of the images in pixels.
    pub fn image_width(&self) -> usize {
        self.image_width
    }

    /// Bytes of an image, `height · width · 3`.
    pub fn frame_bytes(&self) -> usize {
        (self.image_height.saturating_mul(self.image_width)).saturating_mul(3)
    }

    /// Cameras, whose pictures lie side by side in an image.
    pub fn cameras(&self) -> usize {
        self.cameras
    }

    /// Entries of an action.
    pub fn action_size(&self) -> usize {
        self.action_space.size()
    }

    /// The bounds of the actions.
    pub fn action_space(&self) -> &ActionSpace {
        &self.action_space
    }

    /// All actions `[T, action_size]`.
    pub fn actions(&self) -> &[f32] {
        &self.actions
    }

    /// Rewards `[T]`.
    pub fn rewards(&self) -> &[f32] {
        &self.rewards
    }

    /// Continuation factors `[T]`.
    pub fn discounts(&self) -> &[f32] {
        &self.discounts
    }

    /// 1 in frames in which the task was solved, else 0 `[T]`, where recorded.
    pub fn sparse_rewards(&self) -> Option<&[f32]> {
        self.sparse_rewards.as_deref()
    }

    /// The action `[action_size]` that led to frame `t`.
    ///
    /// # Panics
    /// Where `t` is not below [`len`](Self::len).
    pub fn action(&self, t: usize) -> &[f32] {
        let size = self.action_size();
        &self.actions()[t * size..(t + 1) * size]
    }

    /// The sum of the rewards; that beside the first image, to which no action led, counts for nothing.
    pub fn total_reward(&self) -> f32 {
        self.rewards().iter().skip(1).sum()
    }

    /// Whether the task was solved in any frame, where the recording tells.
    pub fn success(&self) -> Option<bool> {
        self.sparse_rewards()
            .map(|rewards| rewards.iter().any(|&reward| reward > 0.0))
    }
}

fn check_lengths(arrays: &EpisodeArrays) -> Result<(), EpisodeError> {
    let frames = arrays.rewards.len();
    check_not_empty("reward", frames)?;
    check_images(arrays.image_height, arrays.image_width, arrays.cameras)?;
    check_not_empty("action", arrays.action_space.size())?;
    check_length(
        "action",
        frames.saturating_mul(arrays.action_space.size()),
        arrays.actions.len(),
    )?;
    check_length("discount", frames, arrays.discounts.len())?;
    match &arrays.sparse_rewards {
        Some(sparse_rewards) => check_length("sparse_reward", frames, sparse_rewards.len()),
        None => Ok(()),
    }
}

/// There are pixels, and each image holds the pictures of all cameras.
fn check_images(height: usize, width: usize, cameras: usize) -> Result<(), EpisodeError> {
    check_not_empty("image", height.saturating_mul(width))?;
    if cameras > 0 && width.is_multiple_of(cameras) {
        return Ok(());
    }
    Err(EpisodeError::Value {
        field: "cameras",
        index: 0,
        value: cameras as f32,
        expected: "at least one camera, all as wide",
    })
}

fn check_not_empty(field: &'static str, entries: usize) -> Result<(), EpisodeError> {
    match entries {
        0 => Err(EpisodeError::Empty { field }),
        _ => Ok(()),
    }
}

fn check_length(field: &'static str, expected: usize, got: usize) -> Result<(), EpisodeError> {
    if expected == got {
        return Ok(());
    }
    Err(EpisodeError::Length {
        field,
        expected,
        got,
    })
}

fn check_finite(field: &'static str, values: &[f32]) -> Result<(), EpisodeError> {
    check_values(field, values, "a finite number", |value| value.is_finite())
}

fn check_discounts(values: &[f32]) -> Result<(), EpisodeError> {
    check_values("discount", values, "0 to 1", |value| {
        (0.0..=1.0).contains(&value)
    })
}

fn check_values(
    field: &'static str,
    values: &[f32],
    expected: &'static str,
    accept: impl Fn(f32) -> bool,
) -> Result<(), EpisodeError> {
    match values.iter().position(|&value| !accept(value)) {
        Some(index) => Err(EpisodeError::Value {
            field,
            index,
            value: values[index],
            expected,
        }),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn image(value: u8) -> Image {
        Image::new(3, 2, vec![value; 18]).unwrap()
    }

    fn step(value: u8, reward: f32) -> Step {
        Step {
            image: image(value),
            reward,
            success: reward > 0.0,
            terminated: false,
            truncated: false,
        }
    }

    #[test]
    fn entry_t_holds_the_action_that_led_to_it() {
        let mut episode = Episode::new(&image(1), &ActionSpace::unit(2));
        episode.push(&[0.1, 0.2], &step(2, 0.0)).unwrap();
        episode.push(&[0.3, 0.4], &step(3, 1.0)).unwrap();
        assert_eq!(episode.len(), 3);
        assert_eq!(episode.action(0), [0.0, 0.0]);
        assert_eq!(episode.action(2), [0.3, 0.4]);
        assert_eq!(episode.image(2), image(3));
        assert_eq!(episode.rewards(), [0.0, 0.0, 1.0]);
        assert_eq!(episode.total_reward(), 1.0);
        assert_eq!(episode.success(), Some(true));
    }

    #[test]
    fn a_refused_push_changes_nothing() {
        let mut episode = Episode::new(&image(1), &ActionSpace::unit(2));
        let before = episode.clone();
        assert!(episode.push(&[0.1], &step(2, 0.0)).is_err());
        assert!(episode.push(&[0.1, f32::NAN], &step(2, 0.0)).is_err());
        assert!(episode.push(&[0.1, 0.2], &step(2, f32::INFINITY)).is_err());
        let other = Step {
            image: Image::new(2, 3, vec![0; 18]).unwrap(),
            ..step(2, 0.0)
        };
        assert!(episode.push(&[0.1, 0.2], &other).is_err());
        assert_eq!(episode, before);
    }

    #[test]
    fn arrays_are_checked() {
        let good = Episode::new(&image(1), &ActionSpace::unit(2)).into_arrays();
        assert!(Episode::from_arrays(good.clone()).is_ok());
        let mut short = good.clone();
        short.images.pop();
        let error = Episode::from_arrays(short).unwrap_err();
        assert!(error.to_string().contains("`image` has 17 entries"));
        let mut wild = good.clone();
        wild.discounts[0] = 1.5;
        assert!(Episode::from_arrays(wild).is_err());
        let empty = EpisodeArrays {
            images: vec![],
            actions: vec![],
            rewards: vec![],
            discounts: vec![],
            sparse_rewards: None,
            ..good.clone()
        };
        assert!(Episode::from_arrays(empty).is_err());
        let idle = EpisodeArrays {
            action_space: ActionSpace::unit(0),
            actions: vec![],
            ..good.clone()
        };
        let message = Episode::from_arrays(idle).unwrap_err().to_string();
        assert_eq!(message, "field `action` is empty");
        let split = EpisodeArrays { cameras: 2, ..good };
        let message = Episode::from_arrays(split).unwrap_err().to_string();
        assert!(message.contains("`cameras` is 2"), "{message}");
    }
}
