use std::{
    collections::VecDeque,
    fs::{self, File, OpenOptions, TryLockError},
    io::{self, Seek, SeekFrom, Write},
    panic::resume_unwind,
    path::Path,
    sync::Arc,
    thread,
    time::Instant,
};

use burn::tensor::Device;
use latco_env::{EnvError, Environment, Episode, EpisodeFolder, Recorded, Replay, SkippedFile};
use latco_model::{Batch, Precision, Sequences, TrainStep, Trainer, WorldModel};
use latco_plan::{ConfigError, catalogue::planner};
use serde::Serialize;

use crate::{
    Agent, AgentConfig, AgentError, DriftingPolicy, EpisodeRunError, Policy, Promise,
    RecordedEpisode, RunConfig, RunError, RunFolder, ScriptedPolicy, check_interface,
    device::trainer_on,
    evaluate::{plain, planned_episode},
    images::{SeenEpisode, told_bounds},
    preprocessed_episode,
    run::{Actor, file_error, remove_file},
    run_episode,
    state::{Counters, SavedState, StateError},
};

/// What a training run has just done.
#[derive(Clone, Debug, PartialEq)]
pub enum Progress {
    /// Collected an episode.
    Episode {
        /// Gradient steps so far.
        step: usize,
        /// Episodes so far.
        episodes: usize,
        /// Who acted.
        actor: Actor,
        /// The summed reward.
        return_: f32,
        /// Whether the task was solved at any step.
        success: bool,
        /// What the plans promised for the steps of an episode of the planner, whose return is what was
        /// got.
        promise: Option<Promise>,
    },
    /// Took a gradient step.
    Step {
        /// Gradient steps so far.
        step: usize,
        /// What the step saw.
        train: TrainStep,
    },
}

/// What a run learns from.
pub enum Source {
    /// Episodes that the run collects in environments, all alike and at least one: as many episodes at
    /// once, side by side.
    Environments(Vec<Box<dyn Environment>>),
    /// The recordings in the folder's `episodes/`, all of which must be usable.
    Recordings,
    /// These recordings. Frames beyond `replay.capacity` stay where they are and are read when a
    /// sequence of them is drawn.
    Recorded(Vec<Arc<dyn Recorded>>),
    /// These recordings, which are never dropped, and episodes that the run collects in environments.
    Mixed(Vec<Arc<dyn Recorded>>, Vec<Box<dyn Environment>>),
}

impl Source {
    /// Environments to collect in; `None` of recordings alone.
    fn environments(&self) -> Option<usize> {
        match self {
            Self::Environments(environments) | Self::Mixed(_, environments) => {
                Some(environments.len())
            }
            Self::Recordings | Self::Recorded(_) => None,
        }
    }
}

impl From<Box<dyn Environment>> for Source {
    fn from(environment: Box<dyn Environment>) -> Self {
        Self::Environments(vec![environment])
    }
}

/// A run that alternates collecting episodes with gradient steps.
///
/// After every episode of the planner, and whenever [`save`](Self::save) is called, the folder holds a state
/// from which [`resume`](Self::resume) goes on as if the run had not stopped; what came after it is done again.
pub struct TrainingRun {
    config: RunConfig,
    folder: RunFolder,
    /// `None` where the run learns from recordings alone.
    collector: Option<Collector>,
    /// Recordings that the replay has yet to take in; none for a run that collects alone.
    recordings: Option<Vec<Arc<dyn Recorded>>>,
    /// The episode that came last, as recorded.
    newest: Option<Arc<dyn Recorded>>,
    trainer: Trainer,
    replay: Replay,
    counters: Counters,
    /// Episodes of a round that are yet to be kept, with who acted in them.
    collected: VecDeque<(Actor, Result<Collected, EpisodeRunError>)>,
    /// Gradient steps that were skipped in a row.
    skipped: usize,
    /// Lines of metrics that could not be written yet.
    unwritten: Vec<u8>,
    started: Instant,
    _lock: File,
}

