//! Actions: vectors within the bounds of an environment.

use rand::Rng;
use serde::{Deserialize, Serialize};

use crate::environment::EnvError;

/// A box of actions, `low ≤ a ≤ high` entry by entry, in the units of an environment.
///
/// Models and planners see normalised actions `x ∈ [−1, 1]^A`; the box carries one into the other:
/// `a = low + (x + 1) (high − low) / 2`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Bounds", into = "Bounds")]
pub struct ActionSpace {
    low: Vec<f32>,
    high: Vec<f32>,
}

/// What an [`ActionSpace`] is written as.
#[derive(Serialize, Deserialize)]
struct Bounds {
    low: Vec<f32>,
    high: Vec<f32>,
}

impl TryFrom<Bounds> for ActionSpace {
    type Error = EnvError;

    fn try_from(bounds: Bounds) -> Result<Self, EnvError> {
        Self::new(bounds.low, bounds.high)
    }
}

impl From<ActionSpace> for Bounds {
    fn from(space: ActionSpace) -> Self {
        Self {
            low: space.low,
            high: space.high,
        }
    }
}

impl ActionSpace {
    /// The box `[−1, 1]^size`.
    pub fn unit(size: usize) -> Self {
        Self {
            low: vec![-1.0; size],
            high: vec![1.0; size],
        }
    }

    /// The box between two corners.
    ///
    /// # Errors
    /// [`EnvError::ActionBounds`] where an entry has no finite bounds with `low < high`,
    /// [`EnvError::ActionLength`] where the corners have different lengths or none.
    pub fn new(low: Vec<f32>, high: Vec<f32>) -> Result<Self, EnvError> {
        if low.is_empty() || low.len() != high.len() {
            return Err(EnvError::ActionLength {
                expected: low.len().max(1),
                got: high.len(),
            });
        }
        let finite = |low: f32, high: f32| low < high && (high - low).is_finite();
        let mut entries = low.iter().zip(&high);
        match entries.position(|(&low, &high)| !finite(low, high)) {
            Some(index) => Err(EnvError::ActionBounds {
                index,
                low: low[index],
                high: high[index],
            }),
            None => Ok(Self { low, high }),
        }
    }

    /// Entries of an action.
    pub fn size(&self) -> usize {
        self.low.len()
    }

    /// The least value of each entry.
    pub fn low(&self) -> &[f32] {
        &self.low
    }

    /// The largest value of each entry.
    pub fn high(&self) -> &[f32] {
        &self.high
    }

    /// Whether every entry has the bounds −1 and 1, so that units are normalised already.
    pub fn is_unit(&self) -> bool {
        self.low.iter().all(|&low| low == -1.0) && self.high.iter().all(|&high| high == 1.0)
    }

    /// `action`, in the environment's units, clamped to the bounds.
    ///
    /// # Errors
    /// [`EnvError::ActionLength`] and [`EnvError::ActionNotFinite`].
    pub fn clamped(&self, action: &[f32]) -> Result<Vec<f32>, EnvError> {
        check(action, self.size())?;
        Ok(self
            .entries(action)
            .map(|(a, low, high)| a.clamp(low, high))
            .collect())
    }

    /// The normalised actions of whole rows of actions in the environment's units; an action beyond
    /// the bounds stays beyond `[−1, 1]`.
    pub fn normalised(&self, actions: &[f32]) -> Vec<f32> {
        if self.is_unit() {
            return actions.to_vec();
        }
        self.entries(actions)
            // The share first: twice the way from the lower bound may be more than single precision has.
            .map(|(a, low, high)| 2.0 * ((a - low) / (high - low)) - 1.0)
            .collect()
    }

    /// The actions in the environment's units, within the bounds, of whole rows of normalised ones:
    /// the inverse of [`normalised`](Self::normalised).
    pub fn denormalised(&self, actions: &[f32]) -> Vec<f32> {
        if self.is_unit() {
            return actions.iter().map(|x| x.clamp(-1.0, 1.0)).collect();
        }
        self.entries(actions)
            .map(|(x, low, high)| {
                let share = 0.5 * (x.clamp(-1.0, 1.0) + 1.0);
                (low + share * (high - low)).clamp(low, high)
            })
            .collect()
    }

