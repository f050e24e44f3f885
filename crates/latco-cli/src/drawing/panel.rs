//! One chart of several curves over a shared axis.

use std::ops::Range;

use plotters::{
    chart::{ChartBuilder, ChartContext},
    coord::{
        Shift,
        cartesian::Cartesian2d,
        ranged1d::{AsRangedCoord, Ranged, ValueFormatter},
        types::RangedCoordf64,
    },
    drawing::{DrawingArea, DrawingAreaErrorKind},
    element::{Circle, PathElement, Polygon, Text},
    prelude::{BitMapBackend, DrawingBackend, IntoLogRange},
    series::{DashedLineSeries, LineSeries},
    style::{
        Color, IntoFont, RGBColor, ShapeStyle, TextStyle, WHITE,
        text_anchor::{HPos, Pos, VPos},
    },
};

use super::font;

/// Charts are drawn twice as large and halved, since plotters does not smooth the edges of lines.
pub const SCALE: i32 = 2;
/// What the labels of the shared axis add to the lowest panel.
pub const AXIS_LABELS: i32 = 40;
/// Space on the right of the axes.
pub const RIGHT: i32 = 26;
/// Space on the left of the axes and of their labels, and above the axes.
const LEFT: i32 = 86;
const MARGIN: i32 = 14;
const TITLE: i32 = 34;
/// The radius of a curve of one point.
const DOT: i32 = 3;
/// Space below the axis of a panel.
const BELOW: i32 = 12;
/// Lengths of the strokes of a dashed line, between them, and between entries of the legend.
const DASH: i32 = 11;
const GAP: i32 = 6;
const ENTRY_GAP: i32 = 22;

pub const INK: RGBColor = RGBColor(32, 38, 46);
pub const SOFT_INK: RGBColor = RGBColor(84, 92, 104);
pub const GRID: RGBColor = RGBColor(229, 231, 234);
/// Colours that differ also to the colour-blind (Okabe & Ito).
pub const BLUE: RGBColor = RGBColor(0, 114, 178);
pub const ORANGE: RGBColor = RGBColor(213, 94, 0);
pub const GREEN: RGBColor = RGBColor(0, 158, 115);

/// A part of a picture of any kind, and of a bitmap.
pub type AreaOf<DB> = DrawingArea<DB, Shift>;
pub type Area<'a> = AreaOf<BitMapBackend<'a>>;
type Chart<'a, DB, Y> = ChartContext<'a, DB, Cartesian2d<RangedCoordf64, Y>>;
/// What can go wrong in drawing on it.
pub type FailureOf<DB> = DrawingAreaErrorKind<<DB as DrawingBackend>::ErrorType>;
pub type Failure = FailureOf<BitMapBackend<'static>>;

/// A chart with at least one point.
pub struct Panel {
    title: &'static str,
    axis: &'static str,
    scale: Scale,
    curves: Vec<Curve>,
}

/// How values map to heights.
#[derive(Clone, Copy)]
pub enum Scale {
    Linear,
    Logarithmic,
}

/// A line with its label in the legend.
pub struct Curve {
    label: &'static str,
    colour: RGBColor,
    dashed: bool,
    points: Vec<(f64, f64)>,
    /// Thin lines that the line is the mean of.
    strands: Vec<Vec<(f64, f64)>>,
    /// Where along the axis, lower and upper end of the interval around the line.
    band: Vec<(f64, f64, f64)>,
}

impl Panel {
    /// A panel of the points that its scale can show: finite ones, above zero on a logarithmic
    /// scale. `None` where there are none.
    pub fn new(
        title: &'static str,
        axis: &'static str,
        scale: Scale,
        mut curves: Vec<Curve>,
    ) -> Option<Self> {
        for curve in &mut curves {
            curve.points.retain(|&(_, value)| scale.can_show(value));
            for strand in &mut curve.strands {
                strand.retain(|&(_, value)| scale.can_show(value));
            }
        }
        curves.retain(|curve| !curve.points.is_empty());
        (!curves.is_empty()).then_some(Self {
            title,
            axis,
            scale,
            curves,
        })
    }

    /// Draws title, legend, axes and curves; the shared axis is labelled only where it has a name.
    pub fn draw<DB: DrawingBackend>(
        &self,
        area: &AreaOf<DB>,
        shared: Range<f64>,
        name: Option<&str>,
    ) -> Result<(), FailureOf<DB>> {
        let (title, area) = area.split_vertically(TITLE * SCALE);
        self.draw_title(&title)?;
        let values = self.value_range();
        match self.scale {
            Scale::Linear => self.draw_chart(&area, shared, values, name),
            Scale::Logarithmic => self.draw_chart(&area, shared, values.log_scale(), name),
        }
    }

    /// The title on the left, the legend on the right.
    fn draw_title<DB: DrawingBackend>(&self, area: &AreaOf<DB>) -> Result<(), FailureOf<DB>> {
        let (width, height) = area.dim_in_pixel();
        let middle = height as i32 / 2 + 3 * SCALE;
        let style = text(18, INK).pos(Pos::new(HPos::Left, VPos::Center));
        area.draw(&Text::new(self.title, (LEFT * SCALE, middle), style))?;
        let mut right = width as i32 - RIGHT * SCALE;
        for curve in self.curves.iter().rev() {
            right = curve.draw_legend(area, (right, middle))? - ENTRY_GAP * SCALE;
        }
        Ok(())
    }

