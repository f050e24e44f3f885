use std::ops::Range;

use burn::tensor::{Device, Tensor, TensorData};
use nalgebra::{DMatrix, DVector};
use serde::{Deserialize, Serialize};

use super::{
    ShootingResult,
    adjoint::time_major,
    best::{Best, select_rows},
    box_quadratic::BoxQuadratic,
    damping::{Damping, TRIES},
    scores::{Scores, read_steps},
};
use crate::{
    Belief, ConfigError, Deadline, LatentModel, Linearisation, Noise, Objective, Plan, PlanContext,
    PlanError, Planner, Rollout,
    collocation::Trajectories,
    host::{read, require_finite_steps},
    iterations::{Iterations, Progress},
    planner::check_belief,
    roll_out,
    rollout::{at_step, rewards_along},
    starts::{Starts, remaining_actions},
};

/// Settings of the iterative linear-quadratic regulator.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct IlqrConfig {
    /// Steps of the plan, T.
    pub horizon: usize,
    /// Largest number of backward and forward passes, over all starts.
    pub iterations: usize,
    /// Action sequences rolled out at first: the earlier plan, or no action, and random ones.
    pub candidates: usize,
    /// The candidates of least cost that are improved, one after another.
    pub starts: usize,
    /// Standard deviation of the random candidates.
    pub initial_std: f64,
    /// Exponent β of the random candidates: 0 is white noise, 2 and more is smooth.
    pub noise_exponent: f64,
    /// Damping of the first backward pass. It grows tenfold where no step length lowers the cost
    /// and shrinks threefold where one does.
    pub damping: f64,
    /// Step lengths tried side by side, from 1 to 1e-3 in equal ratios.
    pub step_lengths: usize,
    /// Leaves a start once its cost falls by less than this share in an iteration; 0 where it
    /// does not fall at all.
    pub tolerance: f64,
    /// Steps whose Jacobians are formed at once: bounds the memory, not the result.
    pub chunk: usize,
}

impl Default for IlqrConfig {
    fn default() -> Self {
        Self {
            horizon: 30,
            iterations: 60,
            candidates: 64,
            starts: 4,
            initial_std: 0.7,
            noise_exponent: 2.0,
            damping: 1e-3,
            step_lengths: 8,
            tolerance: 1e-4,
            chunk: 30,
        }
    }
}

impl IlqrConfig {
    /// The published implementation's: one start, 500 iterations, damping 1, eleven step lengths,
    /// tolerance 1e-7.
    pub fn paper() -> Self {
        Self {
            iterations: 500,
            candidates: 1,
            starts: 1,
            damping: 1.0,
            step_lengths: 11,
            tolerance: 1e-7,
            ..Self::default()
        }
    }

    fn validate(&self) -> Result<(), ConfigError> {
        ConfigError::require_positive("horizon", self.horizon)?;
        ConfigError::require_positive("iterations", self.iterations)?;
        ConfigError::require_positive("candidates", self.candidates)?;
        ConfigError::require(
            (1..=self.candidates).contains(&self.starts),
            "starts",
            self.starts,
            "between 1 and the number of candidates",
        )?;
        ConfigError::require_positive_real("initial_std", self.initial_std)?;
        ConfigError::require_non_negative("noise_exponent", self.noise_exponent)?;
        ConfigError::require_positive_real("damping", self.damping)?;
        ConfigError::require_positive("step_lengths", self.step_lengths)?;
        ConfigError::require_non_negative("tolerance", self.tolerance)?;
        ConfigError::require_positive("chunk", self.chunk)
    }

    /// `1 … 1e-3`.
    fn lengths(&self) -> Vec<f32> {
        let last = (self.step_lengths - 1).max(1) as f32;
        (0..self.step_lengths)
            .map(|index| 10f32.powf(-3.0 * index as f32 / last))
            .collect()
    }
}

