//! What an HTTP/2 connection and its streams know of each other.

use std::cell::Cell;
use std::net::SocketAddr;

use super::Flood;
use crate::runtime::Io;

/// One connection's facts and counts, shared by its task, its bytes and its streams.
#[derive(Debug)]
pub(super) struct Link {
    pub(super) local: Option<SocketAddr>,
    pub(super) peer: Option<SocketAddr>,
    /// It is encrypted.
    pub(super) secure: bool,
    /// Streams that somebody works on.
    streams: Cell<u32>,
    /// When a stream was last begun or ended.
    busy_ms: Cell<u64>,
    /// Useful work done: messages ended, content sent.
    work: Cell<u64>,
    /// The peer floods this side; nothing more is read from it.
    flood: Cell<Option<Flood>>,
    /// A frame has a size that its type does not allow; nothing more is read.
    misshapen: Cell<bool>,
    /// The peer's first SETTINGS have come.
    settled: Cell<bool>,
    /// The peer has said GOAWAY.
    going_away: Cell<bool>,
    /// How often something was read.
    heard: Cell<u64>,
    /// Bytes of responses that are kept for the client.
    kept: Cell<usize>,
    /// When a header block or a frame began that has not come whole.
    lacking_ms: Cell<Option<u64>>,
    /// How many frames of messages have begun: HEADERS and DATA.
    told: Cell<u64>,
}

impl Link {
    pub(super) fn new(io: &Io, secure: bool, now_ms: u64) -> Self {
        Self {
            local: io.local_addr(),
            peer: io.peer_addr(),
            secure,
            streams: Cell::new(0),
            busy_ms: Cell::new(now_ms),
            work: Cell::new(0),
            flood: Cell::new(None),
            misshapen: Cell::new(false),
            settled: Cell::new(false),
            going_away: Cell::new(false),
            heard: Cell::new(0),
            kept: Cell::new(0),
            lacking_ms: Cell::new(None),
            told: Cell::new(0),
        }
    }

    pub(super) fn begin_stream(&self, now_ms: u64) {
        self.streams.set(self.streams.get() + 1);
        self.busy_ms.set(now_ms);
    }

    pub(super) fn end_stream(&self, now_ms: u64) {
        self.streams.set(self.streams.get() - 1);
        self.busy_ms.set(now_ms);
    }

    pub(super) fn streams(&self) -> u32 {
        self.streams.get()
    }

    pub(super) fn busy_ms(&self) -> u64 {
        self.busy_ms.get()
    }

    #[inline]
    pub(super) fn worked(&self) {
        self.work.set(self.work.get() + 1);
    }

    pub(super) fn work(&self) -> u64 {
        self.work.get()
    }

    pub(super) fn flooded(&self, flood: Flood) {
        self.flood.set(Some(flood));
    }

    pub(super) fn flood(&self) -> Option<Flood> {
        self.flood.get()
    }

    pub(super) fn misshape(&self) {
        self.misshapen.set(true);
    }

    pub(super) fn is_misshapen(&self) -> bool {
        self.misshapen.get()
    }

    /// Whether nothing more is read.
    pub(super) fn is_shut(&self) -> bool {
        self.misshapen.get() || self.flood.get().is_some()
    }

    pub(super) fn settle(&self) {
        self.settled.set(true);
    }

    pub(super) fn is_settled(&self) -> bool {
        self.settled.get()
    }

    pub(super) fn go_away(&self) {
        self.going_away.set(true);
    }

    pub(super) fn is_going_away(&self) -> bool {
        self.going_away.get()
    }

    #[inline]
    pub(super) fn hear(&self) {
        self.heard.set(self.heard.get() + 1);
    }

    pub(super) fn heard(&self) -> u64 {
        self.heard.get()
    }

    #[inline]
    pub(super) fn tell(&self) {
        self.told.set(self.told.get() + 1);
    }

    pub(super) fn told(&self) -> u64 {
        self.told.get()
    }

    /// Says when what has not come whole began, if it is so.
    #[inline]
    pub(super) fn lacks(&self, begun_ms: Option<u64>) {
        self.lacking_ms.set(begun_ms);
    }

    pub(super) fn lacking_ms(&self) -> Option<u64> {
        self.lacking_ms.get()
    }

    /// A stream for which `before` was kept keeps `now`.
    pub(super) fn keep(&self, before: usize, now: usize) {
        self.kept.set(self.kept.get() - before + now);
    }

    pub(super) fn kept(&self) -> usize {
        self.kept.get()
    }

    /// A link without a connection.
    #[cfg(test)]
    pub(super) fn of_nobody() -> Self {
        Self {
            local: None,
            peer: None,
            secure: false,
            streams: Cell::new(0),
            busy_ms: Cell::new(0),
            work: Cell::new(0),
            flood: Cell::new(None),
            misshapen: Cell::new(false),
            settled: Cell::new(false),
            going_away: Cell::new(false),
            heard: Cell::new(0),
            kept: Cell::new(0),
            lacking_ms: Cell::new(None),
            told: Cell::new(0),
        }
    }
}
