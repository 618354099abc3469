//! Who is told that there is room, and when.

use super::*;

const ENOUGH: [u8; 4] = 1_000_000_000u32.to_be_bytes();

/// A server whose streams, so many, may send as much as the connection lets them.
fn serving(streams: u32) -> (Side, Vec<Slot>) {
    let config = Config { streams_max: streams, ..CONFIG };
    let mut server = Side::new(Connection::server(config, 0));
    server.take(&[PREFACE, &frame(SETTINGS, 0, 0, &[0, 4, 0x3b, 0x9a, 0xca, 0])[..]].concat());
    for stream in 0..streams {
        server.take(&get(2 * stream + 1));
    }
    let slots = server.opened.clone();
    for &slot in &slots {
        server.h2.respond(slot, false, |block| block.status(200));
    }
    server.said();
    (server, slots)
}

fn told(server: &mut Side) -> Vec<Slot> {
    let events = std::iter::from_fn(|| server.h2.next_event());
    events.filter_map(|event| if let Event::Changed(slot) = event { Some(slot) } else { None }).collect()
}

#[test]
fn a_write_tells_as_many_as_it_makes_room_for() {
    const STREAMS: usize = 400;
    let (mut server, slots) = serving(STREAMS as u32);
    server.take(&frame(WINDOW_UPDATE, 0, 0, &ENOUGH));
    let all = vec![b'x'; 3 * OUTPUT_BYTES_MAX];
    let mut left: Vec<usize> =
        slots.iter().map(|&slot| all.len() - server.h2.send(slot, &all, true)).collect();
    let mut calls = 0;
    while left.iter().any(|&bytes| bytes > 0) {
        let len = server.h2.output().len();
        assert!(len > 0, "nobody goes on");
        server.h2.wrote(len);
        let told: Vec<usize> =
            told(&mut server).iter().map(|told| slots.iter().position(|one| one == told).unwrap()).collect();
        let before_last: usize = told.iter().rev().skip(1).map(|&at| left[at]).sum();
        assert!(before_last < OUTPUT_BYTES_MAX, "the last one of {} was told for nothing", told.len());
        for at in told {
            let slot = slots[at];
            left[at] -= server.h2.send(slot, &all[all.len() - left[at]..], true);
            calls += 1;
        }
    }
    assert!(
        calls <= 6 * STREAMS,
        "{calls} turns for {STREAMS} streams, of which each fills the room three times"
    );
}

#[test]
fn small_ones_are_told_together() {
    let (mut server, slots) = serving(200);
    // The first one takes the whole window of 65,535 bytes.
    let mut taken = 0;
    while taken < 65_535 {
        taken += server.h2.send(slots[0], &[b'x'; 100_000], false);
        server.said();
        told(&mut server);
    }
    server.h2.close(slots[0], Code::NO_ERROR);
    for &slot in &slots[1..] {
        assert_eq!(server.h2.send(slot, b"ten bytes.", true), 0);
    }
    assert_eq!(told(&mut server), []);
    server.take_only(&frame(WINDOW_UPDATE, 0, 0, &500u32.to_be_bytes()));
    assert_eq!(told(&mut server).len(), 50);
}

#[test]
fn who_does_not_use_its_room_holds_up_nobody() {
    let (mut server, slots) = serving(5);
    let all = vec![b'x'; 2 * OUTPUT_BYTES_MAX];
    for &slot in &slots {
        server.h2.send(slot, &all, true);
    }
    server.said();
    server.take_only(&frame(WINDOW_UPDATE, 0, 0, &ENOUGH));
    // The first two are told and keep silent, the third has been given up, the fourth is told and given up.
    server.h2.reset(slots[2], Code::CANCEL);
    let mut order = told(&mut server);
    server.said();
    for _ in 0..slots.len() {
        if server.h2.output().is_empty() && server.h2.has_waiting() {
            server.h2.go_on();
        }
        for slot in told(&mut server) {
            order.push(slot);
            if slot == slots[3] {
                server.h2.close(slot, Code::CANCEL);
                server.said();
            }
        }
    }
    assert_eq!(order, [slots[0], slots[1], slots[3], slots[4]]);
    assert!(!server.h2.has_waiting());
}

