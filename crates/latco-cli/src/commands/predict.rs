//! `latco predict`: what a model imagines beside what was recorded.

use std::path::PathBuf;

use burn::tensor::Device;
use clap::Args;
use latco_agent::{Prediction, predict};
use latco_env::{Episode, EpisodeFolder, Image};
use latco_model::WorldModel;
use serde::Serialize;

use super::inspect::no_episodes;
use crate::{
    arguments::{Common, horizon},
    destination::{Content, check_folder, write_all},
    drawing::{
        OPENED, OPENING, PredictionCurves, Reel, Sheet, SheetRow, compose, draw_prediction_curves,
        encode_gif, spread, width_of,
    },
    error::CliError,
    output::{Report, aligned, grouped, path_text, path_texts, warn},
};

/// Recordings that are drawn; figures are taken over all of them.
const DRAWN: usize = 3;
/// Recording, model, difference: the panels beside each other, and the side of each in pixels.
const PANELS: usize = 3;
const SIDE: usize = 256;
/// Columns of the contact sheet, those at least where images are wide, and the height of images in pixels.
const COLUMNS: usize = 10;
const LEAST_COLUMNS: usize = 6;
const SHEET_HIGH: usize = 112;

/// Compare what a model imagines with a recording.
///
/// The model is shown the first images, then imagines the others from the recorded actions alone.
/// Where that goes wrong within a plan's horizon, no planner can do well with the model.
#[derive(Args)]
#[command(after_help = "\
Writes DIR/predict.gif (recording, model, difference), DIR/predict.png (chosen frames of the same)
and DIR/errors.png (image error and reward by frame). Of a folder, the first three recordings are
drawn and the figures taken over all.

Examples:
  latco collect --env reach --episodes 20 --out recordings --policy scripted
  latco predict --checkpoint reach.safetensors --episode recordings
  latco predict --checkpoint reach.safetensors --episode recordings/episode-000000.npz --context 1")]
pub struct Predict {
    /// The world model, a safetensors file that latco wrote.
    #[arg(long, value_name = "FILE")]
    checkpoint: PathBuf,

    /// A recording (.npz), or a folder of them.
    #[arg(long, value_name = "NPZ|DIR")]
    episode: PathBuf,

    /// Images that the model is shown.
    #[arg(long, value_name = "N", default_value = "5", value_parser = horizon())]
    context: usize,

    /// Images that it imagines, at most.
    #[arg(long, value_name = "N", default_value = "50", value_parser = horizon())]
    horizon: usize,

    /// The folder to write to.
    #[arg(long, value_name = "DIR", default_value = "out")]
    out: PathBuf,
}

/// A recording and what the model makes of it.
pub struct Predicted {
    path: PathBuf,
    episode: Episode,
    prediction: Prediction,
}

/// The figures; means are taken over imagined frames, unless they say otherwise.
#[derive(Serialize)]
struct PredictReport<'a> {
    device: &'a str,
    context: usize,
    episodes: usize,
    imagined_frames: usize,
    image_error: f64,
    still_error: f64,
    shown_image_error: f64,
    reward_error: f64,
    reward_mean: f64,
    predicted_reward_mean: f64,
    recordings: Vec<RecordingReport>,
    skipped: Vec<String>,
    #[serde(serialize_with = "path_texts")]
    files: Vec<PathBuf>,
}

/// One recording, by frame.
#[derive(Serialize)]
struct RecordingReport {
    #[serde(serialize_with = "path_text")]
    file: PathBuf,
    image_error: Vec<f32>,
    still_error: Vec<f32>,
    reward: Vec<f32>,
    predicted_reward: Vec<f32>,
}

impl Predict {
    /// Predicts, draws, reports.
    pub fn run(&self, common: &Common) -> Result<Report, CliError> {
        check_folder("--out", &self.out)?;
        let device = common.device()?;
        let model = WorldModel::load(&self.checkpoint, &device)?;
        let (predicted, skipped) = self.predict(&model, &device)?;
        let files = self.draw(&predicted)?;
        let report = self.report(&predicted, skipped, files, common);
        match report.image_error >= report.still_error {
            true if report.still_error < report.shown_image_error => warn(
                "less moves in these frames than the model misses of the images that it is shown: \
                 they do not tell whether it predicts; show it more motion, or fewer frames \
                 (--context)",
            ),
            true => warn(
                "the model predicts the images no better than a guess that nothing moves: do not \
                 plan with it",
            ),
            false => {}
        }
        Report::new(&report, report.text())
    }

    /// Every usable recording predicted, and what is wrong with each of the others.
    fn predict(
        &self,
        model: &WorldModel,
        device: &Device,
    ) -> Result<(Vec<Predicted>, Vec<String>), CliError> {
        let span = (self.context, self.horizon);
        let predicted =
            |path: PathBuf, episode: Episode| Predicted::new(model, path, episode, span, device);
        if !self.episode.is_dir() {
            let episode = Episode::load(&self.episode)?;
            return Ok((vec![predicted(self.episode.clone(), episode)?], Vec::new()));
        }
        let loaded = EpisodeFolder::open(&self.episode)?.load_all()?;
        let mut skipped: Vec<_> = loaded.skipped.iter().map(ToString::to_string).collect();
        let mut usable = Vec::new();
        for (path, episode) in loaded.episodes {
            match predicted(path, episode) {
                Ok(predicted) => usable.push(predicted),
                Err(problem) => skipped.push(format!("skipped {problem}")),
            }
        }
        skipped.iter().for_each(warn);
        match usable.is_empty() {
            true => Err(no_episodes(&self.episode, &skipped)),
            false => Ok((usable, skipped)),
        }
    }

