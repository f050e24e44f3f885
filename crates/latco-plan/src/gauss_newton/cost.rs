//! What second-order methods minimise, and its derivatives at every node.

use burn::tensor::{
    Tensor, TensorData,
    activation::{sigmoid, softmax, softplus},
};
use latco_kernels::join;
use nalgebra::{DMatrix, DVector, SymmetricEigen};
use serde::{Deserialize, Serialize};

use crate::{LatentModel, Objective, PlanError, host::read};

/// The cost that is minimised in place of maximising the return.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Cost {
    /// `−T log ((1/T) Σ r̂(z_t))` of rewards `r̂` normalised to `[0, 1]`: it falls with the return alone,
    /// and has a slope where the reward itself is flat, since only the steps nearest to the reward
    /// count there.
    LogReturn {
        /// `[r_min, r_max]`.
        range: [f64; 2],
    },
    /// `½ Σ ‖ρ(z_t)‖²`.
    Residuals(Residual),
}

/// What is minimised in place of maximising the return of rewards with a known range. Without one it is
/// always the [model's residuals](LatentModel::reward_residuals).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Surrogate {
    /// The reward of a [model that errs](LatentModel::action_noise), the log return of one that is exact.
    #[default]
    Automatic,
    /// `−T log ((1/T) Σ r̂(z_t))`, by expectation maximisation. It falls with the return alone and has a
    /// slope where the reward itself is flat.
    LogReturn,
    /// `½ Σ ρ²` with `ρ = √(2 (1 − r̂))`: minus the return itself, which is flat far from the reward.
    Reward,
    /// `½ Σ ρ²` with `ρ = softplus(−r)` (Rybkin et al. 2021, appendix), which is not zero at the top and
    /// prices a step without reward nearly five times a step with it.
    Softplus,
}

/// A residual ρ of a latent's reward.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Residual {
    /// The model's.
    Own,
    /// `√(2 (r_max − r) / (r_max − r_min))`.
    Missing {
        /// `[r_min, r_max]`.
        range: [f64; 2],
    },
    /// `softplus(−r)`.
    Softplus,
}

impl Residual {
    /// How many there are, at a node `[1, latent]`.
    fn count(self, model: &dyn LatentModel, node: Tensor<2>) -> usize {
        match self {
            Self::Own => model.reward_residuals(node).dims()[1],
            Self::Missing { .. } | Self::Softplus => 1,
        }
    }

    /// `‖ρ‖²` and the rewards at `nodes` `[points, latent]`, `[points]` each.
    fn squares(self, model: &dyn LatentModel, nodes: Tensor<2>) -> (Tensor<1>, Tensor<1>) {
        if self == Self::Own {
            let rewards = model.rewards(nodes);
            let squares = rewards.residuals.square().sum_dim(1);
            return (squares.squeeze_dim(1), rewards.expected);
        }
        let reward = model.reward(nodes);
        let squares = match self {
            Self::Missing { range } => missing(reward.clone(), range),
            Self::Own | Self::Softplus => softplus(reward.clone().neg(), 1.0).square(),
        };
        (squares, reward)
    }

    /// Of rewards `[points, 1]`.
    fn of_reward(self, reward: Tensor<2>) -> Tensor<2> {
        match self {
            Self::Missing { range } => missing(reward, range).sqrt(),
            Self::Own | Self::Softplus => softplus(reward.neg(), 1.0),
        }
    }

    /// Values and derivatives, `[points, rows]` and `[points, rows, latent]`.
    fn linearise(self, model: &dyn LatentModel, nodes: Tensor<2>) -> (Tensor<2>, Tensor<3>) {
        if self == Self::Own {
            let linear = model.linearise_reward(nodes, Objective::Residuals);
            return (linear.rewards.residuals, linear.jacobian);
        }
        let linear = model.linearise_reward(nodes, Objective::Reward);
        let reward = linear.rewards.expected.unsqueeze_dim::<2>(1);
        let values = self.of_reward(reward.clone());
        let slope = match self {
            Self::Missing {
                range: [least, most],
            } => values.clone().recip() * (-1.0 / (most - least)),
            Self::Own | Self::Softplus => sigmoid(reward.neg()).neg(),
        };
        (values, linear.jacobian * slope.unsqueeze_dim::<3>(2))
    }
}

