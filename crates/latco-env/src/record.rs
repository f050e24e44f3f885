//! Episodes from a policy.

use crate::environment::{EnvError, Environment};
use crate::episode::Episode;

/// Runs `policy` from `reset(seed)` until the episode is done and returns the recording.
///
/// The policy may look at the environment (its scripted action, say); one that needs the images
/// keeps the loop itself: [`Episode::new`], then [`Episode::push`] after each step.
///
/// # Errors
/// Those of [`Environment::step`].
pub fn record_episode(
    environment: &mut dyn Environment,
    seed: u64,
    mut policy: impl FnMut(&mut dyn Environment) -> Vec<f32>,
) -> Result<Episode, EnvError> {
    let first = environment.reset(seed);
    let mut episode = Episode::new(&first, environment.action_size());
    loop {
        let action = policy(environment);
        let step = environment.step(&action)?;
        episode
            .push(&action, &step)
            .expect("an environment's steps are alike and finite");
        if step.done {
            return Ok(episode);
        }
    }
}
