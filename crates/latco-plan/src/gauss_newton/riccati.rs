//! The Riccati sweep over one plan: the step of Gauss–Newton as a feedback law.
//!
//! Along a trajectory with defects `e_t = z_{t+1} − μ(z_t, a_t)` the problem is to first order
//!
//! ```text
//! dz_{t+1} = A dz_t + B da_t + de_t
//! min Σ g·dz_{t+1} + ½ dzᵀ H dz + (λ e_t + y_t)·de_t + ½ (λ + δ) ‖de_t‖² + ½ δ ‖da_t‖²
//! s.t. −1 ≤ a_t + da_t ≤ 1
//! ```
//!
//! with the multipliers `y` and the weight λ of the augmented Lagrangian, and the damping δ. Defects are
//! further controls beside the actions (Giftthaler et al. 2018, arXiv 1711.11006); where the dynamics
//! hold at every step, λ = ∞, there are none and this is iLQR with bounded controls (Tassa, Mansard &
//! Todorov, ICRA 2014). Time and memory grow in proportion to the horizon.

use nalgebra::{DMatrix, DMatrixView, DVector, DVectorView};

use super::box_quadratic::BoxQuadratic;

/// Keeps the curvature by the actions positive definite where no action matters.
const LEAST_CURVATURE: f64 = 1e-9;

/// The problem of one plan around its trajectory; matrices column by column, one step after another.
#[derive(Clone, Copy)]
pub(crate) struct LocalProblem<'a> {
    /// The sizes of a latent and of an action.
    pub sizes: [usize; 2],
    /// `A`, `horizon` matrices of `[latent, latent]`.
    pub by_latent: &'a [f64],
    /// `B`, `horizon` matrices of `[latent, action]`.
    pub by_action: &'a [f64],
    /// `g`, `[horizon, latent]`.
    pub gradient: &'a [f64],
    /// `H`, `horizon` matrices of `[latent, latent]`.
    pub hessian: &'a [f64],
    /// The present actions, `[horizon, action]`.
    pub actions: &'a [f64],
    /// What defects cost; `None` where the dynamics hold.
    pub defects: Option<DefectCost<'a>>,
    /// δ.
    pub damping: f64,
}

/// `½ λ ‖e‖² + y · e` around the present defects.
#[derive(Clone, Copy)]
pub(crate) struct DefectCost<'a> {
    /// λ, `[horizon]`.
    pub weights: &'a [f64],
    /// `λ e + y`, `[horizon, latent]`.
    pub slope: &'a [f64],
}

/// What a step does: `da = k + K dz`, `de = d + D (A dz + B da)`.
pub(crate) struct Gain {
    /// k.
    pub action: DVector<f64>,
    /// K, `[action, latent]`.
    pub action_by_latent: DMatrix<f64>,
    /// d and D; `None` where the dynamics hold.
    pub defect: Option<(DVector<f64>, DMatrix<f64>)>,
}

/// The cost to go from a node, `½ dzᵀ P dz + p · dz`.
struct CostToGo {
    hessian: DMatrix<f64>,
    gradient: DVector<f64>,
}

