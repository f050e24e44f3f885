//! `latco train`: a world model from an environment or from recordings.

mod board;

use std::{
    collections::{BTreeMap, VecDeque},
    fs, io,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use clap::{ArgGroup, Args};
use indicatif::ProgressBar;
use latco_agent::{Progress, Promise, RunConfig, RunError, RunFolder, Source, TrainingRun};
use latco_env::{
    ActionSpace, EnvOptions, Environment, EpisodeSeries, ImageShape, Recorded, process::is_outside,
};
use latco_formats::{Manifest, ManifestError, Options};
use latco_model::{WorldModel, WorldModelConfig};
use latco_plan::catalogue::planner;
use serde::Serialize;

use self::board::Board;
use super::inspect::no_episodes;
use crate::{
    arguments::{Common, DataArguments, Task, TaskArguments, count},
    benchmark::Benchmark,
    configuration::{ConfigurationError, Layers, Setting, check_resumed, setting},
    destination::check_folder,
    error::CliError,
    explanation::explained,
    loading::open_environment,
    output::{Report, aligned, grouped, note, path_text, warn},
    progress,
};

/// Wall time between two saves, so that even a killed process loses little.
const SAVE_EVERY: Duration = Duration::from_secs(60);

/// Recent episodes of the planner that the success rate is taken over.
const RECENT: usize = 20;

/// Learn a world model, from an environment or from recordings.
///
/// With --env, episodes of random actions come first, and as many demonstrations of the scripted
/// expert as collect.demonstrations says (none by default); then episodes of the planner alternate
/// with gradient steps. With --data, recordings are all there is; with both, they are learnt from beside
/// the episodes. --benchmark is an --env with its arguments and settings from a file.
///
/// Ctrl-C finishes the step in flight and saves; --resume goes on as if nothing had happened.
#[derive(Args)]
#[command(
    group = ArgGroup::new("source").args(["env", "benchmark", "data", "resume"]).required(true).multiple(true),
    after_help = "\
Settings come from the defaults, then --benchmark, --config (TOML), --set, flags; --print-config shows
the result. A resumed run keeps its settings, only the number of steps may change.

Examples:
  latco train --env reach --run runs/reach
  latco train --run runs/reach --resume --steps 20000
  latco train --data recordings --run runs/offline --set trainer.learning_rate=3e-4
  latco train --data cube.h5 --run runs/cube --map image=camera/front
  latco train --data recordings --run runs/finer --from runs/offline/checkpoint.safetensors
  latco train --env push --run runs/push --set collect.demonstrations=100
  latco train --env gym:Pendulum-v1 --run runs/swing --envs 2 --set collect.horizon=30
  latco train --benchmark benchmarks/metaworld-reach.toml --run runs/arm
  latco train --data recordings --env reach --run runs/both --set 'collect.planner=[\"latco\", \"icem\"]' \\
      --set 'trainer.milestones=[4000]'
  latco train --env push --print-config > push.toml"
)]
pub struct Train {
    #[command(flatten)]
    task: TaskArguments,

    /// Environments that episodes are collected in side by side, each on a thread of its own
    /// [default: collect.environments, 1].
    #[arg(long, value_name = "N", value_parser = count())]
    envs: Option<usize>,

    /// The recordings to learn from, which stay where they are (docs/data.md has the formats). With
    /// --resume: where they have moved to.
    #[arg(long, value_name = "DIR|FILE")]
    data: Option<PathBuf>,

    #[command(flatten)]
    data_arguments: DataArguments,

    /// The run's folder: configuration, metrics, checkpoint, episodes.
    #[arg(long, value_name = "DIR", required_unless_present = "print_config")]
    run: Option<PathBuf>,

    /// Gradient steps of the whole run.
    #[arg(long, value_name = "N", value_parser = count())]
    steps: Option<usize>,

    /// Go on with the run in --run.
    #[arg(long, requires = "run")]
    resume: bool,

    /// Start from the weights of this checkpoint, whose sizes the run takes over; --set model.ensemble=N
    /// gives it that many new dynamics heads.
    #[arg(long, value_name = "FILE", conflicts_with = "resume")]
    from: Option<PathBuf>,

    /// Settings in TOML.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,

    /// One setting, such as trainer.learning_rate=3e-4; may be given often.
    #[arg(long = "set", value_name = "KEY=VALUE", value_parser = setting)]
    settings: Vec<Setting>,

