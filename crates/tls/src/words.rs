//! What is said of TLS that fails: which side is at fault, and what whoever reads it can do, by the names under which he gave
//! the files.

use std::fmt;
use std::io;

use rustls::{AlertDescription, CertificateError, Error};

/// What the files of a client are called where they are named: flags, or keys of a configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Names {
    /// The authorities'.
    pub ca: &'static str,
    /// The certificate's.
    pub cert: &'static str,
    /// The private key's.
    pub key: &'static str,
}

impl Default for Names {
    fn default() -> Self {
        Self { ca: "--server-ca", cert: "--server-cert", key: "--server-key" }
    }
}

/// Whose view it is.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Side {
    /// A client's.
    Client {
        names: Names,
        /// Whether it shows a certificate if it is asked for one.
        shows: bool,
    },
    /// A listener's.
    Server,
}

/// An error in words.
#[derive(Debug)]
struct Said {
    words: String,
    /// The other side has said that it goes no further.
    is_refused: bool,
}

impl fmt::Display for Said {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.words)
    }
}

impl std::error::Error for Said {}

/// What was said of TLS where that is the cause of an error.
pub fn said(error: &(dyn std::error::Error + 'static)) -> Option<String> {
    cause(error).map(ToString::to_string)
}

/// Whether the other side has ended the connection by an alert: who is not let in is not listened to either. Any other error of
/// TLS may come after what was sent has been heard.
pub fn is_refused(error: &(dyn std::error::Error + 'static)) -> bool {
    cause(error).is_some_and(|said| said.is_refused)
}

fn cause<'a>(error: &'a (dyn std::error::Error + 'static)) -> Option<&'a Said> {
    let mut causes = std::iter::successors(Some(error), |error| error.source());
    causes.find_map(|error| error.downcast_ref::<io::Error>()?.get_ref()?.downcast_ref())
}

impl Side {
    /// The same error in words, if it is one of TLS: also one that is only noticed when something is read, as with TLS 1.3 that
    /// a certificate is missing.
    pub(crate) fn explained(self, error: io::Error) -> io::Error {
        let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<Error>());
        match inner {
            Some(inner) => {
                let is_refused = matches!(inner, Error::AlertReceived(_));
                io::Error::new(error.kind(), Said { words: self.words(inner), is_refused })
            }
            None => error,
        }
    }

    fn words(self, error: &Error) -> String {
        match self {
            Self::Client { names, shows } => of_client(error, names, shows),
            Self::Server => of_server(error),
        }
    }
}

fn of_client(error: &Error, names: Names, shows: bool) -> String {
    let Names { ca, cert, key } = names;
    match error {
        // With the latter, another authority of the same name has.
        Error::InvalidCertificate(CertificateError::UnknownIssuer | CertificateError::BadSignature) => format!(
            "the server's certificate is not accepted: none of the authorities that are believed here has issued it; {ca} \
             names those to believe"
        ),
        Error::InvalidCertificate(reason) => format!("the server's certificate is not accepted: {reason}"),
        Error::AlertReceived(AlertDescription::NoApplicationProtocol) => {
            "the server speaks another protocol on this port: clients of HTTP and proxies have a port each (--http and \
             --grpc of `weir server`: 8500 and 8502)"
                .to_owned()
        }
        Error::AlertReceived(AlertDescription::CertificateRequired) => wants_certificate(names),
        // With TLS 1.2 it is not said what is missing.
        Error::AlertReceived(AlertDescription::HandshakeFailure) if !shows => {
            format!("the server refuses the handshake; perhaps it wants a certificate: {cert} and {key} name one")
        }
        Error::AlertReceived(
            alert @ (AlertDescription::UnknownCA
            | AlertDescription::BadCertificate
            | AlertDescription::UnsupportedCertificate
            | AlertDescription::CertificateRevoked
            | AlertDescription::CertificateExpired
            | AlertDescription::CertificateUnknown
            | AlertDescription::AccessDenied
            | AlertDescription::DecryptError),
        ) if shows => format!(
            "the server does not accept the certificate that {cert} names ({alert:?}); it wants one of the authorities that \
             it was given, as by --tls-client-ca of `weir server`"
        ),
        other => format!("TLS: {other}"),
    }
}

fn wants_certificate(Names { cert, key, .. }: Names) -> String {
    format!("the server wants a certificate of its clients, and none is shown: {cert} and {key} name one")
}

fn of_server(error: &Error) -> String {
    match error {
        Error::NoCertificatesPresented => {
            "the client shows no certificate; with --tls-client-ca every client has to show one".to_owned()
        }
        Error::InvalidCertificate(CertificateError::UnknownIssuer | CertificateError::BadSignature) => {
            "the client's certificate is not accepted: no authority of --tls-client-ca has issued it"
                .to_owned()
        }
        Error::InvalidCertificate(reason) => format!("the client's certificate is not accepted: {reason}"),
        Error::NoApplicationProtocol => {
            "the client speaks another protocol than this port: clients of HTTP and proxies have a port each"
                .to_owned()
        }
        Error::AlertReceived(alert) => {
            format!("the client has broken off ({alert:?}); it may not accept this server's certificate")
        }
        other => format!("TLS: {other}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_said_who_is_at_fault_and_what_to_give() {
        let names = Names { ca: "CA", cert: "CERT", key: "KEY" };
        let alert = |alert| Error::AlertReceived(alert);
        let unknown = || Error::InvalidCertificate(CertificateError::UnknownIssuer);
        for (shows, error, parts) in [
            (false, unknown(), &["server's certificate", "CA names"][..]),
            (false, alert(AlertDescription::CertificateRequired), &["the server wants", "CERT and KEY"]),
            (false, alert(AlertDescription::HandshakeFailure), &["perhaps", "CERT and KEY"]),
            (true, alert(AlertDescription::UnknownCA), &["CERT", "UnknownCA", "--tls-client-ca"]),
            (true, alert(AlertDescription::NoApplicationProtocol), &["8500", "8502"]),
            (true, alert(AlertDescription::InternalError), &["TLS: "]),
        ] {
            let said = of_client(&error, names, shows);
            assert!(parts.iter().all(|part| said.contains(part)), "{said}");
        }
        for (error, part) in [
            (Error::NoCertificatesPresented, "shows no certificate"),
            (unknown(), "--tls-client-ca"),
            (Error::NoApplicationProtocol, "another protocol"),
            (alert(AlertDescription::UnknownCA), "may not accept this server's"),
        ] {
            let said = of_server(&error);
            assert!(said.contains(part), "{said}");
        }
        let plain = io::Error::other("broken");
        assert_eq!(Side::Server.explained(plain).to_string(), "broken");
        for (error, refused) in
            [(alert(AlertDescription::AccessDenied), true), (Error::DecryptError, false), (unknown(), false)]
        {
            let error = Side::Server.explained(io::Error::other(error));
            assert!(said(&error).is_some() && is_refused(&error) == refused, "{error}");
        }
        assert!(!is_refused(&io::Error::other("broken")));
    }
}
