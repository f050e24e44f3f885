//! Passes against the formulas in double precision and against differences of these.

use burn::tensor::{Device, Tensor, TensorData};

use super::{
    backward::worth_sharing,
    forward::BLOCK,
    network::{Dense, HostLayers, HostNetwork},
    passes::HostModel,
    product::{Columns, ColumnsMut, Packed, Sums},
};
use crate::{
    layout::{Activation, Entering, Keep, Likelihood, Network, Sizes, Slope},
    model::Passes,
};

/// Numbers in `[−1, 1)` that a seed determines.
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> f32 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 40) as f32 / (1u64 << 23) as f32 - 1.0
    }

    fn take(&mut self, count: usize) -> Vec<f32> {
        (0..count).map(|_| self.next()).collect()
    }
}

/// Sizes that fill no vector, and rows that fill no block.
const SIZES: Sizes = Sizes {
    action: 3,
    stochastic: 5,
    deterministic: 19,
    hidden: 33,
    units: 37,
};

const RANGE: [f32; 2] = [-1.0, 3.0];

struct Case {
    layers: HostLayers,
    network: Network,
    model: HostNetwork,
    numbers: Numbers,
}

impl Case {
    fn new(activation: Activation, likelihood: Likelihood) -> Self {
        let network = Network::new(SIZES, activation, likelihood);
        let mut numbers = Numbers(7);
        let [
            input,
            gru_input,
            gru_state,
            hidden,
            output,
            first,
            second,
            third,
        ] = network.layers().map(|layer| {
            let scale = 1.5 / (layer.inputs as f32).sqrt();
            let weight = numbers.take(layer.inputs * layer.outputs);
            Dense {
                weight: weight.into_iter().map(|value| value * scale).collect(),
                bias: numbers.take(layer.outputs),
            }
        });
        let layers = HostLayers {
            input,
            gru_input,
            gru_state,
            hidden,
            output,
            reward: [first, second, third],
        };
        Self {
            model: HostNetwork::new(network, RANGE, layers.clone()),
            network,
            layers,
            numbers,
        }
    }

    fn every() -> [Self; 4] {
        [
            Self::new(Activation::Elu, Likelihood::Bernoulli),
            Self::new(Activation::Elu, Likelihood::Gaussian),
            Self::new(Activation::Relu, Likelihood::Bernoulli),
            Self::new(Activation::Relu, Likelihood::Gaussian),
        ]
    }

    fn active(&self, value: f64) -> f64 {
        match self.network.activation {
            Activation::Elu if value < 0.0 => value.exp_m1(),
            Activation::Elu => value,
            Activation::Relu => value.max(0.0),
        }
    }

    /// `z'` by the formulas.
    fn step(&self, latent: &[f64], action: &[f64]) -> Vec<f64> {
        let (s, h) = latent.split_at(SIZES.stochastic);
        let hidden = |values: Vec<f64>| {
            values
                .into_iter()
                .map(|x| self.active(x))
                .collect::<Vec<_>>()
        };
        let x = hidden(dense(&self.layers.input, &[s, action].concat()));
        let of_input = dense(&self.layers.gru_input, &x);
        let of_state = dense(&self.layers.gru_state, h);
        let size = SIZES.deterministic;
        let next = (0..size).map(|unit| {
            let gate = |gate: usize| of_input[gate * size + unit] + of_state[gate * size + unit];
            let (update, reset) = (sigmoid(gate(0)), sigmoid(gate(1)));
            let candidate = of_input[2 * size + unit] + reset * of_state[2 * size + unit];
            let candidate = candidate.tanh();
            candidate + update * (h[unit] - candidate)
        });
        let next: Vec<f64> = next.collect();
        let prior = hidden(dense(&self.layers.hidden, &next));
        let mean = dense(&self.layers.output, &prior);
        [&mean[..SIZES.stochastic], &next].concat()
    }

