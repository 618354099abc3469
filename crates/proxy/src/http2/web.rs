//! gRPC-Web, as browsers speak it, to gRPC and back (grpc/grpc, doc/PROTOCOL-WEB.md): trailers travel as the last piece of
//! the body, and everything may be text.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::header::{ACCEPT, CONTENT_LENGTH, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, TE};

use super::head::{is_grpc, is_grpc_web};

/// The flag of a frame that holds trailers.
const TRAILERS_FLAG: u8 = 0x80;
const X_GRPC_WEB: HeaderName = HeaderName::from_static("x-grpc-web");

/// A call that came as gRPC-Web.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Web {
    /// The body is text, in both directions.
    pub(super) text: bool,
}

impl Web {
    /// Makes a gRPC request of a gRPC-Web one.
    pub(super) fn of_request(fields: &mut HeaderMap) -> Option<Self> {
        const WEB: usize = "application/grpc-web".len();
        const TEXT: &[u8] = b"-text";
        let content_type = fields.get(CONTENT_TYPE)?.as_bytes();
        if !is_grpc_web(content_type) {
            return None;
        }
        let rest = &content_type[WEB..];
        let text = rest.get(..TEXT.len()).is_some_and(|begin| begin.eq_ignore_ascii_case(TEXT));
        let format = if text { &rest[TEXT.len()..] } else { rest };
        let grpc = HeaderValue::from_bytes(&[b"application/grpc", format].concat()).ok()?;
        fields.insert(CONTENT_TYPE, grpc);
        fields.insert(TE, HeaderValue::from_static("trailers"));
        for gone in [CONTENT_LENGTH, ACCEPT, X_GRPC_WEB] {
            fields.remove(gone);
        }
        Some(Self { text })
    }

    /// Makes a gRPC-Web response's head of a gRPC one's. Gives whether it is one.
    pub(super) fn response(self, fields: &mut HeaderMap) -> bool {
        const GRPC: usize = "application/grpc".len();
        let content_type = fields.get(CONTENT_TYPE).map_or(&b""[..], HeaderValue::as_bytes);
        if !is_grpc(content_type) {
            return false;
        }
        let web: &[u8] = if self.text { b"application/grpc-web-text" } else { b"application/grpc-web" };
        if let Ok(web) = HeaderValue::from_bytes(&[web, &content_type[GRPC..]].concat()) {
            fields.insert(CONTENT_TYPE, web);
        }
        true
    }

    /// The last frame of the body.
    pub(super) fn trailers(self, trailers: &HeaderMap) -> Vec<u8> {
        let mut frame = vec![TRAILERS_FLAG, 0, 0, 0, 0];
        for (name, value) in trailers {
            frame.extend_from_slice(name.as_str().as_bytes());
            frame.extend_from_slice(b":");
            frame.extend_from_slice(value.as_bytes());
            frame.extend_from_slice(b"\r\n");
        }
        let len = u32::try_from(frame.len() - 5).unwrap_or(u32::MAX);
        frame[1..5].copy_from_slice(&len.to_be_bytes());
        self.encode(&frame)
    }

    /// A piece of the body as the client gets it. Each piece is padded by itself, as the format allows.
    pub(super) fn encode(self, piece: &[u8]) -> Vec<u8> {
        if self.text { STANDARD.encode(piece).into_bytes() } else { piece.to_vec() }
    }
}

/// Reads text that comes in any pieces.
#[derive(Debug, Default)]
pub(super) struct Text {
    /// Up to three characters of a group that is not complete.
    rest: Vec<u8>,
}

impl Text {
    /// The bytes that are complete with this piece. Padding ends a group, not the text.
    pub(super) fn decode(&mut self, piece: &[u8]) -> Result<Vec<u8>, base64::DecodeError> {
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
    pub(super) fn is_whole(&self) -> bool {
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

    #[test]
    fn heads_are_translated_both_ways() {
        for (web, grpc, text) in [
            ("application/grpc-web", "application/grpc", false),
            ("application/grpc-web+proto", "application/grpc+proto", false),
            ("application/grpc-web-text", "application/grpc", true),
            ("application/grpc-web-text+proto", "application/grpc+proto", true),
        ] {
            let mut fields = HeaderMap::new();
            fields.insert(CONTENT_TYPE, web.parse().unwrap());
            fields.insert(CONTENT_LENGTH, "9".parse().unwrap());
            let call = Web::of_request(&mut fields).unwrap();
            assert_eq!(
                (call.text, &fields[CONTENT_TYPE], &fields[TE]),
                (text, &grpc.parse().unwrap(), &"trailers".parse().unwrap())
            );
            assert!(!fields.contains_key(CONTENT_LENGTH));
            assert!(call.response(&mut fields));
            assert_eq!(fields[CONTENT_TYPE], web);
        }
        let mut other = HeaderMap::new();
        other.insert(CONTENT_TYPE, "application/grpc".parse().unwrap());
        assert_eq!(Web::of_request(&mut other), None);
        other.insert(CONTENT_TYPE, "text/html".parse().unwrap());
        assert!(!Web { text: true }.response(&mut other));
    }

    #[test]
    fn trailers_are_a_frame() {
        let mut trailers = HeaderMap::new();
        trailers.insert("grpc-status", "0".parse().unwrap());
        assert_eq!(Web { text: false }.trailers(&trailers), b"\x80\0\0\0\x0fgrpc-status:0\r\n");
        let text = Web { text: true }.trailers(&trailers);
        assert_eq!(STANDARD.decode(text).unwrap(), b"\x80\0\0\0\x0fgrpc-status:0\r\n");
    }
}
