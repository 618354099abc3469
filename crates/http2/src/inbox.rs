//! What a peer sends on a stream, kept as the HTTP/1.1 that it is read as, until it is read.
//!
//! ```text
//!  bytes:  heads | content | trailers        read from `from` on; framing is made while it is read
//! ```
//!
//! A body of an announced length is not complete before the peer has said that it ends: its last piece is held back until
//! then, so that what comes beyond the length is not taken for a message that was well.

use weir_http1::{BodyKind, CHUNK_END, FieldTable, chunk_prefix};

use crate::head::Text;

/// Memory that a stream keeps while it has nothing unread.
const RESTING_BYTES_MAX: usize = 64 * 1024;

/// Memory that a stream keeps for the next one.
const KEPT_BYTES_MAX: usize = 4 * 1024;
/// Lines that the table of a stream's head keeps memory for.
const KEPT_LINES_MAX: usize = 64;
/// The most that framing adds around the content of one chunk.
const FRAMING_BYTES_MAX: usize = 24;

/// The bytes.
#[derive(Debug, Default)]
pub(crate) struct Inbox {
    bytes: Vec<u8>,
    /// The fields of the head that was written last.
    table: FieldTable,
    noted: Noted,
    /// What was read.
    from: usize,
    head_end: usize,
    content_end: usize,
    /// Where a piece begins that waits for the end of the message.
    held_from: Option<usize>,
    body: Body,
    /// The peer has sent everything.
    ended: bool,
    /// Everything was read.
    over: bool,
    /// Framing for which a reader had no room; read before everything else.
    spill: Vec<u8>,
}

/// What the table is worth.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Noted {
    #[default]
    Nothing,
    /// It is that of the final head, with which the bytes begin.
    Unread,
    /// That head is what was read last, whole.
    Read,
}

/// How content is framed for who reads it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Body {
    /// No final head has come.
    #[default]
    Unknown,
    /// There is none. What the peer sends nevertheless is dropped.
    None,
    /// So much is to come.
    Length(u64),
    Chunked,
}

/// What a read has come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Taken {
    /// Bytes given to the reader.
    pub(crate) read: usize,
    /// How many bytes of content are among them.
    pub(crate) content: usize,
}

impl Inbox {
    /// Makes it as new.
    pub(crate) fn clear(&mut self) {
        if self.bytes.capacity() > KEPT_BYTES_MAX {
            self.bytes = Vec::new();
        }
        self.table.shrink(KEPT_LINES_MAX);
        self.drop_unread();
        (self.body, self.ended, self.over) = (Body::Unknown, false, false);
    }

    /// Drops what nobody will read.
    pub(crate) fn drop_unread(&mut self) {
        self.spill.clear();
        self.noted = Noted::Nothing;
        self.begin_anew();
        // What is left must not look complete.
        self.ended = false;
    }

    #[inline]
    fn begin_anew(&mut self) {
        self.bytes.clear();
        if self.bytes.capacity() > RESTING_BYTES_MAX {
            self.bytes = Vec::new();
        }
        (self.from, self.head_end, self.content_end, self.held_from) = (0, 0, 0, None);
    }

    /// Begins a head.
    pub(crate) fn begin_head(&mut self) {
        self.table.begin();
        self.noted = if self.bytes.is_empty() { Noted::Unread } else { Noted::Nothing };
    }

