//! Results as a table, as data and as a plot.

use std::{fmt::Write as _, io};

use latco_env::Image;

use super::{
    TaskReport,
    entry::{Entry, cell},
};
use crate::{
    drawing::{Outcome, TaskOutcomes, draw_success},
    error::CliError,
};

/// The results as a table in Markdown.
pub fn table(tasks: &[TaskReport]) -> String {
    let mut table = "\
        | task | planner | success (95 % interval) | episodes | promised | rolled out | got | got ÷ promised | backed | seconds a plan | model steps a plan |\n\
        |---|---|---|---|---|---|---|---|---|---|---|\n"
        .to_owned();
    for task in tasks {
        for entry in &task.results {
            let _ = writeln!(table, "{}", entry.row());
        }
        let missing = match (&task.checkpoint, task.results.is_empty()) {
            (None, _) => "no checkpoint",
            (Some(_), true) => "not evaluated yet",
            (Some(_), false) => continue,
        };
        let name = cell(&task.env);
        let _ = writeln!(table, "| `{name}` | {missing} | | | | | | | | | |");
    }
    table
}

/// Every entry as a line below the names of the columns.
pub fn csv(tasks: &[TaskReport]) -> Result<Vec<u8>, io::Error> {
    let mut written = csv::Writer::from_writer(Vec::new());
    let entries = tasks.iter().flat_map(|task| &task.results);
    for (index, columns) in entries.map(Entry::columns).enumerate() {
        if index == 0 {
            written.write_record(columns.each_ref().map(|(name, _)| *name))?;
        }
        written.write_record(columns.map(|(_, value)| value))?;
    }
    written
        .into_inner()
        .map_err(csv::IntoInnerError::into_error)
}

/// The share of solved episodes of every entry.
pub fn plot(tasks: &[TaskReport]) -> Result<Image, CliError> {
    let evaluated = tasks.iter().filter(|task| !task.results.is_empty());
    let others = tasks.iter().filter(|task| task.results.is_empty());
    let others: Vec<_> = others.map(|task| task.env.as_str()).collect();
    draw_success(&evaluated.map(outcomes).collect::<Vec<_>>(), &others)
}

fn outcomes(task: &TaskReport) -> TaskOutcomes<'_> {
    let outcome = |entry: &Entry| Outcome {
        planner: entry.evaluation.planner.clone(),
        share: entry.evaluation.success_rate,
        interval: (entry.success_low, entry.success_high),
        seconds: entry.evaluation.plan_seconds_median,
    };
    TaskOutcomes {
        task: &task.env,
        outcomes: task.results.iter().map(outcome).collect(),
    }
}
