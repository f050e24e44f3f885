//! The saddle-point search of some plans.

use burn::tensor::{Tensor, TensorData};

use super::{
    CONTINUATION_FACTOR, GaussNewtonConfig,
    multipliers::Multipliers,
    terms::{Summary, Terms},
};
use crate::{
    LatentModel, PlanError,
    collocation::{
        ActionBounds, LeastSquares, Rows, Step, Trajectories, Weights, relaxed::Relaxed,
        select_rows,
    },
    host::read,
    rollout::latents_with_defects,
};

/// The state of one saddle-point search.
pub(super) struct Descent<'a> {
    config: GaussNewtonConfig,
    relaxed: Relaxed<'a>,
    pub trajectories: Trajectories,
    pub multipliers: Multipliers,
    terms: Terms,
    states: Vec<State>,
    /// Iterations of penalty continuation that each plan takes.
    continuation: usize,
    pub model_steps: usize,
}

/// What is known of one plan of the batch.
#[derive(Clone)]
struct State {
    /// Damping beyond the constant one.
    damping: f32,
    /// The summed virtual reward after the last iteration, and its change in it.
    reward: f32,
    change: f32,
    phase: Phase,
}

/// How the multipliers of a plan move.
#[derive(Clone, Copy, PartialEq)]
enum Phase {
    /// By dual ascent.
    Relaxed,
    /// They rise by [`CONTINUATION_FACTOR`] in so many more iterations, and in each further one that
    /// finds the plan above ε.
    Continuation(usize),
}

impl Terms {
    /// `½ Σ ‖ρ‖² + ½ Σ λ c + ½ Σ ν b` of each plan, `[plans]`.
    fn merit(&self, multipliers: &Multipliers) -> Tensor<1> {
        let terms = self.residuals.clone() + self.violations.penalty(&multipliers.weights());
        terms.sum_dim(1).squeeze_dim::<1>(1) * 0.5
    }

    /// Takes the candidate's rows where `accepted` `[plans, 1]` is one.
    fn keep(&mut self, mut candidate: Self, accepted: &Tensor<2>) {
        for (present, candidate) in self.all_mut().zip(candidate.all_mut()) {
            *present = select_rows(present.clone(), candidate.clone(), accepted.clone());
        }
    }
}

/// Tries of one linearisation before the iteration is given up.
const TRIES: usize = 6;

/// The growth of the damping beyond the constant one with each refused step.
const DAMPING_GROWTH: f32 = 4.0;

/// The most that it grows to.
const DAMPING_CEILING: f32 = 1e8;

impl<'a> Descent<'a> {
    pub fn new(
        config: GaussNewtonConfig,
        relaxed: Relaxed<'a>,
        trajectories: Trajectories,
        multipliers: Multipliers,
        continuation: usize,
    ) -> Self {
        let [plans, horizon] = trajectories.shape();
        let state = State {
            damping: 0.0,
            reward: f32::INFINITY,
            change: f32::INFINITY,
            phase: Phase::Relaxed,
        };
        Self {
            terms: Terms::at(&relaxed, &trajectories),
            states: vec![state; plans],
            model_steps: 2 * plans * horizon,
            continuation,
            multipliers,
            trajectories,
            relaxed,
            config,
        }
    }

    /// One accepted step for each plan that has one.
    pub fn iterate(&mut self) -> Result<Summary, PlanError> {
        let [plans, horizon] = self.trajectories.shape();
        let relaxed = self.relaxed.clone();
        let system = self.linearise(&relaxed);
        self.model_steps += plans * horizon;
        let before = self.merits()?;
        let mut pending = vec![true; plans];
        for _ in 0..TRIES {
            self.attempt(&system, &before, &mut pending)?;
            if !pending.contains(&true) {
                break;
            }
        }
        let mut summary = self.terms.summarise(&self.multipliers)?;
        if self.config.bounds == ActionBounds::Projected {
            // The bounds hold without it.
            summary.relaxation.bound_multiplier_max = 0.0;
        }
        for (state, seen) in self.states.iter_mut().zip(&summary.plans) {
            state.change = (seen.reward - state.reward).abs();
            state.reward = seen.reward;
        }
        Ok(summary)
    }

    fn linearise<'r>(&self, relaxed: &'r Relaxed<'_>) -> LeastSquares<'r> {
        let [plans, _] = self.trajectories.shape();
        let constraints = relaxed.problem.constraints.iter();
        let constraints: Vec<_> = constraints
            .zip(self.multipliers.user.iter().cloned())
            .collect();
        let start = relaxed.start(plans);
        LeastSquares::linearise_with(relaxed.model(), start, &self.trajectories, &constraints)
            .with_bounds(self.config.bounds)
    }

    /// Solves with the present damping and keeps the step of each pending plan whose merit it
    /// lowers; raises the damping of the others.
    fn attempt(
        &mut self,
        system: &LeastSquares<'_>,
        before: &[f32],
        pending: &mut [bool],
    ) -> Result<(), PlanError> {
        let step = system.step(&self.weights(), 0)?;
        let candidate = self.moved(&step);
        let terms = Terms::at(&self.relaxed, &candidate);
        let [plans, horizon] = candidate.shape();
        self.model_steps += plans * horizon;
        let merits = read("merit", terms.merit(&self.multipliers))?;
        let mut accepted = vec![0.0; plans];
        for (plan, state) in self.states.iter_mut().enumerate() {
            if !pending[plan] {
                continue;
            }
            if merits[plan] <= before[plan] {
                accepted[plan] = 1.0;
                pending[plan] = false;
                state.damping = lowered(state.damping, self.config.step_damping);
            } else {
                let least = self.config.step_damping as f32;
                state.damping = (state.damping * DAMPING_GROWTH).clamp(least, DAMPING_CEILING);
            }
        }
        self.keep(candidate, terms, accepted);
        Ok(())
    }

