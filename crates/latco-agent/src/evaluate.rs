use std::{
    sync::{
        atomic::{AtomicUsize, Ordering},
        mpsc::channel,
    },
    thread,
};

use latco_env::{Environment, Image};
use latco_plan::{ConfigError, Noise, Plan, trust};
use serde::{Deserialize, Serialize};

use crate::{
    Agent, AgentError, BeliefFilter, EpisodeRunError, Policy, RecordedEpisode, run_episode,
};

/// One evaluated episode.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct EpisodeResult {
    /// The seed of the episode.
    pub seed: u64,
    /// Whether the task was solved at any step.
    pub success: bool,
    /// The summed reward of the environment.
    #[serde(rename = "return")]
    pub return_: f32,
    /// What the plans promised of it; none in results of earlier versions.
    #[serde(default)]
    pub promise: Option<Promise>,
    /// The plans made on the way.
    pub plans: Vec<PlanSummary>,
}

/// What the plans of an episode promised for the steps of them that were executed, to be compared with
/// what these steps paid, the episode's return.
///
/// Plan `k` of `K`, made at step `t_k`, is executed for the `n_k` steps up to the next plan or the end of
/// the episode, `Σ_k n_k = T`:
///
/// ```text
/// promised   = Σ_k Σ_{i = 1..n_k} r(z_{k,i})          along the planned latents (virtual)
/// rolled out = Σ_k Σ_{i = 1..n_k} r(ẑ_{k,i})          along the rollout of the plan's actions
/// got        = Σ_k Σ_{i = 1..n_k} r_{t_k + i} = return  in the environment
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Promise {
    /// The reward along the planned latents.
    pub promised: f64,
    /// The reward of the plans' actions rolled out through the model.
    pub rolled_out: f64,
}

impl Promise {
    /// Adds the step of `plan` that is executed next, from zero.
    fn add(&mut self, plan: &Plan, step: usize) {
        let at = |rewards: &[f32]| rewards.get(step).map_or(0.0, |&reward| f64::from(reward));
        self.promised += at(&plan.virtual_.rewards);
        self.rolled_out += at(&plan.rollout.rewards);
    }
}

/// What is kept of a plan.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct PlanSummary {
    /// Wall time.
    pub seconds: f64,
    /// Rows that went through the model's transition.
    pub model_steps: usize,
    /// The reward along the planned latents.
    pub virtual_reward: f32,
    /// The reward of the actions rolled out.
    pub rollout_reward: f32,
    /// The largest dynamics violation of a step.
    pub violation_max: f32,
    /// Whether the rollout supports what the plan promises.
    pub backed: bool,
    /// The mean return over copies with disturbed actions, of models that err.
    #[serde(default)]
    pub robust_return: Option<f32>,
    /// The mean uncertainty of a step, of models that know it.
    #[serde(default)]
    pub uncertainty: Option<f32>,
    /// Whether the plan leaves what the model was trained on, of models that can tell.
    #[serde(default)]
    pub leaves_data: Option<bool>,
    /// The mean return over rollouts whose latents are drawn, of plans that were
    /// [examined](evaluate_examined).
    #[serde(default)]
    pub sampled_return: Option<f32>,
    /// The mean distance of a step's latent from what the model infers of the image that it decodes it to,
    /// of plans that were [examined](evaluate_examined).
    #[serde(default)]
    pub image_consistency: Option<f32>,
}

