use crate::Resources;

/// How samples are rolled out.
#[derive(Clone, Copy)]
pub(crate) struct Chunks {
    /// Samples rolled out at once by a thread, so that memory stays bounded by
    /// `workers · size · latent`, and what a step works on stays in a processor's cache.
    size: usize,
    /// Threads among which the chunks are shared out.
    workers: usize,
}

/// Steps of a chunk at most: a pass through it does not look at the clock.
const STEPS: usize = 10_080;

impl Chunks {
    /// Of so many samples of `horizon` steps, less where these are many, or more where the device wants more
    /// at once.
    pub fn new(size: usize, horizon: usize, resources: Resources) -> Self {
        Self {
            size: size.min((STEPS / horizon).max(1)).max(resources.rows),
            workers: resources.workers,
        }
    }

    /// The first sample and the number of samples of each chunk, for each thread those of its own.
    pub(crate) fn shares(self, samples: usize) -> Vec<Vec<(usize, usize)>> {
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
        let shares = |size| Chunks::new(size, 30, resources).shares(10);
        assert_eq!(shares(3), [[(0, 8), (8, 2)]]);
        assert_eq!(shares(100), [[(0, 10)]]);
    }

    #[test]
    fn long_plans_are_rolled_out_a_few_at_a_time() {
        let rows_of = |horizon| Chunks::new(336, horizon, Resources::default()).size;
        assert_eq!(
            [1, 30, 60, 500, 100_000].map(rows_of),
            [336, 336, 168, 20, 1]
        );
    }
}
