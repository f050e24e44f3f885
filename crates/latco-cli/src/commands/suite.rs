//! `latco suite`: every task with every planner, as data, a table and a plot.

pub mod entry;
mod tables;

use std::{
    collections::BTreeMap,
    fs::{self, File},
    path::{Path, PathBuf},
};

use burn::tensor::Device;
use clap::Args;
use latco_agent::{Evaluation, evaluate};
use latco_env::{Protocol, catalogue as tasks, process::is_outside};
use latco_model::{CheckpointError, WorldModel};
use latco_plan::catalogue;
use serde::Serialize;

use self::{
    entry::{Entry, Subject, checksum, scale},
    tables::{csv, plot, table},
};
use crate::{
    arguments::{Common, EnvArguments, Task, count, env_name, planner_name},
    benchmark::Benchmark,
    destination::{Content, check_folder, file_stem, make_parent, write, write_all},
    error::CliError,
    loading::{agent_for, environment_for, environments_for},
    output::{Report, note, optional_path_text, path_texts, warn},
    progress,
};

/// Evaluate planners on every task that has a checkpoint.
///
/// Plans have the steps of the task. Results that are there already are kept as long as checkpoint,
/// environment, its arguments, the planner's settings, steps of plans, episodes, seed, device and the number of
/// episodes side by side are the same, so that the suite may be run in pieces. Tasks without a checkpoint are
/// listed as such. With --benchmark the tasks are those of the files, and planners, episodes, seed and steps of
/// plans are theirs.
#[derive(Args)]
#[command(after_help = "\
Reads CHECKPOINTS/TASK.safetensors; writes DIR/TASK.json after every planner, at the end
DIR/suite.csv, DIR/suite.md and DIR/suite.png of everything that DIR has of the tasks of this call: the
catalogue's, or those of --benchmark, and of --env. Seeds begin at 1234 unless --seed says otherwise. Promised is the reward that plans promise for the steps of them that are executed,
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
    /// None without a checkpoint.
    model: Option<TaskModel>,
}

