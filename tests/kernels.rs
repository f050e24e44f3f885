//! How many kernels an iteration starts on a GPU, and how often it waits for one: on a GPU that is what
//! time goes into. Any driver will do, also one that computes on the CPU.

use std::{
    collections::BTreeMap,
    env, fs,
    path::{Path, PathBuf},
    thread::sleep,
    time::Duration,
};

use burn::tensor::Device;
use latco_agent::{
    device::{device, resources, trainer_on},
    image_tensor,
};
use latco_env::Image;
use latco_model::{
    Batch, ElboConfig, PixelLayout, Sequences, Trainer, TrainerConfig, WorldModel, WorldModelConfig,
};
use latco_plan::{Belief, NoObserver, PlanContext, catalogue, host_reads};
use serde_json::{Value, json};

/// Where CubeCL writes a line for every kernel that it starts.
const LOG: &str = "kernels.log";

const HORIZON: usize = 30;

/// Iterations of the two plans whose difference counts.
const ITERATIONS: [usize; 2] = [2, 4];

/// The kernels and the reads that one iteration of a planner may take.
const LIMITS: &[(&str, [usize; 2])] = &[
    ("latco", [230, 2]),
    ("latco-first-order", [25, 1]),
    ("cem", [20, 1]),
    ("icem", [28, 1]),
    ("mppi", [28, 1]),
    ("shooting-gd", [25, 2]),
    ("shooting-gn", [230, 2]),
    ("ilqr", [1_300, 6]),
];