    /// Where a head is written, behind those that were, or trailers, as lines.
    pub(crate) fn text(&mut self) -> Text<'_> {
        Text { bytes: &mut self.bytes, table: &mut self.table }
    }

    /// Takes back what was written of a head.
    pub(crate) fn forget_head(&mut self) {
        self.noted = Noted::Nothing;
        self.bytes.truncate(self.head_end);
    }

    /// An interim head has been written.
    pub(crate) fn interim(&mut self) {
        self.noted = Noted::Nothing;
        self.written();
    }

    fn written(&mut self) {
        (self.head_end, self.content_end) = (self.bytes.len(), self.bytes.len());
    }

    /// Exchanges a table for that of the final head, if that is what the last read began with, whole. Gives whether it was.
    #[inline]
    pub(crate) fn take_table(&mut self, table: &mut FieldTable) -> bool {
        let taken = self.noted == Noted::Read;
        if taken {
            self.noted = Noted::Nothing;
            std::mem::swap(table, &mut self.table);
        }
        taken
    }

    /// What was not read, framing not included.
    pub(crate) fn unread(&self) -> &[u8] {
        &self.bytes[self.from..]
    }

    /// The final head has been written; its body follows.
    pub(crate) fn begin(&mut self, kind: BodyKind, ended: bool) {
        self.written();
        self.body = match kind {
            BodyKind::None | BodyKind::UntilClose => Body::None,
            BodyKind::Length(length) => Body::Length(length),
            BodyKind::Chunked => Body::Chunked,
        };
        if kind == BodyKind::Length(0) && !ended {
            // It must not look complete before it is.
            self.held_from = Some(self.from);
        }
        self.ended = ended;
    }

    /// Keeps a piece of content. Gives whether anybody will read it.
    #[inline]
    pub(crate) fn push(&mut self, piece: &[u8], last: bool) -> bool {
        match &mut self.body {
            Body::Unknown | Body::None => return false,
            Body::Chunked => {}
            Body::Length(left) => {
                *left = left.saturating_sub(piece.len() as u64);
                if *left == 0 && !last && self.held_from.is_none() {
                    self.held_from = Some(self.bytes.len());
                }
            }
        }
        if self.from > 0 && 2 * self.from >= self.bytes.len() {
            self.compact();
        }
        self.bytes.extend_from_slice(piece);
        self.content_end = self.bytes.len();
        true
    }

    fn compact(&mut self) {
        self.bytes.drain(..self.from);
        self.head_end = self.head_end.saturating_sub(self.from);
        self.content_end -= self.from;
        self.held_from = self.held_from.map(|at| at - self.from);
        self.from = 0;
    }

    /// Takes back what was written of trailers.
    pub(crate) fn forget_trailers(&mut self) {
        self.bytes.truncate(self.content_end);
    }

    /// The peer has said that this was all.
    #[inline]
    pub(crate) fn end(&mut self) {
        self.ended = true;
        self.held_from = None;
    }

    pub(crate) fn is_ended(&self) -> bool {
        self.ended
    }

    /// Whether the message was read to its end.
    #[inline]
    pub(crate) fn is_over(&self) -> bool {
        self.over
    }

    /// Content that was not read.
    pub(crate) fn unread_content(&self) -> usize {
        self.content_end - self.from.max(self.head_end).min(self.content_end)
    }

    /// Reads as much as there is and fits.
    pub(crate) fn read(&mut self, buf: &mut [u8]) -> Taken {
        if self.noted == Noted::Read {
            self.noted = Noted::Nothing;
        }
        if !self.spill.is_empty() || buf.len() <= FRAMING_BYTES_MAX {
            return self.read_spilt(buf);
        }
        let mut taken = Taken { read: 0, content: 0 };
        if self.over {
            return taken;
        }
        let heads_end = self.held_from.map_or(self.head_end, |held| held.min(self.head_end));
        if self.from < heads_end {
            let begins = self.noted == Noted::Unread && self.from == 0;
            taken.read = self.copy(buf, heads_end);
            self.noted = if begins && self.from == self.head_end { Noted::Read } else { Noted::Nothing };
            if self.from < self.head_end {
                return taken;
            }
        }
        match self.body {
            Body::Unknown => {}
            Body::None => self.over = self.from >= self.head_end,
            Body::Length(left) => {
                let end = self.held_from.unwrap_or(self.content_end);
                taken.content = self.copy(&mut buf[taken.read..], end);
                taken.read += taken.content;
                self.over = left == 0 && self.ended && self.from == self.content_end;
            }
            Body::Chunked => self.read_chunk(buf, &mut taken),
        }
        if self.over || self.from == self.bytes.len() {
            self.begin_anew();
        }
        taken
    }

    /// Copies what is there up to `end`.
    #[inline]
    fn copy(&mut self, buf: &mut [u8], end: usize) -> usize {
        let n = (end - self.from).min(buf.len());
        buf[..n].copy_from_slice(&self.bytes[self.from..self.from + n]);
        self.from += n;
        n
    }

    fn read_chunk(&mut self, buf: &mut [u8], taken: &mut Taken) {
        let room = buf.len() - taken.read;
        let there = self.content_end - self.from;
        if there > 0 {
            let Some(room) = room.checked_sub(FRAMING_BYTES_MAX).filter(|room| *room > 0) else { return };
            let len = there.min(room);
            for part in [chunk_prefix(len).as_bytes(), &self.bytes[self.from..self.from + len], CHUNK_END] {
                buf[taken.read..taken.read + part.len()].copy_from_slice(part);
                taken.read += part.len();
            }
            self.from += len;
            taken.content += len;
        }
        if self.ended && self.from == self.content_end {
            self.read_end(buf, taken);
        }
    }

    /// The last chunk, the trailers, and the empty line behind them.
    fn read_end(&mut self, buf: &mut [u8], taken: &mut Taken) {
        let trailers = &self.bytes[self.content_end..];
        let parts = [b"0\r\n", trailers, CHUNK_END];
        let len: usize = parts.iter().map(|part| part.len()).sum();
        if len <= buf.len() - taken.read {
            for part in parts {
                buf[taken.read..taken.read + part.len()].copy_from_slice(part);
                taken.read += part.len();
            }
            self.over = true;
        } else if taken.read == 0 {
            // They are larger than the reader's room.
            self.spill = parts.concat();
            self.bytes.truncate(self.content_end);
            self.body = Body::None;
            *taken = self.read_spilt(buf);
        }
    }

    /// Reads through memory of its own, for readers with hardly any room.
    #[cold]
    fn read_spilt(&mut self, buf: &mut [u8]) -> Taken {
        let mut content = 0;
        if self.spill.is_empty() {
            let mut room = [0; 256];
            let all = self.read(&mut room);
            content = all.content;
            self.noted = Noted::Nothing;
            self.spill.extend_from_slice(&room[..all.read]);
        }
        let n = self.spill.len().min(buf.len());
        buf[..n].copy_from_slice(&self.spill[..n]);
        self.spill.drain(..n);
        Taken { read: n, content }
    }
}

