//! Thousands of clients that send half a head, half a body, or do not read: the others do not notice.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::fd::AsRawFd;
use std::time::{Duration, Instant};

use weir_tests::cluster::START_LIMIT;
use weir_tests::http::Connection;
use weir_tests::{App, Process, documents, eventually, free_port, http};

const TEST_APP: &str = env!("CARGO_BIN_EXE_test-app");

/// How often the others' times are taken anew, where something else has kept the machine busy meanwhile.
const TRIES_MAX: usize = 12;
/// Requests of which the slowest in a hundred is looked for.
const SAMPLES: usize = 4000;
/// The most that one slow client may cost: a head that has begun, or what waits for a client that does not read.
const BYTES_PER_CLIENT_MAX: u64 = 40 * 1024;

/// Files that this process may have open; the proxy sees to its own.
fn raise_open_files() -> u64 {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    #[allow(unsafe_code)]
    // SAFETY: both calls only read or write the struct, which lives and is borrowed for their duration.
    unsafe {
        libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit);
        limit.rlim_cur = limit.rlim_max;
        libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit);
    }
    limit.rlim_max
}

/// Resident memory of a process.
fn resident(process: &Process) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", process.pid())).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() * 1024
}

/// The 99th percentile of the time to an answer, on one kept connection and on fresh ones in turn.
fn p99(port: u16) -> Duration {
    let mut kept = Connection::open(port).unwrap();
    let mut times: Vec<Duration> = (0..SAMPLES)
        .map(|index| {
            let begun = Instant::now();
            let status = if index % 8 == 0 {
                http::get(port, "/").unwrap().status
            } else {
                kept.request("GET", "/", &[], b"").unwrap().status
            };
            assert_eq!(status, 200);
            begun.elapsed()
        })
        .collect();
    times.sort_unstable();
    times[SAMPLES * 99 / 100]
}

/// Keeps the system from reading in the client's place, megabytes of it.
fn receive_little(stream: &TcpStream) {
    let bytes: libc::c_int = 4096;
    #[allow(unsafe_code)]
    // SAFETY: the descriptor is open, and the option's value lives for the duration of the call.
    let done = unsafe {
        let value = (&raw const bytes).cast();
        let length = size_of::<libc::c_int>() as libc::socklen_t;
        libc::setsockopt(stream.as_raw_fd(), libc::SOL_SOCKET, libc::SO_RCVBUF, value, length)
    };
    assert_eq!(done, 0);
}

/// A client of one of the three kinds that is slow from now on.
fn slow_client(port: u16, index: usize) -> TcpStream {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    match index % 3 {
        0 => stream.write_all(b"GET / HTTP/1.1\r\nhost: shop.test\r\nx-half: of a he").unwrap(),
        1 => stream
            .write_all(b"POST / HTTP/1.1\r\nhost: shop.test\r\ncontent-length: 1000\r\n\r\nhalf of a body")
            .unwrap(),
        _ => {
            receive_little(&stream);
            stream.write_all(b"GET /large HTTP/1.1\r\nhost: shop.test\r\n\r\n").unwrap();
        }
    }
    stream
}

#[test]
#[allow(clippy::print_stdout, reason = "the figures of a longer run are what it is made for")]
fn slow_clients_do_not_hurt_the_others() {
    let wanted = std::env::var("WEIR_TEST_SLOW_CLIENTS").map_or(10_000, |text| text.parse().unwrap());
    // The proxy and the application each need one for a client of theirs, and share the limit of this process.
    let count = wanted.min(usize::try_from(raise_open_files()).unwrap() * 3 / 5);
    assert!(
        count == wanted || std::env::var_os("CI").is_none(),
        "files for {count} of {wanted} clients only"
    );
    let app = App::start(TEST_APP, "web");
    let port = free_port();
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("weir.yaml");
    std::fs::write(&file, documents::gateway(port, "web") + &documents::service("web", &[app.port])).unwrap();
    let proxy = Process::weir("proxy", ["proxy", "--workers", "2", "-f", file.to_str().unwrap()]);
    eventually("the gateway to answer", START_LIMIT, || http::get(port, "/").ok());

    p99(port);
    let (before, memory_before) = (p99(port), resident(&proxy));
    let begun = Instant::now();
    let mut slow: Vec<TcpStream> = (0..count).map(|index| slow_client(port, index)).collect();
    // At once, while they are still being taken in, and after.
    let at_once = p99(port);
    let (elapsed, memory_with) = (begun.elapsed(), resident(&proxy));
    // Generous: the machine is busy with other tests, and a debug build with checks.
    let most = before * 5 + Duration::from_millis(20);
    let with = (0..TRIES_MAX).map(|_| p99(port)).find(|with| *with < most);
    let bytes = memory_with.saturating_sub(memory_before) / count as u64;
    println!(
        "{count} slow clients: p99 {before:?} without, {at_once:?} and {with:?} with; {bytes} bytes each; {elapsed:?}"
    );
    assert!(with.is_some(), "p99 {before:?} became more than {most:?}, {TRIES_MAX} times");
    assert!(bytes <= BYTES_PER_CLIENT_MAX, "{bytes} bytes for each slow client");

    // Those who sent half a head are told so in time.
    if elapsed < Duration::from_secs(10) {
        let mut text = [0; 12];
        slow[0].set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        slow[0].read_exact(&mut text).unwrap();
        assert_eq!(&text, b"HTTP/1.1 408");
    }
}