    /// Also write event files for TensorBoard, to tensorboard/ in the run's folder.
    #[arg(long)]
    tensorboard: bool,

    /// Print the settings, each with its explanation, and stop.
    #[arg(long)]
    print_config: bool,
}

/// What a run learns from, checked and ready.
struct Prepared {
    config: RunConfig,
    /// The environments to collect in; none with recordings.
    environments: Vec<Box<dyn Environment>>,
    /// The recordings to learn from; none with an environment.
    recordings: Option<Data>,
    /// The model to start from; none for random weights.
    model: Option<WorldModel>,
}

/// Recordings that stay where they are.
struct Data {
    path: PathBuf,
    episodes: Vec<Arc<dyn Recorded>>,
    manifest: Manifest,
}

impl Data {
    fn series(&self) -> impl Iterator<Item = &EpisodeSeries> {
        self.episodes.iter().map(|episode| episode.series())
    }

    fn refused(&self, problem: String) -> CliError {
        CliError::Recordings {
            path: self.path.clone(),
            problem,
        }
    }
}

/// The figures of a run.
#[derive(Serialize)]
struct TrainReport<'a> {
    #[serde(serialize_with = "path_text")]
    run: &'a Path,
    env: String,
    device: &'a str,
    seed: u64,
    steps: usize,
    /// Recordings that it was given.
    recordings: usize,
    demonstrations: usize,
    loss: Option<f32>,
    /// Of the planner's last episodes, as all that follow.
    success_rate: Option<f64>,
    /// What plans promised for the steps executed, along the plans and rolled out, and what was got: means
    /// over episodes.
    promised: Option<f64>,
    rolled_out: Option<f64>,
    got: Option<f64>,
    #[serde(serialize_with = "path_text")]
    checkpoint: PathBuf,
}

impl Train {
    /// Prints the settings, or trains and reports.
    pub fn run(&self, common: &Common) -> Result<Report, CliError> {
        if let Some(run) = &self.run {
            check_folder("--run", run)?;
        }
        let prepared = self.prepare(common)?;
        match &self.run {
            Some(folder) if !self.print_config => self.train(prepared, folder, common),
            _ => print_config(&prepared.config),
        }
    }

    /// Everything that can be refused before anything is written.
    fn prepare(&self, common: &Common) -> Result<Prepared, CliError> {
        let benchmark = self.benchmark()?;
        let (mut base, recordings) = self.base(benchmark.as_ref())?;
        let model = self.model(common)?;
        if let Some(model) = &model {
            take_sizes(&mut base, model.config())?;
        }
        let mut config = self.layers(&base, benchmark.as_ref())?.finish()?;
        if !self.resume {
            check_arguments(&config)?;
            // Flags count above files, and those of --env-arg are in the base already.
            config.env_args.clone_from(&base.env_args);
        }
        config.steps = self.steps.unwrap_or(config.steps);
        config.seed = common.seed.unwrap_or(config.seed);
        config.collect.environments = self.envs.unwrap_or(config.collect.environments);
        config.validate()?;
        if self.resume {
            check_resumed(&base, &config)?;
        }
        self.check_source(&config, &base)?;
        for planner in &config.collect.planner {
            check_planner(planner)?;
        }
        let environments = self.environments(&config)?;
        if let (Some(environment), false) = (environments.first(), self.resume) {
            config.fit_size(environment.image_shape());
            config.validate()?;
        }
        if let (Some(data), false) = (&recordings, self.resume) {
            if let Some(environment) = environments.first() {
                check_alike(data, environment.as_ref())?;
            }
            check_room(data, config.replay.capacity)?;
            check_actions(data, &config.model)?;
            check_lengths(data, config.replay.length)?;
            for series in data.series() {
                config.check_recording(series)?;
            }
        }
        let model = match model {
            Some(model) if model.config().ensemble != config.model.ensemble => {
                Some(model.with_ensemble(config.model.ensemble, config.seed)?)
            }
            model => model,
        };
        Ok(Prepared {
            config,
            environments,
            recordings,
            model,
        })
    }

    /// The settings of `base`, with those of files and --set laid over them.
    fn layers(
        &self,
        base: &RunConfig,
        benchmark: Option<&Benchmark>,
    ) -> Result<Layers, ConfigurationError> {
        let mut layers = Layers::new(base)?;
        if let Some(benchmark) = benchmark {
            benchmark.lay_over(&mut layers)?;
        }
        if let Some(path) = &self.config {
            layers.file(path)?;
        }
        for setting in &self.settings {
            layers.set(setting)?;
        }
        Ok(layers)
    }

