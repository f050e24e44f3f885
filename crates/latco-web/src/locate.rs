//! Where an image shows the effector.
//!
//! A latent has no coordinates of its own. What it says about where the effector is shows in its
//! decoded image: the weighted centre of the pixels that have the effector's colour,
//!
//! ```text
//! w_p = max(0, 1 − ‖colour_p − effector‖ / 100),    x = Σ w_p p / Σ w_p
//! ```
//!
//! taken a second time over those near that centre alone, since the seam between two other colours may be
//! reddish too. A latent that is no picture of a scene, as those of a relaxed plan may be, decodes to a blur. How much
//! of an effector there is in it is the confidence: the share of the weight that the true image has, times
//! how little wider it is spread.

use latco_env::Image;

/// Distances in red, green and blue beyond which a pixel is none of the effector's.
const REACH: f32 = 100.0;

/// How far from the first centre pixels count for the second, as a multiple of the true effector's spread, which is
/// 0.7 of its radius.
const WITHIN: f32 = 2.0;

/// Where something is, in shares of the picture: x from the left, y from the top.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Place {
    /// From the left.
    pub x: f32,
    /// From the top.
    pub y: f32,
    /// From 0, nothing to be seen, to 1, as clear as in the true image.
    pub confidence: f32,
}

/// The pixels of the effector's colour in an image.
#[derive(Clone, Copy, Debug)]
struct Blot {
    weight: f32,
    centre: [f32; 2],
    /// Mean squared distance from the centre.
    spread: f32,
}

impl Blot {
    fn of(image: &Image, colour: [u8; 3]) -> Self {
        Self::among(image, colour, |_| true)
    }

    /// Of the pixels at these places alone.
    fn among(image: &Image, colour: [u8; 3], counts: impl Fn([f32; 2]) -> bool) -> Self {
        let (width, height) = (image.width() as f32, image.height() as f32);
        let pixels = image.pixels().chunks_exact(3).enumerate();
        let weighted: Vec<_> = pixels
            .map(|(index, pixel)| {
                let x = (index % image.width()) as f32 + 0.5;
                let y = (index / image.width()) as f32 + 0.5;
                (likeness(pixel, colour), [x / width, y / height])
            })
            .filter(|(weight, place)| *weight > 0.0 && counts(*place))
            .collect();
        let weight: f32 = weighted.iter().map(|(weight, _)| weight).sum();
        let mean = |value: &dyn Fn([f32; 2]) -> f32| {
            let sum: f32 = weighted.iter().map(|(w, place)| w * value(*place)).sum();
            sum / weight.max(f32::MIN_POSITIVE)
        };
        let centre = [mean(&|place| place[0]), mean(&|place| place[1])];
        let spread = mean(&|place| (place[0] - centre[0]).powi(2) + (place[1] - centre[1]).powi(2));
        Self {
            weight,
            centre,
            spread,
        }
    }
}

/// From 0 to 1.
fn likeness(pixel: &[u8], colour: [u8; 3]) -> f32 {
    let difference = |channel: usize| f32::from(pixel[channel].abs_diff(colour[channel]));
    let square: f32 = (0..3).map(|channel| difference(channel).powi(2)).sum();
    (1.0 - square.sqrt() / REACH).max(0.0)
}

/// Finds the effector in decoded images.
#[derive(Clone, Copy, Debug)]
pub struct Locator {
    colour: [u8; 3],
    /// The true effector.
    model: Blot,
}

impl Locator {
    /// For an effector of this colour that looks as it does in `image`.
    pub fn new(image: &Image, colour: [u8; 3]) -> Self {
        Self {
            colour,
            model: Blot::of(image, colour),
        }
    }

    /// Where `image` shows the effector; in the middle, with confidence 0, where it does not.
    pub fn locate(&self, image: &Image) -> Place {
        let blot = Blot::of(image, self.colour);
        if blot.weight <= 0.0 {
            return Place {
                x: 0.5,
                y: 0.5,
                confidence: 0.0,
            };
        }
        let much = (blot.weight / self.model.weight.max(f32::MIN_POSITIVE)).min(1.0);
        let dense = (self.model.spread / blot.spread.max(f32::MIN_POSITIVE)).min(1.0);
        let radius = WITHIN * self.model.spread.sqrt();
        let [x, y] = blot.centre;
        let near = Blot::among(image, self.colour, |place| {
            (place[0] - x).hypot(place[1] - y) <= radius
        });
        let centre = if near.weight > 0.0 {
            near.centre
        } else {
            blot.centre
        };
        Place {
            x: centre[0],
            y: centre[1],
            confidence: much * dense,
        }
    }
}

#[cfg(test)]
mod tests {
    use latco_env::{EnvOptions, scene};

    use super::*;

    #[test]
    fn the_effector_of_a_true_image_is_found_to_half_a_pixel() {
        for name in ["reach", "two-room", "window", "drawer", "button"] {
            let mut scene = scene(name, &EnvOptions::default()).unwrap();
            for seed in 0..5 {
                let image = latco_env::Environment::reset(&mut scene, seed).unwrap();
                let place = Locator::new(&image, scene.effector_colour()).locate(&image);
                let [x, y] = scene.things()[0].position;
                let error = (place.x - x).hypot(place.y - y);
                assert!(error < 0.5 / 64.0, "{name}: {error}");
                assert_eq!(place.confidence, 1.0);
            }
        }
    }

    #[test]
    fn what_shows_no_effector_has_no_confidence() {
        let red = |x: usize, y: usize| (x as f32 - 8.0).hypot(y as f32 - 8.0) < 4.0;
        let disc = Image::from_fn(
            64,
            64,
            |x, y| if red(x, y) { [214, 28, 44] } else { [236; 3] },
        );
        let locator = Locator::new(&disc, [214, 28, 44]);
        let blank = Image::from_fn(64, 64, |_, _| [236; 3]);
        assert_eq!(locator.locate(&blank).confidence, 0.0);
        let everywhere = Image::from_fn(64, 64, |_, _| [214, 60, 80]);
        assert!(locator.locate(&everywhere).confidence < 0.05);
    }
}
