//! Constraints of plans in residual form: what their terms are, and how these change with latents, actions
//! and defects.

use burn::tensor::{Tensor, TensorData};
use latco_kernels::{join, stack};
use nalgebra::{DMatrix, DVector};

use super::{
    cost::NodeCosts,
    descent::Batch,
    riccati::{Curvature, DefectCost},
};
use crate::{
    DiagonalGaussian, PlanError,
    collocation::{
        ActionBounds, Constraint, Residuals, StepResiduals, Structure, Trajectories,
        lagrangian::Lagrangian,
    },
    dual::{DualConfig, Penalty},
    host::read,
    linearisation::gradients_of,
    solve::Problem,
};

/// The constraints of plans: their dynamics, the bounds of their actions where these may be passed, and the
/// user's, in this order.
#[derive(Clone)]
pub(crate) struct Constraints<'a> {
    pub lagrangian: Lagrangian<'a>,
    pub bounds: ActionBounds,
}

/// The values of one plan that its constraints hold within intervals, `[horizon, components]` for each: of the
/// dynamics and of equalities, these are what is missed.
pub(crate) type Misses = Vec<Vec<f32>>;

impl<'a> Constraints<'a> {
    /// Of latents as nodes, matched by their squared distance, with actions that stop at their bounds.
    pub fn of_latents(problem: &'a Problem<'a>) -> Self {
        Self {
            lagrangian: Lagrangian::of_latents(problem),
            bounds: ActionBounds::Projected,
        }
    }

    fn divergence(&self) -> Result<&dyn Residuals, PlanError> {
        let divergence = self.lagrangian.divergence.residuals();
        divergence.ok_or(PlanError::NoResiduals)
    }

    pub fn structure(&self) -> Result<Structure, PlanError> {
        Ok(self.divergence()?.structure(self.lagrangian.node))
    }

    /// The penalties of one plan with the first multipliers.
    pub fn first_penalties(
        &self,
        dual: &DualConfig,
        [horizon, action]: [usize; 2],
    ) -> Result<Vec<Penalty>, PlanError> {
        let node = self.lagrangian.start(1);
        let predicted = DiagonalGaussian::new(node.clone(), node.ones_like());
        let dynamics = self
            .divergence()?
            .residuals(self.lagrangian.node, node, &predicted)
            .into_iter()
            .map(|residuals| Penalty::new(dual.dynamics, [horizon, residuals.dims()[1]]));
        let bounds = (self.bounds == ActionBounds::Penalised)
            .then(|| Penalty::new(dual.actions, [horizon, action]).within([-1.0, 1.0]));
        let user = self.lagrangian.constraints.iter().map(|constraint| {
            Penalty::new(dual.dynamics, [horizon, 1]).within(constraint.interval())
        });
        Ok(dynamics.chain(bounds).chain(user).collect())
    }

    /// The plan with its defects.
    pub fn batch(&self, plan: Trajectories) -> Batch {
        let [plans, _] = plan.shape();
        let actions = match self.bounds {
            ActionBounds::Projected => plan.actions.clone().clamp(-1.0, 1.0),
            ActionBounds::Penalised => plan.actions.clone(),
        };
        let previous = plan.previous(self.lagrangian.start(plans));
        let model = self.lagrangian.model();
        let mean = model.transition_mean(previous.flatten(0, 1), actions.clone().flatten(0, 1));
        Batch {
            defects: Some(plan.latents.clone() - mean.reshape(plan.latents.dims())),
            latents: plan.latents,
            actions,
        }
    }

    /// The number of constraints that are the user's, which come last.
    pub fn of_user(&self) -> usize {
        self.lagrangian.constraints.len()
    }