/// The iterative linear-quadratic regulator with bounded actions (Li & Todorov 2004; Tassa,
/// Mansard & Todorov, "Control-Limited Differential Dynamic Programming", ICRA 2014).
///
/// ```text
/// min_a ½ Σ ‖ρ(z_t)‖²,     z_{t+1} = μ(z_t, a_t),  |a| ≤ 1
///
/// backward   W = V_{t+1} + ½ ‖ρ(z_{t+1})‖²         with curvature JᵀJ, J = ∂ρ/∂z (Gauss–Newton)
///            Q_zz = Aᵀ W_zz A,   Q_az = Bᵀ W_zz A,   Q_aa = Bᵀ W_zz B
///            k = argmin ½ kᵀ (Q_aa + δ I) k + Q_aᵀ k   within the bounds
///            K = −(Q_aa + δ I)⁻¹ Q_az                 in the rows that no bound holds
/// forward    a_t ← clip(a_t + α k_t + K_t (z_t − z̄_t), −1, 1)
/// ```
///
/// with `A`, `B` the derivatives of `μ`, the damping `δ` and the step length `α`. All step lengths
/// are rolled out in one batch through the model itself; the best is kept if it lowers the cost,
/// else the damping rises. Where one start has converged the next begins.
///
/// This is the one planner here that forms the model's Jacobians, `T · latent · (latent + action)`
/// numbers from `T · latent` pullbacks of unit vectors, and its Riccati recursion in double
/// precision on the host grows with `T · latent³`. Choose it for small latents, long horizons, or
/// where its feedback helps an unstable model; for large latents
/// [`GaussNewtonShooting`](super::GaussNewtonShooting) takes the same steps without feedback more
/// cheaply. The plan is the sequence of highest return met on the way.
#[derive(Clone, Debug)]
pub struct Ilqr {
    config: IlqrConfig,
}

impl Ilqr {
    /// A planner with these settings.
    ///
    /// # Errors
    ///
    /// Names the first setting outside its range.
    pub fn new(config: IlqrConfig) -> Result<Self, ConfigError> {
        config.validate()?;
        Ok(Self { config })
    }
}

impl Planner for Ilqr {
    fn name(&self) -> &'static str {
        "ilqr"
    }

    fn horizon(&self) -> usize {
        self.config.horizon
    }

    fn plan_with(
        &self,
        model: &dyn LatentModel,
        belief: &Belief,
        context: PlanContext<'_>,
    ) -> Result<Plan, PlanError> {
        check_belief(model, belief)?;
        let deadline = Deadline::start(context.deadline);
        let prepared = model.prepared();
        let model = prepared.as_deref().unwrap_or(model);
        let config = &self.config;
        let mut noise = Noise::new(context.seed);
        let shape = [config.horizon, model.action_size()];
        let starts = Starts {
            count: config.candidates,
            std: config.initial_std,
            exponent: config.noise_exponent,
        };
        let earlier = remaining_actions(context.warm_start, shape)?;
        let candidates = starts.draw(earlier, shape, &mut noise, &belief.device());
        let mut regulator = Regulator::new(config, model, belief, candidates)?;
        let iterations =
            Iterations::run(config.iterations, &deadline, context.observer, |index| {
                regulator.iterate(index)
            })?;
        ShootingResult {
            actions: regulator.best.actions,
            model_steps: regulator.model_steps,
            trace: iterations.trace,
            stop: iterations.stop,
        }
        .into_plan(model, belief, &deadline)
    }
}

/// The state of one search.
struct Regulator<'a> {
    config: &'a IlqrConfig,
    model: &'a dyn LatentModel,
    belief: &'a Belief,
    /// One plan on its rollout.
    present: Trajectories,
    cost: f64,
    damping: Damping,
    /// The starts still to improve with their costs, the next one last.
    waiting: Vec<(Trajectories, f64)>,
    best: Best,
    model_steps: usize,
}

impl<'a> Regulator<'a> {
    /// Starts from the candidate of least cost; the next best ones wait.
    fn new(
        config: &'a IlqrConfig,
        model: &'a dyn LatentModel,
        belief: &'a Belief,
        candidates: Tensor<3>,
    ) -> Result<Self, PlanError> {
        let rollout = roll_out(model, belief.mean_of(config.candidates), candidates.clone());
        let scores = Scores::new(model, &rollout, 0)?;
        let mut best = Best::none(candidates.clone().narrow(0, 0, 1).squeeze_dim(0));
        best.offer(&candidates, &scores.returns);
        let mut order: Vec<usize> = (0..config.candidates).collect();
        order.sort_by(|&a, &b| scores.costs[a].total_cmp(&scores.costs[b]));
        let start = |&index: &usize| {
            let trajectories = Trajectories {
                latents: select_rows(rollout.latents.clone(), &[index]),
                actions: select_rows(candidates.clone(), &[index]),
            };
            (trajectories, scores.costs[index])
        };
        let (present, cost) = start(&order[0]);
        Ok(Self {
            damping: Damping::new(config.damping),
            waiting: order[1..config.starts].iter().rev().map(start).collect(),
            present,
            model_steps: config.candidates * config.horizon,
            cost,
            best,
            config,
            model,
            belief,
        })
    }

