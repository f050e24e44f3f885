//! What follows a product in the layers of a model.

use cubecl::prelude::*;

use super::product::{activated, sigmoid};
use crate::layout::Activation;

/// `elu(x + b)`, a unit for each number.
#[cube(launch)]
pub fn biased_elu(products: &Tensor<f32>, bias: &Tensor<f32>, outputs: &mut Tensor<f32>) {
    let index = ABSOLUTE_POS;
    if index < outputs.len() {
        let sum = products[index] + bias[index % bias.len()];
        outputs[index] = activated(sum, comptime!(Some(Activation::Elu)));
    }
}

/// The next state, a unit for each of its numbers.
#[cube(launch)]
pub fn recurrent_step(
    from_input: &Tensor<f32>,
    from_state: &Tensor<f32>,
    state: &Tensor<f32>,
    input_bias: &Tensor<f32>,
    state_bias: &Tensor<f32>,
    next: &mut Tensor<f32>,
) {
    let index = ABSOLUTE_POS;
    if index < next.len() {
        let size = state.shape(1);
        let unit = index % size;
        let (update_at, reset_at, candidate_at) = (unit, unit + size, unit + 2 * size);
        let row = index / size * 3 * size;
        let update = sigmoid(
            from_input[row + update_at]
                + input_bias[update_at]
                + from_state[row + update_at]
                + state_bias[update_at],
        );
        let reset = sigmoid(
            from_input[row + reset_at]
                + input_bias[reset_at]
                + from_state[row + reset_at]
                + state_bias[reset_at],
        );
        let of_state = from_state[row + candidate_at] + state_bias[candidate_at];
        let of_input = from_input[row + candidate_at] + input_bias[candidate_at];
        let candidate = f32::tanh(of_input + reset * of_state);
        next[index] = candidate + update * (state[index] - candidate);
    }
}

/// The same with its derivatives.
#[cube(launch)]
pub fn recurrent_derivative(
    from_input: &Tensor<f32>,
    from_state: &Tensor<f32>,
    state: &Tensor<f32>,
    input_bias: &Tensor<f32>,
    state_bias: &Tensor<f32>,
    by_input: &mut Tensor<f32>,
    by_state: &mut Tensor<f32>,
    next: &mut Tensor<f32>,
    updates: &mut Tensor<f32>,
) {
    let index = ABSOLUTE_POS;
    if index < next.len() {
        let size = state.shape(1);
        let unit = index % size;
        let (update_at, reset_at, candidate_at) = (unit, unit + size, unit + 2 * size);
        let row = index / size * 3 * size;
        let update = sigmoid(
            from_input[row + update_at]
                + input_bias[update_at]
                + from_state[row + update_at]
                + state_bias[update_at],
        );
        let reset = sigmoid(
            from_input[row + reset_at]
                + input_bias[reset_at]
                + from_state[row + reset_at]
                + state_bias[reset_at],
        );
        let of_state = from_state[row + candidate_at] + state_bias[candidate_at];
        let of_input = from_input[row + candidate_at] + input_bias[candidate_at];
        let candidate = f32::tanh(of_input + reset * of_state);
        let change = state[index] - candidate;
        let slope = (1.0f32 - update) * (1.0f32 - candidate * candidate);
        let of_update = change * update * (1.0f32 - update);
        let of_reset = slope * of_state * reset * (1.0f32 - reset);
        next[index] = candidate + update * change;
        updates[index] = update;
        by_input[row + update_at] = of_update;
        by_input[row + reset_at] = of_reset;
        by_input[row + candidate_at] = slope;
        by_state[row + update_at] = of_update;
        by_state[row + reset_at] = of_reset;
        by_state[row + candidate_at] = slope * reset;
    }
}
