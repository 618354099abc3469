//! Recognises the field names that a proxy must treat specially, with one look into a table and without allocation.

use crate::scan::short_word;

/// A set of [`KnownField`]s.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FieldSet(u64);

impl FieldSet {
    /// The empty set.
    pub const NONE: Self = Self(0);

    /// What concerns one connection only and is never copied (RFC 9110 section 7.6.1), plus look-alikes.
    pub const HOP_BY_HOP: Self = Self::NONE
        .with(KnownField::Connection)
        .with(KnownField::KeepAlive)
        .with(KnownField::ProxyConnection)
        .with(KnownField::Te)
        .with(KnownField::Upgrade)
        .with(KnownField::Http2Settings)
        .with(KnownField::ProxyAuthenticate)
        .with(KnownField::ProxyAuthorization)
        .with(KnownField::Lookalike);

    /// What frames a body; written anew by [`crate::HeadWriter::framing`].
    pub const FRAMING: Self = Self::NONE.with(KnownField::ContentLength).with(KnownField::TransferEncoding);

    /// What a client could forge to appear as somebody else: overwrite these at a trust boundary.
    pub const FORWARDING: Self = Self::NONE
        .with(KnownField::Forwarded)
        .with(KnownField::XForwardedFor)
        .with(KnownField::XForwardedProto)
        .with(KnownField::XForwardedHost)
        .with(KnownField::XForwardedPort)
        .with(KnownField::XForwarded)
        .with(KnownField::XRealIp)
        .with(KnownField::XWeir)
        .with(KnownField::XWeirHops)
        .with(KnownField::XWeirCaller)
        .with(KnownField::XWeirTimeout)
        .with(KnownField::XWeirAttempt);

    /// Fields that a `Connection` option cannot remove: framing, routing, identity.
    pub const PROTECTED: Self = Self::FRAMING
        .union(Self::FORWARDING)
        .with(KnownField::Host)
        .with(KnownField::Authorization)
        .with(KnownField::Cookie)
        .with(KnownField::SetCookie)
        .with(KnownField::ContentType)
        .with(KnownField::Date)
        .with(KnownField::Via)
        .with(KnownField::XRequestId)
        .with(KnownField::Traceparent)
        .with(KnownField::Tracestate);

    /// The set with `field` added.
    #[must_use]
    pub const fn with(self, field: KnownField) -> Self {
        Self(self.0 | 1 << field as u32)
    }

    /// The set with `field` removed.
    #[must_use]
    pub const fn without(self, field: KnownField) -> Self {
        Self(self.0 & !(1 << field as u32))
    }

    /// All members of both sets.
    #[must_use]
    pub const fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Whether `field` is a member.
    #[inline(always)]
    pub const fn has(self, field: KnownField) -> bool {
        self.0 >> field as u32 & 1 != 0
    }

    /// Whether the sets share a member.
    #[inline(always)]
    pub const fn intersects(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }

    #[inline(always)]
    pub(crate) fn insert(&mut self, field: KnownField) {
        self.0 |= 1 << field as u32;
    }
}

macro_rules! known_fields {
    ($($variant:ident $name:literal,)*) => {
        /// A field name that the codec or the proxy treats specially.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[repr(u8)]
        pub enum KnownField {
            /// Any other name.
            Other,
            /// `X-Forwarded-` with an ending that has no variant of its own.
            XForwarded,
            /// `X-Weir-` with any ending.
            XWeir,
            /// A known name spelt with `_` for `-`: some servers take it for the real one, so it is never forwarded.
            Lookalike,
            $(#[doc = concat!("`", $name, "`")] $variant,)*
        }

        impl KnownField {
            /// All of them; each stands at its own number.
            pub const ALL: [Self; Self::COUNT] =
                [Self::Other, Self::XForwarded, Self::XWeir, Self::Lookalike, $(Self::$variant),*];

            /// How many there are.
            pub const COUNT: usize = 4 + [$($name),*].len();

            /// The lower-case name; empty for the variants that stand for many names.
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => $name,)*
                    _ => "",
                }
            }

            /// What `name` is known as, in any case. It must consist of token characters only ([`crate::is_token`]).
            pub fn of(name: &[u8]) -> Self {
                recognize(name)
            }
        }

        const NAMED: [KnownField; [$($name),*].len()] = [$(KnownField::$variant),*];
    };
}

