use burn::tensor::Tensor;
use serde::{Deserialize, Serialize};

use super::{
    DualConfig, Initialisation, Measure, Trajectories, Transcription,
    multipliers::Multipliers,
    nodes::Nodes,
    relaxed::{Relaxed, Setting},
};
use crate::{
    ConfigError, Noise, Objective, PlanError, StopReason,
    adam::AdamSteps,
    roll_out,
    rollout::latents_along,
    solve::{Method, Pool, Problem, Progress, Search},
};

/// The gradient relaxed stochastic planner, GRASP (arXiv 2602.00475): latents are virtual, noise
/// lets them explore, and no gradient passes through the state input of the dynamics.
///
/// ```text
/// z, a ← Adam step on  Σ ½‖ρ(z_{t+1})‖² + ½‖ρ(m_t)‖² + κ ‖z_{t+1} − m_t‖²,
///        m_t = μ(stop-gradient(z_t), a_t);        z ← z + noise
/// every few steps: Adam steps on a through the full rollout, then z ← rollout of a
/// ```
///
/// Choose it for deep vision models, whose gradients with respect to latents are brittle.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct GraspConfig {
    /// Steps of the plan, T.
    pub horizon: usize,
    /// Starts optimised side by side; the best by rollout is returned.
    pub plans: usize,
    /// Gradient steps on latents and actions.
    pub iterations: usize,
    /// Adam's step size for the actions.
    pub action_rate: f64,
    /// Adam's step size for the latents.
    pub latent_rate: f64,
    /// Standard deviation of the noise added to the latents after each step.
    pub noise: f64,
    /// Weight of the dynamics' squared defects.
    pub consistency: f64,
    /// Iterations between two synchronisations.
    pub synchronise_every: usize,
    /// Gradient steps on the actions alone, through the full rollout, at each synchronisation.
    pub rollout_steps: usize,
}

impl Default for GraspConfig {
    fn default() -> Self {
        Self {
            horizon: 30,
            plans: 4,
            iterations: 200,
            action_rate: 0.05,
            latent_rate: 0.05,
            noise: 0.02,
            consistency: 1.0,
            synchronise_every: 50,
            rollout_steps: 5,
        }
    }
}

impl Method for GraspConfig {
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
        ConfigError::require_positive("synchronise_every", self.synchronise_every)?;
        ConfigError::require_positive_real("action_rate", self.action_rate)?;
        ConfigError::require_positive_real("latent_rate", self.latent_rate)?;
        ConfigError::require_positive_real("consistency", self.consistency)?;
        ConfigError::require_non_negative("noise", self.noise)
    }

    fn init<'a>(
        &self,
        problem: &'a Problem<'a>,
        _pool: &Pool,
        noise: &mut Noise,
    ) -> Result<Box<dyn Search + 'a>, PlanError> {
        let mut noise = noise.take();
        let setting = Setting {
            transcription: Transcription::Deterministic,
            measure: &Measure::Moments,
            objective: Objective::Residuals,
            dual: DualConfig {
                dynamics: self.consistency,
                ..DualConfig::default()
            },
        };
        Ok(Box::new(Grasp {
            relaxed: Relaxed::new(problem, setting, &mut noise)?,
            settings: self.clone(),
            variables: None,
            iteration: 0,
            noise,
        }))
    }
}

/// The search of a batch of plans.
struct Grasp<'a> {
    settings: GraspConfig,
    relaxed: Relaxed<'a>,
    noise: Noise,
    /// Since the first iteration.
    variables: Option<Variables>,
    iteration: usize,
}

/// Where the search is.
struct Variables {
    trajectories: Trajectories,
    multipliers: Multipliers,
    latent_steps: AdamSteps<3>,
    action_steps: AdamSteps<3>,
}

/// The standard deviation of the first actions.
const INITIAL_STD: f64 = 0.5;

