//! Planners, devices and durations as Python names them.

use std::time::Duration;

use burn::tensor::Device;
use latco_cli::configuration::{Setting, planner_settings};
use latco_plan::{Planner, catalogue::info};
use pyo3::{prelude::*, types::PyDict};
use pythonize::depythonize;
use toml::Value;

use crate::errors::{Kind, OrRaise};

/// The settings in `changes`, whose keys may be dotted and whose values may be nested.
pub fn settings(changes: Option<&Bound<'_, PyDict>>) -> PyResult<Vec<Setting>> {
    let Some(changes) = changes else {
        return Ok(Vec::new());
    };
    let one = |(key, value): (Bound<'_, PyAny>, Bound<'_, PyAny>)| {
        let key: String = key.extract()?;
        let wrong = |error| Kind::Setting.error(format!("setting `{key}`: {error}"));
        // Numbers of numpy are numbers.
        let value = match value.hasattr("dtype")? {
            true => value.call_method0("tolist")?,
            false => value,
        };
        let value: Value = depythonize(&value).map_err(wrong)?;
        Ok(Setting::new("settings", key, value))
    };
    changes.iter().map(one).collect()
}

/// The planner of this name, for plans of `horizon` steps, with what is changed of its settings.
pub fn planner(
    name: &str,
    horizon: Option<usize>,
    changes: Option<&Bound<'_, PyDict>>,
) -> PyResult<Box<dyn Planner>> {
    planner_with(name, horizon, &settings(changes)?)
}

/// The same of settings that have been read.
pub fn planner_with(
    name: &str,
    horizon: Option<usize>,
    settings: &[Setting],
) -> PyResult<Box<dyn Planner>> {
    let info = info(name).or_raise(Kind::Setting)?;
    let settings = planner_settings(info, horizon, settings).or_raise(Kind::Setting)?;
    info.with(settings).or_raise(Kind::Setting)
}

/// The device of this name.
pub fn device(name: &str) -> PyResult<Device> {
    latco_agent::device::device(name).or_raise(Kind::Setting)
}

/// A time of so many seconds.
pub fn duration(name: &str, seconds: Option<f64>) -> PyResult<Option<Duration>> {
    let Some(seconds) = seconds else {
        return Ok(None);
    };
    let wrong = || Kind::Setting.error(format!("`{name}` is {seconds}, expected seconds above 0"));
    match Duration::try_from_secs_f64(seconds) {
        Ok(duration) if !duration.is_zero() => Ok(Some(duration)),
        _ => Err(wrong()),
    }
}
