//! Ids of things that have no name of their own.

/// A random UUID (RFC 9562, version 4).
pub fn uuid() -> String {
    uuid_of(rand::random())
}

/// The UUID of these bits, but for those that say that it is one (RFC 9562, version 4).
pub fn uuid_of(bits: u128) -> String {
    let bits = bits & !(0xf000 << 64) & !(0xc000 << 48) | (0x4000 << 64) | (0x8000 << 48);
    let hex = format!("{bits:032x}");
    [&hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]].join("-")
}

#[cfg(test)]
mod tests {
    #[test]
    fn ids_are_uuids() {
        for _ in 0..100 {
            let id = super::uuid();
            let bytes = id.as_bytes();
            assert_eq!((id.len(), bytes[14]), (36, b'4'), "{id}");
            assert!(
                b"89ab".contains(&bytes[19]) && [8, 13, 18, 23].iter().all(|at| bytes[*at] == b'-'),
                "{id}"
            );
        }
    }
}
