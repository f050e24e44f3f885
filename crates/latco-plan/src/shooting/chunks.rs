use std::ops::Range;

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

    /// Threads that so many samples are worth.
    pub fn workers(self, samples: usize) -> usize {
        self.workers.min(samples.div_ceil(self.size))
    }

    /// The first sample and the number of samples of each chunk of these.
    pub fn of(self, samples: Range<usize>) -> impl Iterator<Item = (usize, usize)> {
        let firsts = samples.clone().step_by(self.size);
        firsts.map(move |first| (first, self.size.min(samples.end - first)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chunks(chunks: Chunks, samples: Range<usize>) -> Vec<(usize, usize)> {
        chunks.of(samples).collect()
    }

    #[test]
    fn every_sample_is_in_one_chunk() {
        let three = Chunks {
            size: 3,
            workers: 4,
        };
        assert_eq!(chunks(three, 2..10), [(2, 3), (5, 3), (8, 2)]);
        assert_eq!(chunks(three, 2..2), []);
        assert_eq!(
            [1, 3, 7, 100].map(|samples| three.workers(samples)),
            [1, 1, 3, 4]
        );
    }

    #[test]
    fn a_device_that_takes_many_rows_gets_them_at_once() {
        let resources = Resources {
            workers: 1,
            rows: 8,
        };
        let of_size = |size| chunks(Chunks::new(size, 30, resources), 0..10);
        assert_eq!(of_size(3), [(0, 8), (8, 2)]);
        assert_eq!(of_size(100), [(0, 10)]);
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
