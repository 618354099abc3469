//! The upstream that all subjects share: nginx, answering from memory on two ports.

use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result};

/// The ports of the two upstreams.
pub(crate) const PORTS: [u16; 2] = [19101, 19102];

/// Up to this size an answer stands in the configuration itself.
const SMALL_BYTES_MAX: usize = 1024;

/// Starts it on the core of the load generator.
pub(crate) fn start(dir: &Path, body_bytes: usize) -> Result<Child> {
    let body = "x".repeat(body_bytes);
    fs::write(dir.join("body"), &body)?;
    // A small answer leaves in one piece, as most applications send it; a large one would not fit the configuration.
    let answer = if body_bytes <= SMALL_BYTES_MAX {
        format!("return 200 \"{body}\";")
    } else {
        format!("root {}; try_files /body =404;", dir.display())
    };
    let config = format!(
        "daemon off; worker_processes 1; pid {dir}/upstream.pid; error_log {dir}/upstream.log;
events {{ worker_connections 16384; }}
http {{
  access_log off; keepalive_requests 1000000000; keepalive_timeout 600s; sendfile on; tcp_nopush on;
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
    Command::new("taskset")
        .args(["-c", "1", "nginx", "-c"])
        .arg(&path)
        .stderr(Stdio::null())
        .spawn()
        .context("cannot start nginx as the upstream")
}
