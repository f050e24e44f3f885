//! Functions of single elements, and the chain of them in a recurrent unit.
//!
//! On the CPU backend `flex` each is one vectorised pass over the elements where they lie: Burn's
//! own are several passes there, one number at a time, and took up to half of a planner's time.
//! On a GPU what follows a product is one kernel. On other devices, and where derivatives are recorded, they
//! are Burn's.

use burn::{
    backend::Dispatch,
    nn::Linear,
    tensor::{Device, Tensor, activation},
};
use rten_simd::SimdUnaryOp;
use rten_vecmath::{Elu, Sigmoid, Tanh};

use crate::{extension::LayerKernels, join::join, model::has_kernels};

/// `x` above zero, `exp(x) − 1` below.
pub fn elu<const D: usize>(inputs: Tensor<D>) -> Tensor<D> {
    map(inputs, Elu { alpha: 1.0 }, |inputs| {
        // Burn's own takes the exponential of positive numbers, too: from 89 on its derivative is NaN.
        activation::relu(inputs.clone()) + (inputs.clamp_max(0.0).exp() - 1.0)
    })
}

/// `1 / (1 + exp(−x))`.
pub fn sigmoid<const D: usize>(inputs: Tensor<D>) -> Tensor<D> {
    map(inputs, Sigmoid {}, activation::sigmoid)
}

/// The hyperbolic tangent.
pub fn tanh<const D: usize>(inputs: Tensor<D>) -> Tensor<D> {
    map(inputs, Tanh {}, activation::tanh)
}

/// `elu(x W + b)` of `inputs` `[rows, inputs]` and a layer of these weights, the bias added in the
/// same pass.
pub fn elu_of_layer(layer: &Linear, inputs: Tensor<2>) -> Tensor<2> {
    let device = inputs.device();
    if let Some(bias) = bias_for_kernels(layer, &device) {
        let products = inputs.matmul(layer.weight.val()).into_dispatch();
        return Tensor::from_dispatch(Dispatch::biased_elu(products, bias.into_dispatch()));
    }
    let Some(bias) = bias_in_memory(layer, &device) else {
        return elu(layer.forward(inputs));
    };
    let products = inputs.matmul(layer.weight.val());
    let pass = |[elements]: [&mut [f32]; 1]| {
        for row in elements.chunks_exact_mut(bias.len()) {
            add(row, &bias);
            Elu { alpha: 1.0 }.map_mut(row);
        }
    };
    pass_over([products], pass).map_or_else(
        |[products]| elu(products + Tensor::<1>::from_floats(bias.as_slice(), &device).unsqueeze()),
        |[outputs]| outputs,
    )
}

/// The biases of a recurrent step: of both gates' sums, of the candidate's input, and of its state.
struct RecurrentBiases {
    gates: Vec<f32>,
    candidate: Vec<f32>,
    state_candidate: Vec<f32>,
}

impl RecurrentBiases {
    /// Those of layers `Wx` and `Wh` that give `[rows, 3 · state]` each, where they can be had.
    fn of(layers: RecurrentLayers<'_>, device: &Device) -> Option<Self> {
        let of_input = bias_in_memory(layers.input, device)?;
        let of_state = bias_in_memory(layers.state, device)?;
        let gates = of_input.len() / 3 * 2;
        let sums = of_input.iter().zip(&of_state).map(|(x, h)| x + h);
        Some(Self {
            gates: sums.take(gates).collect(),
            candidate: of_input[gates..].to_vec(),
            state_candidate: of_state[gates..].to_vec(),
        })
    }

    /// The number of components of the state.
    fn size(&self) -> usize {
        self.candidate.len()
    }
}

/// The layers `Wx` and `Wh` of a recurrent unit, `[inputs, 3 · state]` and `[state, 3 · state]`.
#[derive(Clone, Copy)]
pub struct RecurrentLayers<'a> {
    /// `Wx`.
    pub input: &'a Linear,
    /// `Wh`.
    pub state: &'a Linear,
}

