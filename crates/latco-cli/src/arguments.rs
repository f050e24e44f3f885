//! The arguments that all subcommands share, and the parsers of names and numbers.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use burn::tensor::Device;
use clap::{Args, Parser, builder::RangedU64ValueParser, builder::TypedValueParser};
use latco_agent::device::{DeviceError, DeviceName, device};
use latco_env::{EnvError, EnvOptions, Environment, Protocol, info, process::is_outside};
use latco_formats::Options;
use latco_plan::{
    Planner,
    catalogue::{self, CatalogueError},
};
use latco_problems::{ProblemError, ProblemSettings};
use serde_json::Value;

use crate::{
    benchmark::Benchmark,
    commands::Command,
    configuration::{Setting, planner_settings, setting},
    error::CliError,
    loading::protocol_of,
};

/// The planner of every command that takes one.
pub const DEFAULT_PLANNER: &str = "latco";

/// The most steps, episodes and gradient steps that a count may ask for.
const LARGEST_HORIZON: u64 = 10_000;
const LARGEST_COUNT: u64 = 1_000_000_000;

const EXAMPLES: &str = "\
Examples:
  latco demo                                                plan from an image, execute, draw
  latco plan --checkpoint reach.safetensors --image now.png --json
  latco eval --checkpoint reach.safetensors --env reach --episodes 50 --gif reach.gif
  latco solve cartpole                                      plan with exact dynamics, no images
  latco train --env reach --run runs/reach                  Ctrl-C, then --resume, loses nothing
  latco collect --env push --episodes 100 --out recordings --policy scripted
  latco inspect recordings --out sheet.png
  latco predict --checkpoint reach.safetensors --episode recordings

Exit status: 0 done, 2 bad input or usage, 1 anything else.";

/// Plans from raw images by latent collocation.
#[derive(Parser)]
#[command(name = "latco", version, after_help = EXAMPLES, max_term_width = 100)]
pub struct Arguments {
    #[command(flatten)]
    pub common: Common,
    #[command(subcommand)]
    pub command: Command,
}

/// What every subcommand takes.
#[derive(Args)]
pub struct Common {
    /// Compute device: a name of `latco devices`, auto for a GPU where one is built in, or
    /// remote:ws://HOST:PORT for that of a `latco device-server`.
    #[arg(
        long,
        global = true,
        value_name = "NAME",
        default_value = "auto",
        value_parser = device_name,
        help_heading = "Common options"
    )]
    pub device: String,

    /// Determines every random number [default: 0; of collect, suite and benchmarks their own].
    #[arg(long, global = true, value_name = "N", help_heading = "Common options")]
    pub seed: Option<u64>,

    /// Print one JSON object (an array for the lists) and nothing else on standard output.
    #[arg(long, global = true, help_heading = "Common options")]
    pub json: bool,

    /// No progress bars, no notes.
    #[arg(short, long, global = true, help_heading = "Common options")]
    pub quiet: bool,
}

impl Common {
    /// The device that `--device` names.
    pub fn device(&self) -> Result<Device, CliError> {
        Ok(device(&self.device)?)
    }

    /// The seed, 0 where none was given.
    pub fn seed(&self) -> u64 {
        self.seed.unwrap_or(0)
    }
}

/// Resolves a device's name: `auto` is the first that this build has.
fn device_name(name: &str) -> Result<String, DeviceError> {
    DeviceName::parse(name).map(|found| found.to_string())
}

/// A planner and what of it is changed.
#[derive(Args)]
pub struct PlannerArguments {
    /// How to plan: a name of `latco planners` [default: latco; of the demo on reach latco-paper].
    #[arg(long = "planner", value_name = "NAME", value_parser = planner_name)]
    name: Option<String>,

    /// A setting of the planner, such as iterations=50; may be given often. `latco planners NAME` shows
    /// them all.
    #[arg(long = "set", value_name = "KEY=VALUE", value_parser = setting)]
    settings: Vec<Setting>,
}

impl PlannerArguments {
    /// Whether a planner or a setting of it was given.
    pub fn is_given(&self) -> bool {
        self.name.is_some() || !self.settings.is_empty()
    }

    /// The name of the planner.
    pub fn name(&self) -> &str {
        self.name_or(DEFAULT_PLANNER)
    }

    /// The name of the planner; `usual` where none is given.
    pub fn name_or<'a>(&'a self, usual: &'a str) -> &'a str {
        self.name.as_deref().unwrap_or(usual)
    }

