//! A file of every format ever written, which every later version must read. A new format adds a file, and changes none.
//!
//! They are kept as text: the length first, then a line for each [`LINE`] bytes that differ from those before, with
//! their place.

use std::fmt::Write;
use std::path::Path;
use std::time::Duration;

use redb::ReadableDatabase;

use weir_store::{KeyRange, Store, Txn, list};

use crate::support::{contents, key, open, put, value};

const FORMAT_1: &str = include_str!("golden/format-1.txt");
/// A file whose log is open, and the log.
const FORMAT_2: &str = include_str!("golden/format-2.txt");
const FORMAT_2_LOG: &str = include_str!("golden/format-2-wal.txt");
/// Bytes in a line of a golden file.
const LINE: usize = 32;

/// What the golden files hold; written once per format, with `WEIR_GOLDEN=FILE`, and its log as `FILE-wal`.
#[tokio::test]
#[ignore = "writes a golden file for a new format"]
async fn write_golden() {
    let path = std::env::var("WEIR_GOLDEN").expect("WEIR_GOLDEN names the file to write");
    let folder = tempfile::tempdir().expect("a temporary folder");
    let store = open(&folder.path().join("store"));
    let lease = store.grant(Duration::from_secs(3600)).await.expect("a lease").id;
    put(&store, "a", "1").await.expect("accepted");
    let txn = Txn::new().put(key("a"), value("2")).put_leased(key("leased"), value("{}"), lease);
    store.commit(txn.put(key("käse/"), value(""))).await.expect("accepted");
    store.commit(Txn::new().put(key("gone"), value("x"))).await.expect("accepted");
    store.commit(Txn::new().delete(key("gone"))).await.expect("accepted");
    for (name, path) in [("store", path.clone()), ("store.wal", path + "-wal")] {
        let bytes = std::fs::read(folder.path().join(name)).expect("read");
        std::fs::write(path, to_text(&bytes)).expect("written");
    }
}

fn to_text(bytes: &[u8]) -> String {
    let mut text = format!("{}\n", bytes.len());
    let mut last: &[u8] = &[];
    for (number, line) in bytes.chunks_exact(LINE).enumerate() {
        if line == last {
            continue;
        }
        last = line;
        write!(text, "{} ", number * LINE).expect("text takes all");
        for byte in line {
            write!(text, "{byte:02x}").expect("text takes all");
        }
        text.push('\n');
    }
    text
}

fn from_text(text: &str) -> Vec<u8> {
    let mut lines = text.lines();
    let length: usize = lines.next().and_then(|length| length.parse().ok()).expect("a length");
    let mut bytes: Vec<u8> = Vec::with_capacity(length);
    for line in lines {
        let (at, hex) = line.split_once(' ').expect("a place and bytes");
        repeat_last_line(&mut bytes, at.parse().expect("a place"));
        for digits in hex.as_bytes().chunks(2) {
            let digits = std::str::from_utf8(digits).expect("text");
            bytes.push(u8::from_str_radix(digits, 16).expect("two digits"));
        }
    }
    repeat_last_line(&mut bytes, length);
    bytes
}

fn repeat_last_line(bytes: &mut Vec<u8>, until: usize) {
    while bytes.len() < until {
        bytes.extend_from_within(bytes.len() - LINE..);
    }
}

#[tokio::test]
async fn format_1_is_read_for_ever() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("store");
    std::fs::write(&path, from_text(FORMAT_1)).expect("written");
    assert_eq!(oldest_that_may_use(&path), 1);
    holds_what_it_should(&path).await;
}

#[tokio::test]
async fn format_2_is_read_for_ever() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("store");
    std::fs::write(&path, from_text(FORMAT_2)).expect("written");
    std::fs::write(folder.path().join("store.wal"), from_text(FORMAT_2_LOG)).expect("written");
    assert_eq!(
        oldest_that_may_use(&path),
        2,
        "who knows format 1 only would miss what is in the log, and must refuse it"
    );
    holds_what_it_should(&path).await;
    assert_eq!(oldest_that_may_use(&path), 1, "what was closed is as it always was");
}

/// The oldest format whose programs may both read and write a file, as every version asks before it does.
fn oldest_that_may_use(path: &Path) -> u64 {
    let database = redb::Database::open(path).expect("a database");
    let table: redb::TableDefinition<'_, &str, &[u8]> = redb::TableDefinition::new("meta");
    let meta = database.begin_read().expect("a transaction").open_table(table).expect("a table");
    let format = meta.get("format").expect("read").expect("a format");
    let format: serde_json::Value = serde_json::from_slice(format.value()).expect("JSON");
    ["reader_min", "writer_min"]
        .map(|name| format[name].as_u64().expect("a number"))
        .into_iter()
        .max()
        .expect("two")
}

async fn holds_what_it_should(path: &Path) {
    let store = open(path);
    let (entries, position) = list(&store, &KeyRange::all()).await.expect("a list");
    assert_eq!(position.revision, 4);
    let found = entries.iter().map(|found| {
        let entry = &found.entry;
        let revisions = (entry.create_revision, entry.mod_revision, entry.version);
        (found.key.tail().expect("a test key"), entry.value.clone(), revisions, entry.lease.is_some())
    });
    let a = ("a", b"2".into(), (1, 2, 2), false);
    let umlaut = ("käse/", b"".into(), (2, 2, 1), false);
    let leased = ("leased", b"{}".into(), (2, 2, 1), true);
    assert_eq!(found.collect::<Vec<_>>(), [a, umlaut, leased]);

    let lease = entries[2].entry.lease.expect("a lease");
    assert_eq!(store.keep_alive(lease).await.expect("alive").ttl, Duration::from_secs(3600));
    assert_eq!(store.revoke(lease).await.expect("revoked").revision, 5);
    assert_eq!(contents(&store).await.len(), 2);
}
