//! `latco suite`: every task with every planner, as data, a table and a plot.

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    fs::{self, File},
    path::{Path, PathBuf},
};

use burn::tensor::Device;
use clap::Args;
use latco_agent::{Evaluation as Evaluated, evaluate};
use latco_env::{Protocol, catalogue as tasks, info, process::is_outside};
use latco_model::WorldModel;
use latco_plan::catalogue::{self, PLANNERS};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{
    arguments::{Common, EnvArguments, Task, count, env_name, planner_name},
    benchmark::{Benchmark, Evaluation, PLANNERS as COMPARED},
    destination::{Content, check_folder, make_parent, write, write_all},
    drawing::{Outcome, TaskOutcomes, draw_success},
    error::CliError,
    loading::{agent_for, environment_for, environments_for},
    output::{Report, grouped, note, optional_path_text, path_texts, warn},
    progress,
};

/// Tells one version of a checkpoint from another.
const CHECKSUM: crc::Crc<u32> = crc::Crc::<u32>::new(&crc::CRC_32_ISCSI);

/// Evaluate planners on every task that has a checkpoint.
///
/// Plans have the steps of the task. Results that are there already are kept as long as checkpoint,
/// environment, steps of plans, episodes and seed are the same, so that the suite may be run in pieces. Tasks
/// without a checkpoint are listed as such. With --benchmark the tasks are those of the files, and
/// planners, episodes, seed and steps of plans are theirs.
#[derive(Args)]
#[command(after_help = "\
Reads CHECKPOINTS/TASK.safetensors; writes DIR/TASK.json after every planner, at the end
DIR/suite.csv, DIR/suite.md and DIR/suite.png of everything in DIR. Seeds begin at 1234 unless
--seed says otherwise. Promised is the reward that plans promise for the steps of them that are executed,
rolled out that of their actions rolled out through the model, got that of the environment, all as
means over episodes.

Examples:
  latco suite
  latco suite --env reach --env push --planner latco --planner cem --episodes 20
  latco suite --env reach --force
  latco suite --benchmark benchmarks/metaworld-*.toml --checkpoints runs/best")]
pub struct Suite {
    /// The folder of checkpoints, one a task.
    #[arg(long, value_name = "DIR", default_value = "assets/checkpoints")]
    checkpoints: PathBuf,

    /// The folder of results [default: results, or results/benchmarks with --benchmark].
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,

    /// A task: a name of `latco envs`, gym:ID or exec:COMMAND; may be given often [default: all of the
    /// catalogue]. Where its name has other characters than letters, digits and `-_.`, its files have
    /// dashes in their place.
    #[arg(long = "env", value_name = "NAME", value_parser = env_name)]
    envs: Vec<String>,

    #[command(flatten)]
    env_arguments: EnvArguments,

    /// Benchmarks: TOML files of tasks (docs/tasks.md), each with its checkpoint of the file's name; one or
    /// more.
    #[arg(long = "benchmark", value_name = "FILE", num_args = 1..)]
    benchmarks: Vec<PathBuf>,

    /// A planner: a name of `latco planners`; may be given often [default: the benchmark's, else the nine
    /// of the comparison].
    #[arg(long = "planner", value_name = "NAME", value_parser = planner_name)]
    planners: Vec<String>,

    /// Episodes of each planner and task [default: the benchmark's, else 50].
    #[arg(long, value_name = "N", value_parser = count())]
    episodes: Option<usize>,

    /// Episodes that run side by side; the seconds of a plan are then those of a share of the cores.
    #[arg(long = "envs", value_name = "N", default_value = "1", value_parser = count())]
    environments: usize,

    /// Evaluate anew what is there already.
    #[arg(long)]
    force: bool,
}

/// A task as it is evaluated, with its model where there is one.
struct Entrant {
    task: Task,
    /// Whether it is evaluated now; results that are there are listed in any case.
    is_asked_for: bool,
    planners: Vec<String>,
    episodes: usize,
    seed: u64,
    /// Of a task without a model, that of the catalogue.
    protocol: Protocol,
    model: Option<TaskModel>,
}

struct TaskModel {
    path: PathBuf,
    checksum: String,
    model: WorldModel,
}

