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
mod prediction;
mod sheet;
mod spread;
mod success;

pub use animation::encode_gif;
pub use dual_ascent::draw_dual_ascent;
pub use film::{INK, OPENED, OPENING, Reel, compose};
pub use learning_curve::{Curves, last_step, learning_curves};
pub use prediction::{PredictionCurves, draw_prediction_curves};
pub use sheet::{Sheet, SheetRow, spread, width_of};
pub use success::{Outcome, TaskOutcomes, draw_success};
