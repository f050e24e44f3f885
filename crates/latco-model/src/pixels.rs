use burn::tensor::{
    Device, Tensor, TensorData,
    module::{avg_pool2d, interpolate},
    ops::{AvgPoolOptions, InterpolateMode, InterpolateOptions},
};

/// How images lie in memory: `cameras` pictures of `size` × `size` pixels side by side, red, green and
/// blue; and whether the model sees their luma alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PixelLayout {
    /// Side of a picture in pixels.
    pub size: usize,
    /// Pictures in an image.
    pub cameras: usize,
    /// Whether the model sees one channel a picture in place of three.
    pub grey: bool,
}

/// What red, green and blue weigh in the luma (ITU-R BT.601).
const LUMA: [f32; 3] = [0.299, 0.587, 0.114];

impl PixelLayout {
    /// Colour images of one camera.
    pub fn new(size: usize) -> Self {
        Self {
            size,
            cameras: 1,
            grey: false,
        }
    }

    /// Channels of a picture.
    fn colours(&self) -> usize {
        if self.grey { 1 } else { 3 }
    }

    /// Channels of an image, those of the first camera first.
    pub fn channels(&self) -> usize {
        self.cameras * self.colours()
    }

    /// Bytes of an image.
    pub fn bytes(&self) -> usize {
        3 * self.cameras * self.size * self.size
    }

    /// The place among an image's values `[channels, size, size]` of the pixel at `position`, counted
    /// over `[size, cameras · size]`, in channel 0 of its camera.
    fn place(&self, position: usize) -> usize {
        let width = self.cameras * self.size;
        let (row, column) = (position / width, position % width);
        let camera = column / self.size;
        let plane = camera * self.colours();
        (plane * self.size + row) * self.size + column % self.size
    }
}

/// Images as the model sees them: bytes `[rows, size, cameras · size, 3]` to
/// `[rows, channels, size, size]` of range `[−½, ½]`.
///
/// # Panics
///
/// If `pixels` does not hold `rows` images.
pub fn images_to_tensor(
    pixels: &[u8],
    rows: usize,
    layout: PixelLayout,
    device: &Device,
) -> Tensor<4> {
    let (size, area) = (layout.size, layout.size * layout.size);
    assert_eq!(
        pixels.len(),
        rows * layout.bytes(),
        "bytes of {rows} images"
    );
    let scaled: [f32; 256] = std::array::from_fn(|byte| byte as f32 / 255.0 - 0.5);
    let mut values = vec![0.0f32; rows * layout.channels() * area];
    let images = pixels.chunks(layout.bytes());
    for (image, planes) in images.zip(values.chunks_mut(layout.channels() * area)) {
        // A row of a camera's picture after the other, as they lie in memory.
        for (index, row) in image.chunks(3 * size).enumerate() {
            let planes = &mut planes[layout.place(index * size)..];
            if layout.grey {
                for (value, colour) in planes.iter_mut().zip(row.chunks_exact(3)) {
                    let weighted = colour.iter().zip(LUMA);
                    *value = weighted
                        .map(|(&byte, weight)| weight * scaled[usize::from(byte)])
                        .sum();
                }
                continue;
            }
            for (channel, plane) in planes.chunks_mut(area).take(3).enumerate() {
                let bytes = row.iter().skip(channel).step_by(3);
                for (value, &byte) in plane.iter_mut().zip(bytes) {
                    *value = scaled[usize::from(byte)];
                }
            }
        }
    }
    Tensor::from_data(
        TensorData::new(values, [rows, layout.channels(), size, size]),
        device,
    )
}

/// The inverse of [`images_to_tensor`]: `[rows, channels, size, size]` to bytes
/// `[rows, size, cameras · size, 3]`, values beyond `[−½, ½]` clipped; grey is red, green and blue
/// alike.
pub fn tensor_to_images(images: Tensor<4>, layout: PixelLayout) -> Vec<u8> {
    let area = layout.size * layout.size;
    let values: Vec<f32> = images.into_data_as::<f32>().iter().collect();
    let byte = |value: f32| ((value + 0.5) * 255.0).round().clamp(0.0, 255.0) as u8;
    values
        .chunks(layout.channels() * area)
        .flat_map(|planes| {
            (0..layout.cameras * area).flat_map(move |position| {
                let place = layout.place(position);
                let step = if layout.grey { 0 } else { area };
                [0, 1, 2].map(|channel| byte(planes[channel * step + place]))
            })
        })
        .collect()
}

