//! How the dynamics are enforced: multipliers and weights of the defects, and the rules they follow.

use serde::{Deserialize, Serialize};

use crate::ConfigError;

/// The terms of the augmented Lagrangian in the defects of one plan,
///
/// ```text
/// Σ_t ½ λ_t ‖e_t‖² + y_t · e_t
/// ```
#[derive(Clone, Debug)]
pub(crate) struct Penalty {
    /// λ, `[horizon]`.
    pub weights: Vec<f64>,
    /// y, `[horizon, latent]`.
    pub multipliers: Vec<f64>,
    /// The largest `‖e_t‖²` at the last update.
    violation: f64,
}

/// How weights and multipliers follow the defects `e_t` with the violations `v_t = ‖e_t‖²`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Dual {
    /// `λ ← λ`: a penalty method.
    Fixed,
    /// `λ ← max(λ + η (v − ε), 0)`: gradient ascent on the Lagrangian of the note.
    Gradient {
        /// The step size η.
        rate: f64,
    },
    /// `λ ← λ (1 + κ log₁₀((v + ε/10) / ε))`: multiplicative (Rybkin et al. 2021, released code,
    /// κ = 0.1).
    Logarithmic {
        /// The factor κ, below 1.
        rate: f64,
    },
    /// `y ← y + λ e`, and `λ ← 4 λ` where the largest violation is more than a tenth of what it was:
    /// the method of multipliers (Hestenes 1969, Powell 1969; Nocedal & Wright, algorithm 17.4). It
    /// closes every gap with a finite λ, as a penalty alone does not.
    Augmented,
    /// `λ ← 4 λ`: penalty continuation.
    Continuation,
}

/// The growth of λ.
const GROWTH: f64 = 4.0;

/// The share of the largest violation that must be left for λ to stay.
const SUFFICIENT: f64 = 0.1;

/// λ grows no further, which the least defects of single precision would outweigh.
const LARGEST_WEIGHT: f64 = 1e7;

/// λ never falls below this, so that the least-squares problem stays well posed.
const LEAST_WEIGHT: f64 = 1e-3;

impl Dual {
    /// Refuses rates outside their range.
    ///
    /// # Errors
    ///
    /// Names the rate.
    pub fn validate(&self) -> Result<(), ConfigError> {
        match *self {
            Self::Gradient { rate } => ConfigError::require_positive_real("rate", rate),
            Self::Logarithmic { rate } => {
                ConfigError::require(rate > 0.0 && rate < 1.0, "rate", rate, "between 0 and 1")
            }
            Self::Fixed | Self::Augmented | Self::Continuation => Ok(()),
        }
    }

    /// One ascent of `penalty` at `defects` `[horizon, latent]` with the tolerance ε.
    pub(crate) fn ascend(&self, penalty: &mut Penalty, defects: &[f32], epsilon: f64) {
        let violations = violations(defects, penalty.weights.len());
        let largest = violations.iter().copied().fold(0.0, f64::max);
        if *self == Self::Augmented {
            penalty.move_multipliers(defects);
        }
        let has_fallen = largest <= SUFFICIENT * penalty.violation;
        for (weight, violation) in penalty.weights.iter_mut().zip(violations) {
            *weight = match *self {
                Self::Fixed => *weight,
                Self::Gradient { rate } => *weight + rate * (violation - epsilon),
                Self::Logarithmic { rate } => {
                    *weight * (1.0 + rate * ((violation + 0.1 * epsilon) / epsilon).log10())
                }
                Self::Augmented if has_fallen => *weight,
                Self::Augmented | Self::Continuation => *weight * GROWTH,
            }
            .clamp(LEAST_WEIGHT, LARGEST_WEIGHT);
        }
        penalty.violation = largest;
    }
}

/// `‖e_t‖²` of each of the `horizon` steps.
pub(crate) fn violations(defects: &[f32], horizon: usize) -> Vec<f64> {
    let square = |defect: &[f32]| defect.iter().map(|&value| f64::from(value).powi(2)).sum();
    defects
        .chunks(defects.len() / horizon)
        .map(square)
        .collect()
}

