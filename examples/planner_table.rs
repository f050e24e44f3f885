//! Every planner on the same checkpoint and the same episodes of `reach`, as a table.
//!
//! Writes `results/reach.json` and `results/reach.md`.
//!
//! ```sh
//! cargo run --release --example planner_table -- 50            # all planners, 50 episodes each
//! cargo run --release --example planner_table -- 20 latco cem  # some of them
//! ```

use std::{error::Error, fmt::Write, fs};

use latco::{
    Agent, AgentConfig, WorldModel,
    agent::{Evaluation, device::DEVICES, evaluate},
    device,
    env::{EnvOptions, make},
    plan::catalogue::{PLANNERS, planner},
};

const CHECKPOINT: &str = "assets/checkpoints/reach.safetensors";
const FIRST_SEED: u64 = 1234;

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let episodes: usize = arguments.next().map_or(Ok(20), |count| count.parse())?;
    let mut names: Vec<String> = arguments.collect();
    if names.is_empty() {
        names = PLANNERS.iter().map(|info| info.name.to_owned()).collect();
    }

    let mut evaluations = Vec::with_capacity(names.len());
    for name in &names {
        let evaluation = evaluate_planner(name, episodes)?;
        eprintln!("{}", row(&evaluation));
        evaluations.push(evaluation);
    }

    fs::create_dir_all("results")?;
    fs::write(
        "results/reach.json",
        serde_json::to_string_pretty(&evaluations)?,
    )?;
    let table = table(&evaluations, episodes);
    fs::write("results/reach.md", &table)?;
    print!("{table}");
    Ok(())
}

/// Evaluates one planner with its default settings, replanning every 10 steps.
fn evaluate_planner(name: &str, episodes: usize) -> Result<Evaluation, Box<dyn Error>> {
    let device = device("auto")?;
    let model = WorldModel::load(CHECKPOINT.as_ref(), &device)?;
    let mut environment = make("reach", &EnvOptions::default())?;
    let planner = planner(name, Some(environment.time_limit()))?;
    let mut agent = Agent::new(model, planner, AgentConfig::default(), &device)?;
    Ok(evaluate(
        environment.as_mut(),
        &mut agent,
        DEVICES[0].name,
        FIRST_SEED,
        episodes,
        |_| {},
    )?)
}

fn table(evaluations: &[Evaluation], episodes: usize) -> String {
    let mut table = format!(
        "`reach`, {episodes} episodes from seed {FIRST_SEED}, plans of 30 steps made anew every 10, \
         device `{}`\n\n\
         | planner | success (95 % interval) | return | virtual | rollout | seconds a plan | model steps a plan |\n\
         |---|---|---|---|---|---|---|\n",
        DEVICES[0].name
    );
    for evaluation in evaluations {
        let _ = writeln!(table, "{}", row(evaluation));
    }
    table
}

fn row(evaluation: &Evaluation) -> String {
    let (low, high) = wilson_interval(evaluation.success_rate, evaluation.episodes);
    format!(
        "| `{}` | {:.2} ({low:.2}–{high:.2}) | {:.1} | {:.1} | {:.1} | {:.3} | {:.0} |",
        evaluation.planner,
        evaluation.success_rate,
        evaluation.return_mean,
        evaluation.virtual_reward_mean,
        evaluation.rollout_reward_mean,
        evaluation.plan_seconds_median,
        evaluation.model_steps_per_plan,
    )
}

/// The 95 % score interval of a proportion (Wilson 1927).
fn wilson_interval(share: f64, count: usize) -> (f64, f64) {
    const Z: f64 = 1.96;
    let n = count as f64;
    let centre = share + Z * Z / (2.0 * n);
    let spread = Z * (share * (1.0 - share) / n + Z * Z / (4.0 * n * n)).sqrt();
    let scale = 1.0 + Z * Z / n;
    ((centre - spread) / scale, (centre + spread) / scale)
}
