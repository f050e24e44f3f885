//! Reading tensors back, with the checks that keep NaN out of plans.

use std::sync::atomic::{AtomicUsize, Ordering};

use burn::tensor::Tensor;

use crate::PlanError;

static READS: AtomicUsize = AtomicUsize::new(0);

/// How often planners of this process have read a tensor back. On a GPU each time is a wait for all that
/// was started before.
pub fn host_reads() -> usize {
    READS.load(Ordering::Relaxed)
}

/// The values of a tensor, in row-major order.
pub(crate) fn read<const D: usize>(
    what: &'static str,
    tensor: Tensor<D>,
) -> Result<Vec<f32>, PlanError> {
    READS.fetch_add(1, Ordering::Relaxed);
    tensor
        .try_into_vec_as::<f32>()
        .map_err(|error| PlanError::Device {
            what,
            reason: error.to_string(),
        })
}

/// Refuses values that are not finite; `values` holds rows of `steps` consecutive steps.
pub(crate) fn require_finite(
    what: &'static str,
    iteration: usize,
    values: &[f32],
    steps: usize,
) -> Result<(), PlanError> {
    match values.iter().position(|value| !value.is_finite()) {
        None => Ok(()),
        Some(index) => Err(PlanError::NotFinite {
            what,
            iteration,
            step: index % steps.max(1),
        }),
    }
}

/// The sums of rows of `steps` values each; −∞ of rows that hold what is not finite, or overflow.
pub(crate) fn sums(values: &[f32], steps: usize) -> Vec<f32> {
    let sum = |row: &[f32]| match row.iter().sum::<f32>() {
        sum if sum.is_finite() => sum,
        _ => f32::NEG_INFINITY,
    };
    values.chunks(steps).map(sum).collect()
}

/// As [`sums`].
///
/// # Errors
///
/// Names the first value that is not finite where that is so of every row.
pub(crate) fn returns(
    what: &'static str,
    values: &[f32],
    steps: usize,
) -> Result<Vec<f32>, PlanError> {
    let returns = sums(values, steps);
    if returns.iter().all(|&sum| sum == f32::NEG_INFINITY) {
        require_finite(what, 0, values, steps)?;
    }
    Ok(returns)
}

/// Refuses values that are not finite; there are, for each plan, equally many of them for each of
/// `horizon` steps in turn.
pub(crate) fn require_finite_steps(
    what: &'static str,
    iteration: usize,
    values: &[f32],
    [plans, horizon]: [usize; 2],
) -> Result<(), PlanError> {
    let size = values.len() / (plans * horizon);
    match values.iter().position(|value| !value.is_finite()) {
        None => Ok(()),
        Some(index) => Err(PlanError::NotFinite {
            what,
            iteration,
            step: index / size % horizon,
        }),
    }
}
