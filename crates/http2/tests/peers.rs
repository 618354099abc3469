//! The connection beside another implementation, in both roles: random calls, windows and cuts, and every message arrives
//! whole on either side.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Request, Response};
use proptest::prelude::*;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
use tokio::task::{LocalSet, spawn_local};
use weir_http1::{BodyDecoder, BodyKind, FieldTable, KnownField, Limits};
use weir_http2::{Bench, Code, Config, Connection, Event, Opened, Slot};

/// One exchange: what is sent there in pieces, what comes back, and whether trailers end it.
#[derive(Clone, Debug)]
struct Exchange {
    request: Vec<usize>,
    response: usize,
    fields: usize,
    announced: bool,
    trailers: bool,
}

/// How the two are set up.
#[derive(Clone, Debug)]
struct Setting {
    exchanges: Vec<Exchange>,
    /// Bytes that are read at a time.
    cut: usize,
    /// Of the other's windows and of this side's.
    their_window: u32,
    window: u32,
}

fn setting() -> impl Strategy<Value = Setting> {
    let size = prop_oneof![Just(0), 1usize..200, 1000usize..70_000];
    let exchange =
        (prop::collection::vec(size.clone(), 0..4), size, 0usize..30, any::<bool>(), any::<bool>());
    let exchange = exchange.prop_map(|(request, response, fields, announced, trailers)| Exchange {
        request,
        response,
        fields,
        announced,
        trailers,
    });
    let window = prop_oneof![1u32..2000, Just(65_535), Just(1 << 20)];
    // Less would be a flood of updates for much content.
    let their_window = window.clone().prop_map(|window| window.max(512));
    let cut = prop_oneof![1usize..30, Just(1000), Just(100_000)];
    (prop::collection::vec(exchange, 1..8), cut, their_window, window)
        .prop_map(|(exchanges, cut, their_window, window)| Setting { exchanges, cut, their_window, window })
}

fn config(setting: &Setting) -> Config {
    Config {
        streams_max: 100,
        stream_window_bytes: setting.window,
        connection_window_bytes: setting.window.max(65_535),
        head_bytes_max: 64 * 1024,
    }
}

/// Content that is different at every place.
fn content(len: usize) -> Vec<u8> {
    (0..len).map(|i| (i % 251) as u8).collect()
}

fn run<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    LocalSet::new().block_on(&runtime, async {
        tokio::time::timeout(Duration::from_secs(60), future).await.expect("it takes too long")
    })
}

/// This side: a connection on a pipe.
struct Side {
    h2: Connection,
    io: DuplexStream,
    bench: Bench,
    cut: usize,
}

impl Side {
    /// Writes all there is, and reads once. None at the end.
    async fn turn(&mut self) -> Option<Vec<Event>> {
        while !self.h2.output().is_empty() {
            let written = self.io.write(self.h2.output()).await.ok()?;
            self.h2.wrote(written);
        }
        let mut events: Vec<Event> = std::iter::from_fn(|| self.h2.next_event()).collect();
        if !events.is_empty() {
            return Some(events);
        }
        let mut buf = vec![0; 17_000 + self.cut];
        let held = self.h2.resume(&mut buf);
        let read = self.io.read(&mut buf[held..held + self.cut]).await.ok()?;
        if read == 0 {
            return None;
        }
        self.h2.receive(&buf[..held + read], 0, &mut self.bench);
        assert!(self.h2.failure().is_none_or(|failure| failure.code == Code::NO_ERROR));
        events.extend(std::iter::from_fn(|| self.h2.next_event()));
        Some(events)
    }
}

/// A message on its way in, and one on its way out.
struct Message {
    raw: Vec<u8>,
    outgoing: Vec<u8>,
    sent: usize,
    trailers: bool,
    begun: bool,
    finished: bool,
}

impl Message {
    fn new(outgoing: Vec<u8>, trailers: bool) -> Self {
        Self { raw: Vec::new(), outgoing, sent: 0, trailers, begun: false, finished: false }
    }

    fn read(&mut self, h2: &mut Connection, slot: Slot) {
        let mut buf = [0; 5000];
        loop {
            let read = h2.read(slot, &mut buf);
            if read == 0 {
                return;
            }
            self.raw.extend_from_slice(&buf[..read]);
        }
    }

    fn send(&mut self, h2: &mut Connection, slot: Slot) {
        if self.finished {
            return;
        }
        self.sent += h2.send(slot, &self.outgoing[self.sent..], !self.trailers);
        if self.sent == self.outgoing.len() && (!self.trailers || !h2.has_sent(slot)) {
            if self.trailers {
                h2.send_trailers(slot, |block| block.field(KnownField::Other, b"x-late", b"yes"));
            }
            self.finished = true;
        }
    }

