//! Risk: why a plan needs the variance of what may happen as well as its mean.
//!
//! A boat may dock at one of two piers. The safe one pays 1 at every step; the risky one, which is
//! nearer, pays 2 where luck allows, and takes 10 away in one step of five: −0.4 in the mean. *LatCo*
//! plans the states that are most likely, and in the most likely state luck is average: it goes to
//! the risky pier, promised 2 a step. *Gaussian LatCo* plans the mean and the variance of each state,
//! both bound to what the dynamics make of them, and maximises the *expected* reward over that
//! Gaussian: it knows that luck varies, and goes to the safe pier (Rybkin et al. 2021, section 5).
//!
//! ```sh
//! cargo run --release --example gaussian_lottery
//! ```
//!
//! Prints for each plan what it promises, what a thousand trips with its actions yield, and how many
//! of them lose, and writes `out/gaussian_lottery.png`: the planned states as dots within one
//! standard deviation, and the trips as lines.

mod common {
    pub mod output;
    pub mod picture;
    pub mod plane;
    pub mod short;
}

use std::error::Error;

use burn::tensor::{Device, Tensor, activation::sigmoid};
use common::{
    output::out,
    picture::beside,
    plane::{BLUE, GREEN, GREY, ORANGE, Plane, Point, disc},
    short::is_short,
};
use latco::plan::{DiagonalGaussian, Noise, collocation::GaussNewtonConfig, solve::Solver};
use latco::{Belief, LatentModel, Plan, Planner};

/// Position and luck.
const STATE: usize = 3;
const HORIZON: usize = 20;
const START: [f32; STATE] = [-0.2, -0.6, 0.0];
const RISKY: [f32; 2] = [-0.7, 0.5];
const SAFE: [f32; 2] = [0.7, 0.5];
/// How far from a pier its payment is felt.
const WIDTH: f64 = 0.5;
/// Luck below this, one standard normal draw of five, is a loss.
const LOSING: f64 = -0.8416;
const TRIPS: usize = 1_000;

/// A boat that drifts a little, and its luck, drawn anew at every step.
///
/// ```text
/// x' ~ N(x + 0.1 a, 0.01²),   u' ~ N(0, 1)
/// r  = near(x, safe) + near(x, risky) (2 − 12 · [u < −0.84]),   near(x, p) = exp(−‖x − p‖²/0.5²)
/// ```
///
/// The bracket is a steep sigmoid, so that planners find a slope.
struct Boat;

/// `exp(−‖x − pier‖²/0.5²)` of states `[rows, 3]`, `[rows, 1]`.
fn near(states: &Tensor<2>, pier: [f32; 2]) -> Tensor<2> {
    let pier = Tensor::<2>::from_data([pier], &states.device());
    let distance = (states.clone().narrow(1, 0, 2) - pier).square().sum_dim(1);
    (distance * -WIDTH.powi(-2)).exp()
}

impl LatentModel for Boat {
    fn latent_size(&self) -> usize {
        STATE
    }

    fn action_size(&self) -> usize {
        2
    }

    fn transition(&self, latents: Tensor<2>, actions: Tensor<2>) -> DiagonalGaussian {
        let position = latents.narrow(1, 0, 2) + actions * 0.1;
        let luck = position.clone().narrow(1, 0, 1).zeros_like();
        let std = Tensor::cat(vec![position.zeros_like() + 0.01, luck.clone() + 1.0], 1);
        DiagonalGaussian::new(Tensor::cat(vec![position, luck], 1), std)
    }

    fn reward(&self, latents: Tensor<2>) -> Tensor<1> {
        let luck = latents.clone().narrow(1, 2, 1);
        let lost = sigmoid((-luck + LOSING) * 20.0);
        let payment = near(&latents, SAFE) + near(&latents, RISKY) * (-lost * 12.0 + 2.0);
        payment.squeeze_dim(1)
    }
}

