//! Models, environments and agents from what the command line names.

use std::path::Path;

use burn::tensor::Device;
use latco_agent::{Agent, AgentConfig};
use latco_env::{EnvOptions, Environment, make};
use latco_model::WorldModel;
use latco_plan::catalogue::planner;

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

/// An agent whose plans span a whole episode of `environment` and are made anew every
/// `replan_every` steps.
pub fn agent_for(
    model: WorldModel,
    planner_name: &str,
    environment: &dyn Environment,
    replan_every: usize,
    device: &Device,
) -> Result<Agent, CliError> {
    let horizon = environment.time_limit();
    let config = AgentConfig {
        replan_every: replan_every.min(horizon),
        ..AgentConfig::default()
    };
    let planner = planner(planner_name, Some(horizon))?;
    Ok(Agent::new(model, planner, config, device)?)
}

/// As [`agent_for`], with plans executed open loop.
pub fn open_loop_agent(
    model: WorldModel,
    planner_name: &str,
    environment: &dyn Environment,
    device: &Device,
) -> Result<Agent, CliError> {
    let horizon = environment.time_limit();
    agent_for(model, planner_name, environment, horizon, device)
}