    /// `[expected reward, residual, log reward]` by the formulas.
    fn reward(&self, latent: &[f64]) -> [f64; 3] {
        let [first, second, third] = &self.layers.reward;
        let hidden = |values: Vec<f64>| {
            values
                .into_iter()
                .map(|x| self.active(x))
                .collect::<Vec<_>>()
        };
        let output = dense(third, &hidden(dense(second, &hidden(dense(first, latent)))))[0];
        let surprise = (-output).exp().ln_1p();
        match self.network.likelihood {
            Likelihood::Gaussian => [output, surprise, -0.5 * surprise * surprise],
            Likelihood::Bernoulli => {
                let [least, most] = RANGE.map(f64::from);
                [
                    sigmoid(output) * (most - least) + least,
                    (2.0 * surprise.ln_1p()).sqrt(),
                    -surprise,
                ]
            }
        }
    }

    /// `horizon · plans` points, step by step.
    fn points(&mut self, points: usize) -> (Vec<f32>, Vec<f32>) {
        let latents = self.numbers.take(points * self.network.latent());
        (latents, self.numbers.take(points * SIZES.action))
    }

    /// `Jᵀ c` at a point by differences.
    fn pulled_back(&self, latent: &[f32], action: &[f32], cotangent: &[f32]) -> [Vec<f64>; 2] {
        let (latent, action, cotangent) = (double(latent), double(action), double(cotangent));
        let value = |latent: &[f64], action: &[f64]| dot(&self.step(latent, action), &cotangent);
        [
            slopes(&latent, |latent| value(latent, &action)),
            slopes(&action, |action| value(&latent, action)),
        ]
    }
}

fn dense(layer: &Dense, inputs: &[f64]) -> Vec<f64> {
    let outputs = layer.bias.len();
    let at = |output: usize| {
        let sum = inputs.iter().enumerate();
        let sum = sum.map(|(input, x)| x * f64::from(layer.weight[input * outputs + output]));
        sum.sum::<f64>() + f64::from(layer.bias[output])
    };
    (0..outputs).map(at).collect()
}

fn sigmoid(value: f64) -> f64 {
    1.0 / (1.0 + (-value).exp())
}

fn double(values: &[f32]) -> Vec<f64> {
    values.iter().copied().map(f64::from).collect()
}

fn dot(left: &[f64], right: &[f64]) -> f64 {
    left.iter()
        .zip(right)
        .map(|(left, right)| left * right)
        .sum()
}

/// Central differences of `function` along every axis.
fn slopes(at: &[f64], function: impl Fn(&[f64]) -> f64) -> Vec<f64> {
    const OFFSET: f64 = 1e-6;
    let slope = |axis: usize| {
        let beside = |offset: f64| {
            let mut point = at.to_vec();
            point[axis] += offset;
            function(&point)
        };
        (beside(OFFSET) - beside(-OFFSET)) / (2.0 * OFFSET)
    };
    (0..at.len()).map(slope).collect()
}

#[track_caller]
fn assert_close(found: &[f32], expected: &[f64]) {
    assert_eq!(found.len(), expected.len());
    for (index, (found, expected)) in found.iter().zip(expected).enumerate() {
        let miss = (f64::from(*found) - expected).abs();
        let close = miss <= 2e-5 * expected.abs().max(1.0);
        assert!(close, "{index}: {found} is not {expected}");
    }
}

#[test]
fn products_of_all_sizes() {
    let numbers = &mut Numbers(1);
    for (rows, inputs, outputs) in [
        (1, 1, 1),
        (2, 3, 4),
        (7, 5, 16),
        (6, 17, 31),
        (13, 8, 33),
        (50, 40, 70),
    ] {
        let weight = numbers.take(inputs * outputs);
        let bias = numbers.take(outputs);
        let packed = Packed::new([inputs, outputs], &bias, |input, output| {
            weight[input * outputs + output]
        });
        // Among other columns, which stay as they are.
        let (from, to) = (inputs + 2, outputs + 3);
        let values = numbers.take(rows * from);
        let mut results = vec![9.0; rows * to];
        let target = ColumnsMut::new(&mut results[1..], to);
        packed.affine(rows, Columns::new(&values[2..], from), Sums, target);
        let layer = Dense { weight, bias };
        let mut expected = vec![9.0; rows * to];
        for row in 0..rows {
            let inputs = &values[row * from + 2..(row + 1) * from];
            let own = row * to + 1..row * to + 1 + outputs;
            expected[own].copy_from_slice(&dense(&layer, &double(inputs)));
        }
        assert_close(&results, &expected);
    }
}

