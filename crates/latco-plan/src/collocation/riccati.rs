//! The step by a Riccati sweep: one time step after another, with the Jacobians of the dynamics.
//!
//! Time and memory grow in proportion to the horizon, and with the third power of the latent's size; any
//! damping.

use burn::tensor::{Tensor, TensorData};
use latco_kernels::join;
use nalgebra::{DMatrix, DVector, DVectorView};

use super::{
    ActionBounds, Weights,
    least_squares::{LeastSquares, Step},
};
use crate::{
    PlanError,
    gauss_newton::{
        cost::NodeCost,
        riccati::{Curvature, DefectCost, LocalProblem, jacobian, jacobians},
    },
    host::read,
};

/// The step of `problem`. Bounds cut actions off as the sweep forward comes to them, and what follows
/// makes up for it.
pub(super) fn step(
    problem: &LeastSquares<'_>,
    weights: &Weights,
    iteration: usize,
) -> Result<Step, PlanError> {
    let system = System::read(problem, weights)?;
    let [plans, horizon, latent] = problem.defects.dims();
    let [_, _, action] = problem.actions.dims();
    let mut actions = vec![0.0f32; plans * horizon * action];
    let mut defects = vec![0.0f32; plans * horizon * latent];
    for plan in 0..plans {
        let steps = system.solve(plan).ok_or(PlanError::NotFinite {
            what: "Gauss-Newton system",
            iteration,
            step: 0,
        })?;
        for (step, (action_change, defect)) in steps.into_iter().enumerate() {
            let place = plan * horizon + step;
            copy(&mut actions[place * action..], &action_change);
            copy(&mut defects[place * latent..], &defect);
        }
    }
    let device = problem.defects.device();
    let upload =
        |values, size| Tensor::from_data(TensorData::new(values, [plans, horizon, size]), &device);
    Ok(Step {
        actions: upload(actions, action),
        defects: upload(defects, latent),
    })
}

fn copy(target: &mut [f32], values: &DVector<f64>) {
    for (target, &value) in target.iter_mut().zip(values.iter()) {
        *target = value as f32;
    }
}

/// The least-squares problem of all plans on the host. Points are steps of plans, step by step.
struct System {
    /// `[plans, horizon, latent, action, residuals]`.
    sizes: [usize; 5],
    bounded: bool,
    /// `[A, B]` of every point, column by column.
    jacobians: Vec<f32>,
    /// `ρ`, `[points, residuals]`.
    residuals: Vec<f32>,
    /// Its derivatives by latent and action, `[points, residuals, latent + action]`.
    by_both: Vec<f32>,
    /// `c`, `[plans, horizon, latent]`.
    defects: Vec<f32>,
    /// `[plans, horizon, action]`.
    actions: Vec<f32>,
    /// λ, ν, `[plans, horizon]` each.
    dynamics: Vec<f32>,
    bounds: Vec<f32>,
    /// Of defects, actions and latents, `[plans]` each.
    dampings: [Vec<f32>; 3],
}

impl System {
    fn read(problem: &LeastSquares<'_>, weights: &Weights) -> Result<Self, PlanError> {
        let [plans, horizon, latent] = problem.defects.dims();
        let [_, _, action] = problem.actions.dims();
        let own = &problem.residuals;
        let [points, residuals, _] = own.by_latent.dims();
        let device = problem.defects.device();
        let none = || Tensor::zeros([points, residuals, action], &device);
        let by_action = own.by_action.clone().unwrap_or_else(none);
        let by_both = join(vec![own.by_latent.clone(), by_action], 2);
        let undamped = || weights.defect_damping.zeros_like();
        let of_latents = weights.latent_damping.clone().unwrap_or_else(undamped);
        let linear = problem.linearisation.as_ref();
        Ok(Self {
            sizes: [plans, horizon, latent, action, residuals],
            bounded: problem.bounds == ActionBounds::Projected,
            jacobians: jacobians(linear, [points, latent], &device, || Ok(()))?,
            residuals: read("residual", own.values.clone())?,
            by_both: read("derivative of residuals", by_both)?,
            defects: read("defects", problem.defects.clone())?,
            actions: read("actions", problem.actions.clone())?,
            dynamics: read("multipliers", weights.dynamics.clone())?,
            bounds: read("multipliers of actions", weights.actions.clone())?,
            dampings: [
                read("damping", weights.defect_damping.clone())?,
                read("damping", weights.action_damping.clone())?,
                read("damping", of_latents)?,
            ],
        })
    }

