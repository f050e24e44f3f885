use std::time::Duration;

use burn::tensor::Tensor;

use crate::{
    Belief, Deadline, Iteration, LatentModel, Outcome, Plan, PlanError, Resources, StopReason,
    host::{read, require_finite},
    roll_out,
    rollout::at_step,
    threads::on_threads,
};

/// How samples are rolled out.
#[derive(Clone, Copy)]
pub(crate) struct Chunks {
    /// Samples rolled out at once by a thread, so that memory stays bounded by
    /// `workers · size · latent`, and what a step works on stays in a processor's cache.
    size: usize,
    /// Threads among which the chunks are shared out.
    workers: usize,
}

impl Chunks {
    /// Of so many samples, or more where the device wants more at once.
    pub fn new(size: usize, resources: Resources) -> Self {
        Self {
            size: size.max(resources.rows),
            workers: resources.workers,
        }
    }

    /// The first sample and the number of samples of each chunk, for each thread those of its own.
    fn shares(self, samples: usize) -> Vec<Vec<(usize, usize)>> {
        let workers = self.workers.clamp(1, samples.div_ceil(self.size).max(1));
        let end_of = |worker: usize| worker * samples / workers;
        let share = |worker: usize| {
            let (start, end) = (end_of(worker), end_of(worker + 1));
            let firsts = (start..end).step_by(self.size);
            firsts
                .map(|first| (first, self.size.min(end - first)))
                .collect()
        };
        (0..workers).map(share).collect()
    }
}

/// The returns of `actions` `[samples, horizon, action]` from the belief's mean. The rewards are read
/// at once, at the end; they do not depend on the number of threads.
pub(crate) fn returns_in_chunks(
    model: &dyn LatentModel,
    belief: &Belief,
    actions: &Tensor<3>,
    chunks: Chunks,
    iteration: usize,
) -> Result<Vec<f32>, PlanError> {
    let [_, horizon, _] = actions.dims();
    let rewards = scores_in_chunks(model, belief, actions, chunks, |latents| {
        model.reward(latents)
    });
    let rewards = read("reward", rewards)?;
    require_finite("reward", iteration, &rewards, horizon)?;
    Ok(rewards
        .chunks(horizon)
        .map(|row| row.iter().sum())
        .collect())
}

/// `score` of the latents, `[rows, latent]` to `[rows]`, that `actions` `[samples, horizon, action]`
/// lead to from the belief's mean, `[samples, horizon]`; no latent is kept.
pub(crate) fn scores_in_chunks(
    model: &dyn LatentModel,
    belief: &Belief,
    actions: &Tensor<3>,
    chunks: Chunks,
    score: impl Fn(Tensor<2>) -> Tensor<1> + Sync,
) -> Tensor<2> {
    let [samples, horizon, _] = actions.dims();
    let scores_of = |(first, count): (usize, usize)| {
        let actions = actions.clone().narrow(0, first, count);
        let mut latent = belief.mean_of(count);
        let mut scores = Vec::with_capacity(horizon);
        for step in 0..horizon {
            // Given away, a latent may be overwritten.
            latent = model.transition_mean(latent, at_step(&actions, step));
            scores.push(score(latent.clone()));
        }
        Tensor::stack(scores, 1)
    };
    let scores = on_threads(chunks.shares(samples), |share| {
        Tensor::cat(share.into_iter().map(scores_of).collect(), 0)
    });
    Tensor::cat(scores, 0)
}

/// What a shooting method found, before it becomes a [`Plan`].
pub(crate) struct ShootingResult {
    /// `[horizon, action]`.
    pub actions: Tensor<2>,
    pub trace: Vec<Iteration>,
    pub stop: StopReason,
    pub model_steps: usize,
}

impl ShootingResult {
    /// Rolls the actions out; virtual and rollout results coincide by construction.
    pub fn into_plan(
        self,
        model: &dyn LatentModel,
        belief: &Belief,
        deadline: &Deadline,
    ) -> Result<Plan, PlanError> {
        let actions = self.actions.clamp(-1.0, 1.0);
        let [horizon, _] = actions.dims();
        let rollout = roll_out(model, belief.mean(), actions.clone().unsqueeze_dim(0));
        let rewards = read("reward", rollout.rewards)?;
        require_finite("reward", self.trace.len(), &rewards, horizon)?;
        let outcome = Outcome { rewards };
        let latents = rollout.latents.squeeze_dim::<2>(0);
        let plan = Plan {
            actions,
            rollout_latents: latents.clone(),
            std: None,
            nodes: latents.clone(),
            latents,
            virtual_: outcome.clone(),
            rollout: outcome,
            violation: vec![0.0; horizon],
            multipliers: Vec::new(),
            trace: self.trace,
            stop: self.stop,
            elapsed: Duration::ZERO,
            late: None,
            model_steps: self.model_steps + horizon,
        };
        plan.timed(deadline).require_finite()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_sample_is_in_one_chunk_of_one_thread() {
        for (samples, size, workers) in [(10, 3, 2), (10, 3, 9), (1, 5, 2), (8, 4, 2), (7, 1, 3)] {
            let shares = Chunks { size, workers }.shares(samples);
            assert!(shares.len() <= workers);
            let mut next = 0;
            for (first, count) in shares.into_iter().flatten() {
                assert_eq!(first, next);
                assert!(count <= size);
                next += count;
            }
            assert_eq!(next, samples);
        }
    }

    #[test]
    fn a_device_that_takes_many_rows_gets_them_at_once() {
        let resources = Resources {
            workers: 1,
            rows: 8,
        };
        let shares = |size| Chunks::new(size, resources).shares(10);
        assert_eq!(shares(3), [[(0, 8), (8, 2)]]);
        assert_eq!(shares(100), [[(0, 10)]]);
    }
}
