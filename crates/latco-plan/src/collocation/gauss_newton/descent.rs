//! The saddle-point search of some plans.

use burn::tensor::{Tensor, TensorData};

use super::{CLOSING_FACTOR, GaussNewtonConfig};
use crate::{
    PlanError,
    collocation::{
        ActionBounds, LeastSquares, Rows, Step, Trajectories, Weights,
        multipliers::Multipliers,
        select_rows,
        terms::{Problem, Summary, Terms},
    },
    host::read,
    roll_out,
    rollout::latents_with_defects,
};

/// The state of one saddle-point search.
pub(super) struct Descent<'a> {
    pub config: &'a GaussNewtonConfig,
    pub problem: Problem<'a>,
    pub trajectories: Trajectories,
    pub multipliers: Multipliers,
    terms: Terms,
    searches: Vec<Search>,
    /// Closing iterations of each plan.
    closing: usize,
    pub model_steps: usize,
}

/// What is known of one plan of the batch.
#[derive(Clone)]
struct Search {
    /// Damping beyond the constant one.
    trust: f32,
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
    /// They rise by [`CLOSING_FACTOR`] in so many more iterations, and in each further one that finds
    /// the plan above ε.
    Closing(usize),
}

impl Terms {
    /// `½ Σ ‖ρ‖² + ½ Σ λ c + ½ Σ ν b` of each plan, `[plans]`.
    fn merit(&self, multipliers: &Multipliers) -> Tensor<1> {
        let terms = self.residuals.clone() + self.violations.penalty(multipliers);
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
const TRUST_GROWTH: f32 = 4.0;

/// The most that it grows to.
const TRUST_CEILING: f32 = 1e8;

impl<'a> Descent<'a> {
    pub fn new(
        config: &'a GaussNewtonConfig,
        problem: Problem<'a>,
        trajectories: Trajectories,
        multipliers: Multipliers,
        closing: usize,
    ) -> Self {
        let [plans, horizon] = trajectories.shape();
        Self {
            closing,
            terms: problem.terms(&trajectories),
            searches: vec![
                Search {
                    trust: 0.0,
                    reward: f32::INFINITY,
                    change: f32::INFINITY,
                    phase: Phase::Relaxed,
                };
                plans
            ],
            model_steps: 2 * plans * horizon,
            multipliers,
            trajectories,
            problem,
            config,
        }
    }

    /// One accepted step for each plan that has one.
    pub fn iterate(&mut self, index: usize) -> Result<Summary, PlanError> {
        let [plans, horizon] = self.trajectories.shape();
        let system = self.linearise();
        self.model_steps += plans * horizon;
        let before = self.merits(index)?;
        let mut pending = vec![true; plans];
        for _ in 0..TRIES {
            self.attempt(&system, &before, &mut pending, index)?;
            if !pending.contains(&true) {
                break;
            }
        }
        let mut summary = self.terms.summarise(&self.multipliers, index)?;
        if self.config.bounds == ActionBounds::Projected {
            // The bounds hold without it.
            summary.iteration.action_multiplier_max = 0.0;
        }
        for (search, seen) in self.searches.iter_mut().zip(&summary.plans) {
            search.change = (seen.reward - search.reward).abs();
            search.reward = seen.reward;
        }
        Ok(summary)
    }

    fn linearise(&self) -> LeastSquares<'a> {
        let constraints: Vec<_> = self
            .problem
            .constraints
            .iter()
            .zip(self.multipliers.user.iter().cloned())
            .collect();
        LeastSquares::linearise_with(
            self.problem.model,
            self.problem.start.clone(),
            &self.trajectories,
            &constraints,
        )
        .with_bounds(self.config.bounds)
    }

    /// Solves with the present damping and keeps the step of each pending plan whose merit it
    /// lowers; raises the damping of the others.
    fn attempt(
        &mut self,
        system: &LeastSquares<'_>,
        before: &[f32],
        pending: &mut [bool],
        index: usize,
    ) -> Result<(), PlanError> {
        let step = system.step(&self.weights(), index)?;
        let candidate = self.moved(&step);
        let terms = self.problem.terms(&candidate);
        let [plans, horizon] = candidate.shape();
        self.model_steps += plans * horizon;
        let merits = read("merit", terms.merit(&self.multipliers))?;
        let mut accepted = vec![0.0; plans];
        for (plan, search) in self.searches.iter_mut().enumerate() {
            if !pending[plan] {
                continue;
            }
            if merits[plan] <= before[plan] {
                accepted[plan] = 1.0;
                pending[plan] = false;
                search.trust = relaxed(search.trust, self.config.trust);
            } else {
                let least = self.config.trust as f32;
                search.trust = (search.trust * TRUST_GROWTH).clamp(least, TRUST_CEILING);
            }
        }
        self.keep(candidate, terms, accepted);
        Ok(())
    }

    /// The trajectories that the step's actions lead to through the model itself, which miss the
    /// dynamics by exactly what the step lets them.
    fn moved(&self, step: &Step) -> Trajectories {
        let actions = self.trajectories.actions.clone() + step.actions.clone();
        let Problem { model, start, .. } = &self.problem;
        let latents = latents_with_defects(*model, start.clone(), &actions, &step.defects);
        Trajectories { latents, actions }
    }

    fn keep(&mut self, candidate: Trajectories, terms: Terms, accepted: Vec<f32>) {
        if accepted.iter().all(|&plan| plan == 0.0) {
            return;
        }
        let plans = accepted.len();
        let device = self.problem.start.device();
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
        let device = self.problem.start.device();
        let trust: Vec<f32> = self.searches.iter().map(|search| search.trust).collect();
        let plans = trust.len();
        let trust = Tensor::<1>::from_data(TensorData::new(trust, [plans]), &device);
        Weights {
            dynamics: self.multipliers.dynamics[0].clone(),
            actions: self.multipliers.actions.clone(),
            action_damping: trust.clone() + self.config.damping,
            defect_damping: trust,
            latent_damping: None,
        }
    }

    /// Goes on with these plans alone.
    pub fn keep_only(&mut self, plans: &[usize]) {
        let rows = Rows::new(plans, &self.problem.start.device());
        self.problem.start = rows.of(&self.problem.start);
        self.trajectories = self.trajectories.rows(&rows);
        self.multipliers.each(|steps| *steps = rows.of(steps));
        self.terms
            .all_mut()
            .for_each(|steps| *steps = rows.of(steps));
        let searches = plans.iter().map(|&plan| self.searches[plan].clone());
        self.searches = searches.collect();
    }

    /// `½ Σ ‖ρ‖²` along the rollout of each plan's actions.
    pub fn rollout_costs(&mut self) -> Result<Vec<f32>, PlanError> {
        let [plans, horizon] = self.trajectories.shape();
        let actions = self.trajectories.actions.clone().clamp(-1.0, 1.0);
        let rollout = roll_out(self.problem.model, self.problem.start.clone(), actions);
        self.model_steps += plans * horizon;
        let residuals = self
            .problem
            .model
            .reward_residuals(rollout.latents.flatten(0, 1));
        let costs = residuals
            .square()
            .sum_dim(1)
            .reshape([plans, horizon])
            .sum_dim(1)
            * 0.5;
        read("rollout cost", costs)
    }

    fn merits(&self, index: usize) -> Result<Vec<f32>, PlanError> {
        let merits = read("merit", self.terms.merit(&self.multipliers))?;
        if merits.iter().all(|merit| merit.is_finite()) {
            return Ok(merits);
        }
        Err(self.terms.not_finite(&self.multipliers, index))
    }

    /// One step of each plan's dual ascent or closing. A plan closes once its violations are small,
    /// or no more iterations than it needs are left of the `remaining` ones.
    pub fn adapt_multipliers(&mut self, summary: &Summary, remaining: usize) {
        let config = self.config;
        let growth: Vec<Option<f64>> = self
            .searches
            .iter_mut()
            .zip(&summary.plans)
            .map(|(search, seen)| {
                let close =
                    f64::from(seen.violation) < config.closing_below || remaining <= self.closing;
                if self.closing > 0 && close && search.phase == Phase::Relaxed {
                    search.phase = Phase::Closing(self.closing);
                }
                match &mut search.phase {
                    Phase::Relaxed => None,
                    Phase::Closing(0) if f64::from(seen.violation) < config.dual.threshold => {
                        Some(1.0)
                    }
                    Phase::Closing(0) => Some(CLOSING_FACTOR),
                    Phase::Closing(left) => {
                        *left -= 1;
                        Some(CLOSING_FACTOR)
                    }
                }
            })
            .collect();
        self.multipliers.adapt(&config.dual, &self.terms, &growth);
    }

    /// Whether each plan has converged whose virtual reward is at least `least`.
    pub fn has_converged(&self, summary: &Summary, least: f32) -> bool {
        let plans = self.searches.iter().zip(&summary.plans);
        plans
            .filter(|(_, seen)| seen.reward >= least)
            .all(|(search, seen)| self.is_settled(search, seen.violation))
    }

    fn is_settled(&self, search: &Search, violation: f32) -> bool {
        let last = match self.closing {
            0 => Phase::Relaxed,
            _ => Phase::Closing(0),
        };
        search.phase == last
            && f64::from(violation) < self.config.dual.threshold
            && f64::from(search.change)
                < self.config.tolerance * f64::from(search.reward.abs()).max(1.0)
    }
}

/// The damping after an accepted step: a third, and none once it is below `least`.
fn relaxed(trust: f32, least: f64) -> f32 {
    let trust = trust / 3.0;
    if f64::from(trust) < least { 0.0 } else { trust }
}
