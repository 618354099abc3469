//! Much of it: bytes that flow so fast that the kernel moves them, and receivers that stop taking them.

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use crate::support::*;

/// Far more than sockets and pipes hold.
const MUCH: usize = 64 * 1024 * 1024;
/// How long a sender waits before it says that nobody takes its bytes.
const STALLED_AFTER: Duration = Duration::from_millis(100);
const LIMIT: Duration = Duration::from_secs(60);

/// A proxy that passes connections on to an address.
fn passing_on(to: SocketAddr) -> Proxy {
    let port = free_port();
    Proxy::gateway(&format!(
        "kind: Gateway\nmetadata: {{name: edge}}\nspec:\n  addresses: [{{value: 127.0.0.1}}]\n  listeners: [{{name: db, port: {port}, protocol: TCP}}]\n\
         ---\nkind: TCPRoute\nmetadata: {{name: db}}\nspec:\n  parentRefs: [{{name: edge}}]\n  rules: [{{backendRefs: [{{name: db}}]}}]\n\
         ---\nkind: Service\napiVersion: weir.dev/v1\nmetadata: {{name: db}}\nspec:\n  protocol: tcp\n  endpoints: [{{address: {}, port: {}}}]\n",
        to.ip(),
        to.port()
    ))
}

/// The byte at a place: no two pieces of a stream look alike.
fn byte_at(place: usize) -> u8 {
    ((place as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 56) as u8
}

/// Sends bytes of the pattern, in pieces that change in size, and says when nobody takes them.
fn send(mut stream: &TcpStream, bytes: usize, stalled: &AtomicBool) -> io::Result<()> {
    stream.set_write_timeout(Some(STALLED_AFTER))?;
    let mut sent = 0;
    let mut piece = Vec::new();
    while sent < bytes {
        let length = [100, 70_000, 300_000, 65_536, 17][sent % 5].min(bytes - sent);
        piece.clear();
        piece.extend((sent..sent + length).map(byte_at));
        let mut from = 0;
        while from < length {
            match stream.write(&piece[from..]) {
                Ok(n) => from += n,
                Err(fault) if fault.kind() == io::ErrorKind::WouldBlock => {
                    stalled.store(true, Ordering::Relaxed);
                }
                Err(fault) => return Err(fault),
            }
        }
        sent += length;
    }
    Ok(())
}

/// Reads up to `bytes` of the pattern from `place` on, and gives where it has come to.
fn receive(mut stream: &TcpStream, mut place: usize, bytes: usize) -> io::Result<usize> {
    stream.set_read_timeout(Some(LIMIT))?;
    let end = place.saturating_add(bytes);
    let mut piece = vec![0; 256 * 1024];
    while place < end {
        let room = piece.len().min(end - place);
        let n = stream.read(&mut piece[..room])?;
        if n == 0 {
            break;
        }
        for (at, byte) in piece[..n].iter().enumerate() {
            assert_eq!(*byte, byte_at(place + at), "byte {}", place + at);
        }
        place += n;
    }
    Ok(place)
}

/// An upstream that serves one connection.
fn once<T: Send + 'static>(
    serve: impl FnOnce(TcpStream) -> T + Send + 'static,
) -> (SocketAddr, JoinHandle<T>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = listener.local_addr().unwrap();
    (addr, thread::spawn(move || serve(listener.accept().unwrap().0)))
}

#[test]
fn much_arrives_whole_although_the_receiver_stops_in_between() {
    let stalled = Arc::new(AtomicBool::new(false));
    let says = Arc::clone(&stalled);
    let (addr, upstream) = once(move |stream| {
        send(&stream, MUCH, &says).unwrap();
        stream.shutdown(Shutdown::Write).unwrap();
        receive(&stream, 0, usize::MAX).unwrap()
    });
    let proxy = passing_on(addr);
    let client = TcpStream::connect(proxy.addr()).unwrap();
    let mut place = 0;
    for _ in 0..3 {
        eventually("the upstream to find that nobody takes its bytes", || {
            stalled.swap(false, Ordering::Relaxed)
        });
        place = receive(&client, place, MUCH / 16).unwrap();
        stalled.store(false, Ordering::Relaxed);
    }
    assert_eq!(receive(&client, place, usize::MAX).unwrap(), MUCH, "and then its end");
    // The other way is open still.
    send(&client, 1_000_000, &AtomicBool::new(false)).unwrap();
    client.shutdown(Shutdown::Write).unwrap();
    assert_eq!(upstream.join().unwrap(), 1_000_000);
}

#[test]
fn much_flows_both_ways_at_once() {
    let both = |stream: TcpStream| {
        let sender = stream.try_clone().unwrap();
        let sending = thread::spawn(move || {
            send(&sender, MUCH, &AtomicBool::new(false)).unwrap();
            sender.shutdown(Shutdown::Write).unwrap();
        });
        let received = receive(&stream, 0, usize::MAX).unwrap();
        sending.join().unwrap();
        received
    };
    let (addr, upstream) = once(both);
    let proxy = passing_on(addr);
    assert_eq!(both(TcpStream::connect(proxy.addr()).unwrap()), MUCH);
    assert_eq!(upstream.join().unwrap(), MUCH);
    eventually("the tunnel to be over", || proxy.text().contains("weir_proxy_tunnels_active 0"));
}

#[test]
fn what_is_cut_short_in_the_middle_of_much_ends_in_a_reset() {
    let stalled = Arc::new(AtomicBool::new(false));
    let says = Arc::clone(&stalled);
    let (addr, upstream) = once(move |stream| {
        // Fails once the proxy is told; until then it sends, and nobody reads.
        let sent = send(&stream, MUCH, &says);
        socket2::SockRef::from(&stream).set_linger(Some(Duration::ZERO)).unwrap();
        sent
    });
    let proxy = passing_on(addr);
    let client = TcpStream::connect(proxy.addr()).unwrap();
    let place = receive(&client, 0, MUCH / 4).unwrap();
    eventually("the upstream to find that nobody takes its bytes", || stalled.load(Ordering::Relaxed));
    // The client is gone, in the middle: the upstream must not take that for an end.
    socket2::SockRef::from(&client).set_linger(Some(Duration::ZERO)).unwrap();
    drop(client);
    assert!(place >= MUCH / 4);
    let fault = upstream.join().unwrap().unwrap_err();
    assert!(
        matches!(fault.kind(), io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe),
        "{fault:?}: not taken for a receiver that has read all"
    );
    eventually("the tunnel to be over", || proxy.text().contains("weir_proxy_tunnels_active 0"));
}

#[test]
fn a_sender_that_fails_in_the_middle_of_much_resets_the_receiver() {
    let (addr, upstream) = once(move |stream| {
        send(&stream, MUCH / 2, &AtomicBool::new(false)).unwrap();
        socket2::SockRef::from(&stream).set_linger(Some(Duration::ZERO)).unwrap();
    });
    let proxy = passing_on(addr);
    let client = TcpStream::connect(proxy.addr()).unwrap();
    let fault = receive(&client, 0, usize::MAX).unwrap_err();
    assert_eq!(fault.kind(), io::ErrorKind::ConnectionReset);
    upstream.join().unwrap();
}
