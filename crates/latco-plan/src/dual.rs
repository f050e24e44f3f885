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
    /// `y ← y + λ d`, `y ← max(y + λ h, 0)` of an inequality `h ≤ 0`, and `λ ← 4 λ` where the largest
    /// violation is more than a tenth of what it was: the method of multipliers (Hestenes 1969, Powell
    /// 1969, Rockafellar 1973; Nocedal & Wright, algorithm 17.4). It closes every gap with a finite λ, as
    /// a penalty alone does not. Gauss–Newton alone has it.
    Augmented,
    /// `λ ← 4 λ`: penalty continuation.
    Continuation,
}

/// The growth of λ.
pub(crate) const GROWTH: f64 = 4.0;

/// The share of the largest violation that must be left for λ to stay.
const SUFFICIENT: f64 = 0.1;

/// Primal steps at most between two ascents of vector multipliers.
pub(crate) const INNER: usize = 3;

/// The decrease of the merit below which further steps wait for other vector multipliers.
pub(crate) const STATIONARY: f64 = 1e-4;

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

/// The largest of some violations; +∞ where one is no number.
pub(crate) fn largest_violation(violations: impl IntoIterator<Item = f64>) -> f64 {
    let numbers = violations.into_iter().map(|violation| match violation {
        violation if violation.is_nan() => f64::INFINITY,
        violation => violation,
    });
    numbers.fold(0.0, f64::max)
}

/// The terms of one constraint `v_t ∈ C = [l, u]` in the augmented Lagrangian of one plan: the least
/// `½ λ_t ‖v_t − s_t‖² + y_t · (v_t − s_t)` of all slacks `s_t ∈ C`,
///
/// ```text
/// Σ_t ½ λ_t ‖d_t‖² + y_t · d_t,     d_t = v_t − Π_C(v_t + y_t / λ_t)
/// ```
///
/// with the projection Π on C: `d = v` of an equality, C = [0, 0], and `d = max(v, −y / λ)` of an inequality
/// `v ≤ 0`.
#[derive(Clone, Debug)]
pub(crate) struct Penalty {
    /// λ, `[horizon]`.
    pub weights: Vec<f64>,
    /// y, `[horizon, components]`.
    pub multipliers: Vec<f64>,
    /// C, the same for every component.
    interval: [f64; 2],
    /// The largest squared distance of any `v_t` from C at the last update.
    violation: f64,
}

impl Penalty {
    /// Of an equality, with λ₀ at every step and no multipliers.
    pub fn new(weight: f64, [horizon, components]: [usize; 2]) -> Self {
        Self {
            weights: vec![weight; horizon],
            multipliers: vec![0.0; horizon * components],
            interval: [0.0, 0.0],
            violation: f64::INFINITY,
        }
    }

    /// The same with this C.
    pub fn within(self, interval: [f64; 2]) -> Self {
        Self { interval, ..self }
    }

