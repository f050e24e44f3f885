//! The subcommands, one a file.

mod collect;
mod demo;
mod eval;
mod import;
mod inspect;
mod lists;
mod plan;
mod train;

use clap::Subcommand;

use crate::{arguments::Common, error::CliError, output::Report};

/// What to do.
#[derive(Subcommand)]
pub enum Command {
    /// Plan from a raw image with a shipped checkpoint, execute the plan, draw both.
    Demo(demo::Demo),
    /// Plan from your own image.
    Plan(plan::PlanFromImage),
    /// Measure a planner over seeded episodes.
    Eval(eval::Eval),
    /// Learn a world model, from an environment or from recordings.
    Train(train::Train),
    /// Record episodes.
    Collect(collect::Collect),
    /// Describe recordings: counts, lengths, returns, action ranges, a contact sheet.
    Inspect(inspect::Inspect),
    /// Turn a folder of PNG frames and a table of actions and rewards into an episode.
    Import(import::Import),
    /// List the environments.
    Envs,
    /// List the planners.
    Planners,
    /// List the devices of this build.
    Devices,
}

impl Command {
    /// Does it.
    pub fn run(&self, common: &Common) -> Result<Report, CliError> {
        match self {
            Self::Demo(demo) => demo.run(common),
            Self::Plan(plan) => plan.run(common),
            Self::Eval(eval) => eval.run(common),
            Self::Train(train) => train.run(common),
            Self::Collect(collect) => collect.run(common),
            Self::Inspect(inspect) => inspect.run(common),
            Self::Import(import) => import.run(),
            Self::Envs => lists::envs(),
            Self::Planners => lists::planners(),
            Self::Devices => lists::devices(),
        }
    }
}