    fn draw(&self, predicted: &[Predicted]) -> Result<Vec<PathBuf>, CliError> {
        let drawn = &predicted[..predicted.len().min(DRAWN)];
        let gif = encode_gif(&film(drawn)?)?;
        let sheet = sheet(drawn, self.context)?;
        let chart = draw_prediction_curves(curves(predicted, self.context))?;
        let files = [
            ("predict.gif", Content::Bytes(gif)),
            ("predict.png", Content::Picture(sheet)),
            ("errors.png", Content::Picture(chart)),
        ];
        write_all(&self.out, &files)
    }

    fn report<'a>(
        &self,
        predicted: &[Predicted],
        skipped: Vec<String>,
        files: Vec<PathBuf>,
        common: &'a Common,
    ) -> PredictReport<'a> {
        let imagined = |values: fn(&Predicted) -> Vec<f32>| {
            mean(
                predicted
                    .iter()
                    .flat_map(|p| values(p).split_off(self.context)),
            )
        };
        let shown = predicted
            .iter()
            .flat_map(|p| &p.prediction.image_errors[..self.context]);
        PredictReport {
            device: &common.device,
            context: self.context,
            episodes: predicted.len(),
            imagined_frames: predicted.iter().map(|p| p.frames() - self.context).sum(),
            image_error: imagined(|p| p.prediction.image_errors.clone()),
            still_error: imagined(|p| p.prediction.still_errors.clone()),
            shown_image_error: mean(shown.copied()),
            reward_error: imagined(Predicted::reward_errors),
            reward_mean: imagined(|p| p.rewards().to_vec()),
            predicted_reward_mean: imagined(|p| p.prediction.rewards.clone()),
            recordings: predicted.iter().map(Predicted::report).collect(),
            skipped,
            files,
        }
    }
}

impl Predicted {
    /// Shows a model `context` frames of a recording and lets it imagine at most `horizon`.
    pub fn new(
        model: &WorldModel,
        path: PathBuf,
        episode: Episode,
        (context, horizon): (usize, usize),
        device: &Device,
    ) -> Result<Self, CliError> {
        match predict(model, &episode, context, horizon, device) {
            Ok(prediction) => Ok(Self {
                path,
                episode,
                prediction,
            }),
            Err(problem) => Err(CliError::Recordings {
                path,
                problem: problem.to_string(),
            }),
        }
    }

    /// Frames that were shown or imagined.
    fn frames(&self) -> usize {
        self.prediction.images.len()
    }

    /// The recorded reward of these frames.
    fn rewards(&self) -> &[f32] {
        &self.episode.rewards()[..self.frames()]
    }

    fn recorded(&self) -> Vec<Image> {
        self.prediction.recorded.clone()
    }

    fn differences(&self) -> Vec<Image> {
        let pairs = self.recorded().into_iter().zip(&self.prediction.images);
        pairs.map(|(one, other)| difference(&one, other)).collect()
    }

    fn reward_errors(&self) -> Vec<f32> {
        let pairs = self.rewards().iter().zip(&self.prediction.rewards);
        pairs.map(|(one, other)| (one - other).abs()).collect()
    }

    /// The three panels of the animation.
    fn reels(&self) -> [Reel; PANELS] {
        let context = self.prediction.context;
        let still = &self.prediction.still_errors[context..];
        let large = mean(still.iter().copied()) as f32;
        let rewards = |rewards: &[f32]| rewards[1..].to_vec();
        [
            Reel::new(
                "recording, hidden",
                self.recorded(),
                rewards(self.rewards()),
            )
            .with_opening(context, "recording, shown"),
            Reel::new(
                "model, imagining",
                self.prediction.images.clone(),
                rewards(&self.prediction.rewards),
            )
            .with_opening(context, "model, looking on"),
            Reel::of_errors(
                "difference",
                self.differences(),
                &self.prediction.image_errors,
                large,
            )
            .with_opening(context, "difference"),
        ]
    }

    fn report(&self) -> RecordingReport {
        RecordingReport {
            file: self.path.clone(),
            image_error: self.prediction.image_errors.clone(),
            still_error: self.prediction.still_errors.clone(),
            reward: self.rewards().to_vec(),
            predicted_reward: self.prediction.rewards.clone(),
        }
    }

    /// Three rows of the contact sheet.
    fn rows(&self, frames: &[usize]) -> [SheetRow; PANELS] {
        let name = self.path.file_stem().unwrap_or_default();
        let label = format!("recording\n{}", name.to_string_lossy());
        let pictures = [
            (label, self.recorded()),
            ("model".to_owned(), self.prediction.images.clone()),
            ("difference".to_owned(), self.differences()),
        ];
        pictures.map(|(label, images)| SheetRow {
            begins_group: label.starts_with("recording"),
            label,
            images: frames
                .iter()
                .filter_map(|&frame| images.get(frame).cloned())
                .collect(),
        })
    }
}

