//! Eight-bit colour images.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Cursor, Read, Seek};
use std::path::{Path, PathBuf};

use ::image::codecs::png::{CompressionType, FilterType, PngEncoder};
use ::image::error::DecodingError;
use ::image::imageops::{self, FilterType as FilterKind};
use ::image::{ImageFormat, ImageReader, Limits, RgbImage};

use crate::atomic;

/// The longest side of a file's image that is accepted, in pixels.
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
    /// The file is no image of this format, is damaged, or is larger than 8192 pixels a side.
    #[error("{path} is not a usable image (PNG, or JPEG where those are taken): {source}")]
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

    /// An image from grey bytes `[height, width]`.
    ///
    /// # Errors
    /// [`ImageError::Size`] where a side is zero or the number of bytes is another.
    pub fn from_grey(width: usize, height: usize, pixels: &[u8]) -> Result<Self, ImageError> {
        Self::new(width, height, colour(pixels))
    }

    /// An image whose pixel in column `x` and row `y` is `pixel(x, y)`, red, green and blue.
    ///
    /// # Panics
    /// Where a side is zero.
    pub fn from_fn(
        width: usize,
        height: usize,
        mut pixel: impl FnMut(usize, usize) -> [u8; 3],
    ) -> Self {
        let places = (0..width * height).map(|place| (place % width, place / width));
        let pixels = places.flat_map(|(x, y)| pixel(x, y)).collect();
        Self::new(width, height, pixels).expect("an image has at least one pixel")
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

    /// The part `[left, top, width, height]` in pixels; `None` where it is empty or reaches beyond the
    /// image.
    pub fn cropped(&self, [left, top, width, height]: [usize; 4]) -> Option<Self> {
        let (right, bottom) = (left.checked_add(width)?, top.checked_add(height)?);
        if width == 0 || height == 0 || right > self.width || bottom > self.height {
            return None;
        }
        let rows = self.pixels.chunks_exact(3 * self.width);
        let pixels = rows.skip(top).take(height);
        Some(Self {
            width,
            height,
            pixels: pixels
                .flat_map(|row| &row[3 * left..3 * right])
                .copied()
                .collect(),
        })
    }

    /// The image at another size, at least one pixel each way, by a triangle filter, which averages
    /// where it shrinks.
    #[must_use]
    pub fn resized(&self, width: usize, height: usize) -> Self {
        if (width, height) == (self.width, self.height) {
            return self.clone();
        }
        let (to_width, to_height) = (width.max(1) as u32, height.max(1) as u32);
        let resized = imageops::resize(&self.to_rgb(), to_width, to_height, FilterKind::Triangle);
        Self {
            width: to_width as usize,
            height: to_height as usize,
            pixels: resized.into_raw(),
        }
    }

    /// Images of one height side by side, from the left; `None` where there is none or the heights
    /// differ.
    pub fn side_by_side(images: &[Self]) -> Option<Self> {
        let height = images.first()?.height;
        if images.iter().any(|image| image.height != height) {
            return None;
        }
        let row = |image: &Self, row: usize| -> Vec<u8> {
            let size = 3 * image.width;
            image.pixels[row * size..(row + 1) * size].to_vec()
        };
        let rows = (0..height).flat_map(|y| images.iter().flat_map(move |image| row(image, y)));
        Some(Self {
            width: images.iter().map(Self::width).sum(),
            height,
            pixels: rows.collect(),
        })
    }

    /// The image without colour: its luma (ITU-R BT.601) in all three channels.
    #[must_use]
    pub fn grey(&self) -> Self {
        let luma = |pixel: &[u8]| {
            let [red, green, blue] = [pixel[0], pixel[1], pixel[2]].map(f32::from);
            (0.299 * red + 0.587 * green + 0.114 * blue).round() as u8
        };
        Self {
            pixels: colour(&self.pixels.chunks(3).map(luma).collect::<Vec<_>>()),
            ..*self
        }
    }

    fn to_rgb(&self) -> RgbImage {
        RgbImage::from_raw(self.width as u32, self.height as u32, self.pixels.clone())
            .expect("the constructor checked the number of bytes")
    }

    /// Reads a PNG of any colour type; transparency is dropped, 16 bits become 8.
    ///
    /// # Errors
    /// [`ImageError::Read`] where the file cannot be opened, [`ImageError::Decode`] where it is no
    /// PNG, is truncated or has a side longer than 8192 pixels.
    pub fn load_png(path: &Path) -> Result<Self, ImageError> {
        Self::decode(path, ImageFormat::Png)
    }

    /// Reads a PNG, or a JPEG where the file begins as one does.
    ///
    /// # Errors
    /// As [`load_png`](Self::load_png).
    pub fn load(path: &Path) -> Result<Self, ImageError> {
        let head = File::open(path).and_then(|file| {
            let mut head = Vec::new();
            file.take(3).read_to_end(&mut head)?;
            Ok(head)
        });
        let head = head.map_err(|source| ImageError::Read {
            path: path.to_path_buf(),
            source,
        })?;
        match head == JPEG {
            true => Self::decode(path, ImageFormat::Jpeg),
            false => Self::decode(path, ImageFormat::Png),
        }
    }

    /// An image from the bytes of a PNG or JPEG file.
    ///
    /// # Errors
    /// What the decoder says; a side longer than 8192 pixels is refused.
    pub fn from_encoded(bytes: &[u8]) -> Result<Self, ::image::ImageError> {
        let format = match bytes.starts_with(JPEG) {
            true => ImageFormat::Jpeg,
            false => ImageFormat::Png,
        };
        let image = decoded(Cursor::new(bytes), format)?;
        Ok(Self {
            width: image.width() as usize,
            height: image.height() as usize,
            pixels: image.into_raw(),
        })
    }

    fn decode(path: &Path, format: ImageFormat) -> Result<Self, ImageError> {
        let file = File::open(path).map_err(|source| ImageError::Read {
            path: path.to_path_buf(),
            source,
        })?;
        let image = decoded(BufReader::new(file), format).map_err(|source| ImageError::Decode {
            path: path.to_path_buf(),
            source,
        })?;
        let (width, height) = (image.width() as usize, image.height() as usize);
        Self::new(width, height, image.into_raw())
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
        self.to_rgb().write_with_encoder(encoder)?;
        Ok(bytes)
    }
}