impl PlanSummary {
    /// With the scores that a plan does not carry itself, of the `plan` that `agent` has just made: the return
    /// of its actions through the model that it was made for, with latents drawn by `seed`, and how far its
    /// latents are from what the model infers of their images. Without them before the first observation.
    ///
    /// # Errors
    ///
    /// If the device fails, or the goal was encoded by a model of other sizes.
    pub fn examined<M: BeliefFilter>(
        agent: &Agent<M>,
        plan: &Plan,
        seed: u64,
    ) -> Result<Self, AgentError> {
        let Some(belief) = agent.belief() else {
            return Ok(Self::from(plan));
        };
        let noise = &mut Noise::new(seed ^ EXAMINATION_STREAM);
        let sampled = agent.with_planned(belief, |model, belief| {
            trust::sampled_return(model, belief.mean(), plan.actions.clone(), noise)
        })?;
        // The model itself has images, whatever its plans are made for.
        let distances = trust::image_consistency(
            agent.model(),
            belief.mean(),
            plan.actions.clone(),
            plan.rollout_latents.clone(),
        )?;
        let mean = |steps: Vec<f32>| steps.iter().sum::<f32>() / steps.len().max(1) as f32;
        Ok(Self {
            sampled_return: Some(sampled),
            image_consistency: distances.map(mean),
            ..Self::from(plan)
        })
    }
}

/// Keeps the latents that a plan is examined by apart from the random numbers that it was found by.
const EXAMINATION_STREAM: u64 = 0x94d0_49bb_1331_11eb;

impl From<&Plan> for PlanSummary {
    fn from(plan: &Plan) -> Self {
        Self {
            seconds: plan.elapsed.as_secs_f64(),
            model_steps: plan.model_steps,
            virtual_reward: plan.virtual_.total(),
            rollout_reward: plan.rollout.total(),
            violation_max: plan.violation_max(),
            backed: plan.is_backed_by_rollout(),
            robust_return: plan.robust_return,
            uncertainty: plan.uncertainty_mean(),
            leaves_data: plan.leaves_data(),
            sampled_return: None,
            image_consistency: None,
        }
    }
}

/// The evaluation of a planner over several episodes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Evaluation {
    /// The environment's name.
    pub env: String,
    /// The planner's name.
    pub planner: String,
    /// The device's name.
    pub device: String,
    /// The seed of the first episode.
    pub seed: u64,
    /// The number of episodes.
    pub episodes: usize,
    /// The share of episodes that succeeded at any step.
    pub success_rate: f64,
    /// The mean return.
    pub return_mean: f64,
    /// The standard deviation of the returns over episodes.
    pub return_std: f64,
    /// The mean over episodes of what plans promised for the steps executed ([`Promise`]), to be compared
    /// with the mean return; none in results of earlier versions.
    #[serde(default)]
    pub promised_mean: Option<f64>,
    /// The same of the rollouts of the plans' actions through the model.
    #[serde(default)]
    pub rolled_out_mean: Option<f64>,
    /// The median wall time of a plan.
    pub plan_seconds_median: f64,
    /// The longest wall time of a plan.
    pub plan_seconds_max: f64,
    /// The mean number of model steps of a plan.
    pub model_steps_per_plan: f64,
    /// The mean reward along the planned latents.
    pub virtual_reward_mean: f64,
    /// The mean reward of the plans' actions rolled out.
    pub rollout_reward_mean: f64,
    /// The largest dynamics violation of any step of any plan.
    pub violation_max: f64,
    /// The share of plans whose virtual reward exceeds their rollout's by at most a tenth
    /// ([`Plan::is_backed_by_rollout`]).
    pub backed_share: f64,
    /// The mean over plans of the mean return over copies with disturbed actions, of models that err.
    #[serde(default)]
    pub robust_return_mean: Option<f64>,
    /// The mean uncertainty of a planned step, of models that know it.
    #[serde(default)]
    pub uncertainty_mean: Option<f64>,
    /// The share of plans that [leave the data](Plan::leaves_data), of models that can tell.
    #[serde(default)]
    pub leaves_data_share: Option<f64>,
    /// Each episode.
    #[serde(skip)]
    pub results: Vec<EpisodeResult>,
}

