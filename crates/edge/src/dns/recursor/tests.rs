//! Recursors that answer, that do not, that answer something else, and that ask back.

use std::sync::atomic::AtomicUsize;

use domain::base::Name;
use domain::base::iana::Opcode;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, UdpSocket};

use super::*;
use crate::dns::query::{Decoded, decode};

fn query(name: &str, edns: Option<u16>) -> Query {
    let edns = edns.map(|udp_bytes| Edns { udp_bytes, dnssec_ok: false });
    let head =
        Head { id: 77, opcode: Opcode::QUERY, recursion_desired: true, checking_disabled: false, edns };
    Query { head, name: Name::bytes_from_str(name).unwrap(), rtype: Rtype::A, class: Class::IN }
}

/// The answer to a packet: `count` addresses and a code.
fn answer(packet: &[u8], rcode: Rcode, count: u8) -> Vec<u8> {
    let message = Message::from_slice(packet).unwrap();
    let mut builder = MessageBuilder::new_vec().start_answer(message, rcode).unwrap();
    builder.header_mut().set_ra(true);
    let name = message.sole_question().unwrap().into_qname();
    for n in 0..count {
        builder.push((&name, 60, domain::rdata::A::from_octets(192, 0, 2, n))).unwrap();
    }
    builder.finish()
}

/// A server that does this with every packet, and how many it has seen.
async fn server(react: impl Fn(&[u8]) -> Vec<Vec<u8>> + Send + 'static) -> (SocketAddr, Arc<AtomicUsize>) {
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let address = socket.local_addr().unwrap();
    let seen = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&seen);
    tokio::spawn(async move {
        let mut buffer = [0; 2048];
        loop {
            let (len, client) = socket.recv_from(&mut buffer).await.unwrap();
            count.fetch_add(1, Ordering::Relaxed);
            for packet in react(&buffer[..len]) {
                socket.send_to(&packet, client).await.unwrap();
            }
        }
    });
    (address, seen)
}

fn recursors(addresses: &[SocketAddr]) -> Recursors {
    let targets: Vec<_> = addresses.iter().copied().map(Target::from).collect();
    Recursors::new(&targets, None, DnsStats::new(&targets))
}

/// Where the recursor of the tests is by its name.
static MOVED_TO: Mutex<Vec<SocketAddr>> = Mutex::new(Vec::new());

#[allow(clippy::needless_pass_by_value, reason = "as lookups are")]
fn looked_up(name: String) -> target::Found {
    assert_eq!(name, "dns.example:8600");
    let found = MOVED_TO.lock().unwrap().clone();
    let error = || std::io::Error::other("nobody knows");
    Box::pin(async move { if found.is_empty() { Err(error()) } else { Ok(found) } })
}

#[tokio::test]
async fn a_recursor_that_is_named_is_found_where_it_has_moved_to() {
    let recursors = named(looked_up);
    let asked = async || recursors.forward(&query("example.com", None), Transport::Udp).await;
    assert!(asked().await.is_none(), "its name is not known at first");
    let answers = |packet: &[u8]| vec![answer(packet, Rcode::NOERROR, 1)];
    let (first, seen) = server(answers).await;
    *MOVED_TO.lock().unwrap() = vec![first];
    for _ in 0..2 {
        assert!(asked().await.is_some());
    }
    assert_eq!(seen.load(Ordering::Relaxed), 2);
    // It moves: where it was somebody refuses, which is noticed at once.
    let (gone, _) = server(|packet| vec![answer(packet, Rcode::REFUSED, 0)]).await;
    let (second, seen) = server(answers).await;
    recursors.list[0].place.failed(None);
    *MOVED_TO.lock().unwrap() = vec![gone];
    assert!(asked().await.is_none());
    *MOVED_TO.lock().unwrap() = vec![second];
    assert!(asked().await.is_some());
    assert_eq!(seen.load(Ordering::Relaxed), 1);
}

/// One recursor, by a name that is looked up in this way.
fn named(by: fn(String) -> target::Found) -> Recursors {
    let targets = [Target::Name("dns.example:8600".to_owned())];
    let recursors = Recursors::new(&targets, None, DnsStats::new(&targets));
    Recursors { lookup: Lookup { by, rest: Duration::ZERO }, ..recursors }
}

