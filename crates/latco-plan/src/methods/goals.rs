//! Rewarded latents, found without dynamics, and plans that lead to them.

use burn::tensor::{Tensor, TensorData};
use latco_kernels::FusedAdam;

use crate::{Noise, Objective, PlanError, adam::AdamSteps, host::read, solve::Problem};

const CANDIDATES: usize = 256;
const SPREAD: f64 = 1.5;
const STEPS: usize = 200;
const RATE: f64 = 0.05;

/// Shares of the horizon after which plans arrive at their goals.
const ARRIVALS: [f64; 4] = [0.6, 0.4, 0.8, 0.5];

/// Latents of high reward, the nearest to the present one first: Adam on `−log r` from latents around
/// it, `[goals][latent]`.
pub(super) fn goal_latents(
    problem: &Problem<'_>,
    noise: &mut Noise,
) -> Result<Vec<Vec<f32>>, PlanError> {
    let model = problem.model;
    let start = problem.start(1);
    let device = start.device();
    let [_, latent] = start.dims();
    let drawn = noise.normal([CANDIDATES, latent], &device) * SPREAD;
    let mut latents = start.clone().repeat_dim(0, CANDIDATES) + drawn;
    let mut adam = AdamSteps::of(FusedAdam::with_beta_2(0.99, 1e-12), RATE);
    for step in 1..=STEPS {
        problem.check_time()?;
        let linear = model.linearise_reward(latents.clone(), Objective::LogReward);
        let slope = linear.jacobian.squeeze_dim::<2>(1).neg();
        adam.set_rate(RATE * (1.0 - 0.9 * step as f64 / STEPS as f64));
        latents = adam.step(latents, slope);
    }
    let logs = read("log reward", model.log_reward(latents.clone()))?;
    let values = read("goal", latents)?;
    let start = read("start", start)?;
    let mut goals: Vec<_> = values
        .chunks(latent)
        .zip(logs)
        .filter(|(_, log)| *log > (0.5f32).ln())
        .map(|(goal, _)| {
            let moved = goal.iter().zip(&start).map(|(a, b)| (a - b).powi(2));
            (moved.sum::<f32>(), goal.to_vec())
        })
        .collect();
    goals.sort_by(|a, b| a.0.total_cmp(&b.0));
    Ok(goals.into_iter().map(|(_, goal)| goal).collect())
}

/// Latents `[plans, horizon, latent]` that go from the present one to a goal each and stay there, and actions
/// that are all but zero.
pub(super) fn goal_starts(
    problem: &Problem<'_>,
    goals: &[Vec<f32>],
    [plans, horizon, action]: [usize; 3],
    noise: &mut Noise,
) -> Result<(Tensor<3>, Tensor<3>), PlanError> {
    let device = problem.belief.device();
    let from = read("start", problem.start(1))?;
    let latent = from.len();
    let mut values = Vec::with_capacity(plans * horizon * latent);
    for plan in 0..plans {
        let goal = &goals[(plan * goals.len() / plans).min(goals.len() - 1)];
        let arrival = ARRIVALS[plan % ARRIVALS.len()] * horizon as f64;
        for step in 1..=horizon {
            let share = (step as f64 / arrival).min(1.0);
            let share = (share * share * (3.0 - 2.0 * share)) as f32;
            values.extend(from.iter().zip(goal).map(|(a, b)| a + (b - a) * share));
        }
    }
    let latents = Tensor::from_data(TensorData::new(values, [plans, horizon, latent]), &device);
    let actions = noise.normal([plans, horizon, action], &device) * 0.1;
    Ok((latents, actions.clamp(-1.0, 1.0)))
}
