//! Linear dynamics with a concave quadratic reward, whose plans are known in closed form.
//!
//! ```text
//! μ(z, a) = A z + B a,     ρ(z) = L (z − g),     r(z) = −½ ‖ρ(z)‖²
//! ```

use burn::tensor::{Device, Tensor, TensorData};
use latco_plan::{Belief, DiagonalGaussian, LatentModel, Noise, collocation::Trajectories};
use nalgebra::{DMatrix, DVector};

/// A random stable system, the same in single precision on a device and in double precision here.
pub struct LinearQuadratic {
    by_latent: DMatrix<f64>,
    by_action: DMatrix<f64>,
    reward: DMatrix<f64>,
    goal: DVector<f64>,
    device: Device,
}

/// The sizes of a problem.
#[derive(Clone, Copy, Debug)]
pub struct Sizes {
    /// Components of a latent.
    pub latent: usize,
    /// Components of an action.
    pub action: usize,
    /// Residuals of the reward.
    pub residuals: usize,
    /// Steps of a plan.
    pub horizon: usize,
}

impl LinearQuadratic {
    /// Diagonally dominant matrices, so that every direction can be steered and is rewarded where
    /// the sizes allow it; spectral radius at most 0.9; goals near zero, so that the best actions
    /// are small.
    pub fn random(sizes: Sizes, noise: &mut Noise, device: &Device) -> Self {
        let Sizes {
            latent,
            action,
            residuals,
            ..
        } = sizes;
        let mut near_identity = |rows, columns, diagonal: f64, rest: f64| {
            let random = normal_matrix(rows, columns, noise);
            let rest = random.scale(rest / random.norm());
            single_precision(DMatrix::identity(rows, columns).scale(diagonal) + rest)
        };
        Self {
            by_latent: near_identity(latent, latent, 0.5, 0.4),
            by_action: near_identity(latent, action, 0.8, 0.4),
            reward: near_identity(residuals, latent, 2.0, 1.0),
            goal: normal_matrix(latent, 1, noise).column(0).scale(0.25),
            device: device.clone(),
        }
    }

    fn tensor(&self, matrix: &DMatrix<f64>) -> Tensor<2> {
        let [rows, columns] = [matrix.nrows(), matrix.ncols()];
        tensor(matrix.transpose().as_slice(), [rows, columns], &self.device)
    }
}

impl LatentModel for LinearQuadratic {
    fn latent_size(&self) -> usize {
        self.by_latent.nrows()
    }

    fn action_size(&self) -> usize {
        self.by_action.ncols()
    }

    fn transition(&self, latents: Tensor<2>, actions: Tensor<2>) -> DiagonalGaussian {
        let mean = latents.matmul(self.tensor(&self.by_latent.transpose()))
            + actions.matmul(self.tensor(&self.by_action.transpose()));
        DiagonalGaussian::new(mean.clone(), mean.full_like(0.1))
    }

    fn reward(&self, latents: Tensor<2>) -> Tensor<1> {
        let squares = self.reward_residuals(latents).square();
        squares.sum_dim(1).squeeze_dim::<1>(1) * -0.5
    }

    fn reward_residuals(&self, latents: Tensor<2>) -> Tensor<2> {
        let goal = tensor(self.goal.as_slice(), [1, self.goal.len()], &self.device);
        (latents - goal).matmul(self.tensor(&self.reward.transpose()))
    }
}

/// Planning `horizon` steps from a known start. Unknowns are `z_1 … z_T, a_0 … a_{T−1}` in one
/// vector.
pub struct FiniteHorizon<'a> {
    system: &'a LinearQuadratic,
    start: DVector<f64>,
    horizon: usize,
}

