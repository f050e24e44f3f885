//! `latco plan`: one plan from one image.

use std::{
    fmt::Write as _,
    path::{Path, PathBuf},
    time::Duration,
};

use clap::{Args, value_parser};
use latco_agent::{BeliefFilter, ObservedGoal, decoded_images, device::resources, plan_reward};
use latco_env::{ActionSpace, Image, info};
use latco_model::WorldModel;
use latco_plan::{Belief, Iteration, Plan, PlanContext, PlanError, StopReason};
use serde::Serialize;

use crate::{
    arguments::{Common, PlannerArguments, horizon, task_name},
    destination::{Content, check_folder, write_all},
    drawing::{Reel, compose, draw_dual_ascent, encode_gif},
    error::CliError,
    output::{Report, aligned, warn},
    progress,
};

/// The side of the frames of `imagined.gif`, in pixels.
const SIDE: usize = 320;

/// Plan from your own image.
///
/// Prints the actions with the reward along the plan and that of the actions rolled out through
/// the model: only the second is backed by the dynamics. Writes nothing without --out.
#[derive(Args)]
#[command(after_help = "\
Examples:
  latco plan --checkpoint reach.safetensors --image now.png --env reach
  latco plan --checkpoint reach.safetensors --image now.png --planner cem --horizon 20 --json
  latco plan --checkpoint reach.safetensors --image now.png --deadline-ms 50 --out plan/
  latco plan --checkpoint reach.safetensors --image now.png --goal-image then.png --out plan/")]
pub struct PlanFromImage {
    /// The world model, a safetensors file that latco wrote.
    #[arg(long, value_name = "FILE")]
    checkpoint: PathBuf,

    /// What is seen now: a PNG as the environment gives it, of the size that the model was trained on.
    #[arg(long, value_name = "PNG")]
    image: PathBuf,

    /// What is to be seen at the end, a PNG of the same size: closeness to it takes the place of
    /// the model's reward.
    #[arg(long, value_name = "PNG")]
    goal_image: Option<PathBuf>,

    #[command(flatten)]
    planner: PlannerArguments,

    /// The task: a name of `latco envs`, whose horizon is the default.
    #[arg(long, value_name = "NAME", value_parser = task_name)]
    env: Option<String>,

    /// Steps of the plan [default: the task's, else the planner's].
    #[arg(long, value_name = "N", value_parser = horizon())]
    horizon: Option<usize>,

    /// Return the best plan so far after this time.
    #[arg(long, value_name = "N", value_parser = value_parser!(u64).range(1..=86_400_000))]
    deadline_ms: Option<u64>,

    /// A folder for plan.png, imagined.gif and plan.json.
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
}

/// The figures of a plan.
#[derive(Serialize)]
struct PlanReport<'a> {
    planner: &'a str,
    device: &'a str,
    seed: u64,
    horizon: usize,
    actions: Vec<Vec<f32>>,
    virtual_reward: f32,
    rollout_reward: f32,
    violation_max: f32,
    robust_return: Option<f32>,
    uncertainty: Option<Vec<f32>>,
    leaves_data: Option<bool>,
    iterations: usize,
    seconds: f64,
    stop: StopReason,
}

impl PlanFromImage {
    /// Plans, draws where asked to, reports.
    pub fn run(&self, common: &Common) -> Result<Report, CliError> {
        if let Some(out) = &self.out {
            check_folder("--out", out)?;
        }
        let device = common.device()?;
        let image = Image::load_png(&self.image)?;
        let model = WorldModel::load(&self.checkpoint, &device)?;
        let belief = self.belief(&model, &image)?;
        let plan = self.plan(&model, &belief, common)?;
        warn_of(&plan);
        let report = self.report(&model, &plan, common)?;
        if let Some(out) = &self.out {
            let imagined = imagined(&model, &belief, &plan);
            self.draw(out, &report, &plan, imagined)?;
        }
        Report::new(&report, self.text(&report, &plan))
    }

    fn belief(&self, model: &WorldModel, image: &Image) -> Result<Belief, CliError> {
        model.filter(None, image).map_err(|source| CliError::Image {
            flag: "--image",
            path: self.image.clone(),
            source,
        })
    }

    /// What the goal's image shows, if there is one.
    fn goal(&self, model: &WorldModel) -> Result<Option<ObservedGoal>, CliError> {
        let Some(path) = &self.goal_image else {
            return Ok(None);
        };
        let goal = ObservedGoal::new(model, &Image::load_png(path)?);
        let goal = goal.map_err(|source| CliError::Image {
            flag: "--goal-image",
            path: path.clone(),
            source,
        })?;
        Ok(Some(goal))
    }

    /// A plan for the goal, if there is one, else for the reward.
    fn plan(&self, model: &WorldModel, belief: &Belief, common: &Common) -> Result<Plan, CliError> {
        let goal = self.goal(model)?;
        let planner = self.planner.planner(self.horizon())?;
        let spinner = progress::planning(common);
        let mut observer = |iteration: &Iteration| progress::show_iteration(&spinner, iteration);
        let context = PlanContext::new(common.seed(), &mut observer)
            .with_deadline(self.deadline_ms.map(Duration::from_millis))
            .with_resources(resources(&belief.device()));
        let plan = match goal {
            Some(goal) => planner.plan_with(&goal.of(model)?, belief, context),
            None => plan_reward(planner.as_ref(), model, belief, context),
        };
        spinner.finish_and_clear();
        Ok(plan?)
    }

    /// The steps asked for, else those of the task.
    fn horizon(&self) -> Option<usize> {
        let of_task = |env: &String| Some(info(env).ok()?.protocol.horizon);
        self.horizon.or_else(|| self.env.as_ref().and_then(of_task))
    }

