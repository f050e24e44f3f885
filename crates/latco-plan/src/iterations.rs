use std::time::Duration;

use burn::tensor::Tensor;

use crate::{Deadline, Iteration, Observer, PlanError, StopReason};

/// What one iteration achieved.
pub(crate) struct Progress {
    pub iteration: Iteration,
    /// What observers are shown, `[plans, horizon, action]`.
    pub actions: Tensor<3>,
    /// `[plans, horizon, node]`, of collocation.
    pub nodes: Option<Tensor<3>>,
    /// Whether another iteration would hardly change anything.
    pub converged: bool,
}

impl Progress {
    /// The highest return of any action sequence so far, and that sequence, `[horizon, action]`.
    pub fn of_shooting(index: usize, best_return: f32, best: &Tensor<2>, converged: bool) -> Self {
        Self {
            iteration: Iteration::of_shooting(index, best_return),
            actions: best.clone().unsqueeze_dim(0),
            nodes: None,
            converged,
        }
    }
}

/// The iterations of a plan and what ended them.
pub(crate) struct Iterations {
    pub trace: Vec<Iteration>,
    pub stop: StopReason,
}

impl Iterations {
    /// Iterates until convergence, `most` times at most, or until another iteration and the
    /// plan's own rollout, which is taken to last half as long, would end after the deadline.
    pub fn run(
        most: usize,
        deadline: &Deadline,
        observer: &mut dyn Observer,
        mut iterate: impl FnMut(usize) -> Result<Progress, PlanError>,
    ) -> Result<Self, PlanError> {
        let mut trace = Vec::with_capacity(most);
        let mut longest = Duration::ZERO;
        for index in 0..most {
            let started = deadline.elapsed();
            let progress = iterate(index)?;
            trace.push(progress.iteration);
            observer.iteration(&trace[index]);
            observer.trajectories(&progress.actions, progress.nodes.as_ref());
            let stop = if progress.converged {
                Some(StopReason::Converged)
            } else {
                longest = longest.max(deadline.elapsed() - started);
                deadline
                    .is_over_after(longest * 3 / 2)
                    .then_some(StopReason::Deadline)
            };
            if let Some(stop) = stop {
                return Ok(Self { trace, stop });
            }
        }
        Ok(Self {
            trace,
            stop: StopReason::Iterations,
        })
    }
}
