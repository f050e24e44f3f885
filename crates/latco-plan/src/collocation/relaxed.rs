use std::sync::Arc;

use burn::tensor::Tensor;
use latco_kernels::join;

use super::{
    DualConfig, Initialisation, Measure, Trajectories, Transcription,
    lagrangian::Lagrangian,
    multipliers::Multipliers,
    nodes::{Nodes, Planned, allowed},
};
use crate::{
    LatentModel, Noise, Objective, PlanError, Rollout,
    host::{read, sums},
    rollout::rewards_along,
    solve::{Pool, Problem},
};

/// A problem whose plans need not keep the dynamics, from its first plans to what becomes of them.
#[derive(Clone)]
pub(super) struct Relaxed<'a> {
    pub problem: &'a Problem<'a>,
    pub lagrangian: Lagrangian<'a>,
    pub dual: DualConfig,
}

/// What a method makes of a problem.
pub(super) struct Setting<'s> {
    pub transcription: Transcription,
    pub measure: &'s Measure,
    pub objective: Objective,
    pub dual: DualConfig,
}

impl<'a> Relaxed<'a> {
    /// # Errors
    ///
    /// If the belief does not fit.
    pub fn new(
        problem: &'a Problem<'a>,
        setting: Setting<'_>,
        noise: &mut Noise,
    ) -> Result<Self, PlanError> {
        let node = setting.transcription;
        let lifted = node.lift(problem.model, problem.belief, noise)?;
        let first_node = lifted.first_node(problem.belief, noise);
        Ok(Self {
            lagrangian: Lagrangian {
                lifted: Arc::new(lifted),
                objective: setting.objective,
                divergence: setting.measure.divergence(),
                constraints: problem.constraints,
                first_node,
                node,
            },
            dual: setting.dual,
            problem,
        })
    }

    /// The model whose latents are nodes.
    pub fn model(&self) -> &dyn LatentModel {
        self.lagrangian.model()
    }

    /// The node that each of so many plans starts from, `[plans, node]`.
    pub fn start(&self, plans: usize) -> Tensor<2> {
        self.lagrangian.start(plans)
    }

    /// The problem of the nodes.
    pub fn in_nodes(&self) -> Problem<'_> {
        self.problem.on(self.model(), &self.lagrangian.first_node)
    }

    /// Whether returns are not those of the problem's own rollouts: nodes have a spread, or some
    /// rollouts are not allowed.
    fn values_differ(&self) -> bool {
        !self.lagrangian.lifted.is_identity() || !self.problem.constraints.is_empty()
    }

    /// The first plans: what earlier searches have handed on, or what is left of an earlier plan, then
    /// fresh starts. All rollouts among them are offered to the `pool`.
    pub fn first_trajectories(
        &self,
        plans: usize,
        initialisation: Initialisation,
        pool: &mut Pool,
        noise: &mut Noise,
    ) -> Result<Trajectories, PlanError> {
        let nodes = self.in_nodes();
        if self.values_differ() {
            let actions = pool.best.actions.clone().unsqueeze_dim(0);
            let values = self.values(&nodes, &self.rolled_out(&nodes, actions, pool))?;
            pool.best.total = values[0];
        }
        let mut batches = Vec::new();
        if !pool.candidates.is_empty() {
            let actions = pool.starts();
            let count = plans.min(actions.dims()[0]);
            let rollouts = self.rolled_out(&nodes, actions.narrow(0, 0, count), pool);
            self.offer(&nodes, &rollouts, pool)?;
            batches.push(rollouts);
        }
        let known: usize = batches.iter().map(|batch| batch.shape()[0]).sum();
        if known < plans {
            let fresh = initialisation.draw(&nodes, plans - known, pool, noise)?;
            if initialisation.rolls_out() {
                self.offer(&nodes, &fresh, pool)?;
            }
            batches.push(fresh);
        }
        Ok(Trajectories::joined(batches.iter()))
    }

    /// The first multipliers.
    pub fn first_multipliers(&self, plans: usize) -> Multipliers {
        let constraints = [
            self.lagrangian.constraints_of_dynamics(),
            self.problem.constraints.len(),
        ];
        Multipliers::new(&self.dual, [plans, self.problem.horizon], constraints)
    }

    fn rolled_out(&self, nodes: &Problem<'_>, actions: Tensor<3>, pool: &mut Pool) -> Trajectories {
        let latents = nodes.roll_out(actions.clone()).latents;
        let rollouts = Trajectories { latents, actions };
        pool.model_steps += rollouts.shape().iter().product::<usize>();
        rollouts
    }

    /// Offers `rollouts` to the `pool`.
    pub fn offer(
        &self,
        nodes: &Problem<'_>,
        rollouts: &Trajectories,
        pool: &mut Pool,
    ) -> Result<(), PlanError> {
        let values = self.values(nodes, rollouts)?;
        pool.offer(&rollouts.actions, &values);
        Ok(())
    }

    /// The return of each of the `rollouts`; −∞ where one overflows, or violates a constraint of the
    /// user by more than ε.
    fn values(&self, nodes: &Problem<'_>, rollouts: &Trajectories) -> Result<Vec<f32>, PlanError> {
        let returns = rewards_along(nodes.model, rollouts.latents.clone()).sum_dim(1);
        let returns = sums(&read("return", returns)?, 1);
        Ok(allowed(returns.into_iter(), &self.excess(rollouts)?))
    }
}

