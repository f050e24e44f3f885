//! `latco solve`: planners on analytic problems, beside the best returns known.

use std::time::Duration;

use burn::tensor::Device;
use clap::{Args, value_parser};
use latco_agent::device::resources;
use latco_plan::{Iteration, Plan, PlanContext, Planner, StopReason, catalogue};
use latco_problems::{BENCHMARK, Problem, ProblemSettings, best_known};
use serde::Serialize;

use crate::{
    arguments::{Common, DEFAULT_PLANNER, count, planner_name, problem, problem_argument},
    configuration::{ConfigurationError, Setting, planner_settings, setting},
    error::CliError,
    output::{Report, note, table, warn},
    progress,
};

/// Plan in an analytic problem.
///
/// Each planner plans from the problem's start with each seed, knowing the model's exact dynamics and
/// its sparse reward. Compared is the return of the actions rolled out, with the best one known where
/// there is one.
#[derive(Args)]
#[command(after_help = "\
Arguments of a problem (--arg):
  size=N       dimensions of point (4), effectors (8); 1 to 64
  horizon=N    steps of a plan (100), which always lasts one unit of time
  width=W      the width of the reward (0.2)
  head=NAME    gauss, cauchy or sigmoid

The benchmark is ten problems with arguments of their own, whose best returns are known.

Examples:
  latco solve pendulum
  latco solve point --arg size=8 --arg width=0.1 --arg head=cauchy --planner latco --planner icem
  latco solve cartpole --planner cem --set samples=2000 --seeds 5 --json
  latco solve --benchmark --deadline-ms 2000")]
pub struct Solve {
    /// The problem: a name of `latco problems`.
    #[arg(value_name = "NAME", value_parser = problem, required_unless_present = "benchmark")]
    problem: Option<ProblemSettings>,

    /// An argument of the problem, such as horizon=50; may be given often.
    #[arg(
        long = "arg",
        value_name = "KEY=VALUE",
        value_parser = problem_argument,
        conflicts_with = "benchmark"
    )]
    arguments: Vec<(String, String)>,

    /// The ten problems of the benchmark in place of one.
    #[arg(long, conflicts_with = "problem")]
    benchmark: bool,

    /// A planner: a name of `latco planners`; may be given often.
    #[arg(
        long = "planner",
        value_name = "NAME",
        default_value = DEFAULT_PLANNER,
        value_parser = planner_name
    )]
    planners: Vec<String>,

    /// A setting of the planner, such as iterations=50; may be given often, with one planner.
    #[arg(long = "set", value_name = "KEY=VALUE", value_parser = setting)]
    settings: Vec<Setting>,

    /// Plans of each planner, with seeds from --seed upwards.
    #[arg(long, value_name = "N", default_value = "1", value_parser = count())]
    seeds: usize,

    /// Return the best plan so far after this time.
    #[arg(long, value_name = "N", value_parser = value_parser!(u64).range(1..=86_400_000))]
    deadline_ms: Option<u64>,
}

/// A problem with the planners that are to solve it.
struct Task {
    settings: ProblemSettings,
    planners: Vec<Box<dyn Planner>>,
}

/// One plan of one planner in one problem.
#[derive(Serialize)]
struct Solution {
    problem: &'static str,
    settings: ProblemSettings,
    planner: &'static str,
    seed: u64,
    rollout_reward: f32,
    virtual_reward: f32,
    violation_max: f32,
    seconds: f64,
    /// Rows that went through the model's transition.
    model_steps: usize,
    iterations: usize,
    stop: StopReason,
    /// The rollout's reward by the best one known, where one is.
    #[serde(skip_serializing_if = "Option::is_none")]
    share_of_best: Option<f64>,
}

impl Solve {
    /// Plans with every planner and seed in every problem.
    pub fn run(&self, common: &Common) -> Result<Report, CliError> {
        let tasks = self.tasks()?;
        let device = common.device()?;
        let mut solutions = Vec::new();
        for task in &tasks {
            let problem = Problem::new(task.settings);
            for planner in &task.planners {
                for index in 0..self.seeds as u64 {
                    let seed = common.seed().wrapping_add(index);
                    let plan = self.plan(&problem, planner.as_ref(), seed, common, &device)?;
                    let solution = Solution::new(&problem, planner.name(), seed, &plan);
                    tell(&solution, &plan, common);
                    solutions.push(solution);
                }
            }
        }
        Report::new(&solutions, self.text(&solutions))
    }

    fn tasks(&self) -> Result<Vec<Task>, CliError> {
        if self.planners.len() > 1 && !self.settings.is_empty() {
            return Err(CliError::SettingsOfSeveral {
                found: self.planners.len(),
            });
        }
        let task = |settings: ProblemSettings| {
            let planners = self.planners.iter();
            let planners = planners.map(|name| self.planner(name, settings.horizon()));
            Ok(Task {
                settings,
                planners: planners.collect::<Result<_, CliError>>()?,
            })
        };
        self.problems()?.into_iter().map(task).collect()
    }

    fn problems(&self) -> Result<Vec<ProblemSettings>, CliError> {
        let Some(problem) = self.problem else {
            return Ok(BENCHMARK.iter().map(|known| known.settings).collect());
        };
        let mut arguments = self.arguments.iter();
        let problem = arguments.try_fold(problem, |problem, (key, value)| problem.with(key, value));
        Ok(vec![problem?])
    }

