//! `latco plot`: the learning curves of training runs.

use std::{
    fs,
    path::{Path, PathBuf},
};

use clap::Args;
use latco_agent::RunFolder;
use serde::{Deserialize, Serialize};

use crate::{
    arguments::Common,
    destination::{Content, check_free, write},
    drawing::{Curves, last_step, learning_curves},
    error::CliError,
    output::{Report, note, path_text, path_texts},
};

/// Draw the learning curves of training runs.
///
/// Several runs are taken for seeds of one setting: drawn are each of them, their mean and its 95 %
/// interval.
#[derive(Args)]
#[command(after_help = "\
Examples:
  latco plot runs/reach --out curve.png
  latco plot runs/reach-0 runs/reach-1 runs/reach-2 --out curves.svg")]
pub struct Plot {
    /// The folders of the runs.
    #[arg(value_name = "RUN", required = true)]
    runs: Vec<PathBuf>,

    /// The picture to write, a PNG or an SVG.
    #[arg(long, value_name = "FILE", default_value = "out/curve.png")]
    out: PathBuf,
}

/// One line of `metrics.jsonl`.
#[derive(Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
enum Metric {
    Train {
        step: f64,
        seconds: f64,
        image: f64,
        reward: f64,
        kl: f64,
    },
    Episode {
        step: f64,
        planned: bool,
        /// Runs of earlier versions had none.
        #[serde(default)]
        demonstration: bool,
        success: bool,
        #[serde(rename = "return")]
        return_: f64,
        /// Runs of earlier versions had none.
        promised: Option<f64>,
    },
}

#[derive(Serialize)]
struct PlotReport<'a> {
    #[serde(serialize_with = "path_texts")]
    runs: &'a [PathBuf],
    #[serde(serialize_with = "path_text")]
    out: &'a PathBuf,
    /// What every run has reached.
    gradient_steps: f64,
    /// Summed over runs.
    seconds: f64,
}

impl Plot {
    /// Reads the metrics, draws, reports.
    pub fn run(&self, common: &Common) -> Result<Report, CliError> {
        check_free("--out", &self.out)?;
        let is_svg = is_svg(&self.out)?;
        let runs = self.runs.iter().map(|run| read(run));
        let runs = runs.collect::<Result<Vec<_>, _>>()?;
        let figure = learning_curves(self.title(), &runs);
        let content = match is_svg {
            true => Content::Bytes(figure.to_svg()?.into_bytes()),
            false => Content::Picture(figure.render()?),
        };
        write(&self.out, &content)?;
        note(common, format!("wrote {}", self.out.display()));
        let report = PlotReport {
            runs: &self.runs,
            out: &self.out,
            gradient_steps: last_step(&runs),
            seconds: runs.iter().map(|run| run.seconds).sum(),
        };
        let (steps, seconds) = (report.gradient_steps, report.seconds);
        Report::new(&report, format!("{steps} gradient steps in {seconds:.0} s"))
    }

    fn title(&self) -> String {
        match &self.runs[..] {
            [run] => format!("Training in {}", run.display()),
            runs => format!(
                "Training in {} and {} more",
                runs[0].display(),
                runs.len() - 1
            ),
        }
    }
}

/// Whether the name is that of an SVG; refuses one that is of no picture.
fn is_svg(path: &Path) -> Result<bool, CliError> {
    let ending = path.extension().and_then(|ending| ending.to_str());
    match ending.map(str::to_lowercase).as_deref() {
        Some("svg") => Ok(true),
        Some("png") => Ok(false),
        _ => Err(CliError::Destination {
            flag: "--out",
            path: path.to_owned(),
            problem: "expected a name that ends in .png or .svg",
        }),
    }
}

/// The curves of a run; lines that are none, such as a last one that is being written or one of a
/// skipped gradient step, are left out.
fn read(run: &Path) -> Result<Curves, CliError> {
    let path = RunFolder::new(run).metrics();
    let text = fs::read_to_string(&path).map_err(|source| CliError::Metrics {
        path: path.clone(),
        source,
    })?;
    let mut curves = Curves::default();
    for metric in text
        .lines()
        .filter_map(|line| serde_json::from_str(line).ok())
    {
        curves.add(&metric);
    }
    Ok(curves)
}

impl Curves {
    fn add(&mut self, metric: &Metric) {
        match *metric {
            Metric::Train {
                step,
                seconds,
                image,
                reward,
                kl,
            } => {
                self.image.push((step, image));
                self.reward.push((step, reward));
                self.kl.push((step, kl));
                self.seconds = seconds;
            }
            Metric::Episode {
                step,
                planned,
                demonstration,
                success,
                return_,
                promised,
            } => {
                self.demonstrations += usize::from(demonstration);
                if planned {
                    self.success.push((step, f64::from(u8::from(success))));
                }
                if let Some(promised) = promised {
                    self.promised.push((step, promised));
                    self.got.push((step, return_));
                }
            }
        }
    }
}