#[test]
fn rollouts_are_those_of_the_formulas() {
    let (plans, horizon) = (BLOCK + 5, 4);
    for mut case in Case::every() {
        let latent = case.network.latent();
        let start = case.numbers.take(plans * latent);
        let actions = case.numbers.take(plans * horizon * SIZES.action);
        let defects = case.numbers.take(plans * horizon * latent);
        for defects in [None, Some(defects.as_slice())] {
            let (latents, rewards) = case.model.roll_out(&start, &actions, defects, Keep::Both);
            let (mut expected, mut expected_rewards) = (Vec::new(), Vec::new());
            for plan in 0..plans {
                let mut now = double(&start[plan * latent..(plan + 1) * latent]);
                for time in 0..horizon {
                    let place = plan * horizon + time;
                    let action = &actions[place * SIZES.action..(place + 1) * SIZES.action];
                    now = case.step(&now, &double(action));
                    if let Some(defects) = defects {
                        let own = double(&defects[place * latent..(place + 1) * latent]);
                        now = now
                            .iter()
                            .zip(own)
                            .map(|(now, defect)| now + defect)
                            .collect();
                    }
                    expected_rewards.extend(case.reward(&now));
                    expected.extend(now.iter().copied());
                }
            }
            assert_close(&latents, &expected);
            // The floor below the root of a Bernoulli residual counts where reward is all but certain.
            for (found, expected) in rewards.iter().zip(&expected_rewards) {
                assert!((f64::from(*found) - expected).abs() < 1e-4 * expected.abs().max(1.0));
            }
            if defects.is_none() {
                let (none, alone) = case.model.roll_out(&start, &actions, None, Keep::Rewards);
                assert!(none.is_empty());
                assert_eq!(alone, rewards);
            }
        }
    }
}

fn zeros<const D: usize>(shape: [usize; D]) -> Tensor<D> {
    let zeros = vec![0.0f32; shape.iter().product()];
    Tensor::from_data(TensorData::new(zeros, shape), &Device::default())
}

#[test]
fn passes_of_nothing_have_its_shape() {
    let case = Case::new(Activation::Elu, Likelihood::Bernoulli);
    let (latent, action) = (case.network.latent(), SIZES.action);
    let model = HostModel::new(case.network, RANGE, case.layers);
    for [plans, horizon] in [[0, 3], [2, 0], [0, 0]] {
        for keep in [Keep::Latents, Keep::Rewards, Keep::Both] {
            let (start, actions) = (zeros([plans, latent]), zeros([plans, horizon, action]));
            let (latents, rewards) = model.roll_out(start, actions, None, keep);
            let kept = if keep == Keep::Rewards { 0 } else { plans };
            assert_eq!(latents.dims(), [kept, horizon, latent]);
            assert_eq!(rewards.dims(), [0, 3]);
        }
    }
    let derivative = model.linearise(zeros([0, latent]), zeros([0, action]));
    assert_eq!(derivative.value().dims(), [0, latent]);
    let (by_latent, by_action) = derivative.pull_back(0, zeros([0, 1, latent]));
    assert_eq!(by_latent.dims(), [0, 1, latent]);
    assert_eq!(by_action.dims(), [0, 1, action]);
}

/// A number that is none is not taken for one.
#[test]
fn rewards_of_latents_that_are_none_are_none() {
    for case in Case::every() {
        let latents = vec![f32::NAN; 2 * case.network.latent()];
        let rewards = case.model.rewards(&latents);
        assert!(rewards.iter().all(|reward| reward.is_nan()), "{rewards:?}");
    }
}