#[tokio::test]
async fn a_dead_address_beside_a_live_one_does_not_end_it() {
    static BOTH: Mutex<Vec<SocketAddr>> = Mutex::new(Vec::new());
    // The other way round each time, as names of several addresses are told.
    fn by(_: String) -> target::Found {
        let mut both = BOTH.lock().unwrap();
        both.reverse();
        let found = both.clone();
        Box::pin(async move { Ok(found) })
    }
    let dead = UdpSocket::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let (live, _) = server(|packet| vec![answer(packet, Rcode::NOERROR, 1)]).await;
    *BOTH.lock().unwrap() = vec![live, dead];
    let recursors = named(by);
    let mut of_v6 = query("example.com", None);
    of_v6.rtype = Rtype::AAAA;
    let of_v4 = query("example.com", None);
    for _ in 0..4 {
        let both = tokio::join!(
            recursors.forward(&of_v4, Transport::Udp),
            recursors.forward(&of_v6, Transport::Udp)
        );
        assert!(both.0.is_some() && both.1.is_some());
    }
}

#[test]
fn of_addresses_asked_at_one_time_one_moves_on() {
    let place = Place::new(Target::Name("dns.example:8600".to_owned()));
    let [a, b]: [SocketAddr; 2] = ["192.0.2.1:53".parse().unwrap(), "192.0.2.2:53".parse().unwrap()];
    place.know(vec![a, b]);
    assert!(!place.has_another(Some(a)) && !place.has_another(None));
    place.failed(Some(a));
    place.failed(Some(a));
    place.failed(None);
    assert!(place.has_another(Some(a)) && !place.has_another(Some(b)));
    place.know(vec![b, a]);
    assert!(!place.has_another(Some(b)), "the one in use stays in use");
}

#[tokio::test]
async fn a_lookup_that_takes_longer_than_a_query_is_of_use_to_the_next() {
    static CALLS: AtomicUsize = AtomicUsize::new(0);
    static GO: tokio::sync::Notify = tokio::sync::Notify::const_new();
    fn by(_: String) -> target::Found {
        CALLS.fetch_add(1, Ordering::Relaxed);
        Box::pin(async {
            GO.notified().await;
            Ok(vec!["192.0.2.1:53".parse().unwrap()])
        })
    }
    let place = Place::new(Target::Name("dns.example:8600".to_owned()));
    let lookup = Lookup { by, rest: Duration::ZERO };
    for _ in 0..2 {
        assert!(timeout(Duration::from_millis(20), place.address(lookup, None)).await.is_err());
        place.failed(None);
    }
    GO.notify_one();
    let found = timeout(RECURSION_TIMEOUT, place.address(lookup, None)).await.unwrap().unwrap();
    assert_eq!((found.to_string().as_str(), CALLS.load(Ordering::Relaxed)), ("192.0.2.1:53", 1));
    // What is known is asked while it is looked up anew.
    place.failed(Some(found));
    assert!(timeout(RECURSION_TIMEOUT, place.address(lookup, None)).await.unwrap().is_ok());
    assert_eq!(CALLS.load(Ordering::Relaxed), 2);
}

fn counted(recursors: &Recursors, address: SocketAddr) -> bool {
    let mut text = String::new();
    recursors.stats.render(&mut text);
    text.contains(&format!("weir_dns_recursor_failures_total{{recursor=\"{address}\"}} 1\n"))
}

#[tokio::test]
async fn an_answer_is_the_clients_own() {
    let (address, _) = server(|packet| {
        let Decoded::Query(query) = decode(packet) else { panic!("not a query") };
        assert!(query.head.recursion_desired);
        assert_eq!(query.head.edns.map(|edns| edns.udp_bytes), Some(1232));
        let wrong = [&[packet[0] ^ 1], &packet[1..]].concat();
        let mut lower = answer(packet, Rcode::NOERROR, 2);
        lower[13..17].make_ascii_lowercase();
        // Somebody who guesses is passed over.
        vec![answer(&wrong, Rcode::NXDOMAIN, 0), packet.to_vec(), vec![1, 2, 3], lower]
    })
    .await;
    let reply =
        recursors(&[address]).forward(&query("ExAmple.com", Some(1232)), Transport::Udp).await.unwrap();
    let message = Message::from_slice(&reply.bytes).unwrap();
    assert_eq!((message.header().id(), reply.rcode), (77, Rcode::NOERROR));
    assert_eq!(message.sole_question().unwrap().qname().to_string(), "ExAmple.com");
    assert_eq!(message.header_counts().ancount(), 2);
}

