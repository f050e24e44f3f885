//! `latco eval`: a planner over seeded episodes.

use std::path::PathBuf;

use clap::{ArgGroup, Args};
use latco_agent::{EpisodeResult, Evaluation, PlanSummary, evaluate, evaluate_examined};
use latco_env::{ActionSpace, EnvError, Environment, Expert, Image, ImageShape, Protocol, Step};
use latco_model::WorldModel;
use serde::Serialize;

use super::suite::known;
use crate::{
    arguments::{Common, PlannerArguments, Task, TaskArguments, count, horizon},
    destination::{Content, check_file, check_free, write},
    drawing::{Reel, compose, encode_gif},
    error::CliError,
    loading::{agent_for, environment_for},
    output::{Report, aligned, grouped, note},
    progress,
};

/// Episodes where nothing else is asked for.
const EPISODES: usize = 20;

/// Episodes that an animation shows, how many beside each other, and the side of each in pixels.
const FILMED: usize = 6;
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
        }
        if let Some(plans) = &self.plans {
            check_free("--plans", plans)?;
        }
        let task = self.task.task()?;
        let told = task.benchmark.as_ref().map(|found| &found.evaluation);
        let episodes = told.map_or(EPISODES, |told| told.episodes);
        let episodes = self.episodes.unwrap_or(episodes);
        let seed = common.seed.or(told.map(|told| told.seed)).unwrap_or(0);
        let device = common.device()?;
        let model = WorldModel::load(&self.checkpoint, &device)?;
        let environment = environment_for(&model, &task.env, &task.arguments, &self.checkpoint)?;
        let protocol = self.protocol(&task, environment.as_ref());
        let planner = self.planner.planner(Some(protocol.horizon))?;
        let mut agent = agent_for(model, planner, protocol, &device)?;
        let filmed = if self.gif.is_some() { FILMED } else { 0 };
        let mut camera = Camera::new(environment, filmed);
        let bar = progress::bar(common, "episodes", episodes);
        let (mut done, mut solved) = (0, 0);
        let each = |result: &EpisodeResult| {
            done += 1;
            solved += usize::from(result.success);
            bar.set_message(format!("{solved} of {done} solved"));
            bar.inc(1);
        };
        let (device, agent) = (common.device, &mut agent);
        let mut evaluation = match self.plans {
            None => evaluate(&mut camera, agent, device, seed, episodes, each),
            Some(_) => evaluate_examined(&mut camera, agent, device, seed, episodes, each),
        }?;
        bar.finish_and_clear();
        evaluation.planner = self.planner.name().to_owned();
        if task.benchmark.is_some() {
            evaluation.env = task.name;
        }
        if let Some(gif) = &self.gif {
            let reels = camera.develop();
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
                known(evaluation.got_share(), 2)
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

/// An environment whose first episodes are kept as films.
struct Camera {
    inner: Box<dyn Environment>,
    films: Vec<Film>,
    limit: usize,
    rolling: bool,
}

/// One episode.
struct Film {
    seed: u64,
    frames: Vec<Image>,
    rewards: Vec<f32>,
    success: bool,
}

impl Camera {
    /// Films the first `limit` episodes of `inner`.
    fn new(inner: Box<dyn Environment>, limit: usize) -> Self {
        Self {
            inner,
            films: Vec::new(),
            limit,
            rolling: false,
        }
    }

    /// The films, each with its seed and outcome as the title.
    fn develop(self) -> Vec<Reel> {
        let reel = |film: Film| {
            // Not every environment tells success.
            let outcome = match film.success {
                true => "solved".to_owned(),
                false => format!("return {:.1}", film.rewards.iter().sum::<f32>()),
            };
            let title = format!("seed {}: {outcome}", film.seed);
            Reel::new(title, film.frames, film.rewards)
        };
        self.films.into_iter().map(reel).collect()
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
        self.rolling = self.films.len() < self.limit;
        if self.rolling {
            self.films.push(Film {
                seed,
                frames: vec![image.clone()],
                rewards: Vec::new(),
                success: false,
            });
        }
        Ok(image)
    }

    fn step(&mut self, action: &[f32]) -> Result<Step, EnvError> {
        let step = self.inner.step(action)?;
        if let Some(film) = self.films.last_mut().filter(|_| self.rolling) {
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
