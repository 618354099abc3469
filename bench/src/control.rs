//! `control`: the control plane beside etcd, Consul and r-nacos: what a request costs, how long changes take, what memory holds.
//!
//! ```text
//! control.rs -> subject (one process on one core) -> load (closed, then open) | watch | mesh | catalog -> report
//! ```
//!
//! The load is one thread on the other core. Times are taken from the moment at which a request was *due*, into
//! HdrHistograms, so that a stall is counted for everybody whom it would have made wait.

mod cases;
mod catalog;
mod client;
mod etcd;
mod grpc;
mod http;
mod load;
mod mesh;
mod nacos;
mod options;
mod report;
mod requests;
mod results;
mod subject;
mod watch;

use anyhow::{Context as _, Result};

use cases::{Case, Work};
use client::Client;
use options::Options;
use results::{Figures, Outcome};
use subject::Subject;

/// Runs `control`.
pub(crate) fn main(args: impl Iterator<Item = String>) -> Result<()> {
    let options = Options::parse(args)?;
    report::check(&options)?;
    crate::run::raise_open_files()?;
    crate::run::keep_to_core(crate::stage::LOAD_CORE)?;
    let mut outcomes = Vec::new();
    for case in &options.choice.cases {
        println!("\n== {}: {}", case.name, case.what);
        let mut outcome = Outcome::of(case);
        for name in options.choice.subjects_of(case) {
            match measure(case, name, &options) {
                Ok(figures) => {
                    println!("{name:8} {figures}");
                    outcome.figures.push((name.to_owned(), figures));
                }
                Err(fault) => {
                    println!("{name:8} not measured: {fault:#}");
                    outcome.missing.push((name.to_owned(), format!("{fault:#}")));
                }
            }
        }
        outcomes.push(outcome);
    }
    report::keep(&options, &outcomes)
}

/// One case with one subject, which starts with an empty store.
fn measure(case: &Case, name: &'static str, options: &Options) -> Result<Figures> {
    let mut subject = Subject::start(name, options)?;
    // Ends before the subject does, with all connections, which a subject may wait for.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let measured = runtime.block_on(async {
        Client::connect(&subject).await?.await_ready().await?;
        match case.work {
            Work::Requests { kind, clients } => {
                load::measure(&subject, kind, clients, options.seconds).await.map(Figures::Requests)
            }
            Work::Watches(count) => watch::measure(&subject, count).await.map(Figures::Fanout),
            Work::Proxies(count) => mesh::measure(&subject, count).await.map(Figures::Fanout),
            Work::Catalog { checked, count } => {
                let count = count.unwrap_or(options.instances);
                catalog::measure(&mut subject, count, checked).await.map(Figures::Catalog)
            }
        }
    });
    measured.with_context(|| format!("it said: {}", subject.last_words()))
}
