//! Learns `reach` from images: the library's training loop, which `latco train` runs too.
//!
//! ```sh
//! cargo run --release --example train_reach
//! ```
//!
//! Collects random episodes, then alternates gradient steps with episodes of the planner: 600 steps,
//! some minutes, enough to see both images and plans get better (the shipped checkpoint had 6,000).
//! Everything is kept in `out/train_reach/` – configuration, metrics, episodes, checkpoint – and a
//! second start goes on from there. Writes `out/train_reach.png`: recorded images in the upper row,
//! what the model makes of them after seeing the first five in the lower one.

mod common {
    pub mod output;
    pub mod picture;
    pub mod short;
    pub mod strip;
}

use std::error::Error;

use common::{output::out, short::is_short, strip::prediction_strip};
use latco::{
    agent::{Progress, RunConfig, RunFolder, TrainingRun},
    device,
    env::{EnvOptions, EpisodeFolder, make},
};

fn main() -> Result<(), Box<dyn Error>> {
    let environment = make("reach", &EnvOptions::default())?;
    let mut config = RunConfig::small(environment.as_ref());
    config.steps = 600;
    config.collect.prefill = 100;
    config.collect.warm_up = 300;
    let name = if is_short() {
        config.steps = 3;
        config.collect.prefill = 2;
        config.replay.batch = 4;
        config.collect.warm_up = 10;
        "train_reach_short"
    } else {
        "train_reach"
    };

    let device = device("auto")?;
    let folder = RunFolder::new(out(name)?);
    if is_short() && folder.root().exists() {
        std::fs::remove_dir_all(folder.root())?;
    }
    let mut run = if folder.config().exists() {
        println!("going on with {}", folder.root().display());
        TrainingRun::resume(environment, folder.clone(), &device)?
    } else {
        TrainingRun::new(environment, config, folder.clone(), &device)?
    };
    while !run.is_finished() {
        match run.advance()? {
            Progress::Episode {
                episodes,
                actor,
                return_,
                ..
            } => {
                println!("episode {episodes:>4} ({actor:?}): rewarded on {return_} steps");
            }
            Progress::Step { step, train } if step % 50 == 0 => println!(
                "step {step:>5}: loss {:>7.2}, image {:>6.2}, reward {:>6.4}, kl {:>5.2}",
                train.loss, train.image, train.reward, train.kl
            ),
            Progress::Step { .. } => {}
        }
    }
    run.save()?;
    println!("wrote {}", folder.checkpoint().display());

    let episodes = EpisodeFolder::open(&folder.episodes())?
        .load_all()?
        .episodes;
    let (_, last) = episodes.last().ok_or("the run has no episode")?;
    let path = out("train_reach.png")?;
    prediction_strip(&folder.checkpoint(), last, &device)?.save_png(&path)?;
    println!("wrote {}", path.display());
    Ok(())
}
