use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
};

use latco_env::{
    ActionSpace, EnvError, EnvOptions, Environment, EpisodeFileError, EpisodeFolder, EpisodeSeries,
    ImageShape, ReplayError,
};
use latco_model::{CheckpointError, RewardKind, TrainerConfig, WorldModelConfig};
use latco_plan::{ConfigError, catalogue::CatalogueError};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::{
    AgentError, EpisodeRunError, InterfaceError, images::check_series, interface::fit_size,
};

/// Everything that determines a training run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RunConfig {
    /// The environment's name; the empty name trains offline on the episodes there are.
    pub env: String,
    /// Arguments of an environment outside this process.
    #[serde(default)]
    #[schemars(with = "BTreeMap<String, serde_json::Value>")]
    pub env_args: BTreeMap<String, toml::Value>,
    /// Determines weights, samples, episodes and plans.
    pub seed: u64,
    /// Gradient steps of the whole run.
    pub steps: usize,
    /// How the environment renders and rewards.
    pub env_options: EnvOptions,
    /// Sizes of the world model.
    pub model: WorldModelConfig,
    /// The optimiser and the loss.
    pub trainer: TrainerConfig,
    /// Which sequences are trained on.
    pub replay: ReplayConfig,
    /// Which episodes are collected, and when.
    pub collect: CollectConfig,
}

/// Which sequences are trained on.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ReplayConfig {
    /// Frames kept in memory. Of recordings (--data) the others are read from disk when they are
    /// drawn; of episodes collected in an environment the oldest are no longer drawn.
    pub capacity: usize,
    /// Sequences of a gradient step.
    pub batch: usize,
    /// Frames of a sequence.
    pub length: usize,
    /// Share of the sequences that contain a rewarded frame where there is one.
    pub rewarded_share: f32,
}

impl Default for ReplayConfig {
    fn default() -> Self {
        Self {
            capacity: 100_000,
            batch: 16,
            length: 30,
            rewarded_share: 0.25,
        }
    }
}

/// Which episodes are collected, and when.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct CollectConfig {
    /// Episodes of drifting random actions before the first gradient step.
    pub prefill: usize,
    /// Episodes of the environment's scripted expert before the first gradient step, after the
    /// random ones: for tasks in which random actions never meet a reward.
    pub demonstrations: usize,
    /// Standard deviation of the action noise of the demonstrations.
    pub demonstration_noise: f64,
    /// Environments that episodes are collected in side by side, each on a thread of its own: as many
    /// episodes of the planner come at once, all of which know the same model.
    pub environments: usize,
    /// Gradient steps between two episodes of the planner.
    pub every: usize,
    /// Gradient steps after which those between the planner's episodes begin to count: the first comes
    /// `every` steps later.
    pub warm_up: usize,
    /// The planner's name; of several in a list each collects an episode in turn.
    #[serde(with = "one_or_more")]
    #[schemars(with = "Vec<String>")]
    pub planner: Vec<String>,
    /// Steps of a plan; 0 for a whole episode, at most 50.
    pub horizon: usize,
    /// Steps executed of a plan before the next is made.
    pub replan_every: usize,
    /// Standard deviation of the Gaussian exploration noise.
    pub exploration: f64,
}

/// The most steps of a plan where nothing else is asked for.
const LONGEST_HORIZON: usize = 50;

/// Seeds of runs are below it: those of their episodes, 2²⁰ for each run, are then apart.
const SEEDS: u64 = 1 << 43;

/// Steps of a plan for episodes of `time_limit` steps where nothing else is asked for: all of them, at most 50.
pub fn usual_horizon(time_limit: usize) -> usize {
    time_limit.clamp(1, LONGEST_HORIZON)
}

impl CollectConfig {
    /// Steps of a plan in episodes of `time_limit` steps.
    pub(crate) fn horizon(&self, time_limit: usize) -> usize {
        match self.horizon {
            0 => usual_horizon(time_limit),
            horizon => horizon,
        }
    }

