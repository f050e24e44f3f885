//! A model of your own: two plain Burn layers, learnt here, planned with by three planners.
//!
//! A boat crosses a river whose current is strongest in the middle, and gusty there. The example
//! records random trips, trains a small network that predicts the next state and how far it may be
//! off, wraps it as a [`LatentModel`] (less than 40 lines, below), plans a crossing with LatCo,
//! Gaussian LatCo and the cross-entropy method, and sails each plan blind on the true river.
//!
//! Nothing but `burn` and `latco-plan` is needed for all this; the façade only helps to draw.
//!
//! ```sh
//! cargo run --release --example own_model
//! ```
//!
//! Prints a table – what the plan promises, what the learnt model makes of its actions, what the
//! river makes of them – and writes `out/own_model.png`: planned states as dots, the true trip as a
//! line.

mod common {
    pub mod output;
    pub mod picture;
    pub mod plane;
    pub mod short;
}

use std::error::Error;

use burn::{
    module::Module,
    nn::{Linear, LinearConfig},
    optim::{AdamConfig, GradientsParams},
    tensor::{
        Device, Tensor,
        activation::{silu, softplus},
    },
};
use common::{
    output::out,
    picture::beside,
    plane::{BLUE, GREEN, GREY, ORANGE, Plane, Point, disc},
    short::is_short,
};
use latco::plan::{
    Belief, ConfigError, DiagonalGaussian, LatentModel, Noise, Plan, Planner,
    catalogue::planner,
    collocation::{DualConfig, FirstOrderConfig},
    solve::Solver,
};

/// Position and velocity.
const STATE: usize = 4;
/// Thrust along and across the river.
const ACTION: usize = 2;
const HORIZON: usize = 30;
const START: [f32; STATE] = [-0.5, -1.0, 0.0, 0.0];
const GOAL: [f32; 2] = [0.0, 1.0];
/// Where the current has more than a third of its strength.
const SWIFT: [Point; 4] = [(-1.4, -0.5), (1.4, -0.5), (1.4, 0.5), (-1.4, 0.5)];

/// The true river, which planners never see. For states `[rows, 4]` and actions `[rows, 2]`:
///
/// ```text
/// v' = 0.8 v + 0.05 a + (0.02 + 0.01 ξ) (exp(−4 y²), 0),    x' = x + v',    ξ ~ N(0, 1)
/// ```
fn river(states: Tensor<2>, actions: Tensor<2>, noise: &mut Noise) -> Tensor<2> {
    let [rows, _] = states.dims();
    let position = states.clone().narrow(1, 0, 2);
    let swiftness = (position.clone().narrow(1, 1, 1).square() * -4.0).exp();
    let gusts = noise.normal([rows, 1], &states.device()) * 0.01 + 0.02;
    let along = swiftness * gusts;
    let current = Tensor::cat(vec![along.clone(), along.zeros_like()], 1);
    let velocity = states.narrow(1, 2, 2) * 0.8 + actions * 0.05 + current;
    Tensor::cat(vec![position + velocity.clone(), velocity], 1)
}

/// A network with one hidden layer that predicts how the state changes.
#[derive(Module, Debug)]
struct Boat {
    hidden: Linear,
    change: Linear,
}

impl Boat {
    fn new(device: &Device) -> Self {
        let units = 64;
        Self {
            hidden: LinearConfig::new(STATE + ACTION, units).init(device),
            change: LinearConfig::new(units, 2 * STATE).init(device),
        }
    }
}

impl LatentModel for Boat {
    fn latent_size(&self) -> usize {
        STATE
    }

    fn action_size(&self) -> usize {
        ACTION
    }

    fn transition(&self, latents: Tensor<2>, actions: Tensor<2>) -> DiagonalGaussian {
        let inputs = Tensor::cat(vec![latents.clone(), actions], 1);
        let outputs = self.change.forward(silu(self.hidden.forward(inputs)));
        let change = outputs.clone().narrow(1, 0, STATE) * 0.1;
        let std = softplus(outputs.narrow(1, STATE, STATE), 1.0) * 0.02 + 1e-3;
        DiagonalGaussian::new(latents + change, std)
    }

    /// What is wanted is ours to say; it could be a network as well.
    fn reward(&self, latents: Tensor<2>) -> Tensor<1> {
        let squares = self.reward_residuals(latents).square();
        squares.sum_dim(1).squeeze_dim::<1>(1) * -0.5
    }

    /// Tells least-squares planners that this reward is a sum of squares: `r = −½ ‖ρ‖²`.
    fn reward_residuals(&self, latents: Tensor<2>) -> Tensor<2> {
        let goal = Tensor::<2>::from_data([GOAL], &latents.device());
        latents.narrow(1, 0, 2) - goal
    }
}

