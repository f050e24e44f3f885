use burn::tensor::{
    Device, Tensor, TensorData,
    module::{avg_pool2d, interpolate},
    ops::{AvgPoolOptions, InterpolateMode, InterpolateOptions},
};

/// Images as the model sees them: bytes `[rows, height, width, 3]` to `[rows, 3, height, width]`
/// of range `[−½, ½]`.
///
/// # Panics
///
/// If `pixels` does not hold `rows · size² · 3` bytes.
pub fn images_to_tensor(pixels: &[u8], rows: usize, size: usize, device: &Device) -> Tensor<4> {
    let area = size * size;
    assert_eq!(pixels.len(), rows * area * 3, "bytes of {rows} RGB images");
    let mut values = vec![0.0f32; pixels.len()];
    for (image, planes) in pixels.chunks(area * 3).zip(values.chunks_mut(area * 3)) {
        for (position, colour) in image.chunks(3).enumerate() {
            for (channel, &byte) in colour.iter().enumerate() {
                planes[channel * area + position] = f32::from(byte) / 255.0 - 0.5;
            }
        }
    }
    Tensor::from_data(TensorData::new(values, [rows, 3, size, size]), device)
}

/// The inverse of [`images_to_tensor`]: `[rows, 3, height, width]` to bytes
/// `[rows, height, width, 3]`, values beyond `[−½, ½]` clipped.
pub fn tensor_to_images(images: Tensor<4>) -> Vec<u8> {
    images
        .permute([0, 2, 3, 1])
        .into_data_as::<f32>()
        .iter::<f32>()
        .map(|value| ((value + 0.5) * 255.0).round().clamp(0.0, 255.0) as u8)
        .collect()
}

/// Folds 2×2 blocks of pixels into channels: `[rows, 3, height, width]` to
/// `[rows, 12, height / 2, width / 2]`, channel `4 c + 2 i + j` holding colour `c` of the pixel in
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
        let images = images_to_tensor(&pixels, 2, 8, &Device::default());
        assert_eq!(images.dims(), [2, 3, 8, 8]);
        assert_eq!(tensor_to_images(images), pixels);
    }

    #[test]
    fn folding_is_undone_by_unfolding() {
        let pixels: Vec<u8> = (0..2 * 8 * 8 * 3)
            .map(|index| (index * 5 % 256) as u8)
            .collect();
        let images = images_to_tensor(&pixels, 2, 8, &Device::default());
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
        assert_eq!(tensor_to_images(unfold_pixels(blocks)), pixels);
    }

    #[test]
    fn values_out_of_range_are_clipped() {
        let images = Tensor::<4>::from_floats([[[[-9.0]], [[9.0]], [[0.0]]]], &Device::default());
        assert_eq!(tensor_to_images(images), [0, 255, 128]);
    }
}
