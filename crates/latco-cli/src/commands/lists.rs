//! `latco envs`, `latco planners`, `latco devices`.

use latco_agent::device::DEVICES;
use latco_env::catalogue;
use latco_plan::catalogue::PLANNERS;
use serde::Serialize;

use crate::{
    error::CliError,
    output::{Report, aligned},
};

/// One line of a list.
#[derive(Serialize)]
struct Entry {
    name: &'static str,
    about: &'static str,
}

/// The environments.
pub fn envs() -> Result<Report, CliError> {
    list(catalogue().iter().map(|info| (info.name, info.about)))
}

/// The planners.
pub fn planners() -> Result<Report, CliError> {
    list(PLANNERS.iter().map(|info| (info.name, info.about)))
}

/// The devices of this build, the one that `auto` takes first.
pub fn devices() -> Result<Report, CliError> {
    list(DEVICES.iter().map(|info| (info.name, info.about)))
}

fn list(entries: impl Iterator<Item = (&'static str, &'static str)>) -> Result<Report, CliError> {
    let entries: Vec<_> = entries.map(|(name, about)| Entry { name, about }).collect();
    let rows: Vec<_> = entries
        .iter()
        .map(|entry| (entry.name, entry.about.to_owned()))
        .collect();
    Report::new(&entries, aligned(&rows))
}