/// What a run collects episodes with.
struct Collector {
    environments: Vec<Box<dyn Environment>>,
    /// One for each planner that collects, in the order of their turns.
    agents: Vec<Agent>,
}

/// An episode, and what the plans promised of it where one was planned.
type Collected = (RecordedEpisode, Option<Promise>);

/// One line of `metrics.jsonl`.
#[derive(Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
enum Metric<'a> {
    Train {
        step: usize,
        seconds: f64,
        #[serde(flatten)]
        train: &'a TrainStep,
    },
    Episode {
        step: usize,
        seconds: f64,
        episode: usize,
        planned: bool,
        demonstration: bool,
        #[serde(rename = "return")]
        return_: f32,
        success: bool,
        #[serde(flatten)]
        plans: Option<Plans<'a>>,
    },
}

/// Who planned an episode, and what the plans promised for its steps; `return` is what was got.
#[derive(Serialize)]
struct Plans<'a> {
    planner: &'a str,
    #[serde(flatten)]
    promise: Promise,
}

/// Gradient steps between two lines of training metrics.
const METRICS_EVERY: usize = 10;

/// Skipped gradient steps in a row after which a run gives up.
const MOST_SKIPPED: usize = 50;

/// Keeps the seeds of collected episodes apart from those of evaluations.
const EPISODE_SEEDS: u64 = 1 << 32;

impl TrainingRun {
    /// Starts a run in a folder that holds none, in an environment or from the recordings that are in
    /// the folder's `episodes/` ([`Source`]), whose number of environments is noted in the settings.
    ///
    /// # Errors
    ///
    /// If a setting is refused, the environment is unlike the model, a recording is unlike it or damaged, the
    /// folder already holds a run or what this one would write over, or a file cannot be written.
    pub fn new(
        source: impl Into<Source>,
        config: RunConfig,
        folder: RunFolder,
        device: &Device,
    ) -> Result<Self, RunError> {
        let source: Source = source.into();
        folder.check_new(source.environments().is_some())?;
        let config = noting_environments(config, &source);
        let mut run = Self::assemble(source, config, folder, device)?;
        run.check_still_new()?;
        // Of a run that was broken off before it could be resumed.
        remove_file(&run.folder.state())?;
        run.begin()?;
        run.folder.write_config(&run.config)?;
        Ok(run)
    }

    /// Starts a run as [`new`](Self::new) does, from the weights of `model` in place of random ones.
    /// What Adam knew of its gradients is not part of a model: its moments begin at zero.
    ///
    /// # Errors
    ///
    /// As [`new`](Self::new), and if `model` has other sizes than `config.model`.
    pub fn from_model(
        model: WorldModel,
        source: impl Into<Source>,
        config: RunConfig,
        folder: RunFolder,
        device: &Device,
    ) -> Result<Self, RunError> {
        let source: Source = source.into();
        folder.check_new(source.environments().is_some())?;
        if *model.config() != config.model {
            return Err(RunError::OtherSizes {
                found: Box::new(model.config().clone()),
                expected: Box::new(config.model),
            });
        }
        let config = noting_environments(config, &source);
        config.validate()?;
        let mut run = Self::assemble_with(model, source, config, folder, device)?;
        run.check_still_new()?;
        run.begin()?;
        // Resuming must find these weights, before it can find the run.
        run.save()?;
        run.folder.write_config(&run.config)?;
        Ok(run)
    }

    /// Goes on with the run in a folder, from its last saved state.
    ///
    /// # Errors
    ///
    /// If the folder holds no run, another process trains in it, a file is damaged, or the run began with
    /// another kind of source, or another environment, or more or fewer of it.
    pub fn resume(
        source: impl Into<Source>,
        folder: RunFolder,
        device: &Device,
    ) -> Result<Self, RunError> {
        if !folder.config().exists() {
            return Err(RunError::Missing {
                path: folder.root().to_owned(),
            });
        }
        let config = folder.read_config()?;
        let mut run = Self::assemble(source.into(), config, folder, device)?;
        run.restore()?;
        Ok(run)
    }

