use burn::tensor::Tensor;

use super::samples::{average, average_residuals, average_reward};
use crate::{Belief, DiagonalGaussian, LatentModel, Noise, Rewards};

/// Nodes of K particles `[z¹, …, z^K]`, each of which the model carries on by itself.
///
/// The constraint between nodes is on the moments over the particles, see
/// [`Measure::Moments`](crate::collocation::Measure::Moments). With K = 1 it is the deterministic
/// plan.
pub struct ParticleLift<'a> {
    model: &'a dyn LatentModel,
    count: usize,
}

impl<'a> ParticleLift<'a> {
    /// Lifts `model` to `count` particles.
    pub fn new(model: &'a dyn LatentModel, count: usize) -> Self {
        Self { model, count }
    }

    /// Particles drawn from the belief; a single one sits at its mean.
    pub(super) fn first_node(&self, belief: &Belief, noise: &mut Noise) -> Belief {
        if self.count == 1 {
            return belief.clone();
        }
        let shape = [self.count, self.model.latent_size()];
        let drawn = belief.std() * noise.normal(shape, &belief.device()) + belief.mean();
        Belief::certain(drawn.flatten(0, 1))
    }

    pub(super) fn mean_latents(&self, nodes: Tensor<2>) -> Tensor<2> {
        let [horizon, _] = nodes.dims();
        nodes
            .reshape([horizon, self.count, self.model.latent_size()])
            .mean_dim(1)
            .squeeze_dim(1)
    }

    /// `[rows, K · latent]` to `[rows · K, latent]`.
    fn separate(&self, nodes: Tensor<2>) -> Tensor<2> {
        let [rows, _] = nodes.dims();
        nodes.reshape([rows * self.count, self.model.latent_size()])
    }

    fn join(&self, particles: Tensor<2>) -> Tensor<2> {
        let [rows, latent] = particles.dims();
        particles.reshape([rows / self.count, self.count * latent])
    }

    /// Each action for every particle, `[rows · K, action]`.
    fn repeat(&self, actions: Tensor<2>) -> Tensor<2> {
        let [rows, action] = actions.dims();
        actions
            .unsqueeze_dim::<3>(1)
            .repeat_dim(1, self.count)
            .reshape([rows * self.count, action])
    }
}

impl LatentModel for ParticleLift<'_> {
    fn latent_size(&self) -> usize {
        self.count * self.model.latent_size()
    }

    fn action_size(&self) -> usize {
        self.model.action_size()
    }

    fn transition(&self, nodes: Tensor<2>, actions: Tensor<2>) -> DiagonalGaussian {
        let next = self
            .model
            .transition(self.separate(nodes), self.repeat(actions));
        DiagonalGaussian::new(self.join(next.mean), self.join(next.std))
    }

    fn transition_mean(&self, nodes: Tensor<2>, actions: Tensor<2>) -> Tensor<2> {
        self.join(
            self.model
                .transition_mean(self.separate(nodes), self.repeat(actions)),
        )
    }

    fn reward(&self, nodes: Tensor<2>) -> Tensor<1> {
        average_reward(self.model.reward(self.separate(nodes)), self.count)
    }

    fn log_reward(&self, nodes: Tensor<2>) -> Tensor<1> {
        average_reward(self.model.log_reward(self.separate(nodes)), self.count)
    }

    /// Each residual averaged over the particles.
    fn reward_residuals(&self, nodes: Tensor<2>) -> Tensor<2> {
        average_residuals(
            self.model.reward_residuals(self.separate(nodes)),
            self.count,
        )
    }

    fn rewards(&self, nodes: Tensor<2>) -> Rewards {
        average(self.model.rewards(self.separate(nodes)), self.count)
    }
}
