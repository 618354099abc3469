//! Listening beyond loopback is refused until it is asked for: there are no tokens and no TLS yet.

use std::net::SocketAddr;

use crate::exit::{Exit, Failure};

/// Passes a loopback address, and any with `insecure`.
///
/// # Errors
/// For an address that others can reach, with what to do about it.
pub(crate) fn check(what: &str, address: SocketAddr, insecure: bool) -> Result<(), Failure> {
    if insecure || address.ip().to_canonical().is_loopback() {
        return Ok(());
    }
    Err(Failure::new(
        Exit::CannotStart,
        format!(
            "{what} {address} can be reached from other machines, and there are no tokens and no TLS yet: whoever \
             reaches it could read and change everything"
        ),
    )
    .hint(format!("listen on 127.0.0.1:{} , or add --insecure if the network is trusted", address.port())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_loopback_passes_unasked() {
        let passes = |address: &str, insecure| check("--http", address.parse().unwrap(), insecure).is_ok();
        for loopback in ["127.0.0.1:1", "127.8.9.1:1", "[::1]:1", "[::ffff:127.0.0.1]:1"] {
            assert!(passes(loopback, false), "{loopback}");
        }
        for open in ["0.0.0.0:1", "[::]:1", "10.0.0.1:1", "[fe80::1]:1"] {
            assert!(!passes(open, false), "{open}");
            assert!(passes(open, true), "{open}");
        }
        let failure = check("--http", "0.0.0.0:1".parse().unwrap(), false).unwrap_err();
        assert!(failure.to_string().contains("--insecure"), "{failure}");
    }
}
