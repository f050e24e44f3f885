use std::{panic::resume_unwind, thread};

/// Applies `work` to every item, each on a thread of its own (the last on the caller's), and gives
/// the answers in order. A panic goes on in the caller.
pub(crate) fn on_threads<T: Send, R: Send>(
    mut items: Vec<T>,
    work: impl Fn(T) -> R + Sync,
) -> Vec<R> {
    let Some(last) = items.pop() else {
        return Vec::new();
    };
    thread::scope(|scope| {
        let work = &work;
        let threads: Vec<_> = items
            .into_iter()
            .map(|item| scope.spawn(move || work(item)))
            .collect();
        let last = work(last);
        let answers = threads
            .into_iter()
            .map(|thread| thread.join().unwrap_or_else(|panic| resume_unwind(panic)));
        answers.chain([last]).collect()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_keep_the_order_of_the_items() {
        let doubled = on_threads((0..5).collect(), |item: u64| {
            thread::sleep(std::time::Duration::from_millis(5 - item));
            2 * item
        });
        assert_eq!(doubled, [0, 2, 4, 6, 8]);
        assert!(on_threads(Vec::<u8>::new(), |item| item).is_empty());
    }

    #[test]
    #[should_panic(expected = "the first")]
    fn a_panic_reaches_the_caller() {
        on_threads(vec!["the first", "the second"], |item| match item {
            "the first" => panic!("{item}"),
            _ => item,
        });
    }
}
