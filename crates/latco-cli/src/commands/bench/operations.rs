//! Floating-point operations that each job cannot do without; a multiplication with its addition
//! counts as two. Element-wise work is left out.

use super::{Job, Sizes};

/// The operations of one run of `job`; `None` where they are not fixed by the sizes.
pub fn of(job: Job, sizes: &Sizes) -> Option<f64> {
    match job {
        Job::FirstOrder => Some(first_order(sizes)),
        Job::GaussNewton => Some(gauss_newton(sizes)),
        Job::Cem => Some(cem(sizes)),
        Job::Train => Some(train(sizes)),
        Job::Plan | Job::Replan => None,
    }
}

/// A backward pass costs as much as a forward pass for the inputs, and as much again for the weights.
const FORWARD_AND_BACKWARD: f64 = 3.0;

/// The same for the inputs alone.
const FORWARD_AND_BACKWARD_TO_INPUTS: f64 = 2.0;

fn first_order(sizes: &Sizes) -> f64 {
    let steps = (sizes.plans * sizes.horizon) as f64;
    FORWARD_AND_BACKWARD_TO_INPUTS * steps * (transition(sizes) + reward(sizes))
}

/// Linearisation, the adjoint sweep with `T − t` rows at step t, the symmetric matrix of these rows'
/// products, the forward sweep.
fn gauss_newton(sizes: &Sizes) -> f64 {
    let horizon = sizes.horizon as f64;
    let rows = horizon * (horizon + 1.0) / 2.0;
    let squared_rows = horizon * (horizon + 1.0) * (2.0 * horizon + 1.0) / 6.0;
    let unknowns = (sizes.stoch + sizes.deter + sizes.action) as f64;
    let one = 2.0 * horizon * transition(sizes)
        + 2.0 * horizon * reward(sizes)
        + rows * transition(sizes)
        + squared_rows * unknowns;
    sizes.plans as f64 * one
}

fn cem(sizes: &Sizes) -> f64 {
    (sizes.samples * sizes.horizon) as f64 * (transition(sizes) + reward(sizes))
}

fn train(sizes: &Sizes) -> f64 {
    let frames = (sizes.batch * sizes.length) as f64;
    let posterior = layer(sizes.deter + embedding(sizes), sizes.hidden)
        + layer(sizes.hidden, 2 * sizes.stoch)
        + layer(sizes.hidden, sizes.stoch);
    let networks = transition(sizes) + posterior + reward(sizes) + encoder(sizes) + decoder(sizes);
    FORWARD_AND_BACKWARD * frames * networks
}

fn layer(inputs: usize, outputs: usize) -> f64 {
    2.0 * inputs as f64 * outputs as f64
}

/// The mean transition of one row.
fn transition(sizes: &Sizes) -> f64 {
    layer(sizes.stoch + sizes.action, sizes.hidden)
        + layer(sizes.hidden + sizes.deter, 3 * sizes.deter)
        + layer(sizes.deter, sizes.hidden)
        + layer(sizes.hidden, sizes.stoch)
}

fn reward(sizes: &Sizes) -> f64 {
    layer(sizes.stoch + sizes.deter, sizes.units)
        + layer(sizes.units, sizes.units)
        + layer(sizes.units, 1)
}

/// Convolutions of 4×4 pixels and stride 2 that double the channels.
fn encoder(sizes: &Sizes) -> f64 {
    let (mut side, mut inputs, mut outputs) = (sizes.image, 3, sizes.depth);
    let mut operations = 0.0;
    while side > 2 {
        side = (side - 4) / 2 + 1;
        operations += (side * side) as f64 * layer(16 * inputs, outputs);
        (inputs, outputs) = (outputs, 2 * outputs);
    }
    operations
}

fn embedding(sizes: &Sizes) -> usize {
    sizes.model().embedding_size()
}

/// Transposed convolutions of stride 2 from one position to the image.
fn decoder(sizes: &Sizes) -> f64 {
    let depth = sizes.depth;
    let layers: &[(usize, usize, usize, usize)] = if sizes.image == 64 {
        &[(1, 5, 32, 4), (5, 5, 4, 2), (13, 6, 2, 1)]
    } else {
        &[(1, 5, 32, 4), (5, 6, 4, 2)]
    };
    let last = if sizes.image == 64 {
        (30, depth)
    } else {
        (14, 2 * depth)
    };
    let hidden = layers.iter().map(|&(side, kernel, inputs, outputs)| {
        (side * side) as f64 * layer(inputs * depth, kernel * kernel * outputs * depth)
    });
    layer(sizes.stoch + sizes.deter, 32 * depth)
        + hidden.sum::<f64>()
        + (last.0 * last.0) as f64 * layer(last.1, 36 * 3)
}
