//! Prints what came out, keeps it as JSON, and writes the tables of a page.

pub(crate) mod markdown;

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use crate::case::Case;
use crate::options::Options;
use crate::results::{CaseResults, Results, least, median, most};

/// Prints a case's table.
pub(crate) fn print(case: &Case, results: &CaseResults) {
    println!(
        "\n{:9} {:>18} {:>8} {:>8} {:>6} {:>6}   {} (least, most)",
        "subject",
        case.unit.figure(),
        "least",
        "most",
        "busy",
        "load",
        if case.is_pinned() { "weir / it" } else { "two workers / one" }
    );
    for subject in &results.subjects {
        let beside = results.ratio_beside(case, &subject.name);
        let mut ratio = beside
            .map_or_else(String::new, |[middle, least, most]| format!("{middle:.3} ({least:.2}, {most:.2})"));
        if let Some((aim, met)) =
            case.verdict(&subject.name, beside.map(|[middle, ..]| middle), subject.median())
        {
            ratio.push_str(&format!("  target {aim}: {}", if met { "met" } else { "missed" }));
        }
        println!(
            "{:9} {:18.2} {:8.2} {:8.2} {:>6} {:>6}   {ratio}{}",
            subject.name,
            subject.median(),
            least(&subject.figures),
            most(&subject.figures),
            share(&subject.busy),
            share(&subject.load_busy),
            if subject.is_load_bound(case) { "  (load was the bottleneck)" } else { "" }
        );
    }
    for (name, why) in &results.missing {
        println!("{name:8} not measured: {why}");
    }
}

fn share(figures: &[f64]) -> String {
    if figures.is_empty() { String::new() } else { format!("{:.0} %", median(figures) * 100.0) }
}

/// Fails now rather than after the whole run if the page cannot take the tables.
pub(crate) fn check(options: &Options) -> Result<()> {
    options.markdown.as_deref().map_or(Ok(()), |page| markdown::page_with(page, "").map(drop))
}

/// Keeps the results, and writes them into a page if there is one.
pub(crate) fn keep(options: &Options, results: &Results) -> Result<()> {
    let json = options.json.clone().unwrap_or_else(|| options.target.join("bench.json"));
    std::fs::write(&json, serde_json::to_string_pretty(results)? + "\n")
        .with_context(|| format!("cannot write {}", json.display()))?;
    println!("\nresults in {}", json.display());
    options.markdown.as_deref().map_or(Ok(()), |page| markdown::write_into(page, results))
}

/// `render RESULTS.json [PAGE]`: from results that were kept.
pub(crate) fn render(args: impl Iterator<Item = String>) -> Result<()> {
    let args: Vec<PathBuf> = args.map(PathBuf::from).collect();
    let read = |path: &Path| -> Result<Results> {
        let text =
            std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
        serde_json::from_str(&text).with_context(|| format!("{} holds no results", path.display()))
    };
    match args.as_slice() {
        [json] => print!("{}", markdown::tables(&read(json)?)),
        [json, page] => markdown::write_into(page, &read(json)?)?,
        _ => bail!("usage: render RESULTS.json [PAGE]"),
    }
    Ok(())
}
