use burn::tensor::Tensor;
use serde::{Deserialize, Serialize};

use crate::{
    ConfigError, Noise, Objective, PlanError, StopReason,
    adam::AdamSteps,
    collocation::Trajectories,
    host::read,
    linearisation::gradients_of,
    roll_out,
    shooting::{Adjoint, time_major},
    solve::{Candidate, Method, Pool, Problem, Progress, Search},
    threads::on_threads,
    trust::{self, disturbances, disturbed},
};

/// Randomised smoothing: the mean return over copies of a plan whose actions are disturbed.
///
/// ```text
/// max_a  (1/C) Σ_c Σ_t r(z_t^c),    z_{t+1}^c = μ(z_t^c, clip(a_t + s ξ_t^c, −1, 1))
/// ```
///
/// with white noise ξ that stays the same for a whole plan and comes with its negative (common random
/// numbers, antithetic), by Adam, whose gradients pass through the clip as if it were not there. A model
/// that was learned errs most where an optimiser has gone furthest: a sharp optimum is more often an
/// error of the model than a plan that withstands noise (Duchi, Bartlett & Wainwright, "Randomized
/// Smoothing for Stochastic Optimization", 2012). The plan chosen is the one of highest mean return over
/// [`JUDGES`](Smoothing::JUDGES) further copies, the plans that it began with among them.
///
/// With a penalty β on the [uncertainty](crate::LatentModel::uncertainty) `u(z, a)` of a model that knows
/// it, `r(z_{t+1}) − β u(z_t, a_t)` takes the place of the reward in both (Yu et al., "MOPO: Model-based
/// Offline Policy Optimization", arXiv 2005.13239).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Smoothing {
    /// Steps of the plan, T.
    pub horizon: usize,
    /// Standard deviation of the noise, s.
    pub noise: f64,
    /// Adam steps.
    pub iterations: usize,
    /// Weight of the model's uncertainty, β.
    pub uncertainty_penalty: f64,
}

impl Default for Smoothing {
    fn default() -> Self {
        Self {
            horizon: 30,
            noise: 0.2,
            iterations: 30,
            uncertainty_penalty: 0.0,
        }
    }
}

/// Copies of each plan, in pairs of opposite noise.
const COPIES: usize = 8;

/// Adam's step size.
const RATE: f64 = 0.05;

impl Smoothing {
    /// Copies that plans are chosen by.
    pub const JUDGES: usize = trust::COPIES;
}

impl Method for Smoothing {
    fn horizon(&self) -> usize {
        self.horizon
    }

    fn set_horizon(&mut self, horizon: usize) {
        self.horizon = horizon;
    }

    fn validate(&self) -> Result<(), ConfigError> {
        ConfigError::require_positive("horizon", self.horizon)?;
        ConfigError::require_positive_real("noise", self.noise)?;
        ConfigError::require_non_negative("uncertainty_penalty", self.uncertainty_penalty)
    }

    fn init<'a>(
        &self,
        problem: &'a Problem<'a>,
        _pool: &Pool,
        noise: &mut Noise,
    ) -> Result<Box<dyn Search + 'a>, PlanError> {
        let size = [problem.horizon, problem.model.action_size()];
        let device = problem.belief.device();
        let mut draw = |copies| disturbances(copies, size, self.noise, noise, &device);
        Ok(Box::new(SmoothAscent {
            disturbances: draw(COPIES),
            judges: draw(Self::JUDGES),
            adam: AdamSteps::new(RATE),
            settings: self.clone(),
            done: 0,
            plans: None,
            starts: None,
            problem,
        }))
    }
}

struct SmoothAscent<'a> {
    settings: Smoothing,
    problem: &'a Problem<'a>,
    /// `s ξ`, `[copies, horizon, action]`.
    disturbances: Tensor<3>,
    judges: Tensor<3>,
    adam: AdamSteps<3>,
    done: usize,
    /// `[plans, horizon, action]`.
    plans: Option<Tensor<3>>,
    /// The plans it began with.
    starts: Option<Tensor<3>>,
}

