//! The pictures that commands write: animations of images with their rewards, and charts.

mod animation;
mod canvas;
mod dual_ascent;
mod figure;
mod film;
mod font;
mod learning_curve;
mod palette;
mod panel;

pub use animation::encode_gif;
pub use dual_ascent::draw_dual_ascent;
pub use film::{Reel, compose};
pub use learning_curve::{Curves, draw_learning_curve};
