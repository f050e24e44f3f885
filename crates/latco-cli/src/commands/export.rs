//! `latco export`: recordings as a data set that other tools read.

use std::path::{Path, PathBuf};

use clap::Args;
use serde::Serialize;

use crate::{
    arguments::{Common, DataArguments},
    destination::check_new_folder,
    error::CliError,
    output::{Report, aligned, grouped, path_text},
};

/// Turn recordings into a data set of LeRobot (version 3.0, images as PNG in Parquet files).
///
/// Each row holds an image, the action and the reward of the step from it to the next, in the units of the
/// recordings; cameras side by side become features of their own. Needs a build with --features lerobot.
#[derive(Args)]
#[command(after_help = "\
Examples:
  latco collect --env reach --episodes 100 --out recordings
  latco export recordings --out reach --fps 10 --task \"reach the goal\"")]
pub struct Export {
    /// A file or folder of recordings.
    #[arg(value_name = "PATH")]
    path: PathBuf,

    /// A new folder for the data set.
    #[arg(long, value_name = "DIR")]
    out: PathBuf,

    #[command(flatten)]
    data: DataArguments,

    /// Frames a second.
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=1000))]
    fps: u32,

    /// What is done in the episodes, in words.
    #[arg(long, value_name = "TEXT", default_value = "")]
    task: String,
}

/// What was written.
#[derive(Serialize)]
struct ExportReport<'a> {
    episodes: usize,
    frames: usize,
    skipped: Vec<String>,
    #[serde(serialize_with = "path_text")]
    out: &'a Path,
}

impl Export {
    /// Converts and reports.
    pub fn run(&self, common: &Common) -> Result<Report, CliError> {
        check_new_folder("--out", &self.out)?;
        let report = self.written(common)?;
        Report::new(&report, report.text())
    }

    #[cfg(not(feature = "lerobot"))]
    fn written(&self, _common: &Common) -> Result<ExportReport<'_>, CliError> {
        let problem = "data sets of LeRobot are not written by this build: build with the feature lerobot \
                       (cargo install … --features lerobot)";
        Err(CliError::Recordings {
            path: self.path.clone(),
            problem: problem.to_owned(),
        })
    }

    #[cfg(feature = "lerobot")]
    fn written(&self, common: &Common) -> Result<ExportReport<'_>, CliError> {
        use latco_formats::{LeRobotSettings, LeRobotWriter};

        let found = latco_formats::open(&self.path, &self.data.options())?;
        let mut skipped: Vec<_> = found.skipped.iter().map(ToString::to_string).collect();
        let settings = LeRobotSettings {
            fps: self.fps,
            task: self.task.clone(),
        };
        let (mut episodes, mut frames) = (0, 0);
        let mut writer = None;
        let bar = crate::progress::bar(common, "exporting", found.episodes.len());
        for recorded in &found.episodes {
            match latco_env::Episode::read(recorded.as_ref()) {
                Ok(episode) => {
                    let writer = match &mut writer {
                        Some(writer) => writer,
                        none => none.insert(LeRobotWriter::create(&self.out, settings.clone())?),
                    };
                    writer.add(&episode)?;
                    episodes += 1;
                    frames += episode.len();
                }
                Err(problem) => skipped.push(format!("skipped {problem}")),
            }
            bar.inc(1);
        }
        bar.finish_and_clear();
        skipped.iter().for_each(crate::output::warn);
        match writer {
            Some(writer) => writer.finish()?,
            None => return Err(super::inspect::no_episodes(&self.path, &skipped)),
        }
        Ok(ExportReport {
            episodes,
            frames,
            skipped,
            out: &self.out,
        })
    }
}

impl ExportReport<'_> {
    fn text(&self) -> String {
        let mut rows = vec![
            ("episodes", grouped(self.episodes)),
            ("frames", grouped(self.frames)),
        ];
        if !self.skipped.is_empty() {
            rows.push(("skipped", grouped(self.skipped.len())));
        }
        rows.push(("wrote", self.out.display().to_string()));
        aligned(&rows)
    }
}
