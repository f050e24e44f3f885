//! Gauss–Newton steps of several plans side by side, each with damping of its own.

use burn::tensor::{Tensor, TensorData};
use nalgebra::DMatrixView;
use serde::{Deserialize, Serialize};

use super::{
    cost::{Cost, NodeCosts, Score},
    riccati::{DefectCost, Gain, LocalProblem},
};
use crate::{
    PlanError,
    collocation::{LeastSquares, Rows, Step, Trajectories, Weights},
    dual::Penalty,
    host::read,
    rollout::at_step,
    solve::Problem,
    threads::on_threads,
};

/// Step lengths that are tried side by side.
const LENGTHS: [f64; 5] = [1.0, 0.5, 0.25, 0.1, 0.03];

/// Dampings tried from one linearisation.
const TRIES: usize = 4;

/// Rows that are carried back through the model at once: bounds the memory.
const JACOBIAN_ROWS: usize = 16_384;

/// The weight of defects where there are none.
const RIGID: f64 = 1e8;

/// Damping that is always there where the step has no other curvature in the actions.
const LEAST_DAMPING: f64 = 1e-6;

/// Latents beyond this are of an unstable rollout.
const LARGEST_LATENT: f32 = 1e4;

/// The share of the merit that a step must lower it by.
const LEAST_DECREASE: f64 = 1e-7;

/// Levenberg–Marquardt damping: tenfold after a refused step, a fifth after an accepted one.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Damping(f64);

impl Damping {
    const FIRST: f64 = 1e-3;
    const LEAST: f64 = 1e-5;
    const RAISED: f64 = 1e-4;
    const MOST: f64 = 1e6;

    pub fn new() -> Self {
        Self(Self::FIRST)
    }

    fn raise(&mut self) {
        self.0 = (self.0 * 10.0).max(Self::RAISED);
    }

    fn lower(&mut self) {
        self.0 = if self.0 < Self::LEAST {
            0.0
        } else {
            self.0 / 5.0
        };
    }

    pub fn cap(&mut self, most: f64) {
        self.0 = self.0.min(most);
    }

    pub fn is_exhausted(self) -> bool {
        self.0 > Self::MOST
    }
}

/// Trajectories `z_{t+1} = μ(z_t, a_t) + e_t` of several plans.
#[derive(Clone)]
pub(crate) struct Batch {
    /// `z_1 … z_T`, `[plans, horizon, latent]`.
    pub latents: Tensor<3>,
    /// `[plans, horizon, action]`.
    pub actions: Tensor<3>,
    /// `e`, `[plans, horizon, latent]`; `None` where the dynamics hold.
    pub defects: Option<Tensor<3>>,
}

impl Batch {
    /// The plans of all `batches`, one after the other.
    fn joined(batches: Vec<Self>) -> Self {
        let join = |part: fn(&Self) -> &Tensor<3>| {
            Tensor::cat(batches.iter().map(|batch| part(batch).clone()).collect(), 0)
        };
        let defects = batches.iter().map(|batch| batch.defects.clone());
        Self {
            latents: join(|batch| &batch.latents),
            actions: join(|batch| &batch.actions),
            defects: defects
                .collect::<Option<Vec<_>>>()
                .map(|all| Tensor::cat(all, 0)),
        }
    }

    pub fn rows(&self, rows: &Rows) -> Self {
        Self {
            latents: rows.of(&self.latents),
            actions: rows.of(&self.actions),
            defects: self.defects.as_ref().map(|defects| rows.of(defects)),
        }
    }
}

/// Several plans on their way down.
pub(crate) struct Descent<'a> {
    problem: &'a Problem<'a>,
    /// `z_0`, `[1, latent]`.
    start: Tensor<2>,
    cost: Cost,
    pub present: Batch,
    pub scores: Vec<Score>,
    pub dampings: Vec<Damping>,
    /// One for each plan; none where the dynamics hold.
    pub penalties: Vec<Penalty>,
    /// Rows that went through the model's transition.
    pub model_steps: usize,
    elimination: Elimination,
    /// Residuals of a plan.
    rows: usize,
}

