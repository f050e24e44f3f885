//! Points, particles and Gaussians as nodes of a plan, and the measures between them.

#[path = "../examples/common/puck.rs"]
mod puck;

use std::time::Duration;

use burn::tensor::{Device, Tensor};
use latco_plan::{
    Belief, DiagonalGaussian, Iteration, LatentModel, NoObserver, Observer, Plan, PlanContext,
    Planner, StopReason,
    collocation::{
        CemLatcoConfig, Constraint, DualConfig, FirstOrderConfig, GaussNewtonConfig, Generator,
        Initialisation, Measure, Transcription,
    },
    solve::{Method, Solver},
};

use puck::Puck;

/// `z' = 0.9 z + a`, standard deviation 0.3, reward `−½ (z − 1)²`; each component by itself.
struct Drift {
    size: usize,
}

const DECAY: f64 = 0.9;
const SPREAD: f64 = 0.3;

impl LatentModel for Drift {
    fn latent_size(&self) -> usize {
        self.size
    }

    fn action_size(&self) -> usize {
        self.size
    }

    fn transition(&self, latents: Tensor<2>, actions: Tensor<2>) -> DiagonalGaussian {
        let mean = latents * DECAY + actions;
        DiagonalGaussian::new(mean.clone(), mean.full_like(SPREAD))
    }

    fn reward(&self, latents: Tensor<2>) -> Tensor<1> {
        self.reward_residuals(latents)
            .square()
            .sum_dim(1)
            .squeeze_dim::<1>(1)
            * -0.5
    }

    fn reward_residuals(&self, latents: Tensor<2>) -> Tensor<2> {
        latents - 1.0
    }
}

const HORIZON: usize = 6;

fn belief(size: usize) -> Belief {
    let mean = Tensor::<2>::zeros([1, size], &Device::default());
    let std = mean.full_like(0.5);
    Belief::new(DiagonalGaussian::new(mean, std))
}

fn config() -> FirstOrderConfig {
    FirstOrderConfig {
        horizon: HORIZON,
        plans: 2,
        iterations: 150,
        ..FirstOrderConfig::default()
    }
}

fn plan(config: FirstOrderConfig) -> Plan {
    let planner = Solver::new("latco-first-order", config).expect("valid settings");
    let model = Drift { size: 2 };
    planner.plan(&model, &belief(2)).expect("a plan")
}

fn values(tensor: &Tensor<2>) -> Vec<f32> {
    tensor.try_to_vec_as().expect("single precision")
}

#[test]
fn one_particle_is_the_deterministic_plan_to_the_bit() {
    let deterministic = plan(config());
    let particle = plan(FirstOrderConfig {
        transcription: Transcription::Particles { count: 1 },
        ..config()
    });
    assert_eq!(values(&deterministic.actions), values(&particle.actions));
    assert_eq!(values(&deterministic.latents), values(&particle.latents));
    assert_eq!(deterministic.trace, particle.trace);
}

#[test]
fn squared_norm_divergence_is_moment_matching_of_the_mean() {
    let moments = plan(config());
    let bregman = plan(FirstOrderConfig {
        measure: Measure::Bregman(Generator::SquaredNorm),
        ..config()
    });
    assert_eq!(values(&moments.actions), values(&bregman.actions));
    assert_eq!(moments.trace, bregman.trace);
}

#[test]
fn likelihood_of_unit_deviation_is_half_the_squared_distance() {
    let floor = Measure::Likelihood { std_floor: 1.0 };
    let likelihood = plan(FirstOrderConfig {
        measure: floor,
        ..config()
    });
    let moments = plan(config());
    // The first step is from a rollout, where no divergence has a slope: both have the same nodes after it.
    let first = |plan: &Plan| plan.trace[1].violation_mean;
    assert!(first(&moments) > 0.0);
    assert!((first(&likelihood) - first(&moments) / 2.0).abs() < 1e-6 * first(&moments));
    assert!(likelihood.rollout.total() > -0.1 * HORIZON as f32);
    assert!((likelihood.rollout.total() - moments.rollout.total()).abs() < 0.2);
}

