//! Passes that a prepared model takes at once, against the same step by step and operation by operation, on
//! every compiled backend.

mod common {
    pub mod batches;
    pub mod compare;
    pub mod devices;
    pub mod numbers;
    pub mod worlds;
}

use burn::{
    module::{Module, ModuleMapper, ModuleVisitor, Param},
    optim::{AdamConfig, GradientsParams, Optimizer},
    tensor::{Device, Tensor},
};
use common::{
    batches::random_batch, compare::assert_close, devices::compiled_devices, numbers::values,
    worlds::tiny_config,
};
use latco_kernels::{FusedAdam, Penalties, join};
use latco_model::{Activation, ElboConfig, RewardKind, WorldModel, WorldModelConfig};
use latco_plan::{
    Differentiable, LatentModel, Linearisation, Noise, Objective, RewardLinearisation, Rollout,
};

const HORIZON: usize = 4;

/// Single precision through a few layers.
const TOLERANCE: f64 = 1e-5;

/// Numbers of plans for which kernels take one, four and eight rows at a time, the last ones in part.
const PLANS: [usize; 3] = [3, 258, 2_053];

/// Adds noise to every weight, so that biases, which models begin without, count.
struct Shaken<'a> {
    noise: Noise,
    device: &'a Device,
}

impl ModuleMapper for Shaken<'_> {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let noise = self.noise.normal(param.dims(), self.device) * 0.2;
        param.map(|weight| weight + noise)
    }
}

/// Models of every kind, each with its name.
fn models(device: &Device) -> Vec<(String, WorldModel)> {
    let config = |activation, reward, reward_range, deterministic| WorldModelConfig {
        activation,
        reward,
        reward_range,
        ..tiny_config(deterministic)
    };
    let bernoulli = RewardKind::Bernoulli;
    let configs = [
        config(Activation::Elu, bernoulli, [-1.0, 2.0], 6),
        config(Activation::Relu, RewardKind::Gaussian, [0.0, 1.0], 6),
        config(Activation::Elu, bernoulli, [0.0, 1.0], 0),
    ];
    let model = |config: WorldModelConfig| {
        let name = format!(
            "{:?}, {:?}, {}",
            config.activation, config.reward, config.deterministic
        );
        let model = WorldModel::new(config, 1, device).unwrap();
        let noise = Noise::new(4);
        (name, model.map(&mut Shaken { noise, device }))
    };
    configs.into_iter().map(model).collect()
}

/// A model prepared and as it is.
struct Pair<'a> {
    what: String,
    device: &'a Device,
    plain: &'a WorldModel,
    prepared: Box<dyn LatentModel + 'a>,
}

fn for_each_pair(check: impl Fn(&Pair<'_>)) {
    for (backend, device) in compiled_devices() {
        for (name, plain) in models(&device) {
            check(&Pair {
                what: format!("{backend}, {name}"),
                device: &device,
                prepared: plain.prepared().unwrap(),
                plain: &plain,
            });
        }
    }
}

impl Pair<'_> {
    fn check<const D: usize>(&self, what: &str, found: Tensor<D>, expected: Tensor<D>) {
        let what = format!("{}: {what}", self.what);
        assert_eq!(found.dims(), expected.dims(), "{what}");
        let expected: Vec<f64> = values(expected).into_iter().map(f64::from).collect();
        assert_close(&what, &values(found), &expected, TOLERANCE);
    }

    /// Numbers of plans: what differs with them is the same for every model.
    fn plans(&self) -> impl Iterator<Item = usize> {
        let every = self.what.contains("Gaussian");
        PLANS
            .into_iter()
            .filter(move |&plans| every || plans == PLANS[0])
    }

    fn sizes(&self) -> [usize; 2] {
        [
            self.plain.latent_size(),
            LatentModel::action_size(self.plain),
        ]
    }

    fn normal<const D: usize>(&self, seed: u64, shape: [usize; D]) -> Tensor<D> {
        Noise::new(seed).normal(shape, self.device)
    }

    /// `z_{t+1} = μ(z_t, a_t) + e_t` by the model itself.
    fn expected_rollout(
        &self,
        start: Tensor<2>,
        actions: &Tensor<3>,
        defects: Option<&Tensor<3>>,
    ) -> Rollout {
        let at = |batch: &Tensor<3>, step| batch.clone().narrow(1, step, 1).squeeze_dim::<2>(1);
        let mut latent = start;
        let latents = (0..HORIZON).map(|step| {
            latent = self
                .plain
                .transition_mean(latent.clone(), at(actions, step));
            if let Some(defects) = defects {
                latent = latent.clone() + at(defects, step);
            }
            latent.clone()
        });
        let latents = Tensor::stack::<3>(latents.collect(), 1);
        let plans = latents.dims()[0];
        let rewards = self.plain.reward(latents.clone().flatten(0, 1));
        Rollout {
            rewards: rewards.reshape([plans, HORIZON]),
            latents,
        }
    }
}

