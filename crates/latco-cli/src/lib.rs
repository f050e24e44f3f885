//! The `latco` command: plan from raw images by latent collocation.
//!
//! A library, so that the Python package carries the command too, and reads
//! [settings](configuration) as it does.
//!
//! Each subcommand is a file of `commands`; it returns a `Report`, which is
//! printed as JSON or as text, or a `CliError`, which is one line and an exit status.
#![deny(unsafe_code)]

mod arguments;
pub mod benchmark;
mod commands;
pub mod configuration;
mod destination;
mod drawing;
mod error;
mod explanation;
mod loading;
mod memory;
mod output;
mod panics;
mod progress;
mod system;
mod tensorboard;

use std::ffi::OsString;

use clap::Parser;

use crate::{arguments::Arguments, error::CliError};

pub use memory::keep_freed;

/// Runs the command with these arguments, the program's name first, and reports on standard output and
/// standard error: the exit status.
pub fn main_with(arguments: impl IntoIterator<Item = OsString>) -> u8 {
    memory::keep_freed();
    match run(arguments) {
        Ok(()) => 0,
        Err(error) => {
            output::tell(format_args!("error: {}", error.one_line()));
            error.exit_status()
        }
    }
}

fn run(arguments: impl IntoIterator<Item = OsString>) -> Result<(), CliError> {
    let arguments = match Arguments::try_parse_from(arguments) {
        Ok(arguments) => arguments,
        Err(message) if !message.use_stderr() => return output::print(&message.render()),
        Err(message) => return Err(message.into()),
    };
    let report = panics::caught(|| arguments.command.run(&arguments.common))?;
    report.print(arguments.common.json)
}
