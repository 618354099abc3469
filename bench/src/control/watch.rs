//! One change, and many who wait for it, each with a connection of its own as each would be a process of its own.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use hdrhistogram::Histogram;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::client::Client;
use super::http::{self, Http};
use super::nacos::Nacos;
use super::requests::{Ground, Kind};
use super::results::{Fanout, Times};
use super::subject::Subject;
use crate::cpu;

/// Changes that are made, one after the other.
const CHANGES: u64 = 20;
/// How long a change may take to reach everybody.
const PATIENCE: Duration = Duration::from_secs(30);
/// How long a subject has to come to rest before its memory is looked at.
const SETTLE: Duration = Duration::from_millis(500);
/// How many connections are opened at once.
const OPENING_MAX: usize = 64;

/// Measures so many watches.
pub(crate) async fn measure(subject: &Subject, count: usize) -> Result<Fanout> {
    Ground::prepare(subject, Kind::Health).await?;
    let mut writer = Client::connect(subject).await?;
    writer.change(0).await?;
    tokio::time::sleep(SETTLE).await;
    let before = cpu::resident(subject.pid())?;
    let (seen, mut sightings) = mpsc::channel(count);
    let mut tasks = JoinSet::new();
    let opening = Arc::new(tokio::sync::Semaphore::new(OPENING_MAX));
    for _ in 0..count {
        let place = Arc::clone(&opening).acquire_owned().await?;
        let client = Client::connect(subject).await?;
        let seen = seen.clone();
        tasks.spawn(async move {
            match client {
                Client::Http(http) => watch_http(http, seen, place).await,
                Client::Nacos(nacos) => watch_nacos(nacos, seen, place).await,
                Client::Etcd(mut etcd) => {
                    let mut call = etcd.watch_members().await?;
                    drop(place);
                    loop {
                        call.next().await?;
                        seen.send(Instant::now()).await?;
                    }
                }
            }
        });
    }
    drop(opening.acquire_many(u32::try_from(OPENING_MAX)?).await?);
    tokio::time::sleep(SETTLE).await;
    let idle = cpu::resident(subject.pid())?;
    let mut times = Histogram::<u64>::new(3)?;
    let mut cpu_nanos = 0;
    for mark in 1..=CHANGES {
        let used = cpu::nanos(subject.pid())?;
        let began = Instant::now();
        writer.change(mark).await?;
        for _ in 0..count {
            let sighting = tokio::select! {
                sighting = sightings.recv() => sighting.context("nobody waits any more")?,
                Some(ended) = tasks.join_next() => {
                    ended??;
                    anyhow::bail!("a watch ended");
                }
                () = tokio::time::sleep_until((began + PATIENCE).into()) => {
                    anyhow::bail!("a change that did not reach everybody within {PATIENCE:?}")
                }
            };
            times.record(u64::try_from((sighting - began).as_micros())?)?;
        }
        // Everybody waits again, and the subject has come to rest.
        tokio::time::sleep(SETTLE).await;
        cpu_nanos += cpu::nanos(subject.pid())? - used;
    }
    let told = CHANGES as f64 * count as f64;
    Ok(Fanout {
        times: Times::of(&times),
        cpu_us: cpu_nanos as f64 / 1000.0 / told,
        kib_each: idle.saturating_sub(before) as f64 / 1024.0 / count as f64,
    })
}

/// Waits for another configuration than the last, and reads it, again and again.
async fn watch_nacos(
    mut nacos: Nacos,
    seen: mpsc::Sender<Instant>,
    place: tokio::sync::OwnedSemaphorePermit,
) -> Result<()> {
    let mut place = Some(place);
    let mut known = nacos.watched().await?;
    loop {
        nacos.listen(&known).await?;
        drop(place.take());
        nacos.changed(&known).await?;
        let next = nacos.watched().await?;
        ensure!(next != known, "woken without a change");
        known = next;
        seen.send(Instant::now()).await?;
    }
}

/// Asks for what is newer than the last answer, again and again.
async fn watch_http(
    mut http: Http,
    seen: mpsc::Sender<Instant>,
    place: tokio::sync::OwnedSemaphorePermit,
) -> Result<()> {
    let mut place = Some(place);
    let mut index = http.ask(&http::get("/v1/health/service/web")).await?.index().context("no index")?;
    loop {
        http.send(&http::get(&format!("/v1/health/service/web?index={index}&wait=300s"))).await?;
        drop(place.take());
        let answer = http.answer().await?;
        ensure!(answer.status == 200, "answered with {}", answer.status);
        let next = answer.index().context("no index")?;
        ensure!(next > index, "woken without a change");
        index = next;
        seen.send(Instant::now()).await?;
    }
}
