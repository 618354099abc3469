//! The tables of a page.

use std::fmt::Write;
use std::path::Path;

use anyhow::{Context, Result};

use crate::case::{Case, Load, OURS, TWO_WORKERS, Unit};
use crate::results::{CaseResults, Results, SubjectResults, least, median, most};

/// What stands between these is written by `--markdown`.
const BEGIN: &str = "<!-- figures: written by the bench -->";
const END: &str = "<!-- end of figures -->";

/// Replaces the tables of a page.
pub(crate) fn write_into(page: &Path, results: &Results) -> Result<()> {
    std::fs::write(page, page_with(page, &tables(results))?)
        .with_context(|| format!("cannot write {}", page.display()))?;
    println!("tables in {}", page.display());
    Ok(())
}

/// The page with other tables.
pub(crate) fn page_with(page: &Path, tables: &str) -> Result<String> {
    let text = std::fs::read_to_string(page).with_context(|| format!("cannot read {}", page.display()))?;
    replaced(&text, tables).with_context(|| format!("in {}", page.display()))
}

fn replaced(page: &str, tables: &str) -> Result<String> {
    let (before, rest) = page.split_once(BEGIN).with_context(|| format!("no line `{BEGIN}`"))?;
    let (_, after) = rest.split_once(END).with_context(|| format!("no line `{END}`"))?;
    Ok(format!("{before}{BEGIN}\n\n{tables}\n{END}{after}"))
}

/// A summary, and a table for each case.
pub(crate) fn tables(results: &Results) -> String {
    let mut text = String::new();
    let versions: Vec<String> =
        results.versions.iter().map(|(name, version)| format!("{} {version}", shown(name))).collect();
    let _ = writeln!(text, "{}; {} rounds of {} s.", results.machine, results.rounds, results.seconds);
    let _ = writeln!(text, "{}.\n", versions.join(", "));
    summary(&mut text, results);
    for outcome in &results.cases {
        if let Some(case) = Case::find(&outcome.name) {
            one(&mut text, &case, outcome);
        }
    }
    text
}

fn summary(text: &mut String, results: &Results) {
    const PEERS: [&str; 6] = ["haproxy", "nginx", "envoy", "traefik", "caddy", "floor"];
    text.push_str("| Weir divided by |");
    PEERS.iter().for_each(|name| {
        let _ = write!(text, " {} |", shown(name));
    });
    text.push_str("\n|---|");
    text.push_str(&"---|".repeat(PEERS.len()));
    text.push('\n');
    for outcome in &results.cases {
        let (Some(ours), Some(case)) = (outcome.subject(OURS), Case::find(&outcome.name)) else { continue };
        if !case.is_pinned() || case.unit == Unit::Process {
            continue;
        }
        let _ = write!(text, "| `{}` |", outcome.name);
        for name in PEERS {
            let ratio = outcome.subject(name).and_then(|peer| ours.ratio_to(peer));
            // A loss stands out.
            let _ = match ratio {
                Some([ratio, ..]) if ratio > 1.0 && name != "floor" => write!(text, " **{ratio:.2}** |"),
                Some([ratio, ..]) => write!(text, " {ratio:.2} |"),
                None => write!(text, " |"),
            };
        }
        text.push('\n');
    }
    text.push('\n');
    if let Some((case, outcome)) = workers(results) {
        text.push_str("CPU per request with two workers, divided by that with one:");
        for subject in &outcome.subjects {
            if let Some([ratio, ..]) = outcome.ratio_beside(&case, &subject.name) {
                let one = subject.name.trim_end_matches(TWO_WORKERS);
                let _ = write!(text, " {} {ratio:.2};", shown(one));
            }
        }
        text.pop();
        text.push_str(".\n\n");
    }
}

fn workers(results: &Results) -> Option<(Case, &CaseResults)> {
    let cases = results.cases.iter().filter_map(|outcome| Some((Case::find(&outcome.name)?, outcome)));
    cases.into_iter().find(|(case, _)| !case.is_pinned())
}

/// What the design aims at, and what of it is met.
fn aims(text: &mut String, case: &Case, outcome: &CaseResults) {
    let verdicts = outcome.subjects.iter().filter_map(|subject| {
        let ratio = outcome.ratio_beside(case, &subject.name).map(|[middle, ..]| middle);
        let (aim, met) = case.verdict(&subject.name, ratio, subject.median())?;
        let met = if met { "met" } else { "**missed**" };
        Some(format!("{} {aim}: {met}", shown(&subject.name)))
    });
    let verdicts: Vec<String> = verdicts.collect();
    if !verdicts.is_empty() {
        let _ = writeln!(text, "\nAims at most: {}.", verdicts.join("; "));
    }
}

