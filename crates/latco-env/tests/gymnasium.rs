//! Gymnasium's environments, against the real packages of the interpreter that `LATCO_PYTHON`
//! names. `.ci/gymnasium` makes one.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use latco_env::process::open;
use latco_env::{
    ChaCha8Rng, EnvError, Environment, Episode, Image, ProcessError, expert_action, record_episode,
    uniform_action,
};
use rand_chacha::rand_core::SeedableRng;
use serde_json::{Value, json};

/// Whether the interpreter has these packages; says so where it has not.
fn packages(names: &str) -> bool {
    let Some(interpreter) = std::env::var_os("LATCO_PYTHON") else {
        println!("SKIPPED: LATCO_PYTHON names no interpreter");
        return false;
    };
    let import = Command::new(interpreter)
        .args(["-c", &format!("import {names}")])
        .output();
    let found = import.is_ok_and(|output| output.status.success());
    if !found {
        println!("SKIPPED: LATCO_PYTHON lacks {names}");
    }
    found
}

fn arguments(value: Value) -> BTreeMap<String, Value> {
    serde_json::from_value(value).unwrap()
}

fn gym(id: &str, value: Value) -> Box<dyn Environment> {
    open(&format!("gym:{id}"), &arguments(value)).unwrap_or_else(|error| panic!("{error}"))
}

fn problem(error: EnvError) -> ProcessError {
    match error {
        EnvError::Process { problem, .. } => *problem,
        other => panic!("{other}"),
    }
}

fn refusal(id: &str, value: Value) -> ProcessError {
    let opened = open(&format!("gym:{id}"), &arguments(value));
    problem(opened.err().expect("it is refused"))
}

const BAD_DAY: &str = "tests.data.bad_days:latco/BadDay-v0";

/// Keeps images where `LATCO_PICTURES` names a folder, to be looked at.
fn keep(name: &str, image: &Image) {
    if let Some(folder) = std::env::var_os("LATCO_PICTURES") {
        let path = PathBuf::from(folder).join(format!("{name}.png"));
        image.save_png(&path).unwrap();
    }
}

/// What every environment promises: seeds decide, and episodes end in time.
fn check_promises(name: &str, environment: &mut dyn Environment, steps: usize) {
    let episode = |environment: &mut dyn Environment, seed| {
        let mut random = ChaCha8Rng::seed_from_u64(seed);
        let first = environment.reset(seed).unwrap();
        let mut episode = Episode::new(&first, environment.action_space());
        for _ in 0..steps {
            let action = uniform_action(&mut random, environment.action_space());
            episode
                .push(&action, &environment.step(&action).unwrap())
                .unwrap();
        }
        episode
    };
    let first = episode(environment, 3);
    let other = episode(environment, 4);
    assert!(first == episode(environment, 3), "{name}: the same seed");
    assert!(first.image(0) != other.image(0), "{name}: another seed");
    assert!(first.image(0) != first.image(steps), "{name}: it moves");
    keep(&format!("{name}-first"), &first.image(0));
    keep(&format!("{name}-other"), &other.image(0));
    keep(&format!("{name}-last"), &first.image(steps));
}

/// Runs collect from seed 2³² on, which Gymnasium's generators of 32 bits must not take for evaluations' seeds.
#[test]
fn seeds_of_training_are_not_those_of_evaluations() {
    if !packages("gymnasium, pygame") {
        return;
    }
    let mut environment = gym("Pendulum-v1", json!({}));
    let mut first = |seed| environment.reset(seed).unwrap();
    let evaluated: Vec<Image> = (0..8).map(&mut first).collect();
    for seed in 0..8 {
        let collected = first((1 << 32) + seed);
        assert!(!evaluated.contains(&collected), "{seed}");
    }
}

