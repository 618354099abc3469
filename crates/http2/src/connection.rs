//! A connection: what its peer sends, as streams of HTTP/1.1, and what is sent to it, as frames.
//!
//! ```text
//!  bytes -> receive -> frames -> heads, content -> Stream's inbox -> read     (events say which stream has something)
//!  bytes <- output  <- frames <- call, respond, send, send_trailers
//! ```
//!
//! Every function works with what it is given and returns; who owns the connection moves bytes, wakes whoever waits, and
//! tells the time. It must not know what messages mean beyond what HTTP/2 asks of them.

mod control;
mod data;
mod heads;
mod receive;
mod room;
mod send;

use std::collections::VecDeque;

use weir_http1::FieldTable;

use crate::code::{Code, StreamFault};
use crate::floods::{Flood, Floods, Work};
use crate::frame;
use crate::head::Reader;
use crate::hpack::{Decoder, Encoder, Scratch};
use crate::ids::Ids;
use crate::stream::{Receiving, Sending, Stream};

/// What a client sends first (RFC 9113 section 3.4).
pub const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Every window before anything was said about it (section 6.9.2), in bytes.
const WINDOW_BYTES_DEFAULT: u32 = 65_535;
/// The largest window (section 6.9.1), in bytes.
const WINDOW_BYTES_MAX: i64 = (1 << 31) - 1;
/// The largest number of a stream.
const STREAM_ID_MAX: u32 = (1 << 31) - 1;
/// Frames that wait to be written: while there is so much, no stream's content is added. In bytes.
const OUTPUT_BYTES_MAX: usize = 64 * 1024;
/// While there is so much more, all of it answers to the peer, nothing is received. In bytes.
const ANSWER_BYTES_MAX: usize = 64 * 1024;
/// Memory that is kept for output when there is none, in bytes.
const OUTPUT_KEPT_BYTES_MAX: usize = 16 * 1024;
/// Streams beyond those that may be open that the peer has reset and that somebody here still has.
const RESET_STREAMS_MAX: usize = 256;
/// Streams that were reset here of which frames may still be under way.
const REMEMBERED_RESETS_MAX: usize = 256;
/// Interim responses of one stream. Whoever reads them has a bound of its own; this one is for what nobody reads.
const INTERIM_RESPONSES_MAX: u32 = 64;

/// Who this side is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// It calls.
    Client,
    /// It is called.
    Server,
}

/// What the peer is allowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Config {
    /// Streams that a client may have open at once.
    pub streams_max: u32,
    /// What may be sent on a stream ahead of what was read, in bytes; below 2^31.
    pub stream_window_bytes: u32,
    /// The same for all streams together.
    pub connection_window_bytes: u32,
    /// Bytes of a field section, as RFC 9113 section 6.5.2 counts them.
    pub head_bytes_max: u32,
}

/// What is needed while bytes are received, and kept by nobody afterwards: one serves all connections of a thread.
#[derive(Debug, Default)]
pub struct Bench {
    scratch: Scratch,
    reader: Reader,
}

/// A stream, for as long as somebody has it: from [`Event::Opened`] or [`Connection::call`] until [`Connection::close`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Slot(u32);

impl Slot {
    /// A small number: no two streams have the same at a time.
    #[inline]
    pub fn index(self) -> usize {
        self.0 as usize
    }
}

/// What has happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// A client has begun a stream. Whoever takes it must close it.
    Opened(Slot, Opened),
    /// Something of a stream can be read, or sent, that could not before; or it has failed. Of a slot that was given back and
    /// taken anew it may be too much said.
    Changed(Slot),
}

/// What a stream begins with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Opened {
    /// A request that is read as HTTP/1.1.
    Request,
    /// CONNECT, which cannot be. Nothing is read of it.
    Connect,
    /// A head that is larger than it may be. Nothing is read of it.
    TooLarge,
}

/// Why the connection ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Failure {
    /// What the peer is told.
    pub code: Code,
    /// How it has flooded, if it has.
    pub flood: Option<Flood>,
}

/// How far this side has told the peer to make no more streams.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Leaving {
    No,
    /// It was told that it will be so. What it has sent in the meantime is taken.
    Announced,
    Told,
}

