//! The residual-space step: one unknown for each reward residual.
//!
//! `(e, da)` determine `dz`, and in them the cost is diagonal but for the reward residuals.
//! Eliminating all else leaves one unknown a reward residual:
//!
//! ```text
//! P_t[r], Q_t[r]   derivatives of residual r with respect to dz_{t+1}, da_t   (adjoint sweep)
//! K = Σ_t P_t P_tᵀ / λ_t + Σ_t Q_t diag(1/w_t) Q_tᵀ
//! (I + K) y = ρ + Σ_t P_t c_t + Σ_t Q_t da⁰_t,         da⁰_t = −g_t / w_t
//! e_t = −P_tᵀ y / λ_t,     da_t = da⁰_t − (Q_tᵀ y) / w_t,    then dz forward
//! ```
//!
//! with `g`, `w` gradient and damped curvature of the action term. It equals the dense Gauss–Newton
//! step with damping on actions and defects and costs one vector–Jacobian product a step of the
//! plan and residual. The adjoint sweep does not depend on multipliers or damping, so another
//! damping costs no further sweep.

use std::ops::Range;

use burn::tensor::{Tensor, TensorData};
use nalgebra::{Cholesky, DMatrix, DVector};

use super::least_squares::{Diagonal, LeastSquares, Step, StepResiduals};
use crate::{Linearisation, PlanError, host::read};

/// The step of `problem`.
pub(super) fn step(
    problem: &LeastSquares<'_>,
    diagonal: &Diagonal,
    iteration: usize,
) -> Result<Step, PlanError> {
    let [plans, horizon, latent] = problem.defects.dims();
    let adjoints = problem.adjoints.get_or_init(|| {
        Adjoints::sweep(
            problem.linearisation.as_ref(),
            &problem.residuals,
            [plans, horizon],
        )
    });
    let scale = diagonal.defect_weight.clone().sqrt();
    let scale = scale.unsqueeze_dim::<3>(2).repeat_dim(2, latent);
    let scaled = adjoints.latents.clone() / scale.clone().reshape([plans, 1, horizon * latent]);
    let known = (diagonal.defects.clone() * scale.clone()).reshape([plans, horizon * latent, 1]);
    let right = adjoints.residuals.clone() + scaled.clone().matmul(known).squeeze_dim::<2>(2);
    let gram = scaled.clone().matmul(scaled.clone().swap_dims(1, 2));
    let solution = Solution::find(gram, right, &adjoints.actions, diagonal, iteration)?;
    let correction = solution.multipliers.unsqueeze_dim::<3>(1).matmul(scaled);
    let correction = correction.reshape([plans, horizon, latent]) / scale;
    Ok(Step {
        actions: solution.actions,
        defects: diagonal.defects.clone() - problem.defects.clone() - correction,
    })
}

/// `y`, `[plans, rows]`, and `da`, `[plans, horizon, action]`.
struct Solution {
    multipliers: Tensor<2>,
    actions: Tensor<3>,
}

impl Solution {
    /// Solves `(I + K) y = b` for each plan on the host, with one transfer each way.
    ///
    /// `gram` `[plans, rows, rows]` and `right` `[plans, rows]` are the part of the defects; that
    /// of the actions, whose weights may be tiny, is added in double precision.
    fn find(
        gram: Tensor<3>,
        right: Tensor<2>,
        action_adjoints: &Tensor<3>,
        diagonal: &Diagonal,
        iteration: usize,
    ) -> Result<Self, PlanError> {
        let [plans, rows] = right.dims();
        let [_, horizon, action] = diagonal.actions.dims();
        let device = right.device();
        let parts = vec![
            gram.flatten::<2>(1, 2),
            right,
            action_adjoints.clone().flatten(1, 2),
            diagonal.actions.clone().flatten(1, 2),
            diagonal.action_weight.clone().flatten(1, 2),
        ];
        let values = read("Gauss-Newton system", Tensor::cat(parts, 1))?;
        let mut multipliers = Vec::with_capacity(plans * rows);
        let mut actions = Vec::with_capacity(plans * horizon * action);
        for values in values.chunks(values.len() / plans) {
            let system = System::new(values, rows, horizon * action);
            let (y, change) = system.solve().ok_or(PlanError::NotFinite {
                what: "Gauss-Newton system",
                iteration,
                step: 0,
            })?;
            multipliers.extend(y.iter().map(|&value| value as f32));
            actions.extend(change.iter().map(|&value| value as f32));
        }
        Ok(Self {
            multipliers: Tensor::from_data(TensorData::new(multipliers, [plans, rows]), &device),
            actions: Tensor::from_data(TensorData::new(actions, [plans, horizon, action]), &device),
        })
    }
}

