//! The posterior along recorded sequences, or the prior along imagined ones, and cotangents carried back
//! through them.

use cubecl::prelude::*;

use super::{
    forward::store,
    product::{Matrix, Tile, activated, product, sigmoid, slope_at, softplus},
};
use crate::layout::Posterior;

const MIN_STD: f32 = crate::MIN_STD as f32;

/// The columns of a row going forward: `[s, a, h]` of the step before, then what lies between.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Columns {
    pub action: usize,
    pub state: usize,
    pub input: usize,
    pub from_input: usize,
    pub from_state: usize,
    pub hidden: usize,
    pub output: usize,
    pub width: usize,
}

impl Columns {
    pub fn of(network: Posterior) -> Self {
        let action = network.stochastic;
        let state = action + network.action;
        let input = state + network.deterministic;
        let from_input = input + network.hidden;
        let from_state = from_input + 3 * network.deterministic;
        let hidden = from_state + 3 * network.deterministic;
        let output = hidden + network.hidden;
        Self {
            action,
            state,
            input,
            from_input,
            from_state,
            hidden,
            output,
            width: output + 2 * network.stochastic,
        }
    }
}

/// Those going back: the cotangents of every layer, the last one first, then `[of s, of a, of h]` of the
/// step before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct BackColumns {
    pub hidden: usize,
    pub state: usize,
    pub gates: usize,
    pub gates_of_state: usize,
    pub input: usize,
    pub before: usize,
    pub state_before: usize,
    pub width: usize,
}

impl BackColumns {
    pub fn of(network: Posterior) -> Self {
        let hidden = 2 * network.stochastic;
        let state = hidden + network.hidden;
        let gates = state + network.deterministic;
        let gates_of_state = gates + 3 * network.deterministic;
        let input = gates_of_state + 3 * network.deterministic;
        let before = input + network.hidden;
        let state_before = before + network.stochastic + network.action;
        Self {
            hidden,
            state,
            gates,
            gates_of_state,
            input,
            before,
            state_before,
            width: state_before + network.deterministic,
        }
    }
}

/// `[s, h, mean, std]` after every step from `start` on, and what its derivatives are made of.
#[cube(launch)]
pub fn observe(
    parameters: &Tensor<f32>,
    embedded: &Tensor<f32>,
    actions: &Tensor<f32>,
    memory: &Tensor<f32>,
    noise: &Tensor<f32>,
    start: &Tensor<f32>,
    values: &mut Tensor<f32>,
    outputs: &mut Tensor<f32>,
    kept: &mut Tensor<f32>,
    #[comptime] network: Posterior,
    #[comptime] tile: Tile,
) {
    let mut shared = Shared::<[f32]>::new_slice(comptime!(tile.partial_sums()));
    let partial = &mut shared;
    let columns = comptime!(Columns::of(network));
    let places = comptime!(network.kept());
    let (stochastic, action) = comptime!((network.stochastic, network.action));
    let (size, hidden) = comptime!((network.deterministic, network.hidden));
    let before = comptime!(stochastic + action + size);
    let latent = comptime!(stochastic + size);
    let width = comptime!(network.outputs());
    let activation = comptime!(Some(network.activation));
    let length = actions.shape(0);
    let rows = actions.shape(1);
    let base = CUBE_POS_X as usize * tile.rows * tile.width;
    let mut first = CUBE_POS_X as usize * tile.rows;
    while first < rows {
        for time in 0..length {
            let frames = time * rows;
            let mut index = UNIT_POS_X as usize;
            while index < tile.rows * before {
                let row = index / before;
                let column = index % before;
                if first + row < rows {
                    let own = base + row * tile.width + column;
                    let frame = frames + first + row;
                    if column >= columns.action && column < columns.state {
                        values[own] = actions[frame * action + column - columns.action];
                    } else if time > 0 {
                        values[own] *= memory[frame];
                    } else {
                        let at = (first + row) * latent + column;
                        let skipped = select(column < columns.action, 0usize, action);
                        values[own] = start[at - skipped] * memory[frame];
                    }
                    kept[frame * places.width + column] = values[own];
                }
                index += CUBE_DIM_X as usize;
            }
            sync_storage();
            let matrix = comptime!(Matrix::of(network.layers[0], activation));
            product(
                values,
                parameters,
                partial,
                base,
                base + columns.input,
                matrix,
                tile,
            );
            sync_storage();
            let matrix = comptime!(Matrix::of(network.layers[1], None));
            let (from, to) = (base + columns.input, base + columns.from_input);
            product(values, parameters, partial, from, to, matrix, tile);
            let matrix = comptime!(Matrix::of(network.layers[2], None));
            let (from, to) = (base + columns.state, base + columns.from_state);
            product(values, parameters, partial, from, to, matrix, tile);
            let (at, stride) = (frames * places.width + places.input, places.width);
            let from = base + columns.input;
            store(values, kept, from, first, rows, at, stride, hidden, tile);
            sync_storage();
            let mut index = UNIT_POS_X as usize;
            while index < tile.rows * size {
                let row = index / size;
                let unit = index % size;
                let own = base + row * tile.width;
                let from_input = own + columns.from_input + unit;
                let from_state = own + columns.from_state + unit;
                let update = sigmoid(values[from_input] + values[from_state]);
                let reset = sigmoid(values[from_input + size] + values[from_state + size]);
                let of_state = values[from_state + 2 * size];
                let candidate = f32::tanh(values[from_input + 2 * size] + reset * of_state);
                let state = values[own + columns.state + unit];
                values[own + columns.state + unit] = candidate + update * (state - candidate);
                if first + row < rows {
                    let at = (frames + first + row) * places.width + unit;
                    kept[at + places.update] = update;
                    kept[at + places.reset] = reset;
                    kept[at + places.candidate] = candidate;
                    kept[at + places.of_state] = of_state;
                }
                index += CUBE_DIM_X as usize;
            }
            sync_storage();
            let matrix = comptime!(Matrix::plain(network.layers[3], hidden));
            let (from, to) = (base + columns.state, base + columns.hidden);
            product(values, parameters, partial, from, to, matrix, tile);
            sync_storage();
            let mut index = UNIT_POS_X as usize;
            while index < tile.rows * hidden {
                let row = index / hidden;
                let unit = index % hidden;
                if first + row < rows {
                    let own = base + row * tile.width + columns.hidden + unit;
                    let frame = frames + first + row;
                    let sum = values[own] + embedded[frame * hidden + unit];
                    let value = activated(sum, activation);
                    values[own] = value;
                    kept[frame * places.width + places.hidden + unit] = value;
                }
                index += CUBE_DIM_X as usize;
            }
            sync_storage();
            let matrix = comptime!(Matrix::of(network.layers[4], None));
            let (from, to) = (base + columns.hidden, base + columns.output);
            product(values, parameters, partial, from, to, matrix, tile);
            sync_storage();
            let mut index = UNIT_POS_X as usize;
            while index < tile.rows * stochastic {
                let row = index / stochastic;
                let unit = index % stochastic;
                if first + row < rows {
                    let own = base + row * tile.width;
                    let frame = frames + first + row;
                    let mean = values[own + columns.output + unit];
                    let raw = values[own + columns.output + stochastic + unit];
                    let std = softplus(raw) + MIN_STD;
                    let sample = mean + std * noise[frame * stochastic + unit];
                    values[own + unit] = sample;
                    let at = frame * width + unit;
                    outputs[at] = sample;
                    outputs[at + stochastic + size] = mean;
                    outputs[at + 2 * stochastic + size] = std;
                    kept[frame * places.width + places.raw + unit] = raw;
                }
                index += CUBE_DIM_X as usize;
            }
            let (at, stride) = (frames * width + stochastic, width);
            let from = base + columns.state;
            store(values, outputs, from, first, rows, at, stride, size, tile);
            sync_storage();
        }
        first += CUBE_COUNT_X as usize * tile.rows;
    }
}

