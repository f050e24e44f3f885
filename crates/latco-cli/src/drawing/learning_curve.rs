//! The chart of a training run: losses and the success of what it collected.

use latco_env::Image;

use super::{
    figure::Figure,
    panel::{BLUE, Curve, GREEN, ORANGE, Panel, Scale},
};
use crate::error::CliError;

/// Episodes that a point of the success curve is the mean of.
const WINDOW: usize = 20;

/// What a run's metrics tell, each over gradient steps.
#[derive(Default)]
pub struct Curves {
    /// `−log p(o | z)` of training batches.
    pub image: Vec<(f64, f64)>,
    /// `−log p(r | z)` of training batches.
    pub reward: Vec<(f64, f64)>,
    /// `KL(q ‖ p)` of training batches.
    pub kl: Vec<(f64, f64)>,
    /// 1 for each planned episode that was solved, else 0.
    pub success: Vec<(f64, f64)>,
    /// Episodes of the scripted expert that the run began with.
    pub demonstrations: usize,
    /// Wall time of the run so far, in seconds.
    pub seconds: f64,
}

/// Draws image and reward likelihood, KL divergence and success, one panel each.
pub fn draw_learning_curve(title: &str, curves: Curves) -> Result<Image, CliError> {
    let last = curves.image.last().map_or(1.0, |&(step, _)| step.max(1.0));
    let demonstrations = match curves.demonstrations {
        0 => String::new(),
        count => format!("{count} demonstrations, "),
    };
    let minutes = curves.seconds / 60.0;
    let facts = format!("{demonstrations}{last:.0} gradient steps, {minutes:.0} min");
    let success = moving_average(&curves.success);
    let panels = [
        Panel::new(
            "Image",
            "nats",
            Scale::Logarithmic,
            vec![Curve::solid("−log p(o | z)", BLUE, curves.image)],
        ),
        Panel::new(
            "Reward",
            "nats",
            Scale::Logarithmic,
            vec![Curve::solid("−log p(r | z)", ORANGE, curves.reward)],
        ),
        Panel::new(
            "Dynamics",
            "nats",
            Scale::Linear,
            vec![Curve::solid("KL(posterior, prior)", BLUE, curves.kl)],
        ),
        Panel::new(
            "Episodes collected by the planner",
            "share solved",
            Scale::Linear,
            vec![Curve::solid("mean of the last 20", GREEN, success)],
        ),
    ];
    let figure = Figure {
        title: title.to_owned(),
        facts,
        panels: panels.into_iter().flatten().collect(),
        axis: (0.0..last, "gradient step"),
        otherwise: "This run has no metrics yet.",
    };
    figure.render()
}

/// The mean of each point and the ones before it, [`WINDOW`] in all.
fn moving_average(points: &[(f64, f64)]) -> Vec<(f64, f64)> {
    (0..points.len())
        .map(|index| {
            let window = &points[(index + 1).saturating_sub(WINDOW)..=index];
            let sum: f64 = window.iter().map(|&(_, value)| value).sum();
            (points[index].0, sum / window.len() as f64)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn averages_look_back_only() {
        let points: Vec<_> = (0..40)
            .map(|index| (f64::from(index), f64::from(index % 2)))
            .collect();
        let averages = moving_average(&points);
        assert_eq!(averages[0], (0.0, 0.0));
        assert_eq!(averages[1], (1.0, 0.5));
        assert_eq!(averages[39], (39.0, 0.5));
    }
}
