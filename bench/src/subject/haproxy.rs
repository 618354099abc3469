//! HAProxy.

use std::fmt::Write;
use std::process::Command;

use anyhow::Result;

use super::Place;
use crate::setup::{
    Back, FAILURES, Front, OTHER_PREFIXES, POLICIES_PREFIX, RATE, REQUEST_FIELD, RESPONSE_FIELD,
};

pub(crate) fn command(place: &Place<'_>) -> Result<Command> {
    let file = place.file("haproxy.cfg", &configuration(place))?;
    let mut command = Command::new("haproxy");
    command.arg("-db").arg("-f").arg(file);
    Ok(command)
}

fn configuration(place: &Place<'_>) -> String {
    let setup = place.setup;
    let (dir, port, [a, b]) = (place.stage.display(), place.port, place.upstreams);
    let (mode, http) = match setup.front {
        // Bulk stays in the kernel where it is worth it.
        Front::Tcp => ("tcp", "  option splice-auto\n"),
        _ if setup.websocket => {
            ("http", "  option http-keep-alive\n  http-reuse always\n  option splice-auto\n")
        }
        _ => ("http", "  option http-keep-alive\n  http-reuse always\n"),
    };
    let bind = match setup.front {
        Front::Http1 | Front::Tcp => String::new(),
        Front::Http2 => " proto h2".to_owned(),
        Front::Tls => format!(" ssl crt {dir}/both.pem ssl-min-ver TLSv1.3 alpn http/1.1"),
    };
    let server = match setup.back {
        Back::Http1 => "pool-max-conn 512",
        Back::Grpc => "pool-max-conn 512 proto h2",
        Back::Tcp => "",
    };
    let mut text = format!(
        "global
  nbthread {workers}
  maxconn {connections}
  tune.h2.max-concurrent-streams 256
defaults
  mode {mode}
  timeout connect 5s
  timeout client 600s
  timeout server 600s
{http}frontend f
  bind 127.0.0.1:{port}{bind}
",
        workers = setup.workers,
        // Pipes to splice through count among the open files.
        connections = if http.contains("splice") || setup.front == Front::Tcp { 4096 } else { 8192 },
    );
    if setup.policies {
        for (index, prefix) in OTHER_PREFIXES.iter().enumerate() {
            let _ = writeln!(text, "  use_backend b{index} if {{ path_beg {prefix}/ }}");
        }
        let _ = writeln!(text, "  use_backend b-cart if {{ path_beg {POLICIES_PREFIX}/ }}");
    }
    text += "  default_backend b\n";
    let servers = format!(
        "  balance roundrobin\n  server a 127.0.0.1:{a} {server}\n  server b 127.0.0.1:{b} {server}\n"
    );
    let _ = write!(text, "backend b\n{servers}");
    if setup.policies {
        for index in 0..OTHER_PREFIXES.len() {
            let _ = write!(text, "backend b{index}\n  timeout server 5s\n{servers}");
        }
        let ((name, value), (shown, by)) = (REQUEST_FIELD, RESPONSE_FIELD);
        let _ = write!(
            text,
            "backend b-cart
  timeout server 1s
  retries 2
  retry-on conn-failure empty-response
  option forwardfor
  http-request set-header {name} {value}
  http-request del-header x-debug
  http-response set-header {shown} {by}
  http-response del-header server
  http-request track-sc0 int(1) table limits
  http-request deny deny_status 429 if {{ sc_http_req_rate(0,limits) gt {RATE} }}
  default-server check inter 10s observe layer7 error-limit {FAILURES} on-error mark-down
{servers}backend limits
  stick-table type integer size 16 expire 10s store http_req_rate(1s)
"
        );
    }
    text
}
