//! How HTTP/2 announces itself on a connection that might be HTTP/1.1.

use weir_http2::PREFACE;

/// What the first bytes of a connection are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Preface {
    /// Something else.
    No,
    /// So far what HTTP/2 begins with.
    Perhaps,
    /// HTTP/2.
    Yes,
}

/// Judges the first bytes of a connection.
pub(crate) fn preface(bytes: &[u8]) -> Preface {
    if bytes.starts_with(PREFACE) {
        Preface::Yes
    } else if PREFACE.starts_with(bytes) {
        Preface::Perhaps
    } else {
        Preface::No
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_beginning_is_perhaps_and_the_whole_is_certain() {
        for len in 0..PREFACE.len() {
            assert_eq!(preface(&PREFACE[..len]), Preface::Perhaps, "{len}");
            let mut other = PREFACE[..=len].to_vec();
            other[len] ^= 1;
            assert_eq!(preface(&other), Preface::No, "{len}");
        }
        assert_eq!(preface(PREFACE), Preface::Yes);
        assert_eq!(preface(&[&PREFACE[..], b"\0\0\0"].concat()), Preface::Yes);
        assert_eq!(preface(b"PRI * HTTP/1.1\r\n"), Preface::No);
    }
}
