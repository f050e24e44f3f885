use burn::{nn::Linear, tensor::Tensor};

use super::{ConvertError, Convolution, Layout, Names, Sizes, Source};
use crate::{Gru, initialise::linear_from};

/// Keras layers: matrices `[inputs, outputs]`, convolutions `[height, width, inputs, outputs]`,
/// transposed ones `[height, width, outputs, inputs]`.
pub(super) struct TensorFlow<'a>(pub Source<'a>);

/// A part of the model and the arrays of its layers.
pub(super) type Part = (
    &'static str,
    &'static [(&'static str, &'static [&'static str])],
);

const LAYER: &[&str] = &["kernel", "bias"];

/// The parts in the order in which a `tf.Module` lists its variables.
pub(super) const DECODER: Part = (
    "decode",
    &[
        ("h1", LAYER),
        ("h2", LAYER),
        ("h3", LAYER),
        ("h4", LAYER),
        ("h5", LAYER),
    ],
);
pub(super) const DYNAMICS: Part = (
    "dynamics",
    &[
        ("cell", &["kernel", "recurrent_kernel", "bias"]),
        ("img1", LAYER),
        ("img2", LAYER),
        ("img3", LAYER),
        ("obs1", LAYER),
        ("obs2", LAYER),
    ],
);
pub(super) const ENCODER: Part = (
    "encode",
    &[("h1", LAYER), ("h2", LAYER), ("h3", LAYER), ("h4", LAYER)],
);
pub(super) const REWARD: Part = ("reward", &[("h0", LAYER), ("h1", LAYER), ("hout", LAYER)]);

impl TensorFlow<'_> {
    fn bias(&self, name: &str, outputs: usize) -> Result<Tensor<1>, ConvertError> {
        self.0.tensor(&format!("{name}/bias"), [outputs])
    }
}

impl Layout for TensorFlow<'_> {
    const PARTS: [&'static str; 4] = ["decode/", "dynamics/", "encode/", "reward/"];

    fn source(&self) -> &Source<'_> {
        &self.0
    }

    const NAMES: Names = Names {
        encoder: ["encode/h1", "encode/h2", "encode/h3", "encode/h4"],
        recurrent_input: "dynamics/img1",
        prior: ["dynamics/img2", "dynamics/img3"],
        posterior: ["dynamics/obs1", "dynamics/obs2"],
        decoder_input: "decode/h1",
        decoder: ["decode/h2", "decode/h3", "decode/h4", "decode/h5"],
        reward: ["reward/h0", "reward/h1", "reward/hout"],
    };

    fn sizes(&self) -> Result<Sizes, ConvertError> {
        let [deterministic, _] = self.0.sides("dynamics/cell/recurrent_kernel")?;
        let [hidden, _] = self.0.sides("dynamics/cell/kernel")?;
        let [recurrent_input, _] = self.0.sides("dynamics/img1/kernel")?;
        let [moments] = self.0.sides("dynamics/img3/bias")?;
        let [depth] = self.0.sides("encode/h1/bias")?;
        let [reward_units] = self.0.sides("reward/h0/bias")?;
        Ok(Sizes {
            recurrent_input,
            stochastic: moments / 2,
            deterministic,
            hidden,
            reward_units,
            depth,
        })
    }

    fn linear(&self, name: &str, inputs: usize, outputs: usize) -> Result<Linear, ConvertError> {
        let weight = self
            .0
            .tensor(&format!("{name}/kernel"), [inputs, outputs])?;
        Ok(linear_from(weight, self.bias(name, outputs)?))
    }

    fn over_latents(
        &self,
        name: &str,
        sizes: &Sizes,
        outputs: usize,
    ) -> Result<Linear, ConvertError> {
        self.linear(name, sizes.latent(), outputs)
    }

    /// The embedding is a map of 2×2 positions, flattened as `[position, channel]` there and as
    /// `[channel, position]` here.
    fn over_embedding(&self, name: &str, sizes: &Sizes) -> Result<Linear, ConvertError> {
        let (deterministic, embedding, hidden) =
            (sizes.deterministic, sizes.embedding(), sizes.hidden);
        let inputs = deterministic + embedding;
        let weight = self.0.tensor(&format!("{name}/kernel"), [inputs, hidden])?;
        let of_embedding = weight
            .clone()
            .narrow(0, deterministic, embedding)
            .reshape([4, embedding / 4, hidden])
            .swap_dims(0, 1)
            .reshape([embedding, hidden]);
        let weight = Tensor::cat(vec![weight.narrow(0, 0, deterministic), of_embedding], 0);
        Ok(linear_from(weight, self.bias(name, hidden)?))
    }

    /// The gates are in our order; the two biases are the rows of one array (`reset_after`).
    fn gru(&self, sizes: &Sizes) -> Result<Gru, ConvertError> {
        let (hidden, state) = (sizes.hidden, sizes.deterministic);
        let gates = 3 * state;
        let bias: Tensor<2> = self.0.tensor("dynamics/cell/bias", [2, gates])?;
        let bias = |row: usize| bias.clone().narrow(0, row, 1).squeeze_dim::<1>(0);
        let of_input = self.0.tensor("dynamics/cell/kernel", [hidden, gates])?;
        let of_state = self
            .0
            .tensor("dynamics/cell/recurrent_kernel", [state, gates])?;
        Ok(Gru {
            input: linear_from(of_input, bias(0)),
            state: linear_from(of_state, bias(1)),
        })
    }

    fn convolution(
        &self,
        name: &str,
        [inputs, outputs]: [usize; 2],
        side: usize,
    ) -> Result<Convolution, ConvertError> {
        let shape = [side, side, inputs, outputs];
        let kernel: Tensor<4> = self.0.tensor(&format!("{name}/kernel"), shape)?;
        Ok((kernel.permute([3, 2, 0, 1]), self.bias(name, outputs)?))
    }

    fn transposed_convolution(
        &self,
        name: &str,
        [inputs, outputs]: [usize; 2],
        side: usize,
    ) -> Result<Convolution, ConvertError> {
        let shape = [side, side, outputs, inputs];
        let kernel: Tensor<4> = self.0.tensor(&format!("{name}/kernel"), shape)?;
        Ok((kernel.permute([3, 2, 0, 1]), self.bias(name, outputs)?))
    }
}
