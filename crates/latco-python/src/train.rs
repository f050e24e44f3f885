//! Training runs and evaluations, in environments of Python's or those that a name stands for.

use std::{
    path::PathBuf,
    sync::{Mutex, PoisonError},
    thread,
    time::{Duration, Instant},
};

use burn::tensor::Device;
use latco_agent::{
    Actor, AgentPolicy, DriftingPolicy, EpisodeRunError, Evaluation, Policy, Progress,
    RandomPolicy, RecordedEpisode, RunConfig, RunFolder, ScriptedPolicy, Source, TrainingRun,
    evaluate as evaluated, run_episode,
};
use latco_cli::{
    benchmark::Benchmark,
    configuration::{Layers, check_resumed},
};
use latco_env::{EnvOptions, Environment};
use pyo3::{prelude::*, types::PyDict};
use pythonize::{depythonize, pythonize};
use serde::Serialize;

use crate::{
    agent::PyAgent,
    environment::{Given, Signals, arguments_of},
    errors::{Kind, OrRaise},
    interruption::caught,
    settings::{device, settings},
};

/// Wall time between two saves, so that even a killed process loses little.
const SAVE_EVERY: Duration = Duration::from_secs(60);

/// Wall time between two looks for signals.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// Wall time between two calls of the function that shows progress.
const SHOW_EVERY: Duration = Duration::from_millis(500);

/// How a run is begun.
#[derive(FromPyObject)]
pub struct Options {
    #[pyo3(item)]
    run: PathBuf,
    #[pyo3(item)]
    steps: Option<usize>,
    #[pyo3(item)]
    seed: Option<u64>,
    #[pyo3(item)]
    device: String,
    #[pyo3(item)]
    resume: bool,
    #[pyo3(item)]
    progress: Option<Py<PyAny>>,
}

/// Where a run stands.
#[derive(Clone, Debug, Default, Serialize)]
struct Status {
    step: usize,
    steps: usize,
    episodes: usize,
    loss: Option<f32>,
    last_return: Option<f32>,
    /// Episodes of the planner since the call that solved the task, and how many there were.
    solved: usize,
    planned: usize,
}

impl Status {
    fn see(&mut self, progress: &Progress) {
        match progress {
            Progress::Step { step, train } => {
                self.step = *step;
                self.loss = Some(train.loss);
            }
            Progress::Episode {
                episodes,
                actor,
                return_,
                success,
                ..
            } => {
                self.episodes = *episodes;
                self.last_return = Some(*return_);
                if *actor == Actor::Planner {
                    self.planned += 1;
                    self.solved += usize::from(*success);
                }
            }
        }
    }
}

/// Trains in the environments given; what the run came to.
#[pyfunction]
pub fn train<'py>(
    py: Python<'py>,
    environments: Vec<Bound<'py, PyAny>>,
    options: Options,
    changes: Option<&Bound<'py, PyDict>>,
) -> PyResult<Bound<'py, PyAny>> {
    let device = device(&options.device)?;
    let signals = Signals::default();
    let mut given = environments
        .iter()
        .map(Given::of)
        .collect::<PyResult<Vec<_>>>()?;
    let folder = RunFolder::new(&options.run);
    let (config, environments) = prepare(&mut given, &options, &folder, changes, &signals)?;
    let status = Mutex::new(Status {
        steps: config.steps,
        ..Status::default()
    });
    let work = || -> PyResult<()> {
        let source = Source::Environments(environments);
        let mut run = begun(source, &config, &folder, &device, options.resume)
            .map_err(|error| signals.exception().unwrap_or(error))?;
        let advanced = advance(&mut run, config.steps, &signals, &status);
        // What was done before is kept, whatever ended it.
        let saved = run.save().or_raise(Kind::Run);
        advanced.and(saved)
    };
    watched(py, work, &signals, || {
        let status = status
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        show(options.progress.as_ref(), &status)
    })?;
    let status = status.into_inner().unwrap_or_else(PoisonError::into_inner);
    show(options.progress.as_ref(), &status)?;
    let report = pythonize(py, &status)?;
    report.set_item("run", folder.root().as_os_str())?;
    report.set_item("checkpoint", folder.checkpoint().into_os_string())?;
    Ok(report)
}

