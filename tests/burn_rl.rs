//! Behind Burn's traits, tasks and agents do what they do without.

mod common {
    pub mod parameters;
    pub mod worlds;
}

use std::thread;

use burn::tensor::Device;
use common::{parameters::parameters, worlds::tiny_config};
use latco_agent::{
    Agent, AgentConfig, AgentPolicy,
    rl::{
        Action, Observations, PlannerPolicy, TaskEnvironment, Weights,
        burn_rl::{AsyncPolicy, Batchable, Environment, Policy, PolicyState, ToObservation},
    },
    run_episode,
};
use latco_env::{EnvOptions, catalogue, make};
use latco_model::{WorldModel, WorldModelConfig};
use latco_plan::catalogue::planner;

fn options() -> EnvOptions {
    EnvOptions {
        image_size: 32,
        ..EnvOptions::default()
    }
}

fn model(seed: u64) -> WorldModel {
    let config = WorldModelConfig {
        reward_units: 8,
        ..tiny_config(6)
    };
    WorldModel::new(config, seed, &Device::default()).unwrap()
}

/// An agent whose plans depend on the belief.
fn agent(exploration: f64) -> Agent {
    let config = AgentConfig {
        replan_every: 6,
        exploration,
        ..AgentConfig::default()
    };
    let planner = planner("latco", Some(6)).unwrap();
    Agent::new(model(1), planner, config, &Device::default()).unwrap()
}

fn environment(seed: u64) -> TaskEnvironment {
    TaskEnvironment::new("reach", &options(), seed).unwrap()
}

/// The actions that an agent takes by itself.
fn actions_without_burn(seed: u64) -> Vec<Vec<f32>> {
    let mut environment = make("reach", &options()).unwrap();
    let mut agent = agent(0.0);
    let recorded = run_episode(environment.as_mut(), &mut AgentPolicy(&mut agent), seed).unwrap();
    let frames = 1..recorded.episode.len();
    frames
        .map(|frame| recorded.episode.action(frame).to_vec())
        .collect()
}

/// The actions of one episode behind the traits.
fn actions(
    environment: &mut TaskEnvironment,
    mut policy: impl Policy<Observation = Observations, Action: Into<Action>>,
) -> Vec<Vec<f32>> {
    let mut taken = Vec::new();
    loop {
        let observation = environment.state().to_observation(&Device::default());
        let action: Action = policy.action(observation, true).0.into();
        taken.push(action.0.clone());
        if environment.step(action).done {
            return taken;
        }
    }
}

#[test]
fn an_episode_is_the_agents() {
    let policy = PlannerPolicy::new(agent(0.0));
    for seed in [3, 4] {
        assert_eq!(
            actions(&mut environment(seed), policy.clone()),
            actions_without_burn(seed)
        );
    }
}

/// The episode after a reset has the next seed, and the policy begins it anew.
#[test]
fn episodes_follow_each_other() {
    let mut policy = PlannerPolicy::new(agent(0.0));
    let mut environment = environment(3);
    for seed in [3, 4] {
        let mut taken = Vec::new();
        loop {
            let observation = environment.state().to_observation(&Device::default());
            let action = Action::from(policy.action(observation, true).0);
            taken.push(action.0.clone());
            let step = environment.step(action);
            assert_eq!(step.truncated, step.done);
            if step.done {
                break;
            }
        }
        assert_eq!(taken, actions_without_burn(seed));
        environment.reset();
    }
}

/// Burn's server mixes the observations of many environments into batches.
#[test]
fn environments_that_share_a_policy_do_not_disturb_each_other() {
    let policy = AsyncPolicy::new(3, PlannerPolicy::new(agent(0.0)));
    policy.increment_agents(3);
    let runs: Vec<_> = (5..8)
        .map(|seed| {
            let policy = policy.clone();
            thread::spawn(move || {
                let taken = actions(&mut environment(seed), policy.clone());
                policy.decrement_agents(1);
                (seed, taken)
            })
        })
        .collect();
    for run in runs {
        let (seed, taken) = run.join().unwrap();
        assert_eq!(taken, actions_without_burn(seed));
    }
}

#[test]
fn noise_is_left_out_of_deterministic_actions() {
    let observation = environment(3).state().to_observation(&Device::default());
    let action = |exploration, deterministic| {
        let mut policy = PlannerPolicy::new(agent(exploration));
        policy.action(observation.clone(), deterministic).0
    };
    assert_eq!(action(0.5, true), action(0.0, true));
    assert_ne!(action(0.5, false), action(0.0, false));
}

#[test]
fn batches_are_taken_apart_again() {
    let one = |seed| environment(seed).state().to_observation(&Device::default());
    let items = vec![one(1), one(2), one(3)];
    assert_eq!(Observations::batch(items.clone()).unbatch(), items);
}

#[test]
fn weights_are_updated_and_kept_as_records() {
    let mut policy = PlannerPolicy::new(agent(0.0));
    policy.update(Weights(model(2)));
    assert_eq!(parameters(&policy.state().0), parameters(&model(2)));
    let record = Weights(model(3)).into_record();
    let policy = policy.load_record(record).to_device(&Device::default());
    assert_eq!(parameters(&policy.state().0), parameters(&model(3)));
}

#[test]
fn no_episode_is_longer_than_promised() {
    for entry in catalogue() {
        let environment = make(entry.name, &options()).unwrap();
        assert!(
            environment.time_limit() <= TaskEnvironment::MAX_STEPS,
            "{}",
            entry.name
        );
    }
}
