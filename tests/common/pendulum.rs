//! A pendulum whose motor is too weak to lift it in one go: it must swing back and forth first.
//!
//! ```text
//! ω' = ω + h (u a − sin θ),     θ' = θ + h ω',     |a| ≤ 1
//! ρ(θ, ω) = [2 cos(θ/2), ω],    r = −½ ‖ρ‖² = −(1 + cos θ) − ½ ω²
//! ```
//!
//! with the angle θ from hanging down and the rate ω; time is in units of √(length / gravity).

use std::f64::consts::{PI, TAU};

use burn::tensor::{Device, Tensor};
use latco_plan::{
    Belief, ConfigError, DiagonalGaussian, LatentModel, Plan, PlanError, Planner,
    collocation::{ActionBounds, DualConfig, DualRule, GaussNewtonConfig, Initialisation},
    methods::{Elimination, GaussNewtonPolish},
    shooting::GradientShootingConfig,
    solve::Solver,
};

/// Steps of a swing-up.
pub const HORIZON: usize = 50;

/// The return of never moving.
pub const HANGING_RETURN: f32 = -2.0 * HORIZON as f32;

/// The motor's torque u as a share of the weight's when the pendulum is level: it can hold the
/// pendulum at 24° at most.
const TORQUE: f64 = 0.4;

/// The length of a time step, h.
const STEP: f64 = 0.25;

/// How far from upright, in radians and in radians a unit of time, a swing-up may end.
const UPRIGHT: f64 = 0.2;

/// Collocation from latents spread over the whole circle.
///
/// A motor's step moves the rate by at most `h u = 0.1`: ε is the square of a hundredth of that, so
/// that what a plan may cheat in all steps together is less than one step of the motor. Multipliers
/// rise at a pace that the steps keep up with, on bounds that plans may pass at first: with forces
/// that no motor has they get to the top, and swings come of them. The plans whose swings are mistimed do not
/// end the search of the others.
pub fn collocation() -> Result<Solver, ConfigError> {
    Solver::new(
        "gauss-newton",
        GaussNewtonConfig {
            horizon: HORIZON,
            plans: 8,
            halving: 0,
            iterations: 200,
            initialisation: Initialisation::Normal { std: 2.0 },
            bounds: ActionBounds::Penalised,
            dual: DualConfig {
                rule: DualRule::Logarithmic { rate: 0.2 },
                threshold: 1e-6,
                ..DualConfig::default()
            },
            continuation_below: 1e-6,
            tolerance: 0.0,
            ..GaussNewtonConfig::default()
        },
    )
}

/// Every gradient and second-order shooting method from no action at all, and from nothing else.
pub fn shooting_from_zero() -> Result<[Box<dyn Planner>; 3], ConfigError> {
    let gradient = GradientShootingConfig {
        horizon: HORIZON,
        plans: 1,
        ..GradientShootingConfig::default()
    };
    // Without earlier searches it begins with no action.
    let second_order = |name, elimination| {
        let method = GaussNewtonPolish {
            horizon: HORIZON,
            elimination,
            ..GaussNewtonPolish::default()
        };
        Solver::new(name, method)
    };
    Ok([
        Box::new(Solver::new("shooting-gd", gradient)?),
        Box::new(second_order("shooting-gn", Elimination::ResidualSpace)?),
        Box::new(second_order("ilqr", Elimination::Riccati)?),
    ])
}

/// The pendulum as a model with the latent `[θ, ω]`.
pub struct Pendulum;

impl Pendulum {
    /// Hanging at rest.
    pub fn hanging(&self) -> Belief {
        Belief::certain(Tensor::zeros([2], &Device::default()))
    }
}

impl LatentModel for Pendulum {
    fn latent_size(&self) -> usize {
        2
    }

    fn action_size(&self) -> usize {
        1
    }

    fn transition(&self, latents: Tensor<2>, actions: Tensor<2>) -> DiagonalGaussian {
        let mean = self.transition_mean(latents, actions);
        let std = mean.zeros_like();
        DiagonalGaussian::new(mean, std)
    }

    fn transition_mean(&self, latents: Tensor<2>, actions: Tensor<2>) -> Tensor<2> {
        let angle = latents.clone().narrow(1, 0, 1);
        let torque = actions * TORQUE - angle.clone().sin();
        let rate = latents.narrow(1, 1, 1) + torque * STEP;
        Tensor::cat(vec![angle + rate.clone() * STEP, rate], 1)
    }

    fn reward(&self, latents: Tensor<2>) -> Tensor<1> {
        let squares = self.reward_residuals(latents).square();
        squares.sum_dim(1).squeeze_dim::<1>(1) * -0.5
    }

    fn reward_residuals(&self, latents: Tensor<2>) -> Tensor<2> {
        let angle = latents.clone().narrow(1, 0, 1);
        Tensor::cat(vec![(angle * 0.5).cos() * 2.0, latents.narrow(1, 1, 1)], 1)
    }
}

/// An angle and a rate in double precision.
#[derive(Clone, Copy)]
pub struct State {
    /// θ, from hanging down.
    pub angle: f64,
    /// ω.
    pub rate: f64,
}

impl State {
    /// The state a time step later.
    pub fn next(self, action: f64) -> Self {
        let rate = self.rate + (action * TORQUE - self.angle.sin()) * STEP;
        Self {
            angle: self.angle + rate * STEP,
            rate,
        }
    }

    /// r.
    pub fn reward(self) -> f64 {
        -(1.0 + self.angle.cos()) - 0.5 * self.rate * self.rate
    }
}

/// Where the actions of a plan take the pendulum.
pub struct Ending {
    /// The angle from upright, in `[−π, π)`.
    pub angle: f64,
    /// The rate.
    pub rate: f64,
}

impl Ending {
    /// The last state of the plan's rollout.
    pub fn of(plan: &Plan) -> Result<Self, PlanError> {
        let last = plan.rollout_latents.clone().narrow(0, HORIZON - 1, 1);
        let last = last
            .try_into_vec_as::<f32>()
            .map_err(|error| PlanError::Device {
                what: "the last latent",
                reason: error.to_string(),
            })?;
        Ok(Self {
            angle: f64::from(last[0]).rem_euclid(TAU) - PI,
            rate: f64::from(last[1]),
        })
    }

    /// Whether the pendulum stands.
    pub fn is_upright(&self) -> bool {
        self.angle.abs() <= UPRIGHT && self.rate.abs() <= UPRIGHT
    }
}
