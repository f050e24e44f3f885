use burn::{
    module::{Module, Param},
    nn::{Linear, conv::Conv2d},
    tensor::{Device, Tensor, activation::relu},
};
use latco_kernels::{convolve, join};
use latco_plan::Noise;

use crate::{
    WorldModelConfig,
    initialise::{convolution, convolution_from, linear, linear_from},
};

/// Embeds images by 4×4 convolutions of stride 2 with ReLU (Ha & Schmidhuber, arXiv 1803.10122).
///
/// The first layer takes pixels folded into 2×2 blocks, over which a 4×4 kernel of stride 2 is a
/// 2×2 kernel of stride 1. It is computed as one matrix product over patches: no gradient goes to
/// the image, so that the patches cost nothing in the backward pass (a third of the time of the
/// three-channel convolution on the CPU).
#[derive(Module, Debug)]
pub struct Encoder {
    /// Patches of 2×2 blocks (48 values of a colour image) to `depth` channels.
    patches: Linear,
    convolutions: Vec<Conv2d>,
}

impl Encoder {
    pub(crate) fn new(config: &WorldModelConfig, noise: &mut Noise, device: &Device) -> Self {
        let patches = linear(16 * config.channels(), config.depth, noise, device);
        let convolutions = (1..config.convolutions())
            .map(|layer| {
                let outputs = config.depth << layer;
                convolution([outputs / 2, outputs], 4, noise, device)
            })
            .collect();
        Self {
            patches,
            convolutions,
        }
    }

    /// An encoder of given convolutions: kernels `[outputs, inputs, 4, 4]`, biases `[outputs]`.
    pub(crate) fn from_convolutions(mut layers: Vec<(Tensor<4>, Tensor<1>)>) -> Self {
        let rest = layers.split_off(1);
        let (kernel, bias) = layers.remove(0);
        Self {
            patches: linear_from(over_patches(kernel), bias),
            convolutions: (rest.into_iter())
                .map(|(kernel, bias)| convolution_from(kernel, bias))
                .collect(),
        }
    }

    /// Embeds `blocks` `[rows, 4 · channels, height / 2, width / 2]` of range `[−½, ½]`
    /// ([`fold_pixels`](crate::fold_pixels)) as `[rows, embedding]`.
    pub fn forward(&self, blocks: Tensor<4>) -> Tensor<2> {
        let features = self
            .convolutions
            .iter()
            .fold(self.first_layer(blocks), |features, layer| {
                relu(convolve(layer, features))
            });
        features.flatten(1, 3)
    }

    fn first_layer(&self, blocks: Tensor<4>) -> Tensor<4> {
        let [rows, channels, height, width] = blocks.dims();
        let [height, width] = [height - 1, width - 1];
        let shifted = |down, right| {
            blocks
                .clone()
                .narrow(2, down, height)
                .narrow(3, right, width)
        };
        let patches = vec![shifted(0, 0), shifted(0, 1), shifted(1, 0), shifted(1, 1)];
        let patches = join(patches, 1).reshape([rows, 4 * channels, height * width]);
        let weight = self.patches.weight.val().transpose().unsqueeze_dim::<3>(0);
        let mut features = weight.matmul(patches);
        if let Some(bias) = self.patches.bias.as_ref().map(Param::val) {
            features = features + bias.unsqueeze_dims::<3>(&[0, 2]);
        }
        let outputs = features.dims()[1];
        relu(features.reshape([rows, outputs, height, width]))
    }
}

/// A kernel `[outputs, 3, 4, 4]` over pixels as a matrix `[48, outputs]` over patches of 2×2
/// blocks.
fn over_patches(kernel: Tensor<4>) -> Tensor<2> {
    let outputs = kernel.dims()[0];
    kernel
        .reshape([outputs, 3, 2, 2, 2, 2])
        .permute([2, 4, 1, 3, 5, 0])
        .reshape([48, outputs])
}
