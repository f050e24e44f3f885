//! Training runs: interrupted anywhere, they end as if they had not been.

#[path = "../../../tests/common"]
mod common {
    pub mod parameters;
    pub mod worlds;
}

use std::{collections::BTreeMap, fs, path::Path, sync::Arc};

use burn::tensor::Device;
use common::{parameters::parameters, worlds::tiny_config};
use latco_agent::{
    Actor, Agent, AgentConfig, DriftingPolicy, EpisodeRunError, Evaluation, PlanSummary, Progress,
    RunConfig, RunError, RunFolder, Source, TrainingRun, evaluate, evaluate_examined, run_episode,
};
use latco_env::{
    ActionSpace, EnvError, EnvOptions, Environment, Episode, EpisodeFolder, Image, ImageShape,
    Recorded, Step, make,
};
use latco_model::{RewardKind, WorldModel};
use tempfile::TempDir;

/// Twelve steps with two episodes of the planner in between, on tiny images.
fn config() -> RunConfig {
    let mut config = RunConfig::small(reach().as_ref());
    config.steps = 12;
    config.model = tiny_config(6);
    config.env_options.image_size = config.model.image_size;
    config.replay.batch = 2;
    config.replay.length = 4;
    config.collect.prefill = 2;
    config.collect.warm_up = 3;
    config.collect.every = 4;
    config.collect.planner = vec!["random".to_owned()];
    config
}

fn reach() -> Box<dyn Environment> {
    let options = EnvOptions {
        image_size: 32,
        ..EnvOptions::default()
    };
    make("reach", &options).unwrap()
}

fn create(config: RunConfig, root: &Path) -> Result<TrainingRun, RunError> {
    TrainingRun::new(reach(), config, RunFolder::new(root), &Device::default())
}

fn resume(root: &Path) -> Result<TrainingRun, RunError> {
    TrainingRun::resume(reach(), RunFolder::new(root), &Device::default())
}

/// Advances until the run is finished, and saves.
fn finish(mut run: TrainingRun) -> Vec<Progress> {
    let mut seen = Vec::new();
    while !run.is_finished() {
        seen.push(run.advance().unwrap());
    }
    run.save().unwrap();
    seen
}

/// What a run leaves behind, wall times left out.
struct Left {
    weights: Vec<f32>,
    metrics: Vec<serde_json::Value>,
    episodes: BTreeMap<String, Vec<u8>>,
}

impl Left {
    fn by(root: &Path) -> Self {
        let folder = RunFolder::new(root);
        let metrics = fs::read_to_string(folder.metrics()).unwrap();
        let episodes = fs::read_dir(folder.episodes()).unwrap().map(|entry| {
            let entry = entry.unwrap();
            let name = entry.file_name().into_string().unwrap();
            (name, fs::read(entry.path()).unwrap())
        });
        let model = WorldModel::load(&folder.checkpoint(), &Device::default()).unwrap();
        Self {
            weights: parameters(&model),
            metrics: metrics.lines().map(without_seconds).collect(),
            episodes: episodes.collect(),
        }
    }

    /// Fails where anything differs, without printing the bytes. The order of a checkpoint's
    /// metadata is not determined, so that its weights are compared.
    fn assert_same(&self, expected: &Self, when: &str) {
        assert_eq!(self.metrics, expected.metrics, "metrics, {when}");
        let names = |left: &Self| left.episodes.keys().cloned().collect::<Vec<_>>();
        assert_eq!(names(self), names(expected), "episodes, {when}");
        assert!(self.episodes == expected.episodes, "episodes, {when}");
        assert!(self.weights == expected.weights, "weights, {when}");
    }
}

fn without_seconds(line: &str) -> serde_json::Value {
    let mut metric: serde_json::Value = serde_json::from_str(line).unwrap();
    let seconds = metric.as_object_mut().unwrap().remove("seconds");
    assert!(seconds.unwrap().as_f64().unwrap() >= 0.0);
    metric
}

/// A finished run, and the number of its advances.
fn uninterrupted(config: RunConfig) -> (Left, usize) {
    let folder = tempfile::tempdir().unwrap();
    let seen = finish(create(config, folder.path()).unwrap());
    (Left::by(folder.path()), seen.len())
}

/// The same run, broken off after so many advances, with or without saving, and resumed.
fn interrupted(config: RunConfig, advances: usize, save: bool) -> Left {
    let folder = tempfile::tempdir().unwrap();
    let mut run = create(config, folder.path()).unwrap();
    for _ in 0..advances {
        run.advance().unwrap();
    }
    if save {
        run.save().unwrap();
    }
    drop(run);
    finish(resume(folder.path()).unwrap());
    Left::by(folder.path())
}

#[test]
fn a_run_does_what_its_settings_say() {
    let folder = tempfile::tempdir().unwrap();
    let seen = finish(create(config(), folder.path()).unwrap());
    let kinds: String = seen
        .iter()
        .map(|progress| match progress {
            Progress::Episode { actor, .. } => match actor {
                Actor::Random => 'r',
                Actor::Expert => 'e',
                Actor::Planner => 'p',
            },
            Progress::Step { .. } => 's',
        })
        .collect();
    assert_eq!(kinds, "rrsssssssp".to_owned() + "ssssps");
    let left = Left::by(folder.path());
    assert_eq!(left.episodes.len(), 4);
    let kinds: Vec<_> = left.metrics.iter().map(|metric| &metric["kind"]).collect();
    assert_eq!(kinds, ["episode", "episode", "episode", "train", "episode"]);
}

/// Who acted in each episode of a run, and how its metrics label it.
fn actors(config: RunConfig) -> (Vec<Actor>, Vec<(bool, bool)>) {
    let folder = tempfile::tempdir().unwrap();
    let seen = finish(create(config, folder.path()).unwrap());
    let actors = seen.iter().filter_map(|progress| match progress {
        Progress::Episode { actor, .. } => Some(*actor),
        Progress::Step { .. } => None,
    });
    let metrics = Left::by(folder.path()).metrics;
    let labels = metrics.iter().filter(|metric| metric["kind"] == "episode");
    let flag = |metric: &serde_json::Value, name: &str| metric[name].as_bool().unwrap();
    let labels = labels.map(|metric| (flag(metric, "planned"), flag(metric, "demonstration")));
    (actors.collect(), labels.collect())
}

