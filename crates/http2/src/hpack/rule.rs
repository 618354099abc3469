//! What the encoder's table is used for.
//!
//! A table pays where a field comes again with the same value. Values that differ each time would only push others out; and what
//! is secret must not be guessed from what it compresses to (RFC 7541 section 7.1), the less so as one connection to an
//! upstream carries the requests of many clients.

use weir_http1::KnownField;

use super::name::{NAMES, Name};

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

static RULES: [Rule; NAMES] = {
    use KnownField::*;
    let mut rules = [Rule::Repeated; NAMES];
    let pseudo = [(Name::Method, Rule::Eager), (Name::Scheme, Rule::Eager), (Name::Status, Rule::Eager)];
    let mut i = 0;
    while i < pseudo.len() {
        rules[pseudo[i].0.number()] = pseudo[i].1;
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
    ];
    set(&mut rules, &varying, Rule::Varies);
    set(&mut rules, &[Authorization, ProxyAuthorization, Cookie, SetCookie], Rule::Secret);
    rules
};

const fn set(rules: &mut [Rule; NAMES], fields: &[KnownField], rule: Rule) {
    let mut i = 0;
    while i < fields.len() {
        rules[Name::Field(fields[i]).number()] = rule;
        i += 1;
    }
}

impl Rule {
    /// The rule for a name.
    #[inline(always)]
    pub(super) fn of(name: Name) -> Self {
        RULES[name.number()]
    }

    /// The rule for a name of the static table that has no number of its own.
    pub(super) fn of_static(name: &[u8]) -> Self {
        match name {
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
            | b"referer" => Self::Varies,
            _ => Self::Repeated,
        }
    }
}
