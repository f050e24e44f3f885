//! Models, environments and agents from what the command line names.

use std::path::Path;

use burn::tensor::Device;
use latco_agent::{Agent, AgentConfig};
use latco_env::{EnvOptions, Environment, Protocol, make};
use latco_model::WorldModel;
use latco_plan::Planner;

use crate::error::CliError;

/// The environment `name` rendered at the model's image size; refused where the model, read from
/// `checkpoint`, has other actions.
pub fn environment_for(
    model: &WorldModel,
    name: &str,
    checkpoint: &Path,
) -> Result<Box<dyn Environment>, CliError> {
    let options = EnvOptions {
        image_size: model.config().image_size,
        ..EnvOptions::default()
    };
    let environment = make(name, &options).map_err(|source| CliError::Environment {
        path: checkpoint.to_owned(),
        source,
    })?;
    let (found, expected) = (model.config().action_size, environment.action_size());
    if found != expected {
        return Err(CliError::Mismatch {
            path: checkpoint.to_owned(),
            env: name.to_owned(),
            found,
            expected,
        });
    }
    Ok(environment)
}

/// An agent that plans with `planner` and replans as `protocol` says.
pub fn agent_for(
    model: WorldModel,
    planner: Box<dyn Planner>,
    protocol: Protocol,
    device: &Device,
) -> Result<Agent, CliError> {
    agent_with(AgentConfig::default(), model, planner, protocol, device)
}

/// As [`agent_for`], with other settings; when to replan is left to `protocol`.
pub fn agent_with(
    settings: AgentConfig,
    model: WorldModel,
    planner: Box<dyn Planner>,
    protocol: Protocol,
    device: &Device,
) -> Result<Agent, CliError> {
    let Protocol {
        horizon,
        replan_every,
    } = protocol;
    let config = AgentConfig {
        replan_every: replan_every.min(horizon),
        ..settings
    };
    Ok(Agent::new(model, planner, config, device)?)
}