#[test]
fn demonstrations_follow_the_random_episodes_and_are_labelled() {
    let mut config = config();
    config.collect.demonstrations = 3;
    let (acted, labels) = actors(config.clone());
    use Actor::{Expert, Planner, Random};
    assert_eq!(
        acted,
        [Random, Random, Expert, Expert, Expert, Planner, Planner]
    );
    let expected = acted
        .iter()
        .map(|&actor| (actor == Planner, actor == Expert));
    assert_eq!(labels, expected.collect::<Vec<_>>());
    config.collect.prefill = 0;
    config.collect.demonstrations = 1;
    assert_eq!(actors(config.clone()).0, [Expert, Planner, Planner]);
    config.collect.demonstrations = 0;
    assert_eq!(actors(config).0, [Random, Planner, Planner]);
}

#[test]
fn a_run_interrupted_among_its_demonstrations_ends_as_if_it_had_not_been() {
    let mut config = config();
    config.collect.demonstrations = 2;
    let (expected, _) = uninterrupted(config.clone());
    for count in [0, 1, 3, 5] {
        let when = format!("after {count} advances");
        interrupted(config.clone(), count, true).assert_same(&expected, &when);
    }
}

#[test]
fn a_run_interrupted_anywhere_ends_as_if_it_had_not_been() {
    let (expected, advances) = uninterrupted(config());
    for count in 0..=advances {
        for save in [false, true] {
            let when = format!("after {count} advances, saved: {save}");
            interrupted(config(), count, save).assert_same(&expected, &when);
        }
    }
}

/// The plans of a planner that looks at the model depend on the weights to the bit.
#[test]
fn a_run_with_a_planner_goes_on_bit_for_bit() {
    let mut config = config();
    config.collect.planner = vec!["cem".to_owned()];
    let (expected, advances) = uninterrupted(config.clone());
    let when = "before its last episode";
    interrupted(config, advances - 3, true).assert_same(&expected, when);
}

/// Who planned each episode of the planner, and what its line says of promises.
#[test]
fn planners_take_turns_and_tell_what_they_promised() {
    let mut config = config();
    config.steps = 20;
    config.collect.planner = ["cem", "random"].map(str::to_owned).to_vec();
    let (expected, advances) = uninterrupted(config.clone());
    let planned: Vec<_> = (expected.metrics.iter())
        .filter(|metric| metric["planned"] == true)
        .collect();
    let planners: Vec<_> = planned.iter().map(|metric| &metric["planner"]).collect();
    assert_eq!(planners, ["cem", "random", "cem", "random"]);
    for metric in &planned {
        let [promised, rolled_out] = ["promised", "rolled_out"].map(|key| metric[key].as_f64());
        // Shooting methods plan along the rollout. An episode has 30 steps, none of which pays more than 1.
        assert!((0.0..=30.0).contains(&promised.unwrap()), "{metric}");
        assert!(
            (promised.unwrap() - rolled_out.unwrap()).abs() < 1e-3,
            "{metric}"
        );
    }
    let others = expected
        .metrics
        .iter()
        .filter(|metric| metric["planned"] == false);
    assert!(others.clone().count() > 0);
    for metric in others {
        assert!(metric.get("promised").is_none() && metric.get("planner").is_none());
    }
    let when = "before an episode of the second planner";
    interrupted(config, advances - 8, true).assert_same(&expected, when);
}

/// After the milestone a step is as small as if the run had begun with that step size.
#[test]
fn the_step_size_falls_at_a_milestone_wherever_the_run_is_interrupted() {
    let mut config = config();
    config.trainer.milestones = vec![6];
    config.trainer.decay = 1e-9;
    let (expected, advances) = uninterrupted(config.clone());
    for count in [4, advances - 4, advances - 1] {
        let when = format!("after {count} advances");
        interrupted(config.clone(), count, true).assert_same(&expected, &when);
    }
    // From there on next to nothing is learnt.
    let mut stopped = config.clone();
    stopped.steps = 6;
    let (before, _) = uninterrupted(stopped);
    let moved = |(one, other): (&f32, &f32)| (one - other).abs();
    let farthest = |to: &Left| {
        before
            .weights
            .iter()
            .zip(&to.weights)
            .map(moved)
            .fold(0.0, f32::max)
    };
    assert!(farthest(&expected) < 1e-6);
    config.trainer.milestones.clear();
    assert!(farthest(&uninterrupted(config).0) > 1e-4);
}

#[test]
fn a_resumed_run_loses_nothing_that_was_saved() {
    let folder = tempfile::tempdir().unwrap();
    let mut run = create(config(), folder.path()).unwrap();
    for _ in 0..5 {
        run.advance().unwrap();
    }
    run.save().unwrap();
    let step = run.step();
    drop(run);
    assert_eq!(resume(folder.path()).unwrap().step(), step);
}

/// The number of environments decides when episodes come.
#[test]
fn a_run_is_resumed_with_as_many_environments() {
    let folder = tempfile::tempdir().unwrap();
    let both = || Source::Environments(vec![reach(), reach()]);
    let path = RunFolder::new(folder.path());
    let device = Device::default();
    let mut run = TrainingRun::new(both(), config(), path.clone(), &device).unwrap();
    run.save().unwrap();
    drop(run);
    let noted = path.read_config().unwrap().collect.environments;
    assert_eq!(noted, 2);
    let error = resume(folder.path()).err().unwrap();
    let numbers = match error {
        RunError::Environments { found, expected } => (found, expected),
        other => panic!("{other}"),
    };
    assert_eq!(numbers, (1, 2));
    TrainingRun::resume(both(), path, &device).unwrap();
}

/// An environment does not go on with a run on recordings, nor recordings with one in an environment.
#[test]
fn a_run_is_resumed_with_the_kind_of_source_that_it_began_with() {
    let online = saved_run(config());
    let root = RunFolder::new(online.path());
    let error = TrainingRun::resume(Source::Recordings, root, &Device::default()).err();
    let message = error.unwrap().to_string();
    assert!(message.contains("`env` is `reach`"), "{message}");

    let home = tempfile::tempdir().unwrap();
    let source = Source::Recorded(recordings(&home.path().join("recordings")));
    let root = RunFolder::new(home.path().join("run"));
    let offline = TrainingRun::new(source, offline_config(100_000), root, &Device::default());
    drop(offline.unwrap());
    let error = resume(&home.path().join("run")).err();
    let message = error.unwrap().to_string();
    assert!(
        message.contains("`env` is ``") && message.contains("one is given"),
        "{message}"
    );
}