/// What a trajectory is worth.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Score {
    pub cost: f64,
    /// `Σ r(z_t)`.
    pub total: f64,
}

/// `½ xᵀ H x + g · x`: what a node costs, or what follows from it.
pub(crate) struct NodeCost {
    pub gradient: DVector<f64>,
    pub hessian: DMatrix<f64>,
}

/// The cost around every node of one plan to second order, in double precision.
pub(crate) struct NodeCosts {
    /// `g`, `[horizon, latent]`.
    pub gradient: Vec<f64>,
    /// `H`, `horizon` symmetric matrices of `[latent, latent]`, none with a negative eigenvalue.
    pub hessian: Vec<f64>,
}

impl NodeCosts {
    /// That of a step, of so many.
    pub fn at(&self, step: usize, horizon: usize) -> NodeCost {
        let size = self.gradient.len() / horizon;
        let gradient = &self.gradient[step * size..(step + 1) * size];
        let hessian = &self.hessian[step * size * size..(step + 1) * size * size];
        NodeCost {
            gradient: DVector::from_column_slice(gradient),
            hessian: DMatrix::from_column_slice(size, size, hessian),
        }
    }
}

impl Cost {
    /// The cost of this kind for `model`.
    pub fn of(model: &dyn LatentModel, surrogate: Surrogate) -> Self {
        let Some(range) = model.reward_range() else {
            return Self::of_residuals();
        };
        match surrogate {
            Surrogate::Automatic if model.action_noise() > 0.0 => Self::of_reward(range),
            Surrogate::Automatic | Surrogate::LogReturn => Self::LogReturn { range },
            Surrogate::Reward => Self::of_reward(range),
            Surrogate::Softplus => Self::Residuals(Residual::Softplus),
        }
    }

    fn of_reward(range: [f64; 2]) -> Self {
        Self::Residuals(Residual::Missing { range })
    }

    /// `½ Σ ‖ρ‖²` of the model's own residuals.
    pub fn of_residuals() -> Self {
        Self::Residuals(Residual::Own)
    }

    /// The scores of plans along `latents` `[plans, horizon, latent]`.
    pub fn scores(
        &self,
        model: &dyn LatentModel,
        latents: &Tensor<3>,
    ) -> Result<Vec<Score>, PlanError> {
        let terms = self.terms(model, latents);
        let count = terms.dims()[1];
        let terms = read("reward", terms)?;
        Ok(terms.chunks(count).map(|terms| self.score(terms)).collect())
    }

    /// What the scores of plans along `latents` `[plans, horizon, latent]` are made of, `[plans, terms]`.
    pub fn terms(&self, model: &dyn LatentModel, latents: &Tensor<3>) -> Tensor<2> {
        let [plans, horizon, _] = latents.dims();
        let nodes = latents.clone().flatten::<2>(0, 1);
        let by_plan = |values: Tensor<1>| values.reshape([plans, horizon]);
        match *self {
            Self::LogReturn { .. } => by_plan(model.log_reward(nodes)),
            Self::Residuals(residual) => {
                let (squares, rewards) = residual.squares(model, nodes);
                join(vec![by_plan(squares), by_plan(rewards)], 1)
            }
        }
    }

    /// The score of one plan from its terms.
    pub fn score(&self, terms: &[f32]) -> Score {
        match *self {
            Self::LogReturn { range } => score_of_logs(terms, range),
            Self::Residuals(_) => {
                let (squares, rewards) = terms.split_at(terms.len() / 2);
                Score {
                    cost: 0.5 * sum(squares),
                    total: sum(rewards),
                }
            }
        }
    }