known_fields! {
    Host "host",
    Connection "connection",
    ContentLength "content-length",
    TransferEncoding "transfer-encoding",
    KeepAlive "keep-alive",
    ProxyConnection "proxy-connection",
    Te "te",
    Trailer "trailer",
    Upgrade "upgrade",
    Http2Settings "http2-settings",
    Expect "expect",
    Authorization "authorization",
    ProxyAuthorization "proxy-authorization",
    ProxyAuthenticate "proxy-authenticate",
    Cookie "cookie",
    SetCookie "set-cookie",
    ContentType "content-type",
    ContentEncoding "content-encoding",
    Accept "accept",
    UserAgent "user-agent",
    Date "date",
    Server "server",
    Via "via",
    Forwarded "forwarded",
    XForwardedFor "x-forwarded-for",
    XForwardedProto "x-forwarded-proto",
    XForwardedHost "x-forwarded-host",
    XForwardedPort "x-forwarded-port",
    XRealIp "x-real-ip",
    XRequestId "x-request-id",
    XWeirHops "x-weir-hops",
    XWeirCaller "x-weir-caller",
    XWeirTimeout "x-weir-timeout",
    XWeirAttempt "x-weir-attempt",
    Traceparent "traceparent",
    Tracestate "tracestate",
    B3 "b3",
    XB3TraceId "x-b3-traceid",
    XB3SpanId "x-b3-spanid",
    XB3ParentSpanId "x-b3-parentspanid",
    RetryAfter "retry-after",
    GrpcStatus "grpc-status",
    GrpcTimeout "grpc-timeout",
}

const _: () = assert!(KnownField::COUNT <= 64, "a FieldSet holds 64 members");

/// Length, first eight bytes, next eight bytes; letters folded to lower case, zeros behind the name.
type Key = (usize, u64, u64);

const SLOTS: usize = 128;

/// A factor for which [`slot`] gives every known name a place of its own, found when this is compiled.
const FACTOR: u64 = {
    let mut factor = 0x9e37_79b9_7f4a_7c15u64;
    while !separates(factor) {
        factor = factor.wrapping_mul(0xd134_2543_de82_ef95).wrapping_add(2);
    }
    factor
};

const fn slot((len, low, high): Key, factor: u64) -> usize {
    let mixed = (low ^ high.rotate_left(29) ^ len as u64).wrapping_mul(factor);
    (mixed >> (64 - SLOTS.trailing_zeros())) as usize
}

const fn separates(factor: u64) -> bool {
    let mut taken = [false; SLOTS];
    let mut i = 0;
    while i < NAMED.len() {
        let at = slot(key(NAMED[i].name().as_bytes()), factor);
        if taken[at] {
            return false;
        }
        taken[at] = true;
        i += 1;
    }
    true
}

static TABLE: [(Key, KnownField); SLOTS] = {
    let mut table = [((0, 0, 0), KnownField::Other); SLOTS];
    let mut i = 0;
    while i < NAMED.len() {
        let key = key(NAMED[i].name().as_bytes());
        table[slot(key, FACTOR)] = (key, NAMED[i]);
        i += 1;
    }
    table
};

#[inline(always)]
fn exact(key: Key) -> KnownField {
    let (found, field) = TABLE[slot(key, FACTOR) % SLOTS];
    if found == key { field } else { KnownField::Other }
}

/// Sets the bit that tells lower from upper case. Among bytes of a token no two different ones of `[a-z0-9-]` and
/// something else become equal by that, so a comparison after it is exact.
const FOLD: u64 = 0x2020_2020_2020_2020;

/// The key of a name of `len` bytes that begins with these words; what follows the name in them does not matter.
#[inline(always)]
const fn key_of_words(len: usize, low: u64, high: u64) -> Key {
    let mask = &MASKS[if len < 16 { len } else { 16 }];
    (len, (low | FOLD) & mask[0], (high | FOLD) & mask[1])
}

/// The words of a name of 0 to 16 bytes, all bits set.
static MASKS: [[u64; 2]; 17] = {
    let mut masks = [[u64::MAX; 2]; 17];
    let mut len = 0;
    while len < 16 {
        let half = if len < 8 { 0 } else { 1 };
        masks[len][half] = (1 << (8 * (len % 8))) - 1;
        if len < 8 {
            masks[len][1] = 0;
        }
        len += 1;
    }
    masks
};

const fn key(name: &[u8]) -> Key {
    let mut words = [0u64; 2];
    let mut i = 0;
    while i < name.len() && i < 16 {
        words[i / 8] |= (name[i] as u64) << (8 * (i % 8));
        i += 1;
    }
    key_of_words(name.len(), words[0], words[1])
}

/// The first sixteen bytes as two words, with zeros behind the end.
#[inline(always)]
fn words(name: &[u8]) -> (u64, u64) {
    match (name.first_chunk::<8>(), name.last_chunk::<8>(), name.first_chunk::<16>()) {
        (_, _, Some(words)) => {
            let words = u128::from_le_bytes(*words);
            (words as u64, (words >> 64) as u64)
        }
        // Shifted twice, since a shift by 64 is none.
        (Some(low), Some(high), None) => {
            (u64::from_le_bytes(*low), u64::from_le_bytes(*high) >> (8 * (15 - name.len())) >> 8)
        }
        _ => (short_word(name), 0),
    }
}