/// The weights of a damped least-squares step.
#[derive(Clone, Debug)]
pub struct DenseWeights {
    /// λ of each step.
    pub dynamics: Vec<f64>,
    /// ν of each step.
    pub actions: Vec<f64>,
    /// Damping of the change of defects.
    pub defect_damping: f64,
    /// Damping of the change of actions.
    pub action_damping: f64,
    /// Damping of the change of latents.
    pub latent_damping: f64,
}

/// The best plan.
pub struct Optimum {
    /// The unknowns.
    pub unknowns: DVector<f64>,
    /// The derivative of the best return with respect to each planned latent, stacked.
    pub costates: DVector<f64>,
}

impl<'a> FiniteHorizon<'a> {
    /// A problem with a random start.
    pub fn random(system: &'a LinearQuadratic, horizon: usize, noise: &mut Noise) -> Self {
        let latent = system.latent_size();
        Self {
            start: normal_matrix(latent, 1, noise).column(0).scale(0.25),
            system,
            horizon,
        }
    }

    /// The start as a planner takes it.
    pub fn belief(&self) -> Belief {
        let shape = [self.start.len()];
        Belief::certain(tensor(self.start.as_slice(), shape, &self.system.device))
    }

    /// Standard normal unknowns times `std`, representable in single precision.
    pub fn random_unknowns(&self, std: f64, noise: &mut Noise) -> DVector<f64> {
        let unknowns = normal_matrix(self.unknowns(), 1, noise)
            .column(0)
            .scale(std);
        unknowns.map(|value| f64::from(value as f32))
    }

    /// A batch of plans with these unknowns.
    pub fn trajectories(&self, plans: &[DVector<f64>]) -> Trajectories {
        let batch = |place: usize, size: usize| {
            let rows = plans.iter().flat_map(|plan| {
                let rows = plan.rows(place, self.horizon * size);
                rows.iter().copied().collect::<Vec<_>>()
            });
            let shape = [plans.len(), self.horizon, size];
            tensor(&rows.collect::<Vec<_>>(), shape, &self.system.device)
        };
        Trajectories {
            latents: batch(0, self.system.latent_size()),
            actions: batch(self.latents(), self.system.action_size()),
        }
    }

    /// `z_{t+1} − A z_t − B a_t` of every step, stacked.
    pub fn defects(&self, unknowns: &DVector<f64>) -> DVector<f64> {
        let mut defects = self.defect_jacobian() * unknowns;
        let mut first = defects.rows_mut(0, self.start.len());
        first -= &self.system.by_latent * &self.start;
        defects
    }

    /// `‖z_{t+1} − A z_t − B a_t‖²` of every step.
    pub fn violations(&self, unknowns: &DVector<f64>) -> Vec<f64> {
        let defects = self.defects(unknowns);
        let steps = defects.as_slice().chunks(self.start.len());
        steps
            .map(|defect| defect.iter().map(|x| x * x).sum())
            .collect()
    }

    /// `Σ r(z_t)` along the unknown latents.
    pub fn virtual_return(&self, unknowns: &DVector<f64>) -> f64 {
        -0.5 * self.reward_residuals(unknowns).norm_squared()
    }

    /// The plan without any action, which keeps the dynamics.
    pub fn idle(&self) -> DVector<f64> {
        self.roll_out(&DVector::zeros(self.unknowns() - self.latents()))
    }

    /// `Σ r(z_t)` where these actions lead.
    #[allow(dead_code, reason = "not every test that shares this file asks for it")]
    pub fn return_of(&self, actions: &DVector<f64>) -> f64 {
        self.virtual_return(&self.roll_out(actions))
    }

    /// The plan with these actions that keeps the dynamics.
    fn roll_out(&self, actions: &DVector<f64>) -> DVector<f64> {
        let (size, of_action) = (self.start.len(), self.system.action_size());
        let mut latent = self.start.clone();
        let mut unknowns = DVector::zeros(self.unknowns());
        for step in 0..self.horizon {
            let action = actions.rows(step * of_action, of_action);
            latent = &self.system.by_latent * latent + &self.system.by_action * action;
            unknowns.rows_mut(step * size, size).copy_from(&latent);
        }
        unknowns
            .rows_mut(self.latents(), actions.len())
            .copy_from(actions);
        unknowns
    }