    fn assemble(
        source: Source,
        config: RunConfig,
        folder: RunFolder,
        device: &Device,
    ) -> Result<Self, RunError> {
        config.validate()?;
        let model = WorldModel::new(config.model.clone(), config.seed, device)?;
        Self::assemble_with(model, source, config, folder, device)
    }

    fn assemble_with(
        model: WorldModel,
        source: Source,
        config: RunConfig,
        folder: RunFolder,
        device: &Device,
    ) -> Result<Self, RunError> {
        check_source(&config, &source)?;
        let trainer_config = trainer_on(device, config.trainer.clone());
        let trainer = Trainer::new(model, trainer_config, config.seed, device)?;
        let episodes = folder.episodes();
        let (recordings, environments) = match source {
            Source::Environments(environments) => (None, Some(environments)),
            Source::Recordings => (Some(recordings_in(&episodes)?), None),
            Source::Recorded(recorded) => (Some(recorded), None),
            Source::Mixed(recorded, environments) => (Some(recorded), Some(environments)),
        };
        let mut longest = 0;
        for recorded in recordings.iter().flatten() {
            config.check_recording(recorded.series())?;
            longest = longest.max(recorded.series().len());
        }
        let collector = environments
            .map(|environments| {
                Collector::new(environments, longest, &config, trainer.model(), device)
            })
            .transpose()?;
        fs::create_dir_all(&episodes).map_err(file_error("create", &episodes))?;
        let lock = lock(&folder)?;
        for path in [folder.root(), &episodes] {
            latco_env::remove_unfinished(path).map_err(file_error("clear", path))?;
        }
        Ok(Self {
            _lock: lock,
            replay: Replay::new(config.replay.capacity)?,
            counters: Counters::new(config.seed),
            collector,
            recordings,
            newest: None,
            config,
            folder,
            trainer,
            collected: VecDeque::new(),
            skipped: 0,
            unwritten: Vec::new(),
            started: Instant::now(),
        })
    }

    /// Refuses a folder in which another process has begun a run before this one locked it.
    fn check_still_new(&self) -> Result<(), RunError> {
        self.folder.check_new(self.collector.is_some())
    }

    /// What a run needs before its first step: the recordings, where it has any. Their images go into
    /// memory as long as there is room, the others' are read when they are drawn.
    fn begin(&mut self) -> Result<(), RunError> {
        let Some(recordings) = self.recordings.take() else {
            return Ok(());
        };
        let model = Arc::new(self.config.model.clone());
        let capacity = self.config.replay.capacity;
        let mut room = capacity;
        let mut seen: Vec<Arc<dyn Recorded>> = Vec::new();
        self.newest = recordings.last().cloned();
        for recorded in recordings {
            let episode = SeenEpisode::new(Arc::clone(&model), recorded)?;
            let length = episode.series().len();
            if length <= room {
                room -= length;
                seen.push(Arc::new(Episode::read(&episode)?));
            } else if episode.is_random_access() {
                seen.push(Arc::new(episode));
            } else {
                return Err(RunError::Sequential {
                    path: episode.path().to_owned(),
                    capacity,
                });
            }
        }
        if self.collector.is_none() {
            self.counters.episodes = seen.len();
        }
        self.replay = Replay::beside(seen, capacity)?;
        Ok(())
    }

    /// Takes an episode into the replay, as the model sees it.
    fn remember(&mut self, episode: Episode) -> Result<(), RunError> {
        self.config.check_recording(episode.series())?;
        self.newest = Some(Arc::new(episode.clone()));
        let seen = preprocessed_episode(&self.config.model, episode)?;
        Ok(self.replay.push(seen)?)
    }

    /// The settings of the run.
    pub fn config(&self) -> &RunConfig {
        &self.config
    }

    /// The run's files.
    pub fn folder(&self) -> &RunFolder {
        &self.folder
    }

