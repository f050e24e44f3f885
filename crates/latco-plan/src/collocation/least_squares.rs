use std::cell::OnceCell;

use burn::tensor::Tensor;
use latco_kernels::join;

use super::{
    ActionBounds, Trajectories,
    lagrangian::action_excess,
    residual_space::{self, Adjoints},
    riccati,
};
use crate::{LatentModel, Linearisation, Objective, PlanError, gauss_newton::Elimination};

/// The least-squares form of relaxed collocation, linearised at a batch of trajectories:
///
/// ```text
/// ½ Σ λ_t ‖z_{t+1} − μ(z_t, a_t)‖² + ½ Σ ν_t ‖max(|a_t| − 1, 0)‖² + ½ Σ ‖ρ(z_{t+1})‖²
/// ```
///
/// With `A_t`, `B_t` the derivative of `μ`, `c_t = μ_t − z_{t+1}` the present defect and `e_t` the
/// defect after the step, `dz_{t+1} = A_t dz_t + B_t da_t + c_t + e_t`.
/// [`Elimination`] says how the step is found.
pub struct LeastSquares<'a> {
    pub(super) linearisation: Box<dyn Linearisation + 'a>,
    /// `c`, `[plans, horizon, latent]`.
    pub(super) defects: Tensor<3>,
    pub(super) actions: Tensor<3>,
    pub(super) residuals: StepResiduals,
    /// What [`residual_space`] needs of the linearisation, whatever multipliers and damping.
    pub(super) adjoints: OnceCell<Adjoints>,
    elimination: Elimination,
    pub(super) bounds: ActionBounds,
    /// Threads of a CPU that share a sweep.
    pub(super) workers: usize,
}

/// A change of a batch of trajectories. Actions and defects determine the latents: to first order by
/// [`LeastSquares::latents`], or through the model itself, `z_{t+1} = μ(z_t, a_t + da_t) + e_t`.
#[derive(Clone, Debug)]
pub struct Step {
    /// `da_0 … da_{T−1}`, `[plans, horizon, action]`.
    pub actions: Tensor<3>,
    /// `e_0 … e_{T−1}`, by which the nodes are to miss the dynamics, `[plans, horizon, latent]`.
    pub defects: Tensor<3>,
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
    /// Damping of the change of actions, `[plans]`; above 0 in residual space, which divides by it.
    pub action_damping: Tensor<1>,
    /// Damping of the change of latents, `[plans]`; it needs the Riccati sweep.
    pub latent_damping: Option<Tensor<1>>,
}

impl<'a> LeastSquares<'a> {
    /// Linearises at `trajectories` that start from `start` `[plans, latent]`.
    pub fn linearise(
        model: &'a dyn LatentModel,
        start: Tensor<2>,
        trajectories: &Trajectories,
    ) -> Self {
        let [plans, horizon] = trajectories.shape();
        let latent = model.latent_size();
        let points = |batch: Tensor<3>| batch.swap_dims(0, 1).flatten::<2>(0, 1);
        let linearisation = model.linearise(
            points(trajectories.previous(start)),
            points(trajectories.actions.clone()),
        );
        let mean = linearisation
            .value()
            .reshape([horizon, plans, latent])
            .swap_dims(0, 1);
        Self {
            defects: mean - trajectories.latents.clone(),
            actions: trajectories.actions.clone(),
            residuals: StepResiduals::of_rewards(model, points(trajectories.latents.clone())),
            adjoints: OnceCell::new(),
            elimination: Elimination::Automatic,
            bounds: ActionBounds::Penalised,
            workers: 1,
            linearisation,
        }
    }

    /// In residual space at `trajectories` from `start` `[plans, latent]`, with the steps' own
    /// `residuals`; `defects` `[plans, horizon, latent]` take the place of `c`.
    pub(crate) fn in_residual_space(
        model: &'a dyn LatentModel,
        start: Tensor<2>,
        trajectories: &Trajectories,
        defects: Tensor<3>,
        residuals: StepResiduals,
    ) -> Self {
        let points = |batch: Tensor<3>| batch.swap_dims(0, 1).flatten::<2>(0, 1);
        Self {
            linearisation: model.linearise(
                points(trajectories.previous(start)),
                points(trajectories.actions.clone()),
            ),
            defects,
            actions: trajectories.actions.clone(),
            adjoints: OnceCell::new(),
            elimination: Elimination::ResidualSpace,
            bounds: ActionBounds::Projected,
            workers: 1,
            residuals,
        }
    }

