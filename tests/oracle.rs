//! The mathematics against an independent implementation in double precision, on every compiled
//! backend.
//!
//! Errors are relative to the largest magnitude of the compared tensor.

mod common {
    pub mod compare;
    pub mod cost;
    pub mod devices;
    pub mod numbers;
    pub mod reference;
}

use burn::tensor::{Device, Tensor};
use common::{
    compare::assert_close,
    cost::StepTerms,
    devices::compiled_devices,
    numbers::values,
    reference::{Reference, ReferenceModel},
};
use latco_plan::{
    AutodiffLinearisation, LatentModel, Linearisation, Objective, RewardLinearisation,
    collocation::{DualRule, Elimination, GaussianLift, LeastSquares, Trajectories, Weights},
};

/// Single precision through a few layers.
const TOLERANCE: f64 = 1e-4;

/// A Gauss–Newton step multiplies errors by the condition of its system.
const TOLERANCE_AFTER_1: f64 = 1e-3;

/// Full steps without acceptance multiply them again.
const TOLERANCE_AFTER_5: f64 = 1e-2;

/// One file on one backend.
struct Case<'a> {
    reference: &'a Reference,
    backend: &'static str,
    device: Device,
    model: ReferenceModel,
}

/// Runs `check` with every file on every backend.
fn for_each_case(check: impl Fn(&Case<'_>)) {
    for reference in &Reference::all() {
        for (backend, device) in compiled_devices() {
            check(&Case {
                model: reference.model(&device),
                reference,
                backend,
                device,
            });
        }
    }
}

impl Case<'_> {
    fn input<const D: usize>(&self, name: &str) -> Tensor<D> {
        self.reference.tensor(name, &self.device)
    }

    /// The value of a tensor with one.
    fn scalar(&self, name: &str) -> f64 {
        match self.reference.values(name) {
            [value] => *value,
            values => panic!(
                "{}: `{name}` has {} values",
                self.reference.name,
                values.len()
            ),
        }
    }

    /// Compares with the file's tensor of this name.
    fn check<const D: usize>(&self, name: &str, found: Tensor<D>, tolerance: f64) {
        self.check_values(name, found, self.reference.values(name), tolerance);
    }

    fn check_values<const D: usize>(
        &self,
        what: &str,
        found: Tensor<D>,
        expected: &[f64],
        tolerance: f64,
    ) {
        let what = format!("{} on {}: {what}", self.reference.name, self.backend);
        assert_close(&what, &values(found), expected, tolerance);
    }

    /// The latents and actions at which one transition is checked.
    fn points(&self) -> (Tensor<2>, Tensor<2>) {
        (self.input("step.latent"), self.input("step.action"))
    }

    fn start(&self) -> Tensor<2> {
        let latent = self.input::<1>("gauss_newton.initial_latent");
        latent.unsqueeze_dim(0)
    }

    fn trajectories(&self) -> Trajectories {
        let row = |name: &str| self.input::<2>(name).unsqueeze_dim(0);
        Trajectories {
            latents: row("gauss_newton.latents"),
            actions: row("gauss_newton.actions"),
        }
    }

    /// λ and ν, `[1, horizon]`.
    fn multipliers(&self) -> (Tensor<2>, Tensor<2>) {
        let row = |name: &str| self.input::<1>(name).unsqueeze_dim(0);
        (
            row("gauss_newton.dynamics_multipliers"),
            row("gauss_newton.action_multipliers"),
        )
    }
}

