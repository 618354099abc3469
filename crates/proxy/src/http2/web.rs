//! gRPC-Web, as browsers speak it, to gRPC and back (grpc/grpc, doc/PROTOCOL-WEB.md): trailers travel as the last piece of
//! the body, and everything may be text.

use std::io;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use weir_http1::{
    BodyDecoder, BodyKind, FieldSet, FieldTable, KnownField, LAST_CHUNK, Parsed, ResponseHead, Sent,
    Trailers, chunk_prefix, parse_response,
};
use weir_http2::hpack::Block;
use weir_http2::{Connection, Slot};

use super::WRITTEN_HERE;
use super::fault::{self, unfit};
use super::head::{is_grpc, is_grpc_web};

/// The flag of a frame that holds trailers.
const TRAILERS_FLAG: u8 = 0x80;
const WEB: &[u8] = b"application/grpc-web";
const TEXT: &[u8] = b"-text";
const GRPC: &[u8] = b"application/grpc";
const X_GRPC_WEB: &[u8] = b"x-grpc-web";

/// What a gRPC-Web request says that a gRPC one does not, or says otherwise.
const REWRITTEN: FieldSet = FieldSet::NONE
    .with(KnownField::ContentType)
    .with(KnownField::ContentLength)
    .with(KnownField::Accept)
    .with(KnownField::Te);

/// A call that came as gRPC-Web.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Web {
    /// The body is text, in both directions.
    pub(super) text: bool,
}

impl Web {
    /// Whether a request is one.
    pub(super) fn of_request(table: &FieldTable, head: &[u8]) -> Option<Self> {
        let content_type = table.value(head, KnownField::ContentType)?;
        if !is_grpc_web(content_type) {
            return None;
        }
        let begin = content_type[WEB.len()..].get(..TEXT.len());
        Some(Self { text: begin.is_some_and(|begin| begin.eq_ignore_ascii_case(TEXT)) })
    }

    /// Writes the fields of the gRPC request that it becomes, but for those in `skip`.
    pub(super) fn write_fields(self, block: &mut Block<'_>, table: &FieldTable, head: &[u8], skip: FieldSet) {
        let skip = skip.union(REWRITTEN);
        for field in table.iter().filter(|field| !skip.has(field.id) && !field.nominated) {
            let name = field.name.of(head);
            if !name.eq_ignore_ascii_case(X_GRPC_WEB) {
                block.field(field.id, name, field.value.of(head));
            }
        }
        let content_type = table.value(head, KnownField::ContentType).unwrap_or_default();
        let format = content_type.get(WEB.len() + if self.text { TEXT.len() } else { 0 }..);
        let grpc = [GRPC, format.unwrap_or_default()].concat();
        block.field(KnownField::ContentType, b"content-type", &grpc);
        block.field(KnownField::Te, b"te", b"trailers");
    }

    /// The content type of a gRPC-Web response, of that of a gRPC one.
    fn content_type(self, grpc: &[u8]) -> Vec<u8> {
        let text = if self.text { TEXT } else { b"" };
        [WEB, text, &grpc[GRPC.len()..]].concat()
    }

    /// The last frame of the body.
    fn trailers(self, trailers: Option<&Trailers>) -> Vec<u8> {
        let mut frame = vec![TRAILERS_FLAG, 0, 0, 0, 0];
        for (name, value) in trailers.into_iter().flat_map(Trailers::iter) {
            for part in [name, b":", value, b"\r\n"] {
                frame.extend_from_slice(part);
            }
        }
        let len = u32::try_from(frame.len() - 5).unwrap_or(u32::MAX);
        frame[1..5].copy_from_slice(&len.to_be_bytes());
        self.encode(&frame)
    }

    /// A piece of the body as the client gets it. Each piece is padded by itself, as the format allows.
    fn encode(self, piece: &[u8]) -> Vec<u8> {
        if self.text { STANDARD.encode(piece).into_bytes() } else { piece.to_vec() }
    }
}

