use burn::tensor::{Device, Tensor, TensorData};
use serde::{Deserialize, Serialize};

use super::{select_rows, terms::Terms};
use crate::ConfigError;

/// How a multiplier follows its constraint's violation `v ≥ 0` with threshold ε.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DualRule {
    /// `λ ← λ`: a penalty method.
    Fixed,
    /// `λ ← max(λ + η (v − ε), 0)`: gradient ascent on the Lagrangian.
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
}

impl DualRule {
    /// The multipliers after one step of the rule; all of the same shape.
    pub fn update<const D: usize>(
        &self,
        multipliers: Tensor<D>,
        violation: Tensor<D>,
        threshold: f64,
    ) -> Tensor<D> {
        match *self {
            Self::Fixed => multipliers,
            Self::GradientAscent { rate } => {
                (multipliers + (violation - threshold) * rate).clamp_min(0.0)
            }
            Self::Logarithmic { rate } => {
                let orders =
                    ((violation + 0.1 * threshold) / threshold).log() / std::f64::consts::LN_10;
                multipliers * (orders * rate + 1.0)
            }
        }
    }

    fn validate(&self) -> Result<(), ConfigError> {
        match *self {
            Self::Fixed => Ok(()),
            Self::GradientAscent { rate } => ConfigError::require_positive_real("rate", rate),
            Self::Logarithmic { rate } => {
                ConfigError::require(rate > 0.0 && rate < 1.0, "rate", rate, "between 0 and 1")
            }
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
    /// No multiplier of the dynamics falls below this: where a constraint has long held, the
    /// logarithmic rule would let it vanish, and with it the least-squares problem's conditioning.
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
}

/// λ and ν of every plan and step, `[plans, horizon]` each.
#[derive(Clone, Debug)]
pub(super) struct Multipliers {
    /// One for each constraint that the measure puts on the dynamics.
    pub dynamics: Vec<Tensor<2>>,
    /// Of the action bounds.
    pub actions: Tensor<2>,
    /// One for each constraint of the user.
    pub user: Vec<Tensor<2>>,
}

impl Multipliers {
    pub fn new(
        config: &DualConfig,
        shape: [usize; 2],
        [measures, user]: [usize; 2],
        device: &Device,
    ) -> Self {
        let full = |value: f64| Tensor::full(shape, value, device);
        Self {
            dynamics: vec![full(config.dynamics); measures],
            actions: full(config.actions),
            user: vec![full(config.dynamics); user],
        }
    }

    /// One step of dual ascent on the violations in `terms`.
    pub fn ascend(&mut self, config: &DualConfig, terms: &Terms) {
        self.update(terms, |multipliers, violation| {
            config
                .rule
                .update(multipliers, violation, config.threshold)
                .clamp(config.floor, config.ceiling)
        });
    }

    /// For each plan one step of dual ascent where its `growth` is `None`, else multiplies all of
    /// its multipliers by it.
    pub fn adapt(&mut self, config: &DualConfig, terms: &Terms, growth: &[Option<f64>]) {
        if growth.iter().all(Option::is_none) {
            return self.ascend(config, terms);
        }
        let before = self.clone();
        self.ascend(config, terms);
        let device = self.actions.device();
        let column = |values: Vec<f32>| {
            let shape = [values.len(), 1];
            Tensor::<2>::from_data(TensorData::new(values, shape), &device)
        };
        let factor = |growth: &Option<f64>| growth.unwrap_or(1.0) as f32;
        let factors = column(growth.iter().map(factor).collect());
        let grown = |growth: &Option<f64>| f32::from(growth.is_some());
        let grown = column(growth.iter().map(grown).collect());
        self.merge(&before, |ascended, before| {
            let raised = (before * factors.clone()).clamp_max(config.ceiling);
            select_rows(ascended, raised, grown.clone())
        });
    }

    /// Replaces each multiplier by `rule` of it and its violation.
    fn update(&mut self, terms: &Terms, rule: impl Fn(Tensor<2>, Tensor<2>) -> Tensor<2>) {
        for (multipliers, violation) in self.all_mut().zip(terms.violations.all()) {
            *multipliers = rule(multipliers.clone(), violation.clone());
        }
    }

    /// Replaces each multiplier by `rule` of it and its counterpart in `other`.
    fn merge(&mut self, other: &Self, rule: impl Fn(Tensor<2>, Tensor<2>) -> Tensor<2>) {
        let others = other
            .dynamics
            .iter()
            .chain([&other.actions])
            .chain(&other.user);
        for (multipliers, other) in self.all_mut().zip(others) {
            *multipliers = rule(multipliers.clone(), other.clone());
        }
    }

    /// The multipliers of all plans of `batches`, of which there is one at least.
    pub fn joined(batches: &[&Self]) -> Self {
        let join = |part: &dyn Fn(&Self) -> Tensor<2>| {
            let parts = batches.iter().map(|batch| part(batch));
            Tensor::cat(parts.collect(), 0)
        };
        let several = |part: &dyn Fn(&Self) -> &Vec<Tensor<2>>| {
            let constraints = 0..part(batches[0]).len();
            let joined = constraints.map(|index| join(&|batch| part(batch)[index].clone()));
            joined.collect()
        };
        Self {
            dynamics: several(&|batch| &batch.dynamics),
            actions: join(&|batch| batch.actions.clone()),
            user: several(&|batch| &batch.user),
        }
    }

    /// The same with every multiplier changed.
    pub fn with_each(&self, change: impl Fn(Tensor<2>) -> Tensor<2>) -> Self {
        let mut changed = self.clone();
        changed.each(|multipliers| *multipliers = change(multipliers.clone()));
        changed
    }

    /// Changes every multiplier.
    pub fn each(&mut self, change: impl FnMut(&mut Tensor<2>)) {
        self.all_mut().for_each(change);
    }

    fn all_mut(&mut self) -> impl Iterator<Item = &mut Tensor<2>> {
        self.dynamics
            .iter_mut()
            .chain([&mut self.actions])
            .chain(&mut self.user)
    }

    /// Puts an earlier plan's multipliers, of which `executed` steps have passed, in the first
    /// place.
    pub fn warm_start(
        &mut self,
        earlier: &[Vec<f32>],
        executed: usize,
        config: &DualConfig,
        relaxation: f32,
    ) {
        for (multipliers, earlier) in self.dynamics.iter_mut().zip(earlier) {
            let [plans, horizon] = multipliers.dims();
            if earlier.len() != horizon {
                continue;
            }
            let executed = executed.min(horizon - 1);
            let last = earlier[horizon - 1];
            let shifted = earlier[executed..]
                .iter()
                .copied()
                .chain(std::iter::repeat_n(last, executed))
                .map(|value| (value / relaxation).clamp(config.floor as f32, config.ceiling as f32))
                .collect::<Vec<f32>>();
            let first = TensorData::new(shifted, [1, horizon]);
            let first = Tensor::<2>::from_data(first, &multipliers.device());
            *multipliers = if plans == 1 {
                first
            } else {
                Tensor::cat(vec![first, multipliers.clone().narrow(0, 1, plans - 1)], 0)
            };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn update(rule: DualRule, multiplier: f32, violation: f32) -> f32 {
        let device = Device::default();
        rule.update(
            Tensor::<1>::from_floats([multiplier], &device),
            Tensor::from_floats([violation], &device),
            1e-2,
        )
        .into_scalar()
    }

    #[test]
    fn gradient_ascent_rises_with_excess_and_stops_at_zero() {
        let rule = DualRule::GradientAscent { rate: 10.0 };
        assert!((update(rule, 1.0, 0.11) - 2.0).abs() < 1e-5);
        assert_eq!(update(rule, 0.01, 0.0), 0.0);
    }

    #[test]
    fn logarithmic_rule_grows_by_a_tenth_for_each_order_of_magnitude() {
        let rule = DualRule::Logarithmic { rate: 0.1 };
        assert!((update(rule, 2.0, 0.1 - 0.001) - 2.2).abs() < 1e-5);
        assert!((update(rule, 2.0, 0.0) - 1.8).abs() < 1e-5);
        assert!((update(rule, 2.0, 0.009) - 2.0).abs() < 1e-5);
    }

    #[test]
    fn a_factor_that_could_turn_multipliers_negative_is_refused() {
        let config = DualConfig {
            rule: DualRule::Logarithmic { rate: 1.0 },
            ..DualConfig::default()
        };
        assert_eq!(config.validate().unwrap_err().name, "rate");
    }
}