    /// Says how steps are found, which is else chosen by size.
    pub fn with_elimination(mut self, elimination: Elimination) -> Self {
        self.elimination = elimination;
        self
    }

    /// Says how steps keep actions within their bounds, which is else by the penalty alone.
    pub fn with_bounds(mut self, bounds: ActionBounds) -> Self {
        self.bounds = bounds;
        self
    }

    /// Has at most so many threads share a sweep, which is else done by one.
    pub fn with_workers(mut self, workers: usize) -> Self {
        self.workers = workers;
        self
    }

    /// The present actions, `[plans, horizon, action]`, where steps from them stop at the bounds.
    pub(super) fn projected_actions(&self) -> Option<&Tensor<3>> {
        match self.bounds {
            ActionBounds::Projected => Some(&self.actions),
            ActionBounds::Penalised => None,
        }
    }

    /// The present defects `μ(z_t, a_t) − z_{t+1}`, `[plans, horizon, latent]`.
    pub fn defects(&self) -> Tensor<3> {
        self.defects.clone()
    }

    /// The step that minimises the linearised cost.
    ///
    /// Damping adds `½ δ_e ‖e + c‖²`, the change of the defects, `½ δ_a ‖da‖²` and `½ δ_z ‖dz‖²`.
    ///
    /// # Errors
    ///
    /// If the linearisation is not finite, or the device fails.
    pub fn step(&self, weights: &Weights, iteration: usize) -> Result<Step, PlanError> {
        if self.elimination(weights) == Elimination::Riccati {
            return riccati::step(self, weights, iteration);
        }
        let diagonal = Diagonal::new(
            self,
            weights.dynamics.clone().unsqueeze_dim(2),
            &self.bound_terms(&weights.actions),
            [&weights.defect_damping, &weights.action_damping],
        );
        let steps = residual_space::steps(self, &[diagonal], iteration)?;
        let step = steps.into_iter().next();
        step.ok_or(PlanError::NotFinite {
            what: "Gauss-Newton system",
            iteration,
            step: 0,
        })
    }

    /// Slope and curvature of `½ ν ‖max(|a| − 1, 0)‖²` by the actions, `[plans, horizon, action]` each.
    fn bound_terms(&self, weights: &Tensor<2>) -> [Tensor<3>; 2] {
        let excess = action_excess(self.actions.clone());
        let weights = weights.clone().unsqueeze_dim::<3>(2);
        let curvature = weights.clone() * excess.clone().sign();
        [weights * excess * self.actions.clone().sign(), curvature]
    }

    /// The steps in residual space with λ of each component of a defect, `[plans, horizon, latent]`, slope and
    /// curvature of the bounds' terms by the actions, `[plans, horizon, action]` each, and each of some dampings
    /// of defects and actions alike, `[plans]`.
    pub(crate) fn damped_steps(
        &self,
        dynamics: &Tensor<3>,
        bounds: &[Tensor<3>; 2],
        dampings: &[Tensor<1>],
    ) -> Result<Vec<Step>, PlanError> {
        let diagonals = dampings
            .iter()
            .map(|damping| Diagonal::new(self, dynamics.clone(), bounds, [damping, damping]));
        residual_space::steps(self, &diagonals.collect::<Vec<_>>(), 0)
    }

    /// The change of the latents to first order, `dz_1 … dz_T`, `[plans, horizon, latent]`:
    /// `dz_{t+1} = A_t dz_t + B_t da_t + c_t + e_t` from `dz_0 = 0`.
    pub fn latents(&self, step: &Step) -> Tensor<3> {
        let [plans, horizon, latent] = self.defects.dims();
        let drive = self.defects.clone() + step.defects.clone();
        if let Some(changes) = self.linearisation.changes_along(&step.actions, &drive) {
            return changes;
        }
        let mut change = Tensor::zeros([plans, 1, latent], &drive.device());
        let changes = (0..horizon)
            .map(|time| {
                change = self.linearisation.pushforward(
                    time * plans..(time + 1) * plans,
                    change.clone(),
                    step.actions.clone().narrow(1, time, 1),
                ) + drive.clone().narrow(1, time, 1);
                change.clone()
            })
            .collect();
        join(changes, 1)
    }

