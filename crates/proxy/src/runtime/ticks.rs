//! A worker's pulse: its deadlines are looked at with each tick, see [`super::timers`].
//!
//! It is a timer of the kernel's that goes on by itself. The runtime then has no deadline of its own, and sleeps without one:
//! for each sleep with a deadline the kernel sets a timer and takes it back, twice for a request that comes alone.

use std::io;
use std::os::fd::OwnedFd;
use std::time::Duration;

#[cfg(target_os = "linux")]
use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create, timerfd_settime,
};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::time::{Instant, Interval, MissedTickBehavior, interval_at};

/// The pulse.
pub(super) enum Ticks {
    /// The kernel's timer.
    Kernel(AsyncFd<OwnedFd>),
    /// The runtime's, where there is no other.
    Runtime(Interval),
}

impl Ticks {
    /// One tick after each `period`. Ticks that nobody waited for count as one.
    pub(super) fn every(period: Duration) -> Self {
        match timer(period).and_then(watched) {
            Ok(timer) => Self::Kernel(timer),
            Err(fault) => {
                tracing::debug!(%fault, "no timer of the kernel's");
                let mut interval = interval_at(Instant::now() + period, period);
                interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
                Self::Runtime(interval)
            }
        }
    }

    /// Waits for the next one.
    pub(super) async fn next(&mut self) {
        match self {
            Self::Kernel(timer) => loop {
                // It fails only while the runtime ends.
                let Ok(mut ready) = timer.readable().await else { return std::future::pending().await };
                let read = ready.try_io(|timer| Ok(rustix::io::read(timer, &mut [0; 8])?));
                // The next expiry is an event of its own.
                ready.clear_ready();
                if matches!(read, Ok(Ok(_))) {
                    return;
                }
            },
            Self::Runtime(interval) => {
                interval.tick().await;
            }
        }
    }
}

/// Has the runtime watch it.
#[allow(unsafe_code, reason = "the runtime takes anybody's word for what it watches")]
fn watched(timer: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    // SAFETY: it is open, belongs to what watches it, and is closed with it; an `OwnedFd` is always the same descriptor.
    Ok(unsafe { AsyncFd::register_with_interest(timer, Interest::READABLE) }?)
}

#[cfg(target_os = "linux")]
fn timer(period: Duration) -> io::Result<OwnedFd> {
    let timer = timerfd_create(TimerfdClockId::Monotonic, TimerfdFlags::CLOEXEC | TimerfdFlags::NONBLOCK)?;
    let period = Timespec::try_from(period).map_err(io::Error::other)?;
    let times = Itimerspec { it_interval: period, it_value: period };
    timerfd_settime(&timer, TimerfdTimerFlags::empty(), &times)?;
    Ok(timer)
}

#[cfg(not(target_os = "linux"))]
fn timer(_: Duration) -> io::Result<OwnedFd> {
    Err(io::ErrorKind::Unsupported.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    const PERIOD: Duration = Duration::from_millis(5);

    #[tokio::test]
    async fn ticks_come_one_after_each_period() {
        let begun = Instant::now();
        for mut ticks in [Ticks::every(PERIOD), Ticks::Runtime(interval_at(Instant::now() + PERIOD, PERIOD))]
        {
            for _ in 0..4 {
                ticks.next().await;
            }
            assert!(begun.elapsed() >= 4 * PERIOD, "{:?}", begun.elapsed());
        }
        assert!(!cfg!(target_os = "linux") || matches!(Ticks::every(PERIOD), Ticks::Kernel(_)));
    }

    #[tokio::test]
    async fn those_that_nobody_waited_for_are_one() {
        let begun = Instant::now();
        let mut ticks = Ticks::every(PERIOD);
        std::thread::sleep(10 * PERIOD);
        for _ in 0..4 {
            ticks.next().await;
        }
        assert!(begun.elapsed() >= 13 * PERIOD, "{:?}: one for those ten, and three more", begun.elapsed());
    }
}
