//! The chart of training runs: losses and the success of what they collected.

use super::{
    figure::Figure,
    panel::{BLUE, Curve, GREEN, ORANGE, Panel, Scale},
    spread::with_spread,
};

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
    /// What the plans of each planned episode promised for the steps executed.
    pub promised: Vec<(f64, f64)>,
    /// What these steps paid.
    pub got: Vec<(f64, f64)>,
    /// Episodes of the scripted expert that the run began with.
    pub demonstrations: usize,
    /// Wall time of the run so far, in seconds.
    pub seconds: f64,
}

impl Curves {
    fn has_solved(&self) -> bool {
        self.success.iter().any(|&(_, success)| success > 0.0)
    }
}

/// Image and reward likelihood, KL divergence, success, and what was promised beside what was got, one
/// panel each; of several runs the mean with its 95 % interval, as far as the shortest goes. Success is left
/// out while there was none: many tasks do not tell it.
pub fn learning_curves(title: String, runs: &[Curves]) -> Figure {
    let last = last_step(runs).max(1.0);
    let curve = |label, colour, scale, points: fn(&Curves) -> Vec<(f64, f64)>| {
        let curve = |points| Curve::solid(label, colour, points);
        vec![with_spread(
            curve,
            runs.iter().map(points).collect(),
            last,
            scale,
        )]
    };
    let (linear, logarithmic) = (Scale::Linear, Scale::Logarithmic);
    let image = curve("−log p(o | z)", BLUE, logarithmic, |run| {
        run.image.clone()
    });
    let reward = curve("−log p(r | z)", ORANGE, logarithmic, |run| {
        run.reward.clone()
    });
    let kl = curve("KL(posterior, prior)", BLUE, linear, |run| run.kl.clone());
    let success = match runs.iter().any(Curves::has_solved) {
        true => curve("mean of the last 20", GREEN, linear, |run| {
            moving_average(&run.success)
        }),
        false => Vec::new(),
    };
    let promised = curve("promised, mean of the last 20", ORANGE, linear, |run| {
        moving_average(&run.promised)
    });
    let got = curve("got", GREEN, linear, |run| moving_average(&run.got));
    let panels = [
        Panel::new("Image", "nats", logarithmic, image),
        Panel::new("Reward", "nats", logarithmic, reward),
        Panel::new("Dynamics", "nats", linear, kl),
        Panel::new(
            "Episodes collected by the planner",
            "share solved",
            linear,
            success,
        ),
        Panel::new(
            "What plans promised, and what was got",
            "reward of an episode",
            linear,
            promised.into_iter().chain(got).collect(),
        ),
    ];
    Figure {
        title,
        facts: facts(runs, last),
        panels: panels.into_iter().flatten().collect(),
        axis: (0.0..last, "gradient step"),
        otherwise: "There are no metrics yet.",
    }
}

/// The gradient step that every run has reached, as far as its metrics tell: losses are noted every ten steps,
/// episodes as they come.
pub fn last_step(runs: &[Curves]) -> f64 {
    let last = |run: &Curves| {
        let ends = [&run.image, &run.success].map(|curve| curve.last());
        let ends = ends.into_iter().flatten();
        ends.fold(0.0, |last, &(step, _)| f64::max(last, step))
    };
    runs.iter().map(last).reduce(f64::min).unwrap_or(0.0)
}

fn facts(runs: &[Curves], last: f64) -> String {
    let [run] = runs else {
        let count = runs.len();
        return format!("{count} runs, {last:.0} gradient steps, mean with 95 % interval");
    };
    let demonstrations = match run.demonstrations {
        0 => String::new(),
        count => format!("{count} demonstrations, "),
    };
    let minutes = run.seconds / 60.0;
    format!("{demonstrations}{last:.0} gradient steps, {minutes:.0} min")
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

    #[test]
    fn success_has_a_panel_where_there_was_one() {
        let run = |success: &[f64]| Curves {
            success: (1..).map(f64::from).zip(success.iter().copied()).collect(),
            ..Curves::default()
        };
        let panels = |runs: &[Curves]| learning_curves(String::new(), runs).panels.len();
        assert_eq!(panels(&[run(&[0.0, 0.0])]), 0);
        assert_eq!(panels(&[run(&[0.0, 1.0])]), 1);
        assert_eq!(panels(&[run(&[0.0, 0.0]), run(&[1.0, 0.0])]), 1);
    }

    #[test]
    fn episodes_after_the_last_losses_lie_within_the_axis() {
        let run = |image: &[(f64, f64)], success: &[(f64, f64)]| Curves {
            image: image.to_vec(),
            success: success.to_vec(),
            ..Curves::default()
        };
        let short = run(&[], &[(3.0, 1.0)]);
        let long = run(&[(10.0, 2.0)], &[(10.0, 0.0), (17.0, 1.0)]);
        assert_eq!(last_step(std::slice::from_ref(&long)), 17.0);
        assert_eq!(last_step(&[long, short]), 3.0);
    }
}
