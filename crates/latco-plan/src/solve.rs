//! The one loop that every method runs in.
//!
//! A [`Method`] is settings that begin a [`Search`]; a search takes steps, and offers what it rolls out
//! to a [`Pool`]. The loop, [`Solver`], owns all else: the clock, the observer, the trace, the stopping
//! rules and the best rollout ever seen, starts included, which is what comes back. Searches compose:
//! the candidates that one adds to the pool the next starts from, and [`sequence`] runs one after another.

use std::{collections::VecDeque, fmt::Debug, time::Duration};

use burn::tensor::Tensor;
use latco_kernels::{join, stack};

use crate::{
    Belief, ConfigError, Deadline, Differentiable, Iteration, LatentModel, Noise, Observer,
    Outcome, Passes, Plan, PlanContext, PlanError, Planner, Resources, RewardsAlong, Rollout,
    StopReason,
    collocation::Constraint,
    host::{read, require_finite, returns, sums},
    planner::check_belief,
    roll_out,
    rollout::{at_step, latents_along},
    shooting::Chunks,
    starts::remaining_actions,
    threads::on_shares,
    trust,
};

/// What is planned for.
pub struct Problem<'a> {
    /// The model, prepared for many calls.
    pub model: &'a dyn LatentModel,
    /// Where plans start.
    pub belief: &'a Belief,
    /// Steps of a plan, T.
    pub horizon: usize,
    /// What is left of an earlier plan, `[horizon, action]`.
    pub earlier: Option<Tensor<2>>,
    /// The earlier plan itself and the number of its steps executed since.
    pub warm_start: Option<(&'a Plan, usize)>,
    /// The user's constraints.
    pub constraints: &'a [Constraint],
    /// What the model's device does at once.
    pub resources: Resources,
    clock: Deadline,
}

impl<'a> Problem<'a> {
    /// Without an earlier plan, constraints or a deadline, on one thread.
    pub fn new(model: &'a dyn LatentModel, belief: &'a Belief, horizon: usize) -> Self {
        Self {
            model,
            belief,
            horizon,
            earlier: None,
            warm_start: None,
            constraints: &[],
            resources: Resources::default(),
            clock: Deadline::start(None),
        }
    }