#[test]
fn prior() {
    for_each_case(|case| {
        let (latents, actions) = case.points();
        let [rows, latent] = latents.dims();
        let prior = case.model.transition(latents.clone(), actions.clone());
        let deterministic = case.reference.values("step.deter").len() / rows;
        let stochastic = latent - deterministic;
        let of_stochastic = |tensor: &Tensor<2>| tensor.clone().narrow(1, 0, stochastic);
        let of_deterministic =
            |tensor: &Tensor<2>| tensor.clone().narrow(1, stochastic, deterministic);
        case.check("step.prior_mean", of_stochastic(&prior.mean), TOLERANCE);
        case.check("step.prior_std", of_stochastic(&prior.std), TOLERANCE);
        case.check("step.deter", of_deterministic(&prior.mean), TOLERANCE);
        let certain = values(of_deterministic(&prior.std));
        assert!(certain.iter().all(|&std| std == 0.0));
        let mean = case.model.transition_mean(latents, actions);
        case.check("step.prior_mean", of_stochastic(&mean), TOLERANCE);
        case.check("step.deter", of_deterministic(&mean), TOLERANCE);
    });
}

#[test]
fn posterior_and_divergence() {
    for_each_case(|case| {
        let (latents, actions) = case.points();
        let step = case
            .model
            .dynamics
            .transition(latents, actions, case.input("step.embed"));
        let divergence = step.posterior.kl_divergence(&step.prior);
        case.check("step.posterior_mean", step.posterior.mean, TOLERANCE);
        case.check("step.posterior_std", step.posterior.std, TOLERANCE);
        case.check("step.kl_posterior_prior", divergence, TOLERANCE);
    });
}

#[test]
fn reward_and_its_gradient() {
    for_each_case(|case| {
        let (latents, _) = case.points();
        case.check("step.reward", case.model.reward(latents.clone()), TOLERANCE);
        let leaf = latents.autodiff().require_grad();
        let gradients = case.model.reward(leaf.clone()).sum().backward();
        let gradient = leaf.grad(&gradients).unwrap();
        case.check("step.reward_gradient", gradient, TOLERANCE);
    });
}

#[test]
fn reward_residuals_and_their_derivative() {
    for_each_case(|case| {
        let model: &dyn LatentModel = &case.model;
        let (latents, _) = case.points();
        let rewards = case.reference.values("step.reward");
        let gradient = case.reference.values("step.reward_gradient");
        let residuals: Vec<f64> = rewards.iter().map(|r| (-r).exp().ln_1p()).collect();
        let slopes = rewards.iter().map(|r| -1.0 / (1.0 + r.exp()));
        let jacobian: Vec<f64> = gradient
            .chunks(model.latent_size())
            .zip(slopes)
            .flat_map(|(row, slope)| row.iter().map(move |entry| slope * entry))
            .collect();
        for (way, found) in [
            (
                "analytic",
                model.linearise_reward(latents.clone(), Objective::Residuals),
            ),
            (
                "by autodiff",
                RewardLinearisation::by_autodiff(model, latents.clone(), Objective::Residuals),
            ),
        ] {
            let what = |part: &str| format!("reward residual's {part}, {way}");
            case.check_values(
                &what("value"),
                found.rewards.residuals,
                &residuals,
                TOLERANCE,
            );
            case.check_values(&what("derivative"), found.jacobian, &jacobian, TOLERANCE);
        }
    });
}

#[test]
fn transition_jacobians() {
    for_each_case(|case| {
        let model: &dyn LatentModel = &case.model;
        let (latents, actions) = case.points();
        let closed = case.model.as_differentiable().expect("closed forms");
        let analytic = closed.linearise(latents.clone(), actions.clone());
        let autodiff = AutodiffLinearisation::new(model, latents, actions);
        for linearisation in [analytic.as_ref(), &autodiff] {
            check_pullback(case, linearisation);
            check_pushforward(case, linearisation);
        }
    });
}

/// Unit cotangents come back as the Jacobian's rows.
fn check_pullback(case: &Case<'_>, linearisation: &dyn Linearisation) {
    let [points, latent] = linearisation.value().dims();
    let unit = unit_rows(points, latent, &case.device);
    let (by_latent, by_action) = linearisation.pullback(0..points, unit);
    case.check("step.jacobian_latent", by_latent, TOLERANCE);
    case.check("step.jacobian_action", by_action, TOLERANCE);
}

