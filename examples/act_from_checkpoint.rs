//! Weights to action in ten lines: loads the shipped checkpoint, drives one episode of `reach`
//! from images alone, and writes its first and last image to `out/`.
//!
//! ```sh
//! cargo run --release --example act_from_checkpoint
//! ```

use std::{error::Error, fs};

use latco::{Agent, device, env};

fn main() -> Result<(), Box<dyn Error>> {
    let device = device("auto")?;
    let mut agent = Agent::load("assets/checkpoints/reach.safetensors", &device)?;
    let mut environment = env::make("reach", &env::EnvOptions::default())?;

    let mut image = environment.reset(7)?;
    agent.reset(7);
    fs::create_dir_all("out")?;
    image.save_png("out/act_from_checkpoint_first.png".as_ref())?;
    let mut total = 0.0;
    loop {
        let action = agent.act(&image)?;
        let step = environment.step(&action)?;
        total += step.reward;
        let is_last = step.is_last();
        image = step.image;
        if is_last {
            break;
        }
    }
    image.save_png("out/act_from_checkpoint_last.png".as_ref())?;
    println!("rewarded on {total} of {} steps", environment.time_limit());
    println!("wrote out/act_from_checkpoint_first.png and out/act_from_checkpoint_last.png");
    Ok(())
}
