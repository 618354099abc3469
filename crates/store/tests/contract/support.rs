//! Engines to test, and short names for what tests do all the time.

use std::sync::Arc;
use std::time::Duration;

use tempfile::TempDir;
use weir_store::clock::ManualClock;
use weir_store::{
    Batch, Embedded, Etcd, EtcdOptions, Key, Limits, Memory, Options, Outcome, Revision, Store, Txn, Value,
    Watch,
};

use crate::etcd_member::Member;

/// Nothing in these tests takes this long unless it hangs.
const PATIENCE: Duration = Duration::from_secs(90);

/// A fresh store with a clock that moves by hand.
pub(crate) struct Fixture {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) clock: ManualClock,
    _folder: Option<TempDir>,
    _member: Option<Member>,
}

/// Makes a fresh store of one engine.
pub(crate) type Make = fn(Limits) -> Fixture;

pub(crate) fn memory(limits: Limits) -> Fixture {
    let clock = ManualClock::new();
    Fixture {
        store: Arc::new(Memory::with(limits, Arc::new(clock.clone()))),
        clock,
        _folder: None,
        _member: None,
    }
}

pub(crate) fn embedded(limits: Limits) -> Fixture {
    let clock = ManualClock::new();
    let folder = tempfile::tempdir().expect("a temporary folder");
    let mut options = Options::default();
    options.limits = limits;
    options.clock = Arc::new(clock.clone());
    let store = Embedded::open(folder.path().join("store"), options).expect("a new store opens");
    Fixture { store: Arc::new(store), clock, _folder: Some(folder), _member: None }
}

/// An etcd of its own. Its clock cannot be moved.
pub(crate) fn etcd(limits: Limits) -> Fixture {
    let member = Member::start();
    let mut options = EtcdOptions::default();
    options.limits = limits;
    let open = || {
        tokio::runtime::Handle::current()
            .block_on(Etcd::open(&member.address().parse().expect("an address"), options))
    };
    let store = tokio::task::block_in_place(open).expect("etcd answers");
    Fixture { store: Arc::new(store), clock: ManualClock::new(), _folder: None, _member: Some(member) }
}

pub(crate) fn key(name: &str) -> Key {
    Key::new("test", "default", name).expect("a valid key")
}

pub(crate) fn value(text: &str) -> Value {
    text.as_bytes().into()
}

impl Fixture {
    pub(crate) async fn commit(&self, txn: Txn) -> Outcome {
        self.store.commit(txn).await.expect("the transaction is accepted")
    }

    pub(crate) async fn put(&self, name: &str, text: &str) -> Revision {
        self.commit(Txn::new().put(key(name), value(text))).await.position.revision
    }

    pub(crate) async fn delete(&self, name: &str) -> Revision {
        self.commit(Txn::new().delete(key(name))).await.position.revision
    }

    /// The value of a key as text.
    pub(crate) async fn text(&self, name: &str) -> Option<String> {
        let found = self.store.get(&key(name)).await.expect("a read works")?;
        Some(String::from_utf8(found.entry.value.bytes().into_owned()).expect("text"))
    }

    pub(crate) async fn revision(&self) -> Revision {
        self.store.position().await.expect("a position").revision
    }
}

/// The next batch of a watch, which must come.
pub(crate) async fn next(watch: &mut Watch) -> Batch {
    within(watch.next()).await.expect("the watch goes on")
}

/// What must happen, and soon.
pub(crate) async fn within<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, future).await.expect("it hangs")
}

/// The names of a batch's keys, with a minus before those deleted.
pub(crate) fn names(batch: &Batch) -> Vec<String> {
    let name = |event: &weir_store::Event| {
        let sign = if event.now.is_some() { "" } else { "-" };
        format!("{sign}{}", event.key.tail().unwrap_or_default())
    };
    batch.events.iter().map(name).collect()
}