    /// The planner, for plans of `horizon` steps, or the method's own number where `None`.
    pub fn planner(&self, horizon: Option<usize>) -> Result<Box<dyn Planner>, CliError> {
        self.planner_or(DEFAULT_PLANNER, horizon)
    }

    /// The same, `usual` where none is given.
    pub fn planner_or(
        &self,
        usual: &str,
        horizon: Option<usize>,
    ) -> Result<Box<dyn Planner>, CliError> {
        let info = catalogue::info(self.name_or(usual))?;
        let settings = planner_settings(info, horizon, &self.settings)?;
        Ok(info.with(settings)?)
    }
}

/// Arguments of an environment outside this process.
#[derive(Args)]
pub struct EnvArguments {
    /// An argument of an environment gym:ID or exec:COMMAND, such as size=64; the value is JSON, or
    /// else a string; may be given often. docs/environments.md lists them.
    #[arg(long = "env-arg", value_name = "KEY=VALUE", value_parser = env_argument)]
    pairs: Vec<(String, Value)>,
}

impl EnvArguments {
    /// The last value of each key.
    pub fn values(&self) -> BTreeMap<String, Value> {
        self.pairs.iter().cloned().collect()
    }
}

/// The environment of a command, by its name or as a benchmark says. Where one is needed, the command asks
/// for it by a group.
#[derive(Args)]
pub struct TaskArguments {
    /// The environment: a name of `latco envs`, gym:ID or exec:COMMAND.
    #[arg(long, value_name = "NAME", value_parser = env_name)]
    env: Option<String>,

    #[command(flatten)]
    arguments: EnvArguments,

    /// A benchmark in place of --env: a TOML file with the environment, its arguments and its settings
    /// (docs/tasks.md). Flags count above the file.
    #[arg(long, value_name = "FILE", conflicts_with = "env")]
    benchmark: Option<PathBuf>,
}

impl TaskArguments {
    /// The name that --env gives.
    pub fn env(&self) -> Option<&str> {
        self.env.as_deref()
    }

    /// The file that --benchmark gives.
    pub fn benchmark(&self) -> Option<&Path> {
        self.benchmark.as_deref()
    }

    /// The arguments that --env-arg gives.
    pub fn arguments(&self) -> BTreeMap<String, Value> {
        self.arguments.values()
    }

    /// The task, or the environment `usual` where none is named.
    pub fn task_or(&self, usual: &str) -> Result<Task, CliError> {
        Ok(match &self.benchmark {
            Some(path) => Task::of(Benchmark::load(path)?, self.arguments()),
            None => Task::named(self.env().unwrap_or(usual), self.arguments()),
        })
    }

    /// The task of a command that does not start without one.
    pub fn task(&self) -> Result<Task, CliError> {
        self.task_or("")
    }
}

/// An environment with its arguments, by itself or as a benchmark says.
pub struct Task {
    /// What reports call it: the benchmark's name, or the environment's.
    pub name: String,
    /// The environment's name.
    pub env: String,
    /// The environment's arguments.
    pub arguments: BTreeMap<String, Value>,
    /// Where it comes from.
    pub benchmark: Option<Benchmark>,
}

impl Task {
    /// The task of an environment by itself.
    pub fn named(name: &str, arguments: BTreeMap<String, Value>) -> Self {
        Self {
            name: name.to_owned(),
            env: name.to_owned(),
            arguments,
            benchmark: None,
        }
    }

    /// The task of a benchmark, some arguments of its environment replaced.
    pub fn of(benchmark: Benchmark, arguments: BTreeMap<String, Value>) -> Self {
        let mut replaced = benchmark.arguments.clone();
        replaced.extend(arguments);
        Self {
            name: benchmark.name.clone(),
            env: benchmark.env.clone(),
            arguments: replaced,
            benchmark: Some(benchmark),
        }
    }

    /// Whether the other task is this one: the same environment, evaluated alike.
    pub fn is_as(&self, other: &Self) -> bool {
        let evaluation = |task: &Self| {
            let benchmark = task.benchmark.as_ref();
            benchmark.map(|benchmark| benchmark.evaluation.clone())
        };
        (&self.name, &self.env, &self.arguments) == (&other.name, &other.env, &other.arguments)
            && evaluation(self) == evaluation(other)
    }

