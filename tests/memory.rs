//! Long use takes no more memory than short use.
#![cfg(target_os = "linux")]

mod common {
    pub mod point_mass;
}

use std::{fs, time::Duration};

use common::point_mass::PointMass;
use latco_env::{EnvOptions, Replay, expert_action, make, record_episode};
use latco_plan::{
    NoObserver, PlanContext,
    catalogue::{PLANNERS, planner},
};

/// What allocators may keep, in MiB.
const ALLOWANCE: f64 = 24.0;

/// The memory that the process has in use, in MiB.
fn in_use() -> f64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:"));
    let kib: f64 = line
        .unwrap()
        .split_whitespace()
        .nth(1)
        .unwrap()
        .parse()
        .unwrap();
    kib / 1024.0
}

/// Does `work` so many times, and compares the memory after a fifth of them with that at the end.
fn assert_no_growth(what: &str, times: usize, mut work: impl FnMut(usize)) {
    let settled = times / 5;
    (0..settled).for_each(&mut work);
    let before = in_use();
    (settled..times).for_each(&mut work);
    let after = in_use();
    println!("{what}: {before:.1} MiB after {settled}, {after:.1} MiB after {times}");
    assert!(
        after < before + ALLOWANCE,
        "{what}: {before} to {after} MiB"
    );
}

/// One test, so that nothing else in the process takes memory meanwhile.
#[test]
fn a_thousand_plans_and_a_hundred_thousand_steps_take_no_more_than_a_few() {
    let belief = PointMass::belief();
    assert_no_growth("plans", 1_000, |index| {
        let info = PLANNERS[index % PLANNERS.len()];
        let limit = Some(Duration::from_millis(10));
        let mut observer = NoObserver;
        let context = PlanContext::new(index as u64, &mut observer).with_deadline(limit);
        let plan = planner(info.name, None).unwrap();
        plan.plan_with(&PointMass { spread: 0.1 }, &belief, context)
            .unwrap();
    });

    let options = EnvOptions {
        image_size: 32,
        ..EnvOptions::default()
    };
    let mut environment = make("reach", &options).unwrap();
    let mut replay = Replay::new(5_000).unwrap();
    let episodes = 100_000 / environment.time_limit() + 1;
    let mut steps = 0;
    assert_no_growth("episodes", episodes, |seed| {
        let episode = record_episode(environment.as_mut(), seed as u64, expert_action);
        let episode = episode.unwrap();
        steps += episode.len() - 1;
        replay.push(episode).unwrap();
    });
    assert!(steps >= 100_000, "{steps} steps");
    assert!(replay.len_steps() <= 5_000);
}
