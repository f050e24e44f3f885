//! The block-tridiagonal step: one time step after another, in square-root form.
//!
//! The normal equations of a Gauss–Newton step are block-tridiagonal in time. Eliminating them from
//! the last step to the first is a Riccati recursion for the least cost that is still to come,
//! kept here as rows `½‖R_t dz_t + r_t‖²`, which no damping or multiplier makes indefinite. With
//! `x = A dz_t + B da + c` the latent that the linearised dynamics predict and `H` the direct
//! dependence of a step's own rows on its action:
//!
//! ```text
//! defect   min over dz_{t+1} of  ½λ‖dz_{t+1} − x‖² + ½‖R dz_{t+1} + H da + r‖²
//!            = ½‖R̂ x + Ĥ da + r̂‖²,         [R̂, Ĥ, r̂] = L⁻¹ [R, H, r],   L Lᵀ = I + R Rᵀ / λ
//! action   min over da of  ½‖√w (da − da⁰)‖² + ½‖R̂ A dz_t + G (da − da⁰) + …‖²,   G = R̂ B + Ĥ
//!            = ½‖(I + G w⁻¹ Gᵀ)^{−½} (R̂ A dz_t + …)‖²
//! next     R_t = the rows that are left, and the residuals of step t − 1 under them
//! ```
//!
//! Damping of latents adds the rows `√δ_z dz_t`. Rows beyond the size of the latent are compressed
//! by a QR factorisation. Cost and memory grow in proportion to the horizon, and no Jacobian is
//! formed: a time step needs one pullback of at most `1¼ · latent + residuals` rows (twice the
//! latent with damping of latents).

use burn::tensor::{Device, Tensor, TensorData};
use nalgebra::{Cholesky, DMatrix, DVector, QR, SymmetricEigen};

use super::{
    Weights,
    least_squares::{Diagonal, LeastSquares, Step},
    residual_space::direct_rows,
};
use crate::{PlanError, host::read};

/// The step of `problem`. Bounds cut actions off as the sweep forward comes to them, and what follows
/// makes up for it.
pub(super) fn step(
    problem: &LeastSquares<'_>,
    diagonal: &Diagonal,
    weights: &Weights,
    iteration: usize,
) -> Result<Step, PlanError> {
    let [plans, horizon, _] = problem.defects.dims();
    let sweep = Sweep {
        problem,
        diagonal,
        defect_weight: read("multipliers", diagonal.defect_weight.clone())?,
        action_weight: read("multipliers of actions", diagonal.action_weight.clone())?,
        latent_damping: weights
            .latent_damping
            .clone()
            .map(|damping| damping.sqrt().reshape([plans, 1, 1])),
        iteration,
    };
    let mut later = None;
    let mut stages = Vec::with_capacity(horizon);
    for step in (0..horizon).rev() {
        let rows = sweep.rows_at(step, later.take())?;
        let (stage, left) = sweep.eliminate(step, rows)?;
        stages.push(stage);
        later = Some(left);
    }
    stages.reverse();
    Ok(sweep.forward(&stages))
}

/// One backward and one forward sweep.
struct Sweep<'a> {
    problem: &'a LeastSquares<'a>,
    diagonal: &'a Diagonal,
    /// λ + δ_e on the host, plan by plan, step by step.
    defect_weight: Vec<f32>,
    /// w on the host, plan by plan, step by step, action by action.
    action_weight: Vec<f32>,
    /// √δ_z, `[plans, 1, 1]`.
    latent_damping: Option<Tensor<3>>,
    iteration: usize,
}

/// What the forward sweep needs of a time step.
struct Stage {
    /// `[R̂, r̂]`, `[plans, rows, latent + 1]`.
    rows: Tensor<3>,
    /// `Ĥ`, `[plans, rows, action]`.
    direct: Option<Tensor<3>>,
    /// `da − da⁰` as an affine function of `dz_t`, `[plans, action, latent + 1]`.
    policy: Tensor<3>,
}