    /// Rows of a least-squares problem that has the cost's slope and an approximation of its curvature,
    /// along `latents` `[plans, horizon, latent]`: residuals `[horizon · plans, rows]` and their
    /// derivatives `[horizon · plans, rows, latent]`, step by step.
    ///
    /// ```text
    /// √(w_t) √(−2 log r(z_t)),    w_t = T r_t / Σ r
    /// ```
    pub fn rows(&self, model: &dyn LatentModel, latents: &Tensor<3>) -> (Tensor<2>, Tensor<3>) {
        let [plans, horizon, _] = latents.dims();
        let nodes = latents.clone().swap_dims(0, 1).flatten::<2>(0, 1);
        match self {
            Self::LogReturn { .. } => {
                let slope = model.linearise_reward(nodes.clone(), Objective::LogReward);
                let logs = model.log_reward(nodes).clamp(LEAST_LOG, 0.0);
                let shares = softmax(logs.clone().reshape([horizon, plans]), 0);
                let roots = (shares * horizon as f64).sqrt();
                let roots = roots.reshape([horizon * plans, 1]);
                let surprise = (logs.mul_scalar(-2.0) + RESIDUAL_FLOOR).sqrt();
                let surprise = surprise.unsqueeze_dim::<2>(1);
                let scale = (roots.clone() / surprise.clone()).unsqueeze_dim::<3>(2);
                (roots * surprise, slope.jacobian.neg() * scale)
            }
            Self::Residuals(residual) => residual.linearise(model, nodes),
        }
    }

    /// Rows of each node in [`rows`](Self::rows).
    pub fn rows_per_node(&self, model: &dyn LatentModel, start: Tensor<2>) -> usize {
        match self {
            Self::LogReturn { .. } => 1,
            Self::Residuals(residual) => residual.count(model, start),
        }
    }

    /// The cost around the nodes of each plan along `latents` `[plans, horizon, latent]`.
    pub fn expand(
        &self,
        model: &dyn LatentModel,
        latents: &Tensor<3>,
    ) -> Result<Vec<NodeCosts>, PlanError> {
        let [plans, horizon, latent] = latents.dims();
        if latent > LARGEST_DIFFERENCED || matches!(self, Self::Residuals(_)) {
            let (residuals, jacobians) = self.rows(model, latents);
            return node_costs(residuals, jacobians, [plans, horizon]);
        }
        let nodes = latents.clone().flatten::<2>(0, 1);
        let logs = read("log reward", model.log_reward(nodes.clone()))?;
        let slopes = Slopes::at(model, &nodes)?;
        let costs = (0..plans).map(|plan| {
            let points = plan * horizon..(plan + 1) * horizon;
            slopes.of_log_return(&logs[points.clone()], points)
        });
        Ok(costs.collect())
    }
}

/// Latents of more components get the curvature of the [rows](Cost::rows) in place of differences along
/// every axis.
const LARGEST_DIFFERENCED: usize = 32;

/// `Jᵀρ` and `JᵀJ` of the nodes of each plan, from rows `[horizon · plans, rows]` and their derivatives
/// `[horizon · plans, rows, latent]`, step by step.
fn node_costs(
    residuals: Tensor<2>,
    jacobians: Tensor<3>,
    [plans, horizon]: [usize; 2],
) -> Result<Vec<NodeCosts>, PlanError> {
    let [_, rows, latent] = jacobians.dims();
    let residuals = residuals.reshape([horizon, plans, rows]).swap_dims(0, 1);
    let residuals = read("reward residual", residuals)?;
    let jacobians = jacobians
        .reshape([horizon, plans, rows, latent])
        .swap_dims(0, 1);
    let jacobians = read("reward Jacobian", jacobians)?;
    let per_plan = residuals
        .chunks(horizon * rows)
        .zip(jacobians.chunks(horizon * rows * latent));
    let costs = per_plan.map(|(residuals, jacobians)| least_squares(residuals, jacobians, rows));
    Ok(costs.collect())
}

/// `−T log` of the mean reward, and the return, from logarithms of normalised rewards.
fn score_of_logs(logs: &[f32], [least, most]: [f64; 2]) -> Score {
    let count = logs.len() as f64;
    let log_sum = log_sum(logs);
    Score {
        cost: -count * (log_sum - count.ln()),
        total: count * least + (most - least) * log_sum.exp(),
    }
}

/// `log Σ exp`.
fn log_sum(logs: &[f32]) -> f64 {
    let largest = f64::from(logs.iter().copied().fold(f32::NEG_INFINITY, f32::max));
    let shares = logs.iter().map(|&log| (f64::from(log) - largest).exp());
    largest + shares.sum::<f64>().ln()
}