/// However certain reward is, or its absence.
#[test]
fn the_expected_reward_has_a_slope_where_it_is_all_but_certain() {
    for certainty in [-20.0, 20.0] {
        let mut case = Case::new(Activation::Elu, Likelihood::Bernoulli);
        case.layers.reward[2].bias[0] = certainty;
        case.model = HostNetwork::new(case.network, RANGE, case.layers.clone());
        let latents = case.numbers.take(case.network.latent());
        let (rewards, expected) = case.model.linearise_reward(&latents, Slope::Expected);
        let (_, logarithm) = case.model.linearise_reward(&latents, Slope::Logarithm);
        // ∂σ = σ ∂ log σ, and log σ is the third of the rewards.
        let scale = f64::from(rewards[2]).exp() * f64::from(RANGE[1] - RANGE[0]);
        assert!(expected.iter().any(|slope| *slope != 0.0));
        for (found, logarithm) in expected.iter().zip(logarithm) {
            let expected = scale * f64::from(logarithm);
            let miss = (f64::from(*found) - expected).abs();
            assert!(miss <= 1e-3 * expected.abs(), "{found} is not {expected}");
        }
    }
}

#[test]
fn derivatives_are_those_that_differences_show() {
    let points = BLOCK + 2;
    for mut case in Case::every() {
        let latent = case.network.latent();
        let (latents, actions) = case.points(points);
        let kept = case.model.linearise(&latents, &actions);
        let width = case.network.kept().width;
        let at = |point: usize| {
            let latent = &latents[point * latent..(point + 1) * latent];
            (
                latent,
                &actions[point * SIZES.action..(point + 1) * SIZES.action],
            )
        };
        for point in [0, BLOCK - 1, BLOCK, BLOCK + 1] {
            let (latent_at, action_at) = at(point);
            let value = &kept[point * width..point * width + latent];
            assert_close(value, &case.step(&double(latent_at), &double(action_at)));
        }
        // A row of each of some points, and several rows of one.
        for (first, points, rows) in [(40, 10, 1), (BLOCK + 1, 1, 8), (3, 2, 3)] {
            let mut numbers = Numbers(3);
            let cotangents = numbers.take(points * rows * latent);
            let (by_latent, by_action) =
                case.model
                    .pull_back(&kept, first, points, cotangents.clone());
            let tangents = numbers.take(points * rows * latent);
            let of_actions = numbers.take(points * rows * SIZES.action);
            let next = case
                .model
                .push_forward(&kept, first, points, tangents.clone(), &of_actions);
            for row in 0..points * rows {
                let (latent_at, action_at) = at(first + row / rows);
                let own = row * latent..(row + 1) * latent;
                let of_row = row * SIZES.action..(row + 1) * SIZES.action;
                let [expected, of_action] =
                    case.pulled_back(latent_at, action_at, &cotangents[own.clone()]);
                assert_close(&by_latent[own.clone()], &expected);
                assert_close(&by_action[of_row.clone()], &of_action);
                // `c · J t = Jᵀ c · t`
                let forward = dot(
                    &double(&cotangents[own.clone()]),
                    &double(&next[own.clone()]),
                );
                let back = dot(&expected, &double(&tangents[own]))
                    + dot(&of_action, &double(&of_actions[of_row]));
                assert!(
                    (forward - back).abs() < 1e-4 * back.abs().max(1.0),
                    "{forward}, {back}"
                );
            }
        }
    }
}

#[test]
fn slopes_of_rewards_are_those_that_differences_show() {
    for mut case in Case::every() {
        let latent = case.network.latent();
        let latents = case.numbers.take((BLOCK + 2) * latent);
        for (part, slope) in [Slope::Expected, Slope::Residual, Slope::Logarithm]
            .into_iter()
            .enumerate()
        {
            let (rewards, found) = case.model.linearise_reward(&latents, slope);
            assert_eq!(rewards, case.model.rewards(&latents));
            for row in [0, 17, BLOCK, BLOCK + 1] {
                let own = row * latent..(row + 1) * latent;
                let at = double(&latents[own.clone()]);
                let expected = slopes(&at, |latent| case.reward(latent)[part]);
                assert_close(&found[own], &expected);
            }
        }
    }
}

