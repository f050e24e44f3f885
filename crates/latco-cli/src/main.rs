//! The `latco` command: plan from raw images by latent collocation.
//!
//! Each subcommand is a file of `commands`; it returns a [`Report`](output::Report), which is
//! printed as JSON or as text, or a [`CliError`], which is one line and an exit status.
#![deny(unsafe_code)]

mod arguments;
mod commands;
mod configuration;
mod destination;
mod drawing;
mod error;
mod explanation;
mod loading;
mod memory;
mod output;
mod panics;
mod progress;
mod tensorboard;

use std::process::ExitCode;

use clap::Parser;

use crate::{arguments::Arguments, error::CliError};

fn main() -> ExitCode {
    memory::keep_freed();
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            output::tell(format_args!("error: {}", error.one_line()));
            error.exit_code()
        }
    }
}

fn run() -> Result<(), CliError> {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(message) if !message.use_stderr() => return output::print(&message.render()),
        Err(message) => return Err(message.into()),
    };
    let report = panics::caught(|| arguments.command.run(&arguments.common))?;
    report.print(arguments.common.json)
}
