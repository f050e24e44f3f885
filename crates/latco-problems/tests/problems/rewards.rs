//! What holds for the rewards of every problem and head: bounds, logarithms, slopes.

use crate::common::{Case, numbers, tensor};
use burn::tensor::{Device, Tensor};
use latco_plan::LatentModel;
use latco_problems::{Head, PROBLEMS, Problem};
use proptest::prelude::*;

/// The logarithm of a reward that single precision still holds.
const HELD: f32 = -80.0;

/// Every problem at its default size, with every head.
fn all_problems() -> impl Iterator<Item = Problem> {
    let settings = PROBLEMS.iter().map(|info| info.settings());
    settings.flat_map(|settings| Head::ALL.map(|head| Problem::new(settings.with_head(head))))
}

/// Latents up to `reach` from the start, in the directions of `units`.
fn around_start(problem: &Problem, units: &[f32], reach: f32) -> Vec<f32> {
    let offsets = units.iter().cycle().map(|unit| unit * reach);
    let start = problem.start().into_iter().zip(offsets);
    start.map(|(start, offset)| start + offset).collect()
}

proptest! {
    #[test]
    fn rewards_are_bounded_and_logarithms_are_theirs(
        units in prop::collection::vec(-1.0_f32..=1.0, 16),
        reach in prop::sample::select(vec![0.3_f32, 2.0, 1e3]),
    ) {
        for problem in all_problems() {
            let latents = tensor(&[around_start(&problem, &units, reach)]);
            let log = numbers(problem.log_reward(latents.clone()))[0];
            let reward = numbers(problem.reward(latents.clone()))[0];
            prop_assert!(log.is_finite() && log <= 0.0, "{}: log r = {log}", problem.name());
            prop_assert!((0.0..=1.0).contains(&reward), "{}: r = {reward}", problem.name());
            if log > HELD {
                prop_assert!((reward.ln() - log).abs() <= 1e-5 * log.abs().max(1.0));
            }
            let residual = numbers(problem.reward_residuals(latents.clone()))[0];
            prop_assert!((0.5 * residual * residual - (1.0 - reward)).abs() <= 2e-6);
            let both = problem.rewards(latents);
            prop_assert_eq!(numbers(both.expected), [reward]);
            prop_assert_eq!(numbers(both.residuals), [residual]);
        }
    }

    #[test]
    fn steps_are_finite_everywhere(
        units in prop::collection::vec(-1.0_f32..=1.0, 16),
        reach in prop::sample::select(vec![0.0_f32, 1.0, 1e3]),
    ) {
        for info in PROBLEMS {
            let problem = Problem::new(info.settings());
            let latents = tensor(&[around_start(&problem, &units, reach)]);
            let actions = units.iter().cycle().take(problem.action_size());
            let next = problem.transition_mean(latents, tensor(&[actions.copied().collect()]));
            prop_assert_eq!(next.dims(), [1, problem.latent_size()]);
            prop_assert!(numbers(next).iter().all(|value| value.is_finite()), "{}", problem.name());
        }
    }
}

#[test]
fn a_belief_is_the_start_known_exactly() {
    for problem in all_problems() {
        let belief = problem.belief(&Device::default());
        assert_eq!(numbers(belief.mean()), problem.start());
        assert!(numbers(belief.std()).iter().all(|std| *std == 0.0));
        assert_eq!(problem.start().len(), problem.latent_size());
        assert_eq!(problem.reward_range(), Some([0.0, 1.0]));
    }
}

/// No start is paid a thousandth of the most, with the narrow rewards of the benchmark.
#[test]
fn starts_are_far_from_the_goal() {
    for problem in all_problems().filter(|problem| problem.settings().head() == Head::Gauss) {
        let reward = numbers(problem.reward(problem.belief(&Device::default()).mean()))[0];
        assert!(reward < 1e-3, "{}: {reward}", problem.name());
    }
}

/// The residual's slope at the top is finite, where that of `√(2 (1 − r))` is not.
#[test]
fn residuals_have_a_slope_at_the_goal() {
    let problem = Problem::new(PROBLEMS[0].settings());
    let goal: Vec<f32> = vec![1.0, -1.0, 1.0, -1.0, 0.0, 0.0, 0.0, 0.0];
    let inputs = tensor(&[goal]).autodiff().require_grad();
    let gradients = problem.reward_residuals(inputs.clone()).sum().backward();
    let slopes = numbers(inputs.grad(&gradients).unwrap());
    assert!(slopes.iter().all(|slope| slope.is_finite()), "{slopes:?}");
}

/// Central differences of `values` `[rows]` by each column of `inputs`, `[rows, columns]`.
fn differences(inputs: &[Vec<f32>], values: &dyn Fn(Tensor<2>) -> Tensor<1>) -> Vec<Vec<f32>> {
    const STEP: f32 = 1e-3;
    let shifted = |column: usize, by: f32| {
        let mut rows = inputs.to_vec();
        rows.iter_mut().for_each(|row| row[column] += by);
        numbers(values(tensor(&rows)))
    };
    let columns = (0..inputs[0].len()).map(|column| {
        let (above, below) = (shifted(column, STEP), shifted(column, -STEP));
        let pairs = above.into_iter().zip(below);
        pairs
            .map(|(above, below)| (above - below) / (2.0 * STEP))
            .collect()
    });
    let columns: Vec<Vec<f32>> = columns.collect();
    (0..inputs.len())
        .map(|row| columns.iter().map(|column| column[row]).collect())
        .collect()
}

fn assert_slopes(inputs: &[Vec<f32>], values: &dyn Fn(Tensor<2>) -> Tensor<1>, what: &str) {
    let tracked = tensor(inputs).autodiff().require_grad();
    let gradients = values(tracked.clone()).sum().backward();
    let found = numbers(tracked.grad(&gradients).unwrap());
    let expected = differences(inputs, values).concat();
    for (found, expected) in found.into_iter().zip(expected) {
        let allowed = 0.02 * expected.abs().max(1.0);
        assert!(
            (found - expected).abs() <= allowed,
            "{what}: {found} for {expected}"
        );
    }
}

#[test]
fn log_rewards_have_the_slopes_of_their_differences() {
    for case in Case::all() {
        for head in Head::ALL {
            let problem = case.problem(head);
            let what = format!("log r of {} {head}", problem.name());
            assert_slopes(&case.latents, &|latents| problem.log_reward(latents), &what);
        }
    }
}

#[test]
fn steps_have_the_slopes_of_their_differences() {
    for case in Case::all() {
        let problem = case.problem(Head::Gauss);
        let weighted = |next: Tensor<2>| {
            let weights = Tensor::arange(1..next.dims()[1] as i64 + 1, &Device::default());
            let weights = weights.float().unsqueeze_dim::<2>(0);
            (next * weights).sum_dim(1).squeeze_dim::<1>(1)
        };
        let (latents, actions) = (tensor(&case.latents), tensor(&case.actions));
        let by_latents = |latents| weighted(problem.transition_mean(latents, actions.clone()));
        assert_slopes(&case.latents, &by_latents, problem.name());
        let by_actions = |actions| weighted(problem.transition_mean(latents.clone(), actions));
        assert_slopes(&case.actions, &by_actions, problem.name());
    }
}
