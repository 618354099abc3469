//! Deadlines of a worker's connections, checked by one coarse tick.
//!
//! A connection has one slot for its whole life. Arming it is a store into an array, so a request costs no timer; the
//! tick scans the array (eight bytes per connection) and wakes the tasks whose time has come. A deadline is met up to
//! two ticks late, never early.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::task::Waker;
use std::time::{Duration, Instant};

/// How often deadlines are checked.
pub(crate) const TICK: Duration = Duration::from_millis(50);

/// A slot that is not armed.
const NEVER: u64 = u64::MAX;

/// Milliseconds since the worker started, as of the last tick.
pub(crate) type Coarse = u64;

/// The deadlines of one worker.
pub(crate) struct Timers {
    started: Instant,
    now_ms: Cell<Coarse>,
    slots: RefCell<Slots>,
}

#[derive(Default)]
struct Slots {
    deadlines: Vec<Coarse>,
    wakers: Vec<Option<Waker>>,
    free: Vec<u32>,
}

impl Timers {
    pub(crate) fn new() -> Rc<Self> {
        Rc::new(Self { started: Instant::now(), now_ms: Cell::new(0), slots: RefCell::default() })
    }

    /// The time of the last tick.
    #[inline]
    pub(crate) fn now_ms(&self) -> Coarse {
        self.now_ms.get()
    }

    /// Takes a slot. It wakes nobody until [`TimerSlot::wakes`] says whom.
    pub(crate) fn slot(self: &Rc<Self>) -> TimerSlot {
        let mut slots = self.slots.borrow_mut();
        let index = match slots.free.pop() {
            Some(index) => index,
            None => {
                slots.deadlines.push(NEVER);
                slots.wakers.push(None);
                (slots.deadlines.len() - 1) as u32
            }
        };
        slots.deadlines[index as usize] = NEVER;
        TimerSlot { timers: self.clone(), index }
    }

    /// Moves the clock and wakes every task whose deadline has passed.
    pub(crate) fn tick(&self) {
        let now = u64::try_from(self.started.elapsed().as_millis()).unwrap_or(NEVER - 1);
        self.now_ms.set(now);
        let slots = self.slots.borrow();
        for (deadline, waker) in slots.deadlines.iter().zip(&slots.wakers) {
            if *deadline <= now
                && let Some(waker) = waker
            {
                waker.wake_by_ref();
            }
        }
    }

    /// Wakes every task, so that each looks at the worker's state anew.
    pub(crate) fn wake_all(&self) {
        self.slots.borrow().wakers.iter().flatten().for_each(Waker::wake_by_ref);
    }
}

/// A task's deadline. Gives its slot back when dropped.
pub(crate) struct TimerSlot {
    timers: Rc<Timers>,
    index: u32,
}

impl TimerSlot {
    /// Says which task the deadline is for.
    pub(crate) fn wakes(&self, waker: &Waker) {
        self.timers.slots.borrow_mut().wakers[self.index as usize] = Some(waker.clone());
    }

    /// The same for the task that waits for this.
    pub(crate) async fn wakes_this(&self) {
        std::future::poll_fn(|cx| {
            self.wakes(cx.waker());
            std::task::Poll::Ready(())
        })
        .await;
    }

    /// Arms the deadline `after` from now; replaces the one before.
    #[inline]
    pub(crate) fn arm(&self, after: Duration) {
        self.arm_at(self.timers.after(after));
    }

    /// Arms the deadline at a time made by [`Timers::after`].
    #[inline]
    pub(crate) fn arm_at(&self, deadline: Coarse) {
        self.timers.slots.borrow_mut().deadlines[self.index as usize] = deadline;
    }

    /// Whether the deadline has passed.
    #[inline]
    pub(crate) fn expired(&self) -> bool {
        self.timers.slots.borrow().deadlines[self.index as usize] <= self.timers.now_ms.get()
    }
}

impl Timers {
    /// The time that is at least `after` from now. Zero means never, as a timeout of `0s` does.
    #[inline]
    pub(crate) fn after(&self, after: Duration) -> Coarse {
        after_time(self.now_ms.get(), after)
    }

    /// What is left until a time made by [`Timers::after`], without what that was rounded up by.
    pub(crate) fn left(&self, until: Coarse) -> Duration {
        Duration::from_millis(until.saturating_sub(self.now_ms.get())).saturating_sub(TICK)
    }
}

/// The time that is at least `after` from a time of the worker's clock. Zero means never.
#[inline]
pub(crate) fn after_time(begun_ms: Coarse, after: Duration) -> Coarse {
    if after.is_zero() {
        return NEVER;
    }
    let ms = u64::try_from(after.as_millis()).unwrap_or(NEVER / 2);
    begun_ms.saturating_add(ms + TICK.as_millis() as u64)
}

impl Drop for TimerSlot {
    fn drop(&mut self) {
        let mut slots = self.timers.slots.borrow_mut();
        slots.deadlines[self.index as usize] = NEVER;
        slots.wakers[self.index as usize] = None;
        slots.free.push(self.index);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU32, Ordering};
    use std::task::Wake;

    use super::*;

    #[derive(Default)]
    struct Count(AtomicU32);

    impl Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[test]
    fn a_deadline_wakes_its_task_and_no_other() {
        let timers = Timers::new();
        let (a, b) = (Arc::new(Count::default()), Arc::new(Count::default()));
        let (soon, later) = (timers.slot(), timers.slot());
        soon.wakes(&a.clone().into());
        later.wakes(&b.clone().into());
        soon.arm(Duration::from_millis(1));
        later.arm(Duration::from_secs(600));
        assert!(!soon.expired());
        while !soon.expired() {
            std::thread::sleep(Duration::from_millis(5));
            timers.tick();
        }
        assert!(a.0.load(Ordering::Relaxed) >= 1);
        assert_eq!(b.0.load(Ordering::Relaxed), 0);
        assert!(!later.expired());
        later.arm(Duration::ZERO);
        timers.tick();
        assert!(!later.expired(), "zero means never");
    }

    #[test]
    fn a_tick_over_as_many_connections_as_there_may_be_costs_little() {
        let timers = Timers::new();
        let slots: Vec<_> = (0..65_536).map(|_| timers.slot()).collect();
        slots.iter().for_each(|slot| slot.arm(Duration::from_secs(600)));
        let ticks = (0..20).map(|_| {
            let begun = Instant::now();
            timers.tick();
            begun.elapsed()
        });
        let fastest = ticks.min().unwrap();
        // Without optimisation, and on a busy machine.
        assert!(fastest < TICK / 10, "{fastest:?}");
    }

    #[test]
    fn a_slot_is_used_again() {
        let timers = Timers::new();
        let first = timers.slot();
        first.arm(Duration::from_millis(1));
        let index = first.index;
        drop(first);
        let second = timers.slot();
        assert_eq!(second.index, index);
        assert!(!second.expired(), "the deadline of the slot's former owner is gone");
    }
}
