//! What the tests share: a running control plane, small entities, and a store that fails on demand.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use futures_util::future::BoxFuture;
use weir_control::catalog::{CheckRef, InstanceRef};
use weir_control::{Control, Settings};
use weir_model::Position;
use weir_model::registry::{Check, CheckDefinition, CheckKind, Health, Instance, Node};
use weir_model::units::Span;
use weir_store::{
    Error, Key, KeyRange, KeyValue, Lease, LeaseId, Limits, Memory, Op, Outcome, Page, Read, Revision,
    Snapshot, Stats, Store, Txn, Value, Watch,
};

pub(crate) const NS: &str = "default";
/// The server's own node in all tests.
pub(crate) const NODE: &str = "weir";

pub(crate) fn settings() -> Settings {
    Settings { checkpoint_every: 4, ..Settings::default() }
}

pub(crate) async fn start() -> Arc<Control> {
    start_on(Arc::new(Memory::new())).await
}

pub(crate) async fn start_on(store: Arc<dyn Store>) -> Arc<Control> {
    Control::start(store, settings()).await.expect("starts")
}

pub(crate) fn node(name: &str) -> Node {
    Node { name: name.to_owned(), address: "10.0.0.1".to_owned(), ..Node::default() }
}

pub(crate) fn instance(service: &str, id: &str) -> Instance {
    Instance {
        namespace: NS.to_owned(),
        node: NODE.to_owned(),
        id: id.to_owned(),
        service: service.to_owned(),
        port: 8080,
        ..Instance::default()
    }
}

pub(crate) fn check(id: &str, instance: Option<&str>, health: Health) -> Check {
    Check {
        namespace: NS.to_owned(),
        node: NODE.to_owned(),
        id: id.to_owned(),
        name: id.to_owned(),
        instance: instance.map(str::to_owned),
        health,
        ..Check::default()
    }
}

pub(crate) fn ttl(
    id: &str,
    instance: Option<&str>,
    ttl: Duration,
    deregister_after: Option<Duration>,
) -> Check {
    Check {
        definition: Some(CheckDefinition {
            kind: CheckKind::Ttl,
            interval: Span(ttl),
            timeout: Span(Duration::ZERO),
            successes_before_passing: 0,
            failures_before_critical: 0,
            failures_before_warning: 0,
            deregister_after: deregister_after.map(Span),
        }),
        ..check(id, instance, Health::Passing)
    }
}

pub(crate) fn check_ref(id: &str) -> CheckRef {
    CheckRef::new(NS, NODE, id)
}

pub(crate) fn instance_ref(id: &str) -> InstanceRef {
    InstanceRef::new(NS, NODE, id)
}

/// A store that counts commits, and refuses them or some of them when told to.
pub(crate) struct Faulty {
    inner: Arc<dyn Store>,
    pub(crate) commits: AtomicUsize,
    pub(crate) refuse_all: AtomicBool,
    /// Refuse transactions that write to keys of this kind.
    pub(crate) refuse_kind: std::sync::Mutex<Option<&'static str>>,
}

impl Faulty {
    pub(crate) fn over(inner: Arc<dyn Store>) -> Arc<Self> {
        Arc::new(Self {
            inner,
            commits: AtomicUsize::new(0),
            refuse_all: AtomicBool::new(false),
            refuse_kind: std::sync::Mutex::new(None),
        })
    }

    pub(crate) fn refuse_kind(&self, kind: Option<&'static str>) {
        *self.refuse_kind.lock().unwrap() = kind;
    }

    fn refuses(&self, txn: &Txn) -> bool {
        let kind = *self.refuse_kind.lock().unwrap();
        let of_kind = |op: &Op| match op {
            Op::Put { key, .. } | Op::Delete(key) => key.kind() == kind,
            Op::DeleteRange(_) => false,
        };
        self.refuse_all.load(Ordering::SeqCst) || (kind.is_some() && txn.writes.iter().any(of_kind))
    }
}

impl Store for Faulty {
    fn limits(&self) -> Limits {
        self.inner.limits()
    }

    fn stats(&self) -> Stats {
        self.inner.stats()
    }

    fn position(&self) -> BoxFuture<'_, Result<Position, Error>> {
        self.inner.position()
    }

    fn can_replace(&self) -> Result<(), Error> {
        self.inner.can_replace()
    }

    fn get<'a>(&'a self, key: &'a Key) -> BoxFuture<'a, Result<Option<KeyValue>, Error>> {
        self.inner.get(key)
    }

    fn range(&self, read: Read) -> BoxFuture<'_, Result<Page, Error>> {
        self.inner.range(read)
    }

    fn snapshot(&self) -> BoxFuture<'_, Result<Snapshot<'_>, Error>> {
        self.inner.snapshot()
    }

    fn commit(&self, txn: Txn) -> BoxFuture<'_, Result<Outcome, Error>> {
        if self.refuses(&txn) {
            let reason = "no space left on device".to_owned();
            return Box::pin(async { Err(Error::WriteRefused { reason }) });
        }
        self.commits.fetch_add(1, Ordering::SeqCst);
        self.inner.commit(txn)
    }

    fn watch(&self, range: KeyRange, from: Revision) -> BoxFuture<'_, Result<Watch, Error>> {
        self.inner.watch(range, from)
    }

    fn compact(&self, revision: Revision) -> BoxFuture<'_, Result<(), Error>> {
        self.inner.compact(revision)
    }

    fn grant(&self, ttl: Duration) -> BoxFuture<'_, Result<Lease, Error>> {
        self.inner.grant(ttl)
    }

    fn keep_alive(&self, lease: LeaseId) -> BoxFuture<'_, Result<Lease, Error>> {
        self.inner.keep_alive(lease)
    }

    fn revoke(&self, lease: LeaseId) -> BoxFuture<'_, Result<Position, Error>> {
        self.inner.revoke(lease)
    }

    fn replace(
        &self,
        values: BTreeMap<Key, Value>,
        epoch_above: u64,
    ) -> BoxFuture<'_, Result<Position, Error>> {
        self.inner.replace(values, epoch_above)
    }
}
