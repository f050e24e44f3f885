use burn::tensor::{Tensor, TensorData};
use nalgebra::{DMatrix, DVector};
use serde::{Deserialize, Serialize};

use super::{
    ShootingResult,
    adjoint::{Adjoint, plan_major, time_major},
    best::{Best, select_rows},
    box_quadratic::BoxQuadratic,
    damping::{Damping, TRIES},
    scores::{Scores, read_steps},
};
use crate::{
    Belief, ConfigError, Deadline, LatentModel, Noise, Objective, Plan, PlanContext, PlanError,
    Planner, Rollout,
    collocation::Trajectories,
    host::read,
    iterations::{Iterations, Progress},
    planner::check_belief,
    roll_out,
    starts::{Starts, remaining_actions},
};

/// Settings of Gauss–Newton shooting.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct GaussNewtonShootingConfig {
    /// Steps of the plan, T.
    pub horizon: usize,
    /// Starts optimised side by side; the best by return is the plan.
    pub plans: usize,
    /// Largest number of Gauss–Newton steps.
    pub iterations: usize,
    /// Damping of the first step. It grows tenfold with each refused step and shrinks threefold
    /// with each accepted one.
    pub damping: f64,
    /// Standard deviation of the random starts. The first start is the earlier plan, or no action.
    pub initial_std: f64,
    /// Exponent β of the random starts: 0 is white noise, 2 and more is smooth.
    pub noise_exponent: f64,
    /// Stops once no start's cost falls by more than this share in an iteration; 0 stops where
    /// none falls at all.
    pub tolerance: f64,
    /// Starts linearised at once: bounds the memory, not the result.
    pub chunk: usize,
}

impl Default for GaussNewtonShootingConfig {
    fn default() -> Self {
        Self {
            horizon: 30,
            plans: 8,
            iterations: 50,
            damping: 1e-3,
            initial_std: 1.0,
            noise_exponent: 2.0,
            tolerance: 1e-4,
            chunk: 16,
        }
    }
}

impl GaussNewtonShootingConfig {
    fn validate(&self) -> Result<(), ConfigError> {
        ConfigError::require_positive("horizon", self.horizon)?;
        ConfigError::require_positive("plans", self.plans)?;
        ConfigError::require_positive("iterations", self.iterations)?;
        ConfigError::require_positive_real("damping", self.damping)?;
        ConfigError::require_positive_real("initial_std", self.initial_std)?;
        ConfigError::require_non_negative("noise_exponent", self.noise_exponent)?;
        ConfigError::require_non_negative("tolerance", self.tolerance)?;
        ConfigError::require_positive("chunk", self.chunk)
    }
}

/// Gauss–Newton on the actions alone, with the latents always on their rollout.
///
/// ```text
/// min_a ½ Σ ‖ρ(z_t)‖²,     z_{t+1} = μ(z_t, a_t),  |a| ≤ 1
/// da = argmin ½ ‖ρ + J da‖² + ½ δ ‖da‖²   within the bounds,    J = ∂ρ/∂a
/// ```
///
/// It is [collocation's step](crate::collocation::LeastSquares) with infinitely stiff dynamics.
/// `J` is `[residuals · T, action · T]`, from one adjoint sweep that forms no Jacobian of the
/// model; the quadratic over the box is solved by projected Newton steps in double precision on
/// the host. A step is kept only where it lowers the cost of the true rollout, for each start by
/// itself; where it does not, the damping δ rises (Levenberg–Marquardt).
///
/// Choose it where the rollout is well conditioned: short horizons, or models that forget. The
/// plan is the sequence of highest return met on the way.
#[derive(Clone, Debug)]
pub struct GaussNewtonShooting {
    config: GaussNewtonShootingConfig,
}

impl GaussNewtonShooting {
    /// A planner with these settings.
    ///
    /// # Errors
    ///
    /// Names the first setting outside its range.
    pub fn new(config: GaussNewtonShootingConfig) -> Result<Self, ConfigError> {
        config.validate()?;
        Ok(Self { config })
    }
}

impl Planner for GaussNewtonShooting {
    fn name(&self) -> &'static str {
        "shooting-gn"
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
            count: config.plans,
            std: config.initial_std,
            exponent: config.noise_exponent,
        };
        let earlier = remaining_actions(context.warm_start, shape)?;
        let actions = starts.draw(earlier, shape, &mut noise, &belief.device());
        let mut descent = Descent::new(config, model, belief, actions)?;
        let iterations =
            Iterations::run(config.iterations, &deadline, context.observer, |index| {
                descent.iterate(index)
            })?;
        ShootingResult {
            actions: descent.best.actions,
            model_steps: descent.sweeps * config.plans * config.horizon,
            trace: iterations.trace,
            stop: iterations.stop,
        }
        .into_plan(model, belief, &deadline)
    }
}

