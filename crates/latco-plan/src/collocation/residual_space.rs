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
//! damping costs no further sweep, nor does fixing actions at their bounds: `1/w = 0` for those, and
//! `da⁰` what is left of the way to the bound.

use std::ops::Range;

use burn::tensor::{Tensor, TensorData};
use latco_kernels::{inner_products, join};
use nalgebra::{Cholesky, DMatrix, DVector};

use super::least_squares::{Diagonal, LeastSquares, Step, StepResiduals};
use crate::{Linearisation, PlanError, host::read};

/// The step of `problem` with each of these diagonals; their systems are solved with one transfer each way.
pub(super) fn steps(
    problem: &LeastSquares<'_>,
    diagonals: &[Diagonal],
    iteration: usize,
) -> Result<Vec<Step>, PlanError> {
    let [plans, horizon, latent] = problem.defects.dims();
    let adjoints = problem.adjoints.get_or_init(|| {
        Adjoints::sweep(
            problem.linearisation.as_ref(),
            &problem.residuals,
            [plans, horizon],
            problem.workers,
        )
    });
    let (mut systems, mut scales) = (Vec::new(), Vec::new());
    for diagonal in diagonals {
        let scale = diagonal.defect_weight.clone().sqrt();
        let scaled = adjoints.latents.clone() / scale.clone().reshape([plans, 1, horizon * latent]);
        let known =
            (diagonal.defects.clone() * scale.clone()).reshape([plans, 1, horizon * latent]);
        let known = inner_products(scaled.clone(), known).squeeze_dim::<2>(2);
        let right = adjoints.residuals.clone() + known;
        let gram = inner_products(scaled.clone(), scaled.clone());
        let mut parts = vec![
            gram.flatten::<2>(1, 2),
            right,
            adjoints.actions.clone().flatten(1, 2),
            diagonal.actions.clone().flatten(1, 2),
            diagonal.action_weight.clone().flatten(1, 2),
        ];
        parts.extend(
            problem
                .projected_actions()
                .map(|actions| actions.clone().flatten(1, 2)),
        );
        systems.push(join(parts, 1));
        scales.push((scaled, scale));
    }
    let rows = adjoints.residuals.dims()[1];
    let shape = [plans * diagonals.len(), horizon, problem.actions.dims()[2]];
    let solution = Solution::find(systems, rows, shape, iteration)?;
    let parts = diagonals.iter().zip(scales).enumerate();
    let steps = parts.map(|(index, (diagonal, (scaled, scale)))| {
        let multipliers = solution.multipliers.clone().narrow(0, index * plans, plans);
        let correction = multipliers.unsqueeze_dim::<3>(1).matmul(scaled);
        let correction = correction.reshape([plans, horizon, latent]) / scale;
        Step {
            actions: solution.actions.clone().narrow(0, index * plans, plans),
            defects: diagonal.defects.clone() - problem.defects.clone() - correction,
        }
    });
    Ok(steps.collect())
}

/// `y`, `[plans, rows]`, and `da`, `[plans, horizon, action]`.
struct Solution {
    multipliers: Tensor<2>,
    actions: Tensor<3>,
}

