//! The tables of a page.

use std::fmt::Write as _;

use anyhow::{Context as _, Result};

use super::options::Options;
use super::results::{CatalogFigures, Fanout, Figures, Outcome, Requests};
use crate::report::markdown;

/// Who others are compared with.
const OURS: &str = "weir";

/// Fails now rather than after the whole run if the page cannot take the tables.
pub(crate) fn check(options: &Options) -> Result<()> {
    options.markdown.as_deref().map_or(Ok(()), |page| markdown::page_with(page, "").map(drop))
}

/// Writes the tables into the page, if there is one.
pub(crate) fn keep(options: &Options, outcomes: &[Outcome]) -> Result<()> {
    let Some(page) = &options.markdown else { return Ok(()) };
    let text = markdown::page_with(page, &tables(options, outcomes))?;
    std::fs::write(page, text).with_context(|| format!("cannot write {}", page.display()))
}

fn tables(options: &Options, outcomes: &[Outcome]) -> String {
    let mut text = format!("{}; {} s for each measurement.\n", crate::run::machine(), options.seconds);
    table(&mut text, outcomes, REQUESTS, |figures| match figures {
        Figures::Requests(Requests { cpu_us, rate, open_rate, times }) => Some(format!(
            "{cpu_us:.1} | {rate:.0} | {open_rate:.0} | {:.2} | {:.2} | {:.2}",
            ms(times.p50),
            ms(times.p99),
            ms(times.p999)
        )),
        _ => None,
    });
    table(&mut text, outcomes, FANOUT, |figures| match figures {
        Figures::Fanout(Fanout { times, cpu_us, kib_each }) => Some(format!(
            "{cpu_us:.1} | {:.1} | {:.1} | {:.1} | {kib_each:.1}",
            ms(times.p50),
            ms(times.p99),
            ms(times.most)
        )),
        _ => None,
    });
    table(&mut text, outcomes, CATALOG, |figures| match figures {
        Figures::Catalog(figures) => {
            let CatalogFigures { count, register_cpu_us, register_rate, reads, start_s, .. } = figures;
            let CatalogFigures { kib_each, kib_each_restarted, disk_kib_each, start_cpu_s, .. } = figures;
            Some(format!(
                "{count} | {register_cpu_us:.1} | {register_rate:.0} | {kib_each:.2} | {kib_each_restarted:.2} | \
                 {disk_kib_each:.2} | {start_s:.2} | {start_cpu_s:.2} | {:.2} | {:.2}",
                ms(reads.p50),
                ms(reads.p99)
            ))
        }
        _ => None,
    });
    for outcome in outcomes {
        for (name, why) in &outcome.missing {
            let _ = writeln!(text, "\n`{}`: {name} was not measured: {why}.", outcome.case.name);
        }
    }
    text
}

const REQUESTS: &[&str] =
    &["us CPU each", "Weir / it", "most a second", "asked a second", "p50 ms", "p99 ms", "p99.9 ms"];
const FANOUT: &[&str] = &["us CPU for each", "Weir / it", "p50 ms", "p99 ms", "most ms", "KiB for each"];
const CATALOG: &[&str] = &[
    "instances",
    "us CPU each",
    "a second",
    "KiB each",
    "after a restart",
    "KiB of disk",
    "s to answer after a kill",
    "s CPU until then",
    "read p50 ms",
    "p99 ms",
];

/// One table of all figures of a kind; a comparison is put in where the columns have one.
fn table(
    text: &mut String,
    outcomes: &[Outcome],
    columns: &[&str],
    row: impl Fn(&Figures) -> Option<String>,
) {
    let rows = outcomes.iter().flat_map(|outcome| {
        let ours = outcome.figures.iter().find(|(name, _)| name == OURS).map(|(_, figures)| figures.cpu_us());
        outcome.figures.iter().filter_map({
            let row = &row;
            move |(name, figures)| {
                let mut cells = row(figures)?;
                if columns.contains(&"Weir / it") {
                    let ratio = ours.filter(|_| name != OURS).map(|ours| ours / figures.cpu_us());
                    let (first, rest) = cells.split_once(" | ")?;
                    cells = format!("{first} | {} | {rest}", shown(ratio));
                }
                let name = if name == OURS { "**Weir**" } else { name };
                Some(format!("| `{}` | {name} | {cells} |\n", outcome.case.name))
            }
        })
    });
    let rows: String = rows.collect();
    if rows.is_empty() {
        return;
    }
    let _ =
        write!(text, "\n| case | | {} |\n|{}\n{rows}", columns.join(" | "), "---|".repeat(columns.len() + 2));
}

/// A loss stands out.
fn shown(ratio: Option<f64>) -> String {
    match ratio {
        Some(ratio) if ratio > 1.0 => format!("**{ratio:.2}**"),
        Some(ratio) => format!("{ratio:.2}"),
        None => String::new(),
    }
}

fn ms(micros: u64) -> f64 {
    micros as f64 / 1000.0
}

#[cfg(test)]
mod tests {
    use super::super::cases;
    use super::super::results::Times;
    use super::*;

    #[test]
    fn losses_stand_out_and_the_missing_are_named() {
        let times = Times { p50: 1000, p99: 2500, p999: 3000, most: 4000 };
        let of = |cpu_us| Figures::Requests(Requests { cpu_us, rate: 10.0, open_rate: 5.0, times });
        let mut outcome = Outcome::of(cases::CASES.iter().find(|case| case.name == "kv-get").unwrap());
        outcome.figures = vec![("weir".to_owned(), of(30.0)), ("etcd".to_owned(), of(20.0))];
        outcome.missing = vec![("consul".to_owned(), "not installed".to_owned())];
        let mut text = String::new();
        let options = Options::parse(std::iter::empty()).unwrap();
        text += &tables(&options, &[outcome]);
        assert!(text.contains("| `kv-get` | **Weir** | 30.0 |  | 10 | 5 | 1.00 | 2.50 | 3.00 |\n"), "{text}");
        assert!(text.contains("| `kv-get` | etcd | 20.0 | **1.50** | 10 |"), "{text}");
        assert!(text.contains("`kv-get`: consul was not measured: not installed."), "{text}");
        assert!(!text.contains("KiB of disk"), "{text}");
    }
}
