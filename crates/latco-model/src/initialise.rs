//! Layers with Glorot-uniform weights and zero biases, drawn from the host's generator so that a
//! seed means the same model on every backend.

use burn::{
    module::Param,
    nn::{
        Initializer, Linear,
        conv::{Conv2d, Conv2dConfig, ConvTranspose2d, ConvTranspose2dConfig},
    },
    tensor::{Device, Tensor},
};
use latco_plan::Noise;

/// `y = x W + b` with `W` of shape `[inputs, outputs]`.
pub(crate) fn linear(inputs: usize, outputs: usize, noise: &mut Noise, device: &Device) -> Linear {
    linear_from(
        glorot([inputs, outputs], inputs, outputs, noise, device),
        Tensor::zeros([outputs], device),
    )
}

/// `y = x W + b` with `W` of shape `[inputs, outputs]`.
pub(crate) fn linear_from(weight: Tensor<2>, bias: Tensor<1>) -> Linear {
    Linear {
        weight: Param::from_tensor(weight),
        bias: Some(Param::from_tensor(bias)),
    }
}

/// A convolution of stride 2 without padding; `channels` is `[inputs, outputs]`.
pub(crate) fn convolution(
    channels: [usize; 2],
    kernel: usize,
    noise: &mut Noise,
    device: &Device,
) -> Conv2d {
    let [inputs, outputs] = channels.map(|count| count * kernel * kernel);
    let shape = [channels[1], channels[0], kernel, kernel];
    let weight = glorot(shape, inputs, outputs, noise, device);
    convolution_from(weight, Tensor::zeros([channels[1]], device))
}

/// A convolution of stride 2 without padding, of weight `[outputs, inputs, side, side]`.
pub(crate) fn convolution_from(weight: Tensor<4>, bias: Tensor<1>) -> Conv2d {
    let [outputs, inputs, side, _] = weight.dims();
    let mut layer = Conv2dConfig::new([inputs, outputs], [side; 2])
        .with_stride([2, 2])
        .with_initializer(Initializer::Zeros)
        .init(&weight.device());
    layer.weight = Param::from_tensor(weight);
    layer.bias = Some(Param::from_tensor(bias));
    layer
}

/// A transposed convolution without padding; `channels` is `[inputs, outputs]`.
pub(crate) fn transposed_convolution(
    channels: [usize; 2],
    kernel: usize,
    stride: usize,
    noise: &mut Noise,
    device: &Device,
) -> ConvTranspose2d {
    let [inputs, outputs] = channels.map(|count| count * kernel * kernel);
    let shape = [channels[0], channels[1], kernel, kernel];
    let weight = glorot(shape, inputs, outputs, noise, device);
    transposed_convolution_from(weight, Tensor::zeros([channels[1]], device), stride)
}

/// A transposed convolution without padding, of weight `[inputs, outputs, side, side]`.
pub(crate) fn transposed_convolution_from(
    weight: Tensor<4>,
    bias: Tensor<1>,
    stride: usize,
) -> ConvTranspose2d {
    let [inputs, outputs, side, _] = weight.dims();
    let mut layer = ConvTranspose2dConfig::new([inputs, outputs], [side; 2])
        .with_stride([stride; 2])
        .with_initializer(Initializer::Zeros)
        .init(&weight.device());
    layer.weight = Param::from_tensor(weight);
    layer.bias = Some(Param::from_tensor(bias));
    layer
}

/// `U(−k, k)` with `k = √(6 / (inputs + outputs))` (Glorot & Bengio 2010, eq. 16).
fn glorot<const D: usize>(
    shape: [usize; D],
    inputs: usize,
    outputs: usize,
    noise: &mut Noise,
    device: &Device,
) -> Tensor<D> {
    let limit = (6.0 / (inputs + outputs) as f64).sqrt();
    noise.uniform(shape, device) * limit
}
