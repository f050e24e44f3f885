use burn::{nn::Linear, tensor::Tensor};

use super::{ConvertError, Convolution, Layout, Names, Sizes, Source};
use crate::{Gru, initialise::linear_from};

/// PyTorch layers: matrices `[outputs, inputs]`, convolutions as ours.
pub(super) struct PyTorch<'a>(pub Source<'a>);

impl PyTorch<'_> {
    fn bias(&self, name: &str, outputs: usize) -> Result<Tensor<1>, ConvertError> {
        self.0.tensor(&format!("{name}.bias"), [outputs])
    }

    /// A matrix as `[inputs, outputs]`.
    fn matrix(&self, name: &str, inputs: usize, outputs: usize) -> Result<Tensor<2>, ConvertError> {
        Ok(self.0.tensor(name, [outputs, inputs])?.transpose())
    }
}

/// Moves the gates of the last dimension from reset, update, new to update, reset, new.
fn reorder_gates<const D: usize>(gates: Tensor<D>) -> Tensor<D> {
    let size = gates.dims()[D - 1] / 3;
    let gate = |index: usize| gates.clone().narrow(D - 1, index * size, size);
    Tensor::cat(vec![gate(1), gate(0), gate(2)], D - 1)
}

impl Layout for PyTorch<'_> {
    /// Among all that a training script saves.
    const PARTS: [&'static str; 4] = [
        "transition_model.",
        "encoder.",
        "observation_model.",
        "reward_model.",
    ];

    fn source(&self) -> &Source<'_> {
        &self.0
    }

    const NAMES: Names = Names {
        encoder: [
            "encoder.conv1",
            "encoder.conv2",
            "encoder.conv3",
            "encoder.conv4",
        ],
        recurrent_input: "transition_model.fc_embed_state_action",
        prior: [
            "transition_model.fc_embed_belief_prior",
            "transition_model.fc_state_prior",
        ],
        posterior: [
            "transition_model.fc_embed_belief_posterior",
            "transition_model.fc_state_posterior",
        ],
        decoder_input: "observation_model.fc1",
        decoder: [
            "observation_model.conv1",
            "observation_model.conv2",
            "observation_model.conv3",
            "observation_model.conv4",
        ],
        reward: ["reward_model.fc1", "reward_model.fc2", "reward_model.fc3"],
    };

    fn sizes(&self) -> Result<Sizes, ConvertError> {
        let [_, deterministic] = self.0.sides("transition_model.rnn.weight_hh")?;
        let [_, hidden] = self.0.sides("transition_model.rnn.weight_ih")?;
        let [_, recurrent_input] = self
            .0
            .sides("transition_model.fc_embed_state_action.weight")?;
        let [moments] = self.0.sides("transition_model.fc_state_prior.bias")?;
        let [depth] = self.0.sides("encoder.conv1.bias")?;
        let [reward_units] = self.0.sides("reward_model.fc1.bias")?;
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
        let weight = self.matrix(&format!("{name}.weight"), inputs, outputs)?;
        Ok(linear_from(weight, self.bias(name, outputs)?))
    }

    /// Latents are `[deterministic, stochastic]` there.
    fn over_latents(
        &self,
        name: &str,
        sizes: &Sizes,
        outputs: usize,
    ) -> Result<Linear, ConvertError> {
        let weight = self.matrix(&format!("{name}.weight"), sizes.latent(), outputs)?;
        let (stochastic, deterministic) = (sizes.stochastic, sizes.deterministic);
        let parts = vec![
            weight.clone().narrow(0, deterministic, stochastic),
            weight.narrow(0, 0, deterministic),
        ];
        Ok(linear_from(
            Tensor::cat(parts, 0),
            self.bias(name, outputs)?,
        ))
    }

    fn over_embedding(&self, name: &str, sizes: &Sizes) -> Result<Linear, ConvertError> {
        self.linear(name, sizes.deterministic + sizes.embedding(), sizes.hidden)
    }

    fn gru(&self, sizes: &Sizes) -> Result<Gru, ConvertError> {
        let (hidden, state) = (sizes.hidden, sizes.deterministic);
        let layer = |of: &str, inputs: usize| {
            let name = |kind: &str| format!("transition_model.rnn.{kind}_{of}");
            let weight = self.matrix(&name("weight"), inputs, 3 * state)?;
            let bias = self.0.tensor::<1>(&name("bias"), [3 * state])?;
            Ok::<_, ConvertError>(linear_from(reorder_gates(weight), reorder_gates(bias)))
        };
        Ok(Gru {
            input: layer("ih", hidden)?,
            state: layer("hh", state)?,
        })
    }

    fn convolution(
        &self,
        name: &str,
        [inputs, outputs]: [usize; 2],
        side: usize,
    ) -> Result<Convolution, ConvertError> {
        let shape = [outputs, inputs, side, side];
        let kernel = self.0.tensor(&format!("{name}.weight"), shape)?;
        Ok((kernel, self.bias(name, outputs)?))
    }

    fn transposed_convolution(
        &self,
        name: &str,
        [inputs, outputs]: [usize; 2],
        side: usize,
    ) -> Result<Convolution, ConvertError> {
        let shape = [inputs, outputs, side, side];
        let kernel = self.0.tensor(&format!("{name}.weight"), shape)?;
        Ok((kernel, self.bias(name, outputs)?))
    }
}
