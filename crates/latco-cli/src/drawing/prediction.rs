//! The chart of open-loop predictions: how far images and rewards drift from the recordings.

use latco_env::Image;

use super::{
    figure::Figure,
    panel::{BLUE, Curve, ORANGE, Panel, Scale},
};
use crate::error::CliError;

/// Means over recordings, each over frames.
pub struct PredictionCurves {
    /// Frames that the model was shown.
    pub context: usize,
    /// How many recordings the curves are means of.
    pub recordings: usize,
    /// Mean squared image error of the model.
    pub image: Vec<(f64, f64)>,
    /// That of the last image repeated.
    pub still: Vec<(f64, f64)>,
    /// The recorded reward.
    pub recorded: Vec<(f64, f64)>,
    /// The predicted reward.
    pub predicted: Vec<(f64, f64)>,
}

/// Draws image error and reward, one panel each.
pub fn draw_prediction_curves(curves: PredictionCurves) -> Result<Image, CliError> {
    let last = curves
        .image
        .last()
        .map_or(1.0, |&(frame, _)| frame.max(1.0));
    let facts = format!(
        "{} recordings, frames 0 to {} shown, the rest imagined",
        curves.recordings,
        curves.context - 1
    );
    let images = vec![
        Curve::solid("model", ORANGE, curves.image),
        Curve::dashed("last shown image", BLUE, curves.still),
    ];
    let rewards = vec![
        Curve::solid("predicted", ORANGE, curves.predicted),
        Curve::dashed("recorded", BLUE, curves.recorded),
    ];
    let panels = [
        Panel::new("Image", "mean squared error", Scale::Linear, images),
        Panel::new("Reward", "mean reward", Scale::Linear, rewards),
    ];
    let figure = Figure {
        title: "Prediction against recording".to_owned(),
        facts,
        panels: panels.into_iter().flatten().collect(),
        axis: (0.0..last, "frame"),
        otherwise: "There is nothing to compare.",
    };
    figure.render()
}
