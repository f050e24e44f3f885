//! What goes wrong with an environment in another process.

/// Why an environment in another process gave no answer, or none that can be used.
///
/// Every message says what to do next. After any of them the next
/// [`reset`](crate::Environment::reset) starts a fresh process.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum ProcessError {
    /// The program could not be started.
    #[error("cannot start `{program}`: {reason}; {remedy}")]
    Start {
        /// The program.
        program: String,
        /// What the system said.
        reason: String,
        /// What to do.
        remedy: &'static str,
    },
    /// An argument is not one that the environment takes.
    #[error("{reason}; correct the environment's arguments")]
    Argument {
        /// Which one, and what is accepted.
        reason: String,
    },
    /// A Python package is missing.
    #[error(
        "{reason}: {}, or set LATCO_PYTHON to an interpreter that has it",
        installed(interpreter, install)
    )]
    Package {
        /// What is missing.
        reason: String,
        /// The interpreter that lacks it.
        interpreter: String,
        /// What pip installs; empty where nobody knows.
        install: String,
    },
    /// No environment has this ID.
    #[error(
        "{reason}{}; an ID of another package is given with the module that registers it, as in `gym:gym_pusht:gym_pusht/PushT-v0`",
        nearest.as_ref().map_or_else(String::new, |id| format!(": did you mean `{id}`?"))
    )]
    UnknownId {
        /// What Gymnasium said.
        reason: String,
        /// The registered ID that is nearest.
        nearest: Option<String>,
    },
    /// The environment gives no pictures.
    #[error(
        "pictures that cannot be used: {reason}; planning from pixels needs `render_mode=\"rgb_array\"` and pictures of one size"
    )]
    Picture {
        /// What it gives instead.
        reason: String,
    },
    /// The actions are not a box of finite bounds.
    #[error("actions that cannot be planned: {reason}")]
    Actions {
        /// What they are, and what is supported.
        reason: String,
    },
    /// Nothing says how long an episode lasts.
    #[error("no time limit: {reason}; give one in steps, `--env-arg time_limit=200`")]
    TimeLimit {
        /// What is missing.
        reason: String,
    },
    /// The environment raised an exception.
    #[error(
        "it failed {} with {reason}{}{}",
        during(call),
        anew(call),
        indented(trace)
    )]
    Exception {
        /// The call that it failed in.
        call: &'static str,
        /// The exception.
        reason: String,
        /// The last lines of its traceback.
        trace: String,
    },
    /// The process ended, or was ended by the system or another program.
    #[error(
        "its process {status} {}{}{}",
        during(call),
        anew(call),
        indented(last_lines)
    )]
    Ended {
        /// The call that was not answered.
        call: &'static str,
        /// The exit code or signal.
        status: String,
        /// The last lines that it wrote to standard error.
        last_lines: String,
    },
    /// The process gave no answer in time and was ended.
    #[error(
        "no answer {} within {seconds} s, so its process was ended: give it longer, `--env-arg {argument}=SECONDS`, or see where it hangs{}{}",
        during(call),
        anew(call),
        indented(last_lines)
    )]
    Hung {
        /// The call that was not answered.
        call: &'static str,
        /// The deadline in seconds.
        seconds: f64,
        /// The argument that sets it.
        argument: &'static str,
        /// The last lines that it wrote to standard error: for Gymnasium where it hung.
        last_lines: String,
    },
    /// A picture has another number of bytes than announced.
    #[error(
        "a picture of {got} bytes, expected {expected}: an environment's pictures keep the shape that it announced"
    )]
    PictureSize {
        /// Bytes of the announced shape.
        expected: usize,
        /// Bytes that came.
        got: usize,
    },
    /// A reward is infinite or not a number.
    #[error(
        "the reward of a step is no finite number: the simulation became unstable, or its reward divides by zero"
    )]
    RewardNotFinite,
    /// The other side speaks another version of the protocol.
    #[error(
        "it speaks version {got} of the protocol, expected {expected}: see docs/environments.md"
    )]
    Version {
        /// Its version.
        got: u64,
        /// The version of this crate.
        expected: u64,
    },
    /// What came is no answer of the protocol.
    #[error("not an answer of the protocol: {reason}; see docs/environments.md")]
    Garbled {
        /// What came instead.
        reason: String,
    },
    /// A process that was started again announces another environment than the first.
    #[error(
        "its process was started again and announces another `{field}` than at first: an environment keeps what it announced, open it anew for another"
    )]
    Changed {
        /// What is another, by its name in the answer to `hello`.
        field: &'static str,
    },
    /// The expert's answer is no action.
    #[error("its expert's answer is no action: {reason}; mend the expert, or do without it")]
    ExpertAction {
        /// What it is, and what is expected.
        reason: String,
    },
}

/// How a missing package is had.
fn installed(interpreter: &str, install: &str) -> String {
    match install {
        "" => "run in the folder that has it, install its package".to_owned(),
        _ => format!("run `{interpreter} -m pip install \"{install}\"`"),
    }
}

/// When it happened, in words.
fn during(call: &str) -> String {
    match call {
        "hello" => "while it started".to_owned(),
        call => format!("in `{call}`"),
    }
}

/// What follows an error of an environment that has been running.
fn anew(call: &str) -> &'static str {
    match call {
        "hello" => "",
        _ => "; the next reset starts it anew",
    }
}

/// Further lines below a message, or nothing.
fn indented(lines: &str) -> String {
    let lines = lines.lines().map(|line| format!("\n    {line}"));
    lines.collect()
}
