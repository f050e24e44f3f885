//! Planners on linear-quadratic problems, whose solution is known in closed form.

mod common {
    pub mod compare;
    pub mod linear_quadratic;
    pub mod numbers;
}

use burn::tensor::{Device, Tensor, TensorData};
use common::{
    compare::assert_close,
    linear_quadratic::{DenseWeights, FiniteHorizon, LinearQuadratic, Optimum, Sizes},
    numbers::values,
};
use latco_plan::{
    Noise, Plan, Planner, StopReason,
    collocation::{
        ActionBounds, DualConfig, DualRule, Elimination, FirstOrderConfig, GaussNewtonConfig,
        Initialisation, LeastSquares, Weights,
    },
    shooting::CemConfig,
    solve::Solver,
};
use nalgebra::DVector;
use proptest::{prelude::*, test_runner::RngSeed};

/// Fewer actions than latents: no action sequence tracks the goal exactly, so that costates are
/// not zero.
const SIZES: Sizes = Sizes {
    latent: 3,
    action: 1,
    residuals: 3,
    horizon: 8,
};

/// Runs `check` on one problem whose best actions lie well within their bounds.
fn with_problem(check: impl Fn(&LinearQuadratic, &FiniteHorizon<'_>, &Optimum)) {
    with_problem_of(SIZES, check);
}

/// As [`with_problem`], of other sizes.
fn with_problem_of(sizes: Sizes, check: impl Fn(&LinearQuadratic, &FiniteHorizon<'_>, &Optimum)) {
    let noise = &mut Noise::new(3);
    let system = LinearQuadratic::random(sizes, noise, &Device::default());
    let problem = FiniteHorizon::random(&system, sizes.horizon, noise);
    let optimum = problem.optimum();
    let actions = problem.actions(&optimum.unknowns);
    assert!(actions.amax() < 0.9, "bounds are active: {actions}");
    check(&system, &problem, &optimum);
}

/// A plan's latents and actions in one vector.
fn unknowns(latents: Tensor<2>, actions: Tensor<2>) -> Vec<f32> {
    [values(latents), values(actions)].concat()
}

/// How far a plan is from the solution.
struct Distance {
    /// The largest difference of any latent or action.
    plan: f64,
    /// The largest difference of any costate, relative to the largest costate.
    costates: f64,
    /// The largest violation of any step.
    violation: f64,
}

impl Distance {
    /// The costates are estimated by `factor · λ_t (z_{t+1} − μ_t)`: where the Lagrangian has
    /// `λ_t ‖z_{t+1} − μ_t‖²` the factor is 2, where it has half of that it is 1.
    fn new(plan: &Plan, factor: f64, problem: &FiniteHorizon<'_>, optimum: &Optimum) -> Self {
        let found = unknowns(plan.latents.clone(), plan.actions.clone());
        let found = DVector::from_iterator(found.len(), found.into_iter().map(f64::from));
        let multipliers = &plan.multipliers[0];
        let mut costates = problem.defects(&found);
        let size = costates.len() / multipliers.len();
        for (index, costate) in costates.iter_mut().enumerate() {
            *costate *= factor * f64::from(multipliers[index / size]);
        }
        Self {
            plan: (&found - &optimum.unknowns).amax(),
            costates: (costates - &optimum.costates).amax() / optimum.costates.amax(),
            violation: problem.violations(&found).into_iter().fold(0.0, f64::max),
        }
    }

    /// A step may miss the dynamics by `√ε`, which the plan spends on reward: both errors are of
    /// that order, the costates' times the condition of the problem.
    fn check(&self, method: &str, threshold: f64, most_violation: f64) {
        let Self {
            plan,
            costates,
            violation,
        } = self;
        println!(
            "{method}, ε = {threshold:.0e}: plan {plan:.1e}, costates {costates:.1e}, violation \
             {violation:.2e}"
        );
        assert!(*plan <= 4.0 * threshold.sqrt());
        assert!(*costates <= 30.0 * threshold.sqrt() + LAST_ASCENT);
        assert!(*violation <= most_violation);
    }
}

/// Multipliers rise once more, by up to two per cent, after the last step of the plan.
const LAST_ASCENT: f64 = 2e-2;

/// Plans with Adam and this dual ascent, in enough small steps to converge: Adam's last steps move
/// a latent by up to its learning rate, which is to be a fraction of the tightest `√ε`, 3e-3.
fn first_order(rule: DualRule, threshold: f64) -> Solver {
    Solver::new(
        "latco-first-order",
        FirstOrderConfig {
            horizon: SIZES.horizon,
            plans: 1,
            iterations: 10_000,
            learning_rate: 3e-4,
            initialisation: Initialisation::Rollout { std: 0.3 },
            dual: dual(rule, threshold),
            ..FirstOrderConfig::default()
        },
    )
    .unwrap()
}

fn dual(rule: DualRule, threshold: f64) -> DualConfig {
    DualConfig {
        rule,
        threshold,
        ..DualConfig::default()
    }
}

#[test]
fn first_order_with_gradient_ascent_converges_to_the_regulator() {
    with_problem(|system, problem, optimum| {
        // Near the solution λ is of order 1/√ε, so that rates of order ε^(−3/2) move it alike.
        for (threshold, rate) in [(1e-3, 1e2), (1e-5, 1e4)] {
            let planner = first_order(DualRule::GradientAscent { rate }, threshold);
            let plan = planner.plan(system, &problem.belief()).unwrap();
            // The violation goes to ε itself, from both sides.
            Distance::new(&plan, 2.0, problem, optimum).check(
                "first order, gradient ascent",
                threshold,
                1.1 * threshold,
            );
        }
    });
}

#[test]
fn first_order_with_the_logarithmic_rule_converges_to_the_regulator() {
    with_problem(|system, problem, optimum| {
        for threshold in [1e-3, 1e-5] {
            let planner = first_order(DualRule::Logarithmic { rate: 0.1 }, threshold);
            let plan = planner.plan(system, &problem.belief()).unwrap();
            // The rule rests at 0.9 ε.
            Distance::new(&plan, 2.0, problem, optimum).check(
                "first order, logarithmic rule",
                threshold,
                threshold,
            );
        }
    });
}

#[test]
fn gauss_newton_converges_to_the_regulator_in_few_steps() {
    with_problem(|system, problem, optimum| {
        for threshold in [1e-4, 1e-6, 1e-8] {
            let planner = Solver::new(
                "gauss-newton",
                GaussNewtonConfig {
                    horizon: SIZES.horizon,
                    dual: dual(DualRule::Logarithmic { rate: 0.3 }, threshold),
                    continuation: 0,
                    ..GaussNewtonConfig::default()
                },
            )
            .unwrap();
            let plan = planner.plan(system, &problem.belief()).unwrap();
            println!("{} iterations", plan.trace.len());
            assert_eq!(plan.stop, StopReason::Converged);
            Distance::new(&plan, 1.0, problem, optimum).check("Gauss-Newton", threshold, threshold);
        }
    });
}

/// With as many actions as latents the goal is tracked exactly: no costate holds a multiplier up,
/// and hundreds of iterations shrink it by many orders of magnitude.
#[test]
fn multipliers_of_slack_constraints_do_no_harm() {
    let sizes = Sizes { action: 3, ..SIZES };
    with_problem_of(sizes, |system, problem, optimum| {
        let planner = Solver::new(
            "gauss-newton",
            GaussNewtonConfig {
                horizon: sizes.horizon,
                iterations: 400,
                dual: dual(DualRule::Logarithmic { rate: 0.3 }, 1e-4),
                tolerance: 0.0,
                ..GaussNewtonConfig::default()
            },
        )
        .unwrap();
        let plan = planner.plan(system, &problem.belief()).unwrap();
        let regret = regret(&plan, problem, optimum);
        println!("regret {regret:.1e}, multipliers {:?}", plan.multipliers);
        assert!(regret <= 1e-2, "{regret}");
    });
}

/// The share of what can be gained over doing nothing that a plan's rollout misses.
fn regret(plan: &Plan, problem: &FiniteHorizon<'_>, optimum: &Optimum) -> f64 {
    let best = problem.virtual_return(&optimum.unknowns);
    let idle = problem.virtual_return(&problem.idle());
    (best - f64::from(plan.rollout.total())) / (best - idle)
}

/// Fails unless the rollout misses at most `tolerance` of what can be gained.
fn check_regret(planner: &dyn Planner, tolerance: f64) {
    with_problem(|system, problem, optimum| {
        let plan = planner.plan(system, &problem.belief()).unwrap();
        let regret = regret(&plan, problem, optimum);
        println!("{}: regret {regret:.1e}", planner.name());
        // Nothing is better than the best, up to rounding of the return.
        assert!((-1e-5..=tolerance).contains(&regret), "{regret}");
    });
}

#[test]
fn the_default_planner_rolls_out_to_the_best_return() {
    let config = GaussNewtonConfig {
        horizon: SIZES.horizon,
        ..GaussNewtonConfig::default()
    };
    check_regret(&Solver::new("gauss-newton", config).unwrap(), 1e-2);
}

/// Sampling ends with the deviation of its elites, which a quadratic return squares.
#[test]
fn cross_entropy_comes_near_the_best_return() {
    let config = CemConfig {
        horizon: SIZES.horizon,
        iterations: 20,
        ..CemConfig::default()
    };
    check_regret(&Solver::new("cem", config).unwrap(), 1e-3);
}

/// Least-squares steps of plans with weights of their own, in one batch.
fn least_squares_steps(
    system: &LinearQuadratic,
    problem: &FiniteHorizon<'_>,
    plans: &[DVector<f64>],
    weights: &[DenseWeights],
    elimination: Elimination,
) -> Vec<Vec<f32>> {
    let start = problem.belief().mean_of(plans.len());
    let trajectories = problem.trajectories(plans);
    let least_squares =
        LeastSquares::linearise(system, start, &trajectories).with_elimination(elimination);
    let step = least_squares.step(&on_device(weights), 0).unwrap();
    let latents = least_squares.latents(&step);
    let row = |batch: &Tensor<3>, plan| batch.clone().narrow(0, plan, 1).squeeze_dim::<2>(0);
    (0..plans.len())
        .map(|plan| unknowns(row(&latents, plan), row(&step.actions, plan)))
        .collect()
}

fn on_device(weights: &[DenseWeights]) -> Weights {
    let device = Device::default();
    let rows = |of: fn(&DenseWeights) -> &[f64]| {
        let values: Vec<f32> = weights
            .iter()
            .flat_map(|weights| of(weights).iter().map(|&value| value as f32))
            .collect();
        let shape = [weights.len(), values.len() / weights.len()];
        Tensor::<2>::from_data(TensorData::new(values, shape), &device)
    };
    Weights {
        dynamics: rows(|weights| &weights.dynamics),
        actions: rows(|weights| &weights.actions),
        defect_damping: rows(|weights| std::slice::from_ref(&weights.defect_damping))
            .squeeze_dim(1),
        action_damping: rows(|weights| std::slice::from_ref(&weights.action_damping))
            .squeeze_dim(1),
        latent_damping: weights
            .iter()
            .any(|weights| weights.latent_damping > 0.0)
            .then(|| rows(|weights| std::slice::from_ref(&weights.latent_damping)).squeeze_dim(1)),
    }
}

/// From starts ten times as far the best actions of most problems are beyond their bounds, and one
/// nearly undamped step takes them there; a projected one stops.
#[test]
fn projected_steps_keep_the_bounds_by_either_elimination() {
    let device = Device::default();
    let ones = Tensor::<2>::ones([1, SIZES.horizon], &device);
    let weights = Weights {
        dynamics: ones.clone() * 1e4,
        actions: ones,
        defect_damping: Tensor::zeros([1], &device),
        action_damping: Tensor::full([1], 1e-3, &device),
        latent_damping: None,
    };
    let mut passed = 0;
    for seed in 0..20 {
        let noise = &mut Noise::new(seed);
        let system = LinearQuadratic::random(SIZES, noise, &device);
        let problem = FiniteHorizon::random(&system, SIZES.horizon, noise);
        let trajectories = problem.trajectories(&[problem.idle()]);
        for elimination in BOTH {
            let furthest = |bounds| {
                let start = problem.belief().mean() * 10.0;
                let step = LeastSquares::linearise(&system, start, &trajectories)
                    .with_elimination(elimination)
                    .with_bounds(bounds)
                    .step(&weights, 0)
                    .unwrap();
                let moved = trajectories.actions.clone() + step.actions;
                moved.abs().max().into_scalar::<f32>()
            };
            passed += usize::from(furthest(ActionBounds::Penalised) > 1.1);
            let projected = furthest(ActionBounds::Projected);
            assert!(projected <= 1.0 + 1e-5, "{elimination:?}: {projected}");
        }
    }
    assert!(passed > 10, "{passed}");
}

const BOTH: [Elimination; 2] = [Elimination::ResidualSpace, Elimination::Riccati];

/// Two plans of a random problem.
#[derive(Clone, Debug)]
struct Case {
    seed: u64,
    sizes: Sizes,
    weights: Vec<DenseWeights>,
}

/// Numbers between 10 to the power of the ends of the range, evenly spread in their logarithm.
fn magnitude(exponents: std::ops::Range<f64>) -> impl Strategy<Value = f64> + Clone {
    exponents.prop_map(|exponent| 10_f64.powf(exponent))
}

/// Random sizes and weights; the plans' numbers come from the seed.
fn cases(
    defect_damping: impl Strategy<Value = f64> + Clone,
    latent_damping: impl Strategy<Value = f64> + Clone,
) -> impl Strategy<Value = Case> {
    (1..6_usize, 1..4_usize, 1..4_usize, 1..16_usize).prop_flat_map(
        move |(latent, action, residuals, horizon)| {
            let weights = (
                prop::collection::vec(magnitude(-1.0..2.0), horizon),
                prop::collection::vec(magnitude(-1.0..2.0), horizon),
                defect_damping.clone(),
                magnitude(-1.0..1.0),
                latent_damping.clone(),
            );
            let weights = weights.prop_map(|weights| DenseWeights {
                dynamics: weights.0,
                actions: weights.1,
                defect_damping: weights.2,
                action_damping: weights.3,
                latent_damping: weights.4,
            });
            let sizes = Sizes {
                latent,
                action,
                residuals,
                horizon,
            };
            (any::<u64>(), prop::collection::vec(weights, 2)).prop_map(move |(seed, weights)| {
                Case {
                    seed,
                    sizes,
                    weights,
                }
            })
        },
    )
}

/// Random sizes and multipliers without damping, except for a trace on the actions, by which the
/// solver divides. There are at most as many actions as latents and residuals, so that there is one
/// minimiser.
fn undamped_cases() -> impl Strategy<Value = Case> {
    cases(Just(0.0), Just(0.0)).prop_map(|mut case| {
        let sizes = &mut case.sizes;
        sizes.action = sizes.action.min(sizes.latent).min(sizes.residuals);
        for weights in &mut case.weights {
            weights.action_damping = 1e-9;
        }
        case
    })
}

/// Within their bounds the penalised problem is a quadratic, whose minimiser is one step away from
/// anywhere.
fn check_minimiser(case: &Case, elimination: Elimination) -> Result<(), TestCaseError> {
    let noise = &mut Noise::new(case.seed);
    let system = LinearQuadratic::random(case.sizes, noise, &Device::default());
    let problem = FiniteHorizon::random(&system, case.sizes.horizon, noise);
    let points: Vec<_> = (0..case.weights.len())
        .map(|_| problem.random_unknowns(0.1, noise))
        .collect();
    let steps = least_squares_steps(&system, &problem, &points, &case.weights, elimination);
    for ((point, weights), step) in points.iter().zip(&case.weights).zip(steps) {
        let undamped = DenseWeights {
            action_damping: 0.0,
            ..weights.clone()
        };
        let minimiser = point + problem.damped_step(point, &undamped);
        prop_assume!(problem.actions(&minimiser).amax() < 1.0);
        let found: Vec<f32> = step
            .iter()
            .zip(point.iter())
            .map(|(&step, point)| (point + f64::from(step)) as f32)
            .collect();
        assert_close("minimiser", &found, minimiser.as_slice(), 1e-4);
    }
    Ok(())
}

/// Some actions lie beyond their bounds, so that ν matters.
fn check_step(case: &Case, elimination: Elimination) {
    let noise = &mut Noise::new(case.seed);
    let system = LinearQuadratic::random(case.sizes, noise, &Device::default());
    let problem = FiniteHorizon::random(&system, case.sizes.horizon, noise);
    let plans: Vec<_> = (0..case.weights.len())
        .map(|_| problem.random_unknowns(1.0, noise))
        .collect();
    let steps = least_squares_steps(&system, &problem, &plans, &case.weights, elimination);
    for ((plan, weights), step) in plans.iter().zip(&case.weights).zip(steps) {
        let expected = problem.damped_step(plan, weights);
        assert_close("step", &step, expected.as_slice(), 1e-4);
    }
}

fn few_seeded_cases() -> ProptestConfig {
    ProptestConfig {
        cases: 48,
        rng_seed: RngSeed::Fixed(20),
        ..ProptestConfig::default()
    }
}

proptest! {
    #![proptest_config(few_seeded_cases())]

    #[test]
    fn one_step_lands_on_the_minimiser_of_the_penalised_problem(case in undamped_cases()) {
        for elimination in BOTH {
            check_minimiser(&case, elimination)?;
        }
    }

    #[test]
    fn a_step_is_the_dense_step_with_damped_actions(case in cases(Just(0.0), Just(0.0))) {
        for elimination in BOTH {
            check_step(&case, elimination);
        }
    }

    #[test]
    fn a_step_minimises_the_model_with_damped_defects(
        case in cases(magnitude(-1.0..2.0), Just(0.0)),
    ) {
        for elimination in BOTH {
            check_step(&case, elimination);
        }
    }

    #[test]
    fn a_step_minimises_the_model_with_damped_latents(
        case in cases(magnitude(-1.0..1.0), magnitude(-1.0..1.0)),
    ) {
        check_step(&case, Elimination::Riccati);
    }
}
