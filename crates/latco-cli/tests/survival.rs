//! Runs that are killed, find the disk full, or the folder taken: nothing that was finished is
//! lost, and nothing that is damaged is read.

#[path = "../../../tests/common"]
mod shared {
    pub mod parameters;
}

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    thread::sleep,
    time::{Duration, Instant},
};

use burn::tensor::Device;
use latco_agent::RunFolder;
use latco_env::Episode;
use latco_model::WorldModel;
use serde_json::Value;
use shared::parameters::parameters;
use tempfile::TempDir;

/// An episode and a save after each gradient step, and soon more frames than are kept in memory.
const SETTINGS: &str = "\
    [env_options]\nimage_size = 32\n\
    [model]\nimage_size = 32\npooling = 1\nstochastic = 3\ndeterministic = 4\nhidden = 8\n\
    reward_units = 8\ndepth = 1\n\
    [replay]\nbatch = 2\nlength = 4\ncapacity = 500\n\
    [collect]\nprefill = 3\nevery = 1\nwarm_up = 1\nplanner = \"random\"\n";

/// More steps than any of these runs gets to.
const ENDLESS: usize = 1_000_000;

/// A run in a temporary folder.
struct Run {
    home: TempDir,
}

impl Run {
    fn new() -> Self {
        let home = TempDir::new().unwrap();
        fs::write(home.path().join("tiny.toml"), SETTINGS).unwrap();
        Self { home }
    }

    fn path(&self) -> PathBuf {
        self.home.path().join("run")
    }

    fn folder(&self) -> RunFolder {
        RunFolder::new(self.path())
    }

    /// Starts the run, or resumes it where it has been started, up to `steps` steps.
    fn arguments(&self, steps: usize) -> Vec<String> {
        let start = match self.folder().config().exists() {
            true => vec!["--resume"],
            false => vec!["--env", "reach", "--config", "tiny.toml", "--seed", "7"],
        };
        let steps = steps.to_string();
        let common = ["train", "--run", "run", "--json", "--steps", &steps];
        let arguments = common.into_iter().chain(start);
        arguments.map(str::to_owned).collect()
    }

    fn command(&self, steps: usize) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_latco"));
        self.prepare(&mut command).args(self.arguments(steps));
        command
    }

    fn prepare<'a>(&self, command: &'a mut Command) -> &'a mut Command {
        command
            .current_dir(self.home.path())
            .env_remove("RUST_BACKTRACE")
            .stdin(Stdio::null())
    }

    fn spawn(&self) -> Child {
        self.command(ENDLESS)
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap()
    }

    /// Runs up to `steps` steps, and gives the steps that the run then has.
    fn finish(&self, steps: usize) -> usize {
        let output = self.command(steps).output().unwrap();
        let error = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(0), "{error}");
        let report: Value = serde_json::from_slice(&output.stdout).unwrap();
        report["steps"].as_u64().unwrap() as usize
    }

    /// The finished episodes with their bytes.
    fn episodes(&self) -> BTreeMap<String, Vec<u8>> {
        let Ok(entries) = fs::read_dir(self.folder().episodes()) else {
            return BTreeMap::new();
        };
        let visible = entries.map(|entry| entry.unwrap()).filter_map(|entry| {
            let name = entry.file_name().into_string().unwrap();
            (!name.starts_with('.')).then(|| (name, fs::read(entry.path()).unwrap()))
        });
        visible.collect()
    }

    /// Files that are being written, or that a killed write has left behind, in the run's folder
    /// and that of its episodes.
    fn unfinished(&self) -> BTreeSet<PathBuf> {
        let folders = [self.path(), self.folder().episodes()];
        let entries = folders.iter().filter_map(|path| fs::read_dir(path).ok());
        let paths = entries.flatten().map(|entry| entry.unwrap().path());
        let known = [
            "config.toml",
            "metrics.jsonl",
            "checkpoint.safetensors",
            "training.state",
            "lock",
            "episodes",
        ];
        let foreign = |path: &PathBuf| {
            let name = path.file_name().unwrap().to_str().unwrap();
            !known.contains(&name) && !name.ends_with(".npz")
        };
        paths.filter(foreign).collect()
    }

    /// Waits for a file that `left`, what earlier writes have left behind, does not have.
    fn wait_for_a_write(&self, left: &BTreeSet<PathBuf>) {
        let started = Instant::now();
        while self.unfinished().is_subset(left) && started.elapsed() < Duration::from_secs(10) {}
    }

    /// Every file that a reader could open, is whole.
    fn assert_whole(&self, when: &str) {
        let folder = self.folder();
        if folder.config().exists() {
            folder.read_config().unwrap();
        }
        if folder.checkpoint().exists() {
            WorldModel::load(&folder.checkpoint(), &Device::default())
                .unwrap_or_else(|error| panic!("{error}, {when}"));
        }
        let last = self.episodes().pop_last();
        if let Some((name, _)) = last {
            Episode::load(&folder.episodes().join(name))
                .unwrap_or_else(|error| panic!("{error}, {when}"));
        }
        self.metrics();
    }

    /// The metrics without wall times.
    fn metrics(&self) -> Vec<Value> {
        let text = fs::read_to_string(self.folder().metrics()).unwrap_or_default();
        let without_seconds = |line| {
            let mut metric: Value = serde_json::from_str(line).unwrap();
            metric.as_object_mut().unwrap().remove("seconds").unwrap();
            metric
        };
        text.lines().map(without_seconds).collect()
    }

    fn weights(&self) -> Vec<u32> {
        let model = WorldModel::load(&self.folder().checkpoint(), &Device::default()).unwrap();
        parameters(&model).into_iter().map(f32::to_bits).collect()
    }
}

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

