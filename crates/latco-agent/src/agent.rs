use std::{path::Path, sync::Arc, time::Duration};

#[cfg(feature = "rl")]
use burn::module::Module;
use burn::tensor::{Device, Tensor};
use latco_env::EpisodeError;
use latco_model::{CheckpointError, WorldModel};
use latco_plan::{
    Belief, ConfigError, Discounted, LatentModel, NoObserver, Noise, Observer, Plan, PlanContext,
    PlanError, Planner, Resources,
    catalogue::{CatalogueError, planner},
};
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::{BeliefFilter, ObservedGoal, device::resources};

/// How an agent uses its planner.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AgentConfig {
    /// Steps executed of a plan before the next is made (`mpc_steps`); at most the horizon.
    pub replan_every: usize,
    /// Standard deviation of Gaussian noise added to executed actions.
    pub exploration: f64,
    /// The time a plan may take.
    pub deadline: Option<Duration>,
    /// Whether a new plan starts from what is left of the last one.
    pub warm_start: bool,
}

impl Default for AgentConfig {
    /// A third of a plan of 30 steps, then a new one that starts from what is left of it.
    fn default() -> Self {
        Self {
            replan_every: 10,
            exploration: 0.0,
            deadline: None,
            warm_start: true,
        }
    }
}

/// Why an agent cannot act.
#[derive(Debug, Error)]
pub enum AgentError {
    /// The checkpoint cannot be read.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// The planner cannot be made.
    #[error(transparent)]
    Planner(#[from] CatalogueError),
    /// A setting is refused.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// Planning failed.
    #[error(transparent)]
    Plan(#[from] PlanError),
    /// The image has another size than the model was trained on.
    #[error(
        "the image is {width}×{height} pixels, the model expects {expected_width}×{expected_height}"
    )]
    ImageSize {
        /// The width found.
        width: usize,
        /// The height found.
        height: usize,
        /// The width expected, of all cameras together.
        expected_width: usize,
        /// The height expected.
        expected_height: usize,
    },
    /// Images make no episode.
    #[error(transparent)]
    Episode(#[from] EpisodeError),
    /// A model of one's own refuses what it is to observe.
    #[error("the observation is refused: {0}")]
    Observation(Box<dyn std::error::Error + Send + Sync>),
}

impl AgentError {
    /// For a [`BeliefFilter`] that cannot be given an observation.
    pub fn observation(reason: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self::Observation(reason.into())
    }
}

/// A model, a planner, and the belief filtered through everything observed so far.
///
/// Model-predictive control: the plan made at one observation is executed for `replan_every` steps,
/// while each further one refines the belief that the next plan starts from. Any [`BeliefFilter`] will
/// do as the model; `examples/own_agent.rs` brings one.
#[derive(Clone)]
pub struct Agent<M = WorldModel> {
    model: M,
    planner: Arc<dyn Planner>,
    config: AgentConfig,
    device: Device,
    resources: Resources,
    seed: u64,
    noise: Noise,
    goal: Option<ObservedGoal>,
    episode: EpisodeState,
}

/// What an agent remembers within an episode.
#[derive(Clone, Default)]
struct EpisodeState {
    belief: Option<Belief>,
    plan: Option<Plan>,
    /// Steps executed of the present plan.
    executed: usize,
    plans: u64,
    /// Whether the plan was made for another world than the present one.
    is_outdated: bool,
    /// Each component in `[−1, 1]`.
    last_action: Vec<f32>,
}

impl Agent {
    /// An agent from a checkpoint with the default planner and settings.
    ///
    /// # Errors
    ///
    /// If the checkpoint cannot be read.
    pub fn load(path: impl AsRef<Path>, device: &Device) -> Result<Self, AgentError> {
        Self::with_defaults(WorldModel::load(path.as_ref(), device)?, device)
    }

    /// The same from the bytes of a checkpoint that came from elsewhere than a file; errors call it `name`.
    ///
    /// # Errors
    ///
    /// If the bytes are no checkpoint.
    pub fn from_bytes(
        bytes: Vec<u8>,
        name: impl AsRef<Path>,
        device: &Device,
    ) -> Result<Self, AgentError> {
        Self::with_defaults(WorldModel::from_bytes(bytes, name, device)?, device)
    }

    fn with_defaults(model: WorldModel, device: &Device) -> Result<Self, AgentError> {
        let planner = planner("latco", None)?;
        Self::new(model, planner, AgentConfig::default(), device)
    }

