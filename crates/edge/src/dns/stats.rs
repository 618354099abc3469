//! What a DNS server counts, and how it is shown.

use std::fmt::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use domain::base::iana::{OptRcode, Rtype};

use super::query::Ignored;
use super::recursor::Target;

/// The types that are counted apart.
const TYPES: [(Rtype, &str); 9] = [
    (Rtype::A, "A"),
    (Rtype::AAAA, "AAAA"),
    (Rtype::SRV, "SRV"),
    (Rtype::ANY, "ANY"),
    (Rtype::PTR, "PTR"),
    (Rtype::TXT, "TXT"),
    (Rtype::SOA, "SOA"),
    (Rtype::NS, "NS"),
    (Rtype::CNAME, "CNAME"),
];
/// What the others are counted as.
const OTHER: &str = "other";
/// The codes that are counted apart.
const RCODES: [(OptRcode, &str); 7] = [
    (OptRcode::NOERROR, "NOERROR"),
    (OptRcode::FORMERR, "FORMERR"),
    (OptRcode::SERVFAIL, "SERVFAIL"),
    (OptRcode::NXDOMAIN, "NXDOMAIN"),
    (OptRcode::NOTIMP, "NOTIMP"),
    (OptRcode::REFUSED, "REFUSED"),
    (OptRcode::BADVERS, "BADVERS"),
];
/// Upper bounds of the durations that are counted apart, in microseconds.
const BUCKETS_US: [u64; 9] = [50, 100, 250, 1_000, 5_000, 25_000, 100_000, 500_000, 2_500_000];

/// Counters of one DNS server.
#[derive(Debug)]
pub struct DnsStats {
    queries: [[AtomicU64; RCODES.len() + 1]; TYPES.len() + 1],
    here: Durations,
    recursors: Durations,
    truncated: AtomicU64,
    ignored: [AtomicU64; 2],
    tcp_connections: AtomicU64,
    tcp_refused: AtomicU64,
    recursions: AtomicU64,
    recursions_refused: AtomicU64,
    failures: Vec<(String, AtomicU64)>,
}

/// Who knew an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Source {
    /// The registry.
    Here,
    /// A recursor.
    Recursor,
}

#[derive(Debug, Default)]
struct Durations {
    /// One for each bucket, and one for what is longer than all.
    counts: [AtomicU64; BUCKETS_US.len() + 1],
    sum_us: AtomicU64,
}

impl DnsStats {
    /// Nothing counted yet, for a server that asks these recursors.
    pub(super) fn new(recursors: &[Target]) -> Arc<Self> {
        let failures = recursors.iter().map(|target| (target.to_string(), AtomicU64::new(0))).collect();
        Arc::new(Self {
            queries: Default::default(),
            here: Durations::default(),
            recursors: Durations::default(),
            truncated: AtomicU64::new(0),
            ignored: Default::default(),
            tcp_connections: AtomicU64::new(0),
            tcp_refused: AtomicU64::new(0),
            recursions: AtomicU64::new(0),
            recursions_refused: AtomicU64::new(0),
            failures,
        })
    }

    /// A query was answered. `None` for a type that could not be read.
    pub(super) fn answered(&self, rtype: Option<Rtype>, rcode: OptRcode, source: Source, took: Duration) {
        let row = TYPES.iter().position(|(known, _)| Some(*known) == rtype).unwrap_or(TYPES.len());
        let column = RCODES.iter().position(|(known, _)| *known == rcode).unwrap_or(RCODES.len());
        add(&self.queries[row][column]);
        let durations = if source == Source::Here { &self.here } else { &self.recursors };
        durations.add(took);
    }

    /// An answer did not hold all records.
    pub(super) fn truncate(&self) {
        add(&self.truncated);
    }

    /// A packet got no answer.
    pub(super) fn ignore(&self, why: Ignored) {
        add(&self.ignored[why as usize]);
    }

    /// A TCP connection, for as long as the result lives.
    pub(super) fn connection(self: &Arc<Self>) -> Gauge {
        Gauge::raise(self, |stats| &stats.tcp_connections)
    }

    /// A TCP connection was one too many.
    pub(super) fn refuse_connection(&self) {
        add(&self.tcp_refused);
    }

    /// A query is passed on, for as long as the result lives.
    pub(super) fn recursion(self: &Arc<Self>) -> Gauge {
        Gauge::raise(self, |stats| &stats.recursions)
    }

    /// A query was not passed on, because too many were.
    pub(super) fn refuse_recursion(&self) {
        add(&self.recursions_refused);
    }

    /// A recursor, by its place in the list, did not answer, or not usefully.
    pub(super) fn recursor_failed(&self, at: usize) {
        add(&self.failures[at].1);
    }

