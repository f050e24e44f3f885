//! The subcommands, one a file.

mod bench;
mod collect;
mod completions;
mod convert;
mod demo;
mod device_server;
mod eval;
mod export;
mod import;
mod inspect;
mod lists;
mod plan;
mod plot;
mod predict;
mod solve;
mod suite;
mod train;

use clap::Subcommand;

use crate::{arguments::Common, error::CliError, output::Report};

/// What to do; the text of a subcommand's help stands with its arguments.
#[derive(Subcommand)]
pub enum Command {
    Demo(demo::Demo),
    Plan(plan::PlanFromImage),
    Eval(eval::Eval),
    Suite(suite::Suite),
    Solve(solve::Solve),
    Train(train::Train),
    Collect(collect::Collect),
    Inspect(inspect::Inspect),
    Plot(plot::Plot),
    Predict(predict::Predict),
    Import(import::Import),
    Export(export::Export),
    Convert(convert::Convert),
    Bench(bench::Bench),
    Envs(lists::Envs),
    Planners(lists::Planners),
    Problems(lists::Problems),
    /// List the devices of this build.
    Devices,
    DeviceServer(device_server::DeviceServer),
    Completions(completions::Completions),
}

impl Command {
    /// Does it.
    pub fn run(&self, common: &Common) -> Result<Report, CliError> {
        match self {
            Self::Demo(demo) => demo.run(common),
            Self::Plan(plan) => plan.run(common),
            Self::Eval(eval) => eval.run(common),
            Self::Suite(suite) => suite.run(common),
            Self::Solve(solve) => solve.run(common),
            Self::Train(train) => train.run(common),
            Self::Collect(collect) => collect.run(common),
            Self::Inspect(inspect) => inspect.run(common),
            Self::Plot(plot) => plot.run(common),
            Self::Predict(predict) => predict.run(common),
            Self::Import(import) => import.run(common),
            Self::Export(export) => export.run(common),
            Self::Convert(convert) => convert.run(common),
            Self::Bench(bench) => bench.run(common),
            Self::Envs(envs) => envs.run(common),
            Self::Planners(planners) => planners.run(),
            Self::Problems(problems) => problems.run(),
            Self::Devices => lists::devices(),
            Self::DeviceServer(server) => server.run(common),
            Self::Completions(completions) => completions.run(),
        }
    }
}
