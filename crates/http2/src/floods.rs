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
            Self::Settings => Budget::of(64, 2, 0),
            // gRPC's clients and servers measure the round trip with a PING, one after the other while data flows.
            Self::Ping => Budget { bytes_each: 8 * 1024, ..Budget::of(256, 10, 2) },
            Self::Priority => Budget::of(256, 10, 2),
            // A client that cancels about every second request, and some more, is not an attacker.
            Self::Reset => Budget::of(200, 20, 1),
            // One for the connection and one for the stream, for each piece that was sent, however small it was; of large
            // ones for each KiB, as those do who read so much at a time and say so each time. Most wait for more: for a
            // quarter or half of the window, or for 4 KiB.
            Self::WindowUpdate => Budget { bytes_each: 512, ..Budget::of(2048, 100, 8) },
            Self::EmptyData => Budget::of(100, 10, 1),
            // What a head of the usual bound needs; see `continuations`.
            Self::Continuation => Budget::of(CONTINUATIONS_MIN, 0, 0),
            Self::Malformed => Budget::of(256, 2, 0),
            Self::Unknown => Budget::of(100, 10, 1),
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
    /// Restored by a piece of useful work: see [`Work::done`].
    per_work: u32,
    /// So many bytes of content that were sent earn one, beyond what may be in store: the peer has had to take them, and may
    /// answer to all of them late. 0 for none.
    bytes_each: u64,
}

impl Budget {
    const fn of(burst: u32, per_second: u32, per_work: u32) -> Self {
        Self { burst, per_second, per_work, bytes_each: 0 }
    }
}

/// The useful work that a connection has done so far.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Work {
    /// Heads sent, responses' heads received, and pieces of content sent whole: not those that a small window cuts up.
    pub(crate) done: u64,
    /// Bytes of content sent.
    pub(crate) sent_bytes: u64,
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
    work: Work,
    may_reset: bool,
}

impl Floods {
    /// Those of a client's connection, with heads of so many bytes.
    pub(crate) fn new(head_bytes_max: usize, now_ms: u64) -> Self {
        let left = Flood::ALL.map(|flood| flood.budget().burst);
        let continuations = continuations(head_bytes_max);
        Self { left, continuations, at_ms: now_ms, work: Work::default(), may_reset: false }
    }

    /// Those of a connection to an upstream, which may refuse as many streams as it is sent.
    pub(crate) fn of_upstream(head_bytes_max: usize, now_ms: u64) -> Self {
        Self { may_reset: true, ..Self::new(head_bytes_max, now_ms) }
    }

    /// Counts a frame by what its header says.
    #[inline]
    pub(crate) fn frame(
        &mut self,
        kind: u8,
        flags: u8,
        len: u32,
        now_ms: u64,
        work: Work,
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
    pub(crate) fn malformed(&mut self, now_ms: u64, work: Work) -> Result<(), Flood> {
        self.spend(Flood::Malformed, now_ms, work)
    }

    fn spend(&mut self, flood: Flood, now_ms: u64, work: Work) -> Result<(), Flood> {
        if self.left[flood as usize] == 0 {
            self.restore(now_ms, work);
        }
        let left = &mut self.left[flood as usize];
        *left = left.checked_sub(1).ok_or(flood)?;
        Ok(())
    }

    /// Gives back what time and work have earned. Only asked for when something has run out.
    #[cold]
    fn restore(&mut self, now_ms: u64, work: Work) {
        let seconds = now_ms.saturating_sub(self.at_ms) / 1000;
        self.at_ms += seconds * 1000;
        let worked = work.done - self.work.done;
        let (sent_before, sent_now) = (self.work.sent_bytes, work.sent_bytes);
        self.work = work;
        for (left, flood) in self.left.iter_mut().zip(Flood::ALL) {
            let Budget { burst, per_second, per_work, bytes_each } = flood.budget();
            let earned = seconds
                .saturating_mul(u64::from(per_second))
                .saturating_add(worked.saturating_mul(u64::from(per_work)));
            // Those that were not spent of what bytes have earned are not taken away.
            let stored = u64::from(*left).saturating_add(earned).min(u64::from(burst.max(*left)));
            let by_bytes = |sent: u64| sent.checked_div(bytes_each).unwrap_or(0);
            let all = stored.saturating_add(by_bytes(sent_now) - by_bytes(sent_before));
            *left = u32::try_from(all).unwrap_or(u32::MAX);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn done(done: u64) -> Work {
        Work { done, sent_bytes: 0 }
    }

    fn frames(floods: &mut Floods, kind: u8, now_ms: u64, work: Work) -> u32 {
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
            assert_eq!(frames(&mut floods, kind, 0, done(0)), budget.burst, "{flood:?}");
            assert_eq!(floods.frame(kind, 0, 0, 0, done(0)), Err(flood));
            assert_eq!(
                frames(&mut floods, kind, 1999, done(0)),
                budget.per_second,
                "{flood:?}: one whole second"
            );
            assert_eq!(
                frames(&mut floods, kind, 2000, done(0)),
                budget.per_second,
                "{flood:?}: the rest is not lost"
            );
            assert_eq!(frames(&mut floods, kind, 2000, done(5)), 5 * budget.per_work, "{flood:?}: work");
            assert_eq!(
                frames(&mut floods, kind, u64::MAX, done(5)),
                budget.burst,
                "{flood:?}: never more in store"
            );
        }
    }

    /// Who has been sent much may say so in small pieces, and late; who lets nothing be sent may not.
    #[test]
    fn window_updates_are_paid_for_by_what_was_sent() {
        let sent = |sent_bytes| Work { done: 0, sent_bytes };
        let Budget { burst, bytes_each, .. } = Flood::WindowUpdate.budget();
        let mut floods = Floods::new(0, 0);
        let mut sent_bytes = 0;
        for _ in 0..100_000 {
            sent_bytes += 1024;
            for _ in 0..2 {
                floods.frame(WINDOW_UPDATE, 0, 4, 0, sent(sent_bytes)).unwrap();
            }
        }
        let mut late = Floods::new(0, 0);
        let all = frames(&mut late, WINDOW_UPDATE, 0, sent(100 << 20));
        assert_eq!(u64::from(all), u64::from(burst) + (100 << 20) / bytes_each);
        assert_eq!(frames(&mut late, WINDOW_UPDATE, 5000, sent(100 << 20)), 500, "time goes on to earn");
        let mut dribble = Floods::new(0, 0);
        let passed =
            (0..).take_while(|&bytes| dribble.frame(WINDOW_UPDATE, 0, 4, 0, sent(bytes)).is_ok()).count();
        assert!(passed < burst as usize + 10, "an octet for each is no work: {passed}");
    }

    #[test]
    fn what_carries_requests_and_content_is_not_counted() {
        let mut floods = Floods::new(0, 0);
        for _ in 0..10_000 {
            floods.frame(HEADERS, 0, 10, 0, done(0)).unwrap();
            floods.frame(DATA, 0, 1, 0, done(0)).unwrap();
            floods.frame(DATA, END_STREAM, 0, 0, done(0)).unwrap();
        }
    }

    #[test]
    fn a_header_block_has_so_many_continuations_and_no_more() {
        for (head_bytes_max, expected) in [(1024, 5), (64 * 1024, 5), (128 * 1024, 10)] {
            let mut floods = Floods::new(head_bytes_max, 0);
            for _ in 0..3 {
                floods.frame(HEADERS, 0, 10, 0, done(0)).unwrap();
                assert_eq!(frames(&mut floods, CONTINUATION, 0, done(0)), expected, "{head_bytes_max}");
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