    /// The model as it is now.
    pub fn model(&self) -> WorldModel {
        self.trainer.model()
    }

    /// The episode that came last, as it was recorded.
    ///
    /// # Errors
    ///
    /// If it is on disk and cannot be read any more, or its actions have not the bounds that the settings tell.
    pub fn last_episode(&self) -> Result<Option<Episode>, RunError> {
        let Some(newest) = &self.newest else {
            return Ok(None);
        };
        let episode = Episode::read(newest.as_ref())?;
        match told_bounds(&self.config.model, &episode) {
            Some(space) => Ok(Some(
                episode.with_action_space(space).map_err(AgentError::from)?,
            )),
            None => Ok(Some(episode)),
        }
    }

    /// Episodes that the run has collected; its recordings where it learns from those alone.
    pub fn episodes(&self) -> usize {
        self.counters.episodes
    }

    /// Gradient steps so far.
    pub fn step(&self) -> usize {
        self.counters.step
    }

    /// Whether all gradient steps are done.
    pub fn is_finished(&self) -> bool {
        self.counters.step >= self.config.steps
    }

    /// The next piece of work: an episode where one is due, else a gradient step.
    ///
    /// # Errors
    ///
    /// If an episode breaks off, a file cannot be written, or the loss is not finite any more. What was
    /// done before is kept, so that the run can be resumed, or advanced again.
    pub fn advance(&mut self) -> Result<Progress, RunError> {
        if self.collected.is_empty() {
            self.collect()?;
        }
        let Some((actor, recorded)) = self.collected.pop_front() else {
            return self.train();
        };
        let kept = match recorded {
            Ok(collected) => self.keep(actor, collected),
            Err(error) => Err(error.into()),
        };
        if kept.is_err() {
            // The episodes after it would be counted in its place.
            self.collected.clear();
        }
        kept
    }

    /// Writes the weights for use and the state for resuming.
    ///
    /// # Errors
    ///
    /// If a file cannot be written.
    pub fn save(&mut self) -> Result<(), RunError> {
        self.counters.seconds = self.seconds();
        self.started = Instant::now();
        self.keep_metrics()?;
        let saved = SavedState {
            sizes: self.config.model.clone(),
            counters: self.counters.clone(),
            trainer: self.trainer.state()?,
        };
        let path = self.folder.state();
        let damaged = |reason| RunError::Damaged {
            path: path.clone(),
            reason,
        };
        let bytes = saved.to_bytes().map_err(damaged)?;
        latco_env::write_atomic(&path, &bytes).map_err(file_error("write", &path))?;
        let checkpoint = self.folder.checkpoint();
        let bytes = self.trainer.model().to_bytes(Precision::Full)?;
        latco_env::write_atomic(&checkpoint, &bytes).map_err(file_error("write", &checkpoint))
    }

    /// Puts the metrics that the state will count onto the disk before the state.
    fn keep_metrics(&mut self) -> Result<(), RunError> {
        self.write_metrics()?;
        let metrics = self.folder.metrics();
        if !metrics.exists() {
            return Ok(());
        }
        // Windows syncs no file that is open for reading alone.
        let open = OpenOptions::new().write(true).open(&metrics);
        open.and_then(|file| file.sync_all())
            .map_err(file_error("write", &metrics))
    }

    fn restore(&mut self) -> Result<(), RunError> {
        let path = self.folder.state();
        if !path.exists() {
            self.begin()?;
            return self.forget_later_metrics();
        }
        let bytes = fs::read(&path).map_err(file_error("read", &path))?;
        let damaged = |reason| RunError::Damaged {
            path: path.clone(),
            reason,
        };
        let saved = SavedState::from_bytes(&bytes).map_err(|error| match error {
            StateError::Later => RunError::LaterState { path: path.clone() },
            StateError::Damaged(reason) => damaged(reason),
        })?;
        if saved.sizes != self.config.model {
            let reason = "its model has other sizes than config.toml says";
            return Err(damaged(reason.to_owned()));
        }
        let restored = self.trainer.restore(saved.trainer);
        restored.map_err(|error| damaged(error.to_string()))?;
        self.counters = saved.counters;
        self.begin()?;
        if self.collector.is_some() {
            for index in 0..self.counters.episodes {
                self.remember(Episode::load(&self.episode_path(index))?)?;
            }
        }
        self.forget_later_metrics()
    }

