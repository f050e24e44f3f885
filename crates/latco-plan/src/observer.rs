use burn::tensor::Tensor;

use crate::Iteration;

/// Sees each iteration of a planner as it ends; progress bars, traces and films are observers.
///
/// A closure that takes an [`Iteration`] is an observer of figures alone.
pub trait Observer {
    /// Called after every iteration.
    fn iteration(&mut self, iteration: &Iteration);

    /// Called after [`iteration`](Self::iteration) with the plans that it arrived at; ignores them
    /// unless overridden. Nothing is read back from the device for it.
    ///
    /// Collocation shows every plan that it optimises side by side: `actions`
    /// `[plans, horizon, action]`, which may lie outside their bounds as yet, and the `nodes`
    /// `[plans, horizon, node]` for `z_1 … z_T`, latents where the plan is deterministic. A
    /// shooting method shows the best action sequence so far, `[1, horizon, action]`, and no nodes:
    /// [`roll_out`](crate::roll_out) gives its latents.
    fn trajectories(&mut self, _actions: &Tensor<3>, _nodes: Option<&Tensor<3>>) {}
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
