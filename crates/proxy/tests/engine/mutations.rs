//! Whatever a client sends: what reaches the upstream is HTTP that can be read in one way only.
//!
//! Requests, good and bad, are mutated at random and sent; the upstream reads what arrives with a reader of its own,
//! written for this test, that knows nothing of the proxy's codec and is stricter than any server.

use std::sync::{Arc, Mutex};

use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};

use crate::support::{Client, PATIENCE, Proxy, Served, Upstream};

/// What chance is drawn from usually.
const SEED: u64 = 0x7ab1_e5ee;

/// Mutants per run.
const MUTANTS: usize = 1500;

const SEEDS: [&str; 12] = [
    "GET /a/b?c=d HTTP/1.1\r\nHost: app\r\nX-A: b\r\n\r\n",
    "POST /p HTTP/1.1\r\nHost: app\r\nContent-Length: 11\r\n\r\nhello world",
    "POST /p HTTP/1.1\r\nHost: app\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n6;x=y\r\n world\r\n0\r\nX-T: 1\r\n\r\n",
    "POST /p HTTP/1.1\r\nHost: app\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "GET http://other:80/x HTTP/1.1\r\nHost: app\r\nConnection: keep-alive, X-B\r\nX-B: 1\r\n\r\n",
    "GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n",
    "HEAD /h HTTP/1.1\r\nHost: app\r\n\r\nGET /second HTTP/1.1\r\nHost: app\r\n\r\n",
    "GET /u HTTP/1.1\r\nHost: app\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
    "PUT /e HTTP/1.1\r\nHost: app\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\nabc",
    "OPTIONS * HTTP/1.1\r\nHost: app\r\nTE: trailers\r\nConnection: TE\r\n\r\n",
    "GET /%2e%2e//x/../%2f HTTP/1.1\r\nHost: app:80\r\n\r\n",
    "POST /p HTTP/1.1\r\nHost: app\r\nContent-Length: 5\r\n\r\nGET /POST / HTTP/1.1\r\nHost: app\r\nContent-Length: 0\r\n\r\n",
];

const PIECES: [&str; 26] = [
    "\r\n",
    "\n",
    "\r",
    " ",
    "\t",
    "\0",
    ":",
    ",",
    ";",
    "0",
    "1",
    "+",
    "-",
    "_",
    "0x",
    "\u{b}",
    "\u{7f}",
    "chunked",
    "Content-Length: 3\r\n",
    "Transfer-Encoding: chunked\r\n",
    "Transfer-Encoding : chunked\r\n",
    "Host: evil\r\n",
    "\r\n\r\n",
    "GET /smuggled HTTP/1.1\r\nHost: evil\r\n\r\n",
    "0\r\n\r\n",
    "Content-Length:\u{b}3\r\n",
];

/// The seed of a run.
pub(crate) fn seed() -> u64 {
    weir_tests::chance::seed("WEIR_TEST_SEED", SEED)
}

fn mutate(rng: &mut SmallRng) -> Vec<u8> {
    let mut bytes = SEEDS[rng.random_range(0..SEEDS.len())].as_bytes().to_vec();
    for _ in 0..rng.random_range(1..4) {
        let at = rng.random_range(0..=bytes.len());
        match rng.random_range(0..5) {
            0 => {
                let piece = PIECES[rng.random_range(0..PIECES.len())].as_bytes();
                bytes.splice(at..at, piece.iter().copied());
            }
            1 if at < bytes.len() => bytes[at] = rng.random(),
            2 if at < bytes.len() => {
                bytes.remove(at);
            }
            3 => {
                let end = (at + rng.random_range(0..20)).min(bytes.len());
                let copy = bytes[at..end].to_vec();
                bytes.splice(at..at, copy);
            }
            _ => bytes.truncate(at.max(1)),
        }
    }
    bytes
}

