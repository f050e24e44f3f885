//! Cotangents carried back through steps of the model.

use cubecl::prelude::*;

use super::{
    forward::{load, store},
    product::{Matrix, Tile, product},
};
use crate::layout::{Entering, Network};

/// The columns of a row: the cotangents `[of s', of h']`, then what lies between, then `[of a, of s, of h]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Columns {
    pub state: usize,
    pub hidden: usize,
    pub gates: usize,
    pub gates_of_state: usize,
    pub input: usize,
    pub action: usize,
    pub latent: usize,
    pub before: usize,
    pub width: usize,
}

impl Columns {
    pub fn of(network: Network) -> Self {
        let sizes = network.sizes;
        let state = sizes.stochastic;
        let hidden = state + sizes.deterministic;
        let gates = hidden + sizes.hidden;
        let gates_of_state = gates + 3 * sizes.deterministic;
        let input = gates_of_state + 3 * sizes.deterministic;
        let action = input + sizes.hidden;
        let latent = action + sizes.action;
        let before = latent + sizes.stochastic;
        Self {
            state,
            hidden,
            gates,
            gates_of_state,
            input,
            action,
            latent,
            before,
            width: before + sizes.deterministic,
        }
    }
}

/// Multiplies columns by what is kept of each row's point.
#[cube]
pub fn scale(
    values: &mut Tensor<f32>,
    kept: &Tensor<f32>,
    at: usize,
    first: usize,
    end: usize,
    per_point: usize,
    offset: usize,
    #[comptime] size: usize,
    #[comptime] stride: usize,
    #[comptime] tile: Tile,
) {
    let mut index = UNIT_POS_X as usize;
    while index < tile.rows * size {
        let row = index / size;
        let column = index % size;
        if first + row < end {
            let point = (first + row) / per_point;
            values[at + row * tile.width + column] *= kept[point * stride + offset + column];
        }
        index += CUBE_DIM_X as usize;
    }
}

/// `[of a, of s, of h]` from `[of s', of h']`. The point of a row is its place over `per_point`, after the
/// first `offset` numbers of what is kept.
#[cube]
fn carry_back(
    values: &mut Tensor<f32>,
    parameters: &Tensor<f32>,
    partial: &mut Shared<[f32]>,
    kept: &Tensor<f32>,
    base: usize,
    first: usize,
    end: usize,
    per_point: usize,
    offset: usize,
    #[comptime] network: Network,
    #[comptime] columns: Columns,
    #[comptime] tile: Tile,
) {
    let places = comptime!(network.kept());
    let sizes = comptime!(network.sizes);
    let (size, hidden, width) = comptime!((sizes.deterministic, sizes.hidden, places.width));
    let matrix = comptime!(Matrix::transposed(network.output, sizes.stochastic));
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
    let at = base + columns.hidden;
    let slopes = offset + places.hidden_slope;
    scale(
        values, kept, at, first, end, per_point, slopes, hidden, width, tile,
    );
    sync_storage();
    // Where `of h` will be, so that `of h'` stays.
    let matrix = comptime!(Matrix::transposed(network.hidden, hidden));
    let (from, to) = (base + columns.hidden, base + columns.before);
    product(values, parameters, partial, from, to, matrix, tile);
    sync_storage();
    let mut index = UNIT_POS_X as usize;
    while index < tile.rows * size {
        let row = index / size;
        let unit = index % size;
        let own = base + row * tile.width;
        if first + row < end {
            let at = (first + row) / per_point * width + offset + unit;
            let cotangent =
                values[own + columns.state + unit] + values[own + columns.before + unit];
            let of_update = cotangent * kept[at + places.gates];
            let of_reset = cotangent * kept[at + places.gates + size];
            values[own + columns.gates + unit] = of_update;
            values[own + columns.gates + size + unit] = of_reset;
            values[own + columns.gates + 2 * size + unit] =
                cotangent * kept[at + places.gates + 2 * size];
            values[own + columns.gates_of_state + unit] = of_update;
            values[own + columns.gates_of_state + size + unit] = of_reset;
            values[own + columns.gates_of_state + 2 * size + unit] =
                cotangent * kept[at + places.through_reset];
            values[own + columns.state + unit] = cotangent * kept[at + places.update];
        }
        index += CUBE_DIM_X as usize;
    }
    sync_storage();
    let gates = comptime!(3 * size);
    let matrix = comptime!(Matrix::transposed(network.gru_input, gates));
    let (from, to) = (base + columns.gates, base + columns.input);
    product(values, parameters, partial, from, to, matrix, tile);
    let matrix = comptime!(Matrix::transposed(network.gru_state, gates));
    let (from, to) = (base + columns.gates_of_state, base + columns.before);
    product(values, parameters, partial, from, to, matrix, tile);
    sync_storage();
    let at = base + columns.input;
    let slopes = offset + places.input_slope;
    scale(
        values, kept, at, first, end, per_point, slopes, hidden, width, tile,
    );
    let mut index = UNIT_POS_X as usize;
    while index < tile.rows * size {
        let own = base + index / size * tile.width;
        let unit = index % size;
        let directly = values[own + columns.state + unit];
        values[own + columns.before + unit] += directly;
        index += CUBE_DIM_X as usize;
    }
    sync_storage();
    let matrix = comptime!(Matrix::transposed(network.input, hidden));
    let (from, to) = (base + columns.input, base + columns.action);
    product(values, parameters, partial, from, to, matrix, tile);
    sync_storage();
}

