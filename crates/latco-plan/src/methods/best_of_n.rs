use burn::tensor::Tensor;
use latco_kernels::{join, stack};
use serde::{Deserialize, Serialize};

use crate::{
    ConfigError, Noise, PlanError, Resources, RewardsAlong, StopReason,
    collocation::Rows,
    host::{read, returns, sums},
    shooting::{Chunks, ranked},
    solve::{Method, Pool, Problem, Progress, Search},
    starts::Colouring,
};

/// The best of many rollouts of smooth random actions: no optimisation at all, the baseline of every
/// method that begins with it.
///
/// ```text
/// a^i ~ clip(s C^β, −1, 1),  i = 1 … N
/// ```
///
/// with noise `C^β` of unit variance whose power falls with frequency f as `1 / f^β`. The next search starts from the
/// `kept` sequences of highest return, as many that come nearest to the reward at any one step,
/// `max log r(z_t)`, and as many of highest `Σ log r(z_t)`: a return alone prefers what waits before a
/// wall to what has passed its door and gone too far.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct BestOfN {
    /// Steps of the plan, T.
    pub horizon: usize,
    /// Action sequences rolled out, N.
    pub samples: usize,
    /// Standard deviation of an action, s.
    pub initial_std: f64,
    /// Exponent β of the noise: 0 is white, 2 Brownian.
    pub noise_exponent: f64,
    /// Sequences handed on for each of the three scores.
    pub kept: usize,
}

impl Default for BestOfN {
    fn default() -> Self {
        Self {
            horizon: 30,
            samples: 2048,
            initial_std: 0.7,
            noise_exponent: 2.0,
            kept: 2,
        }
    }
}

/// Sequences that a thread rolls out at once.
const CHUNK: usize = 256;

impl Method for BestOfN {
    fn horizon(&self) -> usize {
        self.horizon
    }

    fn set_horizon(&mut self, horizon: usize) {
        self.horizon = horizon;
    }

    fn validate(&self) -> Result<(), ConfigError> {
        ConfigError::require_positive("horizon", self.horizon)?;
        ConfigError::require_positive("samples", self.samples)?;
        ConfigError::require_positive_real("initial_std", self.initial_std)?;
        ConfigError::require_non_negative("noise_exponent", self.noise_exponent)?;
        ConfigError::require(
            (1..=self.samples).contains(&self.kept),
            "kept",
            self.kept,
            "between 1 and the number of samples",
        )
    }

    fn init<'a>(
        &self,
        problem: &'a Problem<'a>,
        _pool: &Pool,
        noise: &mut Noise,
    ) -> Result<Box<dyn Search + 'a>, PlanError> {
        let device = problem.belief.device();
        let Resources { workers, rows } = problem.resources;
        Ok(Box::new(Screening {
            colouring: Colouring::new(problem.horizon, self.noise_exponent, &device),
            at_once: (CHUNK * workers).max(rows),
            settings: self.clone(),
            noise: noise.split(),
            drawn: Vec::new(),
            scores: Vec::new(),
            problem,
        }))
    }
}

struct Screening<'a> {
    settings: BestOfN,
    noise: Noise,
    colouring: Colouring,
    problem: &'a Problem<'a>,
    /// Sequences of a step, between which there may be a deadline.
    at_once: usize,
    /// `[samples, horizon, action]` of every step.
    drawn: Vec<Tensor<3>>,
    scores: Vec<Scores>,
}

/// What a sequence is worth.
#[derive(Clone, Copy)]
struct Scores {
    /// `Σ r(z_t)`; −∞ where it overflows.
    total: f32,
    /// `max log r(z_t)`.
    nearest: f32,
    /// `Σ log r(z_t)`.
    logs: f32,
}

impl Scores {
    fn overflows(&self) -> bool {
        self.total == f32::NEG_INFINITY
    }
}

