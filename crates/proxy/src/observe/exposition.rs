//! Prometheus' text formats: the classic one (version 0.0.4) and OpenMetrics (1.0.0).

use std::fmt::{Display, Write};

use super::histogram::{BOUNDS_S, Sum};

/// How metrics are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum MetricsFormat {
    /// Version 0.0.4.
    #[default]
    Text,
    /// OpenMetrics 1.0.0.
    OpenMetrics,
}

impl MetricsFormat {
    /// The best that a client takes, by its `Accept`. Who does not ask for OpenMetrics gets the text format.
    pub fn accepted(accept: &str) -> Self {
        if accept.contains("application/openmetrics-text") { Self::OpenMetrics } else { Self::Text }
    }

    /// For `Content-Type`.
    pub const fn content_type(self) -> &'static str {
        match self {
            Self::Text => "text/plain; version=0.0.4; charset=utf-8",
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        }
    }
}

/// What a family of samples is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Only rises, until the process ends. The name ends in `_total`.
    Counter,
    /// Rises and falls.
    Gauge,
    /// Counts by upper bound.
    Histogram,
}

/// A text that grows family by family.
pub(super) struct Exposition {
    out: String,
    format: MetricsFormat,
    name: &'static str,
}

impl Exposition {
    pub(super) fn new(format: MetricsFormat) -> Self {
        Self { out: String::with_capacity(16 * 1024), format, name: "" }
    }

    /// Begins a family. What follows are its samples.
    pub(super) fn family(&mut self, name: &'static str, kind: Kind, help: &str) -> &mut Self {
        let word = match kind {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
            Kind::Histogram => "histogram",
        };
        debug_assert_eq!(kind == Kind::Counter, name.ends_with("_total"), "{name}");
        let family = match self.format {
            MetricsFormat::Text => name,
            // There, the ending belongs to the sample, not to the family.
            MetricsFormat::OpenMetrics => name.trim_end_matches("_total"),
        };
        // Writing into memory cannot fail.
        let _ = write!(self.out, "# HELP {family} {help}\n# TYPE {family} {word}\n");
        self.name = name;
        self
    }

    /// A sample without labels.
    pub(super) fn value(&mut self, value: impl Display) -> &mut Self {
        self.sample(&[], value)
    }

    /// A sample with labels.
    pub(super) fn sample(&mut self, labels: &[(&str, &str)], value: impl Display) -> &mut Self {
        self.line("", labels, value);
        self
    }

    /// The samples of a histogram.
    pub(super) fn histogram(&mut self, labels: &[(&str, &str)], sum: &Sum) -> &mut Self {
        let mut labels = labels.to_vec();
        let mut count = 0;
        for (bound, n) in BOUNDS_S.iter().chain(&["+Inf"]).zip(sum.counts) {
            count += n;
            labels.push(("le", bound));
            self.line("_bucket", &labels, count);
            labels.pop();
        }
        self.line("_sum", &labels, sum.sum_ns as f64 / 1e9);
        self.line("_count", &labels, count);
        self
    }

    fn line(&mut self, ending: &str, labels: &[(&str, &str)], value: impl Display) {
        self.out.push_str(self.name);
        self.out.push_str(ending);
        for (i, (name, value)) in labels.iter().enumerate() {
            self.out.push(if i == 0 { '{' } else { ',' });
            self.out.push_str(name);
            self.out.push_str("=\"");
            for c in value.chars() {
                match c {
                    '\\' => self.out.push_str("\\\\"),
                    '"' => self.out.push_str("\\\""),
                    '\n' => self.out.push_str("\\n"),
                    c => self.out.push(c),
                }
            }
            self.out.push('"');
        }
        if !labels.is_empty() {
            self.out.push('}');
        }
        let _ = writeln!(self.out, " {value}");
    }

    pub(super) fn finish(mut self) -> String {
        if self.format == MetricsFormat::OpenMetrics {
            self.out.push_str("# EOF\n");
        }
        self.out
    }
}

#[cfg(test)]
mod tests {
    use super::super::histogram::Histogram;
    use super::*;

    fn some(format: MetricsFormat) -> String {
        let mut out = Exposition::new(format);
        out.family("weir_a_total", Kind::Counter, "A.").sample(&[("x", "a\"b\\c\nd"), ("y", "ü")], 7);
        out.family("weir_b", Kind::Gauge, "B.").value(1.5);
        out.finish()
    }

    #[test]
    fn both_formats() {
        let samples = "weir_a_total{x=\"a\\\"b\\\\c\\nd\",y=\"ü\"} 7\n";
        let gauge = "# HELP weir_b B.\n# TYPE weir_b gauge\nweir_b 1.5\n";
        assert_eq!(
            some(MetricsFormat::Text),
            format!("# HELP weir_a_total A.\n# TYPE weir_a_total counter\n{samples}{gauge}")
        );
        assert_eq!(
            some(MetricsFormat::OpenMetrics),
            format!("# HELP weir_a A.\n# TYPE weir_a counter\n{samples}{gauge}# EOF\n")
        );
    }

    #[test]
    fn a_histogram_is_cumulative() {
        let histogram = Histogram::default();
        for ns in [50_000, 150_000, 150_000, 3_000_000_000] {
            histogram.observe(ns);
        }
        let mut sum = Sum::default();
        sum.add(&histogram);
        let mut out = Exposition::new(MetricsFormat::Text);
        out.family("weir_h_seconds", Kind::Histogram, "H.").histogram(&[("service", "a")], &sum);
        let text = out.finish();
        for line in [
            "weir_h_seconds_bucket{service=\"a\",le=\"0.0001\"} 1",
            "weir_h_seconds_bucket{service=\"a\",le=\"0.0002\"} 3",
            "weir_h_seconds_bucket{service=\"a\",le=\"2\"} 3",
            "weir_h_seconds_bucket{service=\"a\",le=\"5\"} 4",
            "weir_h_seconds_bucket{service=\"a\",le=\"+Inf\"} 4",
            "weir_h_seconds_sum{service=\"a\"} 3.00035",
            "weir_h_seconds_count{service=\"a\"} 4",
        ] {
            assert!(text.lines().any(|found| found == line), "{line} in\n{text}");
        }
    }

    #[test]
    fn the_format_is_what_the_client_takes() {
        let prometheus = "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;\
                          q=0.75,text/plain;version=0.0.4;q=0.5,*/*;q=0.1";
        assert_eq!(MetricsFormat::accepted(prometheus), MetricsFormat::OpenMetrics);
        assert_eq!(MetricsFormat::accepted("text/html,*/*"), MetricsFormat::Text);
    }
}
