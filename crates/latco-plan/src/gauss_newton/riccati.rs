//! The Riccati sweep over one plan: the step of Gauss–Newton as a feedback law.
//!
//! Along a trajectory with defects `e_t = z_{t+1} − μ(z_t, a_t)` the problem is to first order
//!
//! ```text
//! dz_{t+1} = A dz_t + B da_t + de_t,      x_t = dz_{t+1}  or  [dz_{t+1}, da_t]
//! min Σ g·x_t + ½ x_tᵀ H x_t + s_t·de_t + ½ de_tᵀ (W_t + δ) de_t + ½ δ' ‖da_t‖²
//! s.t. −1 ≤ a_t + da_t ≤ 1
//! ```
//!
//! with slope `s` and curvature `W` of the augmented Lagrangian's terms in the defects, `λ e + y` and λ
//! where these are weighed as they are, and the dampings δ and δ'. Costs of an action of its own, as of
//! constraints on latents and actions, make `x` hold both. Defects are further controls beside the actions (Giftthaler et al. 2018, arXiv 1711.11006); where the dynamics
//! hold at every step, λ = ∞, there are none and this is iLQR with bounded controls (Tassa, Mansard &
//! Todorov, ICRA 2014). Time and memory grow in proportion to the horizon.

use burn::tensor::{Device, Tensor};
use latco_kernels::join;
use nalgebra::{Cholesky, DMatrix, DMatrixView, DVector, DVectorView};

use super::{box_quadratic::BoxQuadratic, cholesky::solve, cost::NodeCost};
use crate::{Linearisation, PlanError, host::read};

/// Keeps the curvature by the actions positive definite where no action matters.
const LEAST_CURVATURE: f64 = 1e-9;

/// The problem of one plan around its trajectory; matrices column by column, one step after another.
#[derive(Clone, Copy)]
pub(crate) struct LocalProblem<'a> {
    /// The sizes of a latent and of an action.
    pub sizes: [usize; 2],
    /// `[A, B]` of a step, `[latent, latent + action]`.
    pub jacobian: &'a dyn Fn(usize) -> DMatrix<f64>,
    /// `g`, of `latent` or `latent + action`, and `H`, of the same size, of a step.
    pub costs: &'a dyn Fn(usize) -> NodeCost,
    /// The present actions, `[horizon, action]`.
    pub actions: &'a [f64],
    /// Whether actions stop at their bounds.
    pub bounded: bool,
    /// What defects cost; `None` where the dynamics hold.
    pub defects: Option<&'a DefectCost>,
    /// δ.
    pub defect_damping: f64,
    /// δ'.
    pub action_damping: f64,
}

/// The terms in the defects around the present ones.
pub(crate) struct DefectCost {
    /// s, `[horizon, latent]`.
    pub slope: Vec<f64>,
    /// W.
    pub curvature: Curvature,
}

/// Symmetric matrices of `[latent, latent]`, one a step.
pub(crate) enum Curvature {
    /// Multiples of the identity, `[horizon]`.
    Uniform(Vec<f64>),
    /// Diagonal ones, `[horizon, latent]`.
    Diagonal(Vec<f64>),
    /// Any, `[horizon, latent, latent]`.
    Full(Vec<f64>),
}

impl Curvature {
    fn add_to(&self, matrix: &mut DMatrix<f64>, step: usize) {
        let size = matrix.nrows();
        match self {
            Self::Uniform(weights) => add_diagonal(matrix, |_| weights[step]),
            Self::Diagonal(weights) => add_diagonal(matrix, |index| weights[step * size + index]),
            Self::Full(values) => {
                let values = &values[step * size * size..(step + 1) * size * size];
                *matrix += DMatrixView::from_slice(values, size, size);
            }
        }
    }
}

fn add_diagonal(matrix: &mut DMatrix<f64>, value: impl Fn(usize) -> f64) {
    for index in 0..matrix.nrows() {
        matrix[(index, index)] += value(index);
    }
}

/// What a step does: `da = k + K dz`, `de = d + D (A dz + B da)`, or `de = d + D [A dz + B da, da]`.
pub(crate) struct Gain {
    /// k.
    pub action: DVector<f64>,
    /// K, `[action, latent]`.
    pub action_by_latent: DMatrix<f64>,
    /// d and D; `None` where the dynamics hold.
    pub defect: Option<(DVector<f64>, DMatrix<f64>)>,
}

