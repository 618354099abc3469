//! What names may look like, and how long they may be.
//!
//! Two families. *Declared* names (documents) follow Kubernetes, so that they fit host names. *Registered* names come
//! from clients of other registries and are freer: letters of either case, digits, `_`, `.`, `-`. Identifiers of
//! instances and checks are free text, because clients in the wild put colons, slashes and more into them; whoever
//! builds a key or a path from one must keep it last or escape it.

use std::fmt;

/// Longest DNS label (RFC 1035).
pub const LABEL_BYTES_MAX: usize = 63;
/// Longest DNS name (RFC 1035, written form).
pub const SUBDOMAIN_BYTES_MAX: usize = 253;
/// Longest registered name of a service or node.
pub const REGISTERED_BYTES_MAX: usize = 253;
/// Longest identifier of an instance or check.
pub const ID_BYTES_MAX: usize = 512;

/// Why a name will not do.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{problem}")]
pub struct BadName {
    /// What is wrong with it.
    pub problem: String,
    /// What it should look like.
    pub expected: &'static str,
}

/// The names of gRPC's statuses; each stands at its code ("Status codes and their use in gRPC").
pub const GRPC_STATUSES: [&str; 17] = [
    "OK",
    "CANCELLED",
    "UNKNOWN",
    "INVALID_ARGUMENT",
    "DEADLINE_EXCEEDED",
    "NOT_FOUND",
    "ALREADY_EXISTS",
    "PERMISSION_DENIED",
    "RESOURCE_EXHAUSTED",
    "FAILED_PRECONDITION",
    "ABORTED",
    "OUT_OF_RANGE",
    "UNIMPLEMENTED",
    "INTERNAL",
    "UNAVAILABLE",
    "DATA_LOSS",
    "UNAUTHENTICATED",
];

const A_LABEL: &str = "lower-case letters, digits and `-`, 1 to 63 characters, no `-` at either end";
const A_SUBDOMAIN: &str = "lower-case letters, digits, `-` and `.`, up to 253 characters, each part beginning and ending with a letter or digit";
const REGISTERED: &str =
    "letters, digits, `_`, `.` and `-`, up to 253 characters, beginning with a letter, digit or `_`";
const AN_ID: &str = "1 to 512 bytes of text without control characters";
const A_HOSTNAME: &str = "a host name in lower case such as `shop.example` or `*.shop.example`, without port";
const A_TOKEN: &str = "letters, digits and any of !#$%&'*+-.^_`|~";

/// A DNS label, as RFC 1123 has it: names of services and namespaces in documents.
///
/// # Errors
/// Says what is wrong.
pub fn label(name: &str) -> Result<(), BadName> {
    let inner = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    let edges = !name.starts_with('-') && !name.ends_with('-');
    let fits = !name.is_empty() && name.len() <= LABEL_BYTES_MAX;
    ensure(fits && edges && name.bytes().all(inner), name, "a DNS label", A_LABEL)
}

/// A DNS name of one or more labels: names of other resources, and of listeners.
///
/// # Errors
/// Says what is wrong.
pub fn subdomain(name: &str) -> Result<(), BadName> {
    let good = name.len() <= SUBDOMAIN_BYTES_MAX && name.split('.').all(|part| label(part).is_ok());
    ensure(good, name, "a DNS name", A_SUBDOMAIN)
}

/// The name of a service or node as clients register it.
///
/// # Errors
/// Says what is wrong.
pub fn registered(name: &str) -> Result<(), BadName> {
    let inner = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-');
    let fits = !name.is_empty() && name.len() <= REGISTERED_BYTES_MAX;
    let begins = !name.starts_with(['.', '-']);
    ensure(fits && begins && name.bytes().all(inner), name, "a name that can be registered", REGISTERED)
}

