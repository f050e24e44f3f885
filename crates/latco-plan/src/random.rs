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
            // Environments draw their scenes from the numbers of the seed itself.
            actions: noise.split().uniform(shape, &problem.belief.device()),
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        NoObserver, PlanContext, Planner,
        shooting::testing::{HORIZON, Regulator, solver, values},
    };

    /// An environment that is reset with the planner's seed would show in its actions.
    #[test]
    fn actions_are_not_the_numbers_of_the_seed_itself() {
        let model = Regulator::inside_the_bounds();
        let planner = solver(RandomActionsConfig { horizon: HORIZON });
        let actions = |seed| {
            let mut observer = NoObserver;
            let context = PlanContext::new(seed, &mut observer);
            let plan = planner.plan_with(&model, &model.belief(), context);
            values(plan.unwrap().actions)
        };
        for seed in 0..3 {
            let found = actions(seed);
            let shape = [HORIZON, 2];
            let numbers = Noise::new(seed).uniform(shape, &model.belief().device());
            let numbers = values::<2>(numbers);
            assert!(found.iter().zip(&numbers).all(|(a, b)| a != b));
            assert_eq!(found, actions(seed));
        }
    }
}