/// A thousand trips with the actions of `plan`: states of each step `[trips, 3]`.
fn travel(plan: &Plan, noise: &mut Noise) -> Vec<Tensor<2>> {
    let device = plan.actions.device();
    let mut states = Tensor::<2>::from_data([START], &device).repeat_dim(0, TRIPS);
    let step = |step: usize| {
        let actions = plan.actions.clone().narrow(0, step, 1).repeat_dim(0, TRIPS);
        let next = Boat.transition(states.clone(), actions);
        states = next.sample(noise.normal([TRIPS, STATE], &device));
        states.clone()
    };
    (0..plan.horizon()).map(step).collect()
}

/// The summed reward of each trip.
fn returns(trips: &[Tensor<2>]) -> Vec<f32> {
    let rewards = trips.iter().map(|states| Boat.reward(states.clone()));
    let total = rewards.reduce(|total, reward| total + reward);
    total.map_or(Vec::new(), |total| {
        total.to_data_as::<f32>().iter().collect()
    })
}

/// The positions of states `[rows, ≥ 2]`.
fn positions(states: &Tensor<2>) -> Vec<Point> {
    let values: Vec<f32> = states
        .clone()
        .narrow(1, 0, 2)
        .to_data_as::<f32>()
        .iter()
        .collect();
    values
        .chunks(2)
        .map(|state| (f64::from(state[0]), f64::from(state[1])))
        .collect()
}

fn draw(name: &str, plan: &Plan, trips: &[Tensor<2>]) -> Result<latco::Image, Box<dyn Error>> {
    let pier = |[x, y]: [f32; 2]| disc((f64::from(x), f64::from(y)), WIDTH / 2.0);
    let mut plane = Plane::new(name, -1.2..1.2)
        .region(pier(RISKY), ORANGE, 0.3)
        .region(pier(SAFE), GREEN, 0.35);
    let steps: Vec<Vec<Point>> = trips.iter().map(positions).collect();
    for trip in (0..TRIPS).step_by(TRIPS / 20) {
        let path: Vec<Point> = steps.iter().map(|states| states[trip]).collect();
        plane = plane.line(&path, GREY, 1);
    }
    let planned = positions(&plan.latents);
    if let Some(std) = &plan.std {
        for (&node, (spread, _)) in planned.iter().zip(positions(std)) {
            plane = plane.region(disc(node, spread.abs()), BLUE, 0.25);
        }
    }
    plane.dots(&planned, BLUE, 3).render(360)
}

fn main() -> Result<(), Box<dyn Error>> {
    let iterations = if is_short() { 3 } else { 100 };
    let deterministic = Solver::new(
        "latco",
        GaussNewtonConfig {
            horizon: HORIZON,
            ..GaussNewtonConfig::default()
        },
    )?;
    let gaussian = Solver::new(
        "latco-gaussian",
        GaussNewtonConfig {
            horizon: HORIZON,
            iterations,
            ..GaussNewtonConfig::gaussian()
        },
    )?;
    let planners: [&dyn Planner; 2] = [&deterministic, &gaussian];
    let belief = Belief::certain(Tensor::from_data(START, &Device::default()));
    println!("{TRIPS} trips with the actions of each plan\n");
    println!(
        "{:<16} {:>9} {:>12} {:>15} {:>8}",
        "planner", "promised", "mean return", "trips below 0", "seconds"
    );
    let mut panels = Vec::new();
    for planner in planners {
        let plan = planner.plan(&Boat, &belief)?;
        let trips = travel(&plan, &mut Noise::new(7));
        let returns = returns(&trips);
        let mean = returns.iter().sum::<f32>() / TRIPS as f32;
        let losses = returns.iter().filter(|&&total| total < 0.0).count();
        println!(
            "{:<16} {:>9.1} {mean:>12.1} {losses:>15} {:>8.2}",
            planner.name(),
            plan.virtual_.total(),
            plan.elapsed.as_secs_f64()
        );
        panels.push(draw(planner.name(), &plan, &trips)?);
    }
    let path = out("gaussian_lottery.png")?;
    beside(&panels)?.save_png(&path)?;
    println!("wrote {}", path.display());
    Ok(())
}