    /// Cuts the metrics off where the restored state stands; where they are shorter, or gone, the
    /// run goes on after what is left of them.
    fn forget_later_metrics(&mut self) -> Result<(), RunError> {
        let metrics = self.folder.metrics();
        let failed = |source| file_error("write", &metrics)(source);
        let file = match OpenOptions::new().write(true).open(&metrics) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                self.counters.metrics_bytes = 0;
                return Ok(());
            }
            Err(error) => return Err(failed(error)),
        };
        let length = file.metadata().map_err(failed)?.len();
        self.counters.metrics_bytes = self.counters.metrics_bytes.min(length);
        file.set_len(self.counters.metrics_bytes).map_err(failed)
    }

    /// Episodes that should have been collected by now.
    fn episodes_due(&self) -> usize {
        let collect = &self.config.collect;
        let planned = self.counters.step.saturating_sub(collect.warm_up) / collect.every;
        collect.first_episodes() + planned
    }

    /// Collects the episodes that are due, as many at once as there are environments.
    fn collect(&mut self) -> Result<(), RunError> {
        let first = self.counters.episodes;
        let due = self.episodes_due().saturating_sub(first);
        let Some(collector) = &mut self.collector else {
            return Ok(());
        };
        let collect = &self.config.collect;
        let side_by_side = collector.environments.len();
        // Planned episodes come in whole rounds, so that all of a round know the same model, also where
        // a round is resumed in its midst.
        let count = match first.checked_sub(collect.first_episodes()) {
            Some(planned) => side_by_side - planned % side_by_side,
            None => side_by_side.min(due),
        };
        if due == 0 || due < count {
            return Ok(());
        }
        let model = self.trainer.model();
        for agent in &mut collector.agents {
            agent.set_model(model.clone());
        }
        let seeds = EPISODE_SEEDS.wrapping_add(self.config.seed << 20);
        let episodes = (first..first + count).map(|index| Due {
            actor: collect.actor(index),
            turn: collect.turn(index),
            seed: seeds.wrapping_add(index as u64),
        });
        let noise = collect.demonstration_noise as f32;
        self.collected = collector.round(episodes.collect(), noise).into();
        Ok(())
    }

    /// Writes an episode, then the state that knows of it.
    fn keep(&mut self, actor: Actor, (recorded, promise): Collected) -> Result<Progress, RunError> {
        let RecordedEpisode { episode, success } = recorded;
        let (index, return_) = (self.counters.episodes, episode.total_reward());
        episode.save(&self.episode_path(index))?;
        self.remember(episode)?;
        self.counters.episodes += 1;
        let step = self.counters.step;
        let collect = &self.config.collect;
        let planner = collect.planner[collect.turn(index)].clone();
        self.write_metric(&Metric::Episode {
            step,
            seconds: self.seconds(),
            episode: index,
            planned: actor == Actor::Planner,
            demonstration: actor == Actor::Expert,
            return_,
            success,
            plans: promise.map(|promise| Plans {
                planner: &planner,
                promise,
            }),
        })?;
        if actor == Actor::Planner {
            self.save()?;
        }
        Ok(Progress::Episode {
            step,
            episodes: self.counters.episodes,
            actor,
            return_,
            success,
            promise,
        })
    }

    fn train(&mut self) -> Result<Progress, RunError> {
        let batch = self.sample()?;
        let learning_rate = self.config.trainer.learning_rate_after(self.counters.step);
        self.trainer.set_learning_rate(learning_rate);
        let train = self.trainer.step(&batch);
        self.skipped = if train.skipped { self.skipped + 1 } else { 0 };
        if self.skipped >= MOST_SKIPPED {
            return Err(RunError::NotFinite {
                steps: self.skipped,
            });
        }
        self.counters.step += 1;
        let step = self.counters.step;
        if step.is_multiple_of(METRICS_EVERY) || train.skipped {
            self.write_metric(&Metric::Train {
                step,
                seconds: self.seconds(),
                train: &train,
            })?;
        }
        Ok(Progress::Step { step, train })
    }

    fn sample(&mut self) -> Result<Batch, RunError> {
        let settings = &self.config.replay;
        // What cannot be read now is what is drawn next time.
        let mut sampler = self.counters.sampler.clone();
        let drawn = self.replay.sample_sequences(
            &mut sampler,
            settings.batch,
            settings.length,
            settings.rewarded_share,
        )?;
        self.counters.sampler = sampler;
        let sequences = Sequences {
            rows: settings.batch,
            length: settings.length,
            pixels: &drawn.images,
            actions: drawn.actions,
            rewards: drawn.rewards,
            discounts: drawn.discounts,
            mask: drawn.mask,
            is_first: drawn.is_first,
        };
        let layout = self.config.model.pixel_layout();
        Ok(Batch::new(sequences, layout, self.trainer.device()))
    }

    fn write_metric(&mut self, metric: &Metric) -> Result<(), RunError> {
        let line = serde_json::to_vec(metric).map_err(|error| RunError::Damaged {
            path: self.folder.metrics(),
            reason: error.to_string(),
        })?;
        self.unwritten.extend(line);
        self.unwritten.push(b'\n');
        self.write_metrics()
    }

    /// Writes the lines that are not written yet behind those that are counted: a write that failed may have left
    /// a part of them there.
    fn write_metrics(&mut self) -> Result<(), RunError> {
        if self.unwritten.is_empty() {
            return Ok(());
        }
        let path = self.folder.metrics();
        let mut open = OpenOptions::new();
        let opened = open.create(true).truncate(false).write(true).open(&path);
        let written = opened.and_then(|mut file| {
            let length = file.metadata()?.len();
            file.set_len(length.min(self.counters.metrics_bytes))?;
            file.seek(SeekFrom::End(0))?;
            file.write_all(&self.unwritten)
        });
        written.map_err(file_error("write", &path))?;
        self.counters.metrics_bytes += self.unwritten.len() as u64;
        self.unwritten.clear();
        Ok(())
    }

    /// Wall time of the whole run, interruptions left out.
    fn seconds(&self) -> f64 {
        self.counters.seconds + self.started.elapsed().as_secs_f64()
    }

    fn episode_path(&self, index: usize) -> std::path::PathBuf {
        self.folder
            .episodes()
            .join(format!("episode-{index:06}.npz"))
    }
}