/// Where a sweep over time and one system for all reward residuals take the same time, in residuals for
/// each dimension of the latent.
const ROWS_PER_LATENT: usize = 2;

/// How steps are found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Elimination {
    /// Whichever is faster for the number of residuals and the size of the latent.
    #[default]
    Automatic,
    /// A sweep over time with the model's Jacobians; the step is a feedback law. Time grows with the
    /// horizon and with the third power of the latent's size.
    Riccati,
    /// One unknown for each reward residual: for large latents and short horizons.
    ResidualSpace,
}

impl Elimination {
    fn resolved(self, rows: usize, latent: usize) -> Self {
        match self {
            Self::Automatic if rows > ROWS_PER_LATENT * latent => Self::Riccati,
            Self::Automatic => Self::ResidualSpace,
            chosen => chosen,
        }
    }
}

impl<'a> Descent<'a> {
    pub fn new(
        problem: &'a Problem<'a>,
        cost: Cost,
        present: Batch,
        penalties: Vec<Penalty>,
    ) -> Result<Self, PlanError> {
        let [plans, horizon, _] = present.actions.dims();
        let start = problem.start(1);
        let rows = horizon * cost.rows_per_node(problem.model, start.clone());
        Ok(Self {
            elimination: Elimination::Automatic.resolved(rows, start.dims()[1]),
            rows,
            scores: cost.scores(problem.model, &present.latents)?,
            dampings: vec![Damping::new(); plans],
            model_steps: plans * problem.horizon,
            start,
            problem,
            cost,
            present,
            penalties,
        })
    }

    pub fn plans(&self) -> usize {
        self.scores.len()
    }

    /// Has steps found in this way.
    pub fn with_elimination(mut self, elimination: Elimination) -> Self {
        self.elimination = elimination.resolved(self.rows, self.start.dims()[1]);
        self
    }

    /// The returns, `[plans]`.
    pub fn totals(&self) -> Vec<f32> {
        self.scores.iter().map(|score| score.total as f32).collect()
    }

    /// The plans, the one of highest return first.
    pub fn ranked(&self) -> Vec<usize> {
        let cost = |plan: usize| self.scores[plan].cost;
        let mut order: Vec<usize> = (0..self.plans()).collect();
        order.sort_by(|&a, &b| cost(a).total_cmp(&cost(b)));
        order
    }

    /// Goes on with these plans alone, in this order.
    pub fn keep(&mut self, plans: &[usize]) {
        *self = self.share(plans);
    }

    /// Some of the plans.
    fn share(&self, plans: &[usize]) -> Self {
        let chosen = |penalties: &[Penalty]| match penalties {
            [] => Vec::new(),
            penalties => plans.iter().map(|&plan| penalties[plan].clone()).collect(),
        };
        Self {
            present: self.present.rows(&Rows::new(plans, &self.start.device())),
            scores: plans.iter().map(|&plan| self.scores[plan]).collect(),
            dampings: plans.iter().map(|&plan| self.dampings[plan]).collect(),
            penalties: chosen(&self.penalties),
            start: self.start.clone(),
            model_steps: 0,
            ..*self
        }
    }

    /// One step of every plan, shared out among threads; by how much each plan's merit fell, relative to
    /// its size.
    pub fn iterate(&mut self) -> Result<Vec<f64>, PlanError> {
        let plans = self.plans();
        let workers = self.problem.resources.workers.clamp(1, plans);
        if workers == 1 {
            return self.iterate_alone();
        }
        let places = |worker: usize| (worker..plans).step_by(workers).collect::<Vec<_>>();
        let shares: Vec<_> = (0..workers)
            .map(|worker| self.share(&places(worker)))
            .collect();
        let shares = on_threads(shares, |mut share| {
            share.iterate_alone().map(|decreases| (share, decreases))
        });
        let shares = shares.into_iter().collect::<Result<Vec<_>, _>>()?;
        let mut decreases = vec![0.0; plans];
        let mut order = vec![0; plans];
        let mut place = 0;
        for (worker, (share, fallen)) in shares.iter().enumerate() {
            for (row, plan) in places(worker).into_iter().enumerate() {
                decreases[plan] = fallen[row];
                self.scores[plan] = share.scores[row];
                self.dampings[plan] = share.dampings[row];
                order[plan] = place;
                place += 1;
            }
            self.model_steps += share.model_steps;
        }
        let batches = shares.into_iter().map(|(share, _)| share.present);
        self.present =
            Batch::joined(batches.collect()).rows(&Rows::new(&order, &self.start.device()));
        Ok(decreases)
    }

