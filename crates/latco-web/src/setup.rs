//! Planners and the few settings of theirs that a page offers.

use latco_agent::{Agent, AgentConfig};
use latco_model::WorldModel;
use latco_plan::{
    Planner,
    catalogue::{PLANNERS, PlannerInfo, Settings, info},
};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::WebError;

/// How to plan.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub struct Setup {
    /// A planner's name.
    pub planner: String,
    /// Steps of a plan; the method's own where not given.
    pub horizon: Option<usize>,
    /// λ at the start, of methods that have one.
    pub multiplier: Option<f64>,
    /// The violation ε that is tolerated, of methods that have one.
    pub epsilon: Option<f64>,
    /// Steps executed of a plan before the next is made.
    pub replan_every: usize,
    /// Further settings of the method by their names, as `latco planners NAME` shows them.
    pub settings: Map<String, Value>,
}

impl Default for Setup {
    fn default() -> Self {
        Self {
            planner: "latco".to_owned(),
            horizon: None,
            multiplier: None,
            epsilon: None,
            replan_every: 1,
            settings: Map::new(),
        }
    }
}

/// What a planner is and where its settings begin.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct PlannerEntry {
    /// The name.
    pub name: &'static str,
    /// One line about the method.
    pub about: &'static str,
    /// λ at the start, where the method has one.
    pub multiplier: Option<f64>,
    /// ε, where the method has one.
    pub epsilon: Option<f64>,
}

/// Where methods keep λ₀ and ε.
const MULTIPLIER: [&str; 2] = ["/multiplier", "/dual/dynamics"];
const EPSILON: [&str; 2] = ["/epsilon", "/dual/threshold"];

/// Every planner.
///
/// # Errors
///
/// If settings cannot be written down.
pub fn planners() -> Result<Vec<PlannerEntry>, WebError> {
    PLANNERS.iter().map(entry).collect()
}

fn entry(info: &PlannerInfo) -> Result<PlannerEntry, WebError> {
    let values = written(info.settings().as_ref())?;
    let first = |places: [&str; 2]| {
        let mut found = places.iter().filter_map(|place| values.pointer(place));
        found.next().and_then(Value::as_f64)
    };
    Ok(PlannerEntry {
        name: info.name,
        about: info.about,
        multiplier: first(MULTIPLIER),
        epsilon: first(EPSILON),
    })
}

fn written(settings: &dyn Settings) -> Result<Value, WebError> {
    serde_json::to_value(settings).map_err(unreadable)
}

fn unreadable(reason: serde_json::Error) -> WebError {
    WebError::Text {
        what: "the planner's settings",
        reason,
    }
}

impl Setup {
    /// The planner.
    ///
    /// # Errors
    ///
    /// If there is no such planner, it has no such setting, or refuses one.
    pub fn planner(&self) -> Result<Box<dyn Planner>, WebError> {
        let info = info(&self.planner)?;
        let defaults = info.settings();
        let mut values = written(defaults.as_ref())?;
        set(&mut values, MULTIPLIER, self.multiplier);
        set(&mut values, EPSILON, self.epsilon);
        if let (Some(all), false) = (values.as_object_mut(), self.settings.is_empty()) {
            all.extend(self.settings.clone());
        }
        let mut settings = defaults.read(values).map_err(unreadable)?;
        if let Some(horizon) = self.horizon {
            settings = settings.with_horizon(horizon);
        }
        Ok(info.with(settings)?)
    }

    /// An agent that plans so; it replans at the latest at the end of a plan.
    ///
    /// # Errors
    ///
    /// As [`planner`](Self::planner).
    pub fn agent(&self, model: WorldModel) -> Result<Agent, WebError> {
        let planner = self.planner()?;
        let config = AgentConfig {
            replan_every: self.replan_every.min(planner.horizon()),
            ..AgentConfig::default()
        };
        let device = model.device();
        Ok(Agent::new(model, planner, config, &device)?)
    }
}

/// Sets what is found at one of `places`, where a value is given.
fn set(values: &mut Value, places: [&str; 2], value: Option<f64>) {
    let Some(value) = value else { return };
    if let Some(place) = places.iter().find(|place| values.pointer(place).is_some())
        && let Some(slot) = values.pointer_mut(place)
    {
        *slot = value.into();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Setup {
        serde_json::from_str(text).unwrap()
    }

    #[test]
    fn every_planner_can_be_had_as_a_page_asks_for_it() {
        for entry in planners().unwrap() {
            let setup = Setup {
                planner: entry.name.to_owned(),
                horizon: Some(9),
                multiplier: Some(3.0),
                epsilon: Some(1e-3),
                ..Setup::default()
            };
            let planner = setup.planner().unwrap();
            assert_eq!((planner.name(), planner.horizon()), (entry.name, 9));
        }
    }

    #[test]
    fn the_multiplier_and_epsilon_of_collocation_are_shown_and_set() {
        let entries = planners().unwrap();
        let of = |name: &str| entries.iter().find(|entry| entry.name == name).unwrap();
        assert_eq!(of("latco-paper").multiplier, Some(1.0));
        assert!(of("latco-first-order").epsilon.is_some());
        assert_eq!((of("icem").multiplier, of("icem").epsilon), (None, None));
        let refused = read(r#"{"planner": "latco-paper", "multiplier": -1}"#).planner();
        assert!(refused.err().unwrap().to_string().contains("multiplier"));
        let refused = read(r#"{"planner": "latco-first-order", "epsilon": 0}"#).planner();
        assert!(refused.is_err());
    }

    #[test]
    fn what_is_unknown_is_named() {
        let unknown = read(r#"{"planner": "magic"}"#).planner().err().unwrap();
        assert!(
            unknown
                .to_string()
                .starts_with("unknown planner `magic`, expected one of: latco,")
        );
        let unknown = read(r#"{"planner": "icem", "settings": {"magic": 1}}"#).planner();
        assert!(unknown.err().unwrap().to_string().contains("magic"));
        assert!(serde_json::from_str::<Setup>(r#"{"magic": 1}"#).is_err());
    }
}