/// The run's settings, and its environments.
fn prepare(
    given: &mut [Given],
    options: &Options,
    folder: &RunFolder,
    changes: Option<&Bound<'_, PyDict>>,
    signals: &Signals,
) -> PyResult<(RunConfig, Vec<Box<dyn Environment>>)> {
    let first = given
        .first()
        .ok_or_else(|| Kind::Setting.error("`envs` is 0, expected at least 1"))?;
    let base = match options.resume {
        true => {
            let config = folder.read_config().or_raise(Kind::Run)?;
            check_collects_alone(folder)?;
            given
                .iter_mut()
                .try_for_each(|given| given.resumed(&config))?;
            config
        }
        false => config_for(first, signals)?,
    };
    let mut layers = Layers::new(&base).or_raise(Kind::Setting)?;
    for setting in settings(changes)? {
        layers.set(&setting).or_raise(Kind::Setting)?;
    }
    let mut config = layers.finish().or_raise(Kind::Setting)?;
    config.steps = options.steps.unwrap_or(config.steps);
    config.seed = options.seed.unwrap_or(config.seed);
    match options.resume {
        true => check_resumed(&base, &config).or_raise(Kind::Setting)?,
        false => check_told(&given[0], &base, &config)?,
    }
    let open = |given: &Given| given.open(&config.env_options, signals);
    let environments = given.iter().map(open).collect::<PyResult<Vec<_>>>()?;
    if !options.resume {
        config.fit_size(environments[0].image_shape());
    }
    config.validate().or_raise(Kind::Setting)?;
    Ok((config, environments))
}

