//! Environments in other processes: the protocol and every bad day, against servers that need
//! nothing but Python.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use latco_env::process::{is_outside, open};
use latco_env::{EnvError, Environment, ProcessError, expert_action, record_episode};
use serde_json::{Value, json};

/// Whether `python3` is here; says so where it is not.
fn python() -> bool {
    let found = Command::new("python3").arg("--version").output().is_ok();
    if !found {
        println!("SKIPPED: there is no python3");
    }
    found
}

fn arguments(value: Value) -> BTreeMap<String, Value> {
    serde_json::from_value(value).unwrap()
}

/// The test server with these arguments.
fn server(value: Value) -> Result<Box<dyn Environment>, EnvError> {
    open("exec:python3 tests/data/server.py", &arguments(value))
}

fn problem(error: EnvError) -> ProcessError {
    match error {
        EnvError::Process { name, problem } => {
            assert!(!name.is_empty());
            *problem
        }
        other => panic!("{other}"),
    }
}

/// The problem that opening ends in.
fn refusal(value: Value) -> ProcessError {
    problem(server(value).err().expect("it is refused"))
}

/// The processes that wrote their ids into a file.
struct Pids(tempfile::TempDir);

impl Pids {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self) -> PathBuf {
        self.0.path().join("pids")
    }

    fn all(&self) -> Vec<i32> {
        let text = std::fs::read_to_string(self.path()).unwrap_or_default();
        text.lines().map(|line| line.parse().unwrap()).collect()
    }

    /// Fails where any of them still runs after a moment.
    #[cfg(target_os = "linux")]
    fn assert_gone(&self) {
        let pids = self.all();
        assert!(!pids.is_empty());
        wait_for_the_end_of(&pids);
    }

    #[cfg(not(target_os = "linux"))]
    fn assert_gone(&self) {}
}

