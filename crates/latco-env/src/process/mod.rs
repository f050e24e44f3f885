//! Environments in other processes: Gymnasium's, and simulators in any language.
//!
//! [`open`] starts a child process and speaks to it over its standard input and output.
//! `gym:ID` runs a Python file that comes with this crate, by the interpreter that the variable
//! `LATCO_PYTHON` names or else `python3`; `exec:COMMAND` runs any program that speaks the protocol.
//!
//! # The protocol, version 1
//!
//! A frame is two lengths as little-endian `u32`, of a header and of a payload, then the header, a
//! JSON object in UTF-8, then the payload. The client asks (`hello`, `reset`, `step`, `expert`, `close`), the
//! server answers each request with one frame that repeats its `id`. What requests and answers hold is in
//! docs/environments.md, "The protocol", with a complete server of forty lines.
//!
//! ```no_run
//! use std::collections::BTreeMap;
//! let arguments = BTreeMap::from([("size".to_owned(), 64.into())]);
//! let mut environment = latco_env::process::open("gym:Pendulum-v1", &arguments)?;
//! let image = environment.reset(7)?;
//! let step = environment.step(&[2.0])?;
//! # Ok::<(), latco_env::EnvError>(())
//! ```

mod child;
mod error;
mod launch;
mod picture;
mod protocol;

use std::collections::BTreeMap;

use serde_json::Value;

use self::child::Process;
pub use self::error::ProcessError;
pub use self::launch::GYMNASIUM;
use self::launch::Launch;
pub use self::picture::Pictures;
use self::protocol::{Description, Frame, LONGEST_PAYLOAD, Request, Told, parse};
use crate::action::ActionSpace;
use crate::environment::{EnvError, Environment, Expert, ImageShape, Step};
use crate::image::Image;

/// The most entries of an action.
const MOST_ACTIONS: usize = 4096;

/// Whether `name` is of an environment in another process: `gym:ID` or `exec:COMMAND`.
pub fn is_outside(name: &str) -> bool {
    name.starts_with("gym:") || name.starts_with("exec:")
}

/// Starts the process of `gym:ID` or `exec:COMMAND` with these arguments.
///
/// This side understands `deadline` and `start_deadline`, in seconds, and `size`, in pixels;
/// docs/environments.md lists those of Gymnasium's environments. The process gets all but the
/// deadlines.
///
/// # Errors
/// [`EnvError::Process`] where the process cannot be started or cannot serve this environment;
/// [`EnvError::ActionBounds`] and [`EnvError::Shape`] where what it announces is of no use here.
pub fn open(
    name: &str,
    arguments: &BTreeMap<String, Value>,
) -> Result<Box<dyn Environment>, EnvError> {
    let failed = |problem| EnvError::Process {
        name: name.to_owned(),
        problem: Box::new(problem),
    };
    let launch = Launch::new(name, arguments).map_err(failed)?;
    let size = launch.size().map_err(failed)?;
    let (process, description) = launch.start().map_err(failed)?;
    check(&description).map_err(failed)?;
    let Description {
        height,
        width,
        channels,
        cameras,
        ..
    } = description;
    let pictures = Pictures::new([height, width, channels], cameras, size).map_err(failed)?;
    pictures.shape().validate()?;
    let (low, high) = (&description.action_low, &description.action_high);
    Ok(Box::new(Outside {
        name: name.to_owned(),
        space: ActionSpace::new(low.clone(), high.clone())?,
        launch,
        description,
        pictures,
        process: Some(process),
        elapsed: 0,
        over: true,
    }))
}

fn check(description: &Description) -> Result<(), ProcessError> {
    let Description {
        height,
        width,
        channels,
        ..
    } = *description;
    let bytes = height.saturating_mul(width).saturating_mul(channels);
    if bytes > LONGEST_PAYLOAD {
        let reason = format!(
            "{width}x{height} pixels of {channels} channels, expected at most {LONGEST_PAYLOAD} bytes in all"
        );
        return Err(ProcessError::Picture { reason });
    }
    if description.action_low.len() > MOST_ACTIONS {
        let reason = format!("more than {MOST_ACTIONS} entries");
        return Err(ProcessError::Actions { reason });
    }
    if description.time_limit == 0 {
        let reason = "its `time_limit` is 0, expected at least one step".to_owned();
        return Err(ProcessError::Garbled { reason });
    }
    Ok(())
}

