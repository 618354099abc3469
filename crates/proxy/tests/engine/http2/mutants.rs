//! Whatever frames a client sends: what reaches the upstream is HTTP/1.1 that can be read in one way only.

use std::sync::{Arc, Mutex};

use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};

use super::malformed;
use super::raw::{
    DATA, END_HEADERS, END_STREAM, GET, HEADERS, PREFACE, PRIORITY, RST_STREAM, SETTINGS, WINDOW_UPDATE,
    block, frame, get, post,
};
use crate::mutations::{read_strictly, seed};
use crate::support::{Client, PATIENCE, Proxy, Upstream};

/// Mutants per run. `WEIR_TEST_SEED` replays a run.
const MUTANTS: usize = 1600;

fn seeds() -> Vec<Vec<Vec<u8>>> {
    let trailers = frame(HEADERS, END_HEADERS | END_STREAM, 1, &block(&[("x-late", b"1")]));
    let fields: Vec<(&str, &[u8])> = GET
        .into_iter()
        .chain([
            ("cookie", &b"a=1"[..]),
            ("cookie", b"b=2"),
            ("te", b"trailers"),
            ("host", b"app"),
            ("x-a", b"b"),
        ])
        .collect();
    vec![
        vec![get(1)],
        vec![get(1), get(3), get(5)],
        vec![post(1, &[("content-length", b"5")]), frame(DATA, END_STREAM, 1, b"hello")],
        vec![post(1, &[]), frame(DATA, 0, 1, b"hello"), frame(DATA, END_STREAM, 1, b" world")],
        vec![post(1, &[("expect", b"100-continue")]), frame(DATA, 0, 1, b"hello"), trailers],
        vec![frame(HEADERS, END_HEADERS | END_STREAM, 1, &block(&fields))],
        vec![
            frame(SETTINGS, 0, 0, &[0, 4, 0, 1, 0, 0]),
            frame(WINDOW_UPDATE, 0, 0, &[0, 0, 1, 0]),
            frame(PRIORITY, 0, 3, &[0, 0, 0, 0, 9]),
            get(1),
            frame(RST_STREAM, 0, 1, &[0, 0, 0, 8]),
            get(3),
        ],
    ]
}

/// Every shape that breaks the rules, in its frames: what is next to a fault may be worse than the fault.
fn broken() -> Vec<Vec<Vec<u8>>> {
    let requests = malformed::requests().into_iter().map(|(_, bytes)| bytes);
    let frames = malformed::frames().into_iter().map(|(_, bytes, _)| bytes);
    requests.chain(frames).map(|bytes| split(&bytes)).collect()
}

fn split(bytes: &[u8]) -> Vec<Vec<u8>> {
    let mut frames = Vec::new();
    let mut rest = bytes;
    while !rest.is_empty() {
        let length = 9 + u32::from_be_bytes([0, rest[0], rest[1], rest[2]]) as usize;
        let (frame, after) = rest.split_at(length);
        frames.push(frame.to_vec());
        rest = after;
    }
    frames
}

/// Changes bytes inside frames, and sometimes frames as such.
fn mutate(rng: &mut SmallRng, frames: &[Vec<u8>]) -> Vec<u8> {
    let mut frames = frames.to_vec();
    for _ in 0..rng.random_range(1..4) {
        let which = rng.random_range(0..frames.len());
        match rng.random_range(0..8) {
            // Within the payload, the length put right again: it is the fields that are wrong, not the framing.
            0..=4 => {
                let one = &mut frames[which];
                let mut payload = one.split_off(9);
                let at = rng.random_range(0..=payload.len());
                match rng.random_range(0..4) {
                    0 if at < payload.len() => payload[at] = rng.random(),
                    1 if at < payload.len() => payload[at] ^= 1 << rng.random_range(0..8),
                    2 => {
                        const PIECES: [&[u8]; 6] = [
                            b"\r\n",
                            b" ",
                            b"\0",
                            b":",
                            b"\r\n\r\nGET /evil HTTP/1.1\r\nHost: e\r\n\r\n",
                            b"0",
                        ];
                        payload.splice(at..at, PIECES[rng.random_range(0..PIECES.len())].iter().copied());
                    }
                    _ => payload.truncate(at),
                }
                *one = frame(one[3], one[4], u32::from_be_bytes(one[5..9].try_into().unwrap()), &payload);
            }
            5 => frames[which][rng.random_range(0..9)] = rng.random(),
            6 => {
                let again = frames[which].clone();
                frames.insert(which, again);
            }
            _ => {
                frames.swap(0, which);
            }
        }
    }
    [PREFACE, &frame(SETTINGS, 0, 0, &[]), &frames.concat()].concat()
}

#[test]
fn no_mutant_reaches_the_upstream_in_a_form_that_can_be_misread() {
    let seed = seed();
    let mut rng = SmallRng::seed_from_u64(seed);
    let faults: Arc<Mutex<Vec<String>>> = Arc::default();
    let served = Arc::new(Mutex::new(0));
    let (seen, count) = (faults.clone(), served.clone());
    let upstream = Upstream::start(move |conn| {
        loop {
            match read_strictly(conn) {
                Ok(answer) => {
                    *count.lock().unwrap() += 1;
                    conn.write(answer)?;
                }
                Err(Some(fault)) => {
                    seen.lock().unwrap().push(fault);
                    return Ok(());
                }
                Err(None) => return Ok(()),
            }
        }
    });
    let proxy = Proxy::to(&[upstream.addr]);
    let addr = proxy.addr();
    let (seeds, broken) = (seeds(), broken());
    let (mut refused, mut asked) = (0, 0);
    for number in 0..MUTANTS {
        // By turns of what is fine and of what is not.
        let of = if number % 2 == 0 { &seeds } else { &broken };
        let which = rng.random_range(0..of.len());
        let mutant = mutate(&mut rng, &of[which]);
        asked += frames_of(&mutant[PREFACE.len()..]).filter(|kind| *kind == HEADERS).count();
        let mut client = Client::connect(addr);
        client.stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let _ = client.try_send(&mutant);
        let _ = client.stream.shutdown(std::net::Shutdown::Write);
        let end = client.until_end();
        assert!(
            !matches!(&end, Err(fault) if matches!(fault.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut)),
            "mutant {number} of seed {seed} hangs: {mutant:?}"
        );
        let answer = end.unwrap_or_default();
        // RST_STREAM or GOAWAY somewhere among the frames.
        refused += usize::from(frames_of(&answer).any(|kind| matches!(kind, 3 | 7)));
        let faults = faults.lock().unwrap();
        assert!(faults.is_empty(), "mutant {number} of seed {seed}: {:?}\nfrom {mutant:?}", *faults);
    }
    let served = *served.lock().unwrap();
    // Mutants that are all alike would show nothing. Half of them begin with what is refused as it is.
    assert!(
        served > MUTANTS / 25 && refused > MUTANTS / 10,
        "seed {seed}: {served} served, {refused} refused"
    );
    assert!(served <= asked, "seed {seed}: {served} requests arrived, and {asked} were sent");
    assert_eq!(proxy.client().get("/").status, 200);
}

fn frames_of(bytes: &[u8]) -> impl Iterator<Item = u8> + '_ {
    let mut at = 0;
    std::iter::from_fn(move || {
        let head = bytes.get(at..at + 9)?;
        at += 9 + u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
        Some(head[3])
    })
}