    /// Entries of rows of actions, each with its bounds.
    fn entries<'a>(&'a self, actions: &'a [f32]) -> impl Iterator<Item = (f32, f32, f32)> + 'a {
        let bounds = self.low.iter().zip(&self.high).cycle();
        let pairs = actions.iter().zip(bounds);
        pairs.map(|(&action, (&low, &high))| (action, low, high))
    }
}

/// Checks that `action` has `size` finite entries.
pub(crate) fn check(action: &[f32], size: usize) -> Result<(), EnvError> {
    if action.len() != size {
        return Err(EnvError::ActionLength {
            expected: size,
            got: action.len(),
        });
    }
    match action.iter().position(|value| !value.is_finite()) {
        Some(index) => Err(EnvError::ActionNotFinite {
            index,
            value: action[index],
        }),
        None => Ok(()),
    }
}

/// Checks that `action` has `SIZE` finite entries and clamps each to `[-1, 1]`.
pub(crate) fn checked<const SIZE: usize>(action: &[f32]) -> Result<[f32; SIZE], EnvError> {
    check(action, SIZE)?;
    Ok(std::array::from_fn(|entry| action[entry].clamp(-1.0, 1.0)))
}

/// An action with independent entries, uniform between the bounds: the random policy.
pub fn uniform_action(random: &mut impl Rng, space: &ActionSpace) -> Vec<f32> {
    let normalised: Vec<f32> = (0..space.size())
        .map(|_| random.random_range(-1.0..=1.0))
        .collect();
    space.denormalised(&normalised)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn actions_are_checked_and_clamped() {
        assert_eq!(checked::<2>(&[2.0, -3.0]).unwrap(), [1.0, -1.0]);
        assert!(matches!(
            checked::<2>(&[0.0]),
            Err(EnvError::ActionLength {
                expected: 2,
                got: 1
            })
        ));
        assert!(matches!(
            checked::<2>(&[0.0, f32::NAN]),
            Err(EnvError::ActionNotFinite { index: 1, .. })
        ));
        let torque = ActionSpace::new(vec![-2.0], vec![2.0]).unwrap();
        assert_eq!(torque.clamped(&[3.0]).unwrap(), [2.0]);
        assert!(torque.clamped(&[f32::INFINITY]).is_err());
    }

    #[test]
    fn units_are_normalised_and_back() {
        let space = ActionSpace::new(vec![0.0, -2.0], vec![512.0, 2.0]).unwrap();
        let actions = [0.0, -2.0, 512.0, 2.0, 256.0, 1.0];
        let normalised = space.normalised(&actions);
        assert_eq!(normalised, [-1.0, -1.0, 1.0, 1.0, 0.0, 0.5]);
        assert_eq!(space.denormalised(&normalised), actions);
        assert_eq!(space.denormalised(&[7.0, -7.0]), [512.0, -2.0]);
        assert!(!space.is_unit() && ActionSpace::unit(3).is_unit());
        let wide = ActionSpace::new(vec![-1.5e38], vec![1.5e38]).unwrap();
        assert_eq!(wide.normalised(&[-1.5e38, 0.0, 1.5e38]), [-1.0, 0.0, 1.0]);
    }

    #[test]
    fn bounds_that_are_none_are_refused() {
        for (low, high) in [(1.0, 1.0), (0.0, f32::INFINITY), (f32::NAN, 1.0)] {
            let error = ActionSpace::new(vec![-1.0, low], vec![1.0, high]).unwrap_err();
            assert!(matches!(error, EnvError::ActionBounds { index: 1, .. }));
        }
        assert!(ActionSpace::new(vec![], vec![]).is_err());
        assert!(ActionSpace::new(vec![0.0], vec![1.0, 2.0]).is_err());
        let space = ActionSpace::new(vec![-2.0], vec![2.0]).unwrap();
        let text = serde_json::to_string(&space).unwrap();
        assert_eq!(serde_json::from_str::<ActionSpace>(&text).unwrap(), space);
        assert!(serde_json::from_str::<ActionSpace>(r#"{"low":[1],"high":[0]}"#).is_err());
    }
}
