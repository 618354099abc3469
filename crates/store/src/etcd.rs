//! The engine over an etcd cluster (API version 3), for a control plane of several replicas.
//!
//! A revision is etcd's own. Keys are stored as they are, behind an optional prefix. Beside them lie two keys of the engine's
//! (`layout`): the epoch, and one that is touched when a watch must learn of a revision that changed nothing of Weir's.
//!
//! What etcd bounds and how it expires leases is etcd's affair: its limits are set at its start (`--max-txn-ops`,
//! `--max-request-bytes`, `--quota-backend-bytes`). [`EtcdOptions::limits`] are what this side refuses beforehand, so that an
//! error names the bound; those on the whole state, on leases and on history have no meaning here.
//!
//! A call that is not answered in time, or whose connection breaks, fails with [`Error::Unavailable`]; a transaction may
//! have been committed nevertheless. While no member answers, calls fail at once. Watches connect again by themselves and miss
//! nothing.

mod client;
mod contact;
mod convert;
mod epoch;
mod fault;
#[allow(missing_docs, unreachable_pub, dead_code, clippy::all, clippy::needless_pass_by_value)]
mod generated;
mod layout;
mod options;
mod upkeep;
mod watch;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use tokio::sync::watch as signal;

use self::client::{Client, Repeat};
use self::fault::Fault;
use self::generated::kv_client::KvClient;
use self::generated::lease_client::LeaseClient;
use self::generated::{
    CompactionRequest, LeaseGrantRequest, LeaseKeepAliveRequest, LeaseRevokeRequest, LeaseTimeToLiveRequest,
    RangeRequest, ResponseHeader,
};
use self::layout::Layout;
pub use self::options::{EtcdAddress, EtcdOptions};
use self::watch::Follower;
use crate::validate::validate_each;
use crate::{
    Error, Key, KeyRange, KeyValue, Lease, LeaseId, Limits, Outcome, Page, Position, Read, Revision,
    Snapshot, Stats, Store, Txn, Value, Watch,
};

/// The largest answer that is read, in bytes: a page of the largest values.
const ANSWER_BYTES_MAX: usize = 1 << 30;

/// Whether the files that an address names can be used: what is wrong with them does not mend itself.
///
/// # Errors
/// [`Error::Open`].
pub fn check_address(address: &EtcdAddress) -> Result<(), Error> {
    let unusable = |reason: String| Error::Open { path: address.to_string(), reason };
    address.tls().map_err(unusable)?;
    address.credentials().map_err(unusable).map(drop)
}

/// An etcd cluster as a store.
#[derive(Debug)]
pub struct Etcd(Arc<Shared>);

/// What the engine and its watches have in common.
struct Shared {
    client: Client,
    layout: Layout,
    limits: Limits,
    epoch: u64,
    /// Which cluster it is. Another one has another history.
    cluster: u64,
    /// The highest revision that anybody was answered. Watches of everything must get there.
    answered: signal::Sender<Revision>,
    closed: signal::Sender<bool>,
    watches: AtomicU64,
    keys: AtomicU64,
    opened_in: Duration,
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared").field("layout", &self.layout).finish_non_exhaustive()
    }
}

impl Etcd {
    /// Connects, and marks the keys with an epoch if they have none. Must be called within a tokio runtime.
    ///
    /// # Errors
    /// [`Error::Open`] if no member answers, if it refuses the credentials, or if a file cannot be read; [`Error::Unfinished`] if
    /// somebody has begun to fill it ([`Etcd::begin_import`]) and is not done.
    pub async fn open(address: &EtcdAddress, options: EtcdOptions) -> Result<Self, Error> {
        let (store, importing) = Self::connect(address, options).await?;
        if importing { Err(Error::Unfinished { path: address.to_string() }) } else { Ok(store) }
    }

    /// The same, also where an import was begun and not finished: to begin it anew.
    ///
    /// # Errors
    /// As [`Etcd::open`].
    pub async fn open_for_import(address: &EtcdAddress, options: EtcdOptions) -> Result<Self, Error> {
        Self::connect(address, options).await.map(|(store, _)| store)
    }