/// The state of one descent of several starts.
struct Descent<'a> {
    config: &'a GaussNewtonShootingConfig,
    model: &'a dyn LatentModel,
    belief: &'a Belief,
    /// Actions on their rollout.
    present: Trajectories,
    costs: Vec<f64>,
    dampings: Vec<Damping>,
    best: Best,
    /// Times that all plans went through the model.
    sweeps: usize,
}

/// The residuals of one plan linearised in its actions.
struct System {
    /// `JᵀJ`.
    gram: DMatrix<f64>,
    /// `Jᵀρ`.
    gradient: DVector<f64>,
    /// What the bounds leave of room.
    lower: DVector<f64>,
    upper: DVector<f64>,
}

impl System {
    /// From the row-major Jacobian `[residuals · T, action · T]`, its residuals and the actions.
    fn new(jacobian: &[f32], residuals: &[f32], actions: &[f32]) -> Self {
        let columns = actions.len();
        let jacobian = DMatrix::from_row_iterator(
            residuals.len(),
            columns,
            jacobian.iter().copied().map(f64::from),
        );
        let residuals = DVector::from_fn(residuals.len(), |row, _| f64::from(residuals[row]));
        let transposed = jacobian.transpose();
        let room = |bound: f64| DVector::from_fn(columns, |i, _| bound - f64::from(actions[i]));
        Self {
            gradient: &transposed * residuals,
            gram: transposed * jacobian,
            lower: room(-1.0),
            upper: room(1.0),
        }
    }

    /// The step within the bounds; `None` where the damped system is not positive definite.
    fn step(&self, damping: Damping) -> Option<DVector<f64>> {
        let mut hessian = self.gram.clone();
        for index in 0..hessian.nrows() {
            hessian[(index, index)] += damping.value();
        }
        let quadratic = BoxQuadratic {
            hessian: &hessian,
            gradient: &self.gradient,
            lower: &self.lower,
            upper: &self.upper,
        };
        quadratic.minimise().map(|minimum| minimum.point)
    }
}

impl<'a> Descent<'a> {
    fn new(
        config: &'a GaussNewtonShootingConfig,
        model: &'a dyn LatentModel,
        belief: &'a Belief,
        actions: Tensor<3>,
    ) -> Result<Self, PlanError> {
        let rollout = roll_out(model, belief.mean_of(config.plans), actions.clone());
        let scores = Scores::new(model, &rollout, 0)?;
        let mut best = Best::none(actions.clone().narrow(0, 0, 1).squeeze_dim(0));
        best.offer(&actions, &scores.returns);
        Ok(Self {
            dampings: vec![Damping::new(config.damping); config.plans],
            present: Trajectories {
                latents: rollout.latents,
                actions,
            },
            costs: scores.costs,
            sweeps: 1,
            best,
            config,
            model,
            belief,
        })
    }

    /// One accepted step for each start that has one.
    fn iterate(&mut self, index: usize) -> Result<Progress, PlanError> {
        let actions = read("actions", self.present.actions.clone())?;
        let systems = self.linearise(&actions, index)?;
        let mut pending = vec![true; self.config.plans];
        let mut progress = 0.0f64;
        for _ in 0..TRIES {
            let accepted = self.attempt(&systems, &actions, &pending, index)?;
            for (plan, share) in accepted {
                pending[plan] = false;
                progress = progress.max(share);
            }
            if !pending.contains(&true) {
                break;
            }
        }
        Ok(Progress::of_shooting(
            index,
            self.best.total,
            &self.best.actions,
            progress <= self.config.tolerance,
        ))
    }

    /// The linearised residuals of each plan at its present actions.
    fn linearise(&mut self, actions: &[f32], index: usize) -> Result<Vec<System>, PlanError> {
        let [plans, horizon] = self.present.shape();
        self.sweeps += 1;
        let mut systems = Vec::with_capacity(plans);
        for first in (0..plans).step_by(self.config.chunk) {
            let count = self.config.chunk.min(plans - first);
            let rollouts = Trajectories {
                latents: self.present.latents.clone().narrow(0, first, count),
                actions: self.present.actions.clone().narrow(0, first, count),
            };
            let latents = time_major(rollouts.latents.clone());
            let reward = self.model.linearise_reward(latents, Objective::Residuals);
            let adjoint = Adjoint::new(self.model, self.belief.mean_of(count), &rollouts);
            let shape = [count, horizon];
            let jacobians = adjoint.jacobian(reward.jacobian);
            let residuals = plan_major(reward.rewards.residuals, shape);
            let jacobians = read_steps("reward Jacobian", index, jacobians, shape)?;
            let residuals = read_steps("reward residual", index, residuals, shape)?;
            for plan in 0..count {
                systems.push(System::new(
                    part(&jacobians, plan, count),
                    part(&residuals, plan, count),
                    part(actions, first + plan, plans),
                ));
            }
        }
        Ok(systems)
    }

