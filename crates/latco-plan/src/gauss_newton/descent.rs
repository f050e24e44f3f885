//! Gauss–Newton steps of several plans side by side, each with damping of its own.

use burn::tensor::{Device, Tensor, TensorData};
use latco_kernels::{join, stack};
use serde::{Deserialize, Serialize};

use super::{
    constraints::{Constraints, DefectTarget, LocalConstraints, Misses},
    cost::{Cost, NodeCosts, Score},
    riccati::{DefectCost, Gain, LocalProblem, jacobian, jacobians},
};
use crate::{
    Passes, PlanError,
    collocation::{ActionBounds, LeastSquares, Rows, Step, StepResiduals, Structure, Trajectories},
    dual::Penalty,
    host::read,
    rollout::at_step,
    solve::Problem,
    threads::on_shares,
};

/// Step lengths that are tried side by side. Of nodes that stand for several latents each only the full step
/// is: what the others cost is better spent on another damping.
const LENGTHS: [f64; 5] = [1.0, 0.5, 0.25, 0.1, 0.03];

/// Dampings tried from one linearisation.
const TRIES: usize = 4;

/// The weight of defects where there are none.
const RIGID: f64 = 1e8;

/// Damping that is always there where the step has no other curvature in the actions.
const LEAST_DAMPING: f64 = 1e-6;

/// Latents beyond this, and so many times beyond those that the plan begins with, are of an unstable rollout.
const LARGEST_LATENT: f32 = 1e4;
const LARGEST_GROWTH: f32 = 1e2;

/// The share of the merit that a step must lower it by.
const LEAST_DECREASE: f64 = 1e-7;

/// Levenberg–Marquardt damping: tenfold after a refused step, a fifth after an accepted one.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Damping(f64);

impl Damping {
    /// Of a first step where nothing else is asked for.
    pub const FIRST: f64 = 1e-3;
    const LEAST: f64 = 1e-5;
    const RAISED: f64 = 1e-4;
    const MOST: f64 = 1e6;
    const SMALL: f64 = 0.1;

    pub fn new(first: f64) -> Self {
        Self(first)
    }

