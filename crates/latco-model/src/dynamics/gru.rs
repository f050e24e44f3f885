use burn::{
    module::Module,
    nn::Linear,
    tensor::{Device, Tensor},
};
use latco_kernels::{RecurrentLayers, RecurrentSlopes, join, sigmoid, tanh};
use latco_plan::Noise;

use crate::initialise::linear;

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
struct Gates {
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
        if !self.layers().are_fused_on(&inputs.device()) {
            return self.gates(inputs, state.clone()).next_state(state);
        }
        let parts = self.products(inputs, state);
        self.layers().step(parts).unwrap_or_else(|parts| {
            let [from_input, from_state, state] = *parts;
            self.gates_of(from_input, from_state).next_state(state)
        })
    }

    /// `rows` `[rows, … + state]`, which end in the state, with the next state in its place; the rows
    /// as they were, and `inputs`, where they are not in memory.
    pub(super) fn forward_in_place(
        &self,
        inputs: Tensor<2>,
        rows: Tensor<2>,
    ) -> Result<Tensor<2>, Box<[Tensor<2>; 2]>> {
        if !self.layers().are_in_memory(&inputs.device()) {
            return Err(Box::new([inputs, rows]));
        }
        let [_, width] = rows.dims();
        let size = self.state.weight.dims()[0];
        let state = rows.clone().narrow(1, width - size, size);
        let [from_input, from_state, _] = self.products(inputs.clone(), state);
        let step = self.layers().step([from_input, from_state, rows]);
        step.map_err(|parts| {
            let [_, _, rows] = *parts;
            Box::new([inputs, rows])
        })
    }

    /// The next state and its derivatives, from the products `[x Wx, h Wh]`, `[points, 3 · state]`
    /// each or with more columns after these, and the state `h`, `[points, state]`.
    pub(super) fn derivative(&self, parts: [Tensor<2>; 3]) -> RecurrentSlopes {
        self.layers().derivative(parts).unwrap_or_else(|parts| {
            let [from_input, from_state, state] = *parts;
            let columns = 3 * state.dims()[1];
            let own = |products: Tensor<2>| products.narrow(1, 0, columns);
            let gates = self.gates_of(own(from_input), own(from_state));
            gates.derivative(state)
        })
    }

    fn layers(&self) -> RecurrentLayers<'_> {
        RecurrentLayers {
            input: &self.input,
            state: &self.state,
        }
    }

    /// `[x Wx, h Wh, h]`.
    fn products(&self, inputs: Tensor<2>, state: Tensor<2>) -> [Tensor<2>; 3] {
        [
            inputs.matmul(self.input.weight.val()),
            state.clone().matmul(self.state.weight.val()),
            state,
        ]
    }

    fn gates(&self, inputs: Tensor<2>, state: Tensor<2>) -> Gates {
        Gates::new(self.input.forward(inputs), self.state.forward(state))
    }

    /// From `[x Wx, h Wh]`.
    fn gates_of(&self, from_input: Tensor<2>, from_state: Tensor<2>) -> Gates {
        let with_bias = |products: Tensor<2>, layer: &Linear| match &layer.bias {
            Some(bias) => products + bias.val().unsqueeze_dim(0),
            None => products,
        };
        Gates::new(
            with_bias(from_input, &self.input),
            with_bias(from_state, &self.state),
        )
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

    /// With `α_u = (h − n) u (1 − u)`, `α_n = (1 − u)(1 − n²)` and `α_r = α_n gh_n r (1 − r)`.
    fn derivative(self, state: Tensor<2>) -> RecurrentSlopes {
        let next = self.next_state(state.clone());
        let closed = |gate: &Tensor<2>| gate.clone().neg() + 1.0;
        let keep = closed(&self.update);
        let update = (state - self.candidate.clone()) * self.update.clone() * keep.clone();
        let candidate = keep * (self.candidate.square().neg() + 1.0);
        let reset =
            candidate.clone() * self.state_candidate * self.reset.clone() * closed(&self.reset);
        let through_reset = candidate.clone() * self.reset;
        RecurrentSlopes {
            by_input: join(vec![update.clone(), reset.clone(), candidate], 1),
            by_state: join(vec![update, reset, through_reset], 1),
            update: self.update,
            next,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(found: Tensor<2>, expected: Tensor<2>) -> f32 {
        (found - expected).abs().max().into_scalar()
    }

    /// Rows of another size than vectors have.
    #[test]
    fn one_pass_gives_what_burns_functions_give() {
        let (device, mut noise) = (Device::default(), Noise::new(2));
        let (inputs, size) = (4, 5);
        let mut gru = Gru::new(inputs, size, &mut noise, &device);
        for layer in [&mut gru.input, &mut gru.state] {
            let bias = noise.normal([3 * size], &device);
            layer.bias = layer.bias.take().map(|param| param.map(|_| bias));
        }
        let inputs = noise.normal([7, inputs], &device) * 2.0;
        let state = noise.normal([7, size], &device);
        assert!(
            gru.layers().are_in_memory(&device),
            "no pass for this device"
        );
        let gates = gru.gates(inputs.clone(), state.clone());
        let expected = gates.derivative(state.clone());
        let next = gru.forward(inputs.clone(), state.clone());
        let found = gru.derivative(gru.products(inputs, state));
        for (found, expected) in [
            (next, expected.next.clone()),
            (found.next, expected.next),
            (found.update, expected.update),
            (found.by_input, expected.by_input),
            (found.by_state, expected.by_state),
        ] {
            assert!(error(found, expected) < 1e-6);
        }
    }
}