    /// One linearisation of every plan and the first step from it that lowers its merit.
    fn iterate_alone(&mut self) -> Result<Vec<f64>, PlanError> {
        let plans = self.plans();
        let defects = self.read_defects()?;
        let merits = self.merits(&defects);
        let expansion = match self.elimination {
            Elimination::Riccati => Expansion::Riccati(self.expand(&defects)?),
            Elimination::Automatic | Elimination::ResidualSpace => {
                Expansion::ResidualSpace(Box::new(self.linearise()?))
            }
        };
        let mut decreases = vec![0.0; plans];
        let mut pending: Vec<usize> = (0..plans).collect();
        for _ in 0..TRIES {
            let (solved, candidates) = self.candidates(&expansion, &pending)?;
            if let Some(candidates) = candidates {
                let accepted = self.select(&solved, candidates, &merits, &mut decreases)?;
                pending.retain(|plan| !accepted.contains(plan));
            }
            for &plan in &pending {
                self.dampings[plan].raise();
            }
            pending.retain(|&plan| !self.dampings[plan].is_exhausted());
            if pending.is_empty() {
                break;
            }
        }
        Ok(decreases)
    }

    /// `[plans, horizon, latent]` on the host; nothing where the dynamics hold.
    pub fn read_defects(&self) -> Result<Vec<f32>, PlanError> {
        match &self.present.defects {
            Some(defects) => read("defects", defects.clone()),
            None => Ok(Vec::new()),
        }
    }

    /// The cost of each plan and what its `defects` add to it.
    fn merits(&self, defects: &[f32]) -> Vec<f64> {
        let size = defects.len() / self.plans();
        let penalty = |plan: usize| match self.penalties.get(plan) {
            Some(penalty) => penalty.of(&defects[plan * size..(plan + 1) * size]),
            None => 0.0,
        };
        let merit = |plan: usize| self.scores[plan].cost + penalty(plan);
        (0..self.plans()).map(merit).collect()
    }

    /// Where steps of the `pending` plans lead with each step length: the plans that have a step, and
    /// their trajectories, `[plans · lengths, …]`.
    fn candidates(
        &self,
        expansion: &Expansion<'a>,
        pending: &[usize],
    ) -> Result<(Vec<usize>, Option<Batch>), PlanError> {
        match expansion {
            Expansion::Riccati(locals) => {
                let (solved, policies) = self.solve(locals, pending);
                self.problem.check_time()?;
                if solved.is_empty() {
                    return Ok((solved, None));
                }
                let present = self.present_of(&solved);
                let candidates = self.follow(locals, &solved, &present, policies)?;
                Ok((solved, Some(candidates)))
            }
            Expansion::ResidualSpace(system) => {
                match self.step(system) {
                    // A plan that has left what the model knows has no step; damping does not help it.
                    Err(PlanError::NotFinite { .. }) => Ok((Vec::new(), None)),
                    step => {
                        let candidates = self.follow_step(&step?, pending)?;
                        Ok((pending.to_vec(), Some(candidates)))
                    }
                }
            }
        }
    }

    fn present_of(&self, plans: &[usize]) -> Batch {
        match plans.len() == self.plans() {
            true => self.present.clone(),
            false => self.present.rows(&Rows::new(plans, &self.start.device())),
        }
    }

    /// `y / λ` of every plan, `[plans, horizon, latent]`: with it `½ λ ‖e‖² + y · e` is
    /// `½ λ ‖e + y/λ‖²` but for a constant.
    fn shift(&self) -> Tensor<3> {
        let [plans, horizon, latent] = self.present.latents.dims();
        let shifts = self.penalties.iter().flat_map(Penalty::shift);
        let shifts: Vec<f32> = shifts.map(|value| value as f32).collect();
        Tensor::from_data(
            TensorData::new(shifts, [plans, horizon, latent]),
            &self.start.device(),
        )
    }

