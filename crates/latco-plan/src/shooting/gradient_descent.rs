use burn::{
    optim::{Adam, AdamConfig, AdamState, Optimizer},
    tensor::Tensor,
};
use serde::{Deserialize, Serialize};

use super::{
    ShootingResult,
    adjoint::{Adjoint, time_major},
    best::Best,
    scores::{Scores, read_steps},
};
use crate::{
    Belief, ConfigError, Deadline, LatentModel, Noise, Objective, Plan, PlanContext, PlanError,
    Planner,
    collocation::Trajectories,
    iterations::{Iterations, Progress},
    planner::check_belief,
    roll_out,
    starts::{Starts, remaining_actions},
};

/// Settings of shooting with Adam.
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

impl GradientShootingConfig {
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
}

/// Gradient ascent on the actions through the rolled-out model, with Adam (Kingma & Ba, arXiv
/// 1412.6980).
///
/// ```text
/// a ← clip(a + Adam step of ∂J/∂a, −1, 1)
/// J = Σ r(z_t)  or  −½ Σ ‖ρ(z_t)‖²,     z_{t+1} = μ(z_t, a_t)
/// ```
///
/// The gradient is one adjoint sweep over the model's
/// [`Linearisation`](crate::Linearisation), whose memory grows with `chunk` times the horizon.
/// Steps are clipped to the bounds rather than squashed by a tanh, whose gradient vanishes where
/// bounds are active.
///
/// Choose it for models that are smooth over the horizon; several starts make up for local optima.
/// [`GaussNewtonShooting`](super::GaussNewtonShooting) needs far fewer iterations. The plan is the
/// sequence of highest return met on the way.
#[derive(Clone, Debug)]
pub struct GradientShooting {
    config: GradientShootingConfig,
}

impl GradientShooting {
    /// A planner with these settings.
    ///
    /// # Errors
    ///
    /// Names the first setting outside its range.
    pub fn new(config: GradientShootingConfig) -> Result<Self, ConfigError> {
        config.validate()?;
        Ok(Self { config })
    }
}

impl Planner for GradientShooting {
    fn name(&self) -> &'static str {
        "shooting-gd"
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
        let mut ascent = Ascent::new(config, model, belief, actions);
        let iterations =
            Iterations::run(config.iterations, &deadline, context.observer, |index| {
                ascent.iterate(index)
            })?;
        ShootingResult {
            actions: ascent.best.actions,
            model_steps: 2 * iterations.trace.len() * config.plans * config.horizon,
            trace: iterations.trace,
            stop: iterations.stop,
        }
        .into_plan(model, belief, &deadline)
    }
}

/// The state of one ascent of several starts.
struct Ascent<'a> {
    config: &'a GradientShootingConfig,
    model: &'a dyn LatentModel,
    belief: &'a Belief,
    /// `[plans, horizon, action]`.
    actions: Tensor<3>,
    adam: Adam,
    state: Option<AdamState<3>>,
    best: Best,
}

impl<'a> Ascent<'a> {
    fn new(
        config: &'a GradientShootingConfig,
        model: &'a dyn LatentModel,
        belief: &'a Belief,
        actions: Tensor<3>,
    ) -> Self {
        Self {
            best: Best::none(actions.clone().narrow(0, 0, 1).squeeze_dim(0)),
            adam: AdamConfig::new().with_epsilon(1e-8).build(),
            state: None,
            actions,
            config,
            model,
            belief,
        }
    }

    /// Scores the present actions, then moves them.
    fn iterate(&mut self, index: usize) -> Result<Progress, PlanError> {
        let config = self.config;
        let start = self.belief.mean_of(config.plans);
        let rollout = roll_out(self.model, start, self.actions.clone());
        let scores = Scores::new(self.model, &rollout, index)?;
        self.best.offer(&self.actions, &scores.returns);
        let descent = self.descent(&rollout.latents);
        let share = index as f64 / config.iterations as f64;
        let rate = config.learning_rate * (1.0 - 0.9 * share);
        let state = self.state.take();
        let (moved, state) = self
            .adam
            .step(rate, self.actions.clone(), descent.clone(), state);
        self.state = state;
        let moved = moved.clamp(-1.0, 1.0);
        let change = (moved.clone() - self.actions.clone()).abs();
        let both = Tensor::cat(vec![descent, change], 0);
        let values = read_steps("gradient", index, both, [2 * config.plans, config.horizon])?;
        self.actions = moved;
        let furthest = values[values.len() / 2..]
            .iter()
            .copied()
            .fold(0.0, f32::max);
        Ok(Progress::of_shooting(
            index,
            self.best.total,
            &self.best.actions,
            f64::from(furthest) < config.tolerance,
        ))
    }

    /// `−∂J/∂a`, `[plans, horizon, action]`, at the rollouts `latents`.
    fn descent(&self, latents: &Tensor<3>) -> Tensor<3> {
        let plans = self.config.plans;
        let chunks = (0..plans).step_by(self.config.chunk).map(|first| {
            let count = self.config.chunk.min(plans - first);
            let rollouts = Trajectories {
                latents: latents.clone().narrow(0, first, count),
                actions: self.actions.clone().narrow(0, first, count),
            };
            let own = self.descent_by_latents(time_major(rollouts.latents.clone()));
            Adjoint::new(self.model, self.belief.mean_of(count), &rollouts).gradient(own)
        });
        Tensor::cat(chunks.collect(), 0)
    }

    /// The derivative of `−J` by the latents of each point by itself, `[points, latent]`.
    fn descent_by_latents(&self, latents: Tensor<2>) -> Tensor<2> {
        let objective = self.config.objective;
        let reward = self.model.linearise_reward(latents, objective);
        match objective {
            Objective::Reward => reward.jacobian.neg().squeeze_dim(1),
            Objective::Residuals => {
                let residuals = reward.rewards.residuals.unsqueeze_dim::<3>(1);
                residuals.matmul(reward.jacobian).squeeze_dim(1)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shooting::testing::{Check, HORIZON, Regulator};

    fn config() -> GradientShootingConfig {
        GradientShootingConfig {
            horizon: HORIZON,
            ..GradientShootingConfig::default()
        }
    }

    #[test]
    fn the_regulator_is_found_with_either_objective() {
        for objective in [Objective::Reward, Objective::Residuals] {
            let planner = GradientShooting::new(GradientShootingConfig {
                objective,
                iterations: 300,
                learning_rate: 0.05,
                ..config()
            })
            .unwrap();
            Check::of(&planner).misses_at_most(1e-4, &Regulator::inside_the_bounds());
            Check::of(&planner).misses_at_most(1e-4, &Regulator::at_the_bounds());
        }
    }

    #[test]
    fn the_contract_of_planners_is_kept() {
        Check::of(&GradientShooting::new(config()).unwrap()).keeps_the_contract();
        let small_chunks = GradientShootingConfig {
            chunk: 3,
            ..config()
        };
        Check::of(&GradientShooting::new(config()).unwrap())
            .plans_the_same_as(&GradientShooting::new(small_chunks).unwrap());
    }

    #[test]
    fn settings_outside_their_range_are_named() {
        let refused = |change: fn(&mut GradientShootingConfig)| {
            let mut config = config();
            change(&mut config);
            GradientShooting::new(config).unwrap_err().name
        };
        assert_eq!(refused(|config| config.plans = 0), "plans");
        assert_eq!(
            refused(|config| config.learning_rate = 0.0),
            "learning_rate"
        );
        assert_eq!(refused(|config| config.chunk = 0), "chunk");
    }
}