    /// What the penalties of each plan of a `batch` are on: residuals of the dynamics, actions that may pass
    /// their bounds, and the user's `h`.
    pub fn residuals(&self, batch: &Batch) -> Result<Vec<Misses>, PlanError> {
        let [plans, horizon, _] = batch.actions.dims();
        let mut all = match (&batch.defects, self.structure()?) {
            (None, _) => return Ok(vec![Vec::new(); plans]),
            (Some(defects), Structure::Difference) => vec![defects.clone()],
            (Some(defects), _) => {
                let planned = batch.latents.clone().flatten::<2>(0, 1);
                let predicted = self.predicted(batch, defects);
                let residuals =
                    self.divergence()?
                        .residuals(self.lagrangian.node, planned, &predicted);
                let by_plan = |residuals: Tensor<2>| {
                    let size = residuals.dims()[1];
                    residuals.reshape([plans, horizon, size])
                };
                residuals.into_iter().map(by_plan).collect()
            }
        };
        if self.bounds == ActionBounds::Penalised {
            all.push(batch.actions.clone());
        }
        for constraint in self.lagrangian.constraints {
            let planned = self.lagrangian.means(batch.latents.clone().flatten(0, 1));
            let actions = batch.actions.clone().flatten(0, 1);
            let value = constraint.value(planned, actions);
            all.push(value.reshape([plans, horizon, 1]));
        }
        let mut misses = vec![Vec::with_capacity(all.len()); plans];
        for residuals in all {
            let values = read("constraint", residuals)?;
            let of_plans = values.chunks(values.len() / plans);
            for (misses, own) in misses.iter_mut().zip(of_plans) {
                misses.push(own.to_vec());
            }
        }
        Ok(misses)
    }

    /// `p(z_{t+1} | z_t, a_t)`, `[plans · horizon, node]`.
    fn predicted(&self, batch: &Batch, defects: &Tensor<3>) -> DiagonalGaussian {
        let mean = (batch.latents.clone() - defects.clone()).flatten::<2>(0, 1);
        let std = match self.lagrangian.needs_deviations() {
            false => mean.clone(),
            true => {
                let plan = Trajectories {
                    latents: batch.latents.clone(),
                    actions: batch.actions.clone(),
                };
                let start = self.lagrangian.start(plan.shape()[0]);
                let (previous, actions) = (plan.previous(start), plan.actions);
                let model = self.lagrangian.model();
                model
                    .transition(previous.flatten(0, 1), actions.flatten(0, 1))
                    .std
            }
        };
        DiagonalGaussian::new(mean, std)
    }

    /// The derivative of all residuals of the dynamics by the node that a step ends in.
    pub fn by_node(&self, batch: &Batch) -> Result<ByNode, PlanError> {
        let structure = self.structure()?;
        let Some(defects) = batch
            .defects
            .as_ref()
            .filter(|_| structure != Structure::Difference)
        else {
            return Ok(ByNode::Identity);
        };
        let predicted = self.predicted(batch, defects);
        let planned = || {
            let planned = batch.latents.clone().flatten::<2>(0, 1);
            planned.autodiff().require_grad()
        };
        let node = self.lagrangian.node;
        let divergence = self.divergence()?;
        let residuals =
            |planned: &Tensor<2>| join(divergence.residuals(node, planned.clone(), &predicted), 1);
        if structure == Structure::Elementwise {
            let leaf = planned();
            let here = residuals(&leaf);
            let slope = gradients_of(here.clone().sum(), &leaf, &leaf).0;
            let (here, planned) = (here.without_autodiff(), leaf.without_autodiff());
            let secant = |by: f64| (residuals(&(planned.clone() + by)) - here.clone()).abs();
            let steepest = secant(RADIUS).max_pair(secant(-RADIUS)) / RADIUS;
            return Ok(ByNode::Diagonal(Box::new(Secants { slope, steepest })));
        }
        let count = residuals(&planned()).dims()[1];
        let rows = (0..count).map(|row| {
            let planned = planned();
            let selected: Tensor<2> = residuals(&planned).narrow(1, row, 1);
            gradients_of(selected.sum(), &planned, &planned).0
        });
        Ok(ByNode::Full(Box::new(stack(rows.collect(), 1))))
    }

    /// The user's constraints around a `batch`.
    pub fn linearise_user(&self, batch: &Batch) -> Vec<LinearConstraint> {
        let linearise = |constraint: &Constraint| {
            let tracked = |values: &Tensor<3>| {
                let rows = values.clone().flatten::<2>(0, 1);
                rows.autodiff().require_grad()
            };
            let (latents, actions) = (tracked(&batch.latents), tracked(&batch.actions));
            let means = self.lagrangian.means(latents.clone());
            let value = constraint.value(means, actions.clone());
            let (by_latent, by_action) = gradients_of(value.sum(), &latents, &actions);
            LinearConstraint {
                by_latent,
                by_action,
            }
        };
        self.lagrangian.constraints.iter().map(linearise).collect()
    }
}