impl SmoothAscent<'_> {
    /// The gradient of minus the mean return by the actions, `[plans, horizon, action]`.
    fn descent(&self, plans: &Tensor<3>) -> Result<Tensor<3>, PlanError> {
        let [count, horizon, action] = plans.dims();
        let workers = self.problem.resources.workers.clamp(1, count);
        let shares = (0..workers).map(|worker| {
            let (first, end) = (worker * count / workers, (worker + 1) * count / workers);
            plans.clone().narrow(0, first, end - first)
        });
        let gradients = on_threads(shares.collect(), |plans: Tensor<3>| {
            self.problem.check_time()?;
            let actions = disturbed(&plans, &self.disturbances);
            let start = self.problem.start(actions.dims()[0]);
            let model = self.problem.model;
            let rollouts = Trajectories {
                latents: roll_out(model, start.clone(), actions.clone()).latents,
                actions,
            };
            self.problem.check_time()?;
            let latents = time_major(rollouts.latents.clone());
            let own = model.linearise_reward(latents, Objective::Reward).jacobian;
            let own = own.neg().squeeze_dim::<2>(1);
            let penalty = self.penalty_gradient(&rollouts, start.clone());
            let own = match &penalty {
                Some((by_latent, _)) => own + by_latent.clone(),
                None => own,
            };
            let gradient = Adjoint::new(model, start, &rollouts).gradient(own);
            let gradient = match penalty {
                Some((_, by_action)) => gradient + by_action,
                None => gradient,
            };
            let copies = gradient.reshape([-1, COPIES as i32, horizon as i32, action as i32]);
            Ok(copies.mean_dim(1).squeeze_dim::<3>(1))
        });
        let gradients = gradients
            .into_iter()
            .collect::<Result<Vec<_>, PlanError>>()?;
        Ok(Tensor::cat(gradients, 0))
    }

    /// The gradient of `β Σ_t u(z_t, a_t)` by the latents of `rollouts` from `start`, time-major
    /// `[horizon · plans, latent]`, and by their actions, `[plans, horizon, action]`; `None` without a
    /// penalty.
    fn penalty_gradient(
        &self,
        rollouts: &Trajectories,
        start: Tensor<2>,
    ) -> Option<(Tensor<2>, Tensor<3>)> {
        if self.settings.uncertainty_penalty == 0.0 {
            return None;
        }
        let latents = time_major(rollouts.previous(start))
            .autodiff()
            .require_grad();
        let actions = time_major(rollouts.actions.clone())
            .autodiff()
            .require_grad();
        let uncertainty = self
            .problem
            .model
            .uncertainty(latents.clone(), actions.clone())?;
        let cost = uncertainty.sum() * self.settings.uncertainty_penalty;
        let (by_latent, by_action) = gradients_of(cost, &latents, &actions);
        // Row t of the first is of z_t, where z_{t+1} belongs.
        let [plans, horizon, action] = rollouts.actions.dims();
        let later = by_latent.clone().narrow(0, plans, (horizon - 1) * plans);
        let last = by_latent.narrow(0, 0, plans).zeros_like();
        let by_action = by_action.reshape([horizon, plans, action]).swap_dims(0, 1);
        Some((Tensor::cat(vec![later, last], 0), by_action))
    }

    /// What each of the `plans` is chosen by, `Σ (r − β u)`, and its return, means over the copies that
    /// judge them.
    fn judge(&self, plans: &Tensor<3>) -> Result<Vec<(f32, f32)>, PlanError> {
        let copies = disturbed(plans, &self.judges);
        let [count, horizon, _] = copies.dims();
        let rollout = self.problem.roll_out(copies.clone());
        let returns = rollout.returns();
        let trajectories = Trajectories {
            latents: rollout.latents,
            actions: copies,
        };
        let penalty = self.settings.uncertainty_penalty;
        let uncertainty = (penalty > 0.0).then(|| {
            let before = trajectories
                .previous(self.problem.start(count))
                .flatten(0, 1);
            let actions = trajectories.actions.flatten(0, 1);
            let steps = self.problem.model.uncertainty(before, actions)?;
            Some(steps.reshape([count, horizon]).sum_dim(1).squeeze_dim(1))
        });
        let scores = match uncertainty.flatten() {
            Some(uncertainty) => returns.clone() - uncertainty * penalty,
            None => returns.clone(),
        };
        let (scores, returns) = (read("return", scores)?, read("return", returns)?);
        let mean = |copies: &[f32]| copies.iter().sum::<f32>() / Smoothing::JUDGES as f32;
        let means =
            |all: Vec<f32>| -> Vec<f32> { all.chunks(Smoothing::JUDGES).map(mean).collect() };
        Ok(means(scores).into_iter().zip(means(returns)).collect())
    }
}

impl Search for SmoothAscent<'_> {
    fn step(&mut self, pool: &mut Pool) -> Result<Progress, PlanError> {
        let plans = match self.plans.take() {
            Some(plans) => plans,
            None => {
                let starts = pool.starts();
                self.starts = Some(starts.clone());
                starts
            }
        };
        let gradient = self.descent(&plans)?;
        let [count, horizon, _] = plans.dims();
        pool.model_steps += 2 * count * COPIES * horizon;
        self.plans = Some(self.adam.step(plans, gradient).clamp(-1.0, 1.0));
        self.done += 1;
        let over = self.done >= self.settings.iterations;
        Ok(Progress::of_rollouts(
            pool,
            over.then_some(StopReason::Iterations),
        ))
    }

    fn finish(&mut self, pool: &mut Pool) -> Result<(), PlanError> {
        let candidates: Vec<_> = self
            .starts
            .take()
            .into_iter()
            .chain(self.plans.take())
            .collect();
        if candidates.is_empty() {
            return Ok(());
        }
        let candidates = Tensor::cat(candidates, 0);
        let means = self.judge(&candidates)?;
        pool.model_steps += means.len() * Smoothing::JUDGES * self.problem.horizon;
        let best = (0..means.len()).max_by(|&a, &b| means[a].0.total_cmp(&means[b].0));
        if let Some(best) = best {
            pool.choose(Candidate {
                actions: candidates.narrow(0, best, 1).squeeze_dim(0),
                total: means[best].1,
            });
        }
        Ok(())
    }
}
