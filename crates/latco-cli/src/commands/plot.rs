//! `latco plot`: the learning curve of a training run.

use std::{fs, path::PathBuf};

use clap::Args;
use latco_agent::RunFolder;
use serde::{Deserialize, Serialize};

use crate::{
    arguments::Common,
    destination::{check_file, make_parent},
    drawing::{Curves, draw_learning_curve},
    error::CliError,
    output::{Report, note},
};

/// Draw the learning curve of a training run.
#[derive(Args)]
#[command(after_help = "\
Examples:
  latco plot runs/reach --out curve.png")]
pub struct Plot {
    /// The folder of the run.
    #[arg(value_name = "RUN")]
    run: PathBuf,

    /// The picture (PNG) to write.
    #[arg(long, value_name = "PNG", default_value = "out/curve.png")]
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
    },
}

#[derive(Serialize)]
struct PlotReport<'a> {
    run: &'a PathBuf,
    out: &'a PathBuf,
    gradient_steps: f64,
    seconds: f64,
}

impl Plot {
    /// Reads the metrics, draws, reports.
    pub fn run(&self, common: &Common) -> Result<Report, CliError> {
        check_file("--out", &self.out)?;
        let curves = self.read()?;
        let gradient_steps = curves.image.last().map_or(0.0, |&(step, _)| step);
        let seconds = curves.seconds;
        let title = format!("Training in {}", self.run.display());
        let image = draw_learning_curve(&title, curves)?;
        make_parent(&self.out)?;
        image.save_png(&self.out)?;
        note(common, format!("wrote {}", self.out.display()));
        let report = PlotReport {
            run: &self.run,
            out: &self.out,
            gradient_steps,
            seconds,
        };
        let text = format!("{gradient_steps} gradient steps in {seconds:.0} s");
        Report::new(&report, text)
    }

    /// The curves of the run; a last line that is being written is left out.
    fn read(&self) -> Result<Curves, CliError> {
        let path = RunFolder::new(&self.run).metrics();
        let text = fs::read_to_string(&path).map_err(|source| CliError::Metrics {
            path: path.clone(),
            source,
        })?;
        let mut curves = Curves::default();
        for metric in text
            .lines()
            .map_while(|line| serde_json::from_str(line).ok())
        {
            curves.add(&metric);
        }
        Ok(curves)
    }
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
            } => {
                self.demonstrations += usize::from(demonstration);
                if planned {
                    self.success.push((step, f64::from(u8::from(success))));
                }
            }
        }
    }
}
