//! A log that its file does not name: put aside, unless the file has all that is in it.

use std::io;
use std::path::{Path, PathBuf};

use super::super::layout::Delta;
use super::super::storage::{Opener, sync_folder};
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
    opener: &Opener,
    at: Position,
    may_change: bool,
) -> io::Result<()> {
    let log = path_of(path);
    if !log.try_exists()? {
        return Ok(());
    }
    let last = last_of(path, opener);
    // What was refused may be in a log whose file was then closed without it. Whoever was told that knows better, but the log is
    // kept, as the other case cannot be told apart.
    if matches!(last, Ok(None))
        || matches!(last, Ok(Some(last)) if last.epoch == at.epoch && last.revision <= at.revision)
    {
        return Ok(());
    }
    let said = match &last {
        Ok(Some(last)) if last.epoch == at.epoch => format!(
            "it has writes up to revision {}, {} more than the store's file, which ends at {}: was an older file put back without \
             its log?",
            last.revision,
            last.revision - at.revision,
            at.revision
        ),
        Ok(Some(last)) => {
            format!("it is of another history, and ends at {last}; the store's file is at {at}")
        }
        Ok(None) | Err(_) => format!("it cannot be read: {}", last.err().unwrap_or_default()),
    };
    if !may_change {
        tracing::warn!(log = %log.display(), "the store's file does not name the log beside it, which does not count: {said}");
        return Ok(());
    }
    let aside = free_name(&log)?;
    std::fs::rename(&log, &aside)?;
    sync_folder(&log)?;
    tracing::warn!(log = %aside.display(), "the store's file does not name the log beside it, which does not count and was put aside: {said}");
    Ok(())
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
fn last_of(path: &Path, opener: &Opener) -> Result<Option<Position>, String> {
    let bytes = bytes_of(path, opener).map_err(|error| error.to_string())??;
    let salt = salt_of(&bytes).ok_or("it does not begin as a log does")?;
    let heads = || bytes.chunks(BLOCK).skip(1).filter_map(|block| Head::read(block, salt));
    let Some(generation) = heads().map(|head| head.generation).max() else { return Ok(None) };
    let (mut chain, mut last, mut at) = (Chain::new(LogId { salt, generation }), None, BLOCK);
    while let Some(body) = bytes.get(at..).and_then(|rest| chain.read(rest)) {
        let counters = decode_body(body)?.counters;
        last = Some(Position::new(counters.epoch, counters.revision));
        at += (HEAD + body.len()).next_multiple_of(BLOCK);
    }
    let is_all = heads().all(|head| head.generation < generation || head.number <= chain.number());
    if is_all {
        Ok(last)
    } else {
        Err(format!("the record at byte {at} is damaged, and there are later ones"))
    }
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