#[test]
fn no_mutant_reaches_the_upstream_in_a_form_that_can_be_misread() {
    let seed = seed();
    let mut rng = SmallRng::seed_from_u64(seed);
    let faults: Arc<Mutex<Vec<String>>> = Arc::default();
    let seen = faults.clone();
    let upstream = Upstream::start(move |conn| {
        loop {
            match read_strictly(conn) {
                Ok(answer) => conn.write(answer)?,
                Err(Some(fault)) => {
                    seen.lock().unwrap().push(fault);
                    return Ok(());
                }
                // It broke off in the middle, which is what is to happen to a bad body.
                Err(None) => return Ok(()),
            }
        }
    });
    let proxy = Proxy::to(&[upstream.addr]);
    let addr = proxy.addr();
    let (mut served, mut refused) = (0, 0);
    for number in 0..MUTANTS {
        let mutant = mutate(&mut rng);
        let mut client = Client::connect(addr);
        client.stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let _ = client.try_send(&mutant);
        let _ = client.stream.shutdown(std::net::Shutdown::Write);
        // Answered, refused or closed, but never left hanging.
        let end = client.until_end();
        assert!(
            !matches!(&end, Err(fault) if matches!(fault.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut)),
            "mutant {number} of seed {seed} hangs: {:?}",
            String::from_utf8_lossy(&mutant)
        );
        let answer = end.unwrap_or_default();
        served += usize::from(answer.starts_with(b"HTTP/1.1 200"));
        refused += usize::from(answer.starts_with(b"HTTP/1.1 4") || answer.starts_with(b"HTTP/1.1 5"));
        let faults = faults.lock().unwrap();
        assert!(
            faults.is_empty(),
            "mutant {number} of seed {seed}: {:?}\nfrom {:?}",
            *faults,
            String::from_utf8_lossy(&mutant)
        );
    }
    // Mutants that are all alike would show nothing.
    assert!(
        served > MUTANTS / 10 && refused > MUTANTS / 10,
        "seed {seed}: {served} served, {refused} refused"
    );
}

/// Reads one request; `Err(Some)` says what could be misread.
pub(crate) fn read_strictly(conn: &mut Served) -> Result<&'static str, Option<String>> {
    let head = match conn.head() {
        Ok(head) => head,
        Err(fault) if fault.kind() == std::io::ErrorKind::UnexpectedEof => return Err(None),
        Err(_) => return Err(None),
    };
    let fault = |what: &str| Some(format!("{what}: {head:?}"));
    if head.replace("\r\n", "").contains(|c: char| c.is_control() && c != '\t') {
        return Err(fault("a control character"));
    }
    let mut lines = head.trim_end_matches("\r\n").split("\r\n");
    let line: Vec<_> = lines.next().unwrap_or_default().split(' ').collect();
    let &[method, target, "HTTP/1.1"] = line.as_slice() else { return Err(fault("request line")) };
    // What is after the question mark is not a path.
    let path = target.split('?').next().unwrap_or_default();
    if method.is_empty() || !(path.starts_with('/') || path == "*") || path.contains("/../") {
        return Err(fault("request line"));
    }
    let (mut hosts, mut length, mut chunked) = (0, None, 0);
    for line in lines {
        let Some((name, value)) = line.split_once(':') else { return Err(fault("no colon")) };
        if name.is_empty()
            || !name.bytes().all(|b| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b))
        {
            return Err(fault("name"));
        }
        match name.to_ascii_lowercase().replace('_', "-").as_str() {
            "host" => hosts += 1,
            "content-length" if length.is_none() && value.trim().bytes().all(|b| b.is_ascii_digit()) => {
                length = value.trim().parse::<usize>().ok();
            }
            "content-length" => return Err(fault("length")),
            "transfer-encoding" if value == " chunked" => chunked += 1,
            "transfer-encoding" => return Err(fault("coding")),
            _ => {}
        }
    }
    if hosts != 1 || chunked > 1 || (chunked == 1 && length.is_some()) {
        return Err(fault("framing"));
    }
    if let Some(length) = length.filter(|&length| length < 1 << 20) {
        conn.exactly(length).map_err(|_| None)?;
    } else if length.is_some() {
        return Err(None);
    }
    if chunked == 1 {
        read_chunks(conn)?;
    }
    Ok(if method == "HEAD" {
        "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n"
    } else {
        "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"
    })
}

fn read_chunks(conn: &mut Served) -> Result<(), Option<String>> {
    loop {
        let line = String::from_utf8_lossy(&conn.line().map_err(|_| None)?).into_owned();
        let digits = line.trim_end_matches("\r\n");
        if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_hexdigit()) {
            return Err(Some(format!("chunk size {line:?}")));
        }
        let size = usize::from_str_radix(digits, 16).map_err(|_| Some(format!("chunk size {line:?}")))?;
        if size == 0 {
            break;
        }
        let data = conn.exactly(size + 2).map_err(|_| None)?;
        if !data.ends_with(b"\r\n") {
            return Err(Some("chunk end".to_owned()));
        }
    }
    loop {
        let line = conn.line().map_err(|_| None)?;
        if line == b"\r\n" {
            return Ok(());
        }
        if !line.contains(&b':') {
            return Err(Some(format!("trailer {line:?}")));
        }
    }
}