    /// What files, --set and --env-arg say of the environment: its arguments, those of a benchmark apart, and
    /// its options.
    fn told(
        &self,
        benchmark: Option<&Benchmark>,
    ) -> Result<(BTreeMap<String, serde_json::Value>, EnvOptions), CliError> {
        let config = self.layers(&RunConfig::offline(1), benchmark)?.read()?;
        let mut arguments = arguments_of(&config)?;
        arguments.extend(self.task.arguments());
        Ok((arguments, config.env_options))
    }

    /// The benchmark that a new run takes its settings from.
    fn benchmark(&self) -> Result<Option<Benchmark>, ConfigurationError> {
        match (self.task.benchmark(), self.resume) {
            (Some(_), true) => Err(ConfigurationError::Contradiction {
                key: "--benchmark",
                found: "given".to_owned(),
                expected: "nothing: a resumed run keeps its own settings".to_owned(),
            }),
            (path, _) => path.map(Benchmark::load).transpose(),
        }
    }

    /// As many environments as are to run side by side; none with recordings alone.
    fn environments(&self, config: &RunConfig) -> Result<Vec<Box<dyn Environment>>, CliError> {
        // Settings that are printed need to know what the environment shows, once, those of a run are known.
        let count = match (self.print_config, self.resume) {
            (true, true) => 0,
            (true, false) => 1,
            (false, _) => config.collect.environments,
        };
        if config.env.is_empty() {
            return Ok(Vec::new());
        }
        let arguments = arguments_of(config)?;
        (0..count)
            .map(|_| open_environment(&config.env, &arguments, &config.env_options))
            .collect()
    }

    /// The model that --from names.
    fn model(&self, common: &Common) -> Result<Option<WorldModel>, CliError> {
        match &self.from {
            Some(path) => Ok(Some(WorldModel::load(path, &common.device()?)?)),
            None => Ok(None),
        }
    }

    /// The settings that files and flags change: of the resumed run, else the defaults for the
    /// environment or the recordings, with a continuation head where episodes of these end. The recordings
    /// come with them.
    fn base(&self, benchmark: Option<&Benchmark>) -> Result<(RunConfig, Option<Data>), CliError> {
        if let (Some(run), true) = (&self.run, self.resume) {
            let config = resumed_config(run)?;
            let data = self.resumed_data(run, &config.env)?;
            return Ok((config, data));
        }
        let data = match &self.data {
            Some(path) => Some(recordings(path, &self.data_arguments.options())?),
            None => None,
        };
        let named = self.task.env().is_some() || benchmark.is_some();
        let mut config = match (&data, named) {
            (Some(data), false) => offline_config(data)?,
            _ => self.online_config(benchmark)?,
        };
        if let Some(data) = &data {
            let mut discounts = data.series().flat_map(EpisodeSeries::discounts);
            config.model.continuation = discounts.any(|&discount| discount == 0.0);
        }
        Ok((config, data))
    }

    /// The defaults for the environment that is named, or the benchmark's.
    fn online_config(&self, benchmark: Option<&Benchmark>) -> Result<RunConfig, CliError> {
        let (arguments, options) = self.told(benchmark)?;
        let task = match benchmark {
            Some(benchmark) => Task::of(benchmark.clone(), arguments),
            None => Task::named(self.task.env().unwrap_or_default(), arguments),
        };
        let environment = open_environment(&task.env, &task.arguments, &options)?;
        let mut config = RunConfig::small(environment.as_ref());
        config.env = task.env;
        config.env_args = (task.arguments.into_iter())
            .map(|(key, value)| Ok((key, toml::Value::try_from(value)?)))
            .collect::<Result<_, toml::ser::Error>>()
            .map_err(|error| ConfigurationError::Value {
                origin: "--env-arg".to_owned(),
                reason: error.to_string(),
            })?;
        Ok(config)
    }

