//! WebSocket (RFC 6455) through the proxy: frames pass untouched, and only after 101.

use std::io;

use crate::support::*;

const GET: &str = "GET /chat HTTP/1.1\r\nHost: app\r\nConnection: keep-alive, Upgrade\r\nUpgrade: websocket\r\n\
    Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
const SWITCH: &str = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
    Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";

const CONTINUATION: u8 = 0;
const TEXT: u8 = 1;
const BINARY: u8 = 2;
const CLOSE: u8 = 8;
const PING: u8 = 9;
const PONG: u8 = 10;

#[derive(Clone, Debug, PartialEq, Eq)]
struct Frame {
    /// FIN, reserved bits and opcode.
    first: u8,
    payload: Vec<u8>,
}

fn frame(fin: bool, opcode: u8, payload: &[u8]) -> Frame {
    Frame { first: if fin { 0x80 | opcode } else { opcode }, payload: payload.to_vec() }
}

impl Frame {
    fn write(&self, mask: Option<[u8; 4]>) -> Vec<u8> {
        let masked = if mask.is_some() { 0x80 } else { 0 };
        let mut out = vec![self.first];
        match self.payload.len() {
            n @ 0..126 => out.push(masked | n as u8),
            n @ 126..65_536 => {
                out.push(masked | 126);
                out.extend((n as u16).to_be_bytes());
            }
            n => {
                out.push(masked | 127);
                out.extend((n as u64).to_be_bytes());
            }
        }
        match mask {
            None => out.extend_from_slice(&self.payload),
            Some(mask) => {
                out.extend(mask);
                out.extend(self.payload.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask));
            }
        }
        out
    }

    /// Reads one; masked or not as must be.
    fn read(mut exactly: impl FnMut(usize) -> io::Result<Vec<u8>>, masked: bool) -> io::Result<Self> {
        let start = exactly(2)?;
        assert_eq!(start[1] & 0x80 != 0, masked, "the mask bit");
        let length = match start[1] & 0x7f {
            126 => u64::from(u16::from_be_bytes(exactly(2)?.try_into().unwrap())),
            127 => u64::from_be_bytes(exactly(8)?.try_into().unwrap()),
            n => u64::from(n),
        };
        let mask = if masked { exactly(4)? } else { vec![0] };
        let mut payload = exactly(usize::try_from(length).unwrap())?;
        payload.iter_mut().zip(mask.iter().cycle()).for_each(|(byte, mask)| *byte ^= mask);
        Ok(Self { first: start[0], payload })
    }
}

/// Sends each frame back as it is, a ping as a pong, until it is told to close, which it answers.
fn echo(conn: &mut Served) -> io::Result<()> {
    loop {
        let mut got = Frame::read(|n| conn.exactly(n), true)?;
        let closes = got.first & 0x0f == CLOSE;
        if got.first & 0x0f == PING {
            got.first = 0x80 | PONG;
        }
        conn.write(got.write(None))?;
        if closes {
            return Ok(());
        }
    }
}

fn echo_server() -> Upstream {
    Upstream::start(|conn| {
        conn.head()?;
        conn.write(SWITCH)?;
        echo(conn)
    })
}

fn opened(proxy: &Proxy) -> Client {
    let mut client = proxy.client();
    client.send(GET);
    let head = client.head().unwrap();
    assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
    client
}

fn read(client: &mut Client) -> Frame {
    Frame::read(|n| client.exactly(n), false).unwrap()
}

fn bytes(length: usize) -> Vec<u8> {
    (0..length).map(|i| (i * 31 % 251) as u8).collect()
}

#[test]
fn payloads_of_every_size_pass_untouched() {
    let upstream = echo_server();
    let proxy = Proxy::to(&[upstream.addr]);
    let mut client = opened(&proxy);
    for length in [0, 1, 124, 125, 126, 127, 128, 65_534, 65_535, 65_536, 65_537, 1_000_003] {
        for opcode in [TEXT, BINARY] {
            let sent = frame(true, opcode, &bytes(length));
            client.send(sent.write(Some([0x37, 0xfa, 0x21, 0x3d])));
            assert_eq!(read(&mut client), sent, "{length} bytes");
        }
    }
}

#[test]
fn fragments_control_frames_and_what_no_standard_knows_pass_in_order() {
    let upstream = echo_server();
    let proxy = Proxy::to(&[upstream.addr]);
    let mut client = opened(&proxy);
    let frames = [
        frame(false, TEXT, b"Hel"),
        frame(true, PING, b"between"),
        frame(false, CONTINUATION, b""),
        frame(false, CONTINUATION, &bytes(70_000)),
        frame(true, PONG, b"unasked"),
        frame(true, CONTINUATION, b"lo"),
        // Reserved bits and opcodes are for the two ends to judge.
        Frame { first: 0xf3, payload: b"?".to_vec() },
        frame(true, TEXT, &[0xff, 0xfe]),
    ];
    for sent in &frames {
        // In the smallest pieces.
        let raw = sent.write(Some([1, 2, 3, 4]));
        let (head, rest) = raw.split_at(raw.len().min(8));
        for byte in head {
            client.send([*byte]);
        }
        client.send(rest);
    }
    for sent in frames {
        let expected = if sent.first == 0x80 | PING { frame(true, PONG, &sent.payload) } else { sent };
        assert_eq!(read(&mut client), expected);
    }
}