#[tokio::test]
async fn the_next_one_is_asked_and_the_failed_one_rests() {
    let (failing, failed) = server(|packet| vec![answer(packet, Rcode::SERVFAIL, 0)]).await;
    let (refusing, refused) = server(|packet| vec![answer(packet, Rcode::REFUSED, 0)]).await;
    let (good, _) = server(|packet| vec![answer(packet, Rcode::NXDOMAIN, 0)]).await;
    let recursors = recursors(&[failing, refusing, good]);
    for _ in 0..3 {
        let reply = recursors.forward(&query("a.example", None), Transport::Udp).await.unwrap();
        assert_eq!(reply.rcode, Rcode::NXDOMAIN, "that there is no such name is an answer");
    }
    assert_eq!((failed.load(Ordering::Relaxed), refused.load(Ordering::Relaxed)), (1, 1));
    assert!(counted(&recursors, failing) && counted(&recursors, refusing));
}

#[tokio::test]
async fn one_that_is_silent_costs_its_time_once() {
    let silent = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let (good, _) = server(|packet| vec![answer(packet, Rcode::NOERROR, 1)]).await;
    let recursors = recursors(&[silent.local_addr().unwrap(), good]);
    let began = Instant::now();
    for _ in 0..3 {
        assert!(recursors.forward(&query("a.example", None), Transport::Udp).await.is_some());
    }
    assert!(began.elapsed() >= RECURSION_TIMEOUT, "{:?}", began.elapsed());
    // A packet may get lost: it was sent once more. The queries that followed were not sent to it at all.
    let mut buffer = [0; 512];
    for _ in 0..2 {
        silent.try_recv(&mut buffer).unwrap();
    }
    assert!(silent.try_recv(&mut buffer).is_err());
}

#[tokio::test]
async fn nobody_answers() {
    let closed = "127.0.0.1:1".parse().unwrap();
    assert!(recursors(&[closed]).forward(&query("a.example", None), Transport::Udp).await.is_none());
    assert!(recursors(&[closed]).forward(&query("a.example", None), Transport::Tcp).await.is_none());
}

#[tokio::test]
async fn what_is_too_long_for_the_client_is_cut() {
    let (address, _) = server(|packet| vec![answer(packet, Rcode::NOERROR, 40)]).await;
    let reply = recursors(&[address]).forward(&query("a.example", None), Transport::Udp).await.unwrap();
    let message = Message::from_slice(&reply.bytes).unwrap();
    assert!(message.header().tc() && reply.bytes.len() <= 512);
    assert_eq!(message.header_counts().ancount(), 0);
    assert_eq!(message.sole_question().unwrap().qname().to_string(), "a.example");
}

#[tokio::test]
async fn who_comes_by_tcp_is_answered_by_tcp() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let len = stream.read_u16().await.unwrap();
        let mut packet = vec![0; usize::from(len)];
        stream.read_exact(&mut packet).await.unwrap();
        let answer = answer(&packet, Rcode::NOERROR, 200);
        stream.write_u16(answer.len() as u16).await.unwrap();
        stream.write_all(&answer).await.unwrap();
    });
    let reply = recursors(&[address]).forward(&query("a.example", None), Transport::Tcp).await.unwrap();
    assert_eq!(Message::from_slice(&reply.bytes).unwrap().header_counts().ancount(), 200);
}