impl Sweep<'_> {
    /// The rows `[R, r]` of the node that `step` ends in, `[plans, rows, latent + 1]`: those of
    /// later steps, of the damping, and the step's own residuals last.
    fn rows_at(&self, step: usize, later: Option<Tensor<3>>) -> Result<Tensor<3>, PlanError> {
        let [plans, _, latent] = self.problem.defects.dims();
        let own = &self.problem.residuals;
        let of_step = Tensor::cat(
            vec![
                own.by_latent.clone().narrow(0, step * plans, plans),
                own.values
                    .clone()
                    .narrow(0, step * plans, plans)
                    .unsqueeze_dim::<3>(2),
            ],
            2,
        );
        let damping = self.latent_damping.as_ref().map(|scale| {
            let unit = Tensor::<2>::eye(latent, &scale.device()).unsqueeze_dim::<3>(0);
            let zeros = Tensor::zeros([plans, latent, 1], &scale.device());
            Tensor::cat(vec![unit * scale.clone(), zeros], 2)
        });
        let earlier: Vec<_> = later.into_iter().chain(damping).collect();
        if earlier.is_empty() {
            return Ok(of_step);
        }
        let earlier = self.compress(step, Tensor::cat(earlier, 1))?;
        Ok(Tensor::cat(vec![earlier, of_step], 1))
    }

    /// As many rows as the latent has dimensions, of the same cost but for a constant; the rows
    /// themselves where they are few.
    fn compress(&self, step: usize, rows: Tensor<3>) -> Result<Tensor<3>, PlanError> {
        let [plans, count, columns] = rows.dims();
        let latent = columns - 1;
        if count <= latent + latent / 4 {
            return Ok(rows);
        }
        let device = rows.device();
        let values = self.read(step, rows)?;
        let mut kept = Vec::with_capacity(plans * latent * columns);
        for plan in values.chunks(count * columns) {
            let factor = QR::new(matrix(plan, count, columns)).r();
            push_rows(&mut kept, &factor.rows(0, latent).into_owned());
        }
        Ok(upload(kept, [plans, latent, columns], &device))
    }

    /// Eliminates the defect and the action of `step` from `rows` `[R, r]`: the stage, and the rows
    /// of the node that the step starts from.
    fn eliminate(&self, step: usize, rows: Tensor<3>) -> Result<(Stage, Tensor<3>), PlanError> {
        let [plans, count, columns] = rows.dims();
        let latent = columns - 1;
        let by_next = rows.clone().narrow(2, 0, latent);
        let (by_latent, through) = self
            .problem
            .linearisation
            .pullback(step * plans..(step + 1) * plans, by_next.clone());
        let direct = self.problem.residuals.by_action.as_ref();
        let direct = direct.map(|rows| direct_rows(rows, step * plans..(step + 1) * plans, count));
        let by_action = match &direct {
            Some(direct) => through + direct.clone(),
            None => through,
        };
        let gram = by_next.clone().matmul(by_next.clone().swap_dims(1, 2));
        let factors = self.factorise(step, Tensor::cat(vec![gram, by_action.clone()], 2))?;
        let action = by_action.dims()[2];
        let values = rows.clone().narrow(2, latent, 1)
            + by_next.matmul(column(&self.diagonal.defects, step))
            + by_action.matmul(column(&self.diagonal.actions, step));
        let reduced = factors
            .clone()
            .narrow(1, 0, count + action)
            .matmul(Tensor::cat(vec![by_latent, values], 2));
        let whiten = factors.narrow(1, count + action, count);
        let stage = Stage {
            rows: whiten.clone().matmul(rows),
            direct: direct.map(|direct| whiten.matmul(direct)),
            policy: reduced.clone().narrow(1, count, action),
        };
        Ok((stage, reduced.narrow(1, 0, count)))
    }

    /// The [`factors`] of each plan, `[plans, 2 rows + action, rows]`, from `[R Rᵀ, RB + H]`
    /// `[plans, rows, rows + action]`.
    fn factorise(&self, step: usize, joined: Tensor<3>) -> Result<Tensor<3>, PlanError> {
        let [plans, count, columns] = joined.dims();
        let action = columns - count;
        let horizon = self.problem.defects.dims()[1];
        let device = joined.device();
        let systems = self.read(step, joined)?;
        let height = 2 * count + action;
        let mut all = Vec::with_capacity(plans * height * count);
        for (plan, system) in systems.chunks(count * columns).enumerate() {
            let index = plan * horizon + step;
            let weights = &self.action_weight[index * action..(index + 1) * action];
            let system = matrix(system, count, columns);
            let factors = factors(&system, f64::from(self.defect_weight[index]), weights)
                .ok_or_else(|| self.not_finite(step))?;
            push_rows(&mut all, &factors);
        }
        Ok(upload(all, [plans, height, count], &device))
    }

    /// From `dz_0 = 0` forward through the policies.
    fn forward(&self, stages: &[Stage]) -> Step {
        let [plans, _, latent] = self.problem.defects.dims();
        let device = self.problem.defects.device();
        let one = Tensor::<3>::ones([plans, 1, 1], &device);
        let affine = |change: Tensor<3>| Tensor::cat(vec![change, one.clone()], 1);
        let mut change = Tensor::<3>::zeros([plans, latent, 1], &device);
        let mut actions = Vec::with_capacity(stages.len());
        let mut drives = Vec::with_capacity(stages.len());
        for (step, stage) in stages.iter().enumerate() {
            let action = column(&self.diagonal.actions, step)
                + stage.policy.clone().matmul(affine(change.clone()));
            let action = self.within_bounds(action, step);
            let predicted = self.problem.linearisation.pushforward(
                step * plans..(step + 1) * plans,
                change.swap_dims(1, 2),
                action.clone().swap_dims(1, 2),
            );
            let predicted = predicted.swap_dims(1, 2);
            let closed = predicted.clone() + column(&self.diagonal.defects, step);
            change = closed.clone() - self.defect(step, stage, affine(closed), &action);
            drives.push((change.clone() - predicted).swap_dims(1, 2));
            actions.push(action.swap_dims(1, 2));
        }
        Step {
            actions: Tensor::cat(actions, 1),
            defects: Tensor::cat(drives, 1) - self.problem.defects.clone(),
        }
    }

    /// The change `action` `[plans, action, 1]` of one step, cut off at the bounds where there are any.
    fn within_bounds(&self, action: Tensor<3>, step: usize) -> Tensor<3> {
        let Some(present) = self.problem.projected_actions() else {
            return action;
        };
        let present = column(present, step);
        (action + present.clone()).clamp(-1.0, 1.0) - present
    }

    /// How far the next latent stays behind the prediction `x`: `R̂ᵀ (R̂ x + Ĥ da + r̂) / λ`,
    /// `[plans, latent, 1]`.
    fn defect(
        &self,
        step: usize,
        stage: &Stage,
        predicted: Tensor<3>,
        action: &Tensor<3>,
    ) -> Tensor<3> {
        let latent = stage.rows.dims()[2] - 1;
        let mut residual = stage.rows.clone().matmul(predicted);
        if let Some(direct) = &stage.direct {
            residual = residual + direct.clone().matmul(action.clone());
        }
        let weight = self.diagonal.defect_weight.clone().narrow(1, step, 1);
        let rows = stage.rows.clone().narrow(2, 0, latent);
        rows.swap_dims(1, 2).matmul(residual) / weight.unsqueeze_dim::<3>(2)
    }

    fn read(&self, step: usize, tensor: Tensor<3>) -> Result<Vec<f32>, PlanError> {
        let values = read(SYSTEM, tensor)?;
        if values.iter().all(|value| value.is_finite()) {
            return Ok(values);
        }
        Err(self.not_finite(step))
    }

    fn not_finite(&self, step: usize) -> PlanError {
        PlanError::NotFinite {
            what: SYSTEM,
            iteration: self.iteration,
            step,
        }
    }
}