/// One planner on one task.
#[derive(Clone, Serialize, Deserialize)]
struct Entry {
    #[serde(flatten)]
    evaluation: Evaluated,
    success_low: f64,
    success_high: f64,
    horizon: usize,
    replan_every: usize,
    /// The checksum of the checkpoint (CRC-32C).
    checkpoint: String,
    /// The environment's arguments; tasks of the catalogue have none.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    arguments: BTreeMap<String, Value>,
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
        check_folder("--out", &self.out())?;
        let device = common.device()?;
        let entrants = self.entrants(common, &device)?;
        entrants
            .iter()
            .try_for_each(|entrant| self.check(entrant))?;
        for entrant in &entrants {
            self.complete(entrant, common, &device)?;
        }
        let report = |entrant: Entrant| {
            Ok(TaskReport {
                results: self.kept(&entrant)?,
                env: entrant.task.name,
                checkpoint: entrant.model.map(|model| model.path),
            })
        };
        let tasks: Result<Vec<_>, CliError> = entrants.into_iter().map(report).collect();
        let tasks = tasks?;
        let table = table(&tasks);
        let files = [
            ("suite.csv", Content::Bytes(csv(&tasks).into_bytes())),
            ("suite.md", Content::Bytes(table.clone().into_bytes())),
            ("suite.png", Content::Picture(plot(&tasks)?)),
        ];
        let usual = Evaluation::default();
        let report = SuiteReport {
            seed: common.seed.unwrap_or(usual.seed),
            episodes: self.episodes.unwrap_or(usual.episodes),
            tasks,
            files: write_all(&self.out(), &files)?,
        };
        Report::new(&report, table)
    }

    fn out(&self) -> PathBuf {
        let usual = match self.benchmarks.is_empty() {
            true => "results",
            false => "results/benchmarks",
        };
        self.out.clone().unwrap_or_else(|| PathBuf::from(usual))
    }

    /// The benchmarks, else every task of the catalogue, and the tasks that --env names, the checkpoint of
    /// each loaded and checked where there is one.
    fn entrants(&self, common: &Common, device: &Device) -> Result<Vec<Entrant>, CliError> {
        if !self.checkpoints.is_dir() {
            return Err(CliError::NoCheckpoints {
                path: self.checkpoints.clone(),
            });
        }
        let is_named = |name: &str| self.envs.iter().any(|env| env == name);
        let known = tasks().iter().map(|info| info.name);
        let known = known.filter(|name| self.benchmarks.is_empty() || is_named(name));
        let outside = self.envs.iter().map(String::as_str);
        let outside = outside.filter(|name| is_outside(name));
        let arguments = self.env_arguments.values();
        let by_name = known.chain(outside).map(|name| {
            // Only environments outside the catalogue take arguments.
            let taken = match is_outside(name) {
                true => arguments.clone(),
                false => BTreeMap::new(),
            };
            Task::named(name, taken)
        });
        let benchmarks = self.benchmarks.iter();
        let of_files = benchmarks
            .map(|path| Ok(Task::of(Benchmark::load(path)?, arguments.clone())))
            .collect::<Result<Vec<_>, CliError>>()?;
        let all = of_files.into_iter().chain(by_name);
        all.map(|task| {
            let is_asked_for =
                self.envs.is_empty() || task.benchmark.is_some() || is_named(&task.name);
            self.entrant(task, is_asked_for, common, device)
        })
        .collect()
    }

    fn entrant(
        &self,
        task: Task,
        is_asked_for: bool,
        common: &Common,
        device: &Device,
    ) -> Result<Entrant, CliError> {
        let told = task.benchmark.as_ref();
        let stem = told.map_or(task.name.as_str(), Benchmark::checkpoint);
        let path = self
            .checkpoints
            .join(format!("{}.safetensors", file_stem(stem)));
        let told = told.map(|told| told.evaluation.clone()).unwrap_or_default();
        let planners = match self.planners.is_empty() {
            true => told.planners,
            false => self.planners.clone(),
        };
        let (protocol, model) = match path.is_file() {
            true => {
                let (protocol, model) = TaskModel::load(&task, path, device)?;
                (protocol, Some(model))
            }
            false => (unseen_protocol(&task), None),
        };
        Ok(Entrant {
            task,
            is_asked_for,
            planners,
            episodes: self.episodes.unwrap_or(told.episodes),
            seed: common.seed.unwrap_or(told.seed),
            protocol,
            model,
        })
    }

    fn results_file(&self, task: &Task) -> PathBuf {
        self.out().join(format!("{}.json", file_stem(&task.name)))
    }

    /// What is there of a task, in the planners' order.
    fn found(&self, entrant: &Entrant) -> Result<Vec<Entry>, CliError> {
        let path = self.results_file(&entrant.task);
        if entrant.model.is_none() || !path.exists() {
            return Ok(Vec::new());
        }
        let damaged = |reason: String| CliError::Results {
            path: path.clone(),
            reason,
        };
        let bytes = fs::read(&path).map_err(|error| damaged(error.to_string()))?;
        let found = serde_json::from_slice(&bytes);
        let mut found: Vec<Entry> = found.map_err(|error| damaged(error.to_string()))?;
        found.sort_by_key(|entry| rank(&entry.evaluation.planner));
        Ok(found)
    }

    /// What is there of a task's present checkpoint and steps of plans.
    fn kept(&self, entrant: &Entrant) -> Result<Vec<Entry>, CliError> {
        let mut entries = self.found(entrant)?;
        let model = entrant.model.as_ref();
        entries.retain(|entry| model.is_some_and(|model| entry.is_of(model, entrant)));
        Ok(entries)
    }

    /// Tells of results that will not be kept.
    fn check(&self, entrant: &Entrant) -> Result<(), CliError> {
        let (found, kept) = (self.found(entrant)?.len(), self.kept(entrant)?.len());
        if kept < found {
            warn(format!(
                "{}: {} results belong to another checkpoint, other steps of plans or other \
                 arguments and are left out",
                self.results_file(&entrant.task).display(),
                found - kept
            ));
        }
        Ok(())
    }

    /// Evaluates what is asked for and missing, and writes it planner by planner.
    fn complete(
        &self,
        entrant: &Entrant,
        common: &Common,
        device: &Device,
    ) -> Result<(), CliError> {
        let (Some(model), true) = (&entrant.model, entrant.is_asked_for) else {
            return Ok(());
        };
        for planner in &entrant.planners {
            let is_done = |entry: &Entry| entry.answers(planner, entrant.episodes, entrant.seed);
            if !self.force && self.kept(entrant)?.iter().any(is_done) {
                note(common, format!("{} {planner}: kept", entrant.task.name));
                continue;
            }
            let entry = entrant.evaluate(model, planner, self.environments, common, device)?;
            note(common, entry.row());
            self.add(entrant, entry)?;
        }
        Ok(())
    }

    /// Puts a result beside those that are there, also where another process has written some meanwhile.
    fn add(&self, entrant: &Entrant, entry: Entry) -> Result<(), CliError> {
        let _lock = locked(&self.out().join(".lock"))?;
        let mut entries = self.kept(entrant)?;
        entries.retain(|other| other.evaluation.planner != entry.evaluation.planner);
        entries.push(entry);
        let json = serde_json::to_vec_pretty(&entries)?;
        let results = self.results_file(&entrant.task);
        write(&results, &Content::Bytes(json))
    }
}

