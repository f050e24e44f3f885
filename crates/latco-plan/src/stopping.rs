use std::time::Duration;

use web_time::Instant;

/// The clock of one plan: what has passed and what may.
#[derive(Clone, Copy, Debug)]
pub struct Deadline {
    start: Instant,
    limit: Option<Duration>,
}

impl Deadline {
    /// Starts the clock; `None` never runs out.
    pub fn start(limit: Option<Duration>) -> Self {
        Self {
            start: Instant::now(),
            limit,
        }
    }

    /// The time since the start.
    pub fn elapsed(&self) -> Duration {
        self.start.elapsed()
    }

    /// The share of the limit that has passed; 0 without one.
    pub fn spent(&self) -> f64 {
        let share = |limit: Duration| self.elapsed().as_secs_f64() / limit.as_secs_f64();
        self.limit.map_or(0.0, share)
    }

    /// What is left of the limit, nothing once it has passed; `None` without one.
    pub fn left(&self) -> Option<Duration> {
        self.limit.map(|limit| limit.saturating_sub(self.elapsed()))
    }

    /// Whether another step that takes about `next` would end after the limit.
    pub fn is_over_after(&self, next: Duration) -> bool {
        self.limit
            .is_some_and(|limit| self.elapsed() + next > limit)
    }

    /// By how much a plan that took `elapsed` overran the limit, if it did.
    pub fn overrun(&self, elapsed: Duration) -> Option<Duration> {
        self.limit
            .and_then(|limit| elapsed.checked_sub(limit))
            .filter(|late| !late.is_zero())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plan_is_late_by_what_it_took_beyond_the_limit() {
        let milliseconds = Duration::from_millis;
        let limited = Deadline::start(Some(milliseconds(5)));
        assert_eq!(limited.overrun(milliseconds(5)), None);
        assert_eq!(limited.overrun(milliseconds(7)), Some(milliseconds(2)));
        assert_eq!(Deadline::start(None).overrun(milliseconds(7)), None);
    }
}