    /// Head, content, and whether trailers came.
    fn parts(&self) -> (String, Vec<u8>, bool) {
        let at = self.raw.windows(4).position(|four| four == b"\r\n\r\n").expect("a head") + 4;
        let head = String::from_utf8(self.raw[..at].to_vec()).unwrap();
        let mut table = FieldTable::default();
        let line = head.find("\r\n").unwrap() + 2;
        table.parse(&self.raw, line, &Limits::DEFAULT).unwrap();
        let kind = match table.value(&self.raw, KnownField::ContentLength) {
            Some(length) => BodyKind::Length(std::str::from_utf8(length).unwrap().parse().unwrap()),
            None if table.seen().has(KnownField::TransferEncoding) => BodyKind::Chunked,
            None => BodyKind::None,
        };
        let mut body = self.raw[at..].to_vec();
        let mut decoder = BodyDecoder::new(kind, &Limits::DEFAULT);
        let (mut at, mut content) = (0, Vec::new());
        while !decoder.is_done() {
            let step = decoder.decode(&mut body[at..]).unwrap();
            content.extend_from_slice(&body[at..][step.data.clone()]);
            at += step.consumed;
            assert!(step.done || step.consumed > 0, "the message is not whole");
        }
        assert_eq!(at, body.len());
        (head, content, decoder.trailers().is_some())
    }
}

/// This side serves, the other calls.
async fn serve(setting: Setting) {
    let (near, far) = duplex(8192);
    let own = setting.clone();
    let serving = spawn_local(async move {
        let h2 = Connection::server(config(&own), 0);
        let mut side = Side { h2, io: near, bench: Bench::default(), cut: own.cut };
        let mut calls: HashMap<Slot, Message> = HashMap::new();
        let mut served = 0;
        while let Some(events) = side.turn().await {
            for event in events {
                let slot = match event {
                    Event::Opened(slot, opened) => {
                        assert_eq!(opened, Opened::Request);
                        calls.insert(slot, Message::new(Vec::new(), false));
                        slot
                    }
                    Event::Changed(slot) => slot,
                };
                let h2 = &mut side.h2;
                let Some(call) = calls.get_mut(&slot) else { continue };
                call.read(h2, slot);
                if h2.is_over(slot) && !call.begun {
                    let (head, content, late) = call.parts();
                    let number: usize = head.split(['/', ' ']).nth(2).unwrap().parse().unwrap();
                    let exchange = &own.exchanges[number];
                    assert_eq!(content, self::content(exchange.request.iter().sum()), "{head}");
                    assert_eq!(late, exchange.trailers && !exchange.announced, "{head}");
                    assert_eq!(head.matches("\r\nx-").count(), exchange.fields, "{head}");
                    (call.begun, call.trailers) = (true, exchange.trailers);
                    call.outgoing = self::content(exchange.response);
                    h2.respond(slot, false, |block| {
                        block.status(200);
                        block.field(KnownField::Other, b"X-Number", number.to_string().as_bytes());
                    });
                }
                if call.begun {
                    call.send(h2, slot);
                }
                if call.finished && h2.has_sent(slot) {
                    calls.remove(&slot);
                    h2.close(slot, Code::INTERNAL_ERROR);
                    served += 1;
                }
            }
        }
        assert_eq!((served, side.h2.streams()), (own.exchanges.len(), 0));
    });
    let mut builder = h2::client::Builder::new();
    builder.initial_window_size(setting.their_window);
    let (requests, connection) = builder.handshake::<_, Bytes>(far).await.unwrap();
    let driven = spawn_local(connection);
    let calls: Vec<_> = setting
        .exchanges
        .iter()
        .cloned()
        .enumerate()
        .map(|(number, exchange)| {
            let requests = requests.clone();
            spawn_local(async move {
                let mut requests = requests.ready().await.unwrap();
                let mut request = Request::post(format!("http://app/{number}"));
                for field in 0..exchange.fields {
                    request = request.header(format!("x-{field}"), "value".repeat(field));
                }
                let all = content(exchange.request.iter().sum());
                let late = exchange.trailers && !exchange.announced;
                if exchange.announced {
                    request = request.header("content-length", all.len());
                }
                let ends = all.is_empty() && !late;
                let (response, mut stream) = requests.send_request(request.body(()).unwrap(), ends).unwrap();
                let mut at = 0;
                for piece in &exchange.request {
                    let last = at + piece == all.len() && !late;
                    if *piece > 0 {
                        stream
                            .send_data(Bytes::copy_from_slice(&all[at..at + piece]), last && !ends)
                            .unwrap();
                    }
                    at += piece;
                    if last {
                        break;
                    }
                }
                if late {
                    stream
                        .send_trailers(HeaderMap::from_iter([(http::header::ETAG, "x".parse().unwrap())]))
                        .unwrap();
                }
                let response = response.await.unwrap();
                assert_eq!(response.headers()["x-number"], number.to_string());
                let mut body = response.into_body();
                let mut got = Vec::new();
                while let Some(piece) = body.data().await {
                    let piece = piece.unwrap();
                    body.flow_control().release_capacity(piece.len()).unwrap();
                    got.extend_from_slice(&piece);
                }
                assert_eq!(got, content(exchange.response));
                assert_eq!(body.trailers().await.unwrap().is_some(), exchange.trailers);
            })
        })
        .collect();
    for call in calls {
        call.await.unwrap();
    }
    drop(requests);
    driven.await.unwrap().unwrap();
    serving.await.unwrap();
}