/// What a run was broken off with before it could be resumed is no part of the next one.
#[test]
fn a_new_run_forgets_the_state_of_one_that_did_not_begin() {
    let other = saved_run(config());
    let folder = tempfile::tempdir().unwrap();
    let path = RunFolder::new(folder.path());
    let left = RunFolder::new(other.path());
    fs::copy(left.state(), path.state()).unwrap();
    fs::copy(left.checkpoint(), path.checkpoint()).unwrap();
    drop(create(config(), folder.path()).unwrap());
    assert_eq!(resume(folder.path()).unwrap().step(), 0);
}

#[test]
fn a_folder_belongs_to_one_run_at_a_time() {
    let folder = tempfile::tempdir().unwrap();
    let run = create(config(), folder.path()).unwrap();
    let error = resume(folder.path()).err().unwrap();
    assert!(matches!(error, RunError::Locked { .. }), "{error}");
    drop(run);
    drop(resume(folder.path()).unwrap());
    let error = create(config(), folder.path()).err().unwrap();
    assert!(matches!(error, RunError::Exists { .. }), "{error}");
}

/// `reach`, in whose run's folder another process begins a run as soon as this one looks at it.
struct Contested {
    inner: Box<dyn Environment>,
    folder: RunFolder,
}

impl Environment for Contested {
    fn name(&self) -> &str {
        self.inner.name()
    }

    fn action_space(&self) -> &ActionSpace {
        self.inner.action_space()
    }

    fn image_shape(&self) -> ImageShape {
        fs::write(self.folder.config(), "of another process").unwrap();
        self.inner.image_shape()
    }

    fn time_limit(&self) -> usize {
        self.inner.time_limit()
    }

    fn reset(&mut self, seed: u64) -> Result<Image, EnvError> {
        self.inner.reset(seed)
    }

    fn step(&mut self, action: &[f32]) -> Result<Step, EnvError> {
        self.inner.step(action)
    }
}

#[test]
fn a_run_that_another_process_has_just_begun_is_left_alone() {
    let home = tempfile::tempdir().unwrap();
    let folder = RunFolder::new(home.path());
    let environment: Box<dyn Environment> = Box::new(Contested {
        inner: reach(),
        folder: folder.clone(),
    });
    let run = TrainingRun::new(environment, config(), folder.clone(), &Device::default());
    let error = run.err().unwrap();
    assert!(matches!(error, RunError::Exists { .. }), "{error}");
    let left = fs::read_to_string(folder.config()).unwrap();
    assert_eq!(left, "of another process");
}

#[test]
fn a_new_run_writes_over_nothing() {
    let home = tempfile::tempdir().unwrap();
    let (root, device) = (RunFolder::new(home.path()), Device::default());
    let recordings = recordings(&root.episodes());
    let first = root.episodes().join("episode-000000.npz");
    let before = fs::read(&first).unwrap();
    let sources = [
        Source::from(reach()),
        Source::Mixed(recordings, vec![reach()]),
    ];
    for source in sources {
        let run = TrainingRun::new(source, config(), root.clone(), &device);
        let error = run.err().unwrap();
        assert!(matches!(error, RunError::Occupied { .. }), "{error}");
        assert!(error.to_string().contains("episode-000000.npz"), "{error}");
    }
    assert!(fs::read(&first).unwrap() == before);
    assert!(!root.lock().exists());
    // They are what a run on recordings learns from.
    let offline = || {
        let config = offline_config(100_000);
        TrainingRun::new(Source::Recordings, config, root.clone(), &device)
    };
    fs::write(root.metrics(), "{}\n").unwrap();
    let error = offline().err().unwrap();
    assert!(error.to_string().contains("metrics.jsonl"), "{error}");
    fs::remove_file(root.metrics()).unwrap();
    fs::write(root.checkpoint(), "weights of another").unwrap();
    let message = offline().err().unwrap().to_string();
    assert!(message.contains("checkpoint.safetensors"), "{message}");
    fs::remove_file(root.checkpoint()).unwrap();
    drop(offline().unwrap());
}

/// Links to recordings elsewhere, which a broken-off call of the command leaves, are in nobody's way.
#[cfg(unix)]
#[test]
fn links_to_recordings_are_in_no_new_runs_way() {
    let home = tempfile::tempdir().unwrap();
    let elsewhere = home.path().join("elsewhere");
    recordings(&elsewhere);
    let root = RunFolder::new(home.path().join("run"));
    fs::create_dir_all(root.episodes()).unwrap();
    let [recorded, link] =
        [elsewhere, root.episodes()].map(|folder| folder.join("episode-000000.npz"));
    let before = fs::read(&recorded).unwrap();
    std::os::unix::fs::symlink(&recorded, link).unwrap();
    finish(create(config(), root.root()).unwrap());
    assert!(fs::read(&recorded).unwrap() == before);
}

#[test]
fn a_damaged_recording_in_a_runs_folder_is_named() {
    let home = tempfile::tempdir().unwrap();
    let root = RunFolder::new(home.path());
    recordings(&root.episodes());
    fs::write(root.episodes().join("episode-000001.npz"), "damaged").unwrap();
    let config = offline_config(100_000);
    let run = TrainingRun::new(Source::Recordings, config, root, &Device::default());
    let message = run.err().unwrap().to_string();
    assert!(message.contains("episode-000001.npz"), "{message}");
}

#[test]
fn a_folder_without_a_run_is_not_resumed() {
    let folder = tempfile::tempdir().unwrap();
    let error = resume(folder.path()).err().unwrap();
    assert!(matches!(error, RunError::Missing { .. }), "{error}");
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
}

/// A run saved after a few steps, broken off.
fn saved_run(config: RunConfig) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let mut run = create(config, folder.path()).unwrap();
    for _ in 0..4 {
        run.advance().unwrap();
    }
    run.save().unwrap();
    folder
}

