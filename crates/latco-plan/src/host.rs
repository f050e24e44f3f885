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
