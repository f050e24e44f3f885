//! Agents: a checkpoint that acts and plans.

use std::{
    path::PathBuf,
    sync::{Mutex, MutexGuard, PoisonError, TryLockError},
    time::Duration,
};

use burn::tensor::Device;
use latco_agent::{
    Agent, AgentConfig, AgentError, BeliefFilter, ObservedGoal,
    device::{DeviceName, resources},
    plan_reward,
};
use latco_cli::configuration::Setting;
use latco_env::{ActionSpace, Image, Protocol};
use latco_model::WorldModel;
use latco_plan::{Plan, PlanContext};
use pyo3::{prelude::*, pybacked::PyBackedBytes, types::PyDict};

use crate::{
    arrays::{float_array, image},
    errors::{Kind, OrRaise},
    interruption::{Watch, with_exceptions},
    plan::PyPlan,
    settings::{device, duration, planner_with, settings},
};

/// A model, a planner, and the belief filtered through everything observed so far.
///
/// What never changes is read at any time; an episode is of one call at a time. Both are boxed: tensors are
/// aligned to more bytes than an object of Python's.
#[pyclass(name = "Agent", module = "latco", frozen)]
pub struct PyAgent {
    facts: Box<Facts>,
    episode: Box<Mutex<Episode>>,
}

/// What an agent was made of.
struct Facts {
    model: WorldModel,
    space: ActionSpace,
    device: Device,
    device_name: String,
    /// Steps of the planner's plans.
    horizon: usize,
    deadline: Option<Duration>,
    options: Options,
    settings: Vec<Setting>,
}

#[derive(Clone)]
struct Episode {
    agent: Agent,
    goal: Option<Image>,
}

/// How an agent is made.
#[derive(FromPyObject)]
pub struct Options {
    #[pyo3(item)]
    device: String,
    #[pyo3(item)]
    planner: String,
    #[pyo3(item)]
    horizon: Option<usize>,
    #[pyo3(item)]
    replan_every: Option<usize>,
    #[pyo3(item)]
    exploration: f64,
    #[pyo3(item)]
    deadline: Option<f64>,
    #[pyo3(item)]
    warm_start: bool,
}

/// A checkpoint's file, or its bytes.
#[derive(FromPyObject)]
enum Checkpoint {
    Bytes(PyBackedBytes),
    File(PathBuf),
}

impl Checkpoint {
    fn load(&self, device: &Device) -> Result<WorldModel, AgentError> {
        Ok(match self {
            Self::Bytes(bytes) => WorldModel::from_bytes(bytes.to_vec(), "the checkpoint", device)?,
            Self::File(path) => WorldModel::load(path, device)?,
        })
    }
}

#[pymethods]
impl PyAgent {
    #[new]
    fn new(
        py: Python<'_>,
        checkpoint: Checkpoint,
        options: Options,
        changes: Option<&Bound<'_, PyDict>>,
    ) -> PyResult<Self> {
        let device = device(&options.device)?;
        let device_name = DeviceName::parse(&options.device).or_raise(Kind::Setting)?;
        let settings = self::settings(changes)?;
        let deadline = duration("deadline", options.deadline)?;
        let planner = planner_with(&options.planner, options.horizon, &settings)?;
        let (horizon, usual) = (planner.horizon(), AgentConfig::default().replan_every);
        let config = options.config(usual.min(horizon), deadline);
        let agent = with_exceptions(py, || {
            let model = checkpoint.load(&device)?;
            Agent::new(model, planner, config, &device)
        })?;
        let agent = agent.map_err(raised)?;
        let facts = Facts {
            model: agent.model().clone(),
            space: agent.model().action_space(),
            device,
            device_name: device_name.to_string(),
            horizon,
            deadline,
            options,
            settings,
        };
        Ok(Self {
            facts: Box::new(facts),
            episode: Box::new(Mutex::new(Episode { agent, goal: None })),
        })
    }

    fn reset(&self, seed: u64) -> PyResult<()> {
        self.episode()?.agent.reset(seed);
        Ok(())
    }

    fn set_goal(&self, py: Python<'_>, frame: Option<&Bound<'_, PyAny>>) -> PyResult<()> {
        let goal = frame.map(image).transpose()?;
        let mut episode = self.episode()?;
        let agent = &mut episode.agent;
        let set = with_exceptions(py, || agent.set_goal(goal.as_ref()))?;
        set.map_err(raised)?;
        episode.goal = goal;
        Ok(())
    }

