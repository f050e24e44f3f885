//! A pendulum that must swing up with a motor too weak to lift it: every kind of planner on one
//! nonlinear problem whose answer is known.
//!
//! The latent is angle and rate, the dynamics are in closed form (`tests/common/pendulum.rs`): what
//! it takes to plan on a model of your own is a `LatentModel` of four short functions. All planners
//! see the same reward, the squared distance from upright and rest. What to expect:
//!
//! - `latco` swings up from every seed and balances, with the return that dynamic programming over a
//!   grid of states finds (−60.5 on the grid, −59.5 as the grid is refined).
//! - So does collocation alone (`gauss-newton`): it puts the latents upright first, with actions that
//!   no motor has, and then lets the multipliers make a swing of it. That takes ε = 1e-6: the default
//!   of 1e-4 allows a tenth of the motor's torque in every step, too much for an unstable goal. ε is
//!   in squared latent units, set it by scale. By Adam (`latco-first-order`) it gets up and not to rest.
//! - Shooting from zero actions (gradient, Gauss–Newton, iLQR) stays at the bottom for ever: the
//!   return is an even function of the actions, so that its gradient there is exactly zero.
//!   From random starts, their defaults, the same methods solve it: with two numbers for a latent
//!   and a reward with a slope everywhere a rollout is all that it takes.
//! - Sampling (`cem`, `icem`, `mppi`) with default budgets mostly swings up and balances badly.
//!
//! ```sh
//! cargo run --release --example pendulum           # five seeds
//! cargo run --release --example pendulum -- 10     # ten
//! ```

use std::error::Error;

use latco::plan::{
    NoObserver, PlanContext, Planner,
    catalogue::planner,
    collocation::{DualConfig, DualRule, FirstOrderConfig, Initialisation},
    solve::Solver,
};

#[path = "../tests/common/dynamic_programming.rs"]
mod dynamic_programming;
#[path = "../tests/common/pendulum.rs"]
mod pendulum;

use dynamic_programming::best_return;
use pendulum::{Ending, HANGING_RETURN, HORIZON, Pendulum, collocation, shooting_from_zero};

fn main() -> Result<(), Box<dyn Error>> {
    let seeds = std::env::args()
        .nth(1)
        .map_or(Ok(5), |count| count.parse())?;
    println!("| planner | return | worst | angle from upright | solved | seconds |");
    println!("|---|---|---|---|---|---|");
    for (name, planner) in planners()? {
        let results = (0..seeds)
            .map(|seed| swing_up(planner.as_ref(), seed))
            .collect::<Result<Vec<_>, _>>()?;
        println!("{}", row(&name, results));
    }
    println!(
        "\nby dynamic programming {:.1}, hanging {HANGING_RETURN:.1}",
        best_return()
    );
    Ok(())
}

/// A planner and its line in the table.
type Named = (String, Box<dyn Planner>);

/// The planners with what to call them.
fn planners() -> Result<Vec<Named>, Box<dyn Error>> {
    let mut planners: Vec<Named> = vec![
        (
            "gauss-newton, ε = 1e-6, 8 starts".to_owned(),
            Box::new(collocation()?),
        ),
        (
            "latco-first-order, ε = 1e-6".to_owned(),
            Box::new(first_order()?),
        ),
    ];
    for planner in shooting_from_zero()? {
        planners.push((format!("{} from zero", planner.name()), planner));
    }
    for name in [
        "latco",
        "latco-first-order",
        "cem-latco",
        "shooting-gd",
        "shooting-gn",
        "ilqr",
        "cem",
        "icem",
        "mppi",
        "random",
    ] {
        planners.push((format!("{name}, defaults"), planner(name, Some(HORIZON))?));
    }
    Ok(planners)
}

/// Collocation by Adam, in small steps with multipliers that rise slowly.
fn first_order() -> Result<Solver, Box<dyn Error>> {
    Ok(Solver::new(
        "latco-first-order",
        FirstOrderConfig {
            horizon: HORIZON,
            plans: 8,
            iterations: 3_000,
            learning_rate: 0.02,
            initialisation: Initialisation::Normal { std: 2.0 },
            dual: DualConfig {
                rule: DualRule::Logarithmic { rate: 0.01 },
                threshold: 1e-6,
                ..DualConfig::default()
            },
            ..FirstOrderConfig::default()
        },
    )?)
}

/// One plan from hanging at rest.
struct SwingUp {
    total: f32,
    ending: Ending,
    seconds: f64,
}

fn swing_up(planner: &dyn Planner, seed: u64) -> Result<SwingUp, Box<dyn Error>> {
    let mut observer = NoObserver;
    let context = PlanContext::new(seed, &mut observer);
    let plan = planner.plan_with(&Pendulum, &Pendulum.hanging(), context)?;
    Ok(SwingUp {
        total: plan.rollout.total(),
        ending: Ending::of(&plan)?,
        seconds: plan.elapsed.as_secs_f64(),
    })
}

/// Medians over the seeds, and how many ended upright.
fn row(name: &str, results: Vec<SwingUp>) -> String {
    let solved = results
        .iter()
        .filter(|result| result.ending.is_upright())
        .count();
    let of = |value: fn(&SwingUp) -> f64| median(results.iter().map(value).collect());
    let worst = results
        .iter()
        .map(|result| result.total)
        .fold(f32::INFINITY, f32::min);
    format!(
        "| {name} | {:.2} | {worst:.2} | {:.0}° | {solved}/{} | {:.2} |",
        of(|result| f64::from(result.total)),
        of(|result| result.ending.angle.abs().to_degrees()),
        results.len(),
        of(|result| result.seconds),
    )
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
