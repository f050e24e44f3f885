use std::{path::Path, sync::Arc, time::Duration};

#[cfg(feature = "rl")]
use burn::module::Module;
use burn::tensor::{Device, Tensor, TensorData};
use latco_env::Image;
use latco_model::{CheckpointError, WorldModel, images_to_tensor};
use latco_plan::{
    Belief, ConfigError, LatentModel, NoObserver, Noise, Observer, Plan, PlanContext, PlanError,
    Planner,
    catalogue::{CatalogueError, planner},
};
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::{ImageGoal, device::resources};

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
    #[error("the image is {width}×{height} pixels, the model expects {expected}×{expected}")]
    ImageSize {
        /// The width found.
        width: usize,
        /// The height found.
        height: usize,
        /// The side expected.
        expected: usize,
    },
}

/// A world model, a planner, and the belief filtered through every image seen so far.
///
/// Model-predictive control: the plan made at one image is executed for `replan_every` steps,
/// while each further image refines the belief that the next plan starts from.
#[derive(Clone)]
pub struct Agent {
    model: WorldModel,
    planner: Arc<dyn Planner>,
    config: AgentConfig,
    device: Device,
    seed: u64,
    noise: Noise,
    goal: Option<ImageGoal>,
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
    last_action: Vec<f32>,
}

impl Agent {
    /// An agent on `device`, reset with seed 0.
    ///
    /// # Errors
    ///
    /// Names the first setting outside its range.
    pub fn new(
        model: WorldModel,
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
            seed: 0,
            noise: Noise::new(0),
            goal: None,
            episode: EpisodeState::default(),
        })
    }

    /// An agent from a checkpoint with the default planner and settings.
    ///
    /// # Errors
    ///
    /// If the checkpoint cannot be read.
    pub fn load(path: impl AsRef<Path>, device: &Device) -> Result<Self, AgentError> {
        let model = WorldModel::load(path.as_ref(), device)?;
        let planner = planner("latco", None)?;
        Self::new(model, planner, AgentConfig::default(), device)
    }

    /// Forgets the episode; `seed` determines the plans of the next one.
    pub fn reset(&mut self, seed: u64) {
        self.seed = seed;
        self.noise = Noise::new(seed ^ EXPLORATION_STREAM);
        self.episode = EpisodeState::default();
    }

    /// Plans for what `goal` shows in place of the model's reward from the next plan on; `None` for
    /// the reward again.
    ///
    /// # Errors
    ///
    /// If the image has the wrong size.
    pub fn set_goal(&mut self, goal: Option<&Image>) -> Result<(), AgentError> {
        let encode = |image| ImageGoal::new(&self.model, image, &self.device);
        self.goal = goal.map(encode).transpose()?;
        Ok(())
    }

    /// The action for `image`, each component in `[−1, 1]`.
    ///
    /// # Errors
    ///
    /// If the image has the wrong size or planning fails.
    pub fn act(&mut self, image: &Image) -> Result<Vec<f32>, AgentError> {
        self.act_observed(image, &mut NoObserver)
    }

    /// As [`act`](Self::act), with an observer for the iterations of a plan that is made.
    ///
    /// # Errors
    ///
    /// As [`act`](Self::act).
    pub fn act_observed(
        &mut self,
        image: &Image,
        observer: &mut dyn Observer,
    ) -> Result<Vec<f32>, AgentError> {
        let belief = self.observe(image)?;
        if self.needs_plan() {
            self.replan(&belief, observer)?;
        }
        let action = self.next_action()?;
        self.episode.belief = Some(belief);
        self.episode.last_action.clone_from(&action);
        Ok(action)
    }

    /// As [`act`](Self::act), without the exploration noise of the settings.
    #[cfg(feature = "rl")]
    pub(crate) fn act_without_noise(&mut self, image: &Image) -> Result<Vec<f32>, AgentError> {
        let exploration = std::mem::take(&mut self.config.exploration);
        let action = self.act(image);
        self.config.exploration = exploration;
        action
    }

    /// The agent on another device, at the beginning of an episode.
    #[cfg(feature = "rl")]
    pub(crate) fn moved_to(mut self, device: &Device) -> Self {
        self.model = self.model.to_device(device);
        self.device = device.clone();
        self.reset(self.seed);
        self
    }

    /// The plan being executed.
    pub fn plan(&self) -> Option<&Plan> {
        self.episode.plan.as_ref()
    }

    /// Whether the last action was the first of a new plan.
    pub fn has_just_planned(&self) -> bool {
        self.episode.executed == 1
    }

    /// The belief after the last image.
    pub fn belief(&self) -> Option<&Belief> {
        self.episode.belief.as_ref()
    }

    /// The world model.
    pub fn model(&self) -> &WorldModel {
        &self.model
    }

    /// The planner.
    pub fn planner(&self) -> &dyn Planner {
        self.planner.as_ref()
    }

    /// Replaces the world model, as training goes on.
    pub fn set_model(&mut self, model: WorldModel) {
        self.model = model;
    }

    fn needs_plan(&self) -> bool {
        self.episode.plan.is_none() || self.episode.executed >= self.config.replan_every
    }

    /// The belief filtered through one more image.
    fn observe(&self, image: &Image) -> Result<Belief, AgentError> {
        let image = image_tensor(&self.model, image, &self.device)?;
        let Some(belief) = &self.episode.belief else {
            return Ok(self.model.first_belief(image));
        };
        let action = TensorData::new(
            self.episode.last_action.clone(),
            [1, self.model.action_size()],
        );
        let action = Tensor::<2>::from_data(action, &self.device);
        Ok(Belief::new(self.model.observe(
            belief.mean(),
            action,
            image,
        )))
    }

    fn replan(&mut self, belief: &Belief, observer: &mut dyn Observer) -> Result<(), AgentError> {
        let previous = self.episode.plan.take().filter(|_| self.config.warm_start);
        let context = PlanContext::new(self.seed.wrapping_add(self.episode.plans), observer)
            .with_deadline(self.config.deadline)
            .with_resources(resources(&self.device))
            .with_warm_start(previous.as_ref().map(|plan| (plan, self.episode.executed)));
        let plan = match &self.goal {
            Some(goal) => self
                .planner
                .plan_with(&goal.of(&self.model)?, belief, context)?,
            None => self.planner.plan_with(&self.model, belief, context)?,
        };
        self.episode.plan = Some(plan);
        self.episode.executed = 0;
        self.episode.plans += 1;
        Ok(())
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

/// Keeps exploration noise apart from the planner's random numbers of the same seed.
const EXPLORATION_STREAM: u64 = 0x9e37_79b9_7f4a_7c15;

/// One image as the model's input, `[1, 3, height, width]`.
///
/// # Errors
///
/// If the image's size is not the model's.
pub fn image_tensor(
    model: &WorldModel,
    image: &Image,
    device: &Device,
) -> Result<Tensor<4>, AgentError> {
    let expected = model.config().image_size;
    let (width, height) = (image.width(), image.height());
    if (width, height) != (expected, expected) {
        return Err(AgentError::ImageSize {
            width,
            height,
            expected,
        });
    }
    Ok(images_to_tensor(image.pixels(), 1, expected, device))
}
