//! What proxies report of their work: kept in memory beside their streams, and gone with them.
//!
//! Proxies report now and then, and more often while somebody looks. A look is remembered for a while; streams hear of it and
//! tell their proxies the pace.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::watch;
use weir_api::mesh;
use weir_api::report::{Figures, ProxyReport, Report, ReportError, Samples, Seen, Wanted, figures};

use super::hub::Member;

/// How often proxies report while nobody looks.
pub const REPORT_EVERY: Duration = Duration::from_secs(10);
/// How often they do while somebody does.
pub const WATCHED_EVERY: Duration = Duration::from_secs(1);
/// For how long a look counts.
pub const LOOK_LASTS: Duration = Duration::from_secs(15);
/// How soon after a look the next one is told to the proxies.
const LOOK_AGAIN: Duration = Duration::from_secs(5);
/// What comes sooner after a report than this is not read.
const REPORT_PAUSE_MIN: Duration = Duration::from_millis(200);
/// Bytes of reports that are kept, over all proxies, as they came. Beyond, a proxy's report is not taken.
pub const REPORTS_BYTES_MAX: usize = 256 << 20;
/// Reports of a proxy that are kept at most.
const REPORTS_KEPT: usize = 3;

/// Who looks, and how much is kept.
#[derive(Debug)]
pub(super) struct Reports {
    looked: watch::Sender<Option<Instant>>,
    bytes: AtomicUsize,
    bytes_max: usize,
}

impl Default for Reports {
    fn default() -> Self {
        Self { looked: watch::Sender::new(None), bytes: AtomicUsize::new(0), bytes_max: REPORTS_BYTES_MAX }
    }
}

/// The reports of one proxy.
#[derive(Debug, Default)]
pub(super) struct Reported(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    samples: Samples,
    /// When one was last read, whether it could be kept or not.
    read: Option<Instant>,
    arrived: Option<Instant>,
    /// What is counted of it in [`Reports::bytes`].
    bytes: usize,
}

/// Why a report was not kept.
#[derive(Debug, thiserror::Error)]
pub(super) enum NotKept {
    #[error(transparent)]
    Bad(#[from] ReportError),
    #[error("all proxies together report more than {REPORTS_BYTES_MAX} bytes")]
    Full,
}

impl Reports {
    /// Somebody looks.
    pub(super) fn look(&self, now: Instant) {
        self.looked.send_if_modified(|looked| {
            let is_news = looked.is_none_or(|at| now.saturating_duration_since(at) >= LOOK_AGAIN);
            if is_news {
                *looked = Some(now);
            }
            is_news
        });
    }

    /// Hears of looks; also of one that was lately.
    pub(super) fn looks(&self, now: Instant) -> watch::Receiver<Option<Instant>> {
        let mut looks = self.looked.subscribe();
        if looks.borrow().is_some_and(|at| now.saturating_duration_since(at) < LOOK_LASTS) {
            looks.mark_changed();
        }
        looks
    }

    /// Keeps a proxy's report. What comes too soon is dropped.
    pub(super) fn keep(&self, of: &Reported, report: &mesh::Report, now: Instant) -> Result<(), NotKept> {
        let mut state = of.lock();
        if state.read.is_some_and(|at| now.saturating_duration_since(at) < REPORT_PAUSE_MIN) {
            return Ok(());
        }
        let bytes = REPORTS_KEPT * report.json.len();
        let others = self.bytes.load(Ordering::Relaxed).saturating_sub(state.bytes);
        if others + bytes > self.bytes_max {
            return Err(NotKept::Full);
        }
        state.read = Some(now);
        let report = Report::from_json(&report.json)?;
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
        self.bytes.fetch_sub(std::mem::replace(&mut state.bytes, bytes), Ordering::Relaxed);
        state.samples.add(Arc::new(report));
        state.arrived = Some(now);
        Ok(())
    }

    /// A proxy has gone.
    pub(super) fn forget(&self, of: &Reported) {
        self.bytes.fetch_sub(std::mem::take(&mut *of.lock()).bytes, Ordering::Relaxed);
    }

