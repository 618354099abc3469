//! What is measured: each subject's configuration and process, on core 0.

use std::fs;
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use crate::upstream;

/// A running subject.
pub(crate) struct Subject {
    pub(crate) name: String,
    pub(crate) port: u16,
    child: Child,
}

impl Subject {
    /// Starts a subject by name and waits until it accepts connections.
    pub(crate) fn start(name: &str, dir: &Path, weir: &Path) -> Result<Self> {
        let (port, mut command) = match name {
            "weir" => (19001, weir_command(dir, weir, 19001)?),
            "haproxy" => (19002, haproxy_command(dir, 19002)?),
            "nginx" => (19003, nginx_command(dir, 19003)?),
            "floor" => (19004, floor_command(19004)?),
            other => bail!("unknown subject `{other}`: expected weir, haproxy, nginx or floor"),
        };
        let child = command.stdout(Stdio::null()).spawn().with_context(|| format!("cannot start {name}"))?;
        let mut subject = Self { name: name.to_owned(), port, child };
        subject.wait_ready()?;
        Ok(subject)
    }

    /// Its process id.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    fn wait_ready(&mut self) -> Result<()> {
        let start = Instant::now();
        while TcpStream::connect(("127.0.0.1", self.port)).is_err() {
            if let Some(status) = self.child.try_wait()? {
                bail!("{} ended at once: {status}", self.name);
            }
            ensure!(start.elapsed() < Duration::from_secs(10), "{} does not listen", self.name);
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    }
}

impl Drop for Subject {
    fn drop(&mut self) {
        end(&mut self.child);
    }
}

/// Asks a process to end (nginx must tell its worker), and makes sure.
pub(crate) fn end(child: &mut Child) {
    let _ = Command::new("kill").args(["-TERM", &child.id().to_string()]).status();
    for _ in 0..100 {
        if !matches!(child.try_wait(), Ok(None)) {
            return;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    let _ = child.kill();
    let _ = child.wait();
}

fn pinned(program: impl AsRef<std::ffi::OsStr>) -> Command {
    let mut command = Command::new("taskset");
    command.args(["-c", "0"]).arg(program);
    command
}

fn weir_command(dir: &Path, weir: &Path, port: u16) -> Result<Command> {
    let [a, b] = upstream::PORTS;
    let file = dir.join("weir.yaml");
    fs::write(
        &file,
        format!(
            "kind: Gateway
metadata: {{name: bench}}
spec:
  addresses: [{{value: 127.0.0.1}}]
  listeners: [{{name: http, port: {port}, protocol: HTTP}}]
---
kind: HTTPRoute
metadata: {{name: bench}}
spec:
  parentRefs: [{{name: bench}}]
  rules: [{{backendRefs: [{{name: echo}}]}}]
---
kind: Service
metadata: {{name: echo}}
spec:
  endpoints: [{{address: 127.0.0.1, port: {a}}}, {{address: 127.0.0.1, port: {b}}}]
---
kind: TrafficPolicy
metadata: {{name: echo}}
spec:
  targetRefs: [{{name: echo}}]
  balance: {{policy: round_robin}}
"
        ),
    )?;
    let mut command = pinned(weir);
    command.args(["proxy", "--workers", "1", "-f"]).arg(file);
    Ok(command)
}

fn haproxy_command(dir: &Path, port: u16) -> Result<Command> {
    let [a, b] = upstream::PORTS;
    let file = dir.join("haproxy.cfg");
    fs::write(
        &file,
        format!(
            "global
  nbthread 1
  maxconn 8192
defaults
  mode http
  timeout connect 5s
  timeout client 600s
  timeout server 600s
  option http-keep-alive
  http-reuse always
frontend f
  bind 127.0.0.1:{port}
  default_backend b
backend b
  balance roundrobin
  server a 127.0.0.1:{a} pool-max-conn 512
  server b 127.0.0.1:{b} pool-max-conn 512
"
        ),
    )?;
    let mut command = pinned("haproxy");
    command.arg("-db").arg("-f").arg(file).stderr(Stdio::null());
    Ok(command)
}

fn nginx_command(dir: &Path, port: u16) -> Result<Command> {
    let [a, b] = upstream::PORTS;
    let file = dir.join("nginx.conf");
    fs::write(
        &file,
        format!(
            "daemon off; worker_processes 1; pid {dir}/nginx.pid; error_log {dir}/nginx.log;
events {{ worker_connections 16384; multi_accept on; }}
http {{
  access_log off; keepalive_requests 1000000000; keepalive_timeout 600s;
  client_body_temp_path {dir}/n1; proxy_temp_path {dir}/n2; fastcgi_temp_path {dir}/n3; uwsgi_temp_path {dir}/n4; scgi_temp_path {dir}/n5;
  upstream up {{ server 127.0.0.1:{a}; server 127.0.0.1:{b}; keepalive 512; keepalive_requests 1000000000; }}
  server {{
    listen 127.0.0.1:{port};
    location / {{ proxy_pass http://up; proxy_http_version 1.1; proxy_set_header Connection \"\"; proxy_buffers 16 16k; }}
  }}
}}",
            dir = dir.display()
        ),
    )?;
    let mut command = pinned("nginx");
    command.arg("-c").arg(file).stderr(Stdio::null());
    Ok(command)
}

fn floor_command(port: u16) -> Result<Command> {
    let mut command = pinned(std::env::current_exe()?);
    command.arg("floor").arg(port.to_string()).args(upstream::PORTS.map(|p| p.to_string()));
    Ok(command)
}