    /// One linearisation and the first step from it that lowers the cost; the next start where
    /// that has become little.
    fn iterate(&mut self, index: usize) -> Result<Progress, PlanError> {
        let stages = self.linearise(index)?;
        let actions = read("actions", self.present.actions.clone())?;
        let before = self.cost;
        for _ in 0..TRIES {
            let improved = match backward(&stages, &actions, self.damping) {
                Some(policy) => self.forward(&policy, index)?,
                None => false,
            };
            if improved {
                self.damping.lower();
                break;
            }
            self.damping.raise();
        }
        let exhausted = before - self.cost <= self.config.tolerance * before;
        let converged = exhausted && !self.next_start();
        let best = &self.best;
        Ok(Progress::of_shooting(
            index,
            best.total,
            &best.actions,
            converged,
        ))
    }

    /// Goes on to the next start, if there is one.
    fn next_start(&mut self) -> bool {
        let next = self.waiting.pop();
        let found = next.is_some();
        if let Some((present, cost)) = next {
            self.present = present;
            self.cost = cost;
            self.damping = Damping::new(self.config.damping);
        }
        found
    }

    /// The derivatives at every step, on the host.
    fn linearise(&mut self, index: usize) -> Result<Vec<Stage>, PlanError> {
        let [_, horizon] = self.present.shape();
        let latent = self.model.latent_size();
        let action = self.model.action_size();
        let previous = self.present.previous(self.belief.mean());
        let linearisation = self.model.linearise(
            time_major(previous),
            time_major(self.present.actions.clone()),
        );
        self.model_steps += horizon;
        let latents = time_major(self.present.latents.clone());
        let reward = self.model.linearise_reward(latents, Objective::Residuals);
        let residuals = reward.rewards.residuals;
        let of_reward = residuals.dims()[1] * (1 + latent);
        let reward = Tensor::cat(vec![residuals.unsqueeze_dim(2), reward.jacobian], 2);
        let reward = read_steps("reward Jacobian", index, reward, [1, horizon])?;
        let mut transitions = Vec::with_capacity(horizon * latent * (latent + action));
        for first in (0..horizon).step_by(self.config.chunk) {
            let points = first..(first + self.config.chunk).min(horizon);
            let jacobians = jacobians(linearisation.as_ref(), points, self.belief);
            transitions.extend(read("transition Jacobian", jacobians)?);
        }
        require_finite_steps("transition Jacobian", index, &transitions, [1, horizon])?;
        let stages = transitions
            .chunks(latent * (latent + action))
            .zip(reward.chunks(of_reward))
            .map(|(transition, reward)| Stage::new(transition, reward, latent))
            .collect();
        Ok(stages)
    }

    /// Rolls the policy out with every step length; keeps the best if it lowers the cost.
    fn forward(&mut self, policy: &[Gain], index: usize) -> Result<bool, PlanError> {
        let [_, horizon] = self.present.shape();
        let lengths = self.config.lengths();
        let device = self.belief.device();
        let count = lengths.len();
        let lengths = Tensor::<2>::from_data(TensorData::new(lengths, [count, 1]), &device);
        let mut latent = self.belief.mean_of(count);
        let mut latents = Vec::with_capacity(horizon);
        let mut actions = Vec::with_capacity(horizon);
        let previous = self.present.previous(self.belief.mean());
        for (step, gain) in policy.iter().enumerate() {
            let [open, feedback] = gain.tensors(&device);
            let deviation = latent.clone() - at_step(&previous, step);
            let change = lengths.clone().matmul(open) + deviation.matmul(feedback);
            let action = (at_step(&self.present.actions, step) + change).clamp(-1.0, 1.0);
            latent = self.model.transition_mean(latent, action.clone());
            latents.push(latent.clone());
            actions.push(action);
        }
        self.model_steps += count * horizon;
        let latents = Tensor::stack::<3>(latents, 1);
        let actions = Tensor::stack::<3>(actions, 1);
        let rollout = Rollout {
            rewards: rewards_along(self.model, latents.clone()),
            latents,
        };
        let scores = Scores::new(self.model, &rollout, index)?;
        self.best.offer(&actions, &scores.returns);
        let (chosen, cost) = least(&scores.costs);
        if cost >= self.cost {
            return Ok(false);
        }
        self.cost = cost;
        self.present = Trajectories {
            latents: select_rows(rollout.latents, &[chosen]),
            actions: select_rows(actions, &[chosen]),
        };
        Ok(true)
    }
}