/// The connection.
pub struct Connection {
    role: Role,
    config: Config,
    decoder: Decoder,
    encoder: Encoder,
    floods: Floods,
    streams: Vec<Stream>,
    free: Vec<u32>,
    ids: Ids,
    events: VecDeque<Event>,
    out: Vec<u8>,
    out_from: usize,
    /// What was received of a frame that has not come whole.
    rest: Vec<u8>,
    /// How much of the preface has not come.
    preface_left: usize,
    /// A DATA frame of which content or padding is to come.
    data: Option<data::UnderWay>,
    /// A header block that goes on in the next frame.
    block: Option<heads::Begun>,
    /// Its fragments. Holds no memory without one.
    fragments: Vec<u8>,
    /// When what has not come whole began: a header block, or a frame. Content is not waited for here.
    begun_ms: Option<u64>,
    /// The peer's first SETTINGS have come.
    settled: bool,
    /// SETTINGS of this side that were not acknowledged.
    unacknowledged: u32,
    /// What may be sent on all streams together, and on a new one.
    send_window: i64,
    initial_send_window: u32,
    /// What the peer may send on all streams together, and what was read without a word to it.
    receive_window: i64,
    credit: u32,
    /// Streams that the peer allows.
    peer_streams_max: u32,
    open: u32,
    /// The last stream that the peer has begun, and the next one of this side's.
    last_peer_id: u32,
    next_id: u32,
    /// The slots that wait for the connection's window or for room in the output, each once, the first one first.
    waiting: VecDeque<u32>,
    /// Numbers of streams that were reset here.
    resets: VecDeque<u32>,
    /// The highest number among those that it had no room for.
    resets_forgotten: u32,
    leaving: Leaving,
    peer_leaves: bool,
    failure: Option<Failure>,
    work: Work,
    /// How often something was received, and how many frames of messages.
    heard: u64,
    told: u64,
}

impl Connection {
    /// A server's, before anything was received. What it says first is in the output.
    pub fn server(config: Config, now_ms: u64) -> Self {
        let floods = Floods::new(config.head_bytes_max as usize, now_ms);
        let mut connection = Self::new(Role::Server, config, floods);
        connection.preface_left = PREFACE.len();
        connection.introduce();
        connection
    }

    /// A client's. What it says first, preface included, is in the output.
    pub fn client(config: Config, now_ms: u64) -> Self {
        let floods = Floods::of_upstream(config.head_bytes_max as usize, now_ms);
        let mut connection = Self::new(Role::Client, config, floods);
        connection.out.extend_from_slice(PREFACE);
        connection.introduce();
        connection
    }

    fn new(role: Role, config: Config, floods: Floods) -> Self {
        Self {
            role,
            config,
            decoder: Decoder::new(config.head_bytes_max),
            encoder: Encoder::new(),
            floods,
            streams: Vec::new(),
            free: Vec::new(),
            ids: Ids::default(),
            events: VecDeque::new(),
            out: Vec::new(),
            out_from: 0,
            rest: Vec::new(),
            preface_left: 0,
            data: None,
            block: None,
            fragments: Vec::new(),
            begun_ms: None,
            settled: false,
            unacknowledged: 0,
            send_window: i64::from(WINDOW_BYTES_DEFAULT),
            initial_send_window: WINDOW_BYTES_DEFAULT,
            receive_window: i64::from(config.connection_window_bytes),
            credit: 0,
            peer_streams_max: u32::MAX,
            open: 0,
            last_peer_id: 0,
            next_id: 1,
            waiting: VecDeque::new(),
            resets: VecDeque::new(),
            resets_forgotten: 0,
            leaving: Leaving::No,
            peer_leaves: false,
            failure: None,
            work: Work::default(),
            heard: 0,
            told: 0,
        }
    }

    /// What has happened, the oldest first.
    #[inline]
    pub fn next_event(&mut self) -> Option<Event> {
        loop {
            let event = self.events.pop_front()?;
            let Event::Changed(slot) = event else { return Some(event) };
            let stream = &mut self.streams[slot.index()];
            stream.noted = false;
            // It may have been given back in the meantime.
            if stream.id != 0 {
                return Some(event);
            }
        }
    }

    /// What is to be written.
    #[inline]
    pub fn output(&self) -> &[u8] {
        &self.out[self.out_from..]
    }