/// The error of resuming, which names the file.
fn resume_error(root: &Path, file: &str) -> RunError {
    let error = resume(root).err().expect("a damaged run was resumed");
    let message = error.to_string();
    assert!(message.contains(file), "{message}");
    assert!(!message.contains('\n'), "{message}");
    error
}

#[test]
fn a_damaged_state_is_named() {
    let folder = saved_run(config());
    let path = RunFolder::new(folder.path()).state();
    let bytes = fs::read(&path).unwrap();
    let middle = bytes.len() / 2;
    let mut holed = bytes.clone();
    holed[200..middle].fill(0xff);
    let damaged: [&[u8]; 6] = [
        &[],
        &bytes[..1],
        &bytes[..middle],
        &bytes[..bytes.len() - 1],
        b"not a training state",
        &holed,
    ];
    for damaged in damaged {
        fs::write(&path, damaged).unwrap();
        resume_error(folder.path(), "training.state");
    }
    fs::write(&path, &bytes).unwrap();
    drop(resume(folder.path()).unwrap());
}

/// Nothing tells weights from damaged weights, but what describes them is checked.
#[test]
fn a_hole_anywhere_near_the_start_of_the_state_is_no_panic() {
    let folder = saved_run(config());
    let path = RunFolder::new(folder.path()).state();
    let bytes = fs::read(&path).unwrap();
    let mut refused = 0;
    for start in (0..1200).step_by(40) {
        let mut holed = bytes.clone();
        holed[start..start + 40].fill(0xff);
        fs::write(&path, &holed).unwrap();
        if let Err(error) = resume(folder.path()) {
            let message = error.to_string();
            assert!(message.contains("training.state"), "{message}");
            refused += 1;
        }
    }
    assert!(refused > 0);
}

#[test]
fn a_state_of_other_sizes_is_named() {
    let folder = saved_run(config());
    let mut larger = config();
    larger.model = tiny_config(9);
    let other = saved_run(larger);
    fs::copy(
        RunFolder::new(other.path()).state(),
        RunFolder::new(folder.path()).state(),
    )
    .unwrap();
    resume_error(folder.path(), "training.state");
}

#[test]
fn a_state_of_a_later_version_is_told_from_a_damaged_one() {
    let folder = saved_run(config());
    fs::write(RunFolder::new(folder.path()).state(), "latco.state.3\n…").unwrap();
    let error = resume_error(folder.path(), "training.state");
    assert!(matches!(error, RunError::LaterState { .. }), "{error}");
}

/// Also numbers of 17 digits, which not every reader of JSON gets right in the last.
#[test]
fn sizes_are_compared_as_they_were_given() {
    let mut config = config();
    config.model.reward_range = [0.0, 51.248_178_375_505_404];
    let folder = saved_run(config);
    drop(resume(folder.path()).unwrap());
}

fn model(config: &RunConfig, seed: u64) -> WorldModel {
    WorldModel::new(config.model.clone(), seed, &Device::default()).unwrap()
}

fn create_from(model: WorldModel, config: RunConfig, root: &Path) -> Result<TrainingRun, RunError> {
    TrainingRun::from_model(
        model,
        reach(),
        config,
        RunFolder::new(root),
        &Device::default(),
    )
}

#[test]
fn a_run_from_given_weights_keeps_them_when_interrupted_before_its_first_step() {
    let given = model(&config(), 77);
    let folder = tempfile::tempdir().unwrap();
    let run = create_from(given.clone(), config(), folder.path()).unwrap();
    assert!(parameters(&run.model()) == parameters(&given));
    drop(run);
    let resumed = resume(folder.path()).unwrap();
    assert_eq!(resumed.step(), 0);
    assert!(parameters(&resumed.model()) == parameters(&given));
    finish(resumed);

    let whole = tempfile::tempdir().unwrap();
    finish(create_from(given, config(), whole.path()).unwrap());
    Left::by(folder.path()).assert_same(&Left::by(whole.path()), "from given weights");
}

#[test]
fn a_run_from_a_model_of_other_sizes_is_refused_and_leaves_nothing_behind() {
    let mut larger = config();
    larger.model = tiny_config(9);
    let folder = tempfile::tempdir().unwrap();
    let error = create_from(model(&larger, 0), config(), folder.path())
        .map(drop)
        .unwrap_err();
    assert!(matches!(error, RunError::OtherSizes { .. }), "{error}");
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
}

#[test]
fn a_damaged_configuration_is_named() {
    let folder = saved_run(config());
    let damaged = "env = \"reach\"\nseed = 0\nsteps = \"many\"\n";
    fs::write(RunFolder::new(folder.path()).config(), damaged).unwrap();
    let error = resume_error(folder.path(), "config.toml");
    assert!(matches!(error, RunError::Damaged { .. }), "{error}");
    assert!(error.to_string().contains("line 3: "), "{error}");
}

#[test]
fn a_missing_episode_is_named() {
    let folder = saved_run(config());
    let episodes = RunFolder::new(folder.path()).episodes();
    let first = fs::read_dir(episodes).unwrap().next().unwrap().unwrap();
    fs::remove_file(first.path()).unwrap();
    let name = first.file_name().into_string().unwrap();
    let error = resume_error(folder.path(), &name);
    assert!(matches!(error, RunError::EpisodeFile(_)), "{error}");
}

#[test]
fn metrics_that_were_lost_are_not_made_up() {
    for keep in [0, 1] {
        let folder = saved_run(config());
        let metrics = RunFolder::new(folder.path()).metrics();
        let text = fs::read_to_string(&metrics).unwrap();
        let kept: String = text
            .lines()
            .take(keep)
            .map(|line| format!("{line}\n"))
            .collect();
        match keep {
            0 => fs::remove_file(&metrics).unwrap(),
            _ => fs::write(&metrics, &kept).unwrap(),
        }
        let mut run = resume(folder.path()).unwrap();
        run.save().unwrap();
        drop(run);
        finish(resume(folder.path()).unwrap());
        let lines = fs::read_to_string(&metrics).unwrap();
        assert!(lines.starts_with(&kept));
        let found = lines.lines().map(without_seconds).count();
        assert!(found > keep, "{found} lines");
    }
}

