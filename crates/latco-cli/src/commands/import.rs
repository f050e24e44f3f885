//! `latco import`: episodes from recordings in other formats.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use clap::Args;
use latco_env::{
    ActionSpace, Episode, EpisodeFileError, EpisodeFileProblem, Image, ImageError, Recorded,
};
use serde::Serialize;

use crate::{
    arguments::{Common, DataArguments, picture_size},
    destination::{check_free, check_new_folder, check_other, make_parent},
    error::CliError,
    output::{Report, aligned, grouped, path_text, warn},
    progress,
};

use super::inspect::no_episodes;

/// Turn recordings of another format into episodes (.npz).
///
/// Frames (PNG, JPEG) are taken in the order of their names. The one table of their folder, .csv or
/// .json, has a row a frame: the action that led to it and its reward. A folder of such folders holds
/// an episode in each. docs/data.md tells what becomes of Minari, OGBench, Dreamer, V-D4RL,
/// stable-worldmodel and LeRobot.
#[derive(Args)]
#[command(after_help = "\
CSV:  a header with action_0, action_1, …, reward and, if you like, discount and sparse_reward
JSON: {\"action\": [[0.1, -0.3], …], \"reward\": [0, …]} and the same optional columns

Examples:
  latco import frames --out recordings/first.npz
  latco import visual-cube-single-play-v0.npz --out recordings --stored
  latco import minari/data/main_data.hdf5 --out recordings --map image=observations/pixels
  latco import pusht.h5 --out recordings --size 64x64 --action-low 0,0 --action-high 512,512")]
pub struct Import {
    /// A file or folder of recordings.
    #[arg(value_name = "PATH")]
    path: PathBuf,

    /// What to write: a file where its name ends in .npz or frames are imported, else a folder of
    /// episodes.
    #[arg(long, value_name = "FILE|DIR")]
    out: PathBuf,

    #[command(flatten)]
    data: DataArguments,

    /// Make each picture this large, in pixels.
    #[arg(long, value_name = "WIDTHxHEIGHT", value_parser = picture_size)]
    size: Option<(usize, usize)>,

    /// Write without compression: larger files, from which batches are drawn a hundred times faster
    /// where they do not fit into memory.
    #[arg(long)]
    stored: bool,

    /// The lower bound of each action entry, in the units of the recordings.
    #[arg(
        long,
        value_name = "A,B,…",
        value_delimiter = ',',
        allow_hyphen_values = true,
        requires = "action_high"
    )]
    action_low: Vec<f32>,

    /// The upper bound of each action entry.
    #[arg(
        long,
        value_name = "A,B,…",
        value_delimiter = ',',
        allow_hyphen_values = true,
        requires = "action_low"
    )]
    action_high: Vec<f32>,
}

/// The figures of the episodes.
#[derive(Serialize)]
struct ImportReport<'a> {
    episodes: usize,
    frames: usize,
    image_height: usize,
    image_width: usize,
    action_size: usize,
    #[serde(rename = "return")]
    return_: f32,
    skipped: Vec<String>,
    #[serde(serialize_with = "path_text")]
    out: &'a Path,
}

impl Import {
    /// Converts and reports.
    pub fn run(&self, common: &Common) -> Result<Report, CliError> {
        let found = latco_formats::open(&self.path, &self.data.options())?;
        let mut skipped: Vec<_> = found.skipped.iter().map(ToString::to_string).collect();
        let Some(first) = found.episodes.first() else {
            return Err(no_episodes(&self.path, &skipped));
        };
        let is_file = self.is_file(first.as_ref(), found.episodes.len())?;
        check_other("--out", &self.out, &self.path)?;
        let mut written: Vec<Written> = Vec::new();
        let bar = progress::bar(common, "importing", found.episodes.len());
        for recorded in &found.episodes {
            let path = match is_file {
                true => self.out.clone(),
                false => self.out.join(format!("episode-{:06}.npz", written.len())),
            };
            match self.converted(recorded)? {
                Ok(episode) => {
                    make_parent(&path)?;
                    match self.stored {
                        true => episode.save_stored(&path)?,
                        false => episode.save(&path)?,
                    }
                    written.push(Written::of(&episode));
                }
                Err(problem) => skipped.push(format!("skipped {problem}")),
            }
            bar.inc(1);
        }
        bar.finish_and_clear();
        skipped.iter().for_each(warn);
        let Some(last) = written.last() else {
            return Err(no_episodes(&self.path, &skipped));
        };
        let report = ImportReport {
            episodes: written.len(),
            frames: written.iter().map(|episode| episode.frames).sum(),
            image_height: last.image_height,
            image_width: last.image_width,
            action_size: last.action_size,
            return_: written.iter().map(|episode| episode.return_).sum::<f32>()
                / written.len() as f32,
            skipped,
            out: &self.out,
        };
        Report::new(&report, report.text())
    }

