//! Work on many things at once whose results are wanted in order.

use std::collections::VecDeque;
use std::num::NonZeroUsize;
use std::sync::mpsc::{self, Receiver, SyncSender};
use std::thread;

/// Threads that work at most; more would wait for the one that gives and takes.
const WORKERS_MAX: usize = 4;
/// Pieces of work that are under way for each of them.
const UNDER_WAY: usize = 2;

/// Works on all that comes, on as many threads as the process has cores, and takes the results in the same order on this one.
/// What is under way at one time is bounded.
///
/// # Panics
/// If `work` does.
pub fn in_order<T: Send, R: Send>(
    source: impl Iterator<Item = T>,
    work: impl Fn(T) -> R + Sync,
    mut take: impl FnMut(R),
) {
    let workers = thread::available_parallelism().map_or(1, NonZeroUsize::get).min(WORKERS_MAX);
    if workers == 1 {
        return source.map(work).for_each(take);
    }
    thread::scope(|scope| {
        let ends: Vec<(SyncSender<T>, Receiver<R>)> = (0..workers)
            .map(|_| {
                let (give, given) = mpsc::sync_channel(UNDER_WAY);
                let (done, results) = mpsc::sync_channel(UNDER_WAY);
                let work = &work;
                scope.spawn(move || given.into_iter().map(work).try_for_each(|result| done.send(result)));
                (give, results)
            })
            .collect();
        let mut under_way = VecDeque::new();
        for (number, piece) in source.enumerate() {
            let (give, results) = &ends[number % workers];
            if under_way.len() == workers * UNDER_WAY
                && let Some(first) = under_way.pop_front()
            {
                take(result_of(first));
            }
            give.send(piece).expect("a worker works until nothing is given any more");
            under_way.push_back(results);
        }
        under_way.into_iter().for_each(|first| take(result_of(first)));
    });
}

fn result_of<R>(results: &Receiver<R>) -> R {
    results.recv().expect("a worker did not panic")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_come_in_order_and_all_of_them() {
        for count in [0, 1, 2, 7, 1000] {
            let mut taken = Vec::new();
            in_order(0..count, |number: u64| number * number, |square| taken.push(square));
            assert_eq!(taken, (0..count).map(|number| number * number).collect::<Vec<_>>());
        }
    }

    #[test]
    #[should_panic(expected = "a worker")]
    fn a_panic_in_the_work_gets_out() {
        // With one core it is that of the work itself.
        in_order(0..100, |number| assert!(number != 50, "a worker's own"), |()| {});
    }
}
