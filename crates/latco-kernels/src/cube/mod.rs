//! CubeCL's kernels, for every GPU.

mod backward;
mod convolution;
mod elementwise;
mod forward;
mod layer;
mod observe;
mod product;
mod tangents;

use burn::{
    backend::{
        TensorMetadata,
        ops::{FloatTensorOps, ModuleOps},
        tensor::FloatTensor,
    },
    tensor::{DType, Shape},
};
use burn_cubecl::{
    CubeBackend, kernel::into_contiguous, ops::numeric::empty_device_contiguous_dtype,
    tensor::CubeTensor,
};
use cubecl::{calculate_cube_count_elemwise, prelude::*};

use crate::{
    extension::{
        ConvolutionKernels, Convolutions, LayerKernels, ModelKernels, PlanKernels,
        PosteriorKernels, SequenceKernels,
    },
    layout::{AdamRates, Convolution, Entering, Network, Posterior, Slope, Wanted},
    posterior::packed,
};
use product::Tile;

/// Units of a cube that works on a row alone for each output of the widest layer, and at most: they wait for
/// weights, so that sums are shared out among several.
const UNITS_OF_AN_OUTPUT: usize = 2;
const UNITS_OF_A_ROW: usize = 1_024;

/// Units of a cube with several rows, of which a device holds many.
const UNITS_OF_ROWS: usize = 128;

/// Cubes at most, each of which takes further rows when it is done: WebGPU promises twice as many.
const CUBES: usize = 32_768;

/// Bytes that rows in the making may take, half of what WebGPU promises of a buffer.
const BYTES: usize = 64 << 20;

/// How a kernel of so many rows of this width is started: where they are few each has a cube of its own, where
/// they are many weights are read once for several.
struct Launch {
    tile: Tile,
    count: CubeCount,
    units: CubeDim,
    /// The rows in the making.
    values: CubeTensor,
}

impl Launch {
    fn of(rows: usize, width: usize, network: Network, like: &CubeTensor) -> Self {
        Self::new(rows, width, network.widest(), like)
    }

    /// With so many outputs of the widest layer.
    fn new(rows: usize, width: usize, widest: usize, like: &CubeTensor) -> Self {
        let most = like.client.properties().hardware.max_units_per_cube as usize;
        let (rows_of_tile, units) = match rows {
            0..256 => {
                let units = UNITS_OF_AN_OUTPUT * widest.next_multiple_of(product::LOCKSTEP);
                (1, units.min(UNITS_OF_A_ROW))
            }
            256..2_048 => (4, UNITS_OF_ROWS),
            _ => (8, UNITS_OF_ROWS),
        };
        let tile = Tile {
            rows: rows_of_tile,
            width,
            units: units.min(most),
        };
        let most = BYTES / (size_of::<f32>() * tile.rows * width);
        let cubes = rows.div_ceil(tile.rows).min(most.clamp(1, CUBES));
        Self {
            count: CubeCount::Static(cubes as u32, 1, 1),
            units: CubeDim::new_1d(tile.units as u32),
            values: empty(like, [cubes * tile.rows, width]),
            tile,
        }
    }
}

/// Numbers that a kernel will write.
fn empty<const D: usize>(like: &CubeTensor, shape: [usize; D]) -> CubeTensor {
    empty_of(like, Shape::from(shape))
}

fn empty_of(like: &CubeTensor, shape: Shape) -> CubeTensor {
    let (client, device) = (like.client.clone(), like.device.clone());
    empty_device_contiguous_dtype(client, device, shape, DType::F32)
}

fn dims<const D: usize>(tensor: &CubeTensor) -> [usize; D] {
    tensor.meta.shape().dims::<D>()
}

impl ModelKernels for CubeBackend {
    fn roll_out(
        parameters: FloatTensor<Self>,
        start: FloatTensor<Self>,
        actions: FloatTensor<Self>,
        defects: FloatTensor<Self>,
        network: Network,
        range: [f32; 2],
        wanted: Wanted,
    ) -> (FloatTensor<Self>, FloatTensor<Self>) {
        let [start, actions, defects] = [start, actions, defects].map(into_contiguous);
        let [plans, horizon, _] = dims(&actions);
        let latents = match wanted.latents {
            true => empty(&start, [plans, horizon, network.latent()]),
            false => empty(&start, [1, 1, 1]),
        };
        let rewards = match wanted.rewards {
            true => empty(&start, [plans, horizon, 3]),
            false => empty(&start, [1, 1, 1]),
        };
        let launch = Launch::of(plans, forward::Columns::of(network).width, network, &start);
        forward::roll_out::launch(
            &start.client.clone(),
            launch.count,
            launch.units,
            parameters.into_tensor_arg(),
            start.into_tensor_arg(),
            actions.into_tensor_arg(),
            defects.into_tensor_arg(),
            launch.values.into_tensor_arg(),
            latents.clone().into_tensor_arg(),
            rewards.clone().into_tensor_arg(),
            range[0],
            range[1],
            network,
            launch.tile,
            wanted,
        );
        (latents, rewards)
    }