/// Learns from random states: the mean of `−log p(z' | z, a)` by Adam.
fn train(steps: usize, device: &Device) -> Boat {
    let mut model = Boat::new(&device.clone().autodiff());
    let mut optimizer = AdamConfig::new().init();
    let mut noise = Noise::new(1);
    for step in 0..steps {
        let rows = 256;
        let scale = Tensor::<2>::from_data([[1.5, 1.5, 0.3, 0.3]], device);
        let states = noise.uniform([rows, STATE], device) * scale;
        let actions = noise.uniform([rows, ACTION], device);
        let next = river(states.clone(), actions.clone(), &mut noise);
        let predicted = model.transition(states.autodiff(), actions.autodiff());
        let error = (next.autodiff() - predicted.mean) / predicted.std.clone();
        let loss = (error.square() * 0.5 + predicted.std.log()).mean();
        if step % (steps / 5) == 0 {
            let nats: f32 = loss.clone().into_scalar::<f32>();
            println!("step {step:>5}: {nats:>6.2} nats a component");
        }
        let gradients = GradientsParams::from_grads(loss.backward(), &model);
        // The step size falls to a tenth, so that the network settles.
        let rate = 3e-3 * 0.1_f64.powf(step as f64 / steps as f64);
        model = optimizer.step(rate, model, gradients);
    }
    model.valid()
}

/// Gaussian LatCo in the units of this model: a step changes velocities by a few hundredths, so that
/// Adam's steps and the violation ε that is tolerated, a square, must be small.
fn gaussian(iterations: usize) -> Result<Box<dyn Planner>, ConfigError> {
    let standard = FirstOrderConfig::gaussian();
    Ok(Box::new(Solver::new(
        "latco-first-order",
        FirstOrderConfig {
            horizon: HORIZON,
            iterations,
            learning_rate: 5e-3,
            dual: DualConfig {
                threshold: 1e-5,
                dynamics: 10.0,
                ..standard.dual
            },
            ..standard
        },
    )?))
}

/// Where the boat really gets with the actions of `plan`, `[horizon, 4]`.
fn sail(plan: &Plan, noise: &mut Noise) -> Tensor<2> {
    let mut state = Tensor::<2>::from_data([START], &plan.actions.device());
    let trip = (0..plan.horizon()).map(|step| {
        let action = plan.actions.clone().narrow(0, step, 1);
        state = river(state.clone(), action, noise);
        state.clone()
    });
    Tensor::cat(trip.collect(), 0)
}

/// The positions of states `[steps, 4]`.
fn positions(states: &Tensor<2>) -> Vec<Point> {
    let values: Vec<f32> = states.to_data_as::<f32>().iter().collect();
    let position = |state: &[f32]| (f64::from(state[0]), f64::from(state[1]));
    values.chunks(STATE).map(position).collect()
}

fn main() -> Result<(), Box<dyn Error>> {
    let device = Device::default();
    let (steps, iterations) = if is_short() {
        (100, 20)
    } else {
        (3_000, 1_500)
    };
    let model = train(steps, &device);
    let belief = Belief::certain(Tensor::from_data(START, &device));
    let mut panels = Vec::new();
    println!(
        "\n{:<16} {:>8} {:>8} {:>8} {:>9} {:>8}",
        "planner", "virtual", "rollout", "true", "violation", "seconds"
    );
    for (name, planner) in [
        ("latco", planner("latco", Some(HORIZON))?),
        ("latco-gaussian", gaussian(iterations)?),
        ("cem", planner("cem", Some(HORIZON))?),
    ] {
        let plan = planner.plan(&model, &belief)?;
        let trip = sail(&plan, &mut Noise::new(5));
        let reached: f32 = model.reward(trip.clone()).sum().into_scalar::<f32>();
        println!(
            "{name:<16} {:>8.2} {:>8.2} {reached:>8.2} {:>9.0e} {:>8.2}",
            plan.virtual_.total(),
            plan.rollout.total(),
            plan.violation_max(),
            plan.elapsed.as_secs_f64()
        );
        let goal = (f64::from(GOAL[0]), f64::from(GOAL[1]));
        let panel = Plane::new(name, -1.4..1.4)
            .region(SWIFT.to_vec(), GREY, 0.2)
            .region(disc(goal, 0.06), GREEN, 0.8)
            .line(&positions(&trip), ORANGE, 2)
            .dots(&positions(&plan.latents), BLUE, 3);
        panels.push(panel.render(360)?);
    }
    let path = out("own_model.png")?;
    beside(&panels)?.save_png(&path)?;
    println!("wrote {}", path.display());
    Ok(())
}
