//! How long it takes until every one of many proxies has acknowledged a change.
//!
//!     cargo run --release -p weir-edge --example mesh_fanout -- 1000
//!
//! Prints the time from the registration's answer to the last acknowledgement recorded, over many changes. Server and
//! proxies share this process and its cores, so the figure is an upper bound.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use weir_api::mesh::mesh_client::MeshClient;
use weir_api::mesh::{
    Ack, Hello, PROTOCOL_VERSION, ProxyMessage, Role, ServiceRef, proxy_message, server_message,
};
use weir_control::{Control, Settings};
use weir_edge::mesh::{Mesh, MeshListener};
use weir_model::registry::Instance;

const CHANGES: u16 = 50;

#[tokio::main]
#[allow(clippy::print_stdout)]
async fn main() {
    let proxies: usize = std::env::args().nth(1).and_then(|text| text.parse().ok()).unwrap_or(1000);
    let settings = Settings { node_name: "n1".into(), ..Settings::default() };
    let control = Control::start(Arc::new(weir_store::Memory::new()), settings).await.expect("control");
    let mesh = Mesh::new(Arc::clone(&control), "r1");
    let listener = MeshListener::bind("127.0.0.1:0".parse().expect("address")).await.expect("bind");
    let server = format!("http://{}", listener.address());
    tokio::spawn(listener.serve(mesh.clone(), std::future::pending()));
    register(&control, 0).await;
    for number in 0..proxies {
        tokio::spawn(proxy(server.clone(), format!("p{number}")));
    }
    wait(&control, &mesh, proxies).await;
    let mut times: Vec<Duration> = Vec::new();
    for number in 1..=CHANGES {
        register(&control, number).await;
        let began = Instant::now();
        wait(&control, &mesh, proxies).await;
        times.push(began.elapsed());
    }
    times.sort_unstable();
    let at = |share: f64| times[((times.len() - 1) as f64 * share).round() as usize];
    println!(
        "{proxies} proxies, {CHANGES} changes: p50 {:?}, p99 {:?}, max {:?}",
        at(0.5),
        at(0.99),
        at(1.0)
    );
}

async fn register(control: &Control, number: u16) {
    let instance = Instance {
        namespace: "default".into(),
        node: "n1".into(),
        id: format!("cart-{number}"),
        service: "cart".into(),
        port: 9000 + number,
        ..Instance::default()
    };
    control.register_instance(instance, Vec::new(), true).await.expect("registered");
}

/// Waits until all proxies have acknowledged the catalog's present state.
async fn wait(control: &Control, mesh: &Mesh, proxies: usize) {
    loop {
        let behind = mesh.position() < control.position()
            || mesh.proxies().iter().filter(|status| !status.behind).count() < proxies;
        if !behind {
            return;
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

async fn proxy(server: String, id: String) {
    let mut mesh = connect(server).await;
    let (say, said) = mpsc::channel(16);
    let hello = Hello {
        protocol: PROTOCOL_VERSION,
        proxy_id: id,
        role: Role::Sidecar.into(),
        upstreams: vec![ServiceRef { namespace: "default".into(), name: "cart".into() }],
        ..Hello::default()
    };
    let _ = say.send(ProxyMessage { message: Some(proxy_message::Message::Hello(hello)) }).await;
    let mut answers = mesh.join(ReceiverStream::new(said)).await.expect("joined").into_inner();
    while let Ok(Some(message)) = answers.message().await {
        if let Some(server_message::Message::Update(update)) = message.message {
            let ack = Ack { position: update.position, rejections: Vec::new() };
            let _ = say.send(ProxyMessage { message: Some(proxy_message::Message::Ack(ack)) }).await;
        }
    }
}

/// Connects, again and again while the listener's queue is full.
async fn connect(server: String) -> MeshClient<tonic::transport::Channel> {
    let endpoint = tonic::transport::Endpoint::from_shared(server).expect("address");
    loop {
        match endpoint.connect().await {
            Ok(channel) => return MeshClient::new(channel),
            Err(_) => tokio::time::sleep(Duration::from_millis(10)).await,
        }
    }
}
