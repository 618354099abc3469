//! Hostile HTTP against the real process: every shape that a strict proxy must refuse or rewrite, and seeded mutations of
//! them. A raw upstream records what arrives.
//!
//! What a client's bytes mean is decided by a reader of its own (`strictness/reader.rs`), which knows nothing of the
//! proxy's codec. The upstream must get exactly the requests that this reader finds, in order, or fewer: never another
//! one, never one with another body, never half a message that looks whole. `WEIR_SEED` makes other mutations.

#[path = "strictness/reader.rs"]
mod reader;
#[path = "strictness/shapes.rs"]
mod shapes;
#[path = "strictness/stage.rs"]
mod stage;

use std::time::Duration;

use stage::Stage;

/// Mutated shapes per run.
const MUTANTS: usize = 6000;

/// Mutated responses per run.
const MUTANT_RESPONSES: usize = 3000;

/// What chance is drawn from usually.
const SEED: u64 = 0x57a1_c7ed;

/// Between two pieces of one message: mostly long enough for the first to be read alone.
const PIECE_PAUSE: Duration = Duration::from_micros(500);

/// xorshift64*: enough to choose mutations, and the same everywhere.
struct Chance(u64);

impl Chance {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33) as usize % bound
    }
}

fn seed() -> u64 {
    weir_tests::chance::seed("WEIR_SEED", SEED)
}

#[test]
fn every_shape_is_refused_with_its_status_and_nothing_is_forwarded() {
    let stage = Stage::set();
    for shape in shapes::refused() {
        let outcome = stage.send(&shape.bytes);
        assert_eq!(outcome.first_status(), Some(shape.status), "{}: {outcome:?}", shape.name);
        assert_eq!(outcome.received, [], "{}: reaches the upstream", shape.name);
        assert!(outcome.faults.is_empty(), "{}: {:?}", shape.name, outcome.faults);
        assert_eq!(outcome.connections, 0, "{}: an upstream connection was opened or used", shape.name);
    }
}

/// A body may have been forwarded in part when its fault is found; then the upstream must not take it for whole.
#[test]
fn a_fault_in_a_body_never_looks_like_its_end() {
    let stage = Stage::set();
    for shape in shapes::bad_bodies() {
        let outcome = stage.send(&shape.bytes);
        assert_eq!(outcome.first_status(), Some(shape.status), "{}: {outcome:?}", shape.name);
        assert_eq!(outcome.received, [], "{}: looks whole", shape.name);
    }
}

#[test]
fn what_is_served_is_rewritten_as_it_must_be() {
    let stage = Stage::set();
    for (name, bytes, target, host, present, absent) in shapes::rewritten() {
        let outcome = stage.send(&bytes);
        assert_eq!(outcome.faults, [""; 0], "{name}");
        let [request] = outcome.received.as_slice() else { panic!("{name}: {outcome:?}") };
        assert_eq!((request.target.as_str(), request.host.as_str()), (target, host), "{name}");
        for field in present {
            assert!(request.fields.iter().any(|line| line == field), "{name}: no {field:?} in {request:?}");
        }
        for field in absent {
            let kept = request.fields.iter().find(|line| line.starts_with(&format!("{field}:")));
            assert_eq!(kept, None, "{name}");
        }
    }
}

#[test]
fn malformed_responses_become_502_and_the_next_request_is_well() {
    let stage = Stage::set();
    for (name, response) in shapes::RESPONSES {
        stage.answer_next_with(response.as_bytes());
        let outcome =
            stage.send(b"GET /r HTTP/1.1\r\nHost: app\r\n\r\nGET /next HTTP/1.1\r\nHost: app\r\n\r\n");
        assert_eq!(outcome.statuses(), [502, 200], "{name}: {outcome:?}");
        assert!(!outcome.answer.windows(4).any(|w| w == b"evil"), "{name}: {outcome:?}");
        assert_eq!(outcome.connections, 2, "{name}: the connection is not used again");
    }
}

/// The next request must arrive whole even if it is sent while a response still streams.
#[test]
fn a_request_sent_during_a_response_keeps_its_first_byte() {
    let stage = Stage::set();
    stage.answer_next_with(b"HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\nhalf<pause>half");
    let mut client = stage.client();
    client.send(b"GET /first HTTP/1.1\r\nHost: app\r\n\r\n");
    client.until(b"half");
    client.send(b"GET /second HTTP/1.1\r\nHost: app\r\n\r\n");
    stage.go_on();
    let outcome = stage.outcome(client);
    let got: Vec<_> = outcome.received.iter().map(|r| (r.method.as_str(), r.target.as_str())).collect();
    assert_eq!(got, [("GET", "/first"), ("GET", "/second")], "{outcome:?}");
}