/// `σ²_{t+1} = 0.81 σ²_t + 0.09` from `σ_0 = 0.5`.
fn propagated_variance() -> Vec<f64> {
    let mut variance = 0.25;
    (0..HORIZON)
        .map(|_| {
            variance = DECAY * DECAY * variance + SPREAD * SPREAD;
            variance
        })
        .collect()
}

/// The share by which planned variances may miss the exact ones: what a violation of the threshold
/// leaves open, over all steps.
const VARIANCE_TOLERANCE: f64 = 0.05;

/// So small that a violation of it is a small share of a variance.
fn tight(config: FirstOrderConfig) -> FirstOrderConfig {
    FirstOrderConfig {
        horizon: HORIZON,
        iterations: 1_000,
        learning_rate: 0.02,
        dual: DualConfig {
            threshold: 1e-5,
            ..config.dual
        },
        ..config
    }
}

fn assert_variance_is_propagated(plan: &Plan) {
    let std = plan.std.as_ref().expect("a Gaussian plan");
    for (step, exact) in propagated_variance().into_iter().enumerate() {
        for std in values(&std.clone().narrow(0, step, 1)) {
            let error = (f64::from(std).powi(2) - exact).abs() / exact;
            assert!(
                error < VARIANCE_TOLERANCE,
                "step {step}: {std}² against {exact}"
            );
        }
    }
}

#[test]
fn gaussian_plans_find_the_propagated_variance() {
    assert_variance_is_propagated(&plan(tight(FirstOrderConfig::gaussian())));
}

#[test]
fn divergence_between_gaussians_finds_it_too() {
    assert_variance_is_propagated(&plan(tight(FirstOrderConfig::kl())));
}

#[test]
fn gauss_newton_plans_gaussians_as_well() {
    let planner = Solver::new(
        "gauss-newton",
        GaussNewtonConfig {
            horizon: HORIZON,
            transcription: Transcription::Gaussian { samples: 50 },
            ..GaussNewtonConfig::default()
        },
    )
    .expect("valid settings");
    let plan = planner
        .plan(&Drift { size: 2 }, &belief(2))
        .expect("a plan");
    assert_variance_is_propagated(&plan);
    assert!(plan.is_backed_by_rollout());
}

/// Whatever the structure of the residuals' derivative is: elementwise, or that of all particles.
#[test]
fn gauss_newton_takes_every_divergence_with_residuals() {
    let of = |transcription, measure, threshold| {
        let settings = GaussNewtonConfig {
            horizon: HORIZON,
            initialisation: Initialisation::Normal { std: 1.0 },
            transcription,
            measure,
            dual: DualConfig {
                threshold,
                ..GaussNewtonConfig::default().dual
            },
            ..GaussNewtonConfig::default()
        };
        let planner = Solver::new("gauss-newton", settings).expect("valid settings");
        let model = Drift { size: 2 };
        planner.plan(&model, &belief(2)).expect("a plan")
    };
    let points = of(Transcription::Deterministic, Measure::Moments, 1e-4);
    let particles = Transcription::Particles { count: 4 };
    let likelihood = Measure::Likelihood { std_floor: 0.1 };
    for (transcription, measure, threshold) in [
        (Transcription::Deterministic, likelihood, 1e-3),
        (particles, Measure::Moments, 1e-4),
        (particles, Measure::Bregman(Generator::SquaredNorm), 1e-4),
    ] {
        let found = of(transcription, measure.clone(), threshold);
        let violation = f64::from(found.violation_max());
        assert!(violation < threshold, "{measure:?}: {violation}");
        // The first action depends on where the particles were drawn.
        let later = |plan: &Plan| values(&plan.actions.clone().narrow(0, 1, HORIZON - 1));
        for (found, expected) in later(&found).into_iter().zip(later(&points)) {
            let near = (found - expected).abs() < 0.05;
            assert!(near, "{measure:?}: {found} is not {expected}");
        }
    }
}

#[test]
fn kl_needs_a_variance() {
    let refused = Solver::new(
        "latco-first-order",
        FirstOrderConfig {
            measure: Measure::Bregman(Generator::NegativeEntropy { std_floor: 1e-3 }),
            ..config()
        },
    );
    assert_eq!(refused.expect_err("no variance").name, "measure");
}