/// The identifier of an instance or check.
///
/// # Errors
/// Says what is wrong.
pub fn id(text: &str) -> Result<(), BadName> {
    let fits = !text.is_empty() && text.len() <= ID_BYTES_MAX;
    let is_plain = text.bytes().all(|b| matches!(b, b' '..=b'~'));
    ensure(fits && (is_plain || !text.chars().any(char::is_control)), text, "an identifier", AN_ID)
}

/// A host name that may begin with `*.` (Gateway API `Hostname`): no address, no port, in lower case.
///
/// # Errors
/// Says what is wrong.
pub fn hostname(name: &str) -> Result<(), BadName> {
    let base = name.strip_prefix("*.").unwrap_or(name);
    let address = base.parse::<std::net::IpAddr>().is_ok();
    ensure(!address && subdomain(base).is_ok(), name, "a host name", A_HOSTNAME)
}

/// A host to connect to: an IP address or a host name in any case.
///
/// # Errors
/// Says what is wrong.
pub fn host(name: &str) -> Result<(), BadName> {
    let good = name.parse::<std::net::IpAddr>().is_ok() || is_host_name(name);
    ensure(good, name, "an address", "an IPv4 or IPv6 address or a host name, without port")
}

fn is_host_name(name: &str) -> bool {
    // Host names with `_` are not standard, and common in container networks.
    let folded = name.to_ascii_lowercase().replace('_', "-");
    let absolute = folded.strip_suffix('.').unwrap_or(&folded);
    subdomain(absolute).is_ok() && !looks_like_an_address(absolute)
}

/// A token (RFC 9110, section 5.6.2): methods and header names.
///
/// # Errors
/// Says what is wrong.
pub fn token(text: &str) -> Result<(), BadName> {
    let good = !text.is_empty()
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b));
    ensure(good, text, "a token", A_TOKEN)
}

/// Four groups of digits are a mistyped address, not a host name.
fn looks_like_an_address(name: &str) -> bool {
    name.bytes().all(|b| b.is_ascii_digit() || b == b'.')
}

fn ensure(good: bool, name: &str, what: &str, expected: &'static str) -> Result<(), BadName> {
    if good {
        return Ok(());
    }
    let problem =
        if name.is_empty() { "it is empty".to_owned() } else { format!("`{}` is not {what}", Shown(name)) };
    Err(BadName { problem, expected })
}

/// A name in a message: short, and without control characters.
struct Shown<'a>(&'a str);

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&crate::document::node::shortened(self.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(rule: fn(&str) -> Result<(), BadName>, good: &[&str], bad: &[&str]) {
        for name in good {
            assert_eq!(rule(name), Ok(()), "{name}");
        }
        for name in bad {
            assert!(rule(name).is_err(), "{name}");
        }
    }

    #[test]
    fn names() {
        let long = "a".repeat(64);
        let longer = ["a".repeat(63).as_str(); 4].join(".");
        check(label, &["a", "web-1", "0"], &["", "-a", "a-", "A", "a.b", "a_b", "ä", &long]);
        check(subdomain, &["a", "a.b-c.d"], &["", ".", "a.", ".a", "a..b", "A.b", &longer]);
        check(registered, &["web", "Web_1.x", "_nomad-task-1"], &["", "a b", "a/b", ".a", "-a", "a\n"]);
        check(id, &["web:8080", "ns/pod/check", "my web"], &["", "a\0", "a\nb"]);
        check(
            hostname,
            &["shop.example", "*.shop.example", "localhost"],
            &["", "*", "*.", "a.*", "*a.b", "a:80", "10.0.0.1", "Shop.example", "*.10.0.0.1"],
        );
        check(
            host,
            &["10.0.0.1", "::1", "db.internal", "my_db", "DB.", "localhost"],
            &["", "10.0.0.256", "[::1]", "a:80", "http://a", "a b"],
        );
        check(token, &["GET", "x-a", "M-SEARCH"], &["", "a b", "a:b", "ä", "a\r"]);
    }
}
