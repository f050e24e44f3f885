use burn::tensor::Tensor;
use latco_kernels::{FusedAdam, join};
use serde::{Deserialize, Serialize};

use super::{
    adjoint::{Adjoint, time_major},
    best::Best,
};
use crate::{
    ConfigError, Noise, Objective, PlanError, Rollout, StopReason,
    adam::AdamSteps,
    collocation::Trajectories,
    host::{read, require_finite_steps, returns},
    solve::{Method, Pool, Problem, Progress, Search},
    starts::Starts,
};

/// Gradient ascent on the actions through the rolled-out model, with Adam (Kingma & Ba, arXiv
/// 1412.6980).
///
/// ```text
/// a ← clip(a + Adam step of ∂J/∂a, −1, 1)
/// J = Σ r(z_t),  Σ log r(z_t)  or  −½ Σ ‖ρ(z_t)‖²,     z_{t+1} = μ(z_t, a_t)
/// ```
///
/// The gradient is one adjoint sweep over the model's
/// [`Linearisation`](crate::Linearisation), whose memory grows with `chunk` times the horizon.
/// Steps are clipped to the bounds rather than squashed by a tanh, whose gradient vanishes where
/// bounds are active.
///
/// Choose it for models that are smooth over the horizon; several starts make up for local optima.
/// [`GaussNewtonPolish`](crate::methods::GaussNewtonPolish) needs far fewer iterations. The plan is the
/// sequence of highest return met on the way.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct GradientShootingConfig {
    /// Steps of the plan, T.
    pub horizon: usize,
    /// Starts optimised side by side; the best by return is the plan.
    pub plans: usize,
    /// Largest number of Adam steps.
    pub iterations: usize,
    /// Adam's step size at the start; it falls linearly to a tenth.
    pub learning_rate: f64,
    /// What is maximised. Adam does not mind how small a slope is, so that the reward itself, the
    /// default, serves even where it is nearly flat.
    pub objective: Objective,
    /// Standard deviation of the random starts. The first start is the earlier plan, or no action.
    pub initial_std: f64,
    /// Exponent β of the random starts: 0 is white noise, 2 and more is smooth.
    pub noise_exponent: f64,
    /// Stops once no action of any start moves by more than this in an iteration; 0 never does.
    pub tolerance: f64,
    /// Starts differentiated at once: bounds the memory, not the result.
    pub chunk: usize,
}

impl Default for GradientShootingConfig {
    fn default() -> Self {
        Self {
            horizon: 30,
            plans: 8,
            iterations: 100,
            learning_rate: 0.1,
            objective: Objective::Reward,
            initial_std: 0.7,
            noise_exponent: 2.0,
            tolerance: 1e-4,
            chunk: 64,
        }
    }
}

impl Method for GradientShootingConfig {
    fn horizon(&self) -> usize {
        self.horizon
    }

    fn set_horizon(&mut self, horizon: usize) {
        self.horizon = horizon;
    }

    fn validate(&self) -> Result<(), ConfigError> {
        ConfigError::require_positive("horizon", self.horizon)?;
        ConfigError::require_positive("plans", self.plans)?;
        ConfigError::require_positive("iterations", self.iterations)?;
        ConfigError::require_positive_real("learning_rate", self.learning_rate)?;
        ConfigError::require_positive_real("initial_std", self.initial_std)?;
        ConfigError::require_non_negative("noise_exponent", self.noise_exponent)?;
        ConfigError::require_non_negative("tolerance", self.tolerance)?;
        ConfigError::require_positive("chunk", self.chunk)
    }

    fn init<'a>(
        &self,
        problem: &'a Problem<'a>,
        _pool: &Pool,
        noise: &mut Noise,
    ) -> Result<Box<dyn Search + 'a>, PlanError> {
        let starts = Starts {
            count: self.plans,
            std: self.initial_std,
            exponent: self.noise_exponent,
        };
        let shape = [problem.horizon, problem.model.action_size()];
        let device = problem.belief.device();
        let actions = starts.draw(problem.earlier.clone(), shape, noise, &device);
        Ok(Box::new(GradientShooting {
            best: Best::none(actions.clone().narrow(0, 0, 1).squeeze_dim(0)),
            adam: AdamSteps::of(FusedAdam::new(1e-8), self.learning_rate),
            settings: self.clone(),
            iteration: 0,
            actions,
            problem,
        }))
    }
}

