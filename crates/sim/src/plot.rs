//! Plots of a run, or of several side by side, as SVG: panels one below the other over the same time.

mod axis;
mod svg;

use crate::report::{Point, Report};
use svg::{Chart, Line, Panel};

/// Colours that people with any kind of colour vision tell apart (Okabe and Ito, 2008).
const BLUE: &str = "#0072b2";
const GREEN: &str = "#009e73";
const ORANGE: &str = "#e69f00";
const RED: &str = "#d55e00";
const PINK: &str = "#cc79a7";
const SKY: &str = "#56b4e9";
const GREY: &str = "#8a8f98";

/// The colours of runs that are compared.
const RUNS: [&str; 6] = [RED, ORANGE, BLUE, GREEN, PINK, SKY];

/// A plot of one run.
pub fn plot(report: &Report) -> String {
    let line = |name: &str, color, of: &dyn Fn(&Point) -> Option<f64>| Line {
        name: name.to_owned(),
        color,
        points: points(report, of),
    };
    let mut panels = vec![
        Panel {
            title: "Requests a second, as clients see them",
            log: false,
            lines: vec![
                line("wanted", GREY, &|p| Some(p.offered)),
                line("answered well", GREEN, &|p| Some(p.goodput)),
                line("refused", ORANGE, &|p| Some(p.refused)),
                line("failed", RED, &|p| Some(p.failed)),
            ],
        },
        Panel {
            title: "Latency of what was answered well, ms",
            log: true,
            lines: vec![line("p99", PINK, &|p| p.p99), line("median", BLUE, &|p| p.p50)],
        },
        Panel {
            title: "Requests a second, as servers see them",
            log: false,
            lines: vec![
                line("attempts", BLUE, &|p| Some(p.attempts)),
                line("proxies' retries", ORANGE, &|p| Some(p.retries)),
                line("clients' retries", PINK, &|p| Some((p.tries - p.offered).max(0.0))),
            ],
        },
        Panel {
            title: "Requests at once",
            log: false,
            lines: vec![
                line("under way", BLUE, &|p| Some(p.in_flight as f64)),
                line("waiting at servers", ORANGE, &|p| Some(p.waiting as f64)),
                line("limit of concurrency", GREEN, &|p| p.limit),
            ],
        },
        Panel {
            title: "Endpoints ejected, breakers open, over all proxies",
            log: false,
            lines: vec![
                line("ejected", RED, &|p| Some(p.ejected as f64)),
                line("open", PINK, &|p| Some(p.open as f64)),
            ],
        },
    ];
    // What never happened needs no room.
    for panel in &mut panels[2..] {
        panel
            .lines
            .retain(|line| line.points.iter().any(|(_, value)| value.is_some_and(|value| value > 0.0)));
    }
    panels.retain(|panel| !panel.lines.is_empty());
    Chart { title: &report.name, marks: marks(report), until: report.duration, panels }.draw()
}

/// A plot of several runs: what clients get, how long it takes, and what servers have to bear.
pub fn compare(title: &str, reports: &[Report]) -> String {
    let lines = |of: &dyn Fn(&Point) -> Option<f64>| {
        let runs = reports.iter().zip(RUNS.iter().cycle());
        runs.map(|(report, color)| Line { name: report.name.clone(), color, points: points(report, of) })
            .collect()
    };
    let panels = vec![
        Panel { title: "Answered well, a second", log: false, lines: lines(&|p| Some(p.goodput)) },
        Panel { title: "99th percentile of latency, ms", log: true, lines: lines(&|p| p.p99) },
        Panel {
            title: "Requests that reach for servers, a second",
            log: false,
            lines: lines(&|p| Some(p.attempts)),
        },
    ];
    let until = reports.iter().map(|report| report.duration).fold(0.0, f64::max);
    Chart { title, marks: reports.first().map(marks).unwrap_or_default(), until, panels }.draw()
}

fn points(report: &Report, of: &dyn Fn(&Point) -> Option<f64>) -> Vec<(f64, Option<f64>)> {
    report.series.iter().map(|point| (point.at, of(point))).collect()
}

/// Where phases begin.
fn marks(report: &Report) -> Vec<(f64, String)> {
    if report.phases.len() < 2 {
        return vec![];
    }
    report.phases.iter().map(|phase| (phase.from, phase.name.clone())).collect()
}
