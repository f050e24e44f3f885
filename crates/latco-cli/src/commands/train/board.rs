use std::path::PathBuf;

use burn::tensor::Device;
use latco_agent::{Progress, RunFolder, TrainingRun};
use latco_env::Image;

use super::super::predict::{Predicted, film, sheet};
use crate::{drawing::encode_gif, error::CliError, tensorboard::EventFile};

/// Gradient steps between two points of the curves, and between two predictions.
const SCALARS_EVERY: usize = 10;
const PREDICTIONS_EVERY: usize = 1000;

/// Frames of the newest episode that the model is shown, and the most that it imagines.
const CONTEXT: usize = 5;
const HORIZON: usize = 50;

/// What TensorBoard shows of a run: losses, the planner's episodes, and what the model imagines of
/// the newest episode.
pub struct Board {
    events: EventFile,
    folder: PathBuf,
    device: Device,
    /// The gradient step of the last prediction.
    predicted: Option<usize>,
}

impl Board {
    /// Begins a file in the run's folder.
    pub fn open(folder: &RunFolder, step: usize, device: &Device) -> Result<Self, CliError> {
        let folder = folder.tensorboard();
        match EventFile::create(&folder, step) {
            Ok(events) => Ok(Self {
                events,
                folder,
                device: device.clone(),
                predicted: None,
            }),
            Err(source) => Err(CliError::Write {
                path: folder,
                source,
            }),
        }
    }

    /// Takes down what the run has just done.
    pub fn see(&mut self, progress: &Progress, run: &TrainingRun) -> Result<(), CliError> {
        match progress {
            Progress::Step { step, train } => {
                if step.is_multiple_of(SCALARS_EVERY) || train.skipped {
                    let scalars = [
                        ("train/loss", train.loss),
                        ("train/image", train.image),
                        ("train/reward", train.reward),
                        ("train/kl", train.kl),
                        ("train/gradient_norm", train.gradient_norm),
                    ];
                    self.scalars(*step, &scalars)?;
                }
                match step.is_multiple_of(PREDICTIONS_EVERY) {
                    true => self.predict(run),
                    false => Ok(()),
                }
            }
            Progress::Episode {
                step,
                return_,
                success,
                promise: Some(promise),
                ..
            } => {
                let scalars = [
                    ("episode/return", *return_),
                    ("episode/promised", promise.promised as f32),
                    ("episode/rolled_out", promise.rolled_out as f32),
                    ("episode/success", f32::from(u8::from(*success))),
                ];
                self.scalars(*step, &scalars)
            }
            Progress::Episode { .. } => Ok(()),
        }
    }

    /// What the model imagines of the newest episode, unless this step has that already.
    pub fn predict(&mut self, run: &TrainingRun) -> Result<(), CliError> {
        let step = run.step();
        let episode = run.last_episode()?.filter(|episode| episode.len() > 1);
        let Some(episode) = episode.filter(|_| self.predicted != Some(step)) else {
            return Ok(());
        };
        self.predicted = Some(step);
        let context = CONTEXT.min(episode.len() - 1);
        let path = PathBuf::from("newest");
        let span = (context, HORIZON);
        let predicted = [Predicted::new(
            &run.model(),
            path,
            episode,
            span,
            &self.device,
        )?];
        let frames = film(&predicted)?;
        let gif = encode_gif(&frames)?;
        self.picture(step, "predict/film", frames.first(), gif)?;
        let sheet = sheet(&predicted, context)?;
        let png = sheet.to_png()?;
        self.picture(step, "predict/frames", Some(&sheet), png)
    }

    fn scalars(&mut self, step: usize, scalars: &[(&str, f32)]) -> Result<(), CliError> {
        let written = self.events.scalars(step, scalars);
        written.map_err(|source| self.failed(source))
    }

    /// Adds a picture of the size of `image`, if there is one.
    fn picture(
        &mut self,
        step: usize,
        tag: &str,
        image: Option<&Image>,
        encoded: Vec<u8>,
    ) -> Result<(), CliError> {
        let Some(image) = image else {
            return Ok(());
        };
        let size = (image.width(), image.height());
        let written = self.events.picture(step, tag, size, encoded);
        written.map_err(|source| self.failed(source))
    }

    fn failed(&self, source: std::io::Error) -> CliError {
        CliError::Write {
            path: self.folder.clone(),
            source,
        }
    }
}
