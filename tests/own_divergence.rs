//! Divergences from outside the crate: one file each.

mod common {
    pub mod point_mass;
}

use burn::tensor::{Tensor, activation::softplus};
use common::point_mass::PointMass;
use latco_plan::{
    ConfigError, DiagonalGaussian, LatentModel, Plan, Planner,
    collocation::{
        Bregman, ConvexFunction, Divergence, FirstOrderConfig, GaussNewtonConfig, Initialisation,
        Measure, Residuals, Transcription,
    },
    solve::Solver,
};

const MODEL: PointMass = PointMass { spread: 0.0 };
const HORIZON: usize = 12;

/// `c = Σ_i w_i Δ_i²`: components that matter more are held more tightly.
#[derive(Debug)]
struct Weighted {
    weights: [f32; 4],
}

impl Residuals for Weighted {
    fn residuals(
        &self,
        _node: Transcription,
        planned: Tensor<2>,
        predicted: &DiagonalGaussian,
    ) -> Vec<Tensor<2>> {
        let weights = Tensor::<1>::from_floats(self.weights, &planned.device()).sqrt();
        vec![(planned - predicted.mean.clone()) * weights.unsqueeze()]
    }

    fn validate(&self, _node: Transcription) -> Result<(), ConfigError> {
        let positive = self.weights.iter().all(|&weight| weight > 0.0);
        ConfigError::require(
            positive,
            "weights",
            format!("{:?}", self.weights),
            "above 0",
        )
    }

    fn needs_deviations(&self, _node: Transcription) -> bool {
        false
    }
}

const WEIGHTED: Weighted = Weighted {
    weights: [4.0, 4.0, 1.0, 1.0],
};

/// No sum of squares: `c = 2 Σ log cosh Δ`, a square near 0 and a distance far away.
#[derive(Debug)]
struct LogCosh;

impl Divergence for LogCosh {
    fn violations(
        &self,
        _node: Transcription,
        planned: Tensor<2>,
        predicted: &DiagonalGaussian,
    ) -> Vec<Tensor<1>> {
        let size = (planned - predicted.mean.clone()).abs();
        let rounded = softplus(size.clone() * -2.0, 1.0) - std::f64::consts::LN_2;
        vec![(size + rounded).sum_dim(1).squeeze_dim::<1>(1) * 2.0]
    }
}

/// `F(x) = Σ x⁴ + x²`, whose divergence is larger for what is far from the origin.
#[derive(Debug)]
struct Quartic;

impl ConvexFunction for Quartic {
    fn value(&self, nodes: Tensor<2>) -> Tensor<1> {
        let squares = nodes.square();
        (squares.clone().square() + squares)
            .sum_dim(1)
            .squeeze_dim(1)
    }

    fn gradient(&self, nodes: Tensor<2>) -> Tensor<2> {
        nodes.clone().powi_scalar(3) * 4.0 + nodes * 2.0
    }
}

fn plan(planner: &Solver) -> Plan {
    planner.plan(&MODEL, &PointMass::belief()).expect("a plan")
}

fn first_order(measure: Measure) -> Solver {
    let settings = FirstOrderConfig {
        horizon: HORIZON,
        iterations: 1_000,
        learning_rate: 0.02,
        measure,
        ..FirstOrderConfig::default()
    };
    Solver::new("first-order", settings).expect("valid settings")
}

/// From latents that obey no dynamics.
fn gauss_newton(measure: Measure) -> Solver {
    let settings = GaussNewtonConfig {
        horizon: HORIZON,
        initialisation: Initialisation::Normal { std: 1.0 },
        measure,
        ..GaussNewtonConfig::default()
    };
    Solver::new("gauss-newton", settings).expect("valid settings")
}

/// The violations are the divergence's between the planned latents and what the model makes of them.
fn assert_measured(plan: &Plan, divergence: &dyn Divergence) {
    let start = PointMass::belief().mean();
    let previous = Tensor::cat(
        vec![start, plan.latents.clone().narrow(0, 0, HORIZON - 1)],
        0,
    );
    let predicted = MODEL.transition(previous, plan.actions.clone());
    let node = Transcription::Deterministic;
    let [violations] = divergence
        .violations(node, plan.latents.clone(), &predicted)
        .try_into()
        .expect("one constraint");
    let violations = violations.try_into_vec_as::<f32>().unwrap();
    for (found, expected) in plan.violation.iter().zip(violations) {
        assert!((found - expected).abs() < 1e-6, "{found} is not {expected}");
    }
}

/// The plan of a library's own divergence is as good.
fn assert_as_good(plan: &Plan, reference: &Plan) {
    let (found, best) = (plan.rollout.total(), reference.rollout.total());
    assert!(plan.is_backed_by_rollout(), "{:?}", plan.virtual_);
    assert!(found > 0.98 * best, "{found} of {best}");
}

#[test]
fn first_order_plans_with_any_divergence() {
    let reference = plan(&first_order(Measure::Moments));
    let own: [(Measure, &dyn Divergence); 3] = [
        (WEIGHTED.into(), &WEIGHTED),
        (LogCosh.into(), &LogCosh),
        (Bregman(Quartic).into(), &Bregman(Quartic)),
    ];
    for (measure, divergence) in own {
        let found = plan(&first_order(measure));
        assert_as_good(&found, &reference);
        assert_measured(&found, divergence);
    }
}

#[test]
fn gauss_newton_plans_with_any_that_is_a_sum_of_squares() {
    let reference = plan(&gauss_newton(Measure::Moments));
    let found = plan(&gauss_newton(WEIGHTED.into()));
    assert_as_good(&found, &reference);
    assert_measured(&found, &WEIGHTED);
    assert!(found.trace[0].violation_max > 10.0 * found.violation_max());
}

#[test]
fn gauss_newton_refuses_others_by_name() {
    let settings = GaussNewtonConfig {
        measure: LogCosh.into(),
        ..GaussNewtonConfig::default()
    };
    let refused = Solver::new("gauss-newton", settings).unwrap_err();
    assert_eq!(
        (refused.name, refused.found.as_str()),
        ("measure", "LogCosh")
    );
}

#[test]
fn their_parameters_are_checked() {
    let settings = FirstOrderConfig {
        measure: Weighted { weights: [0.0; 4] }.into(),
        ..FirstOrderConfig::default()
    };
    let refused = Solver::new("first-order", settings).unwrap_err();
    assert_eq!(refused.name, "weights");
}