    /// The recordings of the resumed run, where it has any that did not come into its folder.
    fn resumed_data(&self, run: &Path, env: &str) -> Result<Option<Data>, CliError> {
        let path = RunFolder::new(run).data();
        let refused = |source| data_error(&path, source);
        let text = match fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return match (&self.data, env) {
                    (None, _) => Ok(None),
                    (Some(_), "") => Err(no_data("the recordings in its folder").into()),
                    (Some(_), env) => Err(no_data(env).into()),
                };
            }
            Err(source) => return Err(CliError::Read { path, source }),
        };
        let mut manifest = Manifest::from_json(&text).map_err(refused)?;
        let (found, later) = manifest.reopen(self.data.as_deref()).map_err(refused)?;
        if later > 0 {
            warn(format!(
                "{} recordings have come since the run began: it goes on with those that it began with",
                grouped(later)
            ));
        }
        Ok(Some(Data {
            path: self.data.clone().unwrap_or_default(),
            episodes: found.episodes,
            manifest,
        }))
    }

    /// Refuses settings that contradict --env, --data or the sizes that come with them.
    fn check_source(&self, config: &RunConfig, base: &RunConfig) -> Result<(), ConfigurationError> {
        let named = self.task.env().is_some() || self.task.benchmark().is_some();
        let told = self.task.arguments();
        if let (true, Some(key)) = (self.resume || !named, told.keys().next()) {
            let expected = match self.resume {
                true => "nothing: a resumed run keeps its own",
                false => "an --env or a --benchmark beside it",
            };
            return Err(ConfigurationError::Contradiction {
                key: "env_args",
                found: format!("changed by --env-arg {key}"),
                expected: expected.to_owned(),
            });
        }
        if let (Some(count), true, false) = (self.envs, config.env.is_empty(), self.resume) {
            return Err(ConfigurationError::Contradiction {
                key: "--envs",
                found: count.to_string(),
                expected: "an --env or a --benchmark beside it".to_owned(),
            });
        }
        if let (true, Some(key)) = (
            self.resume || self.data.is_none(),
            self.data_arguments.key(),
        ) {
            return Err(ConfigurationError::Contradiction {
                key: "--map",
                found: format!("given for {key}"),
                expected: "a --data beside it: a resumed run keeps its own".to_owned(),
            });
        }
        let env = self.task.env().unwrap_or(&base.env);
        if config.env != env {
            return Err(ConfigurationError::Contradiction {
                key: "env",
                found: format!("`{}`", config.env),
                expected: format!("`{env}`, which the flags name"),
            });
        }
        if !self.resume && is_outside(&config.env) && config.env_options != EnvOptions::default() {
            return Err(ConfigurationError::Contradiction {
                key: "env_options",
                found: format!("changed for `{}`", config.env),
                expected: "nothing: they are of this program's own tasks; --env-arg tells others, such as \
                           --env-arg size=96"
                    .to_owned(),
            });
        }
        let [found, expected] = [config, base].map(|config| config.model.action_size);
        if found != expected {
            return Err(ConfigurationError::Contradiction {
                key: "model.action_size",
                found: found.to_string(),
                expected: format!("{expected}, which the data have"),
            });
        }
        Ok(())
    }

    fn train(
        &self,
        mut prepared: Prepared,
        path: &Path,
        common: &Common,
    ) -> Result<Report, CliError> {
        let device = common.device()?;
        let folder = RunFolder::new(path);
        let interrupted = listen_for_interrupts()?;
        let recorded = prepared.recordings.as_ref();
        let recorded = recorded.map(|data| data.episodes.clone());
        let recordings = recorded.as_ref().map_or(0, Vec::len);
        let source = match (recorded, prepared.environments) {
            (Some(recorded), environments) if environments.is_empty() => Source::Recorded(recorded),
            (Some(recorded), environments) => Source::Mixed(recorded, environments),
            (None, environments) if environments.is_empty() => Source::Recordings,
            (None, environments) => Source::Environments(environments),
        };
        let mut run = if self.resume {
            let run = TrainingRun::resume(source, folder.clone(), &device)?;
            // Steps that are done stay done.
            prepared.config.steps = prepared.config.steps.max(run.step());
            folder.write_config(&prepared.config)?;
            if let (Some(data), Some(_)) = (&prepared.recordings, &self.data) {
                note_recordings(&folder, data, prepared.config.env.is_empty())?;
            }
            run
        } else {
            folder.check_new(!prepared.config.env.is_empty())?;
            match &prepared.recordings {
                // A run that is there already keeps its own: beginning another is refused below.
                Some(_) if folder.config().exists() => (),
                Some(data) => note_recordings(&folder, data, prepared.config.env.is_empty())?,
                None => folder.forget_recordings()?,
            }
            let config = prepared.config.clone();
            match prepared.model {
                Some(model) => {
                    TrainingRun::from_model(model, source, config, folder.clone(), &device)?
                }
                None => TrainingRun::new(source, config, folder.clone(), &device)?,
            }
        };
        let board = match self.tensorboard {
            true => Some(Board::open(&folder, run.step(), &device)?),
            false => None,
        };
        let steps = prepared.config.steps;
        let mut watch = Watch::new(common, steps, run.step(), board);
        work(&mut run, steps, &interrupted, &mut watch)?;
        watch.bar.finish_and_clear();
        if run.step() < steps {
            return Err(CliError::Interrupted {
                step: run.step(),
                steps,
                folder: path.to_owned(),
            });
        }
        watch.check_skipped()?;
        note(common, format!("{} steps done", grouped(run.step())));
        let report = TrainReport {
            run: path,
            env: prepared.config.env,
            device: &common.device,
            seed: prepared.config.seed,
            steps: run.step(),
            recordings,
            demonstrations: prepared.config.collect.demonstrations,
            loss: watch.loss,
            success_rate: watch.success_rate(),
            promised: watch.mean(|episode| episode.promise.promised),
            rolled_out: watch.mean(|episode| episode.promise.rolled_out),
            got: watch.mean(|episode| episode.got),
            checkpoint: folder.checkpoint(),
        };
        Report::new(&report, report.text())
    }
}

