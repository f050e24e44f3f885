//! `latco eval`: a planner over seeded episodes.

use std::{
    ops::Range,
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
};

use clap::{ArgGroup, Args};
use latco_agent::{EpisodeResult, Evaluation, PlanSummary, evaluate, evaluate_examined};
use latco_env::{ActionSpace, EnvError, Environment, Expert, Image, ImageShape, Protocol, Step};
use latco_model::WorldModel;
use serde::Serialize;

use super::suite::entry::{got_share, known, scale};
use crate::{
    arguments::{Common, PlannerArguments, Task, TaskArguments, count, horizon},
    destination::{Content, check_file, check_free, check_writable, write},
    drawing::{Reel, compose, encode_gif},
    error::CliError,
    loading::{agent_for, environments_for},
    output::{Report, aligned, grouped, note},
    progress,
};

/// Episodes where nothing else is asked for.
const EPISODES: usize = 20;

/// Episodes that an animation shows, how many beside each other, and the side of each in pixels.
const FILMED: u64 = 6;
const COLUMNS: usize = 3;
const SIDE: usize = 224;

/// Measure a planner over seeded episodes.
///
/// Runs episodes with the seeds N, N + 1, … of --seed N. Plans have --horizon steps and are made anew
/// every --replan-every steps. An episode counts as solved where the task is solved at any of its
/// steps. What plans promised for the steps of them that were executed is summed over an episode, and so
/// can be compared with the return, what was got.
#[derive(Args)]
#[command(group = ArgGroup::new("where").args(["env", "benchmark"]).required(true), after_help = "\
Examples:
  latco eval --checkpoint reach.safetensors --env reach --episodes 50 --seed 1234 --json
  latco eval --checkpoint reach.safetensors --env reach --planner cem --gif cem.gif
  latco eval --checkpoint swing.safetensors --env gym:Pendulum-v1 --horizon 30 --replan-every 5
  latco eval --checkpoint reach.safetensors --benchmark benchmarks/metaworld-reach.toml --json
  latco eval --checkpoint reach.safetensors --env reach --planner cem --set samples=10000 \\
      --set elites=100 --set iterations=100")]
pub struct Eval {
    /// The world model, a safetensors file that latco wrote.
    #[arg(long, value_name = "FILE")]
    checkpoint: PathBuf,

    #[command(flatten)]
    task: TaskArguments,

    #[command(flatten)]
    planner: PlannerArguments,

    /// Episodes to run [default: the benchmark's, else 20].
    #[arg(long, value_name = "N", value_parser = count())]
    episodes: Option<usize>,

    /// Steps of a plan [default: the benchmark's or the environment's].
    #[arg(long, value_name = "N", value_parser = horizon())]
    horizon: Option<usize>,

    /// Steps executed of a plan before the next is made; the horizon or more is open loop
    /// [default: the benchmark's or the environment's].
    #[arg(long, value_name = "N", value_parser = count())]
    replan_every: Option<usize>,

    /// Episodes that run side by side; the seconds of a plan are then those of a share of the cores.
    #[arg(long, value_name = "N", default_value = "1", value_parser = count())]
    envs: usize,

    /// An animation of the first episodes to write.
    #[arg(long, value_name = "FILE")]
    gif: Option<PathBuf>,

    /// A file to write with one JSON line a plan: what speaks for it and what came of its episode
    /// (docs/model-errors.md).
    #[arg(long, value_name = "FILE")]
    plans: Option<PathBuf>,
}

/// A plan of an episode.
#[derive(Serialize)]
struct PlanLine<'a> {
    seed: u64,
    /// Counted within the episode.
    plan: usize,
    success: bool,
    #[serde(rename = "return")]
    return_: f32,
    #[serde(flatten)]
    summary: &'a PlanSummary,
}

/// The plans of `results`, a JSON line each.
fn plan_lines(results: &[EpisodeResult]) -> Result<Vec<u8>, serde_json::Error> {
    let mut lines = Vec::new();
    for result in results {
        for (plan, summary) in result.plans.iter().enumerate() {
            let line = PlanLine {
                seed: result.seed,
                plan,
                success: result.success,
                return_: result.return_,
                summary,
            };
            serde_json::to_writer(&mut lines, &line)?;
            lines.push(b'\n');
        }
    }
    Ok(lines)
}

