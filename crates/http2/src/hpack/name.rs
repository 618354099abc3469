//! Names by number, and a field as the decoder gives it.

use weir_http1::{KnownField, is_field_value};

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

/// The pseudo-headers, in the order of their numbers.
pub(super) const PSEUDO: [(Name, &str); 6] = [
    (Name::Method, ":method"),
    (Name::Scheme, ":scheme"),
    (Name::Authority, ":authority"),
    (Name::Path, ":path"),
    (Name::Status, ":status"),
    (Name::Protocol, ":protocol"),
];

/// A [`Name`] as an index into the tables of this module, and as table entries keep it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Number(u8);

impl Number {
    /// How many there are.
    pub(super) const COUNT: usize = PSEUDO.len() + KnownField::COUNT;

    pub(super) const METHOD: Self = Self(0);
    pub(super) const SCHEME: Self = Self(1);
    pub(super) const AUTHORITY: Self = Self(2);
    pub(super) const PATH: Self = Self(3);
    pub(super) const STATUS: Self = Self(4);
    pub(super) const PROTOCOL: Self = Self(5);
    pub(super) const OTHER: Self = Self::of_field(KnownField::Other);

    /// Of a field.
    #[inline(always)]
    pub(super) const fn of_field(known: KnownField) -> Self {
        Self(PSEUDO.len() as u8 + known as u8)
    }

    /// As an index, below [`Self::COUNT`].
    #[inline(always)]
    pub(super) const fn index(self) -> usize {
        self.0 as usize
    }

    /// What it stands for.
    #[inline(always)]
    pub(super) fn name(self) -> Name {
        NAMES[self.index()].0
    }

    /// The name as it is sent; empty where a [`KnownField`] stands for many names.
    #[inline(always)]
    pub(super) fn spelled(self) -> &'static [u8] {
        NAMES[self.index()].1
    }

    /// Of the name `name`, and whether HTTP/2 allows it: a pseudo-header that is defined, or a token without capitals (RFC
    /// 9113 section 8.2.1).
    pub(super) fn of(name: &[u8]) -> (Self, bool) {
        if name.first() == Some(&b':') {
            let found = PSEUDO.iter().position(|(_, pseudo)| pseudo.as_bytes() == name);
            return found.map_or((Self::OTHER, false), |at| (Self(at as u8), true));
        }
        let valid =
            !name.is_empty() && name.iter().fold(true, |valid, &byte| valid & NAME_BYTES[usize::from(byte)]);
        (if valid { Self::of_field(KnownField::of(name)) } else { Self::OTHER }, valid)
    }
}

static NAMES: [(Name, &[u8]); Number::COUNT] = {
    let mut names: [(Name, &[u8]); Number::COUNT] = [(Name::Method, b""); Number::COUNT];
    let mut i = 0;
    while i < PSEUDO.len() {
        names[i] = (PSEUDO[i].0, PSEUDO[i].1.as_bytes());
        i += 1;
    }
    let mut i = 0;
    while i < KnownField::COUNT {
        let known = KnownField::ALL[i];
        names[Number::of_field(known).index()] = (Name::Field(known), known.name().as_bytes());
        i += 1;
    }
    names
};

/// The bytes of tokens, without capitals.
static NAME_BYTES: [bool; 256] = {
    let mut allowed = [false; 256];
    let mut byte = 0;
    while byte < 256 {
        let mark = matches!(
            byte as u8,
            b'!' | b'#'
                | b'$'
                | b'%'
                | b'&'
                | b'\''
                | b'*'
                | b'+'
                | b'-'
                | b'.'
                | b'^'
                | b'_'
                | b'`'
                | b'|'
                | b'~'
        );
        allowed[byte] = mark || matches!(byte as u8, b'0'..=b'9' | b'a'..=b'z');
        byte += 1;
    }
    allowed
};

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

#[cfg(test)]
mod tests {
    use weir_http1::is_token;

    use super::*;

    #[test]
    fn names_are_tokens_without_capitals() {
        for byte in 0..=u8::MAX {
            let allowed = is_token(&[byte]) && !byte.is_ascii_uppercase();
            assert_eq!(Number::of(&[b'a', byte]).1, allowed, "{byte}");
        }
        assert!(!Number::of(b"").1);
        assert!(!Number::of(b":unheard-of").1);
    }
}