    /// The same problem for another model with these actions, whose latents start at `belief`.
    pub(crate) fn on<'b>(&'b self, model: &'b dyn LatentModel, belief: &'b Belief) -> Problem<'b> {
        Problem {
            model,
            belief,
            earlier: self.earlier.clone(),
            ..*self
        }
    }

    /// The share of the deadline that has passed; 0 where there is none.
    pub fn time_spent(&self) -> f64 {
        self.clock.spent()
    }

    /// `z_0` once for each of so many plans, `[plans, latent]`.
    pub fn start(&self, plans: usize) -> Tensor<2> {
        self.belief.mean_of(plans)
    }

    /// Rolls `actions` `[plans, horizon, action]` out from the belief's mean.
    pub fn roll_out(&self, actions: Tensor<3>) -> Rollout {
        let plans = actions.dims()[0];
        roll_out(self.model, self.start(plans), actions)
    }

    /// The latents of the same rollout, `[plans, horizon, latent]`.
    pub(crate) fn latents_along(&self, actions: Tensor<3>) -> Tensor<3> {
        let plans = actions.dims()[0];
        latents_along(self.model, self.start(plans), actions)
    }

    /// `score`, `[rows, latent]` to `[rows, scores]`, of the latents that `actions`
    /// `[samples, horizon, action]` lead to, `[samples, horizon, scores]`; no latent is kept. `of_rewards`
    /// is the same of rewards that the model gives at once.
    pub(crate) fn scores(
        &self,
        actions: &Tensor<3>,
        chunks: Chunks,
        score: impl Fn(Tensor<2>) -> Tensor<2> + Sync,
        of_rewards: impl Fn(RewardsAlong) -> Tensor<2> + Sync,
    ) -> Result<Tensor<3>, PlanError> {
        let samples = actions.dims()[0];
        let scores_of = |(first, count): (usize, usize)| {
            self.check_time()?;
            let actions = actions.clone().narrow(0, first, count);
            let at_once =
                |passes: &dyn Passes| passes.rewards_along(self.start(count), actions.clone());
            if let Some(rewards) = self.model.passes().and_then(at_once) {
                return Ok(of_rewards(rewards).reshape([count as i32, self.horizon as i32, -1]));
            }
            let mut latent = self.start(count);
            let mut scores = Vec::with_capacity(self.horizon);
            for step in 0..self.horizon {
                self.check_time()?;
                // Given away, a latent may be overwritten.
                latent = self.model.transition_mean(latent, at_step(&actions, step));
                scores.push(score(latent.clone()));
            }
            Ok(stack(scores, 1))
        };
        let shares = on_shares(samples, chunks.workers(samples), |share| {
            let scores = chunks.of(share).map(scores_of);
            scores.collect::<Result<Vec<_>, PlanError>>()
        });
        Ok(join(shares?.into_iter().flatten().collect(), 0))
    }

    /// The returns of `actions` `[samples, horizon, action]`; −∞ of those whose rollouts overflow.
    pub(crate) fn returns(
        &self,
        actions: &Tensor<3>,
        chunks: Chunks,
    ) -> Result<Vec<f32>, PlanError> {
        let rewards = self.scores(
            actions,
            chunks,
            |latents| self.model.reward(latents).unsqueeze_dim(1),
            |along| along.rewards.expected.unsqueeze_dim(1),
        )?;
        returns("reward", &read("reward", rewards)?, self.horizon)
    }

    /// The plan with what speaks for it beyond its rollout, as far as there is time.
    fn judged(&self, plan: Plan, seed: u64) -> Result<Plan, PlanError> {
        let (model, start) = (self.model, self.start(1));
        let (actions, latents) = (plan.actions.clone(), plan.rollout_latents.clone());
        if self.check_time().is_err() {
            return Ok(plan);
        }
        let uncertainty = trust::uncertainty(model, start.clone(), actions.clone(), latents)?;
        let mut plan = Plan {
            uncertainty,
            ..plan
        };
        let std = model.action_noise();
        if std > 0.0 && plan.robust_return.is_none() && self.check_time().is_ok() {
            let noise = &mut Noise::new(seed ^ JUDGES);
            let mean = trust::robust_return(model, start, actions, std, noise)?;
            // A copy that overflows says nothing of the plan itself.
            plan.robust_return = Some(mean).filter(|mean| mean.is_finite());
            plan.model_steps += trust::COPIES * self.horizon;
        }
        Ok(plan)
    }

    /// Ends a search in the midst of an iteration where its plan is already late.
    ///
    /// # Errors
    ///
    /// [`PlanError::Interrupted`] once the deadline has passed.
    pub fn check_time(&self) -> Result<(), PlanError> {
        match self.clock.is_over_after(Duration::ZERO) {
            true => Err(PlanError::Interrupted),
            false => Ok(()),
        }
    }
}

/// Keeps the disturbances of the finished plan apart from the search's random numbers of the same seed.
const JUDGES: u64 = 0x5851_f42d_4c95_7f2d;

/// Settings of a method, a value that begins searches.
pub trait Method: Debug + Send + Sync {
    /// Steps of its plans, T.
    fn horizon(&self) -> usize;

    /// Changes the steps of its plans.
    fn set_horizon(&mut self, horizon: usize);

    /// Refuses settings outside their range.
    ///
    /// # Errors
    ///
    /// Names the first such setting.
    fn validate(&self) -> Result<(), ConfigError>;

    /// Whether its plans obey constraints of the user.
    fn takes_constraints(&self) -> bool {
        false
    }

    /// Begins a search. Work belongs into its steps, where the clock is looked at.
    ///
    /// # Errors
    ///
    /// If the problem is not one for this method.
    fn init<'a>(
        &self,
        problem: &'a Problem<'a>,
        pool: &Pool,
        noise: &mut Noise,
    ) -> Result<Box<dyn Search + 'a>, PlanError>;
}

impl<M: Method + 'static> From<M> for Box<dyn Method> {
    fn from(method: M) -> Self {
        Box::new(method)
    }
}

/// A method at work on one problem.
pub trait Search {
    /// One iteration. What was rolled out is offered to the `pool`.
    ///
    /// # Errors
    ///
    /// If numbers are not finite or the device fails.
    fn step(&mut self, pool: &mut Pool) -> Result<Progress, PlanError>;

    /// Adds to the `pool` the candidates that the next search is to start from.
    ///
    /// # Errors
    ///
    /// If the device fails.
    fn finish(&mut self, pool: &mut Pool) -> Result<(), PlanError>;

    /// Calls `steps` with this search and threads that stay for all of its steps; whether it did. Only
    /// where steps are so short that threads for each of them would not pay.
    fn with_threads(&mut self, _steps: &mut dyn FnMut(&mut dyn Search)) -> bool {
        false
    }
}

