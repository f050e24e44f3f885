//! Convolutions without padding, whose weights' derivatives have a kernel of their own: with those of Burn 0.22 they
//! took three quarters of a training step on a GPU.

use burn::{
    backend::Dispatch,
    module::Param,
    nn::conv::{Conv2d, ConvTranspose2d},
    tensor::Tensor,
};

use crate::{extension::Convolutions, layout::Convolution, model::has_kernels};

/// `layer` of `input` `[rows, inputs, height, width]`; its kernel is square, and it has the same stride both
/// ways, no padding, no dilation and one group.
pub fn convolve(layer: &Conv2d, input: Tensor<4>) -> Tensor<4> {
    let operation = Convolution {
        stride: layer.stride[0],
        transposed: false,
    };
    fused(operation, &input, &layer.weight, layer.bias.as_ref())
        .unwrap_or_else(|| layer.forward(input))
}

/// The transposed convolution `layer` of `input` `[rows, inputs, height, width]`, restricted likewise.
pub fn convolve_transposed(layer: &ConvTranspose2d, input: Tensor<4>) -> Tensor<4> {
    let operation = Convolution {
        stride: layer.stride[0],
        transposed: true,
    };
    fused(operation, &input, &layer.weight, layer.bias.as_ref())
        .unwrap_or_else(|| layer.forward(input))
}

/// The convolution by the device's own kernels, where it has them and there is a bias.
fn fused(
    operation: Convolution,
    input: &Tensor<4>,
    weight: &Param<Tensor<4>>,
    bias: Option<&Param<Tensor<1>>>,
) -> Option<Tensor<4>> {
    let bias = bias.filter(|_| has_kernels(&input.device().without_autodiff()))?;
    Some(Tensor::from_dispatch(Dispatch::convolution(
        input.clone().into_dispatch(),
        weight.val().into_dispatch(),
        bias.val().into_dispatch(),
        operation,
    )))
}

#[cfg(feature = "cube")]
mod derivative {
    use burn::{
        backend::{
            Backend, TensorMetadata,
            autodiff::{
                Autodiff,
                checkpoint::{base::Checkpointer, strategy::CheckpointStrategy},
                grads::Gradients,
                ops::{Backward, Ops, OpsKind},
            },
            tensor::FloatTensor,
        },
        tensor::{
            Shape,
            ops::{ConvOptions, ConvTransposeOptions},
        },
    };

    use super::Convolution;
    use crate::extension::{ConvolutionKernels, Convolutions};

    impl Convolution {
        pub(crate) fn options(self) -> ConvOptions<2> {
            ConvOptions::new([self.stride; 2], [0; 2], [1; 2], 1)
        }

        pub(crate) fn transposed_options(self) -> ConvTransposeOptions<2> {
            ConvTransposeOptions::new([self.stride; 2], [0; 2], [0; 2], [1; 2], 1)
        }
    }

    #[derive(Debug)]
    struct Convolve;

    impl<B: ConvolutionKernels> Backward<B, 3> for Convolve {
        /// Input and weight.
        type State = ([FloatTensor<B>; 2], Convolution);

        fn backward(
            self,
            ops: Ops<Self::State, 3>,
            gradients: &mut Gradients,
            _checkpointer: &mut Checkpointer,
        ) {
            let cotangents = gradients.consume::<B>(&ops.node);
            let ([input, weight], operation) = ops.state;
            let [of_input, of_weight, of_bias] = ops.parents;
            if let Some(parent) = of_bias {
                gradients.register::<B>(parent.id, sum_of_channels::<B>(cotangents.clone()));
            }
            if let Some(parent) = of_weight {
                let (small, large) = match operation.transposed {
                    false => (cotangents.clone(), input.clone()),
                    true => (input.clone(), cotangents.clone()),
                };
                let side = weight.shape()[2];
                let gradient = B::correlate(small, large, side, operation.stride);
                gradients.register::<B>(parent.id, gradient);
            }
            if let Some(parent) = of_input {
                let gradient = match operation.transposed {
                    false => B::conv2d_x_backward(input, weight, cotangents, operation.options()),
                    true => B::conv_transpose2d_x_backward(
                        weight,
                        cotangents,
                        operation.transposed_options(),
                    ),
                };
                gradients.register::<B>(parent.id, gradient);
            }
        }
    }

    /// The sums of `[rows, channels, height, width]` over all but the channels: first over what lies side by side.
    fn sum_of_channels<B: Backend>(values: FloatTensor<B>) -> FloatTensor<B> {
        let [rows, channels, height, width] = values.shape().dims::<4>();
        let values = B::float_reshape(values, Shape::new([rows, channels, height * width]));
        let sums = B::float_reshape(B::float_sum_dim(values, 2), Shape::new([rows, channels]));
        B::float_reshape(B::float_sum_dim(sums, 0), Shape::new([channels]))
    }

    impl<B, C> Convolutions for Autodiff<B, C>
    where
        B: ConvolutionKernels + Convolutions,
        C: CheckpointStrategy,
    {
        fn convolution(
            input: FloatTensor<Self>,
            weight: FloatTensor<Self>,
            bias: FloatTensor<Self>,
            operation: Convolution,
        ) -> FloatTensor<Self> {
            let nodes = [input.node(), weight.node(), bias.node()];
            let [input, weight, bias] = [input, weight, bias].map(|part| part.into_primitive());
            let output = B::convolution(input.clone(), weight.clone(), bias, operation);
            match Convolve.prepare::<C>(nodes).compute_bound().stateful() {
                OpsKind::Tracked(prepared) => prepared.finish(([input, weight], operation), output),
                OpsKind::UnTracked(prepared) => prepared.finish(output),
            }
        }
    }
}