    fn linearise(
        parameters: FloatTensor<Self>,
        latents: FloatTensor<Self>,
        actions: FloatTensor<Self>,
        network: Network,
    ) -> FloatTensor<Self> {
        let [latents, actions] = [latents, actions].map(into_contiguous);
        let [points, _] = dims(&latents);
        let kept = empty(&latents, [points, network.kept().width]);
        let launch = Launch::of(
            points,
            forward::Columns::of(network).width,
            network,
            &latents,
        );
        forward::linearise::launch(
            &latents.client.clone(),
            launch.count,
            launch.units,
            parameters.into_tensor_arg(),
            latents.into_tensor_arg(),
            actions.into_tensor_arg(),
            launch.values.into_tensor_arg(),
            kept.clone().into_tensor_arg(),
            network,
            launch.tile,
        );
        kept
    }

    fn linearise_reward(
        parameters: FloatTensor<Self>,
        latents: FloatTensor<Self>,
        network: Network,
        range: [f32; 2],
        slope: Option<Slope>,
    ) -> (FloatTensor<Self>, FloatTensor<Self>) {
        let latents = into_contiguous(latents);
        let [points, latent] = dims(&latents);
        let rewards = empty(&latents, [points, 3]);
        let slopes = match slope {
            Some(_) => empty(&latents, [points, latent]),
            None => empty(&latents, [1, 1]),
        };
        let launch = Launch::of(
            points,
            forward::Columns::of(network).width,
            network,
            &latents,
        );
        forward::linearise_reward::launch(
            &latents.client.clone(),
            launch.count,
            launch.units,
            parameters.into_tensor_arg(),
            latents.into_tensor_arg(),
            launch.values.into_tensor_arg(),
            rewards.clone().into_tensor_arg(),
            slopes.clone().into_tensor_arg(),
            range[0],
            range[1],
            network,
            launch.tile,
            slope,
        );
        (rewards, slopes)
    }

    fn pull_back(
        parameters: FloatTensor<Self>,
        kept: FloatTensor<Self>,
        cotangents: FloatTensor<Self>,
        network: Network,
        first: usize,
    ) -> (FloatTensor<Self>, FloatTensor<Self>) {
        let cotangents = into_contiguous(cotangents);
        let [points, rows, latent] = dims(&cotangents);
        let by_latent = empty(&cotangents, [points, rows, latent]);
        let by_action = empty(&cotangents, [points, rows, network.sizes.action]);
        let width = backward::Columns::of(network).width;
        let launch = Launch::of(points * rows, width, network, &cotangents);
        backward::pull_back::launch(
            &cotangents.client.clone(),
            launch.count,
            launch.units,
            parameters.into_tensor_arg(),
            kept.into_tensor_arg(),
            cotangents.into_tensor_arg(),
            launch.values.into_tensor_arg(),
            by_latent.clone().into_tensor_arg(),
            by_action.clone().into_tensor_arg(),
            rows,
            first,
            network,
            launch.tile,
        );
        (by_latent, by_action)
    }

    fn sweep_back(
        parameters: FloatTensor<Self>,
        kept: FloatTensor<Self>,
        entering: FloatTensor<Self>,
        network: Network,
        plans: usize,
        kind: Entering,
    ) -> (FloatTensor<Self>, FloatTensor<Self>) {
        let entering = into_contiguous(entering);
        let [points, count, latent] = dims(&entering);
        let horizon = points / plans;
        let (rows, ends) = match kind {
            Entering::EveryStep => (count, false),
            Entering::OneStep => (horizon * count, true),
        };
        let by_latent = match ends {
            true => empty(&entering, [plans, rows, horizon, latent]),
            false => empty(&entering, [1, 1, 1, 1]),
        };
        let by_action = empty(&entering, [plans, rows, horizon, network.sizes.action]);
        let width = backward::Columns::of(network).width;
        let launch = Launch::of(plans * rows, width, network, &entering);
        backward::sweep_back::launch(
            &entering.client.clone(),
            launch.count,
            launch.units,
            parameters.into_tensor_arg(),
            kept.into_tensor_arg(),
            entering.into_tensor_arg(),
            launch.values.into_tensor_arg(),
            by_latent.clone().into_tensor_arg(),
            by_action.clone().into_tensor_arg(),
            plans,
            rows,
            horizon,
            network,
            launch.tile,
            kind,
            ends,
        );
        (by_latent, by_action)
    }