    /// Bytes that are kept.
    pub(super) fn bytes(&self) -> usize {
        self.bytes.load(Ordering::Relaxed)
    }
}

impl Reported {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The newest report, an earlier one, and how old the newest is.
    fn seen(&self, now: Instant) -> Option<(Arc<Report>, Option<Arc<Report>>, u64)> {
        let state = self.lock();
        let age = now.saturating_duration_since(state.arrived?);
        let latest = Arc::clone(state.samples.latest()?);
        Some((latest, state.samples.base().cloned(), u64::try_from(age.as_millis()).unwrap_or(u64::MAX)))
    }
}

/// How often to report, and for how long.
pub(super) fn pace() -> mesh::ReportPace {
    let ms = |time: Duration| u32::try_from(time.as_millis()).unwrap_or(u32::MAX);
    mesh::ReportPace { every_ms: ms(WATCHED_EVERY), for_ms: ms(LOOK_LASTS) }
}

/// What the reports of these proxies come to.
pub(super) fn together(members: &[Arc<Member>], wanted: &Wanted, now: Instant) -> Figures {
    let kept: Vec<_> =
        members.iter().filter_map(|member| Some((member.proxy_id(), member.reported.seen(now)?))).collect();
    let seen = kept.iter().map(|(proxy, (latest, base, age_ms))| Seen {
        proxy,
        age_ms: *age_ms,
        latest,
        base: base.as_deref(),
    });
    Figures { proxies: members.len() as u64, ..figures(seen, wanted) }
}

/// The newest report of each, and an older one if there is one and it is wanted.
pub(super) fn each(
    members: &[Arc<Member>],
    with_base: bool,
    now: Instant,
) -> Vec<(Arc<Member>, ProxyReport)> {
    let report = |member: &Arc<Member>| {
        let (latest, base, age_ms) = member.reported.seen(now)?;
        let report = ProxyReport {
            proxy: member.proxy_id().to_owned(),
            age_ms,
            report: Report::clone(&latest),
            base: base.filter(|_| with_base).map(|base| Report::clone(&base)),
            ..ProxyReport::default()
        };
        Some((Arc::clone(member), report))
    };
    members.iter().filter_map(report).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(at_ms: u64) -> mesh::Report {
        mesh::Report { json: Report { at_ms, ..Report::default() }.to_json() }
    }

    #[test]
    fn what_is_kept_is_bounded_and_given_back() {
        let size = REPORTS_KEPT * report(1).json.len();
        let reports = Reports { bytes_max: 2 * size, ..Reports::default() };
        let all = [Reported::default(), Reported::default(), Reported::default()];
        let now = Instant::now();
        assert!(reports.keep(&all[0], &report(1), now).is_ok());
        assert!(reports.keep(&all[1], &report(1), now).is_ok());
        assert!(matches!(reports.keep(&all[2], &report(1), now), Err(NotKept::Full)));
        assert!(reports.keep(&all[0], &report(2), now + REPORT_PAUSE_MIN).is_ok(), "in the place of its own");
        assert_eq!(reports.bytes(), 2 * size);
        reports.forget(&all[0]);
        assert!(reports.keep(&all[2], &report(1), now).is_ok());
        reports.forget(&all[1]);
        reports.forget(&all[2]);
        assert_eq!(reports.bytes(), 0);
    }

    #[test]
    fn a_flood_of_reports_is_not_read() {
        let (reports, of, now) = (Reports::default(), Reported::default(), Instant::now());
        reports.keep(&of, &report(1), now).unwrap();
        reports.keep(&of, &report(2), now + REPORT_PAUSE_MIN / 2).unwrap();
        assert_eq!(of.seen(now).unwrap().0.at_ms, 1);
        reports.keep(&of, &report(3), now + REPORT_PAUSE_MIN).unwrap();
        let (latest, base, age_ms) = of.seen(now + REPORT_PAUSE_MIN + Duration::from_millis(7)).unwrap();
        assert_eq!((latest.at_ms, base.unwrap().at_ms, age_ms), (3, 1, 7));
    }

    #[test]
    fn looks_are_told_now_and_then() {
        let (reports, now) = (Reports::default(), Instant::now());
        let mut looks = reports.looks(now);
        assert!(!looks.has_changed().unwrap());
        reports.look(now);
        assert!(looks.has_changed().unwrap());
        looks.mark_unchanged();
        reports.look(now + LOOK_AGAIN / 2);
        assert!(!looks.has_changed().unwrap(), "it is known");
        reports.look(now + LOOK_AGAIN);
        assert!(looks.has_changed().unwrap());
        assert!(reports.looks(now + LOOK_LASTS).has_changed().unwrap(), "who comes later hears of it");
        assert!(!reports.looks(now + LOOK_AGAIN + LOOK_LASTS).has_changed().unwrap(), "it is long ago");
    }
}