#[test]
fn close_codes_pass_and_then_the_connection_ends() {
    let upstream = echo_server();
    let proxy = Proxy::to(&[upstream.addr]);
    for payload in [vec![], vec![0x03, 0xe8], [&[0x0f, 0xa0][..], b"going"].concat(), vec![0x03]] {
        let mut client = opened(&proxy);
        let close = frame(true, CLOSE, &payload);
        client.send(close.write(Some([9; 4])));
        assert_eq!(read(&mut client), close);
        assert!(client.is_closed());
    }
    let state = in_flight(&proxy);
    eventually("nothing is in flight", || state() == 0);
}

#[test]
fn what_follows_the_heads_at_once_is_not_lost() {
    let greeting = frame(true, TEXT, &bytes(100_000));
    let early = frame(true, BINARY, &bytes(20_000));
    let sent = greeting.clone();
    let upstream = Upstream::start(move |conn| {
        conn.head()?;
        // In one piece with the head.
        conn.write([SWITCH.as_bytes(), &sent.write(None)].concat())?;
        echo(conn)
    });
    let proxy = Proxy::to(&[upstream.addr]);
    let mut client = proxy.client();
    client.send([GET.as_bytes(), &early.write(Some([5; 4]))].concat());
    assert!(client.head().unwrap().starts_with("HTTP/1.1 101 "));
    assert_eq!(read(&mut client), greeting);
    assert_eq!(read(&mut client), early);
}

#[test]
fn a_refused_upgrade_is_an_ordinary_response() {
    let upstream = Upstream::start(|conn| {
        conn.head()?;
        conn.write(
            "HTTP/1.1 426 Upgrade Required\r\nSec-WebSocket-Version: 8\r\nContent-Length: 4\r\n\r\nno!\n",
        )?;
        conn.head()?;
        conn.ok(b"still here")
    });
    let proxy = Proxy::to(&[upstream.addr]);
    let mut client = proxy.client();
    let refused = client.send(GET).response();
    assert_eq!((refused.status, refused.text().as_str()), (426, "no!\n"));
    assert_eq!(client.get("/").text(), "still here");
    assert_eq!(upstream.connections(), 1);
    let state = in_flight(&proxy);
    eventually("nothing is in flight", || state() == 0);
}

/// Bytes that are taken for frames by the client and for a request by a proxy that opens tunnels too early.
#[test]
fn without_101_there_is_no_tunnel() {
    let upstream = Upstream::start(|conn| {
        loop {
            let head = conn.head()?;
            assert!(!head.starts_with("GET /secret"), "smuggled");
            conn.ok(b"200, not 101")?;
        }
    });
    let proxy = Proxy::to(&[upstream.addr]);
    let mut client = proxy.client();
    let frame = frame(true, TEXT, b"x").write(Some([0; 4]));
    client.send(GET);
    assert_eq!(client.response().text(), "200, not 101");
    let _ = client.try_send(frame);
    let _ = client.try_send("GET /secret HTTP/1.1\r\nHost: app\r\n\r\n");
    let answer = String::from_utf8(client.until_any_end()).unwrap();
    assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
    assert!(!String::from_utf8_lossy(&upstream.received()).contains("/secret"));
}

#[test]
fn a_101_that_nobody_asked_for_is_no_tunnel() {
    let upstream = Upstream::start(|conn| {
        conn.head()?;
        conn.write(SWITCH)?;
        conn.until_closed();
        Ok(())
    });
    let proxy = Proxy::to(&[upstream.addr]);
    assert_eq!(proxy.client().get("/").status, 502);
    let mut client = proxy.client();
    // Another protocol than the one asked for.
    client.send(GET.replace("Upgrade: websocket", "Upgrade: other"));
    assert_eq!(client.response().status, 502);
}

#[test]
fn a_tunnel_is_in_flight_at_its_endpoint_while_it_lives() {
    let (one, two) = (echo_server(), echo_server());
    let mut proxy = Proxy::gateway(&documents(&[one.addr, two.addr], "balance: {policy: least_request}"));
    let clients: Vec<_> = (0..8).map(|_| opened(&proxy)).collect();
    let state = in_flight(&proxy);
    assert_eq!(state(), 8);
    assert_eq!((one.connections(), two.connections()), (4, 4), "the balancer sees tunnels");
    // A swap does not forget them.
    proxy.publish(&documents(&[one.addr, two.addr], ""));
    let state = in_flight(&proxy);
    assert_eq!(state(), 8);
    drop(clients);
    eventually("all are counted out", || state() == 0);
}

/// Requests and tunnels in flight at all endpoints of the one service.
fn in_flight(proxy: &Proxy) -> impl Fn() -> u32 + use<> {
    let snapshot = proxy.shared.snapshot.load_full();
    move || {
        let endpoints = snapshot.upstreams().iter().flat_map(|upstream| &upstream.endpoints);
        endpoints.map(|endpoint| endpoint.state.in_flight()).sum()
    }
}