    /// The agent on another device, at the beginning of an episode.
    #[cfg(feature = "rl")]
    pub(crate) fn moved_to(mut self, device: &Device) -> Self {
        self.model = self.model.to_device(device);
        self.goal = self.goal.map(|goal| goal.to_device(device));
        self.device = device.clone();
        self.resources = resources(device);
        self.reset(self.seed);
        self
    }
}

impl<M: BeliefFilter> Agent<M> {
    /// An agent on `device`, reset with seed 0.
    ///
    /// # Errors
    ///
    /// Names the first setting outside its range.
    pub fn new(
        model: M,
        planner: Box<dyn Planner>,
        config: AgentConfig,
        device: &Device,
    ) -> Result<Self, AgentError> {
        ConfigError::require(
            (1..=planner.horizon()).contains(&config.replan_every),
            "replan_every",
            config.replan_every,
            "between 1 and the planner's horizon",
        )?;
        ConfigError::require_non_negative("exploration", config.exploration)?;
        Ok(Self {
            model,
            planner: planner.into(),
            config,
            device: device.clone(),
            resources: resources(device),
            seed: 0,
            noise: Noise::new(0),
            goal: None,
            episode: EpisodeState::default(),
        })
    }

    /// The agent as one of `count` that act at the same time: its plans are computed by its share of the
    /// device.
    pub(crate) fn beside(mut self, count: usize) -> Self {
        self.resources = resources(&self.device).shared_among(count);
        self
    }

    /// Forgets the episode; `seed` determines the plans of the next one.
    pub fn reset(&mut self, seed: u64) {
        self.seed = seed;
        self.noise = Noise::new(seed ^ EXPLORATION_STREAM);
        self.episode = EpisodeState::default();
    }

    /// Forgets what has been observed, for a world that was changed by other hands: the next observation
    /// begins a belief anew, and the plan made then starts from what is left of the present one.
    pub fn forget_observations(&mut self) {
        self.episode.belief = None;
        self.episode.is_outdated = true;
    }

    /// As [`forget_observations`](Self::forget_observations), where the last action was chosen before the world was
    /// changed and will not be executed: its step of the plan is yet to come.
    pub fn forget_choice(&mut self) {
        self.forget_observations();
        self.episode.executed = self.episode.executed.saturating_sub(1);
    }

    /// Plans for what `goal` shows in place of the model's reward from the next plan on; `None` for
    /// the reward again.
    ///
    /// # Errors
    ///
    /// If the model cannot be given the goal.
    pub fn set_goal(&mut self, goal: Option<&M::Observation>) -> Result<(), AgentError> {
        let encode = |observation| ObservedGoal::new(&self.model, observation);
        self.goal = goal.map(encode).transpose()?;
        Ok(())
    }

    /// The action for `observation`, in the environment's units, within its bounds.
    ///
    /// # Errors
    ///
    /// If the model cannot be given the observation or planning fails.
    pub fn act(&mut self, observation: &M::Observation) -> Result<Vec<f32>, AgentError> {
        self.act_observed(observation, &mut NoObserver)
    }

    /// As [`act`](Self::act), with an observer for the iterations of a plan that is made.
    ///
    /// # Errors
    ///
    /// As [`act`](Self::act).
    pub fn act_observed(
        &mut self,
        observation: &M::Observation,
        observer: &mut dyn Observer,
    ) -> Result<Vec<f32>, AgentError> {
        let state = &self.episode;
        let previous = (state.belief.as_ref()).map(|belief| (belief, state.last_action.as_slice()));
        let belief = self.model.filter(previous, observation)?;
        if self.needs_plan() {
            self.replan(&belief, observer)?;
        }
        let action = self.next_action()?;
        self.episode.belief = Some(belief);
        self.episode.last_action.clone_from(&action);
        Ok(self.model.action_space().denormalised(&action))
    }

    /// As [`act`](Self::act), without the exploration noise of the settings.
    #[cfg(feature = "rl")]
    pub(crate) fn act_without_noise(
        &mut self,
        observation: &M::Observation,
    ) -> Result<Vec<f32>, AgentError> {
        let exploration = std::mem::take(&mut self.config.exploration);
        let action = self.act(observation);
        self.config.exploration = exploration;
        action
    }

    /// The plan being executed.
    pub fn plan(&self) -> Option<&Plan> {
        self.episode.plan.as_ref()
    }

    /// Whether the last action was the first of a new plan.
    pub fn has_just_planned(&self) -> bool {
        self.episode.executed == 1
    }

    /// Steps executed of the plan, the last action among them.
    pub fn executed(&self) -> usize {
        self.episode.executed
    }

    /// The belief after the last observation.
    pub fn belief(&self) -> Option<&Belief> {
        self.episode.belief.as_ref()
    }

    /// The model.
    pub fn model(&self) -> &M {
        &self.model
    }

    /// The planner.
    pub fn planner(&self) -> &dyn Planner {
        self.planner.as_ref()
    }

