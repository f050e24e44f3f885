//! Burn's reinforcement-learning machinery drives our environments and planner: three environments
//! in threads of their own, and one inference server (`burn::rl::AsyncPolicy`) that plans for all
//! of them. Writes every fifth image of the first to `out/`.
//!
//! ```sh
//! cargo run --release --features rl --example burn_rl
//! ```

mod common {
    pub mod output;
    pub mod picture;
}

use std::{error::Error, thread};

use burn::tensor::Device;
use common::{output::out, picture::beside};
use latco::{
    Agent, Image,
    agent::rl::{
        PlannerPolicy, TaskEnvironment,
        burn_rl::{AsyncPolicy, Environment, EnvironmentInit, Policy, ToObservation},
    },
    device,
    env::EnvOptions,
};

/// Environments that share the policy.
const ENVIRONMENTS: u64 = 3;
/// Steps of an environment whose images are kept.
const KEPT_EVERY: usize = 5;

/// What came of an episode.
struct Episode {
    total: f64,
    success: bool,
    images: Vec<Image>,
}

fn main() -> Result<(), Box<dyn Error>> {
    let device = device("auto")?;
    let agent = Agent::load("assets/checkpoints/reach.safetensors", &device)?;
    let policy = AsyncPolicy::new(ENVIRONMENTS as usize, PlannerPolicy::new(agent));
    policy.increment_agents(ENVIRONMENTS as usize);

    let episodes: Vec<_> = (0..ENVIRONMENTS)
        .map(|seed| {
            let (policy, device) = (policy.clone(), device.clone());
            thread::spawn(move || {
                let make = move || {
                    TaskEnvironment::new("reach", &EnvOptions::default(), seed)
                        .expect("a task of the catalogue")
                };
                let episode = run(make, policy.clone(), &device);
                policy.decrement_agents(1);
                episode
            })
        })
        .collect();

    for (seed, episode) in episodes.into_iter().enumerate() {
        let episode = episode.join().map_err(|_| "an environment failed")?;
        let solved = if episode.success {
            "solved"
        } else {
            "not solved"
        };
        println!("environment {seed}: return {}, {solved}", episode.total);
        if seed == 0 {
            beside(&episode.images)?.save_png(&out("burn_rl.png")?)?;
        }
    }
    println!("wrote out/burn_rl.png");
    Ok(())
}

/// One episode, as Burn's runners do it: an environment is all that an `EnvironmentInit` gives.
fn run<P>(make: impl EnvironmentInit<TaskEnvironment>, mut policy: P, device: &Device) -> Episode
where
    P: Policy,
    <TaskEnvironment as Environment>::State: ToObservation<P::Observation>,
    <TaskEnvironment as Environment>::Action: From<P::Action>,
{
    let mut environment = make.init();
    let mut images = vec![environment.state().image];
    let mut total = 0.0;
    for count in 1.. {
        let observation = environment.state().to_observation(device);
        let (action, _) = policy.action(observation, true);
        let step = environment.step(action.into());
        total += step.reward;
        if count % KEPT_EVERY == 0 {
            images.push(step.next_state.image);
        }
        if step.done {
            break;
        }
    }
    Episode {
        total,
        success: environment.success(),
        images,
    }
}
