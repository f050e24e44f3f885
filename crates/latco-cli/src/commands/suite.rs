//! `latco suite`: every task with every planner, as data, a table and a plot.

use std::{collections::BTreeMap, fmt::Write as _, fs, path::PathBuf};

use burn::tensor::Device;
use clap::Args;
use latco_agent::{Evaluation, evaluate};
use latco_env::{Protocol, catalogue as tasks, info, process::is_outside};
use latco_model::WorldModel;
use latco_plan::catalogue::{self, PLANNERS};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{
    arguments::{Common, EnvArguments, count, env_name, planner_name},
    destination::{Content, check_folder, write, write_all},
    drawing::{Outcome, TaskOutcomes, draw_success},
    error::CliError,
    loading::{agent_for, environment_for, protocol_of},
    output::{Report, grouped, note, optional_path_text, path_texts, warn},
    progress,
};

/// The planners of the published comparison, and the seed of its first episode.
const SUITE_PLANNERS: [&str; 9] = [
    "latco",
    "latco-first-order",
    "latco-gaussian",
    "cem",
    "icem",
    "mppi",
    "shooting-gd",
    "ilqr",
    "random",
];
const FIRST_SEED: u64 = 1234;

/// Tells one version of a checkpoint from another.
const CHECKSUM: crc::Crc<u32> = crc::Crc::<u32>::new(&crc::CRC_32_ISCSI);

/// Evaluate planners on every task that has a checkpoint.
///
/// Plans have the steps of the task. Results that are there already are kept as long as checkpoint,
/// steps of plans, episodes and seed are the same, so that the suite may be run in pieces. Tasks
/// without a checkpoint are listed as such.
#[derive(Args)]
#[command(after_help = "\
Reads CHECKPOINTS/TASK.safetensors; writes DIR/TASK.json after every planner, at the end
DIR/suite.csv, DIR/suite.md and DIR/suite.png of everything in DIR. Seeds begin at 1234 unless
--seed says otherwise.

Examples:
  latco suite
  latco suite --env reach --env push --planner latco --planner cem --episodes 20
  latco suite --env reach --force")]
pub struct Suite {
    /// The folder of checkpoints, one a task.
    #[arg(long, value_name = "DIR", default_value = "assets/checkpoints")]
    checkpoints: PathBuf,

    /// The folder of results.
    #[arg(long, value_name = "DIR", default_value = "results")]
    out: PathBuf,

    /// A task: a name of `latco envs`, gym:ID or exec:COMMAND; may be given often [default: all of the
    /// catalogue]. Where its name has other characters than letters, digits and `-_.`, its files have
    /// dashes in their place.
    #[arg(long = "env", value_name = "NAME", value_parser = env_name)]
    envs: Vec<String>,

    #[command(flatten)]
    env_arguments: EnvArguments,

    /// A planner: a name of `latco planners`; may be given often [default: the nine of the
    /// comparison].
    #[arg(long = "planner", value_name = "NAME", value_parser = planner_name)]
    planners: Vec<String>,

    /// Episodes of each planner and task.
    #[arg(long, value_name = "N", default_value = "50", value_parser = count())]
    episodes: usize,

    /// Evaluate anew what is there already.
    #[arg(long)]
    force: bool,
}

/// A task, with its model where there is one.
struct Task {
    name: String,
    /// Of a task without a model, that of the catalogue.
    protocol: Protocol,
    model: Option<TaskModel>,
}

struct TaskModel {
    arguments: BTreeMap<String, Value>,
    path: PathBuf,
    checksum: String,
    model: WorldModel,
}

/// One planner on one task.
#[derive(Clone, Serialize, Deserialize)]
struct Entry {
    #[serde(flatten)]
    evaluation: Evaluation,
    success_low: f64,
    success_high: f64,
    horizon: usize,
    replan_every: usize,
    /// The checksum of the checkpoint (CRC-32C).
    checkpoint: String,
}

/// A task in the report.
#[derive(Serialize)]
struct TaskReport {
    env: String,
    #[serde(serialize_with = "optional_path_text")]
    checkpoint: Option<PathBuf>,
    results: Vec<Entry>,
}