/// A file that one process holds at a time, while others wait.
fn locked(path: &Path) -> Result<File, CliError> {
    make_parent(path)?;
    let file = File::create(path).and_then(|file| file.lock().map(|()| file));
    file.map_err(|source| CliError::Write {
        path: path.to_owned(),
        source,
    })
}

impl Entrant {
    fn evaluate(
        &self,
        model: &TaskModel,
        planner: &str,
        envs: usize,
        common: &Common,
        device: &Device,
    ) -> Result<Entry, CliError> {
        let Task { env, arguments, .. } = &self.task;
        let mut environments = environments_for(&model.model, env, arguments, &model.path, envs)?;
        let made = catalogue::planner(planner, Some(self.protocol.horizon))?;
        let agent = agent_for(model.model.clone(), made, self.protocol, device)?;
        let bar = progress::bar(common, &self.task.name, self.episodes);
        bar.set_message(planner.to_owned());
        let mut evaluation = evaluate(
            &mut environments,
            &agent,
            &common.device,
            self.seed,
            self.episodes,
            |_| bar.inc(1),
        )?;
        bar.finish_and_clear();
        evaluation.planner = planner.to_owned();
        evaluation.env.clone_from(&self.task.name);
        Ok(Entry::new(evaluation, self, model))
    }
}

