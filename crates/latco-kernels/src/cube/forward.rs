//! One step of the model and its rewards, and loops of them over time.

use cubecl::prelude::*;

use super::product::{Matrix, Tile, log1p, product, sigmoid, slope_at, softplus};
use crate::layout::{Likelihood, Network, Slope, Wanted};

const RESIDUAL_FLOOR: f32 = crate::RESIDUAL_FLOOR as f32;

/// The columns of a row: `[a, s, h]`, then what lies between.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Columns {
    pub latent: usize,
    pub state: usize,
    pub input: usize,
    pub from_input: usize,
    pub from_state: usize,
    pub hidden: usize,
    pub first: usize,
    pub second: usize,
    pub reward: usize,
    pub by_second: usize,
    pub by_first: usize,
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
        let first = hidden + sizes.hidden;
        let second = first + sizes.units;
        let reward = second + sizes.units;
        let by_second = reward + 1;
        let by_first = by_second + sizes.units;
        Self {
            latent,
            state,
            input,
            from_input,
            from_state,
            hidden,
            first,
            second,
            reward,
            by_second,
            by_first,
            width: by_first + sizes.units,
        }
    }
}

/// Copies rows from `first` on of `source`, which begin at `offset` and are `stride` numbers apart, to the
/// columns `to`.
#[cube]
pub fn load(
    values: &mut Tensor<f32>,
    source: &Tensor<f32>,
    to: usize,
    first: usize,
    end: usize,
    offset: usize,
    stride: usize,
    #[comptime] size: usize,
    #[comptime] tile: Tile,
) {
    let mut index = UNIT_POS_X as usize;
    while index < tile.rows * size {
        let row = index / size;
        let column = index % size;
        if first + row < end {
            values[to + row * tile.width + column] =
                source[(first + row) * stride + offset + column];
        }
        index += CUBE_DIM_X as usize;
    }
}

/// The reverse of [`load`].
#[cube]
pub fn store(
    values: &mut Tensor<f32>,
    target: &mut Tensor<f32>,
    from: usize,
    first: usize,
    end: usize,
    offset: usize,
    stride: usize,
    #[comptime] size: usize,
    #[comptime] tile: Tile,
) {
    let mut index = UNIT_POS_X as usize;
    while index < tile.rows * size {
        let row = index / size;
        let column = index % size;
        if first + row < end {
            target[(first + row) * stride + offset + column] =
                values[from + row * tile.width + column];
        }
        index += CUBE_DIM_X as usize;
    }
}

/// `[gx, gh]` of a tile whose rows hold `[a, s, h]`.
#[cube]
fn enter(
    values: &mut Tensor<f32>,
    parameters: &Tensor<f32>,
    partial: &mut Shared<[f32]>,
    base: usize,
    #[comptime] network: Network,
    #[comptime] columns: Columns,
    #[comptime] tile: Tile,
) {
    let activation = comptime!(Some(network.activation));
    let matrix = comptime!(Matrix::of(network.input, activation));
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
    let matrix = comptime!(Matrix::of(network.gru_input, None));
    let (from, to) = (base + columns.input, base + columns.from_input);
    product(values, parameters, partial, from, to, matrix, tile);
    let matrix = comptime!(Matrix::of(network.gru_state, None));
    let (from, to) = (base + columns.state, base + columns.from_state);
    product(values, parameters, partial, from, to, matrix, tile);
    sync_storage();
}

/// The prior's mean in the place of `s`, given `h'`.
#[cube]
fn predict(
    values: &mut Tensor<f32>,
    parameters: &Tensor<f32>,
    partial: &mut Shared<[f32]>,
    base: usize,
    #[comptime] network: Network,
    #[comptime] columns: Columns,
    #[comptime] tile: Tile,
) {
    let activation = comptime!(Some(network.activation));
    let matrix = comptime!(Matrix::of(network.hidden, activation));
    let (from, to) = (base + columns.state, base + columns.hidden);
    product(values, parameters, partial, from, to, matrix, tile);
    sync_storage();
    let matrix = comptime!(Matrix::of(network.output, None).first(network.sizes.stochastic));
    let (from, to) = (base + columns.hidden, base + columns.latent);
    product(values, parameters, partial, from, to, matrix, tile);
    sync_storage();
}