    fn report<'a>(
        &'a self,
        model: &WorldModel,
        plan: &Plan,
        common: &'a Common,
    ) -> Result<PlanReport<'a>, CliError> {
        Ok(PlanReport {
            planner: self.planner.name(),
            device: &common.device,
            seed: common.seed(),
            horizon: plan.horizon(),
            actions: actions(plan, &model.action_space())?,
            virtual_reward: plan.virtual_.total(),
            rollout_reward: plan.rollout.total(),
            violation_max: plan.violation_max(),
            robust_return: plan.robust_return,
            uncertainty: plan.uncertainty.clone(),
            leaves_data: plan.leaves_data(),
            iterations: plan.trace.len(),
            seconds: plan.elapsed.as_secs_f64(),
            stop: plan.stop,
        })
    }

    fn draw(
        &self,
        out: &Path,
        report: &PlanReport,
        plan: &Plan,
        frames: Vec<Image>,
    ) -> Result<(), CliError> {
        let reel = Reel::new("imagined", frames, plan.virtual_.rewards.clone());
        let gif = encode_gif(&compose(&[reel], 1, SIDE)?)?;
        let chart = draw_dual_ascent(self.planner.name(), plan)?;
        let json = serde_json::to_vec_pretty(report)?;
        let files = [
            ("plan.png", Content::Picture(chart)),
            ("imagined.gif", Content::Bytes(gif)),
            ("plan.json", Content::Bytes(json)),
        ];
        write_all(out, &files).map(drop)
    }

    fn text(&self, report: &PlanReport, plan: &Plan) -> String {
        let mut rows = vec![
            (
                "planner",
                format!("{} on {}", report.planner, report.device),
            ),
            (
                "reward along the plan",
                format!("{:.3}", report.virtual_reward),
            ),
            ("reward rolled out", format!("{:.3}", report.rollout_reward)),
            ("largest violation", format!("{:.1e}", report.violation_max)),
        ];
        let robust = report.robust_return.map(|mean| format!("{mean:.3}"));
        rows.extend(robust.map(|mean| ("under action noise", mean)));
        let uncertainty = plan.uncertainty_mean().map(|mean| {
            format!("{mean:.2} in the mean; one training sequence of twenty exceeds 1")
        });
        rows.extend(uncertainty.map(|mean| ("model's uncertainty", mean)));
        rows.extend([
            (
                "time",
                format!("{:.3} s, {} iterations", report.seconds, report.iterations),
            ),
            ("stopped by", stop_text(report.stop).to_owned()),
        ]);
        if let Some(out) = &self.out {
            let names = ["plan.png", "imagined.gif", "plan.json"];
            let paths = names.map(|name| out.join(name).display().to_string());
            rows.push(("wrote", paths.join(", ")));
        }
        action_table(report, plan) + "\n" + &aligned(&rows)
    }
}

/// The planned latents decoded, beginning with what is believed now.
pub fn imagined(model: &WorldModel, belief: &Belief, plan: &Plan) -> Vec<Image> {
    let latents = burn::tensor::Tensor::cat(vec![belief.mean(), plan.latents.clone()], 0);
    decoded_images(model, latents)
}

/// Warns where a plan should not be trusted, or came late.
pub fn warn_of(plan: &Plan) {
    if !plan.is_backed_by_rollout() {
        warn(format!(
            "the plan promises a reward of {:.3}, but its actions rolled out through the model \
             reach {:.3}: do not rely on it",
            plan.virtual_.total(),
            plan.rollout.total()
        ));
    }
    if plan.leaves_data() == Some(true) {
        warn(format!(
            "the plan leaves what the model was trained on: its uncertainty is {:.2} in the mean, which one \
             training sequence of twenty has above 1: do not rely on the {:.3} that it promises",
            plan.uncertainty_mean().unwrap_or_default(),
            plan.rollout.total()
        ));
    }
    if let Some(late) = plan.late {
        warn(format!(
            "the plan came {:.1} ms after its deadline",
            late.as_secs_f64() * 1e3
        ));
    }
}

/// The actions in the environment's units.
fn actions(plan: &Plan, space: &ActionSpace) -> Result<Vec<Vec<f32>>, PlanError> {
    let action = |step| Ok(space.denormalised(&plan.action(step)?));
    (0..plan.horizon()).map(action).collect()
}

/// One row a step: the action, and the reward that it leads to along the plan and rolled out.
fn action_table(report: &PlanReport, plan: &Plan) -> String {
    let size = report.actions.first().map_or(0, Vec::len);
    let mut text = format!("{:>4}", "step");
    for component in 0..size {
        let _ = write!(text, " {:>8}", format!("a[{component}]"));
    }
    let _ = writeln!(text, " {:>9} {:>11}", "reward", "rolled out");
    let rewards = plan.virtual_.rewards.iter().zip(&plan.rollout.rewards);
    for (step, (action, (planned, rolled_out))) in report.actions.iter().zip(rewards).enumerate() {
        let _ = write!(text, "{step:>4}");
        for component in action {
            let _ = write!(text, " {component:>8.4}");
        }
        let _ = writeln!(text, " {planned:>9.4} {rolled_out:>11.4}");
    }
    text
}

fn stop_text(stop: StopReason) -> &'static str {
    match stop {
        StopReason::Converged => "convergence",
        StopReason::Stalled => "steps too short to help",
        StopReason::Iterations => "the number of iterations",
        StopReason::Deadline => "the deadline",
        StopReason::NoSlope => "a reward without slope",
        StopReason::Infeasible => "constraints that no plan keeps",
    }
}