/// A step's next state and its derivatives (see [`RecurrentLayers::derivative`]).
pub struct RecurrentSlopes {
    /// `[α_u, α_r, α_n]`, `[rows, 3 · state]`.
    pub by_input: Tensor<2>,
    /// `[α_u, α_r, α_n r]`, `[rows, 3 · state]`.
    pub by_state: Tensor<2>,
    /// `h'`, `[rows, state]`.
    pub next: Tensor<2>,
    /// `u`, `[rows, state]`.
    pub update: Tensor<2>,
}

impl RecurrentLayers<'_> {
    /// Whether the functions below do anything for tensors on `device`.
    pub fn are_fused_on(self, device: &Device) -> bool {
        self.biases_for_kernels(device).is_some() || RecurrentBiases::of(self, device).is_some()
    }

    /// Whether rows that end in the state may be changed where they lie in memory.
    pub fn are_in_memory(self, device: &Device) -> bool {
        RecurrentBiases::of(self, device).is_some()
    }

    /// `h'` in the place of `h`, from `[gx, gh, […, h]]`, the products without their biases, of
    /// `[rows, 3 · state]` twice, and rows that end in the state; the parts again where nothing is fused.
    pub fn step(self, parts: [Tensor<2>; 3]) -> Result<Tensor<2>, Box<[Tensor<2>; 3]>> {
        let device = parts[0].device();
        if let Some([input, state]) = self.biases_for_kernels(&device) {
            let size = parts[1].dims()[1] / 3;
            let width = parts[2].dims()[1];
            let [from_input, from_state, rows] = parts;
            let before = rows.clone().narrow(1, width - size, size);
            let next = Dispatch::recurrent_step(
                from_input.into_dispatch(),
                from_state.into_dispatch(),
                before.into_dispatch(),
                input.into_dispatch(),
                state.into_dispatch(),
            );
            let next = Tensor::from_dispatch(next);
            return Ok(match width - size {
                0 => next,
                first => join(vec![rows.narrow(1, 0, first), next], 1),
            });
        }
        let Some(biases) = RecurrentBiases::of(self, &device) else {
            return Err(Box::new(parts));
        };
        let [_, _, next] =
            pass_over(parts, |elements| recur(elements, &biases)).map_err(Box::new)?;
        Ok(next)
    }

    /// The next state and its derivatives from `[gx, gh, h]`: the products without their biases, of rows
    /// that begin with the three gates, and the state.
    ///
    /// ```text
    /// dh' = u dh + [α_u, α_r, α_n] · dgx + [α_u, α_r, α_n r] · dgh    (summed over the three gates)
    /// ```
    pub fn derivative(
        self,
        [from_input, from_state, state]: [Tensor<2>; 3],
    ) -> Result<RecurrentSlopes, Box<[Tensor<2>; 3]>> {
        let device = state.device();
        let [rows, size] = state.dims();
        if let Some([input_bias, state_bias]) = self.biases_for_kernels(&device) {
            let gates = |products: Tensor<2>| products.narrow(1, 0, 3 * size).into_dispatch();
            let (by_input, by_state, next, update) = Dispatch::recurrent_derivative(
                gates(from_input),
                gates(from_state),
                state.into_dispatch(),
                input_bias.into_dispatch(),
                state_bias.into_dispatch(),
            );
            return Ok(RecurrentSlopes {
                by_input: Tensor::from_dispatch(by_input),
                by_state: Tensor::from_dispatch(by_state),
                next: Tensor::from_dispatch(next),
                update: Tensor::from_dispatch(update),
            });
        }
        let Some(biases) = RecurrentBiases::of(self, &device) else {
            return Err(Box::new([from_input, from_state, state]));
        };
        let zeros = |columns: usize| Tensor::zeros([rows, columns], &device);
        let [by_input, by_state, update] = [zeros(3 * size), zeros(3 * size), zeros(size)];
        let parts = [from_input, from_state, state, by_input, by_state, update];
        match pass_over(parts, |elements| differentiate(elements, &biases)) {
            Ok([_, _, next, by_input, by_state, update]) => Ok(RecurrentSlopes {
                by_input,
                by_state,
                next,
                update,
            }),
            Err([from_input, from_state, state, ..]) => {
                Err(Box::new([from_input, from_state, state]))
            }
        }
    }

    fn biases_for_kernels(self, device: &Device) -> Option<[Tensor<1>; 2]> {
        let input = bias_for_kernels(self.input, device)?;
        Some([input, bias_for_kernels(self.state, device)?])
    }
}