    fn act<'py>(
        &self,
        py: Python<'py>,
        frame: &Bound<'py, PyAny>,
        observer: Option<Py<PyAny>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let image = image(frame)?;
        let mut episode = self.episode()?;
        let agent = &mut episode.agent;
        let action = with_exceptions(py, || agent.act_observed(&image, &mut Watch(observer)))?;
        let action = action.map_err(raised)?;
        let size = action.len();
        float_array(py, action, &[size])
    }

    fn plan(
        &self,
        py: Python<'_>,
        frame: &Bound<'_, PyAny>,
        seed: u64,
        deadline: Option<f64>,
        observer: Option<Py<PyAny>>,
    ) -> PyResult<PyPlan> {
        let image = image(frame)?;
        let deadline = duration("deadline", deadline)?.or(self.facts.deadline);
        let episode = self.episode()?.clone();
        let plan = with_exceptions(py, || {
            let mut watch = Watch(observer);
            let context = PlanContext::new(seed, &mut watch).with_deadline(deadline);
            episode.plan_from(&image, context)
        })?;
        Ok(self.given(plan.map_err(raised)?))
    }

    #[getter]
    fn current_plan(&self) -> PyResult<Option<PyPlan>> {
        let episode = self.episode()?;
        Ok(episode.agent.plan().map(|plan| self.given(plan.clone())))
    }

    #[getter]
    fn has_just_planned(&self) -> PyResult<bool> {
        Ok(self.episode()?.agent.has_just_planned())
    }

    #[getter]
    fn planner(&self) -> &str {
        &self.facts.options.planner
    }

    #[getter]
    fn horizon(&self) -> usize {
        self.facts.horizon
    }

    #[getter]
    fn action_low<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        bounds(py, self.facts.space.low())
    }

    #[getter]
    fn action_high<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        bounds(py, self.facts.space.high())
    }

    /// Height, width and channels of the frames that the model takes.
    #[getter]
    fn frame_shape(&self) -> (usize, usize, usize) {
        let config = self.facts.model.config();
        let [width, height] = config.camera_size();
        (height, width * config.cameras, 3)
    }

    /// The side of one camera's pictures, where they are square.
    #[getter]
    fn picture_size(&self) -> Option<usize> {
        let [width, height] = self.facts.model.config().camera_size();
        (width == height).then_some(height)
    }

    fn __repr__(&self) -> String {
        let (height, width, _) = self.frame_shape();
        format!(
            "Agent(planner={:?}, horizon={}, frames={height}x{width}, device={:?})",
            self.planner(),
            self.horizon(),
            self.device()
        )
    }
}

impl PyAgent {
    /// The model that it sees the world by.
    pub fn model(&self) -> &WorldModel {
        &self.facts.model
    }

    /// The name of the device that it plans on.
    pub fn device(&self) -> &str {
        &self.facts.device_name
    }

    /// Another such agent, in the midst of the same episode.
    pub fn acting(&self) -> PyResult<Agent> {
        Ok(self.episode()?.agent.clone())
    }

    /// Another such agent, whose plans have the steps of `protocol` where it was told none, at the beginning
    /// of an episode.
    pub fn acting_by(&self, protocol: Protocol) -> PyResult<Agent> {
        let Facts {
            model,
            device,
            options,
            settings,
            ..
        } = self.facts.as_ref();
        let horizon = options.horizon.unwrap_or(protocol.horizon);
        let planner = planner_with(&options.planner, Some(horizon), settings)?;
        let replan_every = protocol.replan_every.min(planner.horizon());
        let config = options.config(replan_every, self.facts.deadline);
        let mut agent = Agent::new(model.clone(), planner, config, device).map_err(raised)?;
        agent
            .set_goal(self.episode()?.goal.as_ref())
            .map_err(raised)?;
        Ok(agent)
    }

    /// The episode, unless another call is at work on it.
    fn episode(&self) -> PyResult<MutexGuard<'_, Episode>> {
        match self.episode.try_lock() {
            Ok(episode) => Ok(episode),
            Err(TryLockError::Poisoned(poisoned)) => Ok(PoisonError::into_inner(poisoned)),
            Err(TryLockError::WouldBlock) => Err(Kind::Failure.error(
                "the agent is at work in another call, expected one call at a time: load another agent, or \
                 call once that one has come back",
            )),
        }
    }

    fn given(&self, plan: Plan) -> PyPlan {
        let facts = &self.facts;
        PyPlan::new(plan, facts.space.clone(), Some(facts.model.clone()))
    }
}

impl Options {
    /// What of it is the agent's, with a new plan every `replan_every` steps where nothing else was told.
    fn config(&self, replan_every: usize, deadline: Option<Duration>) -> AgentConfig {
        AgentConfig {
            replan_every: self.replan_every.unwrap_or(replan_every),
            exploration: self.exploration,
            deadline,
            warm_start: self.warm_start,
        }
    }
}

impl Episode {
    /// A plan from one image, for the goal where one is set.
    fn plan_from(&self, image: &Image, context: PlanContext<'_>) -> Result<Plan, AgentError> {
        let (model, planner) = (self.agent.model(), self.agent.planner());
        let belief = model.filter(None, image)?;
        let context = context.with_resources(resources(&belief.device()));
        Ok(match &self.goal {
            None => plan_reward(planner, model, &belief, context)?,
            Some(goal) => {
                let goal = ObservedGoal::new(model, goal)?;
                planner.plan_with(&goal.of(model)?, &belief, context)?
            }
        })
    }
}

fn bounds<'py>(py: Python<'py>, bounds: &[f32]) -> PyResult<Bound<'py, PyAny>> {
    float_array(py, bounds.to_vec(), &[bounds.len()])
}

fn raised(error: AgentError) -> PyErr {
    let kind = match &error {
        AgentError::Checkpoint(_) => Kind::Checkpoint,
        AgentError::Planner(_) | AgentError::Config(_) => Kind::Setting,
        AgentError::Plan(_) => Kind::Plan,
        AgentError::ImageSize { .. } | AgentError::Episode(_) | AgentError::Observation(_) => {
            Kind::Frame
        }
    };
    kind.error(error)
}
