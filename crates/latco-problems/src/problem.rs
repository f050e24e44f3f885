use burn::tensor::{Device, Tensor, TensorData};
use latco_plan::{Belief, DiagonalGaussian, LatentModel, Rewards};

use crate::{ProblemSettings, dynamics::Dynamics};

/// Keeps the slope of the residual finite where the reward is 1, and its root real where rounding
/// takes a reward past it.
const LEAST_SQUARE: f64 = 1e-6;

/// An analytic problem: exact dynamics from a known start, and a reward in `[0, 1]` that is a
/// product over the parts of the goal,
///
/// ```text
/// r(z) = Π_i head(d_i²(z)),      log r(z) = Σ_i log head(d_i²(z)),      ρ(z) = √(2 (1 − r(z)) + 10⁻⁶)
/// ```
pub struct Problem {
    settings: ProblemSettings,
    dynamics: Box<dyn Dynamics>,
}

impl Problem {
    /// The problem of these settings.
    pub fn new(settings: ProblemSettings) -> Self {
        Self {
            settings,
            dynamics: (settings.info().build)(&settings),
        }
    }

    /// Its settings.
    pub fn settings(&self) -> &ProblemSettings {
        &self.settings
    }

    /// Its name.
    pub fn name(&self) -> &'static str {
        self.settings.name()
    }

    /// The steps of a plan that it is made for.
    pub fn horizon(&self) -> usize {
        self.settings.horizon()
    }

    /// The first latent `z_0`, `[latent]`.
    pub fn start(&self) -> Vec<f32> {
        self.dynamics.start()
    }

    /// The first latent, known exactly, on `device`.
    pub fn belief(&self, device: &Device) -> Belief {
        let start = self.start();
        let size = start.len();
        Belief::certain(Tensor::from_data(TensorData::new(start, [size]), device))
    }
}

impl LatentModel for Problem {
    fn latent_size(&self) -> usize {
        self.dynamics.start().len()
    }

    fn action_size(&self) -> usize {
        self.dynamics.action_size()
    }

    /// The step itself, with a standard deviation of zero.
    fn transition(&self, latents: Tensor<2>, actions: Tensor<2>) -> DiagonalGaussian {
        let mean = self.transition_mean(latents, actions);
        let std = mean.zeros_like();
        DiagonalGaussian::new(mean, std)
    }

    fn transition_mean(&self, latents: Tensor<2>, actions: Tensor<2>) -> Tensor<2> {
        self.dynamics.step(latents, actions)
    }

    fn reward(&self, latents: Tensor<2>) -> Tensor<1> {
        self.log_reward(latents).exp()
    }

    fn reward_residuals(&self, latents: Tensor<2>) -> Tensor<2> {
        residuals(self.reward(latents))
    }

    fn reward_range(&self) -> Option<[f64; 2]> {
        Some([0.0, 1.0])
    }

    fn log_reward(&self, latents: Tensor<2>) -> Tensor<1> {
        let squares = self.dynamics.squared_distances(latents);
        let parts = self
            .settings
            .head()
            .log_rewards(squares, self.settings.width());
        match parts.dims()[1] {
            1 => parts.squeeze_dim(1),
            _ => parts.sum_dim(1).squeeze_dim(1),
        }
    }

    fn rewards(&self, latents: Tensor<2>) -> Rewards {
        let expected = self.reward(latents);
        Rewards {
            residuals: residuals(expected.clone()),
            expected,
        }
    }
}

/// `√(2 (1 − r))` of `rewards` `[rows]`, `[rows, 1]`.
fn residuals(rewards: Tensor<1>) -> Tensor<2> {
    (rewards * -2.0 + (2.0 + LEAST_SQUARE))
        .sqrt()
        .unsqueeze_dim(1)
}
