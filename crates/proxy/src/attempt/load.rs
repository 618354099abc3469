//! Asks endpoints how busy they are, for `prequal`.
//!
//! ```text
//! request -> probes_due -> a sidecar: OPTIONS * with x-weir-load, in a task of its own -> x-weir-load: IN_FLIGHT MICROSECONDS
//!                       -> anybody else: what this proxy has seen itself               --> Balancer::probed
//! ```
//!
//! A probe never holds a request up. It goes over a pooled connection, is answered by the sidecar itself and not by its
//! application, and is bounded: by the balancer in number, and by [`Load`](crate::snapshot::Load) in how often.

use std::future::poll_fn;
use std::rc::Rc;
use std::time::Duration;

use tokio::task::spawn_local;
use tokio::time::timeout;
use weir_policy::Nanos;
use weir_policy::balance::prequal::ProbeAnswer;

use super::connect::{Dial, dial};
use super::upstream::LocalUpstream;
use crate::runtime::{Io, Worker};
use crate::snapshot::{Endpoint, EndpointState, Known, Upstream, UpstreamTls};

/// The field that asks a sidecar for its load, and in which it says it.
pub(crate) const LOAD_FIELD: &str = "x-weir-load";
/// How long an answer is waited for. It would be of no use any more.
const PROBE_MAX: Duration = Duration::from_secs(1);
/// The longest answer.
const ANSWER_BYTES_MAX: usize = 512;
const QUESTION: &[u8] = b"OPTIONS * HTTP/1.1\r\nhost: weir\r\nx-weir-load: ?\r\n\r\n";

/// Has the endpoints asked that the balancer wants to know about.
#[inline(never)]
pub(super) fn ask_for_load(worker: &Rc<Worker>, local: &Rc<LocalUpstream>, now: Nanos) {
    let upstream = &local.upstream;
    let rng = &mut *worker.rng.borrow_mut();
    let probes = local.with_balancer(|balancer| balancer.probes_due(now, &**upstream, rng));
    for index in probes.indices() {
        let endpoint = local.endpoint(index);
        let load = endpoint.state.load();
        let answer = if !answers(upstream, endpoint) || load.is_silent(now) {
            Some(load.seen(endpoint.state.in_flight(), now))
        } else {
            match load.said(endpoint.state.in_flight(), now) {
                Known::Is(answer) => Some(answer),
                Known::NotYet => None,
                Known::Ask => {
                    spawn_local(ask(worker.clone(), local.clone(), index));
                    continue;
                }
            }
        };
        local.with_balancer(|balancer| balancer.probed(index, answer, now, rng));
    }
}

/// Whether an endpoint can be asked: a sidecar can, on a connection that is nobody's and needs no TLS.
fn answers(upstream: &Upstream, endpoint: &Endpoint) -> bool {
    endpoint.inbound
        && matches!(upstream.tls, UpstreamTls::Plain)
        && upstream.settings.proxy_protocol.is_none()
}

/// Asks one endpoint.
async fn ask(worker: Rc<Worker>, local: Rc<LocalUpstream>, index: usize) {
    let state = &local.endpoint(index).state;
    let load = state.load();
    let answered = timeout(PROBE_MAX, exchange(&worker, &local, index)).await;
    let now = Nanos(worker.clock.now());
    let answer = match answered {
        Ok(Some(Answered::Said(answer))) => {
            load.answered(answer, state.in_flight(), now);
            Some(answer)
        }
        // It is no sidecar of this kind, or has no time for questions.
        Ok(Some(Answered::Else)) | Err(_) => {
            load.silent(now);
            None
        }
        Ok(None) => None,
    };
    let rng = &mut *worker.rng.borrow_mut();
    local.with_balancer(|balancer| balancer.probed(index, answer, now, rng));
}

/// What came back.
enum Answered {
    Said(ProbeAnswer),
    /// A response that says nothing of load.
    Else,
}