/// Sweeps are single steps one after the other.
#[test]
fn sweeps_are_made_of_steps() {
    let horizon = 5;
    for (plans, count) in [(1, 1), (1, 3), (4, 1), (3, 2)] {
        let mut case = Case::new(Activation::Elu, Likelihood::Bernoulli);
        let (latent, action) = (case.network.latent(), SIZES.action);
        let (latents, actions) = case.points(horizon * plans);
        let kept = case.model.linearise(&latents, &actions);
        let entering = case.numbers.take(horizon * plans * count * latent);
        let rows = horizon * count;
        let (by_latent, by_action) =
            case.model
                .sweep_back(&kept, &entering, plans, Entering::OneStep, 1);
        let (_, gradient) = case
            .model
            .sweep_back(&kept, &entering, plans, Entering::EveryStep, 1);
        let mut sums = vec![0.0; plans * count * horizon * action];
        for plan in 0..plans {
            for row in 0..rows {
                let last = horizon - 1 - row / count;
                let point = last * plans + plan;
                let own = (point * count + row % count) * latent;
                let mut cotangent = entering[own..own + latent].to_vec();
                for time in (0..horizon).rev() {
                    let place = (plan * rows + row) * horizon + time;
                    let ends = &by_latent[place * latent..(place + 1) * latent];
                    let of_action = &by_action[place * action..(place + 1) * action];
                    if time > last {
                        assert!(ends.iter().chain(of_action).all(|value| *value == 0.0));
                        continue;
                    }
                    assert_close(ends, &double(&cotangent));
                    let (before, expected) =
                        case.model
                            .pull_back(&kept, time * plans + plan, 1, cotangent);
                    assert_close(of_action, &double(&expected));
                    let place = ((plan * count + row % count) * horizon + time) * action;
                    for (sum, value) in sums[place..].iter_mut().zip(&expected) {
                        *sum += f64::from(*value);
                    }
                    cotangent = before;
                }
            }
        }
        assert_close(&gradient, &sums);

        let of_actions = case.numbers.take(plans * horizon * action);
        let drive = case.numbers.take(plans * horizon * latent);
        let changes = case
            .model
            .sweep_forward(&kept, plans, &of_actions, drive.clone());
        for plan in 0..plans {
            let mut change = vec![0.0; latent];
            for time in 0..horizon {
                let place = plan * horizon + time;
                let of_action = &of_actions[place * action..(place + 1) * action];
                change = case
                    .model
                    .push_forward(&kept, time * plans + plan, 1, change, of_action);
                for (change, drive) in change.iter_mut().zip(&drive[place * latent..]) {
                    *change += drive;
                }
                assert_close(
                    &changes[place * latent..(place + 1) * latent],
                    &double(&change),
                );
            }
        }
    }
}

/// Who carries a row back does not change what becomes of it.
#[test]
fn shared_sweeps_are_those_of_one_thread() {
    let (horizon, plans, count) = (30, 2, 12);
    let mut case = Case::new(Activation::Elu, Likelihood::Bernoulli);
    let steps = count * horizon * (horizon + 1) / 2;
    let products = steps * case.model.backward().products();
    assert!(worth_sharing(products, 64) > 2);
    assert_eq!([1, 999_999].map(|few| worth_sharing(few, 64)), [1, 1]);
    let (latents, actions) = case.points(horizon * plans);
    let kept = case.model.linearise(&latents, &actions);
    let entering = case
        .numbers
        .take(horizon * plans * count * case.network.latent());
    let sweep = |workers| {
        let model = &case.model;
        model.sweep_back(&kept, &entering, plans, Entering::OneStep, workers)
    };
    let alone = sweep(1);
    assert!(alone.0.iter().any(|value| *value != 0.0));
    for workers in [2, 3, 64] {
        assert_eq!(sweep(workers), alone);
    }
}
