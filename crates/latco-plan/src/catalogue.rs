//! Planners by name.

use thiserror::Error;

use crate::{
    ConfigError, Planner, RandomActions, RandomActionsConfig,
    collocation::{FirstOrder, FirstOrderConfig, GaussNewton, GaussNewtonConfig},
    shooting::{Cem, CemConfig},
};

/// A planner's name and what it does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PlannerInfo {
    /// The name users type.
    pub name: &'static str,
    /// One line about the method.
    pub about: &'static str,
}

/// Every planner that [`planner`] can make.
pub const PLANNERS: &[PlannerInfo] = &[
    PlannerInfo {
        name: "latco",
        about: "latent collocation by Gauss-Newton and dual ascent",
    },
    PlannerInfo {
        name: "latco-first-order",
        about: "latent collocation by Adam and dual ascent",
    },
    PlannerInfo {
        name: "cem",
        about: "cross-entropy method over action sequences",
    },
    PlannerInfo {
        name: "random",
        about: "uniform random actions",
    },
];

/// Why a planner cannot be made.
#[derive(Clone, Debug, Error, PartialEq)]
pub enum CatalogueError {
    /// No planner has this name.
    #[error("unknown planner `{name}`, expected one of: {}", names())]
    Unknown {
        /// The name found.
        name: String,
    },
    /// The settings are refused.
    #[error("planner setting {0}")]
    Config(#[from] ConfigError),
}

/// The planner of this name with its default settings and `horizon` steps, or the method's own
/// horizon where `None`.
///
/// # Errors
///
/// If there is no such planner, or the horizon is zero.
pub fn planner(name: &str, horizon: Option<usize>) -> Result<Box<dyn Planner>, CatalogueError> {
    Ok(match name {
        "latco" => {
            let mut config = GaussNewtonConfig::default();
            config.horizon = horizon.unwrap_or(config.horizon);
            Box::new(GaussNewton::new(config)?)
        }
        "latco-first-order" => {
            let mut config = FirstOrderConfig::default();
            config.horizon = horizon.unwrap_or(config.horizon);
            Box::new(FirstOrder::new(config)?)
        }
        "cem" => {
            let mut config = CemConfig::default();
            config.horizon = horizon.unwrap_or(config.horizon);
            Box::new(Cem::new(config)?)
        }
        "random" => {
            let mut config = RandomActionsConfig::default();
            config.horizon = horizon.unwrap_or(config.horizon);
            Box::new(RandomActions::new(config)?)
        }
        _ => {
            return Err(CatalogueError::Unknown {
                name: name.to_owned(),
            });
        }
    })
}

fn names() -> String {
    let names: Vec<_> = PLANNERS.iter().map(|info| info.name).collect();
    names.join(", ")
}
