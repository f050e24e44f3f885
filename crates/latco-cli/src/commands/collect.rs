//! `latco collect`: episodes on disk.

use std::path::{Path, PathBuf};

use clap::{ArgGroup, Args};
use latco_agent::{
    Agent, AgentConfig, AgentPolicy, DriftingPolicy, Policy, RandomPolicy, ScriptedPolicy,
    run_episode,
};
use latco_env::{EnvError, Environment, EpisodeFolder, Protocol};
use latco_model::WorldModel;
use serde::Serialize;

use crate::{
    arguments::{Common, PlannerArguments, Task, TaskArguments, count, horizon, noise},
    destination::check_folder,
    error::CliError,
    loading::{agent_with, environment_with, open_environment},
    output::{Report, aligned, grouped, path_text},
    progress,
};

/// Where the seeds of recordings begin if nothing else is asked for: apart from those of evaluations, which
/// would else find what a model was trained on.
const RECORDED_SEEDS: u64 = 1 << 30;

/// Record episodes.
///
/// Writes .npz files in Dreamer's layout, which numpy reads. Files that are there already stay;
/// numbering goes on after them.
#[derive(Args)]
#[command(group = ArgGroup::new("where").args(["env", "benchmark"]).required(true), after_help = "\
Examples:
  latco collect --env push --episodes 200 --out recordings --policy scripted --noise 0.3
  latco collect --env reach --episodes 20 --out recordings --policy reach.safetensors --noise 0.2
  latco collect --benchmark benchmarks/metaworld-push.toml --episodes 1 --out look --policy scripted")]
pub struct Collect {
    #[command(flatten)]
    task: TaskArguments,

    /// Episodes to record, with the seeds N, N + 1, … of --seed N [default: such as neither an evaluation nor
    /// an earlier episode of the folder has].
    #[arg(long, value_name = "N", value_parser = count())]
    episodes: usize,

    /// The folder to write to.
    #[arg(long, value_name = "DIR")]
    out: PathBuf,

    /// Who acts: random (independent actions), drifting (random actions around a drift),
    /// scripted (the environment's expert), or a checkpoint to plan with.
    #[arg(long, value_name = "POLICY", default_value = "random")]
    policy: String,

    /// Disturb the actions of --policy scripted by noise of this standard deviation and a drift
    /// within as much, those of a checkpoint by noise alone [default: 0].
    #[arg(long, value_name = "STD", value_parser = noise)]
    noise: Option<f32>,

    #[command(flatten)]
    planner: PlannerArguments,

    /// Steps of a checkpoint's plan [default: the benchmark's or the environment's].
    #[arg(long, value_name = "N", value_parser = horizon())]
    horizon: Option<usize>,

    /// Steps of a checkpoint's plan that are executed before it is replanned [default: the
    /// benchmark's or the environment's].
    #[arg(long, value_name = "N", value_parser = count())]
    replan_every: Option<usize>,
}

/// The figures of what was recorded.
#[derive(Serialize)]
struct CollectReport<'a> {
    env: &'a str,
    policy: &'a str,
    noise: f32,
    seed: u64,
    episodes: usize,
    frames: usize,
    success_rate: f64,
    return_mean: f64,
    #[serde(serialize_with = "path_text")]
    out: &'a Path,
}

impl Collect {
    /// Records and reports.
    pub fn run(&self, common: &Common) -> Result<Report, CliError> {
        check_folder("--out", &self.out)?;
        self.check_flags()?;
        let task = self.task.task()?;
        let environment = || open_environment(&task.env, &task.arguments, &task.options());
        match self.policy.as_str() {
            "random" => self.record(&task, environment()?, &mut RandomPolicy::default(), common),
            "drifting" => self.record(
                &task,
                environment()?,
                &mut DriftingPolicy::default(),
                common,
            ),
            "scripted" => {
                let mut environment = environment()?;
                if environment.expert().is_none() {
                    return Err(EnvError::NoExpert { name: task.name }.into());
                }
                let mut policy = ScriptedPolicy::disturbed(self.noise());
                self.record(&task, environment, &mut policy, common)
            }
            checkpoint => {
                let (environment, mut agent) = self.agent(&task, Path::new(checkpoint), common)?;
                self.record(&task, environment, &mut AgentPolicy(&mut agent), common)
            }
        }
    }

