use std::{
    fs::{self, File, OpenOptions, TryLockError},
    io::{self, Write},
    path::Path,
    time::Instant,
};

use burn::tensor::{Bytes, Device};
use latco_env::{ChaCha8Rng, Environment, Episode, EpisodeFolder, Replay, info, make};
use latco_model::{
    Batch, Precision, TrainStep, Trainer, TrainerState, WorldModel, WorldModelConfig,
};
use latco_plan::{ConfigError, Noise, catalogue::planner};
use rand_core::SeedableRng;
use serde::{Deserialize, Serialize};

use crate::{
    Agent, AgentConfig, AgentPolicy, DriftingPolicy, RecordedEpisode, RunConfig, RunError,
    RunFolder, ScriptedPolicy,
    device::trainer_on,
    run::{Actor, file_error},
    run_episode,
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
    },
    /// Took a gradient step.
    Step {
        /// Gradient steps so far.
        step: usize,
        /// What the step saw.
        train: TrainStep,
    },
}

/// A run that alternates collecting episodes with gradient steps.
///
/// After every episode, and whenever [`save`](Self::save) is called, the folder holds a state from
/// which [`resume`](Self::resume) goes on as if the run had not stopped.
pub struct TrainingRun {
    config: RunConfig,
    folder: RunFolder,
    /// `None` where the run learns from recordings alone.
    collector: Option<Collector>,
    trainer: Trainer,
    replay: Replay,
    counters: Counters,
    started: Instant,
    _lock: File,
}

/// What a run collects episodes with.
struct Collector {
    environment: Box<dyn Environment>,
    agent: Agent,
}

/// Where a run stands, apart from its weights.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Counters {
    step: usize,
    episodes: usize,
    metrics_bytes: u64,
    seconds: f64,
    sampler: ChaCha8Rng,
}

/// The bytes of `training.state`.
#[derive(Serialize, Deserialize)]
struct SavedState {
    sizes: WorldModelConfig,
    counters: Counters,
    noise: Noise,
    #[serde(with = "serde_bytes")]
    model: Vec<u8>,
    #[serde(with = "serde_bytes")]
    optimizer: Vec<u8>,
}

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
    },
}

/// Guards `training.state` against damage.
const CHECKSUM: crc::Crc<u32> = crc::Crc::<u32>::new(&crc::CRC_32_ISCSI);

/// Gradient steps between two lines of training metrics.
const METRICS_EVERY: usize = 10;

/// Keeps the seeds of collected episodes apart from those of evaluations.
const EPISODE_SEEDS: u64 = 1 << 32;

impl TrainingRun {
    /// Starts a run in a folder that holds none.
    ///
    /// Where the configuration names no environment, the run learns from the episodes that are in
    /// the folder's `episodes/` and collects none.
    ///
    /// # Errors
    ///
    /// If a setting is refused, the folder already holds a run, or a file cannot be written.
    pub fn create(config: RunConfig, folder: RunFolder, device: &Device) -> Result<Self, RunError> {
        refuse_second_run(&folder)?;
        let mut run = Self::assemble(config, folder, device)?;
        run.begin()?;
        run.folder.write_config(&run.config)?;
        Ok(run)
    }