    fn push_forward(
        parameters: FloatTensor<Self>,
        kept: FloatTensor<Self>,
        latents: FloatTensor<Self>,
        actions: FloatTensor<Self>,
        network: Network,
        first: usize,
    ) -> FloatTensor<Self> {
        let [latents, actions] = [latents, actions].map(into_contiguous);
        let [points, rows, latent] = dims(&latents);
        let next = empty(&latents, [points, rows, latent]);
        let width = tangents::Columns::of(network).width;
        let launch = Launch::of(points * rows, width, network, &latents);
        tangents::push_forward::launch(
            &latents.client.clone(),
            launch.count,
            launch.units,
            parameters.into_tensor_arg(),
            kept.into_tensor_arg(),
            latents.into_tensor_arg(),
            actions.into_tensor_arg(),
            launch.values.into_tensor_arg(),
            next.clone().into_tensor_arg(),
            rows,
            first,
            network,
            launch.tile,
        );
        next
    }

    fn sweep_forward(
        parameters: FloatTensor<Self>,
        kept: FloatTensor<Self>,
        actions: FloatTensor<Self>,
        drive: FloatTensor<Self>,
        network: Network,
    ) -> FloatTensor<Self> {
        let [actions, drive] = [actions, drive].map(into_contiguous);
        let [plans, horizon, latent] = dims(&drive);
        let changes = empty(&drive, [plans, horizon, latent]);
        let launch = Launch::of(plans, tangents::Columns::of(network).width, network, &drive);
        tangents::sweep_forward::launch(
            &drive.client.clone(),
            launch.count,
            launch.units,
            parameters.into_tensor_arg(),
            kept.into_tensor_arg(),
            actions.into_tensor_arg(),
            drive.into_tensor_arg(),
            launch.values.into_tensor_arg(),
            changes.clone().into_tensor_arg(),
            network,
            launch.tile,
        );
        changes
    }
}

/// Units of a cube whose units do not depend on each other, or add few numbers up.
const GROUP: usize = 64;

impl PlanKernels for CubeBackend {
    fn adam(
        variable: FloatTensor<Self>,
        gradient: FloatTensor<Self>,
        first: FloatTensor<Self>,
        second: FloatTensor<Self>,
        rates: AdamRates,
    ) -> (FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>) {
        let inputs = [variable, gradient, first, second].map(into_contiguous);
        let [variable, gradient, first, second] = inputs;
        let shape = variable.shape();
        let count = shape.num_elements();
        let outputs = [(); 3].map(|()| empty_of(&variable, shape.clone()));
        let [next, next_first, next_second] = &outputs;
        let (cubes, units) = units_for(count, &variable);
        elementwise::adam::launch(
            &variable.client.clone(),
            cubes,
            units,
            variable.into_tensor_arg(),
            gradient.into_tensor_arg(),
            first.into_tensor_arg(),
            second.into_tensor_arg(),
            next.clone().into_tensor_arg(),
            next_first.clone().into_tensor_arg(),
            next_second.clone().into_tensor_arg(),
            rates.beta_1,
            rates.beta_2,
            rates.rate,
            rates.epsilon,
        );
        outputs.into()
    }