/// `rows` with the first `count` outputs of `layer` at `inputs` `[rows, inputs]` in the place of their
/// first columns.
pub fn overwrite_first(
    rows: Tensor<2>,
    count: usize,
    layer: &Linear,
    inputs: Tensor<2>,
) -> Tensor<2> {
    let width = rows.dims()[1];
    let otherwise = |rows: Tensor<2>, inputs: Tensor<2>| {
        let outputs = layer.forward(inputs).narrow(1, 0, count);
        join(vec![outputs, rows.narrow(1, count, width - count)], 1)
    };
    let Some(bias) = bias_in_memory(layer, &rows.device()) else {
        return otherwise(rows, inputs);
    };
    let products = inputs
        .clone()
        .matmul(layer.weight.val().narrow(1, 0, count));
    let pass = |[products, rows]: [&mut [f32]; 2]| {
        let products = products.chunks_exact(count);
        for (row, products) in rows.chunks_exact_mut(width).zip(products) {
            row[..count].copy_from_slice(products);
            add(&mut row[..count], &bias);
        }
    };
    match pass_over([products, rows], pass) {
        Ok([_, rows]) => rows,
        Err([_, rows]) => otherwise(rows, inputs),
    }
}

fn map<const D: usize>(
    inputs: Tensor<D>,
    function: impl SimdUnaryOp<f32>,
    otherwise: impl FnOnce(Tensor<D>) -> Tensor<D>,
) -> Tensor<D> {
    match pass_over([inputs], |[elements]| function.map_mut(elements)) {
        Ok([outputs]) => outputs,
        Err([inputs]) => otherwise(inputs),
    }
}

/// The tensors after `pass` has changed their elements, or as they were, if these are not
/// single-precision numbers in this process's memory.
fn pass_over<const N: usize, const D: usize>(
    tensors: [Tensor<D>; N],
    pass: impl FnOnce([&mut [f32]; N]),
) -> Result<[Tensor<D>; N], [Tensor<D>; N]> {
    let device = match tensors.first() {
        Some(first) if is_in_memory(&first.device()) => first.device(),
        _ => return Err(tensors),
    };
    let mut data = tensors.map(Tensor::into_data);
    let elements = data.each_mut().map(|data| data.as_mut_slice().ok());
    let all = elements.iter().all(Option::is_some);
    if all {
        pass(elements.map(Option::unwrap_or_default));
    }
    let tensors = data.map(|data| Tensor::from_data(data, &device));
    if all { Ok(tensors) } else { Err(tensors) }
}

/// Whether the elements of tensors on `device` can be had without a copy and without a record for
/// derivatives.
pub(crate) fn is_in_memory(device: &Device) -> bool {
    let in_memory = [
        #[cfg(feature = "flex")]
        Device::flex(),
    ];
    !device.is_autodiff() && in_memory.contains(device)
}

/// The bias of a layer, where there are kernels for it and for inputs on `device`.
fn bias_for_kernels(layer: &Linear, device: &Device) -> Option<Tensor<1>> {
    let bias = layer.bias.as_ref()?.val();
    let both = has_kernels(device) && has_kernels(&bias.device());
    both.then_some(bias)
}