impl Nodes for Relaxed<'_> {
    fn roll_out(&self, actions: Tensor<3>) -> Rollout {
        self.in_nodes().roll_out(actions)
    }

    fn on_rollout(&self, actions: Tensor<3>, rollout: &Rollout) -> Trajectories {
        Trajectories {
            latents: rollout.latents.clone(),
            actions,
        }
    }

    fn planned(&self, chosen: Trajectories) -> Planned {
        let violation = self.lagrangian.terms(&chosen).violations.largest();
        let rewards = rewards_along(self.model(), chosen.latents.clone());
        let nodes = chosen.latents.squeeze_dim::<2>(0);
        Planned {
            rewards,
            violation,
            std: self.lagrangian.lifted.std_latents(nodes.clone()),
            latents: self.lagrangian.lifted.mean_latents(nodes.clone()),
            nodes,
        }
    }

    fn latents(&self, rollout: Tensor<2>) -> Tensor<2> {
        self.lagrangian.lifted.mean_latents(rollout)
    }

    fn are_latents(&self) -> bool {
        self.lagrangian.lifted.is_identity()
    }

    fn excess(&self, rollouts: &Trajectories) -> Result<Vec<f32>, PlanError> {
        let [plans, _] = rollouts.shape();
        let violations = self.lagrangian.user_violations(rollouts);
        if violations.is_empty() {
            return Ok(vec![0.0; plans]);
        }
        let violations = read("violation", join(violations, 1))?;
        let threshold = self.dual.threshold as f32;
        let of_plans = violations.chunks(violations.len() / plans);
        Ok(of_plans.map(|of_plan| excess(of_plan, threshold)).collect())
    }
}

/// The largest of the `violations` where that is above the `threshold`, else 0; +∞ where one is no number.
fn excess(violations: &[f32], threshold: f32) -> f32 {
    let numbers = violations.iter().map(|&violation| match violation {
        violation if violation.is_nan() => f32::INFINITY,
        violation => violation,
    });
    match numbers.fold(0.0, f32::max) {
        largest if largest > threshold => largest,
        _ => 0.0,
    }
}

#[cfg(test)]
mod tests {
    use burn::tensor::Device;

    use super::*;
    use crate::shooting::testing::Scalar;

    /// Two steps at `z = 1` return more than there are numbers.
    const RICH: Scalar = Scalar {
        mean: Scalar::SET,
        reward: |latents| latents * 3e38,
        action_noise: 0.0,
    };

    #[test]
    fn a_return_that_overflows_is_worth_nothing() {
        let device = Device::default();
        let (model, belief) = (RICH, Scalar::belief());
        let problem = Problem::new(&model, &belief, 2);
        let setting = Setting {
            transcription: Transcription::Deterministic,
            measure: &Measure::Moments,
            objective: Objective::Residuals,
            dual: DualConfig::default(),
        };
        let relaxed = Relaxed::new(&problem, setting, &mut Noise::new(0)).unwrap();
        let nodes = relaxed.in_nodes();
        let actions = [[[1.0], [1.0]], [[0.5], [0.25]], [[-1.0], [-1.0]]];
        let actions = Tensor::<3>::from_floats(actions, &device);
        let rollouts = Trajectories {
            latents: actions.clone(),
            actions,
        };
        let values = relaxed.values(&nodes, &rollouts).unwrap();
        assert!(values[1].is_finite(), "{values:?}");
        assert_eq!([values[0], values[2]], [f32::NEG_INFINITY; 2]);
    }

    #[test]
    fn a_constraint_that_is_no_number_is_violated() {
        let of = |violations: &[f32]| excess(violations, 1e-4);
        assert_eq!(of(&[0.0, 1e-4]), 0.0);
        assert_eq!(of(&[2e-4, 0.0]), 2e-4);
        assert_eq!(of(&[f32::NAN, 0.0]), f32::INFINITY);
        assert_eq!(of(&[0.5, -f32::NAN]), f32::INFINITY);
        let totals = [1.0, 2.0, 3.0].into_iter();
        let none = f32::NEG_INFINITY;
        assert_eq!(allowed(totals, &[0.0, f32::NAN, 0.5]), [1.0, none, none]);
    }
}
