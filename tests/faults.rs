//! Models that break: every planner answers with a valid plan, or with an error that names the
//! step, and never with a panic, a hang or an action that is not finite.

mod common {
    pub mod point_mass;
}

use std::{
    collections::HashMap,
    ops::Range,
    sync::{
        Arc, LazyLock,
        atomic::{AtomicUsize, Ordering},
        mpsc::{RecvTimeoutError, channel},
    },
    thread,
    time::Duration,
};

use burn::tensor::{Device, Tensor};
use common::point_mass::PointMass;
use latco_plan::{
    Belief, DiagonalGaussian, Differentiable, ImageSpace, LatentModel, Linearisation, Objective,
    Plan, PlanError, Planner, RewardLinearisation,
    catalogue::{PLANNERS, planner},
    collocation::{DualConfig, DualRule, FirstOrderConfig, GaussNewtonConfig},
    solve::Solver,
};

/// Steps of a plan.
const HORIZON: usize = 3;

/// The longest that one of these plans may take, however loaded the machine is.
const PATIENCE: Duration = Duration::from_secs(120);

/// Deviation of the sound model's transition.
const SPREAD: f64 = 0.1;

/// What of a model breaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Part {
    Transition,
    Mean,
    Reward,
    Residuals,
    Pullback,
    Pushforward,
    RewardLinearisation,
    Infer,
    Decode,
}

const PARTS: [Part; 9] = [
    Part::Transition,
    Part::Mean,
    Part::Reward,
    Part::Residuals,
    Part::Pullback,
    Part::Pushforward,
    Part::RewardLinearisation,
    Part::Infer,
    Part::Decode,
];

/// What one wrong answer holds. The finite one overflows when it is squared.
const ONCE: [f32; 3] = [f32::NAN, f32::INFINITY, 1e30];

/// What wrong answers that do not end hold.
const LASTING: [f32; 3] = [f32::NAN, f32::NEG_INFINITY, -1e30];

/// A part that answers wrongly.
#[derive(Clone, Copy, Debug)]
struct Fault {
    part: Part,
    /// What its answers are multiplied by, and what is added to them.
    value: f32,
    /// Sound calls before the fault.
    sound: usize,
    /// Whether every later call is wrong as well, or only this one.
    lasting: bool,
}

/// A sound model with one fault.
struct Faulty {
    model: PointMass,
    fault: Fault,
    calls: Arc<AtomicUsize>,
}

impl Faulty {
    fn new(fault: Fault) -> Self {
        Self {
            model: PointMass { spread: SPREAD },
            calls: Arc::default(),
            fault,
        }
    }

    fn answer<const D: usize>(&self, part: Part, sound: Tensor<D>) -> Tensor<D> {
        let Fault { value, .. } = self.fault;
        if self.fault.part != part {
            return sound;
        }
        let call = self.calls.fetch_add(1, Ordering::Relaxed);
        let wrong = call == self.fault.sound || self.fault.lasting && call > self.fault.sound;
        if wrong { sound * value + value } else { sound }
    }

    /// Those whose faults lie elsewhere leave all differentiation to autodiff.
    fn has_closed_forms(&self) -> bool {
        matches!(
            self.fault.part,
            Part::Pullback | Part::Pushforward | Part::RewardLinearisation
        )
    }
}

impl LatentModel for Faulty {
    fn latent_size(&self) -> usize {
        self.model.latent_size()
    }

    fn action_size(&self) -> usize {
        self.model.action_size()
    }

    fn transition(&self, latents: Tensor<2>, actions: Tensor<2>) -> DiagonalGaussian {
        let DiagonalGaussian { mean, std } = self.model.transition(latents, actions);
        DiagonalGaussian::new(self.answer(Part::Transition, mean), std)
    }

    fn transition_mean(&self, latents: Tensor<2>, actions: Tensor<2>) -> Tensor<2> {
        self.answer(Part::Mean, self.model.transition_mean(latents, actions))
    }

