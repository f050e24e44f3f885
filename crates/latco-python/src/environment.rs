//! Environments of Python's, in this process, and those that a name stands for.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use latco_agent::RunConfig;
use latco_env::{
    ActionSpace, EnvError, EnvOptions, Environment, Expert, Image, ImageShape, Step, make,
    process::{self, Pictures},
};
use pyo3::{exceptions::PyKeyboardInterrupt, intern, prelude::*, types::PyBytes};
use serde_json::Value;

use crate::errors::{Kind, OrRaise};

/// What a call and the environments that it works with tell each other: whether it is interrupted, and
/// the exception that ended an episode.
#[derive(Clone, Default)]
pub struct Signals {
    interrupted: Arc<AtomicBool>,
    exception: Arc<Mutex<Option<PyErr>>>,
}

impl Signals {
    /// Ends episodes at their next step with this exception.
    pub fn interrupt(&self, error: PyErr) {
        self.keep(error);
        self.interrupted.store(true, Ordering::Relaxed);
    }

    pub fn is_interrupted(&self) -> bool {
        self.interrupted.load(Ordering::Relaxed)
    }

    /// The exception, where there is one.
    pub fn exception(&self) -> Option<PyErr> {
        let mut kept = self
            .exception
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        kept.take()
    }

    /// Keeps the first exception.
    fn keep(&self, error: PyErr) {
        let mut kept = self
            .exception
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        kept.get_or_insert(error);
    }
}

/// An environment as Python gives it: a name, or an object of `latco._environment`.
pub struct Given {
    name: String,
    arguments: BTreeMap<String, Value>,
    object: Option<Py<PyAny>>,
}

impl Given {
    /// Of `(name, arguments)`, or of the object, which tells both.
    pub fn of(value: &Bound<'_, PyAny>) -> PyResult<Self> {
        let named = value.extract::<(String, Bound<'_, PyAny>)>().ok();
        let object = named.is_none().then(|| value.clone().unbind());
        let (name, arguments) = match named {
            Some(named) => named,
            None => (
                value.getattr("name")?.extract()?,
                value.getattr("arguments")?,
            ),
        };
        Ok(Self {
            name,
            arguments: pythonize::depythonize(&arguments).or_raise(Kind::Environment)?,
            object,
        })
    }

    /// That of a run that is resumed: the arguments are the run's where none are given, and nothing else may be.
    pub fn resumed(&mut self, config: &RunConfig) -> PyResult<()> {
        if self.name != config.env {
            return Err(Kind::Setting.error(format!(
                "`env` is `{}`, expected `{}`, that of the resumed run",
                self.name, config.env
            )));
        }
        let kept = arguments_of(config)?;
        if self.arguments.is_empty() && self.object.is_none() {
            self.arguments.clone_from(&kept);
        }
        match self.arguments == kept {
            true => Ok(()),
            false => Err(Kind::Setting.error(
                "`env_args` are others than those of the resumed run, expected the same or none",
            )),
        }
    }

    /// Whether it is one of the catalogue, which draws and rewards as `env_options` say.
    pub fn is_of_catalogue(&self) -> bool {
        self.object.is_none() && !process::is_outside(&self.name)
    }

    /// Its name and its arguments, which config.toml keeps.
    pub fn identity(&self) -> (&str, &BTreeMap<String, Value>) {
        (&self.name, &self.arguments)
    }

    /// The environment, which draws and rewards as `options` say where it is of the catalogue.
    pub fn open(&self, options: &EnvOptions, signals: &Signals) -> PyResult<Box<dyn Environment>> {
        match &self.object {
            None => {
                let (name, arguments) = self.identity();
                // A simulator takes its time to start.
                let opened =
                    Python::attach(|py| py.detach(|| Self::opened(name, arguments, options)))?;
                let signals = signals.clone();
                Ok(Box::new(Interruptible { opened, signals }))
            }
            Some(object) => Python::attach(|py| {
                let environment = PythonEnvironment::new(object.bind(py), signals)?;
                Ok(Box::new(environment) as Box<_>)
            }),
        }
    }
}

/// The arguments of a run's environment.
pub fn arguments_of(config: &RunConfig) -> PyResult<BTreeMap<String, Value>> {
    let pairs = config.env_args.iter();
    let pairs = pairs.map(|(key, value)| Ok((key.clone(), serde_json::to_value(value)?)));
    pairs
        .collect::<serde_json::Result<_>>()
        .or_raise(Kind::Setting)
}

impl Given {
    fn opened(
        name: &str,
        arguments: &BTreeMap<String, Value>,
        options: &EnvOptions,
    ) -> PyResult<Box<dyn Environment>> {
        if process::is_outside(name) {
            return process::open(name, arguments).or_raise(Kind::Environment);
        }
        match arguments.keys().next() {
            None => make(name, options).or_raise(Kind::Environment),
            Some(key) => Err(Kind::Environment.error(format!(
                "`env_args` has `{key}`, but `{name}` is of the catalogue and takes no arguments"
            ))),
        }
    }
}

/// An environment that has nothing to do with Python, and whose episodes end at the next step where the call
/// that runs them is interrupted.
struct Interruptible {
    opened: Box<dyn Environment>,
    signals: Signals,
}

impl Interruptible {
    fn check(&self) -> Result<(), EnvError> {
        match self.signals.is_interrupted() {
            true => Err(EnvError::External {
                name: self.opened.name().to_owned(),
                reason: "interrupted".to_owned(),
            }),
            false => Ok(()),
        }
    }
}

impl Environment for Interruptible {
    fn name(&self) -> &str {
        self.opened.name()
    }

