//! Names by number, and a field as the decoder gives it.

use weir_http1::{KnownField, is_field_value, is_token};

/// What a name is: so that nobody need compare it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Name {
    /// `:method`
    Method,
    /// `:scheme`
    Scheme,
    /// `:authority`
    Authority,
    /// `:path`
    Path,
    /// `:status`
    Status,
    /// `:protocol` (RFC 8441)
    Protocol,
    /// A field; [`KnownField::Other`] if nothing is known about its name.
    Field(KnownField),
}

/// How many values [`Name`] has.
pub(super) const NAMES: usize = PSEUDO_NAMES.len() + KnownField::COUNT;

const PSEUDO_NAMES: [&str; 6] = [":method", ":scheme", ":authority", ":path", ":status", ":protocol"];

impl Name {
    /// A number below [`NAMES`].
    #[inline(always)]
    pub(super) const fn number(self) -> usize {
        match self {
            Self::Method => 0,
            Self::Scheme => 1,
            Self::Authority => 2,
            Self::Path => 3,
            Self::Status => 4,
            Self::Protocol => 5,
            Self::Field(known) => PSEUDO_NAMES.len() + known as usize,
        }
    }

    /// The name as it is sent; empty where a [`KnownField`] stands for many names.
    pub(super) const fn spelled(self) -> &'static str {
        match self {
            Self::Field(known) => known.name(),
            pseudo => PSEUDO_NAMES[pseudo.number()],
        }
    }

    /// What `name` is, and whether HTTP/2 allows it: a pseudo-header that is defined, or a token without capitals (RFC 9113
    /// section 8.2.1).
    pub(super) fn of(name: &[u8]) -> (Self, bool) {
        if name.first() == Some(&b':') {
            let all = [Self::Method, Self::Scheme, Self::Authority, Self::Path, Self::Status, Self::Protocol];
            let found = all.into_iter().find(|pseudo| pseudo.spelled().as_bytes() == name);
            return (found.unwrap_or(Self::Field(KnownField::Other)), found.is_some());
        }
        let valid = is_token(name) && !name.iter().any(u8::is_ascii_uppercase);
        (Self::Field(if valid { KnownField::of(name) } else { KnownField::Other }), valid)
    }
}

/// A field of a decoded section. The bytes are borrowed from the block, the table or the [`super::Scratch`], until the next one.
#[derive(Clone, Copy, Debug)]
pub struct Field<'a> {
    /// What the name is.
    pub id: Name,
    /// The name as it was sent.
    pub name: &'a [u8],
    /// The value as it was sent.
    pub value: &'a [u8],
    /// Whether name and value are allowed by themselves (RFC 9113 section 8.2.1): a name that [`Name`] has, or a token without
    /// capitals; a value without control characters other than HTAB, and without white space at its ends. A message with a field that
    /// is not is malformed.
    pub valid: bool,
    /// Whoever sends it on must do so without any table (RFC 7541 section 6.2.3).
    pub never_indexed: bool,
}

/// Whether HTTP/2 allows a value.
#[inline]
pub(super) fn is_valid_value(value: &[u8]) -> bool {
    let space = |byte: Option<&u8>| matches!(byte, Some(b' ' | b'\t'));
    is_field_value(value) && !space(value.first()) && !space(value.last())
}
