use serde::{Deserialize, Serialize};

use super::{BestOfN, GaussNewtonPolish, PlanStart, RelaxedCollocation, Smoothing};
use crate::{
    ConfigError, DualRule, Noise, Plan, PlanError, Surrogate,
    solve::{Method, Pool, Problem, Search, sequence},
};

/// Latent collocation as this library does it, the default.
///
/// 1. *Starts*: the [best of many rollouts](BestOfN) of smooth random actions, by three scores.
/// 2. *Goals*: latents of high reward are found without dynamics, plans lead straight to them, and
///    [relaxed collocation](RelaxedCollocation) pulls them onto the dynamics. Where no rollout comes near
///    the reward, this finds it.
/// 3. *Polish*: [Gauss–Newton shooting](GaussNewtonPolish) on all of these, the worse given up by and by.
/// 4. *Smoothing*, of models that are not exact ([`LatentModel::action_noise`]): the
///    [mean return over disturbed copies](Smoothing) is maximised, and the plan chosen by it. The polish
///    before it is short, and there are no goals: latents that no rollout has come near are where a
///    learned model is wrong.
///
/// What comes back is the best rollout ever seen, or the plan that the smoothing chose. A replan after
/// less than a tenth of the earlier plan goes on from that plan alone, as long as what is left of it still leads
/// to nine tenths of what it promised.
///
/// [`LatentModel::action_noise`]: crate::LatentModel::action_noise
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Latco {
    /// Steps of the plan, T.
    pub horizon: usize,
    /// Plans that lead to goals, of exact models; 0 leaves them out.
    pub plans: usize,
    /// Random action sequences rolled out; 0 leaves them out.
    pub samples: usize,
    /// Largest number of Gauss–Newton steps, of the relaxed plans and of the polish each; before a smoothing 12
    /// at most.
    pub iterations: usize,
    /// λ of relaxed plans at the start, of exact models as the two that follow.
    pub multiplier: f64,
    /// How relaxed plans are pulled onto the dynamics.
    pub dual: DualRule,
    /// The largest `‖e_t‖²` of a plan that obeys the dynamics, ε.
    pub epsilon: f64,
    /// What Gauss–Newton steps minimise.
    pub surrogate: Surrogate,
    /// How much noise plans should withstand, as a multiple of the model's action noise; 0 takes the steps of
    /// an exact model, goals and a long polish in place of the smoothing. What is minimised is still the
    /// `surrogate`'s choice.
    pub noise_scale: f64,
    /// Weight of the [uncertainty](crate::LatentModel::uncertainty) of a model that knows it, in the
    /// smoothing, and so without effect where there is none.
    pub uncertainty_penalty: f64,
}

impl Default for Latco {
    fn default() -> Self {
        Self {
            horizon: 30,
            plans: 4,
            samples: 2048,
            iterations: 120,
            multiplier: 100.0,
            dual: DualRule::Augmented,
            epsilon: 1e-4,
            surrogate: Surrogate::Automatic,
            noise_scale: 1.0,
            uncertainty_penalty: 0.0,
        }
    }
}

/// Rollouts that are polished for each of their three scores, and the damping of the first step, where the
/// model is exact.
const KEPT: usize = 3;
const FIRST_DAMPING: f64 = 10.0;

/// Gauss–Newton steps at most before a smoothing, which goes on from sharp and blunt plans alike.
const POLISH_BEFORE_SMOOTHING: usize = 12;

/// Gauss–Newton steps and Adam steps of a replan that goes on from the earlier plan.
const REPLAN_POLISH: usize = 2;
const REPLAN_SMOOTHING: usize = 1;

impl Latco {
    /// The methods in turn, for a model that errs as noise of this standard deviation would.
    fn parts(&self, noise: f64) -> Vec<Box<dyn Method>> {
        let mut parts: Vec<Box<dyn Method>> = Vec::new();
        let is_exact = noise == 0.0;
        if self.samples > 0 {
            let mut rollouts = self.rollouts();
            if is_exact {
                rollouts.kept = KEPT.min(self.samples);
            }
            parts.push(Box::new(rollouts));
        }
        if self.plans > 0 && is_exact {
            parts.push(Box::new(self.goals()));
        }
        if is_exact {
            parts.push(Box::new(GaussNewtonPolish {
                damping: FIRST_DAMPING,
                ..self.polish(self.iterations)
            }));
        } else {
            let iterations = self.iterations.min(POLISH_BEFORE_SMOOTHING);
            parts.push(Box::new(self.polish(iterations)));
            parts.push(Box::new(Smoothing {
                horizon: self.horizon,
                noise,
                uncertainty_penalty: self.uncertainty_penalty,
                ..Smoothing::default()
            }));
        }
        parts
    }