/// An environment in another process.
struct Outside {
    name: String,
    launch: Launch,
    description: Description,
    space: ActionSpace,
    pictures: Pictures,
    /// `None` after a failure, until the next reset.
    process: Option<Process>,
    elapsed: usize,
    over: bool,
}

impl Outside {
    /// Ends a process that failed, and the episode with it.
    fn failed(&mut self, problem: ProcessError) -> EnvError {
        self.process = None;
        self.over = true;
        EnvError::Process {
            name: self.name.clone(),
            problem: Box::new(problem),
        }
    }

    /// Starts a process where none runs; it must be of the same environment as before.
    fn ensure_process(&mut self) -> Result<(), ProcessError> {
        if self.process.as_mut().is_some_and(Process::is_running) {
            return Ok(());
        }
        // What the old one left behind may hold what the new one needs, as a port.
        self.process = None;
        let (process, description) = self.launch.start()?;
        if let Some(field) = self.description.difference(&description) {
            return Err(ProcessError::Changed { field });
        }
        self.process = Some(process);
        Ok(())
    }

    fn ask(&mut self, request: &Request<'_>, payload: &[u8]) -> Result<Frame, ProcessError> {
        let process = self.process.as_mut().expect("an episode has a process");
        let frame = process.ask(request, payload, self.launch.deadline())?;
        match self.launch.refused(&frame.header, request.call()) {
            Some(error) => Err(error),
            None => Ok(frame),
        }
    }

    fn first_image(&mut self, seed: u64) -> Result<Image, ProcessError> {
        self.ensure_process()?;
        let frame = self.ask(&Request::Reset { seed }, &[])?;
        self.pictures.image(frame.payload)
    }

    fn next_step(&mut self, action: &[f32]) -> Result<Step, ProcessError> {
        let bytes: Vec<u8> = action
            .iter()
            .flat_map(|entry| entry.to_le_bytes())
            .collect();
        let frame = self.ask(&Request::Step, &bytes)?;
        let told: Told = parse(&frame.header, Request::Step.call())?;
        let reward = told.reward.map(|reward| reward as f32);
        let finite = reward.filter(|reward| reward.is_finite());
        Ok(Step {
            image: self.pictures.image(frame.payload)?,
            reward: finite.ok_or(ProcessError::RewardNotFinite)?,
            success: told.success,
            terminated: told.terminated,
            truncated: told.truncated,
        })
    }

    fn expert_action(&mut self) -> Result<Vec<f32>, ProcessError> {
        let payload = self.ask(&Request::Expert, &[])?.payload;
        let (expected, got) = (4 * self.space.size(), payload.len());
        if got != expected {
            let reason = format!("{got} bytes, expected {expected}, four for each entry");
            return Err(ProcessError::ExpertAction { reason });
        }
        let entries = payload.chunks_exact(4);
        let action: Vec<f32> = entries
            .map(|bytes| f32::from_le_bytes(bytes.try_into().expect("four bytes")))
            .collect();
        let clamped = self.space.clamped(&action);
        clamped.map_err(|error| ProcessError::ExpertAction {
            reason: error.to_string(),
        })
    }
}

impl Environment for Outside {
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
        self.description.time_limit
    }

    fn reward_range(&self) -> Option<[f32; 2]> {
        self.description.reward_range
    }

    fn reset(&mut self, seed: u64) -> Result<Image, EnvError> {
        let image = self
            .first_image(seed)
            .map_err(|problem| self.failed(problem))?;
        self.elapsed = 0;
        self.over = false;
        Ok(image)
    }

    fn step(&mut self, action: &[f32]) -> Result<Step, EnvError> {
        if self.over {
            return Err(EnvError::EpisodeOver {
                steps: self.elapsed,
            });
        }
        let action = self.space.clamped(action)?;
        let mut step = self
            .next_step(&action)
            .map_err(|problem| self.failed(problem))?;
        self.elapsed += 1;
        step.truncated |= self.elapsed == self.time_limit() && !step.terminated;
        self.over = step.is_last();
        Ok(step)
    }

    fn expert(&mut self) -> Option<&mut dyn Expert> {
        self.description.expert.then_some(self as &mut dyn Expert)
    }
}

impl Expert for Outside {
    fn action(&mut self) -> Result<Vec<f32>, EnvError> {
        if self.over {
            return Err(EnvError::EpisodeOver {
                steps: self.elapsed,
            });
        }
        self.expert_action().map_err(|problem| self.failed(problem))
    }
}

impl Drop for Outside {
    fn drop(&mut self) {
        if let Some(process) = self.process.take() {
            process.close();
        }
    }
}