/// Fails where any of them still runs after a moment.
#[cfg(target_os = "linux")]
fn wait_for_the_end_of(pids: &[i32]) {
    let until = Instant::now() + Duration::from_secs(5);
    let running = |pid: &i32| {
        let status = std::fs::read_to_string(format!("/proc/{pid}/stat"));
        status.is_ok_and(|status| !status.contains(") Z"))
    };
    while pids.iter().any(running) {
        assert!(Instant::now() < until, "left behind: {pids:?}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn names_tell_outside_from_inside() {
    assert!(is_outside("gym:Pendulum-v1") && is_outside("exec:./simulator --fast"));
    assert!(!is_outside("reach") && !is_outside("gymnastics"));
}

#[test]
fn a_server_is_an_environment() {
    if !python() {
        return;
    }
    let pids = Pids::new();
    let mut environment = server(json!({"pids": pids.path()})).unwrap();
    assert_eq!(environment.name(), "exec:python3 tests/data/server.py");
    assert_eq!(environment.action_space().low(), [-2.0, 0.0]);
    assert_eq!(environment.action_space().high(), [2.0, 512.0]);
    let shape = environment.image_shape();
    assert_eq!((shape.height, shape.width, shape.grey), (8, 12, false));
    assert_eq!(environment.time_limit(), 5);
    assert!(environment.expert().is_none());
    let over = environment.step(&[0.0, 0.0]).unwrap_err();
    assert_eq!(over, EnvError::EpisodeOver { steps: 0 });
    for seed in [7, 8] {
        let first = environment.reset(seed).unwrap();
        assert_eq!(first.pixels()[..2], [0, seed as u8]);
        for step in 1..=5 {
            let got = environment.step(&[1.5, 3.0]).unwrap();
            assert_eq!(got.image.pixels()[..2], [step, seed as u8]);
            assert_eq!((got.reward, got.success), (4.5, step == 2));
            assert_eq!((got.terminated, got.truncated), (false, step == 5));
        }
        let over = environment.step(&[0.0, 0.0]).unwrap_err();
        assert_eq!(over, EnvError::EpisodeOver { steps: 5 });
    }
    drop(environment);
    assert_eq!(pids.all().len(), 1);
    pids.assert_gone();
}

#[test]
fn actions_are_checked_and_clamped_before_they_are_sent() {
    if !python() {
        return;
    }
    let mut environment = server(json!({})).unwrap();
    environment.reset(0).unwrap();
    assert!(matches!(
        environment.step(&[0.0]),
        Err(EnvError::ActionLength { .. })
    ));
    assert!(matches!(
        environment.step(&[0.0, f32::NAN]),
        Err(EnvError::ActionNotFinite { .. })
    ));
    // Neither was a step.
    let step = environment.step(&[100.0, -100.0]).unwrap();
    assert_eq!((step.reward, step.image.pixels()[0]), (2.0, 1));
}

#[test]
fn an_expert_may_be_outside_too() {
    if !python() {
        return;
    }
    let mut environment = server(json!({"expert": [1.5, 600.0], "reward_range": [-1, 2]})).unwrap();
    assert_eq!(environment.reward_range(), Some([-1.0, 2.0]));
    let over = expert_action(environment.as_mut()).unwrap_err();
    assert_eq!(over, EnvError::EpisodeOver { steps: 0 });
    let episode = record_episode(environment.as_mut(), 1, expert_action).unwrap();
    // Within the bounds, and asking is no step.
    assert_eq!(episode.action(5), [1.5, 512.0]);
    assert_eq!((episode.len(), episode.rewards()[1]), (6, 513.5));

    // It is the expert that errs, not who asks it.
    for (answer, reason) in [
        (json!([1.0]), "4 bytes, expected 8"),
        (json!([1.0, 2.0, 3.0]), "12 bytes, expected 8"),
        (json!([1.0, "nan"]), "entry 1 of the action is NaN"),
    ] {
        let mut wrong = server(json!({"expert": answer})).unwrap();
        wrong.reset(0).unwrap();
        let problem = problem(expert_action(wrong.as_mut()).unwrap_err());
        assert!(matches!(problem, ProcessError::ExpertAction { .. }));
        let text = problem.to_string();
        assert!(text.contains("expert") && text.contains(reason), "{text}");
    }
    let mut none = server(json!({})).unwrap();
    let error = expert_action(none.as_mut()).unwrap_err();
    assert!(matches!(error, EnvError::NoExpert { .. }), "{error}");
}

#[test]
fn terminated_ends_an_episode() {
    if !python() {
        return;
    }
    let mut environment = server(json!({"end": 3})).unwrap();
    let episode = record_episode(environment.as_mut(), 1, |_| Ok(vec![0.0, 0.0])).unwrap();
    assert_eq!(episode.len(), 4);
    assert_eq!(episode.success(), Some(true));
    let mut last = server(json!({"end": 5})).unwrap();
    last.reset(0).unwrap();
    let steps: Vec<_> = (0..5).map(|_| last.step(&[0.0, 0.0]).unwrap()).collect();
    assert!(steps[4].terminated && !steps[4].truncated);
}

#[test]
fn pictures_get_the_size_asked_for_camera_by_camera() {
    if !python() {
        return;
    }
    let asked = json!({"height": 40, "width": 96, "cameras": 2, "size": 16});
    let mut environment = server(asked).unwrap();
    let shape = environment.image_shape();
    assert_eq!((shape.height, shape.width, shape.cameras), (16, 32, 2));
    let image = environment.reset(0).unwrap();
    assert_eq!((image.width(), image.height()), (32, 16));
    // Each camera's columns are of one grey: nothing of one bleeds into the other.
    let row = &image.pixels()[3 * 32 * 8..3 * 32 * 9];
    assert!(row[..48].iter().all(|&value| value == 0));
    assert!(row[48..].iter().all(|&value| value == 40));

    let grey = json!({"channels": 1, "height": 20, "width": 20, "size": 30});
    let mut environment = server(grey).unwrap();
    assert!(environment.image_shape().grey);
    assert_eq!(environment.reset(0).unwrap().pixels().len(), 30 * 30 * 3);

    let as_it_comes = server(json!({"channels": 1, "height": 20, "width": 24})).unwrap();
    assert_eq!(as_it_comes.image_shape().width, 24);
}

#[test]
fn what_is_announced_is_checked() {
    if !python() {
        return;
    }
    let got = |value| server(value).err().expect("it is refused");
    for value in [
        json!({"channels": 2}),
        json!({"cameras": 5}),
        json!({"cameras": 0}),
        json!({"height": 0}),
        json!({"width": 100_000, "size": 64}),
    ] {
        assert!(matches!(refusal(value), ProcessError::Picture { .. }));
    }
    // Each camera's picture is small enough, but both are no payload.
    let both = json!({"height": 4096, "width": 8192, "cameras": 2, "size": 64});
    let problem = refusal(both);
    assert!(
        matches!(&problem, ProcessError::Picture { reason } if reason.contains("67108864 bytes")),
        "{problem}"
    );
    assert!(matches!(
        got(json!({"width": 1000})),
        EnvError::Shape { .. }
    ));
    assert!(matches!(
        got(json!({"low": [0.0, 1.0], "high": [1.0, 1.0]})),
        EnvError::ActionBounds { .. }
    ));
    let problem = refusal(json!({"low": [0.0, 1e300], "high": [1.0, 2e300]}));
    assert!(
        matches!(&problem, ProcessError::Garbled { reason } if reason.contains("out of range")),
        "{problem}"
    );
    for value in [
        json!({"low": [], "high": []}),
        json!({"low": [0.0], "high": [1.0, 2.0]}),
    ] {
        assert!(matches!(got(value), EnvError::ActionLength { .. }));
    }
    let many = vec![0.0; 5000];
    let problem = refusal(json!({"low": many, "high": many}));
    assert!(matches!(
        problem,
        ProcessError::Argument { .. } | ProcessError::Actions { .. }
    ));
    let problem = refusal(json!({"time_limit": 0}));
    assert!(
        matches!(&problem, ProcessError::Garbled { reason } if reason.contains("`time_limit` is 0"))
    );
    assert!(!problem.to_string().contains("--env-arg"), "{problem}");
    let problem = refusal(json!({"time_limit": -3}));
    assert!(matches!(problem, ProcessError::Garbled { .. }));
    let problem = refusal(json!({"protocol": 2}));
    assert_eq!(
        problem,
        ProcessError::Version {
            got: 2,
            expected: 1
        }
    );
    assert!(problem.to_string().contains("docs/environments.md"));
}

#[test]
fn arguments_and_commands_are_checked() {
    for (key, value) in [
        ("deadline", json!(0)),
        ("deadline", json!("soon")),
        ("start_deadline", json!(1e30)),
        ("size", json!(0)),
        ("size", json!(513)),
        ("size", json!("large")),
        ("note", json!("x".repeat(40_000))),
    ] {
        let problem = refusal(json!({key: value}));
        assert!(matches!(problem, ProcessError::Argument { .. }), "{key}");
        assert!(problem.to_string().contains("arguments"), "{problem}");
    }
    let long = refusal(json!({"deadline": 100_000})).to_string();
    assert!(long.contains("at most 86400"), "{long}");
    let refused = |name| problem(open(name, &BTreeMap::new()).err().unwrap());
    for name in ["exec:", "exec:python3 'half", "gym:", "reach"] {
        assert!(matches!(refused(name), ProcessError::Argument { .. }));
    }
    let problem = refused("exec:/nowhere/simulator --fast");
    assert!(
        matches!(&problem, ProcessError::Start { program, .. } if program == "/nowhere/simulator")
    );
    assert!(problem.to_string().contains("correct the command"));
}

#[test]
fn bad_days_in_hello() {
    if !python() {
        return;
    }
    let pids = Pids::new();
    let day = |bad: &str| {
        let deadline = if bad == "hang" { 1.0 } else { 60.0 };
        refusal(json!({"bad": bad, "at": "hello", "start_deadline": deadline, "pids": pids.path()}))
    };
    let garbage = day("garbage").to_string();
    assert!(garbage.contains("Hello fr") && garbage.contains("only frames"));
    assert!(matches!(day("huge header"), ProcessError::Garbled { .. }));
    assert!(matches!(day("no JSON"), ProcessError::Garbled { .. }));
    assert!(matches!(day("no reward"), ProcessError::Garbled { .. }));
    let hung = day("hang");
    assert!(matches!(hung, ProcessError::Hung { call: "hello", .. }));
    assert!(hung.to_string().contains("start_deadline"));
    let ended = day("exit");
    assert!(ended.to_string().contains("exit code 3") && ended.to_string().contains("last words"));
    let package = day("package").to_string();
    assert!(
        package.contains("python3 -m pip install \"thing\""),
        "{package}"
    );
    assert!(package.contains("LATCO_PYTHON"));
    let unknown = day("unknown_id").to_string();
    assert!(unknown.contains("did you mean `Thing-v1`?"), "{unknown}");
    assert!(matches!(day("action_space"), ProcessError::Actions { .. }));
    assert!(matches!(day("picture"), ProcessError::Picture { .. }));
    assert!(matches!(day("argument"), ProcessError::Argument { .. }));
    // There is no environment yet that a reset would start anew.
    let exception = day("exception").to_string();
    assert!(
        exception.contains("failed while it started") && !exception.contains("reset"),
        "{exception}"
    );
    let limit = day("time_limit").to_string();
    assert!(limit.contains("--env-arg time_limit="));
    // A kind that this version does not know is no refusal of the protocol.
    assert!(
        matches!(day("bad mood"), ProcessError::Garbled { reason } if reason.contains("so it is"))
    );
    let no_json = day("NaN").to_string();
    assert!(
        no_json.contains("NaN and Infinity are no JSON"),
        "{no_json}"
    );
    pids.assert_gone();
}

/// Every one is a typed error, ends the episode, and the next reset has a fresh process.
#[test]
fn bad_days_in_reset_and_step() {
    if !python() {
        return;
    }
    let pids = Pids::new();
    let mut starts = 0;
    for bad in [
        "garbage",
        "huge header",
        "huge payload",
        "hang",
        "deaf",
        "exit",
        "long stderr",
        "deep crash",
        "question",
        "segmentation fault",
        "half a frame",
        "closed output",
        "small picture",
        "large picture",
        "NaN",
        "NaN elsewhere",
        "infinity",
        "null",
        "huge reward",
        "no JSON",
        "no reward",
        "no id",
        "exception",
        "no trace",
        "bad mood",
        "text for error",
        "no message",
        "argument",
        "flood",
        "twice",
    ] {
        let value = json!({"bad": bad, "deadline": deadline(bad), "pids": pids.path()});
        let mut environment = server(value).unwrap();
        starts += 1 + usize::from(bad == "deaf");
        for attempt in 0..2 {
            environment.reset(3).unwrap();
            environment.step(&[0.0, 0.0]).unwrap();
            let mut got = environment.step(&[0.0, 0.0]);
            if matches!(bad, "twice" | "flood") {
                // The answer is right; the next is not to another request.
                got.unwrap();
                got = environment.step(&[0.0, 0.0]);
            }
            let problem = problem(got.expect_err(bad));
            check(bad, &problem);
            let over = environment.step(&[0.0, 0.0]).unwrap_err();
            assert!(matches!(over, EnvError::EpisodeOver { .. }));
            starts += if attempt == 0 {
                1 + usize::from(bad == "deaf")
            } else {
                0
            };
        }
        drop(environment);
    }
    assert_eq!(pids.all().len(), starts);
    pids.assert_gone();

    for bad in [
        "hang",
        "exit",
        "small picture",
        "exception",
        "garbage",
        "bad mood",
        "text for error",
        "no message",
    ] {
        let value = json!({"bad": bad, "at": "reset", "deadline": deadline(bad)});
        let mut environment = server(value).unwrap();
        for _ in 0..2 {
            check(bad, &problem(environment.reset(0).expect_err(bad)));
        }
    }
    for bad in ["exception", "text for error"] {
        let value = json!({"bad": bad, "at": "expert", "expert": [0.0, 0.0]});
        let mut environment = server(value).unwrap();
        environment.reset(0).unwrap();
        let error = expert_action(environment.as_mut()).expect_err(bad);
        check(bad, &problem(error));
    }
}

/// Short for what hangs; a busy machine makes nothing else late.
fn deadline(bad: &str) -> f64 {
    match bad {
        "hang" | "deaf" | "question" => 1.0,
        _ => 60.0,
    }
}

fn check(bad: &str, problem: &ProcessError) {
    let text = problem.to_string();
    let expected = match bad {
        "garbage" | "huge header" | "huge payload" | "no JSON" | "no reward" | "no id"
        | "twice" | "flood" => {
            matches!(problem, ProcessError::Garbled { .. })
        }
        "hang" | "deaf" => {
            matches!(problem, ProcessError::Hung { .. }) && text.contains("deadline=")
        }
        "exit" => text.contains("exit code 3") && text.contains("last words"),
        "long stderr" => {
            text.contains("exit code 4")
                && text.contains("line 19999")
                && text.contains("no newline")
                && text.len() < 8000
        }
        "deep crash" => {
            text.contains("Fatal Python error")
                && text.contains("line 0 in recurse")
                && text.contains("line 9 in recurse")
                && !text.contains("line 59 in recurse")
                && text.contains("Extension modules")
        }
        "question" => {
            matches!(problem, ProcessError::Hung { .. }) && text.contains("a license key, please")
        }
        "segmentation fault" => text.contains("signal 11"),
        "half a frame" => text.contains("exit code 0"),
        "closed output" => text.contains("closed its output"),
        "small picture" | "large picture" => matches!(problem, ProcessError::PictureSize { .. }),
        "NaN" | "infinity" | "null" | "huge reward" => *problem == ProcessError::RewardNotFinite,
        "NaN elsewhere" => {
            matches!(problem, ProcessError::Garbled { .. })
                && text.contains("NaN and Infinity are no JSON")
        }
        "exception" => {
            text.contains("so it is")
                && text.contains("line 99")
                && !text.contains("line 80")
                && text.len() < 2000
        }
        "no trace" => {
            matches!(problem, ProcessError::Exception { .. }) && text.contains("so it is")
        }
        "bad mood" => matches!(problem, ProcessError::Garbled { .. }) && text.contains("so it is"),
        "text for error" => {
            matches!(problem, ProcessError::Garbled { .. }) && text.contains("the arm is off")
        }
        "no message" => {
            matches!(problem, ProcessError::Garbled { .. }) && text.contains("`message`")
        }
        "argument" => matches!(problem, ProcessError::Argument { .. }),
        _ => panic!("{bad}"),
    };
    assert!(expected, "{bad}: {problem:?}");
}

#[cfg(unix)]
#[test]
fn a_process_that_ended_between_episodes_is_started_again() {
    if !python() {
        return;
    }
    let pids = Pids::new();
    let mut environment = server(json!({"pids": pids.path()})).unwrap();
    environment.reset(0).unwrap();
    kill(pids.all()[0]);
    pids.assert_gone();
    assert_eq!(environment.reset(9).unwrap().pixels()[1], 9);
    assert_eq!(pids.all().len(), 2);
}

/// What it left behind holds the port that the next one listens at, say.
#[cfg(target_os = "linux")]
#[test]
fn nothing_is_left_of_a_process_when_the_next_starts() {
    if !python() {
        return;
    }
    let pids = Pids::new();
    let mut environment = server(json!({"pids": pids.path(), "alone": true})).unwrap();
    environment.reset(0).unwrap();
    let server = pids.all()[0];
    kill(server);
    wait_for_the_end_of(&[server]);
    environment.reset(0).unwrap();
    assert_eq!(pids.all().len(), 4);
    drop(environment);
    pids.assert_gone();
}

#[test]
fn a_process_that_is_started_again_is_the_same_environment() {
    if !python() {
        return;
    }
    let pids = Pids::new();
    let value = json!({"pids": pids.path(), "longer": 3, "bad": "exit"});
    let mut environment = server(value).unwrap();
    environment.reset(0).unwrap();
    environment.step(&[0.0, 0.0]).unwrap();
    environment.step(&[0.0, 0.0]).unwrap_err();
    let problem = problem(environment.reset(0).unwrap_err());
    let changed = ProcessError::Changed {
        field: "time_limit",
    };
    assert_eq!(problem, changed);
    assert!(!problem.to_string().contains("standard output"));
}

#[cfg(unix)]
fn kill(pid: i32) {
    let pid = rustix::process::Pid::from_raw(pid).unwrap();
    let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
}

#[cfg(unix)]
#[test]
fn fifty_kills_at_random_moments() {
    if !python() {
        return;
    }
    let pids = Pids::new();
    let value = json!({"pids": pids.path(), "time_limit": 1_000_000, "height": 64, "width": 64});
    let mut environment = server(value).unwrap();
    for round in 1..=50_u64 {
        environment.reset(round).unwrap();
        let pid = *pids.all().last().unwrap();
        let moment = Duration::from_micros(round * 7919 % 20_000);
        let killer = std::thread::spawn(move || {
            std::thread::sleep(moment);
            kill(pid);
        });
        let problem = loop {
            if let Err(error) = environment.step(&[1.0, 1.0]) {
                break problem(error);
            }
        };
        killer.join().unwrap();
        assert!(
            matches!(&problem, ProcessError::Ended { status, .. } if status.contains("signal 9")),
            "{problem:?}"
        );
        assert!(problem.to_string().contains("the next reset"));
    }
    environment.reset(0).unwrap();
    environment.step(&[0.0, 0.0]).unwrap();
    drop(environment);
    assert_eq!(pids.all().len(), 51);
    pids.assert_gone();
}

#[test]
fn twenty_hangs_do_not_hang_us() {
    if !python() {
        return;
    }
    let pids = Pids::new();
    let value = json!({"bad": "deaf", "deadline": 0.5, "pids": pids.path()});
    let mut environment = server(value).unwrap();
    let start = Instant::now();
    for _ in 0..20 {
        environment.reset(0).unwrap();
        environment.step(&[0.0, 0.0]).unwrap();
        let problem = problem(environment.step(&[0.0, 0.0]).unwrap_err());
        assert!(matches!(problem, ProcessError::Hung { seconds: 0.5, .. }));
    }
    drop(environment);
    assert!(start.elapsed() < Duration::from_secs(60));
    assert_eq!(pids.all().len(), 40);
    pids.assert_gone();
}

/// One that hangs when it is dropped, in the middle of nothing, delays nobody.
#[test]
fn a_drop_does_not_wait_for_a_process_that_does_not_end() {
    if !python() {
        return;
    }
    let pids = Pids::new();
    let deaf = "import os,signal,sys; exec(open('tests/data/server.py').read().replace('sys.exit()', 'hang()').replace('break', 'hang()'))";
    let name = format!("exec:python3 -c \"{deaf}\"");
    let mut environment = open(&name, &arguments(json!({"pids": pids.path()}))).unwrap();
    environment.reset(0).unwrap();
    let start = Instant::now();
    drop(environment);
    assert!(start.elapsed() < Duration::from_secs(2));
    pids.assert_gone();
}

/// The client is killed; its server ends because its standard input does.
#[test]
fn no_process_outlives_a_killed_client() {
    if !python() {
        return;
    }
    let pids = Pids::new();
    let mut client = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "client_to_be_killed", "--ignored"])
        .env("PIDS", pids.path())
        .stdout(std::process::Stdio::null())
        .spawn()
        .unwrap();
    let until = Instant::now() + Duration::from_secs(20);
    while pids.all().is_empty() {
        assert!(Instant::now() < until, "it does not start");
        std::thread::sleep(Duration::from_millis(5));
    }
    client.kill().unwrap();
    client.wait().unwrap();
    pids.assert_gone();
}