    /// One ascent at `values` `v`, `[horizon, components]`.
    pub fn ascend(&mut self, dual: &DualConfig, values: &[f32]) {
        let violations = self.violations(values);
        let largest = violations.iter().copied().fold(0.0, f64::max);
        let grows = dual.rule == DualRule::Augmented && largest > SUFFICIENT * self.violation;
        if dual.rule == DualRule::Augmented {
            self.multipliers = self.slope(values);
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

    /// The terms at `values` `[horizon, components]`.
    pub fn of(&self, values: &[f32]) -> f64 {
        let terms = self.terms(values);
        terms
            .map(|term| (0.5 * term.weight * term.residual + term.multiplier) * term.residual)
            .sum()
    }

    /// Their slope `λ d + y` by the values, `[horizon, components]`.
    pub fn slope(&self, values: &[f32]) -> Vec<f64> {
        let slope = |term: Term| match term.is_active {
            true => term.weight * term.residual + term.multiplier,
            false => 0.0,
        };
        self.terms(values).map(slope).collect()
    }

    /// Their curvature, λ where `v + y / λ` is outside C, `[horizon, components]`.
    pub fn curvature(&self, values: &[f32]) -> Vec<f64> {
        let curvature = |term: Term| match term.is_active {
            true => term.weight,
            false => 0.0,
        };
        self.terms(values).map(curvature).collect()
    }

    /// The squared distance of each step's values from C.
    pub fn violations(&self, values: &[f32]) -> Vec<f64> {
        let distances = values.iter().map(|&value| self.distance(f64::from(value)));
        self.squares(distances)
    }

    /// `‖d_t‖²` of each step: 0 where the constraint holds, and only what is at a bound of C has a
    /// multiplier.
    pub fn residual_squares(&self, values: &[f32]) -> Vec<f64> {
        self.squares(self.terms(values).map(|term| term.residual))
    }

    /// The sum of squares of each step.
    fn squares(&self, components: impl Iterator<Item = f64>) -> Vec<f64> {
        let squares: Vec<f64> = components.map(|component| component.powi(2)).collect();
        let steps = squares.chunks(self.components());
        steps.map(|step| step.iter().sum()).collect()
    }

    fn components(&self) -> usize {
        self.multipliers.len() / self.weights.len()
    }

    /// What a value is away from C.
    fn distance(&self, value: f64) -> f64 {
        let [lower, upper] = self.interval;
        match value.clamp(lower, upper) {
            kept if kept == value => 0.0,
            kept => value - kept,
        }
    }

    /// The term of every component.
    fn terms<'b>(&'b self, values: &'b [f32]) -> impl Iterator<Item = Term> + 'b {
        let components = self.components();
        let weights = self.weights.iter();
        let weights = weights.flat_map(move |&weight| std::iter::repeat_n(weight, components));
        let terms = weights.zip(&self.multipliers).zip(values);
        terms.map(move |((weight, &multiplier), &value)| {
            self.term(weight, multiplier, f64::from(value))
        })
    }

    fn term(&self, weight: f64, multiplier: f64, value: f64) -> Term {
        let [lower, upper] = self.interval;
        let reached = value + multiplier / weight;
        let kept = reached.clamp(lower, upper);
        let is_active = lower == upper || reached != kept;
        Term {
            weight,
            multiplier,
            residual: match is_active {
                true => value - kept,
                false => -multiplier / weight,
            },
            is_active,
        }
    }
}

/// One component of a [`Penalty`].
struct Term {
    /// λ.
    weight: f64,
    /// y.
    multiplier: f64,
    /// d.
    residual: f64,
    /// Whether `v + y / λ` is outside C, or C a point.
    is_active: bool,
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

    /// Of an inequality with a multiplier, of bounds, inside and outside.
    #[test]
    fn slopes_of_inequalities_are_those_that_differences_show() {
        for (interval, multiplier) in [([f64::NEG_INFINITY, 0.0], 0.7), ([-1.0, 1.0], -0.7)] {
            let mut penalty = Penalty::new(3.0, [5, 1]).within(interval);
            penalty.multipliers = vec![multiplier; 5];
            let values = [-1.5f32, -0.5, -0.1, 0.5, 1.5];
            for (index, slope) in penalty.slope(&values).into_iter().enumerate() {
                let at = |by: f32| {
                    let mut moved = values;
                    moved[index] += by;
                    penalty.of(&moved)
                };
                let difference = (at(1e-2) - at(-1e-2)) / 2e-2;
                assert!((slope - difference).abs() < 1e-3, "{slope}, {difference}");
            }
        }
    }

    #[test]
    fn the_multiplier_of_an_inequality_rises_with_the_excess_and_falls_with_the_slack() {
        let dual = config(DualRule::Augmented);
        let mut penalty = Penalty::new(10.0, [1, 1]).within([f64::NEG_INFINITY, 0.0]);
        for (value, expected) in [(0.5, 5.0), (-0.25, 2.5), (-1.0, 0.0), (-1.0, 0.0)] {
            penalty.ascend(&dual, &[value]);
            assert_eq!(penalty.multipliers, [expected]);
            assert_eq!(penalty.weights, [10.0]);
        }
        assert_eq!(penalty.of(&[-1.0]), 0.0);
        assert_eq!(penalty.curvature(&[-1.0]), [0.0]);
        let mut bounds = Penalty::new(10.0, [1, 2]).within([-1.0, 1.0]);
        bounds.ascend(&dual, &[1.5, -1.25]);
        assert_eq!(bounds.multipliers, [5.0, -2.5]);
        // Within its bounds, a value is pushed to where its multiplier is complementary.
        assert_eq!(bounds.violations(&[0.75, -0.5]), [0.0]);
        assert_eq!(bounds.residual_squares(&[0.75, -0.5]), [0.0625 + 0.0625]);
        bounds.ascend(&dual, &[0.75, -0.5]);
        assert_eq!(bounds.multipliers, [2.5, 0.0]);
    }

    /// What overflows downwards obeys an inequality.
    #[test]
    fn only_what_is_no_number_has_terms_that_are_none() {
        let penalty = Penalty::new(10.0, [1, 1]).within([f64::NEG_INFINITY, 0.0]);
        assert_eq!(penalty.of(&[f32::NEG_INFINITY]), 0.0);
        assert_eq!(penalty.violations(&[f32::NEG_INFINITY]), [0.0]);
        assert!(penalty.of(&[f32::NAN]).is_nan());
    }

    #[test]
    fn a_factor_that_could_turn_multipliers_negative_is_refused() {
        let refused = config(DualRule::Logarithmic { rate: 1.0 }).validate();
        assert_eq!(refused.unwrap_err().name, "rate");
    }
}