/// Unit tangents go forward to the Jacobian's columns.
fn check_pushforward(case: &Case<'_>, linearisation: &dyn Linearisation) {
    let [points, latent] = linearisation.value().dims();
    let action = case.model.action_size();
    let unit = unit_rows(points, latent + action, &case.device);
    let columns = linearisation.pushforward(
        0..points,
        unit.clone().narrow(2, 0, latent),
        unit.narrow(2, latent, action),
    );
    let jacobian = columns.swap_dims(1, 2);
    let by_latent = jacobian.clone().narrow(2, 0, latent);
    let by_action = jacobian.narrow(2, latent, action);
    case.check("step.jacobian_latent", by_latent, TOLERANCE);
    case.check("step.jacobian_action", by_action, TOLERANCE);
}

/// The identity at every point, `[points, size, size]`.
fn unit_rows(points: usize, size: usize, device: &Device) -> Tensor<3> {
    let unit = Tensor::<2>::eye(size, device);
    unit.unsqueeze_dim::<3>(0).repeat_dim(0, points)
}

#[test]
fn dual_rules() {
    for_each_case(|case| {
        let threshold = case.scalar("dual.threshold");
        let rate = case.scalar("dual.learning_rate");
        let violations = case.reference.values("dual.violation");
        let multipliers = case.reference.values("gauss_newton.dynamics_multipliers");
        let update = |rule: DualRule| {
            let steps = multipliers.iter().zip(violations);
            let updated = steps.map(|(&multiplier, &violation)| {
                rule.update(multiplier, violation, threshold) as f32
            });
            Tensor::<1>::from_floats(updated.collect::<Vec<_>>().as_slice(), &case.device)
        };
        let ascent = update(DualRule::GradientAscent { rate });
        case.check("dual.after_gradient_ascent", ascent, TOLERANCE);
        let logarithmic = update(DualRule::Logarithmic { rate: 0.1 });
        case.check("dual.after_log_rule", logarithmic, TOLERANCE);
    });
}

#[test]
fn violations_are_the_squared_defects() {
    for_each_case(|case| {
        let problem = LeastSquares::linearise(&case.model, case.start(), &case.trajectories());
        let violation = problem.defects().square().sum_dim(2);
        case.check("dual.violation", violation, TOLERANCE);
    });
}

#[test]
fn gauss_newton_cost_and_gradient() {
    for_each_case(|case| {
        let Trajectories { latents, actions } = case.trajectories();
        let leaves = Trajectories {
            latents: latents.autodiff().require_grad(),
            actions: actions.autodiff().require_grad(),
        };
        let (dynamics, bounds) = case.multipliers();
        let half = |multipliers: Tensor<2>| multipliers.squeeze_dim::<1>(0).autodiff() * 0.5;
        let terms = StepTerms::new(&case.model, case.start().autodiff(), &leaves);
        let cost = terms.cost(half(dynamics), half(bounds));
        let gradients = cost.backward();
        let gradient = |leaf: &Tensor<3>| leaf.grad(&gradients).unwrap().flatten::<1>(0, 2);
        let joined = vec![gradient(&leaves.latents), gradient(&leaves.actions)];
        case.check("gauss_newton.cost", cost.without_autodiff(), TOLERANCE);
        case.check("gauss_newton.gradient", Tensor::cat(joined, 0), TOLERANCE);
    });
}

/// Both eliminations, from the damping that the residual-space step is made for.
#[test]
fn gauss_newton_steps_with_action_damping() {
    for_each_case(|case| {
        for elimination in [Elimination::ResidualSpace, Elimination::Riccati] {
            let weights = weights(case, None);
            check_steps(case, "gauss_newton_action_damping", &weights, elimination);
        }
    });
}