/// Keeps roots differentiable where nothing of the reward is missing.
const RESIDUAL_FLOOR: f64 = 1e-6;

/// `2 (1 − r̂)` of rewards, r̂ being normalised by their range.
fn missing<const D: usize>(reward: Tensor<D>, [least, most]: [f64; 2]) -> Tensor<D> {
    let missing = (reward.neg() + most) * (2.0 / (most - least));
    missing.clamp_min(0.0) + RESIDUAL_FLOOR
}

fn sum(values: &[f32]) -> f64 {
    values.iter().copied().map(f64::from).sum()
}

/// Derivatives of the log reward at a batch of points.
struct Slopes {
    /// The number of points and of the components of a latent.
    sizes: [usize; 2],
    /// `∇ log r` beside where it is taken: at the points, then at these moved along each axis in turn,
    /// `[1 + latent, points, 2 · latent]`.
    values: Vec<f32>,
}

/// What a logarithm of a reward is taken for that is less, as that of none is: only rows with finite numbers
/// are of use, and a step of such a reward has no share of the return.
const LEAST_LOG: f64 = -1e4;

/// The distance of forward differences: far above rounding, far below the width of a reward; of components so
/// large that it is not, this share of them, 256 times the rounding of single precision.
const OFFSET: f64 = 1e-3;
const RELATIVE_OFFSET: f64 = 1.0 / 32_768.0;

/// Steps whose share of the return is less do not shape the cost.
const LEAST_SHARE: f64 = 1e-9;

impl Slopes {
    fn at(model: &dyn LatentModel, nodes: &Tensor<2>) -> Result<Self, PlanError> {
        let [points, latent] = nodes.dims();
        let mut axes = vec![0.0f32; (latent + 1) * latent];
        for axis in 0..latent {
            axes[(axis + 1) * latent + axis] = 1.0;
        }
        let axes = TensorData::new(axes, [latent + 1, 1, latent]);
        let axes = Tensor::<3>::from_data(axes, &nodes.device());
        let repeated = |rows: Tensor<2>| rows.unsqueeze_dim::<3>(0).repeat_dim(0, latent + 1);
        let offsets = (nodes.clone().abs() * RELATIVE_OFFSET).clamp_min(OFFSET);
        let moved = repeated(nodes.clone()) + repeated(offsets) * axes;
        let moved = moved.flatten::<2>(0, 1);
        let linear = model.linearise_reward(moved.clone(), Objective::LogReward);
        let both = join(vec![linear.jacobian.squeeze_dim::<2>(1), moved], 1);
        Ok(Self {
            sizes: [points, latent],
            values: read("gradient of the log reward", both)?,
        })
    }

    /// `∇ log r` and where it is taken: at a point, or that moved along an axis.
    fn of_point(&self, point: usize, axis: Option<usize>) -> (&[f32], &[f32]) {
        let [points, latent] = self.sizes;
        let block = axis.map_or(0, |axis| axis + 1);
        let first = (block * points + point) * 2 * latent;
        self.values[first..first + 2 * latent].split_at(latent)
    }

    /// Around the nodes of one plan, the `points`, with logarithms of rewards `logs`:
    ///
    /// ```text
    /// g_t = −w_t ∇ log r,    H_t = w_t (−∇² log r)₊,    w_t = T r_t / Σ r
    /// ```
    ///
    /// the quadratic model of `−Σ w_t log r_t`, which lies above the cost and touches it here, as in
    /// expectation maximisation (Dempster, Laird & Rubin 1977).
    fn of_log_return(&self, logs: &[f32], points: std::ops::Range<usize>) -> NodeCosts {
        let ([_, latent], horizon) = (self.sizes, logs.len());
        let log_sum = log_sum(logs);
        let mut costs = NodeCosts {
            gradient: vec![0.0; horizon * latent],
            hessian: vec![0.0; horizon * latent * latent],
        };
        for (step, point) in points.enumerate() {
            let share = (f64::from(logs[step]) - log_sum).exp();
            if share < LEAST_SHARE {
                continue;
            }
            let weight = share * horizon as f64;
            let (slope, _) = self.of_point(point, None);
            for (target, &slope) in costs.gradient[step * latent..].iter_mut().zip(slope) {
                *target = -weight * f64::from(slope);
            }
            let curvature = positive_part(self.curvature(point)) * weight;
            costs.hessian[step * latent * latent..(step + 1) * latent * latent]
                .copy_from_slice(curvature.as_slice());
        }
        costs
    }

