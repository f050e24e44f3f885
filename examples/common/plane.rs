//! Drawings of points and paths in the plane.

use std::{error::Error, ops::Range};

use image::{
    RgbImage,
    imageops::{self, FilterType},
};
use latco::Image;
use plotters::{
    chart::ChartBuilder,
    drawing::IntoDrawingArea,
    element::{Circle, PathElement, Polygon},
    prelude::BitMapBackend,
    style::{Color, FontStyle, IntoFont, RGBColor, ShapeStyle, WHITE, register_font},
};

/// Colours that differ also to the colour-blind (Okabe & Ito).
pub const BLUE: RGBColor = RGBColor(0, 114, 178);
pub const ORANGE: RGBColor = RGBColor(213, 94, 0);
pub const GREEN: RGBColor = RGBColor(0, 158, 115);
pub const GREY: RGBColor = RGBColor(150, 156, 164);

const INK: RGBColor = RGBColor(32, 38, 46);
const FONT: &str = "example";
const TITLE: u32 = 24;

/// Drawn so many times as large and then reduced, since lines are not smoothed otherwise.
const SCALE: u32 = 2;

/// A position.
pub type Point = (f64, f64);

/// A square part of the plane with what is in it, drawn in the order of the calls.
pub struct Plane {
    title: String,
    extent: Range<f64>,
    marks: Vec<Mark>,
}

enum Mark {
    Region(Vec<Point>, RGBColor, f64),
    Line(Vec<Point>, RGBColor, u32),
    Dots(Vec<Point>, RGBColor, u32),
}

impl Plane {
    /// Both coordinates in `extent`, nothing in it.
    pub fn new(title: impl Into<String>, extent: Range<f64>) -> Self {
        Self {
            title: title.into(),
            extent,
            marks: Vec::new(),
        }
    }

    /// A filled outline, `opacity` between 0 and 1.
    pub fn region(mut self, outline: Vec<Point>, colour: RGBColor, opacity: f64) -> Self {
        self.marks.push(Mark::Region(outline, colour, opacity));
        self
    }

    /// A line through `points`.
    pub fn line(mut self, points: &[Point], colour: RGBColor, width: u32) -> Self {
        self.marks.push(Mark::Line(points.to_vec(), colour, width));
        self
    }

    /// A dot at each of `points`.
    pub fn dots(mut self, points: &[Point], colour: RGBColor, radius: u32) -> Self {
        self.marks.push(Mark::Dots(points.to_vec(), colour, radius));
        self
    }

    /// The drawing, `side` pixels wide.
    pub fn render(&self, side: u32) -> Result<Image, Box<dyn Error>> {
        let font = epaint_default_fonts::UBUNTU_LIGHT;
        register_font(FONT, FontStyle::Normal, font).map_err(|_| "the typeface is damaged")?;
        let (width, height) = (SCALE * side, SCALE * (side + TITLE));
        let mut pixels = vec![u8::MAX; (3 * width * height) as usize];
        self.draw(&mut pixels, (width, height))?;
        reduced(pixels, width, height)
    }

    fn draw(&self, pixels: &mut [u8], size: (u32, u32)) -> Result<(), Box<dyn Error>> {
        let error = |error| -> Box<dyn Error> { format!("drawing failed: {error}").into() };
        let area = BitMapBackend::with_buffer(pixels, size).into_drawing_area();
        area.fill(&WHITE).map_err(error)?;
        let title = (FONT, f64::from(SCALE * 16)).into_font().color(&INK);
        let area = area.titled(&self.title, title).map_err(error)?;
        let mut chart = ChartBuilder::on(&area)
            .margin(SCALE * 6)
            .build_cartesian_2d(self.extent.clone(), self.extent.clone())
            .map_err(error)?;
        for mark in &self.marks {
            match mark.element() {
                Drawable::Region(element) => chart.draw_series([element]).map(drop),
                Drawable::Line(element) => chart.draw_series([element]).map(drop),
                Drawable::Dots(elements) => chart.draw_series(elements).map(drop),
            }
            .map_err(error)?;
        }
        area.present().map_err(error)
    }
}

enum Drawable {
    Region(Polygon<Point>),
    Line(PathElement<Point>),
    Dots(Vec<Circle<Point, u32>>),
}

impl Mark {
    fn element(&self) -> Drawable {
        match self {
            Self::Region(outline, colour, opacity) => {
                Drawable::Region(Polygon::new(outline.clone(), colour.mix(*opacity).filled()))
            }
            Self::Line(points, colour, width) => {
                let style: ShapeStyle = colour.stroke_width(SCALE * width);
                Drawable::Line(PathElement::new(points.clone(), style))
            }
            Self::Dots(points, colour, radius) => {
                let dot = |&point: &Point| Circle::new(point, SCALE * radius, colour.filled());
                Drawable::Dots(points.iter().map(dot).collect())
            }
        }
    }
}

/// The outline of a disc.
pub fn disc(centre: Point, radius: f64) -> Vec<Point> {
    let corner = |index: u32| {
        let (sine, cosine) = (f64::from(index) * std::f64::consts::TAU / 96.0).sin_cos();
        (centre.0 + radius * cosine, centre.1 + radius * sine)
    };
    (0..96).map(corner).collect()
}

fn reduced(pixels: Vec<u8>, width: u32, height: u32) -> Result<Image, Box<dyn Error>> {
    let drawn = RgbImage::from_raw(width, height, pixels).ok_or("the picture has no size")?;
    let (width, height) = (width / SCALE, height / SCALE);
    let small = imageops::resize(&drawn, width, height, FilterType::Triangle);
    Ok(Image::new(
        width as usize,
        height as usize,
        small.into_raw(),
    )?)
}
