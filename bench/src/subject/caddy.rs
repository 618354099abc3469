//! Caddy, from PyPI.

use std::fmt::Write;
use std::process::Command;

use anyhow::{Result, ensure};

use super::Place;
use crate::setup::{Back, FAILURES, Front, OTHER_PREFIXES, POLICIES_PREFIX, REQUEST_FIELD, RESPONSE_FIELD};

pub(crate) fn command(place: &Place<'_>) -> Result<Command> {
    ensure!(place.setup.front != Front::Tcp, "it has no TCP proxy");
    let program = place.peers.join("bin/caddy");
    ensure!(program.exists(), "not installed: run with --install");
    let file = place.file("Caddyfile", &configuration(place))?;
    let mut command = Command::new(program);
    command.args(["run", "--adapter", "caddyfile", "--config"]).arg(file);
    command.env("GOMAXPROCS", place.setup.workers.to_string());
    // It keeps state in the user's folders otherwise.
    command.env("XDG_DATA_HOME", place.dir.join("caddy-data"));
    command.env("XDG_CONFIG_HOME", place.dir.join("caddy-config"));
    Ok(command)
}

fn configuration(place: &Place<'_>) -> String {
    let (dir, port, setup) = (place.stage.display(), place.port, place.setup);
    let (site, tls) = match setup.front {
        Front::Tls => (
            format!("https://127.0.0.1:{port}, https://localhost:{port}"),
            format!("  tls {dir}/cert.pem {dir}/key.pem {{\n    protocols tls1.3\n  }}\n"),
        ),
        _ => (format!("http://:{port}"), String::new()),
    };
    let protocols = if setup.front == Front::Http2 { "h1 h2 h2c" } else { "h1" };
    let mut text = format!(
        "{{
  admin off
  auto_https off
  persist_config off
  default_sni localhost
  log {{
    level ERROR
  }}
  servers {{
    protocols {protocols}
  }}
}}
{site} {{
  bind 127.0.0.1
{tls}"
    );
    if setup.policies {
        for prefix in OTHER_PREFIXES {
            let _ = write!(text, "  handle {prefix}/* {{\n{}  }}\n", proxy(place, false));
        }
        let _ = write!(text, "  handle {POLICIES_PREFIX}/* {{\n{}  }}\n", proxy(place, true));
        let _ = write!(text, "  handle {{\n{}  }}\n", proxy(place, false));
    } else {
        text += &proxy(place, false);
    }
    text + "}\n"
}

fn proxy(place: &Place<'_>, filters: bool) -> String {
    let [a, b] = place.upstreams;
    let ((name, value), (shown, by)) = (REQUEST_FIELD, RESPONSE_FIELD);
    let versions = if place.setup.back == Back::Grpc { "      versions h2c 2\n" } else { "" };
    let more = if filters {
        format!(
            "    lb_retries 2\n    fail_duration 10s\n    max_fails {FAILURES}\n    header_up {name} {value}\n    header_up -x-debug\n    header_down {shown} {by}\n    header_down -server\n"
        )
    } else {
        String::new()
    };
    let time_limit = if filters { "      response_header_timeout 1s\n" } else { "" };
    format!(
        "    reverse_proxy 127.0.0.1:{a} 127.0.0.1:{b} {{
    lb_policy round_robin
{more}    transport http {{
      keepalive_idle_conns_per_host 512
{versions}{time_limit}    }}
  }}
"
    )
}
