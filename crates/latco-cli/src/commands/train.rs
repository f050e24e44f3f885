//! `latco train`: a world model from an environment or from recordings.

mod board;

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use clap::{ArgGroup, Args};
use indicatif::ProgressBar;
use latco_agent::{Actor, Progress, RunConfig, RunError, RunFolder, Source, TrainingRun};
use latco_env::{ActionSpace, EnvOptions, Environment, Episode, EpisodeFolder, ImageShape};
use latco_model::{WorldModel, WorldModelConfig};
use latco_plan::catalogue::planner;
use serde::Serialize;

use self::board::Board;
use super::inspect::no_episodes;
use crate::{
    arguments::{Common, EnvArguments, count, env_name},
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
/// with gradient steps. With --data, recordings are all there is.
///
/// Ctrl-C finishes the step in flight and saves; --resume goes on as if nothing had happened.
#[derive(Args)]
#[command(
    group = ArgGroup::new("source").args(["env", "data"]).multiple(false),
    after_help = "\
Settings come from the defaults, then --config (TOML), then --set, then flags; --print-config shows
the result. A resumed run keeps its settings, only the number of steps may change.

Examples:
  latco train --env reach --run runs/reach
  latco train --run runs/reach --resume --steps 20000
  latco train --data recordings --run runs/offline --set trainer.learning_rate=3e-4
  latco train --data recordings --run runs/finer --from runs/offline/checkpoint.safetensors
  latco train --env push --run runs/push --set collect.demonstrations=100
  latco train --env gym:Pendulum-v1 --run runs/swing --envs 2 --set collect.horizon=30
  latco train --env push --print-config > push.toml"
)]
pub struct Train {
    /// The environment to learn from: a name of `latco envs`, gym:ID or exec:COMMAND.
    #[arg(
        long,
        value_name = "NAME",
        value_parser = env_name,
        required_unless_present_any = ["data", "resume"]
    )]
    env: Option<String>,

    #[command(flatten)]
    env_arguments: EnvArguments,

    /// Environments that episodes are collected in side by side, each on a thread of its own.
    #[arg(long, value_name = "N", default_value = "1", value_parser = count())]
    envs: usize,

    /// The folder of recordings (.npz) to learn from.
    #[arg(long, value_name = "DIR", conflicts_with = "resume")]
    data: Option<PathBuf>,

    /// The run's folder: configuration, metrics, checkpoint, episodes.
    #[arg(long, value_name = "DIR", required_unless_present = "print_config")]
    run: Option<PathBuf>,

    /// Gradient steps of the whole run.
    #[arg(long, value_name = "N", value_parser = count())]
    steps: Option<usize>,

    /// Go on with the run in --run.
    #[arg(long, requires = "run")]
    resume: bool,

    /// Start from the weights of this checkpoint, whose sizes the run takes over.
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
    /// The recordings to start from; none with an environment.
    episodes: Vec<Episode>,
    /// The model to start from; none for random weights.
    model: Option<WorldModel>,
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
    demonstrations: usize,
    loss: Option<f32>,
    success_rate: Option<f64>,
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
        let (mut base, episodes) = self.base()?;
        let model = self.model(common)?;
        if let Some(model) = &model {
            take_sizes(&mut base, model.config())?;
        }
        let mut layers = Layers::new(&base)?;
        if let Some(path) = &self.config {
            layers.file(path)?;
        }
        for setting in &self.settings {
            layers.set(setting)?;
        }
        let mut config = layers.finish()?;
        config.steps = self.steps.unwrap_or(config.steps);
        config.seed = common.seed.unwrap_or(config.seed);
        config.validate()?;
        if self.resume {
            check_resumed(&base, &config)?;
        }
        self.check_source(&config, &base)?;
        check_planner(&config.collect.planner)?;
        let environments = self.environments(&config)?;
        if let (Some(environment), false) = (environments.first(), self.resume) {
            config.fit_size(environment.image_shape());
            config.validate()?;
        }
        let episodes = self.bounded(episodes, &config)?;
        if let Some(path) = &self.data {
            check_lengths(path, &episodes, config.replay.length)?;
        }
        Ok(Prepared {
            config,
            environments,
            episodes,
            model,
        })
    }

    /// As many environments as are to run side by side; none with recordings.
    fn environments(&self, config: &RunConfig) -> Result<Vec<Box<dyn Environment>>, CliError> {
        if config.env.is_empty() || self.print_config {
            return Ok(Vec::new());
        }
        let arguments = arguments_of(config)?;
        (0..self.envs)
            .map(|_| open_environment(&config.env, &arguments, &config.env_options))
            .collect()
    }

    /// The recordings with the bounds of actions that the settings tell, where they have none.
    fn bounded(
        &self,
        episodes: Vec<Episode>,
        config: &RunConfig,
    ) -> Result<Vec<Episode>, CliError> {
        let Some(path) = &self.data else {
            return Ok(episodes);
        };
        let refused = |problem: String| CliError::Recordings {
            path: path.clone(),
            problem,
        };
        let model = &config.model;
        let bounds = (model.action_low.clone(), model.action_high.clone());
        let told = ActionSpace::new(bounds.0, bounds.1).ok();
        let mut bounded = Vec::with_capacity(episodes.len());
        for episode in episodes {
            let episode = match &told {
                Some(space) if episode.action_space().is_unit() => episode
                    .with_action_space(space.clone())
                    .map_err(|error| refused(error.to_string()))?,
                _ => episode,
            };
            check_actions(&episode).map_err(refused)?;
            bounded.push(episode);
        }
        Ok(bounded)
    }

    /// The model that --from names.
    fn model(&self, common: &Common) -> Result<Option<WorldModel>, CliError> {
        match &self.from {
            Some(path) => Ok(Some(WorldModel::load(path, &common.device()?)?)),
            None => Ok(None),
        }
    }

    /// The settings that files and flags change: of the resumed run, else the defaults for the
    /// environment or the recordings, which come with them.
    fn base(&self) -> Result<(RunConfig, Vec<Episode>), CliError> {
        if let (Some(run), true) = (&self.run, self.resume) {
            return Ok((resumed_config(run)?, Vec::new()));
        }
        if let Some(data) = &self.data {
            let episodes = recordings(data)?;
            return Ok((offline_config(data, &episodes)?, episodes));
        }
        let name = self.env.clone().unwrap_or_default();
        let arguments = self.env_arguments.values();
        let environment = open_environment(&name, &arguments, &EnvOptions::default())?;
        let mut config = RunConfig::small(environment.as_ref());
        config.env = name;
        config.env_args = (arguments.into_iter())
            .map(|(key, value)| Ok((key, toml::Value::try_from(value)?)))
            .collect::<Result<_, toml::ser::Error>>()
            .map_err(|error| ConfigurationError::Value {
                origin: "--env-arg".to_owned(),
                reason: error.to_string(),
            })?;
        Ok((config, Vec::new()))
    }

    /// Refuses settings that contradict --env, --data or the sizes that come with them.
    fn check_source(&self, config: &RunConfig, base: &RunConfig) -> Result<(), ConfigurationError> {
        if let (None, Some(key)) = (&self.env, self.env_arguments.values().keys().next()) {
            return Err(ConfigurationError::Contradiction {
                key: "env_args",
                found: format!("changed by --env-arg {key}"),
                expected: "an --env beside it: a resumed run keeps its own".to_owned(),
            });
        }
        let env = self.env.as_ref().unwrap_or(&base.env);
        if config.env != *env {
            return Err(ConfigurationError::Contradiction {
                key: "env",
                found: format!("`{}`", config.env),
                expected: format!("`{env}`, which the flags name"),
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

    fn train(&self, prepared: Prepared, path: &Path, common: &Common) -> Result<Report, CliError> {
        let device = common.device()?;
        let folder = RunFolder::new(path);
        let interrupted = listen_for_interrupts()?;
        let steps = prepared.config.steps;
        let source = match prepared.environments.is_empty() {
            true => Source::Recordings,
            false => Source::Environments(prepared.environments),
        };
        let mut run = if self.resume {
            let run = TrainingRun::resume(source, folder.clone(), &device)?;
            folder.write_config(&prepared.config)?;
            run
        } else {
            keep_recordings(&folder, &prepared.episodes)?;
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
            device: common.device,
            seed: prepared.config.seed,
            steps: run.step(),
            demonstrations: prepared.config.collect.demonstrations,
            loss: watch.loss,
            success_rate: watch.success_rate(),
            checkpoint: folder.checkpoint(),
        };
        Report::new(&report, report.text())
    }
}

/// Advances the run to `steps` gradient steps or the first interrupt, then saves.
fn work(
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
    run.save()?;
    match &mut watch.board {
        Some(board) => board.predict(run),
        None => Ok(()),
    }
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

/// The usable recordings of a folder; the others are named and left out.
fn recordings(path: &Path) -> Result<Vec<Episode>, CliError> {
    let loaded = EpisodeFolder::open(path)?.load_all()?;
    let skipped: Vec<_> = loaded.skipped.iter().map(ToString::to_string).collect();
    skipped.iter().for_each(warn);
    let episodes: Vec<_> = loaded
        .episodes
        .into_iter()
        .map(|(_, episode)| episode)
        .collect();
    match episodes.is_empty() {
        true => Err(no_episodes(path, &skipped)),
        false => Ok(episodes),
    }
}

/// The defaults for recordings: no environment, images and actions as recorded, unbounded rewards where
/// some are outside `[0, 1]`, a continuation head where episodes end.
fn offline_config(path: &Path, episodes: &[Episode]) -> Result<RunConfig, CliError> {
    let refused = |problem: String| CliError::Recordings {
        path: path.to_owned(),
        problem,
    };
    let alike = |episode: &Episode| (shape(episode), episode.action_space().clone());
    let Some((images, actions)) = episodes.first().map(alike) else {
        return Err(no_episodes(path, &[]));
    };
    if episodes
        .iter()
        .any(|e| alike(e) != (images, actions.clone()))
    {
        return Err(refused(
            "expected recordings with one size of images and one range of actions, found several"
                .to_owned(),
        ));
    }
    images
        .validate()
        .map_err(|error| refused(error.to_string()))?;
    let mut config = RunConfig::offline(actions.size());
    if images.height == 32 && images.width == 32 * images.cameras {
        config.model.image_size = 32;
        config.model.pooling = 1;
    }
    config.fit(images, &actions);
    let mut rewards = episodes.iter().flat_map(|episode| &episode.rewards()[1..]);
    if rewards.any(|reward| !(0.0..=1.0).contains(reward)) {
        config.model.reward = latco_model::RewardKind::Gaussian;
    }
    let mut discounts = episodes.iter().flat_map(Episode::discounts);
    config.model.continuation = discounts.any(|&discount| discount == 0.0);
    Ok(config)
}

fn shape(episode: &Episode) -> ImageShape {
    ImageShape {
        cameras: episode.cameras(),
        ..ImageShape::new(episode.image_height(), episode.image_width())
    }
}

/// How far an action may be beyond its bounds, as a share of half their distance: rounding.
const ROUNDING: f32 = 1e-3;

/// Refuses actions beyond their bounds.
fn check_actions(episode: &Episode) -> Result<(), String> {
    let space = episode.action_space();
    let normalised = space.normalised(episode.actions());
    // The reset's action is no action: zero, whatever the bounds.
    let mut acted = normalised.iter().enumerate().skip(space.size());
    let Some((index, _)) = acted.find(|(_, x)| x.abs() > 1.0 + ROUNDING) else {
        return Ok(());
    };
    let entry = index % space.size();
    Err(format!(
        "an action has {} at entry {entry}, outside [{}, {}]: tell the bounds of all entries, such as \
         --set 'model.action_low=[0, 0]' --set 'model.action_high=[512, 512]'",
        episode.actions()[index],
        space.low()[entry],
        space.high()[entry]
    ))
}

/// Refuses sequences that no recording is long enough for, and tells of shorter recordings.
fn check_lengths(path: &Path, episodes: &[Episode], length: usize) -> Result<(), CliError> {
    let longest = episodes.iter().map(Episode::len).max().unwrap_or(0);
    if longest < length {
        return Err(CliError::Recordings {
            path: path.to_owned(),
            problem: format!(
                "no recording has the {length} frames of replay.length, the longest has {longest}: \
                 --set replay.length={longest} takes it"
            ),
        });
    }
    let short = episodes.iter().filter(|episode| episode.len() < length);
    let short = short.count();
    if short > 0 {
        warn(format!(
            "{short} of {} recordings are shorter than the {length} frames of replay.length: what is \
             missing in their sequences is filled up and does not count",
            episodes.len()
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

/// Copies recordings into the run, which is then complete in itself. A folder that holds a run
/// already is left alone: creating the run refuses it.
fn keep_recordings(folder: &RunFolder, episodes: &[Episode]) -> Result<(), CliError> {
    if episodes.is_empty() || folder.config().exists() {
        return Ok(());
    }
    let kept = EpisodeFolder::create(&folder.episodes())?;
    let name = |index| format!("episode-{index:06}.npz");
    // A call that was killed while copying left the first of them.
    let known: BTreeSet<_> = (0..episodes.len())
        .map(|index| kept.path().join(name(index)))
        .collect();
    if let Some(other) = kept.list()?.into_iter().find(|path| !known.contains(path)) {
        return Err(CliError::Recordings {
            path: other,
            problem: "an episode of something else is in the way: choose another --run".to_owned(),
        });
    }
    for (path, episode) in known.iter().zip(episodes) {
        episode.save(path)?;
    }
    Ok(())
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
    recent: VecDeque<bool>,
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
                actor: Actor::Planner,
                success,
                ..
            } => self.keep(*success),
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

    fn keep(&mut self, success: bool) {
        if self.recent.len() == RECENT {
            self.recent.pop_front();
        }
        self.recent.push_back(success);
    }

    /// The share of solved episodes among the planner's last ones.
    fn success_rate(&self) -> Option<f64> {
        let solved = self.recent.iter().filter(|solved| **solved).count();
        (!self.recent.is_empty()).then(|| solved as f64 / self.recent.len() as f64)
    }

    fn message(&self) -> String {
        let loss = self.loss.map(|loss| format!("loss {loss:.2}"));
        let rate = self.success_rate().map(|rate| format!("success {rate:.2}"));
        [loss, rate]
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
        if self.demonstrations > 0 {
            let count = format!("{} of the scripted expert", grouped(self.demonstrations));
            rows.push(("demonstrations", count));
        }
        rows.extend(self.loss.map(|loss| ("last loss", format!("{loss:.3}"))));
        let rate = self
            .success_rate
            .map(|rate| format!("{rate:.2} of the planner's last episodes"));
        rows.extend(rate.map(|rate| ("success rate", rate)));
        rows.push(("checkpoint", self.checkpoint.display().to_string()));
        aligned(&rows)
    }
}
