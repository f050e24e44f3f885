use burn::{
    module::Module,
    nn::Linear,
    tensor::{Device, Tensor},
};
use latco_plan::Noise;

use crate::{
    elementwise::{recurrent_step, sigmoid, tanh},
    initialise::linear,
};

/// A gated recurrent unit whose reset gate acts after the product (Cho et al., arXiv 1406.1078, in
/// the form of Keras' `reset_after` and cuDNN):
///
/// ```text
/// gx = x Wx + bx,  gh = h Wh + bh,   each split into (update, reset, candidate)
/// u = σ(gx_u + gh_u),  r = σ(gx_r + gh_r),  n = tanh(gx_n + r ∘ gh_n)
/// h' = u ∘ h + (1 − u) ∘ n
/// ```
#[derive(Module, Debug)]
pub struct Gru {
    /// `Wx`, `[input, 3 · state]`.
    pub input: Linear,
    /// `Wh`, `[state, 3 · state]`.
    pub state: Linear,
}

/// The gates of one step, all `[rows, state]`.
pub(crate) struct Gates {
    pub update: Tensor<2>,
    pub reset: Tensor<2>,
    pub candidate: Tensor<2>,
    /// `gh_n`, the state's part of the candidate before the reset.
    pub state_candidate: Tensor<2>,
}

impl Gru {
    pub(crate) fn new(input: usize, state: usize, noise: &mut Noise, device: &Device) -> Self {
        Self {
            input: linear(input, 3 * state, noise, device),
            state: linear(state, 3 * state, noise, device),
        }
    }

    /// The next state `[rows, state]` from `inputs` `[rows, input]` and `state` `[rows, state]`.
    pub fn forward(&self, inputs: Tensor<2>, state: Tensor<2>) -> Tensor<2> {
        let from_input = self.input.forward(inputs);
        let from_state = self.state.forward(state.clone());
        recurrent_step(
            [from_input, from_state, state],
            |[from_input, from_state, state]| Gates::new(from_input, from_state).next_state(state),
        )
    }

    pub(crate) fn gates(&self, inputs: Tensor<2>, state: Tensor<2>) -> Gates {
        Gates::new(self.input.forward(inputs), self.state.forward(state))
    }
}

impl Gates {
    /// From `gx` and `gh`, both `[rows, 3 · state]`.
    fn new(from_input: Tensor<2>, from_state: Tensor<2>) -> Self {
        let size = from_state.dims()[1] / 3;
        let both = |from: &Tensor<2>| from.clone().narrow(1, 0, 2 * size);
        let candidate = |from: Tensor<2>| from.narrow(1, 2 * size, size);
        let opening = sigmoid(both(&from_input) + both(&from_state));
        let update = opening.clone().narrow(1, 0, size);
        let reset = opening.narrow(1, size, size);
        let state_candidate = candidate(from_state);
        Self {
            candidate: tanh(candidate(from_input) + reset.clone() * state_candidate.clone()),
            update,
            reset,
            state_candidate,
        }
    }

    /// `u ∘ h + (1 − u) ∘ n`, computed as `n + u ∘ (h − n)`.
    pub fn next_state(&self, state: Tensor<2>) -> Tensor<2> {
        self.candidate.clone() + self.update.clone() * (state - self.candidate.clone())
    }
}
