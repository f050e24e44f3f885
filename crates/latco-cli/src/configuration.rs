//! Settings of training runs and planners: defaults, then a file, then `--set`, then flags.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use latco_agent::RunConfig;
use latco_plan::catalogue::{PlannerInfo, Settings};
use serde::Serialize;
use thiserror::Error;
use toml::{Table, Value};

/// Why a configuration is refused.
#[derive(Debug, Error)]
pub enum ConfigurationError {
    /// The file cannot be read.
    #[error("{flag} {}: {source}", path.display())]
    Read {
        /// The flag that names it.
        flag: &'static str,
        /// The file.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// The file is not TOML.
    #[error("{flag} {}: not TOML: {reason}", path.display())]
    Syntax {
        /// The flag that names it.
        flag: &'static str,
        /// The file.
        path: PathBuf,
        /// What is wrong with it, and where.
        reason: String,
    },
    /// No setting has this name.
    #[error("{origin}: unknown setting `{key}`, did you mean `{nearest}`?")]
    Unknown {
        /// The file or flag.
        origin: String,
        /// The dotted key found.
        key: String,
        /// The known dotted key that is nearest to it.
        nearest: String,
    },
    /// A value has the wrong type.
    #[error("{origin}: `{key}` is {found}, expected {expected}")]
    Type {
        /// The file or flag.
        origin: String,
        /// The dotted key.
        key: String,
        /// The value.
        found: String,
        /// What is accepted.
        expected: &'static str,
    },
    /// The settings are well formed but not allowed.
    #[error("{origin}: {reason}")]
    Value {
        /// The file or flags.
        origin: String,
        /// Which setting, and what is allowed.
        reason: String,
    },
    /// A setting contradicts a flag or the environment.
    #[error("`{key}` is {found}, expected {expected}")]
    Contradiction {
        /// The dotted key.
        key: &'static str,
        /// The value.
        found: String,
        /// What it must be, and why.
        expected: String,
    },
    /// A resumed run was given other settings.
    #[error("`{key}` cannot change when a run is resumed, only `steps` can")]
    Resumed {
        /// The dotted key of the first setting that differs.
        key: String,
    },
}

/// One `--set KEY=VALUE`, or what another program sets.
#[derive(Clone, Debug)]
pub struct Setting {
    origin: String,
    key: String,
    value: Value,
}

impl Setting {
    /// A value, or a table of several, for a dotted key; errors name `origin`.
    pub fn new(origin: impl Into<String>, key: impl Into<String>, value: Value) -> Self {
        Self {
            origin: origin.into(),
            key: key.into(),
            value,
        }
    }
}

/// Splits `KEY=VALUE`. The value is TOML; whatever is not is a string, so that names need no
/// quotes.
pub fn setting(text: &str) -> Result<Setting, String> {
    let (key, value) = text
        .split_once('=')
        .ok_or("expected KEY=VALUE, such as trainer.learning_rate=3e-4")?;
    let key = key.trim();
    if key.split('.').any(str::is_empty) {
        return Err("expected KEY=VALUE with a dotted key, such as replay.batch=32".to_owned());
    }
    let origin = format!("--set {key}");
    Ok(Setting::new(origin, key, parse_value(value.trim())))
}

fn parse_value(text: &str) -> Value {
    let table = toml::from_str::<Table>(&format!("value = {text}")).unwrap_or_default();
    match table.get("value") {
        Some(value) if table.len() == 1 => value.clone(),
        _ => Value::String(text.to_owned()),
    }
}

/// The table of settings whose names and types are an environment's own.
const ENV_ARGS: &str = "env_args";

/// Settings that are laid over each other, checked against the names and types of the first.
pub struct Layers {
    table: Table,
    origins: Vec<String>,
}

impl Layers {
    /// Starts with `base`, which names every setting there is.
    pub fn new(base: &impl Serialize) -> Result<Self, ConfigurationError> {
        let table = Table::try_from(base).map_err(|error| ConfigurationError::Value {
            origin: "the default configuration".to_owned(),
            reason: error.to_string(),
        })?;
        Ok(Self {
            table,
            origins: Vec::new(),
        })
    }

    /// Lays the settings of a TOML file over those so far.
    pub fn file(&mut self, path: &Path) -> Result<(), ConfigurationError> {
        let settings = read_table("--config", path)?;
        self.lay(&format!("--config {}", path.display()), settings)
    }

