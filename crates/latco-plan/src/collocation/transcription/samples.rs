//! Averages over the latents that stand for one node.

use burn::tensor::Tensor;

use crate::Rewards;

/// The mean of rewards `[nodes · samples]` over the samples of each node, `[nodes]`.
pub(super) fn average_reward(rewards: Tensor<1>, samples: usize) -> Tensor<1> {
    let nodes = rewards.dims()[0] / samples;
    rewards.reshape([nodes, samples]).mean_dim(1).squeeze_dim(1)
}

/// The mean of each of the residuals `[nodes · samples, residuals]`, `[nodes, residuals]`.
pub(super) fn average_residuals(residuals: Tensor<2>, samples: usize) -> Tensor<2> {
    let [rows, count] = residuals.dims();
    residuals
        .reshape([rows / samples, samples, count])
        .mean_dim(1)
        .squeeze_dim(1)
}

/// Both.
pub(super) fn average(rewards: Rewards, samples: usize) -> Rewards {
    Rewards {
        expected: average_reward(rewards.expected, samples),
        residuals: average_residuals(rewards.residuals, samples),
    }
}