/// The ascent of several starts.
struct GradientShooting<'a> {
    settings: GradientShootingConfig,
    problem: &'a Problem<'a>,
    iteration: usize,
    /// `[plans, horizon, action]`.
    actions: Tensor<3>,
    adam: AdamSteps<3>,
    best: Best,
}

impl GradientShooting<'_> {
    /// Moves the actions against `descent` `[plans, horizon, action]`; by how much at most. A plan whose slope
    /// is not finite is lost, and stops no other.
    fn descend(&mut self, descent: Tensor<3>) -> Result<f32, PlanError> {
        let GradientShootingConfig {
            learning_rate,
            iterations,
            plans,
            ..
        } = self.settings;
        let share = self.iteration as f64 / iterations as f64;
        self.adam.set_rate(learning_rate * (1.0 - 0.9 * share));
        let moved = self.adam.step(self.actions.clone(), descent.clone());
        let moved = moved.clamp(-1.0, 1.0);
        let change = (moved.clone() - self.actions.clone()).abs();
        let both = join(vec![descent, change], 0);
        let values = read("gradient", both)?;
        let (slopes, changes) = values.split_at(values.len() / 2);
        let is_lost = |slopes: &[f32]| slopes.iter().any(|slope| !slope.is_finite());
        if slopes.chunks(slopes.len() / plans).all(is_lost) {
            let shape = [plans, self.problem.horizon];
            require_finite_steps("gradient", self.iteration, slopes, shape)?;
        }
        self.actions = moved;
        Ok(changes.iter().copied().fold(0.0, f32::max))
    }

    /// The rollouts of the present actions, whose returns are offered.
    fn score(&mut self, pool: &mut Pool) -> Result<Rollout, PlanError> {
        let rollout = self.problem.roll_out(self.actions.clone());
        let rewards = read("reward", rollout.rewards.clone())?;
        let horizon = self.problem.horizon;
        let totals = returns("reward", &rewards, horizon)?;
        pool.model_steps += self.settings.plans * horizon;
        pool.offer(&self.actions, &totals);
        self.best.offer(&self.actions, &totals);
        Ok(rollout)
    }

    /// `−∂J/∂a`, `[plans, horizon, action]`, at the rollouts `latents`.
    fn descent(&self, latents: &Tensor<3>) -> Tensor<3> {
        let GradientShootingConfig { plans, chunk, .. } = self.settings;
        let chunks = (0..plans).step_by(chunk).map(|first| {
            let count = chunk.min(plans - first);
            let rollouts = Trajectories {
                latents: latents.clone().narrow(0, first, count),
                actions: self.actions.clone().narrow(0, first, count),
            };
            let own = self.descent_by_latents(time_major(rollouts.latents.clone()));
            let start = self.problem.start(count);
            Adjoint::new(self.problem.model, start, &rollouts).gradient(own)
        });
        join(chunks.collect(), 0)
    }

    /// The derivative of `−J` by the latents of each point by itself, `[points, latent]`.
    fn descent_by_latents(&self, latents: Tensor<2>) -> Tensor<2> {
        let objective = self.settings.objective;
        let reward = self.problem.model.linearise_reward(latents, objective);
        match objective {
            Objective::Reward | Objective::LogReward => reward.jacobian.neg().squeeze_dim(1),
            Objective::Residuals => {
                let residuals = reward.rewards.residuals.unsqueeze_dim::<3>(1);
                residuals.matmul(reward.jacobian).squeeze_dim(1)
            }
        }
    }
}