    fn action_space(&self) -> &ActionSpace {
        self.opened.action_space()
    }

    fn image_shape(&self) -> ImageShape {
        self.opened.image_shape()
    }

    fn time_limit(&self) -> usize {
        self.opened.time_limit()
    }

    fn reward_range(&self) -> Option<[f32; 2]> {
        self.opened.reward_range()
    }

    fn reset(&mut self, seed: u64) -> Result<Image, EnvError> {
        self.check()?;
        self.opened.reset(seed)
    }

    fn step(&mut self, action: &[f32]) -> Result<Step, EnvError> {
        self.check()?;
        self.opened.step(action)
    }

    fn expert(&mut self) -> Option<&mut dyn Expert> {
        self.opened.expert()
    }
}

/// An environment whose steps are Python's.
struct PythonEnvironment {
    object: Py<PyAny>,
    name: String,
    space: ActionSpace,
    pictures: Pictures,
    time_limit: usize,
    reward_range: Option<[f32; 2]>,
    has_expert: bool,
    steps: usize,
    over: bool,
    signals: Signals,
}

impl PythonEnvironment {
    fn new(object: &Bound<'_, PyAny>, signals: &Signals) -> PyResult<Self> {
        let (low, high): (Vec<f32>, Vec<f32>) = (
            object.getattr("action_low")?.extract()?,
            object.getattr("action_high")?.extract()?,
        );
        let shape: [usize; 3] = object.getattr("picture_shape")?.extract()?;
        let size: usize = object.getattr("size")?.extract()?;
        let cameras: usize = object.getattr("cameras")?.extract()?;
        Ok(Self {
            object: object.clone().unbind(),
            name: object.getattr("name")?.extract()?,
            space: ActionSpace::new(low, high).or_raise(Kind::Environment)?,
            pictures: Pictures::new(shape, cameras, Some(size)).or_raise(Kind::Environment)?,
            time_limit: object.getattr("time_limit")?.extract()?,
            reward_range: object.getattr("reward_range")?.extract()?,
            has_expert: object.getattr("has_expert")?.extract()?,
            steps: 0,
            over: false,
            signals: signals.clone(),
        })
    }

    /// Calls Python; an exception ends the episode and is kept for the caller.
    fn call<T>(
        &mut self,
        work: impl FnOnce(&Bound<'_, PyAny>) -> PyResult<T>,
    ) -> Result<T, EnvError> {
        let done = Python::attach(|py| {
            if self.signals.is_interrupted() {
                return Err(PyKeyboardInterrupt::new_err(()));
            }
            work(self.object.bind(py))
        });
        done.map_err(|error| {
            let reason = error.to_string();
            self.over = true;
            self.signals.keep(error);
            EnvError::External {
                name: self.name.clone(),
                reason,
            }
        })
    }
}

impl Environment for PythonEnvironment {
    fn name(&self) -> &str {
        &self.name
    }

    fn action_space(&self) -> &ActionSpace {
        &self.space
    }

    fn image_shape(&self) -> ImageShape {
        self.pictures.shape()
    }

    fn time_limit(&self) -> usize {
        self.time_limit
    }

    fn reward_range(&self) -> Option<[f32; 2]> {
        self.reward_range
    }

    fn reset(&mut self, seed: u64) -> Result<Image, EnvError> {
        let picture = self.call(|object| {
            let picture = object.call_method1(intern!(object.py(), "reset"), (seed,))?;
            Ok(picture.cast_into::<PyBytes>()?.as_bytes().to_vec())
        })?;
        let image = self.pictures.image(picture).or_raise(Kind::Environment);
        (self.steps, self.over) = (0, false);
        self.call(|_| image)
    }

    fn step(&mut self, action: &[f32]) -> Result<Step, EnvError> {
        if self.over {
            return Err(EnvError::EpisodeOver { steps: self.steps });
        }
        let action = self.space.clamped(action)?;
        let bytes: Vec<u8> = action
            .iter()
            .flat_map(|entry| entry.to_le_bytes())
            .collect();
        let (reward, terminated, truncated, success, picture) = self.call(|object| {
            let action = PyBytes::new(object.py(), &bytes);
            let told = object.call_method1(intern!(object.py(), "step"), (action,))?;
            let (reward, terminated, truncated, success, picture) =
                told.extract::<(f32, bool, bool, bool, Bound<'_, PyBytes>)>()?;
            Ok((
                reward,
                terminated,
                truncated,
                success,
                picture.as_bytes().to_vec(),
            ))
        })?;
        let image = self.pictures.image(picture).or_raise(Kind::Environment);
        let image = self.call(|_| image)?;
        self.steps += 1;
        let step = Step {
            image,
            reward,
            success,
            terminated,
            truncated: truncated || self.steps >= self.time_limit,
        };
        self.over = step.is_last();
        Ok(step)
    }

    fn expert(&mut self) -> Option<&mut dyn Expert> {
        match self.has_expert {
            true => Some(self),
            false => None,
        }
    }
}

impl Expert for PythonEnvironment {
    fn action(&mut self) -> Result<Vec<f32>, EnvError> {
        self.call(|object| {
            let action = object.call_method0(intern!(object.py(), "expert"))?;
            action.extract()
        })
    }
}
