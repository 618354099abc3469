//! Archives between engines, and those that were ever written.

mod golden;
mod restore;

use std::time::Duration;

use weir_store::archive::Export;
use weir_store::{Key, Store, Txn};

fn key(name: &str) -> Key {
    Key::new("test", "default", name).expect("a valid key")
}

/// Some keys, one of them written twice, one deleted, one under a lease.
async fn fill(store: &dyn Store) {
    let lease = store.grant(Duration::from_secs(3600)).await.expect("a lease").id;
    let commit = async |txn| drop(store.commit(txn).await.expect("accepted"));
    commit(Txn::new().put(key("a"), *b"1")).await;
    commit(Txn::new().put(key("a"), *b"2").put_leased(key("leased"), *b"{}", lease)).await;
    commit(Txn::new().put(key("käse/"), *b"").put(key("gone"), *b"x")).await;
    commit(Txn::new().delete(key("gone")).put(key("bytes"), [0, 255, 10, 13])).await;
}

async fn export(store: &dyn Store) -> Vec<u8> {
    let mut export = Export::begin(store, |_| true).await.expect("it begins");
    let mut bytes = Vec::new();
    while let Some(piece) = export.next().await.expect("it goes on") {
        bytes.extend_from_slice(&piece);
    }
    bytes
}