/// A gRPC response on its way to a client that speaks gRPC-Web. HTTP/1.1 goes in and comes out.
pub(super) struct WebResponse {
    web: Web,
    /// A head that has not come whole.
    partial: Vec<u8>,
    head: ResponseHead,
    /// The content, once it is known to be gRPC's.
    body: Option<BodyDecoder>,
    passes: bool,
    /// What is to be read.
    ready: Vec<u8>,
    from: usize,
}

impl WebResponse {
    pub(super) fn new(web: Web) -> Self {
        let (partial, ready) = (Vec::new(), Vec::new());
        Self { web, partial, head: ResponseHead::default(), body: None, passes: false, ready, from: 0 }
    }

    /// Takes the next bytes of the response.
    pub(super) fn take(&mut self, bytes: &mut [u8]) -> io::Result<()> {
        if self.passes {
            self.ready.extend_from_slice(bytes);
            return Ok(());
        }
        if self.body.is_some() {
            return self.take_body(bytes);
        }
        self.partial.extend_from_slice(bytes);
        let mut all = std::mem::take(&mut self.partial);
        let mut at = 0;
        while at < all.len() {
            let Parsed::Complete(len) =
                parse_response(&all[at..], &WRITTEN_HERE, Sent::default(), &mut self.head).map_err(unfit)?
            else {
                self.partial = all.split_off(at);
                return Ok(());
            };
            let (head, rest) = all[at..].split_at_mut(len);
            at += len;
            if self.head.is_interim() {
                self.ready.extend_from_slice(head);
                continue;
            }
            self.write_head(head);
            return if self.passes {
                self.ready.extend_from_slice(rest);
                Ok(())
            } else {
                self.take_body(rest)
            };
        }
        Ok(())
    }

    /// Writes a gRPC response's head as gRPC-Web's, and any other as it is.
    fn write_head(&mut self, head: &[u8]) {
        let content_type =
            self.head.fields().get(KnownField::ContentType).filter(|field| is_grpc(field.value.of(head)));
        let Some(field) = content_type else {
            self.passes = true;
            return self.ready.extend_from_slice(head);
        };
        let value = field.value.range();
        self.ready.extend_from_slice(&head[..value.start]);
        self.ready.extend_from_slice(&self.web.content_type(&head[value.clone()]));
        self.ready.extend_from_slice(&head[value.end..]);
        self.passes = self.head.body() != BodyKind::Chunked;
        self.body = Some(BodyDecoder::new(self.head.body(), &WRITTEN_HERE));
    }

    fn take_body(&mut self, bytes: &mut [u8]) -> io::Result<()> {
        let Some(body) = &mut self.body else { return Ok(()) };
        let held = std::mem::take(&mut self.partial);
        let mut joined;
        let bytes = if held.is_empty() {
            bytes
        } else {
            joined = [&held, &*bytes].concat();
            &mut joined
        };
        let mut at = 0;
        loop {
            let step = body.decode(&mut bytes[at..]).map_err(|why| io::Error::new(fault::MALFORMED, why))?;
            if !step.data.is_empty() {
                let piece = self.web.encode(&bytes[at..][step.data.clone()]);
                write_chunk(&piece, &mut self.ready);
            }
            at += step.consumed;
            if step.done {
                write_chunk(&self.web.trailers(body.trailers()), &mut self.ready);
                self.ready.extend_from_slice(LAST_CHUNK);
                self.passes = true;
                return Ok(());
            }
            if step.consumed == 0 || at == bytes.len() {
                self.partial.extend_from_slice(&bytes[at..]);
                return Ok(());
            }
        }
    }

    /// Reads what is ready.
    pub(super) fn read(&mut self, buf: &mut [u8]) -> usize {
        let n = (self.ready.len() - self.from).min(buf.len());
        buf[..n].copy_from_slice(&self.ready[self.from..self.from + n]);
        self.from += n;
        if self.from == self.ready.len() {
            self.ready.clear();
            self.from = 0;
        }
        n
    }
}

