//! The static table (RFC 7541 appendix A).

use weir_http1::KnownField;

use super::name::{Number, PSEUDO};

/// The last index of the static table.
pub(super) const STATIC_MAX: usize = 61;

/// A field that everybody knows.
#[derive(Clone, Copy)]
pub(super) struct StaticField {
    pub(super) number: Number,
    pub(super) name: &'static [u8],
    pub(super) value: &'static [u8],
}

/// Fields by index; nothing has index 0.
#[rustfmt::skip]
pub(super) static STATIC: [StaticField; STATIC_MAX + 1] = {
    use KnownField::*;
    const fn pseudo(number: Number, value: &'static str) -> StaticField {
        StaticField { number, name: PSEUDO[number.index()].1.as_bytes(), value: value.as_bytes() }
    }
    const fn known(known: KnownField) -> StaticField {
        StaticField { number: Number::of_field(known), name: known.name().as_bytes(), value: b"" }
    }
    const fn other(name: &'static str, value: &'static str) -> StaticField {
        StaticField { number: Number::OTHER, name: name.as_bytes(), value: value.as_bytes() }
    }
    [
        other("", ""), pseudo(Number::AUTHORITY, ""), pseudo(Number::METHOD, "GET"),
        pseudo(Number::METHOD, "POST"), pseudo(Number::PATH, "/"), pseudo(Number::PATH, "/index.html"),
        pseudo(Number::SCHEME, "http"), pseudo(Number::SCHEME, "https"), pseudo(Number::STATUS, "200"),
        pseudo(Number::STATUS, "204"), pseudo(Number::STATUS, "206"), pseudo(Number::STATUS, "304"),
        pseudo(Number::STATUS, "400"), pseudo(Number::STATUS, "404"), pseudo(Number::STATUS, "500"),
        other("accept-charset", ""), other("accept-encoding", "gzip, deflate"), other("accept-language", ""),
        other("accept-ranges", ""), known(Accept), other("access-control-allow-origin", ""), other("age", ""),
        other("allow", ""), known(Authorization), other("cache-control", ""),
        other("content-disposition", ""), known(ContentEncoding), other("content-language", ""),
        known(ContentLength), other("content-location", ""), other("content-range", ""), known(ContentType),
        known(Cookie), known(Date), other("etag", ""), known(Expect), other("expires", ""), other("from", ""),
        known(Host), other("if-match", ""), other("if-modified-since", ""), other("if-none-match", ""),
        other("if-range", ""), other("if-unmodified-since", ""), other("last-modified", ""),
        other("link", ""), other("location", ""), other("max-forwards", ""), known(ProxyAuthenticate),
        known(ProxyAuthorization), other("range", ""), other("referer", ""), other("refresh", ""),
        known(RetryAfter), known(Server), known(SetCookie), other("strict-transport-security", ""),
        known(TransferEncoding), known(UserAgent), other("vary", ""), known(Via),
        other("www-authenticate", ""),
    ]
};

/// The first index of each name that has a number of its own; 0 for the others.
static BY_NUMBER: [u8; Number::COUNT] = {
    let mut first = [0; Number::COUNT];
    let mut index = STATIC_MAX;
    while index > 0 {
        first[STATIC[index].number.index()] = index as u8;
        index -= 1;
    }
    first[Number::OTHER.index()] = 0;
    first
};

/// The first index of a name that has a number of its own.
#[inline(always)]
pub(super) fn index_of(number: Number) -> Option<usize> {
    match BY_NUMBER[number.index()] {
        0 => None,
        index => Some(usize::from(index)),
    }
}

/// The indices of the names without a number of their own, by what [`slot`] makes of them.
static BY_SLOT: [u8; SLOTS] = slots(FACTOR);

const SLOTS: usize = 128;

/// A factor for which no two names have the same slot, found when this is compiled.
const FACTOR: u32 = {
    let mut factor = 0x9e37_79b1u32;
    while slots(factor)[0] == u8::MAX {
        factor = factor.wrapping_mul(0x2c1b_3c6d).wrapping_add(2);
    }
    factor
};

/// The table for a factor; its first place holds `u8::MAX` if two names collide.
const fn slots(factor: u32) -> [u8; SLOTS] {
    let mut slots = [0; SLOTS];
    let mut index = STATIC_MAX;
    while index > 0 {
        let StaticField { number, name, .. } = STATIC[index];
        if number.index() == Number::OTHER.index() {
            let at = slot(name, factor);
            if slots[at] != 0 {
                slots[0] = u8::MAX;
                return slots;
            }
            slots[at] = index as u8;
        }
        index -= 1;
    }
    slots
}

/// Of the length and three letters of a name in any case.
const fn slot(name: &[u8], factor: u32) -> usize {
    let (first, middle, last) = (name[0], name[name.len() / 2], name[name.len() - 1]);
    let mixed = (first | 0x20) as u32 | ((middle | 0x20) as u32) << 8 | ((last | 0x20) as u32) << 16;
    (mixed ^ (name.len() as u32) << 24).wrapping_mul(factor) as usize >> 25
}

/// The index of a name, in any case, that has no number of its own.
pub(super) fn index_of_other(name: &[u8]) -> Option<usize> {
    if name.is_empty() {
        return None;
    }
    let index = usize::from(BY_SLOT[slot(name, FACTOR)]);
    (index != 0 && STATIC[index].name.eq_ignore_ascii_case(name)).then_some(index)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_is_found() {
        for (index, field) in STATIC.iter().enumerate().skip(1) {
            let (number, valid) = Number::of(field.name);
            assert!(valid && number == field.number, "{index}");
            let first = STATIC.iter().position(|other| other.name == field.name).unwrap();
            let found = index_of(number).or_else(|| index_of_other(&field.name.to_ascii_uppercase()));
            assert_eq!(found, Some(first), "{}", field.name.escape_ascii());
        }
        assert_eq!(index_of(Number::of_field(KnownField::Te)), None);
        for name in [&b"etaq"[..], b"a", b"", b"x-custom", b"if-matcx"] {
            assert_eq!(index_of_other(name), None);
        }
    }
}
