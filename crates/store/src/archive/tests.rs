use super::*;
use crate::{Entry, Error, Key, KeyRange, KeyValue, Memory, Store, Txn, list};

fn key(path: &str) -> Key {
    Key::parse(path).expect("valid")
}

async fn archive(store: &dyn Store, carried: fn(&Key) -> bool) -> Vec<u8> {
    let mut export = Export::begin(store, carried).await.expect("it begins");
    let mut bytes = Vec::new();
    while let Some(piece) = export.next().await.expect("it goes on") {
        bytes.extend_from_slice(&piece);
    }
    bytes
}

fn entries(bytes: &[u8]) -> Result<Vec<(Key, Entry)>, ArchiveError> {
    Reader::open(bytes)?.collect()
}

async fn filled() -> Memory {
    let store = Memory::new();
    let lease = store.grant(std::time::Duration::from_secs(60)).await.expect("a lease").id;
    let txn =
        Txn::new().put(key("/weir/v1/kv/default/a"), *b"\0\xff").put(key("/weir/v1/lock/default/l"), *b"{}");
    store.commit(txn).await.expect("accepted");
    let txn = Txn::new().put(key("/weir/v1/kv/default/ü/"), *b"").put_leased(key("/leased"), *b"x", lease);
    store.commit(txn.put(key("/weir/v1/kv/default/a"), *b"2")).await.expect("accepted");
    store
}

#[tokio::test]
async fn what_is_carried_reads_back_as_it_was() {
    let store = filled().await;
    let bytes = archive(&store, |key| key.kind() != Some("lock")).await;
    assert!(bytes.starts_with(b"weir-store 1\nH"));
    let (all, position) = list(&store, &KeyRange::all()).await.expect("a list");
    let expected: Vec<(Key, Entry)> = all
        .into_iter()
        .filter(|pair| pair.entry.lease.is_none() && pair.key.kind() != Some("lock"))
        .map(|KeyValue { key, entry }| (key, entry))
        .collect();
    assert_eq!(expected.len(), 2);
    assert_eq!(entries(&bytes).expect("whole"), expected);
    let summary = verify(&*bytes).expect("whole");
    assert_eq!((summary.head.position, summary.keys()), (position, 2));
    assert_eq!(summary.kinds.into_iter().collect::<Vec<_>>(), [("kv".to_owned(), 2)]);
}

#[tokio::test]
async fn an_empty_store_is_an_archive_too() {
    let bytes = archive(&Memory::new(), |_| true).await;
    assert_eq!(entries(&bytes).expect("whole"), []);
}

#[tokio::test]
async fn a_snapshot_does_not_see_what_comes_later() {
    let store = filled().await;
    let mut export = Export::begin(&store, |_| true).await.expect("it begins");
    for i in 0..70_000 {
        store.commit(Txn::new().put(key("/weir/v1/kv/default/a"), *b"later")).await.expect("accepted");
        assert!(i > 0 || store.position().await.expect("a position") > export.position());
    }
    let mut bytes = Vec::new();
    while let Some(piece) = export.next().await.expect("history may be as short as it likes") {
        bytes.extend_from_slice(&piece);
    }
    let found = entries(&bytes).expect("whole");
    assert_eq!(&*found[0].1.value.bytes(), b"2", "{found:?}");
}

#[tokio::test]
async fn filling_takes_as_many_transactions_as_it_needs() {
    let store = Memory::new();
    let count = store.limits().txn_ops_max * 2 + 3;
    let pairs = (0..count).map(|i| {
        let entry = Entry {
            value: i.to_string().into_bytes().into(),
            create_revision: 1,
            mod_revision: 1,
            version: 1,
            lease: None,
        };
        Ok::<_, Error>((key(&format!("/weir/v1/kv/default/{i:08}")), entry))
    });
    assert_eq!(fill(&store, pairs).await.expect("filled"), count as u64);
    let (all, position) = list(&store, &KeyRange::all()).await.expect("a list");
    assert_eq!((all.len(), position.revision), (count, 3));
    assert_eq!(&*all[count - 1].entry.value.bytes(), (count - 1).to_string().as_bytes());
}

/// Not one byte may be missing, and not one bit may be another.
#[tokio::test]
async fn what_was_cut_short_or_altered_is_refused() {
    let bytes = archive(&filled().await, |_| true).await;
    for end in 0..bytes.len() {
        let error = entries(&bytes[..end]).expect_err("cut short");
        assert!(matches!(error, ArchiveError::Truncated { .. } | ArchiveError::Other), "{end}: {error}");
    }
    for at in 0..bytes.len() {
        for bit in 0..8 {
            let mut altered = bytes.clone();
            altered[at] ^= 1 << bit;
            assert!(entries(&altered).is_err(), "bit {bit} of byte {at}");
        }
    }
    let mut longer = bytes.clone();
    longer.push(0);
    assert!(matches!(entries(&longer), Err(ArchiveError::Damaged { .. })));
}

#[test]
fn what_is_something_else_or_newer_is_said() {
    let check = |bytes: &[u8], expected: &str| {
        let error = entries(bytes).expect_err("no archive").to_string();
        assert!(error.contains(expected), "{error}");
    };
    check(b"", "not an export or a backup");
    check(b"{\"kind\": \"Service\"}\n", "not an export or a backup");
    check(b"weir-store x\n", "not an export or a backup");
    let head = br#"{"reader_min":2,"position":{"epoch":1,"revision":1}}"#;
    let mut newer = b"weir-store 2\nH".to_vec();
    newer.extend_from_slice(&(head.len() as u32).to_le_bytes());
    newer.extend_from_slice(head);
    check(&newer, "it has format 2, this version reads up to 1; use a newer weir");
    check(b"weir-store 1\nE\0\0\0\0", "does not begin with its head");
    check(b"weir-store 1\nH\xff\xff\xff\xff", "a block of 4294967295 bytes");
}

proptest::proptest! {
    #[test]
    fn garbage_is_refused_without_a_panic(tail: Vec<u8>) {
        let mut bytes = b"weir-store 1\n".to_vec();
        bytes.extend_from_slice(&tail);
        proptest::prop_assert!(entries(&bytes).is_err());
    }
}