/// `z'` in the place of `z`.
#[cube]
fn step(
    values: &mut Tensor<f32>,
    parameters: &Tensor<f32>,
    partial: &mut Shared<[f32]>,
    base: usize,
    #[comptime] network: Network,
    #[comptime] columns: Columns,
    #[comptime] tile: Tile,
) {
    enter(values, parameters, partial, base, network, columns, tile);
    let size = comptime!(network.sizes.deterministic);
    let mut index = UNIT_POS_X as usize;
    while index < tile.rows * size {
        let row = base + index / size * tile.width;
        let unit = index % size;
        let from_input = row + columns.from_input + unit;
        let from_state = row + columns.from_state + unit;
        let update = sigmoid(values[from_input] + values[from_state]);
        let reset = sigmoid(values[from_input + size] + values[from_state + size]);
        let candidate =
            f32::tanh(values[from_input + 2 * size] + reset * values[from_state + 2 * size]);
        let state = values[row + columns.state + unit];
        values[row + columns.state + unit] = candidate + update * (state - candidate);
        index += CUBE_DIM_X as usize;
    }
    sync_storage();
    predict(values, parameters, partial, base, network, columns, tile);
}

/// The reward head's output at `z`, in the column `reward`.
#[cube]
fn reward_output(
    values: &mut Tensor<f32>,
    parameters: &Tensor<f32>,
    partial: &mut Shared<[f32]>,
    base: usize,
    #[comptime] network: Network,
    #[comptime] columns: Columns,
    #[comptime] tile: Tile,
) {
    let activation = comptime!(Some(network.activation));
    let matrix = comptime!(Matrix::of(network.reward[0], activation));
    let (from, to) = (base + columns.latent, base + columns.first);
    product(values, parameters, partial, from, to, matrix, tile);
    sync_storage();
    let matrix = comptime!(Matrix::of(network.reward[1], activation));
    let (from, to) = (base + columns.first, base + columns.second);
    product(values, parameters, partial, from, to, matrix, tile);
    sync_storage();
    let matrix = comptime!(Matrix::of(network.reward[2], None));
    let (from, to) = (base + columns.second, base + columns.reward);
    product(values, parameters, partial, from, to, matrix, tile);
    sync_storage();
}

/// `[expected reward, residual, log reward]` of a head's output.
#[cube]
fn store_rewards(
    rewards: &mut Tensor<f32>,
    at: usize,
    output: f32,
    least: f32,
    most: f32,
    #[comptime] likelihood: Likelihood,
) {
    let surprise = softplus(-output);
    match comptime!(likelihood) {
        Likelihood::Gaussian => {
            rewards[at] = output;
            rewards[at + 1] = surprise;
            rewards[at + 2] = -0.5f32 * surprise * surprise;
        }
        Likelihood::Bernoulli => {
            rewards[at] = sigmoid(output) * (most - least) + least;
            let logarithm = log1p(surprise);
            rewards[at + 1] = f32::sqrt(2.0f32 * logarithm + RESIDUAL_FLOOR);
            rewards[at + 2] = -surprise;
        }
    }
}

/// The derivative of the expected reward, the residual or the log reward by the head's output.
#[cube]
fn reward_slope(
    output: f32,
    least: f32,
    most: f32,
    #[comptime] likelihood: Likelihood,
    #[comptime] slope: Slope,
) -> f32 {
    let opposite = sigmoid(-output);
    let surprise = softplus(-output);
    match comptime!((likelihood, slope)) {
        (Likelihood::Gaussian, Slope::Expected) => f32::new(1.0f32),
        (Likelihood::Gaussian, Slope::Residual) => -opposite,
        (Likelihood::Gaussian, Slope::Logarithm) => opposite * surprise,
        (Likelihood::Bernoulli, Slope::Expected) => opposite * sigmoid(output) * (most - least),
        (Likelihood::Bernoulli, Slope::Residual) => {
            let logarithm = log1p(surprise);
            let residual = f32::sqrt(2.0f32 * logarithm + RESIDUAL_FLOOR);
            -opposite / ((surprise + 1.0f32) * residual)
        }
        (Likelihood::Bernoulli, Slope::Logarithm) => opposite,
    }
}

