//! The report for people: a few tables.

use std::fmt::Write;

use super::{ClientsReport, LatencyReport, LogLine, PhaseReport, Report};

/// Most lines of the log that are shown.
const LOG_SHOWN: usize = 12;

/// The report for people.
pub fn summary(report: &Report) -> String {
    let mut out = format!(
        "{}: {} s of virtual time, seed {}, {} events\n\n",
        report.name,
        number(report.duration),
        report.seed,
        grouped(report.events)
    );
    let columns = [
        "PHASE",
        "FROM",
        "CLIENTS",
        "REQUESTS",
        "TRIES",
        "GOODPUT/S",
        "ERRORS",
        "P50 MS",
        "P99 MS",
        "P99.9 MS",
        "RETRIES",
        "HEDGES",
        "TRIPS",
        "EJECTED",
    ];
    // Few policies hedge, and few clients try again by themselves.
    let shown = |column: &str| match column {
        "TRIES" => report.retrying,
        "HEDGES" => report.hedging,
        _ => true,
    };
    let mut table = Table::new(&columns.into_iter().filter(|column| shown(column)).collect::<Vec<_>>());
    let several = report.phases.len() > 1;
    for phase in report.phases.iter().filter(|_| several).chain([&report.total]) {
        phase_rows(phase, report, &mut table);
    }
    out.push_str(&table.render());
    for phase in report.phases.iter().filter(|_| several).chain([&report.total]) {
        if phase.all.error_ratio > 0.0 {
            let _ = writeln!(
                out,
                "{} {}: {}",
                if phase.name == report.total.name { "\nof all" } else { "\nof" },
                phase.name,
                outcomes(&phase.all)
            );
        }
    }
    out.push('\n');
    let mut table = Table::new(&[
        "SERVICE",
        "SERVERS",
        "COUNT",
        "COMPLETED",
        "LEAST",
        "MOST",
        "REFUSED",
        "EXPIRED",
        "BUSY",
        "LINE MAX",
    ]);
    for service in &report.services {
        for group in &service.groups {
            table.row([
                service.name.clone(),
                group.name.clone(),
                group.servers.to_string(),
                grouped(group.completed),
                grouped(group.completed_min),
                grouped(group.completed_max),
                grouped(group.refused),
                grouped(group.expired),
                percent(group.utilisation),
                group.waiting_max.to_string(),
            ]);
        }
    }
    out.push_str(&table.render());
    log(&report.log, &mut out);
    out
}

fn phase_rows(phase: &PhaseReport, report: &Report, table: &mut Table) {
    let mut row = |clients: &ClientsReport, first: bool| {
        let own = |text: String| if first { text } else { String::new() };
        let mut cells = vec![
            own(phase.name.clone()),
            own(format!("{} s", number(phase.from))),
            clients.name.clone(),
            grouped(clients.requests),
        ];
        cells.extend(report.retrying.then(|| grouped(clients.tries)));
        cells.extend([
            number(clients.goodput),
            percent(clients.error_ratio),
            latency(clients, |of| of.p50),
            latency(clients, |of| of.p99),
            latency(clients, |of| of.p999),
            own(grouped(phase.retries)),
        ]);
        cells.extend(report.hedging.then(|| own(grouped(phase.hedges))));
        cells.extend([own(grouped(phase.trips)), own(grouped(phase.ejections))]);
        table.row(cells);
    };
    row(&phase.all, true);
    for clients in &phase.clients {
        row(clients, false);
    }
}

/// A latency in milliseconds; none where nothing was answered well.
fn latency(clients: &ClientsReport, millis: impl Fn(&LatencyReport) -> f64) -> String {
    clients.latency.as_ref().map_or_else(|| "-".to_owned(), |of| number(millis(of)))
}

fn outcomes(clients: &ClientsReport) -> String {
    let parts: Vec<String> =
        clients.outcomes.iter().map(|(name, count)| format!("{} {name}", grouped(*count))).collect();
    parts.join(", ")
}

fn log(lines: &[LogLine], out: &mut String) {
    if lines.is_empty() {
        return;
    }
    out.push('\n');
    for line in lines.iter().take(LOG_SHOWN) {
        let _ = writeln!(out, "{:>9} s  {}: {}", format!("{:.3}", line.at), line.of, line.what);
    }
    if lines.len() > LOG_SHOWN {
        let _ = writeln!(out, "and {} more (--json lists them)", lines.len() - LOG_SHOWN);
    }
}

/// Three digits, or as many as the whole part has.
pub(crate) fn number(value: f64) -> String {
    let digits = match value.abs() {
        v if v >= 99.95 || v == 0.0 => 0,
        v if v >= 9.995 => 1,
        v if v >= 0.9995 => 2,
        _ => 3,
    };
    if digits == 0 {
        return grouped(value.round() as u64);
    }
    let text = format!("{value:.digits$}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// `1,234,567`.
pub(crate) fn grouped(value: u64) -> String {
    let digits = value.to_string();
    let mut out = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

fn percent(ratio: f64) -> String {
    match ratio {
        0.0 => "0 %".to_owned(),
        r if r < 0.001 => format!("{:.3} %", r * 100.0),
        r => format!("{:.1} %", r * 100.0),
    }
}

/// Rows aligned by blanks; numbers to the right would need more than people look for.
struct Table(Vec<Vec<String>>);

impl Table {
    fn new(headings: &[&str]) -> Self {
        Self(vec![headings.iter().map(|heading| (*heading).to_owned()).collect()])
    }

    fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        self.0.push(cells.into_iter().collect());
    }

    fn render(&self) -> String {
        let width = |column: usize| {
            self.0
                .iter()
                .filter_map(|row| row.get(column))
                .map(|cell| cell.chars().count())
                .max()
                .unwrap_or(0)
        };
        let widths: Vec<usize> = (0..self.0[0].len()).map(width).collect();
        let mut out = String::new();
        for row in &self.0 {
            let mut line = String::new();
            for (cell, width) in row.iter().zip(&widths) {
                line.push_str(cell);
                line.extend(std::iter::repeat_n(' ', width + 2 - cell.chars().count()));
            }
            out.push_str(line.trim_end());
            out.push('\n');
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_short() {
        let check = |value: f64, shown: &str| assert_eq!(number(value), shown);
        check(0.0, "0");
        check(0.0123, "0.012");
        check(1.5, "1.5");
        check(99.94, "99.9");
        check(1_234_567.8, "1,234,568");
        assert_eq!([grouped(0), grouped(999), grouped(1000)], ["0", "999", "1,000"]);
        assert_eq!([percent(0.0), percent(0.0005), percent(0.25)], ["0 %", "0.050 %", "25.0 %"]);
    }
}
