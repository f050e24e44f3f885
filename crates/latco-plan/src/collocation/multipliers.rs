use burn::tensor::{Device, Tensor, TensorData};

use super::lagrangian::Values;
use crate::DualConfig;

/// λ, ν and κ of a batch of plans, `plans · horizon` numbers each.
#[derive(Clone, Debug)]
pub(crate) struct Multipliers {
    horizon: usize,
    /// λ, one for each constraint of the divergence.
    dynamics: Vec<Vec<f64>>,
    /// ν, of the action bounds.
    actions: Vec<f64>,
    /// κ, one for each constraint of the user.
    user: Vec<Vec<f64>>,
}

/// The same as tensors, `[plans, horizon]` each.
#[derive(Clone, Debug)]
pub(crate) struct Weights {
    pub dynamics: Vec<Tensor<2>>,
    pub actions: Tensor<2>,
    pub user: Vec<Tensor<2>>,
}

impl Weights {
    /// The same with every one changed.
    pub fn with_each(&self, change: impl Fn(Tensor<2>) -> Tensor<2>) -> Self {
        let several = |all: &[Tensor<2>]| all.iter().cloned().map(&change).collect();
        Self {
            dynamics: several(&self.dynamics),
            actions: change(self.actions.clone()),
            user: several(&self.user),
        }
    }
}

impl Multipliers {
    pub fn new(
        config: &DualConfig,
        [plans, horizon]: [usize; 2],
        [dynamics, user]: [usize; 2],
    ) -> Self {
        let full = |value: f64| vec![value; plans * horizon];
        Self {
            horizon,
            dynamics: vec![full(config.dynamics); dynamics],
            actions: full(config.actions),
            user: vec![full(config.dynamics); user],
        }
    }

    /// One step of dual ascent.
    pub fn ascend(&mut self, config: &DualConfig, values: &Values) {
        let violations = values.dynamics.iter();
        let violations = violations.chain([&values.actions]).chain(&values.user);
        let multipliers = self.dynamics.iter_mut().chain([&mut self.actions]);
        for (multipliers, violations) in multipliers.chain(&mut self.user).zip(violations) {
            for (multiplier, &violation) in multipliers.iter_mut().zip(violations) {
                *multiplier = config.update(*multiplier, f64::from(violation));
            }
        }
    }

    pub fn on_device(&self, device: &Device) -> Weights {
        let upload = |values: &Vec<f64>| {
            let values: Vec<f32> = values.iter().map(|&value| value as f32).collect();
            let shape = [values.len() / self.horizon, self.horizon];
            Tensor::from_data(TensorData::new(values, shape), device)
        };
        Weights {
            dynamics: self.dynamics.iter().map(upload).collect(),
            actions: upload(&self.actions),
            user: self.user.iter().map(upload).collect(),
        }
    }

    /// λ of one plan, one entry for each constraint of the divergence.
    pub fn of_dynamics(&self, plan: usize) -> Vec<Vec<f32>> {
        let steps = plan * self.horizon..(plan + 1) * self.horizon;
        let of_plan = |all: &Vec<f64>| {
            all[steps.clone()]
                .iter()
                .map(|&value| value as f32)
                .collect()
        };
        self.dynamics.iter().map(of_plan).collect()
    }

    /// Mean and maximum of the first λ of a plan.
    pub fn first_of_dynamics(&self, plan: usize) -> (f32, f32) {
        let steps = &self.dynamics[0][plan * self.horizon..(plan + 1) * self.horizon];
        let mean = steps.iter().sum::<f64>() / self.horizon as f64;
        (mean as f32, largest(steps))
    }

    /// The largest ν of a plan.
    pub fn largest_of_bounds(&self, plan: usize) -> f32 {
        largest(&self.actions[plan * self.horizon..(plan + 1) * self.horizon])
    }

    /// Puts an earlier plan's multipliers, of which `executed` steps have passed, in the first place.
    pub fn warm_start(&mut self, earlier: &[Vec<f32>], executed: usize, config: &DualConfig) {
        for (multipliers, earlier) in self.dynamics.iter_mut().zip(earlier) {
            if earlier.len() == self.horizon {
                let left = remaining(earlier, executed);
                let left = left.map(|multiplier| config.limited(multiplier));
                multipliers.splice(..self.horizon, left);
            }
        }
    }
}

/// What is left of an earlier plan's `multipliers` after so many steps, the last one repeated.
fn remaining(multipliers: &[f32], executed: usize) -> impl Iterator<Item = f64> {
    let executed = executed.min(multipliers.len() - 1);
    let last = multipliers[multipliers.len() - 1];
    let left = multipliers[executed..].iter().copied();
    left.chain(std::iter::repeat_n(last, executed))
        .map(f64::from)
}

fn largest(values: &[f64]) -> f32 {
    values.iter().copied().fold(0.0, f64::max) as f32
}
