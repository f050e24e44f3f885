use std::{
    hint::spin_loop,
    ops::Range,
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    sync::mpsc::{Receiver, RecvError, Sender, TryRecvError, channel},
    thread::{self, Scope},
};

/// `0..rows` in equal parts, one after another, at most so many and none of them empty.
pub(crate) fn shares(rows: usize, at_most: usize) -> impl Iterator<Item = Range<usize>> {
    let count = at_most.clamp(1, rows.max(1));
    let first = move |share: usize| share * rows / count;
    (0..count).map(move |share| first(share)..first(share + 1))
}

/// The answers of `work` for each of [`shares`], in order. Each has a thread of its own, the last one the
/// caller's. A panic goes on in the caller.
///
/// # Errors
///
/// The first of those of `work`.
pub(crate) fn on_shares<R: Send, E: Send>(
    rows: usize,
    at_most: usize,
    work: impl Fn(Range<usize>) -> Result<R, E> + Sync,
) -> Result<Vec<R>, E> {
    let mut shares: Vec<_> = shares(rows, at_most).collect();
    let own = shares.pop();
    thread::scope(|scope| {
        let work = &work;
        let threads: Vec<_> = shares
            .into_iter()
            .map(|share| scope.spawn(move || work(share)))
            .collect();
        let own = own.map(work);
        let answers = threads
            .into_iter()
            .map(|thread| thread.join().unwrap_or_else(|panic| resume_unwind(panic)));
        answers.chain(own).collect()
    })
}

/// How often a waiting thread looks before it sleeps: some tens of microseconds, as long as what
/// comes between two jobs, since waking up takes as long.
const LOOKS: usize = 2_000;

type Job<'scope> = Box<dyn FnOnce() + Send + 'scope>;

/// Threads that stay for a whole plan: jobs of a tenth of a millisecond do not pay for a thread each.
pub(crate) struct WorkerPool<'scope> {
    workers: Vec<Sender<Job<'scope>>>,
}

impl<'scope> WorkerPool<'scope> {
    /// So many threads beside the caller's; they end when this is dropped.
    pub fn new(scope: &'scope Scope<'scope, '_>, count: usize) -> Self {
        let worker = |_| {
            let (sender, jobs) = channel::<Job<'scope>>();
            scope.spawn(move || {
                while let Ok(job) = wait(&jobs) {
                    job();
                }
            });
            sender
        };
        Self {
            workers: (0..count).map(worker).collect(),
        }
    }

    /// The caller's thread alone.
    pub fn alone() -> Self {
        Self {
            workers: Vec::new(),
        }
    }

    /// The number of threads, the caller's with them.
    pub fn size(&self) -> usize {
        self.workers.len() + 1
    }

    /// The answers of `jobs`, in order. The last, and those beyond the number of threads, are done on
    /// the caller's thread. A panic goes on in the caller.
    pub fn all<R: Send + 'scope>(
        &self,
        mut jobs: Vec<impl FnOnce() -> R + Send + 'scope>,
    ) -> Vec<R> {
        let handed = self.workers.len().min(jobs.len().saturating_sub(1));
        let own = jobs.split_off(handed);
        let others: Vec<_> = jobs
            .into_iter()
            .zip(&self.workers)
            .map(|(job, worker)| begin(worker, job))
            .collect();
        let own: Vec<R> = own.into_iter().map(|job| job()).collect();
        others.into_iter().map(end).chain(own).collect()
    }

    /// The answers of two jobs, of which the first is done on another thread where there is one.
    pub fn both<A: Send + 'scope, B>(
        &self,
        other: impl FnOnce() -> A + Send + 'scope,
        own: impl FnOnce() -> B,
    ) -> (A, B) {
        match self.workers.first() {
            None => (other(), own()),
            Some(worker) => {
                let other = begin(worker, other);
                let own = own();
                (end(other), own)
            }
        }
    }
}

/// Has `job` done by `worker`.
fn begin<'scope, R: Send + 'scope>(
    worker: &Sender<Job<'scope>>,
    job: impl FnOnce() -> R + Send + 'scope,
) -> Receiver<thread::Result<R>> {
    let (sender, answer) = channel();
    let job = Box::new(move || {
        // Nobody waits where the caller's own job has panicked.
        let _ = sender.send(catch_unwind(AssertUnwindSafe(job)));
    });
    // The thread takes jobs as long as there is a sender.
    let _ = worker.send(job);
    answer
}

/// The answer of a job that was begun.
fn end<R>(answer: Receiver<thread::Result<R>>) -> R {
    match wait(&answer) {
        Ok(Ok(answer)) => answer,
        Ok(Err(panic)) => resume_unwind(panic),
        Err(lost) => resume_unwind(Box::new(lost)),
    }
}

/// What comes next, without sleep if it comes soon.
fn wait<T>(receiver: &Receiver<T>) -> Result<T, RecvError> {
    for _ in 0..LOOKS {
        match receiver.try_recv() {
            Ok(received) => return Ok(received),
            Err(TryRecvError::Disconnected) => return Err(RecvError),
            Err(TryRecvError::Empty) => spin_loop(),
        }
    }
    receiver.recv()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_is_in_one_share() {
        for (rows, at_most, count) in [(7, 3, 3), (2, 5, 2), (5, 1, 1), (4, 0, 1), (0, 3, 1)] {
            let shares: Vec<_> = shares(rows, at_most).collect();
            assert_eq!(shares.len(), count);
            let sizes: Vec<_> = shares.iter().map(ExactSizeIterator::len).collect();
            assert!(sizes.iter().max() <= sizes.iter().min().map(|least| least + 1).as_ref());
            assert!(shares.into_iter().flatten().eq(0..rows));
        }
    }

    #[test]
    fn answers_keep_the_order_of_the_shares() {
        let doubled = |rows: Range<usize>| {
            thread::sleep(std::time::Duration::from_millis(5 - rows.start as u64));
            Ok::<_, ()>(2 * rows.start)
        };
        assert_eq!(on_shares(5, 5, doubled), Ok(vec![0, 2, 4, 6, 8]));
        let refused = |rows: Range<usize>| match rows.start {
            0 => Ok(()),
            row => Err(row),
        };
        assert_eq!(on_shares(9, 3, refused), Err(3));
    }

    #[test]
    fn a_worker_pool_answers_in_order_again_and_again() {
        for count in [0, 1, 3, 9] {
            thread::scope(|scope| {
                let workers = WorkerPool::new(scope, count);
                for round in 0..3 {
                    let work = move |item: u64| {
                        move || {
                            thread::sleep(std::time::Duration::from_millis(5 - item));
                            2 * item + round
                        }
                    };
                    let answers = workers.all((0..5).map(work).collect());
                    let expected: Vec<_> = [0, 2, 4, 6, 8].map(|item| item + round).into();
                    assert_eq!(answers, expected);
                    assert_eq!(workers.both(move || round, || "own"), (round, "own"));
                }
            });
        }
    }

    #[test]
    #[should_panic(expected = "the worker")]
    fn a_panic_of_a_worker_reaches_the_caller() {
        thread::scope(|scope| {
            let workers = WorkerPool::new(scope, 1);
            workers.both(|| panic!("the worker"), || ())
        });
    }

    #[test]
    #[should_panic(expected = "the first")]
    fn a_panic_reaches_the_caller() {
        let _ = on_shares(2, 2, |rows| match rows.start {
            0 => panic!("the first"),
            _ => Ok::<_, ()>(()),
        });
    }
}