    fn join(
        first: FloatTensor<Self>,
        second: FloatTensor<Self>,
        third: FloatTensor<Self>,
        fourth: FloatTensor<Self>,
        parts: usize,
        axis: usize,
    ) -> FloatTensor<Self> {
        let mut shape = first.shape();
        let others = [&second, &third, &fourth];
        let mut ends = [shape[axis]; 4];
        for (index, other) in others.into_iter().enumerate().take(parts - 1) {
            let end = ends[index] + other.shape()[axis];
            ends[index + 1..].fill(end);
        }
        shape[axis] = ends[3];
        let joined = empty_of(&first, shape.clone());
        let (cubes, units) = units_for(shape.num_elements(), &first);
        elementwise::join::launch(
            &first.client.clone(),
            cubes,
            units,
            first.into_tensor_arg(),
            second.into_tensor_arg(),
            third.into_tensor_arg(),
            fourth.into_tensor_arg(),
            joined.clone().into_tensor_arg(),
            axis,
            ends[0],
            ends[1],
            ends[2],
        );
        joined
    }

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
    ) {
        let [planned, actions, weights] = [planned, actions, weights].map(into_contiguous);
        // The mean may be the first columns of something wider.
        let mean = match mean.meta.strides()[1] {
            1 => mean,
            _ => into_contiguous(mean),
        };
        let ([steps, size], [_, action]) = (dims(&planned), dims(&actions));
        let violations = empty(&planned, [2, steps]);
        let by_planned = empty(&planned, [steps, size]);
        let by_mean = empty(&planned, [steps, size]);
        let by_action = empty(&planned, [steps, action]);
        let stride = mean.meta.strides()[0];
        elementwise::penalties::launch(
            &planned.client.clone(),
            CubeCount::Static(steps.min(CUBES) as u32, 1, 1),
            CubeDim::new_1d(GROUP as u32),
            planned.into_tensor_arg(),
            mean.into_tensor_arg(),
            actions.into_tensor_arg(),
            weights.into_tensor_arg(),
            violations.clone().into_tensor_arg(),
            by_planned.clone().into_tensor_arg(),
            by_mean.clone().into_tensor_arg(),
            by_action.clone().into_tensor_arg(),
            stride,
            GROUP,
        );
        (violations, by_planned, by_mean, by_action)
    }
}

impl SequenceKernels for CubeBackend {
    fn observe_forward(
        parameters: FloatTensor<Self>,
        embedded: FloatTensor<Self>,
        actions: FloatTensor<Self>,
        memory: FloatTensor<Self>,
        noise: FloatTensor<Self>,
        start: FloatTensor<Self>,
        network: Posterior,
    ) -> (FloatTensor<Self>, FloatTensor<Self>) {
        let inputs = [embedded, actions, memory, noise, start].map(into_contiguous);
        let [embedded, actions, memory, noise, start] = inputs;
        let [length, rows, _] = dims(&actions);
        let outputs = empty(&actions, [length * rows, network.outputs()]);
        let kept = empty(&actions, [length * rows, network.kept().width]);
        let width = observe::Columns::of(network).width;
        let launch = Launch::new(rows, width, network.widest(), &actions);
        observe::observe::launch(
            &actions.client.clone(),
            launch.count,
            launch.units,
            parameters.into_tensor_arg(),
            embedded.into_tensor_arg(),
            actions.into_tensor_arg(),
            memory.into_tensor_arg(),
            noise.into_tensor_arg(),
            start.into_tensor_arg(),
            launch.values.into_tensor_arg(),
            outputs.clone().into_tensor_arg(),
            kept.clone().into_tensor_arg(),
            network,
            launch.tile,
        );
        (outputs, kept)
    }

    fn observe_backward(
        parameters: FloatTensor<Self>,
        kept: FloatTensor<Self>,
        cotangents: FloatTensor<Self>,
        memory: FloatTensor<Self>,
        noise: FloatTensor<Self>,
        network: Posterior,
    ) -> (FloatTensor<Self>, FloatTensor<Self>) {
        let [cotangents, memory, noise] = [cotangents, memory, noise].map(into_contiguous);
        let [length, rows, _] = dims(&noise);
        let layers = empty(&noise, [length * rows, network.cotangents().width]);
        let latent = network.stochastic + network.deterministic;
        let by_start = empty(&noise, [rows, latent]);
        let width = observe::BackColumns::of(network).width;
        let launch = Launch::new(rows, width, network.widest(), &noise);
        observe::observe_back::launch(
            &noise.client.clone(),
            launch.count,
            launch.units,
            parameters.into_tensor_arg(),
            kept.into_tensor_arg(),
            cotangents.into_tensor_arg(),
            memory.into_tensor_arg(),
            noise.into_tensor_arg(),
            launch.values.into_tensor_arg(),
            layers.clone().into_tensor_arg(),
            by_start.clone().into_tensor_arg(),
            length,
            rows,
            network,
            launch.tile,
        );
        (layers, by_start)
    }
}

/// Units that a kernel without a loop over time is shared out among, if it has work for so many.
const UNITS_AT_ONCE: usize = 1 << 18;