/// The system of one plan in double precision.
struct System {
    /// `Σ P Pᵀ / λ`.
    gram: DMatrix<f64>,
    /// `ρ + Σ P c`.
    right: DVector<f64>,
    /// `[Q_0, …, Q_{T−1}]`.
    adjoints: DMatrix<f64>,
    /// `da⁰`.
    actions: DVector<f64>,
    /// `1 / w`.
    compliance: DVector<f64>,
}

impl System {
    /// From the five parts in row-major order.
    fn new(values: &[f32], rows: usize, actions: usize) -> Self {
        let (gram, rest) = values.split_at(rows * rows);
        let (right, rest) = rest.split_at(rows);
        let (adjoints, rest) = rest.split_at(rows * actions);
        let (start, weights) = rest.split_at(actions);
        let double = |values: &[f32]| {
            DVector::from_iterator(values.len(), values.iter().map(|&value| f64::from(value)))
        };
        let matrix = |values: &[f32], columns| {
            let values = values.iter().map(|&value| f64::from(value));
            DMatrix::from_row_iterator(rows, columns, values)
        };
        Self {
            gram: matrix(gram, rows),
            right: double(right),
            adjoints: matrix(adjoints, actions),
            actions: double(start),
            compliance: double(weights).map(f64::recip),
        }
    }

    /// `y` and `da`; `None` where numbers are not finite.
    ///
    /// `K` was partly formed in single precision, so that it may be indefinite by its round-off
    /// where multipliers are tiny. Then the least shift of the diagonal that makes it definite is
    /// added, which damps the step.
    fn solve(&self) -> Option<(DVector<f64>, DVector<f64>)> {
        let compliant = DMatrix::from_diagonal(&self.compliance) * self.adjoints.transpose();
        let kernel = &self.gram + &self.adjoints * &compliant;
        let right = &self.right + &self.adjoints * &self.actions;
        if !kernel
            .iter()
            .chain(right.iter())
            .all(|value| value.is_finite())
        {
            return None;
        }
        let largest = self.gram.diagonal().max().max(1.0);
        let y = SHIFTS.iter().find_map(|shift| {
            let mut shifted = kernel.clone();
            for index in 0..shifted.nrows() {
                shifted[(index, index)] += 1.0 + shift * largest;
            }
            Some(Cholesky::new(shifted)?.solve(&right))
        })?;
        let actions = &self.actions - compliant * &y;
        Some((y, actions))
    }
}

/// Shares of the largest diagonal entry that are tried in turn.
const SHIFTS: [f64; 6] = [0.0, 1e-7, 1e-6, 1e-5, 1e-4, 1e-3];

/// Derivatives of every residual with respect to `dz_{t+1}` and `da_t`.
pub(super) struct Adjoints {
    /// `ρ`, `[plans, rows]`, rows in the order of the sweep: the last step first.
    residuals: Tensor<2>,
    /// `[P_0, …, P_{T−1}]`, `[plans, rows, horizon · latent]`.
    latents: Tensor<3>,
    /// `[Q_0, …, Q_{T−1}]`, `[plans, rows, horizon · action]`.
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
        let rows = horizon * own.count();
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
        let residuals = own.values.clone();
        Self {
            residuals: residuals
                .reshape([horizon, plans, own.count()])
                .flip([0])
                .swap_dims(0, 1)
                .reshape([plans, rows]),
            latents: Tensor::cat(latents, 2),
            actions: Tensor::cat(actions, 2),
        }
    }
}

/// What a step's own residuals depend on its action for directly, under zeros for the later ones:
/// `[plans, rows, action]`.
pub(super) fn direct_rows(direct: &Tensor<3>, points: Range<usize>, rows: usize) -> Tensor<3> {
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