#[cfg(test)]
mod tests {
    use weir_http1::{BodyDecoder, Limits};

    use super::*;

    /// Reads everything that is there, with so much room at a time.
    fn read(inbox: &mut Inbox, room: usize) -> (String, usize) {
        let (mut out, mut content) = (Vec::new(), 0);
        let mut buf = vec![0; room];
        loop {
            let taken = inbox.read(&mut buf);
            if taken.read == 0 {
                return (String::from_utf8(out).unwrap(), content);
            }
            content += taken.content;
            out.extend_from_slice(&buf[..taken.read]);
        }
    }

    fn inbox(kind: BodyKind, ended: bool) -> Inbox {
        let mut inbox = Inbox::default();
        inbox.text().bytes.extend_from_slice(b"head\r\n\r\n");
        inbox.begin(kind, ended);
        inbox
    }

    const ROOMS: [usize; 7] = [1, 2, 23, 24, 25, 60, 100_000];

    #[test]
    fn chunks_are_made_of_what_is_there_and_trailers_follow() {
        for room in ROOMS {
            let mut inbox = inbox(BodyKind::Chunked, false);
            assert!(inbox.push(b"one", false) && inbox.push(b"two", false));
            let (text, content) = read(&mut inbox, room);
            let decoded = |text: &str| {
                let mut bytes = text.as_bytes().to_vec();
                let mut decoder = BodyDecoder::new(BodyKind::Chunked, &Limits::DEFAULT);
                let (mut at, mut content) = (0, Vec::new());
                loop {
                    let step = decoder.decode(&mut bytes[at..]).unwrap();
                    content.extend_from_slice(&bytes[at..][step.data.clone()]);
                    at += step.consumed;
                    if step.consumed == 0 || step.done {
                        return (content, decoder.trailers().is_some());
                    }
                }
            };
            let body = text.strip_prefix("head\r\n\r\n").unwrap();
            assert_eq!((decoded(body), content), ((b"onetwo".to_vec(), false), 6), "{room}: {text}");
            assert!(!inbox.is_over());
            inbox.push(&[b'x'; 300], false);
            inbox.text().bytes.extend_from_slice(b"a: b\r\nlonger-than-some-rooms: c\r\n");
            inbox.end();
            let (text, content) = read(&mut inbox, room);
            assert_eq!((decoded(&text), content), ((vec![b'x'; 300], true), 300), "{room}: {text}");
            assert!(inbox.is_over(), "{room}");
        }
    }

