//! What operators' tools ask an agent: is it there, do the servers have what is registered here, and in figures how it is.

use std::fmt::Write as _;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use http::StatusCode;
use http::header::HeaderValue;
use weir_control::Control;
use weir_edge::http::{Request, Response, Router};

use crate::bounds::UNHEARD_MAX;
use crate::servers::Servers;
use crate::status::{Status, Unwelcome};

/// The content type of Prometheus's text format.
const METRICS_TYPE: HeaderValue = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");

/// Adds `/healthz`, `/readyz` and `/metrics`.
pub fn mount(router: &mut Router, control: &Arc<Control>, servers: &Arc<Servers>, status: &Arc<Status>) {
    router.get("/healthz", |_: Request| async { Response::text(StatusCode::OK, "ok\n") });
    let (ready, asked) = (Arc::clone(status), Arc::clone(servers));
    router.get("/readyz", move |_: Request| {
        let response = readyz(&ready, &asked);
        async move { response }
    });
    let (control, servers, status) = (Arc::clone(control), Arc::clone(servers), Arc::clone(status));
    router.get("/metrics", move |_: Request| {
        let text = metrics(&control, &servers, &status);
        async move { Response::bytes(StatusCode::OK, METRICS_TYPE, text.into_bytes()) }
    });
}

/// Ready is an agent whose registrations the servers have, and that they hear.
fn readyz(status: &Status, servers: &Servers) -> Response {
    let silent = status.heard_at().map(|at| at.elapsed());
    let is_unheard = silent.is_some_and(|silent| silent > UNHEARD_MAX);
    if status.is_in_sync() && !is_unheard {
        return Response::text(StatusCode::OK, format!("in sync with {}\n", servers.in_use()));
    }
    if let Some(Unwelcome { reason, .. }) = status.unwelcome() {
        let text = format!("the servers do not let this agent in: {reason}\n");
        return Response::text(StatusCode::SERVICE_UNAVAILABLE, text);
    }
    let heard = match silent {
        None => "no server has heard this agent yet".to_owned(),
        Some(silent) => format!("a server heard this agent {} s ago", silent.as_secs()),
    };
    let text = if status.is_in_sync() {
        format!("the servers do not hear this agent; {heard}, expected at most {} s\n", UNHEARD_MAX.as_secs())
    } else {
        format!("the servers do not have all that is registered here; {heard}\n")
    };
    Response::text(StatusCode::SERVICE_UNAVAILABLE, text)
}

fn metrics(control: &Control, servers: &Servers, status: &Status) -> String {
    let mut text = String::with_capacity(2048);
    let mut add = |name: &str, kind: &str, help: &str, value: u64| {
        let _ = write!(text, "# HELP {name} {help}\n# TYPE {name} {kind}\n{name} {value}\n");
    };
    let view = control.catalog().node_view(&control.settings().node_name).entries;
    let (instances, checks) = view.map_or((0, 0), |view| (view.instances.len(), view.checks().count()));
    add("weir_agent_instances", "gauge", "Instances registered at this agent.", instances as u64);
    add("weir_agent_checks", "gauge", "Checks registered at this agent.", checks as u64);
    add("weir_agent_servers", "gauge", "Servers that this agent was given.", servers.len() as u64);
    let in_sync = status.is_in_sync();
    add(
        "weir_agent_in_sync",
        "gauge",
        "1 while the servers have all that is registered here.",
        in_sync.into(),
    );
    let silent = status.heard_at().map_or(u64::MAX, |at| at.elapsed().as_secs());
    if silent != u64::MAX {
        let help = "Seconds since a server last heard this agent.";
        add("weir_agent_heard_seconds", "gauge", help, silent);
    }
    let count = |counter: &std::sync::atomic::AtomicU64| counter.load(Ordering::Relaxed);
    for (name, help, counter) in [
        ("weir_agent_comparisons_total", "Comparisons with the servers' registry.", &status.comparisons),
        ("weir_agent_comparisons_failed_total", "Of these, those that failed.", &status.comparisons_failed),
        ("weir_agent_refused_total", "Registrations that the servers refused.", &status.refused),
        ("weir_agent_forwarded_total", "Requests passed on to the servers.", &status.forwarded),
        ("weir_agent_unanswered_total", "Of these, those that no server answered.", &status.unanswered),
    ] {
        add(name, "counter", help, count(counter));
    }
    text
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::Instant;

    use super::*;

    #[test]
    fn an_agent_that_no_server_hears_is_not_ready() {
        let (status, servers) = (Status::default(), Servers::new(Vec::new(), 0));
        let ready = || readyz(&status, &servers).status;
        let heard_before = |past: Duration| status.heard(Instant::now().checked_sub(past).unwrap());
        assert_eq!(ready(), StatusCode::SERVICE_UNAVAILABLE, "nothing is registered there");
        status.set_in_sync(true);
        heard_before(UNHEARD_MAX / 2);
        assert_eq!(ready(), StatusCode::OK);
        heard_before(UNHEARD_MAX + Duration::from_secs(1));
        assert_eq!(ready(), StatusCode::SERVICE_UNAVAILABLE);
        heard_before(Duration::ZERO);
        assert_eq!(ready(), StatusCode::OK);
    }
}