/// What one iteration achieved.
pub struct Progress {
    /// The summed reward along the planned latents of the best plan.
    pub reward: f32,
    /// What the dynamics' violations and multipliers are; all zero for shooting.
    pub relaxation: Relaxation,
    /// What observers are shown, `[plans, horizon, action]`.
    pub actions: Tensor<3>,
    /// `[plans, horizon, node]`, of collocation.
    pub nodes: Option<Tensor<3>>,
    /// Why the search is over, if it is.
    pub stop: Option<StopReason>,
}

/// How far the best of relaxed plans is from its constraints, and what holds it there.
#[derive(Clone, Copy, Debug, Default)]
pub struct Relaxation {
    /// The mean over steps of the largest `‖d_t‖²` of any constraint of dynamics and user.
    pub violation_mean: f32,
    /// The largest of all; +∞ where a constraint is no number.
    pub violation_max: f32,
    /// The mean weight λ of the defects.
    pub multiplier_mean: f32,
    /// The largest.
    pub multiplier_max: f32,
    /// The largest multiplier ν of the actions' bounds; 0 of methods whose steps stop there.
    pub bound_multiplier_max: f32,
}

impl Progress {
    /// Of a search whose plans keep the dynamics: the best of the `pool`.
    pub fn of_rollouts(pool: &Pool, stop: Option<StopReason>) -> Self {
        Self {
            reward: pool.best.total,
            relaxation: Relaxation::default(),
            actions: pool.best.actions.clone().unsqueeze_dim(0),
            nodes: None,
            stop,
        }
    }

    fn iteration(&self, index: usize) -> Iteration {
        Iteration {
            index,
            reward: self.reward,
            violation_mean: self.relaxation.violation_mean,
            violation_max: self.relaxation.violation_max,
            multiplier_mean: self.relaxation.multiplier_mean,
            multiplier_max: self.relaxation.multiplier_max,
            action_multiplier_max: self.relaxation.bound_multiplier_max,
        }
    }
}

/// Actions and the return of their rollout.
#[derive(Clone, Debug)]
pub struct Candidate {
    /// `[horizon, action]`, within the bounds.
    pub actions: Tensor<2>,
    /// `Σ r(z_t)`.
    pub total: f32,
}

/// What the searches of a plan share.
#[derive(Clone, Debug)]
pub struct Pool {
    /// The best rollout so far.
    pub best: Candidate,
    /// What is left of an earlier plan, and what earlier searches have handed on.
    pub candidates: Vec<Candidate>,
    /// What is to come back in place of the best rollout, with the mean return that it was chosen by.
    chosen: Option<Candidate>,
    /// The plan of relaxed nodes of highest value, and that, of methods that end with such plans.
    relaxed: Option<(f32, Box<Plan>)>,
    /// Whether a search has ended with a plan whose rollout the user's constraints allow.
    pub(crate) keeps_constraints: bool,
    /// The rewards of the rollout that all begins with: of what is left of an earlier plan, or of no action.
    pub(crate) first: Vec<f32>,
    /// Rows that went through the model's transition.
    pub model_steps: usize,
}

impl Pool {
    /// Takes the best of `actions` `[plans, horizon, action]` if its return is the highest so far.
    /// A return that is no number, or +∞, which no reward sums to, is never the best.
    pub fn offer(&mut self, actions: &Tensor<3>, totals: &[f32]) {
        let Some(index) = best_of(totals) else { return };
        if totals[index] > self.best.total || self.best.total.is_nan() {
            self.best = Candidate {
                actions: actions.clone().narrow(0, index, 1).squeeze_dim(0),
                total: totals[index],
            };
        }
    }

    /// Decides for a plan by another measure than its rollout: the mean return over disturbed copies.
    pub fn choose(&mut self, candidate: Candidate) {
        self.chosen = Some(candidate);
    }

    /// Takes a plan of relaxed nodes if its `value` is the highest of such plans: the return of its rollout,
    /// or −∞ where that is not allowed. It is what comes back unless some rollout was better, or another plan
    /// was [chosen](Self::choose).
    pub fn offer_plan(&mut self, plan: Plan, value: f32) {
        self.offer(&plan.actions.clone().unsqueeze_dim(0), &[value]);
        if self.relaxed.as_ref().is_none_or(|(best, _)| value > *best) {
            self.relaxed = Some((value, Box::new(plan)));
        }
    }

