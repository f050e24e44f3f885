//! `latco inspect`: what is in recordings.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use clap::Args;
use latco_env::{Alignment, Inspection, Recorded, Shift, Summary, contact_sheet};
use serde::Serialize;

use crate::{
    arguments::{Common, DataArguments},
    destination::{check_file, check_outside, make_parent},
    error::CliError,
    output::{Report, aligned, grouped, note, warn},
};

/// Rows and columns of a contact sheet.
const SHEET_EPISODES: usize = 16;
const SHEET_COLUMNS: usize = 12;

/// Describe recordings: counts, lengths, returns, action ranges, a contact sheet.
///
/// Unusable files of a folder are named and left out.
#[derive(Args)]
#[command(after_help = "\
Examples:
  latco inspect recordings
  latco inspect recordings/episode-000000.npz --out episode.png --json")]
pub struct Inspect {
    /// A file or folder of recordings (docs/data.md has the formats).
    #[arg(value_name = "DIR|FILE")]
    path: PathBuf,

    #[command(flatten)]
    data: DataArguments,

    /// A contact sheet (PNG) to write: a row an episode, its frames evenly spaced.
    #[arg(long, value_name = "PNG")]
    out: Option<PathBuf>,
}

/// The figures, and the files that were left out.
#[derive(Serialize)]
struct InspectReport {
    #[serde(flatten)]
    inspection: Inspection,
    /// How much of the change to an image the actions around it explain; none where too little moves.
    alignment: Option<Alignment>,
    /// The row that actions seem to lie in, if not their own.
    shift: Option<Shift>,
    skipped: Vec<String>,
}

impl Inspect {
    /// Reads, draws where asked to, reports.
    pub fn run(&self, common: &Common) -> Result<Report, CliError> {
        if let Some(out) = &self.out {
            check_file("--out", out, "png")?;
            check_outside("--out", out, &self.path)?;
        }
        let mut found = latco_formats::open(&self.path, &self.data.options())?;
        found.remove_damaged();
        let skipped: Vec<_> = found.skipped.iter().map(ToString::to_string).collect();
        skipped.iter().for_each(warn);
        let series: Vec<_> = found.episodes.iter().map(|e| e.series()).collect();
        let Some(inspection) = Inspection::of(&series) else {
            return Err(no_episodes(&self.path, &skipped));
        };
        if let Some(out) = &self.out {
            draw(&found.episodes, out)?;
            note(common, format!("wrote {}", out.display()));
        }
        let episodes: Vec<_> = found.episodes.iter().map(AsRef::as_ref).collect();
        let alignment = Alignment::of(&episodes)?;
        let shift = alignment.and_then(|alignment| alignment.shift());
        if let (Some(alignment), Some(shift)) = (alignment, shift) {
            warn(shifted(&alignment, shift));
        }
        let text = text(&inspection, &skipped);
        let report = InspectReport {
            inspection,
            alignment,
            shift,
            skipped,
        };
        Report::new(&report, text)
    }
}

/// The error for a folder without a usable episode.
pub fn no_episodes(path: &Path, skipped: &[String]) -> CliError {
    CliError::NoEpisodes {
        path: path.to_owned(),
        reason: skipped
            .first()
            .map_or_else(String::new, |first| format!(": {first}")),
    }
}

/// That the actions seem to lie in another row.
fn shifted(alignment: &Alignment, shift: Shift) -> String {
    let (row, explained) = match shift {
        Shift::Early => ("before", alignment.before),
        Shift::Late => ("after", alignment.after),
    };
    format!(
        "actions seem shifted by one: the action in the row {row} an image tells {:.0} % of the change to \
         it, the one beside it {:.0} %. Entry t is to be the action that led to image t (docs/data.md)",
        100.0 * explained,
        100.0 * alignment.own,
    )
}

fn draw(episodes: &[Arc<dyn Recorded>], out: &Path) -> Result<(), CliError> {
    let shown = episodes.iter().take(SHEET_EPISODES).map(AsRef::as_ref);
    match contact_sheet(&shown.collect::<Vec<_>>(), SHEET_COLUMNS)? {
        Some(sheet) => {
            make_parent(out)?;
            Ok(sheet.save_png(out)?)
        }
        None => Ok(()),
    }
}

fn text(inspection: &Inspection, skipped: &[String]) -> String {
    let sizes = inspection.image_sizes.iter();
    let sizes: Vec<_> = sizes
        .map(|[height, width]| format!("{width}×{height}"))
        .collect();
    let mut rows = vec![
        ("episodes".to_owned(), grouped(inspection.episodes)),
        ("frames".to_owned(), grouped(inspection.frames)),
        ("frames an episode".to_owned(), range(&inspection.lengths)),
        ("images".to_owned(), sizes.join(", ")),
        ("return".to_owned(), range(&inspection.returns)),
        (
            "rewarded frames".to_owned(),
            grouped(inspection.rewarded_frames),
        ),
        (
            "solved".to_owned(),
            format!("{} of {} that tell", inspection.solved, inspection.told),
        ),
    ];
    for (index, action) in inspection.actions.iter().enumerate() {
        rows.push((format!("action[{index}]"), range(action)));
    }
    if !skipped.is_empty() {
        rows.push(("skipped files".to_owned(), grouped(skipped.len())));
    }
    aligned(&rows)
}

fn range(summary: &Summary) -> String {
    let rounded = |value: f64| (value * 1e3).round() / 1e3;
    format!(
        "{} to {}, mean {}",
        rounded(summary.minimum),
        rounded(summary.maximum),
        rounded(summary.mean)
    )
}