impl LocalProblem<'_> {
    /// The feedback law of every step, the first one first; `None` where the damped problem has no
    /// minimum.
    pub fn solve(&self) -> Option<Vec<Gain>> {
        let [latent, action] = self.sizes;
        let horizon = self.actions.len() / action;
        let mut later = NodeCost {
            gradient: DVector::zeros(latent),
            hessian: DMatrix::zeros(latent, latent),
        };
        let mut gains = Vec::with_capacity(horizon);
        for step in (0..horizon).rev() {
            let mut node = (self.costs)(step);
            let mut of_latents = node.hessian.view_mut((0, 0), (latent, latent));
            of_latents += &later.hessian;
            let mut by_latents = node.gradient.rows_mut(0, latent);
            by_latents += &later.gradient;
            let defect = match self.defects {
                Some(cost) => Some(self.eliminate_defect(cost, step, &mut node)?),
                None => None,
            };
            let gain;
            (gain, later) = self.eliminate_action(step, &node, defect)?;
            gains.push(gain);
        }
        gains.reverse();
        Some(gains)
    }

    /// The defect that is best for what follows, as an affine function of what it adds to.
    fn eliminate_defect(
        &self,
        cost: &DefectCost,
        step: usize,
        node: &mut NodeCost,
    ) -> Option<(DVector<f64>, DMatrix<f64>)> {
        let [latent, _] = self.sizes;
        let by_latents = node.hessian.rows(0, latent).into_owned();
        let mut curvature = by_latents.columns(0, latent).into_owned();
        cost.curvature.add_to(&mut curvature, step);
        add_diagonal(&mut curvature, |_| self.defect_damping);
        let factor = Cholesky::new(curvature)?;
        let slope = node.gradient.rows(0, latent) + self.vector(&cost.slope, step, latent);
        let open = -factor.solve(&slope);
        let by_prediction = -solve(&factor, &by_latents);
        node.gradient += by_latents.tr_mul(&open);
        node.hessian = symmetric(&node.hessian + by_latents.transpose() * &by_prediction);
        Some((open, by_prediction))
    }

    /// The bounded action that is best for what follows, and the cost to go from the node before.
    fn eliminate_action(
        &self,
        step: usize,
        node: &NodeCost,
        defect: Option<(DVector<f64>, DMatrix<f64>)>,
    ) -> Option<(Gain, NodeCost)> {
        let [latent, action] = self.sizes;
        let NodeCost { gradient, hessian } = self.before_the_step(step, node);
        let mut curvature = hessian
            .view((latent, latent), (action, action))
            .into_owned();
        let slope = gradient.rows(latent, action).into_owned();
        let mixed = hessian.view((latent, 0), (action, latent));
        add_diagonal(&mut curvature, |_| self.action_damping + LEAST_CURVATURE);
        let present = self.vector(self.actions, step, action);
        let bound = |at: f64| match self.bounded {
            true => present.map(|action| at - action),
            false => present.map(|_| at * f64::INFINITY),
        };
        let minimum = BoxQuadratic {
            hessian: &curvature,
            gradient: &slope,
            lower: &bound(-1.0),
            upper: &bound(1.0),
        }
        .minimise()?;
        let mut feedback = DMatrix::zeros(action, latent);
        if let Some(factor) = &minimum.factor {
            let rows = factor.solve(&mixed.select_rows(&minimum.free));
            for (row, &index) in minimum.free.iter().enumerate() {
                feedback.set_row(index, &-rows.row(row));
            }
        }
        let of_latent = hessian.view((0, 0), (latent, latent));
        let before = NodeCost {
            gradient: gradient.rows(0, latent) + mixed.tr_mul(&minimum.point),
            hessian: symmetric(of_latent + mixed.transpose() * &feedback),
        };
        let gain = Gain {
            action: minimum.point,
            action_by_latent: feedback,
            defect,
        };
        Some((gain, before))
    }

    /// What a node costs by the latent and action that lead to it.
    fn before_the_step(&self, step: usize, node: &NodeCost) -> NodeCost {
        let [latent, action] = self.sizes;
        let jacobian = (self.jacobian)(step);
        // nalgebra's `tr_mul` goes entry by entry.
        let transposed = jacobian.transpose();
        let through = node.hessian.view((0, 0), (latent, latent)) * &jacobian;
        let mut before = NodeCost {
            gradient: &transposed * node.gradient.rows(0, latent),
            hessian: &transposed * through,
        };
        if node.gradient.len() > latent {
            let crossed = &transposed * node.hessian.view((0, latent), (latent, action));
            let mut by_action = before.hessian.columns_mut(latent, action);
            by_action += &crossed;
            let mut of_action = before.hessian.rows_mut(latent, action);
            of_action += crossed.transpose();
            let mut own = before.hessian.view_mut((latent, latent), (action, action));
            own += node.hessian.view((latent, latent), (action, action));
            let mut by_action = before.gradient.rows_mut(latent, action);
            by_action += node.gradient.rows(latent, action);
        }
        before
    }

    fn vector<'b>(&self, values: &'b [f64], step: usize, size: usize) -> DVectorView<'b, f64> {
        DVectorView::from_slice(&values[step * size..(step + 1) * size], size)
    }
}