/// The derivative of the dynamics' residuals by the node that a step ends in, of every step of every plan.
pub(crate) enum ByNode {
    /// `d = planned − predicted`.
    Identity,
    /// That of each residual by the component in its place.
    Diagonal(Box<Secants>),
    /// `[steps, residuals, node]`.
    Full(Box<Tensor<3>>),
}

/// How residuals change with the components in their places, `[steps, node]` each.
pub(crate) struct Secants {
    /// The derivative.
    slope: Tensor<2>,
    /// The size of the steepest secant within [`RADIUS`].
    steepest: Tensor<2>,
}

/// How far the curvature of the dynamics' terms looks around a component: one whose residual is flat here and
/// steep nearby, as a variance is in a small deviation, must not move as if it were free.
const RADIUS: f64 = 0.1;

/// The derivatives of `h` at every step of every plan, `[steps, node]` and `[steps, action]`.
pub(crate) struct LinearConstraint {
    pub by_latent: Tensor<2>,
    pub by_action: Tensor<2>,
}

/// What the constraints of every plan are like around it, on the host.
pub(crate) struct LocalConstraints {
    by_node: HostDerivative,
    /// `[steps, node + action]` of each of the user's.
    user: Vec<Vec<f32>>,
    sizes: [usize; 2],
    bounds: ActionBounds,
}

enum HostDerivative {
    Identity,
    Diagonal { slope: Vec<f32>, steepest: Vec<f32> },
    Full(Vec<f32>),
}

impl LocalConstraints {
    pub fn of(constraints: &Constraints<'_>, batch: &Batch) -> Result<Self, PlanError> {
        let by_node = match constraints.by_node(batch)? {
            ByNode::Identity => HostDerivative::Identity,
            ByNode::Diagonal(secants) => HostDerivative::Diagonal {
                slope: read("divergence", secants.slope)?,
                steepest: read("divergence", secants.steepest)?,
            },
            ByNode::Full(values) => HostDerivative::Full(read("divergence", *values)?),
        };
        let user = constraints.linearise_user(batch).into_iter();
        let user = user.map(|linear| {
            let both = join(vec![linear.by_latent, linear.by_action], 1);
            read("constraint", both)
        });
        Ok(Self {
            by_node,
            user: user.collect::<Result<_, _>>()?,
            sizes: [batch.latents.dims()[2], batch.actions.dims()[2]],
            bounds: constraints.bounds,
        })
    }

    /// The terms of `plan` in its defects, of those of its `penalties` and residuals that are the dynamics'.
    pub fn defect_cost(&self, plan: usize, penalties: &[Penalty], misses: &Misses) -> DefectCost {
        let horizon = penalties[0].weights.len();
        let [latent, _] = self.sizes;
        let dynamics = penalties.len() - self.others();
        let slopes: Vec<_> = penalties[..dynamics]
            .iter()
            .zip(misses)
            .map(|(penalty, misses)| (penalty, penalty.slope(misses)))
            .collect();
        // λ and the slope of every residual of a step.
        let of_step = |step: usize| {
            slopes.iter().flat_map(move |(penalty, slope)| {
                let size = slope.len() / horizon;
                let own = &slope[step * size..(step + 1) * size];
                own.iter().map(move |&slope| (penalty.weights[step], slope))
            })
        };
        let (mut slope, mut curvature) = (Vec::new(), Vec::new());
        match &self.by_node {
            HostDerivative::Identity => DefectCost {
                slope: (0..horizon)
                    .flat_map(of_step)
                    .map(|(_, slope)| slope)
                    .collect(),
                curvature: Curvature::Uniform(penalties[0].weights.clone()),
            },
            HostDerivative::Diagonal {
                slope: by_node,
                steepest,
            } => {
                let own = plan * horizon * latent..(plan + 1) * horizon * latent;
                let derivatives = by_node[own.clone()].iter().zip(&steepest[own]);
                let terms = (0..horizon).flat_map(of_step).zip(derivatives);
                for ((weight, of_residual), (&by_node, &steepest)) in terms {
                    slope.push(f64::from(by_node) * of_residual);
                    curvature.push(weight * f64::from(steepest).powi(2));
                }
                DefectCost {
                    slope,
                    curvature: Curvature::Diagonal(curvature),
                }
            }
            HostDerivative::Full(values) => {
                let count = of_step(0).count();
                for step in 0..horizon {
                    let first = (plan * horizon + step) * count * latent;
                    let own = values[first..first + count * latent].iter();
                    let by_node = DMatrix::from_row_iterator(
                        count,
                        latent,
                        own.map(|&value| f64::from(value)),
                    );
                    let (weights, slopes): (Vec<_>, Vec<_>) = of_step(step).unzip();
                    let weighted = DMatrix::from_diagonal(&DVector::from_vec(weights)) * &by_node;
                    slope.extend(by_node.tr_mul(&DVector::from_vec(slopes)).iter());
                    curvature.extend(by_node.tr_mul(&weighted).iter());
                }
                DefectCost {
                    slope,
                    curvature: Curvature::Full(curvature),
                }
            }
        }
    }

