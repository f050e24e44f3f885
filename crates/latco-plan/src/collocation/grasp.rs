use burn::tensor::Tensor;
use serde::{Deserialize, Serialize};

use super::{
    AdamSteps, DualConfig, Initialisation, Measure, Trajectories, Transcription,
    multipliers::Multipliers,
    result::{CollocationResult, LiftedResults},
    start::Start,
    terms::{Problem, Summary},
};
use crate::{
    Belief, ConfigError, Deadline, LatentModel, Noise, Plan, PlanContext, PlanError, Planner,
    iterations::{Iterations, Progress},
    planner::check_belief,
    roll_out,
};

/// Settings of GRASP.
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

impl GraspConfig {
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
}

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
#[derive(Clone, Debug)]
pub struct Grasp {
    config: GraspConfig,
}

impl Grasp {
    /// A planner with these settings.
    ///
    /// # Errors
    ///
    /// Names the first setting outside its range.
    pub fn new(config: GraspConfig) -> Result<Self, ConfigError> {
        config.validate()?;
        Ok(Self { config })
    }
}

impl Planner for Grasp {
    fn name(&self) -> &'static str {
        "grasp"
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
        let config = &self.config;
        let mut noise = Noise::new(context.seed);
        let lifted = Transcription::Deterministic.lift(model, belief, &mut noise)?;
        let problem = Problem {
            model,
            start: belief.mean_of(config.plans),
            transcription: Transcription::Deterministic,
            measure: Measure::Moments,
            constraints: &[],
        };
        let dual = DualConfig {
            dynamics: config.consistency,
            ..DualConfig::default()
        };
        let start = Start {
            shape: [config.plans, config.horizon],
            initialisation: Initialisation::Rollout { std: 0.5 },
            resources: context.resources,
            dual: &dual,
            relaxation: 1.0,
        };
        let (trajectories, multipliers) =
            start.prepare(&problem, belief, context.warm_start, &mut noise)?;
        let mut search = Search {
            latent_steps: AdamSteps::new(config.latent_rate),
            action_steps: AdamSteps::new(config.action_rate),
            model_steps: 0,
            problem: &problem,
            trajectories,
            multipliers,
            config,
        };
        let iterations =
            Iterations::run(config.iterations, &deadline, context.observer, |index| {
                let summary = search.iterate(index, &mut noise)?;
                Ok(Progress {
                    iteration: summary.iteration,
                    actions: search.trajectories.actions.clone(),
                    nodes: Some(search.trajectories.latents.clone()),
                    converged: false,
                })
            })?;
        CollocationResult {
            trajectories: search.trajectories,
            multipliers: search.multipliers,
            model_steps: search.model_steps,
            trace: iterations.trace,
            stop: iterations.stop,
        }
        .into_plan(
            &LiftedResults {
                lifted: &lifted,
                problem: &problem,
                first_node: belief,
            },
            &deadline,
        )
    }
}

/// The state of one search.
struct Search<'a> {
    config: &'a GraspConfig,
    problem: &'a Problem<'a>,
    trajectories: Trajectories,
    multipliers: Multipliers,
    latent_steps: AdamSteps,
    action_steps: AdamSteps,
    model_steps: usize,
}

impl Search<'_> {
    /// One stochastic step, and a synchronisation where one is due.
    fn iterate(&mut self, index: usize, noise: &mut Noise) -> Result<Summary, PlanError> {
        self.relaxed_step();
        let last = index + 1 == self.config.iterations;
        if last || (index + 1).is_multiple_of(self.config.synchronise_every) {
            self.synchronise();
        } else {
            let latents = &mut self.trajectories.latents;
            let drawn = noise.normal(latents.dims(), &latents.device());
            *latents = latents.clone() + drawn * self.config.noise;
        }
        let [plans, horizon] = self.trajectories.shape();
        self.model_steps += plans * horizon;
        let terms = self.problem.terms(&self.trajectories);
        terms.summarise(&self.multipliers, index)
    }

    /// Adam on the relaxed cost, with the dynamics' state input detached.
    fn relaxed_step(&mut self) {
        let leaves = self.trajectories.leaves();
        let Trajectories { latents, actions } = leaves.clone();
        let [plans, horizon, latent] = latents.dims();
        let rows = plans * horizon;
        let previous = self.trajectories.previous(self.problem.start.clone());
        let predicted = self.problem.model.transition_mean(
            previous.reshape([rows, latent]).autodiff(),
            actions.clamp(-1.0, 1.0).flatten(0, 1),
        );
        let planned = latents.reshape([rows, latent]);
        let defects = (planned.clone() - predicted.clone()).square().sum();
        let cost = self.cost_of(planned) + self.cost_of(predicted);
        let mut gradients = (cost + defects * self.config.consistency).backward();
        let gradient = leaves.gradient(&mut gradients);
        let Trajectories { latents, actions } = self.trajectories.clone();
        self.trajectories = Trajectories {
            latents: self.latent_steps.step(latents, gradient.latents),
            actions: self
                .action_steps
                .step(actions, gradient.actions)
                .clamp(-1.0, 1.0),
        };
        self.model_steps += rows;
    }

    /// Improves the actions through the full rollout and puts the latents onto it.
    fn synchronise(&mut self) {
        let start = &self.problem.start;
        let [plans, horizon] = self.trajectories.shape();
        for _ in 0..self.config.rollout_steps {
            let leaves = self.trajectories.leaves();
            let rollout = roll_out(self.problem.model, start.clone(), leaves.actions.clone());
            let cost = self.cost_of(rollout.latents.flatten(0, 1));
            if !cost.is_tracked() {
                // The rollout does not depend on the actions.
                break;
            }
            let gradient = leaves.gradient(&mut cost.backward());
            let actions = self.trajectories.actions.clone();
            self.trajectories.actions = self
                .action_steps
                .step(actions, gradient.actions)
                .clamp(-1.0, 1.0);
            self.model_steps += plans * horizon;
        }
        let actions = self.trajectories.actions.clone();
        self.trajectories.latents = roll_out(self.problem.model, start.clone(), actions).latents;
        self.model_steps += plans * horizon;
    }

    /// `½ Σ ‖ρ(z)‖²` of `[rows, latent]`, `[1]`.
    fn cost_of(&self, latents: Tensor<2>) -> Tensor<1> {
        self.problem.model.reward_residuals(latents).square().sum() * 0.5
    }
}
