use serde::{Deserialize, Serialize};

use crate::{
    Belief, ConfigError, Deadline, LatentModel, Noise, Plan, PlanContext, PlanError, Planner,
    StopReason, planner::check_belief, shooting::ShootingResult,
};

/// Settings of random actions.
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

/// Independent uniform actions, `a_t ~ U[−1, 1)^A`: the baseline that every planner must beat.
#[derive(Clone, Debug)]
pub struct RandomActions {
    config: RandomActionsConfig,
}

impl RandomActions {
    /// A planner with these settings.
    ///
    /// # Errors
    ///
    /// If the horizon is zero.
    pub fn new(config: RandomActionsConfig) -> Result<Self, ConfigError> {
        ConfigError::require_positive("horizon", config.horizon)?;
        Ok(Self { config })
    }
}

impl Planner for RandomActions {
    fn name(&self) -> &'static str {
        "random"
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
        let shape = [self.config.horizon, model.action_size()];
        ShootingResult {
            actions: Noise::new(context.seed).uniform(shape, &belief.device()),
            trace: Vec::new(),
            stop: StopReason::Converged,
            model_steps: 0,
        }
        .into_plan(model, belief, &deadline)
    }
}
