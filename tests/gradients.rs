//! Gradients against central finite differences, and the two ways to linearise a transition
//! against each other.

mod common {
    pub mod batches;
    pub mod compare;
    pub mod cost;
    pub mod numbers;
    pub mod worlds;
}

use burn::{
    module::{Module, ModuleMapper, ModuleVisitor, Param, ParamId},
    optim::GradientsParams,
    tensor::{Device, Tensor},
};
use common::{
    batches::random_batch, compare::assert_close, cost::StepTerms, numbers::values,
    worlds::tiny_config,
};
use latco_model::{Activation, Batch, ElboConfig, WorldModel, WorldModelConfig};
use latco_plan::{
    AutodiffLinearisation, Belief, Differentiable, Iteration, LatentGoal, LatentModel,
    Linearisation, Noise, Objective, Observer, PlanContext, Planner, RewardLinearisation,
    collocation::{FirstOrderConfig, GaussianLift, Initialisation, Trajectories},
    solve::Solver,
};

/// Sizes of the deterministic part: an RSSM and an SSM.
const DETERMINISTIC: [usize; 2] = [6, 0];

/// A step of finite differences: large beside rounding, small beside the distance between the
/// kinks of the image networks' ReLUs.
const STEP: f64 = 1e-3;

fn tiny_model(deterministic: usize) -> WorldModel {
    WorldModel::new(tiny_config(deterministic), 1, &Device::default()).unwrap()
}

fn scalar(tensor: Tensor<1>) -> f64 {
    f64::from(tensor.into_scalar::<f32>())
}

fn norm<const D: usize>(tensor: &Tensor<D>) -> f64 {
    scalar(tensor.clone().square().sum()).sqrt()
}

/// The exact bound, with images weighted down so that they do not drown the rest in rounding.
fn exact_elbo() -> ElboConfig {
    ElboConfig {
        free_nats: 0.0,
        pixel_scale: 0.01,
        ..ElboConfig::paper()
    }
}

/// The loss with the same samples each time.
fn loss(model: &WorldModel, batch: &Batch, config: &ElboConfig) -> Tensor<1> {
    model.elbo(batch, config, &mut Noise::new(5)).loss
}

fn gradients(model: &WorldModel, batch: &Batch, config: &ElboConfig) -> GradientsParams {
    let model = model.clone().train();
    let gradients = loss(&model, batch, config).backward();
    GradientsParams::from_grads(gradients, &model)
}

/// A parameter and the norm of its gradient.
struct Slope {
    name: String,
    id: ParamId,
    norm: f64,
}

/// Visits every parameter.
struct Survey<'a> {
    gradients: &'a GradientsParams,
    path: Vec<String>,
    slopes: Vec<Slope>,
}

impl Survey<'_> {
    fn of(model: &WorldModel, gradients: &GradientsParams) -> Vec<Slope> {
        let mut survey = Survey {
            gradients,
            path: Vec::new(),
            slopes: Vec::new(),
        };
        model.visit(&mut survey);
        survey.slopes
    }
}

impl ModuleVisitor for Survey<'_> {
    fn enter_module(&mut self, name: &str, _container: &str) {
        self.path.push(name.to_owned());
    }

    fn exit_module(&mut self, _name: &str, _container: &str) {
        self.path.pop();
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let gradient = self.gradients.get::<D>(param.id);
        self.slopes.push(Slope {
            name: self.path.join("."),
            id: param.id,
            norm: gradient.map_or(0.0, |gradient| norm(&gradient)),
        });
    }
}

/// Moves one parameter along its normalised gradient.
struct Nudge<'a> {
    gradients: &'a GradientsParams,
    slope: &'a Slope,
    distance: f64,
}

impl ModuleMapper for Nudge<'_> {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let gradient = self.gradients.get::<D>(param.id);
        match gradient {
            Some(gradient) if param.id == self.slope.id => {
                let change = gradient * (self.distance / self.slope.norm);
                param.map(|value| value + change)
            }
            _ => param,
        }
    }
}

