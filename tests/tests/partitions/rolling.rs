//! Servers that are restarted one after the other, as an upgrade does it: no request fails of a client that has a list of them.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use weir_tests::http::{Connection, Response};

use crate::load::{ALIVE, alive, passing, register_all};
use crate::stage::{REPLICAS, Stage, get};

/// How long a request may take, a blocking query included.
const ANSWER_MAX: Duration = Duration::from_secs(60);
/// How long a connection may take to come about: a server that is there may be busy.
const CONNECT_MAX: Duration = Duration::from_secs(30);
/// Clients of each server.
const CLIENTS: usize = 4;
/// How long blocking queries wait.
const WAIT: &str = "10s";

/// How often a server may reset a connection that came about as it stopped listening: TCP has no way to stop without that.
/// No more than one of each client, each time.
const RESETS_MAX: usize = REPLICAS * CLIENTS * REPLICAS;

/// A client to which a request has failed unless it was answered well by the first server that takes it. It asks the next one
/// where its connection is refused, or reset before a byte of the answer.
struct Strict {
    servers: [SocketAddr; REPLICAS],
    current: usize,
    /// How many connections were reset.
    resets: usize,
}

impl Strict {
    fn call(&mut self, method: &str, path: &str, body: &str) -> Result<Response, String> {
        let headers = [("connection", "close"), ("host", "weir.test")];
        for _ in 0..=REPLICAS {
            let server = self.servers[self.current];
            match Connection::open_at(server, CONNECT_MAX, ANSWER_MAX) {
                Ok(mut connection) => {
                    let answer = connection.request(method, path, &headers, body.as_bytes());
                    if answer.as_ref().is_err_and(|error| error.kind() == io::ErrorKind::ConnectionReset) {
                        self.resets += 1;
                        self.current = (self.current + 1) % REPLICAS;
                        continue;
                    }
                    let answer = answer.map_err(|error| format!("{method} {path} at {server}: {error}"))?;
                    let text = || format!("{method} {path} at {server}: {} {}", answer.status, answer.text());
                    return if answer.status == 200 { Ok(answer) } else { Err(text()) };
                }
                Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
                    self.current = (self.current + 1) % REPLICAS;
                }
                Err(error) => return Err(format!("{method} {path} at {server}: {error}")),
            }
        }
        Err(format!("{method} {path}: all servers refuse connections"))
    }
}

#[derive(Default)]
struct Seen {
    stop: AtomicBool,
    requests: AtomicUsize,
    resets: AtomicUsize,
    failed: Mutex<Vec<String>>,
}

/// Calls again and again, each time what `next` says for a number.
fn keep_calling(
    stage: &Stage,
    seen: &Arc<Seen>,
    first: usize,
    mut next: impl FnMut(usize, &mut Strict) -> Result<(), String> + Send + 'static,
) -> JoinHandle<()> {
    let (seen, servers) = (Arc::clone(seen), stage.servers());
    stage.clients.run(move || {
        let mut client = Strict { servers, current: first % REPLICAS, resets: 0 };
        for number in 0.. {
            if seen.stop.load(Ordering::Relaxed) {
                return;
            }
            if let Err(failed) = next(number, &mut client) {
                seen.failed.lock().unwrap_or_else(PoisonError::into_inner).push(failed);
            }
            seen.requests.fetch_add(1, Ordering::Relaxed);
            seen.resets.fetch_add(std::mem::take(&mut client.resets), Ordering::Relaxed);
            std::thread::sleep(Duration::from_millis(10));
        }
    })
}

fn clients(stage: &Stage, seen: &Arc<Seen>) -> Vec<JoinHandle<()>> {
    let mut threads = Vec::new();
    for first in 0..REPLICAS {
        threads.push(keep_calling(stage, seen, first, |_, client| {
            let found = client.call("GET", "/v1/health/service/web?passing", "")?;
            let count = found.json().as_array().map_or(0, Vec::len);
            if count == ALIVE { Ok(()) } else { Err(format!("{count} of {ALIVE} pass")) }
        }));
        threads.push(keep_calling(stage, seen, first, move |number, client| {
            client.call("PUT", &format!("/v1/kv/rolling/{first}/{number}"), "x").map(drop)
        }));
        threads.push(keep_calling(stage, seen, first, move |number, client| {
            let id = alive(number % ALIVE);
            client.call("PUT", &format!("/v1/agent/check/pass/service:{id}"), "").map(drop)
        }));
        let mut index = 1;
        threads.push(keep_calling(stage, seen, first, move |_, client| {
            let path = format!("/v1/kv/rolling/{first}/?recurse&index={index}&wait={WAIT}");
            let answer = client.call("GET", &path, "")?;
            index = answer.header("x-consul-index").and_then(|index| index.parse().ok()).unwrap_or(1);
            Ok(())
        }));
    }
    assert_eq!(threads.len(), REPLICAS * CLIENTS);
    threads
}

#[test]
fn a_rolling_restart_fails_no_request() {
    let Some(mut stage) = Stage::set() else { return };
    register_all(&stage);
    stage.until("something to watch, wherever one asks", ANSWER_MAX, |servers| {
        let mut client = Strict { servers, current: 0, resets: 0 };
        let all_are_written = (0..REPLICAS)
            .all(|first| client.call("PUT", &format!("/v1/kv/rolling/{first}/first"), "x").is_ok());
        let are_seen = |&server: &SocketAddr| {
            let keys = get(server, "/v1/kv/rolling/?keys")?;
            (keys.as_array()?.len() >= REPLICAS).then_some(())
        };
        (all_are_written && servers.iter().all(|server| are_seen(server).is_some())).then_some(())
    });
    let seen = Arc::new(Seen::default());
    let threads = clients(&stage, &seen);
    for replica in 0..REPLICAS {
        stage.replicas[replica].restart();
        stage.wait_for(REPLICAS, &[0, 1, 2]);
        stage.until("the new one to see all that live", ANSWER_MAX, move |servers| {
            (passing(servers[replica], "web")?.len() == ALIVE).then_some(())
        });
        let before = seen.requests.load(Ordering::Relaxed);
        let requests = Arc::clone(&seen);
        stage.until("requests to go on", ANSWER_MAX, move |_| {
            (requests.requests.load(Ordering::Relaxed) > before + 200).then_some(())
        });
    }
    seen.stop.store(true, Ordering::Relaxed);
    for thread in threads {
        thread.join().expect("it does not panic");
    }
    let failed = seen.failed.lock().unwrap();
    let count = seen.requests.load(Ordering::Relaxed);
    assert!(
        failed.is_empty(),
        "{} of {count} failed, first: {:?}",
        failed.len(),
        &failed[..failed.len().min(5)]
    );
    assert!(count > 600, "only {count} requests");
    let resets = seen.resets.load(Ordering::Relaxed);
    assert!(resets <= RESETS_MAX, "{resets} of {count} connections were reset");
    stage.until("the servers to agree", ANSWER_MAX, |servers| {
        let keys: Vec<_> = servers.iter().map(|&server| get(server, "/v1/kv/rolling/?keys")).collect();
        keys.windows(2).all(|two| two[0].is_some() && two[0] == two[1]).then_some(())
    });
}