    /// Constraints that are not the dynamics'.
    fn others(&self) -> usize {
        self.user.len() + usize::from(self.bounds == ActionBounds::Penalised)
    }

    /// Adds the terms of `plan` that are not of its defects alone to the costs of its nodes, which become those
    /// of nodes and actions where there are any.
    pub fn add_others(
        &self,
        plan: usize,
        penalties: &[Penalty],
        misses: &Misses,
        costs: NodeCosts,
    ) -> NodeCosts {
        if self.others() == 0 {
            return costs;
        }
        let [latent, action] = self.sizes;
        let size = latent + action;
        let horizon = penalties[0].weights.len();
        let mut joint = NodeCosts {
            gradient: Vec::with_capacity(horizon * size),
            hessian: Vec::with_capacity(horizon * size * size),
        };
        let others = penalties.len() - self.others()..;
        let others: Vec<_> = penalties[others.clone()]
            .iter()
            .zip(&misses[others])
            .map(|(penalty, misses)| (penalty.slope(misses), penalty.curvature(misses)))
            .collect();
        let users = others.len() - self.user.len();
        for step in 0..horizon {
            let point = plan * horizon + step;
            let mut gradient = DVector::zeros(size);
            let mut hessian = DMatrix::zeros(size, size);
            let own = costs.at(step, horizon);
            gradient.rows_mut(0, latent).copy_from(&own.gradient);
            hessian
                .view_mut((0, 0), (latent, latent))
                .copy_from(&own.hessian);
            for (slope, curvature) in &others[..users] {
                for index in 0..action {
                    let place = step * action + index;
                    gradient[latent + index] += slope[place];
                    hessian[(latent + index, latent + index)] += curvature[place];
                }
            }
            for ((slope, curvature), derivatives) in others[users..].iter().zip(&self.user) {
                // Where a constraint does not count, its derivative may be no number.
                if slope[step] == 0.0 && curvature[step] == 0.0 {
                    continue;
                }
                let row = derivatives[point * size..(point + 1) * size].iter();
                let row = DVector::from_iterator(size, row.map(|&value| f64::from(value)));
                gradient.axpy(slope[step], &row, 1.0);
                hessian.ger(curvature[step], &row, &row, 1.0);
            }
            joint.gradient.extend(gradient.iter());
            joint.hessian.extend(hessian.iter());
        }
        joint
    }
}

/// λ of each component of a defect's residual, and the residual after which the step should strive, in the
/// form of residual space: `½ Σ w (e + shift)²`.
pub(crate) struct DefectTarget {
    /// `w = λ S²` with the steepest secants S, 1 of a difference, `[plans, horizon, latent]`.
    pub weights: Tensor<3>,
    /// `D (d + y / λ) / S² − e` with the derivatives D, `[plans, horizon, latent]`.
    pub shift: Tensor<3>,
}

