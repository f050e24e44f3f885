//! Parts of kernels in which a cube holds some rows of numbers, each of which is as wide as the model needs.
//!
//! The rows lie in global memory, where the device's caches keep them: they may be as wide as they like.

use cubecl::prelude::*;

use crate::layout::{Activation, Layer};

/// The rows that a cube works on, and the units that it has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Tile {
    pub rows: usize,
    pub width: usize,
    pub units: usize,
}

impl Tile {
    /// What [`product`] needs of a cube's memory.
    pub fn partial_sums(self) -> usize {
        match self.rows {
            1 => self.units,
            _ => 1,
        }
    }
}

/// How a cube's units share out the sums of a product.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Split {
    /// Units beside each other, each with columns of its own.
    lanes: usize,
    /// Parts of each sum, for lanes of their own.
    parts: usize,
    /// Columns of a unit at once.
    columns: usize,
    /// Inputs whose weights are fetched at once: a unit waits for memory once for all of them.
    inputs: usize,
}

/// Units whose weights come from memory together.
pub const LOCKSTEP: usize = 32;

/// Columns of a unit at once, at most: their sums stay in registers.
const COLUMNS: usize = 5;

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

    /// A row alone has few sums, which are shared out among many units; of many rows each weight serves all.
    fn split(self, tile: Tile) -> Split {
        if tile.rows > 1 {
            return Split {
                lanes: tile.units,
                parts: 1,
                columns: self.outputs.div_ceil(tile.units).min(COLUMNS),
                inputs: 2,
            };
        }
        let inputs = 8;
        let lanes = self.outputs.next_multiple_of(LOCKSTEP).min(tile.units);
        let most = self.inputs.div_ceil(inputs);
        Split {
            lanes,
            parts: (tile.units / lanes).clamp(1, most),
            columns: 1,
            inputs,
        }
    }
}

#[cube]
pub fn activated(value: f32, #[comptime] activation: Option<Activation>) -> f32 {
    match comptime!(activation) {
        Option::Some(Activation::Elu) => select(value > 0.0f32, value, f32::exp(value) - 1.0f32),
        Option::Some(Activation::Relu) => select(value <= 0.0f32, 0.0f32, value),
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
    f32::max(value, 0.0f32) + log1p(f32::exp(-f32::abs(value)))
}

/// `log(1 + x)` of `x ≥ 0`, also where `1 + x` is rounded (Kahan).
#[cube]
pub fn log1p(value: f32) -> f32 {
    let rounded = 1.0f32 + value;
    let kept = rounded - 1.0f32;
    let scale = select(kept == 0.0f32, 1.0f32, kept);
    select(kept == 0.0f32, value, f32::ln(rounded) * (value / scale))
}

/// `1 / (1 + exp(−x))`.
#[cube]
pub fn sigmoid(value: f32) -> f32 {
    1.0f32 / (1.0f32 + f32::exp(-value))
}

/// The products of all rows of a tile, from the column `from` into the column `to`.
#[cube]
pub fn product(
    values: &mut Tensor<f32>,
    parameters: &Tensor<f32>,
    partial: &mut Shared<[f32]>,
    from: usize,
    to: usize,
    #[comptime] matrix: Matrix,
    #[comptime] tile: Tile,
) {
    let split = comptime!(matrix.split(tile));
    let lane = UNIT_POS_X as usize % split.lanes;
    if comptime!(split.parts > 1) {
        let part = UNIT_POS_X as usize / split.lanes;
        let share = comptime!(matrix.inputs.div_ceil(split.parts));
        let begin = usize::min(part * share, matrix.inputs);
        let end = usize::min(begin + share, matrix.inputs);
        let sums = sums(values, parameters, from, lane, begin, end, matrix, tile);
        partial[UNIT_POS_X as usize] = sums[0];
        sync_cube();
        if part == 0 && lane < matrix.outputs {
            let mut sum = partial[lane];
            for part in 1..split.parts {
                sum += partial[part * split.lanes + lane];
            }
            values[to + lane] = finished(sum, parameters, lane, matrix);
        }
        sync_cube();
    } else {
        let mut first = lane;
        while first < matrix.outputs {
            let inputs = comptime!(matrix.inputs);
            let sums = sums(
                values, parameters, from, first, 0usize, inputs, matrix, tile,
            );
            #[unroll]
            for column in 0..split.columns {
                let output = first + column * split.lanes;
                if output < matrix.outputs {
                    #[unroll]
                    for row in 0..tile.rows {
                        let sum = sums[column * tile.rows + row];
                        values[to + row * tile.width + output] =
                            finished(sum, parameters, output, matrix);
                    }
                }
            }
            first += comptime!(split.columns * split.lanes);
        }
    }
}

/// The sums over the inputs from `begin` to `end` in a unit's columns from `first` on, `[columns, rows]`.
#[cube]
fn sums(
    values: &mut Tensor<f32>,
    parameters: &Tensor<f32>,
    from: usize,
    first: usize,
    begin: usize,
    end: usize,
    #[comptime] matrix: Matrix,
    #[comptime] tile: Tile,
) -> Array<f32> {
    let split = comptime!(matrix.split(tile));
    let mut sums = Array::<f32>::new(comptime!(split.columns * tile.rows));
    #[unroll]
    for index in 0..split.columns * tile.rows {
        sums[index] = f32::new(0.0f32);
    }
    let mut input = begin;
    while input + split.inputs <= end {
        add_products(
            values,
            parameters,
            &mut sums,
            from,
            first,
            input,
            matrix,
            tile,
            split.inputs,
        );
        input += split.inputs;
    }
    while input < end {
        add_products(
            values, parameters, &mut sums, from, first, input, matrix, tile, 1usize,
        );
        input += 1;
    }
    sums
}

/// Adds the products with `count` inputs from `input` on to the sums.
#[cube]
fn add_products(
    values: &mut Tensor<f32>,
    parameters: &Tensor<f32>,
    sums: &mut Array<f32>,
    from: usize,
    first: usize,
    input: usize,
    #[comptime] matrix: Matrix,
    #[comptime] tile: Tile,
    #[comptime] count: usize,
) {
    let split = comptime!(matrix.split(tile));
    let mut weights = Array::<f32>::new(comptime!(split.columns * count));
    #[unroll]
    for column in 0..split.columns {
        // Where there is no such column another is computed, and not stored.
        let output = usize::min(first + column * split.lanes, comptime!(matrix.outputs - 1));
        #[unroll]
        for ahead in 0..count {
            weights[column * count + ahead] =
                parameters[(input + ahead) * matrix.columns + output + matrix.first];
        }
    }
    #[unroll]
    for ahead in 0..count {
        #[unroll]
        for row in 0..tile.rows {
            let value = values[from + row * tile.width + input + ahead];
            #[unroll]
            for column in 0..split.columns {
                sums[column * tile.rows + row] += value * weights[column * count + ahead];
            }
        }
    }
}

/// What becomes of a column's sum.
#[cube]
fn finished(sum: f32, parameters: &Tensor<f32>, output: usize, #[comptime] matrix: Matrix) -> f32 {
    match comptime!(matrix.bias) {
        Option::Some(bias) => activated(sum + parameters[output + bias], matrix.activation),
        Option::None => activated(sum, matrix.activation),
    }
}
