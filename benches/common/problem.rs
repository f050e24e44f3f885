//! The least-squares problem of one Gauss–Newton step.

use burn::tensor::{Device, Tensor};
use latco::{
    LatentModel, WorldModel,
    model::WorldModelConfig,
    plan::{
        Noise, PlanError,
        collocation::{Elimination, LeastSquares, Step, Trajectories, Weights},
    },
};

/// A model with random weights, and normal latents and actions with λ = ν = 1 and damping 10⁻³.
pub struct Problem {
    model: WorldModel,
    start: Tensor<2>,
    trajectories: Trajectories,
    weights: Weights,
}

impl Problem {
    /// A problem of so many plans and steps.
    pub fn new(config: WorldModelConfig, [plans, horizon]: [usize; 2], device: &Device) -> Self {
        let model = WorldModel::new(config, 0, device).expect("valid sizes");
        let (latent, action) = (model.latent_size(), model.action_size());
        let noise = &mut Noise::new(0);
        let ones = Tensor::<2>::ones([plans, horizon], device);
        Self {
            start: noise.normal([plans, latent], device),
            trajectories: Trajectories {
                latents: noise.normal([plans, horizon, latent], device),
                actions: noise.normal([plans, horizon, action], device),
            },
            weights: Weights {
                dynamics: ones.clone(),
                actions: ones,
                defect_damping: Tensor::zeros([plans], device),
                action_damping: Tensor::full([plans], 1e-3, device),
                latent_damping: None,
            },
            model,
        }
    }

    /// The linearised problem, to be solved by `elimination`.
    pub fn linearise(&self, elimination: Elimination) -> LeastSquares<'_> {
        LeastSquares::linearise(&self.model, self.start.clone(), &self.trajectories)
            .with_elimination(elimination)
    }

    /// The step that solves `system`, which [`linearise`](Self::linearise) made.
    pub fn solve(&self, system: &LeastSquares<'_>) -> Result<Step, PlanError> {
        system.step(&self.weights, 0)
    }
}