#[test]
#[ignore = "a part of no_process_outlives_a_killed_client"]
fn client_to_be_killed() {
    let pids = std::env::var("PIDS").unwrap();
    let mut environment = server(json!({"pids": pids, "time_limit": 1_000_000_000})).unwrap();
    environment.reset(0).unwrap();
    loop {
        environment.step(&[0.0, 0.0]).unwrap();
    }
}

/// The server of docs/environments.md, as it stands there.
#[test]
fn the_server_of_the_documentation_works() {
    if !python() {
        return;
    }
    let docs = Path::new("../../docs/environments.md");
    let docs = std::fs::read_to_string(docs).unwrap();
    let start = docs.find("# point.py").unwrap();
    let source = &docs[start..start + docs[start..].find("```").unwrap()];
    assert!(source.lines().count() <= 40);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("point.py");
    std::fs::write(&path, source).unwrap();
    let name = format!("exec:python3 '{}'", path.display());
    let mut environment = open(&name, &BTreeMap::new()).unwrap();
    let goal = |environment: &mut dyn Environment| {
        let size = environment.action_space().size();
        Ok(vec![0.0; size])
    };
    let first = record_episode(environment.as_mut(), 4, goal).unwrap();
    let again = record_episode(environment.as_mut(), 4, goal).unwrap();
    let other = record_episode(environment.as_mut(), 5, goal).unwrap();
    assert_eq!(first, again);
    assert_ne!(first, other);
    assert_eq!(first.len(), environment.time_limit() + 1);
}
