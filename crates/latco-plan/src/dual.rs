//! How constraints are enforced: the rules that multipliers follow, for every method.

use serde::{Deserialize, Serialize};

use crate::ConfigError;

/// How the weight λ of a constraint, and its vector multipliers `y` where it has any, follow residuals `d`
/// with the violation `v = ‖d‖² ≥ 0` and the threshold ε.
///
/// Schematically, for the logarithmic rule:
///
#[doc = include_str!("../doc/dual_rule.svg")]
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DualRule {
    /// `λ ← λ`: a penalty method.
    Fixed,
    /// `λ ← max(λ + η (v − ε), 0)`: gradient ascent on the Lagrangian.
    #[serde(alias = "gradient")]
    GradientAscent {
        /// The step size η.
        rate: f64,
    },
    /// `λ ← λ (1 + κ log₁₀((v + ε/10) / ε))`: multiplicative, so that λ spans many orders of
    /// magnitude in few steps (Rybkin et al. 2021, released code, κ = 0.1).
    Logarithmic {
        /// The factor κ, below 1.
        rate: f64,
    },
    /// `y ← y + λ d`, and `λ ← 4 λ` where the largest violation is more than a tenth of what it was:
    /// the method of multipliers (Hestenes 1969, Powell 1969; Nocedal & Wright, algorithm 17.4). It
    /// closes every gap with a finite λ, as a penalty alone does not. Gauss–Newton alone has it.
    Augmented,
    /// `λ ← 4 λ`: penalty continuation.
    Continuation,
}

/// The growth of λ.
pub(crate) const GROWTH: f64 = 4.0;

/// The share of the largest violation that must be left for λ to stay.
const SUFFICIENT: f64 = 0.1;

impl DualRule {
    /// λ after one step of the rule at the violation `v`; that of [`Augmented`](Self::Augmented) stays
    /// where the violation has fallen enough, as is taken for granted here.
    pub fn update(&self, multiplier: f64, violation: f64, threshold: f64) -> f64 {
        match *self {
            Self::Fixed | Self::Augmented => multiplier,
            Self::GradientAscent { rate } => (multiplier + rate * (violation - threshold)).max(0.0),
            Self::Logarithmic { rate } => {
                multiplier * (1.0 + rate * ((violation + 0.1 * threshold) / threshold).log10())
            }
            Self::Continuation => multiplier * GROWTH,
        }
    }

    /// Refuses rates outside their range.
    ///
    /// # Errors
    ///
    /// Names the rate.
    pub fn validate(&self) -> Result<(), ConfigError> {
        match *self {
            Self::GradientAscent { rate } => ConfigError::require_positive_real("rate", rate),
            Self::Logarithmic { rate } => {
                ConfigError::require(rate > 0.0 && rate < 1.0, "rate", rate, "between 0 and 1")
            }
            Self::Fixed | Self::Augmented | Self::Continuation => Ok(()),
        }
    }
}

/// Settings of the dual ascent.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DualConfig {
    /// How multipliers follow violations.
    pub rule: DualRule,
    /// λ at the start.
    pub dynamics: f64,
    /// ν at the start.
    pub actions: f64,
    /// The violation ε that is tolerated.
    pub threshold: f64,
    /// No multiplier falls below this: where a constraint has long held, the logarithmic rule would let
    /// it vanish, and with it the least-squares problem's conditioning.
    pub floor: f64,
    /// No multiplier grows beyond this.
    pub ceiling: f64,
}

impl Default for DualConfig {
    /// The reference's: log rule, λ₀ = ν₀ = 1, ε = 1e-4.
    fn default() -> Self {
        Self {
            rule: DualRule::Logarithmic { rate: 0.1 },
            dynamics: 1.0,
            actions: 1.0,
            threshold: 1e-4,
            floor: 1e-3,
            ceiling: 1e8,
        }
    }
}

impl DualConfig {
    /// Refuses settings outside their range.
    ///
    /// # Errors
    ///
    /// Names the first such setting.
    pub fn validate(&self) -> Result<(), ConfigError> {
        self.rule.validate()?;
        ConfigError::require_positive_real("dynamics", self.dynamics)?;
        ConfigError::require_positive_real("actions", self.actions)?;
        ConfigError::require_positive_real("threshold", self.threshold)?;
        ConfigError::require_positive_real("floor", self.floor)?;
        ConfigError::require(
            (self.ceiling as f32).is_finite() && self.ceiling > self.floor,
            "ceiling",
            self.ceiling,
            "a number above the floor that is finite in single precision",
        )
    }

    /// As [`validate`](Self::validate), for methods whose multipliers are numbers.
    ///
    /// # Errors
    ///
    /// Names the first such setting.
    pub(crate) fn validate_without_vectors(&self) -> Result<(), ConfigError> {
        ConfigError::require(
            self.rule != DualRule::Augmented,
            "rule",
            "augmented",
            "another rule, or a Gauss-Newton method, which has vector multipliers",
        )?;
        self.validate()
    }

    /// λ after one step of the rule, within its limits.
    pub(crate) fn update(&self, multiplier: f64, violation: f64) -> f64 {
        let updated = self.rule.update(multiplier, violation, self.threshold);
        self.limited(updated)
    }

    /// What is left of a multiplier within the limits.
    pub(crate) fn limited(&self, multiplier: f64) -> f64 {
        // Unlike `clamp`, these leave nothing that is not a number.
        multiplier.max(self.floor).min(self.ceiling)
    }
}

