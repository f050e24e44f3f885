//! Anti-aliased drawing in table coordinates.

use rapier2d::math::Vector;
use tiny_skia::{Color, FillRule, Paint, Path, PathBuilder, Pixmap, Rect, Transform};

use crate::image::Image;

/// Half the side of the square that the image shows, in world units: the table is `[-1, 1]²`, the
/// rest is a margin in which shapes at its edge stay whole.
pub(crate) const VIEW: f32 = 1.18;

/// Opaque red, green and blue.
pub(crate) type Colour = [u8; 3];

/// The palette: saturated, far apart, on a light table.
pub(crate) mod palette {
    use super::Colour;

    pub(crate) const TABLE: Colour = [236, 234, 226];
    pub(crate) const EFFECTOR: Colour = [214, 28, 44];
    pub(crate) const GOAL: Colour = [38, 178, 76];
    pub(crate) const FIXTURE: Colour = [70, 72, 84];
    pub(crate) const FENCE: Colour = [150, 152, 160];
    pub(crate) const OBJECT: Colour = [250, 146, 10];
    pub(crate) const TOOL: Colour = [28, 78, 216];
    pub(crate) const PANE: Colour = [20, 190, 214];
    pub(crate) const SPECIAL: Colour = [166, 40, 190];
}

/// A square image under construction. World coordinates: x to the right, y up, origin at the
/// centre.
pub(crate) struct Canvas {
    pixels: Pixmap,
    to_pixels: Transform,
}

impl Canvas {
    /// A canvas of `size` × `size` pixels.
    pub(crate) fn new(size: usize) -> Self {
        let side = u32::try_from(size).expect("the options bound the image size");
        let scale = size as f32 / (2.0 * VIEW);
        let centre = size as f32 / 2.0;
        Self {
            pixels: Pixmap::new(side, side).expect("the options bound the image size"),
            to_pixels: Transform::from_row(scale, 0.0, 0.0, -scale, centre, centre),
        }
    }

    /// The side in pixels.
    pub(crate) fn size(&self) -> usize {
        self.pixels.width() as usize
    }

    /// Covers everything with the colour of the table.
    pub(crate) fn clear(&mut self) {
        let [red, green, blue] = palette::TABLE;
        self.pixels
            .fill(Color::from_rgba8(red, green, blue, u8::MAX));
    }

    /// A filled disc.
    pub(crate) fn disc(&mut self, centre: Vector, radius: f32, colour: Colour) {
        let path = PathBuilder::from_circle(centre.x, centre.y, radius);
        self.fill(path, Transform::identity(), colour);
    }

    /// A filled rectangle of the given half sides, turned by `angle` radians about its centre.
    pub(crate) fn rectangle(&mut self, centre: Vector, half: Vector, angle: f32, colour: Colour) {
        let path = Rect::from_ltrb(-half.x, -half.y, half.x, half.y).map(PathBuilder::from_rect);
        let placement =
            Transform::from_rotate(angle.to_degrees()).post_translate(centre.x, centre.y);
        self.fill(path, placement, colour);
    }

    /// The finished image.
    pub(crate) fn image(&self) -> Image {
        let rgb = self
            .pixels
            .data()
            .chunks_exact(4)
            .flat_map(|rgba| [rgba[0], rgba[1], rgba[2]])
            .collect();
        Image::new(self.size(), self.size(), rgb).expect("a canvas is a square of whole pixels")
    }

    fn fill(&mut self, path: Option<Path>, placement: Transform, colour: Colour) {
        let path = path.expect("shapes have finite, positive sizes");
        let mut paint = Paint::default();
        paint.set_color_rgba8(colour[0], colour[1], colour[2], u8::MAX);
        self.pixels.fill_path(
            &path,
            &paint,
            FillRule::Winding,
            placement.post_concat(self.to_pixels),
            None,
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pixel(image: &Image, x: usize, y: usize) -> &[u8] {
        let start = 3 * (y * image.width() + x);
        &image.pixels()[start..start + 3]
    }

    #[test]
    fn up_is_up_and_edges_are_blended() {
        let mut canvas = Canvas::new(64);
        canvas.clear();
        canvas.disc(Vector::new(0.0, 0.8), 0.2, [255, 0, 0]);
        let image = canvas.image();
        assert_eq!(pixel(&image, 32, 10), [255, 0, 0]);
        assert_eq!(pixel(&image, 32, 54), palette::TABLE);
        let blended = image
            .pixels()
            .chunks_exact(3)
            .filter(|rgb| rgb[1] != 0 && rgb[1] != palette::TABLE[1])
            .count();
        assert!(blended > 8);
    }

    #[test]
    fn rectangles_turn_counter_clockwise() {
        let mut canvas = Canvas::new(64);
        canvas.clear();
        let angle = std::f32::consts::FRAC_PI_4;
        canvas.rectangle(Vector::ZERO, Vector::new(0.9, 0.1), angle, [0, 0, 255]);
        let image = canvas.image();
        assert_eq!(pixel(&image, 45, 18), [0, 0, 255]);
        assert_eq!(pixel(&image, 18, 18), palette::TABLE);
    }
}
