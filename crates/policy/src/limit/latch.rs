//! A lock for work of a few nanoseconds: taken with one compare-and-swap, let go with a plain store.
//!
//! A mutex has to ask whether somebody sleeps when it is let go, which is a second locked operation and costs as much as the
//! work. Nobody sleeps for this one: who finds it taken looks again, and then lets others run. So whoever holds it must not
//! call back or wait, and seldom go through many things.
//!
//! The only unsafe code of this crate: no safe lock does without the second operation.
#![allow(unsafe_code)]

use std::cell::UnsafeCell;
use std::hint::spin_loop;
use std::marker::PhantomData;
use std::ops::{Deref, DerefMut};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::yield_now;

/// How often a thread looks whether another is done, before it lets that one run.
const LOOKS_MAX: u32 = 64;

/// A value that one thread at a time works on. It begins in the cache line of the latch itself.
#[derive(Debug)]
#[repr(C)]
pub(super) struct Latch<T> {
    is_taken: AtomicBool,
    value: UnsafeCell<T>,
}

// SAFETY: of all threads that share a latch, one at a time has a guard (see `lock`), and only a guard gives access to the
// value. So sharing the latch does no more than to pass the value from thread to thread.
unsafe impl<T: Send> Sync for Latch<T> {}

/// Who has this works on the value alone.
#[derive(Debug)]
pub(super) struct Guard<'a, T> {
    latch: &'a Latch<T>,
    /// It may go, or be lent, to another thread only as the value may.
    _value: PhantomData<&'a mut T>,
}

impl<T> Latch<T> {
    pub(super) const fn new(value: T) -> Self {
        Self { is_taken: AtomicBool::new(false), value: UnsafeCell::new(value) }
    }

    #[inline]
    pub(super) fn lock(&self) -> Guard<'_, T> {
        // Looked at first, so that its cache line is under way while the change waits for all that was stored before.
        if self.is_taken.load(Ordering::Relaxed) || !self.try_take() {
            self.take_later();
        }
        Guard { latch: self, _value: PhantomData }
    }

    /// Acquires what the one before has stored.
    #[inline]
    fn try_take(&self) -> bool {
        self.is_taken.compare_exchange(false, true, Ordering::Acquire, Ordering::Relaxed).is_ok()
    }

    /// Takes it once it is free. Looking does not disturb whoever holds it.
    #[cold]
    fn take_later(&self) {
        let mut looks = 0;
        while self.is_taken.load(Ordering::Relaxed) || !self.try_take() {
            look_again(&mut looks);
        }
    }
}

/// Passes the time between two looks at what another thread is about to be done with.
pub(super) fn look_again(looks: &mut u32) {
    *looks += 1;
    if *looks < LOOKS_MAX { spin_loop() } else { yield_now() }
}

impl<T> Deref for Guard<'_, T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        // SAFETY: the latch is taken for as long as the guard lives, so nobody else has a reference to the value.
        unsafe { &*self.latch.value.get() }
    }
}

impl<T> DerefMut for Guard<'_, T> {
    #[inline]
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: as above, and the guard itself is borrowed for as long as the reference lives.
        unsafe { &mut *self.latch.value.get() }
    }
}

impl<T> Drop for Guard<'_, T> {
    #[inline]
    fn drop(&mut self) {
        self.latch.is_taken.store(false, Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use std::panic::{AssertUnwindSafe, catch_unwind};
    use std::thread;

    use super::*;

    /// Words that are always alike are never seen otherwise, and no change is lost.
    #[test]
    fn one_thread_at_a_time_has_the_value() {
        const CHANGES: u64 = 50_000;
        let latch = Latch::new([0u64; 5]);
        thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..CHANGES {
                        let mut words = latch.lock();
                        let first = words[0];
                        assert!(words.iter().all(|word| *word == first), "{words:?}");
                        words.iter_mut().for_each(|word| *word += 1);
                    }
                });
            }
        });
        assert_eq!(*latch.lock(), [4 * CHANGES; 5]);
    }

    #[test]
    fn a_thread_waits_until_it_is_let_go() {
        let latch = Latch::new(1);
        thread::scope(|scope| {
            let mut guard = latch.lock();
            let other = scope.spawn(|| *latch.lock());
            assert!(!other.is_finished());
            *guard = 2;
            drop(guard);
            assert_eq!(other.join().unwrap(), 2);
        });
    }

    #[test]
    fn a_panic_lets_go() {
        let latch = Latch::new(0);
        let panicked = catch_unwind(AssertUnwindSafe(|| {
            let _guard = latch.lock();
            panic!("meant");
        }));
        assert!(panicked.is_err());
        *latch.lock() += 1;
        assert_eq!(*latch.lock(), 1);
    }
}