#[test]
fn settings_that_do_not_fit_together_leave_nothing_behind() {
    let folder = tempfile::tempdir().unwrap();
    for (name, change) in [
        (
            "pictures of 64×64",
            (|config| config.model.raw_size = vec![64, 64]) as fn(&mut RunConfig),
        ),
        ("steps", |config| config.steps = 0),
        ("replay.length", |config| config.replay.length = 1),
        ("learning_rate", |config| {
            config.trainer.learning_rate = f64::NAN
        }),
        ("oracle", |config| {
            config.collect.planner = vec!["oracle".to_owned()]
        }),
        ("actions of size 3", |config| config.model.action_size = 3),
    ] {
        let mut config = config();
        change(&mut config);
        let error = create(config, &folder.path().join("run")).err();
        let message = error.map(|error| error.to_string()).unwrap_or_default();
        assert!(message.contains(name), "{name}: {message}");
        assert!(!folder.path().join("run").exists(), "{name}");
    }
}

/// A lamp of two cameras that an action in [0, 10] sets: paid where it is bright, over when it is dark.
struct Lamp {
    space: ActionSpace,
    brightness: f32,
    steps: usize,
    /// Steps after which it breaks, once; 0 never.
    breaks_after: usize,
}

impl Lamp {
    const TIME_LIMIT: usize = 8;

    fn new(breaks_after: usize) -> Self {
        Self {
            space: ActionSpace::new(vec![0.0], vec![10.0]).unwrap(),
            brightness: 5.0,
            steps: 0,
            breaks_after,
        }
    }

    fn boxed() -> Box<dyn Environment> {
        Box::new(Self::new(0))
    }

    fn image(&self) -> Image {
        let shade = (self.brightness * 25.0) as u8;
        let row = [[shade; 40], [255 - shade; 40]].concat();
        Image::from_grey(80, 36, &row.repeat(36)).unwrap()
    }
}

impl Environment for Lamp {
    fn name(&self) -> &str {
        "lamp"
    }

    fn action_space(&self) -> &ActionSpace {
        &self.space
    }

    fn image_shape(&self) -> ImageShape {
        ImageShape {
            cameras: 2,
            grey: true,
            ..ImageShape::new(36, 80)
        }
    }

    fn time_limit(&self) -> usize {
        Self::TIME_LIMIT
    }

    fn reset(&mut self, seed: u64) -> Result<Image, EnvError> {
        self.brightness = 2.0 + (seed % 7) as f32;
        self.steps = 0;
        Ok(self.image())
    }

    fn step(&mut self, action: &[f32]) -> Result<Step, EnvError> {
        self.steps += 1;
        if self.steps == self.breaks_after {
            self.breaks_after = 0;
            return Err(EnvError::External {
                name: self.name().to_owned(),
                reason: "the lamp broke: replace it".to_owned(),
            });
        }
        self.brightness = 0.5 * (self.brightness + self.space.clamped(action)?[0]);
        let terminated = self.brightness < 1.0;
        Ok(Step {
            image: self.image(),
            reward: if self.brightness > 7.0 { 0.0 } else { -1.0 },
            success: self.brightness > 7.0,
            terminated,
            truncated: !terminated && self.steps == Self::TIME_LIMIT,
        })
    }
}

fn lamp_config() -> RunConfig {
    let mut config = config();
    let lamp = RunConfig::small(&Lamp::new(0));
    config.model = latco_model::WorldModelConfig {
        image_size: 32,
        pooling: 1,
        stochastic: 3,
        deterministic: 4,
        hidden: 8,
        reward_units: 8,
        depth: 1,
        continuation: true,
        ..lamp.model
    };
    config.env = lamp.env;
    config.collect.planner = vec!["cem".to_owned()];
    config.collect.horizon = 3;
    config.collect.replan_every = 2;
    config
}

fn lamps(count: usize) -> Source {
    Source::Environments((0..count).map(|_| Lamp::boxed()).collect())
}

#[test]
fn an_environment_of_ones_own_is_learnt_from() {
    let folder = tempfile::tempdir().unwrap();
    let config = lamp_config();
    assert_eq!(config.model.action_high, [10.0]);
    assert_eq!((config.model.cameras, config.model.grey), (2, true));
    assert_eq!(config.model.raw_size, [40, 36]);
    let root = RunFolder::new(folder.path());
    let run = TrainingRun::new(Lamp::boxed(), config, root.clone(), &Device::default()).unwrap();
    finish(run);
    let episodes = latco_env::EpisodeFolder::open(&root.episodes()).unwrap();
    let episodes = episodes.load_all().unwrap().episodes;
    assert_eq!(episodes.len(), 4);
    for (_, episode) in &episodes {
        assert_eq!(episode.action_space().high(), [10.0]);
        assert_eq!((episode.image_width(), episode.cameras()), (80, 2));
        let acted = &episode.actions()[1..];
        assert!(acted.iter().all(|action| (0.0..=10.0).contains(action)));
    }
    // What was learnt acts in the environment's units.
    let device = Device::default();
    let mut agent = Agent::load(root.checkpoint(), &device).unwrap();
    let mut lamp = Lamp::new(0);
    let action = agent.act(&lamp.reset(1).unwrap()).unwrap();
    assert!((0.0..=10.0).contains(&action[0]), "{action:?}");
    // The plan's latents are the model's, without the weights of its rewards.
    let latents = agent.plan().unwrap().latents.dims();
    assert_eq!(latents[1], agent.model().config().latent_size());
}

#[test]
fn episodes_side_by_side_are_the_same_wherever_the_run_is_interrupted() {
    let whole = tempfile::tempdir().unwrap();
    let new = |root: &Path| {
        let folder = RunFolder::new(root);
        TrainingRun::new(lamps(2), lamp_config(), folder, &Device::default()).unwrap()
    };
    let advances = finish(new(whole.path())).len();
    let expected = Left::by(whole.path());
    assert_eq!(expected.episodes.len(), 4);
    for count in 0..=advances {
        let folder = tempfile::tempdir().unwrap();
        let mut run = new(folder.path());
        for _ in 0..count {
            run.advance().unwrap();
        }
        run.save().unwrap();
        drop(run);
        let root = RunFolder::new(folder.path());
        finish(TrainingRun::resume(lamps(2), root, &Device::default()).unwrap());
        let when = format!("after {count} advances");
        Left::by(folder.path()).assert_same(&expected, &when);
    }
}