/// Compares the derivative along each parameter's own gradient, which is the gradient's norm.
fn check_slopes(model: &WorldModel, batch: &Batch, config: &ElboConfig) {
    let gradients = gradients(model, batch, config);
    let rounding = 4.0 * f64::from(f32::EPSILON) * scalar(loss(model, batch, config)).abs();
    for slope in Survey::of(model, &gradients) {
        let at = |distance| {
            let nudged = model.clone().map(&mut Nudge {
                gradients: &gradients,
                slope: &slope,
                distance,
            });
            scalar(loss(&nudged, batch, config))
        };
        let difference = (at(STEP) - at(-STEP)) / (2.0 * STEP);
        let Slope { name, norm, .. } = &slope;
        println!("{name}: {norm} by autodiff, {difference} by differences");
        // Kinks weigh in proportion to the slope, rounding of the loss alike for all of them.
        let allowed = 2e-2 * norm + rounding / STEP;
        assert!(
            *norm > 0.0 && (difference - norm).abs() <= allowed,
            "{name}: {difference} is not {norm}"
        );
    }
}

#[test]
fn elbo_gradient_of_every_parameter() {
    for deterministic in DETERMINISTIC {
        let model = tiny_model(deterministic);
        let batch = random_batch(model.config(), 2, &Device::default());
        check_slopes(&model, &batch, &exact_elbo());
        let weighted = ElboConfig {
            foreground_scale: 5.0,
            decoded_share: 0.5,
            open_loop_scale: 1.0,
            ..exact_elbo()
        };
        check_slopes(&model, &batch, &weighted);
    }
}

#[test]
fn divergence_below_the_free_nats_moves_nothing() {
    let model = tiny_model(DETERMINISTIC[0]);
    let batch = random_batch(model.config(), 2, &Device::default());
    let free = ElboConfig {
        free_nats: 10.0,
        ..exact_elbo()
    };
    let without = ElboConfig {
        kl_scale: 0.0,
        ..exact_elbo()
    };
    let kl = model.elbo(&batch, &free, &mut Noise::new(5)).kl;
    assert!(scalar(kl) < free.free_nats);
    let free = gradients(&model, &batch, &free);
    for slope in Survey::of(&model, &free) {
        let is_prior = slope.name.contains("prior");
        assert_eq!(slope.norm == 0.0, is_prior, "{}", slope.name);
    }
    let without: Vec<f64> = all_values(&model, &gradients(&model, &batch, &without))
        .into_iter()
        .map(f64::from)
        .collect();
    assert_close("gradient", &all_values(&model, &free), &without, 1e-6);
}

#[test]
fn balancing_weights_the_gradient_of_the_divergence_and_not_its_value() {
    let model = tiny_model(DETERMINISTIC[0]);
    let batch = random_batch(model.config(), 2, &Device::default());
    let with_balance = |kl_balance| {
        let config = ElboConfig {
            kl_balance,
            ..exact_elbo()
        };
        let gradients = gradients(&model, &batch, &config);
        let loss = values(loss(&model, &batch, &config));
        (loss, all_values(&model, &gradients))
    };
    let (exact_loss, exact) = with_balance(0.5);
    let (posterior_loss, posterior) = with_balance(0.0);
    let (prior_loss, prior) = with_balance(1.0);
    let exact_loss: Vec<f64> = exact_loss.into_iter().map(f64::from).collect();
    assert_close("loss, balance 0", &posterior_loss, &exact_loss, 1e-6);
    assert_close("loss, balance 1", &prior_loss, &exact_loss, 1e-6);
    let middle: Vec<f64> = posterior
        .iter()
        .zip(&prior)
        .map(|(&posterior, &prior)| 0.5 * f64::from(posterior) + 0.5 * f64::from(prior))
        .collect();
    assert_close("gradient, balance ½", &exact, &middle, 1e-5);
    assert_ne!(posterior, prior);
}

/// All gradients in one vector, zero for a parameter without one.
fn all_values(model: &WorldModel, gradients: &GradientsParams) -> Vec<f32> {
    let mut collected = Collect {
        gradients,
        values: Vec::new(),
    };
    model.visit(&mut collected);
    collected.values
}

struct Collect<'a> {
    gradients: &'a GradientsParams,
    values: Vec<f32>,
}

