use std::ops::Range;

use burn::tensor::{Tensor, TensorData};
use nalgebra::{Cholesky, DMatrix, DVector};

use super::{Constraint, Trajectories, violation::action_excess};
use crate::{LatentModel, Linearisation, PlanError, host::read, linearisation::gradients_of};

/// The least-squares form of relaxed collocation, linearised at a batch of trajectories:
///
/// ```text
/// ½ Σ λ_t ‖z_{t+1} − μ(z_t, a_t)‖² + ½ Σ ν_t ‖max(|a_t| − 1, 0)‖² + ½ Σ ‖ρ(z_{t+1})‖²
/// ```
///
/// # The residual-space step
///
/// With `A_t`, `B_t` the derivative of `μ`, `c_t = μ_t − z_{t+1}` the present defect and `e_t` the
/// defect after the step, `dz_{t+1} = A_t dz_t + B_t da_t + c_t + e_t`: so `(e, da)` determine
/// `dz`, and in them the cost is diagonal but for the reward residuals. Eliminating all else
/// leaves one unknown a reward residual:
///
/// ```text
/// P_t[r], Q_t[r]   derivatives of residual r with respect to dz_{t+1}, da_t   (adjoint sweep)
/// K = Σ_t P_t P_tᵀ / λ_t + Σ_t Q_t diag(1/w_t) Q_tᵀ
/// (I + K) y = ρ + Σ_t P_t c_t + Σ_t Q_t da⁰_t,         da⁰_t = −g_t / w_t
/// e_t = −P_tᵀ y / λ_t,     da_t = da⁰_t − (Q_tᵀ y) / w_t,    then dz forward
/// ```
///
/// with `g`, `w` gradient and damped curvature of the action term. It equals the dense
/// Gauss–Newton step with damping on the actions, costs one vector–Jacobian product a step of the
/// plan and residual, and forms no Jacobian. The adjoint sweep does not depend on multipliers or
/// damping, so another damping costs no further sweep.
pub struct LeastSquares<'a> {
    linearisation: Box<dyn Linearisation + 'a>,
    /// `c`, `[plans, horizon, latent]`.
    defects: Tensor<3>,
    actions: Tensor<3>,
    /// `ρ`, `[plans, rows]`, rows in the order of the adjoint sweep: the last step first.
    residuals: Tensor<2>,
    /// `[P_0, …, P_{T−1}]`, `[plans, rows, horizon · latent]`.
    latent_adjoints: Tensor<3>,
    /// `[Q_0, …, Q_{T−1}]`, `[plans, rows, horizon · action]`.
    action_adjoints: Tensor<3>,
}

/// A change of a batch of trajectories.
#[derive(Clone, Debug)]
pub struct Step {
    /// `dz_1 … dz_T`, `[plans, horizon, latent]`.
    pub latents: Tensor<3>,
    /// `da_0 … da_{T−1}`, `[plans, horizon, action]`.
    pub actions: Tensor<3>,
}

/// The weights of a least-squares step.
#[derive(Clone, Debug)]
pub struct Weights {
    /// λ, `[plans, horizon]`.
    pub dynamics: Tensor<2>,
    /// ν, `[plans, horizon]`.
    pub actions: Tensor<2>,
    /// Damping of the change of defects, `[plans]`.
    pub defect_damping: Tensor<1>,
    /// Damping of the change of actions, `[plans]`.
    pub action_damping: Tensor<1>,
}

impl<'a> LeastSquares<'a> {
    /// Linearises at `trajectories` that start from `start` `[plans, latent]`.
    pub fn linearise(
        model: &'a dyn LatentModel,
        start: Tensor<2>,
        trajectories: &Trajectories,
    ) -> Self {
        Self::linearise_with(model, start, trajectories, &[])
    }

