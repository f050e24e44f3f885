use latco_env::{EnvError, Environment, Episode, EpisodeError, Image, expert_action};
use latco_plan::Noise;
use thiserror::Error;

use crate::{Agent, AgentError, BeliefFilter};

/// Chooses actions from images.
pub trait Policy {
    /// Prepares for the episode of this seed.
    fn reset(&mut self, seed: u64);

    /// The next action in the environment's units; `environment` is there for policies that may look
    /// behind the image.
    ///
    /// # Errors
    ///
    /// If the policy cannot act on the image.
    fn act(
        &mut self,
        image: &Image,
        environment: &mut dyn Environment,
    ) -> Result<Vec<f32>, EpisodeRunError>;
}

/// Why an episode broke off.
#[derive(Debug, Error)]
pub enum EpisodeRunError {
    /// The policy failed.
    #[error(transparent)]
    Agent(#[from] AgentError),
    /// The environment refused an action.
    #[error(transparent)]
    Env(#[from] EnvError),
    /// The episode refused a step.
    #[error(transparent)]
    Episode(#[from] EpisodeError),
}

/// Runs one episode of `environment` and records it, with the actions as they are executed, clamped to the bounds.
///
/// # Errors
///
/// If the policy or the environment fails.
pub fn run_episode(
    environment: &mut dyn Environment,
    policy: &mut dyn Policy,
    seed: u64,
) -> Result<RecordedEpisode, EpisodeRunError> {
    policy.reset(seed);
    let mut image = environment.reset(seed)?;
    let cameras = environment.image_shape().cameras;
    let mut episode = Episode::new(&image, environment.action_space()).with_cameras(cameras);
    let mut success = false;
    loop {
        let action = policy.act(&image, environment)?;
        let action = environment.action_space().clamped(&action)?;
        let step = environment.step(&action)?;
        success |= step.success;
        episode.push(&action, &step)?;
        if step.is_last() {
            return Ok(RecordedEpisode { episode, success });
        }
        image = step.image;
    }
}

/// An episode and whether it succeeded at any step.
#[derive(Clone, Debug)]
pub struct RecordedEpisode {
    /// What was seen and done.
    pub episode: Episode,
    /// Whether the task was solved at any step.
    pub success: bool,
}

/// Keeps a policy's random numbers apart from those that an environment draws its scene from by the same seed.
const POLICY_STREAM: u64 = 0xbf58_476d_1ce4_e5b9;

/// The random numbers of a policy in the episode of this seed.
fn noise_of(seed: u64) -> Noise {
    Noise::new(seed ^ POLICY_STREAM)
}

/// Independent uniform actions.
pub struct RandomPolicy {
    noise: Noise,
}

impl Default for RandomPolicy {
    fn default() -> Self {
        Self {
            noise: Noise::new(0),
        }
    }
}

impl Policy for RandomPolicy {
    fn reset(&mut self, seed: u64) {
        self.noise = noise_of(seed);
    }

    fn act(
        &mut self,
        _image: &Image,
        environment: &mut dyn Environment,
    ) -> Result<Vec<f32>, EpisodeRunError> {
        let space = environment.action_space();
        let action: Vec<f32> = (0..space.size())
            .map(|_| self.noise.uniform_scalar())
            .collect();
        Ok(space.denormalised(&action))
    }
}

/// A vector that is drawn anew about every eighth step, uniform within a bound.
struct Drift {
    bound: f32,
    value: Vec<f32>,
}

impl Drift {
    fn within(bound: f32) -> Self {
        Self {
            bound,
            value: Vec::new(),
        }
    }

    /// Forgets the value, so that the next step draws one.
    fn reset(&mut self) {
        self.value.clear();
    }

    /// The value of the next step, of `size` components.
    fn next(&mut self, noise: &mut Noise, size: usize) -> &[f32] {
        let turns = noise.uniform_scalar() > 0.75;
        if turns || self.value.len() != size {
            self.value = (0..size)
                .map(|_| self.bound * noise.uniform_scalar())
                .collect();
        }
        &self.value
    }
}

/// Random actions around a drift, `a_t = clip(d + 0.6 ξ_t)` in normalised units: the drift `d`, uniform within ±0.8, is
/// drawn anew about every eighth step.
///
/// The drift carries an agent across the scene where independent actions only tremble; the white
/// noise shows what an action does, which slowly changing actions alone would not: a model could
/// then tell the next motion from the last one and ignore the action.
pub struct DriftingPolicy {
    noise: Noise,
    drift: Drift,
}

impl Default for DriftingPolicy {
    fn default() -> Self {
        Self {
            noise: Noise::new(0),
            drift: Drift::within(0.8),
        }
    }
}

impl Policy for DriftingPolicy {
    fn reset(&mut self, seed: u64) {
        self.noise = noise_of(seed);
        self.drift.reset();
    }

    fn act(
        &mut self,
        _image: &Image,
        environment: &mut dyn Environment,
    ) -> Result<Vec<f32>, EpisodeRunError> {
        const SPREAD: f32 = 0.6;
        let space = environment.action_space();
        let drift = self.drift.next(&mut self.noise, space.size());
        let action: Vec<f32> = drift
            .iter()
            .map(|drift| drift + SPREAD * self.noise.standard_normal())
            .collect();
        Ok(space.denormalised(&action))
    }
}

/// The environment's own expert, disturbed: `a_t = clip(e_t + d + σ ξ_t)`, normalised, with the expert's action
/// `e_t` in the disturbed state and a drift `d`, uniform within ±σ, that is drawn anew about every
/// eighth step.
///
/// Noise makes demonstrations worth learning from: the drift takes the expert off its way and shows
/// how it comes back (noise injection, Laskey et al. 2017, "DART"), the white noise shows what an
/// action does. Zero is the expert alone.
pub struct ScriptedPolicy {
    spread: f32,
    noise: Noise,
    drift: Drift,
}

impl Default for ScriptedPolicy {
    /// The expert alone.
    fn default() -> Self {
        Self::disturbed(0.0)
    }
}

impl ScriptedPolicy {
    /// The expert with action noise of standard deviation `spread`, the drift apart.
    pub fn disturbed(spread: f32) -> Self {
        Self {
            spread,
            noise: Noise::new(0),
            drift: Drift::within(spread),
        }
    }
}

impl Policy for ScriptedPolicy {
    fn reset(&mut self, seed: u64) {
        self.noise = noise_of(seed);
        self.drift.reset();
    }

    fn act(
        &mut self,
        _image: &Image,
        environment: &mut dyn Environment,
    ) -> Result<Vec<f32>, EpisodeRunError> {
        let action = expert_action(environment)?;
        let space = environment.action_space();
        let mut action = space.normalised(&action);
        let drift = self.drift.next(&mut self.noise, action.len());
        for (component, drift) in action.iter_mut().zip(drift) {
            *component += drift + self.spread * self.noise.standard_normal();
        }
        Ok(space.denormalised(&action))
    }
}

/// An [`Agent`] as a policy.
pub struct AgentPolicy<'a, M>(pub &'a mut Agent<M>);

impl<M: BeliefFilter<Observation = Image>> Policy for AgentPolicy<'_, M> {
    fn reset(&mut self, seed: u64) {
        self.0.reset(seed);
    }

    fn act(
        &mut self,
        image: &Image,
        _environment: &mut dyn Environment,
    ) -> Result<Vec<f32>, EpisodeRunError> {
        Ok(self.0.act(image)?)
    }
}

#[cfg(test)]
mod tests {
    use latco_env::{EnvOptions, make};

