//! Images as an environment gives them, and as a model sees them.

use std::borrow::Cow;

use burn::tensor::{Device, Tensor};
use latco_env::{Episode, EpisodeArrays, Image};
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
    let [width, height] = config.camera_size();
    let expected = (width * config.cameras, height);
    if (image.width(), image.height()) != expected {
        return Err(AgentError::ImageSize {
            width: image.width(),
            height: image.height(),
            expected_width: expected.0,
            expected_height: expected.1,
        });
    }
    let size = config.image_size;
    if config.crop.is_empty() && [width, height] == [size; 2] {
        return Ok(match config.grey {
            true => Cow::Owned(image.grey()),
            false => Cow::Borrowed(image),
        });
    }
    let [left, top, width, height] = match config.crop.as_slice() {
        &[left, top, width, height] => [left, top, width, height],
        _ => [0, 0, width, height],
    };
    let camera_width = expected.0 / config.cameras;
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

/// `episode` with every image [preprocessed].
///
/// # Errors
///
/// If the images have another size than `config` says.
pub fn preprocessed_episode(
    config: &WorldModelConfig,
    episode: Episode,
) -> Result<Episode, AgentError> {
    let first = episode.image(0);
    if let Cow::Borrowed(_) = preprocessed(config, &first)? {
        return Ok(episode);
    }
    let mut images = Vec::new();
    for frame in 0..episode.len() {
        images.extend_from_slice(preprocessed(config, &episode.image(frame))?.pixels());
    }
    let arrays = EpisodeArrays {
        image_height: config.image_size,
        image_width: config.cameras * config.image_size,
        images,
        ..episode.into_arrays()
    };
    Ok(Episode::from_arrays(arrays)?)
}

#[cfg(test)]
mod tests {
    use latco_env::{ActionSpace, Step};

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