    /// Who acts in the episode of this index.
    pub(crate) fn actor(&self, index: usize) -> Actor {
        let random = self.random_episodes();
        match index {
            _ if index < random => Actor::Random,
            _ if index < random + self.demonstrations => Actor::Expert,
            _ => Actor::Planner,
        }
    }

    /// Which of the planners acts in the episode of this index.
    pub(crate) fn turn(&self, index: usize) -> usize {
        let planned = index.saturating_sub(self.first_episodes());
        planned % self.planner.len().max(1)
    }

    /// Episodes before the first gradient step.
    pub(crate) fn first_episodes(&self) -> usize {
        self.random_episodes() + self.demonstrations
    }

    /// Random episodes: at least one episode must be there to learn from.
    fn random_episodes(&self) -> usize {
        match self.demonstrations {
            0 => self.prefill.max(1),
            _ => self.prefill,
        }
    }
}

/// One name as a string, several as a list: files with one read as they always did.
mod one_or_more {
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Names {
        One(String),
        More(Vec<String>),
    }

    pub fn serialize<S: Serializer>(names: &[String], serializer: S) -> Result<S::Ok, S::Error> {
        match names {
            [name] => name.serialize(serializer),
            names => names.serialize(serializer),
        }
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Vec<String>, D::Error> {
        Ok(match Names::deserialize(deserializer)? {
            Names::One(name) => vec![name],
            Names::More(names) => names,
        })
    }
}

/// Who acted in an episode.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Actor {
    /// Drifting random actions.
    Random,
    /// The environment's scripted expert, with noise: a demonstration.
    Expert,
    /// The planner, with exploration noise.
    Planner,
}

impl Default for CollectConfig {
    fn default() -> Self {
        Self {
            prefill: 200,
            demonstrations: 0,
            demonstration_noise: 0.2,
            environments: 1,
            every: 25,
            warm_up: 1_000,
            planner: vec!["latco".to_owned()],
            horizon: 0,
            replan_every: 15,
            exploration: 0.4,
        }
    }
}

impl RunConfig {
    /// The small preset for recordings with actions of `action_size` components, no environment.
    pub fn offline(action_size: usize) -> Self {
        Self {
            env: String::new(),
            env_args: BTreeMap::new(),
            seed: 0,
            steps: 6_000,
            env_options: EnvOptions::default(),
            model: WorldModelConfig::small(action_size),
            trainer: TrainerConfig::default(),
            replay: ReplayConfig::default(),
            collect: CollectConfig::default(),
        }
    }

    /// The small preset for an environment: what it shows and takes, plans made anew at half of their
    /// horizon, a reward head with the bounds `[0, 1]` where the environment's rewards have them.
    pub fn small(environment: &dyn Environment) -> Self {
        let mut config = Self::offline(environment.action_space().size());
        config.env = environment.name().to_owned();
        config.fit(environment.image_shape(), environment.action_space());
        config.collect.replan_every = usual_horizon(environment.time_limit()).div_ceil(2);
        if environment.reward_range() != Some([0.0, 1.0]) {
            config.model.reward = RewardKind::Gaussian;
        }
        config
    }

    /// Gives the model the images and actions that there are.
    pub fn fit(&mut self, images: ImageShape, actions: &ActionSpace) {
        let model = &mut self.model;
        model.action_size = actions.size();
        (model.action_low, model.action_high) = match actions.is_unit() {
            true => (Vec::new(), Vec::new()),
            false => (actions.low().to_vec(), actions.high().to_vec()),
        };
        model.cameras = images.cameras;
        model.grey = images.grey;
        self.fit_size(images);
    }

    /// Gives the model the size of the pictures that there are, however large its own are.
    pub fn fit_size(&mut self, images: ImageShape) {
        let picture = [images.width / images.cameras.max(1), images.height];
        fit_size(&mut self.model, picture);
    }