/// The name of a task in file names: whatever could mean something else there is a dash.
fn file_stem(name: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    name.chars()
        .map(|c| if plain(c) { c } else { '-' })
        .collect()
}

impl TaskModel {
    /// The model of a task and how it is planned in; refused where the environment shows or takes something
    /// else.
    fn load(task: &Task, path: PathBuf, device: &Device) -> Result<(Protocol, Self), CliError> {
        let model = WorldModel::load(&path, device)?;
        let environment = environment_for(&model, &task.env, &task.arguments, &path)?;
        let bytes = fs::read(&path)?;
        let protocol = task.protocol(environment.as_ref());
        let checksum = format!("{:08x}", CHECKSUM.checksum(&bytes));
        Ok((
            protocol,
            Self {
                path,
                checksum,
                model,
            },
        ))
    }
}

/// How a task is planned in that has no model, and whose environment is not looked at.
fn unseen_protocol(task: &Task) -> Protocol {
    let unknown = Protocol {
        horizon: 0,
        replan_every: 0,
    };
    info(&task.env).map_or(unknown, |info| info.protocol)
}

impl Entry {
    fn new(evaluation: Evaluated, entrant: &Entrant, model: &TaskModel) -> Self {
        let (success_low, success_high) = evaluation.success_interval();
        Self {
            evaluation,
            success_low,
            success_high,
            horizon: entrant.protocol.horizon,
            replan_every: entrant.protocol.replan_every,
            checkpoint: model.checksum.clone(),
            arguments: entrant.task.arguments.clone(),
        }
    }

    /// Whether the entry is of this model, and of these steps of plans in this environment.
    fn is_of(&self, model: &TaskModel, entrant: &Entrant) -> bool {
        let Protocol {
            horizon,
            replan_every,
        } = entrant.protocol;
        self.checkpoint == model.checksum
            && (self.horizon, self.replan_every) == (horizon, replan_every)
            && self.arguments == entrant.task.arguments
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
            "| `{}` | `{}` | {:.2} ({:.2}–{:.2}) | {} | {} | {} | {:.1} | {} | {:.2} | {:.3} | {} |",
            e.env,
            e.planner,
            e.success_rate,
            self.success_low,
            self.success_high,
            e.episodes,
            known(e.promised_mean, 1),
            known(e.rolled_out_mean, 1),
            e.return_mean,
            known(e.got_share(), 2),
            e.backed_share,
            e.plan_seconds_median,
            grouped(e.model_steps_per_plan.round() as usize),
        )
    }

    /// The entry as columns of the data file, each with its name.
    fn columns(&self) -> [(&'static str, String); 23] {
        let e = &self.evaluation;
        let text = |value: &dyn ToString| value.to_string();
        let known = |value: Option<f64>| value.map_or(String::new(), |value| value.to_string());
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
            ("promised_mean", known(e.promised_mean)),
            ("rolled_out_mean", known(e.rolled_out_mean)),
            ("got_share", known(e.got_share())),
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

/// A figure that results of earlier versions lack.
pub fn known(value: Option<f64>, digits: usize) -> String {
    value.map_or_else(|| "–".to_owned(), |value| format!("{value:.digits$}"))
}

/// Where a planner stands: in the order of the comparison, others after it.
fn rank(planner: &str) -> usize {
    let others = PLANNERS.iter().map(|info| info.name);
    COMPARED
        .into_iter()
        .chain(others)
        .position(|name| name == planner)
        .unwrap_or(usize::MAX)
}

fn table(tasks: &[TaskReport]) -> String {
    let mut table = "\
        | task | planner | success (95 % interval) | episodes | promised | rolled out | got | got ÷ promised | backed | seconds a plan | model steps a plan |\n\
        |---|---|---|---|---|---|---|---|---|---|---|\n"
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
        let _ = writeln!(table, "| `{}` | {missing} | | | | | | | | | |", task.env);
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