    /// Begins to fill it: nobody can open it until [`Etcd::end_import`]. What it is filled with comes from a store of this epoch.
    ///
    /// # Errors
    /// [`Error::Unavailable`].
    pub async fn begin_import(&self, epoch: u64) -> Result<(), Error> {
        epoch::begin(&self.0.client, &self.0.layout, epoch, true).await.map(drop)
    }

    /// It is filled, and may be opened. Gives the position with which it begins: its epoch is above all that it was filled from, and
    /// above that which it had before.
    ///
    /// # Errors
    /// [`Error::Unavailable`].
    pub async fn end_import(&self) -> Result<Position, Error> {
        let found = epoch::begin(&self.0.client, &self.0.layout, 0, false).await?;
        Ok(Position::new(found.number, found.revision))
    }

    async fn connect(address: &EtcdAddress, options: EtcdOptions) -> Result<(Self, bool), Error> {
        let began = Instant::now();
        let unopened = |reason: String| Error::Open { path: address.to_string(), reason };
        let client = Client::new(address).map_err(unopened)?;
        let layout = Layout::new(address.prefix());
        let epoch = epoch::find(&client, &layout).await.map_err(|fault| match fault {
            Error::Unavailable { reason } => unopened(reason),
            fault => unopened(fault.to_string()),
        })?;
        let shared = Arc::new(Shared {
            client,
            layout,
            limits: options.limits,
            epoch: epoch.number,
            cluster: epoch.cluster,
            answered: signal::Sender::new(epoch.revision),
            closed: signal::Sender::new(false),
            watches: AtomicU64::new(0),
            keys: AtomicU64::new(0),
            opened_in: began.elapsed(),
        });
        tokio::spawn(contact::run(Arc::downgrade(&shared)));
        tokio::spawn(upkeep::run(Arc::downgrade(&shared), address.compacts()));
        Ok((Self(shared), epoch.importing))
    }
}

impl Drop for Etcd {
    fn drop(&mut self) {
        self.0.closed.send_replace(true);
    }
}

impl Shared {
    /// The position of an answer.
    fn position(&self, header: Option<&ResponseHeader>) -> Result<Position, Error> {
        let Some(header) = header else { return Err(fault::nonsense("an answer without a header")) };
        if header.cluster_id != self.cluster {
            return Err(fault::nonsense("another cluster than before answers at this address"));
        }
        Ok(Position { epoch: self.epoch, revision: convert::unsigned(header.revision) })
    }

    /// The same for an answer to somebody who may wait for a watch to show it, and that is not about a change of Weir's own,
    /// which watches are told of anyway.
    fn seen(&self, header: Option<&ResponseHeader>) -> Result<Position, Error> {
        let position = self.position(header)?;
        self.answered.send_if_modified(|answered| {
            let newer = position.revision > *answered;
            *answered = position.revision.max(*answered);
            newer
        });
        Ok(position)
    }

    async fn get(&self, request: RangeRequest) -> Result<generated::RangeResponse, Fault> {
        let ask = async |channel, request| {
            KvClient::new(channel).max_decoding_message_size(ANSWER_BYTES_MAX).range(request).await
        };
        let repeat =
            if request.range_end.is_empty() || request.count_only { Repeat::Free } else { Repeat::Page };
        self.client.call(repeat, request, ask).await
    }

    async fn read(&self, read: &Read) -> Result<Page, Error> {
        let limit = read.limit.unwrap_or(usize::MAX).min(self.limits.range_entries_max);
        let Some(mut request) = self.layout.request(&read.clone().limit(limit)) else {
            return self.read_nothing(read.at).await;
        };
        if let Some(at) = read.at {
            // Before etcd's first revision there was nothing.
            request.revision = convert::signed(at.max(1));
        }
        let answer = match self.get(request).await {
            Err(Fault::Compacted) => return Err(Error::Compacted { oldest: watch::compacted(self).await? }),
            Err(Fault::Future) => {
                let (asked, current) = (read.at.unwrap_or_default(), self.now().await?.revision);
                return Err(Error::FutureRevision { asked, current });
            }
            other => other?,
        };
        let mut position = self.seen(answer.header.as_ref())?;
        position.revision = read.at.unwrap_or(position.revision);
        self.layout.page(answer.kvs, limit, position)
    }