/// A secant of less counts as this, so that nothing is divided by zero.
const LEAST_SLOPE: f64 = 1e-6;

impl Constraints<'_> {
    /// The terms in the defects of a `batch`; its divergence is a difference or elementwise.
    pub fn defect_target(
        &self,
        batch: &Batch,
        penalties: &[Vec<Penalty>],
        misses: &[Misses],
    ) -> Result<DefectTarget, PlanError> {
        let [plans, horizon, latent] = batch.latents.dims();
        let dynamics = penalties[0].len() - self.others();
        let (mut weights, mut values) = (Vec::new(), Vec::new());
        for (penalties, misses) in penalties.iter().zip(misses) {
            for step in 0..horizon {
                for (penalty, misses) in penalties[..dynamics].iter().zip(misses) {
                    let size = misses.len() / horizon;
                    let weight = penalty.weights[step];
                    let own = step * size..(step + 1) * size;
                    let terms = misses[own.clone()].iter().zip(&penalty.multipliers[own]);
                    for (&miss, multiplier) in terms {
                        weights.push(weight as f32);
                        values.push((f64::from(miss) + multiplier / weight) as f32);
                    }
                }
            }
        }
        let device = batch.latents.device();
        let upload = |values: Vec<f32>| {
            Tensor::<3>::from_data(TensorData::new(values, [plans, horizon, latent]), &device)
        };
        let (weights, values) = (upload(weights), upload(values));
        let (weights, change) = match self.by_node(batch)? {
            ByNode::Diagonal(secants) => {
                let shaped = |values: Tensor<2>| values.reshape([plans, horizon, latent]);
                let square = shaped(secants.steepest).clamp_min(LEAST_SLOPE).square();
                (
                    weights * square.clone(),
                    values * shaped(secants.slope) / square,
                )
            }
            ByNode::Identity | ByNode::Full(_) => (weights, values),
        };
        Ok(DefectTarget {
            shift: match &batch.defects {
                Some(defects) => change - defects.clone(),
                None => change,
            },
            weights,
        })
    }

    /// Slope and curvature of the bounds' terms by the actions of a `batch`, `[plans, horizon, action]` each;
    /// zeros where actions stop there.
    pub fn bound_terms(
        &self,
        batch: &Batch,
        penalties: &[Vec<Penalty>],
        misses: &[Misses],
    ) -> [Tensor<3>; 2] {
        if self.bounds == ActionBounds::Projected {
            let none = batch.actions.zeros_like();
            return [none.clone(), none];
        }
        let of_all = |part: fn(&Penalty, &[f32]) -> Vec<f64>| {
            let plans = penalties.iter().zip(misses);
            let values = plans.flat_map(|(penalties, misses)| {
                let place = penalties.len() - self.others();
                part(&penalties[place], &misses[place])
            });
            let values: Vec<f32> = values.map(|value| value as f32).collect();
            let values = TensorData::new(values, batch.actions.dims());
            Tensor::<3>::from_data(values, &batch.actions.device())
        };
        [of_all(Penalty::slope), of_all(Penalty::curvature)]
    }

    /// Adds rows that have slope and curvature of the user's constraints: where they count `√κ (h + y / κ)`,
    /// else none.
    pub fn append_user(
        &self,
        batch: &Batch,
        penalties: &[Vec<Penalty>],
        misses: &[Misses],
        rows: &mut StepResiduals,
    ) {
        let [plans, horizon, _] = batch.actions.dims();
        let device = batch.actions.device();
        let first = penalties[0].len() - self.of_user();
        for (index, linear) in self.linearise_user(batch).into_iter().enumerate() {
            let (mut values, mut roots) = (Vec::new(), Vec::new());
            for (penalties, misses) in penalties.iter().zip(misses) {
                let (penalty, misses) = (&penalties[first + index], &misses[first + index]);
                let slopes = penalty.slope(misses).into_iter().zip(&penalty.weights);
                values.extend(slopes.map(|(slope, weight)| (slope / weight.sqrt()) as f32));
                let curvature = penalty.curvature(misses).into_iter();
                roots.extend(curvature.map(|curvature| curvature.sqrt() as f32));
            }
            let upload = |values: Vec<f32>| {
                Tensor::<2>::from_data(TensorData::new(values, [plans * horizon, 1]), &device)
            };
            let by_step = |values: Tensor<2>| {
                let size = values.dims()[1];
                let values = values.reshape([plans, horizon, size]);
                values.swap_dims(0, 1).flatten::<2>(0, 1)
            };
            let roots = upload(roots);
            // Where a constraint does not count, its derivative may be no number.
            let counted = |derivatives: Tensor<2>| {
                let roots = roots.clone().repeat_dim(1, derivatives.dims()[1]);
                let none = roots.clone().equal_elem(0.0);
                (derivatives * roots).mask_fill(none, 0.0)
            };
            rows.append(
                by_step(upload(values)),
                by_step(counted(linear.by_latent)),
                by_step(counted(linear.by_action)),
            );
        }
    }

    fn others(&self) -> usize {
        self.of_user() + usize::from(self.bounds == ActionBounds::Penalised)
    }
}

