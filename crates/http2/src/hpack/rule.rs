//! What the encoder's table is used for.
//!
//! A table pays where a field comes again with the same value. Values that differ each time would only push others out; and what
//! is secret must not be guessed from what it compresses to (RFC 7541 section 7.1), the less so as one connection to an
//! upstream carries the requests of many clients.

use weir_http1::KnownField;

use super::FIELD_OVERHEAD_BYTES;
use super::name::Number;
use super::static_table::{STATIC, index_of_other};

/// How fields of one name are sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Rule {
    /// There are few values: into the table at first sight.
    Eager,
    /// Into the table when it comes a second time with the same value.
    Repeated,
    /// Always spelled out: the values differ, or are no longer than what an entry would save.
    Varies,
    /// Always spelled out, and marked so that nobody behind indexes it either (RFC 7541 section 6.2.3).
    Secret,
}

static RULES: [Rule; Number::COUNT] = {
    use KnownField::*;
    let mut rules = [Rule::Repeated; Number::COUNT];
    let few = [Number::METHOD, Number::STATUS];
    let mut i = 0;
    while i < few.len() {
        rules[few[i].index()] = Rule::Eager;
        i += 1;
    }
    set(
        &mut rules,
        &[Te, ContentType, ContentEncoding, Accept, Server, XForwardedProto, GrpcStatus],
        Rule::Eager,
    );
    let varying = [
        ContentLength,
        RetryAfter,
        Forwarded,
        XRequestId,
        Traceparent,
        Tracestate,
        B3,
        XB3TraceId,
        XB3SpanId,
        XB3ParentSpanId,
        GrpcTimeout,
        XWeirHops,
        XWeirTimeout,
        XWeirAttempt,
    ];
    set(&mut rules, &varying, Rule::Varies);
    set(&mut rules, &[Authorization, ProxyAuthorization, Cookie, SetCookie], Rule::Secret);
    rules
};

const fn set(rules: &mut [Rule; Number::COUNT], fields: &[KnownField], rule: Rule) {
    let mut i = 0;
    while i < fields.len() {
        rules[Number::of_field(fields[i]).index()] = rule;
        i += 1;
    }
}

impl Rule {
    /// The rule for a name.
    #[inline(always)]
    pub(super) fn of(number: Number) -> Self {
        RULES[number.index()]
    }

    /// Whether values are looked for in the table.
    #[inline(always)]
    pub(super) fn remembers(self) -> bool {
        matches!(self, Self::Eager | Self::Repeated)
    }

    /// [`Rule::Varies`] if this one field is not for a table of `table_bytes`, although the rule for its name would allow it.
    pub(super) fn of_value(number: Number, spelled: &[u8], value: &[u8], table_bytes: u32) -> Self {
        let varies = match number {
            Number::PATH => value.contains(&b'?'),
            Number::OTHER => varies(spelled),
            _ => false,
        };
        let bytes = number.spelled().len() + spelled.len() + value.len();
        if varies || Self::is_long(bytes, table_bytes) { Self::Varies } else { Self::Repeated }
    }

    /// Whether a name and a value of so many bytes would push out too many others.
    pub(super) fn is_long(bytes: usize, table_bytes: u32) -> bool {
        (bytes + FIELD_OVERHEAD_BYTES) * ENTRIES_MIN > table_bytes as usize
    }
}

/// How many of the largest entries the table has room for.
const ENTRIES_MIN: usize = 4;

/// Whether a name without a number of its own is one whose values differ.
fn varies(name: &[u8]) -> bool {
    let Some(index) = index_of_other(name) else { return false };
    matches!(
        STATIC[index].name,
        b"age"
            | b"content-range"
            | b"etag"
            | b"expires"
            | b"if-match"
            | b"if-modified-since"
            | b"if-none-match"
            | b"if-range"
            | b"if-unmodified-since"
            | b"last-modified"
            | b"location"
            | b"range"
            | b"referer"
    )
}
