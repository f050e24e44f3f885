//! Agents: a checkpoint that acts and plans.

use std::{path::PathBuf, time::Duration};

use burn::tensor::Device;
use latco_agent::{
    Agent, AgentConfig, AgentError, BeliefFilter, ObservedGoal, device::resources, plan_reward,
};
use latco_env::Image;
use latco_model::WorldModel;
use latco_plan::{Plan, PlanContext};
use pyo3::{prelude::*, pybacked::PyBackedBytes, types::PyDict};

use crate::{
    arrays::{float_array, image},
    errors::Kind,
    interruption::{Watch, with_exceptions},
    plan::PyPlan,
    settings::{device, duration, planner},
};

/// A model, a planner, and the belief filtered through everything observed so far.
///
/// It is boxed: tensors are aligned to more bytes than an object of Python's.
#[pyclass(name = "Agent", module = "latco")]
pub struct PyAgent {
    pub agent: Box<Agent>,
    pub device: String,
    /// The time that a plan may take.
    deadline: Option<Duration>,
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
        settings: Option<&Bound<'_, PyDict>>,
    ) -> PyResult<Self> {
        let device = device(&options.device)?;
        let planner = planner(&options.planner, options.horizon, settings)?;
        let defaults = AgentConfig::default();
        let replan_every = options.replan_every;
        let deadline = duration("deadline", options.deadline)?;
        let config = AgentConfig {
            replan_every: replan_every.unwrap_or(defaults.replan_every.min(planner.horizon())),
            exploration: options.exploration,
            deadline,
            warm_start: options.warm_start,
        };
        let agent = with_exceptions(py, || {
            let model = checkpoint.load(&device)?;
            Agent::new(model, planner, config, &device)
        })?;
        Ok(Self {
            agent: Box::new(agent.map_err(raised)?),
            device: options.device,
            deadline,
            goal: None,
        })
    }

    fn reset(&mut self, seed: u64) {
        self.agent.reset(seed);
    }

    fn set_goal(&mut self, py: Python<'_>, frame: Option<&Bound<'_, PyAny>>) -> PyResult<()> {
        let goal = frame.map(image).transpose()?;
        let agent = &mut self.agent;
        let set = with_exceptions(py, || agent.set_goal(goal.as_ref()))?;
        set.map_err(raised)?;
        self.goal = goal;
        Ok(())
    }

    fn act<'py>(
        &mut self,
        py: Python<'py>,
        frame: &Bound<'py, PyAny>,
        observer: Option<Py<PyAny>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let image = image(frame)?;
        let agent = &mut self.agent;
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
        let deadline = duration("deadline", deadline)?.or(self.deadline);
        let plan = with_exceptions(py, || {
            let mut watch = Watch(observer);
            let context = PlanContext::new(seed, &mut watch).with_deadline(deadline);
            self.plan_from(&image, context)
        })?;
        Ok(self.given(plan.map_err(raised)?))
    }

    #[getter]
    fn current_plan(&self) -> Option<PyPlan> {
        self.agent.plan().map(|plan| self.given(plan.clone()))
    }

    #[getter]
    fn has_just_planned(&self) -> bool {
        self.agent.has_just_planned()
    }

    #[getter]
    fn planner(&self) -> &str {
        self.agent.planner().name()
    }

    #[getter]
    fn horizon(&self) -> usize {
        self.agent.planner().horizon()
    }

    #[getter]
    fn action_low<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        self.bounds(py, |space| space.low().to_vec())
    }

    #[getter]
    fn action_high<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        self.bounds(py, |space| space.high().to_vec())
    }

    /// Height, width and channels of the frames that the model takes.
    #[getter]
    fn frame_shape(&self) -> (usize, usize, usize) {
        let config = self.agent.model().config();
        let [width, height] = config.camera_size();
        (height, width * config.cameras, 3)
    }

    /// The side of one camera's pictures, where they are square.
    #[getter]
    fn picture_size(&self) -> Option<usize> {
        let [width, height] = self.agent.model().config().camera_size();
        (width == height).then_some(height)
    }

    fn __repr__(&self) -> String {
        let (height, width, _) = self.frame_shape();
        format!(
            "Agent(planner={:?}, horizon={}, frames={height}x{width}, device={:?})",
            self.planner(),
            self.horizon(),
            self.device
        )
    }
}

impl PyAgent {
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

    fn given(&self, plan: Plan) -> PyPlan {
        let model = self.agent.model();
        PyPlan::new(plan, model.action_space(), Some(model.clone()))
    }

    fn bounds<'py>(
        &self,
        py: Python<'py>,
        of: impl Fn(&latco_env::ActionSpace) -> Vec<f32>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let bounds = of(&self.agent.model().action_space());
        let size = bounds.len();
        float_array(py, bounds, &[size])
    }
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