#[cfg(test)]
mod tests {
    use std::{ops::Range, sync::Arc};

    use burn::tensor::Device;

    use super::*;
    use crate::{
        Belief, LatentModel, Noise, Objective,
        collocation::{
            Divergence, Likelihood, Moments, ParticleLift, Transcription, transcription::Lifted,
        },
        dual::DualRule,
        gauss_newton::riccati::{jacobian, jacobians},
        rollout::at_step,
    };

    const HORIZON: usize = 3;
    const LATENT: usize = 2;

    /// `μ = 0.9 z + s z² + a`, deviation `0.3 + s z²`.
    struct Drift {
        /// s.
        swell: f64,
    }

    const LINEAR: Drift = Drift { swell: 0.0 };
    const SWELLING: Drift = Drift { swell: 0.05 };

    impl LatentModel for Drift {
        fn latent_size(&self) -> usize {
            LATENT
        }

        fn action_size(&self) -> usize {
            LATENT
        }

        fn transition(&self, latents: Tensor<2>, actions: Tensor<2>) -> DiagonalGaussian {
            let swell = latents.clone().square() * self.swell;
            let mean = latents * 0.9 + swell.clone() + actions;
            DiagonalGaussian::new(mean, swell + 0.3)
        }

        fn reward(&self, latents: Tensor<2>) -> Tensor<1> {
            latents.sum_dim(1).squeeze_dim(1)
        }
    }

    fn user() -> [Constraint; 2] {
        [
            Constraint::equality("equality", |latents, actions| {
                assert_eq!(latents.dims()[1], LATENT);
                let latent = latents.narrow(1, 0, 1).square();
                (latent * actions.narrow(1, 1, 1)).squeeze_dim::<1>(1)
            }),
            Constraint::inequality("inequality", |latents, actions| {
                let both = latents.narrow(1, 1, 1) + actions.narrow(1, 0, 1);
                both.squeeze_dim::<1>(1)
            }),
        ]
    }