    /// The actions that GRASP's relaxed cost comes to rest at: with `m = A z + B a` and no gradient
    /// through z, each step by itself solves
    ///
    /// ```text
    /// LᵀL (z' − g) + 2κ (z' − m) = 0,     Bᵀ (LᵀL (m − g) − 2κ (z' − m)) = 0
    /// ```
    ///
    /// and so minimises `(m − g)ᵀ M (m − g)` with `M = LᵀL (I + 2κ (LᵀL + 2κ)⁻¹)`.
    #[allow(dead_code, reason = "not every test that shares this file asks for it")]
    pub fn greedy(&self, consistency: f64) -> DVector<f64> {
        let system = self.system;
        let size = self.start.len();
        let curvature = system.reward.tr_mul(&system.reward);
        let pull = DMatrix::identity(size, size).scale(2.0 * consistency);
        let kept = (&curvature + &pull).lu().solve(&pull).unwrap();
        let weight = &curvature + &curvature * &kept;
        let of_action = system.by_action.tr_mul(&weight);
        let solver = (&of_action * &system.by_action).lu();
        let mut latent = self.start.clone();
        let mut actions = Vec::new();
        for _ in 0..self.horizon {
            let free = &system.by_latent * &latent - &system.goal;
            let action = -solver.solve(&(&of_action * &free)).unwrap();
            latent = &system.goal + &kept * (free + &system.by_action * &action);
            actions.extend(action.iter().copied());
        }
        DVector::from_vec(actions)
    }

    /// The solution of the problem with exact dynamics and unbounded actions, from its optimality
    /// conditions
    ///
    /// ```text
    /// Rᵀ (R x − ρ₀) + Dᵀ p = 0,     D x = d₀
    /// ```
    ///
    /// with the Jacobians R of the reward residuals and D of the defects. The multipliers p of the
    /// defects are the costates.
    pub fn optimum(&self) -> Optimum {
        let reward = self.reward_jacobian();
        let defect = self.defect_jacobian();
        let (size, constraints) = (self.unknowns(), self.latents());
        let mut system = DMatrix::zeros(size + constraints, size + constraints);
        let mut view = system.view_mut((0, 0), (size, size));
        view.copy_from(&reward.tr_mul(&reward));
        let mut view = system.view_mut((0, size), (size, constraints));
        view.copy_from(&defect.transpose());
        let mut view = system.view_mut((size, 0), (constraints, size));
        view.copy_from(&defect);
        let nothing = DVector::zeros(size);
        let mut right = DVector::zeros(size + constraints);
        let mut rows = right.rows_mut(0, size);
        rows.copy_from(&-reward.tr_mul(&self.reward_residuals(&nothing)));
        let mut rows = right.rows_mut(size, constraints);
        rows.copy_from(&-self.defects(&nothing));
        let solution = system.lu().solve(&right).unwrap();
        Optimum {
            unknowns: solution.rows(0, size).into_owned(),
            costates: solution.rows(size, constraints).into_owned(),
        }
    }