#[test]
fn a_broken_environment_leaves_a_run_that_can_be_resumed() {
    let whole = tempfile::tempdir().unwrap();
    let new = |environment, root: &Path| {
        let folder = RunFolder::new(root);
        TrainingRun::new(environment, lamp_config(), folder, &Device::default()).unwrap()
    };
    finish(new(Lamp::boxed(), whole.path()));
    let folder = tempfile::tempdir().unwrap();
    let mut run = new(Lamp::boxed(), folder.path());
    run.advance().unwrap();
    run.save().unwrap();
    drop(run);
    let root = RunFolder::new(folder.path());
    let broken: Box<dyn Environment> = Box::new(Lamp::new(2));
    let mut run = TrainingRun::resume(broken, root.clone(), &Device::default()).unwrap();
    let message = run.advance().unwrap_err().to_string();
    assert!(
        message.contains("`lamp`") && message.contains("replace it"),
        "{message}"
    );
    drop(run);
    finish(TrainingRun::resume(Lamp::boxed(), root, &Device::default()).unwrap());
    Left::by(folder.path()).assert_same(&Left::by(whole.path()), "after a broken lamp");
}

/// The episodes beside the one that broke off are collected anew: none is counted in its place.
#[test]
fn a_run_goes_on_after_an_environment_broke() {
    let whole = tempfile::tempdir().unwrap();
    let new = |source, root: &Path| {
        let folder = RunFolder::new(root);
        TrainingRun::new(source, lamp_config(), folder, &Device::default()).unwrap()
    };
    finish(new(lamps(2), whole.path()));
    let folder = tempfile::tempdir().unwrap();
    let broken: Box<dyn Environment> = Box::new(Lamp::new(2));
    let source = Source::Environments(vec![broken, Lamp::boxed()]);
    let mut run = new(source, folder.path());
    let message = run.advance().unwrap_err().to_string();
    assert!(message.contains("replace it"), "{message}");
    finish(run);
    Left::by(folder.path()).assert_same(&Left::by(whole.path()), "after a broken lamp");
}

#[test]
fn demonstrations_without_an_expert_are_refused_before_anything_is_written() {
    let home = tempfile::tempdir().unwrap();
    let root = RunFolder::new(home.path().join("run"));
    let mut config = lamp_config();
    config.collect.demonstrations = 1;
    let run = TrainingRun::new(Lamp::boxed(), config, root.clone(), &Device::default());
    let error = run.err().unwrap();
    let no_expert = matches!(error, RunError::Env(EnvError::NoExpert { .. }));
    assert!(no_expert, "{error}");
    assert!(!root.root().exists());
}

/// The plans of an episode of an untrained agent, examined; towards a goal where one is given.
fn examined(goal: Option<&Image>) -> Vec<PlanSummary> {
    let device = Device::default();
    let mut sizes = lamp_config().model;
    sizes.reward = RewardKind::Bernoulli;
    let model = WorldModel::new(sizes, 3, &device).unwrap();
    let planner = latco_plan::catalogue::planner("cem", Some(3)).unwrap();
    let settings = AgentConfig {
        replan_every: 2,
        ..AgentConfig::default()
    };
    let mut agent = Agent::new(model, planner, settings, &device).unwrap();
    agent.set_goal(goal).unwrap();
    let evaluation = evaluate_examined(&mut [Lamp::boxed()], &agent, "auto", 7, 1, |_| {});
    let results = evaluation.unwrap().results.into_iter();
    results.flat_map(|result| result.plans).collect()
}

/// Where nothing is learnt, rewards and the probability that the episode goes on are about a half: three
/// steps pay about 1.5, as far as the episode goes on 0.4, and closeness to a goal is negative.
#[test]
fn plans_are_examined_by_what_they_were_made_for() {
    let plans = examined(None);
    assert!(!plans.is_empty());
    for plan in plans {
        let sampled = plan.sampled_return.unwrap();
        assert!((sampled - plan.rollout_reward).abs() < 0.3, "{plan:?}");
        assert!(plan.image_consistency.is_some());
    }
    let goal = Lamp::new(0).image();
    for plan in examined(Some(&goal)) {
        assert!(plan.sampled_return.unwrap() < 0.0, "{plan:?}");
    }
}

/// Five episodes of an untrained agent in lamps that break after so many steps, if at all.
fn evaluated(lamps: &[usize]) -> Result<Evaluation, EpisodeRunError> {
    let device = Device::default();
    let model = WorldModel::new(lamp_config().model, 3, &device).unwrap();
    let planner = latco_plan::catalogue::planner("cem", Some(3)).unwrap();
    let settings = AgentConfig {
        replan_every: 2,
        exploration: 0.1,
        ..AgentConfig::default()
    };
    let agent = Agent::new(model, planner, settings, &device).unwrap();
    let lamps = lamps
        .iter()
        .map(|&steps| Box::new(Lamp::new(steps)) as Box<dyn Environment>);
    evaluate(&mut lamps.collect::<Vec<_>>(), &agent, "auto", 7, 5, |_| {})
}

#[test]
fn episodes_are_evaluated_side_by_side_as_one_after_the_other() {
    let (alone, beside) = (evaluated(&[0]).unwrap(), evaluated(&[0, 0, 0]).unwrap());
    let seeds = alone.results.iter().map(|result| result.seed);
    assert_eq!(seeds.collect::<Vec<_>>(), [7, 8, 9, 10, 11]);
    for (alone, beside) in alone.results.iter().zip(&beside.results) {
        assert_eq!((alone.seed, alone.return_), (beside.seed, beside.return_));
        assert_eq!(alone.plans.len(), beside.plans.len());
        for (alone, beside) in alone.plans.iter().zip(&beside.plans) {
            assert_eq!(alone.model_steps, beside.model_steps);
            // A plan's share of the cores decides how its sums are split.
            assert!((alone.rollout_reward - beside.rollout_reward).abs() < 1e-5);
        }
    }
}

#[test]
fn an_evaluation_ends_where_an_environment_breaks_or_none_is_given() {
    for lamps in [&[2][..], &[0, 2, 0]] {
        let message = evaluated(lamps).unwrap_err().to_string();
        assert!(message.contains("replace it"), "{message}");
    }
    let message = evaluated(&[]).unwrap_err().to_string();
    assert!(message.contains("`environments` is 0"), "{message}");
}