    /// Refuses settings outside their range.
    ///
    /// # Errors
    ///
    /// Names the first such setting.
    pub fn validate(&self) -> Result<(), RunError> {
        ConfigError::require(
            self.seed < SEEDS,
            "seed",
            self.seed,
            "below 8796093022208, so that the seeds of the run's episodes are its own",
        )?;
        self.env_options.validate()?;
        self.model.validate()?;
        self.trainer.validate()?;
        ConfigError::require(
            !self.trainer.ensemble_only || self.model.has_ensemble(),
            "trainer.ensemble_only",
            self.trainer.ensemble_only,
            "false, or a model.ensemble of 2 or more heads",
        )?;
        ConfigError::require_positive("steps", self.steps)?;
        ConfigError::require_positive("replay.capacity", self.replay.capacity)?;
        ConfigError::require_positive("replay.batch", self.replay.batch)?;
        ConfigError::require(
            self.replay.length >= 2,
            "replay.length",
            self.replay.length,
            "at least 2",
        )?;
        ConfigError::require(
            (0.0..=1.0).contains(&self.replay.rewarded_share),
            "replay.rewarded_share",
            self.replay.rewarded_share,
            "between 0 and 1",
        )?;
        ConfigError::require_non_negative(
            "collect.demonstration_noise",
            self.collect.demonstration_noise,
        )?;
        ConfigError::require_positive("collect.environments", self.collect.environments)?;
        ConfigError::require_positive("collect.every", self.collect.every)?;
        ConfigError::require(
            !self.collect.planner.is_empty(),
            "collect.planner",
            "[]",
            "the name of a planner, or several",
        )?;
        ConfigError::require_positive("collect.replan_every", self.collect.replan_every)?;
        ConfigError::require_non_negative("collect.exploration", self.collect.exploration)?;
        Ok(())
    }

    /// Refuses a recording that the model cannot be given.
    ///
    /// # Errors
    ///
    /// If its images or actions have another size than the model's, or a reward is outside the range of the
    /// reward head.
    pub fn check_recording(&self, series: &EpisodeSeries) -> Result<(), RunError> {
        let model = &self.model;
        check_series(model, series)?;
        // In the precision of rewards, so that a bound is within the range.
        let [least, most] = model.reward_range.map(|bound| bound as f32);
        let outside = |reward: &&f32| !(least..=most).contains(*reward);
        // The reset is no state that was come to, and has no reward.
        match series.rewards()[1..].iter().find(outside) {
            Some(&reward) if model.reward == RewardKind::Bernoulli => Err(RunError::Reward {
                reward,
                range: model.reward_range,
            }),
            _ => Ok(()),
        }
    }
}