/// Runs `episodes` episodes with the seeds `seed`, `seed + 1`, …, as many at once as there are
/// `environments`, alike but for their state; `each` sees every result as it comes.
///
/// Every environment is stepped on a thread of its own, and a plan is computed by its share of a CPU's
/// cores. An episode depends on its seed, and on what runs beside it by rounding alone.
///
/// # Errors
///
/// If there is no environment, or if planning or an environment fails.
pub fn evaluate<M: BeliefFilter<Observation = Image> + Clone>(
    environments: &mut [Box<dyn Environment>],
    agent: &Agent<M>,
    device: &str,
    seed: u64,
    episodes: usize,
    each: impl FnMut(&EpisodeResult),
) -> Result<Evaluation, EpisodeRunError> {
    evaluate_by(plain, environments, agent, device, seed, episodes, each)
}

/// As [`evaluate`], with [all scores](PlanSummary::examined) of every plan.
///
/// # Errors
///
/// As [`evaluate`].
pub fn evaluate_examined<M: BeliefFilter<Observation = Image> + Clone>(
    environments: &mut [Box<dyn Environment>],
    agent: &Agent<M>,
    device: &str,
    seed: u64,
    episodes: usize,
    each: impl FnMut(&EpisodeResult),
) -> Result<Evaluation, EpisodeRunError> {
    evaluate_by(
        PlanSummary::examined,
        environments,
        agent,
        device,
        seed,
        episodes,
        each,
    )
}

fn evaluate_by<M: BeliefFilter<Observation = Image> + Clone>(
    summary: Summary<M>,
    environments: &mut [Box<dyn Environment>],
    agent: &Agent<M>,
    device: &str,
    seed: u64,
    episodes: usize,
    mut each: impl FnMut(&EpisodeResult),
) -> Result<Evaluation, EpisodeRunError> {
    ConfigError::require_positive("environments", environments.len()).map_err(AgentError::from)?;
    let name = environments[0].name().to_owned();
    let agent = agent.clone().beside(environments.len());
    let queue = Queue::new(episodes);
    let run = |environment: &mut dyn Environment, tell: &mut dyn FnMut(usize, Outcome)| {
        let mut agent = agent.clone();
        while let Some(index) = queue.next() {
            let seed = seed.wrapping_add(index as u64);
            let outcome = evaluate_episode(summary, environment, &mut agent, seed);
            if outcome.is_err() {
                queue.close();
            }
            tell(index, outcome);
        }
    };
    let mut outcomes: Vec<Option<Outcome>> = (0..episodes).map(|_| None).collect();
    let mut tell = |index: usize, outcome: Outcome| {
        if let Ok(result) = &outcome {
            each(result);
        }
        outcomes[index] = Some(outcome);
    };
    match environments {
        [environment] => run(environment.as_mut(), &mut tell),
        several => thread::scope(|scope| {
            let (sender, finished) = channel();
            for environment in several {
                let (sender, run) = (sender.clone(), &run);
                scope.spawn(move || {
                    run(environment.as_mut(), &mut |index, outcome| {
                        // The receiver outlives every thread of the scope.
                        let _ = sender.send((index, outcome));
                    });
                });
            }
            drop(sender);
            for (index, outcome) in finished {
                tell(index, outcome);
            }
        }),
    }
    let results = outcomes.into_iter().flatten().collect::<Result<_, _>>()?;
    let planner = agent.planner().name();
    Ok(Evaluation::of(&name, planner, device, seed, results))
}

type Outcome = Result<EpisodeResult, EpisodeRunError>;

/// The episodes that are still to run.
struct Queue {
    next: AtomicUsize,
    count: usize,
}

impl Queue {
    fn new(count: usize) -> Self {
        let next = AtomicUsize::new(0);
        Self { next, count }
    }

    fn next(&self) -> Option<usize> {
        let index = self.next.fetch_add(1, Ordering::Relaxed);
        (index < self.count).then_some(index)
    }

    /// Nothing is begun any more.
    fn close(&self) {
        self.next.store(self.count, Ordering::Relaxed);
    }
}