    /// Lays one `--set` over the settings so far.
    pub fn set(&mut self, setting: &Setting) -> Result<(), ConfigurationError> {
        let nested = |value: Value, name: &str| {
            let mut table = Table::new();
            table.insert(name.to_owned(), value);
            Value::Table(table)
        };
        let value = setting.key.rsplit('.').fold(setting.value.clone(), nested);
        match value {
            Value::Table(settings) => self.lay(&setting.origin, settings),
            _ => Ok(()),
        }
    }

    /// The configuration that the layers make, each setting within its range.
    pub fn finish(self) -> Result<RunConfig, ConfigurationError> {
        let origin = self.origin();
        let config = self.read()?;
        config
            .validate()
            .map_err(|error| refused(&origin, error.to_string()))?;
        Ok(config)
    }

    /// The configuration that the layers make, its ranges unchecked: some depend on what an environment shows.
    pub(crate) fn read(self) -> Result<RunConfig, ConfigurationError> {
        let origin = self.origin();
        let read = self.table.try_into();
        read.map_err(|error: toml::de::Error| refused(&origin, error.to_string()))
    }

    /// The settings of a planner that the layers make; the planner checks their ranges.
    fn finish_planner(self, base: &dyn Settings) -> Result<Box<dyn Settings>, ConfigurationError> {
        let origin = self.origin();
        base.read(Value::Table(self.table))
            .map_err(|error| refused(&origin, error.to_string()))
    }

    /// The settings that the layers make, their ranges unchecked.
    pub(crate) fn into_table(self) -> Table {
        self.table
    }

    fn origin(&self) -> String {
        match self.origins.as_slice() {
            [] => "configuration".to_owned(),
            origins => origins.join(", "),
        }
    }

