//! The chart of a plan's iterations: reward, violation, multipliers.

use std::ops::Range;

use latco_env::Image;
use latco_plan::{Iteration, Plan};
use plotters::{
    drawing::IntoDrawingArea,
    element::Text,
    prelude::BitMapBackend,
    style::{
        WHITE,
        text_anchor::{HPos, Pos, VPos},
    },
};

use super::{
    canvas::halved,
    font,
    panel::{
        AXIS_LABELS, Area, BLUE, Curve, Failure, GREEN, INK, ORANGE, Panel, RIGHT, SCALE, SOFT_INK,
        Scale, text,
    },
};
use crate::error::CliError;

/// The size of the chart in pixels.
const WIDTH: usize = 1000;
const HEIGHT: usize = 900;
const HEADER: i32 = 46;

/// Draws how a plan came about: the reward along the plan beside its rollout's, the dynamics
/// violation, and the multipliers λ of the dynamics and ν of the action bounds. A method without
/// violations or multipliers gets no panel for them.
pub fn draw_dual_ascent(planner: &str, plan: &Plan) -> Result<Image, CliError> {
    font::register()?;
    let (width, height) = (WIDTH * SCALE as usize, HEIGHT * SCALE as usize);
    let mut pixels = vec![u8::MAX; width * height * 3];
    draw(&mut pixels, (width as u32, height as u32), planner, plan).map_err(CliError::drawing)?;
    halved(&Image::new(width, height, pixels)?)
}

fn draw(pixels: &mut [u8], size: (u32, u32), planner: &str, plan: &Plan) -> Result<(), Failure> {
    let root = BitMapBackend::with_buffer(pixels, size).into_drawing_area();
    root.fill(&WHITE)?;
    let (header, body) = root.split_vertically(HEADER * SCALE);
    draw_header(&header, planner, plan)?;
    draw_panels(&body, &panels(plan), iterations(&plan.trace))?;
    root.present()
}

fn draw_header(area: &Area, planner: &str, plan: &Plan) -> Result<(), Failure> {
    let middle = area.dim_in_pixel().1 as i32 / 2 + 4 * SCALE;
    let style = text(21, INK).pos(Pos::new(HPos::Left, VPos::Center));
    let title = format!("How {planner} found its plan");
    area.draw(&Text::new(title, (24 * SCALE, middle), style))?;
    let style = text(16, SOFT_INK).pos(Pos::new(HPos::Right, VPos::Center));
    let facts = format!(
        "{} steps, {} iterations, {:.2} s",
        plan.horizon(),
        plan.trace.len(),
        plan.elapsed.as_secs_f64()
    );
    let right = (WIDTH as i32 - RIGHT) * SCALE;
    area.draw(&Text::new(facts, (right, middle), style))
}

/// Stacks the panels; the lowest is higher by the labels of the shared axis.
fn draw_panels(area: &Area, panels: &[Panel], iterations: Range<f64>) -> Result<(), Failure> {
    let (width, height) = area.dim_in_pixel();
    let count = panels.len() as i32;
    if count == 0 {
        let style = text(16, SOFT_INK).pos(Pos::new(HPos::Center, VPos::Center));
        let middle = (width as i32 / 2, height as i32 / 2);
        return area.draw(&Text::new("This planner does not iterate.", middle, style));
    }
    let each = (height as i32 - AXIS_LABELS * SCALE) / count;
    let breaks: Vec<i32> = (1..count).map(|index| index * each).collect();
    let areas = area.split_by_breakpoints::<i32, i32, _, _>([], breaks);
    for (index, (area, panel)) in areas.iter().zip(panels).enumerate() {
        panel.draw(area, iterations.clone(), index + 1 == panels.len())?;
    }
    Ok(())
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
