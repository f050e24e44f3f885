use burn::tensor::Tensor;
use serde::{Deserialize, Serialize};

use crate::{
    ConfigError, Noise, Objective, PlanError, StopReason,
    adam::AdamSteps,
    collocation::{Rows, Trajectories},
    host::read,
    roll_out,
    shooting::{Adjoint, ranked, time_major},
    solve::{Candidate, Method, Pool, Problem, Progress, Search},
    threads::on_threads,
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
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Smoothing {
    /// Steps of the plan, T.
    pub horizon: usize,
    /// Standard deviation of the noise, s.
    pub noise: f64,
    /// Adam steps.
    pub iterations: usize,
}

impl Default for Smoothing {
    fn default() -> Self {
        Self {
            horizon: 30,
            noise: 0.2,
            iterations: 30,
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
    pub const JUDGES: usize = 32;
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
        ConfigError::require_positive_real("noise", self.noise)
    }

    fn init<'a>(
        &self,
        problem: &'a Problem<'a>,
        _pool: &Pool,
        noise: &mut Noise,
    ) -> Result<Box<dyn Search + 'a>, PlanError> {
        let size = [problem.horizon, problem.model.action_size()];
        let device = problem.belief.device();
        let mut draw = |copies: usize| {
            let half = noise.normal([copies / 2, size[0], size[1]], &device) * self.noise;
            Tensor::cat(vec![half.clone(), half.neg()], 0)
        };
        Ok(Box::new(SmoothAscent {
            disturbances: draw(COPIES),
            judges: draw(Self::JUDGES),
            adam: AdamSteps::new(RATE),
            iterations: self.iterations,
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
    /// `s ξ`, `[copies, horizon, action]`.
    disturbances: Tensor<3>,
    judges: Tensor<3>,
    adam: AdamSteps<3>,
    done: usize,
    /// `[plans, horizon, action]`.
    plans: Option<Tensor<3>>,
    /// The best of the plans that were judged.
    best: Option<Candidate>,
}

/// Every plan with every disturbance, `[plans · copies, horizon, action]`.
fn disturbed(plans: &Tensor<3>, disturbances: &Tensor<3>) -> Tensor<3> {
    let plans = plans.clone().unsqueeze_dim::<4>(1);
    let copies = plans + disturbances.clone().unsqueeze_dim::<4>(0);
    copies.clamp(-1.0, 1.0).flatten(0, 1)
}

impl SmoothAscent<'_> {
    /// `work` on shares of the `actions` `[rows, horizon, action]`, a thread for each; its answers, whose
    /// first axis is that of the rows, one after another.
    fn on_shares<const D: usize>(
        &self,
        actions: &Tensor<3>,
        work: impl Fn(Tensor<3>) -> Result<Tensor<D>, PlanError> + Sync,
    ) -> Result<Tensor<D>, PlanError> {
        let rows = actions.dims()[0];
        let workers = self.problem.resources.workers.clamp(1, rows);
        let shares = (0..workers).map(|worker| {
            let (first, end) = (worker * rows / workers, (worker + 1) * rows / workers);
            actions.clone().narrow(0, first, end - first)
        });
        let answers = on_threads(shares.collect(), work).into_iter();
        Ok(Tensor::cat(answers.collect::<Result<Vec<_>, _>>()?, 0))
    }

    /// The gradient of minus the mean return by the actions, `[plans, horizon, action]`.
    fn descent(&self, plans: &Tensor<3>) -> Result<Tensor<3>, PlanError> {
        let [_, horizon, action] = plans.dims();
        let copies = disturbed(plans, &self.disturbances);
        let gradients = self.on_shares(&copies, |actions| self.gradient(actions))?;
        let gradients = gradients.reshape([-1, COPIES as i32, horizon as i32, action as i32]);
        Ok(gradients.mean_dim(1).squeeze_dim::<3>(1))
    }

    /// The gradient of minus the return by the actions, `[rows, horizon, action]`.
    fn gradient(&self, actions: Tensor<3>) -> Result<Tensor<3>, PlanError> {
        self.problem.check_time()?;
        let model = self.problem.model;
        let start = self.problem.start(actions.dims()[0]);
        let rollouts = Trajectories {
            latents: roll_out(model, start.clone(), actions.clone()).latents,
            actions,
        };
        self.problem.check_time()?;
        let latents = time_major(rollouts.latents.clone());
        let own = model.linearise_reward(latents, Objective::Reward).jacobian;
        let own = own.neg().squeeze_dim::<2>(1);
        Ok(Adjoint::new(model, start, &rollouts).gradient(own))
    }

    /// The mean return of each of the `plans` over the copies that judge them; keeps the best.
    fn judge(&mut self, plans: &Tensor<3>, pool: &mut Pool) -> Result<Vec<f32>, PlanError> {
        let copies = disturbed(plans, &self.judges);
        pool.model_steps += copies.dims()[0] * self.problem.horizon;
        let returns = self.on_shares(&copies, |actions| {
            self.problem.check_time()?;
            Ok(self.problem.roll_out(actions).returns())
        })?;
        let returns = read("return", returns)?;
        let mean = |returns: &[f32]| returns.iter().sum::<f32>() / Smoothing::JUDGES as f32;
        let means: Vec<f32> = returns.chunks(Smoothing::JUDGES).map(mean).collect();
        for (plan, &total) in means.iter().enumerate() {
            if self.best.as_ref().is_none_or(|best| total > best.total) {
                self.best = Some(Candidate {
                    actions: plans.clone().narrow(0, plan, 1).squeeze_dim(0),
                    total,
                });
            }
        }
        Ok(means)
    }

    /// The best of what earlier searches found.
    fn starts(&mut self, pool: &mut Pool) -> Result<Tensor<3>, PlanError> {
        let plans = pool.starts();
        let means = self.judge(&plans, pool)?;
        let rows = Rows::new(&ranked(&means, PLANS), &plans.device());
        Ok(rows.of(&plans))
    }
}

impl Search for SmoothAscent<'_> {
    fn step(&mut self, pool: &mut Pool) -> Result<Progress, PlanError> {
        let plans = match self.plans.take() {
            Some(plans) => plans,
            None => self.starts(pool)?,
        };
        let gradient = self.descent(&plans)?;
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
            self.judge(&plans, pool)?;
        }
        if let Some(best) = self.best.take() {
            pool.choose(best);
        }
        Ok(())
    }
}
