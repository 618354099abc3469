//! Identifiers that a request carries from hop to hop: its id, and its place in a trace.
//!
//! Pure: fields and random numbers in, fields out. Which of them a proxy touches is the connection's decision.
//!
//! Sources: W3C Trace Context (level 1), <https://www.w3.org/TR/trace-context/>; B3 propagation,
//! <https://github.com/openzipkin/b3-propagation>; UUID version 4, RFC 9562 section 5.4.

use rand::Rng;

/// Bytes of a request id at most. A longer one is not kept.
pub(crate) const REQUEST_ID_MAX: usize = 128;

/// A request's id: short visible text that can stand in a log, a header and a search box as it is.
#[derive(Clone, Copy)]
pub(crate) struct RequestId {
    text: [u8; REQUEST_ID_MAX],
    len: u8,
}

impl RequestId {
    /// None yet.
    pub(crate) const NONE: Self = Self { text: [0; REQUEST_ID_MAX], len: 0 };

    /// Takes over an id that came, if it is one: letters, digits and a few signs, so that it can neither break out of a log
    /// line nor grow it without bound. Gives whether it is.
    #[inline]
    pub(crate) fn keep(&mut self, value: &[u8]) -> bool {
        let fits = (1..=REQUEST_ID_MAX).contains(&value.len()) && all(value, is_id_byte);
        if fits {
            self.text[..value.len()].copy_from_slice(value);
            self.len = value.len() as u8;
        }
        fits
    }

    /// Makes a new one: a random UUID.
    #[inline]
    pub(crate) fn make(&mut self, rng: &mut impl Rng) {
        // Version 4 and the variant of RFC 9562.
        let high = rng.next_u64() & 0xffff_ffff_ffff_0fff | 0x4000;
        let low = rng.next_u64() & 0x3fff_ffff_ffff_ffff | 0x8000_0000_0000_0000;
        let (high, low) = (hex(high), hex(low));
        let text = &mut self.text;
        text[..8].copy_from_slice(&high[..8]);
        text[8] = b'-';
        text[9..13].copy_from_slice(&high[8..12]);
        text[13] = b'-';
        text[14..18].copy_from_slice(&high[12..]);
        text[18] = b'-';
        text[19..23].copy_from_slice(&low[..4]);
        text[23] = b'-';
        text[24..36].copy_from_slice(&low[4..]);
        self.len = 36;
    }

    /// Forgets it.
    #[inline]
    pub(crate) fn clear(&mut self) {
        self.len = 0;
    }

    /// The text; empty when there is none.
    #[inline]
    pub(crate) fn as_bytes(&self) -> &[u8] {
        &self.text[..usize::from(self.len)]
    }
}

fn is_id_byte(byte: u8) -> bool {
    // `-./0..9:` lie together, and so do `@A..Z`.
    in_range(byte, b'-', b':')
        | in_range(byte, b'@', b'Z')
        | in_range(byte, b'a', b'z')
        | (byte == b'_')
        | (byte == b'~')
        | (byte == b'+')
        | (byte == b'=')
}

#[inline]
fn in_range(byte: u8, first: u8, last: u8) -> bool {
    byte.wrapping_sub(first) <= last - first
}

/// Whether all bytes are as they should be. Looks at every one of them, so that the compiler can look at many at once.
#[inline]
fn all(bytes: &[u8], is_right: impl Fn(u8) -> bool) -> bool {
    bytes.iter().fold(true, |all, &byte| all & is_right(byte))
}

/// Sixteen lower-case digits.
#[inline]
fn hex(number: u64) -> [u8; 16] {
    let mut text = [0; 16];
    for (pair, byte) in text.chunks_exact_mut(2).zip(number.to_be_bytes()) {
        pair.copy_from_slice(&PAIRS[usize::from(byte)]);
    }
    text
}

/// The digits of each byte.
static PAIRS: [[u8; 2]; 256] = {
    let digits = b"0123456789abcdef";
    let mut pairs = [[0; 2]; 256];
    let mut i = 0;
    while i < 256 {
        pairs[i] = [digits[i >> 4], digits[i & 15]];
        i += 1;
    }
    pairs
};

