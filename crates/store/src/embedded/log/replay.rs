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
