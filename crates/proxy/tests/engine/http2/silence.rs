//! Upstreams that say nothing for long: asked once whether they are there, and no more.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use super::raw::{ACK, DATA, END_HEADERS, END_STREAM, HEADERS, PING, PREFACE, SETTINGS, frame};
use super::upstream::h2_documents;
use crate::support::{Gate, PATIENCE, Proxy, eventually};

/// After so long the proxy asks.
const SILENCE: Duration = Duration::from_millis(100);

/// An upstream that begins every response at once, and goes on with it when it is told to.
struct Silent {
    addr: SocketAddr,
    /// Lets one piece of content go out, and then the end.
    go_on: Gate,
    pings: Arc<AtomicUsize>,
}

impl Silent {
    fn start(answers_pings: bool) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let addr = listener.local_addr().unwrap();
        let (go_on, pings) = (Gate::new(), Arc::new(AtomicUsize::new(0)));
        let (gate, count) = (go_on.clone(), pings.clone());
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let (stream, gate, count) = (stream.unwrap(), gate.clone(), count.clone());
                std::thread::spawn(move || serve(stream, &gate, &count, answers_pings));
            }
        });
        Self { addr, go_on, pings }
    }

    fn pings(&self) -> usize {
        self.pings.load(Ordering::SeqCst)
    }
}

fn serve(mut stream: TcpStream, gate: &Gate, pings: &AtomicUsize, answers_pings: bool) -> io::Result<()> {
    stream.read_exact(&mut [0; PREFACE.len()])?;
    stream.write_all(&frame(SETTINGS, 0, 0, &[]))?;
    loop {
        let mut head = [0; 9];
        stream.read_exact(&mut head)?;
        let [_, a, b, kind, flags, id @ ..] = head;
        let mut payload = vec![0; usize::from(u16::from_be_bytes([a, b]))];
        stream.read_exact(&mut payload)?;
        match kind {
            SETTINGS if flags & ACK == 0 => stream.write_all(&frame(SETTINGS, ACK, 0, &[]))?,
            PING if flags & ACK == 0 => {
                pings.fetch_add(1, Ordering::SeqCst);
                if answers_pings {
                    stream.write_all(&frame(PING, ACK, 0, &payload))?;
                }
            }
            HEADERS => {
                let id = u32::from_be_bytes(id);
                // Index 8 of the static table: 200.
                stream.write_all(&frame(HEADERS, END_HEADERS, id, &[0x88]))?;
                let (mut writer, gate) = (stream.try_clone()?, gate.clone());
                std::thread::spawn(move || {
                    gate.wait();
                    let _ = writer.write_all(&frame(DATA, 0, id, b"news"));
                    gate.wait();
                    let _ = writer.write_all(&frame(DATA, END_STREAM, id, b""));
                });
            }
            _ => {}
        }
    }
}

/// A proxy that waits so long for what it has asked.
fn proxy(upstream: &Silent, ping: Duration) -> Proxy {
    Proxy::gateway_with(&h2_documents(&[upstream.addr], ""), |config| {
        config.timeouts.upstream_silence = SILENCE;
        config.timeouts.upstream_ping = ping;
    })
}

#[test]
fn a_silent_upstream_is_asked_once_in_a_silence() {
    let upstream = Silent::start(true);
    let proxy = proxy(&upstream, PATIENCE);
    let mut client = proxy.client();
    client.send("GET / HTTP/1.1\r\nHost: app\r\n\r\n");
    client.head().unwrap();
    for silence in 1..=2 {
        eventually("it is asked", || upstream.pings() == silence);
        // How long the silence lasts is what the test is about.
        std::thread::sleep(10 * SILENCE);
        assert_eq!(upstream.pings(), silence);
        upstream.go_on.open();
    }
    let rest = client.exactly(b"4\r\nnews\r\n0\r\n\r\n".len()).unwrap();
    assert_eq!(rest, b"4\r\nnews\r\n0\r\n\r\n");
}

#[test]
fn an_upstream_that_does_not_answer_is_given_up() {
    let upstream = Silent::start(false);
    let proxy = proxy(&upstream, Duration::from_millis(300));
    let mut client = proxy.client();
    client.send("GET / HTTP/1.1\r\nHost: app\r\n\r\n");
    client.head().unwrap();
    client.until_any_end();
    assert_eq!(upstream.pings(), 1);
}
