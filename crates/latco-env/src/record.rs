//! Episodes from a policy.

use crate::environment::{EnvError, Environment};
use crate::episode::Episode;

/// Runs `policy` from `reset(seed)` until the episode is over and returns the recording, with the actions as they
/// are executed, clamped to the bounds.
///
/// The policy may look at the environment (ask its expert, say); one that needs the images
/// keeps the loop itself: [`Episode::new`], then [`Episode::push`] after each step.
///
/// # Errors
/// Those of [`Environment::reset`], [`Environment::step`] and the policy; [`EnvError::Unrecordable`] where a
/// reward is no number or an image has another size than the first.
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
        let action = environment.action_space().clamped(&action)?;
        let step = environment.step(&action)?;
        episode
            .push(&action, &step)
            .map_err(|problem| EnvError::Unrecordable {
                name: environment.name().to_owned(),
                problem,
            })?;
        if step.is_last() {
            return Ok(episode);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::action::ActionSpace;
    use crate::environment::{ImageShape, Step};
    use crate::image::Image;

    /// Pays one by its action; the image after it has a side of `side` pixels.
    struct Payer {
        space: ActionSpace,
        side: usize,
    }

    impl Environment for Payer {
        fn name(&self) -> &str {
            "payer"
        }

        fn action_space(&self) -> &ActionSpace {
            &self.space
        }

        fn image_shape(&self) -> ImageShape {
            ImageShape::new(1, 1)
        }

        fn time_limit(&self) -> usize {
            1
        }

        fn reset(&mut self, _seed: u64) -> Result<Image, EnvError> {
            Ok(Image::from_fn(1, 1, |_, _| [0; 3]))
        }

        fn step(&mut self, action: &[f32]) -> Result<Step, EnvError> {
            let action = self.space.clamped(action)?;
            let image = Image::from_fn(self.side, self.side, |_, _| [0; 3]);
            Ok(Step {
                truncated: true,
                ..Step::new(image, 1.0 / action[0])
            })
        }
    }

    fn recorded(side: usize, action: f32) -> Result<Episode, EnvError> {
        let space = ActionSpace::new(vec![-2.0], vec![2.0])?;
        let mut payer = Payer { space, side };
        record_episode(&mut payer, 0, |_| Ok(vec![action]))
    }

    #[test]
    fn actions_are_recorded_as_they_are_executed() {
        let episode = recorded(1, 8.0).unwrap();
        assert_eq!((episode.action(1), episode.rewards()[1]), (&[2.0][..], 0.5));
        let error = recorded(1, f32::NAN).unwrap_err();
        assert!(matches!(error, EnvError::ActionNotFinite { .. }));
    }

    #[test]
    fn steps_that_cannot_be_recorded_are_errors() {
        for (side, action, reason) in [(1, 0.0, "`reward` is inf"), (2, 1.0, "2x2 pixels")] {
            let error = recorded(side, action).unwrap_err();
            assert!(matches!(error, EnvError::Unrecordable { .. }));
            let text = error.to_string();
            assert!(text.contains("`payer`") && text.contains(reason), "{text}");
        }
    }
}