impl Search for GradientShooting<'_> {
    /// Scores the present actions, then moves them.
    fn step(&mut self, pool: &mut Pool) -> Result<Progress, PlanError> {
        let rollout = self.score(pool)?;
        pool.model_steps += self.settings.plans * self.problem.horizon;
        let furthest = self.descend(self.descent(&rollout.latents))?;
        self.iteration += 1;
        let stop = if f64::from(furthest) < self.settings.tolerance {
            Some(StopReason::Converged)
        } else {
            (self.iteration >= self.settings.iterations).then_some(StopReason::Iterations)
        };
        Ok(Progress::of_rollouts(pool, stop))
    }

    /// The last move counts too.
    fn finish(&mut self, pool: &mut Pool) -> Result<(), PlanError> {
        if self.iteration > 0 && self.problem.check_time().is_ok() {
            self.score(pool)?;
        }
        self.best.add_to(pool);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use burn::tensor::Device;

    use super::*;
    use crate::{
        Planner,
        shooting::testing::{Check, HORIZON, Regulator, Scalar, solver},
    };

    fn config() -> GradientShootingConfig {
        GradientShootingConfig {
            horizon: HORIZON,
            ..GradientShootingConfig::default()
        }
    }

    /// The last move is scored too: that of one iteration is its only one.
    #[test]
    fn one_iteration_is_an_improvement() {
        let model = Regulator::inside_the_bounds();
        let total = |iterations| {
            let config = GradientShootingConfig {
                iterations,
                plans: 1,
                learning_rate: 0.05,
                ..config()
            };
            let plan = solver(config).plan(&model, &model.belief()).unwrap();
            plan.rollout.total()
        };
        let idle = {
            let actions = Tensor::zeros([1, HORIZON, 2], &Device::default());
            let rollout = crate::roll_out(&model, model.belief().mean(), actions);
            rollout.rewards.sum().into_scalar::<f32>()
        };
        assert!(total(1) > idle, "{} {idle}", total(1));
    }

    /// Paid the most for being at 1; beyond 4 the reward is no number.
    const CLIFF: Scalar = Scalar {
        mean: Scalar::MOVED,
        reward: |latents| {
            let missed = (latents.neg() + 4.0).sqrt() - 3.0_f64.sqrt();
            missed.square().neg()
        },
        action_noise: 0.0,
    };

    /// Among so many starts some go beyond the cliff.
    #[test]
    fn a_start_that_overflows_stops_no_other() {
        let planner = solver(GradientShootingConfig {
            plans: 256,
            iterations: 20,
            learning_rate: 0.01,
            ..config()
        });
        let plan = planner.plan(&CLIFF, &Scalar::belief()).unwrap();
        let idle = -(HORIZON as f32) * (2.0 - 3.0_f32.sqrt()).powi(2);
        assert!(plan.rollout.total() > idle, "{}", plan.rollout.total());
    }

    #[test]
    fn the_regulator_is_found_with_either_objective() {
        for objective in [Objective::Reward, Objective::Residuals] {
            let planner = solver(GradientShootingConfig {
                objective,
                iterations: 300,
                learning_rate: 0.05,
                ..config()
            });
            Check::of(&planner).misses_at_most(1e-4, &Regulator::inside_the_bounds());
            Check::of(&planner).misses_at_most(1e-4, &Regulator::at_the_bounds());
        }
    }

    #[test]
    fn the_contract_of_planners_is_kept() {
        Check::of(&solver(config())).keeps_the_contract();
        let small_chunks = GradientShootingConfig {
            chunk: 3,
            ..config()
        };
        Check::of(&solver(config())).plans_the_same_as(&solver(small_chunks));
    }

    #[test]
    fn settings_outside_their_range_are_named() {
        let refused = |change: fn(&mut GradientShootingConfig)| {
            let mut config = config();
            change(&mut config);
            config.validate().unwrap_err().name
        };
        assert_eq!(refused(|config| config.plans = 0), "plans");
        assert_eq!(
            refused(|config| config.learning_rate = 0.0),
            "learning_rate"
        );
        assert_eq!(refused(|config| config.chunk = 0), "chunk");
    }
}
