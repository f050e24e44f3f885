//! The chart of a plan's iterations: reward, violation, multipliers.

use latco_env::Image;
use latco_plan::{Iteration, Plan};
use plotters::{
    chart::{ChartBuilder, ChartContext},
    coord::{
        Shift,
        cartesian::Cartesian2d,
        ranged1d::{AsRangedCoord, Ranged, ValueFormatter},
        types::RangedCoordf64,
    },
    drawing::{DrawingArea, DrawingAreaErrorKind, IntoDrawingArea},
    element::{PathElement, Text},
    prelude::{BitMapBackend, DrawingBackend, IntoLogRange},
    series::{DashedLineSeries, LineSeries},
    style::{
        Color, IntoFont, RGBColor, ShapeStyle, TextStyle, WHITE,
        text_anchor::{HPos, Pos, VPos},
    },
};

use super::{canvas::halved, font};
use crate::error::CliError;

/// The size of the chart in pixels.
const WIDTH: usize = 1000;
const HEIGHT: usize = 900;
/// Drawn twice as large and halved, since plotters does not smooth the edges of lines.
const SCALE: i32 = 2;
/// What the labels of the shared axis add to the lowest panel.
const AXIS_LABELS: i32 = 40;
/// Space left and right of the axes, and above them for title and legend.
const LEFT: i32 = 86;
const RIGHT: i32 = 26;
const TITLE: i32 = 34;

const INK: RGBColor = RGBColor(32, 38, 46);
const SOFT_INK: RGBColor = RGBColor(84, 92, 104);
/// Lengths of the strokes of a dashed line and between them.
const DASH: i32 = 11;
const GAP: i32 = 6;

const GRID: RGBColor = RGBColor(229, 231, 234);
const BLUE: RGBColor = RGBColor(0, 114, 178);
const ORANGE: RGBColor = RGBColor(213, 94, 0);
const GREEN: RGBColor = RGBColor(0, 158, 115);

type Backend<'a> = BitMapBackend<'a>;
type Area<'a> = DrawingArea<Backend<'a>, Shift>;
type Chart<'a, 'b, Y> = ChartContext<'a, Backend<'b>, Cartesian2d<RangedCoordf64, Y>>;
type Failure = DrawingAreaErrorKind<<Backend<'static> as DrawingBackend>::ErrorType>;

/// One of the stacked charts; all share the axis of iterations.
struct Panel {
    title: &'static str,
    axis: &'static str,
    scale: Scale,
    curves: Vec<Curve>,
    /// Said in the middle where there is no curve to draw.
    otherwise: &'static str,
    /// Whether the axis of iterations is labelled here.
    labelled: bool,
}

#[derive(Clone, Copy, PartialEq)]
enum Scale {
    Linear,
    Logarithmic,
}

struct Curve {
    label: String,
    colour: RGBColor,
    dashed: bool,
    points: Vec<(f64, f64)>,
}

/// Draws how a plan came about: the reward along the plan beside its rollout's, the dynamics
/// violation, and the multipliers λ of the dynamics and ν of the action bounds.
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
    let (header, body) = root.split_vertically(46 * SCALE);
    draw_header(&header, planner, plan)?;
    let last = plan.trace.last().map_or(1, |iteration| iteration.index);
    let iterations = 0.0..(last as f64).max(1.0);
    let mut panels = panels(plan);
    panels.retain(Panel::has_curves);
    // The lowest panel is higher by the labels of the shared axis.
    let count = panels.len().max(1) as i32;
    let height = (body.dim_in_pixel().1 as i32 - AXIS_LABELS * SCALE) / count;
    let breaks: Vec<i32> = (1..count).map(|index| index * height).collect();
    let areas = body.split_by_breakpoints::<i32, i32, _, _>([], breaks);
    for (index, (area, panel)) in areas.iter().zip(&panels).enumerate() {
        let lowest = index + 1 == panels.len();
        panel.draw(area, iterations.clone(), lowest)?;
    }
    if panels.is_empty() {
        draw_nothing(&body)?;
    }
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
    area.draw(&Text::new(
        facts,
        ((WIDTH as i32 - RIGHT) * SCALE, middle),
        style,
    ))
}

