//! An environment of your own, in forty lines: learnt from while it is acted in, then planned in.
//!
//! A dot on a table is to be pushed into the bright square. The example implements [`Environment`] for
//! it, trains a small world model online for a minute (random episodes first, then the planner's own),
//! and evaluates the planner on episodes that it has not seen.
//!
//! ```sh
//! cargo run --release --example own_environment
//! ```
//!
//! Prints the losses and the share of solved episodes, and writes `out/own_environment/` with the
//! checkpoint that `latco` and [`Agent::load`](latco::Agent::load) take.

mod common {
    pub mod output;
    pub mod short;
}

use std::error::Error;

use common::{output::out, short::is_short};
use latco::{
    Agent, AgentConfig, Environment, Image,
    agent::{Progress, RunConfig, RunFolder, TrainingRun, evaluate},
    device,
    env::{
        ActionSpace, ChaCha8Rng, EnvError, ImageShape, Step, TimeLimit,
        rand::{Rng, SeedableRng},
    },
    plan::catalogue::planner,
};

const SIDE: usize = 32;
const STEPS: usize = 20;
const GOAL: [f32; 2] = [22.0, 10.0];

/// The place of a dot in `[0, 32]²` pixels, and how far it may be pushed in a step.
struct Table([f32; 2], ActionSpace);

fn distance([x, y]: [f32; 2], other: [f32; 2]) -> f32 {
    (x - other[0]).abs().max((y - other[1]).abs())
}

fn picture(dot: [f32; 2]) -> Image {
    Image::from_fn(SIDE, SIDE, |x, y| match [x as f32, y as f32] {
        place if distance(place, dot) < 2.5 => [230, 60, 40],
        place if distance(place, GOAL) < 5.0 => [240, 220, 120],
        _ => [40, 60, 90],
    })
}

impl Environment for Table {
    fn name(&self) -> &str {
        "table"
    }
    fn action_space(&self) -> &ActionSpace {
        &self.1
    }
    fn image_shape(&self) -> ImageShape {
        ImageShape::new(SIDE, SIDE)
    }
    fn time_limit(&self) -> usize {
        STEPS
    }
    fn reward_range(&self) -> Option<[f32; 2]> {
        Some([0.0, 1.0])
    }
    fn reset(&mut self, seed: u64) -> Result<Image, EnvError> {
        let mut random = ChaCha8Rng::seed_from_u64(seed);
        self.0 = [0, 1].map(|_| random.random_range(3.0..29.0));
        Ok(picture(self.0))
    }
    fn step(&mut self, action: &[f32]) -> Result<Step, EnvError> {
        for (place, push) in self.0.iter_mut().zip(self.1.clamped(action)?) {
            *place = (*place + push).clamp(3.0, 29.0);
        }
        Ok(Step::sparse(picture(self.0), distance(self.0, GOAL) < 4.0))
    }
}

/// The table in episodes of [`STEPS`] steps.
fn table() -> Result<Box<dyn Environment>, EnvError> {
    let pushes = ActionSpace::new(vec![-2.0; 2], vec![2.0; 2])?;
    Ok(Box::new(TimeLimit::new(Table([16.0; 2], pushes), STEPS)?))
}

fn main() -> Result<(), Box<dyn Error>> {
    let mut config = RunConfig::small(table()?.as_ref());
    config.steps = if is_short() { 3 } else { 500 };
    config.model.image_size = SIDE;
    config.model.pooling = 1;
    config.model.depth = 8;
    config.fit_size(ImageShape::new(SIDE, SIDE));
    config.replay.length = 20;
    config.collect.prefill = if is_short() { 4 } else { 100 };
    config.collect.warm_up = 250;
    let device = device("auto")?;
    let folder = RunFolder::new(out("own_environment")?);
    if folder.root().exists() {
        std::fs::remove_dir_all(folder.root())?;
    }

    let mut run = TrainingRun::new(table()?, config, folder.clone(), &device)?;
    while !run.is_finished() {
        if let Progress::Step { step, train } = run.advance()?
            && step % 50 == 0
        {
            println!(
                "step {step:>4}: image {:>6.2}, reward {:>6.4}, kl {:>5.2}",
                train.image, train.reward, train.kl
            );
        }
    }
    run.save()?;

    let settings = AgentConfig::default();
    let agent = Agent::new(
        run.model(),
        planner("latco", Some(STEPS))?,
        settings,
        &device,
    )?;
    let episodes = if is_short() { 1 } else { 20 };
    let result = evaluate(&mut [table()?], &agent, "auto", 1234, episodes, |_| {})?;
    println!(
        "solved {:.0} % of {episodes} episodes, {:.2} s a plan",
        100.0 * result.success_rate,
        result.plan_seconds_median
    );
    println!("wrote {}", folder.checkpoint().display());
    Ok(())
}