/// `config` with as many environments as `source` has.
fn noting_environments(mut config: RunConfig, source: &Source) -> RunConfig {
    if let Some(environments) = source.environments() {
        config.collect.environments = environments;
    }
    config
}

/// Refuses a source that the settings do not tell of.
fn check_source(config: &RunConfig, source: &Source) -> Result<(), RunError> {
    let environments = source.environments();
    let expected = match environments {
        Some(_) => {
            "the environment's name, since one is given (a run on recordings goes on without)"
        }
        None => "empty, since recordings alone are given (give the environment too)",
    };
    let is_told = config.env.is_empty() == environments.is_none();
    ConfigError::require(is_told, "env", format!("`{}`", config.env), expected)?;
    let expected = config.collect.environments;
    match environments {
        Some(found) if found != expected => Err(RunError::Environments { found, expected }),
        _ => Ok(()),
    }
}

/// The recordings in a run's own folder: one that cannot be used would be missed.
fn recordings_in(folder: &Path) -> Result<Vec<Arc<dyn Recorded>>, RunError> {
    let found = EpisodeFolder::open(folder)?.open_all()?;
    match found.skipped.into_iter().next() {
        Some(SkippedFile(error)) => Err(error.into()),
        None => Ok(found.episodes),
    }
}

/// An episode to collect.
struct Due {
    actor: Actor,
    /// Which of the planners is to act.
    turn: usize,
    seed: u64,
}