    /// As [`linearise`](Self::linearise), with the further cost `½ Σ λ_t h_t²` of each constraint's
    /// residual `h` and its multipliers `[plans, horizon]`.
    pub fn linearise_with(
        model: &'a dyn LatentModel,
        start: Tensor<2>,
        trajectories: &Trajectories,
        constraints: &[(&Constraint, Tensor<2>)],
    ) -> Self {
        let [plans, horizon] = trajectories.shape();
        let latent = model.latent_size();
        let points = |batch: Tensor<3>| batch.swap_dims(0, 1).flatten::<2>(0, 1);
        let linearisation = model.linearise(
            points(trajectories.previous(start)),
            points(trajectories.actions.clone()),
        );
        let rows = StepResiduals::new(
            model,
            points(trajectories.latents.clone()),
            points(trajectories.actions.clone()),
            constraints,
        );
        let mean = linearisation
            .mean()
            .reshape([horizon, plans, latent])
            .swap_dims(0, 1);
        let residuals = rows.values.dims()[1];
        let adjoints = Adjoints::sweep(linearisation.as_ref(), &rows, [plans, horizon]);
        Self {
            defects: mean - trajectories.latents.clone(),
            actions: trajectories.actions.clone(),
            residuals: rows
                .values
                .reshape([horizon, plans, residuals])
                .flip([0])
                .swap_dims(0, 1)
                .reshape([plans, horizon * residuals]),
            latent_adjoints: adjoints.latents,
            action_adjoints: adjoints.actions,
            linearisation,
        }
    }

    /// The present defects `μ(z_t, a_t) − z_{t+1}`, `[plans, horizon, latent]`.
    pub fn defects(&self) -> Tensor<3> {
        self.defects.clone()
    }

    /// The step that minimises the linearised cost.
    ///
    /// Damping adds `½ δ_e ‖e + c‖²`, the change of the defects, and `½ δ_a ‖da‖²`.
    ///
    /// # Errors
    ///
    /// If the linearisation is not finite, or the device fails.
    pub fn step(&self, weights: &Weights, iteration: usize) -> Result<Step, PlanError> {
        let terms = Terms::new(self, weights);
        let scaled = Tensor::cat(
            vec![
                self.latent_adjoints.clone() / terms.defect_scale.clone().unsqueeze_dim::<3>(1),
                self.action_adjoints.clone() / terms.action_scale.clone().unsqueeze_dim::<3>(1),
            ],
            2,
        );
        let known = Tensor::cat(
            vec![
                terms.defects.clone() * terms.defect_scale.clone(),
                terms.actions.clone() * terms.action_scale.clone(),
            ],
            1,
        );
        let gram = scaled.clone().matmul(scaled.clone().swap_dims(1, 2));
        let right = self.residuals.clone()
            + scaled
                .clone()
                .matmul(known.unsqueeze_dim::<3>(2))
                .squeeze_dim::<2>(2);
        let multipliers = solve_shifted(gram, right, iteration)?;
        let correction = multipliers
            .unsqueeze_dim::<3>(1)
            .matmul(scaled)
            .squeeze_dim::<2>(1);
        Ok(self.unroll(&terms, correction))
    }

    /// From `[Σ_r y_r P[r] / √w, Σ_r y_r Q[r] / √w]` to the step.
    fn unroll(&self, terms: &Terms, correction: Tensor<2>) -> Step {
        let [plans, horizon, latent] = self.defects.dims();
        let action = self.actions.dims()[2];
        let of_latents = correction.clone().narrow(1, 0, horizon * latent);
        let of_actions = correction.narrow(1, horizon * latent, horizon * action);
        let drive = (terms.defects.clone() - of_latents / terms.defect_scale.clone())
            .reshape([plans, horizon, latent]);
        let actions = (terms.actions.clone() - of_actions / terms.action_scale.clone())
            .reshape([plans, horizon, action]);
        Step {
            latents: self.forward_sweep(&drive, &actions),
            actions,
        }
    }

    /// `dz_{t+1} = A_t dz_t + B_t da_t + drive_t` from `dz_0 = 0`.
    fn forward_sweep(&self, drive: &Tensor<3>, actions: &Tensor<3>) -> Tensor<3> {
        let [plans, horizon, latent] = drive.dims();
        let mut change = Tensor::zeros([plans, 1, latent], &drive.device());
        let changes = (0..horizon)
            .map(|step| {
                change = self.linearisation.pushforward(
                    step * plans..(step + 1) * plans,
                    change.clone(),
                    actions.clone().narrow(1, step, 1),
                ) + drive.clone().narrow(1, step, 1);
                change.clone()
            })
            .collect();
        Tensor::cat(changes, 1)
    }
}