const SYSTEM: &str = "Gauss-Newton system";

/// What the elimination of a defect and an action does to rows, in double precision:
/// `[(I + G Gᵀ)^{−½} L⁻¹; −w^{−½} (I + GᵀG)⁻¹ Gᵀ L⁻¹; L⁻¹]`, `[2 rows + action, rows]`, with
/// `G = L⁻¹ (RB + H) w^{−½}`: the rows that are left, the policy, and the whitened rows.
///
/// `system` is `[R Rᵀ, RB + H]`; `None` where numbers are not finite.
fn factors(
    system: &DMatrix<f64>,
    defect_weight: f64,
    action_weight: &[f32],
) -> Option<DMatrix<f64>> {
    let (count, action) = (system.nrows(), action_weight.len());
    let unit = DMatrix::identity(count, count);
    let shifted = system.columns(0, count) / defect_weight + &unit;
    let whiten = Cholesky::new(shifted)?.l().solve_lower_triangular(&unit)?;
    let scale = |weight: &f32| 1.0 / f64::from(*weight).sqrt();
    let scale = DVector::from_iterator(action, action_weight.iter().map(scale));
    let scale = DMatrix::from_diagonal(&scale);
    let by_action = &whiten * system.columns(count, action) * &scale;
    let eigen = SymmetricEigen::try_new(by_action.tr_mul(&by_action), f64::EPSILON, 0)?;
    let function = |of: fn(f64) -> f64| {
        let values = eigen.eigenvalues.map(|value| of(value.max(0.0)));
        &eigen.eigenvectors * DMatrix::from_diagonal(&values) * eigen.eigenvectors.transpose()
    };
    let projected = by_action.tr_mul(&whiten);
    let mut all = DMatrix::zeros(2 * count + action, count);
    let left = &whiten - &by_action * (function(share_of_root) * &projected);
    all.rows_mut(0, count).copy_from(&left);
    let policy = -(scale * function(share) * projected);
    all.rows_mut(count, action).copy_from(&policy);
    all.rows_mut(count + action, count).copy_from(&whiten);
    Some(all)
}

