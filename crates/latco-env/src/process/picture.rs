//! Pictures as they come, made the size that is asked for.

use fast_image_resize::images::{TypedCroppedImageMut, TypedImage, TypedImageRef};
use fast_image_resize::pixels::{U8, U8x3};
use fast_image_resize::{FilterType, PixelTrait, ResizeAlg, ResizeError, ResizeOptions, Resizer};

use super::error::ProcessError;
use crate::environment::ImageShape;
use crate::image::Image;

/// Makes images of one size of an environment's pictures: where they come larger, each pixel is the mean of
/// those that it covers.
#[derive(Clone, Copy, Debug)]
pub struct Pictures {
    height: usize,
    width: usize,
    channels: usize,
    shape: ImageShape,
}

impl Pictures {
    /// Pictures that come as `[height, width, channels]` bytes with `cameras` views side by side, each of them
    /// resized to a square of `size` where one is given.
    ///
    /// # Errors
    /// [`ProcessError::Picture`] where no images can be made of them, [`ProcessError::Argument`] where `size` is
    /// none of 1 to 512.
    pub fn new(
        [height, width, channels]: [usize; 3],
        cameras: usize,
        size: Option<usize>,
    ) -> Result<Self, ProcessError> {
        if let Some(size) = size.filter(|size| !(1..=ImageShape::LONGEST_SIDE).contains(size)) {
            let longest = ImageShape::LONGEST_SIDE;
            let reason = format!("`size` is {size}, expected 1 to {longest} pixels");
            return Err(ProcessError::Argument { reason });
        }
        let side = 1..=Self::LONGEST_SIDE;
        let of_one = width.checked_div(cameras).unwrap_or(0);
        let usable = side.contains(&of_one) && side.contains(&height) && of_one * cameras == width;
        if !usable || !matches!(channels, 1 | 3) {
            let reason = format!(
                "{width}x{height} pixels of {cameras} cameras and {channels} channels, expected cameras side by side of at most {0}x{0} and 1 or 3 channels",
                Self::LONGEST_SIDE
            );
            return Err(ProcessError::Picture { reason });
        }
        let shape = ImageShape {
            height: size.unwrap_or(height),
            width: size.map_or(width, |size| size * cameras),
            cameras,
            grey: channels == 1,
        };
        Ok(Self {
            height,
            width,
            channels,
            shape,
        })
    }

    /// The longest side that one camera's picture comes with.
    const LONGEST_SIDE: usize = 4096;

    /// The shape of the images that are made.
    pub fn shape(&self) -> ImageShape {
        self.shape
    }

    /// The image of a picture.
    ///
    /// # Errors
    /// [`ProcessError::PictureSize`] where it has another number of bytes than its shape.
    pub fn image(&self, picture: Vec<u8>) -> Result<Image, ProcessError> {
        let expected = self.height * self.width * self.channels;
        if picture.len() != expected {
            let got = picture.len();
            return Err(ProcessError::PictureSize { expected, got });
        }
        let picture = self.resized(picture);
        let ImageShape { width, height, .. } = self.shape;
        let image = match self.channels {
            1 => Image::from_grey(width, height, &picture),
            _ => Image::new(width, height, picture),
        };
        Ok(image.expect("it has been made in this shape"))
    }

    /// The bytes in the shape that is made: each pixel the mean of those that it covers.
    fn resized(&self, picture: Vec<u8>) -> Vec<u8> {
        if (self.shape.height, self.shape.width) == (self.height, self.width) {
            return picture;
        }
        // By type, since a resizer that finds it out is compiled for every kind of pixel: minutes.
        match self.channels {
            1 => self.resized_pixels::<U8>(&picture),
            _ => self.resized_pixels::<U8x3>(&picture),
        }
    }

    /// As [`resized`](Self::resized), of pixels of one type.
    fn resized_pixels<P: PixelTrait>(&self, picture: &[u8]) -> Vec<u8> {
        let made = self.shape;
        let (width, height) = ((self.width / made.cameras) as u32, self.height as u32);
        let (to_width, to_height) = ((made.width / made.cameras) as u32, made.height as u32);
        let from = TypedImageRef::<P>::from_buffer(self.width as u32, height, picture);
        let from = from.expect("its size is checked");
        let mut bytes = vec![0; made.width * made.height * self.channels];
        let to = TypedImage::<P>::from_buffer(made.width as u32, to_height, &mut bytes);
        let mut to = to.expect("it has the shape's size");
        let mut resizer = Resizer::new();
        let mean = ResizeOptions::new().resize_alg(ResizeAlg::Convolution(FilterType::Box));
        for camera in 0..made.cameras as u32 {
            let left = f64::from(camera * width);
            let view = mean.crop(left, 0.0, f64::from(width), f64::from(height));
            let left = camera * to_width;
            TypedCroppedImageMut::from_ref(&mut to, left, 0, to_width, to_height)
                .map_err(ResizeError::from)
                .and_then(|mut place| resizer.resize_typed(&from, &mut place, &view))
                .expect("views are within their pictures");
        }
        bytes
    }
}
