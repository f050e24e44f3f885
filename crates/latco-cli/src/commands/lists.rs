//! `latco envs`, `latco planners`, `latco problems`, `latco devices`.

use std::path::PathBuf;

use clap::Args;
use latco_agent::device::DEVICES;
use latco_env::{EnvOptions, catalogue as tasks, expert_action, make, record_episode};
use latco_plan::catalogue::{self, PLANNERS};
use latco_problems::{PROBLEMS, ProblemSettings};
use serde::Serialize;

use crate::{
    arguments::{Common, planner_name},
    configuration::as_toml,
    destination::{Content, check_file, write},
    drawing::{INK, Sheet, SheetRow},
    error::CliError,
    output::{Report, aligned, note},
};

/// The side of each picture of a task, in pixels.
const SIDE: usize = 96;

/// One line of a list.
#[derive(Serialize)]
struct Entry {
    name: &'static str,
    about: &'static str,
}

/// List the environments.
#[derive(Args)]
#[command(after_help = "\
Example:
  latco envs --out tasks.png")]
pub struct Envs {
    /// A picture (PNG) of every task to write: how it starts and how the scripted expert solves it.
    #[arg(long, value_name = "PNG")]
    out: Option<PathBuf>,
}

impl Envs {
    /// Draws where asked to, lists.
    pub fn run(&self, common: &Common) -> Result<Report, CliError> {
        if let Some(out) = &self.out {
            check_file("--out", out, "png")?;
            write(
                out,
                &Content::Picture(gallery(common.seed())?.render(SIDE)?),
            )?;
            note(common, format!("wrote {}", out.display()));
        }
        list(tasks().iter().map(|info| (info.name, info.about)))
    }
}

/// The tasks side by side: start, halfway and solution of the expert's episode of one seed.
fn gallery(seed: u64) -> Result<Sheet, CliError> {
    let moments = ["start", "halfway", "solved"];
    let mut rows = moments.map(|moment| SheetRow {
        label: moment.to_owned(),
        images: Vec::new(),
        begins_group: false,
    });
    let options = EnvOptions {
        image_size: SIDE,
        ..EnvOptions::default()
    };
    for info in tasks() {
        let mut environment = make(info.name, &options)?;
        let episode = record_episode(environment.as_mut(), seed, expert_action)?;
        let solved = episode.sparse_rewards().unwrap_or_default();
        let solved = solved.iter().position(|&reward| reward > 0.0);
        let solved = solved.unwrap_or(episode.len() - 1);
        for (row, frame) in rows.iter_mut().zip([0, solved / 2, solved]) {
            row.images.push(episode.image(frame));
        }
    }
    Ok(Sheet {
        headings: tasks()
            .iter()
            .map(|info| (info.name.to_owned(), INK))
            .collect(),
        rows: rows.into(),
    })
}

/// List the planners, or the settings of one of them.
#[derive(Args)]
#[command(after_help = "\
Example:
  latco planners cem")]
pub struct Planners {
    /// A planner whose settings to print, as TOML.
    #[arg(value_name = "NAME", value_parser = planner_name)]
    name: Option<String>,
}

impl Planners {
    /// Lists.
    pub fn run(&self) -> Result<Report, CliError> {
        match &self.name {
            None => list(PLANNERS.iter().map(|info| (info.name, info.about))),
            Some(name) => {
                let settings = catalogue::info(name)?.settings();
                Report::new(&settings, as_toml(&settings)?)
            }
        }
    }
}

/// A problem with its default arguments.
#[derive(Serialize)]
struct ProblemEntry {
    name: &'static str,
    about: &'static str,
    arguments: ProblemSettings,
}

/// List the analytic problems with sparse rewards that planners can be tried on.
#[derive(Args)]
#[command(after_help = "\
Examples:
  latco problems
  latco problems --json                                     with every argument's default")]
pub struct Problems {}

impl Problems {
    /// Lists.
    pub fn run(&self) -> Result<Report, CliError> {
        let entries: Vec<_> = PROBLEMS
            .iter()
            .map(|info| ProblemEntry {
                name: info.name,
                about: info.about,
                arguments: info.settings(),
            })
            .collect();
        let row = |entry: &ProblemEntry| (entry.name, entry.about.to_owned());
        let rows: Vec<_> = entries.iter().map(row).collect();
        Report::new(&entries, aligned(&rows))
    }
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