/// Advances the run to `steps` gradient steps or the first interrupt; what was done is saved, whatever ended it.
fn work(
    run: &mut TrainingRun,
    steps: usize,
    interrupted: &AtomicBool,
    watch: &mut Watch,
) -> Result<(), CliError> {
    let advanced = advance(run, steps, interrupted, watch);
    let saved = run.save();
    advanced?;
    saved?;
    match &mut watch.board {
        Some(board) => board.predict(run),
        None => Ok(()),
    }
}

fn advance(
    run: &mut TrainingRun,
    steps: usize,
    interrupted: &AtomicBool,
    watch: &mut Watch,
) -> Result<(), CliError> {
    let mut saved = Instant::now();
    while run.step() < steps && !interrupted.load(Ordering::Relaxed) {
        let progress = run.advance()?;
        watch.see(&progress);
        if let Some(board) = &mut watch.board {
            board.see(&progress, run)?;
        }
        if saved.elapsed() > SAVE_EVERY {
            run.save()?;
            saved = Instant::now();
        }
    }
    Ok(())
}

/// A flag that Ctrl-C and a request to terminate raise.
fn listen_for_interrupts() -> Result<Arc<AtomicBool>, CliError> {
    let interrupted = Arc::new(AtomicBool::new(false));
    let raised = Arc::clone(&interrupted);
    ctrlc::set_handler(move || raised.store(true, Ordering::Relaxed))?;
    Ok(interrupted)
}

/// Gives the run the sizes of the model that it starts from, where that sees the same images and
/// actions.
fn take_sizes(base: &mut RunConfig, sizes: &WorldModelConfig) -> Result<(), ConfigurationError> {
    let own = &base.model;
    let size = |[width, height]: [usize; 2]| format!("{width}×{height}");
    let bounds = |model: &WorldModelConfig| match model.action_low.is_empty() {
        true => "-1 to 1".to_owned(),
        false => format!("{:?} to {:?}", model.action_low, model.action_high),
    };
    let pairs = [
        (
            "model.action_size",
            [sizes, own].map(|model| model.action_size.to_string()),
        ),
        ("model.action_low", [sizes, own].map(bounds)),
        (
            "model.cameras",
            [sizes, own].map(|model| model.cameras.to_string()),
        ),
        (
            "model.raw_size",
            [sizes, own].map(|model| size(model.camera_size())),
        ),
    ];
    for (key, [found, expected]) in pairs {
        if found != expected {
            return Err(ConfigurationError::Contradiction {
                key,
                found: format!("{found} in the checkpoint of --from"),
                expected: format!("{expected}, which the data have"),
            });
        }
    }
    base.model = sizes.clone();
    Ok(())
}

/// The error for --data where a resumed run learns from something else.
fn no_data(source: &str) -> ConfigurationError {
    ConfigurationError::Contradiction {
        key: "--data",
        found: "given".to_owned(),
        expected: format!("nothing: the resumed run learns from {source}"),
    }
}

/// Refuses arguments of an environment where there is none.
fn check_arguments(config: &RunConfig) -> Result<(), ConfigurationError> {
    match config.env_args.keys().next() {
        Some(key) if config.env.is_empty() => Err(ConfigurationError::Contradiction {
            key: "env_args",
            found: format!("given {key}"),
            expected: "an --env or a --benchmark beside it".to_owned(),
        }),
        _ => Ok(()),
    }
}