/// What is noted of the plan that an agent has just made.
pub(crate) type Summary<M> = fn(&Agent<M>, &Plan, u64) -> Result<PlanSummary, AgentError>;

/// The plan's own figures alone.
pub(crate) fn plain<M>(
    _agent: &Agent<M>,
    plan: &Plan,
    _seed: u64,
) -> Result<PlanSummary, AgentError> {
    Ok(PlanSummary::from(plan))
}

/// Runs the episode of one seed.
fn evaluate_episode<M: BeliefFilter<Observation = Image>>(
    summary: Summary<M>,
    environment: &mut dyn Environment,
    agent: &mut Agent<M>,
    seed: u64,
) -> Result<EpisodeResult, EpisodeRunError> {
    let (recorded, promise, plans) = planned_episode(environment, agent, seed, summary)?;
    Ok(EpisodeResult {
        seed,
        success: recorded.success,
        return_: recorded.episode.total_reward(),
        promise: Some(promise),
        plans,
    })
}

/// The episode of one seed, what its plans promised, and the plans.
pub(crate) fn planned_episode<M: BeliefFilter<Observation = Image>>(
    environment: &mut dyn Environment,
    agent: &mut Agent<M>,
    seed: u64,
    summary: Summary<M>,
) -> Result<(RecordedEpisode, Promise, Vec<PlanSummary>), EpisodeRunError> {
    let mut policy = Recording {
        agent,
        seed,
        summary,
        promise: Promise::default(),
        plans: Vec::new(),
    };
    let recorded = run_episode(environment, &mut policy, seed)?;
    Ok((recorded, policy.promise, policy.plans))
}

/// An agent whose plans are noted as they are made and executed.
struct Recording<'a, M> {
    agent: &'a mut Agent<M>,
    seed: u64,
    summary: Summary<M>,
    promise: Promise,
    plans: Vec<PlanSummary>,
}

impl<M: BeliefFilter<Observation = Image>> Policy for Recording<'_, M> {
    fn reset(&mut self, seed: u64) {
        self.agent.reset(seed);
    }

    fn act(
        &mut self,
        image: &Image,
        _environment: &mut dyn Environment,
    ) -> Result<Vec<f32>, EpisodeRunError> {
        let action = self.agent.act(image)?;
        if let Some(plan) = self.agent.plan() {
            self.promise.add(plan, self.agent.executed() - 1);
            if self.agent.has_just_planned() {
                let summary = (self.summary)(self.agent, plan, self.seed)?;
                self.plans.push(summary);
            }
        }
        Ok(action)
    }
}

impl Evaluation {
    /// The 95 % interval of the success rate; without an episode, all that it can be.
    pub fn success_interval(&self) -> (f64, f64) {
        wilson_interval(self.success_rate, self.episodes)
    }

    /// The share of what was promised that was got: the mean return over the mean promise, where the
    /// promise is known and above zero.
    pub fn got_share(&self) -> Option<f64> {
        let promised = self.promised_mean.filter(|&promised| promised > 0.0);
        promised.map(|promised| self.return_mean / promised)
    }