/// Cotangents `[rows, latent]` carried back through one step: `[rows, latent]` and `[rows, action]`.
#[cube(launch)]
pub fn pull_back(
    parameters: &Tensor<f32>,
    kept: &Tensor<f32>,
    cotangents: &Tensor<f32>,
    values: &mut Tensor<f32>,
    by_latent: &mut Tensor<f32>,
    by_action: &mut Tensor<f32>,
    per_point: usize,
    first_point: usize,
    #[comptime] network: Network,
    #[comptime] tile: Tile,
) {
    let mut shared = Shared::<[f32]>::new_slice(comptime!(tile.partial_sums()));
    let partial = &mut shared;
    let columns = comptime!(Columns::of(network));
    let (action, latent) = comptime!((network.sizes.action, network.latent()));
    let width = comptime!(network.kept().width);
    let rows = cotangents.len() / latent;
    let base = CUBE_POS_X as usize * tile.rows * tile.width;
    let offset = first_point * width;
    let mut first = CUBE_POS_X as usize * tile.rows;
    while first < rows {
        load(
            values, cotangents, base, first, rows, 0usize, latent, latent, tile,
        );
        sync_storage();
        carry_back(
            values, parameters, partial, kept, base, first, rows, per_point, offset, network,
            columns, tile,
        );
        let from = base + columns.latent;
        store(
            values, by_latent, from, first, rows, 0usize, latent, latent, tile,
        );
        let from = base + columns.action;
        store(
            values, by_action, from, first, rows, 0usize, action, action, tile,
        );
        sync_storage();
        first += CUBE_COUNT_X as usize * tile.rows;
    }
}

/// Cotangents carried back through all steps, the last one first: what they are at each step's end,
/// `[plans, rows, horizon, latent]` if `ends`, and by its action, `[plans, rows, horizon, action]`.
#[cube(launch)]
pub fn sweep_back(
    parameters: &Tensor<f32>,
    kept: &Tensor<f32>,
    entering: &Tensor<f32>,
    values: &mut Tensor<f32>,
    by_latent: &mut Tensor<f32>,
    by_action: &mut Tensor<f32>,
    plans: usize,
    rows_of_plan: usize,
    horizon: usize,
    #[comptime] network: Network,
    #[comptime] tile: Tile,
    #[comptime] kind: Entering,
    #[comptime] ends: bool,
) {
    let mut shared = Shared::<[f32]>::new_slice(comptime!(tile.partial_sums()));
    let partial = &mut shared;
    let columns = comptime!(Columns::of(network));
    let (action, latent) = comptime!((network.sizes.action, network.latent()));
    let width = comptime!(network.kept().width);
    let rows = plans * rows_of_plan;
    // Those that enter at each step.
    let count = entering.len() / (latent * plans * horizon);
    let base = CUBE_POS_X as usize * tile.rows * tile.width;
    let mut first = CUBE_POS_X as usize * tile.rows;
    while first < rows {
        for step in 0..horizon {
            let time = horizon - 1 - step;
            let mut index = UNIT_POS_X as usize;
            while index < tile.rows * latent {
                let row = index / latent;
                let column = index % latent;
                if first + row < rows {
                    let own = base + row * tile.width;
                    let plan = (first + row) / rows_of_plan;
                    let of_plan = (first + row) % rows_of_plan;
                    let mut cotangent = f32::new(0.0f32);
                    if step > 0 {
                        cotangent = values[own + columns.latent + column];
                    }
                    match comptime!(kind) {
                        Entering::EveryStep => {
                            let at = (time * plans + plan) * rows_of_plan + of_plan;
                            cotangent += entering[at * latent + column];
                        }
                        Entering::OneStep => {
                            if of_plan / count == step {
                                let at = (time * plans + plan) * count + of_plan % count;
                                cotangent += entering[at * latent + column];
                            }
                        }
                    }
                    values[own + column] = cotangent;
                    if comptime!(ends) {
                        by_latent[((first + row) * horizon + time) * latent + column] = cotangent;
                    }
                }
                index += CUBE_DIM_X as usize;
            }
            sync_storage();
            let offset = time * plans * width;
            carry_back(
                values,
                parameters,
                partial,
                kept,
                base,
                first,
                rows,
                rows_of_plan,
                offset,
                network,
                columns,
                tile,
            );
            let from = base + columns.action;
            let (at, stride) = (time * action, horizon * action);
            store(
                values, by_action, from, first, rows, at, stride, action, tile,
            );
        }
        sync_storage();
        first += CUBE_COUNT_X as usize * tile.rows;
    }
}