fn check_planner(name: &str) -> Result<(), ConfigurationError> {
    match planner(name, None) {
        Ok(_) => Ok(()),
        Err(error) => Err(ConfigurationError::Value {
            origin: "`collect.planner`".to_owned(),
            reason: error.to_string(),
        }),
    }
}

fn resumed_config(path: &Path) -> Result<RunConfig, CliError> {
    let folder = RunFolder::new(path);
    if !folder.config().exists() {
        return Err(latco_agent::RunError::Missing {
            path: path.to_owned(),
        }
        .into());
    }
    Ok(folder.read_config()?)
}

/// The usable recordings at a path; the others are named and left out.
fn recordings(path: &Path, options: &Options) -> Result<Data, CliError> {
    let mut found = latco_formats::open(path, options)?;
    let manifest =
        Manifest::of(path, options, &mut found).map_err(|source| data_error(path, source))?;
    let skipped: Vec<_> = found.skipped.iter().map(ToString::to_string).collect();
    skipped.iter().for_each(warn);
    match found.episodes.is_empty() {
        true => Err(no_episodes(path, &skipped)),
        false => Ok(Data {
            path: path.to_owned(),
            episodes: found.episodes,
            manifest,
        }),
    }
}

fn data_error(path: &Path, source: ManifestError) -> CliError {
    CliError::Data {
        path: path.to_owned(),
        source: Box::new(source),
    }
}

/// The defaults for recordings: no environment, images and actions as recorded, unbounded rewards where
/// some are outside `[0, 1]`.
fn offline_config(data: &Data) -> Result<RunConfig, CliError> {
    let alike = |series: &EpisodeSeries| (shape(series), series.action_space().clone());
    let mut kinds = data.series().map(alike);
    let Some((images, actions)) = kinds.next() else {
        return Err(no_episodes(&data.path, &[]));
    };
    if kinds.any(|kind| kind != (images, actions.clone())) {
        return Err(data.refused(
            "expected recordings with one size of images and one range of actions, found several"
                .to_owned(),
        ));
    }
    images.validate().map_err(|error| {
        data.refused(format!(
            "{error}; `latco import {} --out DIR --size 128x96` makes them smaller",
            data.path.display()
        ))
    })?;
    let mut config = RunConfig::offline(actions.size());
    if images.height == 32 && images.width == 32 * images.cameras {
        config.model.image_size = 32;
        config.model.pooling = 1;
    }
    config.fit(images, &actions);
    let mut rewards = data.series().flat_map(|series| &series.rewards()[1..]);
    if rewards.any(|reward| !(0.0..=1.0).contains(reward)) {
        config.model.reward = latco_model::RewardKind::Gaussian;
    }
    Ok(config)
}

/// Refuses recordings that show or take something else than the environment. Whether those that say nothing
/// of their actions' bounds are in its units, their actions tell.
fn check_alike(data: &Data, environment: &dyn Environment) -> Result<(), CliError> {
    let images = environment.image_shape();
    let actions = environment.action_space();
    let is_alike = |series: &EpisodeSeries| {
        let found = shape(series);
        let size = (found.width, found.height, found.cameras);
        let space = series.action_space();
        size == (images.width, images.height, images.cameras)
            && (space == actions || (space.is_unit() && space.size() == actions.size()))
    };
    match data.series().all(is_alike) {
        true => Ok(()),
        false => Err(data.refused(format!(
            "expected recordings of {}×{} images of {} cameras and {} entries an action within the bounds of {}",
            images.width,
            images.height,
            images.cameras,
            actions.size(),
            environment.name()
        ))),
    }
}

fn shape(series: &EpisodeSeries) -> ImageShape {
    ImageShape {
        cameras: series.cameras(),
        ..ImageShape::new(series.image_height(), series.image_width())
    }
}

/// Refuses what neither fits into memory nor can be read where it is.
fn check_room(data: &Data, capacity: usize) -> Result<(), CliError> {
    let frames: usize = data.series().map(EpisodeSeries::len).sum();
    let mut episodes = data.episodes.iter();
    match episodes.find(|episode| frames > capacity && !episode.is_random_access()) {
        None => Ok(()),
        Some(episode) => Err(RunError::Sequential {
            path: episode.path().to_owned(),
            capacity,
        }
        .into()),
    }
}