/// The frames of an animation: recording, model and difference, one recording a row.
pub fn film(drawn: &[Predicted]) -> Result<Vec<Image>, CliError> {
    let reels: Vec<Reel> = drawn.iter().flat_map(Predicted::reels).collect();
    compose(&reels, PANELS, SIDE)
}

/// Frames of the drawn recordings from the first to the last of the longest.
pub fn sheet(drawn: &[Predicted], context: usize) -> Result<Image, CliError> {
    let length = drawn.iter().map(Predicted::frames).max().unwrap_or(0);
    let images = drawn.iter().flat_map(|one| &one.prediction.images);
    let wide = images.map(|image| width_of(image, SHEET_HIGH)).max();
    let columns = COLUMNS * SHEET_HIGH / wide.unwrap_or(SHEET_HIGH);
    let frames = chosen_frames(context, length, columns.max(LEAST_COLUMNS));
    let heading = |&frame: &usize| match frame {
        0 => ("shown 0".to_owned(), OPENING),
        _ if frame < context => (frame.to_string(), OPENING),
        _ if frame == context => (format!("imagined {frame}"), OPENED),
        _ => (frame.to_string(), OPENED),
    };
    let sheet = Sheet {
        headings: frames.iter().map(heading).collect(),
        rows: drawn.iter().flat_map(|one| one.rows(&frames)).collect(),
    };
    sheet.render(SHEET_HIGH)
}

/// The first and the last shown frame, then imagined ones, evenly spaced from first to last.
fn chosen_frames(context: usize, length: usize, columns: usize) -> Vec<usize> {
    let mut frames = vec![0, context - 1];
    frames.dedup();
    let imagined = spread(length - context, columns - frames.len());
    frames.extend(imagined.into_iter().map(|frame| context + frame));
    frames
}

/// Means over recordings by frame.
fn curves(predicted: &[Predicted], context: usize) -> PredictionCurves {
    let length = predicted.iter().map(Predicted::frames).max().unwrap_or(0);
    let by_frame = |values: fn(&Predicted) -> &[f32]| {
        (0..length)
            .map(|frame| {
                let there = predicted.iter().filter_map(|p| values(p).get(frame));
                (frame as f64, mean(there.copied()))
            })
            .collect()
    };
    PredictionCurves {
        context,
        recordings: predicted.len(),
        image: by_frame(|p| &p.prediction.image_errors),
        still: by_frame(|p| &p.prediction.still_errors),
        recorded: by_frame(Predicted::rewards),
        predicted: by_frame(|p| &p.prediction.rewards),
    }
}

/// `|a − b|` of every byte: black where two images of one size agree.
fn difference(one: &Image, other: &Image) -> Image {
    let pairs = one.pixels().iter().zip(other.pixels());
    let pixels = pairs.map(|(&a, &b)| a.abs_diff(b)).collect();
    Image::new(one.width(), one.height(), pixels).expect("both images have one size")
}

fn mean(values: impl Iterator<Item = f32>) -> f64 {
    let (count, sum) = values.fold((0.0, 0.0), |(count, sum), value| {
        (count + 1.0, sum + f64::from(value))
    });
    sum / f64::max(count, 1.0)
}

impl PredictReport<'_> {
    fn text(&self) -> String {
        let paths = self.files.iter().map(|path| path.display().to_string());
        aligned(&[
            (
                "recordings",
                format!(
                    "{}, {} images shown of each, {} imagined in all",
                    grouped(self.episodes),
                    self.context,
                    grouped(self.imagined_frames)
                ),
            ),
            (
                "image error",
                format!(
                    "{:.5} imagined, {:.5} if nothing moved, {:.5} while looking on",
                    self.image_error, self.still_error, self.shown_image_error
                ),
            ),
            (
                "reward a frame",
                format!(
                    "{:.3} predicted, {:.3} recorded, {:.3} apart on average",
                    self.predicted_reward_mean, self.reward_mean, self.reward_error
                ),
            ),
            ("wrote", paths.collect::<Vec<_>>().join(", ")),
        ])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chosen_frames_run_from_the_first_to_the_last() {
        assert_eq!(
            chosen_frames(5, 31, COLUMNS),
            [0, 4, 5, 8, 12, 15, 19, 22, 26, 30]
        );
        assert_eq!(chosen_frames(1, 4, COLUMNS), [0, 1, 2, 3]);
        assert_eq!(chosen_frames(3, 4, COLUMNS), [0, 2, 3]);
        assert_eq!(chosen_frames(5, 51, 6), [0, 4, 5, 20, 35, 50]);
    }

    #[test]
    fn images_that_agree_differ_by_nothing() {
        let image = |value| Image::new(2, 2, vec![value; 12]).unwrap();
        assert_eq!(difference(&image(90), &image(90)), image(0));
        assert_eq!(difference(&image(90), &image(200)), image(110));
    }
}
