use serde::{Deserialize, Serialize};

use super::{GaussNewton, GaussNewtonConfig};
use crate::{
    Belief, ConfigError, Deadline, LatentModel, Plan, PlanContext, PlanError, Planner,
    shooting::{Cem, CemConfig},
};

/// Settings of collocation started from the cross-entropy method.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CemLatcoConfig {
    /// The search that finds the start.
    pub search: CemConfig,
    /// The refinement.
    pub refinement: GaussNewtonConfig,
}

impl Default for CemLatcoConfig {
    fn default() -> Self {
        Self {
            search: CemConfig {
                samples: 256,
                elites: 32,
                iterations: 5,
                ..CemConfig::default()
            },
            refinement: GaussNewtonConfig {
                plans: 1,
                ..GaussNewtonConfig::default()
            },
        }
    }
}

/// The cross-entropy method, then joint refinement of its latents and actions by Gauss–Newton
/// collocation; the refined plan is kept only where its rollout is better.
///
/// Choose it where rewards are so sparse that collocation from a random start finds none.
#[derive(Clone, Debug)]
pub struct CemLatco {
    search: Cem,
    refinement: GaussNewton,
}

impl CemLatco {
    /// A planner with these settings.
    ///
    /// # Errors
    ///
    /// Names the first setting outside its range; both parts need the same horizon.
    pub fn new(config: CemLatcoConfig) -> Result<Self, ConfigError> {
        ConfigError::require(
            config.search.horizon == config.refinement.horizon,
            "refinement.horizon",
            config.refinement.horizon,
            "the same as search.horizon",
        )?;
        Ok(Self {
            search: Cem::new(config.search)?,
            refinement: GaussNewton::new(config.refinement)?,
        })
    }
}

impl Planner for CemLatco {
    fn name(&self) -> &'static str {
        "cem-latco"
    }

    fn horizon(&self) -> usize {
        self.search.horizon()
    }

    fn plan_with(
        &self,
        model: &dyn LatentModel,
        belief: &Belief,
        context: PlanContext<'_>,
    ) -> Result<Plan, PlanError> {
        let clock = Deadline::start(context.deadline);
        let PlanContext {
            seed,
            deadline,
            warm_start,
            resources,
            observer,
        } = context;
        let search = PlanContext::new(seed, &mut *observer)
            .with_deadline(deadline.map(|limit| limit / 2))
            .with_warm_start(warm_start)
            .with_resources(resources);
        let found = self.search.plan_with(model, belief, search)?;
        if clock.overrun(clock.elapsed()).is_some() {
            return Ok(found.timed(&clock));
        }
        let left = deadline.map(|limit| limit.saturating_sub(clock.elapsed()));
        let refinement = PlanContext::new(seed, &mut *observer)
            .with_deadline(left)
            .with_warm_start(Some((&found, 0)))
            .with_resources(resources);
        let refined = self.refinement.plan_with(model, belief, refinement)?;
        Ok(better(found, refined).timed(&clock))
    }
}

/// The plan with the higher rollout, with the costs of both.
fn better(found: Plan, refined: Plan) -> Plan {
    let model_steps = found.model_steps + refined.model_steps;
    let plan = if refined.rollout.total() > found.rollout.total() {
        refined
    } else {
        found
    };
    Plan {
        model_steps,
        ..plan
    }
}
