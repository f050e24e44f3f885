//! Why a command ends early, and with which exit status.

use std::{
    error::Error,
    io,
    path::{Path, PathBuf},
};

use clap::error::ErrorKind;
use latco_agent::{AgentError, EpisodeRunError, InterfaceError, RunError, device::DeviceError};
use latco_env::{
    ArraysError, EnvError, EpisodeFileError, EpisodeFileProblem, ImageError, ImportError,
    ProcessError, ReplayError,
};
use latco_formats::ManifestError;
use latco_model::{CheckpointError, convert::ConvertError};
use latco_plan::{ConfigError, PlanError, catalogue::CatalogueError};
use latco_problems::ProblemError;
use thiserror::Error;

use crate::{configuration::ConfigurationError, output::one_line};

/// Why a command ends early.
#[derive(Debug, Error)]
pub enum CliError {
    /// The command line does not parse.
    #[error("{0}")]
    Usage(String),
    /// A path to write to is taken by something of another kind.
    #[error("{flag} {}: {problem}", path.display())]
    Destination {
        /// The flag that names the path.
        flag: &'static str,
        /// The path.
        path: PathBuf,
        /// What is in the way, and what is expected.
        problem: &'static str,
    },
    /// The demo's checkpoint is not there.
    #[error(
        "--checkpoint {}: no such file, expected a checkpoint (start the demo in the folder that has \
         assets/, or train one: latco train --env NAME --run runs/NAME)",
        path.display()
    )]
    NoDemoCheckpoint {
        /// Where it was looked for.
        path: PathBuf,
    },
    /// The folder of checkpoints is not there.
    #[error("--checkpoints {}: no such folder, expected one with NAME.safetensors for each task", path.display())]
    NoCheckpoints {
        /// Where it was looked for.
        path: PathBuf,
    },
    /// A file of results cannot be read.
    #[error("{}: {reason} (expected results that latco suite wrote; remove it to begin anew)", path.display())]
    Results {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// A result has figures that are not finite.
    #[error(
        "{env} {planner}: the mean return or the mean promise is not finite, expected rewards whose sum over an \
         episode is (scale the environment's rewards, or look at what the checkpoint promises)"
    )]
    Figures {
        /// The task.
        env: String,
        /// The planner.
        planner: String,
    },
    /// Flags of a planner where nobody plans.
    #[error(
        "--policy {policy}: --planner, --set, --horizon and --replan-every are of a checkpoint that plans, \
         expected none of them, or the file of a checkpoint"
    )]
    PlannerOnPolicy {
        /// The policy.
        policy: String,
    },
    /// What is read would be written over.
    #[error("{flag} {}: the file that is read, expected another name", path.display())]
    OverInput {
        /// The flag that names the file.
        flag: &'static str,
        /// The file.
        path: PathBuf,
    },
    /// Nothing can be written where results are to go.
    #[error("{flag} {}: cannot write to its folder: {source}", path.display())]
    Unwritable {
        /// The flag that names the file.
        flag: &'static str,
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Two tasks of the suite would write to one file.
    #[error(
        "{}: the results of `{}` and of another `{}`, expected a file of results for each (rename one benchmark, \
         or evaluate them apart, with --out)",
        path.display(), tasks[0], tasks[1]
    )]
    SharedResults {
        /// The file.
        path: PathBuf,
        /// Their names.
        tasks: [String; 2],
    },
    /// A checkpoint was trained on something else than the environment.
    #[error("--checkpoint {}: {source}", path.display())]
    Mismatch {
        /// The checkpoint.
        path: PathBuf,
        /// What does not fit.
        source: InterfaceError,
    },
    /// An argument for an environment of the catalogue, which takes none.
    #[error(
        "--env-arg {key}: `{env}` is of the catalogue and takes no arguments, only gym:ID and exec:COMMAND do"
    )]
    EnvArgument {
        /// The environment.
        env: String,
        /// The argument's key.
        key: String,
    },
    /// The image does not fit the model.
    #[error("{flag} {}: {source}", path.display())]
    Image {
        /// The flag that names the image.
        flag: &'static str,
        /// The image.
        path: PathBuf,
        /// Its size and the size expected.
        source: AgentError,
    },
    /// The policy is neither a name nor a file.
    #[error("--policy {name}: expected random, drifting, scripted, or the file of a checkpoint")]
    Policy {
        /// The name found.
        name: String,
    },
    /// Action noise was asked for where nobody adds it.
    #[error(
        "--noise disturbs an expert or a planner: expected --policy scripted or a checkpoint, found {policy}"
    )]
    NoiseOnRandom {
        /// The policy found.
        policy: String,
    },
    /// A file or folder has no usable recording.
    #[error("{}: expected recorded episodes, found none that is usable{reason}", path.display())]
    NoEpisodes {
        /// The file or folder.
        path: PathBuf,
        /// The problem of the first unusable file, after a colon.
        reason: String,
    },
    /// Recordings do not fit together, or not the model.
    #[error("{}: {problem}", path.display())]
    Recordings {
        /// The file or folder.
        path: PathBuf,
        /// What differs.
        problem: String,
    },
    /// The recordings of a run are not those that it began with.
    #[error("{}: {source}", path.display())]
    Data {
        /// What tells which they are.
        path: PathBuf,
        /// What differs.
        source: Box<ManifestError>,
    },
    /// A run's metrics cannot be read.
    #[error("{}: {source} (expected the folder of a run, with its metrics.jsonl)", path.display())]
    Metrics {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// The run's configuration is refused.
    #[error(transparent)]
    Configuration(#[from] ConfigurationError),
    /// The device is not part of this build.
    #[error("--device: {0}")]
    Device(#[from] DeviceError),
    /// A checkpoint cannot be read.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// An image cannot be read or written.
    #[error(transparent)]
    ImageFile(#[from] ImageError),
    /// A folder of frames cannot be imported.
    #[error(transparent)]
    Import(#[from] ImportError),
    /// Weights cannot be converted.
    #[error("{}: {source}", path.display())]
    Convert {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: ConvertProblem,
    },
    /// An episode cannot be read or written.
    #[error(transparent)]
    EpisodeFile(#[from] EpisodeFileError),
    /// A planner cannot be made.
    #[error("--planner: {0}")]
    Planner(#[from] CatalogueError),
    /// Settings were changed where it is not clear of which planner.
    #[error(
        "--set changes the settings of one planner, expected a single --planner, found {found}"
    )]
    SettingsOfSeveral {
        /// How many planners were named.
        found: usize,
    },
    /// There is no such problem.
    #[error(transparent)]
    Problem(#[from] ProblemError),
    /// A size or setting is outside its range.
    #[error("setting {0}")]
    Setting(#[from] ConfigError),
    /// An environment cannot be made or stepped.
    #[error(transparent)]
    Env(#[from] EnvError),
    /// An agent cannot be made or act.
    #[error(transparent)]
    Agent(#[from] AgentError),
    /// An episode broke off.
    #[error(transparent)]
    Episode(#[from] EpisodeRunError),
    /// Planning failed.
    #[error(transparent)]
    Plan(#[from] PlanError),
    /// A training run cannot go on.
    #[error(transparent)]
    Run(#[from] RunError),
    /// An episode ended without the plan that the demo is about.
    #[error("the agent made no plan")]
    NoPlan,
    /// The user stopped a training run; its state is saved.
    #[error(
        "stopped at step {step} of {steps}, everything saved; go on with: latco train --run {} --resume",
        quoted(folder)
    )]
    Interrupted {
        /// Gradient steps done.
        step: usize,
        /// Gradient steps wanted.
        steps: usize,
        /// The run's folder.
        folder: PathBuf,
    },
    /// The handler of Ctrl-C cannot be set.
    #[error("cannot listen for Ctrl-C: {0}")]
    Signal(#[from] ctrlc::Error),
    /// A file cannot be read.
    #[error("cannot read {}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// A file cannot be written.
    #[error("cannot write {}: {source}", path.display())]
    Write {
        /// The file or folder.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// Standard output cannot be written.
    #[error("cannot write to standard output: {0}")]
    Output(#[from] io::Error),
    /// A picture cannot be drawn or encoded.
    #[error("cannot draw: {0}")]
    Drawing(Box<dyn Error + Send + Sync>),
    /// A report does not serialise.
    #[error("cannot write the report as JSON: {0}")]
    Json(#[from] serde_json::Error),
    /// A thread panicked, as Burn does where a device fails.
    #[error("internal failure: {0} (set RUST_BACKTRACE=1 for the details)")]
    Panic(String),
}

/// Why a file of weights is no model.
#[derive(Debug, Error)]
pub enum ConvertProblem {
    /// Reading a pickle can run code.
    #[error(
        "a pickle is not read, since that can run code; expected an .npz (see latco convert \
         --help for the line of Python that makes one)"
    )]
    Pickle,
    /// The name does not tell what the file is.
    #[error("expected a name that ends in .npz, .pt, .pth or .safetensors")]
    Ending,
    /// An activation was told of weights that have their own.
    #[error(
        "--activation is of weights in PyTorch's layout, expected none: the activation of these is known"
    )]
    Activation,
    /// The arrays cannot be read.
    #[error(transparent)]
    Arrays(#[from] ArraysError),
    /// The arrays are not those of a model.
    #[error(transparent)]
    Weights(#[from] ConvertError),
    /// A checkpoint of latco is damaged.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
}

impl CliError {
    /// Wraps whatever a drawing library reports.
    pub fn drawing(error: impl Error + Send + Sync + 'static) -> Self {
        Self::Drawing(Box::new(error))
    }

    /// 2 for bad input or usage, else 1.
    pub fn exit_status(&self) -> u8 {
        if self.is_bad_input() { 2 } else { 1 }
    }

    /// The message with every line break folded into a space.
    pub fn one_line(&self) -> String {
        one_line(&self.to_string())
    }

    fn is_bad_input(&self) -> bool {
        match self {
            Self::Usage(_)
            | Self::Setting(_)
            | Self::Destination { .. }
            | Self::NoDemoCheckpoint { .. }
            | Self::NoCheckpoints { .. }
            | Self::Results { .. }
            | Self::SharedResults { .. }
            | Self::PlannerOnPolicy { .. }
            | Self::OverInput { .. }
            | Self::Mismatch { .. }
            | Self::EnvArgument { .. }
            | Self::Image { .. }
            | Self::Policy { .. }
            | Self::NoiseOnRandom { .. }
            | Self::NoEpisodes { .. }
            | Self::Metrics { .. }
            | Self::Recordings { .. }
            | Self::Data { .. }
            | Self::Configuration(_)
            | Self::Device(_)
            | Self::Import(_)
            | Self::Convert { .. }
            | Self::Planner(_)
            | Self::SettingsOfSeveral { .. }
            | Self::Problem(_)
            | Self::Plan(PlanError::NoImageSpace) => true,
            Self::Checkpoint(error) => is_bad_checkpoint(error),
            Self::ImageFile(error) => {
                !matches!(error, ImageError::Write { .. } | ImageError::Encode(_))
            }
            Self::EpisodeFile(error) => is_bad_episode(error),
            Self::Env(error) => is_bad_env(error),
            Self::Agent(error) => is_bad_agent(error),
            Self::Run(error) => is_bad_run(error),
            Self::Episode(error) => is_bad_episode_run(error),
            Self::Plan(_)
            | Self::NoPlan
            | Self::Unwritable { .. }
            | Self::Figures { .. }
            | Self::Interrupted { .. }
            | Self::Signal(_)
            | Self::Read { .. }
            | Self::Write { .. }
            | Self::Output(_)
            | Self::Drawing(_)
            | Self::Json(_)
            | Self::Panic(_) => false,
        }
    }
}

fn is_bad_checkpoint(error: &CheckpointError) -> bool {
    !matches!(
        error,
        CheckpointError::Write { .. } | CheckpointError::Encode { .. } | CheckpointError::State(_)
    )
}

/// An unreadable or damaged file is bad input, one that cannot be written is not.
fn is_bad_episode(error: &EpisodeFileError) -> bool {
    match &error.problem {
        EpisodeFileProblem::Io(source) => matches!(
            source.kind(),
            io::ErrorKind::NotFound | io::ErrorKind::IsADirectory | io::ErrorKind::NotADirectory
        ),
        _ => true,
    }
}

fn is_bad_env(error: &EnvError) -> bool {
    match error {
        EnvError::Unknown { .. }
        | EnvError::Option { .. }
        | EnvError::ActionBounds { .. }
        | EnvError::Shape { .. }
        | EnvError::NoExpert { .. }
        | EnvError::Thing { .. } => true,
        EnvError::Process { problem, .. } => matches!(
            **problem,
            ProcessError::Start { .. }
                | ProcessError::Argument { .. }
                | ProcessError::Package { .. }
                | ProcessError::UnknownId { .. }
                | ProcessError::Picture { .. }
                | ProcessError::Actions { .. }
                | ProcessError::TimeLimit { .. }
        ),
        _ => false,
    }
}

fn is_bad_episode_run(error: &EpisodeRunError) -> bool {
    match error {
        EpisodeRunError::Agent(error) => is_bad_agent(error),
        EpisodeRunError::Env(error) => is_bad_env(error),
        EpisodeRunError::Episode(_) => false,
    }
}

fn is_bad_agent(error: &AgentError) -> bool {
    match error {
        AgentError::Checkpoint(error) => is_bad_checkpoint(error),
        AgentError::Plan(_) | AgentError::Observation(_) => false,
        AgentError::Planner(_)
        | AgentError::Config(_)
        | AgentError::ImageSize { .. }
        | AgentError::Episode(_) => true,
    }
}

fn is_bad_run(error: &RunError) -> bool {
    match error {
        RunError::Config(_)
        | RunError::Planner(_)
        | RunError::OtherSizes { .. }
        | RunError::Exists { .. }
        | RunError::Occupied { .. }
        | RunError::Missing { .. }
        | RunError::LaterState { .. }
        | RunError::Environments { .. }
        | RunError::Locked { .. }
        | RunError::Damaged { .. }
        | RunError::Interface(_)
        | RunError::Sequential { .. }
        | RunError::Reward { .. } => true,
        RunError::Episode(error) => is_bad_episode_run(error),
        RunError::Env(error) => is_bad_env(error),
        RunError::Agent(error) => is_bad_agent(error),
        RunError::EpisodeFile(error) => is_bad_episode(error),
        RunError::Checkpoint(error) => is_bad_checkpoint(error),
        RunError::Replay(error) => matches!(
            error,
            ReplayError::Empty
                | ReplayError::Mismatch { .. }
                | ReplayError::Other { .. }
                | ReplayError::Images { .. }
        ),
        _ => false,
    }
}

/// A path as a shell takes it.
fn quoted(path: &Path) -> String {
    let path = path.to_string_lossy();
    shlex::try_quote(&path).map_or_else(|_| path.to_string(), |quoted| quoted.into_owned())
}

impl From<clap::Error> for CliError {
    /// Keeps what is wrong and the tips; drops the usage, which `--help` prints.
    fn from(error: clap::Error) -> Self {
        let missing = [
            ErrorKind::MissingSubcommand,
            ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand,
        ];
        if missing.contains(&error.kind()) {
            return Self::Usage(
                "expected a subcommand, such as demo (see latco --help)".to_owned(),
            );
        }
        let text = error.render().to_string();
        let lines = text
            .lines()
            .map(str::trim)
            .take_while(|line| !line.starts_with("Usage:") && !line.starts_with("For more"))
            .filter(|line| !line.is_empty());
        let message = lines.collect::<Vec<_>>().join(" ").replace(" tip: ", "; ");
        let message = message.strip_prefix("error: ").unwrap_or(&message);
        Self::Usage(message.to_owned())
    }
}