    /// `−∇² log r` by forward differences.
    fn curvature(&self, point: usize) -> DMatrix<f64> {
        let [_, latent] = self.sizes;
        let (slope, here) = self.of_point(point, None);
        let difference = DMatrix::from_fn(latent, latent, |row, column| {
            let (moved, there) = self.of_point(point, Some(column));
            // Rounding makes another step of the one that was asked for.
            f64::from(slope[row] - moved[row]) / f64::from(there[column] - here[column])
        });
        (&difference + difference.transpose()) * 0.5
    }
}

/// The nearest matrix without negative eigenvalues.
fn positive_part(matrix: DMatrix<f64>) -> DMatrix<f64> {
    let size = matrix.nrows();
    let largest = matrix.amax();
    if largest == 0.0 {
        return matrix;
    }
    // Rows that are all but zero need no decomposition of the whole.
    let shifted = &matrix + DMatrix::identity(size, size) * (1e-4 * largest);
    if shifted.cholesky().is_some() {
        return matrix;
    }
    let eigen = SymmetricEigen::new(matrix);
    let values = eigen.eigenvalues.map(|value| value.max(0.0));
    &eigen.eigenvectors * DMatrix::from_diagonal(&values) * eigen.eigenvectors.transpose()
}

/// `Jᵀρ` and `JᵀJ` of each node, from `[horizon, rows]` and `[horizon, rows, latent]`.
fn least_squares(residuals: &[f32], jacobians: &[f32], rows: usize) -> NodeCosts {
    let latent = jacobians.len() / residuals.len();
    let mut costs = NodeCosts {
        gradient: Vec::with_capacity(residuals.len() / rows * latent),
        hessian: Vec::with_capacity(residuals.len() / rows * latent * latent),
    };
    for (residuals, jacobian) in residuals.chunks(rows).zip(jacobians.chunks(rows * latent)) {
        let jacobian = DMatrix::from_fn(rows, latent, |row, column| {
            f64::from(jacobian[row * latent + column])
        });
        let residuals = DMatrix::from_fn(rows, 1, |row, _| f64::from(residuals[row]));
        costs.gradient.extend(jacobian.tr_mul(&residuals).iter());
        costs.hessian.extend(jacobian.tr_mul(&jacobian).iter());
    }
    costs
}

#[cfg(test)]
mod tests {
    use burn::tensor::Device;

    use super::*;
    use crate::{DiagonalGaussian, Noise};

    /// Reward `exp(−½ ‖z − 1‖² / w²)` of latents in two dimensions, of a model that is exact.
    struct Bump;

    /// The same of a model that errs.
    struct Learned;

    impl LatentModel for Learned {
        fn latent_size(&self) -> usize {
            Bump.latent_size()
        }

        fn action_size(&self) -> usize {
            Bump.action_size()
        }

        fn transition(&self, latents: Tensor<2>, actions: Tensor<2>) -> DiagonalGaussian {
            Bump.transition(latents, actions)
        }

        fn reward(&self, latents: Tensor<2>) -> Tensor<1> {
            Bump.reward(latents)
        }

        fn reward_range(&self) -> Option<[f64; 2]> {
            Bump.reward_range()
        }

        fn action_noise(&self) -> f64 {
            0.2
        }
    }

    const WIDTH: f64 = 0.5;

    impl LatentModel for Bump {
        fn latent_size(&self) -> usize {
            2
        }

        fn action_size(&self) -> usize {
            1
        }

        fn transition(&self, latents: Tensor<2>, _actions: Tensor<2>) -> DiagonalGaussian {
            DiagonalGaussian::new(latents.clone(), latents.zeros_like())
        }

        fn reward(&self, latents: Tensor<2>) -> Tensor<1> {
            self.log_reward(latents).exp()
        }

        fn reward_range(&self) -> Option<[f64; 2]> {
            Some([0.0, 1.0])
        }

