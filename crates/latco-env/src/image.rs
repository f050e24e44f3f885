//! Eight-bit colour images.

use std::io;
use std::path::{Path, PathBuf};

use ::image::codecs::png::{CompressionType, FilterType, PngEncoder};
use ::image::{ImageFormat, ImageReader, Limits, RgbImage};

use crate::atomic;

/// The longest side of a PNG that [`Image::load_png`] accepts, in pixels.
const LONGEST_SIDE: u32 = 8192;

/// An image of red, green and blue bytes, row by row from the top left: `[height, width, 3]`.
#[derive(Clone, PartialEq, Eq)]
pub struct Image {
    width: usize,
    height: usize,
    pixels: Vec<u8>,
}

/// Why an image could not be made, read or written.
#[derive(Debug, thiserror::Error)]
pub enum ImageError {
    /// The bytes do not fill the rectangle.
    #[error(
        "an image of {width}x{height} pixels cannot be made from {got} bytes: expected three a pixel, at least one pixel"
    )]
    Size {
        /// Claimed width in pixels.
        width: usize,
        /// Claimed height in pixels.
        height: usize,
        /// Bytes given.
        got: usize,
    },
    /// The file is missing or unreadable.
    #[error("cannot read {path}: {source}")]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The file is no PNG, is damaged, or is larger than 8192 pixels a side.
    #[error("{path} is not a usable PNG image: {source}")]
    Decode {
        /// The file.
        path: PathBuf,
        /// What the decoder said.
        source: ::image::ImageError,
    },
    /// The file could not be written.
    #[error("cannot write {path}: {source}")]
    Write {
        /// The file.
        path: PathBuf,
        /// What the encoder or the system said.
        source: ::image::ImageError,
    },
    /// The image could not be encoded.
    #[error("cannot encode a PNG: {0}")]
    Encode(::image::ImageError),
}

impl Image {
    /// An image from its bytes `[height, width, 3]`.
    ///
    /// # Errors
    /// [`ImageError::Size`] where a side is zero or the number of bytes is another.
    pub fn new(width: usize, height: usize, pixels: Vec<u8>) -> Result<Self, ImageError> {
        let bytes = width
            .checked_mul(height)
            .and_then(|area| area.checked_mul(3));
        if width == 0 || height == 0 || bytes != Some(pixels.len()) {
            return Err(ImageError::Size {
                width,
                height,
                got: pixels.len(),
            });
        }
        Ok(Self {
            width,
            height,
            pixels,
        })
    }

    /// Width in pixels.
    pub fn width(&self) -> usize {
        self.width
    }

    /// Height in pixels.
    pub fn height(&self) -> usize {
        self.height
    }

    /// The bytes `[height, width, 3]`.
    pub fn pixels(&self) -> &[u8] {
        &self.pixels
    }

    /// The bytes `[height, width, 3]`, without a copy.
    pub fn into_pixels(self) -> Vec<u8> {
        self.pixels
    }

    /// Reads a PNG of any colour type; transparency is dropped, 16 bits become 8.
    ///
    /// # Errors
    /// [`ImageError::Read`] where the file cannot be opened, [`ImageError::Decode`] where it is no
    /// PNG, is truncated or has a side longer than 8192 pixels.
    pub fn load_png(path: &Path) -> Result<Self, ImageError> {
        let mut reader = ImageReader::open(path).map_err(|source| ImageError::Read {
            path: path.to_path_buf(),
            source,
        })?;
        let mut limits = Limits::default();
        limits.max_image_width = Some(LONGEST_SIDE);
        limits.max_image_height = Some(LONGEST_SIDE);
        reader.set_format(ImageFormat::Png);
        reader.limits(limits);
        let image = reader.decode().map_err(|source| ImageError::Decode {
            path: path.to_path_buf(),
            source,
        })?;
        let (width, height) = (image.width() as usize, image.height() as usize);
        Self::new(width, height, image.into_rgb8().into_raw())
    }

    /// Writes a PNG; the file appears whole or not at all.
    ///
    /// # Errors
    /// [`ImageError::Write`].
    pub fn save_png(&self, path: &Path) -> Result<(), ImageError> {
        self.encode_png()
            .and_then(|bytes| Ok(atomic::write(path, &bytes)?))
            .map_err(|source| ImageError::Write {
                path: path.to_path_buf(),
                source,
            })
    }

    /// The bytes of a PNG file.
    ///
    /// # Errors
    /// [`ImageError::Encode`].
    pub fn to_png(&self) -> Result<Vec<u8>, ImageError> {
        self.encode_png().map_err(ImageError::Encode)
    }

    fn encode_png(&self) -> Result<Vec<u8>, ::image::ImageError> {
        let mut bytes = Vec::new();
        // Pictures are written once and read often: a third smaller.
        let (compression, filter) = (CompressionType::Best, FilterType::Adaptive);
        let encoder = PngEncoder::new_with_quality(&mut bytes, compression, filter);
        RgbImage::from_raw(self.width as u32, self.height as u32, self.pixels.clone())
            .expect("the constructor checked the number of bytes")
            .write_with_encoder(encoder)?;
        Ok(bytes)
    }
}

impl std::fmt::Debug for Image {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "Image({}x{})", self.width, self.height)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn png_round_trip_keeps_every_byte() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("image.png");
        let image = Image::new(5, 3, (0..45).map(|value| value * 5).collect()).unwrap();
        image.save_png(&path).unwrap();
        assert_eq!(Image::load_png(&path).unwrap(), image);
    }

    #[test]
    fn wrong_sizes_are_refused() {
        assert!(Image::new(0, 3, vec![]).is_err());
        assert!(Image::new(2, 2, vec![0; 11]).is_err());
        assert!(Image::new(usize::MAX, 2, vec![0; 12]).is_err());
    }

    #[test]
    fn damaged_and_missing_files_are_typed_errors() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("image.png");
        assert!(matches!(
            Image::load_png(&path),
            Err(ImageError::Read { .. })
        ));
        let image = Image::new(8, 8, vec![9; 192]).unwrap();
        let bytes = image.encode_png().unwrap();
        std::fs::write(&path, &bytes[..bytes.len() / 2]).unwrap();
        let error = Image::load_png(&path).unwrap_err();
        assert!(matches!(error, ImageError::Decode { .. }));
        assert!(error.to_string().contains("image.png"));
    }
}