impl Screening<'_> {
    fn score(&self, actions: &Tensor<3>) -> Result<Vec<Scores>, PlanError> {
        let model = self.problem.model;
        let chunks = Chunks::new(CHUNK, self.problem.horizon, self.problem.resources);
        let both = |latents: Tensor<2>| {
            let rewards = model.reward(latents.clone());
            stack(vec![rewards, model.log_reward(latents)], 1)
        };
        let of_rewards =
            |along: RewardsAlong| stack(vec![along.rewards.expected, along.logarithms], 1);
        let scores = self.problem.scores(actions, chunks, both, of_rewards)?;
        let horizon = self.problem.horizon;
        let rewards = read("reward", scores.clone().narrow(2, 0, 1))?;
        let is_last = self.scores.len() + actions.dims()[0] >= self.settings.samples;
        // How many sequences a step has depends on the threads: those of one may all overflow.
        let totals = match is_last && self.scores.iter().all(Scores::overflows) {
            true => returns("reward", &rewards, horizon)?,
            false => sums(&rewards, horizon),
        };
        let logs = read("log reward", scores.narrow(2, 1, 1))?;
        let pairs = totals.into_iter().zip(logs.chunks(horizon));
        let scores = pairs.map(|(total, logs)| Scores {
            total,
            nearest: logs.iter().copied().fold(f32::NEG_INFINITY, f32::max),
            logs: logs.iter().sum(),
        });
        Ok(scores.collect())
    }

    /// The sequences that are handed on, best first for each score in turn; none that overflows.
    fn chosen(&self) -> Vec<usize> {
        let mut chosen = Vec::new();
        let scores: [fn(&Scores) -> f32; 3] = [|of| of.total, |of| of.nearest, |of| of.logs];
        for score in scores {
            let values: Vec<f32> = self.scores.iter().map(score).collect();
            let order = ranked(&values, values.len()).into_iter();
            let is_finite = |row: usize| !self.scores[row].overflows();
            let new = order.filter(|row| is_finite(*row) && !chosen.contains(row));
            let new: Vec<_> = new.take(self.settings.kept).collect();
            chosen.extend(new);
        }
        chosen
    }
}

impl Search for Screening<'_> {
    fn step(&mut self, pool: &mut Pool) -> Result<Progress, PlanError> {
        let left = self.settings.samples - self.scores.len();
        let shape = [left.min(self.at_once), self.problem.model.action_size()];
        let actions = self.colouring.draw(shape, &mut self.noise) * self.settings.initial_std;
        let actions = actions.clamp(-1.0, 1.0);
        let scores = self.score(&actions)?;
        let totals: Vec<f32> = scores.iter().map(|scores| scores.total).collect();
        pool.model_steps += totals.len() * self.problem.horizon;
        pool.offer(&actions, &totals);
        self.drawn.push(actions);
        self.scores.extend(scores);
        let is_over = self.scores.len() >= self.settings.samples;
        Ok(Progress::of_rollouts(
            pool,
            is_over.then_some(StopReason::Iterations),
        ))
    }

    fn finish(&mut self, pool: &mut Pool) -> Result<(), PlanError> {
        let chosen = self.chosen();
        if chosen.is_empty() {
            return Ok(());
        }
        let rows = Rows::new(&chosen, &self.problem.belief.device());
        let actions = rows.of(&join(std::mem::take(&mut self.drawn), 0));
        let totals: Vec<f32> = chosen.iter().map(|&row| self.scores[row].total).collect();
        pool.add_candidates(&actions, &totals);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        NoObserver, PlanContext, Planner,
        shooting::testing::{Scalar, solver},
    };

    /// The reward `√−z` is no number where the action was above zero, as half of them are.
    const HALF: Scalar = Scalar {
        mean: Scalar::MOVED,
        reward: |latents| latents.neg().sqrt(),
        action_noise: 0.0,
    };

    /// The last step has one sequence.
    #[test]
    fn a_step_whose_rollouts_all_overflow_stops_no_other() {
        let belief = Scalar::belief();
        let planner = solver(BestOfN {
            horizon: 1,
            samples: CHUNK + 1,
            ..BestOfN::default()
        });
        for seed in 0..16 {
            let mut observer = NoObserver;
            let context = PlanContext::new(seed, &mut observer);
            let plan = planner.plan_with(&HALF, &belief, context).unwrap();
            assert!(plan.rollout.total() > 0.9, "{}", plan.rollout.total());
        }
    }
}
