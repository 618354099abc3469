//! A watch over etcd: connects again where it left off, and groups what it is told into transactions.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures_util::future::BoxFuture;
use futures_util::{FutureExt, StreamExt};
use tokio::sync::watch as signal;
use tonic::{Status, Streaming};

use super::client::Repeat;
use super::fault::{self, Fault};
use super::generated::kv_client::KvClient;
use super::generated::watch_client::WatchClient;
use super::generated::watch_request::RequestUnion;
use super::generated::{
    Event as Told, PutRequest, RangeRequest, WatchCreateRequest, WatchRequest, WatchResponse,
};
use super::layout::Layout;
use super::{ANSWER_BYTES_MAX, Shared, convert};
use crate::watch::WatchSource;
use crate::{Batch, Error, KeyRange, Position, Revision};

/// How long a watch of everything waits for a revision that somebody was answered, before it has one made that it will be
/// told of: that revision changed keys of others.
const TICK_AFTER: Duration = Duration::from_millis(100);
/// How long before it tries again to connect; doubled up to the other.
const PAUSE_MIN: Duration = Duration::from_millis(50);
const PAUSE_MAX: Duration = Duration::from_secs(2);
/// How long a watch of a closed store may take to deliver what was answered before.
const LAST_WORDS_MAX: Duration = Duration::from_secs(5);

/// How long etcd may take to say what it has compacted.
const COMPACTED_MAX: Duration = Duration::from_secs(2);

/// A watch.
pub(super) struct Follower {
    shared: Arc<Shared>,
    _place: Place,
    range: KeyRange,
    /// The next revision that is not known yet.
    next: Revision,
    ready: VecDeque<Batch>,
    stream: Option<Streaming<WatchResponse>>,
    pause: Duration,
    answered: signal::Receiver<Revision>,
    /// The member that is asked. A stream from another one may have stopped.
    member: signal::Receiver<usize>,
    closed: signal::Receiver<bool>,
    failed: Option<Error>,
}

/// One of the watches that there may be.
struct Place(Arc<Shared>);