#[test]
fn pendulum() {
    if !packages("gymnasium, pygame") {
        return;
    }
    let mut environment = gym("Pendulum-v1", json!({}));
    assert_eq!(environment.name(), "gym:Pendulum-v1");
    assert_eq!(environment.action_space().low(), [-2.0]);
    assert_eq!(environment.action_space().high(), [2.0]);
    let shape = environment.image_shape();
    assert_eq!((shape.height, shape.width, shape.cameras), (64, 64, 1));
    assert_eq!(environment.time_limit(), 200);
    check_promises("pendulum", environment.as_mut(), 20);
    let episode = record_episode(environment.as_mut(), 0, |_| Ok(vec![2.0])).unwrap();
    assert_eq!(episode.len(), 201);
    assert!(episode.total_reward() < -100.0);

    let mut repeated = gym(
        "Pendulum-v1",
        json!({"repeat": 4, "size": 32, "time_limit": 70}),
    );
    assert_eq!(
        (repeated.time_limit(), repeated.image_shape().width),
        (70, 32)
    );
    let long = record_episode(repeated.as_mut(), 0, |_| Ok(vec![2.0])).unwrap();
    assert_eq!(long.len(), 71);
    let four: f32 = episode.rewards()[1..5].iter().sum();
    assert!((long.rewards()[1] - four).abs() < 1e-4);
    assert_eq!(gym("Pendulum-v1", json!({"repeat": 3})).time_limit(), 67);
}

#[test]
fn metaworld_with_two_cameras() {
    if !packages("metaworld") {
        return;
    }
    let value = json!({
        "env_name": "reach-v3",
        "camera": [{}, {"azimuth": 305}],
        "sites": {"goal": {"size": 0.035, "rgba": [0, 1, 0, 1]}},
        "repeat": 2,
        "reward": "success",
    });
    let mut environment = gym("metaworld:Meta-World/MT1", value);
    let shape = environment.image_shape();
    assert_eq!((shape.height, shape.width, shape.cameras), (64, 128, 2));
    assert_eq!(environment.action_space().size(), 4);
    assert_eq!(environment.time_limit(), 250);
    check_promises("metaworld", environment.as_mut(), 30);
    for seed in 0..10 {
        let image = environment.reset(seed).unwrap();
        assert_eq!(
            green(&image),
            [true, true],
            "seed {seed}: both see the goal"
        );
    }
    let episode = record_episode(environment.as_mut(), 0, |_| Ok(vec![0.0; 4])).unwrap();
    assert_eq!(episode.len(), 251);
    assert!(
        episode
            .rewards()
            .iter()
            .all(|&reward| reward == 0.0 || reward == 1.0)
    );

    assert_eq!(environment.reward_range(), Some([0.0, 1.0]));
    let demonstrated = record_episode(environment.as_mut(), 3, expert_action).unwrap();
    assert_eq!(demonstrated.success(), Some(true));
    assert_eq!(demonstrated.cameras(), 2);

    let named = json!({"env_name": "reach-v3", "camera": ["corner", "corner2", "topview"], "time_limit": 600});
    let mut named = gym("metaworld:Meta-World/MT1", named);
    keep("metaworld-named", &named.reset(0).unwrap());
    assert_eq!(named.time_limit(), 600);
    let long = record_episode(named.as_mut(), 0, |_| Ok(vec![0.0; 4])).unwrap();
    assert_eq!(long.len(), 601);
    let plain = gym("metaworld:Meta-World/MT1", json!({"env_name": "reach-v3"}));
    assert_eq!(plain.image_shape().cameras, 1);
    let wrong = json!({"env_name": "reach-v3", "camera": "corner9"});
    let text = refusal("metaworld:Meta-World/MT1", wrong).to_string();
    assert!(
        text.contains("corner9") && text.contains("topview"),
        "{text}"
    );
    for sites in [
        json!({"gaol": {"size": 0.1}}),
        json!({"goal": {"colour": "red"}}),
        json!({"goal": {"rgba": [0, 1]}}),
        json!({"goal": 1}),
        json!("goal"),
        json!(null),
    ] {
        let wrong = json!({"env_name": "reach-v3", "sites": sites});
        let text = refusal("metaworld:Meta-World/MT1", wrong).to_string();
        assert!(text.contains("`sites`"), "{text}");
    }

    let blue = |geoms: Value| json!({"env_name": "push-v3", "geoms": geoms});
    let mut plain = gym("metaworld:Meta-World/MT1", blue(json!({})));
    let mut painted = gym(
        "metaworld:Meta-World/MT1",
        blue(json!({"objGeom": {"rgba": [0, 0, 1, 1]}})),
    );
    assert!(plain.reset(1).unwrap() != painted.reset(1).unwrap());
    for geoms in [
        json!({"puck": {"rgba": [0, 0, 1, 1]}}),
        json!({"objGeom": {"size": 0.1}}),
    ] {
        let text = refusal("metaworld:Meta-World/MT1", blue(geoms)).to_string();
        assert!(text.contains("`geoms`"), "{text}");
    }
}

