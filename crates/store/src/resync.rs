//! Reading a whole range and following it from there, for whoever keeps a copy of a range.

use crate::{Error, KeyRange, KeyValue, Position, Read, Record, Store, Watch};

/// How often a list begins anew because the history moved past it.
const LIST_TRIES_MAX: usize = 5;
/// Bytes of keys and values that a page of a list is to have. The next page is as long as this one suggests.
const PAGE_BYTES: usize = 4 << 20;
/// Entries of the first page: with the largest values it is bearable, and with small ones not much is lost.
const FIRST_PAGE_ENTRIES: usize = 64;
/// A page has at most so many times the entries of the one before, however small those were.
const PAGE_GROWTH_MAX: usize = 4;

/// Every entry of a range as of one position, read page by page.
///
/// # Errors
/// What [`Store::range`] answers; [`Error::Compacted`] only if it came back on every one of some tries.
pub async fn list(store: &dyn Store, range: &KeyRange) -> Result<(Vec<KeyValue>, Position), Error> {
    list_as(store, range, |pair| pair).await
}

/// The same, each entry kept in the form that `keep` gives it.
async fn list_as<T>(
    store: &dyn Store,
    range: &KeyRange,
    keep: fn(KeyValue) -> T,
) -> Result<(Vec<T>, Position), Error> {
    let mut tries = 1;
    loop {
        match list_once(store, range, keep).await {
            Err(error) if error.needs_resync() && tries < LIST_TRIES_MAX => tries += 1,
            result => return result,
        }
    }
}

async fn list_once<T>(
    store: &dyn Store,
    range: &KeyRange,
    keep: fn(KeyValue) -> T,
) -> Result<(Vec<T>, Position), Error> {
    let entries_max = store.limits().range_entries_max;
    let mut limit = FIRST_PAGE_ENTRIES.min(entries_max);
    let mut page = store.range(Read::range(range.clone()).limit(limit)).await?;
    let position = page.position;
    let mut kept = Vec::new();
    while page.more
        && let Some(last) = page.entries.last()
    {
        limit = next_limit(limit, &page.entries).min(entries_max);
        let next = Read::range(range.after(&last.key)).at(position.revision).limit(limit);
        kept.extend(page.entries.drain(..).map(keep));
        page = store.range(next).await?;
    }
    kept.extend(page.entries.into_iter().map(keep));
    Ok((kept, position))
}

/// How many entries the next page is to have, after one with this limit.
fn next_limit(limit: usize, page: &[KeyValue]) -> usize {
    let bytes: usize = page.iter().map(|pair| pair.key.as_bytes().len() + pair.entry.value.len()).sum();
    let fitting = page.len().saturating_mul(PAGE_BYTES) / bytes.max(1);
    fitting.clamp(1, limit.saturating_mul(PAGE_GROWTH_MAX).max(1))
}

/// Every entry of a range as of one position, as records, and a watch that continues from there without a gap.
///
/// Call it at the start, and again whenever the watch ends with an error that [`Error::needs_resync`].
///
/// # Errors
/// As [`list`].
pub async fn list_and_watch(
    store: &dyn Store,
    range: &KeyRange,
) -> Result<(Vec<Record>, Position, Watch), Error> {
    let mut tries = 1;
    loop {
        let (entries, position) = list_as(store, range, |pair| Record::of(&pair.key, &pair.entry)).await?;
        match store.watch(range.clone(), position.revision + 1).await {
            Ok(watch) => return Ok((entries, position, watch)),
            Err(error) if error.needs_resync() && tries < LIST_TRIES_MAX => tries += 1,
            Err(error) => return Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Key, Memory, Txn};

    async fn page_after(limit: usize, count: usize, value_bytes: usize) -> usize {
        let store = Memory::new();
        for number in 0..count {
            let key = Key::new("test", "default", &format!("{number:04}")).expect("valid");
            store.commit(Txn::new().put(key, vec![b'x'; value_bytes])).await.expect("accepted");
        }
        let page = store.range(Read::range(KeyRange::all())).await.expect("a page");
        next_limit(limit, &page.entries)
    }

    #[tokio::test]
    async fn pages_are_as_long_as_their_bytes_allow() {
        assert_eq!(page_after(64, 64, 10).await, 256, "small ones: longer, but not at once");
        assert_eq!(page_after(64, 8, 1 << 20).await, 3, "large ones: what fits");
        assert_eq!(page_after(2, 2, 512 << 10).await, 7);
        assert_eq!(page_after(64, 0, 0).await, 1);
    }

    #[tokio::test]
    async fn a_list_has_all_whatever_the_sizes() {
        let store = Memory::new();
        let sizes: Vec<usize> = (0..600).map(|i| if i % 97 == 0 { 1 << 20 } else { i }).collect();
        for (number, size) in sizes.iter().enumerate() {
            let key = Key::new("test", "default", &format!("{number:04}")).expect("valid");
            store.commit(Txn::new().put(key, vec![b'x'; *size])).await.expect("accepted");
        }
        let (entries, _) = list(&store, &KeyRange::all()).await.expect("a list");
        assert_eq!(entries.iter().map(|pair| pair.entry.value.len()).collect::<Vec<_>>(), sizes);
    }
}
