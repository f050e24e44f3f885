//! `latco import`: an episode from PNG frames and a table.

use std::path::{Path, PathBuf};

use clap::Args;
use latco_env::import_folder;
use serde::Serialize;

use crate::{
    destination::{check_free, make_parent},
    error::CliError,
    output::{Report, aligned, path_text},
};

/// Turn a folder of PNG frames and a table of actions and rewards into an episode.
///
/// Frames are taken in the order of their names. The one table of the folder, .csv or .json, has
/// a row a frame: the action that led to it and its reward.
#[derive(Args)]
#[command(after_help = "\
CSV:  a header with action_0, action_1, …, reward and, if you like, discount and sparse_reward
JSON: {\"action\": [[0.1, -0.3], …], \"reward\": [0, …]} and the same optional columns

Example:
  latco import frames --out recordings/first.npz")]
pub struct Import {
    /// The folder with the frames and the table.
    #[arg(value_name = "FOLDER")]
    folder: PathBuf,

    /// The episode to write.
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
}

/// The figures of the episode.
#[derive(Serialize)]
struct ImportReport<'a> {
    frames: usize,
    image_height: usize,
    image_width: usize,
    action_size: usize,
    #[serde(rename = "return")]
    return_: f32,
    #[serde(serialize_with = "path_text")]
    out: &'a Path,
}

impl Import {
    /// Converts and reports.
    pub fn run(&self) -> Result<Report, CliError> {
        check_free("--out", &self.out)?;
        let episode = import_folder(&self.folder)?;
        make_parent(&self.out)?;
        episode.save(&self.out)?;
        let report = ImportReport {
            frames: episode.len(),
            image_height: episode.image_height(),
            image_width: episode.image_width(),
            action_size: episode.action_size(),
            return_: episode.total_reward(),
            out: &self.out,
        };
        Report::new(&report, report.text())
    }
}

impl ImportReport<'_> {
    fn text(&self) -> String {
        aligned(&[
            (
                "frames",
                format!(
                    "{} of {}×{} pixels",
                    self.frames, self.image_width, self.image_height
                ),
            ),
            ("action components", self.action_size.to_string()),
            ("return", self.return_.to_string()),
            ("wrote", self.out.display().to_string()),
        ])
    }
}
