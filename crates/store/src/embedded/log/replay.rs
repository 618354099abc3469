//! What a log says that was left open: the batches that its file has not got yet, or why that cannot be known.

use super::super::layout::Delta;
use super::record::{BLOCK, Chain, HEAD, Head, LogId, decode_body, header, revision_of};
use crate::Revision;

/// What could be read of a log.
#[derive(Debug)]
pub(crate) struct Replay {
    /// In order.
    pub(crate) deltas: Vec<Delta>,
    /// Why there is more that was acknowledged than these.
    pub(crate) broken: Option<Broken>,
}

/// What is wrong with a log.
#[derive(Debug)]
pub(crate) struct Broken {
    /// In words.
    pub(crate) reason: String,
    /// Records that are known to be missing; there may be more.
    pub(crate) records: u64,
    /// The last revision that one of them names, as far as that can be read.
    pub(crate) last: Option<u64>,
}

/// What a damaged log has, or had, and was left out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeftOut {
    /// The log.
    pub path: String,
    /// What is wrong with it.
    pub reason: String,
    /// The last revision that is there: what was written after it is left out.
    pub after: Revision,
    /// So many records of the log at least. Each has a batch, of some writes or none: leases are granted and end in them, too.
    pub records: u64,
    /// The last revision that is known to be left out. Nothing vouches for it: it stands in a record that is not believed.
    pub up_to: Option<Revision>,
}

impl Broken {
    pub(crate) fn left_out(self, path: String, after: Revision) -> LeftOut {
        let Self { reason, records, last } = self;
        LeftOut { path, reason, after, records, up_to: last.filter(|last| *last > after) }
    }
}

impl Replay {
    /// Nothing could be read, and nobody knows what is missing.
    pub(crate) fn none(reason: String) -> Self {
        Self { deltas: Vec::new(), broken: Some(Broken { reason, records: 0, last: None }) }
    }

    /// Takes away those from `number` on.
    pub(crate) fn cut(&mut self, number: usize, reason: String) {
        let missing = self.deltas.split_off(number);
        let more = self.broken.take();
        let last = missing.iter().map(|delta| delta.counters.revision).max();
        self.broken = Some(Broken {
            reason,
            records: missing.len() as u64 + more.as_ref().map_or(0, |more| more.records),
            last: last.max(more.and_then(|more| more.last)),
        });
    }
}

/// Reads the records that count, in order.
///
/// The first that is not whole ends them: it was being written when everything stopped, and nobody was told that it is
/// durable. That is so only if nothing was written after it, for a record is written once the one before is on disk. So
/// whatever stands behind it is looked at, and a later record means that this one was damaged since: acknowledged writes
/// would be lost if it were passed over.
pub(crate) fn replay(log: &[u8], id: LogId) -> Replay {
    if !log.starts_with(&header(id)) {
        let reason = "it does not belong to this state of the store's file, or its beginning is damaged";
        return Replay::none(reason.to_owned());
    }
    let mut chain = Chain::new(id);
    let mut deltas = Vec::new();
    let mut at = BLOCK;
    let mut unreadable = None;
    while let Some(body) = log.get(at..).and_then(|rest| chain.read(rest)) {
        match decode_body(body) {
            Ok(delta) => deltas.push(delta),
            Err(reason) => {
                unreadable = Some(format!("the record at byte {at}: {reason}"));
                break;
            }
        }
        at += (HEAD + body.len()).next_multiple_of(BLOCK);
    }
    let reason = unreadable.or_else(|| missing_from(log, at, id, chain.number()));
    let broken = reason.map(|reason| {
        let (records, last) = later(log, id, deltas.len() as u64);
        Broken { reason, records, last }
    });
    Replay { deltas, broken }
}

/// Looks for signs that records are missing from `end` on, where number `next` would stand; what is wrong, in words.
fn missing_from(log: &[u8], end: usize, id: LogId, next: u64) -> Option<String> {
    // No log is as short as its first record would be: without this, one cut to its header would be an empty one.
    if log.len() < 2 * BLOCK {
        return Some(format!("it is cut short: only {} bytes are there", log.len()));
    }
    for (at, head) in heads(log, id) {
        if head.generation > id.generation {
            return Some(format!(
                "the record at byte {at} is newer than the store's file: that one was put back without its log, or is damaged"
            ));
        }
        if head.size > log.len() as u64 {
            return Some(format!("it is cut short: {} of {} bytes are there", log.len(), head.size));
        }
        if at > end || (at == end && head.number != next) {
            return Some(format!("the record at byte {end} is damaged, and there are later ones"));
        }
    }
    None
}

/// How many records of the newest generation there are, or were, after the first `whole` of the one that counts; and the revision
/// of the last of them, if there is one.
fn later(log: &[u8], id: LogId, whole: u64) -> (u64, Option<u64>) {
    let newest = heads(log, id).max_by_key(|(_, head)| (head.generation, head.number));
    let Some((at, head)) = newest else { return (0, None) };
    let before = if head.generation == id.generation { whole } else { 0 };
    let records = (head.number + 1).saturating_sub(before);
    (records, (records > 0).then(|| log.get(at + HEAD..).and_then(revision_of)).flatten())
}

/// The heads of records that count, or count more than these, and where they stand.
fn heads(log: &[u8], id: LogId) -> impl Iterator<Item = (usize, Head)> {
    let blocks = log.chunks(BLOCK).enumerate().skip(1);
    let heads = blocks.filter_map(move |(block, bytes)| Some((block * BLOCK, Head::read(bytes, id.salt)?)));
    heads.filter(move |(_, head)| head.generation >= id.generation)
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
        let Replay { deltas, broken } = replay(log, ID);
        broken.map_or(Ok(deltas.len()), |broken| Err(broken.reason))
    }

    /// How many records are whole, how many are not, and which revision was the last.
    fn read_intact(log: &[u8]) -> (usize, u64, Option<u64>) {
        let Replay { deltas, broken } = replay(log, ID);
        let broken = broken.expect("it is damaged");
        (deltas.len(), broken.records, broken.last)
    }

    #[test]
    fn what_is_whole_of_a_damaged_log_is_told_from_what_is_missing() {
        let mut damaged = log(6);
        damaged[3 * BLOCK + HEAD] ^= 1;
        assert_eq!(read_intact(&damaged), (2, 4, Some(6)));
        // The head of one after it, too.
        damaged[5 * BLOCK] ^= 1;
        assert_eq!(read_intact(&damaged), (2, 4, Some(6)));
        damaged[0] ^= 1;
        assert_eq!(read_intact(&damaged), (0, 0, None));
        let cut = &log(6)[..BLOCK + 80];
        assert_eq!(read_intact(cut), (0, 1, None));
        let older = LogId { generation: ID.generation - 1, ..ID };
        let Replay { deltas, broken } = replay(&log(6), older);
        let broken = broken.expect("the file is too old");
        assert_eq!((deltas.len(), broken.records, broken.last), (0, 6, Some(6)));
        let left_out =
            |after| Broken { reason: String::new(), records: 1, last: Some(6) }.left_out("l".into(), after);
        assert_eq!((left_out(5).up_to, left_out(6).up_to), (Some(6), None));
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
