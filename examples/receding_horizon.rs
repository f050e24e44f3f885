//! Closed loop against the clock: a new plan at every step of `reach`, each within a deadline.
//!
//! Every plan starts from what is left of the last one. A planner that is out of time returns the
//! best it has; a plan that comes late nevertheless says so in `Plan::late`, and is counted here.
//!
//! ```sh
//! cargo run --release --example receding_horizon [-- DEADLINE_MS]
//! ```
//!
//! Prints the latency of a whole step (image in, action out) and of its plan: median, 95 %,
//! longest, misses; writes `out/receding_horizon.gif`, the episode as seen.

mod common {
    pub mod film;
    pub mod output;
    pub mod short;
}

use std::{
    error::Error,
    time::{Duration, Instant},
};

use common::{film::save_gif, output::out, short::is_short};
use latco::{
    Agent, AgentConfig, WorldModel, device,
    env::{EnvOptions, make},
    plan::catalogue::planner,
};

fn report(what: &str, mut latencies: Vec<Duration>) {
    latencies.sort();
    let at = |share: f64| {
        let index = (share * (latencies.len() - 1) as f64).round() as usize;
        latencies[index].as_secs_f64() * 1e3
    };
    println!(
        "{what}: median {:.1} ms, 95 % {:.1} ms, longest {:.1} ms",
        at(0.5),
        at(0.95),
        at(1.0)
    );
}

fn main() -> Result<(), Box<dyn Error>> {
    let given = std::env::args()
        .skip(1)
        .find(|argument| argument != "--short");
    let limit = given.map_or(Ok(100), |text| text.parse())?;
    let deadline = Duration::from_millis(limit);
    let device = device("auto")?;
    let model = WorldModel::load("assets/checkpoints/reach.safetensors".as_ref(), &device)?;
    let config = AgentConfig {
        replan_every: 1,
        deadline: Some(deadline),
        ..AgentConfig::default()
    };
    let mut agent = Agent::new(model, planner("latco", Some(30))?, config, &device)?;
    let mut environment = make("reach", &EnvOptions::default())?;

    let mut image = environment.reset(11)?;
    agent.reset(11);
    let mut frames = vec![image.clone()];
    let (mut steps, mut plans) = (Vec::new(), Vec::new());
    let (mut late, mut rewarded, mut solved) = (0, 0.0, false);
    let most = if is_short() {
        5
    } else {
        environment.time_limit()
    };
    while steps.len() < most {
        let started = Instant::now();
        let action = agent.act(&image)?;
        steps.push(started.elapsed());
        if let Some(plan) = agent.plan() {
            plans.push(plan.elapsed);
            late += usize::from(plan.late.is_some());
        }
        let step = environment.step(&action)?;
        rewarded += step.reward;
        solved |= step.success;
        let is_last = step.is_last();
        image = step.image;
        frames.push(image.clone());
        if is_last {
            break;
        }
    }
    println!("{} plans with a deadline of {limit} ms", plans.len());
    report("step", steps);
    report("plan", plans);
    println!("deadlines missed: {late}");
    println!("rewarded on {rewarded} steps, solved: {solved}");
    let path = out("receding_horizon.gif")?;
    save_gif(&path, &frames)?;
    println!("wrote {}", path.display());
    Ok(())
}
