//! Actions: vectors in `[-1, 1]`.

use rand::Rng;

use crate::environment::EnvError;

/// Checks that `action` has `SIZE` finite entries and clamps each to `[-1, 1]`.
pub(crate) fn checked<const SIZE: usize>(action: &[f32]) -> Result<[f32; SIZE], EnvError> {
    let action: [f32; SIZE] = action.try_into().map_err(|_| EnvError::ActionLength {
        expected: SIZE,
        got: action.len(),
    })?;
    match action.iter().position(|value| !value.is_finite()) {
        Some(index) => Err(EnvError::ActionNotFinite {
            index,
            value: action[index],
        }),
        None => Ok(action.map(|value| value.clamp(-1.0, 1.0))),
    }
}

/// An action of `size` independent entries, uniform in `[-1, 1]`: the random policy.
pub fn uniform_action(random: &mut impl Rng, size: usize) -> Vec<f32> {
    (0..size).map(|_| random.random_range(-1.0..=1.0)).collect()
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
    }
}
