//! Pictures put together.

use std::error::Error;

use latco::Image;

/// Pictures of one height from left to right.
pub fn beside(pictures: &[Image]) -> Result<Image, Box<dyn Error>> {
    let height = pictures.iter().map(Image::height).min().unwrap_or(0);
    let width = pictures.iter().map(Image::width).sum();
    let row = |y: usize| {
        let line = move |picture: &Image| {
            let bytes = 3 * picture.width();
            picture.pixels()[y * bytes..][..bytes].to_vec()
        };
        pictures.iter().flat_map(line)
    };
    let pixels = (0..height).flat_map(row).collect();
    Ok(Image::new(width, height, pixels)?)
}