#[test]
fn episodes_begin_where_the_experts_steps_end() {
    if !packages("metaworld") {
        return;
    }
    let arguments =
        |steps: Value| json!({"env_name": "push-v3", "repeat": 2, "expert_steps": steps});
    let mut led = gym("metaworld:Meta-World/MT1", arguments(json!(12)));
    assert_eq!(led.time_limit(), 250 - 12);
    let mut whole = gym(
        "metaworld:Meta-World/MT1",
        json!({"env_name": "push-v3", "repeat": 2}),
    );
    for seed in [0, 7] {
        let first = led.reset(seed).unwrap();
        let mut image = whole.reset(seed).unwrap();
        assert!(first != image);
        for _ in 0..12 {
            let action = expert_action(whole.as_mut()).unwrap();
            image = whole.step(&action).unwrap().image;
        }
        assert!(first == image, "seed {seed}");
    }
    let episode = record_episode(led.as_mut(), 0, |_| Ok(vec![0.0; 4])).unwrap();
    assert_eq!(episode.len(), 250 - 12 + 1);

    for steps in [json!(0), json!(250), json!("all")] {
        let text = refusal("metaworld:Meta-World/MT1", arguments(steps)).to_string();
        assert!(text.contains("`expert_steps`"), "{text}");
    }
    let text = refusal("Pendulum-v1", json!({"expert_steps": 3})).to_string();
    assert!(text.contains("name one as `expert`"), "{text}");
    let text = refusal("Pendulum-v1", json!({"expert": "nowhere.policy:Expert"})).to_string();
    assert!(text.contains("finds no module `nowhere.policy`"), "{text}");
}

/// Whether each of two cameras sees something green.
fn green(image: &Image) -> [bool; 2] {
    let half = image.width() / 2;
    let sees = |camera: usize| {
        let mut pixels = image.pixels().chunks_exact(3).enumerate();
        pixels.any(|(index, pixel)| {
            index % image.width() / half == camera && pixel[1] > 120 && pixel[0] < 60
        })
    };
    [sees(0), sees(1)]
}

#[test]
fn dm_control_through_shimmy() {
    if !packages("shimmy, dm_control") {
        return;
    }
    let mut environment = gym("shimmy:dm_control/reacher-easy-v0", json!({"repeat": 4}));
    assert!(environment.action_space().is_unit());
    assert_eq!(environment.time_limit(), 250);
    check_promises("reacher", environment.as_mut(), 30);
    let episode = record_episode(environment.as_mut(), 0, |_| Ok(vec![0.5, -0.5])).unwrap();
    assert_eq!(episode.len(), 251);
}

/// Its composer counts seconds: ten of them, unless another limit is asked for.
#[test]
fn time_limits_of_dm_controls_composer() {
    if !packages("shimmy, dm_control") {
        return;
    }
    let id = "shimmy:dm_control/reach_duplo_features-v0";
    assert_eq!(gym(id, json!({"repeat": 25})).time_limit(), 10);
    let mut longer = gym(id, json!({"repeat": 25, "time_limit": 11}));
    let still = vec![0.0; longer.action_space().size()];
    let episode = record_episode(longer.as_mut(), 0, |_| Ok(still.clone())).unwrap();
    assert_eq!(episode.len(), 12);
}

#[test]
fn push_t() {
    if !packages("gym_pusht") {
        return;
    }
    let value = json!({"visualization_width": 96, "visualization_height": 96, "size": 96});
    let mut environment = gym("gym_pusht:gym_pusht/PushT-v0", value);
    assert_eq!(environment.action_space().high(), [512.0, 512.0]);
    assert_eq!(environment.time_limit(), 300);
    check_promises("push-t", environment.as_mut(), 20);
}

#[test]
fn mujoco_of_gymnasium() {
    if !packages("gymnasium.envs.mujoco") {
        return;
    }
    let mut environment = gym("HalfCheetah-v5", json!({"size": 48}));
    assert_eq!(environment.time_limit(), 1000);
    check_promises("cheetah", environment.as_mut(), 20);
    // Its model has a buffer of 480 pixels.
    let mut large = gym("HalfCheetah-v5", json!({"size": 512}));
    assert_eq!(large.reset(0).unwrap().width(), 512);
}

