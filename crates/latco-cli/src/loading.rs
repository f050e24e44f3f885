//! Models, environments and agents from what the command line names.

use std::{collections::BTreeMap, path::Path};

use burn::tensor::Device;
use latco_agent::{Agent, AgentConfig, check_interface, usual_horizon};
use latco_env::{EnvOptions, Environment, Protocol, info, make, process};
use latco_model::WorldModel;
use latco_plan::Planner;
use serde_json::Value;

use crate::error::CliError;

/// The environment `name`: of the catalogue with `options`, or one outside this process with
/// `arguments`.
pub fn open_environment(
    name: &str,
    arguments: &BTreeMap<String, Value>,
    options: &EnvOptions,
) -> Result<Box<dyn Environment>, CliError> {
    if process::is_outside(name) {
        return Ok(process::open(name, arguments)?);
    }
    match arguments.keys().next() {
        Some(key) => Err(CliError::EnvArgument {
            env: name.to_owned(),
            key: key.clone(),
        }),
        None => Ok(make(name, options)?),
    }
}

/// The environment `name` as it is evaluated, rendered as the model was trained; refused where the model, read
/// from `checkpoint`, has other images or actions.
pub fn environment_for(
    model: &WorldModel,
    name: &str,
    arguments: &BTreeMap<String, Value>,
    checkpoint: &Path,
) -> Result<Box<dyn Environment>, CliError> {
    environment_with(model, name, arguments, &EnvOptions::default(), checkpoint)
}

/// As [`environment_for`], with the rewards that `options` ask for.
pub fn environment_with(
    model: &WorldModel,
    name: &str,
    arguments: &BTreeMap<String, Value>,
    options: &EnvOptions,
    checkpoint: &Path,
) -> Result<Box<dyn Environment>, CliError> {
    let camera_size = model.config().camera_size();
    let options = EnvOptions {
        image_size: camera_size[1],
        ..options.clone()
    };
    let arguments = sized(name, arguments, camera_size);
    let environment = open_environment(name, &arguments, &options)?;
    check_interface(environment.as_ref(), model).map_err(|source| CliError::Mismatch {
        path: checkpoint.to_owned(),
        source,
    })?;
    Ok(environment)
}

/// `arguments` with the side of the model's pictures for an environment of Gymnasium's, which is drawn at any; a
/// simulator behind `exec:` gets in evaluation what it got in training.
fn sized(
    name: &str,
    arguments: &BTreeMap<String, Value>,
    [width, height]: [usize; 2],
) -> BTreeMap<String, Value> {
    let mut arguments = arguments.clone();
    if name.starts_with("gym:") && width == height {
        arguments.entry("size".to_owned()).or_insert(height.into());
    }
    arguments
}

/// As many as `count` of [`environment_for`], to run side by side.
pub fn environments_for(
    model: &WorldModel,
    name: &str,
    arguments: &BTreeMap<String, Value>,
    checkpoint: &Path,
    count: usize,
) -> Result<Vec<Box<dyn Environment>>, CliError> {
    (0..count)
        .map(|_| environment_for(model, name, arguments, checkpoint))
        .collect()
}

/// How an environment is planned and evaluated where nothing else is asked for: as the catalogue says,
/// else with plans of a whole episode, at most 50 steps, made anew at their half.
pub fn protocol_of(name: &str, environment: &dyn Environment) -> Protocol {
    match info(name) {
        Ok(entry) => entry.protocol,
        Err(_) => {
            let horizon = usual_horizon(environment.time_limit());
            Protocol {
                horizon,
                replan_every: horizon.div_ceil(2),
            }
        }
    }
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
    let replan_every = protocol.replan_every;
    let config = AgentConfig {
        replan_every: replan_every.min(planner.horizon()),
        ..settings
    };
    Ok(Agent::new(model, planner, config, device)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gymnasium_alone_is_asked_for_the_models_size() {
        let none = BTreeMap::new();
        let size = |value: usize| BTreeMap::from([("size".to_owned(), Value::from(value))]);
        assert_eq!(sized("gym:Pendulum-v1", &none, [96, 96]), size(96));
        assert_eq!(sized("gym:Pendulum-v1", &size(32), [96, 96]), size(32));
        assert_eq!(sized("gym:Pendulum-v1", &none, [96, 64]), none);
        assert_eq!(sized("exec:python3 point.py", &none, [96, 96]), none);
    }
}
