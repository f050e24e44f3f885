//! Images as an environment gives them, and as a model sees them.

use std::{borrow::Cow, ops::Range, path::Path, sync::Arc};

use burn::tensor::{Device, Tensor};
use latco_env::{
    ActionSpace, Episode, EpisodeError, EpisodeFileError, EpisodeSeries, Image, Recorded,
};
use latco_model::{WorldModel, WorldModelConfig, images_to_tensor};

use crate::AgentError;

/// One image of the environment as the model's input, `[1, channels, size, size]`: each camera's
/// picture cropped and resized as the model's settings say.
///
/// # Errors
///
/// If the image has another size than those that the model was trained on.
pub fn image_tensor(
    model: &WorldModel,
    image: &Image,
    device: &Device,
) -> Result<Tensor<4>, AgentError> {
    let config = model.config();
    let image = preprocessed(config, image)?;
    let layout = config.pixel_layout();
    Ok(images_to_tensor(image.pixels(), 1, layout, device))
}

/// `image` with each camera's picture cropped and resized, and grey where the model sees it so; the
/// pictures still side by side.
///
/// # Errors
///
/// If the image has another size than `config` says.
pub fn preprocessed<'a>(
    config: &WorldModelConfig,
    image: &'a Image,
) -> Result<Cow<'a, Image>, AgentError> {
    check_size(config, image.width(), image.height())?;
    let [width, height] = config.camera_size();
    let size = config.image_size;
    if is_whole(config) {
        return Ok(match config.grey {
            true => Cow::Owned(image.grey()),
            false => Cow::Borrowed(image),
        });
    }
    let [left, top, width, height] = match config.crop.as_slice() {
        &[left, top, width, height] => [left, top, width, height],
        _ => [0, 0, width, height],
    };
    let camera_width = config.camera_size()[0];
    let pictures = (0..config.cameras).map(|camera| {
        let part = [camera * camera_width + left, top, width, height];
        image
            .cropped(part)
            .map(|picture| picture.resized(size, size))
    });
    let pictures = pictures.collect::<Option<Vec<_>>>();
    let image = pictures.and_then(|pictures| Image::side_by_side(&pictures));
    let image = image.expect("settings are validated: the crop is within the picture");
    Ok(Cow::Owned(if config.grey { image.grey() } else { image }))
}

fn check_size(config: &WorldModelConfig, width: usize, height: usize) -> Result<(), AgentError> {
    let [camera_width, camera_height] = config.camera_size();
    let (expected_width, expected_height) = (camera_width * config.cameras, camera_height);
    match (width, height) == (expected_width, expected_height) {
        true => Ok(()),
        false => Err(AgentError::ImageSize {
            width,
            height,
            expected_width,
            expected_height,
        }),
    }
}

/// Refuses a recording of other images or actions than the model's.
///
/// # Errors
///
/// If the images have another size than `config` says, or the actions another number of entries.
pub(crate) fn check_series(
    config: &WorldModelConfig,
    series: &EpisodeSeries,
) -> Result<(), AgentError> {
    check_size(config, series.image_width(), series.image_height())?;
    let (expected, got) = (config.action_size, series.action_size());
    match got == expected {
        true => Ok(()),
        false => Err(AgentError::Episode(EpisodeError::Length {
            field: "action",
            expected,
            got,
        })),
    }
}

/// Whether pictures are neither cropped nor resized.
fn is_whole(config: &WorldModelConfig) -> bool {
    config.crop.is_empty() && config.camera_size() == [config.image_size; 2]
}

/// Width and height of a preprocessed image.
fn seen_size(config: &WorldModelConfig) -> [usize; 2] {
    [config.cameras * config.image_size, config.image_size]
}

/// `episode` with every image [preprocessed].
///
/// # Errors
///
/// If the images have another size than `config` says.
pub fn preprocessed_episode(
    config: &WorldModelConfig,
    episode: Episode,
) -> Result<Episode, AgentError> {
    check_size(config, episode.image_width(), episode.image_height())?;
    if is_whole(config) && !config.grey {
        return Ok(episode);
    }
    let mut images = Vec::new();
    for frame in 0..episode.len() {
        images.extend_from_slice(preprocessed(config, &episode.image(frame))?.pixels());
    }
    let [width, height] = seen_size(config);
    let series = episode.series().clone().with_image_size(width, height)?;
    Ok(Episode::from_series(series, images)?)
}

/// The bounds that the settings tell of the actions, where the recording tells none.
pub(crate) fn told_bounds(
    config: &WorldModelConfig,
    series: &EpisodeSeries,
) -> Option<ActionSpace> {
    let told = ActionSpace::new(config.action_low.clone(), config.action_high.clone());
    told.ok().filter(|_| series.action_space().is_unit())
}

/// A recorded episode as the model sees it: its images [preprocessed] when they are read, its actions
/// within the model's bounds where the recording tells none.
#[derive(Debug)]
pub(crate) struct SeenEpisode {
    recorded: Arc<dyn Recorded>,
    series: EpisodeSeries,
    config: Arc<WorldModelConfig>,
}