    /// How the environment renders and rewards where episodes are recorded.
    pub fn options(&self) -> EnvOptions {
        let benchmark = self.benchmark.as_ref();
        benchmark.map_or_else(EnvOptions::default, |found| found.options.clone())
    }

    /// How it is planned in where no flag says otherwise.
    pub fn protocol(&self, environment: &dyn Environment) -> Protocol {
        match &self.benchmark {
            Some(benchmark) => benchmark.protocol(environment),
            None => protocol_of(&self.env, environment),
        }
    }
}

fn env_argument(text: &str) -> Result<(String, Value), String> {
    let (key, value) = text
        .split_once('=')
        .ok_or("expected KEY=VALUE, such as size=64")?;
    let as_text = || Value::String(value.to_owned());
    let value = serde_json::from_str(value).unwrap_or_else(|_| as_text());
    match key.trim() {
        "" => Err("expected KEY=VALUE, such as size=64".to_owned()),
        key => Ok((key.to_owned(), value)),
    }
}

/// How recordings are read.
#[derive(Args)]
pub struct DataArguments {
    /// The name of an array in the recordings where it is not the format's own, such as
    /// image=observations/pixels; may be given often. docs/data.md has the keys of each format.
    #[arg(long = "map", value_name = "KEY=NAME", value_parser = mapping)]
    map: Vec<(String, String)>,
}

impl DataArguments {
    /// The last name of each key.
    pub fn options(&self) -> Options {
        Options {
            map: self.map.iter().cloned().collect(),
        }
    }

    /// The first key, if any.
    pub fn key(&self) -> Option<&str> {
        self.map.first().map(|(key, _)| key.as_str())
    }
}

fn mapping(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, name)) if !key.trim().is_empty() && !name.trim().is_empty() => {
            Ok((key.trim().to_owned(), name.trim().to_owned()))
        }
        _ => Err("expected KEY=NAME, such as image=observations/pixels".to_owned()),
    }
}

/// Accepts a size in pixels, `WIDTHxHEIGHT`.
pub fn picture_size(text: &str) -> Result<(usize, usize), String> {
    let side = |text: &str| {
        text.trim()
            .parse()
            .ok()
            .filter(|side| (1..=8192).contains(side))
    };
    let sides = text.split_once(['x', '×']);
    let sides = sides.and_then(|(width, height)| Some((side(width)?, side(height)?)));
    sides.ok_or_else(|| "expected WIDTHxHEIGHT in pixels, such as 64x64".to_owned())
}

/// Accepts the name of an environment: of the catalogue, or of one outside this process.
pub fn env_name(name: &str) -> Result<String, EnvError> {
    if is_outside(name) {
        return Ok(name.to_owned());
    }
    info(name).map(|entry| entry.name.to_owned())
}

/// Accepts the name of a task of the catalogue.
pub fn task_name(name: &str) -> Result<String, EnvError> {
    info(name).map(|entry| entry.name.to_owned())
}

/// Accepts the name of a planner.
pub fn planner_name(name: &str) -> Result<String, CatalogueError> {
    catalogue::info(name).map(|entry| entry.name.to_owned())
}

/// Accepts the name of a problem, with its default arguments.
pub fn problem(name: &str) -> Result<ProblemSettings, ProblemError> {
    ProblemSettings::of(name)
}

/// Accepts an argument of a problem, `KEY=VALUE`.
pub fn problem_argument(text: &str) -> Result<(String, String), String> {
    let (key, value) = text
        .split_once('=')
        .ok_or("expected KEY=VALUE, such as size=4")?;
    Ok((key.trim().to_owned(), value.trim().to_owned()))
}

/// Accepts the steps of a plan: at least one.
pub fn horizon() -> impl TypedValueParser<Value = usize> {
    RangedU64ValueParser::<u64>::new()
        .range(1..=LARGEST_HORIZON)
        .map(|steps| steps as usize)
}

/// Accepts a number of episodes or gradient steps: at least one.
pub fn count() -> impl TypedValueParser<Value = usize> {
    RangedU64ValueParser::<u64>::new()
        .range(1..=LARGEST_COUNT)
        .map(|count| count as usize)
}

/// Accepts the standard deviation of action noise: finite and at least zero.
pub fn noise(text: &str) -> Result<f32, String> {
    match text.parse() {
        Ok(value) if f32::is_finite(value) && value >= 0.0 => Ok(value),
        _ => Err("expected a number of at least 0".to_owned()),
    }
}