    /// After so many refused steps.
    fn raised(self, times: usize) -> Self {
        (0..times).fold(self, |damping, _| match damping.is_exhausted() {
            true => damping,
            false => Self((damping.0 * 10.0).max(Self::RAISED)),
        })
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

    /// Whether a step with it is a Gauss–Newton step, and not a short one down the slope.
    pub fn is_small(self) -> bool {
        self.0 <= Self::SMALL
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
        let of_all = |part: fn(&Self) -> &Tensor<3>| {
            join(batches.iter().map(|batch| part(batch).clone()).collect(), 0)
        };
        let defects = batches.iter().map(|batch| batch.defects.clone());
        Self {
            latents: of_all(|batch| &batch.latents),
            actions: of_all(|batch| &batch.actions),
            defects: defects.collect::<Option<Vec<_>>>().map(|all| join(all, 0)),
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
    constraints: Constraints<'a>,
    cost: Cost,
    pub present: Batch,
    pub scores: Vec<Score>,
    pub dampings: Vec<Damping>,
    /// One for each constraint of each plan; none where the dynamics hold.
    pub penalties: Vec<Vec<Penalty>>,
    /// The values of each plan's constraints.
    pub misses: Vec<Misses>,
    /// Rows that went through the model's transition.
    pub model_steps: usize,
    elimination: Elimination,
    /// Residuals of a plan.
    rows: usize,
    /// Threads of a CPU that share an iteration.
    workers: usize,
}

/// Where a sweep over time takes the place of one system for all reward residuals, in residuals for each
/// dimension of the latent. Models with whole passes cross at 3.7, others far earlier; and a sweep's feedback
/// helps where dynamics are far from linear (`point size=16 horizon=100`: return 51.8, of one system 49.8).
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
    /// One unknown for each reward residual ([`residual_space`](crate::collocation::residual_space)): for
    /// large latents and short horizons. Time and memory grow with the square of the horizon.
    ResidualSpace,
}

impl Elimination {
    pub(crate) fn resolved(self, rows: usize, latent: usize) -> Self {
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
        constraints: Constraints<'a>,
        cost: Cost,
        present: Batch,
        penalties: Vec<Vec<Penalty>>,
    ) -> Result<Self, PlanError> {
        let [plans, horizon, _] = present.actions.dims();
        let model = constraints.lagrangian.model();
        let own = cost.rows_per_node(model, constraints.lagrangian.start(1));
        let descent = Self {
            elimination: Elimination::Automatic,
            rows: horizon * (own + constraints.of_user()),
            scores: cost.scores(model, &present.latents)?,
            misses: constraints.residuals(&present)?,
            dampings: vec![Damping::new(Damping::FIRST); plans],
            model_steps: plans * horizon,
            workers: problem.resources.workers,
            constraints,
            problem,
            cost,
            present,
            penalties,
        };
        descent.with_elimination(Elimination::Automatic)
    }

    fn start(&self, plans: usize) -> Tensor<2> {
        self.constraints.lagrangian.start(plans)
    }

    /// The step lengths to try.
    fn lengths(&self) -> &'static [f64] {
        match self.constraints.lagrangian.lifted.is_identity() {
            true => &LENGTHS,
            false => &LENGTHS[..1],
        }
    }

    fn device(&self) -> Device {
        self.present.actions.device()
    }

    pub fn plans(&self) -> usize {
        self.scores.len()
    }

    /// Has steps found in this way.
    ///
    /// # Errors
    ///
    /// If the divergence of relaxed plans has no residuals.
    pub fn with_elimination(mut self, elimination: Elimination) -> Result<Self, PlanError> {
        let [latent, _] = self.sizes();
        let dense = !self.penalties.is_empty() && self.constraints.structure()? == Structure::Dense;
        self.elimination = match dense {
            true => Elimination::Riccati,
            false => elimination.resolved(self.rows, latent),
        };
        Ok(self)
    }

    /// The returns, `[plans]`.
    pub fn totals(&self) -> Vec<f32> {
        self.scores.iter().map(|score| score.total as f32).collect()
    }

    /// The plans, the one of least cost first.
    pub fn ranked(&self) -> Vec<usize> {
        // NaN may have either sign, and a negative one would come first.
        let cost = |plan: usize| match self.scores[plan].cost {
            cost if cost.is_nan() => f64::INFINITY,
            cost => cost,
        };
        let mut order: Vec<usize> = (0..self.plans()).collect();
        order.sort_by(|&a, &b| cost(a).total_cmp(&cost(b)));
        order
    }

    /// Goes on with these plans alone, in this order.
    pub fn keep(&mut self, plans: &[usize]) {
        *self = Self {
            model_steps: self.model_steps,
            ..self.share(plans)
        };
    }

    /// Some of the plans.
    fn share(&self, plans: &[usize]) -> Self {
        let penalties = match self.penalties.is_empty() {
            true => Vec::new(),
            false => plans
                .iter()
                .map(|&plan| self.penalties[plan].clone())
                .collect(),
        };
        Self {
            present: self.present.rows(&Rows::new(plans, &self.device())),
            scores: plans.iter().map(|&plan| self.scores[plan]).collect(),
            dampings: plans.iter().map(|&plan| self.dampings[plan]).collect(),
            misses: plans
                .iter()
                .map(|&plan| self.misses[plan].clone())
                .collect(),
            constraints: self.constraints.clone(),
            penalties,
            model_steps: 0,
            ..*self
        }
    }

    /// One step of every plan, shared out among threads; by how much each plan's merit fell, relative to
    /// its size.
    pub fn iterate(&mut self) -> Result<Vec<f64>, PlanError> {
        let (plans, workers) = (self.plans(), self.workers);
        if plans.min(workers) == 1 {
            return self.iterate_alone();
        }
        let shares = on_shares(plans, workers, |part| {
            let mut share = self.share(&part.collect::<Vec<_>>());
            share.workers = (workers / plans).max(1);
            share.iterate_alone().map(|decreases| (share, decreases))
        });
        let (shares, decreases): (Vec<_>, Vec<_>) = shares?.into_iter().unzip();
        let mut present = Vec::with_capacity(shares.len());
        self.scores.clear();
        self.dampings.clear();
        self.misses.clear();
        for share in shares {
            present.push(share.present);
            self.scores.extend(share.scores);
            self.dampings.extend(share.dampings);
            self.misses.extend(share.misses);
            self.model_steps += share.model_steps;
        }
        self.present = Batch::joined(present);
        Ok(decreases.concat())
    }

    /// One linearisation of every plan and the first step from it that lowers its merit.
    fn iterate_alone(&mut self) -> Result<Vec<f64>, PlanError> {
        let plans = self.plans();
        let merits: Vec<_> = (0..plans)
            .map(|plan| self.merit(plan, self.scores[plan], &self.misses[plan]))
            .collect();
        let constraints = self.constraints.clone();
        let expansion = match self.elimination {
            Elimination::Riccati => Expansion::Riccati(self.expand()?),
            Elimination::Automatic | Elimination::ResidualSpace => {
                Expansion::ResidualSpace(Box::new(self.linearise(&constraints)?))
            }
        };
        let mut decreases = vec![0.0; plans];
        let mut pending: Vec<usize> = (0..plans).collect();
        let at_once = self.tries_at_once();
        for _ in 0..TRIES / at_once {
            let (solved, candidates) = self.candidates(&expansion, &pending, at_once)?;
            if let Some(candidates) = candidates {
                let accepted =
                    self.select(&solved, candidates, at_once, &merits, &mut decreases)?;
                pending.retain(|plan| !accepted.contains(plan));
            }
            for &plan in &pending {
                self.dampings[plan] = self.dampings[plan].raised(at_once);
            }
            pending.retain(|&plan| !self.dampings[plan].is_exhausted());
            if pending.is_empty() {
                break;
            }
        }
        Ok(decreases)
    }

    /// The dampings that are tried side by side: all of them where a rollout of several takes as long as one
    /// of one, and waiting for it longer than both.
    fn tries_at_once(&self) -> usize {
        let is_wide = self.problem.resources.rows > 1;
        match self.elimination {
            Elimination::ResidualSpace if is_wide => TRIES,
            _ => 1,
        }
    }

    /// The cost of a plan and what its constraints add to it.
    fn merit(&self, plan: usize, score: Score, misses: &Misses) -> f64 {
        let penalties = self.penalties.get(plan).into_iter().flatten();
        let terms = penalties.zip(misses);
        score.cost
            + terms
                .map(|(penalty, misses)| penalty.of(misses))
                .sum::<f64>()
    }

    /// Where steps of the `pending` plans lead with so many dampings and each step length: the plans that
    /// have a step, and their trajectories, `[dampings · plans · lengths, …]`.
    fn candidates(
        &self,
        expansion: &Expansion<'_>,
        pending: &[usize],
        dampings: usize,
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
                match self.steps(system, dampings) {
                    // A plan that has left what the model knows has no step; damping does not help it.
                    Err(PlanError::NotFinite { .. }) => Ok((Vec::new(), None)),
                    steps => {
                        let candidates = self.follow_steps(&steps?, pending)?;
                        Ok((pending.to_vec(), Some(candidates)))
                    }
                }
            }
        }
    }

    fn present_of(&self, plans: &[usize]) -> Batch {
        match plans.len() == self.plans() {
            true => self.present.clone(),
            false => self.present.rows(&Rows::new(plans, &self.device())),
        }
    }

    /// The least-squares problem in residual space.
    fn linearise<'c>(
        &mut self,
        constraints: &'c Constraints<'_>,
    ) -> Result<RelaxedSystem<'c>, PlanError> {
        let [plans, horizon, latent] = self.present.latents.dims();
        self.model_steps += plans * horizon;
        let device = self.device();
        let target = match self.penalties.as_slice() {
            [] => DefectTarget {
                weights: Tensor::full([plans, horizon, latent], RIGID, &device),
                shift: self.present.latents.zeros_like(),
            },
            penalties => constraints.defect_target(&self.present, penalties, &self.misses)?,
        };
        let defects = match &self.present.defects {
            Some(defects) => defects.clone().neg() - target.shift.clone(),
            None => target.shift.clone(),
        };
        let trajectories = Trajectories {
            latents: self.present.latents.clone(),
            actions: self.present.actions.clone(),
        };
        let model = constraints.lagrangian.model();
        let (values, by_latent) = self.cost.rows(model, &self.present.latents);
        let mut residuals = StepResiduals {
            values,
            by_latent,
            by_action: None,
        };
        if !self.penalties.is_empty() {
            constraints.append_user(&self.present, &self.penalties, &self.misses, &mut residuals);
        }
        let system = LeastSquares::in_residual_space(
            model,
            self.start(plans),
            &trajectories,
            defects,
            residuals,
        );
        Ok(RelaxedSystem {
            system: system
                .with_bounds(constraints.bounds)
                .with_workers(self.workers),
            bounds: constraints.bound_terms(&self.present, &self.penalties, &self.misses),
            target,
        })
    }

    /// The damped steps of every plan, of its damping and of those that follow it: by how much actions
    /// change, and the defects after it.
    fn steps(&self, relaxed: &RelaxedSystem<'_>, count: usize) -> Result<Vec<Step>, PlanError> {
        let dampings = (0..count).map(|raised| {
            let dampings = self.dampings.iter().map(|damping| damping.raised(raised));
            let dampings: Vec<f32> = dampings
                .map(|damping| (damping.0 + LEAST_DAMPING) as f32)
                .collect();
            Tensor::<1>::from_floats(dampings.as_slice(), &self.device())
        });
        let target = &relaxed.target;
        let dampings: Vec<_> = dampings.collect();
        let steps = relaxed
            .system
            .damped_steps(&target.weights, &relaxed.bounds, &dampings)?;
        let shifted = |step: Step| Step {
            defects: step.defects - target.shift.clone(),
            ..step
        };
        Ok(steps.into_iter().map(shifted).collect())
    }

    /// The trajectories that shares of the steps lead to, `[steps · plans · lengths, …]`.
    fn follow_steps(&self, steps: &[Step], plans: &[usize]) -> Result<Batch, PlanError> {
        let device = self.device();
        let present = self.present_of(plans);
        let rows = Rows::new(plans, &device);
        let count = self.lengths().len();
        let lengths = self.lengths().iter().map(|&length| length as f32);
        let lengths = TensorData::new(lengths.collect::<Vec<_>>(), [1, count, 1, 1]);
        let lengths = Tensor::<4>::from_data(lengths, &device);
        let of_all = |part: fn(&Step) -> &Tensor<3>| {
            let parts = steps.iter().map(|step| rows.of(part(step)));
            join(parts.collect(), 0)
        };
        let spread = |from: &Tensor<3>, change: Tensor<3>| {
            let from = from.clone().repeat_dim(0, steps.len());
            let moved = change.unsqueeze_dim::<4>(1) * lengths.clone();
            (from.unsqueeze_dim::<4>(1) + moved).flatten::<3>(0, 1)
        };
        let actions = spread(&present.actions, of_all(|step| &step.actions));
        let actions = self.within_bounds(actions);
        let defects = present.defects.as_ref().map(|defects| {
            let present = defects.clone().repeat_dim(0, steps.len());
            let change = of_all(|step| &step.defects) - present;
            spread(defects, change)
        });
        let model = self.constraints.lagrangian.model();
        let start = self.start(steps.len() * plans.len() * count);
        let at_once = |passes: &dyn Passes| {
            passes.latents_along(start.clone(), actions.clone(), defects.clone())
        };
        if let Some(latents) = model.passes().and_then(at_once) {
            return Ok(Batch {
                latents,
                actions,
                defects,
            });
        }
        let mut latent = start;
        let mut latents = Vec::with_capacity(self.problem.horizon);
        for step in 0..self.problem.horizon {
            self.problem.check_time()?;
            latent = model.transition_mean(latent, at_step(&actions, step));
            if let Some(defects) = &defects {
                latent = latent + at_step(defects, step);
            }
            latents.push(latent.clone());
        }
        Ok(Batch {
            latents: stack(latents, 1),
            actions,
            defects,
        })
    }

    /// Actions that stop at their bounds, unless these may be passed.
    fn within_bounds(&self, actions: Tensor<3>) -> Tensor<3> {
        match self.constraints.bounds {
            ActionBounds::Projected => actions.clamp(-1.0, 1.0),
            ActionBounds::Penalised => actions,
        }
    }

    /// Every plan around its trajectory, in double precision.
    fn expand(&mut self) -> Result<Vec<LocalPlan>, PlanError> {
        let [plans, horizon, action] = self.present.actions.dims();
        let [latent, _] = self.sizes();
        self.model_steps += plans * horizon;
        let jacobians = self.jacobians()?;
        let actions = read("actions", self.present.actions.clone())?;
        let model = self.constraints.lagrangian.model();
        let costs = self.cost.expand(model, &self.present.latents)?;
        let constraints = match self.penalties.is_empty() {
            true => None,
            false => Some(LocalConstraints::of(&self.constraints, &self.present)?),
        };
        let step = (latent + action) * latent;
        let local = |(plan, costs): (usize, NodeCosts)| {
            let first = plan * horizon;
            let jacobians = &jacobians[first * step..(first + horizon) * step];
            let actions = actions[first * action..(first + horizon) * action].iter();
            let (costs, defects) = match &constraints {
                None => (costs, None),
                Some(constraints) => {
                    let (penalties, misses) = (&self.penalties[plan], &self.misses[plan]);
                    (
                        constraints.add_others(plan, penalties, misses, costs),
                        Some(constraints.defect_cost(plan, penalties, misses)),
                    )
                }
            };
            LocalPlan {
                jacobians: jacobians.to_vec(),
                actions: actions.copied().map(f64::from).collect(),
                costs,
                defects,
            }
        };
        Ok(costs.into_iter().enumerate().map(local).collect())
    }

    /// `[A, B]` of every step of every plan, each column by column.
    fn jacobians(&self) -> Result<Vec<f32>, PlanError> {
        let [plans, horizon, _] = self.present.actions.dims();
        let [latent, _] = self.sizes();
        let points = plans * horizon;
        let present = Trajectories {
            latents: self.present.latents.clone(),
            actions: self.present.actions.clone(),
        };
        let linear = self.constraints.lagrangian.model().linearise(
            present.previous(self.start(plans)).flatten(0, 1),
            present.actions.flatten(0, 1),
        );
        jacobians(linear.as_ref(), [points, latent], &self.device(), || {
            self.problem.check_time()
        })
    }

    /// The policies of those of the `pending` plans whose damped problem has a minimum.
    fn solve(&self, locals: &[LocalPlan], pending: &[usize]) -> (Vec<usize>, Vec<Vec<Gain>>) {
        let solve = |plan: usize| {
            self.problem.check_time().ok()?;
            let local = &locals[plan];
            let horizon = self.problem.horizon;
            let problem = LocalProblem {
                sizes: self.sizes(),
                jacobian: &|step| jacobian(&local.jacobians, step, self.sizes()),
                costs: &|step| local.costs.at(step, horizon),
                actions: &local.actions,
                bounded: self.constraints.bounds == ActionBounds::Projected,
                defects: local.defects.as_ref(),
                defect_damping: self.dampings[plan].0,
                action_damping: self.dampings[plan].0,
            };
            problem.solve().map(|gains| (plan, gains))
        };
        pending.iter().copied().filter_map(solve).unzip()
    }

    /// Keeps of the `candidates` `[dampings · plans · lengths, …]` of these plans what lowers a plan's
    /// merit with the least damping; the plans that it was kept for.
    fn select(
        &mut self,
        plans: &[usize],
        candidates: Batch,
        dampings: usize,
        merits: &[f64],
        decreases: &mut [f64],
    ) -> Result<Vec<usize>, PlanError> {
        let [rows, horizon, _] = candidates.latents.dims();
        self.model_steps += rows * horizon;
        let model = self.constraints.lagrangian.model();
        let terms = self.cost.terms(model, &candidates.latents);
        let largest = candidates.latents.clone().abs().flatten::<2>(1, 2);
        let count = terms.dims()[1];
        let values = read("merit", join(vec![terms, largest.max_dim(1)], 1))?;
        let values: Vec<_> = values.chunks(count + 1).collect();
        let limit = self.largest_sound(values.iter().map(|values| values[count]))?;
        let scores: Vec<_> = values
            .iter()
            .map(|values| self.cost.score(&values[..count]))
            .collect();
        let mut misses = self.constraints.residuals(&candidates)?;
        let lengths = self.lengths().len();
        let (mut chosen, mut accepted) = (Vec::new(), Vec::new());
        for (place, &plan) in plans.iter().enumerate() {
            let merit = |row: usize| {
                // Neither a number that is none nor an unstable rollout.
                let merit = self.merit(plan, scores[row], &misses[row]);
                let is_sound = values[row][count] < limit && merit.is_finite();
                if is_sound { merit } else { f64::INFINITY }
            };
            let before = merits[plan];
            let found = (0..dampings).find_map(|raised| {
                let damping = self.dampings[plan].raised(raised);
                let first = (raised * plans.len() + place) * lengths;
                let best = (first..first + lengths).map(|row| (row, merit(row)));
                let best = best.min_by(|a, b| a.1.total_cmp(&b.1))?;
                let is_lower = best.1 < before - LEAST_DECREASE * before.abs();
                let is_tried = raised == 0 || !damping.is_exhausted();
                (is_lower && is_tried).then_some((damping, best))
            });
            if let Some((damping, (row, merit))) = found {
                decreases[plan] = (before - merit) / before.abs().max(1.0);
                self.scores[plan] = scores[row];
                self.misses[plan] = std::mem::take(&mut misses[row]);
                self.dampings[plan] = damping;
                self.dampings[plan].lower();
                chosen.push(row);
                accepted.push(plan);
            }
        }
        self.replace(&accepted, candidates, &chosen);
        Ok(accepted)
    }

    /// The size from which latents are of an unstable rollout; where none `found` comes near it, a bound that
    /// they are below.
    fn largest_sound(&self, mut found: impl Iterator<Item = f32>) -> Result<f32, PlanError> {
        if found.all(|largest| largest < LARGEST_LATENT) {
            return Ok(LARGEST_LATENT);
        }
        let start = read("start", self.start(1))?;
        let largest = start.into_iter().map(f32::abs).fold(0.0, f32::max);
        Ok(LARGEST_LATENT.max(LARGEST_GROWTH * largest))
    }

    /// The sizes of a latent and of an action.
    fn sizes(&self) -> [usize; 2] {
        [
            self.present.latents.dims()[2],
            self.present.actions.dims()[2],
        ]
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
        let device = self.device();
        let (new, order) = (Rows::new(chosen, &device), Rows::new(&order, &device));
        let merge = |old: &Tensor<3>, candidates: &Tensor<3>| {
            order.of(&join(vec![old.clone(), new.of(candidates)], 0))
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
        let device = self.device();
        let (count, lengths) = (plans.len(), self.lengths().len());
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
        let lengths_of = self.lengths().iter().map(|&length| length as f32);
        let lengths_of: Vec<f32> = lengths_of.collect();
        let length = Tensor::<3>::from_data(TensorData::new(lengths_of, [1, lengths, 1]), &device);
        let length = length.repeat_dim(0, count);
        let at = |steps: &Tensor<3>, step: usize| at_step(steps, step).unsqueeze_dim::<3>(1);
        let law_at =
            |law: &Tensor<4>, step: usize| law.clone().narrow(0, step, 1).squeeze_dim::<3>(0);

        let model = self.constraints.lagrangian.model();
        let start = self.start(1).unsqueeze_dim::<3>(0);
        let mut latents = start.clone().repeat(&[count, lengths, 1]);
        let mut reference = start.repeat_dim(0, count);
        let (mut nodes, mut moves, mut misses) = (Vec::new(), Vec::new(), Vec::new());
        for step in 0..horizon {
            self.problem.check_time()?;
            let deviation = latents.clone() - reference;
            let inputs = join(vec![length.clone(), deviation], 2);
            let now = at(&present.actions, step);
            let moved = inputs.clone().matmul(law_at(&of_action, step)) + now.clone();
            let moved = self.within_bounds(moved);
            let next = model.transition_mean(
                latents.reshape([count * lengths, latent]),
                moved.clone().reshape([count * lengths, action]),
            );
            latents = next.reshape([count, lengths, latent]);
            if let (Some(law), Some(defects)) = (&of_defect, &present.defects) {
                let inputs = join(vec![inputs, moved.clone() - now], 2);
                let miss = inputs.matmul(law_at(law, step)) + at(defects, step);
                latents = latents + miss.clone();
                misses.push(miss.reshape([count * lengths, latent]));
            }
            reference = at(&present.latents, step);
            nodes.push(latents.clone().reshape([count * lengths, latent]));
            moves.push(moved.reshape([count * lengths, action]));
        }
        Ok(Batch {
            latents: stack(nodes, 1),
            actions: stack(moves, 1),
            defects: (!misses.is_empty()).then(|| stack(misses, 1)),
        })
    }
}

/// The plans of a batch around their trajectories.
enum Expansion<'a> {
    Riccati(Vec<LocalPlan>),
    ResidualSpace(Box<RelaxedSystem<'a>>),
}

/// The least-squares problem of all plans.
struct RelaxedSystem<'a> {
    system: LeastSquares<'a>,
    target: DefectTarget,
    /// Slope and curvature of the actions' bounds, `[plans, horizon, action]` each.
    bounds: [Tensor<3>; 2],
}

/// What [`LocalProblem`] is made of.
struct LocalPlan {
    jacobians: Vec<f32>,
    costs: NodeCosts,
    actions: Vec<f64>,
    defects: Option<DefectCost>,
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
                let jacobian = jacobian(&locals[plan].jacobians, step, [latent, action]);
                let mut by_both = feedback.columns(0, latent) * jacobian;
                if feedback.ncols() > latent {
                    let mut by_action = by_both.columns_mut(latent, action);
                    by_action += feedback.columns(latent, action);
                }
                push(&mut law.defects, open.as_slice());
                push(&mut law.defects, by_both.as_slice());
            }
        }
        law
    }
}