/// The three panels of a plan, from the top.
fn panels(plan: &Plan) -> [Panel; 3] {
    let curve = |label: &str, colour, value: fn(&Iteration) -> f32| Curve {
        label: label.to_owned(),
        colour,
        dashed: false,
        points: points(&plan.trace, value),
    };
    let mut rewards = vec![curve("along the plan (virtual)", BLUE, |i| i.reward)];
    rewards.extend(rollout_line(plan));
    [
        Panel {
            title: "Reward",
            axis: "summed reward",
            scale: Scale::Linear,
            curves: rewards,
            otherwise: "the planner does not iterate",
            labelled: false,
        },
        Panel {
            title: "Violation of the dynamics",
            axis: "squared distance",
            scale: Scale::Logarithmic,
            curves: vec![
                curve("largest of a step", ORANGE, |i| i.violation_max),
                curve("mean over steps", BLUE, |i| i.violation_mean),
            ],
            otherwise: "none: shooting keeps to the dynamics",
            labelled: false,
        },
        Panel {
            title: "Multipliers",
            axis: "multiplier",
            scale: Scale::Logarithmic,
            curves: vec![
                curve("dynamics λ, largest", ORANGE, |i| i.multiplier_max),
                curve("dynamics λ, mean", BLUE, |i| i.multiplier_mean),
                curve("action bounds ν, largest", GREEN, |i| {
                    i.action_multiplier_max
                }),
            ],
            otherwise: "none: shooting has no constraints to enforce",
            labelled: true,
        },
    ]
}

fn points(trace: &[Iteration], value: fn(&Iteration) -> f32) -> Vec<(f64, f64)> {
    let point = |iteration: &Iteration| (iteration.index as f64, f64::from(value(iteration)));
    trace.iter().map(point).collect()
}

/// The reward of the final actions rolled out, across the whole panel.
fn rollout_line(plan: &Plan) -> Option<Curve> {
    let last = plan.trace.last()?.index as f64;
    let reward = f64::from(plan.rollout.total());
    Some(Curve {
        label: "final actions rolled out".to_owned(),
        colour: ORANGE,
        dashed: true,
        points: vec![(0.0, reward), (last.max(1.0), reward)],
    })
}

impl Panel {
    fn draw(mut self, area: &Area, iterations: std::ops::Range<f64>) -> Result<(), Failure> {
        let drawable = |&(_, y): &(f64, f64)| match self.scale {
            Scale::Linear => y.is_finite(),
            Scale::Logarithmic => y.is_finite() && y > 0.0,
        };
        for curve in &mut self.curves {
            curve.points.retain(drawable);
        }
        self.curves.retain(|curve| !curve.points.is_empty());
        let (title, area) = area.split_vertically(TITLE * SCALE);
        self.draw_title(&title)?;
        match (self.value_range(), self.scale) {
            (None, _) => self.draw_empty(&area),
            (Some((low, high)), Scale::Linear) => self.draw_on(&area, iterations, low..high),
            (Some((low, high)), Scale::Logarithmic) => {
                self.draw_on(&area, iterations, (low..high).log_scale())
            }
        }
    }

    /// The lowest and the highest value with some room around them.
    fn value_range(&self) -> Option<(f64, f64)> {
        let values = || self.curves.iter().flat_map(|curve| &curve.points);
        let low = values().map(|&(_, y)| y).min_by(f64::total_cmp)?;
        let high = values().map(|&(_, y)| y).max_by(f64::total_cmp)?;
        let room = (0.08 * (high - low)).max(0.02 * high.abs()).max(1e-3);
        Some(match self.scale {
            Scale::Linear => (low - room, high + room),
            Scale::Logarithmic => (low / 2.0, high * 2.0),
        })
    }

    /// Frame and title only, and why there is nothing to see.
    fn draw_empty(&self, area: &Area) -> Result<(), Failure> {
        let mut chart = self.builder(area).build_cartesian_2d(0.0..1.0, 0.0..1.0)?;
        chart
            .configure_mesh()
            .disable_mesh()
            .axis_style(GRID.stroke_width(SCALE as u32))
            .x_labels(0)
            .y_labels(0)
            .draw()?;
        let style = text(16, SOFT_INK).pos(Pos::new(HPos::Center, VPos::Center));
        chart.draw_series([Text::new(self.otherwise, (0.5, 0.5), style)])?;
        Ok(())
    }

    fn draw_on<Y>(
        &self,
        area: &Area,
        iterations: std::ops::Range<f64>,
        values: Y,
    ) -> Result<(), Failure>
    where
        Y: AsRangedCoord<Value = f64>,
        Y::CoordDescType: Ranged<ValueType = f64> + ValueFormatter<f64>,
    {
        let mut chart = self.builder(area).build_cartesian_2d(iterations, values)?;
        self.draw_mesh(&mut chart)?;
        for curve in &self.curves {
            curve.draw(&mut chart)?;
        }
        Ok(())
    }

