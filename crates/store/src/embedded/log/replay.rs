//! What a log says that was left open: the batches that its file has not got yet, or why that cannot be known.

use super::super::layout::Delta;
use super::record::{BLOCK, Chain, HEAD, Head, LogId, decode_body, header};

/// Reads the records that count, in order.
///
/// The first that is not whole ends them: it was being written when everything stopped, and nobody was told that it is
/// durable. That is so only if nothing was written after it, for a record is written once the one before is on disk. So
/// whatever stands behind it is looked at, and a later record means that this one was damaged since.
///
/// # Errors
/// What is wrong, in words: acknowledged writes would be lost if it were passed over.
pub(crate) fn replay(log: &[u8], id: LogId) -> Result<Vec<Delta>, String> {
    if !log.starts_with(&header(id)) {
        let reason = "it does not belong to this state of the store's file, or its beginning is damaged";
        return Err(reason.to_owned());
    }
    // No log is as short as its first record would be: without this, one cut to its header would be an empty one.
    if log.len() < 2 * BLOCK {
        return Err(format!("it is cut short: only {} bytes are there", log.len()));
    }
    let mut chain = Chain::new(id);
    let mut deltas = Vec::new();
    let mut at = BLOCK;
    while let Some(body) = log.get(at..).and_then(|rest| chain.read(rest)) {
        deltas.push(decode_body(body).map_err(|reason| format!("the record at byte {at}: {reason}"))?);
        at += (HEAD + body.len()).next_multiple_of(BLOCK);
    }
    check_rest(log, at, id, chain.number())?;
    Ok(deltas)
}

/// Looks for signs that records are missing from `end` on, where number `next` would stand.
fn check_rest(log: &[u8], end: usize, id: LogId, next: u64) -> Result<(), String> {
    for (block, bytes) in log.chunks(BLOCK).enumerate().skip(1) {
        let Some(head) = Head::read(bytes, id.salt).filter(|head| head.generation >= id.generation) else {
            continue;
        };
        let at = block * BLOCK;
        if head.generation > id.generation {
            return Err(format!(
                "the record at byte {at} is newer than the store's file: that one was put back without its log, or is damaged"
            ));
        }
        if head.size > log.len() as u64 {
            return Err(format!("it is cut short: {} of {} bytes are there", log.len(), head.size));
        }
        if at > end || (at == end && head.number != next) {
            return Err(format!("the record at byte {end} is damaged, and there are later ones"));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::super::layout::Counters;
    use super::super::record::encode_body;
    use super::*;

    const ID: LogId = LogId { salt: [7; 16], generation: 3 };

    /// A log of so many records of a block each, and room for one more.
    fn log(records: u64) -> Vec<u8> {
        let mut log = header(ID).to_vec();
        log.resize(BLOCK, 0);
        let mut chain = Chain::new(ID);
        for revision in 1..=records {
            let counters = Counters { epoch: 1, revision, lease_counter: 0 };
            let mut record = vec![0; HEAD];
            encode_body(&Delta { counters, entries: Vec::new(), leases: Vec::new() }, &mut record);
            chain.seal(&mut record, 0);
            log.extend_from_slice(&record);
        }
        log.resize(log.len() + BLOCK, 0);
        log
    }

    fn read(log: &[u8]) -> Result<usize, String> {
        replay(log, ID).map(|deltas| deltas.len())
    }

    /// A disk may write a block in another's place.
    #[test]
    fn a_record_in_the_place_of_the_last_one_is_no_end() {
        assert_eq!(read(&log(4)), Ok(4));
        for number in 1..4 {
            let mut misplaced = log(4);
            misplaced.copy_within(number * BLOCK..(number + 1) * BLOCK, 4 * BLOCK);
            assert!(read(&misplaced).is_err_and(|reason| reason.contains("is damaged")), "{number}");
        }
    }

    #[test]
    fn a_header_alone_is_no_log() {
        assert_eq!(read(&log(0)), Ok(0));
        for length in 0..2 * BLOCK {
            assert!(read(&log(0)[..length]).is_err(), "{length}");
        }
    }
}
