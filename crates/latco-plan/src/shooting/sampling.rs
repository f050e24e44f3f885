use burn::tensor::Tensor;

use super::{
    Chunks,
    best::{Best, ranked},
};
use crate::{
    PlanError, StopReason,
    collocation::Rows,
    solve::{Pool, Problem, Progress, Search},
};

/// A distribution over action sequences that moves towards the best of its samples.
pub(super) trait Distribution {
    /// The samples of an iteration, `[samples, horizon, action]`.
    fn draw(&mut self, iteration: usize) -> Tensor<3>;

    /// Moves towards the best of `samples`.
    fn fit(&mut self, samples: Tensor<3>, returns: &[f32]);
}

/// The search with such a distribution: draw, roll out, fit.
pub(super) struct Sampling<'a, D> {
    problem: &'a Problem<'a>,
    distribution: D,
    chunks: Chunks,
    iterations: usize,
    done: usize,
    /// The best sequence of this search.
    best: Best,
}

impl<'a, D: Distribution> Sampling<'a, D> {
    /// So many `iterations`, in which each thread rolls `chunk` samples out at once.
    pub fn new(problem: &'a Problem<'a>, distribution: D, [chunk, iterations]: [usize; 2]) -> Self {
        Self {
            best: Best::none(first_mean(problem)),
            chunks: Chunks::new(chunk, problem.horizon, problem.resources),
            done: 0,
            problem,
            distribution,
            iterations,
        }
    }
}

impl<D: Distribution> Search for Sampling<'_, D> {
    fn step(&mut self, pool: &mut Pool) -> Result<Progress, PlanError> {
        let samples = self.distribution.draw(self.done);
        let returns = self.problem.returns(&samples, self.chunks)?;
        pool.model_steps += returns.len() * self.problem.horizon;
        pool.offer(&samples, &returns);
        self.best.offer(&samples, &returns);
        self.distribution.fit(samples, &returns);
        self.done += 1;
        let stop = (self.done >= self.iterations).then_some(StopReason::Iterations);
        Ok(Progress::of_rollouts(pool, stop))
    }

    fn finish(&mut self, pool: &mut Pool) -> Result<(), PlanError> {
        self.best.add_to(pool);
        Ok(())
    }
}

/// What is left of an earlier plan, or no action, `[horizon, action]`.
pub(super) fn first_mean(problem: &Problem<'_>) -> Tensor<2> {
    let shape = [problem.horizon, problem.model.action_size()];
    let idle = || Tensor::zeros(shape, &problem.belief.device());
    problem.earlier.clone().unwrap_or_else(idle)
}

/// So many samples of highest return, best first.
pub(super) fn elites(samples: &Tensor<3>, returns: &[f32], count: usize) -> Tensor<3> {
    Rows::new(&ranked(returns, count), &samples.device()).of(samples)
}