#[test]
fn rollouts() {
    for_each_pair(|pair| {
        let [latent, action] = pair.sizes();
        for plans in pair.plans() {
            let start = pair.normal(1, [plans, latent]);
            let actions = pair.normal(2, [plans, HORIZON, action]);
            let defects = pair.normal(3, [plans, HORIZON, latent]) * 0.1;
            let expected = pair.expected_rollout(start.clone(), &actions, None);
            let found = latco_plan::roll_out(&*pair.prepared, start.clone(), actions.clone());
            pair.check("latents", found.latents, expected.latents.clone());
            pair.check("rewards", found.rewards, expected.rewards.clone());
            let Some(passes) = pair.prepared.passes() else {
                let (backend, model) = pair.what.split_once(", ").unwrap();
                let has_none = backend == "ndarray" || model != "Elu, Bernoulli, 6";
                assert!(has_none, "no passes: {}", pair.what);
                continue;
            };
            let nodes = expected.latents.flatten::<2>(0, 1);
            let along = passes
                .rewards_along(start.clone(), actions.clone())
                .unwrap();
            let rewards = expected.rewards.flatten::<1>(0, 1);
            pair.check("rewards along", along.rewards.expected, rewards);
            let residuals = pair.plain.reward_residuals(nodes.clone());
            pair.check("residuals along", along.rewards.residuals, residuals);
            pair.check(
                "logarithms along",
                along.logarithms,
                pair.plain.log_reward(nodes),
            );
            let expected = pair.expected_rollout(start.clone(), &actions, Some(&defects));
            let found = passes.latents_along(start, actions, Some(defects));
            pair.check("latents with defects", found.unwrap(), expected.latents);
        }
    });
}

#[test]
fn rewards_and_their_derivatives() {
    for_each_pair(|pair| {
        let latents = pair.normal::<2>(1, [5, pair.sizes()[0]]) * 2.0;
        let prepared = &pair.prepared;
        pair.check(
            "reward",
            prepared.reward(latents.clone()),
            pair.plain.reward(latents.clone()),
        );
        let found = prepared.log_reward(latents.clone());
        pair.check("log reward", found, pair.plain.log_reward(latents.clone()));
        for objective in [
            Objective::Reward,
            Objective::Residuals,
            Objective::LogReward,
        ] {
            let found = prepared.linearise_reward(latents.clone(), objective);
            let RewardLinearisation { rewards, jacobian } = pair
                .plain
                .reward_head()
                .linearise(latents.clone(), objective);
            pair.check("expected", found.rewards.expected, rewards.expected);
            pair.check("residuals", found.rewards.residuals, rewards.residuals);
            pair.check(&format!("{objective:?}"), found.jacobian, jacobian);
        }
    });
}

