use serde::{Deserialize, Serialize};

/// How the steps of a least-squares planner keep actions within `[−1, 1]`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ActionBounds {
    /// An action that a step would take beyond a bound stops there, and the others are solved for
    /// anew (projected Newton steps, Bertsekas 1982). Nothing is left for ν to do.
    #[default]
    Projected,
    /// By the penalty `½ ν ‖max(|a| − 1, 0)‖²` and dual ascent on ν (the reference). A step knows of
    /// a bound once it has been passed, so that a large ν leaves only short steps near it. Choose it
    /// where a plan must first be found with actions that there are not: a pendulum's swing-up comes
    /// of forces that lift it at once.
    Penalised,
}