/// Folds 2×2 blocks of pixels into channels: `[rows, channels, height, width]` to
/// `[rows, 4 · channels, height / 2, width / 2]`, channel `4 c + 2 i + j` holding colour `c` of the pixel in
/// row `i` and column `j` of each block. Sizes must be even.
pub fn fold_pixels(images: Tensor<4>) -> Tensor<4> {
    let [rows, channels, height, width] = images.dims();
    let (height, width) = (height / 2, width / 2);
    images
        .reshape([rows, channels, height, 2, width, 2])
        .permute([0, 1, 3, 5, 2, 4])
        .reshape([rows, 4 * channels, height, width])
}

/// The inverse of [`fold_pixels`].
pub fn unfold_pixels(blocks: Tensor<4>) -> Tensor<4> {
    let [rows, channels, height, width] = blocks.dims();
    blocks
        .reshape([rows, channels / 4, 2, 2, height, width])
        .permute([0, 1, 4, 2, 5, 3])
        .reshape([rows, channels / 4, 2 * height, 2 * width])
}

/// Averages squares of `side` × `side` pixels: `[rows, channels, height, width]` to
/// `[rows, channels, height / side, width / side]`.
pub(crate) fn pool(images: Tensor<4>, side: usize) -> Tensor<4> {
    if side == 1 {
        return images;
    }
    avg_pool2d(
        images,
        AvgPoolOptions::new([side; 2]).with_stride([side; 2]),
    )
}

/// The bilinear counterpart of [`pool`].
pub(crate) fn enlarge(images: Tensor<4>, side: usize) -> Tensor<4> {
    if side == 1 {
        return images;
    }
    let [_, _, height, width] = images.dims();
    let options = InterpolateOptions::new(InterpolateMode::Bilinear)
        .with_align_corners(false)
        .with_output_size([side * height, side * width]);
    interpolate(images, options)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_survive_the_round_trip() {
        let pixels: Vec<u8> = (0..2 * 8 * 8 * 3)
            .map(|index| (index * 7 % 256) as u8)
            .collect();
        let images = images_to_tensor(&pixels, 2, PixelLayout::new(8), &Device::default());
        assert_eq!(images.dims(), [2, 3, 8, 8]);
        assert_eq!(tensor_to_images(images, PixelLayout::new(8)), pixels);
    }

    #[test]
    fn folding_is_undone_by_unfolding() {
        let pixels: Vec<u8> = (0..2 * 8 * 8 * 3)
            .map(|index| (index * 5 % 256) as u8)
            .collect();
        let images = images_to_tensor(&pixels, 2, PixelLayout::new(8), &Device::default());
        let blocks = fold_pixels(images.clone());
        assert_eq!(blocks.dims(), [2, 12, 4, 4]);
        let pixel = |tensor: &Tensor<4>, at: [usize; 4]| {
            let [a, b, c, d] = at;
            tensor
                .clone()
                .slice([a..a + 1, b..b + 1, c..c + 1, d..d + 1])
                .into_scalar::<f32>()
        };
        assert_eq!(
            pixel(&blocks, [1, 4 + 2 + 1, 3, 2]),
            pixel(&images, [1, 1, 7, 5])
        );
        assert_eq!(
            tensor_to_images(unfold_pixels(blocks), PixelLayout::new(8)),
            pixels
        );
    }

    #[test]
    fn cameras_side_by_side_become_channels_and_back() {
        let layout = PixelLayout {
            cameras: 2,
            ..PixelLayout::new(4)
        };
        let pixels: Vec<u8> = (0..3 * layout.bytes())
            .map(|i| (i * 7 % 256) as u8)
            .collect();
        let images = images_to_tensor(&pixels, 3, layout, &Device::default());
        assert_eq!(images.dims(), [3, 6, 4, 4]);
        // Blue of the second camera's pixel in row 2 and column 1 of the first image.
        let value = images
            .clone()
            .slice([0..1, 5..6, 2..3, 1..2])
            .into_scalar::<f32>();
        let byte = pixels[(2 * 8 + 4 + 1) * 3 + 2];
        assert!((value - (f32::from(byte) / 255.0 - 0.5)).abs() < 1e-6);
        assert_eq!(tensor_to_images(images, layout), pixels);
    }

    #[test]
    fn grey_is_the_luma() {
        let layout = PixelLayout {
            grey: true,
            ..PixelLayout::new(1)
        };
        let images = images_to_tensor(&[255, 0, 0, 9, 9, 9], 2, layout, &Device::default());
        assert_eq!(images.dims(), [2, 1, 1, 1]);
        assert_eq!(tensor_to_images(images, layout), [76, 76, 76, 9, 9, 9]);
    }

    #[test]
    fn values_out_of_range_are_clipped() {
        let images = Tensor::<4>::from_floats([[[[-9.0]], [[9.0]], [[0.0]]]], &Device::default());
        let bytes = tensor_to_images(images, PixelLayout::new(1));
        assert_eq!(bytes, [0, 255, 128]);
    }
}
