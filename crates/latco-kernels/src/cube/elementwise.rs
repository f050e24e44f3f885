//! Kernels over single numbers, and over the numbers of a step.

use cubecl::prelude::*;

/// A step of Adam from the moments of the step before:
///
/// ```text
/// m ← β₁ m + (1 − β₁) g,    v ← β₂ v + (1 − β₂) g²,    x ← x − rate · m / (√v + ε)
/// ```
#[cube(launch)]
pub fn adam(
    variable: &Tensor<f32>,
    gradient: &Tensor<f32>,
    first: &Tensor<f32>,
    second: &Tensor<f32>,
    next: &mut Tensor<f32>,
    next_first: &mut Tensor<f32>,
    next_second: &mut Tensor<f32>,
    beta_1: f32,
    beta_2: f32,
    rate: f32,
    epsilon: f32,
) {
    let index = ABSOLUTE_POS;
    if index < variable.len() {
        let slope = gradient[index];
        let moment_1 = first[index] * beta_1 + slope * (1.0f32 - beta_1);
        let moment_2 = second[index] * beta_2 + slope * slope * (1.0f32 - beta_2);
        next_first[index] = moment_1;
        next_second[index] = moment_2;
        next[index] = variable[index] - moment_1 / (f32::sqrt(moment_2) + epsilon) * rate;
    }
}

/// Up to four parts one after the other along `axis`, whatever their strides; the first three end there at `ends`.
#[cube(launch)]
pub fn join(
    first: &Tensor<f32>,
    second: &Tensor<f32>,
    third: &Tensor<f32>,
    fourth: &Tensor<f32>,
    joined: &mut Tensor<f32>,
    axis: usize,
    first_end: usize,
    second_end: usize,
    third_end: usize,
) {
    let index = ABSOLUTE_POS;
    if index < joined.len() {
        let length = joined.shape(axis);
        let along = index / joined.stride(axis) % length;
        if along < first_end {
            joined[index] = first[place_in(first, index, axis, length, 0)];
        } else if along < second_end {
            joined[index] = second[place_in(second, index, axis, length, first_end)];
        } else if along < third_end {
            joined[index] = third[place_in(third, index, axis, length, second_end)];
        } else {
            joined[index] = fourth[place_in(fourth, index, axis, length, third_end)];
        }
    }
}

/// Where a part that begins at `origin` of the `length` along `axis` has what the whole has at `index`.
#[cube]
fn place_in(part: &Tensor<f32>, index: usize, axis: usize, length: usize, origin: usize) -> usize {
    let mut place = 0;
    let mut rest = index;
    for step in 0..part.rank() {
        let each = part.rank() - 1 - step;
        let size = select(each == axis, length, part.shape(each));
        let along = rest % size;
        place += select(each == axis, along - origin, along) * part.stride(each);
        rest /= size;
    }
    place
}

/// `c = ‖z − μ‖²` and `b = ‖max(|a| − 1, 0)‖²` of every step, one after the other, and the gradient of
/// `Σ λ c + Σ ν b` by `z`, by `μ` and by `a`. A cube has a step.
#[cube(launch)]
pub fn penalties(
    planned: &Tensor<f32>,
    mean: &Tensor<f32>,
    actions: &Tensor<f32>,
    weights: &Tensor<f32>,
    violations: &mut Tensor<f32>,
    by_planned: &mut Tensor<f32>,
    by_mean: &mut Tensor<f32>,
    by_action: &mut Tensor<f32>,
    mean_stride: usize,
    #[comptime] units: usize,
) {
    let unit = UNIT_POS_X as usize;
    let (steps, size) = (planned.shape(0), planned.shape(1));
    let action = actions.shape(1);
    let mut sums = Shared::<[f32]>::new_slice(units);
    let mut step = CUBE_POS_X as usize;
    while step < steps {
        let mut sum = f32::new(0.0f32);
        let mut column = unit;
        while column < size {
            let at = step * size + column;
            let defect = planned[at] - mean[step * mean_stride + column];
            let slope = 2.0f32 * weights[step] * defect;
            by_planned[at] = slope;
            by_mean[at] = -slope;
            sum += defect * defect;
            column += units;
        }
        sums[unit] = sum;
        sync_cube();
        if unit == 0 {
            let mut dynamics = f32::new(0.0f32);
            for other in 0..units {
                dynamics += sums[other];
            }
            violations[step] = dynamics;
            let mut bounds = f32::new(0.0f32);
            for component in 0..action {
                let at = step * action + component;
                let value = actions[at];
                let excess = f32::max(f32::abs(value) - 1.0f32, 0.0f32);
                let slope = 2.0f32 * weights[steps + step] * excess;
                by_action[at] = select(value < 0.0f32, -slope, slope);
                bounds += excess * excess;
            }
            violations[steps + step] = bounds;
        }
        sync_cube();
        step += CUBE_COUNT_X as usize;
    }
}