/// `z_{t+1} = μ(z_t, a_t) + e_t` of `[plans, horizon, …]`, and the rewards of every latent.
#[cube(launch)]
pub fn roll_out(
    parameters: &Tensor<f32>,
    start: &Tensor<f32>,
    actions: &Tensor<f32>,
    defects: &Tensor<f32>,
    values: &mut Tensor<f32>,
    latents: &mut Tensor<f32>,
    rewards: &mut Tensor<f32>,
    least: f32,
    most: f32,
    #[comptime] network: Network,
    #[comptime] tile: Tile,
    #[comptime] wanted: Wanted,
) {
    let mut shared = Shared::<[f32]>::new_slice(comptime!(tile.partial_sums()));
    let partial = &mut shared;
    let columns = comptime!(Columns::of(network));
    let (action, latent) = comptime!((network.sizes.action, network.latent()));
    let plans = actions.shape(0);
    let horizon = actions.shape(1);
    let base = CUBE_POS_X as usize * tile.rows * tile.width;
    let mut first = CUBE_POS_X as usize * tile.rows;
    while first < plans {
        let to = base + columns.latent;
        load(
            values, start, to, first, plans, 0usize, latent, latent, tile,
        );
        for time in 0..horizon {
            let (offset, stride) = (time * action, horizon * action);
            load(
                values, actions, base, first, plans, offset, stride, action, tile,
            );
            sync_storage();
            step(values, parameters, partial, base, network, columns, tile);
            let (offset, stride) = (time * latent, horizon * latent);
            if comptime!(wanted.defects) {
                let mut index = UNIT_POS_X as usize;
                while index < tile.rows * latent {
                    let row = index / latent;
                    let column = index % latent;
                    if first + row < plans {
                        values[base + row * tile.width + columns.latent + column] +=
                            defects[(first + row) * stride + offset + column];
                    }
                    index += CUBE_DIM_X as usize;
                }
                sync_storage();
            }
            if comptime!(wanted.latents) {
                store(
                    values, latents, to, first, plans, offset, stride, latent, tile,
                );
            }
            if comptime!(wanted.rewards) {
                reward_output(values, parameters, partial, base, network, columns, tile);
                let row = UNIT_POS_X as usize;
                if row < tile.rows && first + row < plans {
                    let output = values[base + row * tile.width + columns.reward];
                    let at = ((first + row) * horizon + time) * 3;
                    store_rewards(rewards, at, output, least, most, network.likelihood);
                }
            }
        }
        sync_storage();
        first += CUBE_COUNT_X as usize * tile.rows;
    }
}

/// What derivatives at points `[points, …]` are made of ([`Kept`](crate::layout::Kept)).
#[cube(launch)]
pub fn linearise(
    parameters: &Tensor<f32>,
    latents: &Tensor<f32>,
    actions: &Tensor<f32>,
    values: &mut Tensor<f32>,
    kept: &mut Tensor<f32>,
    #[comptime] network: Network,
    #[comptime] tile: Tile,
) {
    let mut shared = Shared::<[f32]>::new_slice(comptime!(tile.partial_sums()));
    let partial = &mut shared;
    let columns = comptime!(Columns::of(network));
    let places = comptime!(network.kept());
    let (action, latent) = comptime!((network.sizes.action, network.latent()));
    let size = comptime!(network.sizes.deterministic);
    let hidden = comptime!(network.sizes.hidden);
    let activation = comptime!(network.activation);
    let points = latents.shape(0);
    let base = CUBE_POS_X as usize * tile.rows * tile.width;
    let mut first = CUBE_POS_X as usize * tile.rows;
    while first < points {
        let to = base + columns.latent;
        load(
            values, latents, to, first, points, 0usize, latent, latent, tile,
        );
        load(
            values, actions, base, first, points, 0usize, action, action, tile,
        );
        sync_storage();
        enter(values, parameters, partial, base, network, columns, tile);
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
            let change = values[own + columns.state + unit] - candidate;
            values[own + columns.state + unit] = candidate + update * change;
            if first + row < points {
                let slope = (1.0f32 - update) * (1.0f32 - candidate * candidate);
                let at = (first + row) * places.width + unit;
                kept[at + places.update] = update;
                kept[at + places.gates] = change * update * (1.0f32 - update);
                kept[at + places.gates + size] = slope * of_state * reset * (1.0f32 - reset);
                kept[at + places.gates + 2 * size] = slope;
                kept[at + places.through_reset] = slope * reset;
            }
            index += CUBE_DIM_X as usize;
        }
        sync_storage();
        predict(values, parameters, partial, base, network, columns, tile);
        store(
            values,
            kept,
            to,
            first,
            points,
            0usize,
            places.width,
            latent,
            tile,
        );
        let mut index = UNIT_POS_X as usize;
        while index < tile.rows * hidden {
            let row = index / hidden;
            let unit = index % hidden;
            let own = base + row * tile.width;
            if first + row < points {
                let at = (first + row) * places.width + unit;
                kept[at + places.input_slope] =
                    slope_at(values[own + columns.input + unit], activation);
                kept[at + places.hidden_slope] =
                    slope_at(values[own + columns.hidden + unit], activation);
            }
            index += CUBE_DIM_X as usize;
        }
        sync_storage();
        first += CUBE_COUNT_X as usize * tile.rows;
    }
}