/// An id of a trace, as lower-case digits.
pub(crate) type TraceId = [u8; 32];
/// An id of a span, likewise.
pub(crate) type SpanId = [u8; 16];

/// A span id that is not 0, which would be none.
fn new_span(rng: &mut impl Rng) -> SpanId {
    hex(rng.next_u64().max(1))
}

/// Where a request stands in a trace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Trace {
    pub(crate) trace_id: TraceId,
    /// The caller's span; none for a trace that begins here.
    pub(crate) parent: Option<SpanId>,
    /// This proxy's own; none where it is not part of the trace.
    pub(crate) span: Option<SpanId>,
    /// As W3C's `trace-flags`; bit 0 says that the trace is recorded.
    pub(crate) flags: u8,
}

/// The length of a `traceparent` of version 00.
const TRACEPARENT_LEN: usize = 55;

impl Trace {
    /// Reads a `traceparent`.
    pub(crate) fn parse(value: &[u8]) -> Option<Self> {
        let known = value.get(..TRACEPARENT_LEN)?;
        let version = byte(&known[..2])?;
        let ends = match value.get(TRACEPARENT_LEN) {
            None => true,
            // A later version may say more behind another dash.
            Some(next) => version > 0 && *next == b'-',
        };
        let dashes = [2, 35, 52].iter().all(|&at| known[at] == b'-');
        if version == 0xff || !ends || !dashes {
            return None;
        }
        Some(Self {
            trace_id: id(&known[3..35])?,
            parent: Some(id(&known[36..52])?),
            span: None,
            flags: byte(&known[53..])?,
        })
    }

    /// A new trace, said to be recorded.
    pub(crate) fn begin(rng: &mut impl Rng) -> Self {
        let mut trace_id = [0; 32];
        trace_id[..16].copy_from_slice(&hex(rng.next_u64()));
        trace_id[16..].copy_from_slice(&new_span(rng));
        Self { trace_id, parent: None, span: Some(new_span(rng)), flags: 1 }
    }

    /// Gives this proxy a span of its own.
    pub(crate) fn join(&mut self, rng: &mut impl Rng) -> SpanId {
        *self.span.get_or_insert_with(|| new_span(rng))
    }

    /// The `traceparent` for the next hop.
    pub(crate) fn traceparent(&self) -> [u8; TRACEPARENT_LEN] {
        let mut text = *b"00-00000000000000000000000000000000-0000000000000000-00";
        text[3..35].copy_from_slice(&self.trace_id);
        if let Some(span) = self.span.or(self.parent) {
            text[36..52].copy_from_slice(&span);
        }
        text[53..].copy_from_slice(&PAIRS[usize::from(self.flags)]);
        text
    }
}

fn is_lower_hex(text: &[u8]) -> bool {
    all(text, |byte| in_range(byte, b'0', b'9') | in_range(byte, b'a', b'f'))
}

/// An id of that many lower-case digits that is not all zeros.
fn id<const N: usize>(text: &[u8]) -> Option<[u8; N]> {
    let id: [u8; N] = text.try_into().ok()?;
    (is_lower_hex(&id) & !all(&id, |byte| byte == b'0')).then_some(id)
}

fn byte(text: &[u8]) -> Option<u8> {
    if text.len() != 2 || !is_lower_hex(text) {
        return None;
    }
    u8::from_str_radix(std::str::from_utf8(text).ok()?, 16).ok()
}

/// An id of B3: it may have capitals, and a trace's may have half the length.
fn b3_id<const N: usize>(text: &[u8]) -> Option<[u8; N]> {
    let mut id = [b'0'; N];
    id[N.checked_sub(text.len())?..].copy_from_slice(text);
    id.make_ascii_lowercase();
    let short = text.len() == 16 && N == 32;
    (text.len() == N || short).then(|| self::id(&id)).flatten()
}