struct TaskModel {
    path: PathBuf,
    model: WorldModel,
    subject: Subject,
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
            .try_for_each(|entrant| self.check(entrant, common))?;
        for entrant in &entrants {
            self.complete(entrant, common, &device)?;
        }
        let report = |entrant: Entrant| {
            Ok(TaskReport {
                results: self.kept(&entrant, common)?,
                env: entrant.task.name,
                checkpoint: entrant.model.map(|model| model.path),
            })
        };
        let tasks: Result<Vec<_>, CliError> = entrants.into_iter().map(report).collect();
        let tasks = tasks?;
        self.tell_of_others(&tasks, common);
        let table = table(&tasks);
        let files = [
            ("suite.csv", Content::Bytes(csv(&tasks)?)),
            ("suite.md", Content::Bytes(table.clone().into_bytes())),
            ("suite.png", Content::Picture(plot(&tasks)?)),
        ];
        let report = SuiteReport {
            tasks,
            files: write_all(&self.out(), &files)?,
        };
        Report::new(&report, table)
    }

    /// Tells of results in the folder that are not in the tables.
    fn tell_of_others(&self, tasks: &[TaskReport], common: &Common) {
        let files = fs::read_dir(self.out()).into_iter().flatten().flatten();
        let is_of = |path: &Path, task: &TaskReport| {
            path.file_stem() == Some(file_stem(&task.env).as_ref())
        };
        let is_other = |path: &PathBuf| {
            let is_results = |bytes: Vec<u8>| serde_json::from_slice::<Vec<Entry>>(&bytes).is_ok();
            path.extension() == Some("json".as_ref())
                && !tasks.iter().any(|task| is_of(path, task))
                && fs::read(path).is_ok_and(is_results)
        };
        let others = files.map(|file| file.path()).filter(is_other);
        let mut others: Vec<_> = others.map(|path| path.display().to_string()).collect();
        others.sort();
        if !others.is_empty() {
            note(
                common,
                format!(
                    "not in the tables, as this call does not name their tasks: {}",
                    others.join(", ")
                ),
            );
        }
    }

    fn out(&self) -> PathBuf {
        let usual = match self.benchmarks.is_empty() {
            true => "results",
            false => "results/benchmarks",
        };
        self.out.clone().unwrap_or_else(|| PathBuf::from(usual))
    }

    /// The tasks, the checkpoint of each loaded and checked where there is one.
    fn entrants(&self, common: &Common, device: &Device) -> Result<Vec<Entrant>, CliError> {
        if !self.checkpoints.is_dir() {
            return Err(CliError::NoCheckpoints {
                path: self.checkpoints.clone(),
            });
        }
        let tasks = self.distinct(self.tasks()?)?;
        let entrant = |task| self.entrant(task, common, device);
        tasks.into_iter().map(entrant).collect()
    }

    /// The benchmarks, else every task of the catalogue, and the tasks that --env names.
    fn tasks(&self) -> Result<Vec<Task>, CliError> {
        let known = tasks().iter().map(|info| info.name);
        let known = known.filter(|name| self.benchmarks.is_empty() || self.names(name));
        let outside = self.envs.iter().map(String::as_str);
        let outside: Vec<_> = outside.filter(|name| is_outside(name)).collect();
        let arguments = self.env_arguments.values();
        if let (true, true, Some(key)) = (
            outside.is_empty(),
            self.benchmarks.is_empty(),
            arguments.keys().next(),
        ) {
            return Err(CliError::EnvArgument {
                env: self
                    .envs
                    .first()
                    .map_or("every task", |name| name)
                    .to_owned(),
                key: key.clone(),
            });
        }
        let benchmarks = self.benchmarks.iter();
        let of_files = benchmarks
            .map(|path| Ok(Task::of(Benchmark::load(path)?, arguments.clone())))
            .collect::<Result<Vec<_>, CliError>>()?;
        // Only environments outside the catalogue take arguments.
        let known = known.map(|name| Task::named(name, BTreeMap::new()));
        let outside = outside.into_iter();
        let outside = outside.map(|name| Task::named(name, arguments.clone()));
        Ok(of_files.into_iter().chain(known).chain(outside).collect())
    }

    fn names(&self, task: &str) -> bool {
        self.envs.iter().any(|env| env == task)
    }

    /// Each task once; refused where two would share a file of results.
    fn distinct(&self, tasks: Vec<Task>) -> Result<Vec<Task>, CliError> {
        let mut found: Vec<Task> = Vec::new();
        for task in tasks {
            let file = self.results_file(&task);
            match found.iter().find(|other| self.results_file(other) == file) {
                None => found.push(task),
                Some(other) if task.is_as(other) => {}
                Some(other) => {
                    return Err(CliError::SharedResults {
                        path: file,
                        tasks: [other, &task].map(|task| task.name.clone()),
                    });
                }
            }
        }
        Ok(found)
    }

    fn entrant(&self, task: Task, common: &Common, device: &Device) -> Result<Entrant, CliError> {
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
        let is_asked_for =
            self.envs.is_empty() || task.benchmark.is_some() || self.names(&task.name);
        let model = match path.is_file() {
            true => match TaskModel::load(&task, path, self.environments, device) {
                Err(error) if !is_asked_for => {
                    warn(error.one_line());
                    None
                }
                found => Some(found?),
            },
            false => None,
        };
        Ok(Entrant {
            task,
            is_asked_for,
            planners,
            episodes: self.episodes.unwrap_or(told.episodes),
            seed: common.seed.unwrap_or(told.seed),
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
        found.sort_by_key(Entry::rank);
        Ok(found)
    }

    /// What is there of a task as it is now, on this device.
    fn kept(&self, entrant: &Entrant, common: &Common) -> Result<Vec<Entry>, CliError> {
        let Some(model) = &entrant.model else {
            return Ok(Vec::new());
        };
        let mut kept = Vec::new();
        for entry in self.found(entrant)? {
            if entry.is_of(&model.subject, &common.device)? {
                kept.push(entry);
            }
        }
        Ok(kept)
    }

    /// Tells of results that are no answer to this call.
    fn check(&self, entrant: &Entrant, common: &Common) -> Result<(), CliError> {
        let found = self.found(entrant)?.len();
        let kept = self.kept(entrant, common)?.len();
        if kept < found {
            warn(format!(
                "{}: {} results belong to another checkpoint, environment, device, other arguments, settings \
                 or steps of plans, or another number of episodes side by side and are left out",
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
            let name = &entrant.task.name;
            let kept = self.kept(entrant, common)?;
            let is_done = |entry: &Entry| entry.answers(planner, entrant.episodes, entrant.seed);
            if !self.force && kept.iter().any(is_done) {
                note(common, format!("{name} {planner}: kept"));
                continue;
            }
            let replaced = kept.iter().map(|entry| &entry.evaluation);
            let mut replaced = replaced.filter(|other| other.planner == *planner);
            let is_lost = |other: &&Evaluation| {
                other.episodes > entrant.episodes || other.seed != entrant.seed
            };
            if let Some(other) = replaced.find(is_lost) {
                warn(format!(
                    "{name} {planner}: the result of {} episodes from seed {} is replaced by one of {} from {}",
                    other.episodes, other.seed, entrant.episodes, entrant.seed
                ));
            }
            let entry = entrant.evaluate(model, planner, common, device)?;
            let results = kept.iter().chain([&entry]).map(|entry| &entry.evaluation);
            note(common, entry.row(scale(results)));
            self.add(entrant, entry)?;
        }
        Ok(())
    }

    /// Puts a result beside those that are there, also where another process has written some meanwhile.
    fn add(&self, entrant: &Entrant, entry: Entry) -> Result<(), CliError> {
        let _lock = locked(&self.out().join(".lock"))?;
        let mut entries = self.found(entrant)?;
        entries.retain(|other| !other.gives_way_to(&entry));
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
        common: &Common,
        device: &Device,
    ) -> Result<Entry, CliError> {
        let Task { env, arguments, .. } = &self.task;
        let Subject {
            horizon,
            replan_every,
            envs,
            ..
        } = model.subject;
        let mut environments = environments_for(&model.model, env, arguments, &model.path, envs)?;
        let made = catalogue::planner(planner, Some(horizon))?;
        let protocol = Protocol {
            horizon,
            replan_every,
        };
        let agent = agent_for(model.model.clone(), made, protocol, device)?;
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
        Entry::new(evaluation, model.subject.clone())
    }
}

impl TaskModel {
    /// The model of a task and what its results are of; refused where the environment shows or takes something
    /// else.
    fn load(task: &Task, path: PathBuf, envs: usize, device: &Device) -> Result<Self, CliError> {
        let bytes = fs::read(&path).map_err(|source| CheckpointError::Read {
            path: path.clone(),
            source,
        })?;
        let checkpoint = checksum(&bytes);
        let model = WorldModel::from_bytes(bytes, &path, device)?;
        let environment = environment_for(&model, &task.env, &task.arguments, &path)?;
        let Protocol {
            horizon,
            replan_every,
        } = task.protocol(environment.as_ref());
        let subject = Subject {
            environment: task.env.clone(),
            arguments: task.arguments.clone(),
            checkpoint,
            horizon,
            replan_every,
            envs,
        };
        Ok(Self {
            path,
            model,
            subject,
        })
    }
}
