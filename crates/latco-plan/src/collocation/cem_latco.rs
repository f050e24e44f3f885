use serde::{Deserialize, Serialize};

use super::GaussNewtonConfig;
use crate::{
    ConfigError, Noise, PlanError,
    shooting::CemConfig,
    solve::{Method, Pool, Problem, Progress, Search},
};

/// The cross-entropy method, then joint refinement of its latents and actions by Gauss–Newton
/// collocation; the refined plan is kept only where its rollout is better.
///
/// The search ends after its iterations, or half of the time where there is a deadline. Choose it where
/// rewards are so sparse that collocation from a random start finds none.
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

/// The share of a deadline after which the refinement begins.
const SEARCHED: f64 = 0.5;

impl Method for CemLatcoConfig {
    fn horizon(&self) -> usize {
        self.search.horizon
    }

    fn set_horizon(&mut self, horizon: usize) {
        self.search.horizon = horizon;
        self.refinement.horizon = horizon;
    }

    fn validate(&self) -> Result<(), ConfigError> {
        ConfigError::require(
            self.search.horizon == self.refinement.horizon,
            "refinement.horizon",
            self.refinement.horizon,
            "the same as search.horizon",
        )?;
        self.search.validate()?;
        self.refinement.validate()
    }

    fn init<'a>(
        &self,
        problem: &'a Problem<'a>,
        pool: &Pool,
        noise: &mut Noise,
    ) -> Result<Box<dyn Search + 'a>, PlanError> {
        let mut noise = noise.take();
        Ok(Box::new(CemLatco {
            present: self.search.init(problem, pool, &mut noise)?,
            refinement: Some(self.refinement.clone()),
            noise,
            problem,
        }))
    }
}

struct CemLatco<'a> {
    present: Box<dyn Search + 'a>,
    /// Until it begins.
    refinement: Option<GaussNewtonConfig>,
    noise: Noise,
    problem: &'a Problem<'a>,
}

impl Search for CemLatco<'_> {
    fn step(&mut self, pool: &mut Pool) -> Result<Progress, PlanError> {
        let mut progress = self.present.step(pool)?;
        let over = progress.stop.is_some() || self.problem.time_spent() >= SEARCHED;
        if let Some(refinement) = self.refinement.take_if(|_| over) {
            // The refinement begins at what the search has found, not at what that began at.
            pool.candidates.clear();
            self.present.finish(pool)?;
            self.present = refinement.init(self.problem, pool, &mut self.noise)?;
            progress.stop = None;
        }
        Ok(progress)
    }

    fn finish(&mut self, pool: &mut Pool) -> Result<(), PlanError> {
        self.present.finish(pool)
    }
}