/// Damping of latents and actions alike, as published.
#[test]
fn gauss_newton_steps_with_plain_damping() {
    for_each_case(|case| {
        let damping = case.scalar("gauss_newton.damping");
        let weights = weights(case, Some(Tensor::full([1], damping, &case.device)));
        check_steps(case, "gauss_newton", &weights, Elimination::Riccati);
    });
}

/// Compares with the plans that the file holds after one and after five steps.
fn check_steps(case: &Case<'_>, name: &str, weights: &Weights, elimination: Elimination) {
    for (steps, tolerance) in [(1, TOLERANCE_AFTER_1), (5, TOLERANCE_AFTER_5)] {
        let found = full_steps(case, weights, elimination, steps);
        let name = |part: &str| format!("{name}.{part}_after_{steps}");
        case.check(&name("latents"), found.latents, tolerance);
        case.check(&name("actions"), found.actions, tolerance);
    }
}

/// The file's multipliers and damping of actions.
fn weights(case: &Case<'_>, latent_damping: Option<Tensor<1>>) -> Weights {
    let (dynamics, actions) = case.multipliers();
    let damping = case.scalar("gauss_newton.damping");
    Weights {
        dynamics,
        actions,
        defect_damping: Tensor::zeros([1], &case.device),
        action_damping: Tensor::full([1], damping, &case.device),
        latent_damping,
    }
}

/// Gauss–Newton steps as they come, none refused.
fn full_steps(
    case: &Case<'_>,
    weights: &Weights,
    elimination: Elimination,
    steps: usize,
) -> Trajectories {
    (0..steps).fold(case.trajectories(), |present, index| {
        let problem = LeastSquares::linearise(&case.model, case.start(), &present)
            .with_elimination(elimination);
        let step = problem.step(weights, index).unwrap();
        Trajectories {
            latents: present.latents + problem.latents(&step),
            actions: present.actions + step.actions,
        }
    })
}

/// Noise `[samples, horizon, size]` of one step, `[samples, latent]`, zero beyond its own size.
fn noise_of_step(case: &Case<'_>, name: &str, step: usize, latent: usize) -> Tensor<2> {
    let noise = case.input::<3>(name).narrow(1, step, 1).squeeze_dim::<2>(1);
    let [samples, size] = noise.dims();
    let rest = Tensor::zeros([samples, latent - size], &case.device);
    Tensor::cat(vec![noise, rest], 1)
}

#[test]
fn moments() {
    for_each_case(|case| {
        let means = case.input::<2>("moments.mean");
        let stds = case.input::<2>("moments.std");
        let actions = case.input::<2>("gauss_newton.actions");
        let [horizon, latent] = means.dims();
        let next: Vec<_> = (0..horizon)
            .map(|step| {
                let lift = GaussianLift::with_noise(
                    &case.model,
                    noise_of_step(case, "moments.latent_noise", step, latent),
                    noise_of_step(case, "moments.transition_noise", step, latent),
                );
                let row = |tensor: &Tensor<2>| tensor.clone().narrow(0, step, 1);
                let node = Tensor::cat(vec![row(&means), row(&stds)], 1);
                lift.transition_mean(node, row(&actions))
            })
            .collect();
        let next = Tensor::cat(next, 0);
        let next_mean = next.clone().narrow(1, 0, latent);
        let next_variance = next.narrow(1, latent, latent).square();
        case.check("moments.next_mean", next_mean.clone(), TOLERANCE);
        case.check("moments.next_variance", next_variance.clone(), TOLERANCE);

        let violation = |planned: Tensor<2>, predicted: Tensor<2>| {
            let planned = planned.narrow(0, 1, horizon - 1);
            let difference = planned - predicted.narrow(0, 0, horizon - 1);
            difference.square().sum_dim(1).squeeze_dim::<1>(1)
        };
        let of_mean = violation(means.clone(), next_mean);
        let of_variance = violation(stds.square(), next_variance);
        case.check("moments.mean_violation", of_mean, TOLERANCE);
        case.check("moments.variance_violation", of_variance, TOLERANCE);
    });
}
