//! The goal is a picture: plans towards what is seen in it, without the reward head.
//!
//! The same arm is to come to where a photograph shows it. The picture is encoded as every image is;
//! the latent that the model settles at is the goal, and closeness to it the reward of every plan:
//! `r(z) = −½ ‖z − g‖²`.
//!
//! ```sh
//! cargo run --release --example goal_image
//! ```
//!
//! Prints how far from the picture each episode ends, in pixels' values, and writes
//! `out/goal_image.gif`: the goal on the left, what happens on the right.

mod common {
    pub mod film;
    pub mod output;
    pub mod picture;
    pub mod short;
}

use std::error::Error;

use common::{film::save_gif, output::out, picture::beside, short::is_short};
use latco::{
    Agent, Image, device,
    env::{EnvOptions, Environment, expert_action, make},
};

/// A picture of the solved task: where its scripted expert ends.
fn photograph(environment: &mut dyn Environment, seed: u64) -> Result<Image, Box<dyn Error>> {
    let mut image = environment.reset(seed)?;
    for _ in 0..environment.time_limit() {
        let action = expert_action(environment)?;
        image = environment.step(&action)?.image;
    }
    Ok(image)
}

/// The mean difference of two images' values, 0 to 255.
fn difference(left: &Image, right: &Image) -> f64 {
    let pairs = left.pixels().iter().zip(right.pixels());
    let sum: u64 = pairs.map(|(&a, &b)| u64::from(a.abs_diff(b))).sum();
    sum as f64 / left.pixels().len() as f64
}

fn main() -> Result<(), Box<dyn Error>> {
    let seeds: &[u64] = if is_short() { &[3] } else { &[3, 4, 5, 6] };
    let mut agent = Agent::load("assets/checkpoints/reach.safetensors", &device("auto")?)?;
    let mut environment = make("reach", &EnvOptions::default())?;
    println!(
        "{:<8} {:>14} {:>12} {:>8}",
        "episode", "at the start", "at the end", "solved"
    );
    let mut frames = Vec::new();
    for &seed in seeds {
        let goal = photograph(environment.as_mut(), seed)?;
        agent.reset(seed);
        agent.set_goal(Some(&goal))?;
        let first = environment.reset(seed)?;
        let (mut image, mut solved) = (first.clone(), false);
        for _ in 0..environment.time_limit() {
            frames.push(beside(&[goal.clone(), image.clone()])?);
            let step = environment.step(&agent.act(&image)?)?;
            solved |= step.success;
            image = step.image;
        }
        frames.push(beside(&[goal.clone(), image.clone()])?);
        println!(
            "{seed:<8} {:>14.2} {:>12.2} {solved:>8}",
            difference(&first, &goal),
            difference(&image, &goal)
        );
    }
    let path = out("goal_image.gif")?;
    save_gif(&path, &frames)?;
    println!("wrote {}", path.display());
    Ok(())
}
