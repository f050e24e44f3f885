//! The posterior along recorded sequences, or the prior along imagined ones, as one kernel, and the derivatives
//! as one more and a product for each weight.

use burn::{
    backend::{Backend, Dispatch, TensorMetadata, tensor::FloatTensor},
    nn::Linear,
    tensor::{Shape, Tensor},
};

use crate::{
    extension::PosteriorKernels,
    layout::{Activation, Posterior},
    model::has_kernels,
};

/// The layers that a recurrent state-space model's posterior goes through at every step, or its prior.
pub struct SequenceLayers<'a> {
    /// `[s, a]` to the recurrent input.
    pub input: &'a Linear,
    /// The recurrent input to the three gates.
    pub gru_input: &'a Linear,
    /// `h` to the three gates.
    pub gru_state: &'a Linear,
    /// `h'` to the hidden layer, the first rows of its weight `[deterministic, hidden]`.
    pub hidden: Tensor<2>,
    /// That to `[mean, raw]`.
    pub output: &'a Linear,
}

/// Samples along sequences, of `length · rows` steps, and its parameters.
pub struct Observed {
    /// `[s, h]`.
    pub latents: Tensor<2>,
    /// `[steps, stochastic]`.
    pub mean: Tensor<2>,
    /// `[steps, stochastic]`.
    pub std: Tensor<2>,
}

impl SequenceLayers<'_> {
    /// The posterior from `start` `[rows, latent]` on, given what the hidden layer gets from images, `embedded`
    /// `[length · rows, hidden]`, actions `[length, rows, action]`, `memory` `[length, rows, 1]` that the
    /// latents before are multiplied with, and standard normal `noise` `[length, rows, stochastic]`;
    /// `None` where the device has no kernels for it, or the layers other sizes.
    pub fn observe(
        &self,
        activation: Activation,
        embedded: Tensor<2>,
        start: Tensor<2>,
        [actions, memory, noise]: [Tensor<3>; 3],
    ) -> Option<Observed> {
        let device = embedded.device().without_autodiff();
        if !has_kernels(&device) {
            return None;
        }
        let bias = |layer: &Linear| layer.bias.as_ref().map(|bias| bias.val());
        let [deterministic, hidden] = self.hidden.dims();
        let stochastic = noise.dims()[2];
        let action = actions.dims()[2];
        let network = Posterior::new([action, stochastic, deterministic, hidden], activation);
        let weights = [
            self.input.weight.dims(),
            self.gru_input.weight.dims(),
            self.gru_state.weight.dims(),
            self.hidden.dims(),
            self.output.weight.dims(),
        ];
        let expected = network.layers.map(|layer| [layer.inputs, layer.outputs]);
        if weights != expected {
            return None;
        }
        let outputs = Dispatch::observe(
            self.input.weight.val().into_dispatch(),
            bias(self.input)?.into_dispatch(),
            self.gru_input.weight.val().into_dispatch(),
            bias(self.gru_input)?.into_dispatch(),
            self.gru_state.weight.val().into_dispatch(),
            bias(self.gru_state)?.into_dispatch(),
            self.hidden.clone().into_dispatch(),
            self.output.weight.val().into_dispatch(),
            bias(self.output)?.into_dispatch(),
            embedded.into_dispatch(),
            start.into_dispatch(),
            actions.into_dispatch(),
            memory.into_dispatch(),
            noise.into_dispatch(),
            network,
        );
        let outputs = Tensor::<2>::from_dispatch(outputs);
        let latent = stochastic + deterministic;
        Some(Observed {
            latents: outputs.clone().narrow(1, 0, latent),
            mean: outputs.clone().narrow(1, latent, stochastic),
            std: outputs.narrow(1, latent + stochastic, stochastic),
        })
    }
}

/// The parameters of a [`Posterior`]: every layer's weight, bias and transposed weight. The hidden layer has no
/// bias of its own.
#[cfg_attr(
    not(feature = "cube"),
    allow(dead_code, reason = "no backend needs it")
)]
pub(crate) fn packed<B: Backend>(
    weights: [FloatTensor<B>; 5],
    [input, gru_input, gru_state, output]: [FloatTensor<B>; 4],
) -> FloatTensor<B> {
    let hidden = weights[3].shape()[1];
    let none = B::float_slice(input.clone(), &[(0..hidden).into()]);
    let none = B::float_mul_scalar(none, 0.0.into());
    let biases = [input, gru_input, gru_state, none, output];
    let flat = |tensor: FloatTensor<B>| {
        let count = tensor.shape().num_elements();
        B::float_reshape(tensor, Shape::new([count]))
    };
    let parts = weights.into_iter().zip(biases).flat_map(|(weight, bias)| {
        let transposed = B::float_transpose(weight.clone());
        [flat(weight), flat(bias), flat(transposed)]
    });
    B::float_cat(parts.collect(), 0)
}

#[cfg(feature = "cube")]
#[allow(
    clippy::too_many_arguments,
    reason = "each tensor has a derivative of its own"
)]
mod derivative {
    use burn::backend::autodiff::{
        Autodiff,
        checkpoint::{base::Checkpointer, strategy::CheckpointStrategy},
        grads::Gradients,
        ops::{Backward, Ops, OpsKind},
    };

