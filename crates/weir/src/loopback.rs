//! Listening beyond loopback is refused until it is asked for: there are no tokens yet. A server's own listeners may, if they let
//! in only who shows a certificate.

use std::net::SocketAddr;

use weir_tls::ServerFiles;

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
            "{what} {address} can be reached from other machines, and there are no tokens yet: whoever \
             reaches it could read and change everything"
        ),
    )
    .hint(format!("listen on 127.0.0.1:{} , or add --insecure if the network is trusted", address.port())))
}

/// The same for DNS, which has no TLS: it may be opened by itself.
///
/// # Errors
/// For an address that others can reach, with what to do about it.
pub(crate) fn check_dns(address: SocketAddr, insecure: bool) -> Result<(), Failure> {
    if insecure || address.ip().to_canonical().is_loopback() {
        return Ok(());
    }
    let message = format!(
        "--dns {address} can be reached from other machines, and DNS is not encrypted: whoever reaches it learns what is \
         registered, and who is on the way can change answers"
    );
    let port = address.port();
    Err(Failure::new(Exit::CannotStart, message).hint(format!(
        "serve it on 127.0.0.1:{port} , nowhere with --dns off, or add --dns-insecure, which opens DNS and nothing else"
    )))
}

/// The same for a listener that may speak TLS.
///
/// # Errors
/// For an address that others can reach, unless they must show a certificate.
pub(crate) fn check_http(
    what: &str,
    address: SocketAddr,
    insecure: bool,
    tls: Option<&ServerFiles>,
) -> Result<(), Failure> {
    match tls {
        None => check(what, address, insecure).map_err(|failure| {
            let hint = failure.hint.clone().unwrap_or_default();
            failure.hint(format!("{hint}, or speak TLS and let in known clients only: --tls-cert, --tls-key, --tls-client-ca"))
        }),
        Some(ServerFiles { client_ca: Some(_), .. }) => Ok(()),
        Some(_) if insecure || address.ip().to_canonical().is_loopback() => Ok(()),
        Some(_) => Err(Failure::new(
            Exit::CannotStart,
            format!(
                "{what} {address} can be reached from other machines, and TLS alone does not keep them from changing \
                 everything: there are no tokens yet"
            ),
        )
        .hint("add --tls-client-ca FILE, so that only who shows a certificate is let in, or --insecure")),
    }
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

    #[test]
    fn dns_is_opened_by_a_word_of_its_own() {
        let check = |address: &str, insecure| check_dns(address.parse().unwrap(), insecure);
        assert!(check("127.0.0.1:53", false).is_ok() && check("[::]:53", true).is_ok());
        let failure = check("0.0.0.0:53", false).unwrap_err();
        assert!(failure.to_string().contains("--dns-insecure"), "{failure}");
    }

    #[test]
    fn a_server_may_listen_beyond_loopback_if_clients_show_certificates() {
        let files = |client_ca: Option<&str>| {
            let client_ca = client_ca.map(Into::into);
            ServerFiles { cert: "c".into(), key: "k".into(), client_ca }
        };
        let check = |address: &str, insecure, tls: Option<&ServerFiles>| {
            check_http("--http", address.parse().unwrap(), insecure, tls)
                .map_err(|failure| failure.to_string())
        };
        let (known, all) = (files(Some("ca")), files(None));
        assert_eq!(check("0.0.0.0:1", false, Some(&known)), Ok(()));
        assert_eq!(check("127.0.0.1:1", false, Some(&all)), Ok(()));
        assert_eq!(check("0.0.0.0:1", true, Some(&all)), Ok(()));
        assert!(check("0.0.0.0:1", false, Some(&all)).unwrap_err().contains("--tls-client-ca"));
        assert!(check("0.0.0.0:1", false, None).unwrap_err().contains("--tls-client-ca"));
    }
}