impl SeenEpisode {
    /// # Errors
    ///
    /// As [`check_series`].
    pub fn new(
        config: Arc<WorldModelConfig>,
        recorded: Arc<dyn Recorded>,
    ) -> Result<Self, AgentError> {
        let mut series = recorded.series().clone();
        check_series(&config, &series)?;
        if let Some(space) = told_bounds(&config, &series) {
            series = series.with_action_space(space)?;
        }
        let [width, height] = seen_size(&config);
        Ok(Self {
            recorded,
            series: series.with_image_size(width, height)?,
            config,
        })
    }

    fn is_as_recorded(&self) -> bool {
        is_whole(&self.config) && !self.config.grey
    }

    /// One image as the model sees it.
    fn seen(&self, image: &[u8]) -> Vec<u8> {
        let raw = self.recorded.series();
        let image = Image::new(raw.image_width(), raw.image_height(), image.to_vec());
        let image = image.expect("an image fills its size");
        let seen = preprocessed(&self.config, &image).expect("the size was looked at");
        match seen {
            Cow::Borrowed(_) => image.into_pixels(),
            Cow::Owned(image) => image.into_pixels(),
        }
    }
}

impl Recorded for SeenEpisode {
    fn path(&self) -> &Path {
        self.recorded.path()
    }

    fn series(&self) -> &EpisodeSeries {
        &self.series
    }

    fn images(&self, frames: Range<usize>) -> Result<Cow<'_, [u8]>, EpisodeFileError> {
        let images = self.recorded.images(frames)?;
        if self.is_as_recorded() {
            return Ok(images);
        }
        let images = images.chunks_exact(self.recorded.series().frame_bytes());
        Ok(Cow::Owned(
            images.flat_map(|image| self.seen(image)).collect(),
        ))
    }

    fn each_image(&self, visit: &mut dyn FnMut(&[u8])) -> Result<(), EpisodeFileError> {
        match self.is_as_recorded() {
            true => self.recorded.each_image(visit),
            false => (self.recorded).each_image(&mut |image| visit(&self.seen(image))),
        }
    }

    fn is_in_memory(&self) -> bool {
        self.recorded.is_in_memory()
    }

    fn is_random_access(&self) -> bool {
        self.recorded.is_random_access()
    }
}

#[cfg(test)]
mod tests {
    use latco_env::Step;

    use super::*;

    /// Two cameras of 6×4 pixels, of which the right four are seen.
    fn config() -> WorldModelConfig {
        WorldModelConfig {
            image_size: 32,
            pooling: 1,
            cameras: 2,
            raw_size: vec![6, 4],
            crop: vec![2, 0, 4, 4],
            ..WorldModelConfig::small(1)
        }
    }

    /// The first camera's picture is 10 and 20, the second's 30 and 40.
    fn image() -> Image {
        let row = [10, 10, 20, 20, 20, 20, 30, 30, 40, 40, 40, 40];
        Image::from_grey(12, 4, &row.repeat(4)).unwrap()
    }

    #[test]
    fn each_camera_is_cropped_and_resized() {
        let config = config();
        config.validate().unwrap();
        let image = image();
        let seen = preprocessed(&config, &image).unwrap();
        assert_eq!((seen.width(), seen.height()), (64, 32));
        let expected = [[20; 3 * 32], [40; 3 * 32]].concat();
        assert!(seen.pixels().chunks(3 * 64).all(|row| row == expected));
        let other = Image::from_grey(2, 2, &[0; 4]).unwrap();
        let message = preprocessed(&config, &other).unwrap_err().to_string();
        assert!(
            message.contains("2×2") && message.contains("12×4"),
            "{message}"
        );
    }

    #[test]
    fn recordings_of_other_images_or_actions_are_refused() {
        let seen = |image: &Image, entries: usize| {
            let episode = Episode::new(image, &ActionSpace::unit(entries)).with_cameras(2);
            let seen = SeenEpisode::new(Arc::new(config()), Arc::new(episode));
            seen.map(drop).map_err(|error| error.to_string())
        };
        assert_eq!(seen(&image(), 1), Ok(()));
        let message = seen(&image(), 3).unwrap_err();
        assert!(
            message.contains("`action` has 3 entries, expected 1"),
            "{message}"
        );
        let other = Image::from_grey(4, 4, &[0; 16]).unwrap();
        let message = seen(&other, 1).unwrap_err();
        assert!(message.contains("4×4"), "{message}");
    }

    #[test]
    fn episodes_keep_everything_but_the_images() {
        let space = ActionSpace::new(vec![0.0], vec![9.0]).unwrap();
        let mut episode = Episode::new(&image(), &space).with_cameras(2);
        let step = Step {
            image: image(),
            reward: 0.5,
            success: true,
            terminated: true,
            truncated: false,
        };
        episode.push(&[3.0], &step).unwrap();
        let seen = preprocessed_episode(&config(), episode.clone()).unwrap();
        assert_eq!((seen.image_width(), seen.image_height()), (64, 32));
        assert_eq!(seen.actions(), episode.actions());
        assert_eq!(seen.action_space(), &space);
        assert_eq!(
            (seen.rewards(), seen.discounts()),
            ([0.0, 0.5].as_slice(), [1.0, 0.0].as_slice())
        );
        assert_eq!(seen.cameras(), 2);
    }
}
