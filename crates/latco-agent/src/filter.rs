use std::ops::Range;

use burn::tensor::{Tensor, TensorData};
use latco_env::{ActionSpace, Image};
use latco_model::WorldModel;
use latco_plan::{Belief, Continuation, LatentModel};

use crate::{AgentError, image_tensor};

/// A latent model that turns what is observed into a belief, which is what an
/// [`Agent`](crate::Agent) needs to plan with it (a Bayesian filter):
///
/// ```text
/// b_0 = q(z_0 | o_0),    b_{t+1} = q(z_{t+1} | o_{t+1}, a_t, b_t)
/// ```
pub trait BeliefFilter: LatentModel {
    /// What is observed: [`Image`] for models that learn from [`latco_env`]'s environments.
    type Observation: ?Sized;

    /// The belief after `observation`; `previous` is the belief before and the action in between, each
    /// component in `[−1, 1]`, and `None` at the beginning of an episode.
    ///
    /// # Errors
    ///
    /// If the observation is none that the model can be given: [`AgentError::observation`].
    fn filter(
        &self,
        previous: Option<(&Belief, &[f32])>,
        observation: &Self::Observation,
    ) -> Result<Belief, AgentError>;

    /// The bounds of actions in the environment's units; the default is the unit box.
    fn action_space(&self) -> ActionSpace {
        ActionSpace::unit(self.action_size())
    }

    /// The components of a latent whose distance tells how far a goal is; the default is all.
    fn goal_components(&self) -> Range<usize> {
        0..self.latent_size()
    }

    /// The probability that an episode goes on after a latent, by which plans weigh later rewards;
    /// `None`, the default, where episodes have no end of their own.
    fn continuation(&self) -> Option<Continuation<'_>> {
        None
    }
}

impl BeliefFilter for WorldModel {
    type Observation = Image;

    fn filter(
        &self,
        previous: Option<(&Belief, &[f32])>,
        image: &Image,
    ) -> Result<Belief, AgentError> {
        let image = image_tensor(self, image, &self.device())?;
        let Some((belief, action)) = previous else {
            return Ok(self.first_belief(image));
        };
        let action = TensorData::new(action.to_vec(), [1, self.action_size()]);
        let action = Tensor::<2>::from_data(action, &image.device());
        Ok(Belief::new(self.observe(belief.mean(), action, image)))
    }

    fn action_space(&self) -> ActionSpace {
        let config = self.config();
        let bounds = (config.action_low.clone(), config.action_high.clone());
        // Empty bounds mean the unit box; others were validated with the settings.
        ActionSpace::new(bounds.0, bounds.1)
            .unwrap_or_else(|_| ActionSpace::unit(config.action_size))
    }

    /// The stochastic part: the deterministic part remembers how one came there.
    fn goal_components(&self) -> Range<usize> {
        0..self.config().stochastic
    }

    fn continuation(&self) -> Option<Continuation<'_>> {
        let head = self.continuation_head()?;
        Some(Box::new(|latents| head.probability(latents)))
    }
}
