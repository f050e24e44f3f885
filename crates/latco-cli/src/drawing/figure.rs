//! A titled figure of panels over one shared axis.

use std::ops::Range;

use latco_env::Image;
use plotters::{
    drawing::IntoDrawingArea,
    element::Text,
    prelude::{BitMapBackend, DrawingBackend, SVGBackend},
    style::{
        WHITE,
        text_anchor::{HPos, Pos, VPos},
    },
};

use super::{
    canvas::halved,
    font,
    panel::{
        AXIS_LABELS, Area, AreaOf, Failure, FailureOf, INK, Panel, RIGHT, SCALE, SOFT_INK, text,
    },
};
use crate::error::CliError;

/// The size of a figure in pixels.
const WIDTH: usize = 1000;
const HEIGHT: usize = 900;
const HEADER: i32 = 46;

/// A picture of `size` pixels, drawn on white paper [`SCALE`] times as large.
pub fn picture(
    (width, height): (usize, usize),
    draw: impl FnOnce(&Area) -> Result<(), Failure>,
) -> Result<Image, CliError> {
    font::register()?;
    let (width, height) = (width * SCALE as usize, height * SCALE as usize);
    let mut pixels = vec![u8::MAX; width * height * 3];
    {
        let size = (width as u32, height as u32);
        let root = BitMapBackend::with_buffer(&mut pixels, size).into_drawing_area();
        root.fill(&WHITE)
            .and_then(|()| draw(&root))
            .and_then(|()| root.present())
            .map_err(CliError::drawing)?;
    }
    halved(&Image::new(width, height, pixels)?)
}

/// Panels below each other.
pub struct Figure {
    /// What the figure shows, on the left above it.
    pub title: String,
    /// Numbers that belong to all of it, on the right above it.
    pub facts: String,
    /// From the top.
    pub panels: Vec<Panel>,
    /// The range of the shared axis and what it counts.
    pub axis: (Range<f64>, &'static str),
    /// What is said where there are no panels.
    pub otherwise: &'static str,
}

impl Figure {
    /// The figure as an image.
    pub fn render(&self) -> Result<Image, CliError> {
        picture((WIDTH, HEIGHT), |root| self.draw(root))
    }

    /// The figure as the text of an SVG file.
    pub fn to_svg(&self) -> Result<String, CliError> {
        font::register()?;
        let mut text = String::new();
        {
            let size = (WIDTH as u32 * SCALE as u32, HEIGHT as u32 * SCALE as u32);
            let root = SVGBackend::with_string(&mut text, size).into_drawing_area();
            root.fill(&WHITE)
                .and_then(|()| self.draw(&root))
                .and_then(|()| root.present())
                .map_err(CliError::drawing)?;
        }
        // The embedded typeface is known here only.
        Ok(text.replace(font::SANS, "Ubuntu, Helvetica, Arial, sans-serif"))
    }

    fn draw<DB: DrawingBackend>(&self, root: &AreaOf<DB>) -> Result<(), FailureOf<DB>> {
        let (header, body) = root.split_vertically(HEADER * SCALE);
        self.draw_header(&header)?;
        self.draw_panels(&body)
    }

    fn draw_header<DB: DrawingBackend>(&self, area: &AreaOf<DB>) -> Result<(), FailureOf<DB>> {
        let middle = area.dim_in_pixel().1 as i32 / 2 + 4 * SCALE;
        let style = text(21, INK).pos(Pos::new(HPos::Left, VPos::Center));
        area.draw(&Text::new(self.title.as_str(), (24 * SCALE, middle), style))?;
        let style = text(16, SOFT_INK).pos(Pos::new(HPos::Right, VPos::Center));
        let right = (WIDTH as i32 - RIGHT) * SCALE;
        area.draw(&Text::new(self.facts.as_str(), (right, middle), style))
    }

    /// Stacks the panels; the lowest is higher by the labels of the shared axis.
    fn draw_panels<DB: DrawingBackend>(&self, area: &AreaOf<DB>) -> Result<(), FailureOf<DB>> {
        let (width, height) = area.dim_in_pixel();
        let count = self.panels.len() as i32;
        if count == 0 {
            let style = text(16, SOFT_INK).pos(Pos::new(HPos::Center, VPos::Center));
            let middle = (width as i32 / 2, height as i32 / 2);
            return area.draw(&Text::new(self.otherwise, middle, style));
        }
        let each = (height as i32 - AXIS_LABELS * SCALE) / count;
        let breaks: Vec<i32> = (1..count).map(|index| index * each).collect();
        let areas = area.split_by_breakpoints::<i32, i32, _, _>([], breaks);
        let (range, name) = &self.axis;
        for (index, (area, panel)) in areas.iter().zip(&self.panels).enumerate() {
            let label = (index + 1 == self.panels.len()).then_some(*name);
            panel.draw(area, range.clone(), label)?;
        }
        Ok(())
    }
}