impl LocalProblem<'_> {
    /// The feedback law of every step, the first one first; `None` where the damped problem has no
    /// minimum.
    pub fn solve(&self) -> Option<Vec<Gain>> {
        let [latent, action] = self.sizes;
        let horizon = self.actions.len() / action;
        let mut later = CostToGo {
            hessian: DMatrix::zeros(latent, latent),
            gradient: DVector::zeros(latent),
        };
        let mut gains = Vec::with_capacity(horizon);
        for step in (0..horizon).rev() {
            later.hessian += self.matrix(self.hessian, step, [latent, latent]);
            later.gradient += self.vector(self.gradient, step, latent);
            let defect = match self.defects {
                Some(cost) => Some(self.eliminate_defect(cost, step, &mut later)?),
                None => None,
            };
            gains.push(self.eliminate_action(step, &mut later, defect)?);
        }
        gains.reverse();
        Some(gains)
    }

    /// The defect that is best for what follows, as an affine function of what it adds to.
    fn eliminate_defect(
        &self,
        cost: DefectCost<'_>,
        step: usize,
        node: &mut CostToGo,
    ) -> Option<(DVector<f64>, DMatrix<f64>)> {
        let [latent, _] = self.sizes;
        let mut curvature = node.hessian.clone();
        for index in 0..latent {
            curvature[(index, index)] += cost.weights[step] + self.damping;
        }
        let factor = curvature.cholesky()?;
        let slope = &node.gradient + self.vector(cost.slope, step, latent);
        let open = -factor.solve(&slope);
        let by_prediction = -factor.solve(&node.hessian);
        node.gradient += &node.hessian * &open;
        node.hessian = symmetric(&node.hessian + &node.hessian * &by_prediction);
        Some((open, by_prediction))
    }

    /// The bounded action that is best for what follows, and the cost to go from the node before.
    fn eliminate_action(
        &self,
        step: usize,
        node: &mut CostToGo,
        defect: Option<(DVector<f64>, DMatrix<f64>)>,
    ) -> Option<Gain> {
        let [latent, action] = self.sizes;
        let by_latent = self.matrix(self.by_latent, step, [latent, latent]);
        let by_action = self.matrix(self.by_action, step, [latent, action]);
        let of_latent = &node.hessian * by_latent;
        let mut curvature = by_action.tr_mul(&(&node.hessian * by_action));
        for index in 0..action {
            curvature[(index, index)] += self.damping + LEAST_CURVATURE;
        }
        let slope = by_action.tr_mul(&node.gradient);
        let mixed = by_action.tr_mul(&of_latent);
        let present = self.vector(self.actions, step, action);
        let minimum = BoxQuadratic {
            hessian: &curvature,
            gradient: &slope,
            lower: &present.map(|action| -1.0 - action),
            upper: &present.map(|action| 1.0 - action),
        }
        .minimise()?;
        let mut feedback = DMatrix::zeros(action, latent);
        if let Some(factor) = &minimum.factor {
            let rows = factor.solve(&mixed.select_rows(&minimum.free));
            for (row, &index) in minimum.free.iter().enumerate() {
                feedback.set_row(index, &-rows.row(row));
            }
        }
        node.gradient = by_latent.tr_mul(&node.gradient) + mixed.tr_mul(&minimum.point);
        node.hessian = symmetric(by_latent.tr_mul(&of_latent) + mixed.tr_mul(&feedback));
        Some(Gain {
            action: minimum.point,
            action_by_latent: feedback,
            defect,
        })
    }

    fn matrix<'b>(
        &self,
        values: &'b [f64],
        step: usize,
        [rows, columns]: [usize; 2],
    ) -> DMatrixView<'b, f64> {
        let size = rows * columns;
        DMatrixView::from_slice(&values[step * size..(step + 1) * size], rows, columns)
    }

    fn vector<'b>(&self, values: &'b [f64], step: usize, size: usize) -> DVectorView<'b, f64> {
        DVectorView::from_slice(&values[step * size..(step + 1) * size], size)
    }
}

