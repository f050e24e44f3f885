/// Levenberg–Marquardt damping: tenfold after a refused step, a third after an accepted one.
#[derive(Clone, Copy, Debug)]
pub(super) struct Damping(f64);

/// Steps tried from one linearisation before the search ends.
pub(super) const TRIES: usize = 8;

const LEAST: f64 = 1e-9;
const MOST: f64 = 1e9;

impl Damping {
    pub fn new(first: f64) -> Self {
        Self(first)
    }

    pub fn value(self) -> f64 {
        self.0
    }

    pub fn raise(&mut self) {
        self.0 = (self.0 * 10.0).min(MOST);
    }

    pub fn lower(&mut self) {
        self.0 = (self.0 / 3.0).max(LEAST);
    }
}
