//! Plans, and planning on a model of Python's.

use std::time::Duration;

use burn::tensor::{Tensor, TensorData};
use latco_agent::decoded_images;
use latco_env::ActionSpace;
use latco_model::WorldModel;
use latco_plan::{
    Belief, DiagonalGaussian, LatentModel, Outcome, Plan, PlanContext, PlanError, Resources,
    StopReason, roll_out,
};
use pyo3::{prelude::*, types::PyDict};
use pythonize::pythonize;

use crate::{
    arrays::{self, float_array, image_array, tensor_array},
    errors::{Kind, OrRaise},
    interruption::{Watch, raise, with_exceptions},
    model::PythonModel,
    settings::{device, duration, planner},
};

/// Rows of a batch at once: a call into Python takes as long for one as for some hundreds.
const ROWS: usize = 4_096;

/// Planners whose measure divides by the standard deviations of transitions.
const OF_DISTRIBUTIONS: [&str; 2] = ["latco-likelihood", "latco-kl"];

/// A planned trajectory with its two results.
///
/// Tensors are boxed: they are aligned to more bytes than an object of Python's.
#[pyclass(name = "Plan", module = "latco", frozen)]
pub struct PyPlan {
    pub plan: Box<Plan>,
    space: ActionSpace,
    /// What decodes its latents; none for models of Python's.
    decoder: Option<Box<WorldModel>>,
}

impl PyPlan {
    pub fn new(plan: Plan, space: ActionSpace, decoder: Option<WorldModel>) -> Self {
        Self {
            plan: Box::new(plan),
            space,
            decoder: decoder.map(Box::new),
        }
    }
}

