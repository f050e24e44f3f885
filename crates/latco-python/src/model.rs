//! A [`LatentModel`] of a Python object.
//!
//! The object's methods take and give arrays of numpy, rows of a batch; the package's adapters
//! (`latco.torch_model`, `latco.jax_model`, `latco.numpy_model`) have them. With `N` rows, latents of
//! size `Z`, actions of size `A`, and outputs of size `O`, `Z` or with standard deviations `2 Z`:
//!
//! | method | arguments | gives |
//! |---|---|---|
//! | `transition` | `z [N, Z]`, `a [N, A]` | `z' [N, Z]`, or the pair of mean and standard deviation |
//! | `reward` | `z` | `[N]` |
//! | `transition_and_jacobian` | `z`, `a` | `[N, O]`, `[N, O, Z]`, `[N, O, A]` |
//! | `transition_vjp` | `z`, `a`, cotangents `[N, O]` | `[N, Z]`, `[N, A]` |
//! | `transition_jvp` | `z`, `a`, tangents `[N, Z]`, `[N, A]` | `[N, O]` |
//! | `reward_and_gradient` | `z` | `[N]`, `[N, Z]` |
//! | `log_reward`, `log_reward_and_gradient` | `z` | as those of the reward |
//! | `roll_out` | `z [N, Z]`, `a [N, T, A]` | the mean latents after each action, `[N, T, Z]`, in one call |
//!
//! All but the first two are optional; a planner that needs one which is missing ends with a sentence.

use std::{cell::OnceCell, ops::Range};

use burn::tensor::{
    Device, Tensor,
    activation::{sigmoid, softplus},
};
use latco_plan::{
    DiagonalGaussian, Differentiable, LatentModel, Linearisation, Objective, Passes,
    RewardLinearisation, Rewards, RewardsAlong, Rollout,
};
use pyo3::{prelude::*, types::PyTuple};

use crate::{
    arrays::{self, float_array, host},
    errors::Kind,
    interruption::raise,
};

/// Up to this latent size a whole Jacobian is asked for at once: it takes one call into Python, where
/// products with it take one for every step of a sweep through time.
const LARGEST_JACOBIAN: usize = 64;

/// A model whose functions are Python's.
pub struct PythonModel {
    object: Py<PyAny>,
    latent: usize,
    action: usize,
    range: Option<[f64; 2]>,
    noise: f64,
    has: Has,
    device: Device,
}

/// What the object has beside a transition and a reward.
struct Has {
    std: bool,
    jacobian: bool,
    products: bool,
    reward_gradient: bool,
    log_reward: bool,
    log_reward_gradient: bool,
    roll_out: bool,
}

/// An argument of a method: its numbers and their shape.
type Input = (Vec<f32>, Vec<usize>);

fn input<const D: usize>(tensor: &Tensor<D>) -> PyResult<Input> {
    Ok((host(tensor.clone())?, tensor.dims().to_vec()))
}

impl PythonModel {
    /// The model of `object`, whose latents are as large as `start`; asks it for one step to see whether
    /// transitions have standard deviations.
    pub fn new(object: &Bound<'_, PyAny>, start: &[f32], device: &Device) -> PyResult<Self> {
        for method in ["transition", "reward"] {
            if !has(object, method)? {
                let kind = object.get_type().name()?;
                return Err(Kind::Model.error(format!(
                    "the model, a `{kind}`, has no method `{method}`: see `latco.Model`"
                )));
            }
        }
        let mut model = Self {
            object: object.clone().unbind(),
            latent: start.len(),
            action: action_size(object)?,
            range: optional(object, "reward_range")?,
            noise: optional(object, "action_noise")?.unwrap_or(0.0),
            has: Has {
                std: false,
                jacobian: has(object, "transition_and_jacobian")?,
                products: has(object, "transition_vjp")? && has(object, "transition_jvp")?,
                reward_gradient: has(object, "reward_and_gradient")?,
                log_reward: has(object, "log_reward")?,
                log_reward_gradient: has(object, "log_reward_and_gradient")?,
                roll_out: has(object, "roll_out")?,
            },
            device: device.clone(),
        };
        model.check(start)?;
        Ok(model)
    }