    /// So much of the output was written. Streams that waited for room may go on.
    pub fn wrote(&mut self, bytes: usize) {
        self.out_from += bytes;
        if self.out_from == self.out.len() {
            self.out.clear();
            self.out_from = 0;
            if self.out.capacity() > OUTPUT_KEPT_BYTES_MAX {
                self.out = Vec::new();
            }
        } else if self.out_from >= OUTPUT_BYTES_MAX {
            self.out.drain(..self.out_from);
            self.out_from = 0;
        }
        self.go_on();
    }

    /// Whether anything more is to be received: not while the peer does not take what it is answered, nor after a failure.
    #[inline]
    pub fn wants_input(&self) -> bool {
        self.failure.is_none() && self.output().len() < OUTPUT_BYTES_MAX + ANSWER_BYTES_MAX
    }

    /// Why the connection ends, if something has gone wrong. The output says so to the peer.
    #[inline]
    pub fn failure(&self) -> Option<Failure> {
        self.failure
    }

    /// Whether the peer's first SETTINGS have come.
    pub fn is_settled(&self) -> bool {
        self.settled
    }

    /// When what has not come whole began, on the clock of `now_ms`.
    pub fn lacking_ms(&self) -> Option<u64> {
        self.begun_ms
    }

    /// Streams that the peer allows at once.
    pub fn peer_streams_max(&self) -> u32 {
        self.peer_streams_max
    }

    /// How often something was received.
    pub fn heard(&self) -> u64 {
        self.heard
    }

    /// How many frames of messages have come: HEADERS and DATA.
    pub fn told(&self) -> u64 {
        self.told
    }

    /// Reads what has come on a stream, as HTTP/1.1; and lets the peer send so much more. 0 when there is nothing: see
    /// [`Connection::is_over`] and [`Connection::fault`].
    pub fn read(&mut self, slot: Slot, buf: &mut [u8]) -> usize {
        let taken = self.streams[slot.index()].inbox.read(buf);
        if taken.content > 0 {
            self.give_back(Some(slot), taken.content as u32);
        }
        taken.read
    }

    /// Exchanges a table for that of the final head of the message, if that is what the last read began with, whole: for
    /// [`weir_http1::parse_noted_request`] and [`weir_http1::parse_noted_response`]. Gives whether it was.
    #[inline]
    pub fn take_table(&mut self, slot: Slot, table: &mut FieldTable) -> bool {
        self.streams[slot.index()].inbox.take_table(table)
    }

    /// What has come on a stream and was not read: heads first.
    pub fn unread(&self, slot: Slot) -> &[u8] {
        self.streams[slot.index()].inbox.unread()
    }

    /// Bytes of a field section, at most.
    pub fn head_bytes_max(&self) -> u32 {
        self.config.head_bytes_max
    }

    /// Whether the peer's message was read to its end.
    #[inline]
    pub fn is_over(&self, slot: Slot) -> bool {
        self.streams[slot.index()].inbox.is_over()
    }

    /// Why the stream is over before its messages are, if it is. What came before may still be read.
    #[inline]
    pub fn fault(&self, slot: Slot) -> Option<StreamFault> {
        self.streams[slot.index()].fault
    }

    /// Breaks a stream off, unless both sides have ended it.
    pub fn reset(&mut self, slot: Slot, code: Code) {
        let stream = &mut self.streams[slot.index()];
        if stream.is_closed() {
            return;
        }
        stream.fault = Some(StreamFault::Gone);
        let id = stream.id;
        self.closed(slot);
        self.refuse(id, code);
    }

    /// Gives a stream back. If it was not ended by both sides it is reset: with `code`, or, when only the peer had something
    /// to send, with NO_ERROR, which says that it is not wanted (section 8.1).
    pub fn close(&mut self, slot: Slot, code: Code) {
        let stream = &self.streams[slot.index()];
        let answered = self.role == Role::Server && stream.sending == Sending::Ended;
        self.reset(slot, if answered { Code::NO_ERROR } else { code });
        let unread = self.streams[slot.index()].inbox.unread_content();
        self.forget(slot);
        if unread > 0 {
            self.give_back(None, unread as u32);
        }
    }

