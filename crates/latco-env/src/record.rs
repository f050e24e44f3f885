//! Episodes from a policy.

use crate::environment::{EnvError, Environment};
use crate::episode::Episode;

/// Runs `policy` from `reset(seed)` until the episode is over and returns the recording.
///
/// The policy may look at the environment (ask its expert, say); one that needs the images
/// keeps the loop itself: [`Episode::new`], then [`Episode::push`] after each step.
///
/// # Errors
/// Those of [`Environment::reset`], [`Environment::step`] and the policy.
pub fn record_episode(
    environment: &mut dyn Environment,
    seed: u64,
    mut policy: impl FnMut(&mut dyn Environment) -> Result<Vec<f32>, EnvError>,
) -> Result<Episode, EnvError> {
    let first = environment.reset(seed)?;
    let cameras = environment.image_shape().cameras;
    let mut episode = Episode::new(&first, environment.action_space()).with_cameras(cameras);
    loop {
        let action = policy(environment)?;
        let step = environment.step(&action)?;
        episode
            .push(&action, &step)
            .expect("an environment's steps are alike and finite");
        if step.is_last() {
            return Ok(episode);
        }
    }
}
