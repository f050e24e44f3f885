//! What a convolution's weight adds up to on the way back.

use cubecl::prelude::*;

/// `Σ_{n, y, x} small[n, y, x, a] · large[n, b, stride y + i, stride x + j]` of each part of the images,
/// `[parts, b, i, j, a]`. A unit holds the sums of one pair of channels; units beside each other have another `a`,
/// so that what they fetch of `small` lies side by side and what they fetch of `large` is the same.
#[cube(launch)]
pub fn correlate(
    small: &Tensor<f32>,
    large: &Tensor<f32>,
    partial: &mut Tensor<f32>,
    #[comptime] side: usize,
    #[comptime] stride: usize,
) {
    let images = small.shape(0);
    let height = small.shape(1);
    let width = small.shape(2);
    let channels = small.shape(3);
    let others = large.shape(1);
    let rows = large.shape(2);
    let columns = large.shape(3);
    let parts = partial.shape(0);
    let index = ABSOLUTE_POS;
    if index < parts * others * channels {
        let channel = index % channels;
        let other = index / channels % others;
        let part = index / (channels * others);
        let mut sums = Array::<f32>::new(comptime!(side * side));
        #[unroll]
        for tap in 0..side * side {
            sums[tap] = f32::new(0.0f32);
        }
        let mut image = part;
        while image < images {
            for y in 0..height {
                for x in 0..width {
                    let value = small[((image * height + y) * width + x) * channels + channel];
                    let corner =
                        ((image * others + other) * rows + y * stride) * columns + x * stride;
                    #[unroll]
                    for down in 0..side {
                        #[unroll]
                        for right in 0..side {
                            sums[down * side + right] +=
                                value * large[corner + down * columns + right];
                        }
                    }
                }
            }
            image += parts;
        }
        #[unroll]
        for tap in 0..side * side {
            let place = (part * others + other) * side * side + tap;
            partial[place * channels + channel] = sums[tap];
        }
    }
}
