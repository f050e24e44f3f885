//! Plans towards an image, with the checkpoint that ships: the goal is a picture of the solved task,
//! and the reward head is not asked.

use latco_agent::{Agent, device::device};
use latco_env::{EnvOptions, Environment, Image, expert_action, make};

/// Of the twelve from 3 on nine are reached; random actions reach 4 in 100.
const SEEDS: [u64; 8] = [3, 4, 5, 6, 7, 8, 9, 10];

/// What is seen where the scripted policy has solved the task.
fn solved(environment: &mut dyn Environment, seed: u64) -> Image {
    let mut image = environment.reset(seed).unwrap();
    for _ in 0..environment.time_limit() {
        let action = expert_action(environment).unwrap();
        image = environment.step(&action).unwrap().image;
    }
    image
}

fn reaches(agent: &mut Agent, environment: &mut dyn Environment, seed: u64) -> bool {
    let goal = solved(environment, seed);
    agent.reset(seed);
    agent.set_goal(Some(&goal)).unwrap();
    let mut image = environment.reset(seed).unwrap();
    (0..environment.time_limit()).any(|_| {
        let action = agent.act(&image).unwrap();
        let step = environment.step(&action).unwrap();
        image = step.image;
        step.success
    })
}

#[test]
fn a_picture_of_the_goal_is_enough() {
    let mut environment = make("reach", &EnvOptions::default()).unwrap();
    let path = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/assets/checkpoints/reach.safetensors"
    );
    let mut agent = Agent::load(path, &device("flex").unwrap()).unwrap();
    let reached = SEEDS.map(|seed| reaches(&mut agent, environment.as_mut(), seed));
    println!("reached {reached:?}");
    assert!(reached.iter().filter(|&&reached| reached).count() >= 5);
}