    use super::*;
    use crate::extension::SequenceKernels;

    #[derive(Debug)]
    struct Observe;

    impl<B: SequenceKernels> Backward<B, 11> for Observe {
        /// Parameters, what is kept, outputs, memory, noise.
        type State = ([FloatTensor<B>; 5], Posterior);

        fn backward(
            self,
            ops: Ops<Self::State, 11>,
            gradients: &mut Gradients,
            _checkpointer: &mut Checkpointer,
        ) {
            let cotangents = gradients.consume::<B>(&ops.node);
            let ([parameters, kept, outputs, memory, noise], network) = ops.state;
            let (of_layers, of_start) =
                B::observe_backward(parameters, kept.clone(), cotangents, memory, noise, network);
            let columns = |tensor: &FloatTensor<B>, first: usize, count: usize| {
                let rows = tensor.shape()[0];
                let slices = [(0..rows).into(), (first..first + count).into()];
                B::float_slice(tensor.clone(), &slices)
            };
            let (places, own) = (network.kept(), network.cotangents());
            let (stochastic, size) = (network.stochastic, network.deterministic);
            let before = stochastic + network.action;
            let [of_output, of_hidden, of_gates, of_state_gates, of_input] = [
                columns(&of_layers, 0, own.hidden),
                columns(&of_layers, own.hidden, network.hidden),
                columns(&of_layers, own.gates, 3 * size),
                columns(&of_layers, own.gates_of_state, 3 * size),
                columns(&of_layers, own.input, network.hidden),
            ];
            let weight = |inputs: FloatTensor<B>, of_sums: &FloatTensor<B>| {
                B::float_matmul(B::float_transpose(inputs), of_sums.clone())
            };
            let bias = |of_sums: &FloatTensor<B>| {
                let count = of_sums.shape()[1];
                B::float_reshape(B::float_sum_dim(of_sums.clone(), 0), Shape::new([count]))
            };
            let gradients_of: [&dyn Fn() -> FloatTensor<B>; 11] = [
                &|| weight(columns(&kept, 0, before), &of_input),
                &|| bias(&of_input),
                &|| weight(columns(&kept, places.input, network.hidden), &of_gates),
                &|| bias(&of_gates),
                &|| weight(columns(&kept, before, size), &of_state_gates),
                &|| bias(&of_state_gates),
                &|| weight(columns(&outputs, stochastic, size), &of_hidden),
                &|| weight(columns(&kept, places.hidden, network.hidden), &of_output),
                &|| bias(&of_output),
                &|| of_hidden.clone(),
                &|| of_start.clone(),
            ];
            for (parent, gradient) in ops.parents.into_iter().zip(gradients_of) {
                if let Some(parent) = parent {
                    gradients.register::<B>(parent.id, gradient());
                }
            }
        }
    }

    impl<B, C> PosteriorKernels for Autodiff<B, C>
    where
        B: SequenceKernels + PosteriorKernels,
        C: CheckpointStrategy,
    {
        fn observe(
            input: FloatTensor<Self>,
            input_bias: FloatTensor<Self>,
            gru_input: FloatTensor<Self>,
            gru_input_bias: FloatTensor<Self>,
            gru_state: FloatTensor<Self>,
            gru_state_bias: FloatTensor<Self>,
            hidden: FloatTensor<Self>,
            output: FloatTensor<Self>,
            output_bias: FloatTensor<Self>,
            embedded: FloatTensor<Self>,
            start: FloatTensor<Self>,
            actions: FloatTensor<Self>,
            memory: FloatTensor<Self>,
            noise: FloatTensor<Self>,
            network: Posterior,
        ) -> FloatTensor<Self> {
            let nodes = [
                input.node(),
                input_bias.node(),
                gru_input.node(),
                gru_input_bias.node(),
                gru_state.node(),
                gru_state_bias.node(),
                hidden.node(),
                output.node(),
                output_bias.node(),
                embedded.node(),
                start.node(),
            ];
            let weights = [input, gru_input, gru_state, hidden, output];
            let biases = [input_bias, gru_input_bias, gru_state_bias, output_bias];
            let parameters = packed::<B>(
                weights.map(|weight| weight.into_primitive()),
                biases.map(|bias| bias.into_primitive()),
            );
            let [memory, noise] = [memory, noise].map(|constant| constant.into_primitive());
            let (outputs, kept) = B::observe_forward(
                parameters.clone(),
                embedded.into_primitive(),
                actions.into_primitive(),
                memory.clone(),
                noise.clone(),
                start.into_primitive(),
                network,
            );
            match Observe.prepare::<C>(nodes).compute_bound().stateful() {
                OpsKind::Tracked(prepared) => {
                    let kept = [parameters, kept, outputs.clone(), memory, noise];
                    prepared.finish((kept, network), outputs)
                }
                OpsKind::UnTracked(prepared) => prepared.finish(outputs),
            }
        }
    }
}