fn write_chunk(piece: &[u8], out: &mut Vec<u8>) {
    for part in [chunk_prefix(piece.len()).as_bytes(), piece, b"\r\n"] {
        out.extend_from_slice(part);
    }
}

/// A body that is text, on its way to an upstream that gets the bytes.
#[derive(Debug, Default)]
pub(super) struct TextBody {
    text: Text,
    /// Bytes that the peer has not taken.
    pending: Vec<u8>,
    from: usize,
    /// All of the text has come, and all was sent.
    complete: bool,
    sent: bool,
}

/// Text that is taken at once: so much is pending at most.
const TEXT_BYTES_MAX: usize = 16 * 1024;

impl TextBody {
    /// Takes text, unless bytes are pending. Gives how much. `last` says that nothing follows.
    pub(super) fn send(
        &mut self,
        h2: &mut Connection,
        slot: Slot,
        text: &[u8],
        last: bool,
    ) -> io::Result<usize> {
        let mut taken = 0;
        if text.is_empty() && last && !self.complete {
            if !self.text.is_whole() {
                return Err(unfit("text that ends within a group of four characters"));
            }
            // The end goes along with what is pending.
            self.complete = true;
            self.flush(h2, slot);
            return Ok(0);
        }
        while self.flush(h2, slot) && !self.complete {
            let piece = &text[taken..text.len().min(taken + TEXT_BYTES_MAX)];
            self.pending = self.text.decode(piece).map_err(unfit)?;
            taken += piece.len();
            if taken < text.len() {
                continue;
            }
            if last && !self.text.is_whole() {
                return Err(unfit("text that ends within a group of four characters"));
            }
            self.complete = last;
            self.flush(h2, slot);
            break;
        }
        Ok(taken)
    }

    /// Sends what is pending. Gives whether nothing is.
    pub(super) fn flush(&mut self, h2: &mut Connection, slot: Slot) -> bool {
        if self.sent || (self.pending.is_empty() && !self.complete) {
            return true;
        }
        self.from += h2.send(slot, &self.pending[self.from..], self.complete);
        if self.from < self.pending.len() {
            return false;
        }
        self.pending.clear();
        self.from = 0;
        self.sent = self.complete;
        true
    }

    /// Whether all of the text has come, and was sent.
    pub(super) fn is_sent(&self) -> bool {
        self.sent
    }
}

/// Reads text that comes in any pieces.
#[derive(Debug, Default)]
struct Text {
    /// Up to three characters of a group that is not complete.
    rest: Vec<u8>,
}

impl Text {
    /// The bytes that are complete with this piece. Padding ends a group, not the text.
    fn decode(&mut self, piece: &[u8]) -> Result<Vec<u8>, base64::DecodeError> {
        self.rest.extend_from_slice(piece);
        let whole = self.rest.len() / 4 * 4;
        let mut out = Vec::with_capacity(whole / 4 * 3);
        let mut from = 0;
        while from < whole {
            let padded = self.rest[from..whole].chunks(4).position(|group| group.contains(&b'='));
            let to = padded.map_or(whole, |groups| from + (groups + 1) * 4);
            STANDARD.decode_vec(&self.rest[from..to], &mut out)?;
            from = to;
        }
        self.rest.drain(..whole);
        Ok(out)
    }