/// Kills, of which each third is aimed at a write and the others come at moments that the golden
/// ratio spreads evenly over `longest`.
const KILLS: usize = 60;

#[test]
fn a_run_killed_anywhere_ends_as_if_it_had_not_been() {
    let longest = Duration::from_millis(600);
    let run = Run::new();
    let (mut during_writes, mut before_any) = (0, 0);
    let mut known = BTreeMap::new();
    for kill in 0..KILLS {
        let left = run.unfinished();
        let mut child = run.spawn();
        match kill % 3 {
            0 => run.wait_for_a_write(&left),
            _ => sleep(longest.mul_f64((kill as f64 * 0.618_034).fract())),
        }
        if let Some(status) = child.try_wait().unwrap() {
            let output = child.wait_with_output().unwrap();
            panic!(
                "kill {kill}: ended by itself, {status}: {}",
                stderr(&output)
            );
        }
        child.kill().unwrap();
        child.wait().unwrap();
        let when = format!("after kill {kill}");
        during_writes += usize::from(!run.unfinished().is_subset(&left));
        before_any += usize::from(!run.folder().state().exists());
        run.assert_whole(&when);
        let episodes = run.episodes();
        for (name, bytes) in &known {
            assert!(episodes.get(name) == Some(bytes), "{name} is lost, {when}");
        }
        known = episodes;
    }
    let steps = run.finish(1) + 3;
    assert_eq!(run.finish(steps), steps);
    let left = run.unfinished();
    assert!(left.is_empty(), "left by killed writes: {left:?}");
    println!(
        "{KILLS} kills, {during_writes} of them during a write, {before_any} before the first \
         state; {steps} steps and {} episodes in the end",
        run.episodes().len()
    );
    assert!(during_writes > 0, "no kill hit a write");

    let expected = Run::new();
    assert_eq!(expected.finish(steps), steps);
    assert!(run.weights() == expected.weights(), "weights");
    assert_eq!(run.metrics(), expected.metrics());
    let names = |run: &Run| run.episodes().into_keys().collect::<Vec<_>>();
    assert_eq!(names(&run), names(&expected));
    assert!(run.episodes() == expected.episodes(), "episodes");
}

/// Waits until `done`, which must come within a minute.
fn wait_until(what: &str, done: impl Fn() -> bool) {
    let started = Instant::now();
    while !done() {
        assert!(started.elapsed() < Duration::from_secs(60), "{what}");
        sleep(Duration::from_millis(10));
    }
}

#[test]
fn a_second_process_is_refused() {
    let run = Run::new();
    let mut child = run.spawn();
    wait_until("the run begins", || run.folder().state().exists());
    let output = run.command(ENDLESS).output().unwrap();
    child.kill().unwrap();
    child.wait().unwrap();
    assert_eq!(output.status.code(), Some(2));
    let message = stderr(&output);
    assert!(message.contains("another process"), "{message}");
    assert_eq!(message.lines().count(), 1, "{message}");
    assert!(output.stdout.is_empty());
    run.finish(1);
}