    use super::*;

    /// Pushes harder than any environment of the catalogue allows.
    struct Eager;

    impl Policy for Eager {
        fn reset(&mut self, _seed: u64) {}

        fn act(
            &mut self,
            _image: &Image,
            _environment: &mut dyn Environment,
        ) -> Result<Vec<f32>, EpisodeRunError> {
            Ok(vec![8.0, -0.5])
        }
    }

    #[test]
    fn actions_are_recorded_as_they_are_executed() {
        let mut environment = make("reach", &EnvOptions::default()).unwrap();
        let recorded = run_episode(environment.as_mut(), &mut Eager, 0).unwrap();
        assert_eq!(recorded.episode.action(1), [1.0, -0.5]);
    }

    /// Numbers of the stream that an environment draws its scene from.
    fn numbers_of_scene(seed: u64) -> Vec<f32> {
        let mut scene = Noise::new(seed);
        (0..6).map(|_| scene.uniform_scalar()).collect()
    }

    #[test]
    fn random_actions_are_none_of_the_scenes_numbers() {
        let mut environment = make("reach", &EnvOptions::default()).unwrap();
        let mut policy = RandomPolicy::default();
        for seed in 0..20 {
            let image = environment.reset(seed).unwrap();
            policy.reset(seed);
            let action = policy.act(&image, environment.as_mut()).unwrap();
            let scene = numbers_of_scene(seed);
            assert!(
                action.iter().all(|entry| !scene.contains(entry)),
                "{action:?} of {scene:?}"
            );
        }
    }

    #[test]
    fn no_policy_shares_the_scenes_numbers() {
        for seed in 0..20 {
            let (mut drifting, mut scripted) =
                (DriftingPolicy::default(), ScriptedPolicy::disturbed(0.2));
            drifting.reset(seed);
            scripted.reset(seed);
            for mut noise in [drifting.noise, scripted.noise] {
                assert!(!numbers_of_scene(seed).contains(&noise.uniform_scalar()));
            }
        }
    }
}
