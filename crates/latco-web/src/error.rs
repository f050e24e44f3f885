use latco_agent::{AgentError, InterfaceError, device::DeviceError};
use latco_env::{EnvError, ImageError};
use latco_plan::{ConfigError, PlanError, catalogue::CatalogueError};
use thiserror::Error;

/// Why something could not be done; what it says is the message of the exception that a page sees.
#[derive(Debug, Error)]
pub enum WebError {
    /// The checkpoint, the planner or the image is refused, or planning failed.
    #[error(transparent)]
    Agent(#[from] AgentError),
    /// The task is unknown, or refuses what is done to it.
    #[error(transparent)]
    Env(#[from] EnvError),
    /// The planner is unknown.
    #[error(transparent)]
    Catalogue(#[from] CatalogueError),
    /// A setting is refused.
    #[error("planner setting {0}")]
    Config(#[from] ConfigError),
    /// The checkpoint was not made for this task.
    #[error(transparent)]
    Interface(#[from] InterfaceError),
    /// A plan could not be rolled out.
    #[error(transparent)]
    Plan(#[from] PlanError),
    /// Bytes are no image.
    #[error(transparent)]
    Image(#[from] ImageError),
    /// Text that is not what it should be.
    #[error("{what} cannot be read: {reason}")]
    Text {
        /// Which text.
        what: &'static str,
        /// What is wrong with it.
        reason: serde_json::Error,
    },
    /// There is nothing to show yet.
    #[error("there is no {what} yet: take a step first")]
    Nothing {
        /// What was asked for.
        what: &'static str,
    },
    /// An iteration that was not recorded.
    #[error("iteration {index} was not recorded, there are {count}")]
    Iteration {
        /// The one asked for.
        index: usize,
        /// Iterations recorded.
        count: usize,
    },
    /// The build lacks the CPU backend.
    #[error(transparent)]
    Device(#[from] DeviceError),
}
