//! Files that the tests of the command share.

#[path = "../../../../tests/common/foreign.rs"]
mod foreign;

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
};

use latco_agent::{
    RunConfig, RunFolder, ScriptedPolicy,
    device::{DEVICES, device},
    run_episode,
};
use latco_env::{ActionSpace, EnvOptions, Episode, Image, make};
use latco_model::{Precision, WorldModel, WorldModelConfig};
use tempfile::TempDir;

use foreign::{Array, Foreign, Sizes, write_npz, write_pt};

/// A folder with good and bad input of every kind.
pub struct Fixtures {
    folder: TempDir,
}

impl Fixtures {
    pub fn new() -> Self {
        let fixtures = Self {
            folder: TempDir::new().unwrap(),
        };
        fixtures.write_checkpoints();
        fixtures.write_images();
        fixtures.write_recordings();
        fixtures.write_configurations();
        fixtures.write_suites();
        fixtures.write_foreign_weights();
        fixtures.write_simulator();
        fixtures
    }

    /// The path of a file below the folder.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// The command with its arguments split at spaces, `@name` standing for a file of the folder.
    pub fn latco(&self, working_folder: &Path, arguments: &str) -> Output {
        let expanded = arguments.split_whitespace().map(|argument| {
            let (flag, value) = argument.split_once('@').unwrap_or((argument, ""));
            match argument.contains('@') {
                true => format!("{flag}{}", self.path(value).display()),
                false => argument.to_owned(),
            }
        });
        Command::new(env!("CARGO_BIN_EXE_latco"))
            .args(expanded)
            .current_dir(working_folder)
            .env_remove("RUST_BACKTRACE")
            .output()
            .unwrap()
    }

