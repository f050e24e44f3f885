use burn::tensor::{Int, Tensor, TensorData};

use crate::solve::Pool;

/// The action sequence of highest return so far.
pub(super) struct Best {
    /// `[horizon, action]`.
    pub actions: Tensor<2>,
    pub total: f32,
}

impl Best {
    /// Nothing yet: any sequence is better than `actions` `[horizon, action]`.
    pub fn none(actions: Tensor<2>) -> Self {
        Self {
            actions,
            total: f32::NEG_INFINITY,
        }
    }

    /// Hands it on to the next search.
    pub fn hand_on(&self, pool: &mut Pool) {
        if self.total > f32::NEG_INFINITY {
            pool.hand_on(&self.actions.clone().unsqueeze_dim(0), &[self.total]);
        }
    }

    /// Takes the best of `candidates` `[samples, horizon, action]` if it has a higher return.
    pub fn offer(&mut self, candidates: &Tensor<3>, returns: &[f32]) {
        for index in ranked(returns, 1) {
            if returns[index] > self.total {
                self.total = returns[index];
                self.actions = candidates.clone().narrow(0, index, 1).squeeze_dim(0);
            }
        }
    }
}

/// The indices of the `count` highest values, the highest first.
pub(super) fn ranked(values: &[f32], count: usize) -> Vec<usize> {
    let mut order: Vec<usize> = (0..values.len()).collect();
    order.sort_by(|&a, &b| values[b].total_cmp(&values[a]));
    order.truncate(count);
    order
}

/// The rows of `batch` at `indices`, in that order.
pub(super) fn select_rows(batch: Tensor<3>, indices: &[usize]) -> Tensor<3> {
    let device = batch.device();
    let count = indices.len();
    let indices: Vec<i64> = indices.iter().map(|&index| index as i64).collect();
    let indices = Tensor::<1, Int>::from_data(TensorData::new(indices, [count]), &device);
    batch.select(0, indices)
}
