//! One table, or everything as JSON, for scripts.

use std::time::{Duration, Instant};

use weir_api::report::Figures;

use super::view::sorted;
use super::{Source, cells};
use crate::cli::top::TopArgs;
use crate::exit::{Exit, Failure};
use crate::output::{self, Table};

/// Rates are over some time: how long to look at least.
const LOOK_MIN: Duration = Duration::from_millis(1200);
/// How long to wait for proxies to report anew.
const LOOK_MAX: Duration = Duration::from_millis(3500);
/// Between two looks.
const LOOK_EVERY: Duration = Duration::from_millis(200);
/// A report that is not older is of today.
const FRESH_MS: u64 = 1500;

pub(super) async fn run(args: &TopArgs, source: &Source) -> Result<Exit, Failure> {
    let figures = fresh(source).await?;
    for replica in &figures.missing {
        output::remark(&format!("the replica at {replica} does not answer: its proxies are not counted"));
    }
    let format = args.format();
    output::print(&output::render(format, &figures, || text(args, source, &figures))?);
    Ok(Exit::Done)
}

/// Looks until every proxy has reported lately, or has had the time to.
async fn fresh(source: &Source) -> Result<Figures, Failure> {
    let began = Instant::now();
    loop {
        let figures = source.fetch().await.map_err(|error| source.failure(&error))?;
        let is_fresh = figures.reporting == figures.proxies
            && figures.oldest_ms.is_some_and(|oldest| oldest <= FRESH_MS);
        let looked = began.elapsed();
        if figures.proxies == 0 || looked >= LOOK_MAX || (is_fresh && looked >= LOOK_MIN) {
            return Ok(figures);
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

fn text(args: &TopArgs, source: &Source, figures: &Figures) -> String {
    if figures.proxies == 0 {
        return format!("no proxies are connected to {}\n", source.name());
    }
    let mut table = Table::new(&cells::COLUMNS.map(|column| column.heading));
    for service in sorted(figures, args.sort, "") {
        table.row(cells::COLUMNS.map(|column| cells::cell(column.what, service, figures).text));
    }
    if table.is_empty() { "no services\n".to_owned() } else { table.render() }
}