    /// Refuses ranges that are none, and finds out whether transitions have standard deviations.
    fn check(&mut self, start: &[f32]) -> PyResult<()> {
        let is_none = |[least, most]: &[f64; 2]| least >= most || !(most - least).is_finite();
        if let Some([least, most]) = self.range.filter(is_none) {
            return Err(Kind::Model.error(format!(
                "`reward_range` is ({least}, {most}), expected the least and a larger most reward, \
                 both finite"
            )));
        }
        Python::attach(|py| {
            let latents = float_array(py, start.to_vec(), &[1, self.latent])?;
            let actions = float_array(py, vec![0.0; self.action], &[1, self.action])?;
            let next = self
                .object
                .bind(py)
                .call_method1("transition", (latents, actions))?;
            self.has.std = next.cast::<PyTuple>().is_ok();
            Ok(())
        })
    }

    /// Whether transitions have standard deviations.
    pub fn has_deviations(&self) -> bool {
        self.has.std
    }

    fn outputs(&self) -> usize {
        if self.has.std {
            2 * self.latent
        } else {
            self.latent
        }
    }

    /// Calls a method with these arrays; what it gives has these shapes.
    fn call<const N: usize>(
        &self,
        method: &str,
        inputs: &[Tensor<2>],
        outputs: [&[usize]; N],
    ) -> [Vec<f32>; N] {
        let inputs = inputs.iter().map(input).collect::<PyResult<Vec<_>>>();
        self.call_with(method, inputs, outputs)
    }

    fn call_with<const N: usize>(
        &self,
        method: &str,
        inputs: PyResult<Vec<Input>>,
        outputs: [&[usize]; N],
    ) -> [Vec<f32>; N] {
        let called = inputs.and_then(|inputs| {
            Python::attach(|py| {
                let arrays = inputs
                    .into_iter()
                    .map(|(values, shape)| float_array(py, values, &shape));
                let arrays = PyTuple::new(py, arrays.collect::<PyResult<Vec<_>>>()?)?;
                let given = self.object.bind(py).call_method1(method, arrays)?;
                read_outputs(method, &given, outputs)
            })
        });
        called.unwrap_or_else(|error| raise(error))
    }

    /// The mean latents that `actions` lead to, `[rows, horizon, latent]`, in one call; `None` where
    /// something is on a tape.
    fn rolled_out(&self, start: &Tensor<2>, actions: &Tensor<3>) -> Option<Tensor<3>> {
        if start.is_autodiff() || actions.is_autodiff() {
            return None;
        }
        let [rows, horizon, _] = actions.dims();
        let shape = [rows, horizon, self.latent];
        let inputs = [input(start), input(actions)];
        let inputs = inputs.into_iter().collect::<PyResult<Vec<_>>>();
        let [latents] = self.call_with("roll_out", inputs, [&shape]);
        Some(self.tensor(latents, shape))
    }

    fn tensor<const D: usize>(&self, values: Vec<f32>, shape: [usize; D]) -> Tensor<D> {
        Tensor::from_data(burn::tensor::TensorData::new(values, shape), &self.device)
    }

    /// The outputs `[rows, outputs]` at untracked inputs.
    fn step(&self, latents: Tensor<2>, actions: Tensor<2>) -> Tensor<2> {
        let rows = latents.dims()[0];
        let shape = [rows, self.latent];
        if !self.has.std {
            let [mean] = self.call("transition", &[latents, actions], [&shape]);
            return self.tensor(mean, shape);
        }
        let [mean, std] = self.call("transition", &[latents, actions], [&shape, &shape]);
        Tensor::cat(vec![self.tensor(mean, shape), self.tensor(std, shape)], 1)
    }

    /// Outputs and Jacobian at untracked inputs.
    fn differentiated(&self, latents: Tensor<2>, actions: Tensor<2>) -> Differentiated {
        let (rows, outputs) = (latents.dims()[0], self.outputs());
        if !self.has.jacobian {
            return self.differentiated_by_products(latents, actions);
        }
        let (by_latent, by_action) = ([rows, outputs, self.latent], [rows, outputs, self.action]);
        let [value, latent, action] = self.call(
            "transition_and_jacobian",
            &[latents, actions],
            [&[rows, outputs], &by_latent, &by_action],
        );
        Differentiated {
            value: self.tensor(value, [rows, outputs]),
            by_latent: self.tensor(latent, by_latent),
            by_action: self.tensor(action, by_action),
        }
    }