    /// Adds all of it in Prometheus's text format.
    pub(crate) fn render(&self, text: &mut String) {
        head(text, "weir_dns_queries_total", "counter", "DNS queries answered, by type and response code.");
        let types = TYPES.iter().map(|(_, name)| *name).chain([OTHER]);
        for (rtype, row) in types.zip(&self.queries) {
            let rcodes = RCODES.iter().map(|(_, name)| *name).chain([OTHER]);
            for (rcode, count) in rcodes.zip(row).filter(|(_, count)| get(count) > 0) {
                let _ = writeln!(
                    text,
                    "weir_dns_queries_total{{type=\"{rtype}\",rcode=\"{rcode}\"}} {}",
                    get(count)
                );
            }
        }
        head(
            text,
            "weir_dns_query_seconds",
            "histogram",
            "Time from a DNS query's arrival to its answer, by who knew it.",
        );
        self.here.render(text, "registry");
        self.recursors.render(text, "recursor");
        head(text, "weir_dns_ignored_total", "counter", "Packets that got no answer, by reason.");
        for (reason, count) in ["short", "response"].iter().zip(&self.ignored) {
            let _ = writeln!(text, "weir_dns_ignored_total{{reason=\"{reason}\"}} {}", get(count));
        }
        for (name, kind, help, value) in [
            (
                "weir_dns_truncated_total",
                "counter",
                "Answers that did not hold all records.",
                &self.truncated,
            ),
            ("weir_dns_tcp_connections", "gauge", "TCP connections that are open.", &self.tcp_connections),
            (
                "weir_dns_tcp_connections_refused_total",
                "counter",
                "TCP connections closed because there were too many.",
                &self.tcp_refused,
            ),
            ("weir_dns_recursions", "gauge", "Queries that recursors are asked now.", &self.recursions),
            (
                "weir_dns_recursions_refused_total",
                "counter",
                "Queries not passed on because too many were.",
                &self.recursions_refused,
            ),
        ] {
            head(text, name, kind, help);
            let _ = writeln!(text, "{name} {}", get(value));
        }
        head(
            text,
            "weir_dns_recursor_failures_total",
            "counter",
            "Queries that a recursor did not answer usefully.",
        );
        for (target, count) in &self.failures {
            let _ = writeln!(text, "weir_dns_recursor_failures_total{{recursor={target:?}}} {}", get(count));
        }
    }
}

impl Durations {
    fn add(&self, took: Duration) {
        let us = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        add(&self.counts[BUCKETS_US.partition_point(|bound| *bound < us)]);
        self.sum_us.fetch_add(us, Ordering::Relaxed);
    }

    fn render(&self, text: &mut String, source: &str) {
        let name = "weir_dns_query_seconds";
        let mut all = 0;
        let bounds = BUCKETS_US.iter().map(|us| (*us as f64 / 1e6).to_string()).chain(["+Inf".to_owned()]);
        for (bound, count) in bounds.zip(&self.counts) {
            all += get(count);
            let _ = writeln!(text, "{name}_bucket{{source=\"{source}\",le=\"{bound}\"}} {all}");
        }
        let sum = get(&self.sum_us) as f64 / 1e6;
        let _ = writeln!(text, "{name}_sum{{source=\"{source}\"}} {sum}");
        let _ = writeln!(text, "{name}_count{{source=\"{source}\"}} {all}");
    }
}

/// Something that is counted for as long as this lives.
#[derive(Debug)]
pub(super) struct Gauge {
    stats: Arc<DnsStats>,
    which: fn(&DnsStats) -> &AtomicU64,
}

impl Gauge {
    fn raise(stats: &Arc<DnsStats>, which: fn(&DnsStats) -> &AtomicU64) -> Self {
        add(which(stats));
        Self { stats: Arc::clone(stats), which }
    }
}

impl Drop for Gauge {
    fn drop(&mut self) {
        (self.which)(&self.stats).fetch_sub(1, Ordering::Relaxed);
    }
}

fn add(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

fn get(counter: &AtomicU64) -> u64 {
    counter.load(Ordering::Relaxed)
}

fn head(text: &mut String, name: &str, kind: &str, help: &str) {
    let _ = write!(text, "# HELP {name} {help}\n# TYPE {name} {kind}\n");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_counted_is_shown() {
        let stats = DnsStats::new(&[Target::Address("127.0.0.1:53".parse().unwrap())]);
        stats.answered(Some(Rtype::SRV), OptRcode::NOERROR, Source::Here, Duration::from_micros(50));
        stats.answered(Some(Rtype::HINFO), OptRcode::NXDOMAIN, Source::Here, Duration::from_micros(51));
        stats.answered(None, OptRcode::FORMERR, Source::Recursor, Duration::from_secs(9));
        stats.ignore(Ignored::Response);
        stats.recursor_failed(0);
        let open = stats.connection();
        let mut text = String::new();
        stats.render(&mut text);
        for line in [
            "weir_dns_queries_total{type=\"SRV\",rcode=\"NOERROR\"} 1",
            "weir_dns_queries_total{type=\"other\",rcode=\"NXDOMAIN\"} 1",
            "weir_dns_queries_total{type=\"other\",rcode=\"FORMERR\"} 1",
            "weir_dns_query_seconds_bucket{source=\"registry\",le=\"0.00005\"} 1",
            "weir_dns_query_seconds_bucket{source=\"registry\",le=\"0.0001\"} 2",
            "weir_dns_query_seconds_bucket{source=\"recursor\",le=\"2.5\"} 0",
            "weir_dns_query_seconds_bucket{source=\"recursor\",le=\"+Inf\"} 1",
            "weir_dns_ignored_total{reason=\"response\"} 1",
            "weir_dns_tcp_connections 1",
            "weir_dns_recursor_failures_total{recursor=\"127.0.0.1:53\"} 1",
        ] {
            assert!(text.lines().any(|shown| shown == line), "{line} is missing in\n{text}");
        }
        drop(open);
        text.clear();
        stats.render(&mut text);
        assert!(text.contains("\nweir_dns_tcp_connections 0\n"));
    }
}