impl Drop for Place {
    fn drop(&mut self) {
        self.0.watches.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Place {
    fn take(shared: &Arc<Shared>) -> Result<Self, Error> {
        let max = shared.limits.watches_max as u64;
        let taken = shared.watches.fetch_add(1, Ordering::Relaxed);
        let place = Self(shared.clone());
        if taken >= max { Err(Error::Overloaded { what: "watches_max", max }) } else { Ok(place) }
    }
}

impl Follower {
    pub(super) async fn open(shared: &Arc<Shared>, range: KeyRange, from: Revision) -> Result<Self, Error> {
        let place = Place::take(shared)?;
        let mut follower = Self {
            shared: shared.clone(),
            _place: place,
            range,
            next: from.max(1),
            ready: VecDeque::new(),
            stream: None,
            pause: PAUSE_MIN,
            answered: shared.answered.subscribe(),
            member: shared.client.current(),
            closed: shared.closed.subscribe(),
            failed: None,
        };
        match follower.connect().await {
            Ok(stream) => follower.stream = Some(stream),
            Err(Error::Lagged { oldest }) => return Err(Error::Compacted { oldest }),
            Err(error) => return Err(error),
        }
        Ok(follower)
    }

    /// Opens the stream at the next revision, and waits until etcd has it.
    async fn connect(&mut self) -> Result<Streaming<WatchResponse>, Error> {
        self.member.mark_unchanged();
        let Some((key, range_end)) = self.shared.layout.watchable(&self.range) else {
            return Err(Error::InvalidArgument { field: "range", reason: "no key can be in it".to_owned() });
        };
        let start_revision = convert::signed(self.next);
        let create = WatchCreateRequest { key, range_end, start_revision, prev_kv: true };
        let (stream, created) = open(&self.shared, create).await?;
        if created.canceled {
            return Err(cancelled(&created));
        }
        self.shared.position(created.header.as_ref())?;
        self.confirm().await?;
        Ok(stream)
    }

    /// Finds out whether the revision before the next one can still be read: then nothing is missing from the next one on.
    async fn confirm(&self) -> Result<(), Error> {
        let before = self.next - 1;
        if before == 0 || self.range.is_empty() {
            return Ok(());
        }
        let (key, revision) = (self.shared.layout.epoch(), convert::signed(before));
        let request = RangeRequest { key, revision, count_only: true, ..RangeRequest::default() };
        match self.shared.get(request).await {
            Ok(_) | Err(Fault::Future) => Ok(()),
            // etcd keeps what its compaction leaves, which may be less than all events of that revision itself.
            Err(Fault::Compacted) => Err(Error::Lagged { oldest: compacted(&self.shared).await? + 1 }),
            Err(fault) => Err(fault.into()),
        }
    }

    async fn next_batch(&mut self) -> Result<Batch, Error> {
        loop {
            if let Some(batch) = self.ready.pop_front() {
                return Ok(batch);
            }
            if let Some(error) = &self.failed {
                return Err(error.clone());
            }
            if let Err(error) = self.advance().await {
                self.failed = Some(error);
            }
        }
    }

    /// Waits for something to happen. Loses nothing when it is dropped: what was told is kept before anything is waited for.
    async fn advance(&mut self) -> Result<(), Error> {
        if self.is_closed() && !self.owes() {
            return Err(Error::Closed);
        }
        let Some(stream) = &mut self.stream else { return self.reconnect().await };
        let mut lost = self.shared.client.lost();
        let owes = *self.answered.borrow_and_update() >= self.next;
        let is_closed = *self.closed.borrow_and_update();
        let wait = match (is_closed, owes && Layout::is_everything(&self.range)) {
            (true, _) => LAST_WORDS_MAX,
            (false, true) => TICK_AFTER,
            (false, false) => Duration::MAX,
        };
        tokio::select! {
            biased;
            told = stream.message() => return self.told(told),
            _ = self.closed.changed(), if !is_closed => {}
            _ = self.answered.changed(), if !owes => {}
            _ = self.member.changed() => self.stream = None,
            _ = async { lost.wait_for(Option::is_some).await.is_ok() } => self.stream = None,
            () = tokio::time::sleep(wait), if wait < Duration::MAX => {
                if is_closed {
                    return Err(Error::Closed);
                }
                self.tick().await;
            }
        }
        Ok(())
    }

    fn is_closed(&self) -> bool {
        *self.closed.borrow()
    }

    /// Whether somebody was answered a revision that this watch has not got to.
    fn owes(&self) -> bool {
        *self.answered.borrow() >= self.next
    }

    async fn reconnect(&mut self) -> Result<(), Error> {
        match self.connect().await {
            Ok(stream) => {
                self.stream = Some(stream);
                self.pause = PAUSE_MIN;
                Ok(())
            }
            Err(error @ Error::Lagged { .. }) => Err(error),
            Err(error) => {
                let mut lost = self.shared.client.lost();
                let is_lost = lost.borrow_and_update().is_some();
                if !is_lost {
                    tracing::warn!(%error, "etcd cannot be watched; trying again");
                }
                tokio::select! {
                    _ = self.closed.wait_for(|closed| *closed) => {}
                    _ = lost.wait_for(Option::is_none), if is_lost => {}
                    () = tokio::time::sleep(self.pause), if !is_lost => {
                        self.pause = (self.pause * 2).min(PAUSE_MAX);
                    }
                }
                if self.is_closed() { Err(Error::Closed) } else { Ok(()) }
            }
        }
    }

    fn told(&mut self, told: Result<Option<WatchResponse>, Status>) -> Result<(), Error> {
        match told {
            Ok(Some(told)) if told.canceled => match cancelled(&told) {
                error @ Error::Lagged { .. } => return Err(error),
                error => {
                    tracing::debug!(%error, "a watch of etcd has ended");
                    self.stream = None;
                }
            },
            Ok(Some(told)) => self.keep(told)?,
            Ok(None) => self.stream = None,
            Err(status) => {
                tracing::debug!(error = fault::reason(&status), "a watch of etcd has broken");
                self.stream = None;
            }
        }
        Ok(())
    }

    /// Keeps what was told: all events of a revision are in one message, which may hold several revisions.
    fn keep(&mut self, told: WatchResponse) -> Result<(), Error> {
        let position = self.shared.position(told.header.as_ref())?;
        let mut events = told.events.into_iter().peekable();
        while let Some(first) = events.next() {
            let revision = revision_of(&first);
            let mut known = Vec::new();
            known.extend(self.shared.layout.event(first)?);
            while let Some(event) = events.next_if(|event| revision_of(event) == revision) {
                known.extend(self.shared.layout.event(event)?);
            }
            if revision < self.next {
                continue;
            }
            known.sort_by(|a, b| a.key.cmp(&b.key));
            self.ready.push_back(Batch { position: Position { revision, ..position }, events: known.into() });
            self.next = revision + 1;
        }
        Ok(())
    }

    /// Makes a revision that this watch will be told of.
    async fn tick(&mut self) {
        let put = PutRequest { key: self.shared.layout.tick(), ..PutRequest::default() };
        let ask = async |channel, request| KvClient::new(channel).put(request).await;
        if let Err(fault) = self.shared.client.call(Repeat::Free, put, ask).await {
            let error = Error::from(fault);
            tracing::debug!(%error, "etcd could not be touched");
        }
    }
}

/// The revision of an event.
fn revision_of(event: &Told) -> Revision {
    event.kv.as_ref().map_or(0, |pair| convert::unsigned(pair.mod_revision))
}

/// Why etcd has ended a watch.
fn cancelled(told: &WatchResponse) -> Error {
    if told.compact_revision > 0 {
        return Error::Lagged { oldest: convert::unsigned(told.compact_revision) + 1 };
    }
    fault::unavailable(&format!("etcd has cancelled a watch: {}", told.cancel_reason))
}

/// Opens a watch, and gives what etcd says first.
async fn open(
    shared: &Shared,
    create: WatchCreateRequest,
) -> Result<(Streaming<WatchResponse>, WatchResponse), Error> {
    let ask = async |channel, request: tonic::Request<WatchCreateRequest>| {
        // The request's side stays open for as long as the watch.
        let request = request.map(|create| {
            let create = WatchRequest { request_union: Some(RequestUnion::CreateRequest(create)) };
            tokio_stream::once(create).chain(tokio_stream::pending())
        });
        let mut client = WatchClient::new(channel).max_decoding_message_size(ANSWER_BYTES_MAX);
        let mut stream = client.watch(request).await?.into_inner();
        let first = stream.message().await?;
        let first = first.ok_or_else(|| Status::unavailable("etcd has ended a watch at once"))?;
        // What of other calls is a status is here an answer: a token that has expired, or that a member has never seen.
        if first.canceled
            && (first.cancel_reason.contains("permission denied") || first.cancel_reason.contains("auth"))
        {
            return Err(Status::unauthenticated(first.cancel_reason));
        }
        Ok(tonic::Response::new((stream, first)))
    };
    Ok(shared.client.call(Repeat::Free, create, ask).await?)
}

impl WatchSource for Follower {
    fn next(&mut self) -> BoxFuture<'_, Result<Batch, Error>> {
        self.next_batch().boxed()
    }
}

/// The revision up to which history is compacted: the oldest that can be read. etcd tells whoever watches from the beginning.
pub(super) async fn compacted(shared: &Shared) -> Result<Revision, Error> {
    let create =
        WatchCreateRequest { key: shared.layout.epoch(), start_revision: 1, ..WatchCreateRequest::default() };
    let (mut stream, mut told) = open(shared, create).await?;
    // It is created, and then told that it cannot be; or told of the key, if it can.
    while told.compact_revision == 0 && told.events.is_empty() && !told.canceled {
        match tokio::time::timeout(COMPACTED_MAX, stream.message()).await {
            Ok(Ok(Some(next))) => told = next,
            Ok(Ok(None)) | Err(_) => {
                return Err(fault::unavailable("etcd does not say what it has compacted"));
            }
            Ok(Err(status)) => return Err(Fault::from(&status).into()),
        }
    }
    Ok(convert::unsigned(told.compact_revision))
}