impl Grasp<'_> {
    fn begin(&mut self, pool: &mut Pool) -> Result<Variables, PlanError> {
        let GraspConfig {
            plans,
            latent_rate,
            action_rate,
            ..
        } = self.settings;
        let relaxed = &self.relaxed;
        let start = Initialisation::Rollout { std: INITIAL_STD };
        Ok(Variables {
            trajectories: relaxed.first_trajectories(plans, start, pool, &mut self.noise)?,
            multipliers: relaxed.first_multipliers(plans),
            latent_steps: AdamSteps::new(latent_rate),
            action_steps: AdamSteps::new(action_rate),
        })
    }

    /// Whether this iteration ends with a synchronisation.
    fn synchronises(&self) -> bool {
        let done = self.iteration + 1;
        done >= self.settings.iterations || done.is_multiple_of(self.settings.synchronise_every)
    }

    /// Adam on the relaxed cost, with the dynamics' state input detached.
    fn relaxed_step(&self, variables: &mut Variables) {
        let leaves = variables.trajectories.leaves();
        let Trajectories { latents, actions } = leaves.clone();
        let [plans, horizon, latent] = latents.dims();
        let rows = plans * horizon;
        let previous = variables.trajectories.previous(self.relaxed.start(plans));
        let predicted = self.relaxed.model().transition_mean(
            previous.reshape([rows, latent]).autodiff(),
            actions.clamp(-1.0, 1.0).flatten(0, 1),
        );
        let planned = latents.reshape([rows, latent]);
        let defects = (planned.clone() - predicted.clone()).square().sum();
        let cost = self.cost_of(planned) + self.cost_of(predicted);
        let mut gradients = (cost + defects * self.settings.consistency).backward();
        let gradient = leaves.gradient(&mut gradients);
        let Trajectories { latents, actions } = variables.trajectories.clone();
        variables.trajectories = Trajectories {
            latents: variables.latent_steps.step(latents, gradient.latents),
            actions: variables
                .action_steps
                .step(actions, gradient.actions)
                .clamp(-1.0, 1.0),
        };
    }

    /// Improves the actions through the full rollout and puts the latents onto it; how often it was
    /// rolled out.
    fn synchronise(&self, variables: &mut Variables) -> usize {
        let model = self.relaxed.model();
        let [plans, _] = variables.trajectories.shape();
        let start = self.relaxed.start(plans);
        let mut rollouts = 1;
        for _ in 0..self.settings.rollout_steps {
            let leaves = variables.trajectories.leaves();
            let rollout = roll_out(model, start.clone(), leaves.actions.clone());
            let cost = self.cost_of(rollout.latents.flatten(0, 1));
            if !cost.is_tracked() {
                // The rollout does not depend on the actions.
                break;
            }
            let gradient = leaves.gradient(&mut cost.backward());
            let actions = variables.trajectories.actions.clone();
            variables.trajectories.actions = variables
                .action_steps
                .step(actions, gradient.actions)
                .clamp(-1.0, 1.0);
            rollouts += 1;
        }
        let actions = variables.trajectories.actions.clone();
        variables.trajectories.latents = latents_along(model, start, actions);
        rollouts
    }

    /// `½ Σ ‖ρ(z)‖²` of `[rows, latent]`, `[1]`.
    fn cost_of(&self, latents: Tensor<2>) -> Tensor<1> {
        self.relaxed
            .model()
            .reward_residuals(latents)
            .square()
            .sum()
            * 0.5
    }
}

impl Search for Grasp<'_> {
    /// One stochastic step, and a synchronisation where one is due.
    fn step(&mut self, pool: &mut Pool) -> Result<Progress, PlanError> {
        let mut variables = match self.variables.take() {
            Some(variables) => variables,
            None => self.begin(pool)?,
        };
        self.relaxed_step(&mut variables);
        let mut rollouts = 2;
        let synchronises = self.synchronises();
        if synchronises {
            rollouts += self.synchronise(&mut variables);
        } else {
            let latents = &mut variables.trajectories.latents;
            let drawn = self.noise.normal(latents.dims(), &latents.device());
            *latents = latents.clone() + drawn * self.settings.noise;
        }
        self.iteration += 1;
        pool.model_steps += rollouts * self.settings.plans * self.settings.horizon;
        let values = self
            .relaxed
            .lagrangian
            .terms(&variables.trajectories)
            .read()?;
        let summary = values.summarise(&variables.multipliers)?;
        if synchronises {
            pool.offer(&variables.trajectories.actions, &values.totals());
        }
        let over = self.iteration >= self.settings.iterations;
        let stop = over.then_some(StopReason::Iterations);
        let progress = summary.progress(&variables.trajectories, stop);
        self.variables = Some(variables);
        Ok(progress)
    }

    fn finish(&mut self, pool: &mut Pool) -> Result<(), PlanError> {
        let variables = self.variables.take();
        let found = variables.map(|variables| {
            let multipliers = variables.multipliers;
            (variables.trajectories, move |plan: usize| {
                multipliers.of_dynamics(plan)
            })
        });
        self.relaxed.finish(found, pool)
    }
}