/// `1 / (1 + λ)`, so that `(I + G Gᵀ)⁻¹ = I − G f(GᵀG) Gᵀ`.
fn share(eigenvalue: f64) -> f64 {
    1.0 / (1.0 + eigenvalue)
}

/// `(1 − 1/√(1 + λ)) / λ` without cancellation, so that `(I + G Gᵀ)^{−½} = I − G f(GᵀG) Gᵀ`.
fn share_of_root(eigenvalue: f64) -> f64 {
    let root = (1.0 + eigenvalue).sqrt();
    1.0 / (root * (root + 1.0))
}

/// The column of one step, `[plans, size, 1]`, of `[plans, horizon, size]`.
fn column(batch: &Tensor<3>, step: usize) -> Tensor<3> {
    batch.clone().narrow(1, step, 1).swap_dims(1, 2)
}

fn matrix(values: &[f32], rows: usize, columns: usize) -> DMatrix<f64> {
    DMatrix::from_fn(rows, columns, |row, column| {
        f64::from(values[row * columns + column])
    })
}

/// Appends `matrix` in row-major order.
fn push_rows(values: &mut Vec<f32>, matrix: &DMatrix<f64>) {
    values.extend(matrix.transpose().iter().map(|&value| value as f32));
}

fn upload(values: Vec<f32>, shape: [usize; 3], device: &Device) -> Tensor<3> {
    Tensor::from_data(TensorData::new(values, shape), device)
}