#[test]
fn who_comes_too_late_for_its_room_is_next() {
    let (mut server, slots) = serving(4);
    server.take(&frame(WINDOW_UPDATE, 0, 0, &ENOUGH));
    let all = vec![b'x'; 2 * OUTPUT_BYTES_MAX];
    for &slot in &slots[..3] {
        server.h2.send(slot, &all, false);
    }
    server.h2.wrote(server.h2.output().len());
    assert_eq!(told(&mut server), [slots[0]]);
    // Somebody who has not waited takes all of it first.
    assert!(server.h2.send(slots[3], &all, false) > 0);
    assert_eq!(server.h2.send(slots[0], &all, false), 0);
    server.h2.wrote(server.h2.output().len());
    assert_eq!(told(&mut server), [slots[0]]);
}

#[derive(Clone, Debug)]
enum Step {
    /// The peer lets a stream, or the connection (0), send so much more.
    Update(u32, u32),
    Write,
    Close(usize),
    /// Every window of a stream changes.
    Initial(u32),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (0u32..8, 1u32..100_000).prop_map(|(stream, more)| Step::Update(stream, more)),
        4 => Just(Step::Write),
        1 => (0usize..8).prop_map(Step::Close),
        1 => (0u32..200_000).prop_map(Step::Initial),
    ]
}

proptest! {
    /// Whatever windows do and whoever goes: in the end all that there is has been sent, each stream within its windows.
    #[test]
    fn nobody_waits_for_ever(
        bytes in prop::collection::vec(1usize..150_000, 1..8),
        steps in prop::collection::vec(step(), 0..60),
    ) {
        let (mut server, slots) = serving(bytes.len() as u32);
        server.take(&frame(SETTINGS, 0, 0, &[0, 4, 0, 0, 0, 0]));
        let all = vec![b'x'; 150_000];
        let mut left: Vec<Option<usize>> = bytes.iter().map(|&bytes| Some(bytes)).collect();
        let try_all = |server: &mut Side, left: &mut Vec<Option<usize>>, told: &[Slot]| {
            for slot in told {
                let at = slots.iter().position(|one| one == slot).unwrap();
                if let Some(left) = &mut left[at] && *left > 0 {
                    *left -= server.h2.send(*slot, &all[..*left], true);
                }
            }
        };
        try_all(&mut server, &mut left, &slots);
        let finish = [Step::Update(0, 1 << 30), Step::Initial(1 << 30)];
        let writes = vec![Step::Write; 200];
        for step in steps.into_iter().chain(finish).chain(writes) {
            match step {
                Step::Update(0, more) => server.take_only(&frame(WINDOW_UPDATE, 0, 0, &more.to_be_bytes())),
                Step::Update(stream, more) if stream as usize <= slots.len() => {
                    server.take_only(&frame(WINDOW_UPDATE, 0, 2 * stream - 1, &more.to_be_bytes()));
                }
                Step::Update(..) => {}
                Step::Write => {
                    let len = server.h2.output().len();
                    server.h2.wrote(len);
                }
                Step::Close(at) => {
                    if left.get(at).copied().flatten().is_some() {
                        left[at] = None;
                        server.h2.close(slots[at], Code::CANCEL);
                    }
                }
                Step::Initial(bytes) => {
                    server.take_only(&frame(SETTINGS, 0, 0, &[&[0, 4], &bytes.to_be_bytes()[..]].concat()));
                }
            }
            let told = told(&mut server);
            try_all(&mut server, &mut left, &told);
        }
        prop_assert!(server.h2.failure().is_none());
        prop_assert!(left.iter().flatten().all(|&left| left == 0), "{left:?}");
        prop_assert!(server.h2.waiting.len() <= slots.len());
    }
}