    /// The trajectories that the step's actions lead to through the model itself, which miss the
    /// dynamics by exactly what the step lets them.
    fn moved(&self, step: &Step) -> Trajectories {
        let actions = self.trajectories.actions.clone() + step.actions.clone();
        let start = self.relaxed.start(actions.dims()[0]);
        let model: &dyn LatentModel = self.relaxed.model();
        let latents = latents_with_defects(model, start, &actions, &step.defects);
        Trajectories { latents, actions }
    }

    fn keep(&mut self, candidate: Trajectories, terms: Terms, accepted: Vec<f32>) {
        if accepted.iter().all(|&plan| plan == 0.0) {
            return;
        }
        let plans = accepted.len();
        let device = self.multipliers.actions.device();
        let accepted = Tensor::<2>::from_data(TensorData::new(accepted, [plans, 1]), &device);
        let choose = |present: &mut Tensor<3>, candidate: Tensor<3>| {
            let mask = accepted.clone().unsqueeze_dim::<3>(2);
            *present = select_rows(present.clone(), candidate, mask);
        };
        choose(&mut self.trajectories.latents, candidate.latents);
        choose(&mut self.trajectories.actions, candidate.actions);
        self.terms.keep(terms, &accepted);
    }

    fn weights(&self) -> Weights {
        let device = self.multipliers.actions.device();
        let damping: Vec<f32> = self.states.iter().map(|state| state.damping).collect();
        let plans = damping.len();
        let damping = Tensor::<1>::from_data(TensorData::new(damping, [plans]), &device);
        Weights {
            dynamics: self.multipliers.dynamics[0].clone(),
            actions: self.multipliers.actions.clone(),
            action_damping: damping.clone() + self.config.damping,
            defect_damping: damping,
            latent_damping: None,
        }
    }

    /// Goes on with these plans alone.
    pub fn keep_only(&mut self, plans: &[usize]) {
        let rows = Rows::new(plans, &self.multipliers.actions.device());
        self.trajectories = self.trajectories.rows(&rows);
        self.multipliers.each(|steps| *steps = rows.of(steps));
        self.terms
            .all_mut()
            .for_each(|steps| *steps = rows.of(steps));
        let states = plans.iter().map(|&plan| self.states[plan].clone());
        self.states = states.collect();
    }

    /// `½ Σ ‖ρ‖²` along the rollout of each plan's actions, and those rollouts.
    pub fn rollout_costs(&mut self) -> Result<(Vec<f32>, Trajectories), PlanError> {
        let [plans, horizon] = self.trajectories.shape();
        let actions = self.trajectories.actions.clone().clamp(-1.0, 1.0);
        let nodes = self.relaxed.in_nodes();
        let latents = nodes.roll_out(actions.clone()).latents;
        self.model_steps += plans * horizon;
        let residuals = nodes.model.reward_residuals(latents.clone().flatten(0, 1));
        let squares = residuals.square().sum_dim(1).reshape([plans, horizon]);
        let costs = read("rollout cost", squares.sum_dim(1) * 0.5)?;
        Ok((costs, Trajectories { latents, actions }))
    }

    fn merits(&self) -> Result<Vec<f32>, PlanError> {
        let merits = read("merit", self.terms.merit(&self.multipliers))?;
        if merits.iter().all(|merit| merit.is_finite()) {
            return Ok(merits);
        }
        Err(self.terms.not_finite(&self.multipliers))
    }

    /// One step of each plan's dual ascent or penalty continuation. The continuation begins once a
    /// plan's violations are small, or no more iterations than it needs are left of the `remaining`
    /// ones.
    pub fn adapt_multipliers(&mut self, summary: &Summary, remaining: usize) {
        let config = &self.config;
        let length = self.continuation;
        let growth: Vec<Option<f64>> = self
            .states
            .iter_mut()
            .zip(&summary.plans)
            .map(|(state, seen)| {
                let violation = f64::from(seen.violation);
                let due = violation < config.continuation_below || remaining <= length;
                if length > 0 && due && state.phase == Phase::Relaxed {
                    state.phase = Phase::Continuation(length);
                }
                match &mut state.phase {
                    Phase::Relaxed => None,
                    Phase::Continuation(0) if violation < config.dual.threshold => Some(1.0),
                    Phase::Continuation(0) => Some(CONTINUATION_FACTOR),
                    Phase::Continuation(left) => {
                        *left -= 1;
                        Some(CONTINUATION_FACTOR)
                    }
                }
            })
            .collect();
        self.multipliers.adapt(&config.dual, &self.terms, &growth);
    }

    /// Whether each plan has converged whose virtual reward is at least `least`.
    pub fn has_converged(&self, summary: &Summary, least: f32) -> bool {
        let plans = self.states.iter().zip(&summary.plans);
        plans
            .filter(|(_, seen)| seen.reward >= least)
            .all(|(state, seen)| self.is_settled(state, seen.violation))
    }

    fn is_settled(&self, state: &State, violation: f32) -> bool {
        let last = match self.continuation {
            0 => Phase::Relaxed,
            _ => Phase::Continuation(0),
        };
        state.phase == last
            && f64::from(violation) < self.config.dual.threshold
            && f64::from(state.change)
                < self.config.tolerance * f64::from(state.reward.abs()).max(1.0)
    }
}

/// The damping after an accepted step: a third, and none once it is below `least`.
fn lowered(damping: f32, least: f64) -> f32 {
    let damping = damping / 3.0;
    if f64::from(damping) < least {
        0.0
    } else {
        damping
    }
}
