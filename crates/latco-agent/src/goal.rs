use burn::tensor::{Device, Tensor};
use latco_env::Image;
use latco_model::WorldModel;
use latco_plan::{Belief, ConfigError, LatentGoal, LatentModel};

use crate::{AgentError, image_tensor};

/// How often the goal's image is seen in a row, without an action between, until what is believed
/// no longer depends on what came before.
const SIGHTINGS: usize = 10;

/// What a plan is to reach, given as an image: the latent that the model settles at where it sees
/// nothing but this image.
#[derive(Clone, Debug)]
pub struct ImageGoal {
    /// `[latent]`.
    latent: Tensor<1>,
}

impl ImageGoal {
    /// Encodes `image` with `model`.
    ///
    /// # Errors
    ///
    /// If the image's size is not the model's.
    pub fn new(model: &WorldModel, image: &Image, device: &Device) -> Result<Self, AgentError> {
        let image = image_tensor(model, image, device)?;
        let still = Tensor::<2>::zeros([1, model.action_size()], device);
        let first = model.first_belief(image.clone());
        let settled = (1..SIGHTINGS).fold(first, |belief, _| {
            Belief::new(model.observe(belief.mean(), still.clone(), image.clone()))
        });
        Ok(Self {
            latent: settled.mean().squeeze_dim(0),
        })
    }

    /// `model` with closeness to the goal as its reward. Only the stochastic part of the latent
    /// counts: the deterministic part remembers how one came there.
    ///
    /// # Errors
    ///
    /// If the goal was encoded by a model of other sizes.
    pub fn of<'a>(&self, model: &'a WorldModel) -> Result<LatentGoal<'a>, ConfigError> {
        LatentGoal::new(model, self.latent.clone())?.over(0..model.config().stochastic)
    }
}