    /// A range without keys still has a position, and a revision that must exist.
    async fn read_nothing(&self, at: Option<Revision>) -> Result<Page, Error> {
        let mut position = self.now().await?;
        if let Some(asked) = at {
            if asked > position.revision {
                return Err(Error::FutureRevision { asked, current: position.revision });
            }
            position.revision = asked;
        }
        Ok(Page { entries: Vec::new(), more: false, position })
    }

    /// Where the cluster stands; asks a majority of it.
    async fn now(&self) -> Result<Position, Error> {
        let request = RangeRequest { key: self.layout.epoch(), count_only: true, ..RangeRequest::default() };
        let answer = self.get(request).await?;
        self.seen(answer.header.as_ref())
    }

    async fn commit(&self, txn: Txn) -> Result<Outcome, Error> {
        validate_each(&txn, &self.limits)?;
        let (request, shape) = self.layout.txn(txn);
        let ask = async |channel, request| {
            KvClient::new(channel).max_decoding_message_size(ANSWER_BYTES_MAX).txn(request).await
        };
        let mut answer = match self.client.call(Repeat::Unsent, request, ask).await {
            Err(Fault::Lease) => return Err(self.lost_lease(&shape).await),
            other => other?,
        };
        let header = answer.header.take();
        let position = self.position(header.as_ref())?;
        let outcome = self.layout.outcome(answer, &shape, position, self.limits.range_entries_max)?;
        if !outcome.changes() {
            self.seen(header.as_ref())?;
        }
        Ok(outcome)
    }

    /// Which lease of a transaction does not exist.
    async fn lost_lease(&self, shape: &convert::Shape) -> Error {
        for &id in &shape.leases {
            let request = LeaseTimeToLiveRequest { id: id.get().cast_signed() };
            let ask = async |channel, request| LeaseClient::new(channel).lease_time_to_live(request).await;
            match self.client.call(Repeat::Free, request, ask).await {
                Ok(answer) if answer.ttl > 0 => {}
                Ok(_) | Err(Fault::Lease) => return Error::LeaseNotFound { id },
                Err(fault) => return fault.into(),
            }
        }
        fault::nonsense("a lease was not found, but all are there")
    }

    async fn grant(&self, ttl: Duration) -> Result<Lease, Error> {
        crate::state::validate_ttl(ttl)?;
        // etcd counts whole seconds.
        let secs = ttl.as_secs() + u64::from(ttl.subsec_nanos() > 0);
        let request = LeaseGrantRequest { ttl: convert::signed(secs), id: 0 };
        let ask = async |channel, request| LeaseClient::new(channel).lease_grant(request).await;
        // One that was granted twice ends by itself.
        let lease = self.client.call(Repeat::Free, request, ask).await?;
        let id = LeaseId::from_u64(convert::unsigned(lease.id));
        let id = id.ok_or_else(|| fault::nonsense("a lease without a number"))?;
        Ok(Lease { id, ttl: Duration::from_secs(convert::unsigned(lease.ttl)) })
    }

    async fn keep_alive(&self, id: LeaseId) -> Result<Lease, Error> {
        let request = LeaseKeepAliveRequest { id: id.get().cast_signed() };
        let ask = async |channel, request: tonic::Request<LeaseKeepAliveRequest>| {
            let request = request.map(tokio_stream::once);
            let answers = LeaseClient::new(channel).lease_keep_alive(request).await?;
            let mut answers = answers.into_inner();
            Ok(tonic::Response::new(answers.message().await?))
        };
        match self.client.call(Repeat::Free, request, ask).await {
            Ok(Some(answer)) if answer.ttl > 0 => {
                Ok(Lease { id, ttl: Duration::from_secs(convert::unsigned(answer.ttl)) })
            }
            Ok(Some(_)) | Err(Fault::Lease) => Err(Error::LeaseNotFound { id }),
            Ok(None) => Err(fault::unavailable("etcd has ended a renewal without an answer")),
            Err(fault) => Err(fault.into()),
        }
    }