impl ModuleVisitor for Collect<'_> {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let gradient = self.gradients.get::<D>(param.id);
        let gradient = gradient.unwrap_or_else(|| param.val().zeros_like());
        self.values.extend(values(gradient));
    }
}

const HORIZON: usize = 5;

/// A belief and a plan at random, some actions beyond their bounds.
fn random_plan(model: &WorldModel) -> (Belief, Trajectories) {
    let device = Device::default();
    let noise = &mut Noise::new(7);
    let belief = Belief::certain(noise.normal([model.latent_size()], &device));
    let start = normal_start(model, 1.0, noise);
    (belief, start)
}

/// Latents and actions of one plan as [`Initialisation::Normal`] draws them.
fn normal_start(model: &WorldModel, std: f64, noise: &mut Noise) -> Trajectories {
    let device = Device::default();
    let action = LatentModel::action_size(model);
    Trajectories {
        latents: noise.normal([1, HORIZON, model.latent_size()], &device) * std,
        actions: noise.normal([1, HORIZON, action], &device) * std,
    }
}

/// The plans that the last iteration showed.
struct Last(Option<Trajectories>);

impl Observer for Last {
    fn iteration(&mut self, _iteration: &Iteration) {}

    fn trajectories(&mut self, actions: &Tensor<3>, nodes: Option<&Tensor<3>>) {
        self.0 = nodes.map(|nodes| Trajectories {
            latents: nodes.clone(),
            actions: actions.clone(),
        });
    }
}

/// The Lagrangian of first-order collocation with multipliers of one.
fn lagrangian(model: &WorldModel, belief: &Belief, plan: &Trajectories) -> Tensor<1> {
    let ones = Tensor::ones([HORIZON], &plan.actions.device());
    let start = match plan.actions.is_autodiff() {
        true => belief.mean().autodiff(),
        false => belief.mean(),
    };
    StepTerms::new(model, start, plan).cost(ones.clone(), ones)
}

/// The gradient of [`lagrangian`].
fn lagrangian_gradient(model: &WorldModel, belief: &Belief, plan: &Trajectories) -> Trajectories {
    let leaves = Trajectories {
        latents: plan.latents.clone().autodiff().require_grad(),
        actions: plan.actions.clone().autodiff().require_grad(),
    };
    let gradients = lagrangian(model, belief, &leaves).backward();
    Trajectories {
        latents: leaves.latents.grad(&gradients).unwrap(),
        actions: leaves.actions.grad(&gradients).unwrap(),
    }
}

#[test]
fn lagrangian_gradient_of_the_plan() {
    for deterministic in DETERMINISTIC {
        let model = tiny_model(deterministic);
        let (belief, plan) = random_plan(&model);
        let gradient = lagrangian_gradient(&model, &belief, &plan);
        let [latent_norm, action_norm] = [norm(&gradient.latents), norm(&gradient.actions)];
        let moved = |along_latents: f64, along_actions: f64| {
            let plan = Trajectories {
                latents: plan.latents.clone() + gradient.latents.clone() * along_latents,
                actions: plan.actions.clone() + gradient.actions.clone() * along_actions,
            };
            scalar(lagrangian(&model, &belief, &plan))
        };
        let slope = |step: [f64; 2]| {
            let [latents, actions] = step;
            (moved(latents, actions) - moved(-latents, -actions)) / (2.0 * STEP)
        };
        for (what, found, expected) in [
            ("latents", slope([STEP / latent_norm, 0.0]), latent_norm),
            ("actions", slope([0.0, STEP / action_norm]), action_norm),
        ] {
            assert_close(what, &[found as f32], &[expected], 3e-3);
        }
    }
}

