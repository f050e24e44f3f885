use burn::tensor::Tensor;
use serde::{Deserialize, Serialize};

use crate::{
    ConfigError, Noise, PlanError, StopReason,
    host::{read, require_finite},
    solve::{Candidate, Method, Pool, Problem, Progress, Search},
};

/// Independent uniform actions, `a_t ~ U[−1, 1)^A`: the baseline that every planner must beat, and what
/// explores before there is a model. They come back whatever else is better.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RandomActionsConfig {
    /// Steps of the plan, T.
    pub horizon: usize,
}

impl Default for RandomActionsConfig {
    fn default() -> Self {
        Self { horizon: 30 }
    }
}

impl Method for RandomActionsConfig {
    fn horizon(&self) -> usize {
        self.horizon
    }

    fn set_horizon(&mut self, horizon: usize) {
        self.horizon = horizon;
    }

    fn validate(&self) -> Result<(), ConfigError> {
        ConfigError::require_positive("horizon", self.horizon)
    }

    fn init<'a>(
        &self,
        problem: &'a Problem<'a>,
        _pool: &Pool,
        noise: &mut Noise,
    ) -> Result<Box<dyn Search + 'a>, PlanError> {
        let shape = [problem.horizon, problem.model.action_size()];
        Ok(Box::new(RandomActions {
            actions: noise.uniform(shape, &problem.belief.device()),
            problem,
        }))
    }
}

struct RandomActions<'a> {
    /// `[horizon, action]`.
    actions: Tensor<2>,
    problem: &'a Problem<'a>,
}

impl Search for RandomActions<'_> {
    fn step(&mut self, pool: &mut Pool) -> Result<Progress, PlanError> {
        let horizon = self.problem.horizon;
        let rollout = self.problem.roll_out(self.actions.clone().unsqueeze_dim(0));
        let rewards = read("reward", rollout.rewards)?;
        require_finite("reward", 0, &rewards, horizon)?;
        pool.model_steps += horizon;
        pool.best = Candidate {
            actions: self.actions.clone(),
            total: rewards.iter().sum(),
        };
        Ok(Progress::of_rollouts(pool, Some(StopReason::Iterations)))
    }

    fn finish(&mut self, pool: &mut Pool) -> Result<(), PlanError> {
        pool.candidates.push(pool.best.clone());
        Ok(())
    }
}
