//! Requests by many clients: first as fast as each gets its answers, for what one costs; then so many a second, however
//! long answers take, for how long they take.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use hdrhistogram::Histogram;
use tokio::task::JoinSet;

use super::client::Client;
use super::requests::{Ground, Kind};
use super::results::{Requests, Times};
use super::subject::Subject;
use crate::cpu;

const WARM_UP: Duration = Duration::from_millis(500);
/// The share of what the subject can do that is asked of it when times are taken.
const OPEN_SHARE: f64 = 0.5;
/// How long before a request is due its client stops to sleep: the timer is only good to a millisecond.
const SPIN: Duration = Duration::from_millis(2);
/// How long the last answers may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// Measures one kind of request.
pub(crate) async fn measure(subject: &Subject, kind: Kind, clients: usize, seconds: u32) -> Result<Requests> {
    let ground = Arc::new(Ground::prepare(subject, kind).await?);
    let number = Arc::new(AtomicU64::new(0));
    let mut idle = Vec::new();
    for _ in 0..clients {
        idle.push(Client::connect(subject).await?);
    }
    let time = Duration::from_secs(u64::from(seconds));
    let idle = closed(idle, &ground, &number, WARM_UP).await?;
    subject.come_to_rest().await?;
    let (first, cpu_before, began) =
        (number.load(Ordering::Relaxed), cpu::nanos(subject.pid())?, Instant::now());
    let idle = closed(idle, &ground, &number, time).await?;
    let done = (number.load(Ordering::Relaxed) - first) as f64;
    let rate = done / began.elapsed().as_secs_f64();
    subject.come_to_rest().await?;
    let cpu = cpu::nanos(subject.pid())? - cpu_before;
    ground.read_back(subject, number.load(Ordering::Relaxed)).await?;
    let times = open(idle, &ground, &number, rate * OPEN_SHARE, time).await?;
    Ok(Requests { cpu_us: cpu as f64 / 1000.0 / done, rate, open_rate: rate * OPEN_SHARE, times })
}

/// Each client asks again as soon as it has its answer.
async fn closed(
    clients: Vec<Client>,
    ground: &Arc<Ground>,
    number: &Arc<AtomicU64>,
    time: Duration,
) -> Result<Vec<Client>> {
    let end = Instant::now() + time;
    let mut tasks = JoinSet::new();
    for mut client in clients {
        let (ground, number) = (Arc::clone(ground), Arc::clone(number));
        tasks.spawn(async move {
            while Instant::now() < end {
                ground.ask(&mut client, number.fetch_add(1, Ordering::Relaxed)).await?;
            }
            anyhow::Ok(client)
        });
    }
    let mut idle = Vec::new();
    while let Some(client) = tasks.join_next().await {
        idle.push(client??);
    }
    Ok(idle)
}

/// Requests are due evenly spaced, the clients in turn; the time of each runs from when it was due.
async fn open(
    clients: Vec<Client>,
    ground: &Arc<Ground>,
    number: &Arc<AtomicU64>,
    rate: f64,
    time: Duration,
) -> Result<Times> {
    let gap = Duration::from_secs_f64(clients.len() as f64 / rate);
    let begin = Instant::now() + SPIN;
    let mut tasks = JoinSet::new();
    for (place, mut client) in clients.into_iter().enumerate() {
        let (ground, number) = (Arc::clone(ground), Arc::clone(number));
        tasks.spawn(async move {
            let mut taken = Vec::new();
            let mut due = begin + Duration::from_secs_f64(place as f64 / rate);
            while due < begin + time {
                until(due).await;
                ground.ask(&mut client, number.fetch_add(1, Ordering::Relaxed)).await?;
                taken.push(due.elapsed());
                due += gap;
            }
            anyhow::Ok(taken)
        });
    }
    let mut times = Histogram::<u64>::new(3)?;
    let all = async {
        while let Some(taken) = tasks.join_next().await {
            for time in taken?? {
                times.record(u64::try_from(time.as_micros())?)?;
            }
        }
        anyhow::Ok(())
    };
    tokio::time::timeout(time + PATIENCE, all).await.context("answers that did not come")??;
    ensure!(!times.is_empty(), "nothing was asked");
    Ok(Times::of(&times))
}

async fn until(due: Instant) {
    if let Some(sleep) = due.checked_duration_since(Instant::now() + SPIN) {
        tokio::time::sleep(sleep).await;
    }
    while Instant::now() < due {
        tokio::task::yield_now().await;
    }
}
