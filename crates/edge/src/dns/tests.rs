//! The server over real sockets.

use std::time::Duration;

use domain::base::iana::{Rcode, Rtype};
use domain::base::{Message, MessageBuilder, Name};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;
use weir_control::Settings;
use weir_store::Memory;

use super::answerer::Step;
use super::compose::Transport;
use super::table::Table;
use super::tcp::Limits;
use super::*;

const SOON: Duration = Duration::from_secs(60);

fn question(id: u16, name: &str, rtype: Rtype) -> Vec<u8> {
    let mut builder = MessageBuilder::new_vec();
    builder.header_mut().set_id(id);
    builder.header_mut().set_rd(true);
    let mut builder = builder.question();
    builder.push((&Name::<Vec<u8>>::vec_from_str(name).unwrap(), rtype)).unwrap();
    builder.finish()
}

fn framed(message: &[u8]) -> Vec<u8> {
    [&(message.len() as u16).to_be_bytes(), message].concat()
}

/// The next message of a stream; `None` when it has ended.
async fn next(stream: &mut TcpStream) -> Option<Message<Vec<u8>>> {
    let len = timeout(SOON, stream.read_u16()).await.expect("an answer in time").ok()?;
    let mut bytes = vec![0; usize::from(len)];
    stream.read_exact(&mut bytes).await.unwrap();
    Some(Message::from_octets(bytes).unwrap())
}

/// A server of the made-up registry over TCP.
async fn over_tcp(limits: Limits) -> (SocketAddr, Arc<DnsStats>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let stats = DnsStats::new(&[]);
    let zone = Zone::new(DnsConfig::default(), "dc1", address.ip());
    let recursors = Recursors::new(&[], None, Arc::clone(&stats));
    let answerer = Arc::new(Answerer::new(Arc::new(Table::sample()), zone, recursors, Arc::clone(&stats)));
    tokio::spawn(tcp::serve(listener, answerer, limits, std::future::pending()));
    (address, stats)
}

fn shown(stats: &DnsStats) -> String {
    let mut text = String::new();
    stats.render(&mut text);
    text
}

#[tokio::test]
async fn many_queries_on_one_connection() {
    let (address, _) = over_tcp(Limits::default()).await;
    let mut stream = TcpStream::connect(address).await.unwrap();
    // All at once, more than may be under way.
    let queries: Vec<u8> =
        (0..100).flat_map(|id| framed(&question(id, "many.service.consul", Rtype::SRV))).collect();
    stream.write_all(&queries).await.unwrap();
    let mut seen: Vec<u16> = Vec::new();
    for _ in 0..100 {
        let answer = next(&mut stream).await.unwrap();
        assert_eq!((answer.header_counts().ancount(), answer.header().tc()), (60, false));
        seen.push(answer.header().id());
    }
    seen.sort_unstable();
    assert_eq!(seen, (0..100).collect::<Vec<_>>());
    // Byte by byte.
    for byte in framed(&question(7, "web.service.consul", Rtype::A)) {
        stream.write_all(&[byte]).await.unwrap();
        stream.flush().await.unwrap();
    }
    assert_eq!(next(&mut stream).await.unwrap().header_counts().ancount(), 1);
    // A refusal keeps the connection.
    stream.write_all(&framed(&[0; 12])).await.unwrap();
    assert_eq!(next(&mut stream).await.unwrap().header().rcode(), Rcode::FORMERR);
    // A response gets nothing, and what follows its own.
    let mut response = question(8, "web.service.consul", Rtype::A);
    response[2] |= 0x80;
    let both = [framed(&response), framed(&question(9, "web.service.consul", Rtype::A))].concat();
    stream.write_all(&both).await.unwrap();
    assert_eq!(next(&mut stream).await.unwrap().header().id(), 9);
}

#[tokio::test]
async fn broken_framing_ends_the_connection() {
    let (address, _) = over_tcp(Limits::default()).await;
    for broken in [&[0, 0][..], &[0, 11], &[0x10, 0x01], &[0xff, 0xff]] {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(broken).await.unwrap();
        assert!(next(&mut stream).await.is_none(), "{broken:?}");
    }
    // Half a message and no more to come.
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(&framed(&question(1, "web.service.consul", Rtype::A))[..20]).await.unwrap();
    stream.shutdown().await.unwrap();
    assert!(next(&mut stream).await.is_none());
    // A client that has asked all it wanted is still answered.
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(&framed(&question(1, "web.service.consul", Rtype::A))).await.unwrap();
    stream.shutdown().await.unwrap();
    assert!(next(&mut stream).await.is_some());
}

