//! nginx.

use std::fmt::Write;
use std::process::Command;

use anyhow::Result;

use super::Place;
use crate::setup::{
    Back, FAILURES, Front, OTHER_PREFIXES, POLICIES_PREFIX, RATE, REQUEST_FIELD, RESPONSE_FIELD,
};

pub(crate) fn command(place: &Place<'_>) -> Result<Command> {
    let file = place.file("nginx.conf", &configuration(place))?;
    let mut command = Command::new("nginx");
    command.arg("-c").arg(file);
    Ok(command)
}

fn configuration(place: &Place<'_>) -> String {
    let setup = place.setup;
    let (dir, port, [a, b]) = (place.dir.display(), place.port, place.upstreams);
    let head = format!(
        "daemon off; worker_processes {}; pid {dir}/nginx.pid; error_log {dir}/nginx-error.log;
events {{ worker_connections 16384; multi_accept on; }}
",
        setup.workers
    );
    if setup.front == Front::Tcp {
        return format!(
            "{modules}{head}stream {{
  upstream up {{ server 127.0.0.1:{a}; server 127.0.0.1:{b}; }}
  server {{ listen 127.0.0.1:{port}; proxy_pass up; proxy_buffer_size 64k; tcp_nodelay on; }}
}}",
            modules = stream_module()
        );
    }
    let listen = match setup.front {
        Front::Http2 => " http2",
        Front::Tls => " ssl",
        Front::Http1 | Front::Tcp => "",
    };
    let tls = if setup.front == Front::Tls {
        let stage = place.stage.display();
        format!(
            "ssl_certificate {stage}/cert.pem; ssl_certificate_key {stage}/key.pem; ssl_protocols TLSv1.3;"
        )
    } else {
        String::new()
    };
    let pass = match setup.back {
        Back::Grpc => "grpc_pass grpc://up;",
        _ => "proxy_pass http://up;",
    };
    let connection = if setup.websocket {
        "proxy_set_header Upgrade $http_upgrade; proxy_set_header Connection $upgraded;"
    } else {
        "proxy_set_header Connection \"\";"
    };
    // Each listening worker gets a socket of its own, as the others have it.
    let reuse = if setup.workers > 1 { " reuseport" } else { "" };
    format!(
        "{head}http {{
  access_log off; keepalive_requests 1000000000; keepalive_timeout 600s; http2_max_concurrent_streams 256;
  client_body_temp_path {dir}/n1; proxy_temp_path {dir}/n2; fastcgi_temp_path {dir}/n3; uwsgi_temp_path {dir}/n4; scgi_temp_path {dir}/n5;
  map $http_upgrade $upgraded {{ default upgrade; \"\" \"\"; }}
{zone}  upstream up {{ server 127.0.0.1:{a}{failures}; server 127.0.0.1:{b}{failures}; keepalive 512; keepalive_requests 1000000000; }}
  proxy_http_version 1.1; {buffers} {connection}
  server {{
    listen 127.0.0.1:{port}{listen}{reuse}; {tls}
{locations}    location / {{ {pass} }}
  }}
}}",
        // A tunnel has but the one buffer.
        buffers = if setup.websocket { "proxy_buffer_size 64k; proxy_buffers 16 64k; proxy_busy_buffers_size 128k;" } else { "proxy_buffers 16 16k;" },
        zone = if setup.policies { format!("  limit_req_zone $server_port zone=limits:1m rate={RATE}r/s;\n") } else { String::new() },
        failures = if setup.policies { format!(" max_fails={FAILURES}") } else { String::new() },
        locations = if setup.policies { locations() } else { String::new() }
    )
}

fn locations() -> String {
    let mut text = String::new();
    for prefix in OTHER_PREFIXES {
        let _ = writeln!(text, "    location {prefix}/ {{ proxy_pass http://up; proxy_read_timeout 5s; }}");
    }
    let ((name, value), (shown, by)) = (REQUEST_FIELD, RESPONSE_FIELD);
    let _ = writeln!(
        text,
        "    location {POLICIES_PREFIX}/ {{
      limit_req zone=limits burst=10000 nodelay; limit_req_status 429;
      proxy_pass http://up; proxy_read_timeout 1s; proxy_next_upstream error timeout; proxy_next_upstream_tries 3;
      proxy_set_header Connection \"\"; proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
      proxy_set_header {name} {value}; proxy_set_header x-debug \"\"; add_header {shown} {by}; proxy_hide_header Server;
    }}"
    );
    text
}

/// Debian builds the stream module apart.
fn stream_module() -> &'static str {
    const MODULE: &str = "/usr/lib/nginx/modules/ngx_stream_module.so";
    if std::path::Path::new(MODULE).exists() {
        "load_module /usr/lib/nginx/modules/ngx_stream_module.so;\n"
    } else {
        ""
    }
}