    /// Plans of the `node` around which every constraint is violated.
    struct Case<'a> {
        constraints: Constraints<'a>,
        batch: Batch,
        penalties: Vec<Penalty>,
    }

    impl<'a> Case<'a> {
        fn new(
            model: &'a Drift,
            node: Transcription,
            divergence: Arc<dyn Divergence>,
            constraints: &'a [Constraint],
        ) -> Self {
            let noise = &mut Noise::new(5);
            let (lifted, size) = match node {
                Transcription::Particles { count } => {
                    let lift = ParticleLift::new(model, count);
                    (Lifted::Particles(lift), count * LATENT)
                }
                _ => (Lifted::Identity(model), LATENT),
            };
            let device = Device::default();
            let constraints = Constraints {
                lagrangian: Lagrangian {
                    lifted: Arc::new(lifted),
                    first_node: Belief::certain(noise.normal([size], &device)),
                    objective: Objective::Residuals,
                    node,
                    divergence,
                    constraints,
                },
                bounds: ActionBounds::Penalised,
            };
            let batch = constraints.batch(Trajectories {
                latents: noise.normal([1, HORIZON, size], &device),
                actions: noise.normal([1, HORIZON, LATENT], &device) * 2.0,
            });
            let dual = DualConfig {
                rule: DualRule::Augmented,
                dynamics: 3.0,
                actions: 2.0,
                ..DualConfig::default()
            };
            let sizes = [HORIZON, LATENT];
            let mut penalties = constraints.first_penalties(&dual, sizes).unwrap();
            let misses = constraints.residuals(&batch).unwrap();
            for (penalty, misses) in penalties.iter_mut().zip(&misses[0]) {
                penalty.ascend(&dual, misses);
            }
            Self {
                constraints,
                batch,
                penalties,
            }
        }

        fn merit(&self, batch: &Batch) -> f64 {
            let misses = self.constraints.residuals(batch).unwrap();
            let terms = self.penalties.iter().zip(&misses[0]);
            terms.map(|(penalty, misses)| penalty.of(misses)).sum()
        }

        /// The plan with these actions and defects.
        fn followed(&self, actions: Tensor<3>, defects: Tensor<3>) -> Batch {
            let lagrangian = &self.constraints.lagrangian;
            let mut latent = lagrangian.start(1);
            let latents = (0..HORIZON).map(|step| {
                let action = at_step(&actions, step);
                let mean = lagrangian.model().transition_mean(latent.clone(), action);
                latent = mean + at_step(&defects, step);
                latent.clone()
            });
            Batch {
                latents: stack(latents.collect(), 1),
                defects: Some(defects),
                actions,
            }
        }

        /// The slope of the merit by one number of the defects, or of the actions.
        fn difference(&self, index: usize, of_action: bool) -> f64 {
            let moved = |by: f32| {
                let change = |values: &Tensor<3>| {
                    let mut change = vec![0.0; values.dims().iter().product()];
                    change[index] = by;
                    let change = TensorData::new(change, values.dims());
                    values.clone() + Tensor::from_data(change, &values.device())
                };
                let (actions, defects) = (&self.batch.actions, self.batch.defects.as_ref());
                let defects = defects.unwrap();
                self.merit(&match of_action {
                    true => self.followed(change(actions), defects.clone()),
                    false => self.followed(actions.clone(), change(defects)),
                })
            };
            (moved(1e-2) - moved(-1e-2)) / 2e-2
        }

        /// `[A, B]` of every step.
        fn jacobians(&self) -> Vec<DMatrix<f64>> {
            let lagrangian = &self.constraints.lagrangian;
            let plan = Trajectories {
                latents: self.batch.latents.clone(),
                actions: self.batch.actions.clone(),
            };
            let linear = lagrangian.model().linearise(
                plan.previous(lagrangian.start(1)).flatten(0, 1),
                plan.actions.flatten(0, 1),
            );
            let size = self.batch.latents.dims()[2];
            let device = self.batch.latents.device();
            let values = jacobians(linear.as_ref(), [HORIZON, size], &device, || Ok(())).unwrap();
            let of_step = |step| jacobian(&values, step, [size, LATENT]);
            (0..HORIZON).map(of_step).collect()
        }

        /// The slopes by what is of these `steps`.
        fn check(&self, steps: Range<usize>) {
            let misses = self.constraints.residuals(&self.batch).unwrap();
            let local = LocalConstraints::of(&self.constraints, &self.batch).unwrap();
            let defects = local.defect_cost(0, &self.penalties, &misses[0]);
            let size = self.batch.latents.dims()[2];
            let none = NodeCosts {
                gradient: vec![0.0; HORIZON * size],
                hessian: vec![0.0; HORIZON * size * size],
            };
            let others = local.add_others(0, &self.penalties, &misses[0], none);
            let width = size + LATENT;
            let jacobians = self.jacobians();
            let mut later = DVector::zeros(size);
            for step in (0..HORIZON).rev() {
                let own = others.at(step, HORIZON).gradient;
                let by_node = own.rows(0, size) + &later;
                let carried = jacobians[step].tr_mul(&by_node);
                for index in 0..width {
                    let of_action = index >= size;
                    let (found, place) = match of_action {
                        true => (own[index] + carried[index], step * LATENT + index - size),
                        false => {
                            let place = step * size + index;
                            (by_node[index] + defects.slope[place], place)
                        }
                    };
                    if !steps.contains(&step) {
                        continue;
                    }
                    let difference = self.difference(place, of_action);
                    assert!(
                        (found - difference).abs() < 2e-2 * difference.abs().max(1.0),
                        "step {step}, {index}: {found} is not {difference}"
                    );
                }
                later = carried.rows(0, size).into_owned();
            }
        }
    }

    #[test]
    fn slopes_are_those_that_differences_of_the_merit_show() {
        let user = user();
        let particles = Transcription::Particles { count: 3 };
        let points = Transcription::Deterministic;
        let likelihood = || Arc::new(Likelihood { std_floor: 0.1 });
        Case::new(&SWELLING, points, Arc::new(Moments), &user).check(0..HORIZON);
        // How residuals change with the prediction's spread is left out, and so it is where they are not of one
        // point: particles are looked at where no prediction follows.
        Case::new(&LINEAR, points, likelihood(), &user).check(0..HORIZON);
        Case::new(&LINEAR, particles, Arc::new(Moments), &user).check(HORIZON - 1..HORIZON);
    }

    /// `‖z‖ ≤ 9` holds at the origin, where the length has no derivative.
    #[test]
    fn constraints_that_do_not_count_need_no_derivative() {
        let near = [Constraint::inequality("near", |latents, _| {
            let length = latents.square().sum_dim(1).sqrt();
            length.squeeze_dim::<1>(1) - 9.0
        })];
        let points = Transcription::Deterministic;
        let mut case = Case::new(&LINEAR, points, Arc::new(Moments), &near);
        case.batch.latents = case.batch.latents.zeros_like();
        let (constraints, batch) = (&case.constraints, &case.batch);
        let misses = constraints.residuals(batch).unwrap();
        let derivatives = constraints.linearise_user(batch);
        let slopes = read("slopes", derivatives[0].by_latent.clone()).unwrap();
        assert!(slopes.iter().all(|slope| slope.is_nan()), "{slopes:?}");

        let local = LocalConstraints::of(constraints, batch).unwrap();
        let none = NodeCosts {
            gradient: vec![0.0; HORIZON * LATENT],
            hessian: vec![0.0; HORIZON * LATENT * LATENT],
        };
        let costs = local.add_others(0, &case.penalties, &misses[0], none);
        let both = costs.gradient.iter().chain(&costs.hessian);
        assert!(both.copied().all(f64::is_finite));

        let device = Device::default();
        let mut rows = StepResiduals {
            values: Tensor::zeros([HORIZON, 1], &device),
            by_latent: Tensor::zeros([HORIZON, 1, LATENT], &device),
            by_action: None,
        };
        let penalties = [case.penalties.clone()];
        constraints.append_user(batch, &penalties, &misses, &mut rows);
        let rows = join(vec![rows.by_latent, rows.by_action.unwrap()], 2);
        let rows = read("rows", rows).unwrap();
        assert!(rows.iter().all(|value| *value == 0.0), "{rows:?}");
    }

    /// Both forms of a step see the same terms: `w (e + shift)` is the slope by the defects.
    #[test]
    fn residual_space_has_the_slope_of_the_sweep() {
        let user = user();
        let likelihood = Arc::new(Likelihood { std_floor: 0.1 });
        for divergence in [Arc::new(Moments) as Arc<dyn Divergence>, likelihood] {
            let case = Case::new(&LINEAR, Transcription::Deterministic, divergence, &user);
            let misses = case.constraints.residuals(&case.batch).unwrap();
            let penalties = [case.penalties.clone()];
            let local = LocalConstraints::of(&case.constraints, &case.batch).unwrap();
            let expected = local.defect_cost(0, &case.penalties, &misses[0]).slope;
            let target = case
                .constraints
                .defect_target(&case.batch, &penalties, &misses);
            let DefectTarget { weights, shift } = target.unwrap();
            let defects = case.batch.defects.clone().unwrap();
            let found = read("slope", weights * (defects + shift)).unwrap();
            for (found, expected) in found.into_iter().zip(expected) {
                let miss = (f64::from(found) - expected).abs();
                assert!(miss < 1e-3 * expected.abs().max(1.0), "{found}, {expected}");
            }
        }
    }
}