impl Eval {
    /// Evaluates, draws where asked to, reports.
    pub fn run(&self, common: &Common) -> Result<Report, CliError> {
        if let Some(gif) = &self.gif {
            check_file("--gif", gif, "gif")?;
            check_writable("--gif", gif)?;
        }
        if let Some(plans) = &self.plans {
            check_free("--plans", plans)?;
            check_writable("--plans", plans)?;
        }
        let task = self.task.task()?;
        let told = task.benchmark.as_ref().map(|found| &found.evaluation);
        let episodes = told.map_or(EPISODES, |told| told.episodes);
        let episodes = self.episodes.unwrap_or(episodes);
        let seed = common.seed.or(told.map(|told| told.seed)).unwrap_or(0);
        let device = common.device()?;
        let model = WorldModel::load(&self.checkpoint, &device)?;
        let environments = environments_for(
            &model,
            &task.env,
            &task.arguments,
            &self.checkpoint,
            self.envs,
        )?;
        let protocol = self.protocol(&task, environments[0].as_ref());
        let planner = self.planner.planner(Some(protocol.horizon))?;
        let agent = agent_for(model, planner, protocol, &device)?;
        let filmed = if self.gif.is_some() { FILMED } else { 0 };
        let films = Films::default();
        let seeds = seed..seed.saturating_add(filmed);
        let filming = |inner| Camera::boxed(inner, seeds.clone(), films.clone());
        let mut environments: Vec<_> = environments.into_iter().map(filming).collect();
        let bar = progress::bar(common, "episodes", episodes);
        let (mut done, mut solved) = (0, 0);
        let each = |result: &EpisodeResult| {
            done += 1;
            solved += usize::from(result.success);
            bar.set_message(format!("{solved} of {done} solved"));
            bar.inc(1);
        };
        let (device, agent) = (common.device.as_str(), &agent);
        let mut evaluation = match self.plans {
            None => evaluate(&mut environments, agent, device, seed, episodes, each),
            Some(_) => evaluate_examined(&mut environments, agent, device, seed, episodes, each),
        }?;
        bar.finish_and_clear();
        // What is in the cameras goes to the films.
        drop(environments);
        evaluation.planner = self.planner.name().to_owned();
        if task.benchmark.is_some() {
            evaluation.env = task.name;
        }
        if let Some(gif) = &self.gif {
            let reels = films.develop();
            let bytes = encode_gif(&compose(&reels, COLUMNS, SIDE)?)?;
            write(gif, &Content::Bytes(bytes))?;
            note(common, format!("wrote {}", gif.display()));
        }
        if let Some(plans) = &self.plans {
            write(plans, &Content::Bytes(plan_lines(&evaluation.results)?))?;
            note(common, format!("wrote {}", plans.display()));
        }
        Report::new(&evaluation, text(&evaluation))
    }

    /// The task's steps of plans, with those that were asked for.
    fn protocol(&self, task: &Task, environment: &dyn Environment) -> Protocol {
        let usual = task.protocol(environment);
        Protocol {
            horizon: self.horizon.unwrap_or(usual.horizon),
            replan_every: self.replan_every.unwrap_or(usual.replan_every),
        }
    }
}

