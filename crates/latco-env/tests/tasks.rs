//! What every task of the catalogue promises.

use latco_env::{
    ActionRepeat, ChaCha8Rng, EnvError, EnvOptions, Environment, Episode, RepeatReward, catalogue,
    expert_action, info, make, record_episode, uniform_action,
};
use rand_chacha::rand_core::SeedableRng;

fn every_task() -> impl Iterator<Item = Box<dyn Environment>> {
    catalogue()
        .iter()
        .map(|entry| make(entry.name, &EnvOptions::default()).unwrap())
}

fn scripted_episode(environment: &mut dyn Environment, seed: u64) -> Episode {
    record_episode(environment, seed, expert_action).unwrap()
}

fn random_episode(environment: &mut dyn Environment, seed: u64) -> Episode {
    let mut random = ChaCha8Rng::seed_from_u64(seed ^ 0x5eed);
    record_episode(environment, seed, |environment| {
        Ok(uniform_action(&mut random, environment.action_space()))
    })
    .unwrap()
}

fn success_rate(
    environment: &mut dyn Environment,
    seeds: std::ops::Range<u64>,
    run: fn(&mut dyn Environment, u64) -> Episode,
) -> f64 {
    let episodes = seeds.end - seeds.start;
    let solved = seeds
        .filter(|&seed| run(environment, seed).success() == Some(true))
        .count();
    solved as f64 / episodes as f64
}

#[test]
fn the_scripted_policy_solves_and_the_random_policy_does_not() {
    let mut failures = Vec::new();
    for mut environment in every_task() {
        let name = environment.name().to_owned();
        let scripted = success_rate(environment.as_mut(), 0..100, scripted_episode);
        let random = success_rate(environment.as_mut(), 1000..1200, random_episode);
        let horizon = info(&name).unwrap().protocol.horizon;
        let figures = format!("| {horizon} | {random:.3} | {scripted:.2} |");
        println!("{name} {figures}");
        let random_limit = if name == "reach" { 0.20 } else { 0.10 };
        if scripted < 0.95 || random > random_limit {
            failures.push(format!("{name} {figures}"));
        }
        if !is_in_the_table(&name, &figures) {
            failures.push(format!("docs/tasks.md does not say {name} {figures}"));
        }
    }
    assert!(failures.is_empty(), "{failures:?}");
}

/// Whether the table of docs/tasks.md has a row of this name with these figures.
fn is_in_the_table(name: &str, figures: &str) -> bool {
    include_str!("../../../docs/tasks.md")
        .lines()
        .any(|line| line.starts_with(&format!("| `{name}` |")) && line.ends_with(figures))
}

#[test]
fn the_same_seed_and_actions_give_the_same_episode() {
    for mut environment in every_task() {
        let name = environment.name().to_owned();
        let first = random_episode(environment.as_mut(), 3);
        let other = random_episode(environment.as_mut(), 4);
        let again = random_episode(environment.as_mut(), 3);
        let fresh = random_episode(make(&name, &EnvOptions::default()).unwrap().as_mut(), 3);
        assert_eq!(first, again, "{name}");
        assert_eq!(first, fresh, "{name}");
        assert_ne!(first.images(), other.images(), "{name}");
    }
}

#[test]
fn an_episode_lasts_until_its_time_limit() {
    for mut environment in every_task() {
        let episode = random_episode(environment.as_mut(), 0);
        assert_eq!(episode.len(), environment.time_limit() + 1);
        let action = vec![0.0; environment.action_space().size()];
        assert!(matches!(
            environment.step(&action),
            Err(EnvError::EpisodeOver { .. })
        ));
    }
}

#[test]
fn a_made_environment_can_be_wrapped_again() {
    let inner = make("reach", &EnvOptions::default()).unwrap();
    let mut repeated = ActionRepeat::new(inner, 3, RepeatReward::Sum).unwrap();
    let episode = random_episode(&mut repeated, 0);
    assert_eq!(episode.len(), 11);
}

#[test]
fn bad_actions_are_refused_and_change_nothing() {
    for mut environment in every_task() {
        let size = environment.action_space().size();
        environment.reset(1).unwrap();
        assert!(matches!(
            environment.step(&vec![0.0; size + 1]),
            Err(EnvError::ActionLength { .. })
        ));
        assert!(matches!(
            environment.step(&vec![f32::NAN; size]),
            Err(EnvError::ActionNotFinite { .. })
        ));
        let after = environment.step(&vec![0.5; size]).unwrap();
        environment.reset(1).unwrap();
        assert_eq!(environment.step(&vec![0.5; size]).unwrap(), after);
    }
}

#[test]
fn actions_are_clamped() {
    for mut environment in every_task() {
        let size = environment.action_space().size();
        environment.reset(1).unwrap();
        let wild = environment.step(&vec![50.0; size]).unwrap();
        environment.reset(1).unwrap();
        assert_eq!(environment.step(&vec![1.0; size]).unwrap(), wild);
    }
}

#[test]
fn the_dense_reward_grows_towards_the_solution() {
    let options = EnvOptions {
        dense_reward: true,
        ..EnvOptions::default()
    };
    for entry in catalogue() {
        let mut environment = make(entry.name, &options).unwrap();
        for seed in 0..5 {
            let episode = scripted_episode(environment.as_mut(), seed);
            let rewards = &episode.rewards()[1..];
            assert!(rewards.iter().all(|&reward| reward > 0.0), "{}", entry.name);
            assert!(rewards.last() > rewards.first(), "{}", entry.name);
        }
    }
}

#[test]
fn rewards_keep_to_their_range() {
    for entry in catalogue() {
        let mut environment = make(entry.name, &EnvOptions::default()).unwrap();
        let [least, largest] = entry.reward_range;
        for seed in 0..40 {
            for run in [scripted_episode, random_episode] {
                let episode = run(environment.as_mut(), seed);
                let within = |reward: &f32| (least..=largest).contains(reward);
                assert!(episode.rewards().iter().all(within), "{}", entry.name);
            }
        }
    }
}

#[test]
fn images_of_any_size_are_square_and_rewards_bounded() {
    for entry in catalogue() {
        for (image_size, dense_reward) in [(32, false), (100, true)] {
            let options = EnvOptions {
                image_size,
                dense_reward,
            };
            let mut environment = make(entry.name, &options).unwrap();
            let episode = scripted_episode(environment.as_mut(), 2);
            assert_eq!(episode.image_width(), image_size);
            assert_eq!(episode.image_height(), image_size);
            let bounded = |&reward: &f32| (-10.0..=3.0).contains(&reward);
            assert!(episode.rewards().iter().all(bounded), "{}", entry.name);
        }
    }
}