/// Adam's first step is its step size against the sign of the gradient: it shows which gradient
/// the planner follows.
#[test]
fn first_order_collocation_steps_down_the_lagrangian() {
    const RATE: f64 = 1e-3;
    const STD: f64 = 0.5;
    for deterministic in DETERMINISTIC {
        let model = tiny_model(deterministic);
        let belief = random_plan(&model).0;
        let planner = Solver::new(
            "latco-first-order",
            FirstOrderConfig {
                horizon: HORIZON,
                plans: 1,
                iterations: 1,
                learning_rate: RATE,
                initialisation: Initialisation::Normal { std: STD },
                ..FirstOrderConfig::default()
            },
        )
        .unwrap();
        let mut last = Last(None);
        let context = PlanContext::new(0, &mut last);
        planner.plan_with(&model, &belief, context).unwrap();
        let moved = last.0.unwrap();
        // A planner draws its start first.
        let start = normal_start(&model, STD, &mut Noise::new(0));
        let gradient = lagrangian_gradient(&model, &belief, &start);
        check_signs(moved.latents, start.latents, gradient.latents, RATE);
        check_signs(moved.actions, start.actions, gradient.actions, RATE);
    }
}

/// Fails unless `found` lies `rate` from `start` against the sign of `gradient` wherever that is
/// clear and the start is not beyond the bounds of actions, where the plan is cut.
fn check_signs(found: Tensor<3>, start: Tensor<3>, gradient: Tensor<3>, rate: f64) {
    let (found, start, gradient) = (values(found), values(start), values(gradient));
    let steepest = gradient
        .iter()
        .fold(0.0, |most: f32, slope| most.max(slope.abs()));
    let mut seen = 0;
    for ((found, start), gradient) in found.iter().zip(&start).zip(&gradient) {
        if gradient.abs() < 1e-3 * steepest || start.abs() > 0.99 {
            continue;
        }
        let step = f64::from(found - start) / rate;
        let expected = -f64::from(gradient.signum());
        assert!((step - expected).abs() < 1e-3, "{step} is not {expected}");
        seen += 1;
    }
    assert!(seen > start.len() / 2, "{seen} of {}", start.len());
}

/// Points, of which a range is linearised at several rows each.
const POINTS: usize = 5;
const RANGE: std::ops::Range<usize> = 1..4;
const ROWS: usize = 3;

/// Random inputs of a linearisation's two directions.
struct Probes {
    latents: Tensor<2>,
    actions: Tensor<2>,
    cotangents: Tensor<3>,
    latent_tangents: Tensor<3>,
    action_tangents: Tensor<3>,
}

impl Probes {
    fn random(model: &dyn LatentModel) -> Self {
        let device = Device::default();
        let noise = &mut Noise::new(11);
        let (latent, action) = (model.latent_size(), model.action_size());
        Self {
            latents: noise.normal([POINTS, latent], &device),
            actions: noise.uniform([POINTS, action], &device),
            cotangents: noise.normal([RANGE.len(), ROWS, latent], &device),
            latent_tangents: noise.normal([RANGE.len(), ROWS, latent], &device),
            action_tangents: noise.normal([RANGE.len(), ROWS, action], &device),
        }
    }

    fn analytic<'a>(&self, model: &'a dyn LatentModel) -> Box<dyn Linearisation + 'a> {
        let closed = model.as_differentiable().expect("closed forms");
        closed.linearise(self.latents.clone(), self.actions.clone())
    }

    fn pullback(&self, linearisation: &dyn Linearisation) -> (Tensor<3>, Tensor<3>) {
        linearisation.pullback(RANGE, self.cotangents.clone())
    }

    fn pushforward(&self, linearisation: &dyn Linearisation) -> Tensor<3> {
        let (latents, actions) = (self.latent_tangents.clone(), self.action_tangents.clone());
        linearisation.pushforward(RANGE, latents, actions)
    }
}

fn doubles<const D: usize>(tensor: Tensor<D>) -> Vec<f64> {
    values(tensor).into_iter().map(f64::from).collect()
}

/// An RSSM and an SSM with each non-linearity.
fn linearised_models() -> impl Iterator<Item = WorldModel> {
    DETERMINISTIC.into_iter().flat_map(|deterministic| {
        [Activation::Elu, Activation::Relu].map(|activation| {
            let config = WorldModelConfig {
                activation,
                ..tiny_config(deterministic)
            };
            WorldModel::new(config, 1, &Device::default()).unwrap()
        })
    })
}