#[derive(Serialize)]
struct SuiteReport {
    seed: u64,
    episodes: usize,
    tasks: Vec<TaskReport>,
    #[serde(serialize_with = "path_texts")]
    files: Vec<PathBuf>,
}

impl Suite {
    /// Evaluates what is missing, then draws up everything that is there.
    pub fn run(&self, common: &Common) -> Result<Report, CliError> {
        check_folder("--out", &self.out)?;
        let device = common.device()?;
        let tasks = self.tasks(&device)?;
        let kept: Result<Vec<_>, _> = tasks.iter().map(|task| self.kept(task)).collect();
        let mut results = kept?;
        for (task, entries) in tasks.iter().zip(&mut results) {
            self.complete(task, entries, common, &device)?;
        }
        let tasks: Vec<_> = tasks
            .into_iter()
            .zip(results)
            .map(|(task, results)| TaskReport {
                env: task.name,
                checkpoint: task.model.map(|model| model.path),
                results,
            })
            .collect();
        let table = table(&tasks);
        let files = [
            ("suite.csv", Content::Bytes(csv(&tasks).into_bytes())),
            ("suite.md", Content::Bytes(table.clone().into_bytes())),
            ("suite.png", Content::Picture(plot(&tasks)?)),
        ];
        let report = SuiteReport {
            seed: self.seed(common),
            episodes: self.episodes,
            tasks,
            files: write_all(&self.out, &files)?,
        };
        Report::new(&report, table)
    }

    fn seed(&self, common: &Common) -> u64 {
        common.seed.unwrap_or(FIRST_SEED)
    }

    /// Every task of the catalogue and those outside it that are asked for, its checkpoint loaded and
    /// checked where there is one.
    fn tasks(&self, device: &Device) -> Result<Vec<Task>, CliError> {
        if !self.checkpoints.is_dir() {
            return Err(CliError::NoCheckpoints {
                path: self.checkpoints.clone(),
            });
        }
        let known = tasks().iter().map(|info| info.name);
        let outside = self.envs.iter().map(String::as_str);
        let outside = outside.filter(|name| is_outside(name));
        let arguments = self.env_arguments.values();
        known
            .chain(outside)
            .map(|name| {
                let path = self
                    .checkpoints
                    .join(format!("{}.safetensors", file_stem(name)));
                match path.is_file() {
                    true => Task::load(name, &arguments, path, device),
                    false => Ok(Task::without_model(name)),
                }
            })
            .collect()
    }

    fn results_file(&self, task: &Task) -> PathBuf {
        self.out.join(format!("{}.json", file_stem(&task.name)))
    }

    /// What is there of a task's present checkpoint and steps of plans.
    fn kept(&self, task: &Task) -> Result<Vec<Entry>, CliError> {
        let path = self.results_file(task);
        let (Some(model), true) = (&task.model, path.exists()) else {
            return Ok(Vec::new());
        };
        let damaged = |reason: String| CliError::Results {
            path: path.clone(),
            reason,
        };
        let bytes = fs::read(&path).map_err(|error| damaged(error.to_string()))?;
        let mut entries: Vec<Entry> =
            serde_json::from_slice(&bytes).map_err(|error| damaged(error.to_string()))?;
        let found = entries.len();
        entries.retain(|entry| entry.is_of(&model.checksum, task.protocol));
        if entries.len() < found {
            warn(format!(
                "{}: {} results belong to another checkpoint or other steps of plans and are \
                 left out",
                path.display(),
                found - entries.len()
            ));
        }
        Ok(entries)
    }