    fn differentiated_by_products(&self, latents: Tensor<2>, actions: Tensor<2>) -> Differentiated {
        let (rows, outputs) = (latents.dims()[0], self.outputs());
        let unit = Tensor::<2>::eye(outputs, &self.device);
        let unit = unit.unsqueeze_dim::<3>(0).repeat_dim(0, rows);
        let (by_latent, by_action) = self.pulled_back(&latents, &actions, unit);
        Differentiated {
            value: self.step(latents, actions),
            by_latent,
            by_action,
        }
    }

    /// Cotangents `[points, rows, outputs]` carried back.
    fn pulled_back(
        &self,
        latents: &Tensor<2>,
        actions: &Tensor<2>,
        cotangents: Tensor<3>,
    ) -> (Tensor<3>, Tensor<3>) {
        self.require(self.has.products, "the transition");
        let [points, rows, outputs] = cotangents.dims();
        let count = points * rows;
        let [by_latent, by_action] = self.call(
            "transition_vjp",
            &[
                repeated(latents, rows),
                repeated(actions, rows),
                cotangents.reshape([count, outputs]),
            ],
            [&[count, self.latent], &[count, self.action]],
        );
        (
            self.tensor(by_latent, [points, rows, self.latent]),
            self.tensor(by_action, [points, rows, self.action]),
        )
    }

    /// Ends the plan with a sentence where a derivative is missing.
    fn require(&self, there: bool, of: &str) {
        if !there {
            raise(Kind::Model.error(format!(
                "this planner needs derivatives of {of}, which the model does not have: make it by \
                 latco.torch_model, latco.jax_model or latco.numpy_model, give the methods that \
                 latco.Model lists, or plan with cem, icem, mppi or random"
            )));
        }
    }

    /// The function `reward` or `log_reward` and its gradient at untracked latents, `[rows]` and
    /// `[rows, latent]`.
    fn with_gradient(&self, function: &str, latents: Tensor<2>) -> (Tensor<1>, Tensor<2>) {
        match function {
            "log_reward" => self.require(self.has.log_reward_gradient, "`log_reward`"),
            _ => self.require(self.has.reward_gradient, "the reward"),
        }
        let rows = latents.dims()[0];
        let method = format!("{function}_and_gradient");
        let [value, gradient] = self.call(&method, &[latents], [&[rows], &[rows, self.latent]]);
        (
            self.tensor(value, [rows]),
            self.tensor(gradient, [rows, self.latent]),
        )
    }

    /// A function of latents by its name, on the tape where they are: `f(z̄) + ∇f(z̄) · (z − z̄)` has the
    /// value and the first derivative of `f` at `z̄`.
    fn scored(&self, method: &str, latents: Tensor<2>) -> Tensor<1> {
        if !latents.is_autodiff() {
            let rows = latents.dims()[0];
            let [values] = self.call(method, &[latents], [&[rows]]);
            return self.tensor(values, [rows]);
        }
        let here = latents.clone().without_autodiff();
        let (value, gradient) = self.with_gradient(method, here.clone());
        let moved = (latents - here.autodiff()) * gradient.autodiff();
        value.autodiff() + moved.sum_dim(1).squeeze_dim(1)
    }
}

struct Differentiated {
    value: Tensor<2>,
    by_latent: Tensor<3>,
    by_action: Tensor<3>,
}

impl LatentModel for PythonModel {
    fn latent_size(&self) -> usize {
        self.latent
    }

    fn action_size(&self) -> usize {
        self.action
    }

    fn transition(&self, latents: Tensor<2>, actions: Tensor<2>) -> DiagonalGaussian {
        let outputs = on_tape(self, latents, actions);
        let part = |index| outputs.clone().narrow(1, index * self.latent, self.latent);
        let std = if self.has.std {
            part(1)
        } else {
            outputs.zeros_like()
        };
        DiagonalGaussian::new(part(0), std)
    }