/// Why a training run cannot go on.
#[derive(Debug, Error)]
pub enum RunError {
    /// A setting is refused.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// An option of the environment is refused, or it has no expert to demonstrate.
    #[error(transparent)]
    Env(#[from] EnvError),
    /// The environment shows or takes something else than the run's model.
    #[error(transparent)]
    Interface(#[from] InterfaceError),
    /// A reward that the head cannot have.
    #[error(
        "a reward of {reward} is outside the range [{}, {}] of the reward head: set model.reward_range, or model.reward=gaussian", range[0], range[1]
    )]
    Reward {
        /// The first such reward.
        reward: f32,
        /// The head's range.
        range: [f64; 2],
    },
    /// The loss is no number any more.
    #[error(
        "{steps} gradient steps were skipped, their loss was not finite: look for extreme rewards or actions in the data, or lower trainer.learning_rate"
    )]
    NotFinite {
        /// Steps skipped.
        steps: usize,
    },
    /// The planner cannot be made.
    #[error(transparent)]
    Planner(#[from] CatalogueError),
    /// An agent cannot be made.
    #[error(transparent)]
    Agent(#[from] AgentError),
    /// An episode broke off.
    #[error(transparent)]
    Episode(#[from] EpisodeRunError),
    /// An episode file cannot be read or written.
    #[error(transparent)]
    EpisodeFile(#[from] EpisodeFileError),
    /// The replay has nothing to give.
    #[error(transparent)]
    Replay(#[from] ReplayError),
    /// Weights or training state cannot be read or written.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// A file of the run folder cannot be read or written.
    #[error("cannot {action} {}: {source}", path.display())]
    File {
        /// What was tried.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// A file of the run folder is damaged.
    #[error("{} is damaged: {reason}", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The run's state is of a later version.
    #[error("{} was written by a later version of latco: resume the run with that one", path.display())]
    LaterState {
        /// The file.
        path: PathBuf,
    },
    /// Recordings that do not fit into memory, in a file from whose midst nothing is read.
    #[error(
        "{} is larger than the {capacity} frames of replay.capacity, and is compressed as a whole, so that \
         nothing is read from its midst: latco import --stored it, and train on the episodes that it becomes",
        path.display()
    )]
    Sequential {
        /// The file.
        path: PathBuf,
        /// Frames that are kept in memory.
        capacity: usize,
    },
    /// The model that a run was to start from has other sizes than the run's.
    #[error("the model to start from has the sizes {found:?}, the run's settings say {expected:?}")]
    OtherSizes {
        /// The model's.
        found: Box<WorldModelConfig>,
        /// The run's.
        expected: Box<WorldModelConfig>,
    },
    /// A run is resumed with another number of environments, and would collect at other steps.
    #[error(
        "the run collects episodes in {expected} environments side by side (collect.environments), found {found}: \
         resume it with as many"
    )]
    Environments {
        /// Given now.
        found: usize,
        /// What the run began with.
        expected: usize,
    },
    /// The folder already holds a run.
    #[error("{} already holds a run: continue it with --resume or choose another folder", path.display())]
    Exists {
        /// The folder.
        path: PathBuf,
    },
    /// The folder holds no run, but files that a new one would write over or go on in.
    #[error(
        "{} is there without a run (config.toml), expected a folder whose files a new run does not write over: \
         choose another one, or move the file away (recordings are learnt from wherever they are, with --data)",
        path.display()
    )]
    Occupied {
        /// The first such file.
        path: PathBuf,
    },
    /// The folder holds no run.
    #[error("{} holds no run to resume", path.display())]
    Missing {
        /// The folder.
        path: PathBuf,
    },
    /// Another process trains in the folder.
    #[error("another process is training in {}", path.display())]
    Locked {
        /// The folder.
        path: PathBuf,
    },
}

/// The files of a run.
#[derive(Clone, Debug)]
pub struct RunFolder {
    root: PathBuf,
}

