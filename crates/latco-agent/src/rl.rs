//! Environments and agents behind the traits of [`burn_rl`] (`burn::rl`), so that Burn's own runners drive
//! them (feature `rl`).
//!
//! A [`TaskEnvironment`] is a [`burn_rl::Environment`] of any task, a [`PlannerPolicy`] a
//! [`burn_rl::Policy`] that acts as an [`Agent`] does. Burn's runners hand one policy the
//! observations of many environments, in any order; an [`Observation`] therefore tells which
//! episode it is of, and the policy keeps a belief and a plan for each environment.

use std::{
    collections::HashMap,
    sync::atomic::{AtomicU64, Ordering},
};

use burn::{module::Module, store::ModuleRecord, tensor::Device};
pub use burn_rl;
use burn_rl::{Batchable, Environment, Policy, PolicyState, StepResult, ToAction, ToObservation};
use latco_env::{EnvError, EnvOptions, Image, make};
use latco_model::WorldModel;

use crate::Agent;

/// The most steps of an episode of any task of the catalogue.
const LONGEST_EPISODE: usize = 1000;

/// An image, and which episode of which environment it is of.
#[derive(Clone, Debug, PartialEq)]
pub struct Observation {
    /// What is seen.
    pub image: Image,
    /// The environment, by a number of its own within this process.
    pub environment: u64,
    /// The seed of the episode, which differs from that of the environment's episode before.
    pub episode: u64,
}

/// Observations for one call of a policy.
#[derive(Clone, Debug, PartialEq)]
pub struct Observations(pub Vec<Observation>);

/// Actions of one call of a policy, each component in `[−1, 1]`; a planner's distribution over
/// actions is a single one.
#[derive(Clone, Debug, PartialEq)]
pub struct Actions(pub Vec<Vec<f32>>);

/// The action of one environment, each component in `[−1, 1]`.
#[derive(Clone, Debug, PartialEq)]
pub struct Action(pub Vec<f32>);

impl Batchable for Observations {
    fn batch(items: Vec<Self>) -> Self {
        Self(items.into_iter().flat_map(|items| items.0).collect())
    }

    fn unbatch(self) -> Vec<Self> {
        self.0.into_iter().map(|item| Self(vec![item])).collect()
    }
}

impl Batchable for Actions {
    fn batch(items: Vec<Self>) -> Self {
        Self(items.into_iter().flat_map(|items| items.0).collect())
    }

    fn unbatch(self) -> Vec<Self> {
        self.0.into_iter().map(|item| Self(vec![item])).collect()
    }
}

impl ToObservation<Observations> for Observation {
    fn to_observation(&self, _device: &Device) -> Observations {
        Observations(vec![self.clone()])
    }
}

impl ToAction<Actions> for Action {
    fn to_action(&self, _device: &Device) -> Actions {
        Actions(vec![self.0.clone()])
    }
}

/// The first of a batch, as runners take it for their one environment.
impl From<Actions> for Action {
    fn from(actions: Actions) -> Self {
        Self(actions.0.into_iter().next().unwrap_or_default())
    }
}

/// A task as a [`burn_rl::Environment`].
pub struct TaskEnvironment {
    environment: Box<dyn latco_env::Environment>,
    observation: Observation,
    success: bool,
}

impl TaskEnvironment {
    /// The task `name` in the episode of `seed`; the next episodes have the seeds after it.
    ///
    /// # Errors
    ///
    /// If there is no such task, or an option is refused.
    pub fn new(name: &str, options: &EnvOptions, seed: u64) -> Result<Self, EnvError> {
        static ENVIRONMENTS: AtomicU64 = AtomicU64::new(0);
        let mut environment = make(name, options)?;
        let observation = Observation {
            image: environment.reset(seed)?,
            environment: ENVIRONMENTS.fetch_add(1, Ordering::Relaxed),
            episode: seed,
        };
        Ok(Self {
            environment,
            observation,
            success: false,
        })
    }

    /// Whether the task was solved in the present episode.
    pub fn success(&self) -> bool {
        self.success
    }
}

impl Environment for TaskEnvironment {
    type State = Observation;
    type Action = Action;

    const MAX_STEPS: usize = LONGEST_EPISODE;

    fn state(&self) -> Observation {
        self.observation.clone()
    }

