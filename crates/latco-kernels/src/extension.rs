//! What a backend must do to have a model's kernels.

use burn::backend::{Backend, backend_extension, tensor::FloatTensor};

use crate::layout::{AdamRates, Convolution, Entering, Network, Posterior, Slope, Wanted};

/// Whole passes through a recurrent state-space model's prior and reward head, whose weights lie in one tensor
/// of parameters. Derivatives are taken of none of them.
#[backend_extension(Cube: cfg(feature = "cube"))]
pub trait ModelKernels: Backend {
    /// Latents `[plans, horizon, latent]` and rewards `[plans, horizon, 3]`, as far as they are wanted.
    fn roll_out(
        parameters: FloatTensor<Self>,
        start: FloatTensor<Self>,
        actions: FloatTensor<Self>,
        defects: FloatTensor<Self>,
        network: Network,
        range: [f32; 2],
        wanted: Wanted,
    ) -> (FloatTensor<Self>, FloatTensor<Self>);

    /// What derivatives at points are made of, `[points, width]`.
    fn linearise(
        parameters: FloatTensor<Self>,
        latents: FloatTensor<Self>,
        actions: FloatTensor<Self>,
        network: Network,
    ) -> FloatTensor<Self>;

    /// Rewards `[points, 3]` and the derivative of one of them `[points, latent]`.
    fn linearise_reward(
        parameters: FloatTensor<Self>,
        latents: FloatTensor<Self>,
        network: Network,
        range: [f32; 2],
        slope: Option<Slope>,
    ) -> (FloatTensor<Self>, FloatTensor<Self>);

    /// Cotangents `[points, rows, latent]` at points from `first` on, carried back.
    fn pull_back(
        parameters: FloatTensor<Self>,
        kept: FloatTensor<Self>,
        cotangents: FloatTensor<Self>,
        network: Network,
        first: usize,
    ) -> (FloatTensor<Self>, FloatTensor<Self>);

    /// Cotangents `[horizon · plans, rows, latent]` carried back through all steps.
    fn sweep_back(
        parameters: FloatTensor<Self>,
        kept: FloatTensor<Self>,
        entering: FloatTensor<Self>,
        network: Network,
        plans: usize,
        kind: Entering,
    ) -> (FloatTensor<Self>, FloatTensor<Self>);

    /// Tangents `[points, rows, latent]` and `[points, rows, action]` at points from `first` on, carried
    /// forward.
    fn push_forward(
        parameters: FloatTensor<Self>,
        kept: FloatTensor<Self>,
        latents: FloatTensor<Self>,
        actions: FloatTensor<Self>,
        network: Network,
        first: usize,
    ) -> FloatTensor<Self>;

    /// Tangents of actions `[plans, horizon, action]` carried forward through all steps, with
    /// `drive` `[plans, horizon, latent]` added at the end of each.
    fn sweep_forward(
        parameters: FloatTensor<Self>,
        kept: FloatTensor<Self>,
        actions: FloatTensor<Self>,
        drive: FloatTensor<Self>,
        network: Network,
    ) -> FloatTensor<Self>;
}

/// What planners and optimisers do to single numbers. Derivatives are taken of none of it.
#[backend_extension(Cube: cfg(feature = "cube"))]
pub trait PlanKernels: Backend {
    /// A variable after a step of Adam, and both moments.
    fn adam(
        variable: FloatTensor<Self>,
        gradient: FloatTensor<Self>,
        first: FloatTensor<Self>,
        second: FloatTensor<Self>,
        rates: AdamRates,
    ) -> (FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>);

    /// The first so many of four tensors, one after the other along an axis.
    fn join(
        first: FloatTensor<Self>,
        second: FloatTensor<Self>,
        third: FloatTensor<Self>,
        fourth: FloatTensor<Self>,
        parts: usize,
        axis: usize,
    ) -> FloatTensor<Self>;

    /// Violations `[2, steps]`, and the gradient of what they cost with weights `[2, steps]`: by what is
    /// planned and by its mean `[steps, node]`, and by actions `[steps, action]`.
    fn penalties(
        planned: FloatTensor<Self>,
        mean: FloatTensor<Self>,
        actions: FloatTensor<Self>,
        weights: FloatTensor<Self>,
    ) -> (
        FloatTensor<Self>,
        FloatTensor<Self>,
        FloatTensor<Self>,
        FloatTensor<Self>,
    );
}

