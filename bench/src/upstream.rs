//! The upstreams that all subjects share, on two ports.

pub(crate) mod grpc;
pub(crate) mod streams;

use std::fs;
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use crate::case::Upstream;
use crate::subject::pinned;

/// The ports of the two upstreams.
pub(crate) const PORTS: [u16; 2] = [19101, 19102];
/// Bytes of a small answer.
pub(crate) const SMALL_BYTES: usize = 128;
const LARGE_BYTES: usize = 64 * 1024;

/// What a request is answered with.
pub(crate) fn body(kind: Upstream) -> String {
    "x".repeat(if kind == Upstream::Large { LARGE_BYTES } else { SMALL_BYTES })
}

/// Starts nginx, answering from memory, on the core of the load generator.
pub(crate) fn start_nginx(dir: &Path, kind: Upstream, core: Option<usize>) -> Result<Child> {
    let body = body(kind);
    fs::write(dir.join("body"), &body)?;
    let file = format!("root {}; try_files /body =404;", dir.display());
    let answer = match kind {
        // In one piece, as most applications send it.
        Upstream::Small => format!("return 200 \"{body}\";"),
        Upstream::Fields => format!("add_header x-seen $http_x_tenant; return 200 \"{body}\";"),
        // Head and body in one packet are just what `tcp_nopush` is for.
        Upstream::Split => format!("tcp_nopush off; {file}"),
        _ => format!("tcp_nopush on; {file}"),
    };
    let config = format!(
        "daemon off; worker_processes 1; pid {dir}/upstream.pid; error_log {dir}/upstream.log;
events {{ worker_connections 16384; }}
http {{
  access_log off; keepalive_requests 1000000000; keepalive_timeout 600s; sendfile on;
  client_body_temp_path {dir}/u1; proxy_temp_path {dir}/u2; fastcgi_temp_path {dir}/u3; uwsgi_temp_path {dir}/u4; scgi_temp_path {dir}/u5;
  open_file_cache max=10;
  server {{ listen 127.0.0.1:{} reuseport; listen 127.0.0.1:{} reuseport; location / {{ {answer} }} }}
}}",
        PORTS[0],
        PORTS[1],
        dir = dir.display()
    );
    let path = dir.join("upstream.conf");
    fs::write(&path, config)?;
    let mut command = Command::new("nginx");
    command.arg("-c").arg(&path);
    pinned(command, core)
        .stderr(Stdio::null())
        .spawn()
        .context("cannot start nginx as the upstream (Debian: nginx-light)")
}

/// Starts this program as the upstream for gRPC and for streams.
pub(crate) fn start_own(core: Option<usize>) -> Result<Child> {
    let mut command = Command::new(std::env::current_exe()?);
    command.arg("upstream").args(PORTS.map(|port| port.to_string()));
    pinned(command, core).spawn().context("cannot start the upstream")
}

/// Waits until both ports accept connections.
pub(crate) fn wait_ready() -> Result<()> {
    let start = Instant::now();
    for port in PORTS {
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            ensure!(start.elapsed() < Duration::from_secs(5), "the upstream does not listen on port {port}");
            std::thread::sleep(Duration::from_millis(10));
        }
    }
    Ok(())
}

/// Runs as the upstream until it is ended: HTTP/2 connections are served as gRPC, all others as streams.
pub(crate) fn main(args: impl Iterator<Item = String>) -> Result<()> {
    let mut listeners = Vec::new();
    for port in args {
        listeners.push(std::net::TcpListener::bind(("127.0.0.1", port.parse().context("ports expected")?))?);
    }
    serve(listeners)
}

/// The same on a free port, in a thread of this program's.
pub(crate) fn in_thread() -> Result<u16> {
    let listener = std::net::TcpListener::bind(("127.0.0.1", 0))?;
    let port = listener.local_addr()?.port();
    std::thread::spawn(move || serve(vec![listener]));
    Ok(port)
}

fn serve(listeners: Vec<std::net::TcpListener>) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let mut accepting = tokio::task::JoinSet::new();
        for listener in listeners {
            listener.set_nonblocking(true)?;
            accepting.spawn(accept(tokio::net::TcpListener::from_std(listener)?));
        }
        while let Some(ended) = accepting.join_next().await {
            ended??;
        }
        Ok(())
    })
}

async fn accept(listener: tokio::net::TcpListener) -> Result<()> {
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        // A connection that breaks is the subject's affair, and shows in its figures.
        tokio::spawn(async move {
            let mut first = [0; 4];
            let read = stream.peek(&mut first).await?;
            if &first[..read] == b"PRI " { grpc::serve(stream).await } else { streams::serve(stream).await }
        });
    }
}