#[test]
fn rewards_outside_the_head_are_refused_before_they_are_learnt() {
    let folder = tempfile::tempdir().unwrap();
    let mut config = lamp_config();
    config.model.reward = RewardKind::Bernoulli;
    let new = |config: RunConfig, root: &Path| {
        let folder = RunFolder::new(root);
        TrainingRun::new(Lamp::boxed(), config, folder, &Device::default()).unwrap()
    };
    let error = new(config.clone(), folder.path()).advance().unwrap_err();
    assert!(
        matches!(error, RunError::Reward { reward: -1.0, .. }),
        "{error}"
    );
    assert!(error.to_string().contains("model.reward_range"));
    config.model.reward_range = [-1.0, 0.0];
    let folder = tempfile::tempdir().unwrap();
    let seen = finish(new(config, folder.path()));
    let losses = seen.iter().filter_map(|progress| match progress {
        Progress::Step { train, .. } => Some(train.reward),
        Progress::Episode { .. } => None,
    });
    // The cross-entropy of a coin, which is where a head begins.
    assert!(losses.into_iter().all(|loss| (0.0..1.5).contains(&loss)));
}

#[test]
fn an_environment_unlike_the_model_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let new = |change: &dyn Fn(&mut RunConfig)| {
        let mut config = lamp_config();
        change(&mut config);
        let root = RunFolder::new(folder.path().join("run"));
        let run = TrainingRun::new(Lamp::boxed(), config, root, &Device::default());
        run.err().unwrap().to_string()
    };
    let message = new(&|config| config.model.action_high = vec![20.0]);
    assert!(
        message.contains("[20.0]") && message.contains("[10.0]"),
        "{message}"
    );
    let message = new(&|config| config.model.cameras = 1);
    assert!(message.contains("cameras"), "{message}");
    let message = new(&|config| config.model.raw_size = vec![80, 36]);
    assert!(
        message.contains("80×36") && message.contains("40×36"),
        "{message}"
    );
    let message = new(&|config| config.replay.length = 10);
    assert!(message.contains("replay.length"), "{message}");
    assert!(!folder.path().join("run/config.toml").exists());
}

/// Some episodes of `reach`, saved in a folder.
fn recordings(folder: &Path) -> Vec<Arc<dyn Recorded>> {
    let episodes = EpisodeFolder::create(folder).unwrap();
    for seed in 0..3 {
        let mut policy = DriftingPolicy::default();
        let recorded = run_episode(reach().as_mut(), &mut policy, seed).unwrap();
        episodes.save(&recorded.episode).unwrap();
    }
    episodes.open_all().unwrap().episodes
}

/// A few steps on recordings, of which so many frames are kept in memory.
fn offline_config(capacity: usize) -> RunConfig {
    let mut config = config();
    config.env = String::new();
    config.steps = 10;
    config.replay.capacity = capacity;
    config
}

/// A run on recordings; resumed after every step where that is asked for.
fn offline(recordings: &[Arc<dyn Recorded>], capacity: usize, resumed: bool) -> Left {
    let folder = tempfile::tempdir().unwrap();
    let config = offline_config(capacity);
    let (root, device) = (RunFolder::new(folder.path()), Device::default());
    let source = || Source::Recorded(recordings.to_vec());
    let mut run = TrainingRun::new(source(), config, root.clone(), &device).unwrap();
    while resumed && !run.is_finished() {
        run.advance().unwrap();
        run.save().unwrap();
        drop(run);
        run = TrainingRun::resume(source(), root.clone(), &device).unwrap();
    }
    assert_eq!(run.last_episode().unwrap().unwrap().len(), 31);
    finish(run);
    Left::by(folder.path())
}

#[test]
fn recordings_teach_the_same_from_memory_and_from_disk() {
    let folder = tempfile::tempdir().unwrap();
    let recordings = recordings(folder.path());
    let expected = offline(&recordings, 100_000, false);
    assert!(expected.episodes.is_empty(), "nothing is copied");
    // One episode in memory and two on disk; then none.
    for capacity in [40, 1] {
        let when = format!("with {capacity} frames in memory");
        offline(&recordings, capacity, false).assert_same(&expected, &when);
        offline(&recordings, capacity, true).assert_same(&expected, &when);
    }
}

/// A run that learns from recordings beside its own episodes; interrupted and resumed after so many advances.
fn mixed(recordings: &[Arc<dyn Recorded>], capacity: usize, stops: &[usize]) -> Left {
    let folder = tempfile::tempdir().unwrap();
    let mut config = config();
    config.replay.capacity = capacity;
    let (root, device) = (RunFolder::new(folder.path()), Device::default());
    let source = || Source::Mixed(recordings.to_vec(), vec![reach()]);
    let mut run = TrainingRun::new(source(), config, root.clone(), &device).unwrap();
    for &advances in stops {
        for _ in 0..advances {
            run.advance().unwrap();
        }
        run.save().unwrap();
        drop(run);
        run = TrainingRun::resume(source(), root.clone(), &device).unwrap();
    }
    finish(run);
    Left::by(folder.path())
}

#[test]
fn recordings_are_learnt_from_beside_own_episodes_and_a_resumed_run_ends_alike() {
    let folder = tempfile::tempdir().unwrap();
    let recordings = recordings(folder.path());
    let expected = mixed(&recordings, 100_000, &[]);
    let (alone, _) = uninterrupted(config());
    let names = |left: &Left| left.episodes.keys().cloned().collect::<Vec<_>>();
    assert_eq!(names(&expected), names(&alone), "its own episodes alone");
    assert!(
        expected.weights != alone.weights,
        "the recordings teach too"
    );
    for stops in [&[1][..], &[3, 2], &[7, 4]] {
        let when = format!("interrupted after {stops:?}");
        mixed(&recordings, 100_000, stops).assert_same(&expected, &when);
    }
    // With recordings on disk, and room for one episode beside them.
    let expected = mixed(&recordings, 40, &[]);
    mixed(&recordings, 40, &[8]).assert_same(&expected, "with little memory");
}

