use burn::tensor::Tensor;
use latco_kernels::{join, stack};
use serde::{Deserialize, Serialize};

use crate::{
    ConfigError, Noise, Objective, PlanError, StopReason,
    adam::AdamSteps,
    collocation::{Rows, Trajectories},
    host::read,
    linearisation::gradients_of,
    shooting::{Adjoint, ranked, time_major},
    solve::{Candidate, Method, Pool, Problem, Progress, Search},
    threads::on_shares,
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
/// Smoothing for Stochastic Optimization", 2012). Plans are compared by their mean return over
/// [`JUDGES`](Smoothing::JUDGES) further copies: the best of those that it is given are gone on with, and
/// the best of these and of what became of them is chosen.
///
/// With a penalty β on the [uncertainty](crate::LatentModel::uncertainty) `u(z, a)` of a model that knows
/// it, `r(z_{t+1}) − β u(z_t, a_t)` takes the place of the reward in all of this (Yu et al., "MOPO: Model-based
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

/// Plans that are gone on with.
const PLANS: usize = 3;

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
        ConfigError::require_positive("iterations", self.iterations)?;
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
            iterations: self.iterations,
            penalty: self.uncertainty_penalty,
            done: 0,
            plans: None,
            best: None,
            problem,
        }))
    }
}

struct SmoothAscent<'a> {
    problem: &'a Problem<'a>,
    iterations: usize,
    /// β.
    penalty: f64,
    /// `s ξ`, `[copies, horizon, action]`.
    disturbances: Tensor<3>,
    judges: Tensor<3>,
    adam: AdamSteps<3>,
    done: usize,
    /// `[plans, horizon, action]`.
    plans: Option<Tensor<3>>,
    /// The best of the plans that were judged.
    best: Option<Judged>,
}

/// A plan with its mean return over the copies that judge it, and the mean that it is chosen by.
struct Judged {
    plan: Candidate,
    score: f32,
}

