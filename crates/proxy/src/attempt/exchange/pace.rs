//! Whether a client keeps up a minimum rate. That a body does not stand still is not enough: one byte every now and then
//! would hold a connection, and an upstream's, for ever.

use crate::runtime::Coarse;

/// Not running.
const OFF: Coarse = 0;

/// By when a client must have moved on. Each byte buys time.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Pace {
    deadline: Coarse,
    counted: u64,
}

impl Pace {
    /// Forgets everything.
    #[inline]
    pub(super) fn stop(&mut self) {
        self.deadline = OFF;
    }

    /// The client, whom the exchange waits for, has moved so many bytes in all. Gives when it will have been too slow:
    /// `standstill`, the deadline for any progress, or before.
    pub(super) fn moved(&mut self, bytes: u64, rate_min: u64, standstill: Coarse) -> Coarse {
        if rate_min == 0 {
            return standstill;
        }
        if self.deadline == OFF {
            (self.deadline, self.counted) = (standstill, bytes);
        }
        let bought = bytes.saturating_sub(self.counted).saturating_mul(1000) / rate_min;
        if bought > 0 {
            self.deadline = self.deadline.saturating_add(bought);
            self.counted = bytes;
        }
        self.deadline.min(standstill)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STANDSTILL_MS: u64 = 60_000;

    /// When a client that sends `bytes` every `every_ms` is cut off, if it is within a day.
    fn cut_off(bytes: u64, every_ms: u64, rate_min: u64) -> Option<u64> {
        let mut pace = Pace::default();
        let (mut now, mut sent) = (0, 0);
        while now < 86_400_000 {
            let deadline = pace.moved(sent, rate_min, now + STANDSTILL_MS);
            if deadline < now + every_ms {
                return Some(deadline);
            }
            now += every_ms;
            sent += bytes;
        }
        None
    }

    #[test]
    fn whoever_is_slower_than_the_minimum_is_cut_off_and_nobody_else() {
        assert_eq!(cut_off(1, 59_000, 240), Some(60_004));
        assert_eq!(cut_off(1, 61_000, 240), Some(60_000), "a standstill");
        assert_eq!(cut_off(240, 1000, 240), None);
        assert_eq!(cut_off(250, 1000, 240), None);
        assert_eq!(cut_off(14_400, 59_999, 240), None, "in bursts");
        let slower = cut_off(200, 1000, 240).unwrap();
        assert!(
            (300_000..400_000).contains(&slower),
            "{slower}: a minute's grace lasts for six at 5/6 of the rate"
        );
        assert_eq!(cut_off(1, 1, 10_000), Some(66_666), "fractions of a millisecond count too");
        assert_eq!(cut_off(1, 59_000, 0), None, "off");
    }

    #[test]
    fn it_begins_anew() {
        let mut pace = Pace::default();
        assert_eq!(pace.moved(5, 240, 60_000), 60_000);
        assert_eq!(pace.moved(6, 240, 110_000), 60_004);
        pace.stop();
        assert_eq!(pace.moved(7, 240, 170_000), 170_000);
    }
}