/// Latents may not rise above one half, although the reward is at one.
fn below_one_half() -> Constraint {
    Constraint::inequality("below one half", |latents, _| {
        (latents - 0.5).clamp_min(0.0).sum_dim(1).squeeze_dim(1)
    })
}

#[test]
fn constraints_of_the_user_hold_at_the_end() {
    let free = GaussNewtonConfig {
        horizon: HORIZON,
        initialisation: Initialisation::Rollout { std: 0.1 },
        ..GaussNewtonConfig::default()
    };
    let model = Drift { size: 1 };
    let unconstrained = Solver::new("gauss-newton", free.clone()).expect("valid settings");
    let planner = Solver::new("gauss-newton", free)
        .expect("valid settings")
        .with_constraint(below_one_half())
        .expect("a collocation planner");
    let highest = |planner: &Solver| {
        let plan = planner.plan(&model, &belief(1)).expect("a plan");
        values(&plan.rollout_latents)
            .into_iter()
            .fold(f32::MIN, f32::max)
    };
    assert!(highest(&unconstrained) > 0.9);
    assert!(highest(&planner) < 0.52);
}

#[test]
fn constraints_of_the_user_hold_for_adam_too() {
    let planner = Solver::new("latco-first-order", tight(config()))
        .expect("valid settings")
        .with_constraint(below_one_half())
        .expect("a collocation planner");
    let plan = planner
        .plan(&Drift { size: 1 }, &belief(1))
        .expect("a plan");
    let highest = values(&plan.rollout_latents)
        .into_iter()
        .fold(f32::MIN, f32::max);
    assert!(highest < 0.55, "{highest}");
}

/// Whatever nodes are, a row is one latent.
#[test]
fn constraints_of_the_user_see_the_mean_of_particles_and_gaussians() {
    let below_one_half = || {
        Constraint::inequality("below one half", |latents, _| {
            assert_eq!(latents.dims()[1], 1);
            latents.squeeze_dim::<1>(1) - 0.5
        })
    };
    let particles = Transcription::Particles { count: 4 };
    for transcription in [particles, Transcription::Gaussian { samples: 8 }] {
        let first_order = FirstOrderConfig {
            transcription,
            ..config()
        };
        let gauss_newton = GaussNewtonConfig {
            horizon: HORIZON,
            transcription,
            ..GaussNewtonConfig::default()
        };
        for planner in [
            Solver::new("latco-first-order", first_order),
            Solver::new("gauss-newton", gauss_newton),
        ] {
            let planner = planner
                .and_then(|planner| planner.with_constraint(below_one_half()))
                .expect("valid settings");
            let plan = planner
                .plan(&Drift { size: 1 }, &belief(1))
                .expect("a plan");
            let highest = values(&plan.rollout_latents)
                .into_iter()
                .fold(f32::MIN, f32::max);
            assert!(highest < 0.52, "{transcription:?}: {highest}");
        }
    }
}

/// Of plans that are hardly optimised yet some go too far, and have the highest returns.
#[test]
fn constraints_of_the_user_hold_where_the_search_is_cut_off() {
    let settings = FirstOrderConfig {
        plans: 32,
        iterations: 1,
        initialisation: Initialisation::Rollout { std: 1.0 },
        ..config()
    };
    let highest = |constraints: Option<Constraint>| {
        let free = Solver::new("latco-first-order", settings.clone()).expect("valid settings");
        let planner = match constraints {
            Some(constraint) => free
                .with_constraint(constraint)
                .expect("a collocation planner"),
            None => free,
        };
        let plan = planner
            .plan(&Drift { size: 1 }, &belief(1))
            .expect("a plan");
        values(&plan.rollout_latents)
            .into_iter()
            .fold(f32::MIN, f32::max)
    };
    assert!(highest(None) > 0.6);
    assert!(highest(Some(below_one_half())) < 0.52);
}

/// What the plans of each iteration are, and the multipliers.
#[derive(Default)]
struct Seen {
    plans: Vec<Tensor<3>>,
    multipliers: Vec<f32>,
}

