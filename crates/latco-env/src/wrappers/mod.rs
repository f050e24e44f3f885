//! Environments around environments.

mod action_repeat;
mod time_limit;

pub use action_repeat::{ActionRepeat, RepeatReward};
pub use time_limit::TimeLimit;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::environment::{EnvError, Environment, Step};
    use crate::image::Image;

    /// Pays 1, 2, 3, … and succeeds in its second step only.
    struct Counter(u8);

    impl Counter {
        fn image(&self) -> Image {
            Image::new(1, 1, vec![self.0; 3]).unwrap()
        }
    }

    impl Environment for Counter {
        fn name(&self) -> &'static str {
            "counter"
        }

        fn action_size(&self) -> usize {
            1
        }

        fn image_size(&self) -> usize {
            1
        }

        fn time_limit(&self) -> usize {
            7
        }

        fn reset(&mut self, _seed: u64) -> Image {
            self.0 = 0;
            self.image()
        }

        fn step(&mut self, _action: &[f32]) -> Result<Step, EnvError> {
            self.0 += 1;
            Ok(Step {
                image: self.image(),
                reward: f32::from(self.0),
                success: self.0 == 2,
                discount: 0.5,
                done: self.0 == 7,
            })
        }

        fn scripted_action(&mut self) -> Vec<f32> {
            vec![0.0]
        }
    }

    #[test]
    fn repeats_are_summed_up_in_one_step() {
        for (rule, reward) in [(RepeatReward::Last, 3.0), (RepeatReward::Sum, 6.0)] {
            let mut environment = ActionRepeat::new(Counter(0), 3, rule).unwrap();
            assert_eq!(environment.time_limit(), 3);
            let step = environment.step(&[0.0]).unwrap();
            assert_eq!(step.image.pixels(), [3; 3]);
            assert_eq!((step.reward, step.discount), (reward, 0.125));
            assert!(step.success && !step.done);
            environment.step(&[0.0]).unwrap();
            let last = environment.step(&[0.0]).unwrap();
            assert_eq!(last.image.pixels(), [7; 3]);
            assert!(last.done);
        }
        assert!(ActionRepeat::new(Counter(0), 0, RepeatReward::Sum).is_err());
    }

    #[test]
    fn the_time_limit_ends_the_episode_until_the_next_reset() {
        let mut environment = TimeLimit::new(Counter(0), 2).unwrap();
        assert_eq!(environment.time_limit(), 2);
        for _ in 0..2 {
            environment.reset(0);
            assert!(!environment.step(&[0.0]).unwrap().done);
            let last = environment.step(&[0.0]).unwrap();
            assert!(last.done);
            assert_eq!(last.discount, 0.5);
            let error = environment.step(&[0.0]).unwrap_err();
            assert_eq!(error, EnvError::EpisodeOver { steps: 2 });
        }
        assert!(TimeLimit::new(Counter(0), 0).is_err());
    }
}
