//! The environments by name.

use serde::Serialize;

use crate::environment::{EnvError, EnvOptions, Environment};
use crate::tasks::{
    Task, TaskEnvironment, button::Button, drawer::Drawer, hammer::Hammer, lottery::Lottery,
    push::Push, reach::Reach, reacher::Reacher, thermos::Thermos, two_room::TwoRoom,
    window::Window,
};
use crate::wrappers::{ActionRepeat, RepeatReward, TimeLimit};

/// An environment that [`make`] knows.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct EnvInfo {
    /// The name that [`make`] takes.
    pub name: &'static str,
    /// One line on what is to be done.
    pub about: &'static str,
    #[serde(skip)]
    build: fn(&EnvOptions) -> Result<Box<dyn Environment>, EnvError>,
}

const CATALOGUE: &[EnvInfo] = &[
    info::<Reach>(),
    info::<Button>(),
    info::<Window>(),
    info::<Drawer>(),
    info::<Push>(),
    info::<Hammer>(),
    info::<Thermos>(),
    info::<TwoRoom>(),
    info::<Lottery>(),
    info::<Reacher>(),
];

const fn info<T: Task + 'static>() -> EnvInfo {
    EnvInfo {
        name: T::NAME,
        about: T::ABOUT,
        build: build::<T>,
    }
}

fn build<T: Task + 'static>(options: &EnvOptions) -> Result<Box<dyn Environment>, EnvError> {
    let task = TaskEnvironment::<T>::new(options)?;
    let repeated = ActionRepeat::new(task, T::ACTION_REPEAT, RepeatReward::Last)?;
    let limit = repeated.time_limit();
    Ok(Box::new(TimeLimit::new(repeated, limit)?))
}

/// Every environment, in the order in which they are best tried.
pub fn catalogue() -> &'static [EnvInfo] {
    CATALOGUE
}

/// The environment of this name, with its action repeat and time limit, as after `reset(0)`.
///
/// # Errors
/// [`EnvError::Unknown`] names the nearest known name and lists all; [`EnvError::Option`] where an
/// option is out of range.
pub fn make(name: &str, options: &EnvOptions) -> Result<Box<dyn Environment>, EnvError> {
    match CATALOGUE.iter().find(|entry| entry.name == name) {
        Some(entry) => (entry.build)(options),
        None => Err(unknown(name)),
    }
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