    /// Starts a run as [`create`](Self::create) does, from the weights of `model` in place of random
    /// ones. What Adam knew of its gradients is not part of a model: its moments begin at zero.
    ///
    /// # Errors
    ///
    /// As [`create`](Self::create), and if `model` has other sizes than `config.model`.
    pub fn create_from(
        model: WorldModel,
        config: RunConfig,
        folder: RunFolder,
        device: &Device,
    ) -> Result<Self, RunError> {
        refuse_second_run(&folder)?;
        if *model.config() != config.model {
            return Err(RunError::OtherSizes {
                found: Box::new(model.config().clone()),
                expected: Box::new(config.model),
            });
        }
        config.validate()?;
        let mut run = Self::assemble_with(model, config, folder, device)?;
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
    /// If the folder holds no run, another process trains in it, or a file is damaged.
    pub fn resume(folder: RunFolder, device: &Device) -> Result<Self, RunError> {
        if !folder.config().exists() {
            return Err(RunError::Missing {
                path: folder.root().to_owned(),
            });
        }
        let config = folder.read_config()?;
        let mut run = Self::assemble(config, folder, device)?;
        run.restore()?;
        Ok(run)
    }

    fn assemble(config: RunConfig, folder: RunFolder, device: &Device) -> Result<Self, RunError> {
        config.validate()?;
        let model = WorldModel::new(config.model.clone(), config.seed, device)?;
        Self::assemble_with(model, config, folder, device)
    }

    fn assemble_with(
        model: WorldModel,
        config: RunConfig,
        folder: RunFolder,
        device: &Device,
    ) -> Result<Self, RunError> {
        let trainer_config = trainer_on(device, config.trainer.clone());
        let trainer = Trainer::new(model, trainer_config, config.seed, device)?;
        let collector = match config.env.as_str() {
            "" => None,
            _ => Some(Collector::new(&config, trainer.model(), device)?),
        };
        let episodes = folder.episodes();
        fs::create_dir_all(&episodes).map_err(file_error("create", &episodes))?;
        let lock = lock(&folder)?;
        for path in [folder.root(), &episodes] {
            latco_env::remove_unfinished(path).map_err(file_error("clear", path))?;
        }
        Ok(Self {
            _lock: lock,
            replay: Replay::new(config.replay.capacity)?,
            counters: Counters {
                step: 0,
                episodes: 0,
                metrics_bytes: 0,
                seconds: 0.0,
                sampler: ChaCha8Rng::seed_from_u64(config.seed),
            },
            collector,
            config,
            folder,
            trainer,
            started: Instant::now(),
        })
    }

    /// What a run needs before its first step: without an environment, the recordings.
    fn begin(&mut self) -> Result<(), RunError> {
        match self.collector {
            Some(_) => Ok(()),
            None => self.load_recordings(),
        }
    }

    /// Takes every episode of the folder into the replay.
    fn load_recordings(&mut self) -> Result<(), RunError> {
        let loaded = EpisodeFolder::open(&self.folder.episodes())?.load_all()?;
        for (_, episode) in loaded.episodes {
            self.replay.push(episode)?;
            self.counters.episodes += 1;
        }
        Ok(())
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

    /// The episode that came last.
    pub fn last_episode(&self) -> Option<&Episode> {
        self.replay.episodes().last().map(AsRef::as_ref)
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
    /// If an episode breaks off or a file cannot be written.
    pub fn advance(&mut self) -> Result<Progress, RunError> {
        match self.collector.take() {
            Some(mut collector) if self.counters.episodes < self.episodes_due() => {
                let progress = self.collect(&mut collector);
                self.collector = Some(collector);
                progress
            }
            collector => {
                self.collector = collector;
                self.train()
            }
        }
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
        let state = self.trainer.state()?;
        let saved = SavedState {
            sizes: self.config.model.clone(),
            counters: self.counters.clone(),
            noise: state.noise,
            model: state.model.to_vec(),
            optimizer: state.optimizer.to_vec(),
        };
        let path = self.folder.state();
        let bytes = postcard::to_stdvec_crc32(&saved, CHECKSUM.digest()).map_err(|error| {
            RunError::Damaged {
                path: path.clone(),
                reason: error.to_string(),
            }
        })?;
        latco_env::write_atomic(&path, &bytes).map_err(file_error("write", &path))?;
        let checkpoint = self.folder.checkpoint();
        let bytes = self.trainer.model().to_bytes(Precision::Full)?;
        latco_env::write_atomic(&checkpoint, &bytes).map_err(file_error("write", &checkpoint))
    }

    /// Puts the metrics that the state will count onto the disk before the state.
    fn keep_metrics(&self) -> Result<(), RunError> {
        let metrics = self.folder.metrics();
        if !metrics.exists() {
            return Ok(());
        }
        File::open(&metrics)
            .and_then(|file| file.sync_all())
            .map_err(file_error("write", &metrics))
    }

    fn restore(&mut self) -> Result<(), RunError> {
        let path = self.folder.state();
        if !path.exists() {
            self.begin()?;
            return self.forget_later_metrics();
        }
        let bytes = fs::read(&path).map_err(file_error("read", &path))?;
        let saved: SavedState =
            postcard::from_bytes_crc32(&bytes, CHECKSUM.digest()).map_err(|error| {
                RunError::Damaged {
                    path: path.clone(),
                    reason: error.to_string(),
                }
            })?;
        if saved.sizes != self.config.model {
            return Err(RunError::Damaged {
                path,
                reason: "its model has other sizes than config.toml says".to_owned(),
            });
        }
        let state = TrainerState {
            model: Bytes::from_bytes_vec(saved.model),
            optimizer: Bytes::from_bytes_vec(saved.optimizer),
            noise: saved.noise,
        };
        self.trainer
            .restore(state)
            .map_err(|error| RunError::Damaged {
                path,
                reason: error.to_string(),
            })?;
        self.counters = saved.counters;
        if self.collector.is_none() {
            self.counters.episodes = 0;
            self.load_recordings()?;
        } else {
            for index in 0..self.counters.episodes {
                self.replay
                    .push(Episode::load(&self.episode_path(index))?)?;
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

    fn collect(&mut self, collector: &mut Collector) -> Result<Progress, RunError> {
        let index = self.counters.episodes;
        let seed = EPISODE_SEEDS
            .wrapping_add(self.config.seed << 20)
            .wrapping_add(index as u64);
        let actor = self.config.collect.actor(index);
        let environment = collector.environment.as_mut();
        let recorded = match actor {
            Actor::Random => run_episode(environment, &mut DriftingPolicy::default(), seed)?,
            Actor::Expert => {
                let noise = self.config.collect.demonstration_noise as f32;
                run_episode(environment, &mut ScriptedPolicy::disturbed(noise), seed)?
            }
            Actor::Planner => {
                collector.agent.set_model(self.trainer.model());
                run_episode(environment, &mut AgentPolicy(&mut collector.agent), seed)?
            }
        };
        self.keep(index, actor, recorded)
    }

    /// Writes an episode, then the state that knows of it.
    fn keep(
        &mut self,
        index: usize,
        actor: Actor,
        recorded: RecordedEpisode,
    ) -> Result<Progress, RunError> {
        let RecordedEpisode { episode, success } = recorded;
        let return_ = episode.total_reward();
        episode.save(&self.episode_path(index))?;
        self.replay.push(episode)?;
        self.counters.episodes += 1;
        let step = self.counters.step;
        self.write_metric(&Metric::Episode {
            step,
            seconds: self.seconds(),
            episode: index,
            planned: actor == Actor::Planner,
            demonstration: actor == Actor::Expert,
            return_,
            success,
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
        })
    }

    fn train(&mut self) -> Result<Progress, RunError> {
        let batch = self.sample()?;
        let train = self.trainer.step(&batch);
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
        let sequences = self.replay.sample_sequences(
            &mut self.counters.sampler,
            settings.batch,
            settings.length,
            settings.rewarded_share,
        )?;
        Ok(Batch::from_sequences(
            &sequences.images,
            sequences.actions,
            sequences.rewards,
            [settings.batch, settings.length, sequences.image_width],
            self.trainer.device(),
        ))
    }

    fn write_metric(&mut self, metric: &Metric) -> Result<(), RunError> {
        let path = self.folder.metrics();
        let mut line = serde_json::to_vec(metric).map_err(|error| RunError::Damaged {
            path: path.clone(),
            reason: error.to_string(),
        })?;
        line.push(b'\n');
        OpenOptions::new()
            .create(true)
            .append(true)
            .open(&path)
            .and_then(|mut file| file.write_all(&line))
            .map_err(file_error("write", &path))?;
        self.counters.metrics_bytes += line.len() as u64;
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

impl Collector {
    fn new(config: &RunConfig, model: WorldModel, device: &Device) -> Result<Self, RunError> {
        let environment = make(&config.env, &config.env_options)?;
        ConfigError::require(
            environment.action_size() == config.model.action_size,
            "model.action_size",
            config.model.action_size,
            "that of the environment",
        )?;
        let horizon = info(&config.env)?.protocol.horizon;
        let agent = Agent::new(
            model,
            planner(&config.collect.planner, Some(horizon))?,
            AgentConfig {
                replan_every: config.collect.replan_every.min(horizon),
                exploration: config.collect.exploration,
                ..AgentConfig::default()
            },
            device,
        )?;
        Ok(Self { environment, agent })
    }
}

fn refuse_second_run(folder: &RunFolder) -> Result<(), RunError> {
    match folder.config().exists() {
        true => Err(RunError::Exists {
            path: folder.root().to_owned(),
        }),
        false => Ok(()),
    }
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