/// Those of one step of training, with the paper's loss and with the default.
fn train_steps() -> [(&'static str, ElboConfig, [usize; 2]); 2] {
    [
        ("train, paper", ElboConfig::paper(), [600, 0]),
        ("train", ElboConfig::default(), [900, 0]),
    ]
}

/// The kernels that were started so far, by name.
struct Log {
    path: PathBuf,
    device: Device,
}

impl Log {
    fn counts(&self) -> BTreeMap<String, usize> {
        self.device.sync().unwrap();
        let mut size = 0;
        // CubeCL writes on a thread of its own.
        loop {
            sleep(Duration::from_millis(100));
            let now = fs::metadata(&self.path).map_or(0, |data| data.len());
            if now == size {
                break;
            }
            size = now;
        }
        let mut counts = BTreeMap::new();
        for line in fs::read_to_string(&self.path).unwrap_or_default().lines() {
            if let Some(name) = line.strip_prefix("Executing ") {
                *counts.entry(name.to_owned()).or_default() += 1;
            }
        }
        counts
    }

    /// The kernels that `work` starts.
    fn during(&self, work: impl FnOnce()) -> Counted {
        let before = self.counts();
        let reads = host_reads();
        work();
        let reads = host_reads() - reads;
        let mut kernels = self.counts();
        for (name, count) in before {
            if let Some(now) = kernels.get_mut(&name) {
                *now -= count;
            }
        }
        Counted { kernels, reads }
    }
}

/// What some work took.
struct Counted {
    kernels: BTreeMap<String, usize>,
    reads: usize,
}

impl Counted {
    fn total(&self) -> usize {
        self.kernels.values().sum()
    }

    /// What more iterations took than fewer, an iteration.
    fn each(&self, fewer: &Self, iterations: usize) -> Self {
        let kernels = self.kernels.iter().map(|(name, count)| {
            let before = fewer.kernels.get(name).copied().unwrap_or_default();
            (
                name.clone(),
                count.saturating_sub(before).div_ceil(iterations),
            )
        });
        Self {
            kernels: kernels.filter(|(_, count)| *count > 0).collect(),
            reads: (self.reads - fewer.reads).div_ceil(iterations),
        }
    }

    /// The names that most kernels have.
    fn most(&self) -> String {
        let mut names: Vec<_> = self.kernels.iter().collect();
        names.sort_by_key(|(_, count)| std::cmp::Reverse(**count));
        let shown = names.into_iter().take(25);
        shown
            .map(|(name, count)| format!("  {count:5} {name}\n"))
            .collect()
    }
}

fn repository(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

/// Has CubeCL log to a file in a folder of its own, before a device is asked for.
fn logged(folder: &Path) {
    let log = folder.join(LOG);
    let configuration = format!(
        "[profiling.logger]\nlevel = \"minimal\"\nfile = {:?}\n",
        log.to_str().unwrap()
    );
    fs::write(folder.join("cubecl.toml"), configuration).unwrap();
    env::set_current_dir(folder).unwrap();
}

/// The belief after the shipped image.
fn shipped(device: &Device) -> (WorldModel, Belief) {
    let model = WorldModel::load(&repository("assets/checkpoints/reach.safetensors"), device);
    let model = model.unwrap();
    let image = Image::load_png(&repository("assets/images/reach.png")).unwrap();
    let image = image_tensor(&model, &image, device).unwrap();
    let belief = model.first_belief(image);
    (model, belief)
}

/// What an iteration of this planner takes: the difference between two plans over that of their
/// iterations.
fn iteration(log: &Log, name: &str, model: &WorldModel, belief: &Belief) -> Counted {
    let plan = |iterations: usize| {
        let info = catalogue::info(name).unwrap();
        let settings = info.settings().with_horizon(HORIZON);
        let mut given = json!({ "iterations": iterations });
        match name {
            "shooting-gn" | "ilqr" => given = json!({ "refinement": given }),
            // Their number does not change that of kernels.
            "latco" | "cem" | "icem" | "mppi" => given["samples"] = 64.into(),
            _ => {}
        }
        let settings = settings.read(over(json!(settings), given)).unwrap();
        let planner = info.with(settings).unwrap();
        let mut taken = 0;
        let counted = log.during(|| {
            let mut observer = NoObserver;
            let context = PlanContext::new(0, &mut observer).with_resources(resources(&log.device));
            taken = planner
                .plan_with(model, belief, context)
                .unwrap()
                .trace
                .len();
        });
        (counted, taken)
    };
    let [(few, first), (more, last)] = ITERATIONS.map(plan);
    assert!(last > first, "{name} stopped after {first} iterations");
    more.each(&few, last - first)
}

/// `values` with those that `others` names in their places.
fn over(mut values: Value, others: Value) -> Value {
    match (&mut values, others) {
        (Value::Object(values), Value::Object(others)) => {
            for (key, other) in others {
                let value = values.remove(&key).unwrap_or_default();
                values.insert(key, over(value, other));
            }
        }
        (values, others) => *values = others,
    }
    values
}

/// What a step of training takes, of a small model with every part.
fn train_step(log: &Log, elbo: ElboConfig) -> Counted {
    let [rows, length] = [2, 20];
    let config = WorldModelConfig {
        depth: 2,
        ..WorldModelConfig::small(2)
    };
    let (image, frames) = (config.image_size, rows * length);
    let model = WorldModel::new(config, 0, &log.device).unwrap();
    let config = TrainerConfig {
        elbo,
        ..TrainerConfig::default()
    };
    let config = trainer_on(&log.device, config);
    let mut trainer = Trainer::new(model, config, 0, &log.device).unwrap();
    let pixels: Vec<u8> = (0..frames * image * image * 3)
        .map(|index| (index * index % 251) as u8)
        .collect();
    let numbers = |count: usize| (0..count).map(|index| (index % 7) as f32 / 7.0).collect();
    let sequences = Sequences {
        rows,
        length,
        pixels: &pixels,
        actions: numbers(2 * frames),
        rewards: numbers(frames),
        ..Sequences::default()
    };
    let batch = Batch::new(sequences, PixelLayout::new(image), trainer.device());
    // The first step makes what Adam keeps.
    trainer.step(&batch);
    log.during(|| assert!(!trainer.step(&batch).skipped))
}

/// One test, since the kernels of others in the process would count.
#[test]
fn no_iteration_starts_more_kernels_than_it_may() {
    let folder = tempfile::tempdir().unwrap();
    logged(folder.path());
    let log = Log {
        path: folder.path().join(LOG),
        device: device("wgpu").unwrap(),
    };
    let (model, belief) = shipped(&log.device);
    let chosen = env::var("LATCO_COUNTED").ok();
    let is_chosen = |name: &str| chosen.as_ref().is_none_or(|chosen| chosen == name);
    let mut beyond = Vec::new();
    let mut check = |name: &str, found: &Counted, [kernels, reads]: [usize; 2]| {
        println!("| `{name}` | {} | {} |", found.total(), found.reads);
        if chosen.is_some() {
            println!("{}", found.most());
        }
        if found.total() > kernels || found.reads > reads {
            beyond.push(format!(
                "{name}: {} kernels, {} reads",
                found.total(),
                found.reads
            ));
        }
    };
    for &(name, most) in LIMITS.iter().filter(|limit| is_chosen(limit.0)) {
        check(name, &iteration(&log, name, &model, &belief), most);
    }
    for (name, elbo, most) in train_steps() {
        if is_chosen(name) {
            check(name, &train_step(&log, elbo), most);
        }
    }
    assert!(beyond.is_empty(), "more than the limits: {beyond:#?}");
}