/// How far an action may be beyond its bounds, as a share of half their distance: rounding.
const ROUNDING: f32 = 1e-3;

/// Refuses actions beyond their bounds: the recording's, else those that the settings tell.
fn check_actions(data: &Data, model: &WorldModelConfig) -> Result<(), CliError> {
    let told = ActionSpace::new(model.action_low.clone(), model.action_high.clone()).ok();
    for series in data.series() {
        let space = match &told {
            Some(space) if series.action_space().is_unit() => space,
            _ => series.action_space(),
        };
        if space.size() != series.action_size() {
            return Err(data.refused(format!(
                "model.action_low has {} entries, an action {}",
                space.size(),
                series.action_size()
            )));
        }
        check_actions_of(series, space).map_err(|problem| data.refused(problem))?;
    }
    Ok(())
}

fn check_actions_of(series: &EpisodeSeries, space: &ActionSpace) -> Result<(), String> {
    let normalised = space.normalised(series.actions());
    // The reset's action is no action: zero, whatever the bounds.
    let mut acted = normalised.iter().enumerate().skip(space.size());
    let Some((index, _)) = acted.find(|(_, x)| x.abs() > 1.0 + ROUNDING) else {
        return Ok(());
    };
    let entry = index % space.size();
    Err(format!(
        "an action has {} at entry {entry}, outside [{}, {}]: tell the bounds of all entries, such as \
         --set 'model.action_low=[0, 0]' --set 'model.action_high=[512, 512]'",
        series.actions()[index],
        space.low()[entry],
        space.high()[entry]
    ))
}

/// Refuses sequences that no recording is long enough for, and tells of shorter recordings.
fn check_lengths(data: &Data, length: usize) -> Result<(), CliError> {
    let longest = data.series().map(EpisodeSeries::len).max().unwrap_or(0);
    if longest < 2 {
        let problem = "no recording has two frames, and so none a step to learn from";
        return Err(data.refused(problem.to_owned()));
    }
    if longest < length {
        return Err(data.refused(format!(
            "no recording has the {length} frames of replay.length, the longest has {longest}: \
             --set replay.length={longest} takes it"
        )));
    }
    let short = data.series().filter(|series| series.len() < length);
    let short = short.count();
    if short > 0 {
        warn(format!(
            "{short} of {} recordings are shorter than the {length} frames of replay.length: what is \
             missing in their sequences is filled up and does not count",
            data.episodes.len()
        ));
    }
    Ok(())
}

/// The arguments of a run's environment, as JSON.
fn arguments_of(config: &RunConfig) -> Result<BTreeMap<String, serde_json::Value>, CliError> {
    let arguments = config.env_args.iter();
    let pairs = arguments.map(|(key, value)| Ok((key.clone(), serde_json::to_value(value)?)));
    Ok(pairs.collect::<Result<_, serde_json::Error>>()?)
}

/// Notes in the run's folder what it learns from, and shows it there where the run adds no episodes of its
/// own.
fn note_recordings(folder: &RunFolder, data: &Data, alone: bool) -> Result<(), CliError> {
    let path = folder.data();
    let text = data
        .manifest
        .to_json()
        .map_err(|source| data_error(&path, source))?;
    fs::create_dir_all(folder.episodes())
        .and_then(|()| latco_env::write_atomic(&path, text.as_bytes()))
        .map_err(|source| CliError::Write { path, source })?;
    if alone {
        show_recordings(&folder.episodes(), data);
    }
    Ok(())
}

/// Puts a link to each recording into the run's folder, so that one sees there what it learns from and
/// other commands find it. Nothing depends on them: where there are no links, there are none.
fn show_recordings(folder: &Path, data: &Data) {
    let files = data.episodes.iter().map(|episode| episode.path());
    let mut shown: Option<&Path> = None;
    for file in files {
        if shown.replace(file) == Some(file) {
            continue;
        }
        let (Ok(target), Some(name)) = (fs::canonicalize(file), file.file_name()) else {
            continue;
        };
        let link = folder.join(name);
        if link.is_symlink() {
            // Of a call that was killed, and may have had other recordings.
            let _ = fs::remove_file(&link);
        }
        #[cfg(unix)]
        let _ = std::os::unix::fs::symlink(target, link);
        #[cfg(windows)]
        let _ = std::os::windows::fs::symlink_file(target, link);
    }
}

fn print_config(config: &RunConfig) -> Result<Report, CliError> {
    Report::new(config, explained(config)?)
}