/// `[A, B]` of a point, of those of many column by column.
pub(crate) fn jacobian(
    jacobians: &[f32],
    point: usize,
    [latent, action]: [usize; 2],
) -> DMatrix<f64> {
    let size = latent * (latent + action);
    let own = &jacobians[point * size..(point + 1) * size];
    DMatrix::from_iterator(latent, latent + action, own.iter().copied().map(f64::from))
}

/// Rows that are carried back through the model at once: bounds the memory.
const JACOBIAN_ROWS: usize = 16_384;

/// `[A, B]` of every one of so many `points`, each column by column. `check` is asked now and then whether
/// there is time to go on.
pub(crate) fn jacobians(
    linear: &dyn Linearisation,
    [points, latent]: [usize; 2],
    device: &Device,
    check: impl Fn() -> Result<(), PlanError>,
) -> Result<Vec<f32>, PlanError> {
    let unit = Tensor::<2>::eye(latent, device).unsqueeze_dim::<3>(0);
    let at_once = (JACOBIAN_ROWS / latent).max(1);
    let mut values = Vec::with_capacity(points * latent * latent);
    for first in (0..points).step_by(at_once) {
        check()?;
        let count = at_once.min(points - first);
        let unit = unit.clone().repeat_dim(0, count);
        let (by_latent, by_action) = linear.pullback(first..first + count, unit);
        let columns = join(vec![by_latent, by_action], 2).swap_dims(1, 2);
        values.extend(read("transition Jacobian", columns)?);
    }
    Ok(values)
}