    /// Lays a table of settings over those so far; errors name `origin`.
    pub(crate) fn lay(&mut self, origin: &str, settings: Table) -> Result<(), ConfigurationError> {
        let names = dotted_keys(&self.table, "");
        overlay(&mut self.table, settings, "", &|key, problem| {
            problem.at(origin, key, &names)
        })?;
        self.origins.push(origin.to_owned());
        Ok(())
    }
}

/// The table in a TOML file, which `flag` names.
pub(crate) fn read_table(flag: &'static str, path: &Path) -> Result<Table, ConfigurationError> {
    let text = fs::read_to_string(path).map_err(|source| ConfigurationError::Read {
        flag,
        path: path.to_owned(),
        source,
    })?;
    toml::from_str(&text).map_err(|error| ConfigurationError::Syntax {
        flag,
        path: path.to_owned(),
        reason: error.to_string(),
    })
}

/// `settings` as a TOML document.
pub fn as_toml(settings: &impl Serialize) -> Result<String, ConfigurationError> {
    let text = toml::to_string(settings);
    text.map_err(|error| refused("the settings", error.to_string()))
}

pub(crate) fn refused(origin: &str, reason: String) -> ConfigurationError {
    ConfigurationError::Value {
        origin: origin.to_owned(),
        reason,
    }
}

/// The settings of the planner `info` for plans of `horizon` steps, or the method's own where `None`,
/// changed by those of the user.
pub fn planner_settings(
    info: &PlannerInfo,
    horizon: Option<usize>,
    changes: &[Setting],
) -> Result<Box<dyn Settings>, ConfigurationError> {
    let settings = info.settings();
    let base = match horizon {
        Some(horizon) => settings.with_horizon(horizon),
        None => settings,
    };
    let mut layers = Layers::new(&base)?;
    for change in changes {
        layers.set(change)?;
    }
    layers.finish_planner(base.as_ref())
}

/// What is wrong with one value of a layer.
enum Problem {
    Unknown,
    Type(String, &'static str),
}

impl Problem {
    fn at(self, origin: &str, key: &str, names: &[String]) -> ConfigurationError {
        let (origin, key) = (origin.to_owned(), key.to_owned());
        match self {
            Self::Unknown => ConfigurationError::Unknown {
                nearest: nearest(&key, names),
                origin,
                key,
            },
            Self::Type(found, expected) => ConfigurationError::Type {
                origin,
                key,
                found,
                expected,
            },
        }
    }
}

/// Replaces the values of `base` by those of `layer`, table by table.
fn overlay(
    base: &mut Table,
    layer: Table,
    prefix: &str,
    refuse: &dyn Fn(&str, Problem) -> ConfigurationError,
) -> Result<(), ConfigurationError> {
    for (name, value) in layer {
        let key = format!("{prefix}{name}");
        match (base.get_mut(&name), value) {
            (Some(Value::Table(inner)), Value::Table(layer)) if key == ENV_ARGS => {
                inner.extend(layer);
            }
            (None, _) => return Err(refuse(&key, Problem::Unknown)),
            (Some(Value::Table(inner)), Value::Table(layer)) => {
                overlay(inner, layer, &format!("{key}."), refuse)?;
            }
            (Some(known), value) => {
                *known = matching(known, value).map_err(|problem| refuse(&key, problem))?;
            }
        }
    }
    Ok(())
}

/// `value` where it has the type of `known`; whole numbers pass for real ones, and a list of strings for a
/// string, which some settings are a list of: the others refuse it.
fn matching(known: &Value, value: Value) -> Result<Value, Problem> {
    match (known, &value) {
        (Value::Float(_), Value::Float(number)) if !number.is_finite() => {
            Err(Problem::Type(value.to_string(), "a finite number"))
        }
        (Value::Float(_), Value::Integer(number)) => Ok(Value::Float(*number as f64)),
        (Value::String(_), Value::Array(names)) if are_names(names) => Ok(value),
        (Value::Array(names), Value::String(_)) if are_names(names) => Ok(value),
        (Value::Integer(_), Value::Integer(number)) if *number < 0 => Err(Problem::Type(
            value.to_string(),
            "a whole number of at least 0",
        )),
        _ if known.same_type(&value) => Ok(value),
        _ => Err(Problem::Type(value.to_string(), type_name(known))),
    }
}

fn are_names(values: &[Value]) -> bool {
    !values.is_empty() && values.iter().all(Value::is_str)
}

fn type_name(value: &Value) -> &'static str {
    match value {
        Value::String(_) => "a string",
        Value::Integer(_) => "a whole number",
        Value::Float(_) => "a number",
        Value::Boolean(_) => "true or false",
        Value::Datetime(_) => "a date",
        Value::Array(_) => "an array",
        Value::Table(_) => "a table",
    }
}

/// Every key of `table` and the tables in it, outer names first: `trainer.elbo.kl_scale`.
fn dotted_keys(table: &Table, prefix: &str) -> Vec<String> {
    let mut keys = Vec::new();
    for (name, value) in table {
        let key = format!("{prefix}{name}");
        if let Value::Table(inner) = value {
            keys.extend(dotted_keys(inner, &format!("{key}.")));
        }
        keys.push(key);
    }
    keys
}

/// The known key most like `key`, in whole or in its last name; of several the one most like it in whole.
fn nearest(key: &str, names: &[String]) -> String {
    let last = |key: &str| key.rsplit('.').next().unwrap_or_default().to_owned();
    let distance = |name: &&String| {
        let whole = strsim::damerau_levenshtein(key, name);
        let by_last = strsim::damerau_levenshtein(&last(key), &last(name)) + 1;
        (whole.min(by_last), whole)
    };
    names
        .iter()
        .min_by_key(distance)
        .cloned()
        .unwrap_or_default()
}

/// Refuses every change but that of `steps`.
pub fn check_resumed(old: &RunConfig, new: &RunConfig) -> Result<(), ConfigurationError> {
    let (old, new) = (Layers::new(old)?.table, Layers::new(new)?.table);
    match first_difference(&old, &new, "") {
        Some(key) => Err(ConfigurationError::Resumed { key }),
        None => Ok(()),
    }
}

/// The first dotted key, apart from `steps`, whose values differ.
fn first_difference(old: &Table, new: &Table, prefix: &str) -> Option<String> {
    // Environments take arguments that an old run was not given.
    let names = old.keys().chain(new.keys());
    names.into_iter().find_map(|name| {
        let key = format!("{prefix}{name}");
        match (old.get(name), new.get(name)) {
            _ if key == "steps" => None,
            (Some(Value::Table(old)), Some(Value::Table(new))) => {
                first_difference(old, new, &format!("{key}."))
            }
            (old, new) => (old != new).then_some(key),
        }
    })
}

#[cfg(test)]
mod tests {
    use latco_plan::{
        catalogue::{PLANNERS, info},
        shooting::CemConfig,
    };

    use super::*;

    fn reach() -> RunConfig {
        let environment = latco_env::make("reach", &latco_env::EnvOptions::default()).unwrap();
        RunConfig::small(environment.as_ref())
    }

    fn layered(settings: &[&str]) -> Result<RunConfig, ConfigurationError> {
        let mut layers = Layers::new(&reach())?;
        for text in settings {
            layers.set(&setting(text).unwrap())?;
        }
        layers.finish()
    }

    fn message(settings: &[&str]) -> String {
        layered(settings).unwrap_err().to_string()
    }

