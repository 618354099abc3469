//! One table, or everything as JSON, for scripts.

use std::time::{Duration, Instant};

use weir_api::report::Figures;

use super::view::sorted;
use super::{LOOK_MAX, Source, cells, is_since};
use crate::cli::top::TopArgs;
use crate::exit::{Exit, Failure};
use crate::output::{self, Table};

/// Rates are over some time: how long to look at least.
const LOOK_MIN: Duration = Duration::from_millis(1200);
/// Between two looks.
const LOOK_EVERY: Duration = Duration::from_millis(200);

pub(super) async fn run(args: &TopArgs, source: &Source) -> Result<Exit, Failure> {
    let figures = fresh(source).await?;
    for replica in &figures.missing {
        output::remark(&format!("the replica at {replica} does not answer: its proxies are not counted"));
    }
    if let Some(service) = args.service.as_deref().filter(|_| figures.services.is_empty()) {
        return Err(source.no_such_service(service).await);
    }
    let format = args.format();
    output::print(&output::render(format, &figures, || text(args, source, &figures))?);
    Ok(Exit::Done)
}

/// Looks until every proxy has reported anew, or has had the time to.
async fn fresh(source: &Source) -> Result<Figures, Failure> {
    let began = Instant::now();
    loop {
        let asked = began.elapsed();
        let figures = source.fetch().await.map_err(|error| source.failure(&error))?;
        let looked = began.elapsed();
        if figures.proxies == 0 || looked >= LOOK_MAX || (is_since(&figures, asked) && looked >= LOOK_MIN) {
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
    let services = if table.is_empty() { "no services\n".to_owned() } else { table.render() };
    let mut limits = Table::new(&cells::LIMIT_HEADINGS);
    for limit in cells::limits_of_gateways(figures) {
        limits.row(cells::limit_cells(limit).map(|cell| cell.text));
    }
    if limits.is_empty() { services } else { format!("{services}\n{}", limits.render()) }
}