/// The bias of a layer, where it and inputs on `device` are in memory and leave no record for
/// derivatives.
fn bias_in_memory(layer: &Linear, device: &Device) -> Option<Vec<f32>> {
    let bias = layer.bias.as_ref()?.val();
    if !is_in_memory(device) || !is_in_memory(&bias.device()) {
        return None;
    }
    bias.try_into_vec_as().ok()
}

fn add(values: &mut [f32], others: &[f32]) {
    for (value, other) in values.iter_mut().zip(others) {
        *value += other;
    }
}

/// `h' = n + u ∘ (h − n)`, with `(u, r) = σ(gx + gh)` and `n = tanh(gx + r ∘ gh)`, row by row, so
/// that what lies between stays in the fastest cache.
fn recur([from_input, from_state, state]: [&mut [f32]; 3], biases: &RecurrentBiases) {
    let size = biases.size();
    let count = from_state.len() / (3 * size);
    let width = state.len() / count.max(1);
    let rows = from_input
        .chunks_exact_mut(3 * size)
        .zip(from_state.chunks_exact_mut(3 * size))
        .zip(state.chunks_exact_mut(width.max(1)));
    for ((from_input, from_state), row) in rows {
        open_gates(from_input, from_state, biases);
        let (gates, candidate) = from_input.split_at(2 * size);
        let state = &mut row[width - size..];
        for ((h, u), n) in state.iter_mut().zip(&gates[..size]).zip(candidate) {
            *h = n + u * (*h - n);
        }
    }
}

/// `[u, r, n]` in the place of a row of `gx`; the candidate's part of the row of `gh` gets its bias.
fn open_gates(from_input: &mut [f32], from_state: &mut [f32], biases: &RecurrentBiases) {
    let size = biases.size();
    let (gates, candidate) = from_input.split_at_mut(2 * size);
    let (gates_of_state, candidate_of_state) = from_state.split_at_mut(2 * size);
    let parts = gates.iter_mut().zip(gates_of_state).zip(&biases.gates);
    for ((gate, of_state), bias) in parts {
        *gate += *of_state + bias;
    }
    Sigmoid {}.map_mut(gates);
    let both = biases.candidate.iter().zip(&biases.state_candidate);
    let parts = candidate.iter_mut().zip(candidate_of_state).zip(both);
    for (((n, of_state), (bias, bias_of_state)), r) in parts.zip(&gates[size..]) {
        *of_state += bias_of_state;
        *n += bias + r * *of_state;
    }
    Tanh {}.map_mut(candidate);
}

/// `h'` and its derivatives, row by row: with `α_u = (h − n) u (1 − u)`, `α_n = (1 − u)(1 − n²)` and
/// `α_r = α_n gh_n r (1 − r)`,
///
/// ```text
/// dh' = u dh + [α_u, α_r, α_n] · dgx + [α_u, α_r, α_n r] · dgh    (summed over the three gates)
/// ```
fn differentiate(
    [from_input, from_state, state, by_input, by_state, update]: [&mut [f32]; 6],
    biases: &RecurrentBiases,
) {
    let size = biases.size();
    let count = update.len() / size.max(1);
    let width = |products: &[f32]| (products.len() / count.max(1)).max(1);
    let widths = [width(from_input), width(from_state)];
    let products = from_input
        .chunks_exact_mut(widths[0])
        .zip(from_state.chunks_exact_mut(widths[1]));
    let derivatives = by_input
        .chunks_exact_mut(3 * size)
        .zip(by_state.chunks_exact_mut(3 * size));
    let states = state
        .chunks_exact_mut(size)
        .zip(update.chunks_exact_mut(size));
    for (((gx, gh), (by_input, by_state)), (state, update)) in products.zip(derivatives).zip(states)
    {
        let (gx, gh) = (&mut gx[..3 * size], &mut gh[..3 * size]);
        open_gates(gx, gh, biases);
        let (gates, candidate) = gx.split_at(2 * size);
        let (open, reset) = gates.split_at(size);
        update.copy_from_slice(open);
        let of_state = &gh[2 * size..];
        let (by_gates, by_candidate) = by_input.split_at_mut(2 * size);
        let (by_update, by_reset) = by_gates.split_at_mut(size);
        let (state_gates, through_reset) = by_state.split_at_mut(2 * size);
        for index in 0..size {
            let (u, r, n) = (open[index], reset[index], candidate[index]);
            let change = state[index] - n;
            let slope = (1.0 - u) * (1.0 - n * n);
            by_update[index] = change * u * (1.0 - u);
            by_reset[index] = slope * of_state[index] * r * (1.0 - r);
            by_candidate[index] = slope;
            through_reset[index] = slope * r;
            state[index] = n + u * change;
        }
        state_gates.copy_from_slice(by_gates);
    }
}

