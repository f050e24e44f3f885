//! Environments around environments.

mod action_repeat;
mod time_limit;

pub use action_repeat::{ActionRepeat, RepeatReward};
pub use time_limit::TimeLimit;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::action::ActionSpace;
    use crate::environment::{EnvError, Environment, ImageShape, Step};
    use crate::image::Image;

    /// Pays 1, 2, 3, …, succeeds in its second step only, and terminates in its seventh.
    struct Counter(u8, ActionSpace);

    impl Counter {
        fn new() -> Self {
            Self(0, ActionSpace::unit(1))
        }

        fn image(&self) -> Image {
            Image::new(1, 1, vec![self.0; 3]).unwrap()
        }
    }

    impl Environment for Counter {
        fn name(&self) -> &str {
            "counter"
        }

        fn action_space(&self) -> &ActionSpace {
            &self.1
        }

        fn image_shape(&self) -> ImageShape {
            ImageShape::new(1, 1)
        }

        fn time_limit(&self) -> usize {
            7
        }

        fn reset(&mut self, _seed: u64) -> Result<Image, EnvError> {
            self.0 = 0;
            Ok(self.image())
        }

        fn step(&mut self, _action: &[f32]) -> Result<Step, EnvError> {
            self.0 += 1;
            Ok(Step {
                image: self.image(),
                reward: f32::from(self.0),
                success: self.0 == 2,
                terminated: self.0 == 7,
                truncated: false,
            })
        }
    }

    #[test]
    fn repeats_are_summed_up_in_one_step() {
        for (rule, reward) in [(RepeatReward::Last, 3.0), (RepeatReward::Sum, 6.0)] {
            let mut environment = ActionRepeat::new(Counter::new(), 3, rule).unwrap();
            assert_eq!(environment.time_limit(), 3);
            let step = environment.step(&[0.0]).unwrap();
            assert_eq!(step.image.pixels(), [3; 3]);
            assert_eq!((step.reward, step.discount()), (reward, 1.0));
            assert!(step.success && !step.is_last());
            environment.step(&[0.0]).unwrap();
            let last = environment.step(&[0.0]).unwrap();
            assert_eq!(last.image.pixels(), [7; 3]);
            assert!(last.terminated);
            assert_eq!(last.discount(), 0.0);
        }
        assert!(ActionRepeat::new(Counter::new(), 0, RepeatReward::Sum).is_err());
    }

    #[test]
    fn the_time_limit_ends_the_episode_until_the_next_reset() {
        let mut environment = TimeLimit::new(Counter::new(), 2).unwrap();
        assert_eq!(environment.time_limit(), 2);
        for _ in 0..2 {
            environment.reset(0).unwrap();
            assert!(!environment.step(&[0.0]).unwrap().is_last());
            let last = environment.step(&[0.0]).unwrap();
            assert!(last.truncated && !last.terminated);
            assert_eq!(last.discount(), 1.0);
            let error = environment.step(&[0.0]).unwrap_err();
            assert_eq!(error, EnvError::EpisodeOver { steps: 2 });
        }
        assert!(TimeLimit::new(Counter::new(), 0).is_err());
    }
}