/// A failure to write: exit status 1, one line that names a file of the run.
fn assert_names_a_file(output: &Output) -> String {
    let message = stderr(output);
    assert_eq!(output.status.code(), Some(1), "{message}");
    assert_eq!(message.lines().count(), 1, "{message}");
    assert!(message.starts_with("error: "), "{message}");
    let files = [
        "config.toml",
        "metrics.jsonl",
        "checkpoint.safetensors",
        "training.state",
        ".npz",
        "lock",
        "episodes",
    ];
    let named = files.iter().find(|file| message.contains(*file));
    named
        .unwrap_or_else(|| panic!("no file is named: {message}"))
        .to_string()
}

#[cfg(unix)]
mod full_and_read_only {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    impl Run {
        /// The command under a limit on the size of files, at which writes fail as on a full disk.
        fn limited(&self, blocks: usize, steps: usize) -> Command {
            let mut command = Command::new("sh");
            let script = format!("trap '' XFSZ; ulimit -f {blocks}; exec \"$0\" \"$@\"");
            self.prepare(&mut command)
                .args(["-c", &script, env!("CARGO_BIN_EXE_latco")])
                .args(self.arguments(steps));
            command
        }

        /// The command without the right to write where permissions do not allow it, which the
        /// superuser has.
        fn unprivileged(&self, steps: usize) -> Command {
            if !self.superuser() {
                return self.command(steps);
            }
            let mut command = Command::new("setpriv");
            self.prepare(&mut command)
                .args(["--bounding-set=-all", env!("CARGO_BIN_EXE_latco")])
                .args(self.arguments(steps));
            command
        }

        fn superuser(&self) -> bool {
            let folder = self.home.path().join("probe");
            fs::create_dir_all(&folder).unwrap();
            permit(&folder, 0o555);
            fs::write(folder.join("file"), "").is_ok()
        }

        fn bytes(&self) -> [Vec<u8>; 2] {
            let folder = self.folder();
            [folder.checkpoint(), folder.state()].map(|path| fs::read(path).unwrap())
        }
    }

    fn permit(path: &Path, mode: u32) {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    }

    #[test]
    fn a_full_disk_is_named_and_costs_nothing_that_was_saved() {
        let run = Run::new();
        run.finish(3);
        let mut named = Vec::new();
        for blocks in [0, 1, 2, 4, 8, 16, 32, 64, 128] {
            let before = run.bytes();
            let output = run.limited(blocks, ENDLESS).output().unwrap();
            named.push(assert_names_a_file(&output));
            let when = format!("with {blocks} blocks");
            run.assert_whole(&when);
            assert!(run.unfinished().is_empty(), "{when}");
            if blocks == 0 {
                assert!(run.bytes() == before, "{when}");
            }
        }
        named.sort();
        named.dedup();
        println!("files that did not fit: {named:?}");
        assert!(named.len() > 2, "{named:?}");
        let steps = run.finish(1) + 2;
        assert_eq!(run.finish(steps), steps);
    }

    #[test]
    fn a_read_only_folder_is_named_and_left_as_it_is() {
        let run = Run::new();
        run.finish(3);
        let before = run.bytes();
        let closed = |path: PathBuf| {
            permit(&path, 0o555);
            let output = run.unprivileged(ENDLESS).output().unwrap();
            permit(&path, 0o755);
            assert_names_a_file(&output);
        };
        closed(run.path());
        assert!(run.bytes() == before);
        // Steps up to the episode that cannot be written are saved.
        let episodes = run.episodes();
        closed(run.folder().episodes());
        assert!(run.episodes() == episodes);
        run.assert_whole("after an episode that could not be written");
        assert!(run.unfinished().is_empty());
        let steps = run.finish(1) + 1;
        assert_eq!(run.finish(steps), steps);
    }

    #[test]
    fn a_run_is_not_begun_where_nothing_can_be_written() {
        let run = Run::new();
        // The superuser is asked for before the folder is closed.
        let mut command = run.unprivileged(ENDLESS);
        permit(run.home.path(), 0o555);
        let output = command.output().unwrap();
        permit(run.home.path(), 0o755);
        assert!(matches!(output.status.code(), Some(1 | 2)));
        let message = stderr(&output);
        assert!(message.contains("run"), "{message}");
        assert_eq!(message.lines().count(), 1, "{message}");
        assert!(!run.path().exists());
    }
}