/// Follows a run on a progress bar, and in TensorBoard where that was asked for.
struct Watch {
    bar: ProgressBar,
    board: Option<Board>,
    loss: Option<f32>,
    /// Gradient steps, and those among them that were skipped.
    taken: usize,
    skipped: usize,
    recent: VecDeque<Planned>,
}

/// What came of an episode of the planner.
#[derive(Clone, Copy)]
struct Planned {
    success: bool,
    promise: Promise,
    got: f64,
}

impl Watch {
    fn new(common: &Common, steps: usize, done: usize, board: Option<Board>) -> Self {
        let bar = progress::bar(common, "training", steps).with_position(done as u64);
        bar.reset_eta();
        Self {
            bar,
            board,
            loss: None,
            taken: 0,
            skipped: 0,
            recent: VecDeque::new(),
        }
    }

    fn see(&mut self, progress: &Progress) {
        match progress {
            Progress::Step { step, train } => {
                self.loss = Some(train.loss);
                self.taken += 1;
                self.skipped += usize::from(train.skipped);
                self.bar.set_position(*step as u64);
            }
            Progress::Episode {
                success,
                return_,
                promise: Some(promise),
                ..
            } => self.keep(Planned {
                success: *success,
                promise: *promise,
                got: f64::from(*return_),
            }),
            Progress::Episode { episodes, .. } => {
                self.bar.set_message(format!("{episodes} first episodes"));
                return;
            }
        }
        self.bar.set_message(self.message());
    }

    /// Refuses a run that learnt next to nothing, and warns of less.
    fn check_skipped(&self) -> Result<(), CliError> {
        if 2 * self.skipped > self.taken {
            return Err(RunError::NotFinite {
                steps: self.skipped,
            }
            .into());
        }
        if self.skipped > 0 {
            warn(format!(
                "{} of {} gradient steps were skipped: their loss was not finite",
                grouped(self.skipped),
                grouped(self.taken)
            ));
        }
        Ok(())
    }

    fn keep(&mut self, episode: Planned) {
        if self.recent.len() == RECENT {
            self.recent.pop_front();
        }
        self.recent.push_back(episode);
    }

    /// The mean over the planner's last episodes.
    fn mean(&self, value: fn(&Planned) -> f64) -> Option<f64> {
        let sum: f64 = self.recent.iter().map(value).sum();
        (!self.recent.is_empty()).then(|| sum / self.recent.len() as f64)
    }

    /// The share of solved episodes among the planner's last ones.
    fn success_rate(&self) -> Option<f64> {
        self.mean(|episode| f64::from(u8::from(episode.success)))
    }

    fn message(&self) -> String {
        let loss = self.loss.map(|loss| format!("loss {loss:.2}"));
        let rate = self.success_rate().map(|rate| format!("success {rate:.2}"));
        let promised = self.mean(|episode| episode.promise.promised);
        let promised = promised.map(|promised| format!("promised {promised:.1}"));
        let got = self.mean(|episode| episode.got);
        let got = got.map(|got| format!("got {got:.1}"));
        [loss, rate, promised, got]
            .into_iter()
            .flatten()
            .collect::<Vec<_>>()
            .join(", ")
    }
}

impl TrainReport<'_> {
    fn text(&self) -> String {
        let source = match self.env.as_str() {
            "" => "recordings".to_owned(),
            env => env.to_owned(),
        };
        let mut rows = vec![
            ("learnt from", source),
            (
                "steps",
                format!("{} on {}", grouped(self.steps), self.device),
            ),
        ];
        if self.recordings > 0 && !self.env.is_empty() {
            rows.push(("recordings", grouped(self.recordings)));
        }
        if self.demonstrations > 0 {
            let count = format!("{} of the scripted expert", grouped(self.demonstrations));
            rows.push(("demonstrations", count));
        }
        rows.extend(self.loss.map(|loss| ("last loss", format!("{loss:.3}"))));
        let rate = self
            .success_rate
            .map(|rate| format!("{rate:.2} of the planner's last episodes"));
        rows.extend(rate.map(|rate| ("success rate", rate)));
        if let (Some(promised), Some(rolled_out), Some(got)) =
            (self.promised, self.rolled_out, self.got)
        {
            let line = format!("{promised:.2}, rolled out {rolled_out:.2}, got {got:.2}");
            rows.push(("promised of them", line));
        }
        rows.push(("checkpoint", self.checkpoint.display().to_string()));
        aligned(&rows)
    }
}
