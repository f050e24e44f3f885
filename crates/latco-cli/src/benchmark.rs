//! Benchmarks: tasks as data, one file each.
//!
//! A file has the settings of a run, named as `latco train --print-config` names them, and beside them `about`
//! and a table `evaluation`. What it leaves out is as the environment has it.

use std::{collections::BTreeMap, path::Path};

use latco_agent::RunConfig;
use latco_env::{EnvOptions, Environment, Protocol};
use latco_plan::catalogue;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::Value as Json;
use toml::{Table, Value};

use crate::{
    arguments::env_name,
    configuration::{ConfigurationError, Layers, read_table, refused},
    loading::protocol_of,
};

/// The planners of the published comparison.
pub const PLANNERS: [&str; 9] = [
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

/// The seed of the first episode and the number of episodes of the comparison.
const FIRST_SEED: u64 = 1234;
const EPISODES: usize = 50;

/// How a task is planned and evaluated.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Evaluation {
    /// Steps of a plan; 0 for as many as the environment asks for.
    pub horizon: usize,
    /// Steps executed of a plan before the next is made; 0 for as many as the environment asks for.
    pub replan_every: usize,
    /// Episodes of each planner.
    pub episodes: usize,
    /// The seed of the first episode.
    pub seed: u64,
    /// Who plans.
    pub planners: Vec<String>,
    /// Whose checkpoint is evaluated where several tasks share one; empty for the benchmark's own.
    pub checkpoint: String,
}

impl Default for Evaluation {
    fn default() -> Self {
        Self {
            horizon: 0,
            replan_every: 0,
            episodes: EPISODES,
            seed: FIRST_SEED,
            planners: PLANNERS.map(str::to_owned).to_vec(),
            checkpoint: String::new(),
        }
    }
}

/// A task from a file.
#[derive(Clone, Debug)]
pub struct Benchmark {
    /// The file's name without its ending.
    pub name: String,
    /// What the task is and where it comes from.
    pub about: String,
    /// The name of the environment.
    pub env: String,
    /// The arguments of the environment.
    pub arguments: BTreeMap<String, Json>,
    /// How the environment renders and rewards in training.
    pub options: EnvOptions,
    /// How it is evaluated.
    pub evaluation: Evaluation,
    /// The flag and the file, for errors.
    origin: String,
    /// The settings of a run that the file has, without the environment.
    settings: Table,
}

impl Benchmark {
    /// Reads a file and checks it as the flags of a command are checked, but for what only the environment
    /// knows.
    ///
    /// # Errors
    ///
    /// Names the file, and the first setting that is unknown, with the nearest known one, has another type,
    /// or is outside its range.
    pub fn load(path: &Path) -> Result<Self, ConfigurationError> {
        let origin = format!("--benchmark {}", path.display());
        let mut file = read_table("--benchmark", path)?;
        let arguments = match file.remove("env_args") {
            Some(Value::Table(arguments)) => arguments,
            None => Table::new(),
            // Another type is refused with the others.
            Some(other) => {
                file.insert("env_args".to_owned(), other);
                Table::new()
            }
        };
        let mut layers = Layers::new(&names()?)?;
        layers.lay(&origin, file.clone())?;
        let mut whole = layers.into_table();
        let about: String = taken(&mut whole, "about", &origin)?;
        let evaluation: Evaluation = taken(&mut whole, "evaluation", &origin)?;
        let run: RunConfig = read(Value::Table(whole), &origin)?;
        let benchmark = Self {
            name: stem(path),
            about,
            env: run.env.clone(),
            arguments: as_json(arguments, &origin)?,
            options: run.env_options.clone(),
            evaluation,
            settings: settings_of(file),
            origin,
        };
        benchmark.check(&run)?;
        Ok(benchmark)
    }

    /// Lays the settings of the file over those so far.
    ///
    /// # Errors
    ///
    /// Names a setting of another type.
    pub fn lay_over(&self, layers: &mut Layers) -> Result<(), ConfigurationError> {
        layers.lay(&self.origin, self.settings.clone())
    }

    /// The settings of a run that the file has, the environment apart.
    pub fn settings(&self) -> &Table {
        &self.settings
    }

    /// The steps of plans for the environment that is this task's.
    pub fn protocol(&self, environment: &dyn Environment) -> Protocol {
        let usual = protocol_of(&self.env, environment);
        let told = |steps: usize, usual: usize| if steps == 0 { usual } else { steps };
        Protocol {
            horizon: told(self.evaluation.horizon, usual.horizon),
            replan_every: told(self.evaluation.replan_every, usual.replan_every),
        }
    }

    /// The name of the checkpoint that is evaluated, without its ending.
    pub fn checkpoint(&self) -> &str {
        match self.evaluation.checkpoint.as_str() {
            "" => &self.name,
            other => other,
        }
    }

    fn check(&self, run: &RunConfig) -> Result<(), ConfigurationError> {
        let wrong = |reason: String| refused(&self.origin, reason);
        if self.about.trim().is_empty() {
            return Err(wrong(
                "`about` is missing, expected a sentence that says what the task is".to_owned(),
            ));
        }
        env_name(&self.env).map_err(|error| wrong(format!("`env`: {error}")))?;
        // Whether a part lies within the pictures, only the environment knows.
        let mut run = run.clone();
        run.model.crop.clear();
        run.validate().map_err(|error| wrong(error.to_string()))?;
        if self.evaluation.episodes == 0 {
            return Err(wrong(
                "`evaluation.episodes` is 0, expected at least 1".to_owned(),
            ));
        }
        let collecting = ("collect.planner", &run.collect.planner);
        let evaluated = ("evaluation.planners", &self.evaluation.planners);
        for (key, names) in [collecting, evaluated] {
            for name in names {
                catalogue::info(name).map_err(|error| wrong(format!("`{key}`: {error}")))?;
            }
        }
        Ok(())
    }
}

/// Every setting that a file may have.
fn names() -> Result<Table, ConfigurationError> {
    let failed = |error: toml::ser::Error| refused("the default settings", error.to_string());
    let mut names = Table::try_from(RunConfig::offline(1)).map_err(failed)?;
    names.insert("about".to_owned(), Value::String(String::new()));
    let evaluation = Value::try_from(Evaluation::default()).map_err(failed)?;
    names.insert("evaluation".to_owned(), evaluation);
    Ok(names)
}

/// What of a file are settings of a run, the environment apart.
fn settings_of(mut file: Table) -> Table {
    for key in ["about", "evaluation", "env"] {
        file.remove(key);
    }
    file
}

fn taken<T: DeserializeOwned>(
    table: &mut Table,
    key: &str,
    origin: &str,
) -> Result<T, ConfigurationError> {
    let value = table.remove(key);
    let missing = || refused(origin, format!("`{key}` is missing"));
    read(value.ok_or_else(missing)?, origin)
}

fn read<T: DeserializeOwned>(value: Value, origin: &str) -> Result<T, ConfigurationError> {
    let read = value.try_into();
    read.map_err(|error: toml::de::Error| refused(origin, error.to_string()))
}

fn as_json(arguments: Table, origin: &str) -> Result<BTreeMap<String, Json>, ConfigurationError> {
    let pairs = arguments.into_iter().map(|(key, value)| {
        let value = serde_json::to_value(value);
        Ok((
            key,
            value.map_err(|error| refused(origin, error.to_string()))?,
        ))
    });
    pairs.collect()
}

fn stem(path: &Path) -> String {
    let stem = path.file_stem().unwrap_or(path.as_os_str());
    stem.to_string_lossy().into_owned()
}
