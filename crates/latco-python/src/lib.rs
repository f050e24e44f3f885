//! The extension module `latco._latco` behind the Python package `latco`.
//!
//! `model` makes a `LatentModel` of a Python object, `environment` an `Environment` of a Gymnasium
//! one; the rest hands planners, agents and training runs on. The interpreter is free while Rust works,
//! and taken only for calls into Python, signals and progress.
#![forbid(unsafe_code)]

mod agent;
mod arrays;
mod environment;
mod errors;
mod interruption;
mod model;
mod plan;
mod settings;
mod train;

use std::ffi::OsString;

use pyo3::{prelude::*, types::PyList};

/// Runs the `latco` command with these arguments, the program's name first: its exit status.
#[pyfunction]
fn command(py: Python<'_>, arguments: Vec<OsString>) -> u8 {
    py.detach(|| latco_cli::main_with(arguments))
}

/// Every planner as `(name, about, settings)`.
#[pyfunction]
fn planners(py: Python<'_>) -> PyResult<Bound<'_, PyList>> {
    let described = latco_plan::catalogue::PLANNERS.iter().map(|info| {
        let settings = pythonize::pythonize(py, &info.settings())?;
        Ok((info.name, info.about, settings))
    });
    PyList::new(py, described.collect::<PyResult<Vec<_>>>()?)
}

/// The devices of this build as `(name, about)`.
#[pyfunction]
fn devices() -> Vec<(&'static str, &'static str)> {
    let devices = latco_agent::device::DEVICES.iter();
    devices.map(|device| (device.name, device.about)).collect()
}

#[pymodule]
fn _latco(module: &Bound<'_, PyModule>) -> PyResult<()> {
    // As the command does: agents and training runs would spend a good part of their time on fresh pages.
    latco_cli::keep_freed();
    module.add("__version__", env!("CARGO_PKG_VERSION"))?;
    module.add("GYMNASIUM", latco_env::process::GYMNASIUM)?;
    module.add_class::<agent::PyAgent>()?;
    module.add_class::<plan::PyPlan>()?;
    module.add_function(wrap_pyfunction!(command, module)?)?;
    module.add_function(wrap_pyfunction!(planners, module)?)?;
    module.add_function(wrap_pyfunction!(devices, module)?)?;
    module.add_function(wrap_pyfunction!(plan::plan, module)?)?;
    module.add_function(wrap_pyfunction!(train::benchmark, module)?)?;
    module.add_function(wrap_pyfunction!(train::kept_arguments, module)?)?;
    module.add_function(wrap_pyfunction!(train::train, module)?)?;
    module.add_function(wrap_pyfunction!(train::evaluate, module)?)?;
    module.add_function(wrap_pyfunction!(train::record, module)?)?;
    module.add_function(wrap_pyfunction!(train::summarise, module)?)
}
