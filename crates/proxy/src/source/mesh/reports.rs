//! When to report: at the server's usual pace, and faster while somebody looks.

use std::time::Duration;

use tokio::time::Instant;
use weir_api::mesh::ReportPace;

/// However a server may press, no report comes sooner after another.
const EVERY_MIN: Duration = Duration::from_millis(500);
/// A look lasts no longer than this without being told again.
const LOOK_MAX: Duration = Duration::from_secs(60);

/// The pace of one stream.
#[derive(Debug)]
pub(super) struct Pace {
    /// Nothing is reported to a server that does not ask for it.
    usual: Option<Duration>,
    /// How often, and until when.
    watched: Option<(Duration, Instant)>,
    last: Option<Instant>,
}

impl Pace {
    /// The pace that a welcome names.
    pub(super) fn new(every_ms: u32) -> Self {
        let usual = (every_ms > 0).then(|| at_least(every_ms));
        Self { usual, watched: None, last: None }
    }

    /// Somebody looks.
    pub(super) fn watch(&mut self, pace: ReportPace, now: Instant) {
        let lasts = Duration::from_millis(pace.for_ms.into()).min(LOOK_MAX);
        self.watched = Some((at_least(pace.every_ms), now + lasts));
    }

    /// When the next report is due; never for a server that takes none. The first is due at once.
    pub(super) fn due(&self, now: Instant) -> Option<Instant> {
        let usual = self.usual?;
        let Some(last) = self.last else { return Some(now) };
        let every =
            self.watched.filter(|(_, until)| *until > now).map_or(usual, |(every, _)| every.min(usual));
        Some(last + every)
    }

    /// A report was made.
    pub(super) fn reported(&mut self, now: Instant) {
        self.last = Some(now);
    }
}

fn at_least(every_ms: u32) -> Duration {
    Duration::from_millis(every_ms.into()).max(EVERY_MIN)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pace_quickens_while_somebody_looks() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let mut pace = Pace::new(10_000);
        assert_eq!(pace.due(start), Some(start));
        pace.reported(start);
        assert_eq!(pace.due(start), Some(at(10_000)));
        pace.watch(ReportPace { every_ms: 1000, for_ms: 15_000 }, at(3000));
        assert_eq!(pace.due(at(3000)), Some(at(1000)), "overdue for somebody who looks");
        pace.reported(at(3000));
        assert_eq!(pace.due(at(3000)), Some(at(4000)));
        assert_eq!(pace.due(at(18_000)), Some(at(13_000)), "nobody has looked for long");
    }

    #[test]
    fn a_server_cannot_press_and_need_not_take_any() {
        let start = Instant::now();
        let mut pace = Pace::new(0);
        pace.watch(ReportPace { every_ms: 1, for_ms: u32::MAX }, start);
        assert_eq!(pace.due(start), None);
        let mut pace = Pace::new(60_000);
        pace.reported(start);
        pace.watch(ReportPace { every_ms: 0, for_ms: u32::MAX }, start);
        assert_eq!(pace.due(start), Some(start + EVERY_MIN));
        assert_eq!(pace.due(start + LOOK_MAX), Some(start + Duration::from_secs(60)));
    }
}