    /// Rolls out the step of each pending plan with its present damping. Keeps those that lower
    /// the cost and returns their places with the share by which it fell; raises the damping of
    /// the others.
    fn attempt(
        &mut self,
        systems: &[System],
        actions: &[f32],
        pending: &[bool],
        index: usize,
    ) -> Result<Vec<(usize, f64)>, PlanError> {
        let plans = systems.len();
        let mut moved = actions.to_vec();
        let size = moved.len() / plans;
        for (plan, row) in moved.chunks_mut(size).enumerate() {
            if !pending[plan] {
                continue;
            }
            let Some(step) = systems[plan].step(self.dampings[plan]) else {
                continue;
            };
            for (action, change) in row.iter_mut().zip(step.iter()) {
                *action = (f64::from(*action) + change).clamp(-1.0, 1.0) as f32;
            }
        }
        let shape = self.present.actions.dims();
        let device = self.belief.device();
        let moved = Tensor::<3>::from_data(TensorData::new(moved, shape), &device);
        let rollout = roll_out(self.model, self.belief.mean_of(plans), moved.clone());
        let scores = Scores::new(self.model, &rollout, index)?;
        self.sweeps += 1;
        self.best.offer(&moved, &scores.returns);
        let mut accepted = Vec::with_capacity(plans);
        for plan in (0..plans).filter(|&plan| pending[plan]) {
            let (before, after) = (self.costs[plan], scores.costs[plan]);
            if after < before {
                accepted.push((plan, (before - after) / before));
                self.costs[plan] = after;
                self.dampings[plan].lower();
            } else {
                self.dampings[plan].raise();
            }
        }
        self.keep(moved, rollout, &accepted);
        Ok(accepted)
    }

    fn keep(&mut self, moved: Tensor<3>, rollout: Rollout, accepted: &[(usize, f64)]) {
        let plans = self.config.plans;
        let mut rows: Vec<usize> = (0..plans).collect();
        for &(plan, _) in accepted {
            rows[plan] += plans;
        }
        let choose = |present: &mut Tensor<3>, candidate: Tensor<3>| {
            *present = select_rows(Tensor::cat(vec![present.clone(), candidate], 0), &rows);
        };
        choose(&mut self.present.actions, moved);
        choose(&mut self.present.latents, rollout.latents);
    }
}

/// The `index`-th of `count` equal parts.
fn part(values: &[f32], index: usize, count: usize) -> &[f32] {
    let size = values.len() / count;
    &values[index * size..][..size]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shooting::testing::{Check, HORIZON, Pendulum, Regulator};

    fn config() -> GaussNewtonShootingConfig {
        GaussNewtonShootingConfig {
            horizon: HORIZON,
            ..GaussNewtonShootingConfig::default()
        }
    }

    #[test]
    fn the_regulator_is_found_in_few_steps() {
        let planner = GaussNewtonShooting::new(GaussNewtonShootingConfig {
            iterations: 8,
            ..config()
        })
        .unwrap();
        Check::of(&planner).misses_at_most(1e-5, &Regulator::inside_the_bounds());
        Check::of(&planner).misses_at_most(1e-5, &Regulator::at_the_bounds());
    }

    #[test]
    fn no_step_raises_the_cost_of_a_nonlinear_problem() {
        let pendulum = Pendulum;
        let belief = pendulum.hanging();
        let config = config();
        let starts = Starts {
            count: config.plans,
            std: 1.0,
            exponent: 2.0,
        };
        let noise = &mut Noise::new(2);
        let actions = starts.draw(None, [config.horizon, 1], noise, &belief.device());
        let mut descent = Descent::new(&config, &pendulum, &belief, actions).unwrap();
        let first = descent.costs.clone();
        for index in 0..10 {
            let before = descent.costs.clone();
            descent.iterate(index).unwrap();
            assert!(before.iter().zip(&descent.costs).all(|(a, b)| b <= a));
            let rollout = roll_out(
                &pendulum,
                belief.mean_of(config.plans),
                descent.present.actions.clone(),
            );
            let scores = Scores::new(&pendulum, &rollout, index).unwrap();
            for (kept, cost) in descent.costs.iter().zip(&scores.costs) {
                assert!((kept - cost).abs() <= 1e-5 * (1.0 + cost));
            }
        }
        assert!(first.iter().zip(&descent.costs).any(|(a, b)| *b < 0.9 * a));
    }

    #[test]
    fn the_contract_of_planners_is_kept() {
        Check::of(&GaussNewtonShooting::new(config()).unwrap()).keeps_the_contract();
        let small_chunks = GaussNewtonShootingConfig {
            chunk: 3,
            ..config()
        };
        Check::of(&GaussNewtonShooting::new(config()).unwrap())
            .plans_the_same_as(&GaussNewtonShooting::new(small_chunks).unwrap());
    }

    #[test]
    fn settings_outside_their_range_are_named() {
        let refused = |change: fn(&mut GaussNewtonShootingConfig)| {
            let mut config = config();
            change(&mut config);
            GaussNewtonShooting::new(config).unwrap_err().name
        };
        assert_eq!(refused(|config| config.plans = 0), "plans");
        assert_eq!(refused(|config| config.damping = 0.0), "damping");
        assert_eq!(refused(|config| config.tolerance = f64::NAN), "tolerance");
    }
}