    /// The change of the actions and the defects after it, step by step; `None` where there is no minimum.
    fn solve(&self, plan: usize) -> Option<Vec<(DVector<f64>, DVector<f64>)>> {
        let [_, horizon, latent, action, _] = self.sizes;
        let width = latent + action;
        let of_plan = |values: &[f32], size: usize| {
            let own = &values[plan * horizon * size..(plan + 1) * horizon * size];
            own.iter().copied().map(f64::from).collect::<Vec<_>>()
        };
        let actions = of_plan(&self.actions, action);
        let lambdas = of_plan(&self.dynamics, 1);
        let missed = of_plan(&self.defects, latent);
        let slope = missed
            .iter()
            .enumerate()
            .map(|(index, defect)| -lambdas[index / latent] * defect);
        let [of_defects, of_actions, _] = &self.dampings;
        let defects = DefectCost {
            slope: slope.collect(),
            curvature: Curvature::Uniform(lambdas.clone()),
        };
        let problem = LocalProblem {
            sizes: [latent, action],
            jacobian: &|step| self.jacobian(plan, step),
            costs: &|step| self.node(plan, step),
            actions: &actions,
            bounded: self.bounded,
            defects: Some(&defects),
            defect_damping: f64::from(of_defects[plan]),
            action_damping: f64::from(of_actions[plan]),
        };
        let gains = problem.solve()?;
        let mut node = DVector::zeros(latent);
        let mut steps = Vec::with_capacity(horizon);
        for (step, gain) in gains.iter().enumerate() {
            let present = DVectorView::from_slice(&actions[step * action..], action);
            let mut change = &gain.action + &gain.action_by_latent * &node;
            if self.bounded {
                change = (&change + present).map(|action| action.clamp(-1.0, 1.0)) - present;
            }
            let both = node.iter().chain(change.iter()).copied();
            let predicted = self.jacobian(plan, step) * DVector::from_iterator(width, both);
            let (open, feedback) = gain.defect.as_ref()?;
            let inputs = predicted.iter().chain(change.iter()).copied();
            let moved = open + feedback * DVector::from_iterator(width, inputs);
            node = predicted + &moved;
            let before = DVectorView::from_slice(&missed[step * latent..], latent);
            steps.push((change, moved - before));
        }
        Some(steps)
    }

    /// `[A, B]` of a step of a plan.
    fn jacobian(&self, plan: usize, step: usize) -> DMatrix<f64> {
        let [plans, _, latent, action, _] = self.sizes;
        jacobian(&self.jacobians, step * plans + plan, [latent, action])
    }

    /// What a step costs by the latent that it ends in and its action.
    fn node(&self, plan: usize, step: usize) -> NodeCost {
        let [plans, horizon, latent, action, residuals] = self.sizes;
        let width = latent + action;
        let point = step * plans + plan;
        let rows = self.by_both[point * residuals * width..].iter();
        let rows = DMatrix::from_row_iterator(
            residuals,
            width,
            rows.take(residuals * width).map(|&value| f64::from(value)),
        );
        let values = self.residuals[point * residuals..(point + 1) * residuals].iter();
        let values = DVector::from_iterator(residuals, values.map(|&value| f64::from(value)));
        let mut gradient = rows.tr_mul(&values);
        let mut hessian = rows.tr_mul(&rows);
        for index in 0..latent {
            hessian[(index, index)] += f64::from(self.dampings[2][plan]);
        }
        let place = plan * horizon + step;
        let weight = f64::from(self.bounds[place]);
        for index in 0..action {
            let present = f64::from(self.actions[place * action + index]);
            if present.abs() > 1.0 {
                let row = latent + index;
                gradient[row] += weight * (present.abs() - 1.0) * present.signum();
                hessian[(row, row)] += weight;
            }
        }
        NodeCost { gradient, hessian }
    }
}