    fn reward(&self, latents: Tensor<2>) -> Tensor<1> {
        self.answer(Part::Reward, self.model.reward(latents))
    }

    fn reward_residuals(&self, latents: Tensor<2>) -> Tensor<2> {
        self.answer(Part::Residuals, self.model.reward_residuals(latents))
    }

    fn as_differentiable(&self) -> Option<&dyn Differentiable> {
        self.has_closed_forms().then_some(self)
    }

    fn image_space(&self) -> Option<&dyn ImageSpace> {
        Some(self)
    }
}

impl Differentiable for Faulty {
    fn linearise(&self, latents: Tensor<2>, actions: Tensor<2>) -> Box<dyn Linearisation + '_> {
        let sound = (&self.model as &dyn LatentModel).linearise(latents, actions);
        Box::new(FaultyLinearisation { sound, of: self })
    }

    fn linearise_moments(
        &self,
        latents: Tensor<2>,
        actions: Tensor<2>,
    ) -> Box<dyn Linearisation + '_> {
        let sound = (&self.model as &dyn LatentModel).linearise_moments(latents, actions);
        Box::new(FaultyLinearisation { sound, of: self })
    }

    fn linearise_reward(&self, latents: Tensor<2>, objective: Objective) -> RewardLinearisation {
        let sound = (&self.model as &dyn LatentModel).linearise_reward(latents, objective);
        RewardLinearisation {
            jacobian: self.answer(Part::RewardLinearisation, sound.jacobian),
            ..sound
        }
    }
}

impl ImageSpace for Faulty {
    fn image_size(&self) -> usize {
        self.model.image_size()
    }

    fn infer(&self, latents: Tensor<2>, actions: Tensor<2>, images: Tensor<2>) -> Tensor<2> {
        self.answer(Part::Infer, self.model.infer(latents, actions, images))
    }

    fn decode(&self, latents: Tensor<2>) -> Tensor<2> {
        self.answer(Part::Decode, self.model.decode(latents))
    }
}

struct FaultyLinearisation<'a> {
    sound: Box<dyn Linearisation + 'a>,
    of: &'a Faulty,
}

impl Linearisation for FaultyLinearisation<'_> {
    fn value(&self) -> Tensor<2> {
        self.sound.value()
    }

    fn pullback(&self, points: Range<usize>, cotangents: Tensor<3>) -> (Tensor<3>, Tensor<3>) {
        let (by_latent, by_action) = self.sound.pullback(points, cotangents);
        (self.of.answer(Part::Pullback, by_latent), by_action)
    }

    fn pushforward(
        &self,
        points: Range<usize>,
        latents: Tensor<3>,
        actions: Tensor<3>,
    ) -> Tensor<3> {
        let sound = self.sound.pushforward(points, latents, actions);
        self.of.answer(Part::Pushforward, sound)
    }
}

/// A model whose every answer is a constant that nothing depends on.
struct Constant {
    latent: f32,
    spread: f32,
    reward: f32,
}

impl LatentModel for Constant {
    fn latent_size(&self) -> usize {
        4
    }

    fn action_size(&self) -> usize {
        2
    }

    fn transition(&self, latents: Tensor<2>, _actions: Tensor<2>) -> DiagonalGaussian {
        let full = |value: f32| Tensor::full(latents.dims(), value, &latents.device());
        DiagonalGaussian::new(full(self.latent), full(self.spread))
    }

    fn reward(&self, latents: Tensor<2>) -> Tensor<1> {
        Tensor::full([latents.dims()[0]], self.reward, &latents.device())
    }

    fn image_space(&self) -> Option<&dyn ImageSpace> {
        Some(self)
    }
}

impl ImageSpace for Constant {
    fn image_size(&self) -> usize {
        4
    }

    fn infer(&self, _: Tensor<2>, _: Tensor<2>, images: Tensor<2>) -> Tensor<2> {
        images
    }

    fn decode(&self, latents: Tensor<2>) -> Tensor<2> {
        latents
    }
}

type MakeModel = Box<dyn FnOnce() -> Box<dyn LatentModel> + Send>;

