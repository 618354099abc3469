//! Many instances: what each takes of memory and disk, how long reading one service takes among them, and how long it
//! is until the first is answered after the process was killed.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use hdrhistogram::Histogram;
use tokio::task::JoinSet;

use super::client::Client;
use super::results::{CatalogFigures, Times};
use super::subject::Subject;
use crate::cpu;

/// Clients that register.
const CLIENTS: usize = 64;
/// Services that are read, one after the other.
const READS: usize = 5000;
/// Instances of each service.
const MEMBERS: usize = 20;
/// How long a subject has to come to rest before its memory is looked at.
const SETTLE: Duration = Duration::from_secs(2);
/// How long it may take to answer after a restart.
const ANSWER_MAX: Duration = Duration::from_secs(120);

/// Measures so many instances, with or without a check each.
pub(crate) async fn measure(subject: &mut Subject, count: usize, checked: bool) -> Result<CatalogFigures> {
    let count = count.next_multiple_of(MEMBERS);
    tokio::time::sleep(SETTLE / 4).await;
    let empty = cpu::resident(subject.pid())?;
    let (used, began) = (cpu::nanos(subject.pid())?, Instant::now());
    register(subject, count, checked).await?;
    let rate = count as f64 / began.elapsed().as_secs_f64();
    subject.come_to_rest().await?;
    let used = cpu::nanos(subject.pid())? - used;
    tokio::time::sleep(SETTLE).await;
    let loaded = cpu::resident(subject.pid())?;
    let reads = read(subject, count).await?;
    let stored = subject.stored_bytes();
    let began = subject.kill_and_start()?;
    let start = first_answer(subject, count, began).await?;
    let start_used = cpu::nanos(subject.pid())?;
    tokio::time::sleep(SETTLE).await;
    let restarted = cpu::resident(subject.pid())?;
    let kib_each = |bytes: u64| bytes.saturating_sub(empty) as f64 / 1024.0 / count as f64;
    Ok(CatalogFigures {
        count,
        register_cpu_us: used as f64 / 1000.0 / count as f64,
        register_rate: rate,
        kib_each: kib_each(loaded),
        kib_each_restarted: kib_each(restarted),
        disk_kib_each: stored as f64 / 1024.0 / count as f64,
        start_s: start.as_secs_f64(),
        start_cpu_s: start_used as f64 / 1e9,
        reads,
    })
}

async fn register(subject: &Subject, count: usize, checked: bool) -> Result<()> {
    let next = Arc::new(AtomicUsize::new(0));
    let mut tasks = JoinSet::new();
    for _ in 0..CLIENTS {
        let mut client = Client::connect(subject).await?;
        let next = Arc::clone(&next);
        tasks.spawn(async move {
            loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                if number >= count {
                    return anyhow::Ok(());
                }
                client.register(number as u64, checked).await?;
            }
        });
    }
    while let Some(ended) = tasks.join_next().await {
        ended??;
    }
    Ok(())
}

/// Reads services all over the catalog.
async fn read(subject: &Subject, count: usize) -> Result<Times> {
    let mut client = Client::connect(subject).await?;
    let mut times = Histogram::<u64>::new(3)?;
    for number in 0..READS {
        let asked = Instant::now();
        client.service_of((number * 7919 % count) as u64, MEMBERS as u64).await?;
        times.record(u64::try_from(asked.elapsed().as_micros())?)?;
    }
    Ok(Times::of(&times))
}

/// Asks until the last service is answered whole.
async fn first_answer(subject: &Subject, count: usize, began: Instant) -> Result<Duration> {
    loop {
        let answered =
            async { Client::connect(subject).await?.service_of(count as u64 - 1, MEMBERS as u64).await };
        match tokio::time::timeout(ANSWER_MAX, answered).await.context("no answer")? {
            Ok(()) => return Ok(began.elapsed()),
            Err(fault) => ensure!(began.elapsed() < ANSWER_MAX, "{fault:#}"),
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}