/// A linearisation along some rollouts, prepared and plain, the points step by step.
fn linearised<'a>(pair: &'a Pair<'_>, plans: usize) -> [Box<dyn Linearisation + 'a>; 2] {
    let [latent, action] = pair.sizes();
    let points = plans * HORIZON;
    let latents = pair.normal(5, [points, latent]);
    let actions = pair.normal(6, [points, action]);
    [
        pair.prepared.linearise(latents.clone(), actions.clone()),
        Differentiable::linearise(pair.plain, latents, actions),
    ]
}

#[test]
fn steps_of_derivatives() {
    for_each_pair(|pair| {
        let [latent, action] = pair.sizes();
        let [found, expected] = linearised(pair, 3);
        pair.check("value", found.value(), expected.value());
        for range in [0..3 * HORIZON, 2..5] {
            for rows in [1, 2] {
                let shape = |size| [range.len(), rows, size];
                let cotangents = pair.normal(7, shape(latent));
                let (by_latent, by_action) = found.pullback(range.clone(), cotangents.clone());
                let expected_pair = expected.pullback(range.clone(), cotangents);
                pair.check("pullback by latent", by_latent, expected_pair.0);
                pair.check("pullback by action", by_action, expected_pair.1);
                let latents = pair.normal(8, shape(latent));
                let actions = pair.normal(9, shape(action));
                let next = found.pushforward(range.clone(), latents.clone(), actions.clone());
                let expected = expected.pushforward(range.clone(), latents, actions);
                pair.check("pushforward", next, expected);
            }
        }
    });
}

/// For plans of one, four and eight rows a cube.
#[test]
fn sweeps_of_derivatives() {
    for_each_pair(|pair| {
        for plans in pair.plans() {
            let [latent, action] = pair.sizes();
            let [found, plain] = linearised(pair, plans);
            let own = pair.normal::<3>(7, [plans * HORIZON, 1, latent]);
            let at = |step: usize| step * plans..(step + 1) * plans;
            let own_at = |step: usize| own.clone().narrow(0, step * plans, plans);
            let mut cotangents = Tensor::zeros([plans, 1, latent], pair.device);
            let mut expected = Vec::new();
            for step in (0..HORIZON).rev() {
                let (earlier, by_action) = plain.pullback(at(step), cotangents + own_at(step));
                expected.insert(0, by_action);
                cotangents = earlier;
            }
            if let Some(gradient) = found.gradient_along(&own, plans) {
                pair.check("gradient", gradient, Tensor::cat(expected, 1));
            }
            let actions = pair.normal(8, [plans, HORIZON, action]);
            let drive = pair.normal(9, [plans, HORIZON, latent]);
            if let Some(changes) = found.changes_along(&actions, &drive) {
                let mut change = Tensor::zeros([plans, 1, latent], pair.device);
                let expected = (0..HORIZON).map(|step| {
                    let moved = actions.clone().narrow(1, step, 1);
                    let next = plain.pushforward(at(step), change.clone(), moved);
                    change = next + drive.clone().narrow(1, step, 1);
                    change.clone()
                });
                pair.check("changes", changes, Tensor::cat(expected.collect(), 1));
            }
        }
    });
}

/// Terms of every step carried back to all steps before.
#[test]
fn adjoints_of_every_step() {
    for_each_pair(|pair| {
        for (plans, count) in [(1, 1), (3, 2), (70, 1)] {
            let [latent, action] = pair.sizes();
            let [found, plain] = linearised(pair, plans);
            let own = pair.normal::<3>(7, [plans * HORIZON, count, latent]);
            let Some((by_latent, by_action)) = found.adjoints_along(&own, plans, 1) else {
                continue;
            };
            let (mut latents, mut actions) = (Vec::new(), Vec::new());
            // Rows of the last step first.
            for entered in (0..HORIZON).rev() {
                let mut cotangents = own.clone().narrow(0, entered * plans, plans);
                let (mut of_latents, mut of_actions) = (Vec::new(), Vec::new());
                for step in (0..=entered).rev() {
                    of_latents.insert(0, cotangents.clone());
                    let (earlier, moved) =
                        plain.pullback(step * plans..(step + 1) * plans, cotangents);
                    of_actions.insert(0, moved);
                    cotangents = earlier;
                }
                for (parts, size) in [(&mut of_latents, latent), (&mut of_actions, action)] {
                    parts.resize(HORIZON, Tensor::zeros([plans, count, size], pair.device));
                }
                latents.push(Tensor::cat(of_latents, 2));
                actions.push(Tensor::cat(of_actions, 2));
            }
            pair.check("adjoints by latent", by_latent, Tensor::cat(latents, 1));
            pair.check("adjoints by action", by_action, Tensor::cat(actions, 1));
        }
    });
}

