//! Steps and rewards against numpy in double precision (`reference/values.py`).

use crate::common::{Case, numbers, tensor};
use latco_plan::LatentModel;
use latco_problems::{Head, PROBLEMS};

const TOLERANCE: f64 = 1e-5;

fn assert_near(found: &[f32], expected: &[f64], what: &str) {
    assert_eq!(found.len(), expected.len(), "{what}");
    for (&found, &expected) in found.iter().zip(expected) {
        let error = (f64::from(found) - expected).abs();
        let allowed = TOLERANCE * expected.abs().max(1.0);
        assert!(error <= allowed, "{what}: {found} for {expected}");
    }
}

#[test]
fn every_problem_has_a_case() {
    let cases = Case::all();
    let cases: Vec<_> = cases.iter().map(|case| case.problem(Head::Gauss)).collect();
    for info in PROBLEMS {
        assert!(cases.iter().any(|problem| problem.name() == info.name));
    }
}

#[test]
fn steps_are_those_of_numpy() {
    for case in Case::all() {
        let problem = case.problem(Head::Gauss);
        let (latents, actions) = (tensor(&case.latents), tensor(&case.actions));
        let next = problem.transition(latents.clone(), actions.clone());
        assert_near(
            &numbers(next.mean.clone()),
            &case.next.concat(),
            problem.name(),
        );
        assert!(numbers(next.std).iter().all(|std| *std == 0.0));
        let mean = problem.transition_mean(latents, actions);
        assert_eq!(numbers(mean), numbers(next.mean));
    }
}

#[test]
fn rewards_are_those_of_numpy() {
    for case in Case::all() {
        for head in Head::ALL {
            let problem = case.problem(head);
            let what = format!("{} {head}", problem.name());
            let expected = &case.log_rewards[head.name()];
            let latents = tensor(&case.latents);
            let found = numbers(problem.log_reward(latents.clone()));
            assert_near(&found, expected, &what);

            let rewards: Vec<_> = expected.iter().map(|log| log.exp()).collect();
            let found = numbers(problem.reward(latents));
            assert_near(&found, &rewards, &what);
            for (&found, (&reward, log)) in found.iter().zip(rewards.iter().zip(expected)) {
                let error = (f64::from(found) / reward - 1.0).abs();
                assert!(
                    error <= TOLERANCE * log.abs().max(1.0),
                    "{what}: {found} for {reward}"
                );
            }
        }
    }
}