    /// The title on the left, the legend on the right.
    fn draw_title(&self, area: &Area) -> Result<(), Failure> {
        let (width, height) = area.dim_in_pixel();
        let middle = height as i32 / 2 + 3 * SCALE;
        let style = text(18, INK).pos(Pos::new(HPos::Left, VPos::Center));
        area.draw(&Text::new(self.title, (LEFT * SCALE, middle), style))?;
        let mut right = width as i32 - RIGHT * SCALE;
        for curve in self.curves.iter().rev() {
            right = curve.draw_legend(area, (right, middle))? - 22 * SCALE;
        }
        Ok(())
    }

    fn builder<'a, 'b>(&self, area: &'a Area<'b>) -> ChartBuilder<'a, 'b, Backend<'b>> {
        let mut builder = ChartBuilder::on(area);
        let below = if self.labelled { AXIS_LABELS + 12 } else { 12 };
        builder
            .margin_left(14 * SCALE)
            .margin_right(RIGHT * SCALE)
            .y_label_area_size((LEFT - 14) * SCALE)
            .x_label_area_size(below * SCALE);
        builder
    }

    fn draw_mesh<Y>(&self, chart: &mut Chart<'_, '_, Y>) -> Result<(), Failure>
    where
        Y: Ranged<ValueType = f64> + ValueFormatter<f64>,
    {
        let scale = self.scale;
        let format = move |value: &f64| label(*value, scale);
        let iteration = |value: &f64| match self.labelled {
            true => format!("{value:.0}"),
            false => String::new(),
        };
        let mut mesh = chart.configure_mesh();
        mesh.light_line_style(WHITE)
            .bold_line_style(GRID.stroke_width(SCALE as u32))
            .axis_style(SOFT_INK.stroke_width(SCALE as u32))
            .label_style(text(14, SOFT_INK))
            .axis_desc_style(text(15, INK))
            .x_labels(10)
            .y_labels(6)
            .x_label_formatter(&iteration)
            .y_label_formatter(&format)
            .y_desc(self.axis);
        if self.labelled {
            mesh.x_desc("iteration");
        }
        mesh.draw()
    }
}

impl Curve {
    fn draw<Y>(&self, chart: &mut Chart<'_, '_, Y>) -> Result<(), Failure>
    where
        Y: Ranged<ValueType = f64>,
    {
        let points = self.points.iter().copied();
        if self.dashed {
            let (dash, gap) = (DASH * SCALE, GAP * SCALE);
            chart.draw_series(DashedLineSeries::new(points, dash, gap, self.style()))?;
        } else {
            chart.draw_series(LineSeries::new(points, self.style()))?;
        }
        Ok(())
    }

    /// A sample of the line and its label, ending at `right`; returns where they begin.
    fn draw_legend(&self, area: &Area, (right, middle): (i32, i32)) -> Result<i32, Failure> {
        let style = text(15, INK).pos(Pos::new(HPos::Right, VPos::Center));
        let (width, _) = area.estimate_text_size(&self.label, &style)?;
        area.draw(&Text::new(self.label.as_str(), (right, middle), style))?;
        let end = right - width as i32 - 8 * SCALE;
        let start = end - (2 * DASH + GAP) * SCALE;
        let strokes = match self.dashed {
            true => vec![(start, start + DASH * SCALE), (end - DASH * SCALE, end)],
            false => vec![(start, end)],
        };
        for (from, to) in strokes {
            let line = vec![(from, middle + SCALE), (to, middle + SCALE)];
            area.draw(&PathElement::new(line, self.style()))?;
        }
        Ok(start)
    }

    fn style(&self) -> ShapeStyle {
        self.colour.stroke_width(2 * SCALE as u32)
    }
}

fn label(value: f64, scale: Scale) -> String {
    match scale {
        Scale::Linear if value.abs() < 1e-9 => "0".to_owned(),
        Scale::Linear => format!("{}", (value * 1e4).round() / 1e4),
        Scale::Logarithmic if (5e-3..500.0).contains(&value) => {
            format!("{}", (value * 1e6).round() / 1e6)
        }
        Scale::Logarithmic => format!("{value:.0e}"),
    }
}

fn text(size: i32, colour: RGBColor) -> TextStyle<'static> {
    (font::SANS, f64::from(size * SCALE))
        .into_font()
        .color(&colour)
}