/// One question and its answer; none if there was no answer.
async fn exchange(worker: &Rc<Worker>, local: &LocalUpstream, index: usize) -> Option<Answered> {
    let endpoint = local.endpoint(index);
    let pool = local.pool(index);
    let pooled = pool.take(worker.pool_time(), local.upstream.settings.idle_max, &endpoint.state);
    let mut io = match pooled {
        Some((io, _)) => io,
        None => dial(Dial::to(worker, &local.upstream, endpoint, None).ok()?).await.ok()?,
    };
    let mut sent = 0;
    while sent < QUESTION.len() {
        sent += poll_fn(|cx| io.poll_write(cx, &QUESTION[sent..])).await.ok().filter(|n| *n > 0)?;
    }
    let mut bytes = [0; ANSWER_BYTES_MAX];
    let mut filled = 0;
    while !bytes[..filled].windows(4).any(|window| window == b"\r\n\r\n") {
        let read = poll_fn(|cx| io.poll_read(cx, &mut bytes[filled..])).await.ok()?;
        filled += read;
        if read == 0 {
            // The end, or longer than any answer is.
            return (filled == bytes.len()).then_some(Answered::Else);
        }
    }
    match parse(&bytes[..filled]) {
        Some(said) => {
            give_back(worker, local, index, io);
            Some(Answered::Said(said))
        }
        // There may be a body to come.
        None => Some(Answered::Else),
    }
}

fn give_back(worker: &Worker, local: &LocalUpstream, index: usize, io: Io) {
    local.pool(index).put(io, worker.timers.now_ms());
}

/// The load that an answer tells: it is one of 204 with one such field, and nothing after it.
fn parse(answer: &[u8]) -> Option<ProbeAnswer> {
    let text = std::str::from_utf8(answer.strip_suffix(b"\r\n\r\n")?).ok()?;
    let mut lines = text.strip_prefix("HTTP/1.1 204 ")?.split("\r\n").skip(1);
    let said = lines.find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case(LOAD_FIELD).then(|| value.trim())
    })?;
    let (in_flight, us) = said.split_once(' ')?;
    let latency = Duration::from_micros(us.parse::<u32>().ok()?.into());
    Some(ProbeAnswer { in_flight: in_flight.parse().ok()?, latency })
}

/// The answer of a sidecar that is asked for the load of its application.
pub(crate) fn say_load(app: &EndpointState, now: Nanos) -> Vec<u8> {
    let ProbeAnswer { in_flight, latency } = app.load().seen(app.in_flight(), now);
    let us = u32::try_from(latency.as_micros()).unwrap_or(u32::MAX);
    format!("HTTP/1.1 204 No Content\r\n{LOAD_FIELD}: {in_flight} {us}\r\n\r\n").into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_sidecar_says_is_read() {
        let app = EndpointState::default();
        app.begin();
        app.load().completed(1, Duration::from_micros(1500), Nanos::from_secs(1));
        let said = say_load(&app, Nanos::from_secs(1));
        let expected = ProbeAnswer { in_flight: 1, latency: Duration::from_micros(1500) };
        assert_eq!(parse(&said), Some(expected));
        assert!(said.len() < ANSWER_BYTES_MAX / 2);
    }

    #[test]
    fn other_answers_are_none() {
        for answer in [
            "HTTP/1.1 200 OK\r\nx-weir-load: 1 2\r\n\r\n",
            "HTTP/1.1 204 No Content\r\n\r\n",
            "HTTP/1.1 204 No Content\r\nx-weir-load: 1\r\n\r\n",
            "HTTP/1.1 204 No Content\r\nx-weir-load: 1 99999999999\r\n\r\n",
            "HTTP/1.1 204 No Content\r\nx-weir-load: -1 2\r\n\r\n",
            "\r\n\r\n",
        ] {
            assert_eq!(parse(answer.as_bytes()), None, "{answer:?}");
        }
    }
}