#[allow(clippy::print_stdout, reason = "the seed is what replays a failure")]
#[test]
fn no_mutation_smuggles_anything() {
    let seed = seed();
    println!("WEIR_SEED={seed}");
    let mut chance = Chance(seed.max(1));
    let stage = Stage::set();
    let seeds = shapes::all();
    for bytes in &seeds {
        check(&stage, bytes, 0, "a seed itself");
    }
    let (mut forwarded, mut refused) = (0, 0);
    for number in 0..MUTANTS {
        let mutant = mutate(&seeds, &mut chance);
        // What arrives in two pieces must mean the same.
        let cut = if chance.below(3) == 0 { chance.below(mutant.len()) } else { 0 };
        let outcome = check(&stage, &mutant, cut, &format!("WEIR_SEED={seed} mutant {number}"));
        forwarded += usize::from(!outcome.received.is_empty());
        refused += usize::from(outcome.first_status().is_some_and(|status| status >= 400));
    }
    println!("{forwarded} forwarded, {refused} refused");
    assert!(forwarded > MUTANTS / 20 && refused > MUTANTS / 5, "mutants that are all alike show nothing");
}

/// Whatever an upstream answers, the client gets one response to each request, and to the second one its own.
#[allow(clippy::print_stdout, reason = "the seed is what replays a failure")]
#[test]
fn no_mutated_response_becomes_two() {
    let seed = seed();
    println!("WEIR_SEED={seed}");
    let mut chance = Chance(seed.max(1));
    let stage = Stage::set();
    let seeds = shapes::responses();
    let mut passed = 0;
    for number in 0..MUTANT_RESPONSES {
        let mutant = mutate(&seeds, &mut chance);
        stage.answer_last_with(&mutant);
        let outcome =
            stage.send(b"POST /r HTTP/1.1\r\nHost: app\r\n\r\nGET /next HTTP/1.1\r\nHost: app\r\n\r\n");
        let name = format!("WEIR_SEED={seed} response {number}: {:?}", String::from_utf8_lossy(&mutant));
        let shown = String::from_utf8_lossy(&outcome.answer);
        assert!(!outcome.hung, "{name}");
        let responses = reader::responses(&outcome.answer);
        let responses = responses.unwrap_or_else(|fault| panic!("{name}: {fault}\nin {shown:?}"));
        assert!(responses.len() <= 2, "{name}: {shown:?}");
        if let [(first, _), second] = responses.as_slice() {
            assert_eq!(second, &(200, b"ok".to_vec()), "{name}: {shown:?}");
            passed += usize::from(*first != 502);
        }
        let got: Vec<_> = outcome.received.iter().map(|request| request.target.as_str()).collect();
        assert!(["/r", "/next"].starts_with(&got), "{name}: done twice or out of turn: {got:?}");
    }
    println!("{passed} passed on");
    assert!(passed > MUTANT_RESPONSES / 20, "mutants that are all alike show nothing");
}

/// Holds what the upstream got against what the client's bytes mean.
fn check(stage: &Stage, bytes: &[u8], cut: usize, name: &str) -> stage::Outcome {
    let meant = reader::requests(bytes);
    let mut client = stage.client();
    for piece in [&bytes[..cut], &bytes[cut..]] {
        client.send(piece);
        if cut > 0 {
            std::thread::sleep(PIECE_PAUSE);
        }
    }
    let outcome = stage.outcome(client);
    let shown = String::from_utf8_lossy(bytes);
    assert!(!outcome.hung, "{name}: no answer and no end: {shown:?}");
    assert!(outcome.faults.is_empty(), "{name}: {:?}\nfrom {shown:?}", outcome.faults);
    // Each response belongs to the request at its place; what the proxy answers itself is not forwarded.
    let statuses = outcome.statuses();
    let served = statuses.iter().zip(&meant).filter(|(status, _)| **status == 200);
    let meant: Vec<_> = served.map(|(_, request)| request).collect();
    let answered = statuses.iter().filter(|&&status| status == 200).count();
    let same = outcome.received.len() == meant.len() && answered == meant.len();
    assert!(
        same && outcome.received.iter().zip(&meant).all(|(got, meant)| got.is_same_as(meant)),
        "{name}: got {:?}\nbut {shown:?}\nmeans {meant:?}, answered {statuses:?}",
        outcome.received
    );
    outcome
}

fn mutate(seeds: &[Vec<u8>], chance: &mut Chance) -> Vec<u8> {
    let mut bytes = seeds[chance.below(seeds.len())].clone();
    if chance.below(4) == 0 {
        bytes.extend_from_slice(&seeds[chance.below(seeds.len())]);
    }
    for _ in 0..1 + chance.below(3) {
        let at = chance.below(bytes.len().max(1));
        match chance.below(6) {
            0 => {
                let piece = shapes::PIECES[chance.below(shapes::PIECES.len())];
                bytes.splice(at..at, piece.iter().copied());
            }
            1 => bytes[at] = chance.below(256) as u8,
            2 if bytes.len() > 1 => drop(bytes.remove(at)),
            3 => {
                let copy = bytes[at..(at + chance.below(24)).min(bytes.len())].to_vec();
                bytes.splice(at..at, copy);
            }
            4 => {
                // A piece in place of a line's end or a separator, where it hurts most.
                let ends: Vec<usize> =
                    (0..bytes.len()).filter(|&i| b"\r\n :,;".contains(&bytes[i])).collect();
                if let Some(&end) = ends.get(chance.below(ends.len().max(1))) {
                    let piece = shapes::PIECES[chance.below(shapes::PIECES.len())];
                    bytes.splice(end..=end, piece.iter().copied());
                }
            }
            _ => bytes.truncate(at.max(1)),
        }
        if bytes.is_empty() {
            bytes.push(b'G');
        }
    }
    bytes
}
