//! Prints medians and ratios.

use crate::case::Samples;
use crate::options::{Case, Options};

/// Prints one row per subject: the median, and how Weir compares with it.
pub(crate) fn print(options: &Options, samples: &Samples) {
    let unit = if options.case == Case::Idle { "bytes/connection" } else { "us CPU/request" };
    let weir = samples.get("weir").map(|figures| median(figures));
    println!("\n{:10} {:>16} {:>8} {:>8}   weir / it", "subject", unit, "min", "max");
    for (name, figures) in samples {
        let middle = median(figures);
        let low = figures.iter().copied().fold(f64::INFINITY, f64::min);
        let high = figures.iter().copied().fold(0.0, f64::max);
        let ratio = weir.map_or_else(String::new, |weir| format!("{:.3}", weir / middle));
        println!("{name:10} {middle:16.2} {low:8.2} {high:8.2}   {ratio}");
    }
}

fn median(figures: &[f64]) -> f64 {
    let mut sorted = figures.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    if sorted.len() % 2 == 1 { sorted[middle] } else { f64::midpoint(sorted[middle - 1], sorted[middle]) }
}