fn one(text: &mut String, case: &Case, outcome: &CaseResults) {
    let _ = writeln!(text, "### `{}`\n\n{}\n", case.name, sentence(case.what));
    let _ = if case.unit == Unit::Process {
        writeln!(text, "| | {} |\n|---|---|", case.unit.figure())
    } else if case.unit == Unit::IdleConnection {
        writeln!(text, "| | {} | Weir / it | MiB before |\n|---|---|---|---|", case.unit.figure())
    } else {
        writeln!(
            text,
            "| | {} | least to most | {} | least to most | {} |\n|---|---|---|---|---|---|",
            case.unit.figure(),
            if case.is_pinned() { "Weir / it" } else { "two workers / one" },
            if matches!(case.load, Load::Rate { .. }) { "its core busy" } else { "at full core, per second" }
        )
    };
    let mut order: Vec<&SubjectResults> = outcome.subjects.iter().collect();
    order.sort_by(|a, b| a.median().total_cmp(&b.median()));
    for subject in order {
        row(text, case, subject, outcome.ratio_beside(case, &subject.name));
    }
    aims(text, case, outcome);
    let bound: Vec<&str> =
        outcome.subjects.iter().filter(|s| s.is_load_bound(case)).map(|s| shown(&s.name)).collect();
    if !bound.is_empty() {
        let _ = writeln!(text, "\nThe load was the bottleneck for {}.", bound.join(", "));
    }
    for (name, why) in &outcome.missing {
        let _ = writeln!(text, "\n{} was not measured: {why}.", shown(name));
    }
    text.push('\n');
}

fn row(text: &mut String, case: &Case, subject: &SubjectResults, ratio: Option<[f64; 3]>) {
    let name = shown(&subject.name);
    let name = if subject.name == OURS { format!("**{name}**") } else { name.to_owned() };
    let (middle, spread) = ratio.map_or_else(
        || (String::new(), String::new()),
        |[middle, least, most]| (format!("{middle:.2}"), format!("{least:.2} to {most:.2}")),
    );
    let _ = if case.unit == Unit::Process {
        writeln!(text, "| {name} | {:.1} |", subject.median())
    } else if case.unit == Unit::IdleConnection {
        let base = subject.base_mib.unwrap_or(f64::NAN);
        writeln!(text, "| {name} | {:.1} | {middle} | {base:.1} |", subject.median())
    } else {
        let last = match case.load {
            Load::Rate { .. } => format!("{:.0} %", median(&subject.busy) * 100.0),
            _ => format!("{:.0}", 1e6 / subject.median()),
        };
        writeln!(
            text,
            "| {name} | {:.2} | {:.2} to {:.2} | {middle} | {spread} | {last} |",
            subject.median(),
            least(&subject.figures),
            most(&subject.figures),
        )
    };
}

/// A subject's name as its makers write it.
fn shown(name: &str) -> &str {
    match name {
        "weir" => "Weir",
        "haproxy" => "HAProxy",
        "envoy" => "Envoy",
        "traefik" => "Traefik",
        "caddy" => "Caddy",
        "floor" => "byte copy",
        "weir-2" => "Weir, two workers",
        "haproxy-2" => "HAProxy, two workers",
        "nginx-2" => "nginx, two workers",
        other => other,
    }
}

fn sentence(what: &str) -> String {
    let mut chars = what.chars();
    chars.next().map_or_else(String::new, |first| format!("{}{}.", first.to_uppercase(), chars.as_str()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::case::CASES;

    #[test]
    fn a_page_keeps_what_stands_around_its_tables() {
        let page = format!("before\n{BEGIN}\nold\n{END}\nafter\n");
        let fresh = replaced(&page, "| new |\n").unwrap();
        assert_eq!(fresh, format!("before\n{BEGIN}\n\n| new |\n\n{END}\nafter\n"));
        assert!(replaced("no marks", "").is_err());
    }

    #[test]
    fn losses_stand_out_and_every_case_has_a_table() {
        let subject = |name: &str, figure| SubjectResults {
            name: name.to_owned(),
            figures: vec![figure],
            ..SubjectResults::default()
        };
        let cases = CASES
            .iter()
            .map(|case| CaseResults {
                name: case.name.to_owned(),
                subjects: vec![subject("weir", 2.0), subject("haproxy", 1.0), subject("nginx", 4.0)],
                ..CaseResults::default()
            })
            .collect();
        let text = tables(&Results { cases, ..Results::default() });
        assert!(text.contains("| `http1` | **2.00** | 0.50 |"), "{text}");
        assert!(!text.contains("| `workers` |"), "{text}");
        assert!(text.contains("Aims at most: HAProxy 0.87: **missed**; nginx 0.82: met."), "{text}");
        assert!(text.contains("Aims at most: Weir 12 MiB: met."), "{text}");
        assert!(CASES.iter().all(|case| text.contains(&format!("### `{}`", case.name))));
    }
}