    /// Evaluates what is asked for and missing in `entries`, and writes it planner by planner.
    fn complete(
        &self,
        task: &Task,
        entries: &mut Vec<Entry>,
        common: &Common,
        device: &Device,
    ) -> Result<(), CliError> {
        let asked = self.envs.is_empty() || self.envs.contains(&task.name);
        let (Some(model), true) = (&task.model, asked) else {
            return Ok(());
        };
        let seed = self.seed(common);
        for planner in self.planners() {
            let is_done = |entry: &Entry| entry.answers(planner, self.episodes, seed);
            if !self.force && entries.iter().any(is_done) {
                note(common, format!("{} {planner}: kept", task.name));
                continue;
            }
            let entry = self.evaluate(task, model, planner, common, device)?;
            note(common, entry.row());
            entries.retain(|entry| entry.evaluation.planner != planner);
            entries.push(entry);
            entries.sort_by_key(|entry| rank(&entry.evaluation.planner));
            let json = serde_json::to_vec_pretty(entries)?;
            write(&self.results_file(task), &Content::Bytes(json))?;
        }
        Ok(())
    }

    fn planners(&self) -> Vec<&str> {
        match self.planners.is_empty() {
            true => SUITE_PLANNERS.to_vec(),
            false => self.planners.iter().map(String::as_str).collect(),
        }
    }

    fn evaluate(
        &self,
        task: &Task,
        model: &TaskModel,
        planner: &str,
        common: &Common,
        device: &Device,
    ) -> Result<Entry, CliError> {
        let mut environment =
            environment_for(&model.model, &task.name, &model.arguments, &model.path)?;
        let made = catalogue::planner(planner, Some(task.protocol.horizon))?;
        let mut agent = agent_for(model.model.clone(), made, task.protocol, device)?;
        let bar = progress::bar(common, &task.name, self.episodes);
        bar.set_message(planner.to_owned());
        let mut evaluation = evaluate(
            environment.as_mut(),
            &mut agent,
            common.device,
            self.seed(common),
            self.episodes,
            |_| bar.inc(1),
        )?;
        bar.finish_and_clear();
        evaluation.planner = planner.to_owned();
        evaluation.env.clone_from(&task.name);
        Ok(Entry::new(evaluation, task.protocol, &model.checksum))
    }
}

/// The name of a task in file names: whatever could mean something else there is a dash.
fn file_stem(name: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    name.chars()
        .map(|c| if plain(c) { c } else { '-' })
        .collect()
}

impl Task {
    fn load(
        name: &str,
        arguments: &BTreeMap<String, Value>,
        path: PathBuf,
        device: &Device,
    ) -> Result<Self, CliError> {
        let model = WorldModel::load(&path, device)?;
        // Only environments outside the catalogue take arguments.
        let arguments = match is_outside(name) {
            true => arguments.clone(),
            false => BTreeMap::new(),
        };
        let environment = environment_for(&model, name, &arguments, &path)?;
        let bytes = fs::read(&path)?;
        Ok(Self {
            name: name.to_owned(),
            protocol: protocol_of(name, environment.as_ref()),
            model: Some(TaskModel {
                checksum: format!("{:08x}", CHECKSUM.checksum(&bytes)),
                model,
                arguments,
                path,
            }),
        })
    }

    fn without_model(name: &str) -> Self {
        let unknown = Protocol {
            horizon: 0,
            replan_every: 0,
        };
        Self {
            name: name.to_owned(),
            protocol: info(name).map_or(unknown, |info| info.protocol),
            model: None,
        }
    }
}

impl Entry {
    fn new(evaluation: Evaluation, protocol: Protocol, checksum: &str) -> Self {
        let (success_low, success_high) = evaluation.success_interval();
        Self {
            evaluation,
            success_low,
            success_high,
            horizon: protocol.horizon,
            replan_every: protocol.replan_every,
            checkpoint: checksum.to_owned(),
        }
    }

    /// Whether the entry is of this checkpoint and these steps of plans.
    fn is_of(&self, checksum: &str, protocol: Protocol) -> bool {
        let Protocol {
            horizon,
            replan_every,
        } = protocol;
        self.checkpoint == checksum && (self.horizon, self.replan_every) == (horizon, replan_every)
    }

    /// Whether the entry is what is asked for.
    fn answers(&self, planner: &str, episodes: usize, seed: u64) -> bool {
        let found = &self.evaluation;
        found.planner == planner && (found.episodes, found.seed) == (episodes, seed)
    }