        fn log_reward(&self, latents: Tensor<2>) -> Tensor<1> {
            let squares = (latents - 1.0).square().sum_dim(1).squeeze_dim::<1>(1);
            squares * (-0.5 / WIDTH.powi(2))
        }
    }

    const SURROGATES: [Surrogate; 3] =
        [Surrogate::LogReturn, Surrogate::Reward, Surrogate::Softplus];

    fn latents(seed: u64) -> Tensor<3> {
        Noise::new(seed).normal([2, 4, 2], &Device::default()) * 0.5
    }

    fn cost_at(cost: Cost, latents: &Tensor<3>, plan: usize) -> f64 {
        cost.scores(&Bump, latents).unwrap()[plan].cost
    }

    /// `latents` with one number of the first plan changed.
    fn moved(latents: &Tensor<3>, index: usize, by: f32) -> Tensor<3> {
        let mut values = read("latents", latents.clone()).unwrap();
        values[index] += by;
        Tensor::from_data(TensorData::new(values, latents.dims()), &Device::default())
    }

    #[test]
    fn of_models_that_err_the_reward_is_taken_of_exact_ones_its_logarithm() {
        let of = |model: &dyn LatentModel| Cost::of(model, Surrogate::Automatic);
        assert_eq!(of(&Bump), Cost::of(&Bump, Surrogate::LogReturn));
        assert_eq!(of(&Learned), Cost::of(&Learned, Surrogate::Reward));
        assert_ne!(of(&Bump), of(&Learned));
    }

    #[test]
    fn gradients_are_those_that_differences_show() {
        let latents = latents(1);
        for surrogate in SURROGATES {
            let cost = Cost::of(&Bump, surrogate);
            let nodes = &cost.expand(&Bump, &latents).unwrap()[0];
            for (index, slope) in nodes.gradient.iter().enumerate() {
                let beside = |by| cost_at(cost, &moved(&latents, index, by), 0);
                let difference = (beside(1e-2) - beside(-1e-2)) / 2e-2;
                assert!(
                    (slope - difference).abs() < 2e-2 * difference.abs().max(1.0),
                    "{surrogate:?}, {index}: {slope} is not {difference}"
                );
            }
        }
    }

    /// Both forms of the derivatives have the same slope: `Jᵀρ` of the rows is `g`.
    #[test]
    fn rows_have_the_slope_of_the_nodes() {
        let latents = latents(2);
        for surrogate in SURROGATES {
            let cost = Cost::of(&Bump, surrogate);
            let nodes = cost.expand(&Bump, &latents).unwrap();
            let (values, jacobian) = cost.rows(&Bump, &latents);
            let slopes = values.unsqueeze_dim::<3>(1).matmul(jacobian);
            let slopes = read("slopes", slopes.reshape([4, 2, 2]).swap_dims(0, 1)).unwrap();
            let expected = nodes.iter().flat_map(|plan| &plan.gradient);
            for (found, expected) in slopes.into_iter().zip(expected) {
                let miss = (f64::from(found) - expected).abs();
                assert!(
                    miss < 1e-3 * expected.abs().max(1.0),
                    "{found} is not {expected}"
                );
            }
        }
    }

    /// Of rewards beyond their range, and of none.
    #[test]
    fn rows_are_finite_whatever_the_log_reward() {
        struct Given;

        impl LatentModel for Given {
            fn latent_size(&self) -> usize {
                2
            }

            fn action_size(&self) -> usize {
                1
            }

            fn transition(&self, latents: Tensor<2>, actions: Tensor<2>) -> DiagonalGaussian {
                Bump.transition(latents, actions)
            }

            fn reward(&self, latents: Tensor<2>) -> Tensor<1> {
                self.log_reward(latents).exp()
            }

            fn log_reward(&self, latents: Tensor<2>) -> Tensor<1> {
                latents.narrow(1, 0, 1).squeeze_dim(1)
            }
        }

        let logs = [0.1, f32::NEG_INFINITY, 0.0, -1e6, -0.5];
        let latents: Vec<f32> = logs.iter().flat_map(|&log| [log, 0.0]).collect();
        let latents = Tensor::from_data(TensorData::new(latents, [1, 5, 2]), &Device::default());
        let range = [0.0, 1.0];
        let (values, jacobian) = Cost::LogReturn { range }.rows(&Given, &latents);
        let found = read("rows", join(vec![values, jacobian.flatten(1, 2)], 1)).unwrap();
        assert!(found.iter().all(|value| value.is_finite()), "{found:?}");
    }