/// Rounding makes a product of symmetric matrices a little less so.
fn symmetric(matrix: DMatrix<f64>) -> DMatrix<f64> {
    (&matrix + matrix.transpose()) * 0.5
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Noise, gauss_newton::cost::NodeCosts};

    const LATENT: usize = 3;
    const ACTION: usize = 2;
    const HORIZON: usize = 5;
    const DAMPING: f64 = 0.1;
    const DEFECT_DAMPING: f64 = 0.2;

    /// Of costs of a node without its action, and with it.
    const SIZES: [usize; 2] = [LATENT, LATENT + ACTION];

    /// A random problem with positive semidefinite node costs.
    struct Case {
        jacobians: Vec<f32>,
        costs: NodeCosts,
        actions: Vec<f64>,
        defects: DefectCost,
    }

    /// What of a problem is solved.
    #[derive(Clone, Copy, Debug)]
    struct Kind {
        relaxed: bool,
        bounded: bool,
    }

    const RELAXED: Kind = Kind {
        relaxed: true,
        bounded: true,
    };

    fn kinds() -> impl Iterator<Item = (usize, Kind)> {
        let both = [false, true].into_iter();
        let kinds = both.clone().flat_map(move |relaxed| {
            let kind = move |bounded| Kind { relaxed, bounded };
            both.clone().map(kind)
        });
        kinds.flat_map(|kind| SIZES.map(|size| (size, kind)))
    }

    impl Case {
        /// With costs of actions of their own where the `size` of a node's costs is more than a latent's.
        fn new(seed: u64, reach: f64, size: usize) -> Self {
            let noise = &mut Noise::new(seed);
            let mut draw = |count: usize, scale: f64| -> Vec<f64> {
                (0..count)
                    .map(|_| scale * f64::from(noise.standard_normal()))
                    .collect()
            };
            let squares = |factors: Vec<f64>, size: usize| -> Vec<f64> {
                let squares = factors.chunks(size * size).flat_map(|factor| {
                    let factor = DMatrix::from_column_slice(size, size, factor);
                    factor.tr_mul(&factor).iter().copied().collect::<Vec<_>>()
                });
                squares.collect()
            };
            let hessian = squares(draw(HORIZON * size * size, 1.0), size);
            let by_latent = draw(HORIZON * LATENT * LATENT, 0.5);
            let by_action = draw(HORIZON * LATENT * ACTION, 0.5);
            let steps = by_latent
                .chunks(LATENT * LATENT)
                .zip(by_action.chunks(LATENT * ACTION));
            let jacobians =
                steps.flat_map(|(by_latent, by_action)| [by_latent, by_action].concat());
            Self {
                jacobians: jacobians.map(|value| value as f32).collect(),
                costs: NodeCosts {
                    gradient: draw(HORIZON * size, reach),
                    hessian,
                },
                actions: vec![0.0; HORIZON * ACTION],
                defects: DefectCost {
                    slope: draw(HORIZON * LATENT, 0.1),
                    curvature: match seed % 3 {
                        0 => Curvature::Uniform(vec![2.0; HORIZON]),
                        1 => Curvature::Diagonal(
                            draw(HORIZON * LATENT, 1.0)
                                .iter()
                                .map(|weight| weight.abs())
                                .collect(),
                        ),
                        _ => Curvature::Full(squares(draw(HORIZON * LATENT * LATENT, 1.0), LATENT)),
                    },
                },
            }
        }

        fn law(&self, kind: Kind) -> Option<Vec<Gain>> {
            let problem = LocalProblem {
                sizes: [LATENT, ACTION],
                jacobian: &|step| self.jacobian(step),
                costs: &|step| self.costs.at(step, HORIZON),
                actions: &self.actions,
                bounded: kind.bounded,
                defects: kind.relaxed.then_some(&self.defects),
                defect_damping: DEFECT_DAMPING,
                action_damping: DAMPING,
            };
            problem.solve()
        }

        /// `A dz + B da`.
        fn predicted(
            &self,
            step: usize,
            node: &DVector<f64>,
            action: &DVector<f64>,
        ) -> DVector<f64> {
            let both = node.iter().chain(action.iter()).copied();
            let both = DVector::from_iterator(LATENT + ACTION, both);
            self.jacobian(step) * both
        }

        fn jacobian(&self, step: usize) -> DMatrix<f64> {
            jacobian(&self.jacobians, step, [LATENT, ACTION])
        }

        /// The cost of changes of actions and defects, each step after step.
        fn cost(&self, actions: &[f64], defects: &[f64]) -> f64 {
            let mut node = DVector::zeros(LATENT);
            let mut total = 0.0;
            for step in 0..HORIZON {
                let action = DVector::from_column_slice(&actions[step * ACTION..][..ACTION]);
                let defect = DVector::from_column_slice(&defects[step * LATENT..][..LATENT]);
                let slope = DVectorView::from_slice(&self.defects.slope[step * LATENT..], LATENT);
                node = self.predicted(step, &node, &action) + &defect;
                let cost = self.costs.at(step, HORIZON);
                let size = cost.gradient.len();
                let both = node.iter().chain(action.iter()).copied().take(size);
                let both = DVector::from_iterator(size, both);
                let mut curvature = DMatrix::zeros(LATENT, LATENT);
                self.defects.curvature.add_to(&mut curvature, step);
                total += cost.gradient.dot(&both)
                    + 0.5 * both.dot(&(cost.hessian * &both))
                    + slope.dot(&defect)
                    + 0.5 * defect.dot(&(curvature * &defect))
                    + 0.5 * DEFECT_DAMPING * defect.norm_squared()
                    + 0.5 * DAMPING * action.norm_squared();
            }
            total
        }

        /// What the feedback law does from the trajectory itself.
        fn follow(&self, kind: Kind) -> (Vec<f64>, Vec<f64>) {
            let gains = self.law(kind).unwrap();
            let mut node = DVector::zeros(LATENT);
            let (mut actions, mut defects) = (Vec::new(), Vec::new());
            for (step, gain) in gains.iter().enumerate() {
                let mut action = &gain.action + &gain.action_by_latent * &node;
                if kind.bounded {
                    action = action.map(|action| action.clamp(-1.0, 1.0));
                }
                let predicted = self.predicted(step, &node, &action);
                let defect = match &gain.defect {
                    Some((open, feedback)) => {
                        let inputs = predicted.iter().chain(action.iter()).copied();
                        let size = feedback.ncols();
                        open + feedback * DVector::from_iterator(size, inputs.take(size))
                    }
                    None => DVector::zeros(LATENT),
                };
                node = predicted + &defect;
                actions.extend(action.iter());
                defects.extend(defect.iter());
            }
            (actions, defects)
        }

        /// The largest slope of the cost in any direction that moves an unbounded variable.
        fn largest_slope(&self, actions: &[f64], defects: &[f64], kind: Kind) -> f64 {
            let difference = |change: &dyn Fn(f64) -> f64| (change(1e-5) - change(-1e-5)) / 2e-5;
            let moved = |values: &[f64], index: usize, by: f64| {
                let mut moved = values.to_vec();
                moved[index] += by;
                moved
            };
            let of_actions = (0..actions.len())
                .filter(|&index| !kind.bounded || actions[index].abs() < 1.0 - 1e-9)
                .map(|index| {
                    difference(&|by| self.cost(&moved(actions, index, by), defects)).abs()
                });
            let of_defects = (0..defects.len()).filter(|_| kind.relaxed).map(|index| {
                difference(&|by| self.cost(actions, &moved(defects, index, by))).abs()
            });
            of_actions.chain(of_defects).fold(0.0, f64::max)
        }
    }

    #[test]
    fn the_law_leads_to_the_minimum_of_the_quadratic_problem() {
        for seed in 0..20 {
            for (size, kind) in kinds() {
                let case = Case::new(seed, 0.1, size);
                let (actions, defects) = case.follow(kind);
                assert!(
                    actions.iter().all(|action| action.abs() < 1.0),
                    "{actions:?}"
                );
                let slope = case.largest_slope(&actions, &defects, kind);
                assert!(slope < 1e-6, "{kind:?}, {size}: {slope}");
            }
        }
    }

    #[test]
    fn actions_keep_their_bounds_and_a_bounded_step_lowers_the_cost() {
        let mut held = 0;
        for seed in 0..20 {
            for size in SIZES {
                let case = Case::new(seed, 5.0, size);
                let gains = case.law(RELAXED).unwrap();
                let open = gains.iter().flat_map(|gain| gain.action.iter());
                held += open.filter(|action| action.abs() == 1.0).count();
                let (actions, defects) = case.follow(RELAXED);
                assert!(case.cost(&actions, &defects) < 0.0);
            }
        }
        assert!(held > 20, "only {held} bounds were active");
    }

    #[test]
    fn without_bounds_a_far_minimum_is_reached() {
        let kind = Kind {
            bounded: false,
            ..RELAXED
        };
        let mut beyond = 0;
        for seed in 0..20 {
            let case = Case::new(seed, 5.0, LATENT);
            let (actions, defects) = case.follow(kind);
            beyond += usize::from(actions.iter().any(|action| action.abs() > 1.0));
            let slope = case.largest_slope(&actions, &defects, kind);
            assert!(slope < 1e-4, "{slope}");
        }
        assert!(beyond > 10, "only {beyond} went beyond a bound");
    }

    #[test]
    fn a_problem_without_a_minimum_has_no_law() {
        let mut case = Case::new(0, 0.1, LATENT);
        case.costs
            .hessian
            .iter_mut()
            .for_each(|value| *value *= -100.0);
        let rigid = Kind {
            relaxed: false,
            ..RELAXED
        };
        assert!(case.law(rigid).is_none());
    }
}
