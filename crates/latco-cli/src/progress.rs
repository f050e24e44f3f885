//! Progress bars on standard error; hidden with `--quiet` and off a terminal.

use std::{fmt::Write, time::Duration};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressState, ProgressStyle};
use latco_plan::Iteration;

use crate::arguments::Common;

const BAR: &str = "{prefix} {bar:24.cyan/blue} {pos}/{len}  {rate}  {eta} left  {wide_msg}";
const SPINNER: &str = "{spinner:.cyan} {prefix}  {pos} iterations  {rate}  {elapsed}  {wide_msg}";

/// A bar over `length` pieces of work.
pub fn bar(common: &Common, prefix: &str, length: usize) -> ProgressBar {
    let bar = ProgressBar::with_draw_target(Some(length as u64), target(common));
    bar.set_style(style(BAR));
    bar.set_prefix(prefix.to_owned());
    bar
}

/// A spinner that counts the iterations of a plan.
pub fn planning(common: &Common) -> ProgressBar {
    let spinner = ProgressBar::with_draw_target(None, target(common));
    spinner.set_style(style(SPINNER));
    spinner.set_prefix("planning");
    spinner.enable_steady_tick(Duration::from_millis(100));
    spinner
}

/// Shows one iteration of a plan.
pub fn show_iteration(spinner: &ProgressBar, iteration: &Iteration) {
    spinner.set_position(iteration.index as u64 + 1);
    spinner.set_message(format!(
        "reward {:.2}, violation {:.1e}",
        iteration.reward, iteration.violation_max
    ));
}

fn target(common: &Common) -> ProgressDrawTarget {
    if common.quiet {
        ProgressDrawTarget::hidden()
    } else {
        ProgressDrawTarget::stderr()
    }
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template)
        .unwrap_or_else(|_| ProgressStyle::default_bar())
        .with_key("rate", write_rate)
        .progress_chars("━╸─")
}

/// Pieces of work a second; nothing to do if the line cannot be written.
fn write_rate(state: &ProgressState, line: &mut dyn Write) {
    let _ = write!(line, "{:.1}/s", state.per_sec());
}