#[tokio::test]
async fn idle_connections_end_and_dripping_ones_too() {
    let (address, _) = over_tcp(Limits { idle_max: Duration::from_millis(200), ..Limits::default() }).await;
    let mut idle = TcpStream::connect(address).await.unwrap();
    assert!(next(&mut idle).await.is_none());
    let mut dripping = TcpStream::connect(address).await.unwrap();
    let ended = async {
        for byte in framed(&question(1, "web.service.consul", Rtype::A)) {
            if dripping.write_all(&[byte]).await.is_err() {
                return true;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        next(&mut dripping).await.is_none()
    };
    assert!(timeout(SOON, ended).await.unwrap(), "a query that takes 1.9 s is not waited for");
}

#[tokio::test]
async fn one_connection_too_many_is_closed() {
    let (address, stats) = over_tcp(Limits { connections_max: 2, ..Limits::default() }).await;
    let ask = async |stream: &mut TcpStream| {
        let _ = stream.write_all(&framed(&question(1, "web.service.consul", Rtype::A))).await;
        next(stream).await.is_some()
    };
    let (mut a, mut b) =
        (TcpStream::connect(address).await.unwrap(), TcpStream::connect(address).await.unwrap());
    assert!(ask(&mut a).await && ask(&mut b).await);
    let mut c = TcpStream::connect(address).await.unwrap();
    assert!(!ask(&mut c).await);
    assert!(shown(&stats).contains("weir_dns_tcp_connections 2\n"));
    assert!(shown(&stats).contains("weir_dns_tcp_connections_refused_total 1\n"));
    drop(a);
    let again = async {
        loop {
            let mut stream = TcpStream::connect(address).await.unwrap();
            if ask(&mut stream).await {
                return;
            }
        }
    };
    timeout(SOON, again).await.expect("a place that was given up is given away");
}

#[tokio::test]
async fn a_whole_server_over_both_transports() {
    let control = Control::start(Arc::new(Memory::new()), Settings::default()).await.unwrap();
    let server = DnsServer::bind("127.0.0.1:0".parse().unwrap(), DnsConfig::default()).await.unwrap();
    let (address, stats) = (server.address(), server.beside().stats);
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let serving = tokio::spawn(server.serve(control, async move { drop(stopped.await) }));
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    socket.connect(address).await.unwrap();
    let mut response = question(1, "weir.node.consul", Rtype::A);
    response[2] |= 0x80;
    // None of these is answered.
    for packet in [&b""[..], b"x", &response] {
        socket.send(packet).await.unwrap();
    }
    socket.send(&question(2, "weir.node.consul", Rtype::A)).await.unwrap();
    let mut buffer = [0; 512];
    let len = timeout(SOON, socket.recv(&mut buffer)).await.unwrap().unwrap();
    let answer = Message::from_slice(&buffer[..len]).unwrap();
    assert_eq!((answer.header().id(), answer.header_counts().ancount()), (2, 1));
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(&framed(&question(3, "consul.service.consul", Rtype::A))).await.unwrap();
    assert_eq!(next(&mut stream).await.unwrap().header_counts().ancount(), 1);
    let text = shown(&stats);
    assert!(text.contains("weir_dns_queries_total{type=\"A\",rcode=\"NOERROR\"} 2\n"), "{text}");
    assert!(text.contains("weir_dns_ignored_total{reason=\"response\"} 1\n"), "{text}");
    stop.send(()).unwrap();
    timeout(SOON, serving).await.expect("it ends").unwrap();
    assert!(TcpStream::connect(address).await.is_err(), "it still listens");
}

#[tokio::test]
async fn what_cannot_start_says_why() {
    let refusal = async |address: &str, config: DnsConfig| {
        DnsServer::bind(address.parse().unwrap(), config).await.unwrap_err().to_string()
    };
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let said = refusal(&address, DnsConfig::default()).await;
    assert!(said.starts_with(&format!("cannot listen on {address} (tcp)")), "{said}");
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let itself = DnsConfig { recursors: vec![free.into()], ..DnsConfig::default() };
    let said = refusal(&free.to_string(), itself).await;
    assert_eq!(said, format!("recursor {free} is this server itself: it would ask itself for ever"));
    let many = DnsConfig {
        recursors: vec![Target::Address("10.0.0.1:53".parse().unwrap()); 9],
        ..DnsConfig::default()
    };
    assert_eq!(refusal("127.0.0.1:0", many).await, "9 recursors, expected at most 8");
}

#[test]
fn which_recursors_are_the_server_itself() {
    let check = |own: &str, recursor: &str, expected| {
        assert_eq!(is_itself(own.parse().unwrap(), recursor.parse().unwrap()), expected, "{own} {recursor}");
    };
    check("127.0.0.1:53", "127.0.0.1:53", true);
    check("127.0.0.1:53", "[::ffff:127.0.0.1]:53", true);
    check("127.0.0.1:53", "0.0.0.0:53", true);
    check("0.0.0.0:53", "127.0.0.1:53", true);
    check("[::]:53", "127.0.0.53:53", true);
    check("127.0.0.1:8600", "127.0.0.1:53", false);
    check("127.0.0.1:53", "127.0.0.53:53", false);
    check("0.0.0.0:53", "192.0.2.1:53", false);
}

#[tokio::test]
async fn others_are_asked_while_they_may_be() {
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let address = socket.local_addr().unwrap();
    let targets = [Target::from(address)];
    let stats = DnsStats::new(&targets);
    let recursors = Recursors::new(&targets, None, Arc::clone(&stats));
    let zone = Zone::new(DnsConfig::default(), "dc1", address.ip());
    let may = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let asked = Arc::clone(&may);
    let relay = Relay::while_it(move || match asked.load(std::sync::atomic::Ordering::Relaxed) {
        true => Ok(()),
        false => Err("another datacenter".to_owned()),
    });
    let answerer = Answerer::new(Arc::new(Table::sample()), zone, recursors, stats).relaying(Some(relay));
    let question = question(1, "web.service.consul", Rtype::A);
    let begin = || answerer.begin(&question, Transport::Udp, std::time::Instant::now());
    let Step::Reply(bytes) = begin() else { panic!("they are asked") };
    let header = Message::from_octets(bytes).unwrap().header();
    assert_eq!(
        (header.rcode(), header.ra()),
        (Rcode::SERVFAIL, false),
        "whether its servers recurse it cannot say"
    );
    may.store(true, std::sync::atomic::Ordering::Relaxed);
    assert!(matches!(begin(), Step::Pending(_)));
}