impl SmoothAscent<'_> {
    /// `work` on shares of the `actions` `[rows, horizon, action]`, a thread for each; its answers, whose
    /// first axis is that of the rows, one after another.
    fn on_shares<const D: usize>(
        &self,
        actions: &Tensor<3>,
        work: impl Fn(Tensor<3>) -> Result<Tensor<D>, PlanError> + Sync,
    ) -> Result<Tensor<D>, PlanError> {
        let workers = self.problem.resources.workers;
        let answers = on_shares(actions.dims()[0], workers, |rows| {
            work(actions.clone().narrow(0, rows.start, rows.len()))
        });
        Ok(join(answers?, 0))
    }

    /// The gradient of minus the mean return by the actions, `[plans, horizon, action]`.
    fn descent(&self, plans: &Tensor<3>) -> Result<Tensor<3>, PlanError> {
        let [_, horizon, action] = plans.dims();
        let copies = disturbed(plans, &self.disturbances);
        let gradients = self.on_shares(&copies, |actions| self.gradient(actions))?;
        let gradients = gradients.reshape([-1, COPIES as i32, horizon as i32, action as i32]);
        Ok(gradients.mean_dim(1).squeeze_dim::<3>(1))
    }

    /// The gradient of `−Σ (r − β u)` by the actions, `[rows, horizon, action]`.
    fn gradient(&self, actions: Tensor<3>) -> Result<Tensor<3>, PlanError> {
        self.problem.check_time()?;
        let model = self.problem.model;
        let start = self.problem.start(actions.dims()[0]);
        let rollouts = Trajectories {
            latents: self.problem.latents_along(actions.clone()),
            actions,
        };
        self.problem.check_time()?;
        let latents = time_major(rollouts.latents.clone());
        let own = model.linearise_reward(latents, Objective::Reward).jacobian;
        let own = own.neg().squeeze_dim::<2>(1);
        let adjoint = |own| Adjoint::new(model, start.clone(), &rollouts).gradient(own);
        Ok(match self.penalty_gradient(&rollouts) {
            Some((by_latent, by_action)) => adjoint(own + by_latent) + by_action,
            None => adjoint(own),
        })
    }

    /// The gradient of `β Σ_t u(z_t, a_t)` by the latents of `rollouts`, time-major
    /// `[horizon · rows, latent]`, and by their actions, `[rows, horizon, action]`; `None` without a
    /// penalty.
    fn penalty_gradient(&self, rollouts: &Trajectories) -> Option<(Tensor<2>, Tensor<3>)> {
        if self.penalty == 0.0 {
            return None;
        }
        let [rows, horizon, action] = rollouts.actions.dims();
        let leaf = |values: Tensor<3>| time_major(values).autodiff().require_grad();
        let latents = leaf(rollouts.previous(self.problem.start(rows)));
        let actions = leaf(rollouts.actions.clone());
        let model = self.problem.model;
        let uncertainty = model.uncertainty(latents.clone(), actions.clone())?;
        let cost = uncertainty.sum() * self.penalty;
        let (by_latent, by_action) = gradients_of(cost, &latents, &actions);
        // Row t of the first is of z_t, where z_{t+1} belongs.
        let last = by_latent.clone().narrow(0, 0, rows).zeros_like();
        let by_latent = join(vec![by_latent, last], 0).narrow(0, rows, horizon * rows);
        let by_action = by_action.reshape([horizon, rows, action]).swap_dims(0, 1);
        Some((by_latent, by_action))
    }

    /// `Σ (r − β u)`, which plans are chosen by, and the return, `[rows, 2]`.
    fn scores(&self, actions: Tensor<3>) -> Result<Tensor<2>, PlanError> {
        self.problem.check_time()?;
        let [rows, horizon, _] = actions.dims();
        let rollout = self.problem.roll_out(actions.clone());
        let returns = rollout.returns();
        let trajectories = Trajectories {
            latents: rollout.latents,
            actions,
        };
        let uncertainty = || {
            let before = trajectories.previous(self.problem.start(rows));
            let actions = trajectories.actions.clone().flatten(0, 1);
            let model = self.problem.model;
            let steps = model.uncertainty(before.flatten(0, 1), actions)?;
            Some(
                steps
                    .reshape([rows, horizon])
                    .sum_dim(1)
                    .squeeze_dim::<1>(1),
            )
        };
        let score = match (self.penalty > 0.0).then(uncertainty).flatten() {
            Some(uncertainty) => returns.clone() - uncertainty * self.penalty,
            None => returns.clone(),
        };
        Ok(stack(vec![score, returns], 1))
    }

    /// The mean score of each of the `plans` over the copies that judge them; keeps the best.
    fn judge(&mut self, plans: &Tensor<3>, pool: &mut Pool) -> Result<Vec<f32>, PlanError> {
        let copies = disturbed(plans, &self.judges);
        pool.model_steps += copies.dims()[0] * self.problem.horizon;
        let scores = self.on_shares(&copies, |actions| self.scores(actions))?;
        let scores = scores.reshape([-1, Smoothing::JUDGES as i32, 2]);
        let means = read("return", scores.mean_dim(1))?;
        for (plan, means) in means.chunks(2).enumerate() {
            let &[score, mean_return] = means else { break };
            if self
                .best
                .as_ref()
                .is_none_or(|best| score > best.score || best.score.is_nan())
            {
                let plan = Candidate {
                    actions: plans.clone().narrow(0, plan, 1).squeeze_dim(0),
                    total: mean_return,
                };
                self.best = Some(Judged { plan, score });
            }
        }
        Ok(means.chunks(2).map(|means| means[0]).collect())
    }

    /// The best of what earlier searches found, and of what is left of an earlier plan, which was chosen by its
    /// mean return too.
    fn starts(&mut self, pool: &mut Pool) -> Result<Tensor<3>, PlanError> {
        let earlier = self.problem.earlier.clone();
        let earlier = earlier.map(|actions| actions.unsqueeze_dim(0));
        let plans = earlier.into_iter().chain([pool.starts()]);
        let plans = join(plans.collect(), 0);
        let scores = self.judge(&plans, pool)?;
        let rows = Rows::new(&ranked(&scores, PLANS), &plans.device());
        Ok(rows.of(&plans))
    }
}

impl Search for SmoothAscent<'_> {
    fn step(&mut self, pool: &mut Pool) -> Result<Progress, PlanError> {
        let plans = match self.plans.take() {
            Some(plans) => plans,
            None => self.starts(pool)?,
        };
        let gradient = match self.descent(&plans) {
            Ok(gradient) => gradient,
            Err(error) => {
                self.plans = Some(plans);
                return Err(error);
            }
        };
        let [count, horizon, _] = plans.dims();
        pool.model_steps += 2 * count * COPIES * horizon;
        self.plans = Some(self.adam.step(plans, gradient).clamp(-1.0, 1.0));
        self.done += 1;
        let over = self.done >= self.iterations;
        Ok(Progress::of_rollouts(
            pool,
            over.then_some(StopReason::Iterations),
        ))
    }

    fn finish(&mut self, pool: &mut Pool) -> Result<(), PlanError> {
        if let Some(plans) = self.plans.take() {
            match self.judge(&plans, pool) {
                // The best of those that were judged in time stands.
                Ok(_) | Err(PlanError::Interrupted) => {}
                Err(error) => return Err(error),
            }
        }
        if let Some(best) = self.best.take() {
            pool.choose(best.plan);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_outside_their_range_are_named() {
        let refused = |change: fn(&mut Smoothing)| {
            let mut settings = Smoothing::default();
            change(&mut settings);
            settings.validate().unwrap_err().name
        };
        assert_eq!(refused(|settings| settings.noise = 0.0), "noise");
        assert_eq!(refused(|settings| settings.iterations = 0), "iterations");
    }
}
