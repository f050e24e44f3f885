use burn::tensor::Tensor;

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

    /// Adds it to the candidates that the next search starts from.
    pub fn add_to(&self, pool: &mut Pool) {
        if self.total > f32::NEG_INFINITY {
            pool.add_candidates(&self.actions.clone().unsqueeze_dim(0), &[self.total]);
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

/// The places of the `count` largest numbers, the largest first; what is not a number is last.
pub(crate) fn ranked(values: &[f32], count: usize) -> Vec<usize> {
    let number = |index: usize| match values[index].is_nan() {
        true => f32::NEG_INFINITY,
        false => values[index],
    };
    let mut order: Vec<usize> = (0..values.len()).collect();
    order.sort_by(|&a, &b| number(b).total_cmp(&number(a)));
    order.truncate(count);
    order
}