    #[test]
    fn a_length_is_complete_only_with_the_peers_word() {
        for room in ROOMS {
            let mut inbox = inbox(BodyKind::Length(6), false);
            inbox.push(b"abc", false);
            assert_eq!(read(&mut inbox, room), ("head\r\n\r\nabc".to_owned(), 3));
            inbox.push(b"def", false);
            assert_eq!(read(&mut inbox, room), (String::new(), 0), "{room}");
            assert!(!inbox.is_over());
            inbox.push(b"", true);
            inbox.end();
            assert_eq!(read(&mut inbox, room), ("def".to_owned(), 3));
            assert!(inbox.is_over());
        }
        let mut at_once = inbox(BodyKind::Length(3), false);
        at_once.push(b"abc", true);
        at_once.end();
        assert_eq!(read(&mut at_once, 100), ("head\r\n\r\nabc".to_owned(), 3));
        let mut nothing = inbox(BodyKind::Length(0), false);
        assert_eq!(read(&mut nothing, 100).0, "", "not before it has ended");
        nothing.end();
        assert_eq!(read(&mut nothing, 100).0, "head\r\n\r\n");
        assert!(nothing.is_over());
        let mut nothing = inbox(BodyKind::Length(0), true);
        assert_eq!(read(&mut nothing, 100).0, "head\r\n\r\n");
        assert!(nothing.is_over());
    }

    #[test]
    fn heads_come_one_behind_the_other_and_nothing_behind_the_last_where_nothing_may() {
        let mut inbox = Inbox::default();
        inbox.text().bytes.extend_from_slice(b"100\r\n\r\n");
        inbox.interim();
        assert_eq!(read(&mut inbox, 100).0, "100\r\n\r\n");
        inbox.text().bytes.extend_from_slice(b"103\r\n\r\n");
        inbox.interim();
        inbox.text().bytes.extend_from_slice(b"half of one that is malformed");
        inbox.forget_head();
        inbox.text().bytes.extend_from_slice(b"204\r\n\r\n");
        inbox.begin(BodyKind::None, false);
        assert!(!inbox.push(b"nonsense", true));
        assert_eq!(read(&mut inbox, 100).0, "103\r\n\r\n204\r\n\r\n");
        assert!(inbox.is_over());
    }

    #[test]
    fn what_was_read_takes_no_room() {
        let mut inbox = inbox(BodyKind::Chunked, false);
        let mut buf = [0; 4096];
        for _ in 0..10_000 {
            inbox.push(&[7; 3000], false);
            while inbox.unread_content() > 2000 {
                inbox.read(&mut buf[..1024]);
            }
        }
        assert!(inbox.bytes.capacity() < 64 * 1024, "{}", inbox.bytes.capacity());
        inbox.clear();
        assert!(inbox.bytes.capacity() <= KEPT_BYTES_MAX);
    }
}