/// Gathers every gradient in the order of the parameters.
struct Gathered<'a> {
    gradients: &'a GradientsParams,
    values: Vec<Vec<f32>>,
}

impl ModuleVisitor for Gathered<'_> {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let gradient = self.gradients.get::<D>(param.id);
        self.values.push(gradient.map(values).unwrap_or_default());
    }
}

/// The loss of training and its gradient by every weight.
fn loss_and_gradients(config: &WorldModelConfig, device: &Device) -> (f32, Vec<Vec<f32>>) {
    let model = WorldModel::new(config.clone(), 1, device).unwrap();
    let noise = Noise::new(4);
    let model = model.map(&mut Shaken { noise, device }).train();
    let settings = ElboConfig {
        fresh_start_share: 1.0,
        open_loop_scale: 1.0,
        ..ElboConfig::paper()
    };
    let batch = random_batch(config, 3, device);
    let loss = model.elbo(&batch, &settings, &mut Noise::new(5)).loss;
    let gradients = GradientsParams::from_grads(loss.clone().backward(), &model);
    let mut gathered = Gathered {
        gradients: &gradients,
        values: Vec::new(),
    };
    model.visit(&mut gathered);
    (loss.into_scalar(), gathered.values)
}

/// On every backend the gradients of training are those of the first one on a CPU, where posterior and open
/// loop go step by step.
#[test]
fn gradients_of_training() {
    for activation in [Activation::Elu, Activation::Relu] {
        let config = WorldModelConfig {
            activation,
            ..tiny_config(6)
        };
        let devices = compiled_devices();
        let cpu = devices
            .iter()
            .find(|(name, _)| ["flex", "ndarray"].contains(name));
        let (_, cpu) = cpu.expect("a backend on the CPU");
        let (loss, expected) = loss_and_gradients(&config, cpu);
        for (name, device) in &devices {
            let (found_loss, found) = loss_and_gradients(&config, device);
            assert!(
                (found_loss - loss).abs() < 1e-3 * loss.abs(),
                "{name}: {found_loss} is not {loss}"
            );
            assert_eq!(found.len(), expected.len());
            for (index, (found, expected)) in found.iter().zip(&expected).enumerate() {
                let expected: Vec<f64> = expected.iter().map(|&value| f64::from(value)).collect();
                let what = format!("{name}, {activation:?}: gradient {index}");
                assert_close(&what, found, &expected, 1e-4);
            }
        }
    }
}

#[test]
fn steps_of_adam() {
    for (name, device) in compiled_devices() {
        let mut noise = Noise::new(6);
        let fused = FusedAdam::new(1e-6);
        let plain = AdamConfig::new().with_epsilon(1e-6).build();
        let mut found: Tensor<2> = noise.normal([7, 3], &device);
        let mut expected = found.clone();
        let (mut of_fused, mut of_plain) = (None, None);
        for step in 0..4 {
            let gradient = noise.normal([7, 3], &device);
            (found, of_fused) = fused.step(0.1, found, gradient.clone(), of_fused);
            (expected, of_plain) = plain.step(0.1, expected, gradient, of_plain);
            let expected: Vec<_> = values(expected.clone())
                .into_iter()
                .map(f64::from)
                .collect();
            let what = format!("{name}: step {step}");
            assert_close(&what, &values(found.clone()), &expected, TOLERANCE);
        }
    }
}