    async fn revoke(&self, id: LeaseId) -> Result<Position, Error> {
        let request = LeaseRevokeRequest { id: id.get().cast_signed() };
        let ask = async |channel, request| LeaseClient::new(channel).lease_revoke(request).await;
        match self.client.call(Repeat::Unsent, request, ask).await {
            Ok(answer) => self.seen(answer.header.as_ref()),
            Err(Fault::Lease) => Err(Error::LeaseNotFound { id }),
            Err(fault) => Err(fault.into()),
        }
    }

    async fn compact(&self, revision: Revision) -> Result<(), Error> {
        // Physical: what is answered has been done.
        let request = CompactionRequest { revision: convert::signed(revision), physical: true };
        let ask = async |channel, request| KvClient::new(channel).compact(request).await;
        match self.client.call(Repeat::Free, request, ask).await {
            Ok(_) | Err(Fault::Compacted) => Ok(()),
            Err(Fault::Future) => {
                Err(Error::FutureRevision { asked: revision, current: self.now().await?.revision })
            }
            Err(fault) => Err(fault.into()),
        }
    }
}

impl Store for Etcd {
    fn limits(&self) -> Limits {
        self.0.limits.clone()
    }

    /// Keys as they were counted at most some seconds ago; bytes and leases are not known here.
    fn stats(&self) -> Stats {
        Stats {
            keys: self.0.keys.load(Ordering::Relaxed),
            watches: self.0.watches.load(Ordering::Relaxed),
            open_duration: self.0.opened_in,
            ..Stats::default()
        }
    }

    fn position(&self) -> BoxFuture<'_, Result<Position, Error>> {
        self.0.now().boxed()
    }

    fn get<'a>(&'a self, key: &'a Key) -> BoxFuture<'a, Result<Option<KeyValue>, Error>> {
        async move { Ok(self.0.read(&Read::key(key)).await?.entries.pop()) }.boxed()
    }

    fn range(&self, read: Read) -> BoxFuture<'_, Result<Page, Error>> {
        async move { self.0.read(&read).await }.boxed()
    }

    fn snapshot(&self) -> BoxFuture<'_, Result<Snapshot<'_>, Error>> {
        async move { Ok(Snapshot::asked(self, self.0.now().await?)) }.boxed()
    }

    fn commit(&self, txn: Txn) -> BoxFuture<'_, Result<Outcome, Error>> {
        self.0.commit(txn).boxed()
    }

    fn watch(&self, range: KeyRange, from: Revision) -> BoxFuture<'_, Result<Watch, Error>> {
        async move { Ok(Watch::new(Follower::open(&self.0, range, from).await?)) }.boxed()
    }

    fn compact(&self, revision: Revision) -> BoxFuture<'_, Result<(), Error>> {
        self.0.compact(revision).boxed()
    }

    fn grant(&self, ttl: Duration) -> BoxFuture<'_, Result<Lease, Error>> {
        self.0.grant(ttl).boxed()
    }

    fn keep_alive(&self, lease: LeaseId) -> BoxFuture<'_, Result<Lease, Error>> {
        self.0.keep_alive(lease).boxed()
    }

    fn revoke(&self, lease: LeaseId) -> BoxFuture<'_, Result<Position, Error>> {
        self.0.revoke(lease).boxed()
    }

    /// Many transactions are needed, and servers must stay away meanwhile: see [`Etcd::begin_import`].
    fn can_replace(&self) -> Result<(), Error> {
        let what = "a store in etcd cannot be replaced while servers use it; stop all of them and fill it with \
            `weir store restore FILE --store etcd://... --replace`";
        Err(Error::Unsupported { what })
    }

    fn replace(&self, _: BTreeMap<Key, Value>, _: u64) -> BoxFuture<'_, Result<Position, Error>> {
        let refused = self.can_replace().map(|()| Position::default());
        async move { refused }.boxed()
    }
}
