//! Functions of single elements, and the chain of them in a recurrent unit.
//!
//! On the CPU backend `flex` each is one vectorised pass over the elements where they lie: Burn's
//! own are several passes there, one number at a time, and took up to half of a planner's time.
//! On other devices, and where derivatives are recorded, they are Burn's.

use burn::tensor::{Device, Tensor, activation};
use rten_simd::SimdUnaryOp;
use rten_vecmath::{Elu, Sigmoid, Tanh};

/// `x` above zero, `exp(x) − 1` below.
pub(crate) fn elu<const D: usize>(inputs: Tensor<D>) -> Tensor<D> {
    map(inputs, Elu { alpha: 1.0 }, |inputs| {
        activation::elu(inputs, 1.0)
    })
}

/// `1 / (1 + exp(−x))`.
pub(crate) fn sigmoid<const D: usize>(inputs: Tensor<D>) -> Tensor<D> {
    map(inputs, Sigmoid {}, activation::sigmoid)
}

/// The hyperbolic tangent.
pub(crate) fn tanh<const D: usize>(inputs: Tensor<D>) -> Tensor<D> {
    map(inputs, Tanh {}, activation::tanh)
}

/// The next state of a [`Gru`](crate::Gru) from `[gx, gh, h]`, of `[rows, 3 · state]` twice and
/// `[rows, state]`, or by `otherwise`.
pub(crate) fn recurrent_step(
    parts: [Tensor<2>; 3],
    otherwise: impl FnOnce([Tensor<2>; 3]) -> Tensor<2>,
) -> Tensor<2> {
    let size = parts[2].dims()[1];
    match pass_over(parts, |elements| recur(elements, size)) {
        Ok([_, _, next]) => next,
        Err(parts) => otherwise(parts),
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
fn is_in_memory(device: &Device) -> bool {
    let in_memory = [
        #[cfg(feature = "flex")]
        Device::flex(),
    ];
    !device.is_autodiff() && in_memory.contains(device)
}

/// `h' = n + u ∘ (h − n)`, with `(u, r) = σ(gx + gh)` and `n = tanh(gx + r ∘ gh)`, row by row, so
/// that what lies between stays in the fastest cache.
fn recur([from_input, from_state, state]: [&mut [f32]; 3], size: usize) {
    let rows = from_input
        .chunks_exact_mut(3 * size)
        .zip(from_state.chunks_exact(3 * size))
        .zip(state.chunks_exact_mut(size));
    for ((from_input, from_state), state) in rows {
        let (opening, candidate) = from_input.split_at_mut(2 * size);
        let (opening_of_state, candidate_of_state) = from_state.split_at(2 * size);
        for (gate, of_state) in opening.iter_mut().zip(opening_of_state) {
            *gate += of_state;
        }
        Sigmoid {}.map_mut(opening);
        let (update, reset) = opening.split_at(size);
        for ((n, r), of_state) in candidate.iter_mut().zip(reset).zip(candidate_of_state) {
            *n += r * of_state;
        }
        Tanh {}.map_mut(candidate);
        for ((h, u), n) in state.iter_mut().zip(update).zip(&*candidate) {
            *h = n + u * (*h - n);
        }
    }
}

#[cfg(test)]
mod tests {
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
        let slope = |function: fn(Tensor<1>) -> Tensor<1>| {
            let input = Tensor::<1>::from_floats([-0.5], &device);
            let input = input.autodiff().require_grad();
            let mut gradients = function(input.clone()).sum().backward();
            let slope = input.grad_remove(&mut gradients);
            slope.map(|slope| slope.into_scalar::<f32>())
        };
        let exp = (-0.5_f32).exp();
        let sigmoid_slope = exp / (1.0 + exp).powi(2);
        let tanh_slope = 1.0 - 0.5_f32.tanh().powi(2);
        for (found, expected) in [
            (slope(elu), exp),
            (slope(sigmoid), sigmoid_slope),
            (slope(tanh), tanh_slope),
        ] {
            assert!(found.is_some_and(|found| (found - expected).abs() < 1e-6));
        }
    }

    /// Rows of another size than vectors have.
    #[test]
    fn a_recurrent_step_is_that_of_the_formula() {
        const STATE: usize = 5;
        let device = Device::default();
        let ramp = |columns: usize, scale: f32| {
            let values = (0..2 * columns).map(|i| scale * ((i as f32 * 1.7).sin()));
            let values: Vec<f32> = values.collect();
            Tensor::<1>::from_floats(values.as_slice(), &device).reshape([2, columns])
        };
        let parts = [ramp(3 * STATE, 2.0), ramp(3 * STATE, 1.5), ramp(STATE, 0.9)];
        let [x, h, state] = parts.clone();
        let gate = |of: &Tensor<2>, index: usize| of.clone().narrow(1, index * STATE, STATE);
        let update = activation::sigmoid(gate(&x, 0) + gate(&h, 0));
        let reset = activation::sigmoid(gate(&x, 1) + gate(&h, 1));
        let new = activation::tanh(gate(&x, 2) + reset * gate(&h, 2));
        let expected = update.clone() * state + (update.neg() + 1.0) * new;
        let found = recurrent_step(parts, |_| panic!("there is a pass for this device"));
        let error = (found - expected).abs().max().into_scalar::<f32>();
        assert!(error < 1e-6, "{error}");
    }
}
