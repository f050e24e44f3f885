use serde::{Deserialize, Serialize};

use super::{GaussNewtonPolish, PlanStart, RelaxedCollocation};
use crate::{
    ConfigError, DualRule, Noise, PlanError,
    solve::{Method, Pool, Problem, Search, sequence},
};

/// Latent collocation as published (Rybkin et al. 2021, algorithm 1): one plan whose latents and actions
/// start from standard normal noise, λ₀ = 1, Gauss–Newton steps and dual ascent; then a polish of the
/// actions it arrives at.
///
/// Four things differ from the published recipe, which by itself comes back with plans that miss the
/// dynamics: multipliers are vectors (augmented Lagrangian), since a penalty alone does not close the
/// gaps; rewards with a [range](crate::LatentModel::reward_range) count by the logarithm of their sum, in
/// place of a residual `softplus(−r)` of each; actions stop at their bounds, without multipliers ν; and they
/// are [polished](GaussNewtonPolish) at the end.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LatcoPaper {
    /// Steps of the plan, T.
    pub horizon: usize,
    /// Plans side by side.
    pub plans: usize,
    /// Largest number of Gauss–Newton steps.
    pub iterations: usize,
    /// λ₀.
    pub multiplier: f64,
    /// The dual rule.
    pub dual: DualRule,
    /// The largest `‖e_t‖²` of a plan that obeys the dynamics, ε.
    pub epsilon: f64,
    /// Steps of the polish at most; 0 leaves it out.
    pub polish: usize,
}

impl Default for LatcoPaper {
    fn default() -> Self {
        Self {
            horizon: 30,
            plans: 1,
            iterations: 200,
            multiplier: 1.0,
            dual: DualRule::Augmented,
            epsilon: 1e-4,
            polish: 100,
        }
    }
}

impl LatcoPaper {
    fn parts(&self) -> Vec<Box<dyn Method>> {
        let mut parts: Vec<Box<dyn Method>> = vec![Box::new(RelaxedCollocation {
            horizon: self.horizon,
            plans: self.plans,
            start: PlanStart::Normal,
            iterations: self.iterations,
            multiplier: self.multiplier,
            dual: self.dual,
            epsilon: self.epsilon,
            ..RelaxedCollocation::default()
        })];
        if self.polish > 0 {
            parts.push(Box::new(GaussNewtonPolish {
                horizon: self.horizon,
                iterations: self.polish,
                ..GaussNewtonPolish::default()
            }));
        }
        parts
    }
}

impl Method for LatcoPaper {
    fn horizon(&self) -> usize {
        self.horizon
    }

    fn set_horizon(&mut self, horizon: usize) {
        self.horizon = horizon;
    }

    fn validate(&self) -> Result<(), ConfigError> {
        self.parts().iter().try_for_each(|part| part.validate())
    }

    fn init<'a>(
        &self,
        problem: &'a Problem<'a>,
        _pool: &Pool,
        noise: &mut Noise,
    ) -> Result<Box<dyn Search + 'a>, PlanError> {
        Ok(sequence(self.parts(), problem, noise))
    }
}