    /// Adds all of `actions` `[plans, horizon, action]` to the candidates that the next search starts from.
    pub fn add_candidates(&mut self, actions: &Tensor<3>, totals: &[f32]) {
        self.offer(actions, totals);
        let candidates = totals.iter().enumerate().map(|(index, &total)| Candidate {
            actions: actions.clone().narrow(0, index, 1).squeeze_dim(0),
            total,
        });
        self.candidates.extend(candidates);
    }

    /// The actions of all candidates, or the best rollout where there are none,
    /// `[plans, horizon, action]`.
    pub fn starts(&self) -> Tensor<3> {
        match self.candidates.as_slice() {
            [] => self.best.actions.clone().unsqueeze_dim(0),
            candidates => {
                let actions = candidates.iter().map(|candidate| candidate.actions.clone());
                stack(actions.collect(), 0)
            }
        }
    }
}

/// The place of the largest number below +∞; `None` where there is none.
fn best_of(totals: &[f32]) -> Option<usize> {
    let numbers = (0..totals.len()).filter(|&index| totals[index] < f32::INFINITY);
    numbers.max_by(|&a, &b| totals[a].total_cmp(&totals[b]).then(b.cmp(&a)))
}

/// A method under a name: the planner that users call.
#[derive(Debug)]
pub struct Solver {
    name: &'static str,
    method: Box<dyn Method>,
    constraints: Vec<Constraint>,
}

impl Solver {
    /// The planner of `method`.
    ///
    /// # Errors
    ///
    /// Names the first setting outside its range.
    pub fn new(
        name: &'static str,
        method: impl Into<Box<dyn Method>>,
    ) -> Result<Self, ConfigError> {
        let method = method.into();
        method.validate()?;
        Ok(Self {
            name,
            method,
            constraints: Vec::new(),
        })
    }

    /// The planner under whose plans `constraint` holds too.
    ///
    /// # Errors
    ///
    /// If the method knows no constraints.
    pub fn with_constraint(mut self, constraint: Constraint) -> Result<Self, ConfigError> {
        ConfigError::require(
            self.method.takes_constraints(),
            "constraint",
            constraint.name(),
            "a collocation planner with it",
        )?;
        self.constraints.push(constraint);
        Ok(self)
    }
}

impl Planner for Solver {
    fn name(&self) -> &'static str {
        self.name
    }

    fn horizon(&self) -> usize {
        self.method.horizon()
    }

    fn plan_with(
        &self,
        model: &dyn LatentModel,
        belief: &Belief,
        context: PlanContext<'_>,
    ) -> Result<Plan, PlanError> {
        check_belief(model, belief)?;
        let clock = Deadline::start(context.deadline);
        let prepared = model.as_differentiable().and_then(Differentiable::prepared);
        let horizon = self.method.horizon();
        let shape = [horizon, model.action_size()];
        let problem = Problem {
            model: prepared.as_deref().unwrap_or(model),
            belief,
            horizon,
            earlier: remaining_actions(context.warm_start, shape)?,
            warm_start: context.warm_start,
            constraints: &self.constraints,
            resources: context.resources,
            clock,
        };
        let mut noise = Noise::new(context.seed);
        let mut pool = first_rollout(&problem)?;
        let mut search = self.method.init(&problem, &pool, &mut noise)?;
        let mut iterations = None;
        let mut steps = |search: &mut dyn Search| {
            iterations = Some(iterate(search, &mut pool, &clock, &mut *context.observer));
        };
        if !search.with_threads(&mut steps) {
            steps(search.as_mut());
        }
        let nothing = || Ok((Vec::new(), StopReason::Converged));
        let (trace, stop) = iterations.unwrap_or_else(nothing)?;
        let finished = search.finish(&mut pool);
        finished.map_err(|error| error.at_iteration(trace.len()))?;
        drop(search);
        let plan = pool.into_plan(&problem, trace, stop)?;
        let plan = problem.judged(plan, context.seed)?;
        plan.timed(&problem.clock).require_finite()
    }
}