    /// Forgets a stream, without a word to the peer.
    fn forget(&mut self, slot: Slot) {
        let stream = &mut self.streams[slot.index()];
        let id = std::mem::replace(&mut stream.id, 0);
        stream.inbox.clear();
        stream.wants = None;
        self.open -= u32::from(std::mem::take(&mut stream.open));
        self.ids.remove(id);
        self.free.push(slot.0);
    }

    /// Resets a stream that may have no place here.
    fn refuse(&mut self, id: u32, code: Code) {
        frame::write_reset(&mut self.out, id, code);
        self.remember(id);
    }

    /// Remembers a stream of which frames may be under way that nobody wants.
    fn remember(&mut self, id: u32) {
        if self.resets.len() == REMEMBERED_RESETS_MAX {
            let forgotten = self.resets.pop_front().unwrap_or(0);
            self.resets_forgotten = self.resets_forgotten.max(forgotten);
        }
        self.resets.push_back(id);
    }

    /// Whether a stream that nobody has any more was reset here, as far as one can tell: frames that the peer sent before it
    /// heard of that are ignored (section 5.1), however many streams were given up at once.
    fn was_reset(&self, id: u32) -> bool {
        id <= self.resets_forgotten || self.resets.contains(&id)
    }

    /// Streams that somebody has.
    pub fn streams(&self) -> usize {
        self.streams.len() - self.free.len()
    }

    /// Gives back memory that streams to come may need, while there are none.
    pub fn rest(&mut self) {
        if self.streams() == 0 && self.events.is_empty() && self.data.is_none() {
            self.streams = Vec::new();
            self.free = Vec::new();
            self.events = VecDeque::new();
            self.ids = Ids::default();
            self.waiting = VecDeque::new();
        }
    }

    /// What the peer may send and what it was not told of yet, in bytes; and what was received and not read.
    pub(crate) fn received(&self) -> (i64, usize) {
        let unread = self.streams.iter().map(|stream| stream.inbox.unread_content());
        (self.receive_window + i64::from(self.credit), unread.sum())
    }

    /// A place for a stream.
    fn place(&mut self, id: u32) -> Slot {
        let slot = self.free.pop().unwrap_or_else(|| {
            self.streams.push(Stream::default());
            (self.streams.len() - 1) as u32
        });
        self.streams[slot as usize].begin(id, self.initial_send_window, self.config.stream_window_bytes);
        self.ids.insert(id, slot);
        self.open += 1;
        Slot(slot)
    }

    /// Counts a stream out, once nothing more can come or go on it.
    #[inline]
    fn closed(&mut self, slot: Slot) {
        let stream = &mut self.streams[slot.index()];
        if stream.is_closed() && std::mem::take(&mut stream.open) {
            self.open -= 1;
        }
    }

    #[inline]
    fn changed(&mut self, slot: Slot) {
        if !std::mem::replace(&mut self.streams[slot.index()].noted, true) {
            self.events.push_back(Event::Changed(slot));
        }
    }

    /// A stream is over, whatever its messages are.
    fn break_off(&mut self, slot: Slot, fault: StreamFault) {
        let stream = &mut self.streams[slot.index()];
        if stream.fault.is_some() {
            return;
        }
        stream.fault = Some(fault);
        self.closed(slot);
        self.changed(slot);
    }

    /// Content was read, or dropped: the peer may send so much more. It is told when that is worth a frame.
    fn give_back(&mut self, slot: Option<Slot>, bytes: u32) {
        self.credit += bytes;
        // Of what is left, not of the whole: what some leave unread must not stop those that read.
        let half = i64::from(self.config.connection_window_bytes / 2);
        if i64::from(self.credit) >= self.receive_window.clamp(1, half) && self.failure.is_none() {
            let credit = std::mem::take(&mut self.credit);
            self.receive_window += i64::from(credit);
            frame::write_window_update(&mut self.out, 0, credit);
        }
        let Some(slot) = slot else { return };
        let stream = &mut self.streams[slot.index()];
        stream.credit += bytes;
        let wanted = stream.receiving != Receiving::Ended && stream.fault.is_none();
        if wanted && stream.credit >= self.config.stream_window_bytes / 2 {
            let credit = std::mem::take(&mut stream.credit);
            stream.receive_window += i64::from(credit);
            frame::write_window_update(&mut self.out, stream.id, credit);
        }
    }
}

#[cfg(test)]
mod tests;