/// What planning comes to, on a thread of its own so that a panic or a hang is seen.
fn answer(planner: Box<dyn Planner>, model: MakeModel) -> Result<Result<Plan, PlanError>, String> {
    let (sender, receiver) = channel();
    let thread = thread::spawn(move || {
        let plan = planner.plan(model().as_ref(), &PointMass::belief());
        sender.send(plan).expect("the receiver waits");
    });
    match receiver.recv_timeout(PATIENCE) {
        Ok(plan) => Ok(plan),
        Err(RecvTimeoutError::Timeout) => Err(format!("no answer after {PATIENCE:?}")),
        Err(RecvTimeoutError::Disconnected) => {
            let panic = thread.join().expect_err("an answer was sent");
            let message = panic.downcast_ref::<String>().map(String::as_str);
            let message = message.or_else(|| panic.downcast_ref::<&str>().copied());
            Err(format!("a panic: {}", message.unwrap_or("no message")))
        }
    }
}

/// Why an answer is not acceptable, if it is not.
fn complaint(planner: Box<dyn Planner>, model: MakeModel) -> Option<String> {
    match answer(planner, model) {
        Err(failure) => Some(failure),
        Ok(Err(PlanError::NotFinite { step, .. })) if step < HORIZON => None,
        Ok(Err(error)) => Some(format!("an error that names no step: {error}")),
        Ok(Ok(plan)) => flaw(&plan),
    }
}

/// What is wrong with a plan, if anything is.
fn flaw(plan: &Plan) -> Option<String> {
    let actions = values(&plan.actions);
    if actions.iter().any(|action| !(-1.0..=1.0).contains(action)) {
        return Some(format!("actions {actions:?}"));
    }
    if plan.actions.dims() != [HORIZON, 2] {
        return Some(format!("{:?} actions", plan.actions.dims()));
    }
    let tensors = [&plan.latents, &plan.nodes, &plan.rollout_latents];
    let tensors = tensors.into_iter().chain(&plan.std).map(values);
    let results = [
        &plan.virtual_.rewards,
        &plan.rollout.rewards,
        &plan.violation,
    ];
    let results = results.into_iter().chain(&plan.multipliers).cloned();
    let wild = tensors
        .chain(results)
        .find(|values| !values.iter().all(|value| value.is_finite()));
    wild.map(|values| format!("a plan with {values:?}"))
}

fn values(tensor: &Tensor<2>) -> Vec<f32> {
    tensor.clone().try_into_vec_as::<f32>().unwrap()
}

/// Every planner on every model that `kinds` gives for it; fails with all complaints at once.
fn check_all<K: std::fmt::Debug + Copy>(
    kinds: impl Fn(&str) -> Vec<K>,
    model: impl Fn(K) -> MakeModel,
) {
    let mut complaints = Vec::new();
    for info in PLANNERS {
        for kind in kinds(info.name) {
            let planner = planner(info.name, Some(HORIZON)).unwrap();
            if let Some(complaint) = complaint(planner, model(kind)) {
                complaints.push(format!("{}, {kind:?}: {complaint}", info.name));
            }
        }
    }
    assert!(complaints.is_empty(), "{}", complaints.join("\n"));
}

fn faulty(fault: Fault) -> MakeModel {
    Box::new(move || Box::new(Faulty::new(fault)))
}

/// How often each planner calls each part of a sound model.
static CALLS: LazyLock<HashMap<(&str, Part), usize>> = LazyLock::new(|| {
    let pairs = PLANNERS
        .iter()
        .flat_map(|info| PARTS.map(|part| (info.name, part)));
    pairs.map(|pair| (pair, calls(pair.0, pair.1))).collect()
});

fn calls(name: &str, part: Part) -> usize {
    let model = Faulty::new(Fault {
        part,
        value: 0.0,
        sound: usize::MAX,
        lasting: false,
    });
    let calls = Arc::clone(&model.calls);
    let planner = planner(name, Some(HORIZON)).unwrap();
    let plan = answer(planner, Box::new(|| Box::new(model)));
    assert_eq!(flaw(&plan.unwrap().unwrap()), None, "{name}");
    calls.load(Ordering::Relaxed)
}