    /// The figures of episodes, wherever they ran.
    pub fn of(
        env: &str,
        planner: &str,
        device: &str,
        seed: u64,
        results: Vec<EpisodeResult>,
    ) -> Self {
        let plans: Vec<&PlanSummary> = results.iter().flat_map(|result| &result.plans).collect();
        let over_plans = |value: fn(&PlanSummary) -> f64| -> Vec<f64> {
            plans.iter().map(|p| value(p)).collect()
        };
        let seconds = over_plans(|plan| plan.seconds);
        let returns: Vec<f64> = results.iter().map(|r| f64::from(r.return_)).collect();
        let successes = results.iter().filter(|result| result.success).count();
        let return_mean = mean(&returns);
        let promises: Option<Vec<Promise>> = results.iter().map(|result| result.promise).collect();
        let over_promises = |value: fn(&Promise) -> f64| {
            let promises = promises.as_ref()?;
            Some(mean(&promises.iter().map(value).collect::<Vec<_>>()))
        };
        let variance: Vec<f64> = returns.iter().map(|r| (r - return_mean).powi(2)).collect();
        Self {
            env: env.to_owned(),
            planner: planner.to_owned(),
            device: device.to_owned(),
            seed,
            episodes: results.len(),
            success_rate: successes as f64 / results.len().max(1) as f64,
            return_mean,
            return_std: mean(&variance).sqrt(),
            promised_mean: over_promises(|promise| promise.promised),
            rolled_out_mean: over_promises(|promise| promise.rolled_out),
            plan_seconds_median: median(&seconds),
            plan_seconds_max: seconds.iter().copied().fold(0.0, f64::max),
            model_steps_per_plan: mean(&over_plans(|plan| plan.model_steps as f64)),
            virtual_reward_mean: mean(&over_plans(|plan| f64::from(plan.virtual_reward))),
            rollout_reward_mean: mean(&over_plans(|plan| f64::from(plan.rollout_reward))),
            violation_max: over_plans(|plan| f64::from(plan.violation_max))
                .into_iter()
                .fold(0.0, f64::max),
            backed_share: mean(&over_plans(|plan| f64::from(u8::from(plan.backed)))),
            robust_return_mean: known(&plans, |plan| plan.robust_return.map(f64::from)),
            uncertainty_mean: known(&plans, |plan| plan.uncertainty.map(f64::from)),
            leaves_data_share: known(&plans, |plan| {
                plan.leaves_data.map(|leaves| f64::from(u8::from(leaves)))
            }),
            results,
        }
    }
}

/// The 95 % score interval of a share `p` of `n` (Wilson 1927), with `z = 1.96`:
/// `(p + z²/2n ± z √(p (1 − p)/n + z²/4n²)) / (1 + z²/n)`.
fn wilson_interval(share: f64, count: usize) -> (f64, f64) {
    const Z: f64 = 1.96;
    if count == 0 {
        return (0.0, 1.0);
    }
    let n = count as f64;
    let centre = share + Z * Z / (2.0 * n);
    let spread = Z * (share * (1.0 - share) / n + Z * Z / (4.0 * n * n)).sqrt();
    let scale = 1.0 + Z * Z / n;
    let bounded = |value: f64| (value / scale).clamp(0.0, 1.0);
    (bounded(centre - spread), bounded(centre + spread))
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len().max(1) as f64
}

/// The mean over the plans that have the value; `None` where none has.
fn known(plans: &[&PlanSummary], value: fn(&PlanSummary) -> Option<f64>) -> Option<f64> {
    let values: Vec<f64> = plans.iter().filter_map(|plan| value(plan)).collect();
    (!values.is_empty()).then(|| mean(&values))
}

fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    match sorted.len() {
        0 => 0.0,
        n if n % 2 == 1 => sorted[n / 2],
        n => 0.5 * (sorted[n / 2 - 1] + sorted[n / 2]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn intervals_end_at_the_roots_of_the_score_equation() {
        // The roots of (p − x)² = z² x (1 − x) / n.
        for (solved, expected) in [
            (48, (0.8654, 0.9890)),
            (0, (0.0, 0.0713)),
            (25, (0.3664, 0.6336)),
        ] {
            let (low, high) = wilson_interval(f64::from(solved) / 50.0, 50);
            assert!((low - expected.0).abs() < 1e-4, "{solved}: {low}");
            assert!((high - expected.1).abs() < 1e-4, "{solved}: {high}");
        }
    }

    #[test]
    fn nothing_is_known_without_an_episode() {
        let evaluation = Evaluation::of("reach", "cem", "auto", 0, Vec::new());
        assert_eq!(evaluation.success_interval(), (0.0, 1.0));
    }
}