/// The arguments of the environment that the run in this folder has.
#[pyfunction]
pub fn kept_arguments(py: Python<'_>, run: PathBuf) -> PyResult<Bound<'_, PyAny>> {
    let config = RunFolder::new(run).read_config().or_raise(Kind::Run)?;
    Ok(pythonize(py, &arguments_of(&config)?)?)
}

/// Refuses a run that learns from recordings too: without them it would be another.
fn check_collects_alone(folder: &RunFolder) -> PyResult<()> {
    match folder.data().exists() {
        true => Err(Kind::Run.error(format!(
            "{} learns from recordings, which are not given here: go on with it by `latco train --resume`",
            folder.root().display()
        ))),
        false => Ok(()),
    }
}

/// Refuses settings of an environment that are told elsewhere, or that it does not have.
fn check_told(given: &Given, base: &RunConfig, config: &RunConfig) -> PyResult<()> {
    if config.env_args != base.env_args {
        return Err(Kind::Setting
            .error("`env_args` are among the settings, expected them as the argument `env_args`"));
    }
    match given.is_of_catalogue() || config.env_options == EnvOptions::default() {
        true => Ok(()),
        false => Err(Kind::Setting.error(
            "`env_options` are changed, expected nothing: they are of latco's own tasks; `env_args` tells \
             others, such as `size`",
        )),
    }
}

/// The small preset for an environment.
fn config_for(given: &Given, signals: &Signals) -> PyResult<RunConfig> {
    let environment = given.open(&EnvOptions::default(), signals)?;
    let mut config = RunConfig::small(environment.as_ref());
    let (name, arguments) = given.identity();
    name.clone_into(&mut config.env);
    for (key, value) in arguments {
        let value = toml::Value::try_from(value).or_raise(Kind::Setting)?;
        config.env_args.insert(key.clone(), value);
    }
    Ok(config)
}

fn begun(
    source: Source,
    config: &RunConfig,
    folder: &RunFolder,
    device: &Device,
    resume: bool,
) -> PyResult<TrainingRun> {
    if !resume {
        folder.check_new(true).or_raise(Kind::Run)?;
        folder.forget_recordings().or_raise(Kind::Run)?;
        return TrainingRun::new(source, config.clone(), folder.clone(), device)
            .or_raise(Kind::Run);
    }
    let run = TrainingRun::resume(source, folder.clone(), device).or_raise(Kind::Run)?;
    // Steps that are done stay done.
    let steps = config.steps.max(run.step());
    let config = RunConfig {
        steps,
        ..config.clone()
    };
    folder.write_config(&config).or_raise(Kind::Run)?;
    Ok(run)
}

/// Advances the run to `steps` gradient steps or the first interrupt.
fn advance(
    run: &mut TrainingRun,
    steps: usize,
    signals: &Signals,
    status: &Mutex<Status>,
) -> PyResult<()> {
    let seen = || status.lock().unwrap_or_else(PoisonError::into_inner);
    seen().step = run.step();
    seen().steps = steps.max(run.step());
    seen().episodes = run.episodes();
    let mut saved = Instant::now();
    while run.step() < steps && !signals.is_interrupted() {
        let progress = run.advance();
        let progress = progress.map_err(|error| {
            let exception = signals.exception();
            exception.unwrap_or_else(|| Kind::Run.error(error))
        })?;
        seen().see(&progress);
        if saved.elapsed() > SAVE_EVERY {
            run.save().or_raise(Kind::Run)?;
            saved = Instant::now();
        }
    }
    signals.exception().map_or(Ok(()), Err)
}

/// Does `work` on a thread of its own, while this one looks for signals and shows progress.
fn watched<T: Send>(
    py: Python<'_>,
    work: impl FnOnce() -> PyResult<T> + Send,
    signals: &Signals,
    show: impl Fn() -> PyResult<()> + Sync,
) -> PyResult<T> {
    py.detach(|| {
        thread::scope(|scope| {
            let worker = scope.spawn(|| caught(work).and_then(|done| done));
            let mut shown = Instant::now();
            while !worker.is_finished() {
                thread::sleep(LOOK_EVERY);
                let looked = Python::attach(|py| py.check_signals());
                let looked = looked.and_then(|()| match shown.elapsed() > SHOW_EVERY {
                    true => {
                        shown = Instant::now();
                        show()
                    }
                    false => Ok(()),
                });
                if let Err(error) = looked {
                    signals.interrupt(error);
                }
            }
            match worker.join() {
                // An interrupt that came too late to be seen by the work is the caller's all the same.
                Ok(Ok(done)) => signals.exception().map_or(Ok(done), Err),
                Ok(error) => error,
                Err(_) => Err(Kind::Failure.error("the training's thread ended by itself")),
            }
        })
    })
}

fn show(progress: Option<&Py<PyAny>>, status: &Status) -> PyResult<()> {
    let Some(progress) = progress else {
        return Ok(());
    };
    Python::attach(|py| {
        let told = pythonize(py, status)?;
        progress.call1(py, (told,)).map(drop)
    })
}

/// A benchmark's file: its environment with arguments, settings of a run, episodes and seed of an evaluation.
#[pyfunction]
pub fn benchmark(py: Python<'_>, path: PathBuf) -> PyResult<Bound<'_, PyDict>> {
    let benchmark = Benchmark::load(&path).or_raise(Kind::Setting)?;
    let told = PyDict::new(py);
    told.set_item("env", &benchmark.env)?;
    told.set_item("env_args", pythonize(py, &benchmark.arguments)?)?;
    told.set_item("settings", pythonize(py, benchmark.settings())?)?;
    told.set_item("episodes", benchmark.evaluation.episodes)?;
    told.set_item("seed", benchmark.evaluation.seed)?;
    Ok(told)
}

/// Runs `episodes` episodes with the seeds `seed`, `seed + 1`, …; a benchmark has its name and, where the agent was
/// told none, steps of plans.
#[pyfunction]
pub fn evaluate<'py>(
    py: Python<'py>,
    agent: &PyAgent,
    environment: &Bound<'py, PyAny>,
    seed: u64,
    episodes: usize,
    progress: Option<Py<PyAny>>,
    benchmark: Option<PathBuf>,
) -> PyResult<Bound<'py, PyAny>> {
    let benchmark = benchmark.map(|path| Benchmark::load(&path)).transpose();
    let benchmark = benchmark.or_raise(Kind::Setting)?;
    let signals = Signals::default();
    let mut environment = Given::of(environment)?.open(&options_for(agent), &signals)?;
    latco_agent::check_interface(environment.as_ref(), agent.model())
        .or_raise(Kind::Environment)?;
    let acting = match &benchmark {
        None => agent.acting(),
        Some(benchmark) => agent.acting_by(benchmark.protocol(environment.as_ref())),
    }?;
    let done = Mutex::new((0, 0));
    let counts = || *done.lock().unwrap_or_else(PoisonError::into_inner);
    let work = || -> PyResult<Evaluation> {
        let each = |result: &latco_agent::EpisodeResult| {
            let mut done = done.lock().unwrap_or_else(PoisonError::into_inner);
            *done = (done.0 + 1, done.1 + usize::from(result.success));
        };
        evaluated(
            std::slice::from_mut(&mut environment),
            &acting,
            agent.device(),
            seed,
            episodes,
            each,
        )
        .map_err(|error| failed(error, &signals))
    };
    let tell = || match &progress {
        None => Ok(()),
        Some(progress) => Python::attach(|py| progress.call1(py, counts()).map(drop)),
    };
    let mut evaluation = watched(py, work, &signals, tell)?;
    tell()?;
    if let Some(benchmark) = benchmark {
        evaluation.env = benchmark.name;
    }
    reported(py, &evaluation)
}

