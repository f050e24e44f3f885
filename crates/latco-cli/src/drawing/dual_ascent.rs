//! The chart of a plan's iterations: reward, violation, multipliers.

use std::ops::Range;

use latco_env::Image;
use latco_plan::{Iteration, Plan};

use super::{
    figure::Figure,
    panel::{BLUE, Curve, GREEN, ORANGE, Panel, Scale},
};
use crate::error::CliError;

/// Draws how a plan came about: the reward along the plan beside its rollout's, the dynamics
/// violation, and the multipliers λ of the dynamics and ν of the action bounds. A method without
/// violations or multipliers gets no panel for them.
pub fn draw_dual_ascent(planner: &str, plan: &Plan) -> Result<Image, CliError> {
    let figure = Figure {
        title: format!("How {planner} found its plan"),
        facts: format!(
            "{} steps, {} iterations, {:.2} s",
            plan.horizon(),
            plan.trace.len(),
            plan.elapsed.as_secs_f64()
        ),
        panels: panels(plan),
        axis: (iterations(&plan.trace), "iteration"),
        otherwise: "This planner does not iterate.",
    };
    figure.render()
}

/// The range of the shared axis.
fn iterations(trace: &[Iteration]) -> Range<f64> {
    let last = trace.last().map_or(1, |iteration| iteration.index.max(1));
    0.0..last as f64
}

/// The panels of a plan, from the top.
fn panels(plan: &Plan) -> Vec<Panel> {
    let curve = |label, colour, value: fn(&Iteration) -> f32| {
        let point = |i: &Iteration| (i.index as f64, f64::from(value(i)));
        Curve::solid(label, colour, plan.trace.iter().map(point).collect())
    };
    let rewards = vec![
        curve("along the plan (virtual)", BLUE, |i| i.reward),
        rollout_line(plan),
    ];
    let violations = vec![
        curve("largest of a step", ORANGE, |i| i.violation_max),
        curve("mean over steps", BLUE, |i| i.violation_mean),
    ];
    let multipliers = vec![
        curve("dynamics λ, largest", ORANGE, |i| i.multiplier_max),
        curve("dynamics λ, mean", BLUE, |i| i.multiplier_mean),
        curve("action bounds ν, largest", GREEN, |i| {
            i.action_multiplier_max
        }),
    ];
    let panels = [
        Panel::new("Reward", "summed reward", Scale::Linear, rewards),
        Panel::new(
            "Violation of the dynamics",
            "squared distance",
            Scale::Logarithmic,
            violations,
        ),
        Panel::new("Multipliers", "multiplier", Scale::Logarithmic, multipliers),
    ];
    panels.into_iter().flatten().collect()
}

/// The reward of the final actions rolled out, across the whole panel.
fn rollout_line(plan: &Plan) -> Curve {
    let reward = f64::from(plan.rollout.total());
    let Range { start, end } = iterations(&plan.trace);
    let points = match plan.trace.is_empty() {
        true => Vec::new(),
        false => vec![(start, reward), (end, reward)],
    };
    Curve::dashed("final actions rolled out", ORANGE, points)
}
