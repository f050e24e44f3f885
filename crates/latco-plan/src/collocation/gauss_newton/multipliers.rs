use burn::tensor::{Tensor, TensorData};

use super::terms::Terms;
use crate::{
    DualConfig, DualRule,
    collocation::{multipliers::Weights, select_rows},
};

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
    pub fn of(weights: Weights) -> Self {
        let Weights {
            dynamics,
            actions,
            user,
        } = weights;
        Self {
            dynamics,
            actions,
            user,
        }
    }

    pub fn weights(&self) -> Weights {
        Weights {
            dynamics: self.dynamics.clone(),
            actions: self.actions.clone(),
            user: self.user.clone(),
        }
    }

    /// One step of dual ascent on the violations in `terms`.
    pub fn ascend(&mut self, config: &DualConfig, terms: &Terms) {
        self.update(terms, |multipliers, violation| {
            let threshold = config.threshold;
            match config.rule {
                DualRule::GradientAscent { rate } => multipliers + (violation - threshold) * rate,
                DualRule::Logarithmic { rate } => {
                    let orders =
                        ((violation + 0.1 * threshold) / threshold).log() / std::f64::consts::LN_10;
                    multipliers * (orders * rate + 1.0)
                }
                _ => multipliers,
            }
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
}