/// `[A, B]` of some points from pullbacks of unit cotangents, `[points, latent, latent + action]`.
fn jacobians(
    linearisation: &dyn Linearisation,
    points: Range<usize>,
    belief: &Belief,
) -> Tensor<3> {
    let latent = belief.mean().dims()[1];
    let unit = Tensor::<2>::eye(latent, &belief.device());
    let unit = unit.unsqueeze_dim::<3>(0).repeat_dim(0, points.len());
    let (by_latent, by_action) = linearisation.pullback(points, unit);
    Tensor::cat(vec![by_latent, by_action], 2)
}

/// The place and value of the smallest number.
fn least(costs: &[f64]) -> (usize, f64) {
    let mut least = (0, f64::INFINITY);
    for (index, &cost) in costs.iter().enumerate() {
        if cost < least.1 {
            least = (index, cost);
        }
    }
    least
}

/// The derivatives at one step: of the transition from `z_t`, of the residuals at `z_{t+1}`.
struct Stage {
    /// A, `[latent, latent]`.
    by_latent: DMatrix<f64>,
    /// B, `[latent, action]`.
    by_action: DMatrix<f64>,
    /// `Jᵀρ`.
    gradient: DVector<f64>,
    /// `JᵀJ`.
    curvature: DMatrix<f64>,
}

impl Stage {
    /// From row-major `[A, B]` and `[ρ, J]`.
    fn new(transition: &[f32], reward: &[f32], latent: usize) -> Self {
        let matrix = |values: &[f32], rows: usize| {
            let values = values.iter().copied().map(f64::from);
            DMatrix::from_row_iterator(rows, values.len() / rows, values)
        };
        let transition = matrix(transition, latent);
        let action = transition.ncols() - latent;
        let reward = matrix(reward, reward.len() / (1 + latent));
        let jacobian = reward.columns(1, latent);
        let transposed = jacobian.transpose();
        Self {
            by_latent: transition.columns(0, latent).into_owned(),
            by_action: transition.columns(latent, action).into_owned(),
            gradient: &transposed * reward.column(0),
            curvature: transposed * jacobian,
        }
    }
}

/// The policy of one step, `da = α k + K dz`.
struct Gain {
    /// k, `[action]`.
    open: DVector<f64>,
    /// K, `[action, latent]`.
    feedback: DMatrix<f64>,
}

impl Gain {
    /// `kᵀ` `[1, action]` and `Kᵀ` `[latent, action]` in single precision.
    fn tensors(&self, device: &Device) -> [Tensor<2>; 2] {
        // Columns of K in memory are rows of its transpose.
        [
            (self.open.as_slice(), 1),
            (self.feedback.as_slice(), self.feedback.ncols()),
        ]
        .map(|(values, rows)| {
            let shape = [rows, values.len() / rows];
            let values: Vec<f32> = values.iter().map(|&value| value as f32).collect();
            Tensor::from_data(TensorData::new(values, shape), device)
        })
    }
}

/// The Riccati recursion from the last step to the first; `None` where a damped `Q_aa` is not
/// positive definite.
fn backward(stages: &[Stage], actions: &[f32], damping: Damping) -> Option<Vec<Gain>> {
    let latent = stages.first()?.by_latent.nrows();
    let action = actions.len() / stages.len();
    let mut gradient = DVector::zeros(latent);
    let mut hessian = DMatrix::zeros(latent, latent);
    let mut policy = Vec::with_capacity(stages.len());
    for (stage, actions) in stages.iter().zip(actions.chunks(action)).rev() {
        gradient += &stage.gradient;
        hessian += &stage.curvature;
        let by_latent = stage.by_latent.transpose();
        let by_action = stage.by_action.transpose();
        let of_latent = &hessian * &stage.by_latent;
        let slope = &by_action * &gradient;
        let curvature = &by_action * (&hessian * &stage.by_action);
        let mixed = by_action * &of_latent;
        let gain = gain(&curvature, &slope, &mixed, actions, damping)?;
        let feedback = gain.feedback.transpose();
        gradient = by_latent.clone() * gradient
            + &feedback * (&curvature * &gain.open + &slope)
            + mixed.transpose() * &gain.open;
        let cross = &feedback * &mixed;
        hessian = by_latent * of_latent
            + feedback * (curvature * &gain.feedback)
            + cross.transpose()
            + cross;
        hessian = (&hessian + hessian.transpose()) * 0.5;
        policy.push(gain);
    }
    policy.reverse();
    Some(policy)
}