/// What B3 says of a request in one field, `b3`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct B3<'a> {
    /// As it came, to be passed on.
    trace_id: &'a [u8],
    /// The caller's span, as it came.
    span: &'a [u8],
    /// Whether it is recorded: empty, or `-` and a word.
    sampled: &'a [u8],
}

impl<'a> B3<'a> {
    /// Reads `TRACE-SPAN[-SAMPLED[-PARENT]]`. A decision alone (`0`) names no trace.
    pub(crate) fn parse(value: &'a [u8]) -> Option<Self> {
        let mut parts = value.split(|&b| b == b'-');
        let (trace_id, span) = (parts.next()?, parts.next()?);
        let sampled = match parts.next() {
            None => &value[value.len()..],
            Some([b'0' | b'1' | b'd']) => &value[trace_id.len() + 1 + span.len()..][..2],
            Some(_) => return None,
        };
        let parent_is_one = parts.next().is_none_or(|parent| b3_id::<16>(parent).is_some());
        (parent_is_one && parts.next().is_none()).then_some(())?;
        b3_id::<32>(trace_id)?;
        b3_id::<16>(span)?;
        Some(Self { trace_id, span, sampled })
    }

    /// The place in the trace.
    pub(crate) fn trace(&self) -> Option<Trace> {
        b3_trace(self.trace_id, self.span)
    }

    /// The parts of the field for the next hop, whose caller is `span`.
    pub(crate) fn next<'b>(&'b self, span: &'b SpanId) -> [&'b [u8]; 6] {
        // Without a decision there is no room for the parent.
        let (dash, parent): (&[u8], &[u8]) =
            if self.sampled.is_empty() { (b"", b"") } else { (b"-", self.span) };
        [self.trace_id, b"-", span, self.sampled, dash, parent]
    }
}

