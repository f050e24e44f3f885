//! The same problem for collocation and shooting, iteration by iteration, as one film.
//!
//! A swimmer crosses a whirl to a goal. The reward is zero outside the green disc, without any slope
//! that would lead there. *Shooting* moves actions and sees what the model makes of them: no
//! sequence tried meets the goal, so none is better than the others. *Collocation* moves the states
//! themselves, and begins with some all over the plane: those near the goal climb it at once, where
//! nothing says as yet how to get there. Then the multipliers λ grow, and pull the states of each
//! plan onto a path that the whirl allows.
//!
//! The problem was chosen to show this: with a reward whose slope is felt from afar, shooting finds
//! the goal as well, and with few starts collocation misses this one from some seeds.
//!
//! ```sh
//! cargo run --release --example collocation_vs_shooting
//! ```
//!
//! Writes `out/collocation_vs_shooting.gif`. Dots are planned states (blue those of
//! the plan that promises most), the line is the rollout of its actions.

mod common {
    pub mod film;
    pub mod output;
    pub mod picture;
    pub mod plane;
    pub mod short;
}

use std::error::Error;

use burn::tensor::{Device, Tensor, TensorData};
use common::{
    film::save_gif,
    output::out,
    picture::beside,
    plane::{BLUE, GREEN, GREY, ORANGE, Plane, Point, disc},
    short::is_short,
};
use latco::plan::{
    DiagonalGaussian, Iteration, Observer,
    collocation::{DualConfig, GaussNewtonConfig, Initialisation},
    roll_out,
    shooting::{CemConfig, GradientShootingConfig},
    solve::Solver,
};
use latco::{Belief, Image, LatentModel, PlanContext, Planner};

const HORIZON: usize = 30;
const START: [f32; 2] = [-1.1, -0.9];
const GOAL: [f32; 2] = [1.1, 0.9];
/// How far from the goal the reward is felt.
const WIDTH: f64 = 0.5;

/// A point that swims in a whirl around the origin.
///
/// ```text
/// x' = x + 0.12 (a + w(x)),   w(x) = 2 (−x₂, x₁) exp(−‖x‖²/0.5),   r(x) = max(1 − ‖x − goal‖²/0.5², 0)²
/// ```
struct Swimmer;

impl LatentModel for Swimmer {
    fn latent_size(&self) -> usize {
        2
    }

    fn action_size(&self) -> usize {
        2
    }

    fn transition(&self, latents: Tensor<2>, actions: Tensor<2>) -> DiagonalGaussian {
        let strength = (latents.clone().square().sum_dim(1) * -2.0).exp() * 2.0;
        let across = latents.clone().narrow(1, 0, 1);
        let up = latents.clone().narrow(1, 1, 1);
        let whirl = Tensor::cat(vec![-up, across], 1) * strength;
        let mean = latents + (actions + whirl) * 0.12;
        let std = mean.zeros_like();
        DiagonalGaussian::new(mean, std)
    }

    fn reward(&self, latents: Tensor<2>) -> Tensor<1> {
        let goal = Tensor::<2>::from_data([GOAL], &latents.device());
        let distance = (latents - goal).square().sum_dim(1).squeeze_dim::<1>(1);
        (distance * -WIDTH.powi(-2) + 1.0).clamp_min(0.0).square()
    }
}

/// What one planner had after one iteration.
struct Moment {
    reward: f32,
    multiplier: f32,
    /// States of every plan; those of the rollout where the planner has none of its own.
    planned: Vec<Vec<Point>>,
    rolled_out: Vec<Vec<Point>>,
    /// The plan that promises most.
    best: usize,
}

/// Keeps every iteration's plans.
struct Film<'a> {
    belief: &'a Belief,
    moments: Vec<Moment>,
}

impl Observer for Film<'_> {
    fn iteration(&mut self, iteration: &Iteration) {
        self.moments.push(Moment {
            reward: iteration.reward,
            multiplier: iteration.multiplier_mean,
            planned: Vec::new(),
            rolled_out: Vec::new(),
            best: 0,
        });
    }

    fn trajectories(&mut self, actions: &Tensor<3>, nodes: Option<&Tensor<3>>) {
        let [plans, ..] = actions.dims();
        let allowed = actions.clone().clamp(-1.0, 1.0);
        let rollout = roll_out(&Swimmer, self.belief.mean_of(plans), allowed).latents;
        if let Some(moment) = self.moments.last_mut() {
            let states = nodes.unwrap_or(&rollout);
            let rewards = Swimmer.reward(states.clone().flatten(0, 1));
            let totals = rewards.reshape([plans, HORIZON]).sum_dim(1);
            moment.best = totals.argmax(0).into_scalar::<i32>() as usize;
            moment.planned = paths(states);
            moment.rolled_out = paths(&rollout);
        }
    }
}

