//! Files that are not a store, or not any more: a clear error, never a panic.

use std::path::Path;

use redb::{Database, TableDefinition};
use weir_store::{Embedded, Error, Options, Store};

use crate::support::{Random, contents, open, put, say};

fn error(path: &Path) -> Error {
    Embedded::open(path, Options::default()).err().expect("it must not open")
}

#[tokio::test]
async fn foreign_files_are_refused_and_left_alone() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("store");
    let foreign: [&[u8]; 4] =
        [b"x", b"not a store, but a letter to my mother", &[0; 10_000], &[0xff; 10_000]];
    for bytes in foreign {
        std::fs::write(&path, bytes).expect("written");
        let error = error(&path);
        assert!(matches!(&error, Error::Corrupt { .. }), "{error:?}");
        assert!(error.to_string().contains(&path.display().to_string()), "{error}");
        assert_eq!(std::fs::read(&path).expect("read"), bytes, "the file was changed");
    }
}

#[tokio::test]
async fn what_cannot_be_a_file_is_refused() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    for path in [folder.path().to_owned(), folder.path().join("missing/store")] {
        let error = error(&path);
        assert!(matches!(&error, Error::Open { .. }), "{error:?}");
    }
    let empty = folder.path().join("empty");
    std::fs::write(&empty, b"").expect("written");
    assert!(contents(&open(&empty)).await.is_empty(), "an empty file is a new store");
}

#[tokio::test]
async fn another_programs_database_is_refused() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("store");
    let database = Database::create(&path).expect("a database");
    let transaction = database.begin_write().expect("a transaction");
    let table: TableDefinition<'_, &str, u64> = TableDefinition::new("shopping");
    transaction.open_table(table).expect("a table").insert("milk", 2).expect("inserted");
    transaction.commit().expect("committed");
    drop(database);
    let error = error(&path);
    assert!(matches!(&error, Error::Corrupt { .. }), "{error:?}");
}

fn set_format(path: &Path, format: &str) {
    let database = Database::open(path).expect("a database");
    let transaction = database.begin_write().expect("a transaction");
    let meta: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("meta");
    transaction.open_table(meta).expect("a table").insert("format", format.as_bytes()).expect("inserted");
    transaction.commit().expect("committed");
}

#[tokio::test]
async fn newer_formats_are_refused() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("store");
    put(&open(&path), "a", "1").await.expect("accepted");
    for format in [r#"{"reader_min":3,"writer_min":3}"#, r#"{"reader_min":1,"writer_min":3,"more":true}"#] {
        set_format(&path, format);
        let newer = Error::NewerFormat { path: path.display().to_string(), found: 3, supported: 2 };
        assert_eq!(error(&path), newer);
    }
    set_format(&path, "nonsense");
    assert!(matches!(error(&path), Error::Corrupt { .. }));
    set_format(&path, r#"{"reader_min":1,"writer_min":1,"unknown":"fields are from later versions"}"#);
    assert_eq!(contents(&open(&path)).await.len(), 1);
}

/// Cut and overwritten files open with what they hold, or are refused; nothing panics, and nothing impossible comes
/// out.
#[tokio::test]
async fn damaged_files_do_not_panic() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("store");
    let store = open(&path);
    for i in 0..200 {
        put(&store, &format!("{i:03}"), &"x".repeat(100)).await.expect("accepted");
    }
    let before = store.position().await.expect("a position");
    drop(store);
    let whole = std::fs::read(&path).expect("read");
    let used = whole.iter().rposition(|byte| *byte != 0).expect("not empty") as u64;
    let seed = Random::seed();
    say(&format!("damage: WEIR_SEED={seed}"));
    let mut random = Random(seed);
    let (mut opened, mut refused) = (0, 0);
    for round in 0..120 {
        let mut bytes = whole.clone();
        if round % 4 == 0 {
            bytes.truncate(usize::try_from(random.below(whole.len() as u64)).expect("small"));
        } else {
            for _ in 0..=random.below(20) {
                let at = usize::try_from(random.below(used)).expect("small");
                bytes[at] ^= 1 << random.below(8);
            }
        }
        std::fs::write(&path, &bytes).expect("written");
        match Embedded::open(&path, Options::default()) {
            Ok(store) => {
                opened += 1;
                let found = contents(&store).await;
                assert!(found.values().all(|text| *text == "x".repeat(100)), "a damaged value came out");
                let now = store.position().await.expect("a position");
                assert_eq!(now.revision, found.len() as u64);
                assert!(
                    now.revision == before.revision || now.epoch > before.epoch,
                    "writes are lost unnoticed"
                );
            }
            Err(Error::Corrupt { .. } | Error::Open { .. } | Error::NewerFormat { .. }) => refused += 1,
            Err(other) => panic!("round {round}: {other:?}"),
        }
    }
    say(&format!("damage: {opened} opened, {refused} refused"));
    assert!(refused > 0);
}