    fn transition_mean(&self, latents: Tensor<2>, actions: Tensor<2>) -> Tensor<2> {
        on_tape(self, latents, actions).narrow(1, 0, self.latent)
    }

    fn reward(&self, latents: Tensor<2>) -> Tensor<1> {
        self.scored("reward", latents)
    }

    fn reward_range(&self) -> Option<[f64; 2]> {
        self.range
    }

    fn log_reward(&self, latents: Tensor<2>) -> Tensor<1> {
        if self.has.log_reward {
            return self.scored("log_reward", latents);
        }
        log_reward(self.reward(latents), self.range)
    }

    fn action_noise(&self) -> f64 {
        self.noise
    }

    fn rewards(&self, latents: Tensor<2>) -> Rewards {
        let expected = self.reward(latents);
        Rewards {
            residuals: residuals(expected.clone()),
            expected,
        }
    }

    fn as_differentiable(&self) -> Option<&dyn Differentiable> {
        Some(self)
    }

    fn passes(&self) -> Option<&dyn Passes> {
        self.has.roll_out.then_some(self as _)
    }
}

impl Passes for PythonModel {
    fn latents_along(
        &self,
        start: Tensor<2>,
        actions: Tensor<3>,
        defects: Option<Tensor<3>>,
    ) -> Option<Tensor<3>> {
        match defects {
            Some(_) => None,
            None => self.rolled_out(&start, &actions),
        }
    }

    fn roll_out(&self, start: Tensor<2>, actions: Tensor<3>) -> Option<Rollout> {
        let [plans, horizon, _] = actions.dims();
        let latents = self.rolled_out(&start, &actions)?;
        let rewards = self.reward(latents.clone().flatten(0, 1));
        Some(Rollout {
            latents,
            rewards: rewards.reshape([plans, horizon]),
        })
    }

    fn rewards_along(&self, start: Tensor<2>, actions: Tensor<3>) -> Option<RewardsAlong> {
        let latents = self.rolled_out(&start, &actions)?.flatten::<2>(0, 1);
        let rewards = self.rewards(latents.clone());
        let logarithms = match self.has.log_reward {
            true => self.scored("log_reward", latents),
            false => log_reward(rewards.expected.clone(), self.range),
        };
        Some(RewardsAlong {
            rewards,
            logarithms,
        })
    }
}

impl Differentiable for PythonModel {
    fn linearise(&self, latents: Tensor<2>, actions: Tensor<2>) -> Box<dyn Linearisation + '_> {
        let derivative = PythonLinearisation::new(self, latents, actions, self.latent);
        Box::new(derivative)
    }

    fn linearise_moments(
        &self,
        latents: Tensor<2>,
        actions: Tensor<2>,
    ) -> Box<dyn Linearisation + '_> {
        let derivative = PythonLinearisation::new(self, latents, actions, 2 * self.latent);
        Box::new(derivative)
    }

    fn linearise_reward(&self, latents: Tensor<2>, objective: Objective) -> RewardLinearisation {
        if objective == Objective::LogReward && self.has.log_reward {
            let rewards = self.rewards(latents.clone());
            let (_, gradient) = self.with_gradient("log_reward", latents);
            return RewardLinearisation {
                rewards,
                jacobian: gradient.unsqueeze_dim(1),
            };
        }
        let (reward, gradient) = self.with_gradient("reward", latents);
        let slope = slope(objective, reward.clone(), self.range).unsqueeze_dim::<2>(1);
        RewardLinearisation {
            rewards: Rewards {
                residuals: residuals(reward.clone()),
                expected: reward,
            },
            jacobian: (gradient * slope).unsqueeze_dim(1),
        }
    }
}

/// The outputs, on the tape where the inputs are: `f(x̄) + J (x − x̄)`.
fn on_tape(model: &PythonModel, latents: Tensor<2>, actions: Tensor<2>) -> Tensor<2> {
    if !latents.is_autodiff() && !actions.is_autodiff() {
        return model.step(latents, actions);
    }
    let here = [&latents, &actions].map(|inputs| inputs.clone().without_autodiff());
    let [at_latents, at_actions] = here.clone();
    let derivative = model.differentiated(at_latents, at_actions);
    let moved = |inputs: Tensor<2>, here: Tensor<2>, jacobian: Tensor<3>| {
        let step = inputs.autodiff() - here.autodiff();
        let step: Tensor<3> = jacobian.autodiff().matmul(step.unsqueeze_dim(2));
        step.squeeze_dim::<2>(2)
    };
    let [at_latents, at_actions] = here;
    derivative.value.autodiff()
        + moved(latents, at_latents, derivative.by_latent)
        + moved(actions, at_actions, derivative.by_action)
}

