//! A Gymnasium environment, driven from Rust: `Pendulum-v1` as images, in a process of its own.
//!
//! ```sh
//! python3 -m pip install "gymnasium[classic-control]"
//! cargo run --release --example gymnasium              # or LATCO_PYTHON=venv/bin/python cargo run …
//! ```
//!
//! Opens the environment, says what it shows and takes, learns a world model from it for some minutes
//! and measures the planner. Any other ID works alike; `docs/environments.md` tells of cameras, action
//! repeat and rewards. The command line does the same:
//! `latco train --env gym:Pendulum-v1 --run runs/swing`.

mod common {
    pub mod output;
    pub mod short;
}

use std::{collections::BTreeMap, error::Error};

use common::{output::out, short::is_short};
use latco::{
    Agent, AgentConfig, Environment,
    agent::{Progress, RunConfig, RunFolder, TrainingRun, evaluate},
    device,
    env::{EnvError, process},
    plan::catalogue::planner,
};

const HORIZON: usize = 30;

/// The pendulum as 64×64 images, each action held for two steps.
fn pendulum() -> Result<Box<dyn Environment>, EnvError> {
    let arguments = BTreeMap::from([("repeat".to_owned(), 2.into())]);
    process::open("gym:Pendulum-v1", &arguments)
}

fn main() -> Result<(), Box<dyn Error>> {
    let environment = pendulum()?;
    let (shape, actions) = (environment.image_shape(), environment.action_space());
    println!("images of {}×{} pixels", shape.width, shape.height);
    println!("torques from {:?} to {:?}", actions.low(), actions.high());

    let mut config = RunConfig::small(environment.as_ref());
    config.steps = if is_short() { 2 } else { 3_000 };
    config.collect.horizon = HORIZON;
    config.collect.replan_every = 5;
    config.collect.prefill = if is_short() { 1 } else { 50 };
    config.replay.batch = if is_short() { 2 } else { config.replay.batch };
    let device = device("auto")?;
    let folder = RunFolder::new(out("gymnasium")?);
    if folder.root().exists() {
        std::fs::remove_dir_all(folder.root())?;
    }
    let mut run = TrainingRun::new(environment, config, folder.clone(), &device)?;
    while !run.is_finished() {
        match run.advance()? {
            Progress::Episode {
                episodes, return_, ..
            } => {
                println!("episode {episodes:>3}: return {return_:.0}");
            }
            Progress::Step { step, train } if step % 100 == 0 => {
                println!(
                    "step {step:>5}: image {:.2}, reward {:.3}",
                    train.image, train.reward
                );
            }
            Progress::Step { .. } => {}
        }
    }
    run.save()?;

    let settings = AgentConfig {
        replan_every: 5,
        ..AgentConfig::default()
    };
    let agent = Agent::new(
        run.model(),
        planner("latco", Some(HORIZON))?,
        settings,
        &device,
    )?;
    let episodes = if is_short() { 1 } else { 10 };
    let result = evaluate(&mut [pendulum()?], &agent, "auto", 1234, episodes, |_| {})?;
    println!(
        "return {:.0} ± {:.0}",
        result.return_mean, result.return_std
    );
    println!("wrote {}", folder.checkpoint().display());
    Ok(())
}