/// The terms of one constraint in the augmented Lagrangian of one plan, of residuals `d_t`,
///
/// ```text
/// Σ_t ½ λ_t ‖d_t‖² + y_t · d_t
/// ```
#[derive(Clone, Debug)]
pub(crate) struct Penalty {
    /// λ, `[horizon]`.
    pub weights: Vec<f64>,
    /// y, `[horizon, residuals]`.
    pub multipliers: Vec<f64>,
    /// The largest `‖d_t‖²` at the last update.
    violation: f64,
}

impl Penalty {
    /// λ₀ at every step, and no multipliers.
    pub fn new(weight: f64, [horizon, residuals]: [usize; 2]) -> Self {
        Self {
            weights: vec![weight; horizon],
            multipliers: vec![0.0; horizon * residuals],
            violation: f64::INFINITY,
        }
    }

    /// One ascent at `residuals` `[horizon, residuals]`.
    pub fn ascend(&mut self, dual: &DualConfig, residuals: &[f32]) {
        let violations = violations(residuals, self.weights.len());
        let largest = violations.iter().copied().fold(0.0, f64::max);
        let grows = dual.rule == DualRule::Augmented && largest > SUFFICIENT * self.violation;
        if dual.rule == DualRule::Augmented {
            self.multipliers = self.slope(residuals);
        }
        for (weight, violation) in self.weights.iter_mut().zip(violations) {
            *weight = match grows {
                true => dual.limited(*weight * GROWTH),
                false => dual.update(*weight, violation),
            };
        }
        self.violation = largest;
    }

    /// Multiplies all weights.
    pub fn grow(&mut self, factor: f64, dual: &DualConfig) {
        let weights = self.weights.iter_mut();
        weights.for_each(|weight| *weight = dual.limited(*weight * factor));
    }

    /// The terms at `residuals` `[horizon, residuals]`.
    pub fn of(&self, residuals: &[f32]) -> f64 {
        self.terms(residuals)
            .map(|(weight, multiplier, residual)| (0.5 * weight * residual + multiplier) * residual)
            .sum()
    }

    /// Their slope `λ d + y`, `[horizon, residuals]`.
    pub fn slope(&self, residuals: &[f32]) -> Vec<f64> {
        self.terms(residuals)
            .map(|(weight, multiplier, residual)| weight * residual + multiplier)
            .collect()
    }

    /// λ, y and d of every component.
    fn terms<'b>(&'b self, residuals: &'b [f32]) -> impl Iterator<Item = (f64, f64, f64)> + 'b {
        let size = self.multipliers.len() / self.weights.len();
        let weights = self.weights.iter();
        let weights = weights.flat_map(move |&weight| std::iter::repeat_n(weight, size));
        let terms = weights.zip(&self.multipliers).zip(residuals);
        terms.map(|((weight, &multiplier), &residual)| (weight, multiplier, f64::from(residual)))
    }
}

/// `‖d_t‖²` of each of the `horizon` steps.
pub(crate) fn violations(residuals: &[f32], horizon: usize) -> Vec<f64> {
    let square = |residual: &[f32]| residual.iter().map(|&value| f64::from(value).powi(2)).sum();
    let steps = residuals.chunks(residuals.len() / horizon);
    steps.map(square).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(rule: DualRule) -> DualConfig {
        DualConfig {
            rule,
            threshold: 1e-2,
            ..DualConfig::default()
        }
    }

    fn ascended(rule: DualRule, weight: f64, residual: f32) -> f64 {
        let mut penalty = Penalty::new(weight, [1, 1]);
        penalty.ascend(&config(rule), &[residual]);
        penalty.weights[0]
    }

    #[test]
    fn gradient_ascent_rises_with_the_excess_and_stops_at_the_floor() {
        let rule = DualRule::GradientAscent { rate: 10.0 };
        assert!((ascended(rule, 1.0, 0.5) - 3.4).abs() < 1e-6);
        assert_eq!(ascended(rule, 0.01, 0.0), config(rule).floor);
        assert_eq!(rule.update(0.01, 0.0, 1e-2), 0.0);
    }

    #[test]
    fn the_logarithmic_rule_grows_by_its_rate_for_each_order_of_magnitude() {
        let rule = DualRule::Logarithmic { rate: 0.1 };
        let residual = (0.1f32 - 0.001).sqrt();
        assert!((ascended(rule, 2.0, residual) - 2.2).abs() < 1e-5);
        assert!((ascended(rule, 2.0, 0.0) - 1.8).abs() < 1e-5);
        assert!((rule.update(2.0, 0.009, 1e-2) - 2.0).abs() < 1e-12);
    }

    #[test]
    fn multipliers_move_by_the_weighted_residual_and_weights_rise_where_it_falls_too_little() {
        let mut penalty = Penalty::new(10.0, [2, 1]);
        let dual = config(DualRule::Augmented);
        penalty.ascend(&dual, &[0.5, -0.1]);
        assert_eq!(penalty.multipliers, [5.0, f64::from(-0.1f32) * 10.0]);
        // The first violation is compared with nothing.
        assert_eq!(penalty.weights, [10.0, 10.0]);
        penalty.ascend(&dual, &[0.4, 0.0]);
        assert_eq!(penalty.weights, [40.0, 40.0]);
        penalty.ascend(&dual, &[0.1, 0.0]);
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

    #[test]
    fn a_factor_that_could_turn_multipliers_negative_is_refused() {
        let refused = config(DualRule::Logarithmic { rate: 1.0 }).validate();
        assert_eq!(refused.unwrap_err().name, "rate");
    }
}