    /// The least-squares problem in residual space.
    fn linearise(&mut self) -> Result<LeastSquares<'a>, PlanError> {
        let [plans, horizon, _] = self.present.latents.dims();
        self.model_steps += plans * horizon;
        let defects = match &self.present.defects {
            Some(defects) => defects.clone().neg() - self.shift(),
            None => self.present.latents.zeros_like(),
        };
        let trajectories = Trajectories {
            latents: self.present.latents.clone(),
            actions: self.present.actions.clone(),
        };
        let model = self.problem.model;
        Ok(LeastSquares::in_residual_space(
            model,
            self.problem.start(plans),
            &trajectories,
            defects,
            self.cost.rows(model, &self.present.latents)?,
        ))
    }

    /// The damped step of every plan: by how much actions change, and the defects after it.
    fn step(&self, system: &LeastSquares<'_>) -> Result<Step, PlanError> {
        let [plans, horizon, _] = self.present.latents.dims();
        let device = self.start.device();
        let upload = |values: Vec<f32>, rows: usize, columns: usize| {
            Tensor::<2>::from_data(TensorData::new(values, [rows, columns]), &device)
        };
        let dampings = self.dampings.iter();
        let damping = dampings.map(|damping| (damping.0 + LEAST_DAMPING) as f32);
        let damping = upload(damping.collect(), plans, 1).squeeze_dim::<1>(1);
        let dynamics = match self.penalties.is_empty() {
            true => Tensor::full([plans, horizon], RIGID, &device),
            false => {
                let weights = self.penalties.iter().flat_map(|penalty| &penalty.weights);
                let weights = weights.map(|&weight| weight as f32).collect();
                upload(weights, plans, horizon)
            }
        };
        let step = system.step(
            &Weights {
                actions: Tensor::zeros([plans, horizon], &device),
                dynamics,
                defect_damping: damping.clone(),
                action_damping: damping,
                latent_damping: None,
            },
            0,
        )?;
        Ok(match self.penalties.is_empty() {
            true => step,
            false => Step {
                defects: step.defects - self.shift(),
                ..step
            },
        })
    }

    /// The trajectories that shares of the step lead to, `[plans · lengths, …]`.
    fn follow_step(&self, step: &Step, plans: &[usize]) -> Result<Batch, PlanError> {
        let device = self.start.device();
        let present = self.present_of(plans);
        let rows = Rows::new(plans, &device);
        let lengths: Vec<f32> = LENGTHS.iter().map(|&length| length as f32).collect();
        let lengths = TensorData::new(lengths, [1, LENGTHS.len(), 1, 1]);
        let lengths = Tensor::<4>::from_data(lengths, &device);
        let spread = |from: &Tensor<3>, change: Tensor<3>| {
            let moved = change.unsqueeze_dim::<4>(1) * lengths.clone();
            (from.clone().unsqueeze_dim::<4>(1) + moved).flatten::<3>(0, 1)
        };
        let actions = spread(&present.actions, rows.of(&step.actions)).clamp(-1.0, 1.0);
        let defects = present.defects.as_ref().map(|defects| {
            let change = rows.of(&step.defects) - defects.clone();
            spread(defects, change)
        });
        let mut latent = self.problem.start(plans.len() * LENGTHS.len());
        let mut latents = Vec::with_capacity(self.problem.horizon);
        for step in 0..self.problem.horizon {
            self.problem.check_time()?;
            latent = self
                .problem
                .model
                .transition_mean(latent, at_step(&actions, step));
            if let Some(defects) = &defects {
                latent = latent + at_step(defects, step);
            }
            latents.push(latent.clone());
        }
        Ok(Batch {
            latents: Tensor::stack(latents, 1),
            actions,
            defects,
        })
    }

    fn previous(&self) -> Tensor<3> {
        let plans = self.plans();
        let start = self
            .start
            .clone()
            .repeat_dim(0, plans)
            .unsqueeze_dim::<3>(1);
        match self.problem.horizon {
            1 => start,
            horizon => {
                let earlier = self.present.latents.clone().narrow(1, 0, horizon - 1);
                Tensor::cat(vec![start, earlier], 1)
            }
        }
    }

    /// Every plan around its trajectory, in double precision.
    fn expand(&mut self, defects: &[f32]) -> Result<Vec<LocalPlan>, PlanError> {
        let [plans, horizon, action] = self.present.actions.dims();
        let latent = self.start.dims()[1];
        self.model_steps += plans * horizon;
        let jacobians = self.jacobians()?;
        let actions = read("actions", self.present.actions.clone())?;
        let costs = self
            .cost
            .expand(self.problem.model, &self.present.latents)?;
        let step = (latent + action) * latent;
        let local = |(plan, costs): (usize, NodeCosts)| {
            let share = |values: &[f32], size: usize| {
                let own = &values[plan * horizon * size..(plan + 1) * horizon * size];
                own.iter().copied().map(f64::from).collect::<Vec<_>>()
            };
            let jacobians = share(&jacobians, step);
            let parts = jacobians
                .chunks(step)
                .map(|step| step.split_at(latent * latent));
            let (by_latent, by_action): (Vec<_>, Vec<_>) = parts.unzip();
            let defect_slope = self.penalties.get(plan).map(|penalty| {
                let size = horizon * latent;
                penalty.slope(&defects[plan * size..(plan + 1) * size])
            });
            LocalPlan {
                by_latent: by_latent.concat(),
                by_action: by_action.concat(),
                actions: share(&actions, action),
                costs,
                defect_slope,
            }
        };
        Ok(costs.into_iter().enumerate().map(local).collect())
    }

    /// `[A, B]` of every step of every plan, each column by column.
    fn jacobians(&self) -> Result<Vec<f32>, PlanError> {
        let [plans, horizon, _] = self.present.actions.dims();
        let latent = self.start.dims()[1];
        let points = plans * horizon;
        let linear = self.problem.model.linearise(
            self.previous().flatten(0, 1),
            self.present.actions.clone().flatten(0, 1),
        );
        let unit = Tensor::<2>::eye(latent, &self.start.device()).unsqueeze_dim::<3>(0);
        let at_once = (JACOBIAN_ROWS / latent).max(1);
        let mut values = Vec::with_capacity(points * latent * latent);
        for first in (0..points).step_by(at_once) {
            self.problem.check_time()?;
            let count = at_once.min(points - first);
            let unit = unit.clone().repeat_dim(0, count);
            let (by_latent, by_action) = linear.pullback(first..first + count, unit);
            let columns = Tensor::cat(vec![by_latent, by_action], 2).swap_dims(1, 2);
            values.extend(read("transition Jacobian", columns)?);
        }
        Ok(values)
    }

    /// The policies of those of the `pending` plans whose damped problem has a minimum.
    fn solve(&self, locals: &[LocalPlan], pending: &[usize]) -> (Vec<usize>, Vec<Vec<Gain>>) {
        let solve = |plan: usize| {
            self.problem.check_time().ok()?;
            let local = &locals[plan];
            let defects = local.defect_slope.as_ref().map(|slope| DefectCost {
                weights: &self.penalties[plan].weights,
                slope,
            });
            let problem = LocalProblem {
                sizes: self.sizes(),
                by_latent: &local.by_latent,
                by_action: &local.by_action,
                gradient: &local.costs.gradient,
                hessian: &local.costs.hessian,
                actions: &local.actions,
                defects,
                damping: self.dampings[plan].0,
            };
            problem.solve().map(|gains| (plan, gains))
        };
        pending.iter().copied().filter_map(solve).unzip()
    }

    /// Keeps of the `candidates` `[plans · lengths, …]` of these plans what lowers a plan's merit; the
    /// plans that it was kept for.
    fn select(
        &mut self,
        plans: &[usize],
        candidates: Batch,
        merits: &[f64],
        decreases: &mut [f64],
    ) -> Result<Vec<usize>, PlanError> {
        let [rows, horizon, latent] = candidates.latents.dims();
        self.model_steps += rows * horizon;
        let scores = self.cost.scores(self.problem.model, &candidates.latents)?;
        let largest = candidates.latents.clone().abs().flatten::<2>(1, 2);
        let largest = read("latents", largest.max_dim(1))?;
        let defects = match &candidates.defects {
            Some(defects) => read("defects", defects.clone())?,
            None => Vec::new(),
        };
        let (mut chosen, mut accepted) = (Vec::new(), Vec::new());
        for (place, &plan) in plans.iter().enumerate() {
            let merit = |row: usize| {
                let size = horizon * latent;
                let penalty = self.penalties.get(plan).map_or(0.0, |penalty| {
                    penalty.of(&defects[row * size..(row + 1) * size])
                });
                // Neither a number that is none nor an unstable rollout.
                let merit = scores[row].cost + penalty;
                let is_sound = largest[row] < LARGEST_LATENT && merit.is_finite();
                if is_sound { merit } else { f64::INFINITY }
            };
            let rows = place * LENGTHS.len()..(place + 1) * LENGTHS.len();
            let best = rows.map(|row| (row, merit(row)));
            let best = best.fold((0, f64::INFINITY), |best, next| {
                if next.1 < best.1 { next } else { best }
            });
            let before = merits[plan];
            if best.1 < before - LEAST_DECREASE * before.abs() {
                decreases[plan] = (before - best.1) / before.abs().max(1.0);
                self.scores[plan] = scores[best.0];
                self.dampings[plan].lower();
                chosen.push(best.0);
                accepted.push(plan);
            }
        }
        self.replace(&accepted, candidates, &chosen);
        Ok(accepted)
    }

    /// The sizes of a latent and of an action.
    fn sizes(&self) -> [usize; 2] {
        [self.start.dims()[1], self.present.actions.dims()[2]]
    }

    /// Puts the candidates in the `chosen` rows in the places of the plans `accepted`.
    fn replace(&mut self, accepted: &[usize], candidates: Batch, chosen: &[usize]) {
        if accepted.is_empty() {
            return;
        }
        let plans = self.plans();
        let mut order: Vec<usize> = (0..plans).collect();
        for (place, &plan) in accepted.iter().enumerate() {
            order[plan] = plans + place;
        }
        let device = self.start.device();
        let (new, order) = (Rows::new(chosen, &device), Rows::new(&order, &device));
        let merge = |old: &Tensor<3>, candidates: &Tensor<3>| {
            order.of(&Tensor::cat(vec![old.clone(), new.of(candidates)], 0))
        };
        self.present = Batch {
            latents: merge(&self.present.latents, &candidates.latents),
            actions: merge(&self.present.actions, &candidates.actions),
            defects: match (&self.present.defects, &candidates.defects) {
                (Some(old), Some(new)) => Some(merge(old, new)),
                _ => None,
            },
        };
    }

    /// The trajectories that the policies lead to through the model itself, `[plans · lengths, …]`.
    fn follow(
        &self,
        locals: &[LocalPlan],
        plans: &[usize],
        present: &Batch,
        policies: Vec<Vec<Gain>>,
    ) -> Result<Batch, PlanError> {
        let [latent, action] = self.sizes();
        let horizon = self.problem.horizon;
        let device = self.start.device();
        let (count, lengths) = (plans.len(), LENGTHS.len());
        let law = Law::pack(locals, plans, &policies, self.sizes());
        let upload = |values: Vec<f32>, rows: usize, columns: usize| {
            Tensor::<4>::from_data(
                TensorData::new(values, [horizon, count, rows, columns]),
                &device,
            )
        };
        let of_action = upload(law.actions, 1 + latent, action);
        let of_defect =
            (!law.defects.is_empty()).then(|| upload(law.defects, 1 + latent + action, latent));
        let lengths_of: Vec<f32> = LENGTHS.iter().map(|&length| length as f32).collect();
        let length = Tensor::<3>::from_data(TensorData::new(lengths_of, [1, lengths, 1]), &device);
        let length = length.repeat_dim(0, count);
        let at = |steps: &Tensor<3>, step: usize| at_step(steps, step).unsqueeze_dim::<3>(1);
        let law_at =
            |law: &Tensor<4>, step: usize| law.clone().narrow(0, step, 1).squeeze_dim::<3>(0);

        let mut latents = self
            .start
            .clone()
            .unsqueeze_dim::<3>(0)
            .repeat(&[count, lengths, 1]);
        let mut reference = self
            .start
            .clone()
            .unsqueeze_dim::<3>(0)
            .repeat_dim(0, count);
        let (mut nodes, mut moves, mut misses) = (Vec::new(), Vec::new(), Vec::new());
        for step in 0..horizon {
            self.problem.check_time()?;
            let deviation = latents.clone() - reference;
            let inputs = Tensor::cat(vec![length.clone(), deviation], 2);
            let now = at(&present.actions, step);
            let moved =
                (inputs.clone().matmul(law_at(&of_action, step)) + now.clone()).clamp(-1.0, 1.0);
            let next = self.problem.model.transition_mean(
                latents.reshape([count * lengths, latent]),
                moved.clone().reshape([count * lengths, action]),
            );
            latents = next.reshape([count, lengths, latent]);
            if let (Some(law), Some(defects)) = (&of_defect, &present.defects) {
                let inputs = Tensor::cat(vec![inputs, moved.clone() - now], 2);
                let miss = inputs.matmul(law_at(law, step)) + at(defects, step);
                latents = latents + miss.clone();
                misses.push(miss.reshape([count * lengths, latent]));
            }
            reference = at(&present.latents, step);
            nodes.push(latents.clone().reshape([count * lengths, latent]));
            moves.push(moved.reshape([count * lengths, action]));
        }
        Ok(Batch {
            latents: Tensor::stack(nodes, 1),
            actions: Tensor::stack(moves, 1),
            defects: (!misses.is_empty()).then(|| Tensor::stack(misses, 1)),
        })
    }
}