impl Observer for Seen {
    fn iteration(&mut self, iteration: &Iteration) {
        self.multipliers.push(iteration.multiplier_max);
    }

    fn trajectories(&mut self, actions: &Tensor<3>, _nodes: Option<&Tensor<3>>) {
        self.plans.push(actions.clone());
    }
}

/// What `planner` tries after `executed` steps of the `earlier` plan.
fn replanned(planner: &Solver, earlier: &Plan, executed: usize) -> Seen {
    let mut seen = Seen::default();
    let context = PlanContext::new(1, &mut seen).with_warm_start(Some((earlier, executed)));
    planner
        .plan_with(&Drift { size: 1 }, &belief(1), context)
        .expect("a plan");
    seen
}

/// What is left of an earlier plan is gone on from alone, and the dynamics are relaxed anew.
#[test]
fn an_earlier_plan_is_gone_on_from_alone() {
    let settings = GaussNewtonConfig {
        horizon: HORIZON,
        ..GaussNewtonConfig::default()
    };
    let first = settings.dual.dynamics as f32;
    let planner = Solver::new("gauss-newton", settings).expect("valid settings");
    let earlier = planner
        .plan(&Drift { size: 1 }, &belief(1))
        .expect("a plan");
    let most = earlier.multipliers[0].iter().copied().fold(0.0, f32::max);
    assert!(most > first, "{most}: the dynamics were enforced");
    for executed in [0, HORIZON / 2] {
        let seen = replanned(&planner, &earlier, executed);
        assert_eq!(seen.plans[0].dims()[0], 1);
        assert!(seen.multipliers[0] <= first, "{:?}", seen.multipliers);
    }
}

/// `z' = 0.9 z + a`, rewarded around `z = 2` alone: where an idle plan is, nothing has a slope.
struct Beacon;

impl LatentModel for Beacon {
    fn latent_size(&self) -> usize {
        1
    }

    fn action_size(&self) -> usize {
        1
    }

    fn transition(&self, latents: Tensor<2>, actions: Tensor<2>) -> DiagonalGaussian {
        Drift { size: 1 }.transition(latents, actions)
    }

    fn reward(&self, latents: Tensor<2>) -> Tensor<1> {
        let distance = (latents - 2.0) / 0.2;
        distance.square().neg().exp().squeeze_dim(1)
    }
}

/// A search before the collocation hands on what it has found, not the earlier plan that it began at.
#[test]
fn a_refinement_begins_at_what_the_search_has_found() {
    let mut method = CemLatcoConfig::default();
    method.set_horizon(HORIZON);
    method.refinement.iterations = 1;
    let planner = Solver::new("cem-latco", method).expect("valid settings");
    let mut observer = NoObserver;
    let idle = PlanContext::new(0, &mut observer).with_deadline(Some(Duration::ZERO));
    let idle = planner
        .plan_with(&Beacon, &belief(1), idle)
        .expect("a plan");
    assert!(idle.rollout.total() < 0.1);
    let mut observer = NoObserver;
    let context = PlanContext::new(1, &mut observer).with_warm_start(Some((&idle, 0)));
    let plan = planner
        .plan_with(&Beacon, &belief(1), context)
        .expect("a plan");
    let [.., searched, refined] = plan.trace.as_slice() else {
        panic!("a search and a refinement");
    };
    assert!(searched.reward > 1.0, "{}", searched.reward);
    assert!(refined.reward > 0.5 * searched.reward, "{}", refined.reward);
}

/// A better rollout that is not allowed is not the plan.
#[test]
fn constraints_of_the_user_hold_where_an_earlier_plan_violates_them() {
    let model = Drift { size: 1 };
    let settings = GaussNewtonConfig {
        horizon: HORIZON,
        ..GaussNewtonConfig::default()
    };
    let free = Solver::new("free", settings.clone()).expect("valid settings");
    let earlier = free.plan(&model, &belief(1)).expect("a plan");
    let bound = Solver::new("bound", settings)
        .and_then(|solver| solver.with_constraint(below_one_half()))
        .expect("valid settings");
    let mut observer = NoObserver;
    let context = PlanContext::new(0, &mut observer).with_warm_start(Some((&earlier, 0)));
    let plan = bound
        .plan_with(&model, &belief(1), context)
        .expect("a plan");
    assert!(plan.rollout.total() < earlier.rollout.total());
    let highest = values(&plan.rollout_latents)
        .into_iter()
        .fold(f32::MIN, f32::max);
    assert!(highest < 0.52, "{highest}");
}

