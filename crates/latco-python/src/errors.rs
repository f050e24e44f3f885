//! Errors of Rust as exceptions of Python, with the same sentences.

use std::fmt::Display;

use pyo3::{prelude::*, types::PyType};

/// Which exception of `latco._errors` an error becomes.
#[derive(Clone, Copy, Debug)]
pub enum Kind {
    /// A setting or argument outside what is allowed.
    Setting,
    /// What a model of the user's returned, or lacks.
    Model,
    /// No plan came back.
    Plan,
    /// A checkpoint cannot be read, or does not fit.
    Checkpoint,
    /// An image of another size or kind.
    Frame,
    /// An environment cannot be used, or failed.
    Environment,
    /// A training run cannot start or go on.
    Run,
    /// A failure in the machinery below, as of a device.
    Failure,
}

impl Kind {
    fn class(self) -> &'static str {
        match self {
            Self::Setting => "SettingError",
            Self::Model => "ModelError",
            Self::Plan => "PlanError",
            Self::Checkpoint => "CheckpointError",
            Self::Frame => "FrameError",
            Self::Environment => "EnvironmentFailure",
            Self::Run => "RunError",
            Self::Failure => "LatcoError",
        }
    }

    /// The exception with this sentence.
    pub fn error(self, sentence: impl Display) -> PyErr {
        let sentence = sentence.to_string();
        Python::attach(|py| {
            let class = py.import("latco._errors").and_then(|module| {
                let class = module.getattr(self.class())?;
                Ok(class.cast_into::<PyType>()?)
            });
            match class {
                Ok(class) => PyErr::from_type(class, sentence),
                Err(error) => error,
            }
        })
    }
}

/// What becomes of the error of a result.
pub trait OrRaise<T> {
    /// The value, or the exception of this kind with the error's sentence.
    fn or_raise(self, kind: Kind) -> PyResult<T>;
}

impl<T, E: Display> OrRaise<T> for Result<T, E> {
    fn or_raise(self, kind: Kind) -> PyResult<T> {
        self.map_err(|error| kind.error(error))
    }
}
