//! `latco demo`: from a raw image to an executed plan.

mod relaxation;

use std::path::PathBuf;

use clap::Args;
use latco_agent::Agent;
use latco_env::{Environment, Image, Protocol};
use latco_model::WorldModel;
use latco_plan::Plan;
use serde::Serialize;

use self::relaxation::Watch;
use super::plan::{imagined, warn_of};
use crate::{
    arguments::{Common, DEFAULT_PLANNER, PlannerArguments, Task, TaskArguments, count, horizon},
    destination::{Content, check_folder, file_stem, write_all},
    drawing::{Reel, compose, draw_dual_ascent, encode_gif},
    error::CliError,
    loading::{agent_for, environment_for},
    output::{Report, aligned, grouped, path_texts},
    progress,
};

/// The side of each of the two films, in pixels.
const SIDE: usize = 320;

/// What plans on reach unless another planner is named.
const RELAXED_PLANNER: &str = "latco-paper";

/// The task of the checkpoint that the program itself holds, so that the demonstration runs anywhere.
const REACH: &str = "reach";
const REACH_CHECKPOINT: &[u8] = include_bytes!("../../assets/reach.safetensors");

/// Plan from a raw image with a shipped checkpoint, execute the plan, draw both.
///
/// Encodes the first image of an episode, plans, executes the plan, made anew as often as the task asks
/// for (`--replan-every`: T and more is open loop), and draws what happened beside what the plans
/// imagined. On reach the planner is latco-paper unless another is named: from noise the relaxed plan
/// leaps to the reward, and the dynamics pull it back. Without --env and --benchmark the environment is reach.
#[derive(Args)]
#[command(after_help = "\
Writes DIR/first.png (the image planned from), DIR/demo.gif (executed beside imagined),
DIR/plan.png (reward, violation and multipliers over the planner's iterations) and, of a plan that
was relaxed, one and not several side by side, DIR/relaxation.png (what its latents depict, from the
first iteration to the last).

Examples:
  latco demo
  latco demo --env two-room
  latco demo --seed 7 --planner cem --out out/cem")]
pub struct Demo {
    /// The folder to write to.
    #[arg(long, value_name = "DIR", default_value = "out")]
    out: PathBuf,

    #[command(flatten)]
    task: TaskArguments,

    /// The world model, trained on it [default: assets/checkpoints/NAME.safetensors; for reach, where
    /// that is missing, the one that the program holds].
    #[arg(long, value_name = "FILE")]
    checkpoint: Option<PathBuf>,

    #[command(flatten)]
    planner: PlannerArguments,

    /// Steps of a plan [default: the benchmark's or the environment's].
    #[arg(long, value_name = "N", value_parser = horizon())]
    horizon: Option<usize>,

    /// Steps executed of a plan before the next is made [default: the benchmark's or the environment's].
    #[arg(long, value_name = "N", value_parser = count())]
    replan_every: Option<usize>,
}

/// What happened in the environment, and what the plans in force imagined.
struct Execution {
    watch: Watch,
    frames: Vec<Image>,
    rewards: Vec<f32>,
    success: bool,
    imagined: Vec<Image>,
    promised: Vec<f32>,
    plans: Vec<Plan>,
}

impl Execution {
    /// Adds the first `steps` of a new plan.
    fn follow(&mut self, plan: &Plan, images: Vec<Image>, steps: usize) {
        let known = usize::from(!self.imagined.is_empty());
        let seen = images.into_iter().take(steps + 1).skip(known);
        self.imagined.extend(seen);
        self.promised
            .extend(plan.virtual_.rewards.iter().take(steps));
        self.plans.push(plan.clone());
        self.watch.only_count();
    }
}

/// The figures of the demonstration.
#[derive(Serialize)]
struct DemoReport<'a> {
    env: &'a str,
    planner: &'a str,
    device: &'a str,
    seed: u64,
    horizon: usize,
    plans: usize,
    iterations: usize,
    seconds: f64,
    model_steps: usize,
    virtual_reward: f32,
    rollout_reward: f32,
    environment_reward: f32,
    violation_max: f32,
    success: bool,
    backed_by_rollout: bool,
    #[serde(serialize_with = "path_texts")]
    files: Vec<PathBuf>,
}

impl Demo {
    /// Plans, executes, draws, reports.
    pub fn run(&self, common: &Common) -> Result<Report, CliError> {
        check_folder("--out", &self.out)?;
        let task = self.task.task_or(REACH)?;
        let checkpoint = self.checkpoint(&task);
        let device = common.device()?;
        let model = match checkpoint.exists() {
            true => WorldModel::load(&checkpoint, &device)?,
            false if self.checkpoint.is_none() && task.env == REACH => {
                WorldModel::from_bytes(REACH_CHECKPOINT.to_vec(), REACH, &device)?
            }
            false => return Err(CliError::NoDemoCheckpoint { path: checkpoint }),
        };
        let mut environment = environment_for(&model, &task.env, &task.arguments, &checkpoint)?;
        let protocol = self.protocol(&task, environment.as_ref());
        let name = self.planner.name_or(usual_planner(&task));
        let planner = self.planner.planner_or(name, Some(protocol.horizon))?;
        let mut agent = agent_for(model, planner, protocol, &device)?;
        agent.reset(common.seed());
        let execution = execute(environment.as_mut(), &mut agent, protocol, common)?;
        let plan = execution.plans.first().ok_or(CliError::NoPlan)?;
        execution.plans.iter().for_each(warn_of);
        let files = self.draw(&execution, agent.model(), plan, name)?;
        let report = DemoReport {
            files,
            ..DemoReport::new(&execution, plan, (&task.name, name), common)
        };
        Report::new(&report, report.text())
    }