/// A fault in each part that a planner uses, at the calls that `when` picks of their number.
fn faults(name: &str, values: &[f32], when: fn(usize) -> Vec<usize>, lasting: bool) -> Vec<Fault> {
    let mut faults = Vec::new();
    for part in PARTS {
        let calls = CALLS[&(name, part)];
        let mut places = if calls == 0 { Vec::new() } else { when(calls) };
        places.dedup();
        for &value in values {
            faults.extend(places.iter().map(|&sound| Fault {
                part,
                value,
                sound,
                lasting,
            }));
        }
    }
    faults
}

#[test]
fn one_wrong_answer_first_in_the_middle_and_last() {
    let when = |calls| vec![0, calls / 2, calls - 1];
    check_all(|name| faults(name, &ONCE, when, false), faulty);
}

#[test]
fn wrong_answers_from_some_call_on() {
    let when = |calls| vec![1.min(calls - 1), calls / 2];
    check_all(|name| faults(name, &LASTING, when, true), faulty);
}

#[test]
fn dynamics_without_variance() {
    check_all(
        |_| vec![()],
        |()| Box::new(|| Box::new(PointMass { spread: 0.0 })),
    );
}

/// Nothing depends on anything: gradients are missing, Gauss–Newton blocks are singular.
#[test]
fn a_constant_model() {
    let kinds = [0.0, 1e30, -1e30].map(|reward| (0.5, 0.0, reward));
    let wild = [(1e30, 0.0, 1.0), (0.5, 1e30, 1.0), (f32::NAN, 0.1, 0.0)];
    let all = [&kinds[..], &wild].concat();
    check_all(
        |_| all.clone(),
        |(latent, spread, reward)| {
            Box::new(move || {
                Box::new(Constant {
                    latent,
                    spread,
                    reward,
                })
            })
        },
    );
}

/// Dual settings that overflow single precision within a few iterations.
#[test]
fn multipliers_that_overflow() {
    let mut complaints = Vec::new();
    for (dynamics, rule) in [
        (1.0, DualRule::GradientAscent { rate: 1e38 }),
        (1e30, DualRule::Logarithmic { rate: 0.99 }),
        (3e38, DualRule::Fixed),
    ] {
        let dual = DualConfig {
            rule,
            dynamics,
            ceiling: 3e38,
            ..DualConfig::default()
        };
        for planner in with_multipliers(dual) {
            let name = planner.name();
            let model: MakeModel = Box::new(|| Box::new(PointMass { spread: SPREAD }));
            if let Some(complaint) = complaint(planner, model) {
                complaints.push(format!("{name}, {rule:?}: {complaint}"));
            }
        }
    }
    assert!(complaints.is_empty(), "{}", complaints.join("\n"));
}

fn with_multipliers(dual: DualConfig) -> Vec<Box<dyn Planner>> {
    let gauss_newton = GaussNewtonConfig {
        horizon: HORIZON,
        dual,
        ..GaussNewtonConfig::default()
    };
    let mut planners: Vec<Box<dyn Planner>> =
        vec![Box::new(Solver::new("gauss-newton", gauss_newton).unwrap())];
    for config in [
        FirstOrderConfig::default(),
        FirstOrderConfig::gaussian(),
        FirstOrderConfig::kl(),
        FirstOrderConfig::particles(3),
        FirstOrderConfig::likelihood(),
    ] {
        let config = FirstOrderConfig {
            horizon: HORIZON,
            dual,
            ..config
        };
        planners.push(Box::new(Solver::new("latco-first-order", config).unwrap()));
    }
    planners
}