    /// Differences are taken over steps that single precision can tell apart.
    #[test]
    fn large_latents_have_the_curvature_of_small_ones() {
        const SPREAD: f64 = 50.0;

        /// `log r = −½ (z − c)² / w²`.
        struct Far(f64);

        impl LatentModel for Far {
            fn latent_size(&self) -> usize {
                1
            }

            fn action_size(&self) -> usize {
                1
            }

            fn transition(&self, latents: Tensor<2>, _actions: Tensor<2>) -> DiagonalGaussian {
                DiagonalGaussian::new(latents.clone(), latents.zeros_like())
            }

            fn reward(&self, latents: Tensor<2>) -> Tensor<1> {
                self.log_reward(latents).exp()
            }

            fn reward_range(&self) -> Option<[f64; 2]> {
                Some([0.0, 1.0])
            }

            fn log_reward(&self, latents: Tensor<2>) -> Tensor<1> {
                let squares = ((latents - self.0) / SPREAD).square();
                squares.squeeze_dim::<1>(1) * -0.5
            }
        }

        for centre in [0.0, 20_000.0, -40_000.0] {
            let latents = Tensor::full([1, 1, 1], centre + 10.0, &Device::default());
            let model = Far(centre);
            let cost = Cost::of(&model, Surrogate::LogReturn);
            let curvature = cost.expand(&model, &latents).unwrap()[0].hessian[0];
            let expected = SPREAD.powi(-2);
            assert!(
                (curvature - expected).abs() < 1e-2 * expected,
                "{centre}: {curvature} is not {expected}"
            );
        }
    }

    #[test]
    fn no_curvature_is_negative() {
        let saddle = DMatrix::from_row_slice(2, 2, &[0.0, 1.0, 1.0, 0.0]);
        let found = SymmetricEigen::new(positive_part(saddle)).eigenvalues;
        assert!(
            found.min() > -1e-9 && (found.max() - 1.0).abs() < 1e-9,
            "{found}"
        );
    }

    /// Expectation maximisation: the quadratic model of the log return lies above it everywhere.
    #[test]
    fn the_model_of_the_log_return_lies_above_it() {
        let cost = Cost::of(&Bump, Surrogate::LogReturn);
        for seed in 0..20 {
            let here = latents(seed);
            let step = latents(seed + 100);
            let nodes = &cost.expand(&Bump, &here).unwrap()[0];
            let change: Vec<f64> = read("step", step.clone()).unwrap()[..8]
                .iter()
                .map(|&value| f64::from(value))
                .collect();
            let linear: f64 = nodes.gradient.iter().zip(&change).map(|(g, d)| g * d).sum();
            let quadratic: f64 = change
                .chunks(2)
                .zip(nodes.hessian.chunks(4))
                .map(|(d, h)| {
                    d[0] * (h[0] * d[0] + h[2] * d[1]) + d[1] * (h[1] * d[0] + h[3] * d[1])
                })
                .sum();
            let model = cost_at(cost, &here, 0) + linear + 0.5 * quadratic;
            let there = cost_at(cost, &(here + step), 0);
            assert!(
                there <= model + 1e-2 * model.abs(),
                "{there} is above {model}"
            );
        }
    }

    #[test]
    fn the_log_return_has_a_slope_where_the_reward_underflows() {
        let far = Tensor::<3>::full([1, 4, 2], -20.0, &Device::default());
        let cost = Cost::of(&Bump, Surrogate::LogReturn);
        let score = cost.scores(&Bump, &far).unwrap()[0];
        assert_eq!(score.total as f32, 0.0);
        assert!(score.cost.is_finite() && score.cost > 1e3);
        let nodes = &cost.expand(&Bump, &far).unwrap()[0];
        assert!(nodes.gradient.iter().all(|&slope| slope < -10.0));
    }
}
