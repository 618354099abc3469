//! One change of a service, and many proxies that subscribe to it.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use hdrhistogram::Histogram;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_stream::wrappers::ReceiverStream;
use weir_api::mesh::mesh_client::MeshClient;
use weir_api::mesh::{
    Ack, Hello, PROTOCOL_VERSION, Position, ProxyMessage, Role, ServiceRef, proxy_message, server_message,
};

use super::client::Client;
use super::requests::{Ground, Kind};
use super::results::{Fanout, Times};
use super::subject::Subject;
use crate::cpu;

const CHANGES: u64 = 30;
const PATIENCE: Duration = Duration::from_secs(30);
const SETTLE: Duration = Duration::from_millis(500);
/// Messages of one proxy that wait to be sent.
const SAYING_MAX: usize = 16;

/// What a proxy was told, and when.
type Sighting = (Position, Instant);

/// Measures so many proxies. Each acknowledges what it gets at once; the time is taken when it does.
pub(crate) async fn measure(subject: &Subject, count: usize) -> Result<Fanout> {
    Ground::prepare(subject, Kind::Health).await?;
    let mut writer = Client::connect(subject).await?;
    tokio::time::sleep(SETTLE).await;
    let before = cpu::resident(subject.pid())?;
    let (seen, mut sightings) = mpsc::channel(count * 2);
    let mut tasks = JoinSet::new();
    for number in 0..count {
        let server = format!("http://127.0.0.1:{}", subject.mesh_port);
        let channel = tonic::transport::Endpoint::from_shared(server)?.connect().await?;
        tasks.spawn(proxy(MeshClient::new(channel), format!("bench-{number}"), seen.clone()));
    }
    let mut state = State { sightings: &mut sightings, tasks: &mut tasks };
    state.settle(count).await?;
    let idle = cpu::resident(subject.pid())?;
    let mut times = Histogram::<u64>::new(3)?;
    let mut cpu_nanos = 0;
    for mark in 1..=CHANGES {
        let used = cpu::nanos(subject.pid())?;
        let began = Instant::now();
        writer.register_member(0, mark).await?;
        for _ in 0..count {
            let (_, at) = state.next(began).await?;
            times.record(u64::try_from((at - began).as_micros())?)?;
        }
        tokio::time::sleep(SETTLE).await;
        cpu_nanos += cpu::nanos(subject.pid())? - used;
    }
    Ok(Fanout {
        times: Times::of(&times),
        cpu_us: cpu_nanos as f64 / 1000.0 / (CHANGES as f64 * count as f64),
        kib_each: idle.saturating_sub(before) as f64 / 1024.0 / count as f64,
    })
}

struct State<'a> {
    sightings: &'a mut mpsc::Receiver<Sighting>,
    tasks: &'a mut JoinSet<Result<()>>,
}

impl State<'_> {
    async fn next(&mut self, began: Instant) -> Result<Sighting> {
        tokio::select! {
            sighting = self.sightings.recv() => sighting.context("no proxy is left"),
            Some(ended) = self.tasks.join_next() => {
                ended??;
                anyhow::bail!("a proxy's stream ended")
            }
            () = tokio::time::sleep_until((began + PATIENCE).into()) => {
                anyhow::bail!("a change that did not reach everybody within {PATIENCE:?}")
            }
        }
    }

    /// Waits until every proxy has its first state and nothing more comes.
    async fn settle(&mut self, count: usize) -> Result<()> {
        let began = Instant::now();
        for _ in 0..count {
            self.next(began).await?;
        }
        tokio::time::sleep(SETTLE).await;
        while self.sightings.try_recv().is_ok() {}
        Ok(())
    }
}

async fn proxy(
    mut mesh: MeshClient<tonic::transport::Channel>,
    id: String,
    seen: mpsc::Sender<Sighting>,
) -> Result<()> {
    let (say, said) = mpsc::channel(SAYING_MAX);
    let hello = Hello {
        protocol: PROTOCOL_VERSION,
        proxy_id: id,
        role: Role::Sidecar.into(),
        upstreams: vec![ServiceRef { namespace: "default".into(), name: "web".into() }],
        ..Hello::default()
    };
    say.send(ProxyMessage { message: Some(proxy_message::Message::Hello(hello)) }).await?;
    let mut answers = mesh.join(ReceiverStream::new(said)).await?.into_inner();
    while let Some(message) = answers.message().await? {
        if let Some(server_message::Message::Update(update)) = message.message {
            let position = update.position.context("an update without a position")?;
            let ack = Ack { position: Some(position), rejections: Vec::new() };
            say.send(ProxyMessage { message: Some(proxy_message::Message::Ack(ack)) }).await?;
            seen.send((position, Instant::now())).await?;
        }
    }
    Ok(())
}