#[pymethods]
impl PyPlan {
    /// `[T, A]`: in the environment's units of an agent's plan, else in [-1, 1].
    #[getter]
    fn actions<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let action = |step| Ok(self.space.denormalised(&self.plan.action(step)?));
        let steps = 0..self.plan.horizon();
        let rows: Result<Vec<Vec<f32>>, PlanError> = steps.map(action).collect();
        let values = rows.or_raise(Kind::Plan)?.concat();
        float_array(py, values, &self.plan.actions.dims())
    }

    /// The planned latents `z_1 … z_T`, `[T, Z]`.
    #[getter]
    fn latents<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        tensor_array(py, self.plan.latents.clone())
    }

    /// Their standard deviations, `[T, Z]`, of Gaussian plans.
    #[getter]
    fn std<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyAny>>> {
        let std = self.plan.std.clone();
        std.map(|std| tensor_array(py, std)).transpose()
    }

    /// The latents that the actions lead to through the model, `[T, Z]`.
    #[getter]
    fn rollout_latents<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        tensor_array(py, self.plan.rollout_latents.clone())
    }

    /// The rewards along the planned latents, `[T]`.
    #[getter]
    fn virtual_rewards<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        row(py, &self.plan.virtual_.rewards)
    }

    /// The rewards of the actions rolled out through the model, `[T]`.
    #[getter]
    fn rollout_rewards<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        row(py, &self.plan.rollout.rewards)
    }

    /// The sum of `virtual_rewards`.
    #[getter]
    fn virtual_return(&self) -> f32 {
        self.plan.virtual_.total()
    }

    /// The sum of `rollout_rewards`.
    #[getter]
    fn rollout_return(&self) -> f32 {
        self.plan.rollout.total()
    }

    /// The mean return over copies with disturbed actions, of models that err.
    #[getter]
    fn robust_return(&self) -> Option<f32> {
        self.plan.robust_return
    }

    /// How uncertain the model is of each step, `[T]`, of models that can tell: 1 is rare in its data.
    #[getter]
    fn uncertainty<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyAny>>> {
        let steps = self.plan.uncertainty.as_ref();
        steps.map(|steps| row(py, steps)).transpose()
    }

    /// Whether the plan leaves what the model was trained on, of models that can tell.
    #[getter]
    fn leaves_data(&self) -> Option<bool> {
        self.plan.leaves_data()
    }

    /// The dynamics violation of each step, `[T]`.
    #[getter]
    fn violation<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        row(py, &self.plan.violation)
    }

    /// The largest violation of any step.
    #[getter]
    fn violation_max(&self) -> f32 {
        self.plan.violation_max()
    }

    /// Whether the virtual return exceeds the rollout's by at most a tenth.
    #[getter]
    fn is_backed_by_rollout(&self) -> bool {
        self.plan.is_backed_by_rollout()
    }

    /// Why the planner stopped: `converged`, `stalled`, `iterations`, `deadline`, `no_slope`, `infeasible`.
    #[getter]
    fn stop<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        Ok(pythonize(py, &self.plan.stop)?)
    }

    /// Wall time of the plan.
    #[getter]
    fn seconds(&self) -> f64 {
        self.plan.elapsed.as_secs_f64()
    }

    /// By how many seconds the deadline was missed, if it was.
    #[getter]
    fn late(&self) -> Option<f64> {
        self.plan.late.map(|late| late.as_secs_f64())
    }

    /// Rows that went through the model's transition.
    #[getter]
    fn model_steps(&self) -> usize {
        self.plan.model_steps
    }

    /// Iterations of the planner.
    #[getter]
    fn iterations(&self) -> usize {
        self.plan.trace.len()
    }

    /// The figures of each iteration.
    #[getter]
    fn trace<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        Ok(pythonize(py, &self.plan.trace)?)
    }

    /// Steps of the plan, T.
    #[getter]
    fn horizon(&self) -> usize {
        self.plan.horizon()
    }

    /// The planned latents decoded, `[T, H, W, 3]`, of an agent's plan.
    fn imagined<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let Some(model) = &self.decoder else {
            return Err(Kind::Plan.error("a model of one's own draws no images"));
        };
        let images = py.detach(|| decoded_images(model, self.plan.latents.clone()));
        image_array(py, &images)
    }

    fn __repr__(&self) -> String {
        format!(
            "Plan(horizon={}, virtual_return={:.3}, rollout_return={:.3}, violation_max={:.1e}, seconds={:.3})",
            self.horizon(),
            self.virtual_return(),
            self.rollout_return(),
            self.violation_max(),
            self.seconds()
        )
    }
}

fn row<'py>(py: Python<'py>, values: &[f32]) -> PyResult<Bound<'py, PyAny>> {
    float_array(py, values.to_vec(), &[values.len()])
}

/// What a plan starts from.
#[derive(FromPyObject)]
enum WarmStart {
    /// An earlier plan, of which so many steps have passed.
    Earlier(Py<PyPlan>, usize),
    /// Actions, `[steps, action]`.
    Actions(Vec<Vec<f32>>),
}

impl WarmStart {
    /// The plan, of which so many steps have passed.
    fn plan(self, model: &PythonModel, belief: &Belief, steps: usize) -> PyResult<(Plan, usize)> {
        match self {
            Self::Earlier(plan, executed) => Ok((*plan.get().plan.clone(), executed)),
            Self::Actions(actions) => Ok((rolled_out(model, belief, actions, steps)?, 0)),
        }
    }
}