/// The least normalised reward that still has a logarithm in single precision.
const LEAST_REWARD: f64 = 1e-30;

/// As [`LatentModel::log_reward`] says, of rewards `[rows]`.
fn log_reward(reward: Tensor<1>, range: Option<[f64; 2]>) -> Tensor<1> {
    match range {
        Some([least, most]) => {
            let share = (reward - least) / (most - least);
            share.clamp_min(LEAST_REWARD).log()
        }
        None => softplus(reward.neg(), 1.0).square() * -0.5,
    }
}

/// `softplus(−r)`, `[rows, 1]`.
fn residuals(reward: Tensor<1>) -> Tensor<2> {
    softplus(reward.neg(), 1.0).unsqueeze_dim(1)
}

/// The derivative by the reward of what the objective is made of, `[rows]`.
fn slope(objective: Objective, reward: Tensor<1>, range: Option<[f64; 2]>) -> Tensor<1> {
    let of_residual = sigmoid(reward.clone().neg()).neg();
    match (objective, range) {
        (Objective::Reward, _) => reward.ones_like(),
        (Objective::Residuals, _) => of_residual,
        (Objective::LogReward, Some([least, most])) => {
            let share = (reward.clone() - least) / (most - least);
            // Where the logarithm ends it has no slope.
            let above = share.clone().greater_elem(LEAST_REWARD).float();
            above / (share.clamp_min(LEAST_REWARD) * (most - least))
        }
        (Objective::LogReward, None) => softplus(reward.neg(), 1.0).neg() * of_residual,
    }
}

/// The derivative of a transition's first `columns` outputs; those that the model does not have, the
/// standard deviations of a deterministic one, are zero.
struct PythonLinearisation<'a> {
    model: &'a PythonModel,
    latents: Tensor<2>,
    actions: Tensor<2>,
    columns: usize,
    jacobian: OnceCell<Differentiated>,
    value: OnceCell<Tensor<2>>,
}

impl<'a> PythonLinearisation<'a> {
    fn new(model: &'a PythonModel, latents: Tensor<2>, actions: Tensor<2>, columns: usize) -> Self {
        model.require(model.has.jacobian || model.has.products, "the transition");
        Self {
            model,
            latents,
            actions,
            columns,
            jacobian: OnceCell::new(),
            value: OnceCell::new(),
        }
    }

    /// Whether the Jacobian is asked for, rather than products with it.
    fn is_dense(&self) -> bool {
        let has = &self.model.has;
        has.jacobian && (self.model.latent <= LARGEST_JACOBIAN || !has.products)
    }

    fn jacobian(&self) -> &Differentiated {
        self.jacobian.get_or_init(|| {
            self.model
                .differentiated(self.latents.clone(), self.actions.clone())
        })
    }

    /// `values` `[…, have]` with as many columns as asked for, in the last dimension.
    fn fitted<const D: usize>(&self, values: Tensor<D>, columns: usize) -> Tensor<D> {
        let mut shape = values.dims();
        let have = shape[D - 1];
        if columns <= have {
            return values.narrow(D - 1, 0, columns);
        }
        shape[D - 1] = columns - have;
        let zeros = Tensor::zeros(shape, &values.device());
        Tensor::cat(vec![values, zeros], D - 1)
    }

    fn inputs(&self, points: &Range<usize>) -> [Tensor<2>; 2] {
        [&self.latents, &self.actions]
            .map(|inputs| inputs.clone().narrow(0, points.start, points.len()))
    }
}