impl RunFolder {
    /// The run in `root`, which need not exist yet.
    pub fn new(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into() }
    }

    /// The folder itself.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The configuration, `config.toml`.
    pub fn config(&self) -> PathBuf {
        self.root.join("config.toml")
    }

    /// One JSON object a line, `metrics.jsonl`.
    pub fn metrics(&self) -> PathBuf {
        self.root.join("metrics.jsonl")
    }

    /// Event files for TensorBoard where they were asked for, `tensorboard/`.
    pub fn tensorboard(&self) -> PathBuf {
        self.root.join("tensorboard")
    }

    /// The weights for use, `checkpoint.safetensors`.
    pub fn checkpoint(&self) -> PathBuf {
        self.root.join("checkpoint.safetensors")
    }

    /// Weights, moments, random states and counters for resuming, `training.state`.
    pub fn state(&self) -> PathBuf {
        self.root.join("training.state")
    }

    /// The file that a training process holds locked, `lock`.
    pub fn lock(&self) -> PathBuf {
        self.root.join("lock")
    }

    /// Which recordings the run learns from, where they stay where they are, `data.json`.
    pub fn data(&self) -> PathBuf {
        self.root.join("data.json")
    }

    /// The episodes, `episodes/`.
    pub fn episodes(&self) -> PathBuf {
        self.root.join("episodes")
    }

    /// Refuses the folder for a new run, which adds episodes of its own where it `collects`.
    ///
    /// # Errors
    ///
    /// If the folder holds a run already, or files that the new one would write over or go on in.
    pub fn check_new(&self, collects: bool) -> Result<(), RunError> {
        if self.config().exists() {
            return Err(RunError::Exists {
                path: self.root.clone(),
            });
        }
        let metrics = self.metrics();
        if metrics.exists() {
            return Err(RunError::Occupied { path: metrics });
        }
        // Beside a state they are what a run left that was broken off before it could be resumed.
        let weights = self.checkpoint();
        if weights.exists() && !self.state().exists() {
            return Err(RunError::Occupied { path: weights });
        }
        if collects && let Some(path) = self.first_episode()? {
            return Err(RunError::Occupied { path });
        }
        Ok(())
    }

    /// Removes the list of recordings that a call left which was refused or broken off, so that a new run without
    /// recordings is not resumed with them. Nothing where the folder holds a run.
    ///
    /// # Errors
    ///
    /// If the file cannot be removed.
    pub fn forget_recordings(&self) -> Result<(), RunError> {
        match self.config().exists() {
            true => Ok(()),
            false => remove_file(&self.data()),
        }
    }

    /// The first episode with a name that a run gives; a link is to a recording elsewhere, and may go.
    fn first_episode(&self) -> Result<Option<PathBuf>, RunError> {
        let folder = self.episodes();
        if !folder.is_dir() {
            return Ok(None);
        }
        let is_own = |path: &PathBuf| {
            let name = path.file_name().unwrap_or_default();
            name.as_encoded_bytes().starts_with(b"episode-") && !path.is_symlink()
        };
        let mut files = EpisodeFolder::open(&folder)?.list()?.into_iter();
        Ok(files.find(is_own))
    }

    /// The configuration as written.
    ///
    /// # Errors
    ///
    /// If the file is missing or damaged.
    pub fn read_config(&self) -> Result<RunConfig, RunError> {
        let path = self.config();
        let text = fs::read_to_string(&path).map_err(file_error("read", &path))?;
        toml::from_str(&text).map_err(|error| RunError::Damaged {
            path,
            reason: located(&text, &error),
        })
    }

    /// Writes the configuration.
    ///
    /// # Errors
    ///
    /// If the file cannot be written.
    pub fn write_config(&self, config: &RunConfig) -> Result<(), RunError> {
        let path = self.config();
        let text = toml::to_string(config).map_err(|error| RunError::Damaged {
            path: path.clone(),
            reason: error.to_string(),
        })?;
        latco_env::write_atomic(&path, text.as_bytes()).map_err(file_error("write", &path))
    }
}

/// What is wrong with the TOML of `text`, and in which line.
fn located(text: &str, error: &toml::de::Error) -> String {
    let Some(span) = error.span() else {
        return error.message().to_owned();
    };
    let before = text.bytes().take(span.start);
    let line = 1 + before.filter(|&byte| byte == b'\n').count();
    format!("line {line}: {}", error.message())
}

/// Attaches the file and what was tried to a system error.
/// Removes a file unless it is not there.
pub(crate) fn remove_file(path: &Path) -> Result<(), RunError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(file_error("remove", path)(error))
        }
        _ => Ok(()),
    }
}

pub(crate) fn file_error(
    action: &'static str,
    path: &Path,
) -> impl FnOnce(io::Error) -> RunError + use<> {
    let path = path.to_owned();
    move |source| RunError::File {
        action,
        path,
        source,
    }
}

#[cfg(test)]
mod tests {
    use latco_env::{EpisodeArrays, make};

    use super::*;

    fn small(name: &str) -> RunConfig {
        RunConfig::small(make(name, &EnvOptions::default()).unwrap().as_ref())
    }

    #[test]
    fn the_small_preset_fits_the_environment() {
        let reach = small("reach");
        assert_eq!(reach.collect, CollectConfig::default());
        assert_eq!(reach.model, WorldModelConfig::small(2));
        assert_eq!(reach.env, "reach");
        assert_eq!(small("push").collect.replan_every, 25);
        assert_eq!(small("lottery").model.reward, RewardKind::Gaussian);
    }