/// The rewards at `latents` `[points, latent]`, and the derivative of one of them.
#[cube(launch)]
pub fn linearise_reward(
    parameters: &Tensor<f32>,
    latents: &Tensor<f32>,
    values: &mut Tensor<f32>,
    rewards: &mut Tensor<f32>,
    slopes: &mut Tensor<f32>,
    least: f32,
    most: f32,
    #[comptime] network: Network,
    #[comptime] tile: Tile,
    #[comptime] slope: Option<Slope>,
) {
    let mut shared = Shared::<[f32]>::new_slice(comptime!(tile.partial_sums()));
    let partial = &mut shared;
    let columns = comptime!(Columns::of(network));
    let latent = comptime!(network.latent());
    let units = comptime!(network.sizes.units);
    let points = latents.shape(0);
    let base = CUBE_POS_X as usize * tile.rows * tile.width;
    let mut first = CUBE_POS_X as usize * tile.rows;
    while first < points {
        let to = base + columns.latent;
        load(
            values, latents, to, first, points, 0usize, latent, latent, tile,
        );
        sync_storage();
        reward_output(values, parameters, partial, base, network, columns, tile);
        let row = UNIT_POS_X as usize;
        if row < tile.rows && first + row < points {
            let output = values[base + row * tile.width + columns.reward];
            let at = (first + row) * 3;
            store_rewards(rewards, at, output, least, most, network.likelihood);
        }
        if comptime!(slope.is_some()) {
            let slope = comptime!(slope.unwrap_or(Slope::Expected));
            let last = comptime!(network.reward[2].weight());
            let mut index = UNIT_POS_X as usize;
            while index < tile.rows * units {
                let own = base + index / units * tile.width;
                let unit = index % units;
                let output = values[own + columns.reward];
                let cotangent = reward_slope(output, least, most, network.likelihood, slope)
                    * parameters[unit + last];
                values[own + columns.by_second + unit] =
                    cotangent * slope_at(values[own + columns.second + unit], network.activation);
                index += CUBE_DIM_X as usize;
            }
            sync_storage();
            let matrix = comptime!(Matrix::transposed(network.reward[1], units));
            let (from, to) = (base + columns.by_second, base + columns.by_first);
            product(values, parameters, partial, from, to, matrix, tile);
            sync_storage();
            let mut index = UNIT_POS_X as usize;
            while index < tile.rows * units {
                let own = base + index / units * tile.width;
                let unit = index % units;
                values[own + columns.by_first + unit] *=
                    slope_at(values[own + columns.first + unit], network.activation);
                index += CUBE_DIM_X as usize;
            }
            sync_storage();
            // The latent is not needed any more.
            let matrix = comptime!(Matrix::transposed(network.reward[0], units));
            let (from, to) = (base + columns.by_first, base + columns.latent);
            product(values, parameters, partial, from, to, matrix, tile);
            sync_storage();
            store(
                values, slopes, to, first, points, 0usize, latent, latent, tile,
            );
        }
        sync_storage();
        first += CUBE_COUNT_X as usize * tile.rows;
    }
}
