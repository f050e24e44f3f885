//! Which program is started, with which arguments.

use std::collections::BTreeMap;
use std::process::Command;

use serde_json::{Map, Value, json};

use super::child::{Deadline, Process, refused};
use super::error::ProcessError;
use super::protocol::{Description, PROTOCOL, Request, Version, parse};

/// The program that serves Gymnasium's environments, in Python.
pub const GYMNASIUM: &str = include_str!("gym.py");

/// Runs it: a process list shows this line rather than the whole program.
const RUN: &str =
    "import os; exec(compile(os.environ.pop('LATCO_SERVER'), 'latco/gym.py', 'exec'))";

/// The side of a picture from Gymnasium in pixels.
const SIZE: usize = 64;

/// Seconds within which a process is ready, and answers each later call.
const START_DEADLINE: f64 = 120.0;
const DEADLINE: f64 = 60.0;

/// The longest of either that is accepted, in seconds: a day.
const LONGEST_DEADLINE: f64 = 86_400.0;

/// Bytes of all arguments together: they fit into a pipe that nobody reads.
const LONGEST_ARGUMENTS: usize = 1 << 15;

/// How a process is started.
pub(super) struct Launch {
    program: Program,
    arguments: Map<String, Value>,
    start_deadline: Deadline,
    deadline: Deadline,
}

enum Program {
    Gymnasium { interpreter: String, id: String },
    Command(Vec<String>),
}

impl Launch {
    /// The launch of `gym:ID` or `exec:COMMAND`.
    pub fn new(name: &str, arguments: &BTreeMap<String, Value>) -> Result<Self, ProcessError> {
        let mut arguments: Map<String, Value> = arguments.clone().into_iter().collect();
        let mut deadline = |argument, default| {
            let seconds = match arguments.remove(argument) {
                None => default,
                Some(value) => seconds(argument, &value)?,
            };
            Ok(Deadline { seconds, argument })
        };
        let start_deadline = deadline("start_deadline", START_DEADLINE)?;
        let deadline = deadline("deadline", DEADLINE)?;
        let program = Program::new(name)?;
        if let Program::Gymnasium { .. } = program {
            arguments.entry("size").or_insert(json!(SIZE));
        }
        if Value::Object(arguments.clone()).to_string().len() > LONGEST_ARGUMENTS {
            let reason = format!("the arguments are longer than {LONGEST_ARGUMENTS} bytes");
            return Err(ProcessError::Argument { reason });
        }
        Ok(Self {
            program,
            arguments,
            start_deadline,
            deadline,
        })
    }

    /// Seconds within which calls are answered once the process runs.
    pub fn deadline(&self) -> Deadline {
        self.deadline
    }

    /// The side of a camera's pictures that is asked for; else they are as the process gives them.
    pub fn size(&self) -> Result<Option<usize>, ProcessError> {
        let Some(value) = self.arguments.get("size") else {
            return Ok(None);
        };
        match value.as_u64() {
            Some(size @ 1..=512) => Ok(Some(size as usize)),
            _ => Err(ProcessError::Argument {
                reason: format!("`size` is {value}, expected 1 to 512 pixels"),
            }),
        }
    }

    /// A fresh process and what it says of its environment.
    pub fn start(&self) -> Result<(Process, Description), ProcessError> {
        let mut process = Process::start(self.program.command(), self.program.remedy())?;
        let hello = Request::Hello {
            protocol: PROTOCOL,
            arguments: &self.arguments,
            deadline: self.deadline.seconds,
        };
        let answer = process.ask(&hello, &[], self.start_deadline)?;
        if let Some(error) = self.refused(&answer.header, hello.call()) {
            return Err(error);
        }
        let Version { protocol: got } = parse(&answer.header, hello.call())?;
        if got != PROTOCOL {
            let expected = PROTOCOL;
            return Err(ProcessError::Version { got, expected });
        }
        let description = parse(&answer.header, hello.call())?;
        Ok((process, description))
    }

    /// The error of an answer that is a refusal.
    pub fn refused(&self, header: &[u8], call: &'static str) -> Option<ProcessError> {
        refused(header, call, self.program.name())
    }
}

impl Program {
    fn new(name: &str) -> Result<Self, ProcessError> {
        let wrong = |reason: String| Err(ProcessError::Argument { reason });
        match name.split_once(':') {
            Some(("gym", id)) if !id.is_empty() => Ok(Self::Gymnasium {
                interpreter: interpreter(),
                id: id.to_owned(),
            }),
            Some(("exec", command)) => match shlex::split(command) {
                Some(words) if !words.is_empty() => Ok(Self::Command(words)),
                _ => wrong(format!("`{command}` is no command line: see its quotes")),
            },
            _ => wrong(format!("`{name}` is neither `gym:ID` nor `exec:COMMAND`")),
        }
    }

    fn name(&self) -> &str {
        match self {
            Self::Gymnasium { interpreter, .. } => interpreter,
            Self::Command(words) => &words[0],
        }
    }

    fn command(&self) -> Command {
        let mut command = Command::new(self.name());
        match self {
            Self::Gymnasium { id, .. } => {
                command.args(["-c", RUN, id]).env("LATCO_SERVER", GYMNASIUM);
            }
            Self::Command(words) => {
                command.args(&words[1..]);
            }
        }
        command
    }

    fn remedy(&self) -> &'static str {
        match self {
            Self::Gymnasium { .. } => {
                "install Python 3, or set LATCO_PYTHON to the interpreter that has gymnasium"
            }
            Self::Command(_) => "correct the command after `exec:`",
        }
    }
}

/// The Python that the environment's packages are installed for.
fn interpreter() -> String {
    let named = std::env::var("LATCO_PYTHON").unwrap_or_default();
    if named.is_empty() {
        return "python3".to_owned();
    }
    named
}

fn seconds(argument: &str, value: &Value) -> Result<f64, ProcessError> {
    match value.as_f64() {
        Some(seconds) if seconds > 0.0 && seconds <= LONGEST_DEADLINE => Ok(seconds),
        _ => Err(ProcessError::Argument {
            reason: format!(
                "`{argument}` is {value}, expected seconds, more than 0 and at most {LONGEST_DEADLINE}"
            ),
        }),
    }
}