#[tokio::test]
async fn equal_questions_are_asked_once_at_a_time() {
    let (address, seen) = server(|packet| vec![answer(packet, Rcode::NOERROR, 1)]).await;
    let recursors = recursors(&[address]);
    let (upper, lower) = (query("A.example", None), query("a.example", None));
    let (a, b) =
        tokio::join!(recursors.forward(&upper, Transport::Udp), recursors.forward(&lower, Transport::Udp));
    assert_eq!(seen.load(Ordering::Relaxed), 1);
    let name = |reply: Option<Reply>| {
        let reply = reply.unwrap();
        Message::from_slice(&reply.bytes).unwrap().sole_question().unwrap().qname().to_string()
    };
    assert_eq!((name(a), name(b)), ("A.example".to_owned(), "a.example".to_owned()));
    assert!(recursors.under_way.lock().unwrap().is_empty());
    assert!(recursors.forward(&lower, Transport::Udp).await.is_some());
    assert_eq!(seen.load(Ordering::Relaxed), 2, "the next one is asked anew");
}

#[tokio::test]
async fn a_recursor_that_asks_back_waits_for_itself() {
    let socket = Arc::new(UdpSocket::bind("127.0.0.1:0").await.unwrap());
    let recursors = Arc::new(recursors(&[socket.local_addr().unwrap()]));
    let seen = Arc::new(AtomicUsize::new(0));
    let (asked_back, count) = (Arc::clone(&recursors), Arc::clone(&seen));
    tokio::spawn(async move {
        let mut buffer = [0; 512];
        loop {
            let (len, _) = socket.recv_from(&mut buffer).await.unwrap();
            count.fetch_add(1, Ordering::Relaxed);
            let Decoded::Query(query) = decode(&buffer[..len]) else { panic!("not a query") };
            let asked_back = Arc::clone(&asked_back);
            tokio::spawn(async move { asked_back.forward(&query, Transport::Udp).await.map(drop) });
        }
    });
    assert!(recursors.forward(&query("a.example", None), Transport::Udp).await.is_none());
    assert_eq!(seen.load(Ordering::Relaxed), 2, "the packet and its repetition, and nothing went round");
}

#[tokio::test]
async fn where_an_alias_leads_is_taken_over() {
    let (address, _) = server(|packet| {
        let message = Message::from_slice(packet).unwrap();
        let mut builder = MessageBuilder::new_vec().start_answer(message, Rcode::NOERROR).unwrap();
        let next: Name<Vec<u8>> = Name::vec_from_str("next.example").unwrap();
        let name = message.sole_question().unwrap().into_qname();
        builder.push((&name, 5, domain::rdata::Cname::new(&next))).unwrap();
        builder.push((&next, 5, domain::rdata::A::from_octets(192, 0, 2, 1))).unwrap();
        builder.push((&next, 5, domain::rdata::Ns::new(&next))).unwrap();
        vec![builder.finish()]
    })
    .await;
    let records = recursors(&[address]).records(&Name::bytes_from_str("a.example").unwrap(), Rtype::A).await;
    let told: Vec<String> =
        records.iter().map(|record| format!("{} {}", record.owner(), record.data())).collect();
    assert_eq!(told, ["a.example next.example.", "next.example 192.0.2.1"]);
}

#[tokio::test]
async fn an_outage_is_none_where_somebody_is_heard_and_says_who_is_not() {
    let dead = UdpSocket::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let (failing, _) = server(|packet| vec![answer(packet, Rcode::SERVFAIL, 0)]).await;
    let asked = async |recursors: &Recursors| {
        recursors.forward(&query("example.com", None), Transport::Udp).await.is_some()
    };
    let one = recursors(&[dead]);
    assert!(!asked(&one).await && one.is_out.load(Ordering::Relaxed));
    let problem = one.problem();
    assert!(problem.contains(&format!("{dead}: ")) && problem.contains("refused"), "{problem}");
    // It comes to be.
    let socket = UdpSocket::bind(dead).await.unwrap();
    tokio::spawn(async move {
        let mut buffer = [0; 2048];
        let (len, client) = socket.recv_from(&mut buffer).await.unwrap();
        socket.send_to(&answer(&buffer[..len], Rcode::NOERROR, 1), client).await.unwrap();
    });
    assert!(asked(&one).await && !one.is_out.load(Ordering::Relaxed));
    // One of two that says that it fails is there.
    let two = recursors(&[dead, failing]);
    assert!(!asked(&two).await && !two.is_out.load(Ordering::Relaxed));
    assert!(two.problem().contains("it does not know"), "{}", two.problem());
}

