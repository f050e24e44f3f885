use burn::{
    nn::Linear,
    tensor::{Tensor, activation::relu},
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use latco_kernels::{elu, elu_of_layer};

/// The non-linearity between dense layers: those of prior, posterior and reward head. Convolutions
/// always have ReLU.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Activation {
    /// `x` above zero, `exp(x) − 1` below: LatCo's and Dreamer's.
    #[default]
    Elu,
    /// `max(x, 0)`: PlaNet's.
    Relu,
}

impl Activation {
    /// The values at `inputs`.
    pub fn apply<const D: usize>(self, inputs: Tensor<D>) -> Tensor<D> {
        match self {
            Self::Elu => elu(inputs),
            Self::Relu => relu(inputs),
        }
    }

    /// The values at the outputs of `layer` for `inputs` `[rows, inputs]`.
    pub(crate) fn of_layer(self, layer: &Linear, inputs: Tensor<2>) -> Tensor<2> {
        match self {
            Self::Elu => elu_of_layer(layer, inputs),
            Self::Relu => relu(layer.forward(inputs)),
        }
    }

    /// The same for kernels.
    pub(crate) fn fused(self) -> latco_kernels::Activation {
        match self {
            Self::Elu => latco_kernels::Activation::Elu,
            Self::Relu => latco_kernels::Activation::Relu,
        }
    }

    /// The slopes where the values are `values`.
    pub(crate) fn slope<const D: usize>(self, values: Tensor<D>) -> Tensor<D> {
        match self {
            Self::Elu => values.clamp_max(0.0) + 1.0,
            Self::Relu => values.sign(),
        }
    }
}