/// A plan of 30 steps from beyond a disc of radius 0.47, by dual ascent alone, as far from it as `constraint` says.
fn around_the_disc(constraint: Constraint) -> Plan {
    let standard = GaussNewtonConfig::default();
    let settings = GaussNewtonConfig {
        continuation: 0,
        dual: DualConfig {
            threshold: 1e-6,
            ..standard.dual
        },
        ..standard
    };
    let solver = Solver::new("keep away", settings)
        .and_then(|solver| solver.with_constraint(constraint))
        .expect("valid settings");
    let start = Tensor::from_data(puck::START, &Device::default());
    solver.plan(&Puck, &Belief::certain(start)).expect("a plan")
}

/// What the defects that ε allows add up to along a rollout is more than ε.
#[test]
fn the_rollout_of_a_converged_plan_keeps_what_its_latents_keep() {
    let squared = 0.47_f32.powi(2);
    let plan = around_the_disc(Constraint::inequality("keep away", move |latents, _| {
        let distance = latents.narrow(1, 0, 2).square().sum_dim(1);
        distance.squeeze_dim::<1>(1).neg() + squared
    }));
    assert_eq!(plan.stop, StopReason::Converged);
    let states = values(&plan.rollout_latents);
    let positions: Vec<_> = states.chunks(4).map(|state| (state[0], state[1])).collect();
    let nearest = positions.iter().map(|(x, y)| x.hypot(*y));
    assert!(nearest.fold(f32::MAX, f32::min) > 0.468);
    let (x, y) = positions[positions.len() - 1];
    let [goal_x, goal_y] = puck::GOAL;
    assert!((x - goal_x).hypot(y - goal_y) < 0.1, "({x}, {y})");
}

#[test]
fn a_constraint_that_no_plan_keeps_is_told() {
    let plan = around_the_disc(Constraint::equality("never", |latents, _| {
        latents.narrow(1, 0, 1).squeeze_dim::<1>(1) * 0.0 + 1.0
    }));
    assert_eq!(plan.stop, StopReason::Infeasible);
}

/// Two standardised samples leave no noise of the transition that is uncorrelated with the latent's.
#[test]
fn a_gaussian_takes_three_samples_and_more() {
    let with = |samples| {
        let settings = FirstOrderConfig {
            transcription: Transcription::Gaussian { samples },
            ..tight(FirstOrderConfig::gaussian())
        };
        Solver::new("gaussian", settings)
    };
    let error = with(2).expect_err("two samples are refused").to_string();
    assert!(error.contains("at least 3"), "{error}");
    let planner = with(3).expect("valid settings");
    let plan = planner
        .plan(&Drift { size: 2 }, &belief(2))
        .expect("a plan");
    assert!(plan.rollout.total().is_finite());
}

/// Whatever comes back of a Gaussian planner has deviations, so that the next plan may go on from it.
#[test]
fn a_gaussian_plan_without_an_iteration_can_be_gone_on_from() {
    let planner = Solver::new("gaussian", tight(FirstOrderConfig::gaussian()));
    let planner = planner.expect("valid settings");
    let model = Drift { size: 2 };
    let mut observer = NoObserver;
    let context = PlanContext::new(0, &mut observer).with_deadline(Some(Duration::ZERO));
    let first = planner
        .plan_with(&model, &belief(2), context)
        .expect("a plan");
    assert!(first.trace.len() <= 1);
    assert_eq!(first.std.as_ref().map(Tensor::dims), Some([HORIZON, 2]));
    let mut observer = NoObserver;
    let context = PlanContext::new(0, &mut observer).with_warm_start(Some((&first, 1)));
    let second = planner
        .plan_with(&model, &belief(2), context)
        .expect("a plan");
    assert!(second.rollout.total() > first.rollout.total());
}
