use burn::{
    module::Module,
    nn::{Linear, conv::ConvTranspose2d},
    tensor::{Device, Tensor, activation::relu},
};
use latco_kernels::convolve_transposed;
use latco_plan::Noise;

use crate::{
    WorldModelConfig,
    initialise::{linear, transposed_convolution, transposed_convolution_from},
};

/// Reconstructs images by transposed convolutions of stride 2 (Ha & Schmidhuber, arXiv
/// 1803.10122): the mean of `p(o | z)` with unit variance.
///
/// The last layer gives pixels folded into 2×2 blocks, for which its 6×6 kernel of stride 2 is a
/// 3×3 kernel of stride 1 (less than half of the time on the CPU, the same function).
#[derive(Module, Debug)]
pub struct Decoder {
    input: Linear,
    convolutions: Vec<ConvTranspose2d>,
}

impl Decoder {
    pub(crate) fn new(config: &WorldModelConfig, noise: &mut Noise, device: &Device) -> Self {
        let depth = config.depth;
        let (features, block) = (32 * depth, 4 * config.channels());
        // Channels, kernel and stride by which a 1×1 map grows to the image's blocks.
        let layers: &[([usize; 2], usize, usize)] = if config.network_size() == 64 {
            &[
                ([features, 4 * depth], 5, 2),
                ([4 * depth, 2 * depth], 5, 2),
                ([2 * depth, depth], 6, 2),
                ([depth, block], 3, 1),
            ]
        } else {
            &[
                ([features, 4 * depth], 5, 2),
                ([4 * depth, 2 * depth], 6, 2),
                ([2 * depth, block], 3, 1),
            ]
        };
        let convolutions = layers
            .iter()
            .map(|&(channels, kernel, stride)| {
                transposed_convolution(channels, kernel, stride, noise, device)
            })
            .collect();
        Self {
            input: linear(config.latent_size(), features, noise, device),
            convolutions,
        }
    }

    /// A decoder of given layers: kernels `[inputs, outputs, side, side]` of stride 2, biases
    /// `[outputs]`, the last with three outputs.
    pub(crate) fn from_convolutions(
        input: Linear,
        mut layers: Vec<(Tensor<4>, Tensor<1>)>,
    ) -> Self {
        let last = layers.pop().map(|(kernel, bias)| {
            transposed_convolution_from(over_blocks(kernel), for_each_pixel(bias), 1)
        });
        let strided = layers
            .into_iter()
            .map(|(kernel, bias)| transposed_convolution_from(kernel, bias, 2));
        Self {
            input,
            convolutions: strided.chain(last).collect(),
        }
    }

    /// Mean images of `latents` `[rows, latent]` as blocks `[rows, 4 · channels, height / 2, width / 2]`,
    /// range about `[−½, ½]` ([`unfold_pixels`](crate::unfold_pixels)).
    pub fn forward(&self, latents: Tensor<2>) -> Tensor<4> {
        let mut features = self.input.forward(latents).unsqueeze_dims::<4>(&[2, 3]);
        let last = self.convolutions.len() - 1;
        for (index, layer) in self.convolutions.iter().enumerate() {
            features = convolve_transposed(layer, features);
            if index < last {
                features = relu(features);
            }
        }
        features
    }
}

/// A kernel `[inputs, 3, 6, 6]` of stride 2 as one of stride 1 over 2×2 blocks,
/// `[inputs, 12, 3, 3]`.
fn over_blocks(kernel: Tensor<4>) -> Tensor<4> {
    let inputs = kernel.dims()[0];
    kernel
        .reshape([inputs, 3, 3, 2, 3, 2])
        .permute([0, 1, 3, 5, 2, 4])
        .reshape([inputs, 12, 3, 3])
}

/// A bias `[3]` of colours for the four pixels of a block, `[12]`.
fn for_each_pixel(bias: Tensor<1>) -> Tensor<1> {
    bias.reshape([3, 1]).repeat_dim(1, 4).reshape([12])
}
