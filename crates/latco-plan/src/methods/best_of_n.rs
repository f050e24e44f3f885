use burn::tensor::Tensor;
use serde::{Deserialize, Serialize};

use crate::{
    ConfigError, Noise, PlanError, StopReason,
    collocation::Rows,
    host::read,
    shooting::Chunks,
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
/// with noise `C^β` of unit variance whose power falls with frequency f as `1 / f^β`. It hands on the
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
        Ok(Box::new(Screening {
            settings: self.clone(),
            noise: noise.split(),
            kept: None,
            problem,
        }))
    }
}

struct Screening<'a> {
    settings: BestOfN,
    noise: Noise,
    problem: &'a Problem<'a>,
    /// `[kept, horizon, action]` and their returns.
    kept: Option<(Tensor<3>, Vec<f32>)>,
}

impl Search for Screening<'_> {
    fn step(&mut self, pool: &mut Pool) -> Result<Progress, PlanError> {
        let problem = self.problem;
        let BestOfN {
            samples,
            initial_std,
            noise_exponent,
            kept,
            ..
        } = self.settings;
        let device = problem.belief.device();
        let colouring = Colouring::new(problem.horizon, noise_exponent, &device);
        let shape = [samples, problem.model.action_size()];
        let actions = colouring.draw(shape, &mut self.noise) * initial_std;
        let actions = actions.clamp(-1.0, 1.0);
        let chunks = Chunks::new(CHUNK, problem.resources);
        let both = |latents: Tensor<2>| {
            let rewards = problem.model.reward(latents.clone());
            Tensor::stack::<2>(vec![rewards, problem.model.log_reward(latents)], 1)
        };
        let scores = problem.scores(&actions, chunks, both)?;
        pool.model_steps += samples * problem.horizon;
        let sums = scores.clone().sum_dim(1).squeeze_dim::<2>(1);
        let nearest = scores.narrow(2, 1, 1).max_dim(1).squeeze_dim::<2>(1);
        let values = read("reward", Tensor::cat(vec![sums, nearest], 1))?;
        let column = |column: usize| values.iter().skip(column).step_by(3).copied().collect();
        let [returns, logs, nearest]: [Vec<f32>; 3] = [column(0), column(1), column(2)];
        pool.offer(&actions, &returns);
        let mut chosen = Vec::new();
        for score in [&returns, &nearest, &logs] {
            let order = ranked(score, samples).into_iter();
            let new: Vec<_> = order
                .filter(|row| !chosen.contains(row))
                .take(kept)
                .collect();
            chosen.extend(new);
        }
        let totals = chosen.iter().map(|&row| returns[row]).collect();
        self.kept = Some((Rows::new(&chosen, &device).of(&actions), totals));
        Ok(Progress::of_rollouts(pool, Some(StopReason::Iterations)))
    }

    fn finish(&mut self, pool: &mut Pool) -> Result<(), PlanError> {
        if let Some((actions, totals)) = self.kept.take() {
            pool.hand_on(&actions, &totals);
        }
        Ok(())
    }
}

/// The places of the `count` largest numbers, the largest first; what is not a number is last.
fn ranked(values: &[f32], count: usize) -> Vec<usize> {
    let number = |index: usize| match values[index].is_nan() {
        true => f32::NEG_INFINITY,
        false => values[index],
    };
    let mut order: Vec<usize> = (0..values.len()).collect();
    order.sort_by(|&a, &b| number(b).total_cmp(&number(a)));
    order.truncate(count);
    order
}