    /// The entry as a row of the table.
    fn row(&self) -> String {
        let e = &self.evaluation;
        format!(
            "| `{}` | `{}` | {:.2} ({:.2}–{:.2}) | {} | {:.1} | {:.1} | {:.2} | {:.3} | {} |",
            e.env,
            e.planner,
            e.success_rate,
            self.success_low,
            self.success_high,
            e.episodes,
            e.virtual_reward_mean,
            e.rollout_reward_mean,
            e.backed_share,
            e.plan_seconds_median,
            grouped(e.model_steps_per_plan.round() as usize),
        )
    }

    /// The entry as columns of the data file, each with its name.
    fn columns(&self) -> [(&'static str, String); 20] {
        let e = &self.evaluation;
        let text = |value: &dyn ToString| value.to_string();
        [
            ("env", text(&e.env)),
            ("planner", text(&e.planner)),
            ("episodes", text(&e.episodes)),
            ("seed", text(&e.seed)),
            ("horizon", text(&self.horizon)),
            ("replan_every", text(&self.replan_every)),
            ("success_rate", text(&e.success_rate)),
            ("success_low", text(&self.success_low)),
            ("success_high", text(&self.success_high)),
            ("return_mean", text(&e.return_mean)),
            ("return_std", text(&e.return_std)),
            ("virtual_reward_mean", text(&e.virtual_reward_mean)),
            ("rollout_reward_mean", text(&e.rollout_reward_mean)),
            ("violation_max", text(&e.violation_max)),
            ("backed_share", text(&e.backed_share)),
            ("plan_seconds_median", text(&e.plan_seconds_median)),
            ("plan_seconds_max", text(&e.plan_seconds_max)),
            ("model_steps_per_plan", text(&e.model_steps_per_plan)),
            ("device", text(&e.device)),
            ("checkpoint", text(&self.checkpoint)),
        ]
    }
}

/// Where a planner stands: in the order of the comparison, others after it.
fn rank(planner: &str) -> usize {
    let others = PLANNERS.iter().map(|info| info.name);
    SUITE_PLANNERS
        .into_iter()
        .chain(others)
        .position(|name| name == planner)
        .unwrap_or(usize::MAX)
}

fn table(tasks: &[TaskReport]) -> String {
    let mut table = "\
        | task | planner | success (95 % interval) | episodes | virtual | rollout | backed | seconds a plan | model steps a plan |\n\
        |---|---|---|---|---|---|---|---|---|\n"
        .to_owned();
    for task in tasks {
        for entry in &task.results {
            let _ = writeln!(table, "{}", entry.row());
        }
        let missing = match (&task.checkpoint, task.results.is_empty()) {
            (None, _) => "no checkpoint",
            (Some(_), true) => "not evaluated yet",
            (Some(_), false) => continue,
        };
        let _ = writeln!(table, "| `{}` | {missing} | | | | | | | |", task.env);
    }
    table
}

/// Every entry as a line below the names of the columns.
fn csv(tasks: &[TaskReport]) -> String {
    let mut text = String::new();
    for entry in tasks.iter().flat_map(|task| &task.results) {
        let columns = entry.columns();
        if text.is_empty() {
            text += &columns.each_ref().map(|(name, _)| *name).join(",");
            text.push('\n');
        }
        text += &columns.map(|(_, value)| value).join(",");
        text.push('\n');
    }
    text
}

fn plot(tasks: &[TaskReport]) -> Result<latco_env::Image, CliError> {
    let evaluated = tasks.iter().filter(|task| !task.results.is_empty());
    let others = tasks.iter().filter(|task| task.results.is_empty());
    let others: Vec<_> = others.map(|task| task.env.as_str()).collect();
    draw_success(&evaluated.map(outcomes).collect::<Vec<_>>(), &others)
}

fn outcomes(task: &TaskReport) -> TaskOutcomes<'_> {
    let outcome = |entry: &Entry| Outcome {
        planner: entry.evaluation.planner.clone(),
        share: entry.evaluation.success_rate,
        interval: (entry.success_low, entry.success_high),
        seconds: entry.evaluation.plan_seconds_median,
    };
    TaskOutcomes {
        task: &task.env,
        outcomes: task.results.iter().map(outcome).collect(),
    }
}
