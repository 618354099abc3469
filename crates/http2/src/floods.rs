//! What a peer may send that costs it nothing and this side something: frames are counted, and each kind that does no
//! work has a budget that time and useful work restore.
//!
//! Pure: the time is an argument.

use crate::frame::{
    CONTINUATION, DATA, END_STREAM, FRAME_BYTES_MAX, GOAWAY, HEADERS, PING, PRIORITY, PUSH_PROMISE,
    RST_STREAM, SETTINGS, WINDOW_UPDATE,
};

/// How a connection was flooded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flood {
    /// SETTINGS, acknowledgements included.
    Settings,
    /// PING, answers included.
    Ping,
    /// PRIORITY.
    Priority,
    /// RST_STREAM, as after a rapid series of requests (CVE-2023-44487).
    Reset,
    /// WINDOW_UPDATE.
    WindowUpdate,
    /// DATA without content that ends nothing.
    EmptyData,
    /// CONTINUATION frames of one header block.
    Continuation,
    /// Streams that had to be reset because what came on them breaks the rules.
    Malformed,
    /// Frames of unknown types.
    Unknown,
}

impl Flood {
    /// How many kinds there are.
    const COUNT: usize = Self::Unknown as usize + 1;

    /// All of them, in the order of their numbers.
    const ALL: [Self; Self::COUNT] = [
        Self::Settings,
        Self::Ping,
        Self::Priority,
        Self::Reset,
        Self::WindowUpdate,
        Self::EmptyData,
        Self::Continuation,
        Self::Malformed,
        Self::Unknown,
    ];

    const fn budget(self) -> Budget {
        match self {
            // A handshake takes two; a peer that resizes its window takes one now and then.
            Self::Settings => Budget { burst: 64, per_second: 2, per_work: 0 },
            // gRPC clients measure the round trip with a PING while data flows.
            Self::Ping => Budget { burst: 256, per_second: 10, per_work: 2 },
            Self::Priority => Budget { burst: 256, per_second: 10, per_work: 2 },
            // A client that cancels about every second request, and some more, is not an attacker.
            Self::Reset => Budget { burst: 200, per_second: 20, per_work: 1 },
            // One for the connection and one for the stream, for each piece that was sent.
            Self::WindowUpdate => Budget { burst: 2048, per_second: 100, per_work: 8 },
            Self::EmptyData => Budget { burst: 100, per_second: 10, per_work: 1 },
            // What a head of the usual bound needs; see `continuations`.
            Self::Continuation => Budget { burst: CONTINUATIONS_MIN, per_second: 0, per_work: 0 },
            Self::Malformed => Budget { burst: 256, per_second: 2, per_work: 0 },
            Self::Unknown => Budget { burst: 100, per_second: 10, per_work: 1 },
        }
    }
}

/// What a kind of frame is allowed.
#[derive(Clone, Copy, Debug)]
struct Budget {
    /// At once, and at most in store.
    burst: u32,
    /// Restored with time.
    per_second: u32,
    /// Restored by a piece of useful work: a message's end, or content sent.
    per_work: u32,
}

/// CONTINUATION frames that every header block may have.
const CONTINUATIONS_MIN: u32 = 5;

/// CONTINUATION frames of a header block of so many bytes, a quarter more than it needs.
fn continuations(head_bytes_max: usize) -> u32 {
    let frames = u32::try_from(head_bytes_max).unwrap_or(u32::MAX) / FRAME_BYTES_MAX;
    frames.saturating_add(frames / 4).max(CONTINUATIONS_MIN)
}

/// The counts of one connection.
#[derive(Debug)]
pub(crate) struct Floods {
    left: [u32; Flood::COUNT],
    /// CONTINUATION frames that a header block may have.
    continuations: u32,
    /// When time last restored something.
    at_ms: u64,
    /// Work that was counted when work last restored something.
    work: u64,
    may_reset: bool,
}

impl Floods {
    /// Those of a client's connection, with heads of so many bytes.
    pub(crate) fn new(head_bytes_max: usize, now_ms: u64) -> Self {
        let left = Flood::ALL.map(|flood| flood.budget().burst);
        let continuations = continuations(head_bytes_max);
        Self { left, continuations, at_ms: now_ms, work: 0, may_reset: false }
    }

    /// Those of a connection to an upstream, which may refuse as many streams as it is sent.
    pub(crate) fn of_upstream(head_bytes_max: usize, now_ms: u64) -> Self {
        Self { may_reset: true, ..Self::new(head_bytes_max, now_ms) }
    }