/// The plans of a batch around their trajectories.
enum Expansion<'a> {
    Riccati(Vec<LocalPlan>),
    ResidualSpace(Box<LeastSquares<'a>>),
}

/// What [`LocalProblem`] is made of.
struct LocalPlan {
    by_latent: Vec<f64>,
    by_action: Vec<f64>,
    costs: NodeCosts,
    actions: Vec<f64>,
    defect_slope: Option<Vec<f64>>,
}

/// Policies as matrices that rows `[α, dz]` are multiplied with, and rows `[α, dz, da]` for defects.
struct Law {
    /// `[k; Kᵀ]`, `[horizon, plans, 1 + latent, action]`.
    actions: Vec<f32>,
    /// `[d; (D A)ᵀ; (D B)ᵀ]`, `[horizon, plans, 1 + latent + action, latent]`.
    defects: Vec<f32>,
}

impl Law {
    fn pack(
        locals: &[LocalPlan],
        plans: &[usize],
        policies: &[Vec<Gain>],
        [latent, action]: [usize; 2],
    ) -> Self {
        let mut law = Self {
            actions: Vec::new(),
            defects: Vec::new(),
        };
        // Columns of a matrix in memory are rows of its transpose.
        let push = |values: &mut Vec<f32>, matrix: &[f64]| {
            values.extend(matrix.iter().map(|&value| value as f32));
        };
        for step in 0..policies[0].len() {
            for (&plan, policy) in plans.iter().zip(policies) {
                let gain = &policy[step];
                push(&mut law.actions, gain.action.as_slice());
                push(&mut law.actions, gain.action_by_latent.as_slice());
                let Some((open, feedback)) = &gain.defect else {
                    continue;
                };
                let of = |values: &[f64], columns: usize| {
                    let size = latent * columns;
                    let own = &values[step * size..(step + 1) * size];
                    feedback * DMatrixView::from_slice(own, latent, columns)
                };
                push(&mut law.defects, open.as_slice());
                push(
                    &mut law.defects,
                    of(&locals[plan].by_latent, latent).as_slice(),
                );
                push(
                    &mut law.defects,
                    of(&locals[plan].by_action, action).as_slice(),
                );
            }
        }
        law
    }
}
