//! A constraint of your own: the same plan with and without a region to keep away from.
//!
//! Constraints join the dynamics in the dual ascent with multipliers of their own: relaxed at first,
//! then enforced. Here `h(z) = 0.47² − ‖x‖² ≤ 0` keeps each planned position out of a disc of
//! radius 0.45, with a little margin. The model is in `examples/common/puck.rs`.
//!
//! ```sh
//! cargo run --release --example user_constraint
//! ```
//!
//! Prints how near each plan comes to the disc's centre – along its planned states, and along the
//! rollout of its actions, which is what would happen – and writes `out/user_constraint.png`.

mod common {
    pub mod output;
    pub mod picture;
    pub mod plane;
    pub mod puck;
    pub mod short;
}

use std::error::Error;

use burn::tensor::{Device, Tensor};
use common::{
    output::out,
    picture::beside,
    plane::{BLUE, GREEN, GREY, ORANGE, Plane, Point, disc},
    puck::{GOAL, Puck, START},
    short::is_short,
};
use latco::plan::{
    StopReason,
    collocation::{Constraint, DualConfig, GaussNewtonConfig},
    solve::Solver,
};
use latco::{Belief, Planner};

/// The disc around the origin that is to be kept away from.
const RADIUS: f64 = 0.45;
/// Asked for beyond it, since constraints are met up to a tolerance.
const MARGIN: f64 = 0.02;

/// `h = 0.47² − ‖x‖²` of latents `[rows, 4]`, `[rows]`: positive inside the disc.
fn keep_away() -> Constraint {
    let squared = (RADIUS + MARGIN).powi(2);
    Constraint::inequality("keep away", move |latents, _actions| {
        let distance = latents.narrow(1, 0, 2).square().sum_dim(1);
        distance.squeeze_dim::<1>(1).neg() + squared
    })
}

/// The way from the start through the positions of states `[steps, 4]`.
fn positions(states: &Tensor<2>) -> Vec<Point> {
    let later: Vec<f32> = states.to_data_as::<f32>().iter().collect();
    let values = [&START[..], &later].concat();
    let position = |state: &[f32]| (f64::from(state[0]), f64::from(state[1]));
    values.chunks(4).map(position).collect()
}

/// The smallest distance of any point from the origin.
fn nearest(path: &[Point]) -> f64 {
    let distances = path.iter().map(|(x, y)| x.hypot(*y));
    distances.fold(f64::INFINITY, f64::min)
}

fn main() -> Result<(), Box<dyn Error>> {
    let standard = GaussNewtonConfig::default();
    let config = GaussNewtonConfig {
        iterations: if is_short() { 5 } else { 300 },
        // Violations are squares: this ε lets `h` and each step of the dynamics err by about 0.001.
        dual: DualConfig {
            threshold: 1e-6,
            ..standard.dual
        },
        ..standard
    };
    let free = Solver::new("free", config.clone())?;
    let bound = Solver::new("keep away", config)?.with_constraint(keep_away())?;
    let belief = Belief::certain(Tensor::from_data(START, &Device::default()));
    println!("the disc has radius {RADIUS}\n");
    println!(
        "{:<10} {:>8} {:>8} {:>16} {:>16}",
        "plan", "virtual", "rollout", "nearest planned", "nearest rollout"
    );
    let mut panels = Vec::new();
    for planner in [free, bound] {
        let plan = planner.plan(&Puck, &belief)?;
        if plan.stop == StopReason::Infeasible {
            println!("no plan that keeps away was found; the best allowed one is:");
        }
        let [planned, rollout] = [&plan.latents, &plan.rollout_latents].map(positions);
        println!(
            "{:<10} {:>8.2} {:>8.2} {:>16.3} {:>16.3}",
            planner.name(),
            plan.virtual_.total(),
            plan.rollout.total(),
            nearest(&planned),
            nearest(&rollout)
        );
        let goal = (f64::from(GOAL[0]), f64::from(GOAL[1]));
        let panel = Plane::new(planner.name(), -1.2..1.2)
            .region(disc((0.0, 0.0), RADIUS), GREY, 0.4)
            .region(disc(goal, 0.06), GREEN, 0.8)
            .line(&rollout, ORANGE, 2)
            .dots(&planned, BLUE, 3);
        panels.push(panel.render(400)?);
    }
    let path = out("user_constraint.png")?;
    beside(&panels)?.save_png(&path)?;
    println!("wrote {}", path.display());
    Ok(())
}