    /// The minimiser `dx` of the damped Gauss–Newton model at `unknowns`
    ///
    /// ```text
    /// ½ Σ λ ‖d + D dx‖² + ½ Σ ν ‖b + B dx‖² + ½ ‖ρ + R dx‖² + ½ δ_e ‖D dx‖² + ½ δ_a ‖da‖²
    ///     + ½ δ_z ‖dz‖²
    /// ```
    ///
    /// with defects d, excess b of the actions over their bounds and reward residuals ρ.
    pub fn damped_step(&self, unknowns: &DVector<f64>, weights: &DenseWeights) -> DVector<f64> {
        let defect = self.defect_jacobian();
        let reward = self.reward_jacobian();
        let per_component = |steps: &[f64], size| {
            let repeated = steps
                .iter()
                .flat_map(|&step| std::iter::repeat_n(step, size));
            DVector::from_iterator(steps.len() * size, repeated)
        };
        let dynamics = per_component(&weights.dynamics, self.system.latent_size());
        let bounds = per_component(&weights.actions, self.system.action_size());
        let damped = DMatrix::from_diagonal(&dynamics.add_scalar(weights.defect_damping));
        let mut curvature = defect.tr_mul(&(damped * &defect)) + reward.tr_mul(&reward);
        let violated = dynamics.component_mul(&self.defects(unknowns));
        let residuals = self.reward_residuals(unknowns);
        let mut gradient = defect.tr_mul(&violated) + reward.tr_mul(&residuals);
        for place in 0..self.latents() {
            curvature[(place, place)] += weights.latent_damping;
        }
        for (index, weight) in bounds.iter().enumerate() {
            let place = self.latents() + index;
            let action = unknowns[place];
            let excess = (action.abs() - 1.0).max(0.0);
            gradient[place] += weight * excess * action.signum();
            curvature[(place, place)] += weights.action_damping;
            if excess > 0.0 {
                curvature[(place, place)] += weight;
            }
        }
        -curvature.lu().solve(&gradient).unwrap()
    }

    /// The actions among the unknowns.
    pub fn actions(&self, unknowns: &DVector<f64>) -> DVector<f64> {
        unknowns.rows_range(self.latents()..).into_owned()
    }

    /// The number of unknown latent components.
    pub fn latents(&self) -> usize {
        self.horizon * self.system.latent_size()
    }

    fn unknowns(&self) -> usize {
        self.latents() + self.horizon * self.system.action_size()
    }

    /// The Jacobian of [`defects`](Self::defects).
    fn defect_jacobian(&self) -> DMatrix<f64> {
        let (latent, action) = (self.system.latent_size(), self.system.action_size());
        let mut jacobian = DMatrix::identity(self.latents(), self.unknowns());
        for step in 0..self.horizon {
            let row = step * latent;
            if step > 0 {
                let mut view = jacobian.view_mut((row, row - latent), (latent, latent));
                view -= &self.system.by_latent;
            }
            let column = self.latents() + step * action;
            let mut view = jacobian.view_mut((row, column), (latent, action));
            view -= &self.system.by_action;
        }
        jacobian
    }

    fn reward_jacobian(&self) -> DMatrix<f64> {
        let (residuals, latent) = self.system.reward.shape();
        let mut jacobian = DMatrix::zeros(self.horizon * residuals, self.unknowns());
        for step in 0..self.horizon {
            let place = (step * residuals, step * latent);
            let mut view = jacobian.view_mut(place, (residuals, latent));
            view.copy_from(&self.system.reward);
        }
        jacobian
    }

    fn reward_residuals(&self, unknowns: &DVector<f64>) -> DVector<f64> {
        let mut from_goal = unknowns.clone();
        for step in 0..self.horizon {
            let size = self.system.goal.len();
            let mut rows = from_goal.rows_mut(step * size, size);
            rows -= &self.system.goal;
        }
        self.reward_jacobian() * from_goal
    }
}

fn normal_matrix(rows: usize, columns: usize, noise: &mut Noise) -> DMatrix<f64> {
    DMatrix::from_fn(rows, columns, |_, _| f64::from(noise.standard_normal()))
}

fn single_precision(matrix: DMatrix<f64>) -> DMatrix<f64> {
    matrix.map(|value| f64::from(value as f32))
}

fn tensor<const D: usize>(values: &[f64], shape: [usize; D], device: &Device) -> Tensor<D> {
    let values: Vec<f32> = values.iter().map(|&value| value as f32).collect();
    Tensor::from_data(TensorData::new(values, shape), device)
}
