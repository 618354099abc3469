//! What a log is read as, whatever its bytes.

use super::super::layout::{Counters, Delta};
use super::record::{BLOCK, Chain, HEAD, LogId, decode_body, encode_body, header};
use super::replay::{Replay, replay};
use crate::{Key, Record};

const ID: LogId = LogId { salt: [7; 16], generation: 3 };
/// Bytes of a value in a log that is made up: some records take several blocks.
const VALUE_BYTES_PER_STEP: usize = 41;

/// Reads bytes as a body, as a log, and as what becomes of a sound log: where it is damaged, and what is in it.
///
/// # Panics
/// When a body is not what it was read as, when a log that was damaged loses more than its last record unnoticed, or when more or less
/// than the records before the damage is believed.
pub fn store_log(data: &[u8]) {
    if let Ok(delta) = decode_body(data) {
        let mut again = Vec::new();
        encode_body(&delta, &mut again);
        assert_eq!(again, data, "a body is written in one way only");
    }
    let mut log = header(ID).to_vec();
    log.resize(BLOCK, 0);
    // Nothing is promised of it but an end.
    let _read = replay(data, ID);
    let _read = replay(&[&log, data].concat(), ID);
    let Some((damage, steps)) = data.split_first_chunk::<4>() else { return };
    let (mut chain, mut records) = (Chain::new(ID), Vec::new());
    for (number, step) in steps.iter().take(8).enumerate() {
        let mut record = vec![0; HEAD];
        encode_body(&delta_of(number, *step), &mut record);
        let length = record.len();
        chain.seal(&mut record, 0);
        records.push((log.len(), length));
        log.extend_from_slice(&record);
    }
    // A log is longer than its records.
    let read = |log: &[u8]| {
        let Replay { deltas, broken } = replay(&[log, &[0; BLOCK]].concat(), ID);
        broken.map_or(Ok(deltas.len()), |broken| Err((deltas.len(), broken.records)))
    };
    assert_eq!(read(&log), Ok(records.len()), "a sound log is read to its end");
    let [at, more, part, bits] = *damage;
    let Some((start, length)) = records.get(usize::from(at) % records.len().max(1)) else { return };
    let is_last = records.last().is_some_and(|last| last.0 == *start);
    let offset = (usize::from(part) << 8 | usize::from(more)) % length;
    log[start + offset] ^= bits.max(1);
    let whole = records.iter().take_while(|record| record.0 < *start).count();
    match read(&log) {
        Ok(left) => assert!(is_last && left == whole, "{left} of {}", records.len()),
        Err(_) if is_last => panic!("what may have been half written is no damage"),
        Err(left) => {
            assert_eq!(left, (whole, (records.len() - whole) as u64), "what is whole, and what is not");
        }
    }
}

fn delta_of(number: usize, step: u8) -> Delta {
    let path = format!("/{}", step % 8);
    let revision = number as u64 + 1;
    let value = vec![step; usize::from(step) * VALUE_BYTES_PER_STEP];
    let record = (!step.is_multiple_of(5)).then(|| Record::new(&path, [revision, revision, 1], None, &value));
    let key = Key::parse(&path).expect("a valid key");
    let counters = Counters { epoch: 1, revision, lease_counter: 0 };
    Delta { counters, entries: vec![(key, record)], leases: Vec::new() }
}