fn reported<'py>(py: Python<'py>, evaluation: &Evaluation) -> PyResult<Bound<'py, PyAny>> {
    let report = pythonize(py, evaluation)?;
    report.set_item("results", pythonize(py, &evaluation.results)?)?;
    Ok(report)
}

/// The figures of episodes that ran wherever they did.
#[pyfunction]
pub fn summarise<'py>(
    py: Python<'py>,
    env: &str,
    planner: &str,
    device: &str,
    seed: u64,
    results: &Bound<'py, PyAny>,
) -> PyResult<Bound<'py, PyAny>> {
    let results = depythonize(results).or_raise(Kind::Run)?;
    reported(py, &Evaluation::of(env, planner, device, seed, results))
}

/// Records one episode into a file.
#[pyfunction]
pub fn record<'py>(
    py: Python<'py>,
    environment: &Bound<'py, PyAny>,
    agent: Option<&PyAgent>,
    policy: &str,
    seed: u64,
    path: PathBuf,
) -> PyResult<Bound<'py, PyDict>> {
    let signals = Signals::default();
    let options = match agent {
        None => EnvOptions::default(),
        Some(agent) => options_for(agent),
    };
    let mut environment = Given::of(environment)?.open(&options, &signals)?;
    let mut acting = agent.map(PyAgent::acting).transpose()?;
    let mut policy: Box<dyn Policy + Send + '_> = match (&mut acting, policy) {
        (Some(agent), _) => Box::new(AgentPolicy(agent)),
        (None, "random") => Box::new(RandomPolicy::default()),
        (None, "drifting") => Box::new(DriftingPolicy::default()),
        (None, "scripted") => Box::new(ScriptedPolicy::default()),
        (None, other) => {
            return Err(Kind::Setting.error(format!(
                "unknown policy `{other}`, expected random, drifting, scripted or an agent"
            )));
        }
    };
    let work = || -> PyResult<RecordedEpisode> {
        let recorded = run_episode(environment.as_mut(), policy.as_mut(), seed);
        let recorded = recorded.map_err(|error| failed(error, &signals))?;
        recorded.episode.save(&path).or_raise(Kind::Run)?;
        Ok(recorded)
    };
    let recorded = watched(py, work, &signals, || Ok(()))?;
    let told = PyDict::new(py);
    told.set_item("return", recorded.episode.total_reward())?;
    told.set_item("success", recorded.success)?;
    told.set_item("frames", recorded.episode.len())?;
    Ok(told)
}

/// How the catalogue's environments draw for the agent's model.
fn options_for(agent: &PyAgent) -> EnvOptions {
    let [_, height] = agent.model().config().camera_size();
    EnvOptions {
        image_size: height,
        ..EnvOptions::default()
    }
}

/// The exception that ended an episode, else the error.
fn failed(error: EpisodeRunError, signals: &Signals) -> PyErr {
    let exception = signals.exception();
    exception.unwrap_or_else(|| Kind::Environment.error(error))
}