/// This side calls, the other serves.
async fn call(setting: Setting) {
    let (near, far) = duplex(8192);
    let own = setting.clone();
    let seen: Rc<RefCell<usize>> = Rc::default();
    let count = seen.clone();
    let serving = spawn_local(async move {
        let mut builder = h2::server::Builder::new();
        builder.initial_window_size(own.their_window);
        let mut connection = builder.handshake::<_, Bytes>(far).await.unwrap();
        while let Some(arrived) = connection.accept().await {
            let Ok((request, mut respond)) = arrived else { return };
            let (own, count) = (own.clone(), count.clone());
            spawn_local(async move {
                let number: usize = request.uri().path()[1..].parse().unwrap();
                let exchange = &own.exchanges[number];
                let mut body = request.into_body();
                let mut got = Vec::new();
                while let Some(piece) = body.data().await {
                    let piece = piece.unwrap();
                    body.flow_control().release_capacity(piece.len()).unwrap();
                    got.extend_from_slice(&piece);
                }
                assert_eq!(got, content(exchange.request.iter().sum()));
                assert_eq!(body.trailers().await.unwrap().is_some(), exchange.trailers);
                let mut response = Response::builder();
                if exchange.announced {
                    response = response.header("content-length", exchange.response);
                }
                let late = exchange.trailers && !exchange.announced;
                let mut stream = respond.send_response(response.body(()).unwrap(), false).unwrap();
                stream.send_data(content(exchange.response).into(), !late).unwrap();
                if late {
                    stream
                        .send_trailers(HeaderMap::from_iter([(http::header::ETAG, "x".parse().unwrap())]))
                        .unwrap();
                }
                *count.borrow_mut() += 1;
            });
        }
    });
    let h2 = Connection::client(config(&setting), 0);
    let mut side = Side { h2, io: near, bench: Bench::default(), cut: setting.cut };
    let mut calls: HashMap<Slot, (usize, Message)> = HashMap::new();
    for (number, exchange) in setting.exchanges.iter().enumerate() {
        let slot = side.h2.call(false, false, |block| {
            block.method(b"POST");
            block.scheme(false);
            block.authority(b"app");
            block.path(format!("/{number}").as_bytes());
            for field in 0..exchange.fields {
                block.field(
                    KnownField::Other,
                    format!("X-{field}").as_bytes(),
                    "value".repeat(field).as_bytes(),
                );
            }
        });
        let mut message = Message::new(content(exchange.request.iter().sum()), exchange.trailers);
        message.send(&mut side.h2, slot.unwrap());
        calls.insert(slot.unwrap(), (number, message));
    }
    while !calls.is_empty() {
        let events = side.turn().await.expect("the other side goes on");
        for event in events {
            let Event::Changed(slot) = event else { panic!("{event:?}") };
            let h2 = &mut side.h2;
            let Some((number, message)) = calls.get_mut(&slot) else { continue };
            assert_eq!(h2.fault(slot), None);
            message.send(h2, slot);
            message.read(h2, slot);
            if h2.is_over(slot) {
                let exchange = &setting.exchanges[*number];
                let (head, content, late) = message.parts();
                assert!(head.starts_with("HTTP/1.1 200 OK\r\n"));
                assert_eq!(content, self::content(exchange.response));
                assert_eq!(late, exchange.trailers && !exchange.announced);
                assert!(message.finished);
                calls.remove(&slot);
                h2.close(slot, Code::CANCEL);
            }
        }
    }
    assert_eq!((*seen.borrow(), side.h2.streams()), (setting.exchanges.len(), 0));
    side.h2.end(Code::NO_ERROR);
    while side.turn().await.is_some() && !side.h2.output().is_empty() {}
    drop(side);
    serving.await.unwrap();
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn it_serves_another_client(setting in setting()) {
        run(serve(setting));
    }

    #[test]
    fn it_calls_another_server(setting in setting()) {
        run(call(setting));
    }
}