/// What a JPEG begins with.
const JPEG: &[u8] = b"\xff\xd8\xff";

fn decoded(
    mut file: impl BufRead + Seek,
    format: ImageFormat,
) -> Result<RgbImage, ::image::ImageError> {
    if format == ImageFormat::Png {
        check_palette(&mut file)?;
        file.rewind()?;
    }
    let mut reader = ImageReader::with_format(file, format);
    reader.limits(limits());
    Ok(reader.decode()?.into_rgb8())
}

/// Refuses a palette that is no list of three bytes a colour, over which the decoder would panic (png 0.18.1,
/// image-rs/image-png#694). What else may be wrong is left to the decoder.
fn check_palette(file: &mut (impl BufRead + Seek)) -> Result<(), ::image::ImageError> {
    file.seek_relative(SIGNATURE)?;
    let mut head = [0; 8];
    while file.read_exact(&mut head).is_ok() {
        let [a, b, c, d, kind @ ..] = head;
        let length = u32::from_be_bytes([a, b, c, d]);
        match &kind {
            b"PLTE" if length % 3 != 0 => {
                let reason = format!("its palette has {length} bytes, not three a colour");
                let error = DecodingError::new(ImageFormat::Png.into(), reason);
                return Err(::image::ImageError::Decoding(error));
            }
            b"IDAT" => break,
            _ => file.seek_relative(i64::from(length) + CHECKSUM)?,
        }
    }
    Ok(())
}

