//! Results as a table, as data and as a plot.

use std::{fmt::Write as _, io};

use latco_env::Image;

use super::{
    TaskReport,
    entry::{Entry, cell, scale},
};
use crate::{
    drawing::{Outcome, TaskOutcomes, draw_success},
    error::CliError,
};

/// What stands below the table.
const DASHES: &str = "\
    \n`got ÷ promised` is a dash where less than a hundredth was promised of the largest mean, promised or got, \
    that the table has of the task: a share of next to nothing tells nothing. Other dashes are of results of \
    earlier versions, which do not tell it.\n";

/// The results as a table in Markdown.
pub fn table(tasks: &[TaskReport]) -> String {
    let mut table = "\
        | task | planner | success (95 % interval) | episodes | promised | rolled out | got | got ÷ promised | backed | seconds a plan | model steps a plan |\n\
        |---|---|---|---|---|---|---|---|---|---|---|\n"
        .to_owned();
    for task in tasks {
        let scale = scale_of(task);
        for entry in &task.results {
            let _ = writeln!(table, "{}", entry.row(scale));
        }
        let missing = match (&task.checkpoint, task.results.is_empty()) {
            (None, _) => "no checkpoint",
            (Some(_), true) => "not evaluated yet",
            (Some(_), false) => continue,
        };
        let name = cell(&task.env);
        let _ = writeln!(table, "| `{name}` | {missing} | | | | | | | | | |");
    }
    table + DASHES
}

fn scale_of(task: &TaskReport) -> f64 {
    scale(task.results.iter().map(|entry| &entry.evaluation))
}

/// Every entry as a line below the names of the columns.
pub fn csv(tasks: &[TaskReport]) -> Result<Vec<u8>, io::Error> {
    let mut written = csv::Writer::from_writer(Vec::new());
    let columns = tasks.iter().flat_map(|task| {
        let scale = scale_of(task);
        task.results.iter().map(move |entry| entry.columns(scale))
    });
    for (index, columns) in columns.enumerate() {
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

#[cfg(test)]
mod tests {
    use std::{collections::BTreeMap, path::PathBuf};

    use latco_agent::{EpisodeResult, Evaluation, Promise};

    use super::super::entry::Subject;
    use super::*;

    fn entry(planner: &str, promised: f64, got: f32) -> Entry {
        let result = EpisodeResult {
            seed: 0,
            success: false,
            return_: got,
            promise: Some(Promise {
                promised,
                rolled_out: promised,
            }),
            plans: Vec::new(),
        };
        let subject = Subject {
            environment: "button".to_owned(),
            arguments: BTreeMap::new(),
            checkpoint: String::new(),
            horizon: 30,
            replan_every: 30,
            envs: 1,
        };
        let evaluation = Evaluation::of("button", planner, "flex", 0, vec![result]);
        Entry::new(evaluation, subject).unwrap()
    }

    /// As of random actions, which get a reward now and then that nobody promised.
    #[test]
    fn of_next_to_nothing_promised_no_share_is_told() {
        let task = TaskReport {
            env: "button".to_owned(),
            checkpoint: Some(PathBuf::new()),
            results: vec![entry("cem", 20.0, 10.0), entry("random", 0.0002, 0.04)],
        };
        let text = table(std::slice::from_ref(&task));
        let row = |planner: &str| text.lines().find(|line| line.contains(planner)).unwrap();
        let [cem, random] = ["`cem`", "`random`"].map(row);
        assert!(cem.contains("| 20.0 | 10.0 | 0.50 |"), "{cem}");
        assert!(random.contains("| 0.0 | 0.0 | – |"), "{random}");
        assert!(text.ends_with(DASHES) && DASHES.contains("hundredth"));

        let data = String::from_utf8(csv(&[task]).unwrap()).unwrap();
        let mut lines = data.lines().map(|line| line.split(','));
        let mut names = lines.next().unwrap();
        let share = names.position(|name| name == "got_share");
        let shares = lines.map(|mut cells| cells.nth(share.unwrap()).unwrap());
        assert_eq!(shares.collect::<Vec<_>>(), ["0.5", ""]);
    }
}
