//! A picture under construction: rectangles, enlarged images, text.

use image::{
    RgbImage,
    imageops::{self, FilterType},
};
use latco_env::Image;
use plotters::{
    backend::BitMapBackend,
    drawing::IntoDrawingArea,
    element::Text,
    style::{
        IntoFont, RGBColor,
        text_anchor::{HPos, Pos, VPos},
    },
};

use super::{film::PAPER, font};
use crate::error::CliError;

/// Red, green and blue.
pub type Colour = [u8; 3];

/// Red, green and blue bytes, row by row; coordinates count from the top left.
pub struct Canvas {
    width: usize,
    height: usize,
    pixels: Vec<u8>,
}

impl Canvas {
    /// A canvas of one colour.
    pub fn new(width: usize, height: usize, colour: Colour) -> Self {
        Self {
            width,
            height,
            pixels: colour.repeat(width * height),
        }
    }

    /// The finished picture.
    pub fn into_image(self) -> Result<Image, CliError> {
        Ok(Image::new(self.width, self.height, self.pixels)?)
    }

    /// Fills a rectangle that lies within the canvas.
    pub fn fill(
        &mut self,
        (x, y): (usize, usize),
        (width, height): (usize, usize),
        colour: Colour,
    ) {
        for row in y..y + height {
            let start = 3 * (row * self.width + x);
            for pixel in self.pixels[start..start + 3 * width].chunks_exact_mut(3) {
                pixel.copy_from_slice(&colour);
            }
        }
    }

    /// Copies an image that fits with its top left corner at `(x, y)`.
    pub fn paste(&mut self, (x, y): (usize, usize), image: &Image) {
        let lines = image.pixels().chunks_exact(3 * image.width());
        for (row, line) in lines.enumerate() {
            let start = 3 * ((y + row) * self.width + x);
            self.pixels[start..start + line.len()].copy_from_slice(line);
        }
    }

    /// Writes `text` of `size` pixels, vertically centred on `y`, beginning or ending at `x`.
    pub fn write(
        &mut self,
        (x, y): (usize, usize),
        text: &str,
        size: usize,
        colour: Colour,
        align: Align,
    ) -> Result<(), CliError> {
        font::register()?;
        let horizontal = match align {
            Align::Left => HPos::Left,
            Align::Right => HPos::Right,
        };
        let [red, green, blue] = colour;
        let style = (font::MONOSPACE, size as f64)
            .into_font()
            .color(&RGBColor(red, green, blue))
            .pos(Pos::new(horizontal, VPos::Center));
        let area = (self.width as u32, self.height as u32);
        BitMapBackend::with_buffer(&mut self.pixels, area)
            .into_drawing_area()
            .draw(&Text::new(text, (x as i32, y as i32), style))
            .map_err(CliError::drawing)
    }
}

/// Which end of a text its position names.
#[derive(Clone, Copy)]
pub enum Align {
    /// The text begins there.
    Left,
    /// The text ends there.
    Right,
}

/// An image resampled smoothly to fit into an area of so many pixels, width and height, in its middle
/// where it has another shape.
pub fn fitted(image: &Image, area: (usize, usize)) -> Result<Image, CliError> {
    let (width, height) = fitting(image, area);
    let scaled = resampled(image, width, height, FilterType::Triangle)?;
    if (width, height) == area {
        return Ok(scaled);
    }
    let mut canvas = Canvas::new(area.0, area.1, PAPER);
    canvas.paste(((area.0 - width) / 2, (area.1 - height) / 2), &scaled);
    canvas.into_image()
}

/// The largest size of the image's shape within an area.
pub fn fitting(image: &Image, (width, height): (usize, usize)) -> (usize, usize) {
    let (wide, high) = (image.width(), image.height());
    match wide * height > high * width {
        true => (width, (high * width / wide).max(1)),
        false => ((wide * height / high).max(1), height),
    }
}

/// An image at half its width and height, each pixel the mean of four.
pub fn halved(image: &Image) -> Result<Image, CliError> {
    resampled(
        image,
        image.width() / 2,
        image.height() / 2,
        FilterType::Triangle,
    )
}

fn resampled(
    image: &Image,
    width: usize,
    height: usize,
    filter: FilterType,
) -> Result<Image, CliError> {
    let (from_width, from_height) = (image.width() as u32, image.height() as u32);
    let source = RgbImage::from_raw(from_width, from_height, image.pixels().to_vec());
    let resized = imageops::resize(
        &source.unwrap_or_default(),
        width as u32,
        height as u32,
        filter,
    );
    Ok(Image::new(width, height, resized.into_raw())?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rectangles_and_images_land_where_they_should() {
        let mut canvas = Canvas::new(4, 3, [0; 3]);
        canvas.fill((1, 0), (2, 1), [9; 3]);
        canvas.paste((3, 2), &Image::new(1, 1, vec![7; 3]).unwrap());
        let image = canvas.into_image().unwrap();
        let red: Vec<_> = image.pixels().iter().step_by(3).copied().collect();
        assert_eq!(red, [0, 9, 9, 0, 0, 0, 0, 0, 0, 0, 0, 7]);
    }

    #[test]
    fn text_leaves_ink() {
        let mut canvas = Canvas::new(60, 20, [255; 3]);
        canvas
            .write((2, 10), "λ 1.5", 14, [0; 3], Align::Left)
            .unwrap();
        let image = canvas.into_image().unwrap();
        assert!(image.pixels().iter().any(|&value| value < 64));
    }

    #[test]
    fn resampling_keeps_flat_images_flat() {
        let image = Image::new(8, 8, vec![90; 192]).unwrap();
        assert_eq!(
            fitted(&image, (32, 32)).unwrap().pixels(),
            [90; 32 * 32 * 3]
        );
        assert_eq!(halved(&image).unwrap().pixels(), [90; 48]);
    }
}