    /// Counts a frame by what its header says. `work` is how much useful work the connection has done so far.
    #[inline]
    pub(crate) fn frame(
        &mut self,
        kind: u8,
        flags: u8,
        len: u32,
        now_ms: u64,
        work: u64,
    ) -> Result<(), Flood> {
        let flood = match kind {
            DATA if len > 0 || flags & END_STREAM != 0 => return Ok(()),
            HEADERS | PUSH_PROMISE => {
                self.left[Flood::Continuation as usize] = self.continuations;
                return Ok(());
            }
            GOAWAY => return Ok(()),
            RST_STREAM if self.may_reset => return Ok(()),
            DATA => Flood::EmptyData,
            PRIORITY => Flood::Priority,
            RST_STREAM => Flood::Reset,
            SETTINGS => Flood::Settings,
            PING => Flood::Ping,
            WINDOW_UPDATE => Flood::WindowUpdate,
            CONTINUATION => Flood::Continuation,
            _ => Flood::Unknown,
        };
        self.spend(flood, now_ms, work)
    }

    /// Counts a stream that had to be reset.
    pub(crate) fn malformed(&mut self, now_ms: u64, work: u64) -> Result<(), Flood> {
        self.spend(Flood::Malformed, now_ms, work)
    }

    fn spend(&mut self, flood: Flood, now_ms: u64, work: u64) -> Result<(), Flood> {
        if self.left[flood as usize] == 0 {
            self.restore(now_ms, work);
        }
        let left = &mut self.left[flood as usize];
        *left = left.checked_sub(1).ok_or(flood)?;
        Ok(())
    }

    /// Gives back what time and work have earned. Only asked for when something has run out.
    #[cold]
    fn restore(&mut self, now_ms: u64, work: u64) {
        let seconds = now_ms.saturating_sub(self.at_ms) / 1000;
        self.at_ms += seconds * 1000;
        let worked = work - self.work;
        self.work = work;
        for (left, flood) in self.left.iter_mut().zip(Flood::ALL) {
            let Budget { burst, per_second, per_work } = flood.budget();
            let earned = seconds
                .saturating_mul(u64::from(per_second))
                .saturating_add(worked.saturating_mul(u64::from(per_work)));
            if earned > 0 {
                *left = (u64::from(*left).saturating_add(earned)).min(u64::from(burst)) as u32;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frames(floods: &mut Floods, kind: u8, now_ms: u64, work: u64) -> u32 {
        let mut passed = 0;
        while floods.frame(kind, 0, 0, now_ms, work).is_ok() {
            passed += 1;
            assert!(passed < 1_000_000, "never refused");
        }
        passed
    }

    #[test]
    fn every_kind_that_does_no_work_is_bounded_and_earned_back() {
        for (kind, flood) in [
            (0, Flood::EmptyData),
            (2, Flood::Priority),
            (3, Flood::Reset),
            (4, Flood::Settings),
            (6, Flood::Ping),
            (8, Flood::WindowUpdate),
            (77, Flood::Unknown),
        ] {
            let mut floods = Floods::new(0, 0);
            let budget = flood.budget();
            assert_eq!(frames(&mut floods, kind, 0, 0), budget.burst, "{flood:?}");
            assert_eq!(floods.frame(kind, 0, 0, 0, 0), Err(flood));
            assert_eq!(frames(&mut floods, kind, 1999, 0), budget.per_second, "{flood:?}: one whole second");
            assert_eq!(
                frames(&mut floods, kind, 2000, 0),
                budget.per_second,
                "{flood:?}: the rest is not lost"
            );
            assert_eq!(frames(&mut floods, kind, 2000, 5), 5 * budget.per_work, "{flood:?}: work");
            assert_eq!(
                frames(&mut floods, kind, u64::MAX, 5),
                budget.burst,
                "{flood:?}: never more in store"
            );
        }
    }

    #[test]
    fn what_carries_requests_and_content_is_not_counted() {
        let mut floods = Floods::new(0, 0);
        for _ in 0..10_000 {
            floods.frame(HEADERS, 0, 10, 0, 0).unwrap();
            floods.frame(DATA, 0, 1, 0, 0).unwrap();
            floods.frame(DATA, END_STREAM, 0, 0, 0).unwrap();
        }
    }

    #[test]
    fn a_header_block_has_so_many_continuations_and_no_more() {
        for (head_bytes_max, expected) in [(1024, 5), (64 * 1024, 5), (128 * 1024, 10)] {
            let mut floods = Floods::new(head_bytes_max, 0);
            for _ in 0..3 {
                floods.frame(HEADERS, 0, 10, 0, 0).unwrap();
                assert_eq!(frames(&mut floods, CONTINUATION, 0, 0), expected, "{head_bytes_max}");
            }
        }
    }

    #[test]
    fn kinds_are_numbered_in_order() {
        for (i, flood) in Flood::ALL.into_iter().enumerate() {
            assert_eq!(flood as usize, i);
        }
    }
}
