//! The address of a server, as people write it.

use std::fmt;
use std::net::Ipv6Addr;
use std::str::FromStr;

/// The port that a server's HTTP API has unless told otherwise.
const DEFAULT_PORT: u16 = 8500;

/// How a server is spoken to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scheme {
    /// Plain HTTP.
    Http,
    /// HTTP over TLS.
    Https,
}

/// A server: `HOST`, `HOST:PORT`, `[IPV6]:PORT`, `http://HOST:PORT` or `https://HOST:PORT`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerUrl {
    /// How it is spoken to.
    pub scheme: Scheme,
    /// Host name or address; an IPv6 address stands without brackets.
    pub host: String,
    /// TCP port.
    pub port: u16,
}

impl ServerUrl {
    /// `HOST:PORT`, as a `Host` field carries it.
    pub fn authority(&self) -> String {
        if self.host.parse::<Ipv6Addr>().is_ok() {
            format!("[{}]:{}", self.host, self.port)
        } else {
            format!("{}:{}", self.host, self.port)
        }
    }
}

impl fmt::Display for ServerUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = match self.scheme {
            Scheme::Http => "http",
            Scheme::Https => "https",
        };
        write!(f, "{scheme}://{}", self.authority())
    }
}

/// Text that is not the address of a server.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{text}` is not the address of a server: {reason}; expected HOST:PORT, http://HOST:PORT or https://HOST:PORT, such as 127.0.0.1:8500"
)]
pub struct BadServer {
    /// The text.
    pub text: String,
    /// What is wrong with it.
    pub reason: &'static str,
}

impl FromStr for ServerUrl {
    type Err = BadServer;

    fn from_str(text: &str) -> Result<Self, BadServer> {
        let bad = |reason| BadServer { text: text.to_owned(), reason };
        let (scheme, rest) = match text.split_once("://") {
            Some(("http", rest)) => (Scheme::Http, rest),
            Some(("https", rest)) => (Scheme::Https, rest),
            Some(_) => return Err(bad("unknown scheme")),
            None => (Scheme::Http, text),
        };
        let rest = rest.strip_suffix('/').unwrap_or(rest);
        if rest.contains('/') {
            return Err(bad("it has a path"));
        }
        if rest.contains(char::is_whitespace) {
            return Err(bad("it has a blank"));
        }
        let (host, port) = split(rest).ok_or_else(|| bad("the host is malformed"))?;
        if host.is_empty() {
            return Err(bad("the host is missing"));
        }
        let port = match port {
            None => DEFAULT_PORT,
            Some(port) => port
                .parse()
                .ok()
                .filter(|port| *port != 0)
                .ok_or_else(|| bad("the port is not a number from 1 to 65535"))?,
        };
        Ok(Self { scheme, host: host.to_owned(), port })
    }
}

/// Parts host and port; brackets of an IPv6 address are taken off.
fn split(authority: &str) -> Option<(&str, Option<&str>)> {
    if let Some(rest) = authority.strip_prefix('[') {
        let (host, rest) = rest.split_once(']')?;
        host.parse::<Ipv6Addr>().ok()?;
        return match rest.strip_prefix(':') {
            Some(port) => Some((host, Some(port))),
            None => rest.is_empty().then_some((host, None)),
        };
    }
    if authority.parse::<Ipv6Addr>().is_ok() {
        return Some((authority, None));
    }
    match authority.split_once(':') {
        Some((_, port)) if port.contains(':') => None,
        Some((host, port)) => Some((host, Some(port))),
        None => Some((authority, None)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_people_write() {
        let check = |text: &str, shown: &str| {
            assert_eq!(text.parse::<ServerUrl>().unwrap().to_string(), shown, "{text}");
        };
        check("127.0.0.1:8500", "http://127.0.0.1:8500");
        check("http://weir.example:80/", "http://weir.example:80");
        check("localhost", "http://localhost:8500");
        check("https://weir.example", "https://weir.example:8500");
        check("[::1]:9000", "http://[::1]:9000");
        check("::1", "http://[::1]:8500");
    }

    #[test]
    fn refuses_the_rest_with_a_reason() {
        let check = |text: &str, reason: &str| {
            assert_eq!(text.parse::<ServerUrl>().unwrap_err().reason, reason, "{text}");
        };
        check("ftp://weir", "unknown scheme");
        check("weir:0", "the port is not a number from 1 to 65535");
        check("weir:http", "the port is not a number from 1 to 65535");
        check("weir/ui", "it has a path");
        check("", "the host is missing");
        check("a:1:2", "the host is malformed");
        check("[::1", "the host is malformed");
        check("a b", "it has a blank");
    }
}
