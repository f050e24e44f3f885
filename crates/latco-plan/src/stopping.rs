use std::time::{Duration, Instant};

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

    /// Whether another step that takes about `next` would end after the limit.
    pub fn is_over_after(&self, next: Duration) -> bool {
        self.limit
            .is_some_and(|limit| self.elapsed() + next > limit)
    }

    /// By how much the limit has been overrun, if it has.
    pub fn overrun(&self) -> Option<Duration> {
        self.limit
            .and_then(|limit| self.elapsed().checked_sub(limit))
            .filter(|late| !late.is_zero())
    }
}