/// The bounded minimum over a step's action and how it follows the latent.
fn gain(
    curvature: &DMatrix<f64>,
    slope: &DVector<f64>,
    mixed: &DMatrix<f64>,
    actions: &[f32],
    damping: Damping,
) -> Option<Gain> {
    let size = actions.len();
    let room = |bound: f64| DVector::from_fn(size, |index, _| bound - f64::from(actions[index]));
    let damped = curvature + DMatrix::identity(size, size) * damping.value();
    let quadratic = BoxQuadratic {
        hessian: &damped,
        gradient: slope,
        lower: &room(-1.0),
        upper: &room(1.0),
    };
    let minimum = quadratic.minimise()?;
    let mut feedback = DMatrix::zeros(size, mixed.ncols());
    if let Some(factor) = &minimum.factor {
        let rows = factor.solve(&mixed.select_rows(&minimum.free));
        for (row, &index) in minimum.free.iter().enumerate() {
            feedback.set_row(index, &-rows.row(row));
        }
    }
    Some(Gain {
        open: minimum.point,
        feedback,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shooting::testing::{self, Check, HORIZON, Pendulum, values};

    fn config() -> IlqrConfig {
        IlqrConfig {
            horizon: HORIZON,
            ..IlqrConfig::default()
        }
    }

    #[test]
    fn the_regulator_is_found_in_few_steps() {
        let planner = Ilqr::new(IlqrConfig {
            iterations: 8,
            starts: 1,
            ..config()
        })
        .unwrap();
        Check::of(&planner).misses_at_most(1e-5, &testing::Regulator::inside_the_bounds());
        Check::of(&planner).misses_at_most(1e-5, &testing::Regulator::at_the_bounds());
    }

    #[test]
    fn one_hardly_damped_pass_solves_a_regulator_inside_its_bounds() {
        let planner = Ilqr::new(IlqrConfig {
            iterations: 1,
            candidates: 1,
            starts: 1,
            damping: 1e-9,
            ..config()
        })
        .unwrap();
        Check::of(&planner).misses_at_most(1e-5, &testing::Regulator::inside_the_bounds());
    }

    #[test]
    fn no_step_raises_the_cost_of_a_nonlinear_problem() {
        let pendulum = Pendulum;
        let belief = pendulum.hanging();
        let config = IlqrConfig {
            starts: 1,
            ..config()
        };
        let actions = Tensor::full([1, config.horizon, 1], 0.1, &belief.device());
        let candidates = actions.repeat_dim(0, config.candidates);
        let mut regulator = Regulator::new(&config, &pendulum, &belief, candidates).unwrap();
        let first = regulator.cost;
        for index in 0..10 {
            let before = regulator.cost;
            regulator.iterate(index).unwrap();
            assert!(regulator.cost <= before);
            let actions = regulator.present.actions.clone();
            assert!(values(actions.clone()).iter().all(|a| a.abs() <= 1.0));
            let rollout = roll_out(&pendulum, belief.mean(), actions);
            let scores = Scores::new(&pendulum, &rollout, index).unwrap();
            assert!((scores.costs[0] - regulator.cost).abs() <= 1e-5 * (1.0 + regulator.cost));
        }
        assert!(
            regulator.cost < 0.9 * first,
            "{first} to {}",
            regulator.cost
        );
    }

    #[test]
    fn the_contract_of_planners_is_kept() {
        Check::of(&Ilqr::new(config()).unwrap()).keeps_the_contract();
        let small_chunks = IlqrConfig {
            chunk: 3,
            ..config()
        };
        Check::of(&Ilqr::new(config()).unwrap())
            .plans_the_same_as(&Ilqr::new(small_chunks).unwrap());
    }

    #[test]
    fn settings_outside_their_range_are_named() {
        let refused = |change: fn(&mut IlqrConfig)| {
            let mut config = config();
            change(&mut config);
            Ilqr::new(config).unwrap_err().name
        };
        assert_eq!(refused(|config| config.candidates = 0), "candidates");
        assert_eq!(refused(|config| config.starts = 65), "starts");
        assert_eq!(refused(|config| config.step_lengths = 0), "step_lengths");
        assert_eq!(refused(|config| config.damping = -1.0), "damping");
        assert!(Ilqr::new(IlqrConfig::paper()).is_ok());
    }

    #[test]
    fn step_lengths_go_from_one_to_a_thousandth() {
        let lengths = config().lengths();
        assert_eq!(lengths[0], 1.0);
        testing::assert_near(lengths[7], 1e-3, 1e-8);
        let single = IlqrConfig {
            step_lengths: 1,
            ..config()
        };
        assert_eq!(single.lengths(), [1.0]);
    }
}
