use crate::Iteration;

/// Sees each iteration of a planner as it ends; progress bars and traces are observers.
pub trait Observer {
    /// Called after every iteration.
    fn iteration(&mut self, iteration: &Iteration);
}

/// Sees nothing.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoObserver;

impl Observer for NoObserver {
    fn iteration(&mut self, _iteration: &Iteration) {}
}

impl<F: FnMut(&Iteration)> Observer for F {
    fn iteration(&mut self, iteration: &Iteration) {
        self(iteration);
    }
}