impl Collector {
    fn new(
        mut environments: Vec<Box<dyn Environment>>,
        longest_recording: usize,
        config: &RunConfig,
        model: WorldModel,
        device: &Device,
    ) -> Result<Self, RunError> {
        ConfigError::require_positive("environments", environments.len())?;
        for environment in &mut environments {
            check_environment(environment.as_mut(), longest_recording, config, &model)?;
        }
        let collect = &config.collect;
        let horizon = collect.horizon(environments[0].time_limit());
        let settings = AgentConfig {
            replan_every: collect.replan_every.min(horizon),
            exploration: collect.exploration,
            ..AgentConfig::default()
        };
        let agent = |name: &String| {
            let planner = planner(name, Some(horizon))?;
            let agent = Agent::new(model.clone(), planner, settings.clone(), device)?;
            Ok::<_, RunError>(agent.beside(environments.len()))
        };
        let agents = collect.planner.iter().map(agent);
        Ok(Self {
            agents: agents.collect::<Result<_, _>>()?,
            environments,
        })
    }

    /// Runs as many episodes as there are environments, or fewer, each on a thread of its own.
    fn round(
        &mut self,
        episodes: Vec<Due>,
        noise: f32,
    ) -> Vec<(Actor, Result<Collected, EpisodeRunError>)> {
        let agents = &self.agents;
        let by = |environment: &mut dyn Environment, policy: &mut dyn Policy, seed| {
            Ok((run_episode(environment, policy, seed)?, None))
        };
        let run = |environment: &mut dyn Environment, due: &Due| match due.actor {
            Actor::Random => by(environment, &mut DriftingPolicy::default(), due.seed),
            Actor::Expert => by(environment, &mut ScriptedPolicy::disturbed(noise), due.seed),
            Actor::Planner => {
                let mut agent = agents[due.turn].clone();
                let (recorded, promise, _) =
                    planned_episode(environment, &mut agent, due.seed, plain)?;
                Ok((recorded, Some(promise)))
            }
        };
        let pairs = self.environments.iter_mut().zip(&episodes);
        thread::scope(|scope| {
            let threads: Vec<_> = pairs
                .map(|(environment, due)| scope.spawn(move || run(environment.as_mut(), due)))
                .collect();
            let results = threads
                .into_iter()
                .map(|thread| thread.join().unwrap_or_else(|panic| resume_unwind(panic)));
            episodes.iter().map(|due| due.actor).zip(results).collect()
        })
    }
}

/// Refuses an environment that shows or takes something else than the model, has no expert where
/// demonstrations are asked for, or whose episodes are too short to train on, as the recordings are.
fn check_environment(
    environment: &mut dyn Environment,
    longest_recording: usize,
    config: &RunConfig,
    model: &WorldModel,
) -> Result<(), RunError> {
    check_interface(environment, model)?;
    if config.collect.demonstrations > 0 && environment.expert().is_none() {
        let name = environment.name().to_owned();
        return Err(EnvError::NoExpert { name }.into());
    }
    let frames = environment.time_limit() + 1;
    ConfigError::require(
        config.replay.length <= frames.max(longest_recording),
        "replay.length",
        config.replay.length,
        "at most the frames of an episode, its time limit and one, or of the longest recording",
    )?;
    Ok(())
}

/// Takes the folder for this process; the lock goes with the file handle, so that a killed
/// process leaves none behind.
fn lock(folder: &RunFolder) -> Result<File, RunError> {
    let path = folder.lock();
    let file = open_lock(&path)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(RunError::Locked {
            path: folder.root().to_owned(),
        }),
        Err(TryLockError::Error(source)) => Err(file_error("lock", &path)(source)),
    }
}

fn open_lock(path: &Path) -> Result<File, RunError> {
    OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .open(path)
        .map_err(file_error("create", path))
}
