//! The problems by name, one a file.

pub(crate) mod car;
pub(crate) mod cartpole;
pub(crate) mod door;
pub(crate) mod effectors;
pub(crate) mod pendulum;
pub(crate) mod point;
pub(crate) mod push;
pub(crate) mod quadrotor;

use std::fmt;

use crate::{ProblemError, ProblemSettings, dynamics::Dynamics, error::nearest};

/// The largest size of the problems that come in several.
const LARGEST_SIZE: usize = 64;

/// A problem that [`ProblemSettings::of`] knows.
#[derive(Clone, Copy)]
pub struct ProblemInfo {
    /// The name that users type.
    pub name: &'static str,
    /// One line on what is to be done, and what is hard about it.
    pub about: &'static str,
    pub(crate) size: usize,
    pub(crate) largest_size: usize,
    pub(crate) build: fn(&ProblemSettings) -> Box<dyn Dynamics>,
}

impl ProblemInfo {
    /// The problem with its default arguments.
    pub fn settings(&'static self) -> ProblemSettings {
        ProblemSettings::default_of(self)
    }
}

impl fmt::Debug for ProblemInfo {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name)
    }
}

/// Problems are told apart by their names.
impl PartialEq for ProblemInfo {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

/// Every problem.
pub const PROBLEMS: &[ProblemInfo] = &[
    point::INFO,
    effectors::INFO,
    push::INFO,
    door::INFO,
    pendulum::INFO,
    cartpole::INFO,
    car::INFO,
    quadrotor::INFO,
];

pub(crate) fn info(name: &str) -> Result<&'static ProblemInfo, ProblemError> {
    let found = PROBLEMS.iter().find(|info| info.name == name);
    found.ok_or_else(|| {
        let known: Vec<_> = PROBLEMS.iter().map(|info| info.name).collect();
        ProblemError::UnknownProblem {
            name: name.to_owned(),
            nearest: nearest(name, &known),
            known: known.join(", "),
        }
    })
}
