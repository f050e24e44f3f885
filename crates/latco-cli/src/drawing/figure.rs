//! A titled figure of panels over one shared axis.

use std::ops::Range;

use latco_env::Image;
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
    panel::{AXIS_LABELS, Area, Failure, INK, Panel, RIGHT, SCALE, SOFT_INK, text},
};
use crate::error::CliError;

/// The size of a figure in pixels.
const WIDTH: usize = 1000;
const HEIGHT: usize = 900;
const HEADER: i32 = 46;

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
        font::register()?;
        let (width, height) = (WIDTH * SCALE as usize, HEIGHT * SCALE as usize);
        let mut pixels = vec![u8::MAX; width * height * 3];
        self.draw(&mut pixels, (width as u32, height as u32))
            .map_err(CliError::drawing)?;
        halved(&Image::new(width, height, pixels)?)
    }

    fn draw(&self, pixels: &mut [u8], size: (u32, u32)) -> Result<(), Failure> {
        let root = BitMapBackend::with_buffer(pixels, size).into_drawing_area();
        root.fill(&WHITE)?;
        let (header, body) = root.split_vertically(HEADER * SCALE);
        self.draw_header(&header)?;
        self.draw_panels(&body)?;
        root.present()
    }

    fn draw_header(&self, area: &Area) -> Result<(), Failure> {
        let middle = area.dim_in_pixel().1 as i32 / 2 + 4 * SCALE;
        let style = text(21, INK).pos(Pos::new(HPos::Left, VPos::Center));
        area.draw(&Text::new(self.title.as_str(), (24 * SCALE, middle), style))?;
        let style = text(16, SOFT_INK).pos(Pos::new(HPos::Right, VPos::Center));
        let right = (WIDTH as i32 - RIGHT) * SCALE;
        area.draw(&Text::new(self.facts.as_str(), (right, middle), style))
    }

    /// Stacks the panels; the lowest is higher by the labels of the shared axis.
    fn draw_panels(&self, area: &Area) -> Result<(), Failure> {
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