/// The plan that actions alone make, with zeros after the last where there are fewer than `steps`.
fn rolled_out(
    model: &PythonModel,
    belief: &Belief,
    mut actions: Vec<Vec<f32>>,
    steps: usize,
) -> PyResult<Plan> {
    let size = model.action_size();
    if actions.iter().any(|action| action.len() != size) {
        return Err(Kind::Setting.error(format!(
            "`warm_start` has actions of another size, expected (steps, {size})"
        )));
    }
    actions.resize(steps, vec![0.0; size]);
    let data = TensorData::new(actions.concat(), [1, steps, size]);
    let actions = Tensor::<3>::from_data(data, &belief.device()).clamp(-1.0, 1.0);
    let rollout = roll_out(model, belief.mean(), actions.clone());
    let latents: Tensor<2> = rollout.latents.squeeze_dim(0);
    let rewards = Outcome {
        rewards: arrays::host(rollout.rewards)?,
    };
    Ok(Plan {
        actions: actions.squeeze_dim(0),
        latents: latents.clone(),
        std: None,
        nodes: latents.clone(),
        rollout_latents: latents,
        virtual_: rewards.clone(),
        rollout: rewards,
        violation: vec![0.0; steps],
        multipliers: Vec::new(),
        robust_return: None,
        uncertainty: None,
        trace: Vec::new(),
        stop: StopReason::Iterations,
        elapsed: Duration::ZERO,
        late: None,
        model_steps: steps,
    })
}

/// What may change from one plan to the next.
#[derive(FromPyObject)]
pub struct Options {
    #[pyo3(item)]
    planner: String,
    #[pyo3(item)]
    horizon: Option<usize>,
    #[pyo3(item)]
    seed: u64,
    #[pyo3(item)]
    deadline: Option<f64>,
    #[pyo3(item)]
    device: String,
    #[pyo3(item)]
    std: Option<Py<PyAny>>,
    #[pyo3(item)]
    warm_start: Option<WarmStart>,
    #[pyo3(item)]
    observer: Option<Py<PyAny>>,
}

/// Plans on a model of Python's from `start`, `[latent]`.
#[pyfunction]
pub fn plan(
    py: Python<'_>,
    model: &Bound<'_, PyAny>,
    start: Vec<f32>,
    options: Options,
    settings: Option<&Bound<'_, PyDict>>,
) -> PyResult<PyPlan> {
    let device = device(&options.device)?;
    let planner = planner(&options.planner, options.horizon, settings)?;
    let deadline = duration("deadline", options.deadline)?;
    let belief = belief(py, &start, options.std.as_ref(), &device)?;
    let model = PythonModel::new(model, &start, &device)?;
    if OF_DISTRIBUTIONS.contains(&options.planner.as_str()) && !model.has_deviations() {
        return Err(Kind::Model.error(format!(
            "planner `{}` needs the standard deviation of transitions, which this model's does not give: \
             return (mean, std), or plan with `latco`",
            options.planner
        )));
    }
    let resources = Resources {
        workers: 1,
        rows: ROWS,
    };
    let found = with_exceptions(py, || {
        let earlier = |start: WarmStart| start.plan(&model, &belief, planner.horizon());
        let warm_start = options.warm_start.map(earlier);
        let warm_start = warm_start.transpose().unwrap_or_else(|error| raise(error));
        let mut watch = Watch(options.observer);
        let context = PlanContext::new(options.seed, &mut watch)
            .with_deadline(deadline)
            .with_resources(resources)
            .with_warm_start(
                warm_start
                    .as_ref()
                    .map(|(plan, executed)| (plan, *executed)),
            );
        planner.plan_with(&model, &belief, context)
    })?;
    let space = ActionSpace::unit(model.action_size());
    Ok(PyPlan::new(found.or_raise(Kind::Plan)?, space, None))
}

/// The belief with this mean, and standard deviation where there is one.
fn belief(
    py: Python<'_>,
    start: &[f32],
    std: Option<&Py<PyAny>>,
    device: &burn::tensor::Device,
) -> PyResult<Belief> {
    let shape = [1, start.len()];
    let mean = Tensor::<2>::from_data(TensorData::new(start.to_vec(), shape), device);
    let std = match std {
        None => mean.zeros_like(),
        Some(std) => {
            let std = std.bind(py).call_method1("reshape", ((1, start.len()),))?;
            arrays::tensor(&std, "`z0_std`", shape, device)?
        }
    };
    Ok(Belief::new(DiagonalGaussian::new(mean, std)))
}