    /// The methods that go on from an earlier plan of which little has been executed.
    fn replan_parts(&self, noise: f64) -> Vec<Box<dyn Method>> {
        let mut parts: Vec<Box<dyn Method>> = vec![Box::new(self.polish(REPLAN_POLISH))];
        if noise > 0.0 {
            parts.push(Box::new(Smoothing {
                horizon: self.horizon,
                noise,
                iterations: REPLAN_SMOOTHING,
                uncertainty_penalty: self.uncertainty_penalty,
            }));
        }
        parts
    }

    fn rollouts(&self) -> BestOfN {
        BestOfN {
            horizon: self.horizon,
            samples: self.samples,
            ..BestOfN::default()
        }
    }

    fn goals(&self) -> RelaxedCollocation {
        RelaxedCollocation {
            horizon: self.horizon,
            plans: self.plans,
            start: PlanStart::Goals,
            surrogate: self.surrogate,
            iterations: self.iterations,
            multiplier: self.multiplier,
            dual: self.dual,
            epsilon: self.epsilon,
        }
    }

    fn polish(&self, iterations: usize) -> GaussNewtonPolish {
        GaussNewtonPolish {
            horizon: self.horizon,
            iterations,
            surrogate: self.surrogate,
            ..GaussNewtonPolish::default()
        }
    }
}

impl Method for Latco {
    fn horizon(&self) -> usize {
        self.horizon
    }

    fn set_horizon(&mut self, horizon: usize) {
        self.horizon = horizon;
    }

    fn validate(&self) -> Result<(), ConfigError> {
        ConfigError::require_positive("horizon", self.horizon)?;
        ConfigError::require_positive("iterations", self.iterations)?;
        ConfigError::require_non_negative("noise_scale", self.noise_scale)?;
        ConfigError::require_non_negative("uncertainty_penalty", self.uncertainty_penalty)?;
        let parts = self.parts(0.0);
        parts.iter().try_for_each(|part| part.validate())
    }

    fn init<'a>(
        &self,
        problem: &'a Problem<'a>,
        pool: &Pool,
        noise: &mut Noise,
    ) -> Result<Box<dyn Search + 'a>, PlanError> {
        let noise_of_actions = self.noise_scale * problem.model.action_noise();
        let parts = match problem.warm_start {
            Some((plan, executed))
                if executed * 10 < self.horizon && keeps_promise(plan, executed, &pool.first) =>
            {
                self.replan_parts(noise_of_actions)
            }
            _ => self.parts(noise_of_actions),
        };
        Ok(sequence(parts, problem, noise))
    }
}

/// The share of a promise, or of 1 where that is more, that what is left of a plan may fall short of.
const LARGEST_SHORTFALL: f32 = 0.1;

/// Whether the rewards `found` of what is left of `plan` come up to what it promised for the same steps: the
/// present latent may not be the one expected, nor the goal the same.
fn keeps_promise(plan: &Plan, executed: usize, found: &[f32]) -> bool {
    let promised = plan.rollout.rewards.get(executed..).unwrap_or_default();
    let found: f32 = found.iter().take(promised.len()).sum();
    let promised: f32 = promised.iter().sum();
    found >= promised - LARGEST_SHORTFALL * promised.abs().max(1.0)
}

#[cfg(test)]
mod tests {
    use burn::tensor::Tensor;

    use super::*;
    use crate::{
        Belief, LatentGoal, LatentModel, NoObserver, PlanContext, Planner,
        shooting::testing::{HORIZON, Regulator, solver},
    };

    const SAMPLES: usize = 512;

    /// The plan from `belief`, gone on from all of `earlier`.
    fn replanned(model: &dyn LatentModel, belief: &Belief, earlier: Option<&Plan>) -> Plan {
        let planner = solver(Latco {
            horizon: HORIZON,
            plans: 0,
            samples: SAMPLES,
            iterations: 20,
            ..Latco::default()
        });
        let mut observer = NoObserver;
        let context = PlanContext::new(0, &mut observer);
        let context = context.with_warm_start(earlier.map(|plan| (plan, 0)));
        planner.plan_with(model, belief, context).unwrap()
    }

    #[test]
    fn a_plan_is_gone_on_from_as_long_as_it_keeps_its_promise() {
        let model = Regulator::inside_the_bounds();
        let here = model.belief();
        let earlier = replanned(&model, &here, None);
        let searches = |model: &dyn LatentModel, belief: &Belief| {
            replanned(model, belief, Some(&earlier)).model_steps > SAMPLES * HORIZON
        };
        assert!(!searches(&model, &here));
        let elsewhere = Tensor::from_floats([3.0, -3.0, 2.0], &here.device());
        assert!(searches(&model, &Belief::certain(elsewhere)));
        let other = Tensor::from_floats([-2.0, 2.0, -2.0], &here.device());
        assert!(searches(&LatentGoal::new(&model, other).unwrap(), &here));
    }
}