    /// Whether one file is written, of which the name is that of `--out`.
    fn is_file(&self, first: &dyn Recorded, episodes: usize) -> Result<bool, CliError> {
        let ending = |path: &Path, ending: &str| {
            (path.extension()).is_some_and(|found| found.eq_ignore_ascii_case(ending))
        };
        let of_frames = ending(first.path(), "csv") || ending(first.path(), "json");
        match ending(&self.out, "npz") || (of_frames && episodes == 1) {
            true if episodes > 1 => Err(CliError::Recordings {
                path: self.path.clone(),
                problem: format!(
                    "{episodes} episodes do not go into one file: expected a folder, --out {}",
                    self.out.with_extension("").display()
                ),
            }),
            true => check_free("--out", &self.out).map(|()| true),
            false => check_new_folder("--out", &self.out).map(|()| false),
        }
    }

    /// The episode as it is to be written, or what is wrong with its images.
    fn converted(
        &self,
        recorded: &Arc<dyn Recorded>,
    ) -> Result<Result<Episode, EpisodeFileError>, CliError> {
        let refused = |problem: String| CliError::Recordings {
            path: recorded.path().to_owned(),
            problem,
        };
        let mut episode = match Episode::read(recorded.as_ref()) {
            Ok(episode) => episode,
            Err(error) => return Ok(Err(error)),
        };
        if !self.action_low.is_empty() {
            let space = ActionSpace::new(self.action_low.clone(), self.action_high.clone());
            let space = space.map_err(|error| refused(error.to_string()))?;
            let bounded = episode.with_action_space(space);
            episode = bounded.map_err(|error| refused(error.to_string()))?;
        }
        match self.size {
            None => Ok(Ok(episode)),
            Some(size) => Ok(resized(&episode, size).map_err(|problem| EpisodeFileError {
                path: recorded.path().to_owned(),
                problem,
            })),
        }
    }
}

/// The episode with each camera's picture of another size.
fn resized(
    episode: &Episode,
    (width, height): (usize, usize),
) -> Result<Episode, EpisodeFileProblem> {
    let cameras = episode.cameras();
    let raw = episode.image_width() / cameras;
    let of_frame = |frame: usize| {
        let image = episode.image(frame);
        let pictures = (0..cameras).filter_map(|camera| {
            let part = image.cropped([camera * raw, 0, raw, image.height()])?;
            Some(part.resized(width, height))
        });
        let picture = Image::side_by_side(&pictures.collect::<Vec<_>>());
        let empty = || ImageError::Size {
            width,
            height,
            got: 0,
        };
        Ok::<_, EpisodeFileProblem>(picture.ok_or_else(empty).map_err(as_problem)?.into_pixels())
    };
    let images = (0..episode.len()).map(of_frame);
    let images = images.collect::<Result<Vec<_>, _>>()?.concat();
    let series = episode.series().clone();
    let series = series.with_image_size(cameras * width, height)?;
    Ok(Episode::from_series(series, images)?)
}

fn as_problem(error: ImageError) -> EpisodeFileProblem {
    EpisodeFileProblem::Format(Box::new(error))
}

/// What is told of an episode that was written.
struct Written {
    frames: usize,
    image_height: usize,
    image_width: usize,
    action_size: usize,
    return_: f32,
}

impl Written {
    fn of(episode: &Episode) -> Self {
        Self {
            frames: episode.len(),
            image_height: episode.image_height(),
            image_width: episode.image_width(),
            action_size: episode.action_size(),
            return_: episode.total_reward(),
        }
    }
}

impl ImportReport<'_> {
    fn text(&self) -> String {
        let returns = match self.episodes {
            1 => self.return_.to_string(),
            _ => format!("{} on average", self.return_),
        };
        let mut rows = vec![
            ("episodes", grouped(self.episodes)),
            (
                "frames",
                format!(
                    "{} of {}×{} pixels",
                    grouped(self.frames),
                    self.image_width,
                    self.image_height
                ),
            ),
            ("action components", self.action_size.to_string()),
            ("return", returns),
        ];
        if !self.skipped.is_empty() {
            rows.push(("skipped", grouped(self.skipped.len())));
        }
        rows.push(("wrote", self.out.display().to_string()));
        aligned(&rows)
    }
}
