//! What came out.

use std::fmt;

use hdrhistogram::Histogram;

use super::cases::Case;

/// How long things took, in microseconds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Times {
    pub(crate) p50: u64,
    pub(crate) p99: u64,
    pub(crate) p999: u64,
    pub(crate) most: u64,
}

impl Times {
    pub(crate) fn of(times: &Histogram<u64>) -> Self {
        let at = |share| times.value_at_quantile(share);
        Self { p50: at(0.5), p99: at(0.99), p999: at(0.999), most: times.max() }
    }
}

/// Requests of one kind.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Requests {
    /// CPU time of the subject for each, in microseconds.
    pub(crate) cpu_us: f64,
    /// Answers a second, as fast as the clients get them.
    pub(crate) rate: f64,
    /// Requests a second while times were taken.
    pub(crate) open_rate: f64,
    pub(crate) times: Times,
}

/// A change that many are told of.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Fanout {
    pub(crate) times: Times,
    /// CPU time of the subject for each who is told, in microseconds.
    pub(crate) cpu_us: f64,
    /// Memory for each who waits, in KiB.
    pub(crate) kib_each: f64,
}

/// A catalog of many instances.
#[derive(Clone, Copy, Debug)]
pub(crate) struct CatalogFigures {
    pub(crate) count: usize,
    pub(crate) register_cpu_us: f64,
    /// Registrations a second.
    pub(crate) register_rate: f64,
    /// Memory of one after they were registered, in KiB.
    pub(crate) kib_each: f64,
    /// The same after a restart.
    pub(crate) kib_each_restarted: f64,
    pub(crate) disk_kib_each: f64,
    /// From the start of the process, after it was killed, to the first right answer.
    pub(crate) start_s: f64,
    /// CPU time of the process until then.
    pub(crate) start_cpu_s: f64,
    /// Reads of one service.
    pub(crate) reads: Times,
}

/// One subject's figures in one case.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Figures {
    Requests(Requests),
    Fanout(Fanout),
    Catalog(CatalogFigures),
}

impl Figures {
    /// The CPU time that is compared between subjects, in microseconds.
    pub(crate) fn cpu_us(&self) -> f64 {
        match self {
            Self::Requests(figures) => figures.cpu_us,
            Self::Fanout(figures) => figures.cpu_us,
            Self::Catalog(figures) => figures.register_cpu_us,
        }
    }
}

/// One case.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) case: Case,
    pub(crate) figures: Vec<(String, Figures)>,
    /// Who was not measured, and why.
    pub(crate) missing: Vec<(String, String)>,
}

impl Outcome {
    pub(crate) fn of(case: &Case) -> Self {
        Self { case: *case, figures: Vec::new(), missing: Vec::new() }
    }
}

impl fmt::Display for Times {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ms = |micros: u64| micros as f64 / 1000.0;
        write!(
            f,
            "p50 {:.2} ms, p99 {:.2} ms, p99.9 {:.2} ms, most {:.2} ms",
            ms(self.p50),
            ms(self.p99),
            ms(self.p999),
            ms(self.most)
        )
    }
}

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Requests(Requests { cpu_us, rate, open_rate, times }) => {
                write!(f, "{cpu_us:.1} us CPU each, {rate:.0}/s; at {open_rate:.0}/s: {times}")
            }
            Self::Fanout(Fanout { times, cpu_us, kib_each }) => {
                write!(f, "{times}; {cpu_us:.1} us CPU and {kib_each:.1} KiB for each")
            }
            Self::Catalog(figures) => {
                let CatalogFigures { count, register_cpu_us, register_rate, kib_each, .. } = figures;
                let CatalogFigures { kib_each_restarted, disk_kib_each, start_s, start_cpu_s, reads, .. } =
                    figures;
                write!(
                    f,
                    "{count} instances: {register_cpu_us:.1} us CPU and {kib_each:.2} KiB each ({register_rate:.0}/s), \
                     {disk_kib_each:.2} KiB of disk; answers {start_s:.2} s ({start_cpu_s:.2} s CPU) after a kill, then {kib_each_restarted:.2} KiB \
                     each; a read {reads}"
                )
            }
        }
    }
}
