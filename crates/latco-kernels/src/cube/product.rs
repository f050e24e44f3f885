//! Parts of kernels in which a cube holds some rows of numbers, each of which is as wide as the model needs.
//!
//! The rows lie in global memory, where the device's caches keep them: they may be as wide as they like.

use cubecl::prelude::*;

use crate::layout::{Activation, Layer};

/// The rows that a cube works on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Tile {
    pub rows: usize,
    pub width: usize,
}

/// A matrix in the parameters, and what follows the product with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Matrix {
    pub inputs: usize,
    /// The columns that are wanted, the first ones.
    pub outputs: usize,
    /// All columns.
    pub columns: usize,
    /// Where it begins.
    pub first: usize,
    /// Where its bias begins.
    pub bias: Option<usize>,
    pub activation: Option<Activation>,
}

impl Matrix {
    /// A layer's weight with its bias.
    pub fn of(layer: Layer, activation: Option<Activation>) -> Self {
        Self {
            inputs: layer.inputs,
            outputs: layer.outputs,
            columns: layer.outputs,
            first: layer.weight(),
            bias: Some(layer.bias()),
            activation,
        }
    }

    /// A layer's weight transposed, for the cotangents of its first `inputs` outputs.
    pub fn transposed(layer: Layer, inputs: usize) -> Self {
        Self {
            inputs,
            outputs: layer.inputs,
            columns: layer.inputs,
            first: layer.transposed(),
            bias: None,
            activation: None,
        }
    }

    /// A layer's weight alone, for tangents of its first `outputs` outputs.
    pub fn plain(layer: Layer, outputs: usize) -> Self {
        Self {
            outputs,
            bias: None,
            ..Self::of(layer, None)
        }
    }

    /// The first outputs alone.
    pub fn first(self, outputs: usize) -> Self {
        Self { outputs, ..self }
    }
}

#[cube]
pub fn activated(value: f32, #[comptime] activation: Option<Activation>) -> f32 {
    match comptime!(activation) {
        Option::Some(Activation::Elu) => select(value > 0.0f32, value, f32::exp(value) - 1.0f32),
        Option::Some(Activation::Relu) => f32::max(value, 0.0f32),
        Option::None => value,
    }
}

/// The slope of a hidden layer whose value is `value`.
#[cube]
pub fn slope_at(value: f32, #[comptime] activation: Activation) -> f32 {
    match comptime!(activation) {
        Activation::Elu => f32::min(value, 0.0f32) + 1.0f32,
        Activation::Relu => select(value > 0.0f32, 1.0f32, 0.0f32),
    }
}

/// `log(1 + exp(x))`.
#[cube]
pub fn softplus(value: f32) -> f32 {
    f32::max(value, 0.0f32) + f32::ln(1.0f32 + f32::exp(-f32::abs(value)))
}

/// `1 / (1 + exp(−x))`.
#[cube]
pub fn sigmoid(value: f32) -> f32 {
    1.0f32 / (1.0f32 + f32::exp(-value))
}

/// The products of all rows of a tile, from the column `from` into the column `to`. Each unit computes some
/// of the columns of all rows, so that a weight is read once for them.
#[cube]
pub fn product(
    values: &mut Tensor<f32>,
    parameters: &Tensor<f32>,
    from: usize,
    to: usize,
    #[comptime] matrix: Matrix,
    #[comptime] tile: Tile,
) {
    let mut output = UNIT_POS_X as usize;
    while output < matrix.outputs {
        let first = match comptime!(matrix.bias) {
            Option::Some(bias) => parameters[output + bias],
            Option::None => f32::new(0.0f32),
        };
        let mut sums = Array::<f32>::new(tile.rows);
        #[unroll]
        for row in 0..tile.rows {
            sums[row] = first;
        }
        for input in 0..matrix.inputs {
            let weight = parameters[input * matrix.columns + output + matrix.first];
            #[unroll]
            for row in 0..tile.rows {
                sums[row] += values[from + row * tile.width + input] * weight;
            }
        }
        #[unroll]
        for row in 0..tile.rows {
            values[to + row * tile.width + output] = activated(sums[row], matrix.activation);
        }
        output += CUBE_DIM_X as usize;
    }
}