/// The posterior along recorded sequences, or the prior along imagined ones.
#[backend_extension(Cube: cfg(feature = "cube"))]
pub trait SequenceKernels: Backend {
    /// `[s, h, mean, std]` after every step, `[length · rows, outputs]`, and what derivatives are made of,
    /// from `embedded` `[length · rows, hidden]`, actions `[length, rows, action]`, memory
    /// `[length, rows, 1]`, noise `[length, rows, stochastic]` and the latents before, `start`
    /// `[rows, latent]`.
    fn observe_forward(
        parameters: FloatTensor<Self>,
        embedded: FloatTensor<Self>,
        actions: FloatTensor<Self>,
        memory: FloatTensor<Self>,
        noise: FloatTensor<Self>,
        start: FloatTensor<Self>,
        network: Posterior,
    ) -> (FloatTensor<Self>, FloatTensor<Self>);

    /// The cotangents of every layer's sums, `[length · rows, width]`, and of the start, from those of the
    /// outputs.
    fn observe_backward(
        parameters: FloatTensor<Self>,
        kept: FloatTensor<Self>,
        cotangents: FloatTensor<Self>,
        memory: FloatTensor<Self>,
        noise: FloatTensor<Self>,
        network: Posterior,
    ) -> (FloatTensor<Self>, FloatTensor<Self>);
}

/// The same, with derivatives by weights, biases, what is embedded and the start.
#[backend_extension(Cube: cfg(feature = "cube"), Autodiff: cfg(feature = "cube"))]
pub trait PosteriorKernels: Backend {
    /// `[s, h, mean, std]` after every step, `[length · rows, outputs]`.
    #[allow(
        clippy::too_many_arguments,
        reason = "each tensor has a derivative of its own"
    )]
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
    ) -> FloatTensor<Self>;
}

/// What convolutions need on the way back.
#[backend_extension(Cube: cfg(feature = "cube"))]
pub trait ConvolutionKernels: Backend {
    /// `Σ_{n, y, x} small[n, a, y, x] · large[n, b, stride y + i, stride x + j]`, `[a, b, side, side]`.
    fn correlate(
        small: FloatTensor<Self>,
        large: FloatTensor<Self>,
        side: usize,
        stride: usize,
    ) -> FloatTensor<Self>;
}

/// Convolutions without padding of square kernels.
#[backend_extension(Cube: cfg(feature = "cube"), Autodiff: cfg(feature = "cube"))]
pub trait Convolutions: Backend {
    /// Of `[rows, inputs, height, width]` with a weight `[outputs, inputs, side, side]`, or
    /// `[inputs, outputs, side, side]` where it is transposed.
    fn convolution(
        input: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        operation: Convolution,
    ) -> FloatTensor<Self>;
}

/// What follows a product in the layers of a model. Derivatives are taken of none of it.
#[backend_extension(Cube: cfg(feature = "cube"))]
pub trait LayerKernels: Backend {
    /// `elu(x + b)` of products `[rows, outputs]`.
    fn biased_elu(products: FloatTensor<Self>, bias: FloatTensor<Self>) -> FloatTensor<Self>;

    /// A recurrent unit's next state, from its products `[rows, 3 · state]` without their biases.
    fn recurrent_step(
        from_input: FloatTensor<Self>,
        from_state: FloatTensor<Self>,
        state: FloatTensor<Self>,
        input_bias: FloatTensor<Self>,
        state_bias: FloatTensor<Self>,
    ) -> FloatTensor<Self>;

    /// Derivatives by both products, the next state and the update gate.
    fn recurrent_derivative(
        from_input: FloatTensor<Self>,
        from_state: FloatTensor<Self>,
        state: FloatTensor<Self>,
        input_bias: FloatTensor<Self>,
        state_bias: FloatTensor<Self>,
    ) -> (
        FloatTensor<Self>,
        FloatTensor<Self>,
        FloatTensor<Self>,
        FloatTensor<Self>,
    );
}
