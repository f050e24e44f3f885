//! The environments by name.

use serde::Serialize;

use crate::environment::{EnvError, EnvOptions, Environment};
use crate::scene::Scene;
use crate::tasks::{
    Task, TaskEnvironment, button::Button, drawer::Drawer, hammer::Hammer, lottery::Lottery,
    push::Push, reach::Reach, reacher::Reacher, thermos::Thermos, two_room::TwoRoom,
    window::Window,
};
use crate::wrappers::{ActionRepeat, RepeatReward, TimeLimit};

/// The steps of plans for an environment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Protocol {
    /// Steps of a plan.
    pub horizon: usize,
    /// Steps executed of a plan before the next is made; the horizon means open loop.
    pub replan_every: usize,
}

/// An environment that [`make`] knows.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct EnvInfo {
    /// The name that [`make`] takes.
    pub name: &'static str,
    /// One line on what is to be done.
    pub about: &'static str,
    /// How it is planned and evaluated where nothing else is asked for.
    pub protocol: Protocol,
    /// The least and the largest reward of a step, the dense variant apart.
    pub reward_range: [f32; 2],
    #[serde(skip)]
    build: fn(&EnvOptions) -> Result<Box<dyn Environment>, EnvError>,
    #[serde(skip)]
    scene: fn(&EnvOptions) -> Result<Box<dyn Scene>, EnvError>,
}

const CATALOGUE: &[EnvInfo] = &[
    entry::<Reach>(),
    entry::<Button>(),
    entry::<Window>(),
    entry::<Drawer>(),
    entry::<Push>(),
    entry::<Hammer>(),
    entry::<Thermos>(),
    entry::<TwoRoom>(),
    entry::<Lottery>(),
    entry::<Reacher>(),
];

const fn entry<T: Task + 'static>() -> EnvInfo {
    EnvInfo {
        name: T::NAME,
        about: T::ABOUT,
        protocol: Protocol {
            horizon: T::HORIZON,
            replan_every: T::REPLAN_EVERY,
        },
        reward_range: T::REWARD_RANGE,
        build: build::<T>,
        scene: build_scene::<T>,
    }
}

fn build_scene<T: Task + 'static>(options: &EnvOptions) -> Result<Box<dyn Scene>, EnvError> {
    Ok(Box::new(repeated::<T>(options)?))
}

fn repeated<T: Task>(options: &EnvOptions) -> Result<ActionRepeat<TaskEnvironment<T>>, EnvError> {
    let task = TaskEnvironment::<T>::new(options)?;
    ActionRepeat::new(task, T::ACTION_REPEAT, RepeatReward::Last)
}

fn build<T: Task + 'static>(options: &EnvOptions) -> Result<Box<dyn Environment>, EnvError> {
    let repeated = repeated::<T>(options)?;
    let limit = repeated.time_limit();
    Ok(Box::new(TimeLimit::new(repeated, limit)?))
}

/// Every environment, in the order in which they are best tried.
pub fn catalogue() -> &'static [EnvInfo] {
    CATALOGUE
}

/// The entry of this name.
///
/// # Errors
/// [`EnvError::Unknown`] names the nearest known name and lists all.
pub fn info(name: &str) -> Result<&'static EnvInfo, EnvError> {
    CATALOGUE
        .iter()
        .find(|entry| entry.name == name)
        .ok_or_else(|| unknown(name))
}

/// The environment of this name, with its action repeat and time limit, as after `reset(0)`.
///
/// # Errors
/// Those of [`info`]; [`EnvError::Option`] where an option is out of range.
pub fn make(name: &str, options: &EnvOptions) -> Result<Box<dyn Environment>, EnvError> {
    (info(name)?.build)(options)
}

/// The task of this name without its time limit, with hands on its things: what a demonstration runs.
///
/// # Errors
/// As [`make`].
pub fn scene(name: &str, options: &EnvOptions) -> Result<Box<dyn Scene>, EnvError> {
    (info(name)?.scene)(options)
}

fn unknown(name: &str) -> EnvError {
    let names = || CATALOGUE.iter().map(|entry| entry.name);
    EnvError::Unknown {
        name: name.to_owned(),
        nearest: names()
            .min_by_key(|known| strsim::damerau_levenshtein(name, known))
            .expect("the catalogue is not empty"),
        known: names().collect::<Vec<_>>().join(", "),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn protocols_fit_into_their_episodes() {
        for entry in catalogue() {
            let Protocol {
                horizon,
                replan_every,
            } = entry.protocol;
            let environment = make(entry.name, &EnvOptions::default()).unwrap();
            assert_eq!(horizon, environment.time_limit(), "{}", entry.name);
            assert!((1..=horizon).contains(&replan_every), "{}", entry.name);
        }
    }

    #[test]
    fn an_unknown_name_gets_the_nearest_and_all() {
        let message = make("raech", &EnvOptions::default())
            .err()
            .unwrap()
            .to_string();
        assert!(message.contains("did you mean `reach`?"));
        for entry in catalogue() {
            assert!(message.contains(entry.name));
        }
    }
}