    fn checkpoint(&self, task: &Task) -> PathBuf {
        let name = match &task.benchmark {
            Some(benchmark) => benchmark.checkpoint(),
            None => &task.name,
        };
        let shipped = || {
            PathBuf::from(format!(
                "assets/checkpoints/{}.safetensors",
                file_stem(name)
            ))
        };
        self.checkpoint.clone().unwrap_or_else(shipped)
    }

    fn protocol(&self, task: &Task, environment: &dyn Environment) -> Protocol {
        let usual = task.protocol(environment);
        let horizon = self.horizon.unwrap_or(usual.horizon);
        Protocol {
            horizon,
            replan_every: self.replan_every.unwrap_or(usual.replan_every).min(horizon),
        }
    }

    fn draw(
        &self,
        execution: &Execution,
        model: &WorldModel,
        plan: &Plan,
        planner: &str,
    ) -> Result<Vec<PathBuf>, CliError> {
        let reels = [
            Reel::new(
                "executed",
                execution.frames.clone(),
                execution.rewards.clone(),
            ),
            Reel::new(
                "imagined",
                execution.imagined.clone(),
                execution.promised.clone(),
            ),
        ];
        let gif = encode_gif(&compose(&reels, 2, SIDE)?)?;
        let chart = draw_dual_ascent(planner, plan)?;
        let mut files = vec![
            ("demo.gif", Content::Bytes(gif)),
            ("plan.png", Content::Picture(chart)),
        ];
        if let Some(sheet) = execution.watch.sheet(model, plan) {
            files.push(("relaxation.png", Content::Picture(sheet?)));
        }
        if let Some(first) = execution.frames.first() {
            files.push(("first.png", Content::Picture(first.clone())));
        }
        write_all(&self.out, &files)
    }
}

/// On reach, what shows the relaxation.
fn usual_planner(task: &Task) -> &'static str {
    match task.env == REACH {
        true => RELAXED_PLANNER,
        false => DEFAULT_PLANNER,
    }
}

/// Acts to the end of the episode, the agent filtering every image.
fn execute(
    environment: &mut dyn Environment,
    agent: &mut Agent,
    protocol: Protocol,
    common: &Common,
) -> Result<Execution, CliError> {
    let spinner = progress::planning(common);
    let mut execution = Execution {
        watch: Watch::new(spinner.clone()),
        frames: Vec::new(),
        rewards: Vec::new(),
        success: false,
        imagined: Vec::new(),
        promised: Vec::new(),
        plans: Vec::new(),
    };
    let mut image = environment.reset(common.seed())?;
    loop {
        let action = agent.act_observed(&image, &mut execution.watch)?;
        let is_new = agent.has_just_planned();
        if let (true, Some(plan), Some(belief)) = (is_new, agent.plan(), agent.belief()) {
            let images = imagined(agent.model(), belief, plan);
            execution.follow(plan, images, protocol.replan_every);
        }
        let step = environment.step(&action)?;
        let is_last = step.is_last();
        execution
            .frames
            .push(std::mem::replace(&mut image, step.image));
        execution.rewards.push(step.reward);
        execution.success |= step.success;
        if is_last {
            execution.frames.push(image);
            spinner.finish_and_clear();
            return Ok(execution);
        }
    }
}

impl<'a> DemoReport<'a> {
    /// The figures of `planner` in `env`, before anything is drawn.
    fn new(
        execution: &Execution,
        plan: &Plan,
        (env, planner): (&'a str, &'a str),
        common: &'a Common,
    ) -> Self {
        Self {
            env,
            planner,
            device: &common.device,
            seed: common.seed(),
            horizon: plan.horizon(),
            plans: execution.plans.len(),
            iterations: plan.trace.len(),
            seconds: plan.elapsed.as_secs_f64(),
            model_steps: plan.model_steps,
            virtual_reward: plan.virtual_.total(),
            rollout_reward: plan.rollout.total(),
            environment_reward: execution.rewards.iter().sum(),
            violation_max: plan.violation_max(),
            success: execution.success,
            backed_by_rollout: plan.is_backed_by_rollout(),
            files: Vec::new(),
        }
    }

    fn text(&self) -> String {
        let paths = self.files.iter().map(|path| path.display().to_string());
        let backed = match self.backed_by_rollout {
            true => "yes",
            false => "NO: the planned latents leave the dynamics",
        };
        aligned(&[
            ("environment", format!("{}, seed {}", self.env, self.seed)),
            ("planner", format!("{} on {}", self.planner, self.device)),
            (
                "first plan",
                format!(
                    "{} steps, {} iterations, {:.2} s, {} model steps",
                    self.horizon,
                    grouped(self.iterations),
                    self.seconds,
                    grouped(self.model_steps)
                ),
            ),
            (
                "reward along the plan",
                format!("{:.2}", self.virtual_reward),
            ),
            ("reward rolled out", format!("{:.2}", self.rollout_reward)),
            ("plans executed", grouped(self.plans)),
            (
                "reward in the environment",
                format!("{:.2}", self.environment_reward),
            ),
            ("largest violation", format!("{:.1e}", self.violation_max)),
            ("backed by its rollout", backed.to_owned()),
            (
                "task solved",
                if self.success { "yes" } else { "no" }.to_owned(),
            ),
            ("wrote", paths.collect::<Vec<_>>().join(", ")),
        ])
    }
}