/// Whatever a recording says of its first frame, nothing was paid there.
#[test]
fn the_reward_of_a_reset_teaches_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let recordings = recordings(folder.path());
    let paid = recordings.iter().map(|recorded| {
        let mut arrays = Episode::read(recorded.as_ref()).unwrap().into_arrays();
        arrays.rewards[0] = 1e6;
        Arc::new(Episode::from_arrays(arrays).unwrap()) as Arc<dyn Recorded>
    });
    let taught = |recordings| {
        let folder = tempfile::tempdir().unwrap();
        let mut config = offline_config(100_000);
        // Every sequence is a whole episode.
        config.replay.length = 31;
        let (source, root) = (Source::Recorded(recordings), RunFolder::new(folder.path()));
        finish(TrainingRun::new(source, config, root, &Device::default()).unwrap());
        Left::by(folder.path())
    };
    let paid = taught(paid.collect());
    paid.assert_same(&taught(recordings), "paid on reset");
}

#[test]
fn recordings_unlike_the_model_are_refused_before_anything_is_written() {
    let home = tempfile::tempdir().unwrap();
    let recordings = recordings(&home.path().join("recordings"));
    let root = RunFolder::new(home.path().join("run"));
    let refused = |change: fn(&mut RunConfig)| {
        let mut config = offline_config(100_000);
        change(&mut config);
        let source = Source::Recorded(recordings.clone());
        let run = TrainingRun::new(source, config, root.clone(), &Device::default());
        assert!(!root.root().exists());
        run.err().unwrap().to_string()
    };
    let message = refused(|config| config.model.action_size = 3);
    assert!(
        message.contains("`action` has 2 entries, expected 3"),
        "{message}"
    );
    let message = refused(|config| config.model.raw_size = vec![64, 48]);
    assert!(
        message.contains("32×32") && message.contains("64×48"),
        "{message}"
    );
    let message = refused(|config| config.model.reward_range = [-1.0, -0.5]);
    assert!(message.contains("model.reward_range"), "{message}");
}

/// Sequences that the episodes of the environment are too short for are drawn from the recordings.
#[test]
fn recordings_may_be_longer_than_the_episodes_beside_them() {
    let mut lamp = Lamp::new(0);
    let first = lamp.reset(0).unwrap();
    let mut episode = Episode::new(&first, &lamp.space).with_cameras(2);
    for _ in 0..12 {
        let step = lamp.step(&[8.0]).unwrap();
        episode.push(&[8.0], &step).unwrap();
    }
    let recordings: Vec<Arc<dyn Recorded>> = vec![Arc::new(episode)];
    let new = |length: usize, root: &Path| {
        let mut config = lamp_config();
        config.replay.length = length;
        let source = Source::Mixed(recordings.clone(), vec![Lamp::boxed()]);
        TrainingRun::new(source, config, RunFolder::new(root), &Device::default())
    };
    let folder = tempfile::tempdir().unwrap();
    let message = new(14, folder.path()).err().unwrap().to_string();
    assert!(message.contains("longest recording"), "{message}");
    finish(new(13, folder.path()).unwrap());
}

/// What could not be read is what is drawn where the run goes on.
#[test]
fn a_run_goes_on_where_its_recordings_come_back() {
    let home = tempfile::tempdir().unwrap();
    let [here, away] = ["here", "away"].map(|name| home.path().join(name));
    let recordings = recordings(&here);
    let expected = offline(&recordings, 1, false);
    let folder = tempfile::tempdir().unwrap();
    let (source, root) = (Source::Recorded(recordings), RunFolder::new(folder.path()));
    let run = TrainingRun::new(source, offline_config(1), root, &Device::default());
    let mut run = run.unwrap();
    fs::rename(&here, &away).unwrap();
    run.advance().unwrap_err();
    fs::rename(&away, &here).unwrap();
    finish(run);
    Left::by(folder.path()).assert_same(&expected, "after the recordings were away");
}

/// Whatever is in the way of the metrics, no line is lost, and none is written behind a part of another.
#[test]
fn a_run_goes_on_where_its_metrics_can_be_written_again() {
    let (expected, _) = uninterrupted(config());
    let folder = tempfile::tempdir().unwrap();
    let metrics = RunFolder::new(folder.path()).metrics();
    let mut run = create(config(), folder.path()).unwrap();
    fs::create_dir(&metrics).unwrap();
    let message = run.advance().unwrap_err().to_string();
    assert!(message.contains("metrics.jsonl"), "{message}");
    fs::remove_dir(&metrics).unwrap();
    fs::write(&metrics, "{\"kind\": \"epi").unwrap();
    finish(run);
    Left::by(folder.path()).assert_same(&expected, "after a folder was in the way");
}

#[test]
fn a_recording_that_is_gone_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let recordings = recordings(folder.path());
    let run = tempfile::tempdir().unwrap();
    let root = RunFolder::new(run.path());
    let source = Source::Recorded(recordings);
    let run = TrainingRun::new(source, offline_config(1), root, &Device::default());
    let mut run = run.unwrap();
    fs::remove_dir_all(folder.path()).unwrap();
    let message = run.advance().unwrap_err().to_string();
    assert!(message.contains("episode-00000"), "{message}");
}

/// A run that version 0.1.0 wrote.
#[test]
fn an_earlier_run_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let old = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/run-0.1.0");
    fs::create_dir(folder.path().join("episodes")).unwrap();
    for part in ["", "episodes"] {
        for entry in fs::read_dir(old.join(part)).unwrap() {
            let path = entry.unwrap().path();
            if path.is_file() {
                let name = path.strip_prefix(&old).unwrap();
                fs::copy(&path, folder.path().join(name)).unwrap();
            }
        }
    }
    let root = RunFolder::new(folder.path());
    let mut config = root.read_config().unwrap();
    config.steps = 20;
    root.write_config(&config).unwrap();
    let run = resume(folder.path()).unwrap();
    assert_eq!(run.step(), 12);
    let saved = WorldModel::load(&old.join("checkpoint.safetensors"), &Device::default());
    assert!(parameters(&run.model()) == parameters(&saved.unwrap()));
    let seen = finish(run);
    assert!(seen.len() >= 8);
    assert_eq!(
        Episode::load(&root.episodes().join("episode-000000.npz"))
            .unwrap()
            .len(),
        31
    );
}