#[test]
fn analytic_linearisation_is_that_of_autodiff() {
    for model in linearised_models() {
        let probes = Probes::random(&model);
        let (latents, actions) = (probes.latents.clone(), probes.actions.clone());
        let autodiff = AutodiffLinearisation::new(&model, latents, actions);
        let prepared = model.prepared().expect("weights to lay out");
        let goal = LatentGoal::new(&model, probes.latents.clone().narrow(0, 0, 1).squeeze());
        let goal = goal.expect("a latent of the model");
        let prepared_goal = goal.prepared().expect("as the model's");
        for same in [&model, prepared.as_ref(), prepared_goal.as_ref()] {
            let analytic = probes.analytic(same);
            assert_same_derivatives(&probes, analytic.as_ref(), &autodiff);
            assert_same_rewards(same, &probes.latents);
        }
        for (found, expected) in [
            (prepared.as_ref(), &model as &dyn LatentModel),
            (prepared_goal.as_ref(), &goal),
        ] {
            let rewards = |model: &dyn LatentModel| model.reward(probes.latents.clone());
            assert_close(
                "reward",
                &values(rewards(found)),
                &doubles(rewards(expected)),
                1e-6,
            );
        }
    }
}

#[test]
fn moments_have_the_derivatives_of_autodiff() {
    const SAMPLES: usize = 7;
    let device = Device::default();
    for model in linearised_models() {
        let prepared = model.prepared().expect("weights to lay out");
        for model in [&model, prepared.as_ref()] {
            let lift = GaussianLift::new(model, SAMPLES, &mut Noise::new(2), &device);
            let probes = Probes::random(&lift);
            let (nodes, actions) = (probes.latents.clone(), probes.actions.clone());
            let analytic = lift.linearise(nodes.clone(), actions.clone());
            let autodiff = AutodiffLinearisation::new(&lift, nodes.clone(), actions);
            assert_same_derivatives(&probes, analytic.as_ref(), &autodiff);
            assert_same_rewards(&lift, &nodes);
        }
    }
}

fn assert_same_derivatives(
    probes: &Probes,
    analytic: &dyn Linearisation,
    autodiff: &dyn Linearisation,
) {
    let same = |what: &str, found: Tensor<3>, expected: Tensor<3>| {
        assert_close(what, &values(found), &doubles(expected), 1e-5);
    };
    assert_close(
        "value",
        &values(analytic.value()),
        &doubles(autodiff.value()),
        1e-5,
    );
    let (found, expected) = (probes.pullback(analytic), probes.pullback(autodiff));
    same("latents", found.0, expected.0);
    same("actions", found.1, expected.1);
    let (found, expected) = (probes.pushforward(analytic), probes.pushforward(autodiff));
    same("pushforward", found, expected);
}

/// The closed forms of both objectives against autodiff at `latents`.
fn assert_same_rewards(model: &dyn LatentModel, latents: &Tensor<2>) {
    let same = |what: &str, found: &[f32], expected: &[f64]| {
        assert_close(what, found, expected, 1e-5);
    };
    for objective in [Objective::Reward, Objective::Residuals] {
        let closed = model.as_differentiable().expect("closed forms");
        let found = closed.linearise_reward(latents.clone(), objective);
        let expected = RewardLinearisation::by_autodiff(model, latents.clone(), objective);
        same(
            "rewards",
            &values(found.rewards.expected),
            &doubles(model.reward(latents.clone())),
        );
        same(
            "residuals",
            &values(found.rewards.residuals),
            &doubles(model.reward_residuals(latents.clone())),
        );
        same(
            "derivative",
            &values(found.jacobian),
            &doubles(expected.jacobian),
        );
    }
}

/// `⟨w, J v⟩ = ⟨Jᵀ w, v⟩` for each row.
#[test]
fn pullback_and_pushforward_are_adjoint() {
    for model in linearised_models() {
        let probes = Probes::random(&model);
        let linearisation = probes.analytic(&model);
        let dot = |a: Tensor<3>, b: &Tensor<3>| (a * b.clone()).sum_dim(2);
        let (latents, actions) = probes.pullback(linearisation.as_ref());
        let back = dot(latents, &probes.latent_tangents) + dot(actions, &probes.action_tangents);
        let forward = dot(
            probes.pushforward(linearisation.as_ref()),
            &probes.cotangents,
        );
        assert_close("products", &values(forward), &doubles(back), 1e-5);
    }
}