/// Rounding makes a product of symmetric matrices a little less so.
fn symmetric(matrix: DMatrix<f64>) -> DMatrix<f64> {
    (&matrix + matrix.transpose()) * 0.5
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Noise;

    const LATENT: usize = 3;
    const ACTION: usize = 2;
    const HORIZON: usize = 5;
    const DAMPING: f64 = 0.1;

    /// A random problem with positive semidefinite node costs.
    struct Case {
        by_latent: Vec<f64>,
        by_action: Vec<f64>,
        gradient: Vec<f64>,
        hessian: Vec<f64>,
        actions: Vec<f64>,
        slope: Vec<f64>,
        weights: Vec<f64>,
    }

    impl Case {
        fn new(seed: u64, reach: f64) -> Self {
            let noise = &mut Noise::new(seed);
            let mut draw = |count: usize, scale: f64| -> Vec<f64> {
                (0..count)
                    .map(|_| scale * f64::from(noise.standard_normal()))
                    .collect()
            };
            let factors = draw(HORIZON * LATENT * LATENT, 1.0);
            let hessian = factors.chunks(LATENT * LATENT).flat_map(|factor| {
                let factor = DMatrix::from_column_slice(LATENT, LATENT, factor);
                (factor.tr_mul(&factor)).iter().copied().collect::<Vec<_>>()
            });
            Self {
                hessian: hessian.collect(),
                by_latent: draw(HORIZON * LATENT * LATENT, 0.5),
                by_action: draw(HORIZON * LATENT * ACTION, 0.5),
                gradient: draw(HORIZON * LATENT, reach),
                actions: vec![0.0; HORIZON * ACTION],
                slope: draw(HORIZON * LATENT, 0.3),
                weights: vec![2.0; HORIZON],
            }
        }

        fn problem(&self, relaxed: bool) -> LocalProblem<'_> {
            LocalProblem {
                sizes: [LATENT, ACTION],
                by_latent: &self.by_latent,
                by_action: &self.by_action,
                gradient: &self.gradient,
                hessian: &self.hessian,
                actions: &self.actions,
                defects: relaxed.then_some(DefectCost {
                    weights: &self.weights,
                    slope: &self.slope,
                }),
                damping: DAMPING,
            }
        }

        /// The cost of changes of actions and defects, each step after step.
        fn cost(&self, actions: &[f64], defects: &[f64]) -> f64 {
            let problem = self.problem(true);
            let mut node = DVector::zeros(LATENT);
            let mut cost = 0.0;
            for step in 0..HORIZON {
                let action = DVector::from_column_slice(&actions[step * ACTION..][..ACTION]);
                let defect = DVector::from_column_slice(&defects[step * LATENT..][..LATENT]);
                node = problem.matrix(&self.by_latent, step, [LATENT, LATENT]) * node
                    + problem.matrix(&self.by_action, step, [LATENT, ACTION]) * &action
                    + &defect;
                let hessian = problem.matrix(&self.hessian, step, [LATENT, LATENT]);
                cost += problem.vector(&self.gradient, step, LATENT).dot(&node)
                    + 0.5 * node.dot(&(hessian * &node))
                    + problem.vector(&self.slope, step, LATENT).dot(&defect)
                    + 0.5 * (self.weights[step] + DAMPING) * defect.norm_squared()
                    + 0.5 * DAMPING * action.norm_squared();
            }
            cost
        }

        /// What the feedback law does from the trajectory itself.
        fn follow(&self, relaxed: bool) -> (Vec<f64>, Vec<f64>) {
            let problem = self.problem(relaxed);
            let gains = problem.solve().unwrap();
            let mut node = DVector::zeros(LATENT);
            let (mut actions, mut defects) = (Vec::new(), Vec::new());
            for (step, gain) in gains.iter().enumerate() {
                let action = &gain.action + &gain.action_by_latent * &node;
                let action = action.map(|action| action.clamp(-1.0, 1.0));
                let predicted = problem.matrix(&self.by_latent, step, [LATENT, LATENT]) * &node
                    + problem.matrix(&self.by_action, step, [LATENT, ACTION]) * &action;
                let defect = match &gain.defect {
                    Some((open, feedback)) => open + feedback * &predicted,
                    None => DVector::zeros(LATENT),
                };
                node = predicted + &defect;
                actions.extend(action.iter());
                defects.extend(defect.iter());
            }
            (actions, defects)
        }

        /// The largest slope of the cost in any direction that moves an unbounded variable.
        fn largest_slope(&self, actions: &[f64], defects: &[f64], relaxed: bool) -> f64 {
            let difference = |change: &dyn Fn(f64) -> f64| (change(1e-5) - change(-1e-5)) / 2e-5;
            let moved = |values: &[f64], index: usize, by: f64| {
                let mut moved = values.to_vec();
                moved[index] += by;
                moved
            };
            let of_actions = (0..actions.len())
                .filter(|&index| actions[index].abs() < 1.0 - 1e-9)
                .map(|index| {
                    difference(&|by| self.cost(&moved(actions, index, by), defects)).abs()
                });
            let of_defects = (0..defects.len()).filter(|_| relaxed).map(|index| {
                difference(&|by| self.cost(actions, &moved(defects, index, by))).abs()
            });
            of_actions.chain(of_defects).fold(0.0, f64::max)
        }
    }

    #[test]
    fn the_law_leads_to_the_minimum_of_the_quadratic_problem() {
        for seed in 0..20 {
            for relaxed in [false, true] {
                let case = Case::new(seed, 0.1);
                let (actions, defects) = case.follow(relaxed);
                assert!(
                    actions.iter().all(|action| action.abs() < 1.0),
                    "{actions:?}"
                );
                let slope = case.largest_slope(&actions, &defects, relaxed);
                assert!(slope < 1e-6, "{slope}");
            }
        }
    }

    #[test]
    fn actions_keep_their_bounds_and_a_bounded_step_lowers_the_cost() {
        let mut held = 0;
        for seed in 0..20 {
            let case = Case::new(seed, 5.0);
            let gains = case.problem(true).solve().unwrap();
            let open = gains.iter().flat_map(|gain| gain.action.iter());
            held += open.filter(|action| action.abs() == 1.0).count();
            let (actions, defects) = case.follow(true);
            assert!(case.cost(&actions, &defects) < 0.0);
        }
        assert!(held > 10, "only {held} bounds were active");
    }

    #[test]
    fn a_problem_without_a_minimum_has_no_law() {
        let mut case = Case::new(0, 0.1);
        case.hessian.iter_mut().for_each(|value| *value *= -100.0);
        assert!(case.problem(false).solve().is_none());
    }
}