#[test]
fn prints_do_not_disturb_and_success_is_found() {
    if !packages("gymnasium") {
        return;
    }
    let mut environment = gym(BAD_DAY, json!({}));
    assert_eq!(environment.action_space().size(), 6);
    assert_eq!(environment.time_limit(), 10);
    let episode = record_episode(environment.as_mut(), 1, |_| Ok(vec![5.0; 6])).unwrap();
    assert_eq!(episode.len(), 10);
    assert_eq!(episode.discounts()[9], 0.0);
    let solved = |value| {
        let mut environment = gym(BAD_DAY, value);
        environment.reset(0).unwrap();
        let steps = (0..4).map(|_| environment.step(&[0.0; 6]).unwrap());
        steps
            .map(|step| (step.success, step.reward))
            .collect::<Vec<_>>()
    };
    let (no, yes) = ((false, 0.0), (true, 1.0));
    assert_eq!(solved(json!({"reward": "success"})), [no, yes, no, no]);
    let dotted = json!({"reward": "success", "success": "solved.now"});
    assert_eq!(solved(dotted), [no, no, yes, no]);
    let repeated = solved(json!({"success": "solved.now", "repeat": 2}));
    assert_eq!(
        repeated,
        [(false, 2.0), (true, 2.0), (false, 2.0), (false, 2.0)]
    );
    let once = solved(json!({"bad": "tells success once"}));
    assert_eq!(
        once,
        [(false, 1.0), (true, 1.0), (false, 1.0), (false, 1.0)]
    );
    let mut unknown = gym(BAD_DAY, json!({"success": "won"}));
    unknown.reset(0).unwrap();
    let text = unknown.step(&[0.0; 6]).unwrap_err().to_string();
    assert!(text.contains("solved, success"), "{text}");
    for bad in ["grey", "alpha"] {
        let mut environment = gym(BAD_DAY, json!({"bad": bad}));
        assert_eq!(environment.image_shape().grey, bad == "grey");
        environment.reset(u64::MAX).unwrap();
    }
}

#[test]
fn bad_days() {
    if !packages("gymnasium") {
        return;
    }
    for (bad, expected) in [
        ("exception", "ValueError: the simulation became unstable"),
        ("exit", "SystemExit: 5"),
        ("hard exit", "exit code 6"),
        ("segmentation fault", "signal 11"),
        ("NaN", "reward of a step is no finite number"),
        ("other size", "(30, 20, 3)"),
        ("input", "EOFError"),
    ] {
        let mut environment = gym(BAD_DAY, json!({"bad": bad}));
        for _ in 0..2 {
            environment.reset(0).unwrap();
            environment.step(&[0.0; 6]).unwrap();
            let text = environment.step(&[0.0; 6]).unwrap_err().to_string();
            assert!(text.contains(expected), "{bad}: {text}");
            if matches!(bad, "exception" | "segmentation fault" | "input") {
                assert!(text.contains("misbehave"), "where it happened: {text}");
            }
        }
    }
    for bad in ["hang", "locked hang"] {
        let mut environment = gym(BAD_DAY, json!({"bad": bad, "deadline": 2}));
        environment.reset(0).unwrap();
        environment.step(&[0.0; 6]).unwrap();
        let error = environment.step(&[0.0; 6]).unwrap_err();
        let text = error.to_string();
        assert!(
            text.contains("bad_days.py") && text.contains("misbehave"),
            "{text}"
        );
        assert!(matches!(
            problem(error),
            ProcessError::Hung { call: "step", .. }
        ));
        environment.reset(0).unwrap();
    }
}

/// A plan may take longer than an answer.
#[test]
fn a_client_may_think_longer_than_the_deadline() {
    if !packages("gymnasium") {
        return;
    }
    let mut environment = gym(BAD_DAY, json!({"deadline": 1}));
    environment.reset(0).unwrap();
    for _ in 0..3 {
        environment.step(&[0.0; 6]).unwrap();
        std::thread::sleep(Duration::from_millis(2500));
    }
    environment.step(&[0.0; 6]).unwrap();
}