/// Settings that are finite in double precision alone would be infinite, or zero, on the device.
#[test]
fn settings_beyond_single_precision_are_refused() {
    for (name, change) in [
        (
            "ceiling",
            (|dual| dual.ceiling = 1e39) as fn(&mut DualConfig),
        ),
        ("dynamics", |dual| dual.dynamics = 1e39),
        ("floor", |dual| dual.floor = 1e-50),
        ("threshold", |dual| dual.threshold = 1e-50),
    ] {
        let mut dual = DualConfig::default();
        change(&mut dual);
        assert_eq!(dual.validate().unwrap_err().name, name);
    }
}

/// The error names the step whose numbers were wrong first.
#[test]
fn the_step_that_is_named_is_the_wrong_one() {
    for step in 0..HORIZON {
        let fault = Fault {
            part: Part::Mean,
            value: f32::NAN,
            sound: step,
            lasting: false,
        };
        for name in ["cem", "icem", "mppi", "shooting-gd", "ilqr"] {
            let planner = planner(name, Some(HORIZON)).unwrap();
            let error = answer(planner, faulty(fault)).unwrap().unwrap_err();
            assert_eq!(named_step(&error), Some(step), "{name}: {error}");
        }
    }
}

/// A model whose reward is not a number in one row of a batch.
struct WrongRow(usize);

impl LatentModel for WrongRow {
    fn latent_size(&self) -> usize {
        4
    }

    fn action_size(&self) -> usize {
        2
    }

    fn transition(&self, latents: Tensor<2>, actions: Tensor<2>) -> DiagonalGaussian {
        PointMass { spread: SPREAD }.transition(latents, actions)
    }

    fn reward(&self, latents: Tensor<2>) -> Tensor<1> {
        let rewards = PointMass { spread: SPREAD }.reward(latents);
        let row = self.0..self.0 + 1;
        let wrong = rewards.clone().slice([row.clone()]) * f32::NAN;
        rewards.slice_assign([row], wrong)
    }

    fn reward_residuals(&self, latents: Tensor<2>) -> Tensor<2> {
        latents.narrow(1, 0, 2) - 1.0
    }
}

#[test]
fn collocation_names_the_step_of_a_wrong_row() {
    for step in 0..HORIZON {
        for name in ["latco-no-relax", "latco-first-order", "grasp"] {
            let planner = planner(name, Some(HORIZON)).unwrap();
            // Rows go plan by plan: this one is a step of the second plan.
            let model: MakeModel = Box::new(move || Box::new(WrongRow(HORIZON + step)));
            let error = answer(planner, model).unwrap().unwrap_err();
            assert_eq!(named_step(&error), Some(step), "{name}: {error}");
        }
    }
}

fn named_step(error: &PlanError) -> Option<usize> {
    match error {
        PlanError::NotFinite { step, .. } => Some(*step),
        _ => None,
    }
}

/// `z' = z + z³ + a / 10`, which runs away under many actions and stays in the origin under none; the reward is
/// highest at one half.
struct Runaway;

impl LatentModel for Runaway {
    fn latent_size(&self) -> usize {
        1
    }

    fn action_size(&self) -> usize {
        1
    }

    fn transition(&self, latents: Tensor<2>, actions: Tensor<2>) -> DiagonalGaussian {
        let cube = latents.clone().square() * latents.clone();
        let mean = latents + cube + actions * 0.1;
        DiagonalGaussian::new(mean.clone(), mean.zeros_like())
    }

    fn reward(&self, latents: Tensor<2>) -> Tensor<1> {
        (latents - 0.5).square().squeeze_dim::<1>(1).neg()
    }
}

/// Of the samples that do not run away some are better than to do nothing.
#[test]
fn samples_that_overflow_cost_no_plan() {
    const STEPS: usize = 20;
    let belief = Belief::certain(Tensor::zeros([1], &Device::default()));
    let idle = -0.25 * STEPS as f32;
    for name in ["best-of-n", "cem", "icem", "mppi", "latco"] {
        let planner = planner(name, Some(STEPS)).unwrap();
        let plan = planner.plan(&Runaway, &belief).unwrap();
        assert!(plan.rollout.total() > idle, "{name}: {:?}", plan.rollout);
    }
}