    fn elimination(&self, weights: &Weights) -> Elimination {
        if weights.latent_damping.is_some() {
            return Elimination::Riccati;
        }
        let [_, horizon, latent] = self.defects.dims();
        self.elimination
            .resolved(horizon * self.residuals.count(), latent)
    }
}

/// The part of the least-squares problem that is diagonal in defects and actions.
pub(super) struct Diagonal {
    /// `c` shrunk by the damping, `λ / (λ + δ_e) · c`, `[plans, horizon, latent]`.
    pub defects: Tensor<3>,
    /// `λ + δ_e`, `[plans, horizon, latent]`.
    pub defect_weight: Tensor<3>,
    /// `da⁰ = −g / w`, `[plans, horizon, action]`.
    pub actions: Tensor<3>,
    /// `w`, gradient `g` and damped curvature `w` being those of the action term,
    /// `[plans, horizon, action]`.
    pub action_weight: Tensor<3>,
}

impl Diagonal {
    /// With λ, `[plans, horizon, latent]` or the same for all components, `[plans, horizon, 1]`, slope and
    /// curvature of the bounds' terms, `[plans, horizon, action]` each, and the damping of defects and actions,
    /// `[plans]`.
    fn new(
        problem: &LeastSquares<'_>,
        dynamics: Tensor<3>,
        [slope, curvature]: &[Tensor<3>; 2],
        [of_defects, of_actions]: [&Tensor<1>; 2],
    ) -> Self {
        let defect_weight = dynamics.clone() + of_defects.clone().reshape([-1, 1, 1]);
        let kept = dynamics / defect_weight.clone();
        let damping = of_actions.clone().reshape([-1, 1, 1]);
        let action_weight = curvature.clone() + damping;
        Self {
            defects: problem.defects.clone() * kept,
            defect_weight: problem.defects.ones_like() * defect_weight,
            actions: -slope.clone() / action_weight.clone(),
            action_weight,
        }
    }
}

/// The residuals that belong to a step: the reward's, and those of weighted constraints.
pub(crate) struct StepResiduals {
    /// `[points, residuals]`, points step by step.
    pub values: Tensor<2>,
    /// Derivatives by the latent that the step ends in, `[points, residuals, latent]`.
    pub by_latent: Tensor<3>,
    /// Derivatives by the action, `[points, residuals, action]`; `None` where there are none.
    pub by_action: Option<Tensor<3>>,
}

impl StepResiduals {
    fn of_rewards(model: &dyn LatentModel, latents: Tensor<2>) -> Self {
        let reward = model.linearise_reward(latents, Objective::Residuals);
        Self {
            values: reward.rewards.residuals,
            by_latent: reward.jacobian,
            by_action: None,
        }
    }

    /// The residuals of each plan, `[plans, horizon · residuals]`, those of the last step first.
    pub(super) fn last_first(&self, [plans, horizon]: [usize; 2]) -> Tensor<2> {
        self.values
            .clone()
            .reshape([horizon, plans, self.count()])
            .flip([0])
            .swap_dims(0, 1)
            .reshape([plans, horizon * self.count()])
    }

    /// Residuals of one step.
    pub fn count(&self) -> usize {
        self.values.dims()[1]
    }

    /// Adds one residual, `[points, 1]`, with its derivatives by latents and actions, `[points, size]`.
    pub fn append(&mut self, value: Tensor<2>, by_latent: Tensor<2>, by_action: Tensor<2>) {
        let [points, present] = self.values.dims();
        let action_size = by_action.dims()[1];
        let none = || Tensor::zeros([points, present, action_size], &by_action.device());
        let before = self.by_action.take().unwrap_or_else(none);
        let joined =
            |before: Tensor<3>, new: Tensor<2>| join(vec![before, new.unsqueeze_dim(1)], 1);
        self.by_action = Some(joined(before, by_action));
        self.by_latent = joined(self.by_latent.clone(), by_latent);
        self.values = join(vec![self.values.clone(), value], 1);
    }
}