    /// Replaces the model, as training goes on. A goal stays as the model before it encoded it, whose latents
    /// mean something else to other weights: [set](Self::set_goal) it anew.
    pub fn set_model(&mut self, model: M) {
        self.model = model;
    }

    fn needs_plan(&self) -> bool {
        let state = &self.episode;
        state.plan.is_none() || state.is_outdated || state.executed >= self.config.replan_every
    }

    fn replan(&mut self, belief: &Belief, observer: &mut dyn Observer) -> Result<(), AgentError> {
        let previous = self.episode.plan.take().filter(|_| self.config.warm_start);
        let context = PlanContext::new(plan_seed(self.seed, self.episode.plans), observer)
            .with_deadline(self.config.deadline)
            .with_resources(self.resources)
            .with_warm_start(previous.as_ref().map(|plan| (plan, self.episode.executed)));
        self.episode.plan = Some(self.plan_for(belief, context)?);
        self.episode.executed = 0;
        self.episode.is_outdated = false;
        self.episode.plans += 1;
        Ok(())
    }

    /// A plan from `belief`; its latents are those of the model, whatever it was made for.
    fn plan_for(&self, belief: &Belief, context: PlanContext<'_>) -> Result<Plan, AgentError> {
        let planner = self.planner.as_ref();
        let plan = self.with_planned(belief, |model, belief| {
            planner.plan_with(model, belief, context)
        })?;
        Ok(without_weights(plan, self.model.latent_size()))
    }

    /// Hands `visit` the model that plans are made for, and `belief` among its latents: the model with the
    /// goal's reward where a goal is set, else with its own, as far as the episode is likely to go on.
    pub(crate) fn with_planned<T>(
        &self,
        belief: &Belief,
        visit: impl FnOnce(&dyn LatentModel, &Belief) -> Result<T, PlanError>,
    ) -> Result<T, AgentError> {
        Ok(match &self.goal {
            Some(goal) => visit(&goal.of(&self.model)?, belief)?,
            None => with_reward(&self.model, belief, visit)?,
        })
    }

    /// The present plan's next action, with exploration noise.
    fn next_action(&mut self) -> Result<Vec<f32>, AgentError> {
        let step = self.episode.executed;
        let mut action = match &self.episode.plan {
            Some(plan) => plan.action(step)?,
            None => vec![0.0; self.model.action_size()],
        };
        self.episode.executed += 1;
        if self.config.exploration > 0.0 {
            for component in &mut action {
                let noise = f64::from(self.noise.standard_normal()) * self.config.exploration;
                *component = (*component + noise as f32).clamp(-1.0, 1.0);
            }
        }
        Ok(action)
    }
}

/// The seed of the `index`-th plan of an episode, the episode's own for the first. Episodes have consecutive
/// seeds, and plans of one must not draw the numbers of the next one's: multiples of this number are far apart.
fn plan_seed(episode: u64, index: u64) -> u64 {
    episode.wrapping_add(index.wrapping_mul(0xd134_2543_de82_ef95))
}

/// Keeps exploration noise apart from the planner's random numbers of the same seed.
const EXPLORATION_STREAM: u64 = 0x9e37_79b9_7f4a_7c15;

/// A plan for the reward of `model` from `belief`, weighed by the probability that the episode goes on
/// where the model knows of one; the plan's latents are those of the model in either case.
///
/// # Errors
///
/// If planning fails.
pub fn plan_reward<M: BeliefFilter>(
    planner: &dyn Planner,
    model: &M,
    belief: &Belief,
    context: PlanContext<'_>,
) -> Result<Plan, PlanError> {
    let plan = with_reward(model, belief, |model, belief| {
        planner.plan_with(model, belief, context)
    })?;
    Ok(without_weights(plan, model.latent_size()))
}

/// Hands `visit` `model` with its rewards weighed by the probability that the episode goes on, where it knows
/// of one, and `belief` among the latents of that.
fn with_reward<M: BeliefFilter, T>(
    model: &M,
    belief: &Belief,
    visit: impl FnOnce(&dyn LatentModel, &Belief) -> T,
) -> T {
    match model.continuation() {
        Some(continuation) => {
            let discounted = Discounted::new(model, continuation);
            visit(&discounted, &discounted.belief(belief))
        }
        None => visit(model, belief),
    }
}

/// `plan` with latents of `size` components, the weights of [`Discounted`] taken off where there are any; its
/// nodes keep them for a warm start.
fn without_weights(plan: Plan, size: usize) -> Plan {
    if plan.latents.dims()[1] == size {
        return plan;
    }
    let latents = |latents: Tensor<2>| latents.narrow(1, 0, size);
    Plan {
        latents: latents(plan.latents),
        std: plan.std.map(latents),
        rollout_latents: latents(plan.rollout_latents),
        ..plan
    }
}