    #[test]
    fn settings_replace_defaults_of_any_type() {
        let config = layered(&[
            "trainer.learning_rate=3e-4",
            "trainer.gradient_clip=10",
            "replay.batch = 32",
            "collect.planner=random",
            "env_options.dense_reward=true",
            "model.reward=gaussian",
        ])
        .unwrap();
        assert_eq!(config.trainer.learning_rate, 3e-4);
        assert_eq!(config.trainer.gradient_clip, 10.0);
        assert_eq!(config.replay.batch, 32);
        assert_eq!(config.collect.planner, ["random"]);
        assert!(config.env_options.dense_reward);
    }

    #[test]
    fn arguments_of_environments_have_any_name_and_type() {
        let config = layered(&[
            "env_args.shade=2",
            "env_args.shade='dark'",
            "env_args.size=8",
        ]);
        let arguments = config.unwrap().env_args;
        assert_eq!(arguments["shade"], Value::String("dark".to_owned()));
        assert_eq!(arguments["size"], Value::Integer(8));
    }

    #[test]
    fn one_name_and_several_take_each_others_place() {
        let several = "collect.planner=['cem', 'icem']";
        let config = layered(&[several]).unwrap();
        assert_eq!(config.collect.planner, ["cem", "icem"]);
        let config = layered(&[several, "collect.planner=mppi"]).unwrap();
        assert_eq!(config.collect.planner, ["mppi"]);
    }

    #[test]
    fn unknown_keys_get_the_nearest_name() {
        assert!(message(&["trainer.learning_rat=1"]).contains("`trainer.learning_rate`"));
        assert!(message(&["learning_rate=1"]).contains("`trainer.learning_rate`"));
        assert!(message(&["replay.bach=1"]).contains("`replay.batch`"));
    }

    #[test]
    fn wrong_types_and_values_name_the_setting() {
        assert!(message(&["steps=many"]).contains("`steps` is \"many\", expected a whole number"));
        assert!(message(&["trainer.learning_rate=nan"]).contains("a finite number"));
        assert!(message(&["replay.batch=-1"]).contains("at least 0"));
        assert!(message(&["replay.batch=0"]).contains("replay.batch"));
        assert!(message(&["replay=3"]).contains("a table"));
        assert!(message(&["model.reward=uniform"]).contains("uniform"));
        assert!(message(&["env=['reach']"]).contains("a string"));
        assert!(message(&["collect.planner=3"]).contains("a string"));
        assert!(message(&["trainer.milestones=high"]).contains("milestones"));
    }

    #[test]
    fn a_value_cannot_smuggle_in_a_second_setting() {
        let text = "1\nother = 2";
        assert_eq!(parse_value(text), Value::String(text.to_owned()));
    }

    #[test]
    fn only_steps_may_change_on_resuming() {
        let old = reach();
        let mut new = old.clone();
        new.steps += 1;
        assert!(check_resumed(&old, &new).is_ok());
        new.env_args.insert("size".to_owned(), Value::Integer(96));
        let message = check_resumed(&old, &new).unwrap_err().to_string();
        assert!(message.contains("`env_args.size`"));
        new.env_args.clear();
        new.trainer.elbo.kl_scale = 2.0;
        let message = check_resumed(&old, &new).unwrap_err().to_string();
        assert!(message.contains("`trainer.elbo.kl_scale`"));
    }

    fn cem(changes: &[&str]) -> Result<Box<dyn Settings>, ConfigurationError> {
        let changes: Vec<_> = changes.iter().map(|text| setting(text).unwrap()).collect();
        planner_settings(info("cem").unwrap(), Some(12), &changes)
    }

    #[test]
    fn settings_of_a_planner_replace_its_defaults() {
        let found = cem(&["samples=10000", "min_std=0"]).unwrap();
        let expected = CemConfig {
            horizon: 12,
            samples: 10_000,
            min_std: 0.0,
            ..CemConfig::default()
        };
        assert_eq!(&*found, &expected as &dyn Settings);
    }

    #[test]
    fn settings_that_a_planner_does_not_have_get_the_nearest_name() {
        let message = cem(&["sampels=3"]).unwrap_err().to_string();
        assert!(message.contains("`samples`"), "{message}");
        let message = cem(&["samples=many"]).unwrap_err().to_string();
        assert!(message.contains("a whole number"), "{message}");
    }

    /// With those of the presets, not of their methods' defaults.
    #[test]
    fn every_planner_keeps_its_settings() {
        for info in PLANNERS {
            let settings = planner_settings(info, None, &[]).unwrap();
            assert_eq!(&*settings, &*info.settings(), "{}", info.name);
        }
    }
}