    /// Whether nothing is missing.
    fn is_whole(&self) -> bool {
        self.rest.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_read_in_any_pieces_with_padding_anywhere() {
        let text = [STANDARD.encode("hello"), STANDARD.encode("w"), STANDARD.encode("orld!")].concat();
        for size in 1..text.len() {
            let mut reader = Text::default();
            let read: Vec<u8> =
                text.as_bytes().chunks(size).flat_map(|piece| reader.decode(piece).unwrap()).collect();
            assert_eq!(read, b"helloworld!", "pieces of {size}");
            assert!(reader.is_whole());
        }
        assert!(Text::default().decode(b"a b=").is_err());
        assert!(Text::default().decode(b"====").is_err());
        let mut cut = Text::default();
        assert!(cut.decode(b"aGVsb").is_ok() && !cut.is_whole());
    }

    /// The request's fields as the upstream gets them.
    fn request(content_type: &str) -> Option<(Web, Vec<(String, String)>)> {
        let head =
            format!("content-type: {content_type}\r\ncontent-length: 9\r\nX-Grpc-Web: 1\r\na: b\r\n\r\n");
        let mut table = FieldTable::default();
        table.parse(head.as_bytes(), 0, &WRITTEN_HERE).unwrap();
        let web = Web::of_request(&table, head.as_bytes())?;
        let mut block = Vec::new();
        let mut encoder = weir_http2::hpack::Encoder::new();
        web.write_fields(&mut encoder.block(&mut block), &table, head.as_bytes(), FieldSet::NONE);
        let mut fields = Vec::new();
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        weir_http2::hpack::Decoder::new(1000)
            .decode(&block, &mut Default::default(), |field| {
                fields.push((text(field.name), text(field.value)));
            })
            .unwrap();
        Some((web, fields))
    }

    #[test]
    fn heads_are_translated_both_ways() {
        for (web, grpc, text) in [
            ("application/grpc-web", "application/grpc", false),
            ("application/grpc-web+proto", "application/grpc+proto", false),
            ("application/grpc-web-text", "application/grpc", true),
            ("application/grpc-web-text+proto", "application/grpc+proto", true),
        ] {
            let (call, fields) = request(web).unwrap();
            assert_eq!(call.text, text);
            let field = |name: &str, value: &str| (name.to_owned(), value.to_owned());
            assert_eq!(fields, [field("a", "b"), field("content-type", grpc), field("te", "trailers")]);
            assert_eq!(call.content_type(grpc.as_bytes()), web.as_bytes());
        }
        assert_eq!(request("application/grpc"), None);
    }

    fn response(text: bool, bytes: &str, cut: usize) -> Vec<u8> {
        let mut response = WebResponse::new(Web { text });
        let (mut out, mut buf) = (Vec::new(), [0; 7]);
        for piece in bytes.as_bytes().chunks(cut) {
            response.take(&mut piece.to_vec()).unwrap();
            loop {
                let n = response.read(&mut buf);
                out.extend_from_slice(&buf[..n]);
                if n == 0 {
                    break;
                }
            }
        }
        out
    }

    #[test]
    fn trailers_become_a_frame_and_what_is_no_call_stays_as_it_is() {
        let call = "HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 200 OK\r\ncontent-type: application/grpc\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\ngrpc-status: 0\r\n\r\n";
        for cut in 1..call.len() {
            let got = response(false, call, cut);
            let at = got.windows(11).position(|some| some == b"chunked\r\n\r\n").unwrap() + 11;
            let (heads, body) = got.split_at(at);
            let heads = std::str::from_utf8(heads).unwrap();
            assert!(heads.starts_with("HTTP/1.1 103"), "{heads}");
            assert!(heads.contains("content-type: application/grpc-web\r\n"), "{heads}");
            let mut bytes = body.to_vec();
            let mut decoder = BodyDecoder::new(BodyKind::Chunked, &WRITTEN_HERE);
            let step = decoder.decode(&mut bytes).unwrap();
            let mut content = bytes[step.data].to_vec();
            let mut at = step.consumed;
            while !decoder.is_done() {
                let step = decoder.decode(&mut bytes[at..]).unwrap();
                content.extend_from_slice(&bytes[at..][step.data.clone()]);
                at += step.consumed;
            }
            assert_eq!(content, b"abc\x80\0\0\0\x0fgrpc-status:0\r\n", "cut at {cut}");
        }
        let other = "HTTP/1.1 200 OK\r\ncontent-type: text/html\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n";
        for cut in 1..other.len() {
            assert_eq!(response(true, other, cut), other.as_bytes());
        }
    }

    #[test]
    fn trailers_are_text_where_everything_is() {
        let text = Web { text: true }.trailers(None);
        assert_eq!(STANDARD.decode(text).unwrap(), b"\x80\0\0\0\0");
    }
}