#[cfg(test)]
mod tests {
    use burn::{nn::LinearConfig, tensor::Distribution};

    use super::*;

    /// Every kind of number, more of them than fill whole vectors.
    fn numbers() -> Vec<f32> {
        let grid = (-300..=300).map(|step| step as f32 * 0.1);
        let others = [
            f32::NAN,
            f32::INFINITY,
            f32::NEG_INFINITY,
            1e-7,
            -1e-7,
            -200.0,
        ];
        grid.chain(others).collect()
    }

    fn check(function: fn(Tensor<1>) -> Tensor<1>, expected: fn(f64) -> f64) {
        let device = Device::default();
        let inputs = numbers();
        let outputs = function(Tensor::from_floats(inputs.as_slice(), &device));
        let outputs = outputs.into_data_as::<f32>();
        for (input, output) in inputs.into_iter().zip(outputs.iter::<f32>()) {
            let expected = expected(f64::from(input));
            let close = (f64::from(output) - expected).abs() <= 3e-7 * expected.abs().max(1.0);
            let same = output.is_nan() && expected.is_nan() || f64::from(output) == expected;
            assert!(close || same, "{input}: {output} is not {expected}");
        }
    }

    #[test]
    fn values_are_those_of_the_formulas() {
        check(elu, |x| if x > 0.0 { x } else { x.exp_m1() });
        check(sigmoid, |x| 1.0 / (1.0 + (-x).exp()));
        check(tanh, f64::tanh);
    }

    #[test]
    fn derivatives_are_recorded() {
        let device = Device::default();
        let slope_at = |input: f32, function: fn(Tensor<1>) -> Tensor<1>| {
            let input = Tensor::<1>::from_floats([input], &device);
            let input = input.autodiff().require_grad();
            let mut gradients = function(input.clone()).sum().backward();
            let slope = input.grad_remove(&mut gradients);
            slope.map(|slope| slope.into_scalar::<f32>())
        };
        let slope = |function| slope_at(-0.5, function);
        let exp = (-0.5_f32).exp();
        let sigmoid_slope = exp / (1.0 + exp).powi(2);
        let tanh_slope = 1.0 - 0.5_f32.tanh().powi(2);
        for (found, expected) in [
            (slope(elu), exp),
            (slope(sigmoid), sigmoid_slope),
            (slope(tanh), tanh_slope),
            (slope_at(0.0, elu), 1.0),
            (slope_at(100.0, elu), 1.0),
            (slope_at(-200.0, elu), 0.0),
        ] {
            assert!(found.is_some_and(|found| (found - expected).abs() < 1e-6));
        }
    }

    /// Rows of other sizes than vectors have.
    #[test]
    fn the_bias_of_a_layer_is_added_before() {
        let device = Device::default();
        let layer = LinearConfig::new(3, 5).init(&device);
        let inputs = Tensor::random([4, 3], Distribution::Default, &device);
        let expected = activation::elu(layer.forward(inputs.clone()), 1.0);
        let error = (elu_of_layer(&layer, inputs) - expected).abs().max();
        assert!(error.into_scalar::<f32>() < 1e-6);
    }
}
