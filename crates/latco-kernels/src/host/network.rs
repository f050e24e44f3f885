//! A model's weights as products on the host want them.

use std::sync::OnceLock;

use super::product::Packed;
use crate::layout::Network;

/// The weight `[inputs, outputs]` of a layer and its bias.
#[derive(Clone, Debug)]
pub struct Dense {
    pub weight: Vec<f32>,
    pub bias: Vec<f32>,
}

impl Dense {
    fn outputs(&self) -> usize {
        self.bias.len()
    }

    fn inputs(&self) -> usize {
        self.weight.len() / self.outputs()
    }

    fn at(&self, input: usize, output: usize) -> f32 {
        self.weight[input * self.outputs() + output]
    }

    fn packed(&self) -> Packed {
        self.first(self.outputs())
    }

    /// The first outputs alone.
    fn first(&self, outputs: usize) -> Packed {
        Packed::new(
            [self.inputs(), outputs],
            &self.bias[..outputs],
            |input, output| self.at(input, output),
        )
    }

    /// For cotangents of the first `outputs` outputs.
    fn transposed(&self, outputs: usize) -> Packed {
        Packed::new([outputs, self.inputs()], &[], |output, input| {
            self.at(input, output)
        })
    }
}

/// The layers of [`Network`], whose latents, actions and gates are ordered as there but for the first layer, which
/// takes `[s, a]`.
#[derive(Clone, Debug)]
pub struct HostLayers {
    pub input: Dense,
    pub gru_input: Dense,
    pub gru_state: Dense,
    pub hidden: Dense,
    pub output: Dense,
    pub reward: [Dense; 3],
}

/// A model in the memory of this process.
#[derive(Debug)]
pub struct HostNetwork {
    pub(super) network: Network,
    pub(super) range: [f32; 2],
    layers: HostLayers,
    pub(super) forward: Forward,
    backward: OnceLock<Backward>,
}

/// Rows that go through the model together.
#[derive(Clone, Copy)]
pub(super) struct Group {
    pub rows: usize,
    /// From what is kept of a row's point to that of the next row.
    pub stride: usize,
}

/// What rollouts and rewards multiply with.
#[derive(Debug)]
pub(super) struct Forward {
    /// `[a, s]` to the recurrent input `x`.
    pub input: Packed,
    /// `[h, x]` to the gates `[u, r]`.
    pub gates: Packed,
    /// `h` and `x` to the candidate, without and with the gate `r`.
    pub candidate_of_state: Packed,
    pub candidate_of_input: Packed,
    pub hidden: Packed,
    /// The mean of `s'`.
    pub mean: Packed,
    pub reward: [Packed; 3],
}

/// What cotangents are multiplied with.
#[derive(Debug)]
pub(super) struct Backward {
    pub mean: Packed,
    pub hidden: Packed,
    /// Those of the gates `[u, r, n]` to `x`.
    pub gru_input: Packed,
    /// Those of the gates `[n, u, r]` to `h`.
    pub gru_state: Packed,
    /// To `[a, s]`.
    pub input: Packed,
    /// The reward head's layers, the last one a vector.
    pub reward_output: Vec<f32>,
    pub reward_second: Packed,
    pub reward_first: Packed,
}

impl HostNetwork {
    pub fn new(network: Network, range: [f32; 2], layers: HostLayers) -> Self {
        Self {
            forward: Forward::of(network, &layers),
            backward: OnceLock::new(),
            network,
            range,
            layers,
        }
    }

    /// How `rows` rows at `points` points go through the model: those of a point together, or all of them where
    /// each point has one.
    pub(super) fn group(&self, points: usize, rows: usize) -> Group {
        let width = self.network.kept().width;
        match rows == points {
            true => Group {
                rows,
                stride: width,
            },
            false => Group {
                rows: rows / points,
                stride: 0,
            },
        }
    }

    /// Packed where a derivative is first asked for: samplers need none.
    pub(super) fn backward(&self) -> &Backward {
        self.backward
            .get_or_init(|| Backward::of(self.network, &self.layers))
    }
}

impl Forward {
    fn of(network: Network, layers: &HostLayers) -> Self {
        let sizes = network.sizes;
        let (size, hidden) = (sizes.deterministic, sizes.hidden);
        let HostLayers {
            gru_input: of_input,
            gru_state: of_state,
            ..
        } = layers;
        let both: Vec<f32> = (of_input.bias.iter().zip(&of_state.bias))
            .take(2 * size)
            .map(|(of_input, of_state)| of_input + of_state)
            .collect();
        let candidate = |layer: &Dense| {
            Packed::new(
                [layer.inputs(), size],
                &layer.bias[2 * size..],
                |input, unit| layer.at(input, 2 * size + unit),
            )
        };
        Self {
            input: Packed::new(
                [sizes.action + sizes.stochastic, hidden],
                &layers.input.bias,
                |input, unit| layers.input.at(place_in_input(network, input), unit),
            ),
            gates: Packed::new([size + hidden, 2 * size], &both, |input, gate| match input
                .checked_sub(size)
            {
                None => of_state.at(input, gate),
                Some(input) => of_input.at(input, gate),
            }),
            candidate_of_state: candidate(of_state),
            candidate_of_input: candidate(of_input),
            hidden: layers.hidden.packed(),
            mean: layers.output.first(sizes.stochastic),
            reward: layers.reward.each_ref().map(Dense::packed),
        }
    }
}

/// Where the first layer takes what stands at `index` in `[a, s]`.
fn place_in_input(network: Network, index: usize) -> usize {
    let sizes = network.sizes;
    match index.checked_sub(sizes.action) {
        None => sizes.stochastic + index,
        Some(index) => index,
    }
}

impl Backward {
    fn of(network: Network, layers: &HostLayers) -> Self {
        let sizes = network.sizes;
        let size = sizes.deterministic;
        let [first, second, third] = &layers.reward;
        Self {
            mean: layers.output.transposed(sizes.stochastic),
            hidden: layers.hidden.transposed(sizes.hidden),
            gru_input: layers.gru_input.transposed(3 * size),
            gru_state: Packed::new([3 * size, size], &[], |gate, unit| {
                layers.gru_state.at(unit, (gate + 2 * size) % (3 * size))
            }),
            input: Packed::new(
                [sizes.hidden, sizes.action + sizes.stochastic],
                &[],
                |unit, input| layers.input.at(place_in_input(network, input), unit),
            ),
            reward_output: third.weight.clone(),
            reward_second: second.transposed(sizes.units),
            reward_first: first.transposed(sizes.units),
        }
    }

    /// Multiplications of one cotangent in one step of the model.
    pub fn products(&self) -> usize {
        let Self {
            mean,
            hidden,
            gru_input,
            gru_state,
            input,
            ..
        } = self;
        let layers = [mean, hidden, gru_input, gru_state, input];
        layers.into_iter().map(Packed::products).sum()
    }
}