impl Solution {
    /// Solves `(I + K) y = b` for each plan on the host, with one transfer each way. A plan whose numbers are not
    /// finite gets a step that is none, NaN; where that is every plan's it is an error.
    ///
    /// A row of the `systems` `[…, parts]` is what a [`System`] of so many `rows` is made of. Its first
    /// parts are those of the defects; that of the actions, whose weights may be tiny, is added in double
    /// precision.
    fn find(
        systems: Vec<Tensor<2>>,
        rows: usize,
        [plans, horizon, action]: [usize; 3],
        iteration: usize,
    ) -> Result<Self, PlanError> {
        let systems = join(systems, 0);
        let device = systems.device();
        let values = read("Gauss-Newton system", systems)?;
        let mut multipliers = Vec::with_capacity(plans * rows);
        let mut actions = Vec::with_capacity(plans * horizon * action);
        let mut is_solved = false;
        for values in values.chunks(values.len() / plans) {
            let system = System::new(values, rows, horizon * action);
            let solution = system.solve_within_bounds();
            is_solved |= solution.is_some();
            let none = |size| DVector::from_element(size, f64::NAN);
            let (y, change) = solution.unwrap_or_else(|| (none(rows), none(horizon * action)));
            multipliers.extend(y.iter().map(|&value| value as f32));
            actions.extend(change.iter().map(|&value| value as f32));
        }
        if !is_solved {
            return Err(PlanError::NotFinite {
                what: "Gauss-Newton system",
                iteration,
                step: 0,
            });
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
    /// The actions that the step starts from, where it is to stop at their bounds; else empty.
    present: DVector<f64>,
}

/// Solutions at most that fix actions at their bounds; what these leave beyond is cut off. With more the
/// plans of six tasks came out the same.
const ROUNDS: usize = 3;

/// What an action may exceed its bound by, in single precision.
const ROUNDING: f64 = 1e-6;

impl System {
    /// From the parts in row-major order; the last one may be missing.
    fn new(values: &[f32], rows: usize, actions: usize) -> Self {
        let (gram, rest) = values.split_at(rows * rows);
        let (right, rest) = rest.split_at(rows);
        let (adjoints, rest) = rest.split_at(rows * actions);
        let (start, rest) = rest.split_at(actions);
        let (weights, present) = rest.split_at(actions);
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
            present: double(present),
        }
    }

    /// `y` and `da`, the actions within their bounds where they have any; `None` where numbers are not
    /// finite.
    fn solve_within_bounds(mut self) -> Option<(DVector<f64>, DVector<f64>)> {
        let mut solution = self.solve()?;
        for _ in 0..ROUNDS {
            if !self.fix_beyond(&solution.1) {
                return Some(solution);
            }
            solution = self.solve()?;
        }
        for (change, present) in solution.1.iter_mut().zip(&self.present) {
            *change = (present + *change).clamp(-1.0, 1.0) - present;
        }
        Some(solution)
    }

    /// Fixes the actions that `change` takes beyond a bound there; whether there are any.
    fn fix_beyond(&mut self, change: &DVector<f64>) -> bool {
        let mut any = false;
        for (index, present) in self.present.iter().enumerate() {
            let moved = present + change[index];
            if self.compliance[index] > 0.0 && moved.abs() > 1.0 + ROUNDING {
                self.compliance[index] = 0.0;
                self.actions[index] = moved.signum() - present;
                any = true;
            }
        }
        any
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
        workers: usize,
    ) -> Self {
        let rows = horizon * own.count();
        let at_once = match own.by_action {
            None => linearisation.adjoints_along(&own.by_latent, plans, workers),
            Some(_) => None,
        };
        if let Some((latents, actions)) = at_once {
            return Self {
                residuals: own.last_first([plans, horizon]),
                latents,
                actions,
            };
        }
        let mut latents = Vec::with_capacity(horizon);
        let mut actions = Vec::with_capacity(horizon);
        let mut cotangents: Option<Tensor<3>> = None;
        for step in (0..horizon).rev() {
            let points = step * plans..(step + 1) * plans;
            let entering = own.by_latent.clone().narrow(0, points.start, plans);
            let active = match cotangents.take() {
                Some(later) => join(vec![later, entering], 1),
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
            residuals: own.last_first([plans, horizon]),
            latents: join(latents, 2),
            actions: join(actions, 2),
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
    join(vec![zeros, own], 1)
}

/// Appends rows of zeros: later steps do not move earlier residuals.
fn pad_rows(batch: Tensor<3>, rows: usize) -> Tensor<3> {
    let [plans, present, size] = batch.dims();
    if present == rows {
        return batch;
    }
    let zeros = Tensor::zeros([plans, rows - present, size], &batch.device());
    join(vec![batch, zeros], 1)
}

#[cfg(test)]
mod tests {
    use burn::tensor::Device;

    use super::*;
    use crate::Noise;

    const ROWS: usize = 4;
    const ACTIONS: usize = 6;

    impl System {
        /// The cost of a step with this change of the actions, its best defects given:
        /// `½ (b + Q da)ᵀ (I + Σ P Pᵀ / λ)⁻¹ (b + Q da) + ½ Σ w (da − da⁰)²`.
        fn cost(&self, change: &DVector<f64>) -> f64 {
            let beyond = change - &self.actions;
            let residual = &self.right + &self.adjoints * change;
            let metric = Cholesky::new(&self.gram + DMatrix::identity(ROWS, ROWS)).unwrap();
            let weighted = beyond
                .component_mul(&beyond)
                .component_div(&self.compliance);
            0.5 * (residual.dot(&metric.solve(&residual)) + weighted.sum())
        }
    }

    /// A random system with a positive definite gram matrix, from actions within their bounds.
    fn system(seed: u64) -> System {
        let noise = &mut Noise::new(seed);
        let mut matrix = |rows: usize, columns: usize| {
            let numbers = noise.normal::<2>([rows, columns], &Device::default());
            let numbers = read("numbers", numbers.clamp(-1.0, 1.0)).unwrap();
            DMatrix::from_iterator(rows, columns, numbers.into_iter().map(f64::from))
        };
        let root = matrix(ROWS, ROWS);
        System {
            gram: &root * root.transpose(),
            right: 3.0 * matrix(ROWS, 1).column(0),
            adjoints: matrix(ROWS, ACTIONS),
            actions: DVector::zeros(ACTIONS),
            compliance: 10.0 * matrix(ACTIONS, 1).column(0).map(|weight| 1.1 + weight),
            present: matrix(ACTIONS, 1).column(0).into_owned(),
        }
    }

    /// Whether each action is at a bound, or where the cost is least in its direction.
    fn is_settled(system: &System, change: &DVector<f64>) -> bool {
        let moved = &system.present + change;
        (0..ACTIONS).all(|index| {
            let cost_beside = |distance: f64| {
                let mut beside = change.clone();
                beside[index] += distance;
                system.cost(&beside)
            };
            let slope = (cost_beside(1e-4) - cost_beside(-1e-4)) / 2e-4;
            (moved[index].abs() - 1.0).abs() <= ROUNDING || slope.abs() < 1e-6
        })
    }

    /// Fixing actions one after another finds a face of the box and the least cost on it. Which face
    /// is a guess: now and then cutting an unbounded step off is cheaper.
    #[test]
    fn a_projected_step_is_the_best_one_on_a_face_of_the_bounds() {
        const SYSTEMS: u64 = 500;
        let [mut bounded, mut settled, mut cheaper] = [0; 3];
        for seed in 0..SYSTEMS {
            let (_, free) = system(seed).solve().unwrap();
            let (_, projected) = system(seed).solve_within_bounds().unwrap();
            let system = system(seed);
            let within = |change: &DVector<f64>| {
                let moved = (&system.present + change).map(|action| action.clamp(-1.0, 1.0));
                moved - &system.present
            };
            assert!((within(&projected) - &projected).amax() <= ROUNDING);
            assert!(system.cost(&free) <= system.cost(&projected) + 1e-9);
            bounded += u64::from(within(&free) != free);
            settled += u64::from(is_settled(&system, &projected));
            cheaper += u64::from(system.cost(&projected) <= system.cost(&within(&free)) + 1e-9);
        }
        println!("{bounded} bounded, {settled} settled, {cheaper} cheaper than clipped");
        assert!((SYSTEMS / 5..SYSTEMS).contains(&bounded));
        assert!(settled > SYSTEMS * 98 / 100);
        assert!(cheaper > SYSTEMS * 98 / 100);
    }
}
