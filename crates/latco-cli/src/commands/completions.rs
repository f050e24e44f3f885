//! `latco completions`: what a shell needs to complete arguments.

use clap::{Args, CommandFactory};
use clap_complete::{Shell, generate};
use serde::Serialize;

use crate::{arguments::Arguments, error::CliError, output::Report};

/// Print a shell's completions.
#[derive(Args)]
#[command(after_help = "\
Examples:
  latco completions bash > ~/.local/share/bash-completion/completions/latco
  latco completions fish > ~/.config/fish/completions/latco.fish")]
pub struct Completions {
    /// The shell.
    shell: Shell,
}

#[derive(Serialize)]
struct CompletionsReport {
    shell: String,
    script: String,
}

impl Completions {
    /// Writes the script.
    pub fn run(&self) -> Result<Report, CliError> {
        let mut script = Vec::new();
        generate(self.shell, &mut Arguments::command(), "latco", &mut script);
        let report = CompletionsReport {
            shell: self.shell.to_string(),
            script: String::from_utf8_lossy(&script).into_owned(),
        };
        Report::new(&report, report.script.clone())
    }
}
