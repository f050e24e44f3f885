use crate::{
    Head::{self, Cauchy, Gauss, Sigmoid},
    ProblemInfo, ProblemSettings,
    problems::{car, cartpole, door, effectors, pendulum, point, push, quadrotor},
};

/// A problem and the best return `Σ_t r(z_t)` of actions rolled out that anybody has found.
///
/// Those of `point`, `effectors`, `pendulum`, `cartpole` and `quadrotor` are what IPOPT finds by multiple
/// shooting on the same dynamics in double precision, as in `benches/peers/ipopt_peer.py`; those of
/// `car`, `door` and `push` are the best of all planners tried, which a later one may well improve.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Reference {
    /// The problem.
    pub settings: ProblemSettings,
    /// The best return known.
    pub best: f64,
}

/// The ten problems that planners are compared on.
pub const BENCHMARK: [Reference; 10] = [
    known(&car::INFO, 1, 100, 0.2, Gauss, 19.30),
    known(&quadrotor::INFO, 1, 100, 0.2, Gauss, 71.73),
    known(&cartpole::INFO, 1, 200, 0.3, Gauss, 118.23),
    known(&pendulum::INFO, 1, 200, 0.2, Gauss, 87.70),
    known(&point::INFO, 4, 200, 0.1, Gauss, 102.65),
    known(&effectors::INFO, 8, 50, 0.3, Sigmoid, 26.06),
    known(&door::INFO, 1, 200, 0.2, Gauss, 95.95),
    known(&push::INFO, 1, 200, 0.1, Gauss, 157.63),
    known(&point::INFO, 16, 100, 0.2, Gauss, 51.82),
    known(&point::INFO, 8, 100, 0.1, Cauchy, 50.29),
];

/// Further problems whose best return is known.
const OTHERS: [Reference; 11] = [
    known(&car::INFO, 1, 400, 0.2, Gauss, 74.64),
    known(&cartpole::INFO, 1, 100, 0.5, Gauss, 62.20),
    known(&pendulum::INFO, 1, 100, 0.3, Gauss, 45.81),
    known(&pendulum::INFO, 1, 100, 0.5, Gauss, 48.56),
    known(&pendulum::INFO, 1, 400, 0.2, Gauss, 174.53),
    known(&push::INFO, 1, 100, 0.15, Gauss, 79.92),
    known(&point::INFO, 2, 100, 0.2, Gauss, 58.73),
    known(&point::INFO, 4, 100, 0.3, Gauss, 59.23),
    known(&point::INFO, 4, 400, 0.2, Gauss, 221.22),
    known(&point::INFO, 8, 100, 0.3, Gauss, 56.48),
    known(&door::INFO, 1, 100, 0.2, Gauss, 49.08),
];

const fn known(
    info: &'static ProblemInfo,
    size: usize,
    horizon: usize,
    width: f64,
    head: Head,
    best: f64,
) -> Reference {
    Reference {
        settings: ProblemSettings::known(info, size, horizon, width, head),
        best,
    }
}

/// The best return known of exactly this problem.
pub fn best_known(settings: &ProblemSettings) -> Option<f64> {
    let mut references = BENCHMARK.iter().chain(&OTHERS);
    let found = references.find(|reference| reference.settings == *settings);
    found.map(|reference| reference.best)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_are_settings_that_anybody_can_make() {
        for Reference { settings, best } in BENCHMARK.iter().chain(&OTHERS) {
            let made = ProblemSettings::of(settings.name())
                .and_then(|made| made.with_size(settings.size()))
                .and_then(|made| made.with_horizon(settings.horizon()))
                .and_then(|made| made.with_width(settings.width()))
                .map(|made| made.with_head(settings.head()));
            assert_eq!(made.as_ref(), Ok(settings));
            assert_eq!(
                best_known(settings),
                Some(*best),
                "{settings:?} is there twice"
            );
            assert!((0.0..=settings.horizon() as f64).contains(best));
        }
    }

    #[test]
    fn nothing_is_known_of_other_problems() {
        let known = BENCHMARK[0].settings;
        assert_eq!(best_known(&known.with_head(Sigmoid)), None);
        assert_eq!(best_known(&known.with_horizon(101).unwrap()), None);
        assert_eq!(best_known(&known.with_width(0.21).unwrap()), None);
    }
}
