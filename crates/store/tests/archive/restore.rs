use std::path::Path;

use weir_store::archive::{ArchiveError, Reader, verify};
use weir_store::{Embedded, Error, KeyRange, Memory, Options, Position, Restore, Store, Txn, list};

use crate::{export, fill, key};

#[derive(Debug)]
enum Fault {
    Store(Error),
    File(ArchiveError),
}

impl From<Error> for Fault {
    fn from(error: Error) -> Self {
        Self::Store(error)
    }
}

fn restore(path: &Path, archive: &[u8], replace: bool) -> Result<Position, Fault> {
    let reader = Reader::open(archive).map_err(Fault::File)?;
    let from = reader.head().position;
    Embedded::restore(path, Restore { from, replace }, reader.map(|entry| entry.map_err(Fault::File)))
}

fn open(path: &Path) -> Embedded {
    Embedded::open(path, Options::default()).expect("it opens")
}

fn files(folder: &Path) -> Vec<String> {
    let names = std::fs::read_dir(folder).expect("a folder");
    names.map(|name| name.expect("a name").file_name().to_string_lossy().into_owned()).collect()
}

#[tokio::test]
async fn a_restored_file_goes_on_where_the_archive_was_with_a_higher_epoch() {
    let source = Memory::new();
    fill(&source).await;
    let archive = export(&source).await;
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("store");
    let position = restore(&path, &archive, false).expect("restored");
    let old = source.position().await.expect("a position");
    assert!(position > old && position.revision == old.revision, "{old} {position}");
    let store = open(&path);
    assert_eq!(store.position().await.expect("a position"), position);
    let (mut expected, _) = list(&source, &KeyRange::all()).await.expect("a list");
    expected.retain(|pair| pair.entry.lease.is_none());
    assert_eq!(list(&store, &KeyRange::all()).await.expect("a list").0, expected);
    let next = store.commit(Txn::new().put(key("next"), *b"x")).await.expect("accepted").position;
    assert_eq!(next, Position::new(position.epoch, position.revision + 1));
    drop(store);
    assert_eq!(open(&path).position().await.expect("a position"), next);
}

#[tokio::test]
async fn what_is_there_is_replaced_only_if_that_is_wanted_and_never_while_it_is_in_use() {
    let source = Memory::new();
    fill(&source).await;
    let archive = export(&source).await;
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("store");
    let store = open(&path);
    let before = store.commit(Txn::new().put(key("mine"), *b"x")).await.expect("accepted").position;
    assert!(matches!(restore(&path, &archive, true), Err(Fault::Store(Error::InUse { .. }))));
    drop(store);
    let refused = restore(&path, &archive, false);
    assert!(matches!(refused, Err(Fault::Store(Error::NotEmpty { keys: 1, .. }))), "{refused:?}");
    assert_eq!(open(&path).position().await.expect("a position"), before);
    let position = restore(&path, &archive, true).expect("restored");
    assert!(position > before);
    assert_eq!(open(&path).get(&key("mine")).await, Ok(None));
    assert_eq!(files(folder.path()), ["store"]);
    std::fs::write(&path, b"no store").expect("written");
    assert!(restore(&path, &archive, false).is_err());
    restore(&path, &archive, true).expect("a damaged one is what backups are for");
    assert!(open(&path).get(&key("a")).await.expect("read").is_some());
}

#[tokio::test]
async fn an_archive_that_is_not_whole_changes_nothing() {
    let source = Memory::new();
    fill(&source).await;
    let archive = export(&source).await;
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("store");
    let store = open(&path);
    store.commit(Txn::new().put(key("mine"), *b"x")).await.expect("accepted");
    drop(store);
    for end in [archive.len() / 2, archive.len() - 1] {
        let refused = restore(&path, &archive[..end], true);
        assert!(matches!(refused, Err(Fault::File(ArchiveError::Truncated { .. }))), "{refused:?}");
    }
    assert!(open(&path).get(&key("mine")).await.expect("read").is_some());
    assert_eq!(files(folder.path()), ["store"]);
}

/// A file of many pages comes back whole, and in bounded transactions.
#[tokio::test]
async fn a_store_of_many_keys_moves_from_engine_to_engine() {
    let source = Memory::new();
    for round in 0..50 {
        let txn = (0..200).fold(Txn::new(), |txn, i| {
            txn.put(key(&format!("{round:04}/{i:04}")), vec![round; usize::from(round) * 20])
        });
        source.commit(txn).await.expect("accepted");
    }
    let archive = export(&source).await;
    assert_eq!(verify(&*archive).expect("whole").keys(), 10_000);
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("store");
    restore(&path, &archive, false).expect("restored");
    let (store, target) = (open(&path), Memory::new());
    let entries = Reader::open(&*archive).expect("a head").map(|entry| entry.map_err(Fault::File));
    assert_eq!(weir_store::archive::fill(&target, entries).await.expect("filled"), 10_000);
    let of = async |store: &dyn Store| {
        let (all, _) = list(store, &KeyRange::all()).await.expect("a list");
        all.into_iter().map(|pair| (pair.key, pair.entry.value)).collect::<Vec<_>>()
    };
    let expected = of(&source).await;
    assert!(of(&store).await == expected && of(&target).await == expected);
}