/// The diagonal part of the problem, `[plans, horizon · latent]` and `[plans, horizon · action]`.
struct Terms {
    /// `c` shrunk by the damping, `λ / (λ + δ_e) · c`.
    defects: Tensor<2>,
    /// `√(λ + δ_e)`.
    defect_scale: Tensor<2>,
    /// `da⁰ = −g / w`.
    actions: Tensor<2>,
    /// `√w`.
    action_scale: Tensor<2>,
}

impl Terms {
    fn new(problem: &LeastSquares<'_>, weights: &Weights) -> Self {
        let [plans, horizon, latent] = problem.defects.dims();
        let action = problem.actions.dims()[2];
        let per_step = |values: Tensor<2>, size: usize| {
            values
                .unsqueeze_dim::<3>(2)
                .repeat_dim(2, size)
                .reshape([plans, horizon * size])
        };
        let damped =
            weights.dynamics.clone() + weights.defect_damping.clone().unsqueeze_dim::<2>(1);
        let kept = weights.dynamics.clone() / damped.clone();
        let excess = action_excess(problem.actions.clone());
        let outside = excess.clone().sign().reshape([plans, horizon * action]);
        let signed = (excess * problem.actions.clone().sign()).reshape([plans, horizon * action]);
        let bound = per_step(weights.actions.clone(), action);
        let curvature =
            bound.clone() * outside + weights.action_damping.clone().unsqueeze_dim::<2>(1);
        Self {
            defects: problem.defects.clone().reshape([plans, horizon * latent])
                * per_step(kept, latent),
            defect_scale: per_step(damped.sqrt(), latent),
            actions: -(bound * signed) / curvature.clone(),
            action_scale: curvature.sqrt(),
        }
    }
}

/// The residuals that belong to a step: the reward's, and those of weighted constraints.
struct StepResiduals {
    /// `[points, residuals]`.
    values: Tensor<2>,
    /// Derivatives by the latent that the step ends in, `[points, residuals, latent]`.
    by_latent: Tensor<3>,
    /// Derivatives by the action, `[points, residuals, action]`; `None` where there are none.
    by_action: Option<Tensor<3>>,
}

impl StepResiduals {
    fn new(
        model: &dyn LatentModel,
        latents: Tensor<2>,
        actions: Tensor<2>,
        constraints: &[(&Constraint, Tensor<2>)],
    ) -> Self {
        let reward = model.linearise_reward(latents.clone());
        let mut rows = Self {
            values: reward.residuals,
            by_latent: reward.jacobian,
            by_action: None,
        };
        for (constraint, multipliers) in constraints {
            let weight = multipliers.clone().transpose().flatten::<1>(0, 1).sqrt();
            rows.append(constraint, weight, &latents, &actions);
        }
        rows
    }

    /// Adds `weight · h` with its derivatives by autodiff; `weight` is `[points]`.
    fn append(
        &mut self,
        constraint: &Constraint,
        weight: Tensor<1>,
        latents: &Tensor<2>,
        actions: &Tensor<2>,
    ) {
        let [points, present] = self.values.dims();
        let action_size = actions.dims()[1];
        let latents = latents.clone().autodiff().require_grad();
        let actions = actions.clone().autodiff().require_grad();
        let value = constraint.residual(latents.clone(), actions.clone()) * weight.autodiff();
        let (by_latent, by_action) = gradients_of(value.clone().sum(), &latents, &actions);
        let none = || Tensor::zeros([points, present, action_size], &by_action.device());
        let before = self.by_action.take().unwrap_or_else(none);
        self.by_action = Some(Tensor::cat(vec![before, by_action.unsqueeze_dim(1)], 1));
        self.by_latent = Tensor::cat(vec![self.by_latent.clone(), by_latent.unsqueeze_dim(1)], 1);
        let value = value.without_autodiff().unsqueeze_dim(1);
        self.values = Tensor::cat(vec![self.values.clone(), value], 1);
    }
}

/// Derivatives of every residual with respect to `dz_{t+1}` and `da_t`.
struct Adjoints {
    latents: Tensor<3>,
    actions: Tensor<3>,
}