/// Takes steps until one says that it is the last, or the next would end after the deadline.
fn iterate(
    search: &mut dyn Search,
    pool: &mut Pool,
    clock: &Deadline,
    observer: &mut dyn Observer,
) -> Result<(Vec<Iteration>, StopReason), PlanError> {
    let mut trace = Vec::new();
    let mut recent = VecDeque::new();
    let stop = loop {
        let started = clock.elapsed();
        let progress = match search.step(pool) {
            Err(PlanError::Interrupted) => break StopReason::Deadline,
            progress => progress.map_err(|error| error.at_iteration(trace.len()))?,
        };
        let iteration = progress.iteration(trace.len());
        observer.iteration(&iteration);
        observer.trajectories(&progress.actions, progress.nodes.as_ref());
        trace.push(iteration);
        if let Some(stop) = progress.stop {
            break stop;
        }
        recent.push_back(clock.elapsed() - started);
        if recent.len() > RECENT {
            recent.pop_front();
        }
        // The plan's own rollout is taken to last half as long.
        let next = recent.iter().max().copied().unwrap_or_default() * 3 / 2;
        if clock.is_over_after(next) {
            break StopReason::Deadline;
        }
    };
    Ok((trace, stop))
}

/// Iterations whose longest says how long the next may take.
const RECENT: usize = 4;

/// The rollout of what is left of an earlier plan, or of no action.
pub(crate) fn first_rollout(problem: &Problem<'_>) -> Result<Pool, PlanError> {
    let shape = [problem.horizon, problem.model.action_size()];
    let device = problem.belief.device();
    let idle = || Tensor::zeros(shape, &device);
    let actions = problem.earlier.clone().unwrap_or_else(idle);
    let actions = actions.clamp(-1.0, 1.0);
    let rollout = problem.roll_out(actions.clone().unsqueeze_dim(0));
    let rewards = read("reward", rollout.rewards)?;
    require_finite("reward", 0, &rewards, problem.horizon)?;
    let best = Candidate {
        actions,
        total: sums(&rewards, problem.horizon)[0],
    };
    Ok(Pool {
        candidates: problem.earlier.iter().map(|_| best.clone()).collect(),
        best,
        chosen: None,
        relaxed: None,
        keeps_constraints: false,
        first: rewards,
        model_steps: problem.horizon,
    })
}

impl Pool {
    /// The chosen plan; else the best plan of relaxed nodes where no rollout was better; else the best rollout.
    /// Virtual and rollout results of all but relaxed plans coincide.
    fn into_plan(
        self,
        problem: &Problem<'_>,
        trace: Vec<Iteration>,
        stop: StopReason,
    ) -> Result<Plan, PlanError> {
        let stop = match problem.constraints.is_empty() || self.keeps_constraints {
            true => stop,
            false => StopReason::Infeasible,
        };
        let is_best = |value: f32| self.chosen.is_none() && value >= self.best.total;
        if let Some((_, plan)) = self.relaxed.filter(|(value, _)| is_best(*value)) {
            let plan = Plan {
                trace,
                stop,
                model_steps: self.model_steps,
                ..*plan
            };
            return Ok(plan);
        }
        let robust_return = self.chosen.as_ref().map(|chosen| chosen.total);
        let actions = self.chosen.unwrap_or(self.best).actions.clamp(-1.0, 1.0);
        let rollout = problem.roll_out(actions.clone().unsqueeze_dim(0));
        let rewards = read("reward", rollout.rewards)?;
        require_finite("reward", trace.len(), &rewards, problem.horizon)?;
        let outcome = Outcome { rewards };
        let latents = rollout.latents.squeeze_dim::<2>(0);
        Ok(Plan {
            actions,
            rollout_latents: latents.clone(),
            std: None,
            nodes: latents.clone(),
            latents,
            virtual_: outcome.clone(),
            rollout: outcome,
            violation: vec![0.0; problem.horizon],
            multipliers: Vec::new(),
            robust_return,
            uncertainty: None,
            trace,
            stop,
            elapsed: Duration::ZERO,
            late: None,
            model_steps: self.model_steps + problem.horizon,
        })
    }
}

/// Runs `methods` one after another; each begins with what those before it have handed on.
pub fn sequence<'a>(
    methods: Vec<Box<dyn Method>>,
    problem: &'a Problem<'a>,
    noise: &mut Noise,
) -> Box<dyn Search + 'a> {
    Box::new(Sequence {
        present: None,
        waiting: methods.into(),
        noise: noise.split(),
        problem,
    })
}

struct Sequence<'a> {
    present: Option<Box<dyn Search + 'a>>,
    waiting: VecDeque<Box<dyn Method>>,
    noise: Noise,
    problem: &'a Problem<'a>,
}