impl Linearisation for PythonLinearisation<'_> {
    fn value(&self) -> Tensor<2> {
        let value = self.value.get_or_init(|| match self.is_dense() {
            true => self.jacobian().value.clone(),
            false => self.model.step(self.latents.clone(), self.actions.clone()),
        });
        self.fitted(value.clone(), self.columns)
    }

    fn pullback(&self, points: Range<usize>, cotangents: Tensor<3>) -> (Tensor<3>, Tensor<3>) {
        let cotangents = self.fitted(cotangents, self.model.outputs());
        if !self.is_dense() {
            let [latents, actions] = self.inputs(&points);
            return self.model.pulled_back(&latents, &actions, cotangents);
        }
        let Differentiated {
            by_latent,
            by_action,
            ..
        } = self.jacobian();
        let at = |jacobian: &Tensor<3>| jacobian.clone().narrow(0, points.start, points.len());
        (
            cotangents.clone().matmul(at(by_latent)),
            cotangents.matmul(at(by_action)),
        )
    }

    fn pushforward(
        &self,
        points: Range<usize>,
        latents: Tensor<3>,
        actions: Tensor<3>,
    ) -> Tensor<3> {
        let outputs = self.model.outputs();
        let moved = if self.is_dense() {
            let Differentiated {
                by_latent,
                by_action,
                ..
            } = self.jacobian();
            let at = |jacobian: &Tensor<3>| {
                let jacobian = jacobian.clone().narrow(0, points.start, points.len());
                jacobian.swap_dims(1, 2)
            };
            latents.matmul(at(by_latent)) + actions.matmul(at(by_action))
        } else {
            let [count, rows, _] = latents.dims();
            let [at_latents, at_actions] = self.inputs(&points);
            let all = count * rows;
            let [moved] = self.model.call(
                "transition_jvp",
                &[
                    repeated(&at_latents, rows),
                    repeated(&at_actions, rows),
                    latents.reshape([all, self.model.latent]),
                    actions.reshape([all, self.model.action]),
                ],
                [&[all, outputs]],
            );
            self.model.tensor(moved, [count, rows, outputs])
        };
        self.fitted(moved, self.columns)
    }
}

/// Repeats each row of `[points, size]`, giving `[points · rows, size]`.
fn repeated(inputs: &Tensor<2>, rows: usize) -> Tensor<2> {
    let [points, size] = inputs.dims();
    let inputs = inputs.clone().unsqueeze_dim::<3>(1).repeat_dim(1, rows);
    inputs.reshape([points * rows, size])
}

/// The arrays that a method gave, alone or in a tuple.
fn read_outputs<const N: usize>(
    method: &str,
    given: &Bound<'_, PyAny>,
    expected: [&[usize]; N],
) -> PyResult<[Vec<f32>; N]> {
    let parts: Vec<_> = match given.cast::<PyTuple>() {
        Ok(parts) => parts.iter().collect(),
        Err(_) => vec![given.clone()],
    };
    if parts.len() != N {
        return Err(Kind::Model.error(format!(
            "`{method}` gave {} arrays, expected {N}",
            parts.len()
        )));
    }
    let mut outputs = [const { Vec::new() }; N];
    for (index, (part, shape)) in parts.iter().zip(expected).enumerate() {
        let what = match N {
            1 => format!("what `{method}` gave"),
            _ => format!("array {index} of what `{method}` gave"),
        };
        outputs[index] = arrays::floats(part, &what, shape)?;
    }
    Ok(outputs)
}

fn has(object: &Bound<'_, PyAny>, name: &str) -> PyResult<bool> {
    let found = object.getattr_opt(name)?;
    Ok(found.is_some_and(|found| !found.is_none()))
}

fn optional<'py, T: FromPyObjectOwned<'py>>(
    object: &Bound<'py, PyAny>,
    name: &str,
) -> PyResult<Option<T>> {
    match object.getattr_opt(name)? {
        Some(value) if !value.is_none() => Ok(Some(value.extract().map_err(Into::into)?)),
        _ => Ok(None),
    }
}

fn action_size(object: &Bound<'_, PyAny>) -> PyResult<usize> {
    match optional(object, "action_size")? {
        Some(size) if size > 0 => Ok(size),
        Some(_) => Err(Kind::Model.error("the model's `action_size` is 0, expected at least 1")),
        None => Err(Kind::Model.error("the model has no `action_size`: see `latco.Model`")),
    }
}
