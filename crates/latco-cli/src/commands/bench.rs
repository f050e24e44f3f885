//! `latco bench`: the planner's and the trainer's work, timed.

mod jobs;
mod operations;

use clap::{Args, ValueEnum};
use latco_model::{Activation, RewardKind, WorldModelConfig};
use serde::Serialize;

use crate::{
    arguments::{Common, count, horizon},
    error::CliError,
    output::Report,
};

/// Time planning and training.
///
/// Each job is run --repeats times after a first run that does not count, on a model with random
/// weights. The milliseconds are the median. `share_of_peak` is the share of the device's
/// matrix-product rate, measured in the same run, that the job's necessary operations reach.
#[derive(Args)]
#[command(after_help = "\
Jobs:
  first-order   one iteration of latco-first-order with one plan
  gauss-newton  one Gauss-Newton step: linearise, solve, apply
  cem           one iteration of the cross-entropy method
  train         one gradient step of the world model
  plan          a whole plan of the default planner from nothing
  replan        a whole plan of the default planner from the one before, a step later

With --beliefs, plan and replan make so many plans at the same time, as latco_plan::plan_many does.

Examples:
  latco bench --job gauss-newton --horizon 30 --json
  latco bench --job plan --job replan --stoch 16 --deter 64 --hidden 64 --units 64 --action 2")]
pub struct Bench {
    /// What to time; may be given several times.
    #[arg(long = "job", value_name = "NAME", required = true)]
    jobs: Vec<Job>,

    #[command(flatten)]
    sizes: Sizes,
}

/// What is timed.
#[derive(Clone, Copy, Debug, ValueEnum, Serialize)]
#[serde(rename_all = "kebab-case")]
enum Job {
    FirstOrder,
    GaussNewton,
    Cem,
    Train,
    Plan,
    Replan,
}

/// The sizes of every job; the defaults are those of the LatCo paper.
#[derive(Args, Clone, Copy, Serialize)]
struct Sizes {
    /// Steps of a plan.
    #[arg(long, value_name = "N", default_value = "30", value_parser = horizon())]
    horizon: usize,
    /// Plans optimised side by side.
    #[arg(long, value_name = "N", default_value = "1", value_parser = count())]
    plans: usize,
    /// Beliefs that plan and replan plan for at the same time.
    #[arg(long, value_name = "N", default_value = "1", value_parser = count())]
    beliefs: usize,
    /// Stochastic part of the latent.
    #[arg(long, value_name = "N", default_value = "30", value_parser = count())]
    stoch: usize,
    /// Deterministic part of the latent.
    #[arg(long, value_name = "N", default_value = "200", value_parser = count())]
    deter: usize,
    /// Units of the dynamics' hidden layers.
    #[arg(long, value_name = "N", default_value = "200", value_parser = count())]
    hidden: usize,
    /// Units of the reward head's hidden layers.
    #[arg(long, value_name = "N", default_value = "400", value_parser = count())]
    units: usize,
    /// Components of an action.
    #[arg(long, value_name = "N", default_value = "4", value_parser = count())]
    action: usize,
    /// Action sequences of cem.
    #[arg(long, value_name = "N", default_value = "10000", value_parser = count())]
    samples: usize,
    /// Sequences of a train step.
    #[arg(long, value_name = "N", default_value = "16", value_parser = count())]
    batch: usize,
    /// Steps of each of them.
    #[arg(long, value_name = "N", default_value = "20", value_parser = count())]
    length: usize,
    /// Channels of the first convolution.
    #[arg(long, value_name = "N", default_value = "16", value_parser = count())]
    depth: usize,
    /// Side of the images in pixels.
    #[arg(long, value_name = "N", default_value = "64", value_parser = count())]
    image: usize,
    /// Timed runs.
    #[arg(long, value_name = "N", default_value = "5", value_parser = count())]
    repeats: usize,
}

impl Sizes {
    fn model(&self) -> WorldModelConfig {
        WorldModelConfig {
            image_size: self.image,
            pooling: 1,
            stochastic: self.stoch,
            deterministic: self.deter,
            hidden: self.hidden,
            reward_units: self.units,
            depth: self.depth,
            reward: RewardKind::Gaussian,
            activation: Activation::Elu,
            ..WorldModelConfig::paper(self.action)
        }
    }
}

/// One line of the result.
#[derive(Serialize)]
struct Measurement {
    job: Job,
    device: String,
    /// The median.
    ms: f64,
    /// Of the necessary operations, in one run; `null` for a whole plan, whose number of
    /// iterations is not fixed.
    gflop: Option<f64>,
    share_of_peak: Option<f64>,
    /// Giga floating-point operations a second of a large matrix product.
    peak_gflops: f64,
    #[serde(flatten)]
    sizes: Sizes,
}

impl Bench {
    /// Times each job in turn.
    pub fn run(&self, common: &Common) -> Result<Report, CliError> {
        let device = common.device()?;
        let bench = jobs::Workbench::new(self.sizes, common.seed(), device)?;
        let peak = bench.peak()?;
        let measured = |&job: &Job| -> Result<Measurement, CliError> {
            let ms = bench.milliseconds(job)?;
            let gflop = operations::of(job, &self.sizes).map(|count| count / 1e9);
            Ok(Measurement {
                job,
                device: common.device.clone(),
                ms,
                gflop,
                share_of_peak: gflop.map(|gflop| gflop / (ms / 1e3) / peak),
                peak_gflops: peak,
                sizes: self.sizes,
            })
        };
        let measured: Vec<_> = self.jobs.iter().map(measured).collect::<Result<_, _>>()?;
        Report::new(&measured, text(&measured))
    }
}

fn text(measured: &[Measurement]) -> String {
    let mut text = format!(
        "{:<14}{:>12}{:>12}{:>16}\n",
        "job", "ms", "Gflop", "share of peak"
    );
    for row in measured {
        let name = row.job.to_possible_value();
        let name = name.as_ref().map_or("", |value| value.get_name());
        let cell = |value: Option<f64>, digits: usize| {
            value.map_or("-".to_owned(), |value| format!("{value:.digits$}"))
        };
        text += &format!(
            "{name:<14}{:>12.3}{:>12}{:>16}\n",
            row.ms,
            cell(row.gflop, 3),
            cell(row.share_of_peak, 3)
        );
    }
    let peak = measured.first().map_or(0.0, |row| row.peak_gflops);
    text + &format!("peak of a matrix product: {peak:.0} Gflop/s\n")
}
