use latco_env::{ActionSpace, EnvError, Environment};
use latco_model::{WorldModel, WorldModelConfig};
use thiserror::Error;

use crate::BeliefFilter;

/// Why a model and an environment do not go together.
#[derive(Clone, Debug, PartialEq, Error)]
pub enum InterfaceError {
    /// The environment shows or takes something else than the model.
    #[error("the model has {what} {found}, `{env}` has {expected}")]
    Unlike {
        /// The environment.
        env: String,
        /// What differs.
        what: &'static str,
        /// What the model has.
        found: String,
        /// What the environment has.
        expected: String,
    },
    /// The environment shows images that no model can be given.
    #[error(transparent)]
    Env(#[from] EnvError),
}

/// Checks that `model` was made for the images and actions of `environment`.
///
/// # Errors
///
/// Names the first thing that differs.
pub fn check_interface(
    environment: &dyn Environment,
    model: &WorldModel,
) -> Result<(), InterfaceError> {
    let config = model.config();
    let (images, actions) = (environment.image_shape(), environment.action_space());
    images.validate()?;
    let camera = [images.width / images.cameras, images.height];
    let bounds = |space: &ActionSpace| format!("{:?} to {:?}", space.low(), space.high());
    let size = |[width, height]: [usize; 2]| format!("{width}×{height}");
    let known = model.action_space();
    let pairs = [
        (
            "actions of size",
            config.action_size.to_string(),
            actions.size().to_string(),
        ),
        ("actions from", bounds(&known), bounds(actions)),
        (
            "a number of cameras of",
            config.cameras.to_string(),
            images.cameras.to_string(),
        ),
        ("pictures of", size(config.camera_size()), size(camera)),
    ];
    for (what, found, expected) in pairs {
        if found != expected {
            let env = environment.name().to_owned();
            return Err(InterfaceError::Unlike {
                env,
                what,
                found,
                expected,
            });
        }
    }
    Ok(())
}

/// Gives `config` the size of the pictures that there are.
pub(crate) fn fit_size(config: &mut WorldModelConfig, [width, height]: [usize; 2]) {
    config.raw_size = match [width, height] == [config.image_size; 2] {
        true => Vec::new(),
        false => vec![width, height],
    };
}