    /// One step. `done` is also true at the time limit, where `truncated` is: Burn's runners end
    /// an episode only there.
    ///
    /// # Panics
    ///
    /// If the action has another size, is not finite, or the episode is over; the trait has no
    /// place for an error.
    fn step(&mut self, action: Action) -> StepResult<Observation> {
        let step = self
            .environment
            .step(&action.0)
            .unwrap_or_else(|error| panic!("{}: {error}", self.environment.name()));
        self.success |= step.success;
        let done = step.is_last();
        self.observation.image = step.image;
        StepResult {
            next_state: self.state(),
            reward: f64::from(step.reward),
            done,
            truncated: step.truncated,
        }
    }

    /// The next episode.
    ///
    /// # Panics
    ///
    /// If the environment fails; the trait has no place for an error.
    fn reset(&mut self) {
        self.observation.episode = self.observation.episode.wrapping_add(1);
        let image = self.environment.reset(self.observation.episode);
        self.observation.image =
            image.unwrap_or_else(|error| panic!("{}: {error}", self.environment.name()));
        self.success = false;
    }
}

/// An [`Agent`] as a [`burn_rl::Policy`]: it plans for every environment that it sees.
#[derive(Clone)]
pub struct PlannerPolicy {
    agent: Agent,
    /// The episode of each environment, and the agent in it.
    episodes: HashMap<u64, (u64, Agent)>,
}

impl PlannerPolicy {
    /// The policy of `agent`, whose model, planner and settings it takes.
    pub fn new(agent: Agent) -> Self {
        Self {
            agent,
            episodes: HashMap::new(),
        }
    }

    /// The agent in the observation's episode, new where the episode is.
    fn agent_in(&mut self, observation: &Observation) -> &mut Agent {
        let Observation {
            environment,
            episode,
            ..
        } = *observation;
        let begin = || {
            let mut agent = self.agent.clone();
            agent.reset(episode);
            (episode, agent)
        };
        let entry = self.episodes.entry(environment).or_insert_with(begin);
        if entry.0 != episode {
            entry.0 = episode;
            entry.1.reset(episode);
        }
        &mut entry.1
    }
}

impl Policy for PlannerPolicy {
    type Observation = Observations;
    type ActionDistribution = Actions;
    type Action = Actions;
    type ActionContext = ();
    type PolicyState = Weights;

    /// The planned actions, which also advances the episodes.
    ///
    /// # Panics
    ///
    /// As [`action`](Policy::action).
    fn forward(&mut self, observations: Observations) -> Actions {
        self.action(observations, true).0
    }

    /// The next actions, with the agent's exploration noise unless `deterministic`.
    ///
    /// # Panics
    ///
    /// If an image has another size than the model's, or planning fails; the trait has no place
    /// for an error.
    fn action(&mut self, observations: Observations, deterministic: bool) -> (Actions, Vec<()>) {
        let act = |observation: &Observation| {
            let agent = self.agent_in(observation);
            let action = match deterministic {
                true => agent.act_without_noise(&observation.image),
                false => agent.act(&observation.image),
            };
            action.unwrap_or_else(|error| panic!("the planner cannot act: {error}"))
        };
        let actions: Vec<_> = observations.0.iter().map(act).collect();
        let contexts = vec![(); actions.len()];
        (Actions(actions), contexts)
    }

    fn update(&mut self, update: Weights) {
        for agent in self.episodes.values_mut().map(|(_, agent)| agent) {
            agent.set_model(update.0.clone());
        }
        self.agent.set_model(update.0);
    }

    fn state(&self) -> Weights {
        Weights(self.agent.model().clone())
    }

    /// The policy on another device, at the beginning of its episodes.
    fn to_device(self, device: &Device) -> Self {
        Self::new(self.agent.moved_to(device))
    }

    fn load_record(mut self, record: ModuleRecord) -> Self {
        let weights = self.state().load_record(record);
        self.update(weights);
        self
    }
}

/// The parameters of a [`PlannerPolicy`]: its world model.
#[derive(Clone)]
pub struct Weights(pub WorldModel);

impl PolicyState for Weights {
    type Record = ModuleRecord;

    fn into_record(self) -> ModuleRecord {
        self.0.into_record()
    }

    fn load_record(&self, record: ModuleRecord) -> Self {
        Self(self.0.clone().load_record(record))
    }
}