impl ConvolutionKernels for CubeBackend {
    fn correlate(
        small: FloatTensor<Self>,
        large: FloatTensor<Self>,
        side: usize,
        stride: usize,
    ) -> FloatTensor<Self> {
        let small = into_contiguous(Self::float_permute(small, &[0, 2, 3, 1]));
        let large = into_contiguous(large);
        let [images, _, _, channels] = dims(&small);
        let [_, others, _, _] = dims(&large);
        let (pairs, taps) = (channels * others, side * side);
        let most = (UNITS_AT_ONCE / pairs).min(BYTES / (size_of::<f32>() * pairs * taps));
        let parts = most.clamp(1, images.max(1));
        let partial = empty(&small, [parts, pairs * taps]);
        let (count, units) = units_for(parts * pairs, &small);
        convolution::correlate::launch(
            &small.client.clone(),
            count,
            units,
            small.into_tensor_arg(),
            large.into_tensor_arg(),
            partial.clone().into_tensor_arg(),
            side,
            stride,
        );
        let sums = Self::float_sum_dim(partial, 0);
        let sums = Self::float_reshape(sums, Shape::new([others, side, side, channels]));
        Self::float_permute(sums, &[3, 0, 1, 2])
    }
}

impl Convolutions for CubeBackend {
    fn convolution(
        input: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        operation: Convolution,
    ) -> FloatTensor<Self> {
        match operation.transposed {
            false => Self::conv2d(input, weight, Some(bias), operation.options()),
            true => {
                let options = operation.transposed_options();
                Self::conv_transpose2d(input, weight, Some(bias), options)
            }
        }
    }
}

impl PosteriorKernels for CubeBackend {
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
        let weights = [input, gru_input, gru_state, hidden, output];
        let biases = [input_bias, gru_input_bias, gru_state_bias, output_bias];
        let parameters = packed::<Self>(weights, biases);
        let passed =
            Self::observe_forward(parameters, embedded, actions, memory, noise, start, network);
        passed.0
    }
}

/// A unit for each of so many numbers.
fn units_for(count: usize, like: &CubeTensor) -> (CubeCount, CubeDim) {
    let units = CubeDim::new_1d(GROUP as u32);
    (
        calculate_cube_count_elemwise(&like.client, count, units),
        units,
    )
}

impl LayerKernels for CubeBackend {
    fn biased_elu(products: FloatTensor<Self>, bias: FloatTensor<Self>) -> FloatTensor<Self> {
        let [products, bias] = [products, bias].map(into_contiguous);
        let shape = products.shape();
        let outputs = empty_of(&products, shape.clone());
        let (cubes, units) = units_for(shape.num_elements(), &products);
        layer::biased_elu::launch(
            &products.client.clone(),
            cubes,
            units,
            products.into_tensor_arg(),
            bias.into_tensor_arg(),
            outputs.clone().into_tensor_arg(),
        );
        outputs
    }

    fn recurrent_step(
        from_input: FloatTensor<Self>,
        from_state: FloatTensor<Self>,
        state: FloatTensor<Self>,
        input_bias: FloatTensor<Self>,
        state_bias: FloatTensor<Self>,
    ) -> FloatTensor<Self> {
        let inputs = [from_input, from_state, state, input_bias, state_bias];
        let inputs = inputs.map(into_contiguous);
        let [from_input, from_state, state, input_bias, state_bias] = inputs;
        let shape = state.shape();
        let next = empty_of(&state, shape.clone());
        let (cubes, units) = units_for(shape.num_elements(), &state);
        layer::recurrent_step::launch(
            &state.client.clone(),
            cubes,
            units,
            from_input.into_tensor_arg(),
            from_state.into_tensor_arg(),
            state.into_tensor_arg(),
            input_bias.into_tensor_arg(),
            state_bias.into_tensor_arg(),
            next.clone().into_tensor_arg(),
        );
        next
    }

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
    ) {
        let inputs = [from_input, from_state, state, input_bias, state_bias];
        let inputs = inputs.map(into_contiguous);
        let [from_input, from_state, state, input_bias, state_bias] = inputs;
        let [rows, size] = dims(&state);
        let [by_input, by_state] = [(); 2].map(|()| empty(&state, [rows, 3 * size]));
        let [next, update] = [(); 2].map(|()| empty(&state, [rows, size]));
        let (cubes, units) = units_for(rows * size, &state);
        layer::recurrent_derivative::launch(
            &state.client.clone(),
            cubes,
            units,
            from_input.into_tensor_arg(),
            from_state.into_tensor_arg(),
            state.into_tensor_arg(),
            input_bias.into_tensor_arg(),
            state_bias.into_tensor_arg(),
            by_input.clone().into_tensor_arg(),
            by_state.clone().into_tensor_arg(),
            next.clone().into_tensor_arg(),
            update.clone().into_tensor_arg(),
        );
        (by_input, by_state, next, update)
    }
}