#[test]
fn what_cannot_be_planned_is_refused() {
    if !packages("gymnasium") {
        return;
    }
    let refused = |value| refusal(BAD_DAY, value);
    for space in ["discrete", "multi", "dict", "whole"] {
        let problem = refused(json!({"space": space}));
        assert!(matches!(problem, ProcessError::Actions { .. }));
        assert!(
            problem
                .to_string()
                .contains("planners need continuous actions")
        );
    }
    for space in ["unbounded", "half"] {
        let text = refused(json!({"space": space})).to_string();
        assert!(text.contains("action_low"), "{text}");
    }
    // What lies beyond a bound of the environment's own, it would clip without a word.
    let bounded = json!({"space": "half", "action_low": -1, "action_high": [9, 1]});
    let bounded = gym(BAD_DAY, bounded);
    assert_eq!(bounded.action_space().low(), [0.0, -1.0]);
    assert_eq!(bounded.action_space().high(), [1.0, 1.0]);
    let lists = json!({"space": "unbounded", "action_low": [-1, -2], "action_high": [3, 4]});
    let mut lists = gym(BAD_DAY, lists);
    assert_eq!(lists.action_space().high(), [3.0, 4.0]);
    lists.reset(0).unwrap();
    lists.step(&[9.0, 9.0]).unwrap();

    for bad in ["no rgb", "floats", "no picture"] {
        let problem = refused(json!({"bad": bad}));
        assert!(
            matches!(problem, ProcessError::Picture { .. }),
            "{bad}: {problem}"
        );
    }
    for (key, value) in [
        ("repeat", json!(0)),
        ("time_limit", json!("long")),
        ("reward", json!("dense")),
        ("camera", json!("top")),
        ("action_low", json!([1, 2])),
        ("colour", json!("red")),
        ("render_mode", json!("human")),
    ] {
        let problem = refused(json!({key: value}));
        assert!(
            matches!(problem, ProcessError::Argument { .. }),
            "{key}: {problem}"
        );
        assert!(problem.to_string().contains(key), "{problem}");
    }
    // Not every error of a type is of an argument.
    let problem = refused(json!({"bad": "type error"}));
    assert!(
        matches!(problem, ProcessError::Exception { .. }),
        "{problem}"
    );
    let endless = "tests.data.bad_days:latco/Endless-v0";
    let problem = refusal(endless, json!({}));
    assert!(matches!(problem, ProcessError::TimeLimit { .. }));
    assert_eq!(gym(endless, json!({"time_limit": 30})).time_limit(), 30);

    let text = refusal("Pendulm-v1", json!({})).to_string();
    assert!(text.contains("did you mean `Pendulum-v1`?"), "{text}");
    // A module that anybody may have is no package to be installed by its name.
    let problem = refusal("no_such_module:Thing-v0", json!({}));
    assert!(matches!(problem, ProcessError::Package { .. }));
    let text = problem.to_string();
    assert!(
        text.contains("no module `no_such_module` from ") && !text.contains("pip"),
        "{text}"
    );
    let text = refusal("CartPole-v1", json!({})).to_string();
    assert!(text.contains("Discrete(2)"), "{text}");
}

/// Clients that are killed while their environment is busy, sleeping or holding Python's lock.
#[cfg(target_os = "linux")]
#[test]
fn no_process_outlives_a_killed_client() {
    if !packages("gymnasium") {
        return;
    }
    for bad in ["none", "hang", "locked hang"] {
        let folder = tempfile::tempdir().unwrap();
        let pids = folder.path().join("pids");
        let mut client = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "client_to_be_killed", "--ignored"])
            .env("PIDS", &pids)
            .env("BAD", bad)
            .stdout(std::process::Stdio::null())
            .spawn()
            .unwrap();
        let soon = Instant::now() + Duration::from_secs(20);
        while !pids.exists() {
            assert!(Instant::now() < soon, "it does not start");
            std::thread::sleep(Duration::from_millis(10));
        }
        // The second step comes within this time.
        std::thread::sleep(Duration::from_millis(700));
        client.kill().unwrap();
        client.wait().unwrap();
        let pid = std::fs::read_to_string(&pids).unwrap();
        let status = PathBuf::from(format!("/proc/{}/stat", pid.trim()));
        let until = Instant::now() + Duration::from_secs(20);
        while std::fs::read_to_string(&status).is_ok_and(|status| !status.contains(") Z")) {
            assert!(Instant::now() < until, "{bad}: left behind");
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

#[test]
#[ignore = "a part of no_process_outlives_a_killed_client"]
fn client_to_be_killed() {
    let [pids, bad] = ["PIDS", "BAD"].map(|name| std::env::var(name).unwrap());
    let mut environment = gym(BAD_DAY, json!({"pids": pids, "bad": bad, "deadline": 3}));
    loop {
        environment.reset(0).unwrap();
        while !environment.step(&[0.0; 6]).unwrap().is_last() {}
    }
}
