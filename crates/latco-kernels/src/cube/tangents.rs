//! Tangents carried forward through steps of the model.

use cubecl::prelude::*;

use super::{
    backward::scale,
    forward::{load, store},
    product::{Matrix, Tile, product},
};
use crate::layout::Network;

/// The columns of a row: the tangents `[of a, of s, of h]`, then what lies between.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Columns {
    pub latent: usize,
    pub state: usize,
    pub input: usize,
    pub from_input: usize,
    pub from_state: usize,
    pub hidden: usize,
    pub width: usize,
}

impl Columns {
    pub fn of(network: Network) -> Self {
        let sizes = network.sizes;
        let latent = sizes.action;
        let state = latent + sizes.stochastic;
        let input = state + sizes.deterministic;
        let from_input = input + sizes.hidden;
        let from_state = from_input + 3 * sizes.deterministic;
        let hidden = from_state + 3 * sizes.deterministic;
        Self {
            latent,
            state,
            input,
            from_input,
            from_state,
            hidden,
            width: hidden + sizes.hidden,
        }
    }
}

/// `[of s', of h']` in the place of `[of s, of h]`.
#[cube]
fn carry_forward(
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
    let gates = comptime!(3 * size);
    let matrix = comptime!(Matrix::plain(network.input, hidden));
    let to = base + columns.input;
    product(values, parameters, partial, base, to, matrix, tile);
    sync_storage();
    let slopes = offset + places.input_slope;
    scale(
        values, kept, to, first, end, per_point, slopes, hidden, width, tile,
    );
    sync_storage();
    let matrix = comptime!(Matrix::plain(network.gru_input, gates));
    let (from, to) = (base + columns.input, base + columns.from_input);
    product(values, parameters, partial, from, to, matrix, tile);
    let matrix = comptime!(Matrix::plain(network.gru_state, gates));
    let (from, to) = (base + columns.state, base + columns.from_state);
    product(values, parameters, partial, from, to, matrix, tile);
    sync_storage();
    let mut index = UNIT_POS_X as usize;
    while index < tile.rows * size {
        let row = index / size;
        let unit = index % size;
        let own = base + row * tile.width;
        if first + row < end {
            let at = (first + row) / per_point * width + offset + unit;
            let from_input = own + columns.from_input + unit;
            let from_state = own + columns.from_state + unit;
            let mut tangent = values[own + columns.state + unit] * kept[at + places.update];
            let update = values[from_input] + values[from_state];
            tangent += update * kept[at + places.gates];
            let reset = values[from_input + size] + values[from_state + size];
            tangent += reset * kept[at + places.gates + size];
            tangent += values[from_input + 2 * size] * kept[at + places.gates + 2 * size];
            tangent += values[from_state + 2 * size] * kept[at + places.through_reset];
            values[own + columns.state + unit] = tangent;
        }
        index += CUBE_DIM_X as usize;
    }
    sync_storage();
    let matrix = comptime!(Matrix::plain(network.hidden, hidden));
    let (from, to) = (base + columns.state, base + columns.hidden);
    product(values, parameters, partial, from, to, matrix, tile);
    sync_storage();
    let slopes = offset + places.hidden_slope;
    scale(
        values, kept, to, first, end, per_point, slopes, hidden, width, tile,
    );
    sync_storage();
    let matrix = comptime!(Matrix::plain(network.output, sizes.stochastic));
    let (from, to) = (base + columns.hidden, base + columns.latent);
    product(values, parameters, partial, from, to, matrix, tile);
    sync_storage();
}

/// Tangents `[rows, latent]` and `[rows, action]` carried forward through one step: `[rows, latent]`.
#[cube(launch)]
pub fn push_forward(
    parameters: &Tensor<f32>,
    kept: &Tensor<f32>,
    latents: &Tensor<f32>,
    actions: &Tensor<f32>,
    values: &mut Tensor<f32>,
    next: &mut Tensor<f32>,
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
    let rows = latents.len() / latent;
    let base = CUBE_POS_X as usize * tile.rows * tile.width;
    let to = base + columns.latent;
    let offset = first_point * width;
    let mut first = CUBE_POS_X as usize * tile.rows;
    while first < rows {
        load(
            values, latents, to, first, rows, 0usize, latent, latent, tile,
        );
        load(
            values, actions, base, first, rows, 0usize, action, action, tile,
        );
        sync_storage();
        carry_forward(
            values, parameters, partial, kept, base, first, rows, per_point, offset, network,
            columns, tile,
        );
        store(values, next, to, first, rows, 0usize, latent, latent, tile);
        sync_storage();
        first += CUBE_COUNT_X as usize * tile.rows;
    }
}

/// `dz_{t+1} = A_t dz_t + B_t da_t + d_t` from `dz_0 = 0`, of `da` `[plans, horizon, action]` and `d`
/// `[plans, horizon, latent]`.
#[cube(launch)]
pub fn sweep_forward(
    parameters: &Tensor<f32>,
    kept: &Tensor<f32>,
    actions: &Tensor<f32>,
    drive: &Tensor<f32>,
    values: &mut Tensor<f32>,
    changes: &mut Tensor<f32>,
    #[comptime] network: Network,
    #[comptime] tile: Tile,
) {
    let mut shared = Shared::<[f32]>::new_slice(comptime!(tile.partial_sums()));
    let partial = &mut shared;
    let columns = comptime!(Columns::of(network));
    let (action, latent) = comptime!((network.sizes.action, network.latent()));
    let width = comptime!(network.kept().width);
    let plans = actions.shape(0);
    let horizon = actions.shape(1);
    let base = CUBE_POS_X as usize * tile.rows * tile.width;
    let mut first = CUBE_POS_X as usize * tile.rows;
    while first < plans {
        let mut index = UNIT_POS_X as usize;
        while index < tile.rows * latent {
            let own = base + index / latent * tile.width;
            values[own + columns.latent + index % latent] = f32::new(0.0f32);
            index += CUBE_DIM_X as usize;
        }
        for time in 0..horizon {
            let (at, stride) = (time * action, horizon * action);
            load(
                values, actions, base, first, plans, at, stride, action, tile,
            );
            sync_storage();
            let offset = time * plans * width;
            carry_forward(
                values, parameters, partial, kept, base, first, plans, 1usize, offset, network,
                columns, tile,
            );
            let mut index = UNIT_POS_X as usize;
            while index < tile.rows * latent {
                let row = index / latent;
                let column = index % latent;
                if first + row < plans {
                    let own = base + row * tile.width + columns.latent + column;
                    let at = ((first + row) * horizon + time) * latent + column;
                    let change = values[own] + drive[at];
                    values[own] = change;
                    changes[at] = change;
                }
                index += CUBE_DIM_X as usize;
            }
        }
        sync_storage();
        first += CUBE_COUNT_X as usize * tile.rows;
    }
}