    fn draw_chart<DB, Y>(
        &self,
        area: &AreaOf<DB>,
        shared: Range<f64>,
        values: Y,
        name: Option<&str>,
    ) -> Result<(), FailureOf<DB>>
    where
        DB: DrawingBackend,
        Y: AsRangedCoord<Value = f64>,
        Y::CoordDescType: Ranged<ValueType = f64> + ValueFormatter<f64>,
    {
        let below = match name {
            Some(_) => AXIS_LABELS + BELOW,
            None => BELOW,
        };
        let mut chart = ChartBuilder::on(area)
            .margin_left(MARGIN * SCALE)
            .margin_right(RIGHT * SCALE)
            .y_label_area_size((LEFT - MARGIN) * SCALE)
            .x_label_area_size(below * SCALE)
            .build_cartesian_2d(shared, values)?;
        self.draw_axes(&mut chart, name)?;
        let shown = self.value_range();
        self.curves
            .iter()
            .try_for_each(|curve| curve.draw(&mut chart, &shown))
    }

    fn draw_axes<DB, Y>(
        &self,
        chart: &mut Chart<'_, DB, Y>,
        name: Option<&str>,
    ) -> Result<(), FailureOf<DB>>
    where
        DB: DrawingBackend,
        Y: Ranged<ValueType = f64> + ValueFormatter<f64>,
    {
        let value_label = |value: &f64| self.scale.label(*value);
        let shared_label = |value: &f64| match name {
            Some(_) => whole(*value),
            None => String::new(),
        };
        let mut mesh = chart.configure_mesh();
        mesh.light_line_style(WHITE)
            .bold_line_style(GRID.stroke_width(SCALE as u32))
            .axis_style(SOFT_INK.stroke_width(SCALE as u32))
            .label_style(text(14, SOFT_INK))
            .axis_desc_style(text(15, INK))
            .x_labels(10)
            .y_labels(6)
            .x_label_formatter(&shared_label)
            .y_label_formatter(&value_label)
            .y_desc(self.axis);
        if let Some(name) = name {
            mesh.x_desc(name);
        }
        mesh.draw()
    }

    /// The lowest and the highest value of the lines with some room around them.
    fn value_range(&self) -> Range<f64> {
        let points = self.curves.iter().flat_map(Curve::all_points);
        let (low, high) = points.fold((f64::MAX, f64::MIN), |(low, high), &(_, value)| {
            (low.min(value), high.max(value))
        });
        let room = (0.08 * (high - low)).max(0.02 * high.abs()).max(1e-3);
        match self.scale {
            Scale::Linear => low - room..high + room,
            Scale::Logarithmic => low / 2.0..high * 2.0,
        }
    }
}

impl Scale {
    fn can_show(self, value: f64) -> bool {
        match self {
            Self::Linear => value.is_finite(),
            Self::Logarithmic => value.is_finite() && value > 0.0,
        }
    }

    /// How far up a value stands, if it can be shown.
    pub fn height(self, value: f64) -> Option<f64> {
        self.can_show(value).then(|| match self {
            Self::Linear => value,
            Self::Logarithmic => value.ln(),
        })
    }

    /// The value that stands so far up.
    pub fn value(self, height: f64) -> f64 {
        match self {
            Self::Linear => height,
            Self::Logarithmic => height.exp(),
        }
    }

    fn label(self, value: f64) -> String {
        let rounded = (value * 1e4).round() / 1e4;
        match self {
            Self::Logarithmic if !(5e-3..500.0).contains(&value) => format!("{value:.0e}"),
            // Adding zero turns −0 into 0.
            _ => (rounded + 0.0).to_string(),
        }
    }
}

impl Curve {
    /// A line through `points`.
    pub fn solid(label: &'static str, colour: RGBColor, points: Vec<(f64, f64)>) -> Self {
        Self {
            label,
            colour,
            dashed: false,
            points,
            strands: Vec::new(),
            band: Vec::new(),
        }
    }

    /// With the thin lines that it is the mean of, and the interval around it: where along the
    /// axis, lower and upper end.
    pub fn with_spread(
        mut self,
        strands: Vec<Vec<(f64, f64)>>,
        band: Vec<(f64, f64, f64)>,
    ) -> Self {
        self.strands = strands;
        self.band = band;
        self
    }

    fn all_points(&self) -> impl Iterator<Item = &(f64, f64)> {
        self.strands.iter().flatten().chain(&self.points)
    }

    /// A dashed line through `points`.
    pub fn dashed(label: &'static str, colour: RGBColor, points: Vec<(f64, f64)>) -> Self {
        Self {
            dashed: true,
            ..Self::solid(label, colour, points)
        }
    }