impl Penalty {
    /// λ₀ at every step, and no multipliers.
    pub fn new(weight: f64, [horizon, latent]: [usize; 2]) -> Self {
        Self {
            weights: vec![weight; horizon],
            multipliers: vec![0.0; horizon * latent],
            violation: f64::INFINITY,
        }
    }

    /// The terms at `defects` `[horizon, latent]`.
    pub fn of(&self, defects: &[f32]) -> f64 {
        self.terms(defects)
            .map(|(weight, multiplier, defect)| (0.5 * weight * defect + multiplier) * defect)
            .sum()
    }

    /// Their slope `λ e + y`, `[horizon, latent]`.
    pub fn slope(&self, defects: &[f32]) -> Vec<f64> {
        self.terms(defects)
            .map(|(weight, multiplier, defect)| weight * defect + multiplier)
            .collect()
    }

    /// `y / λ`, `[horizon, latent]`.
    pub fn shift(&self) -> Vec<f64> {
        let latent = self.multipliers.len() / self.weights.len();
        let steps = self.multipliers.chunks(latent).zip(&self.weights);
        steps
            .flat_map(|(step, &weight)| step.iter().map(move |multiplier| multiplier / weight))
            .collect()
    }

    fn move_multipliers(&mut self, defects: &[f32]) {
        self.multipliers = self.slope(defects);
    }

    /// λ, y and e of every component.
    fn terms<'b>(&'b self, defects: &'b [f32]) -> impl Iterator<Item = (f64, f64, f64)> + 'b {
        let latent = self.multipliers.len() / self.weights.len();
        let weights = self
            .weights
            .iter()
            .flat_map(move |&weight| std::iter::repeat_n(weight, latent));
        let terms = weights.zip(&self.multipliers).zip(defects);
        terms.map(|((weight, &multiplier), &defect)| (weight, multiplier, f64::from(defect)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ascended(dual: Dual, weight: f64, defect: f32) -> Penalty {
        let mut penalty = Penalty::new(weight, [1, 1]);
        dual.ascend(&mut penalty, &[defect], 1e-2);
        penalty
    }

    #[test]
    fn gradient_ascent_rises_with_the_excess_and_stops_above_zero() {
        let dual = Dual::Gradient { rate: 10.0 };
        assert!((ascended(dual, 1.0, 0.5).weights[0] - 3.4).abs() < 1e-6);
        assert_eq!(ascended(dual, 0.01, 0.0).weights[0], LEAST_WEIGHT);
    }

    #[test]
    fn the_logarithmic_rule_grows_by_its_rate_for_each_order_of_magnitude() {
        let dual = Dual::Logarithmic { rate: 0.1 };
        let defect = (0.1f32 - 0.001).sqrt();
        assert!((ascended(dual, 2.0, defect).weights[0] - 2.2).abs() < 1e-5);
        assert!((ascended(dual, 2.0, 0.0).weights[0] - 1.8).abs() < 1e-5);
    }

    #[test]
    fn multipliers_move_by_the_weighted_defect_and_weights_rise_where_it_falls_too_little() {
        let mut penalty = Penalty::new(10.0, [2, 1]);
        Dual::Augmented.ascend(&mut penalty, &[0.5, -0.1], 1e-4);
        assert_eq!(penalty.multipliers, [5.0, f64::from(-0.1f32) * 10.0]);
        // The first violation is compared with nothing.
        assert_eq!(penalty.weights, [10.0, 10.0]);
        Dual::Augmented.ascend(&mut penalty, &[0.4, 0.0], 1e-4);
        assert_eq!(penalty.weights, [40.0, 40.0]);
        Dual::Augmented.ascend(&mut penalty, &[0.1, 0.0], 1e-4);
        assert_eq!(penalty.weights, [40.0, 40.0]);
    }

    #[test]
    fn the_terms_have_the_slope_that_differences_show() {
        let mut penalty = Penalty::new(3.0, [1, 2]);
        penalty.multipliers = vec![0.7, -0.2];
        let slope = penalty.slope(&[0.5, 0.25]);
        let difference = f64::from(penalty.of(&[0.5 + 1e-2, 0.25]) as f32)
            - f64::from(penalty.of(&[0.5 - 1e-2, 0.25]) as f32);
        assert!((slope[0] - difference / 2e-2).abs() < 1e-3);
    }
}