/// Somebody who answers there in the end, one packet.
async fn at_last(address: SocketAddr) {
    let socket = UdpSocket::bind(address).await.unwrap();
    tokio::spawn(async move {
        let mut buffer = [0; 2048];
        let (len, client) = socket.recv_from(&mut buffer).await.unwrap();
        socket.send_to(&answer(&buffer[..len], Rcode::NOERROR, 1), client).await.unwrap();
    });
}

async fn nowhere() -> SocketAddr {
    UdpSocket::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap()
}

#[tokio::test]
async fn who_relays_holds_queries_while_a_server_is_restarted_and_not_for_ever() {
    let address = nowhere().await;
    let held = Arc::new(recursors(&[address]));
    let asking = Arc::clone(&held);
    let asked = tokio::spawn(async move {
        asking.relay(&query("web.service.consul", None), Transport::Udp, || true).await
    });
    while held.held.available_permits() == RELAYS_HELD_MAX {
        tokio::task::yield_now().await;
    }
    at_last(address).await;
    assert!(asked.await.unwrap().is_some(), "it is asked again until it is there");
    assert!(!held.is_out.load(Ordering::Relaxed), "nobody has missed anything");
    // Where too many are held, the servers may not be asked, or one says that it fails, there is an answer at once.
    let began = Instant::now();
    let relay = async |recursors: &Recursors, may: bool| {
        recursors.relay(&query("web.service.consul", None), Transport::Udp, || may).await
    };
    let dead = recursors(&[nowhere().await]);
    assert!(relay(&dead, false).await.is_none());
    let all = dead.held.try_acquire_many(RELAYS_HELD_MAX as u32).unwrap();
    assert!(relay(&dead, true).await.is_none());
    drop(all);
    let (failing, _) = server(|packet| vec![answer(packet, Rcode::SERVFAIL, 0)]).await;
    assert!(relay(&recursors(&[failing]), true).await.is_none());
    assert!(began.elapsed() < RELAY_HOLD_MAX);
    let began = Instant::now();
    assert!(relay(&dead, true).await.is_none() && dead.is_out.load(Ordering::Relaxed));
    assert!(began.elapsed() >= RELAY_HOLD_MAX && began.elapsed() < RECURSION_TIME_MAX * 2);
}

#[tokio::test]
async fn what_others_say_is_not_said_in_ones_own_name() {
    let (address, _) = server(|packet| {
        let mut bytes = answer(packet, Rcode::NOERROR, 1);
        let header = Header::for_message_slice_mut(&mut bytes);
        header.set_ra(false);
        header.set_aa(true);
        vec![bytes]
    })
    .await;
    let recursors = recursors(&[address]);
    let flags = |reply: Option<Reply>| {
        let reply = reply.unwrap();
        let header = Message::from_slice(&reply.bytes).unwrap().header();
        (header.ra(), header.aa())
    };
    let query = query("example.com", None);
    assert_eq!(flags(recursors.forward(&query, Transport::Udp).await), (true, false));
    // An agent's answers are its servers'.
    assert_eq!(flags(recursors.relay(&query, Transport::Udp, || true).await), (false, true));
}

#[tokio::test]
async fn a_server_is_asked_where_it_is_said_to_be() {
    let said = Said::nowhere("nobody has said where it is");
    let targets = [Target::Said(said.clone())];
    let recursors = Recursors::new(&targets, None, DnsStats::new(&targets));
    let asked = async || recursors.forward(&query("example.com", None), Transport::Udp).await.is_some();
    assert!(!asked().await);
    assert!(recursors.problem().contains("nobody has said where it is"), "{}", recursors.problem());
    for _ in 0..2 {
        let (address, _) = server(|packet| vec![answer(packet, Rcode::NOERROR, 1)]).await;
        said.set(Ok(address.to_string()));
        assert!(asked().await);
        // By a name, which is looked up.
        said.set(Ok(format!("localhost:{}", address.port())));
        assert!(asked().await, "{}", recursors.problem());
    }
    let itself = Place::new(Target::Said(said.clone()));
    let own: SocketAddr = "127.0.0.1:8600".parse().unwrap();
    said.set(Ok(own.to_string()));
    let lookup = Lookup { by: by_the_system, rest: Duration::ZERO };
    assert!(itself.address(lookup, Some(own)).await.unwrap_err().to_string().contains("itself"));
}
