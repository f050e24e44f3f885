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
    Linear {
        weight: glorot([inputs, outputs], inputs, outputs, noise, device),
        bias: Some(Param::from_tensor(Tensor::zeros([outputs], device))),
    }
}

/// A convolution of stride 2 without padding; `channels` is `[inputs, outputs]`.
pub(crate) fn convolution(
    channels: [usize; 2],
    kernel: usize,
    noise: &mut Noise,
    device: &Device,
) -> Conv2d {
    let mut layer = Conv2dConfig::new(channels, [kernel; 2])
        .with_stride([2, 2])
        .with_initializer(Initializer::Zeros)
        .init(device);
    let [inputs, outputs] = channels.map(|count| count * kernel * kernel);
    let shape = [channels[1], channels[0], kernel, kernel];
    layer.weight = glorot(shape, inputs, outputs, noise, device);
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
    let mut layer = ConvTranspose2dConfig::new(channels, [kernel; 2])
        .with_stride([stride; 2])
        .with_initializer(Initializer::Zeros)
        .init(device);
    let [inputs, outputs] = channels.map(|count| count * kernel * kernel);
    let shape = [channels[0], channels[1], kernel, kernel];
    layer.weight = glorot(shape, inputs, outputs, noise, device);
    layer
}

/// `U(−k, k)` with `k = √(6 / (inputs + outputs))` (Glorot & Bengio 2010, eq. 16).
fn glorot<const D: usize>(
    shape: [usize; D],
    inputs: usize,
    outputs: usize,
    noise: &mut Noise,
    device: &Device,
) -> Param<Tensor<D>> {
    let limit = (6.0 / (inputs + outputs) as f64).sqrt();
    Param::from_tensor(noise.uniform(shape, device) * limit)
}