impl Adjoints {
    /// One backward sweep: residuals of step t join the cotangents at step t, and all of them go
    /// through the transition together.
    fn sweep(
        linearisation: &dyn Linearisation,
        own: &StepResiduals,
        [plans, horizon]: [usize; 2],
    ) -> Self {
        let rows = horizon * own.values.dims()[1];
        let mut latents = Vec::with_capacity(horizon);
        let mut actions = Vec::with_capacity(horizon);
        let mut cotangents: Option<Tensor<3>> = None;
        for step in (0..horizon).rev() {
            let points = step * plans..(step + 1) * plans;
            let entering = own.by_latent.clone().narrow(0, points.start, plans);
            let active = match cotangents.take() {
                Some(later) => Tensor::cat(vec![later, entering], 1),
                None => entering,
            };
            let (by_latent, mut by_action) = linearisation.pullback(points.clone(), active.clone());
            if let Some(direct) = &own.by_action {
                by_action = by_action + direct_rows(direct, points, active.dims()[1]);
            }
            cotangents = Some(by_latent);
            latents.push(pad_rows(active, rows));
            actions.push(pad_rows(by_action, rows));
        }
        latents.reverse();
        actions.reverse();
        Self {
            latents: Tensor::cat(latents, 2),
            actions: Tensor::cat(actions, 2),
        }
    }
}

/// What a step's own residuals depend on its action for directly, under zeros for the later ones:
/// `[plans, rows, action]`.
fn direct_rows(direct: &Tensor<3>, points: Range<usize>, rows: usize) -> Tensor<3> {
    let own = direct.clone().narrow(0, points.start, points.len());
    let [plans, present, action] = own.dims();
    if present == rows {
        return own;
    }
    let zeros = Tensor::zeros([plans, rows - present, action], &own.device());
    Tensor::cat(vec![zeros, own], 1)
}

/// Appends rows of zeros: later steps do not move earlier residuals.
fn pad_rows(batch: Tensor<3>, rows: usize) -> Tensor<3> {
    let [plans, present, size] = batch.dims();
    if present == rows {
        return batch;
    }
    let zeros = Tensor::zeros([plans, rows - present, size], &batch.device());
    Tensor::cat(vec![batch, zeros], 1)
}

/// Solves `(I + K) y = b` for each plan, `K` `[plans, rows, rows]` positive semidefinite and `b`
/// `[plans, rows]`, by Cholesky in double precision on the host: one transfer each way.
fn solve_shifted(
    gram: Tensor<3>,
    right: Tensor<2>,
    iteration: usize,
) -> Result<Tensor<2>, PlanError> {
    let [plans, rows] = right.dims();
    let device = right.device();
    let joined = Tensor::cat(vec![gram.reshape([plans, rows * rows]), right], 1);
    let values = read("Gauss-Newton system", joined)?;
    let mut solutions = Vec::with_capacity(plans * rows);
    for system in values.chunks(rows * (rows + 1)) {
        let (gram, right) = system.split_at(rows * rows);
        let solution = solve_one(gram, right).ok_or(PlanError::NotFinite {
            what: "Gauss-Newton system",
            iteration,
            step: 0,
        })?;
        solutions.extend(solution.iter().map(|&value| value as f32));
    }
    Ok(Tensor::from_data(
        TensorData::new(solutions, [plans, rows]),
        &device,
    ))
}

/// Solves `(I + K) y = b` in double precision; `None` where the numbers are not finite.
///
/// `K` was formed in single precision, so that it may be indefinite by its round-off where
/// multipliers or damping are tiny. Then the least shift of the diagonal that makes it definite is
/// added, which damps the step.
fn solve_one(gram: &[f32], right: &[f32]) -> Option<DVector<f64>> {
    let rows = right.len();
    let largest = (0..rows)
        .map(|index| gram[index * (rows + 1)])
        .fold(1.0, f32::max);
    if !(gram.iter().chain(right).all(|value| value.is_finite())) {
        return None;
    }
    let right = DVector::from_fn(rows, |index, _| f64::from(right[index]));
    [0.0, 1e-7, 1e-6, 1e-5, 1e-4, 1e-3]
        .iter()
        .find_map(|shift| {
            let shift = 1.0 + shift * f64::from(largest);
            let matrix = DMatrix::from_fn(rows, rows, |i, j| {
                f64::from(gram[i * rows + j]) + if i == j { shift } else { 0.0 }
            });
            Some(Cholesky::new(matrix)?.solve(&right))
        })
}
