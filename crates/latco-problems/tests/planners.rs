//! What the default planner must find: rewards that no rollout of random actions comes near.

use burn::tensor::Device;
use latco_plan::{NoObserver, Plan, PlanContext, catalogue::planner};
use latco_problems::{Problem, ProblemSettings, best_known};

/// Of the best return known.
const SHARE: f64 = 0.95;

fn plan(name: &str, settings: &ProblemSettings, seed: u64) -> Plan {
    let problem = Problem::new(*settings);
    let belief = problem.belief(&Device::default());
    let mut observer = NoObserver;
    let context = PlanContext::new(seed, &mut observer);
    let planner = planner(name, Some(problem.horizon())).unwrap();
    planner.plan_with(&problem, &belief, context).unwrap()
}

fn share(name: &str, settings: &ProblemSettings, seed: u64) -> f64 {
    let best = best_known(settings).unwrap();
    f64::from(plan(name, settings, seed).rollout.total()) / best
}

fn settings(name: &str, width: &str) -> ProblemSettings {
    let settings = ProblemSettings::of(name).unwrap();
    settings.with("width", width).unwrap()
}

#[test]
fn latco_parks_the_car_swings_the_pendulum_up_and_moves_in_four_dimensions() {
    for settings in [
        settings("car", "0.2"),
        settings("pendulum", "0.3"),
        settings("point", "0.3"),
    ] {
        let found = share("latco", &settings, 7);
        assert!(found > SHARE, "{settings:?}: {found}");
        let sampled = share("best-of-n", &settings, 7);
        assert!(sampled < 0.5, "{settings:?} is no hard problem: {sampled}");
    }
}

/// The published recipe with multipliers that close the gaps.
#[test]
fn latco_paper_swings_the_pendulum_up() {
    let found = share("latco-paper", &settings("pendulum", "0.5"), 0);
    assert!(found > SHARE, "{found}");
}

/// Of thousands of rollouts a few pass the door, and none of them stays: none may be lost to the many that
/// wait before the wall.
#[test]
fn latco_finds_the_door_whatever_the_horizon() {
    let door = ProblemSettings::of("door").unwrap();
    for (horizon, waiting) in [("100", 2.6), ("250", 6.0)] {
        let settings = door.with("horizon", horizon).unwrap();
        for seed in [0, 3, 5] {
            let found = plan("latco", &settings, seed).rollout.total();
            assert!(
                found > 10.0 * waiting,
                "horizon {horizon}, seed {seed}: {found}, the return of waiting is {waiting}"
            );
        }
    }
}