    /// Draws interval, thin lines and line; the interval only as far as values are `shown`.
    fn draw<DB, Y>(
        &self,
        chart: &mut Chart<'_, DB, Y>,
        shown: &Range<f64>,
    ) -> Result<(), FailureOf<DB>>
    where
        DB: DrawingBackend,
        Y: Ranged<ValueType = f64>,
    {
        if !self.band.is_empty() {
            let band = Polygon::new(self.outline(shown), self.colour.mix(0.16).filled());
            chart.draw_series([band])?;
        }
        for strand in &self.strands {
            let style = self.colour.mix(0.4).stroke_width(SCALE as u32);
            chart.draw_series(LineSeries::new(strand.iter().copied(), style))?;
        }
        let points = self.points.iter().copied();
        if let &[point] = self.points.as_slice() {
            chart.draw_series([Circle::new(point, DOT * SCALE, self.colour.filled())])?;
        } else if self.dashed {
            let (dash, gap) = (DASH * SCALE, GAP * SCALE);
            chart.draw_series(DashedLineSeries::new(points, dash, gap, self.style()))?;
        } else {
            chart.draw_series(LineSeries::new(points, self.style()))?;
        }
        Ok(())
    }

    /// Along the upper ends of the interval and back along the lower ones.
    fn outline(&self, shown: &Range<f64>) -> Vec<(f64, f64)> {
        let within = |value: f64| value.clamp(shown.start, shown.end);
        let upper = self.band.iter().map(|&(at, _, high)| (at, within(high)));
        let lower = self.band.iter().map(|&(at, low, _)| (at, within(low)));
        upper.chain(lower.rev()).collect()
    }

    /// A sample of the line and its label, ending at `right`; returns where they begin.
    fn draw_legend<DB: DrawingBackend>(
        &self,
        area: &AreaOf<DB>,
        (right, middle): (i32, i32),
    ) -> Result<i32, FailureOf<DB>> {
        let style = text(15, INK).pos(Pos::new(HPos::Right, VPos::Center));
        let (width, _) = area.estimate_text_size(self.label, &style)?;
        area.draw(&Text::new(self.label, (right, middle), style))?;
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

/// The label of a place on the shared axis, which counts: there is none between two whole numbers.
fn whole(value: f64) -> String {
    match (value - value.round()).abs() < 1e-6 {
        true => format!("{value:.0}"),
        false => String::new(),
    }
}

/// The style of text of `size` pixels.
pub fn text(size: i32, colour: RGBColor) -> TextStyle<'static> {
    (font::SANS, f64::from(size * SCALE))
        .into_font()
        .color(&colour)
}

#[cfg(test)]
mod tests {
    use plotters::drawing::IntoDrawingArea;

    use super::*;

    fn panel(scale: Scale, values: &[f64]) -> Option<Panel> {
        let points = values.iter().map(|&value| (0.0, value)).collect();
        Panel::new(
            "title",
            "axis",
            scale,
            vec![Curve::solid("label", BLUE, points)],
        )
    }

    #[test]
    fn points_that_cannot_be_shown_are_left_out() {
        let range = |scale, values: &[f64]| panel(scale, values).map(|panel| panel.value_range());
        assert_eq!(range(Scale::Logarithmic, &[0.0, -1.0, f64::NAN]), None);
        assert_eq!(range(Scale::Logarithmic, &[0.0, 1.0, 8.0]), Some(0.5..16.0));
        assert_eq!(
            range(Scale::Linear, &[0.0, f64::NAN, 100.0]),
            Some(-8.0..108.0)
        );
    }

    /// As a run of a single episode of the planner has.
    #[test]
    fn a_curve_of_one_point_is_seen() {
        let (width, height) = (600, 400);
        let mut bytes = vec![0; 3 * width * height];
        {
            let size = (width as u32, height as u32);
            let area = BitMapBackend::with_buffer(&mut bytes, size).into_drawing_area();
            let curve = Curve::solid("label", BLUE, vec![(5.0, 1.0)]);
            let panel = Panel::new("title", "axis", Scale::Linear, vec![curve]).unwrap();
            panel.draw(&area, 0.0..10.0, None).unwrap();
        }
        let blue = [BLUE.0, BLUE.1, BLUE.2];
        let below_the_legend = bytes.chunks(3 * width).skip((TITLE * SCALE) as usize);
        let pixels = below_the_legend.flat_map(|row| row.chunks(3));
        let seen = pixels.filter(|pixel| *pixel == blue).count();
        assert!((20..400).contains(&seen), "{seen}");
    }

    #[test]
    fn labels_are_short() {
        let logarithmic =
            [1e-4, 0.01, 1.0, 100.0, 1e7].map(|value| Scale::Logarithmic.label(value));
        assert_eq!(logarithmic, ["1e-4", "0.01", "1", "100", "1e7"]);
        let linear = [-1e-9, 0.30000000004, 25.0].map(|value| Scale::Linear.label(value));
        assert_eq!(linear, ["0", "0.3", "25"]);
        let steps = [0.0, 0.6, 1.5, 2.999_999_999, 400.0].map(whole);
        assert_eq!(steps, ["0", "", "", "3", "400"]);
    }
}
