//! A log that its file does not name: put aside, unless the file has all that is in it.

use std::io;
use std::path::{Path, PathBuf};

use super::super::layout::Delta;
use super::super::storage::Files;
use super::record::{BLOCK, Chain, HEAD, Head, LogId, decode_body, is_begun, record_bytes, salt_of};
use super::{bytes_of, path_of};
use crate::Position;

/// So many logs are put aside beside each other. None is ever removed or written over.
const ASIDE_MAX: usize = 8;

/// Looks at the log of the store at `path`, which the file does not name, and which would be removed when the next one is begun.
/// It is left behind when a process ends between its last transaction and the removal; or the file is an older one that was put
/// back alone. `at` is what the file has. Puts it aside if it is not known that the file has all of it, or only says so, if
/// nothing may be changed.
pub(in super::super) fn put_aside(
    path: &Path,
    files: &dyn Files,
    at: Position,
    may_change: bool,
) -> io::Result<()> {
    let log = path_of(path);
    if !log.try_exists()? {
        return Ok(());
    }
    let Some(said) = more_than(at, &last_of(path, files)) else { return Ok(()) };
    if !may_change {
        tracing::warn!(log = %log.display(), "the store's file does not name the log beside it, which does not count: {said}");
        return Ok(());
    }
    let aside = free_name(&log)?;
    files.rename(&log, &aside)?;
    files.sync_folder(&log)?;
    tracing::warn!(log = %aside.display(),
        "the store's file does not name the log that was beside it, which does not count and was put aside: {said}");
    Ok(())
}

/// What a log that ends at `last` may have that a file at `at` has not: nothing, if the file is known to have all of it.
///
/// A write that was refused may be in a log whose file was then closed without it. That cannot be told from a file that is too old.
fn more_than(at: Position, last: &Result<Option<Position>, String>) -> Option<String> {
    match last {
        Ok(None) => None,
        Ok(Some(last)) if last.epoch != at.epoch => {
            Some(format!("it is of another history, and ends at {last}; the store's file is at {at}"))
        }
        Ok(Some(last)) => last.revision.checked_sub(at.revision).filter(|more| *more > 0).map(|more| {
            let (last, at) = (last.revision, at.revision);
            format!(
                "it has writes up to revision {last}, {more} more than the store's file, which ends at {at}; was an older file put \
                 back without its log?"
            )
        }),
        Err(reason) => Some(format!("it cannot be read: {reason}")),
    }
}

fn free_name(log: &Path) -> io::Result<PathBuf> {
    for number in 1..=ASIDE_MAX {
        let mut name = log.to_owned().into_os_string();
        name.push(".old");
        if number > 1 {
            name.push(number.to_string());
        }
        let name = PathBuf::from(name);
        if !name.try_exists()? {
            return Ok(name);
        }
    }
    let error = format!(
        "{ASIDE_MAX} logs were put aside beside {} by now: look at them, and move them away",
        log.display()
    );
    Err(io::Error::other(error))
}

/// Where the newest generation of a log ends: nothing if it has no records; or why that cannot be told.
fn last_of(path: &Path, files: &dyn Files) -> Result<Option<Position>, String> {
    let bytes = bytes_of(path, files).map_err(|error| error.to_string())??;
    let salt = salt_of(&bytes).ok_or("it does not begin as a log does")?;
    let heads = || bytes.chunks(BLOCK).skip(1).filter_map(|block| Head::read(block, salt));
    let Some(generation) = heads().map(|head| head.generation).max() else { return Ok(None) };
    let (mut chain, mut last, mut at) = (Chain::new(LogId { salt, generation }), None, BLOCK);
    while let Some(body) = bytes.get(at..).and_then(|rest| chain.read(rest)) {
        let counters = decode_body(body)?.counters;
        last = Some(Position::new(counters.epoch, counters.revision));
        at += (HEAD + body.len()).next_multiple_of(BLOCK);
    }
    if heads().any(|head| head.generation == generation && head.number > chain.number()) {
        return Err(format!("the record at byte {at} is damaged, and there are later ones"));
    }
    last.map(Some).ok_or_else(|| "its only record is not whole".to_owned())
}

/// Whether a record was begun behind those that count, which was not whole: it was never answered, or is damaged since.
pub(super) fn is_cut_off(log: &[u8], id: LogId, deltas: &[Delta]) -> bool {
    let end = BLOCK as u64 + deltas.iter().map(record_bytes).sum::<u64>();
    let rest = usize::try_from(end).ok().and_then(|end| log.get(end..)).unwrap_or_default();
    match Head::read(rest, id.salt) {
        Some(head) => head.generation == id.generation,
        None => is_begun(rest),
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::layout::Counters;
    use super::super::record::{encode_body, header};
    use super::*;

    #[test]
    fn what_a_file_lacks_is_said() {
        let said =
            |epoch, revision| more_than(Position::new(7, 11), &Ok(Some(Position::new(epoch, revision))));
        assert!(said(7, 20).is_some_and(|said| said.contains("up to revision 20, 9 more than")));
        assert_eq!(
            (said(7, 11), said(7, 10), more_than(Position::new(7, 11), &Ok(None))),
            (None, None, None)
        );
        for (epoch, revision) in [(6, 11), (8, 3)] {
            assert!(said(epoch, revision).is_some_and(|said| said.contains("another history")));
        }
        assert!(more_than(Position::new(7, 11), &Err("?".into())).is_some());
    }

    #[test]
    fn a_record_that_is_not_whole_is_noticed() {
        let id = LogId { salt: [7; 16], generation: 3 };
        let counters = Counters { epoch: 1, revision: 1, lease_counter: 0 };
        let delta = || Delta { counters, entries: Vec::new(), leases: Vec::new() };
        let record = |chain: &mut Chain| {
            let mut record = vec![0; HEAD];
            encode_body(&delta(), &mut record);
            chain.seal(&mut record, 0);
            record
        };
        let mut log = header(id).to_vec();
        log.resize(BLOCK, 0);
        let mut chain = Chain::new(id);
        log.extend(record(&mut chain));
        let whole = log.len();
        log.resize(whole + 2 * BLOCK, 0);
        assert!(!is_cut_off(&log, id, &[delta()]), "nothing follows");
        log[whole..whole + BLOCK].copy_from_slice(&record(&mut Chain::new(LogId { generation: 2, ..id })));
        assert!(!is_cut_off(&log, id, &[delta()]), "an older generation's");
        log[whole..whole + BLOCK].copy_from_slice(&record(&mut chain));
        log[whole + HEAD] ^= 1;
        assert!(is_cut_off(&log, id, &[delta()]), "its body is another");
        log[whole + 8] ^= 1;
        assert!(is_cut_off(&log, id, &[delta()]), "its head is damaged");
        assert!(!is_cut_off(&log[..whole], id, &[delta()]), "nothing is there");
    }
}