/// `Σ λ ‖z − μ‖² + Σ ν ‖max(|a| − 1, 0)‖²` and its gradient.
#[test]
fn penalties_and_their_gradient() {
    const STEPS: usize = 6;
    for (name, device) in compiled_devices() {
        let mut noise = Noise::new(7);
        let planned: Tensor<2> = noise.normal([STEPS, 70], &device);
        // The first columns of something wider.
        let mean = noise.normal::<2>([STEPS, 75], &device).narrow(1, 0, 70);
        let actions = noise.normal::<2>([STEPS, 3], &device) * 2.0;
        let weights = [(); 2].map(|()| noise.normal::<2>([1, STEPS], &device).abs());
        let found = Penalties::of(&planned, &mean, &actions, [&weights[0], &weights[1]]);
        assert_eq!(found.is_some(), name == "wgpu", "{name}");
        let Some(found) = found else { continue };
        let leaf = |values: &Tensor<2>| values.clone().autodiff().require_grad();
        let leaves = [leaf(&planned), leaf(&mean), leaf(&actions)];
        let [planned, mean, actions] = leaves.clone();
        let dynamics = (planned - mean).square().sum_dim(1).transpose();
        let bounds = (actions.abs() - 1.0).clamp_min(0.0).square();
        let bounds = bounds.sum_dim(1).transpose();
        let [of_dynamics, of_bounds] = weights.map(Tensor::autodiff);
        let cost = (dynamics.clone() * of_dynamics + bounds.clone() * of_bounds).sum();
        let mut gradients = cost.backward();
        let [by_planned, by_mean, by_action] =
            leaves.map(|leaf| leaf.grad_remove(&mut gradients).unwrap());
        for (what, found, expected) in [
            ("dynamics", found.dynamics, dynamics.without_autodiff()),
            ("bounds", found.bounds, bounds.without_autodiff()),
            ("by planned", found.by_planned, by_planned),
            ("by mean", found.by_mean, by_mean),
            ("by action", found.by_action, by_action),
        ] {
            let expected: Vec<_> = values(expected).into_iter().map(f64::from).collect();
            assert_close(
                &format!("{name}: {what}"),
                &values(found),
                &expected,
                TOLERANCE,
            );
        }
    }
}

/// Views of every kind, however many, along every axis; no number may differ.
#[test]
fn joined_parts() {
    for (name, device) in compiled_devices() {
        let mut noise = Noise::new(8);
        for (count, axis) in [1, 2, 3, 4, 5, 17]
            .into_iter()
            .flat_map(|count| (0..3).map(move |axis| (count, axis)))
        {
            let parts = (0..count).map(|index| {
                let mut shape = [4, 3, 5];
                shape[axis] = 1 + index % 3;
                let wider = noise.normal::<3>([shape[0], shape[2] + 2, shape[1] + 1], &device);
                let narrow = wider.narrow(1, 2, shape[2]).narrow(2, 1, shape[1]);
                narrow.swap_dims(1, 2)
            });
            let parts: Vec<Tensor<3>> = parts.collect();
            let expected = values(Tensor::cat(parts.clone(), axis));
            let found = values(join(parts, axis));
            assert_eq!(found, expected, "{name}: {count} parts along {axis}");
        }
        let part = noise.normal::<2>([2, 3], &device);
        let with_none = join(vec![Tensor::zeros([0, 3], &device), part.clone()], 0);
        assert_eq!(values(with_none), values(part.clone()), "{name}");
        let leaf = part.autodiff().require_grad();
        let twice = join(vec![leaf.clone(), leaf.clone() * 2.0], 1);
        let slope = leaf.grad(&twice.sum().backward()).unwrap();
        assert_eq!(values(slope), [3.0; 6], "{name}");
    }
}