/// The way from the start through `latents` `[plans, horizon, 2]`, one a plan.
fn paths(latents: &Tensor<3>) -> Vec<Vec<Point>> {
    let values: Vec<f32> = latents.to_data_as::<f32>().iter().collect();
    let point = |place: &[f32]| (f64::from(place[0]), f64::from(place[1]));
    values
        .chunks(2 * HORIZON)
        .map(|plan| {
            let states = plan.chunks(2).map(point);
            std::iter::once(point(&START)).chain(states).collect()
        })
        .collect()
}

fn draw(name: &str, index: usize, moment: &Moment) -> Result<Image, Box<dyn Error>> {
    let multiplier = match moment.multiplier {
        0.0 => String::new(),
        multiplier => format!(", λ {multiplier:.0}"),
    };
    let title = format!(
        "{name}: iteration {index}, reward {:.1}{multiplier}",
        moment.reward
    );
    let [start, goal] = [START, GOAL].map(|[x, y]| (f64::from(x), f64::from(y)));
    let mut plane = Plane::new(title, -2.0..2.0)
        .region(disc((0.0, 0.0), 0.7), GREY, 0.25)
        .region(disc(goal, WIDTH), GREEN, 0.35);
    for path in &moment.planned {
        plane = plane.dots(&path[1..], GREY, 2);
    }
    if let Some(path) = moment.rolled_out.get(moment.best) {
        plane = plane.line(path, ORANGE, 1);
    }
    if let Some(path) = moment.planned.get(moment.best) {
        plane = plane.dots(&path[1..], BLUE, 3);
    }
    plane.dots(&[start], GREY, 5).render(360)
}

fn main() -> Result<(), Box<dyn Error>> {
    let iterations = if is_short() { 4 } else { 60 };
    let start = TensorData::from(START);
    let belief = Belief::certain(Tensor::from_data(start, &Device::default()));
    let standard = GaussNewtonConfig::default();
    let collocation = Solver::new(
        "gauss-newton",
        GaussNewtonConfig {
            horizon: HORIZON,
            plans: 12,
            halving: 0,
            iterations,
            initialisation: Initialisation::Normal { std: 1.0 },
            dual: DualConfig {
                dynamics: 1.0,
                ..standard.dual
            },
            ..standard
        },
    )?;
    let sampling = Solver::new(
        "cem",
        CemConfig {
            horizon: HORIZON,
            iterations,
            ..CemConfig::default()
        },
    )?;
    let gradient = Solver::new(
        "shooting-gd",
        GradientShootingConfig {
            horizon: HORIZON,
            iterations,
            ..GradientShootingConfig::default()
        },
    )?;
    let planners: [&dyn Planner; 3] = [&collocation, &sampling, &gradient];

    println!(
        "{:<12} {:>10} {:>8} {:>8} {:>9}",
        "planner", "iterations", "virtual", "rollout", "seconds"
    );
    let mut films = Vec::new();
    for planner in planners {
        let mut film = Film {
            belief: &belief,
            moments: Vec::new(),
        };
        let plan = planner.plan_with(&Swimmer, &belief, PlanContext::new(1, &mut film))?;
        println!(
            "{:<12} {:>10} {:>8.2} {:>8.2} {:>9.3}",
            planner.name(),
            plan.trace.len(),
            plan.virtual_.total(),
            plan.rollout.total(),
            plan.elapsed.as_secs_f64()
        );
        films.push((planner.name(), film.moments));
    }
    let length = films.iter().map(|(_, moments)| moments.len()).max();
    let frame = |index: usize| {
        let panel = |(name, moments): &(&str, Vec<Moment>)| {
            let shown = index.min(moments.len() - 1);
            draw(name, shown, &moments[shown])
        };
        beside(&films.iter().map(panel).collect::<Result<Vec<_>, _>>()?)
    };
    let frames: Vec<Image> = (0..length.unwrap_or(0))
        .map(frame)
        .collect::<Result<_, _>>()?;
    let path = out("collocation_vs_shooting.gif")?;
    save_gif(&path, &frames)?;
    println!("wrote {}", path.display());
    Ok(())
}