    #[test]
    fn a_model_is_fitted_to_images_and_actions() {
        let mut config = small("reach");
        let images = ImageShape {
            cameras: 2,
            grey: true,
            ..ImageShape::new(48, 128)
        };
        let actions = ActionSpace::new(vec![-2.0; 3], vec![2.0; 3]).unwrap();
        config.fit(images, &actions);
        config.validate().unwrap();
        let model = &config.model;
        assert_eq!((model.cameras, model.grey, model.action_size), (2, true, 3));
        assert_eq!(model.raw_size, [64, 48]);
        assert_eq!(model.action_high, [2.0; 3]);
        // As another file it reads the same.
        let text = toml::to_string(&config).unwrap();
        assert_eq!(toml::from_str::<RunConfig>(&text).unwrap(), config);
    }

    #[test]
    fn one_planner_is_a_name_and_several_are_a_list_that_take_turns() {
        let mut collect = CollectConfig::default();
        let text = toml::to_string(&collect).unwrap();
        assert!(text.contains("planner = \"latco\"\n"), "{text}");
        assert_eq!(toml::from_str::<CollectConfig>(&text).unwrap(), collect);
        collect.planner = ["latco", "icem", "mppi"].map(str::to_owned).to_vec();
        let text = toml::to_string(&collect).unwrap();
        assert_eq!(toml::from_str::<CollectConfig>(&text).unwrap(), collect);
        let first = collect.first_episodes();
        let turns: Vec<_> = (first..first + 4)
            .map(|index| collect.turn(index))
            .collect();
        assert_eq!(turns, [0, 1, 2, 0]);
        let mut config = small("reach");
        config.collect.planner.clear();
        let message = config.validate().unwrap_err().to_string();
        assert!(message.contains("collect.planner"), "{message}");
    }

    /// Two frames of 64×64 pixels, of which the second pays `reward`.
    fn recording(entries: usize, reward: f32) -> EpisodeSeries {
        EpisodeSeries::from_arrays(EpisodeArrays {
            image_height: 64,
            image_width: 64,
            cameras: 1,
            action_space: ActionSpace::unit(entries),
            images: Vec::new(),
            actions: vec![0.0; 2 * entries],
            rewards: vec![9.0, reward],
            discounts: vec![1.0; 2],
            sparse_rewards: None,
        })
        .unwrap()
    }

    /// The bounds are within the range, although −0.1 in single precision is below −0.1.
    #[test]
    fn recordings_are_checked_as_single_precision_has_them() {
        let mut config = small("reach");
        config.model.reward_range = [-0.1, 1.0];
        for reward in [-0.1, 0.5, 1.0] {
            config.check_recording(&recording(2, reward)).unwrap();
        }
        let error = config.check_recording(&recording(2, -0.11)).unwrap_err();
        assert!(matches!(error, RunError::Reward { .. }), "{error}");
        let error = config.check_recording(&recording(3, 0.5)).unwrap_err();
        assert!(error.to_string().contains("`action`"), "{error}");
        config.model.reward = RewardKind::Gaussian;
        config.check_recording(&recording(2, -7.0)).unwrap();
    }

    #[test]
    fn seeds_that_episodes_of_other_runs_would_share_are_refused() {
        let mut config = small("reach");
        config.seed = SEEDS - 1;
        config.validate().unwrap();
        config.seed = SEEDS;
        let message = config.validate().unwrap_err().to_string();
        assert!(
            message.contains("`seed`") && message.contains(&SEEDS.to_string()),
            "{message}"
        );
    }

    #[test]
    fn plans_are_as_long_as_episodes_but_bounded() {
        let mut collect = CollectConfig::default();
        assert_eq!((collect.horizon(30), collect.horizon(500)), (30, 50));
        collect.horizon = 12;
        assert_eq!(collect.horizon(30), 12);
    }
}