/// Which known field a name is. `name` must consist of token characters only.
pub(crate) fn recognize(name: &[u8]) -> KnownField {
    let (low, high) = words(name);
    let found = exact(key_of_words(name.len(), low, high));
    if found != KnownField::Other && (name.len() <= 16 || ends_alike(name, found)) {
        found
    } else if starts_with(name, b"x-") {
        family(name)
    } else if name.contains(&b'_') {
        lookalike(name)
    } else {
        KnownField::Other
    }
}

/// As [`recognize`], for a name that [`crate::scan::simple_name`] found.
#[inline(always)]
pub(crate) fn recognize_simple(name: &[u8], low: u64, high: u64) -> KnownField {
    let found = exact(key_of_words(name.len(), low, high));
    if found == KnownField::Other {
        let begins_with_x = (low | FOLD) as u16 == u16::from_le_bytes(*b"x-");
        if begins_with_x { family(name) } else { found }
    } else if name.len() <= 16 || ends_alike(name, found) {
        found
    } else {
        family(name)
    }
}

/// Compares what the key leaves out of a name above 16 bytes.
fn ends_alike(name: &[u8], found: KnownField) -> bool {
    matches!((name.get(16..), found.name().as_bytes().get(16..)), (Some(a), Some(b)) if a.eq_ignore_ascii_case(b))
}

#[inline(never)]
fn family(name: &[u8]) -> KnownField {
    if starts_with(name, b"x-forwarded-") {
        KnownField::XForwarded
    } else if starts_with(name, b"x-weir-") {
        KnownField::XWeir
    } else if name.contains(&b'_') {
        lookalike(name)
    } else {
        KnownField::Other
    }
}

fn starts_with(name: &[u8], prefix: &[u8]) -> bool {
    name.len() > prefix.len() && name[..prefix.len()].eq_ignore_ascii_case(prefix)
}

#[cold]
fn lookalike(name: &[u8]) -> KnownField {
    let mut copy = [0u8; 32];
    let shown = name.len().min(copy.len());
    for (to, &from) in copy.iter_mut().zip(name) {
        *to = if from == b'_' { b'-' } else { from };
    }
    // A longer name can only be of a family, and for that its beginning is enough.
    match recognize(&copy[..shown]) {
        KnownField::Other => KnownField::Other,
        _ => KnownField::Lookalike,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn recognises_any_case_and_nothing_else() {
        for name in
            ["host", "te", "via", "connection", "transfer-encoding", "proxy-authorization", "x-real-ip"]
        {
            let id = recognize(name.as_bytes());
            assert_eq!(id.name(), name);
            assert_eq!(recognize(name.to_ascii_uppercase().as_bytes()), id);
            let line = format!("{name}: 0123456789abcdef").into_bytes();
            if let Some((len, low, high)) = crate::scan::simple_name(&line) {
                assert_eq!(recognize_simple(&line[..len], low, high), id);
            }
            for i in 0..name.len() {
                let mut control = name.as_bytes().to_vec();
                control[i] ^= 0x20;
                let line: Vec<u8> = control.iter().copied().chain(*b": 0123456789abcdef").collect();
                if let Some((len, low, high)) = crate::scan::simple_name(&line) {
                    let same = control.eq_ignore_ascii_case(name.as_bytes());
                    assert_eq!(recognize_simple(&line[..len], low, high) == id, same, "{name} {i}");
                }
                let mut near = name.as_bytes().to_vec();
                near[i] = b'q';
                assert_eq!(recognize(&near), KnownField::Other, "{name} {i}");
            }
        }
        assert_eq!(recognize(b"h"), KnownField::Other);
        assert_eq!(recognize(b""), KnownField::Other);
    }

    #[test]
    fn numbers_and_names_lead_to_each_other() {
        for (number, known) in KnownField::ALL.into_iter().enumerate() {
            assert_eq!(known as usize, number);
            assert!(known.name().is_empty() || KnownField::of(known.name().as_bytes()) == known);
        }
    }

    #[test]
    fn families_and_lookalikes() {
        assert_eq!(recognize(b"X-Forwarded-Client-Cert"), KnownField::XForwarded);
        assert_eq!(recognize(b"x-weir-Revision"), KnownField::XWeir);
        for name in [
            "Transfer_Encoding",
            "content_length",
            "X_Forwarded_For",
            "x_weir-a",
            "x_forwarded_client_cert_and_a_long_tail",
        ] {
            assert_eq!(recognize(name.as_bytes()), KnownField::Lookalike, "{name}");
        }
        assert_eq!(recognize(b"my_field"), KnownField::Other);
    }
}