    /// The planner `name` for plans as long as the problem says.
    fn planner(&self, name: &str, horizon: usize) -> Result<Box<dyn Planner>, CliError> {
        let info = catalogue::info(name)?;
        let settings = planner_settings(info, Some(horizon), &self.settings)?;
        let planner = info.with(settings)?;
        if planner.horizon() != horizon {
            return Err(CliError::Configuration(ConfigurationError::Contradiction {
                key: "horizon",
                found: planner.horizon().to_string(),
                expected: format!("{horizon}, the problem's, which --arg horizon=N changes"),
            }));
        }
        Ok(planner)
    }

    fn plan(
        &self,
        problem: &Problem,
        planner: &dyn Planner,
        seed: u64,
        common: &Common,
        device: &Device,
    ) -> Result<Plan, CliError> {
        let spinner = progress::planning(common);
        let mut observer = |iteration: &Iteration| progress::show_iteration(&spinner, iteration);
        let context = PlanContext::new(seed, &mut observer)
            .with_deadline(self.deadline_ms.map(Duration::from_millis))
            .with_resources(resources(device));
        let plan = planner.plan_with(problem, &problem.belief(device), context);
        spinner.finish_and_clear();
        Ok(plan?)
    }

    /// One row for each problem and planner; what they come to together where there are several
    /// problems.
    fn text(&self, solutions: &[Solution]) -> String {
        let heading = [
            "problem", "planner", "rollout", "of best", "worst", "virtual", "seconds",
        ];
        let mut rows = vec![heading.map(str::to_owned).to_vec()];
        rows.extend(solutions.chunks(self.seeds).map(row));
        let of_each = table(2, &rows);
        match self.benchmark {
            true => of_each + "\n" + &self.together(solutions),
            false => of_each,
        }
    }

    /// Each planner over the whole benchmark: the mean share of the best returns known, and how often
    /// it was more than half.
    fn together(&self, solutions: &[Solution]) -> String {
        let heading = ["all problems", "of best", "above half"];
        let mut rows = vec![heading.map(str::to_owned).to_vec()];
        for planner in &self.planners {
            let of_planner = solutions.iter().filter(|each| each.planner == planner);
            let shares: Vec<_> = of_planner.filter_map(|each| each.share_of_best).collect();
            let above_half = shares.iter().filter(|share| **share > 0.5).count();
            rows.push(vec![
                planner.clone(),
                format!("{:.3}", mean(&shares)),
                format!("{:.2}", above_half as f64 / shares.len() as f64),
            ]);
        }
        table(1, &rows)
    }
}

impl Solution {
    fn new(problem: &Problem, planner: &'static str, seed: u64, plan: &Plan) -> Self {
        let settings = *problem.settings();
        let rollout_reward = plan.rollout.total();
        Self {
            problem: problem.name(),
            settings,
            planner,
            seed,
            rollout_reward,
            virtual_reward: plan.virtual_.total(),
            violation_max: plan.violation_max(),
            seconds: plan.elapsed.as_secs_f64(),
            model_steps: plan.model_steps,
            iterations: plan.trace.len(),
            stop: plan.stop,
            share_of_best: best_known(&settings).map(|best| f64::from(rollout_reward) / best),
        }
    }
}

/// Tells how a plan has gone, and loudly that it came late.
fn tell(solution: &Solution, plan: &Plan, common: &Common) {
    let Solution {
        settings,
        planner,
        seed,
        ..
    } = solution;
    note(
        common,
        format!(
            "{settings}, {planner}, seed {seed}: {:.2} in {:.2} s",
            solution.rollout_reward, solution.seconds
        ),
    );
    if let Some(late) = plan.late {
        warn(format!(
            "{settings}, {planner}, seed {seed}: the plan came {:.1} ms after its deadline",
            late.as_secs_f64() * 1e3
        ));
    }
}

/// The plans of one planner in one problem: mean return and its share of the best one known, least
/// return, mean return along the plan, median time.
fn row(solutions: &[Solution]) -> Vec<String> {
    let figures = |of: &dyn Fn(&Solution) -> f64| solutions.iter().map(of).collect::<Vec<_>>();
    let rollouts = figures(&|solution| f64::from(solution.rollout_reward));
    let promised = figures(&|solution| f64::from(solution.virtual_reward));
    let shares: Option<Vec<_>> = solutions.iter().map(|each| each.share_of_best).collect();
    let worst = rollouts.iter().copied().fold(f64::INFINITY, f64::min);
    let first = &solutions[0];
    vec![
        first.settings.to_string(),
        first.planner.to_owned(),
        format!("{:.2}", mean(&rollouts)),
        shares.map_or("-".to_owned(), |shares| format!("{:.3}", mean(&shares))),
        format!("{worst:.2}"),
        format!("{:.2}", mean(&promised)),
        format!("{:.2}", median(figures(&|solution| solution.seconds))),
    ]
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    match values.len() {
        0 => 0.0,
        n if n % 2 == 1 => values[n / 2],
        n => 0.5 * (values[n / 2 - 1] + values[n / 2]),
    }
}