fn text(evaluation: &Evaluation) -> String {
    let (low, high) = evaluation.success_interval();
    let mut rows = vec![
        ("environment", evaluation.env.clone()),
        (
            "planner",
            format!("{} on {}", evaluation.planner, evaluation.device),
        ),
        (
            "episodes",
            format!("{} from seed {}", evaluation.episodes, evaluation.seed),
        ),
        (
            "success rate",
            format!(
                "{:.3} ({low:.2} to {high:.2} with 95 % confidence)",
                evaluation.success_rate
            ),
        ),
        (
            "return",
            format!(
                "{:.3} ± {:.3}",
                evaluation.return_mean, evaluation.return_std
            ),
        ),
        (
            "promised of it",
            format!(
                "{} along the plans, {} rolled out; got ÷ promised {}",
                known(evaluation.promised_mean, 3),
                known(evaluation.rolled_out_mean, 3),
                known(got_share(evaluation, scale([evaluation])), 2)
            ),
        ),
        (
            "seconds a plan",
            format!(
                "{:.3} in the median, {:.3} at most",
                evaluation.plan_seconds_median, evaluation.plan_seconds_max
            ),
        ),
        (
            "model steps a plan",
            grouped(evaluation.model_steps_per_plan.round() as usize),
        ),
        (
            "reward along the plan",
            format!("{:.3}", evaluation.virtual_reward_mean),
        ),
        (
            "reward rolled out",
            format!("{:.3}", evaluation.rollout_reward_mean),
        ),
        (
            "plans backed by it",
            format!("{:.3}", evaluation.backed_share),
        ),
        (
            "largest violation",
            format!("{:.1e}", evaluation.violation_max),
        ),
    ];
    let known = [
        ("under action noise", evaluation.robust_return_mean),
        ("model's uncertainty", evaluation.uncertainty_mean),
        ("plans leaving the data", evaluation.leaves_data_share),
    ];
    let known = known
        .into_iter()
        .filter_map(|(name, mean)| Some((name, format!("{:.3}", mean?))));
    rows.extend(known);
    aligned(&rows)
}

/// An environment whose episodes of some seeds are kept as films.
struct Camera {
    inner: Box<dyn Environment>,
    seeds: Range<u64>,
    films: Films,
    /// Of the present episode, where it is filmed.
    film: Option<Film>,
}

/// One episode.
struct Film {
    seed: u64,
    frames: Vec<Image>,
    rewards: Vec<f32>,
    success: bool,
}

/// The films of cameras side by side.
#[derive(Clone, Default)]
struct Films(Arc<Mutex<Vec<Film>>>);

impl Films {
    fn keep(&self, film: Option<Film>) {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .extend(film);
    }

    /// Each film by its seed, with its outcome as the title.
    fn develop(self) -> Vec<Reel> {
        let mut films = std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner));
        films.sort_by_key(|film| film.seed);
        let reel = |film: Film| {
            // Not every environment tells success.
            let outcome = match film.success {
                true => "solved".to_owned(),
                false => format!("return {:.1}", film.rewards.iter().sum::<f32>()),
            };
            let title = format!("seed {}: {outcome}", film.seed);
            Reel::new(title, film.frames, film.rewards)
        };
        films.into_iter().map(reel).collect()
    }
}

impl Camera {
    /// Films the episodes of `inner` that have one of `seeds`.
    fn boxed(inner: Box<dyn Environment>, seeds: Range<u64>, films: Films) -> Box<dyn Environment> {
        Box::new(Self {
            inner,
            seeds,
            films,
            film: None,
        })
    }
}

impl Drop for Camera {
    fn drop(&mut self) {
        self.films.keep(self.film.take());
    }
}

impl Environment for Camera {
    fn name(&self) -> &str {
        self.inner.name()
    }

    fn action_space(&self) -> &ActionSpace {
        self.inner.action_space()
    }

    fn image_shape(&self) -> ImageShape {
        self.inner.image_shape()
    }

    fn time_limit(&self) -> usize {
        self.inner.time_limit()
    }

    fn reward_range(&self) -> Option<[f32; 2]> {
        self.inner.reward_range()
    }

    fn reset(&mut self, seed: u64) -> Result<Image, EnvError> {
        let image = self.inner.reset(seed)?;
        self.films.keep(self.film.take());
        self.film = self.seeds.contains(&seed).then(|| Film {
            seed,
            frames: vec![image.clone()],
            rewards: Vec::new(),
            success: false,
        });
        Ok(image)
    }

    fn step(&mut self, action: &[f32]) -> Result<Step, EnvError> {
        let step = self.inner.step(action)?;
        if let Some(film) = &mut self.film {
            film.frames.push(step.image.clone());
            film.rewards.push(step.reward);
            film.success |= step.success;
        }
        Ok(step)
    }

    fn expert(&mut self) -> Option<&mut dyn Expert> {
        self.inner.expert()
    }
}