/// The place in a trace that B3's ids, from whichever fields, stand for.
pub(crate) fn b3_trace(trace_id: &[u8], span: &[u8]) -> Option<Trace> {
    Some(Trace { trace_id: b3_id(trace_id)?, parent: Some(b3_id(span)?), span: None, flags: 0 })
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;
    use rand::rngs::SmallRng;

    use super::*;

    fn rng() -> SmallRng {
        SmallRng::seed_from_u64(7)
    }

    fn text(bytes: &[u8]) -> &str {
        std::str::from_utf8(bytes).unwrap()
    }

    #[test]
    fn a_new_id_is_a_random_uuid() {
        let mut rng = rng();
        let mut seen = std::collections::BTreeSet::new();
        for _ in 0..1000 {
            let mut id = RequestId::NONE;
            id.make(&mut rng);
            let id = text(id.as_bytes()).to_owned();
            let parts: Vec<&str> = id.split('-').collect();
            assert_eq!(parts.iter().map(|part| part.len()).collect::<Vec<_>>(), [8, 4, 4, 4, 12], "{id}");
            assert!(parts.iter().all(|part| is_lower_hex(part.as_bytes())), "{id}");
            assert!(parts[2].starts_with('4') && "89ab".contains(&parts[3][..1]), "{id}");
            assert!(seen.insert(id));
        }
    }

    #[test]
    fn an_id_that_came_is_kept_if_it_is_one() {
        let mut id = RequestId::NONE;
        for good in [
            "a",
            "7b0e3c1e-8a53-4e0e-b6f9-1c0e7f3a9d21",
            "Root=1-67891233-abcdef012345678912345678",
            &"x".repeat(128),
        ] {
            assert!(id.keep(good.as_bytes()), "{good}");
            assert_eq!(text(id.as_bytes()), good);
        }
        id.clear();
        for bad in ["", "a b", "a\"b", "a\u{1b}[2J", "a,b", "ä", "{}", &"x".repeat(129)] {
            assert!(!id.keep(bad.as_bytes()), "{bad}");
            assert!(id.as_bytes().is_empty());
        }
    }

    const PARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    #[test]
    fn a_traceparent_is_read_strictly() {
        let trace = Trace::parse(PARENT.as_bytes()).unwrap();
        assert_eq!(text(&trace.trace_id), "4bf92f3577b34da6a3ce929d0e0e4736");
        assert_eq!(text(&trace.parent.unwrap()), "00f067aa0ba902b7");
        assert_eq!((trace.flags, trace.span), (1, None));
        assert_eq!(text(&trace.traceparent()), PARENT);
        // A later version is read as far as it is known.
        assert!(Trace::parse(PARENT.replace("00-4", "cc-4").as_bytes()).is_some());
        assert!(Trace::parse(format!("{}-more", PARENT.replace("00-4", "01-4")).as_bytes()).is_some());
        for bad in [
            "",
            "00",
            &PARENT[..54],
            &format!("{PARENT}-more"),
            &format!("{PARENT}x"),
            &format!("{}x", PARENT.replace("00-4", "01-4")),
            &PARENT.replace("00-4", "ff-4"),
            &PARENT.replace("4bf9", "4BF9"),
            &PARENT.replace("4bf9", "4bg9"),
            &PARENT.replace("4bf92f3577b34da6a3ce929d0e0e4736", "00000000000000000000000000000000"),
            &PARENT.replace("00f067aa0ba902b7", "0000000000000000"),
            &PARENT.replace("-01", "_01"),
            &PARENT.replace("-01", "-0x"),
        ] {
            assert_eq!(Trace::parse(bad.as_bytes()), None, "{bad}");
        }
    }

    #[test]
    fn the_next_hop_is_told_of_the_own_span() {
        let mut trace = Trace::parse(PARENT.as_bytes()).unwrap();
        let span = trace.join(&mut rng());
        assert_eq!(trace.join(&mut rng()), span, "it is given once");
        let next = Trace::parse(&trace.traceparent()).unwrap();
        assert_eq!((next.trace_id, next.parent, next.flags), (trace.trace_id, Some(span), 1));
        let begun = Trace::begin(&mut rng());
        let next = Trace::parse(&begun.traceparent()).unwrap();
        assert_eq!((next.trace_id, next.parent, next.flags), (begun.trace_id, begun.span, 1));
    }

    #[test]
    fn b3_in_one_field() {
        let next = |value: &str| {
            let b3 = B3::parse(value.as_bytes())?;
            Some(b3.next(b"1111111111111111").concat()).map(|bytes| text(&bytes).to_owned())
        };
        let check =
            |value: &str, expected: Option<&str>| assert_eq!(next(value).as_deref(), expected, "{value}");
        let long = "80f198ee56343ba864fe8b2a57d3eff7";
        check(
            &format!("{long}-e457b5a2e4d86bd1-1-05e3ac9a4f6e3b90"),
            Some(&format!("{long}-1111111111111111-1-e457b5a2e4d86bd1")),
        );
        check(
            "64fe8b2a57d3eff7-e457b5a2e4d86bd1-d",
            Some("64fe8b2a57d3eff7-1111111111111111-d-e457b5a2e4d86bd1"),
        );
        check("64FE8B2A57D3EFF7-e457b5a2e4d86bd1", Some("64FE8B2A57D3EFF7-1111111111111111"));
        for bad in [
            "0",
            "",
            "-",
            "64fe8b2a57d3eff7",
            "64fe8b2a57d3eff7-e457",
            "64fe8b2a57d3eff7-e457b5a2e4d86bd1-2",
            "0000000000000000-e457b5a2e4d86bd1-1",
            "64fe8b2a57d3eff7-e457b5a2e4d86bd1-1-x",
            "64fe8b2a57d3eff7-e457b5a2e4d86bd1-1-05e3ac9a4f6e3b90-1",
        ] {
            check(bad, None);
        }
        let trace = B3::parse(b"64FE8B2A57D3EFF7-e457b5a2e4d86bd1").unwrap().trace().unwrap();
        assert_eq!(text(&trace.trace_id), "000000000000000064fe8b2a57d3eff7");
    }
}