/// The cotangents of every layer's sums, and those of the start, from those of the outputs.
#[cube(launch)]
pub fn observe_back(
    parameters: &Tensor<f32>,
    kept: &Tensor<f32>,
    cotangents: &Tensor<f32>,
    memory: &Tensor<f32>,
    noise: &Tensor<f32>,
    values: &mut Tensor<f32>,
    layers: &mut Tensor<f32>,
    by_start: &mut Tensor<f32>,
    length: usize,
    rows: usize,
    #[comptime] network: Posterior,
    #[comptime] tile: Tile,
) {
    let mut shared = Shared::<[f32]>::new_slice(comptime!(tile.partial_sums()));
    let partial = &mut shared;
    let columns = comptime!(BackColumns::of(network));
    let places = comptime!(network.kept());
    let of_layers = comptime!(network.cotangents());
    let (stochastic, action) = comptime!((network.stochastic, network.action));
    let (size, hidden) = comptime!((network.deterministic, network.hidden));
    let width = comptime!(network.outputs());
    let state_before = comptime!(stochastic + action);
    let latent = comptime!(stochastic + size);
    let gates = comptime!(3 * size);
    let activation = comptime!(network.activation);
    let base = CUBE_POS_X as usize * tile.rows * tile.width;
    let mut first = CUBE_POS_X as usize * tile.rows;
    while first < rows {
        for step in 0..length {
            let time = length - 1 - step;
            let frames = time * rows;
            let mut index = UNIT_POS_X as usize;
            while index < tile.rows * stochastic {
                let row = index / stochastic;
                let unit = index % stochastic;
                if first + row < rows {
                    let own = base + row * tile.width + unit;
                    let frame = frames + first + row;
                    let at = frame * width + unit;
                    let mut sample = cotangents[at];
                    if step > 0 {
                        sample += values[own + columns.before] * memory[frame + rows];
                    }
                    let raw = kept[frame * places.width + places.raw + unit];
                    let of_std = cotangents[at + 2 * stochastic + size]
                        + sample * noise[frame * stochastic + unit];
                    values[own] = cotangents[at + stochastic + size] + sample;
                    values[own + stochastic] = of_std * sigmoid(raw);
                }
                index += CUBE_DIM_X as usize;
            }
            sync_storage();
            let matrix = comptime!(Matrix::transposed(network.layers[4], 2 * stochastic));
            product(
                values,
                parameters,
                partial,
                base,
                base + columns.hidden,
                matrix,
                tile,
            );
            sync_storage();
            let mut index = UNIT_POS_X as usize;
            while index < tile.rows * hidden {
                let row = index / hidden;
                let unit = index % hidden;
                if first + row < rows {
                    let at = (frames + first + row) * places.width + places.hidden + unit;
                    values[base + row * tile.width + columns.hidden + unit] *=
                        slope_at(kept[at], activation);
                }
                index += CUBE_DIM_X as usize;
            }
            sync_storage();
            let matrix = comptime!(Matrix::transposed(network.layers[3], hidden));
            let (from, to) = (base + columns.hidden, base + columns.state);
            product(values, parameters, partial, from, to, matrix, tile);
            sync_storage();
            let mut index = UNIT_POS_X as usize;
            while index < tile.rows * size {
                let row = index / size;
                let unit = index % size;
                if first + row < rows {
                    let own = base + row * tile.width + unit;
                    let frame = frames + first + row;
                    let mut next =
                        values[own + columns.state] + cotangents[frame * width + stochastic + unit];
                    if step > 0 {
                        next += values[own + columns.state_before] * memory[frame + rows];
                    }
                    let at = frame * places.width + unit;
                    let update = kept[at + places.update];
                    let reset = kept[at + places.reset];
                    let candidate = kept[at + places.candidate];
                    let of_state = kept[at + places.of_state];
                    let change = kept[at + state_before] - candidate;
                    let of_update = next * change * update * (1.0f32 - update);
                    let of_candidate = next * (1.0f32 - update) * (1.0f32 - candidate * candidate);
                    let of_reset = of_candidate * of_state * reset * (1.0f32 - reset);
                    values[own + columns.gates] = of_update;
                    values[own + columns.gates + size] = of_reset;
                    values[own + columns.gates + 2 * size] = of_candidate;
                    values[own + columns.gates_of_state] = of_update;
                    values[own + columns.gates_of_state + size] = of_reset;
                    values[own + columns.gates_of_state + 2 * size] = of_candidate * reset;
                    values[own + columns.state] = next * update;
                }
                index += CUBE_DIM_X as usize;
            }
            sync_storage();
            let matrix = comptime!(Matrix::transposed(network.layers[1], gates));
            let (from, to) = (base + columns.gates, base + columns.input);
            product(values, parameters, partial, from, to, matrix, tile);
            let matrix = comptime!(Matrix::transposed(network.layers[2], gates));
            let (from, to) = (base + columns.gates_of_state, base + columns.state_before);
            product(values, parameters, partial, from, to, matrix, tile);
            sync_storage();
            let mut index = UNIT_POS_X as usize;
            while index < tile.rows * hidden {
                let row = index / hidden;
                let unit = index % hidden;
                if first + row < rows {
                    let at = (frames + first + row) * places.width + places.input + unit;
                    values[base + row * tile.width + columns.input + unit] *=
                        slope_at(kept[at], activation);
                }
                index += CUBE_DIM_X as usize;
            }
            let mut index = UNIT_POS_X as usize;
            while index < tile.rows * size {
                let own = base + index / size * tile.width + index % size;
                let directly = values[own + columns.state];
                values[own + columns.state_before] += directly;
                index += CUBE_DIM_X as usize;
            }
            sync_storage();
            let matrix = comptime!(Matrix::transposed(network.layers[0], hidden));
            let (from, to) = (base + columns.input, base + columns.before);
            product(values, parameters, partial, from, to, matrix, tile);
            let (at, stride) = (frames * of_layers.width, of_layers.width);
            store(
                values,
                layers,
                base,
                first,
                rows,
                at,
                stride,
                2 * stochastic,
                tile,
            );
            let (from, to) = (base + columns.hidden, at + of_layers.hidden);
            store(values, layers, from, first, rows, to, stride, hidden, tile);
            let (from, to) = (base + columns.gates, at + of_layers.gates);
            store(values, layers, from, first, rows, to, stride, gates, tile);
            let (from, to) = (base + columns.gates_of_state, at + of_layers.gates_of_state);
            store(values, layers, from, first, rows, to, stride, gates, tile);
            let (from, to) = (base + columns.input, at + of_layers.input);
            store(values, layers, from, first, rows, to, stride, hidden, tile);
            sync_storage();
        }
        let mut index = UNIT_POS_X as usize;
        while index < tile.rows * latent {
            let row = index / latent;
            let column = index % latent;
            if first + row < rows {
                let skipped = select(column < stochastic, 0usize, action);
                let own = base + row * tile.width + columns.before + column + skipped;
                by_start[(first + row) * latent + column] = values[own] * memory[first + row];
            }
            index += CUBE_DIM_X as usize;
        }
        sync_storage();
        first += CUBE_COUNT_X as usize * tile.rows;
    }
}
