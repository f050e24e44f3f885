#[cfg(feature = "rl")]
use burn::tensor::Device;
use burn::tensor::Tensor;
use latco_plan::{ConfigError, LatentGoal};

use crate::{AgentError, BeliefFilter};

/// How often the goal's observation is seen in a row, without an action between, until what is believed
/// no longer depends on what came before.
const SIGHTINGS: usize = 10;

/// What a plan is to reach, given as an observation, an image say: the latent that the model settles at
/// where it sees nothing else.
#[derive(Clone, Debug)]
pub struct ObservedGoal {
    /// `[latent]`.
    latent: Tensor<1>,
}

impl ObservedGoal {
    /// Encodes `observation` with `model`.
    ///
    /// # Errors
    ///
    /// If the model cannot be given the observation.
    pub fn new<M: BeliefFilter>(
        model: &M,
        observation: &M::Observation,
    ) -> Result<Self, AgentError> {
        let still = vec![0.0; model.action_size()];
        let mut settled = model.filter(None, observation)?;
        for _ in 1..SIGHTINGS {
            settled = model.filter(Some((&settled, &still)), observation)?;
        }
        Ok(Self {
            latent: settled.mean().squeeze_dim(0),
        })
    }

    /// The goal on another device.
    #[cfg(feature = "rl")]
    pub(crate) fn to_device(self, device: &Device) -> Self {
        Self {
            latent: self.latent.to_device(device),
        }
    }

    /// `model` with closeness to the goal as its reward, over its
    /// [`goal_components`](BeliefFilter::goal_components).
    ///
    /// # Errors
    ///
    /// If the goal was encoded by a model of other sizes.
    pub fn of<'a, M: BeliefFilter>(&self, model: &'a M) -> Result<LatentGoal<'a>, ConfigError> {
        LatentGoal::new(model, self.latent.clone())?.over(model.goal_components())
    }
}