impl Search for Sequence<'_> {
    fn step(&mut self, pool: &mut Pool) -> Result<Progress, PlanError> {
        let search = match &mut self.present {
            Some(search) => search,
            empty => {
                let Some(method) = self.waiting.pop_front() else {
                    return Ok(Progress::of_rollouts(pool, Some(StopReason::Converged)));
                };
                empty.insert(method.init(self.problem, pool, &mut self.noise)?)
            }
        };
        let mut progress = search.step(pool)?;
        if progress.stop.is_some() {
            search.finish(pool)?;
            self.present = None;
            if !self.waiting.is_empty() {
                progress.stop = None;
            }
        }
        Ok(progress)
    }

    fn finish(&mut self, pool: &mut Pool) -> Result<(), PlanError> {
        match &mut self.present {
            Some(search) => search.finish(pool),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use burn::tensor::Device;

    use super::*;
    use crate::{
        RandomActionsConfig,
        shooting::testing::{HORIZON, Regulator, Scalar, solver, values},
    };

    /// As after a collocation and the smoothing of what it has found.
    #[test]
    fn the_chosen_plan_comes_back_whatever_was_relaxed() {
        let model = Regulator::inside_the_bounds();
        let belief = model.belief();
        let relaxed = solver(RandomActionsConfig { horizon: HORIZON });
        let relaxed = Plan {
            multipliers: vec![vec![1.0; HORIZON]],
            ..relaxed.plan(&model, &belief).unwrap()
        };
        let problem = Problem::new(&model, &belief, HORIZON);
        let mut pool = first_rollout(&problem).unwrap();
        pool.offer_plan(relaxed, f32::MAX);
        let plan_of = |pool: Pool| pool.into_plan(&problem, Vec::new(), StopReason::Iterations);
        assert!(!plan_of(pool.clone()).unwrap().multipliers.is_empty());
        let chosen = Candidate {
            actions: Tensor::full([HORIZON, 2], 0.25, &belief.device()),
            total: -1.0,
        };
        pool.choose(chosen.clone());
        let plan = plan_of(pool).unwrap();
        assert_eq!(values(plan.actions), values(chosen.actions));
        assert_eq!(plan.robust_return, Some(chosen.total));
    }

    /// A step at `z = 0` pays `3e38`, one at `z = 1` half of that.
    const RICH: Scalar = Scalar {
        mean: Scalar::SET,
        reward: |latents| (latents * -0.5 + 1.0) * 3e38,
        action_noise: 0.5,
    };

    /// No reward sums to +∞, and what is a number is better.
    #[test]
    fn a_first_rollout_that_overflows_is_not_the_best() {
        let (model, belief) = (RICH, Scalar::belief());
        let problem = Problem::new(&model, &belief, 2);
        let mut pool = first_rollout(&problem).unwrap();
        let actions = Tensor::<3>::ones([1, 2, 1], &belief.device());
        let returns = problem.roll_out(actions.clone()).returns();
        pool.offer(&actions, &values(returns));
        assert_eq!(values(pool.best.actions), [1.0, 1.0]);
    }

    /// The plan itself returns 3e38; copies that go less far sum to +∞.
    #[test]
    fn copies_that_overflow_are_no_fault_of_the_plan() {
        let (model, belief) = (RICH, Scalar::belief());
        let problem = Problem::new(&model, &belief, 2);
        let mut pool = first_rollout(&problem).unwrap();
        pool.best.actions = Tensor::<2>::ones([2, 1], &belief.device());
        let plan = pool.into_plan(&problem, Vec::new(), StopReason::Iterations);
        let plan = problem.judged(plan.unwrap(), 0).unwrap();
        assert_eq!(plan.robust_return, None);
        assert!(plan.require_finite().is_ok());
    }

    #[test]
    fn a_pool_keeps_the_best_return_that_is_a_number() {
        let device = Device::default();
        let best = Candidate {
            actions: Tensor::zeros([1, 1], &device),
            total: 1.0,
        };
        let mut pool = Pool {
            best,
            candidates: Vec::new(),
            chosen: None,
            relaxed: None,
            keeps_constraints: false,
            first: Vec::new(),
            model_steps: 0,
        };
        let actions = Tensor::<3>::from_floats([[[0.1]], [[0.2]], [[0.3]], [[0.4]]], &device);
        pool.offer(&actions, &[f32::INFINITY, f32::NAN, f32::NEG_INFINITY, 0.5]);
        assert_eq!(pool.best.total, 1.0);
        pool.offer(&actions, &[f32::INFINITY, 2.0, f32::NAN, 1.5]);
        assert_eq!(pool.best.total, 2.0);
        assert_eq!(pool.best.actions.clone().into_scalar::<f32>(), 0.2);
    }
}