    /// Refuses flags that do nothing for the policy.
    fn check_flags(&self) -> Result<(), CliError> {
        let policy = self.policy.clone();
        let is_random = ["random", "drifting"].contains(&policy.as_str());
        if self.noise.is_some() && is_random {
            return Err(CliError::NoiseOnRandom { policy });
        }
        let plans = self.planner.is_given() || self.horizon.or(self.replan_every).is_some();
        match plans && (is_random || policy == "scripted") {
            true => Err(CliError::PlannerOnPolicy { policy }),
            false => Ok(()),
        }
    }

    fn agent(
        &self,
        task: &Task,
        checkpoint: &Path,
        common: &Common,
    ) -> Result<(Box<dyn Environment>, Agent), CliError> {
        if !checkpoint.is_file() {
            return Err(CliError::Policy {
                name: self.policy.clone(),
            });
        }
        let device = common.device()?;
        let model = WorldModel::load(checkpoint, &device)?;
        let options = task.options();
        let environment =
            environment_with(&model, &task.env, &task.arguments, &options, checkpoint)?;
        let usual = task.protocol(environment.as_ref());
        let protocol = Protocol {
            horizon: self.horizon.unwrap_or(usual.horizon),
            replan_every: self.replan_every.unwrap_or(usual.replan_every),
        };
        let exploring = AgentConfig {
            exploration: f64::from(self.noise()),
            ..AgentConfig::default()
        };
        let planner = self.planner.planner(Some(protocol.horizon))?;
        let agent = agent_with(exploring, model, planner, protocol, &device)?;
        Ok((environment, agent))
    }

    fn noise(&self) -> f32 {
        self.noise.unwrap_or(0.0)
    }

    fn record(
        &self,
        task: &Task,
        mut environment: Box<dyn Environment>,
        policy: &mut dyn Policy,
        common: &Common,
    ) -> Result<Report, CliError> {
        let folder = EpisodeFolder::create(&self.out)?;
        let first = match common.seed {
            Some(seed) => seed,
            None => RECORDED_SEEDS.saturating_add(folder.next_number()?),
        };
        let bar = progress::bar(common, "episodes", self.episodes);
        let (mut solved, mut reward, mut frames) = (0, 0.0, 0);
        for index in 0..self.episodes {
            let seed = first.wrapping_add(index as u64);
            let recorded = run_episode(environment.as_mut(), policy, seed)?;
            folder.save(&recorded.episode)?;
            solved += usize::from(recorded.success);
            reward += f64::from(recorded.episode.total_reward());
            frames += recorded.episode.len();
            bar.set_message(format!("{solved} of {} solved", index + 1));
            bar.inc(1);
        }
        bar.finish_and_clear();
        let report = CollectReport {
            env: &task.name,
            policy: &self.policy,
            noise: self.noise(),
            seed: first,
            episodes: self.episodes,
            frames,
            success_rate: solved as f64 / self.episodes as f64,
            return_mean: reward / self.episodes as f64,
            out: &self.out,
        };
        Report::new(&report, report.text())
    }
}

impl CollectReport<'_> {
    fn text(&self) -> String {
        aligned(&[
            (
                "environment",
                format!("{}, policy {}", self.env, self.policy),
            ),
            (
                "episodes",
                format!(
                    "{}, {} frames",
                    grouped(self.episodes),
                    grouped(self.frames)
                ),
            ),
            ("success rate", format!("{:.3}", self.success_rate)),
            ("mean return", format!("{:.3}", self.return_mean)),
            ("wrote", self.out.display().to_string()),
        ])
    }
}