    fn write(&self, name: &str, bytes: impl AsRef<[u8]>) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }

    fn write_half(&self, of: &str, name: &str) {
        let bytes = fs::read(self.path(of)).unwrap();
        self.write(name, &bytes[..bytes.len() / 2]);
    }

    /// The simulator of the documentation, as a program.
    fn write_simulator(&self) {
        let docs = include_str!("../../../../docs/environments.md");
        let source = &docs[docs.find("# point.py").unwrap()..];
        let source = &source[..source.find("```").unwrap()];
        self.write("point.py", format!("#!/usr/bin/env python3\n{source}"));
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;

            let executable = fs::Permissions::from_mode(0o755);
            fs::set_permissions(self.path("point.py"), executable).unwrap();
        }
    }

    fn write_checkpoints(&self) {
        for (name, actions) in [("model.safetensors", 2), ("three.safetensors", 3)] {
            let device = device(DEVICES[0].name).unwrap();
            let model = WorldModel::new(tiny_model(actions), 0, &device).unwrap();
            model.save(&self.path(name), Precision::Full).unwrap();
        }
        self.write_half("model.safetensors", "half.safetensors");
        self.write("empty", "");
        self.write("text", "neither an image nor a model");
        let header = r#"{"w":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}"#;
        let mut foreign = (header.len() as u64).to_le_bytes().to_vec();
        foreign.extend(header.bytes());
        foreign.extend([0; 4]);
        self.write("foreign.safetensors", foreign);
        let mut huge = u64::MAX.to_le_bytes().to_vec();
        huge.extend(header.bytes());
        self.write("huge.safetensors", huge);
    }

    fn write_images(&self) {
        let mut environment = make("reach", &EnvOptions::default()).unwrap();
        environment
            .reset(1)
            .unwrap()
            .save_png(&self.path("image.png"))
            .unwrap();
        let small = Image::new(48, 64, vec![90; 48 * 64 * 3]).unwrap();
        small.save_png(&self.path("wrong-size.png")).unwrap();
        self.write_half("image.png", "half.png");
    }

    fn write_recordings(&self) {
        for folder in ["recordings", "mixed"] {
            fs::create_dir_all(self.path(folder)).unwrap();
            for seed in 0..3 {
                let path = self.path(folder).join(format!("episode-{seed:06}.npz"));
                episode(seed, 64).save(&path).unwrap();
            }
        }
        let other = self.path("mixed").join("episode-000003.npz");
        episode(3, 32).save(&other).unwrap();
        self.write("mixed/episode-000004.npz", "damaged");
        fs::create_dir_all(self.path("large")).unwrap();
        episode(0, 48)
            .save(&self.path("large/episode.npz"))
            .unwrap();
        fs::create_dir_all(self.path("beyond")).unwrap();
        let picture = Image::from_fn(520, 64, |_, _| [9; 3]);
        Episode::new(&picture, &ActionSpace::unit(2))
            .save(&self.path("beyond/episode.npz"))
            .unwrap();
        self.write("damaged/episode-000000.npz", "damaged");
        fs::create_dir_all(self.path("folder")).unwrap();
        self.write("frames/table.csv", "action_0,reward\n0,0\n0.5,1\n");
        for name in ["frames/0.png", "frames/1.png"] {
            fs::copy(self.path("image.png"), self.path(name)).unwrap();
        }
        self.write("frameless/table.csv", "action_0,reward\n0,0\n");
    }

    /// Folders of checkpoints and of results.
    fn write_suites(&self) {
        for (folder, checkpoint) in [
            ("suite", "model.safetensors"),
            ("suite-damaged", "half.safetensors"),
            ("suite-mismatch", "three.safetensors"),
        ] {
            let bytes = fs::read(self.path(checkpoint)).unwrap();
            self.write(&format!("{folder}/reach.safetensors"), bytes);
        }
        self.write("suite-results/reach.json", "no results");
    }

    /// Weights of other implementations.
    fn write_foreign_weights(&self) {
        let sizes = Sizes {
            stochastic: 3,
            deterministic: 4,
            hidden: 5,
            reward_units: 6,
            action: 2,
            depth: 1,
        };
        let model = Foreign::random(sizes, 0);
        let lacks_bias = |arrays: Vec<Array>, index: usize| {
            let arrays = arrays.into_iter().enumerate();
            let rest = arrays.filter(|(at, _)| *at != index);
            rest.map(|(_, array)| array).collect::<Vec<_>>()
        };
        write_npz(&self.path("weights.npz"), &model.tensorflow());
        write_npz(&self.path("list.npz"), &model.tensorflow_in_order());
        write_pt(&self.path("weights.pt"), &model.pytorch());
        write_npz(
            &self.path("lacking.npz"),
            &lacks_bias(model.tensorflow(), 12),
        );
        write_npz(
            &self.path("lacking-list.npz"),
            &lacks_bias(model.tensorflow_in_order(), 15),
        );
        self.write_half("weights.npz", "half-weights.npz");
        self.write_half("weights.pt", "half-weights.pt");
        self.write("text.pt", "no pickle");
        self.write_objects("objects.npz");
    }

    /// An array of Python objects, which is a pickle.
    fn write_objects(&self, name: &str) {
        write_npz(
            &self.path(name),
            &[("arr_0".to_owned(), vec![1], vec![0.0])],
        );
        let bytes = fs::read(self.path(name)).unwrap();
        let text = |bytes: &[u8]| bytes == b"'<f4'";
        let at = bytes.windows(5).position(text).unwrap();
        let mut bytes = bytes;
        bytes[at..at + 5].copy_from_slice(b"'|O' ");
        self.write(name, bytes);
    }

    fn write_configurations(&self) {
        self.write("syntax.toml", "steps = = 3");
        self.write("unknown.toml", "[trainer]\nlearning_rat = 1e-3");
        self.write("nan.toml", "[trainer]\nlearning_rate = nan");
        self.write("type.toml", "steps = \"many\"");
        self.write("push.toml", "env = \"push\"");
        self.write("tiny.toml", tiny_run());
        self.write("reach.toml", tiny_benchmark());
        let run = RunFolder::new(self.path("run"));
        fs::create_dir_all(run.root()).unwrap();
        run.write_config(&RunConfig::small(
            make("reach", &EnvOptions::default()).unwrap().as_ref(),
        ))
        .unwrap();
        self.write("damaged-run/config.toml", "env = 3");
    }
}

/// A model so small that planning with it takes no time.
fn tiny_model(action_size: usize) -> WorldModelConfig {
    WorldModelConfig {
        stochastic: 3,
        deterministic: 4,
        hidden: 8,
        reward_units: 8,
        depth: 1,
        ..WorldModelConfig::small(action_size)
    }
}

/// Settings of a run that takes seconds.
fn tiny_run() -> &'static str {
    "steps = 3\n\
     [model]\nstochastic = 3\ndeterministic = 4\nhidden = 8\nreward_units = 8\ndepth = 1\n\
     [replay]\nbatch = 2\nlength = 4\n\
     [collect]\nprefill = 2\nevery = 1\nwarm_up = 1\nplanner = \"random\"\n"
}

/// The same as a benchmark of `reach`, which evaluates a checkpoint of another name.
fn tiny_benchmark() -> String {
    let evaluation = "[evaluation]\nhorizon = 12\nreplan_every = 6\nepisodes = 2\nseed = 77\n\
                      planners = [\"random\", \"cem\"]\ncheckpoint = \"shared\"\n";
    format!(
        "about = \"Reach.\"\nenv = \"reach\"\n{}{evaluation}",
        tiny_run()
    )
}

fn episode(seed: u64, image_size: usize) -> Episode {
    let options = EnvOptions {
        image_size,
        ..EnvOptions::default()
    };
    let mut environment = make("reach", &options).unwrap();
    run_episode(environment.as_mut(), &mut ScriptedPolicy::default(), seed)
        .unwrap()
        .episode
}
