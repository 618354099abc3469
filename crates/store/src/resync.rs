//! Reading a whole range and following it from there, for whoever keeps a copy of a range.

use crate::{Error, KeyRange, KeyValue, Position, Read, Store, Watch};

/// How often a list begins anew because the history moved past it.
const LIST_TRIES_MAX: usize = 5;

/// Every entry of a range as of one position, read page by page.
///
/// # Errors
/// What [`Store::range`] answers; [`Error::Compacted`] only if it came back on every one of some tries.
pub async fn list(store: &dyn Store, range: &KeyRange) -> Result<(Vec<KeyValue>, Position), Error> {
    let mut tries = 1;
    loop {
        match list_once(store, range).await {
            Err(error) if error.needs_resync() && tries < LIST_TRIES_MAX => tries += 1,
            result => return result,
        }
    }
}

async fn list_once(store: &dyn Store, range: &KeyRange) -> Result<(Vec<KeyValue>, Position), Error> {
    let mut page = store.range(Read::range(range.clone())).await?;
    let position = page.position;
    let mut entries = std::mem::take(&mut page.entries);
    while page.more
        && let Some(last) = entries.last()
    {
        let read = Read::range(range.after(&last.key)).at(position.revision);
        page = store.range(read).await?;
        entries.append(&mut page.entries);
    }
    Ok((entries, position))
}

/// Every entry of a range as of one position, and a watch that continues from there without a gap.
///
/// Call it at the start, and again whenever the watch ends with an error that [`Error::needs_resync`].
///
/// # Errors
/// As [`list`].
pub async fn list_and_watch(
    store: &dyn Store,
    range: &KeyRange,
) -> Result<(Vec<KeyValue>, Position, Watch), Error> {
    let mut tries = 1;
    loop {
        let (entries, position) = list(store, range).await?;
        match store.watch(range.clone(), position.revision + 1).await {
            Ok(watch) => return Ok((entries, position, watch)),
            Err(error) if error.needs_resync() && tries < LIST_TRIES_MAX => tries += 1,
            Err(error) => return Err(error),
        }
    }
}