/// Bytes before the first chunk of a PNG, and after what each holds.
const SIGNATURE: i64 = 8;
const CHECKSUM: i64 = 4;

fn limits() -> Limits {
    let mut limits = Limits::default();
    limits.max_image_width = Some(LONGEST_SIDE);
    limits.max_image_height = Some(LONGEST_SIDE);
    limits
}

/// The bytes of grey images as red, green and blue.
pub(crate) fn colour(grey: &[u8]) -> Vec<u8> {
    grey.iter().flat_map(|&value| [value; 3]).collect()
}

impl std::fmt::Debug for Image {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "Image({}x{})", self.width, self.height)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Such a file made the decoder panic; a fuzzer found it (`fuzz/run image`).
    #[test]
    fn a_palette_of_broken_colours_is_refused() {
        let chunk = |kind: &[u8; 4], data: &[u8]| {
            let length = (data.len() as u32).to_be_bytes();
            [&length[..], kind, data, &[0; 4]].concat()
        };
        let header = [0, 0, 0, 37, 0, 0, 0, 8, 8, 3, 0, 0, 1];
        let palette = [0, 91, 1, 2, 3, 4, 5, 6, 7, 83, 0, 128, 255];
        let file = |palette: &[u8]| {
            let chunks = [
                chunk(b"IHDR", &header),
                chunk(b"PLTE", palette),
                chunk(b"IDAT", &[0; 9]),
            ];
            [b"\x89PNG\r\n\x1a\n".to_vec(), chunks.concat()].concat()
        };
        for length in [4, 5, 13] {
            let refused = Image::from_encoded(&file(&palette[..length])).unwrap_err();
            assert!(refused.to_string().contains("palette"), "{refused}");
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("palette.png");
            std::fs::write(&path, file(&palette[..length])).unwrap();
            let refused = Image::load_png(&path).unwrap_err();
            assert!(refused.to_string().contains("palette"), "{refused}");
        }
        let sound = check_palette(&mut Cursor::new(file(&palette[..12])));
        assert!(sound.is_ok());
    }

    #[test]
    fn png_round_trip_keeps_every_byte() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("image.png");
        let image = Image::new(5, 3, (0..45).map(|value| value * 5).collect()).unwrap();
        image.save_png(&path).unwrap();
        assert_eq!(Image::load_png(&path).unwrap(), image);
    }

    #[test]
    fn parts_sizes_and_neighbours() {
        let image = Image::from_grey(4, 2, &[0, 10, 20, 30, 40, 50, 60, 70]).unwrap();
        let part = image.cropped([1, 1, 2, 1]).unwrap();
        assert_eq!(part, Image::from_grey(2, 1, &[50, 60]).unwrap());
        for outside in [
            [3, 0, 2, 1],
            [0, 2, 1, 1],
            [0, 0, 0, 1],
            [usize::MAX, 0, 2, 1],
        ] {
            assert_eq!(image.cropped(outside), None);
        }
        let flat = Image::from_grey(4, 4, &[77; 16]).unwrap();
        assert_eq!(
            flat.resized(2, 3),
            Image::from_grey(2, 3, &[77; 6]).unwrap()
        );
        assert_eq!(image.resized(4, 2), image);
        let halved = image.resized(2, 1).pixels()[0];
        assert!(
            (20..=30).contains(&halved),
            "the mean of 0, 10, 40, 50: {halved}"
        );
        let drawn = Image::from_fn(4, 2, |x, y| [(10 * x + 40 * y) as u8; 3]);
        assert_eq!(drawn, image);
        let left = image.cropped([0, 0, 1, 2]).unwrap();
        let right = image.cropped([1, 0, 3, 2]).unwrap();
        assert_eq!(Image::side_by_side(&[left.clone(), right]).unwrap(), image);
        assert_eq!(Image::side_by_side(&[left, flat]), None);
        assert_eq!(Image::side_by_side(&[]), None);
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
