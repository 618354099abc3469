//! The request to be explained, read from what people type.

use std::net::IpAddr;

use weir_http1::{Normalized, is_field_value, is_token, normalize_path, split_authority};
use weir_model::ServiceRef;

use crate::filter::{Place, Scheme};
use crate::route::RequestView;

/// A request head that was not received but thought up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    pub(super) method: String,
    pub(super) host: String,
    pub(super) port: Option<u16>,
    pub(super) speaks: Speaks,
    /// The name that the URL has, which a client asks for when it begins TLS; none for an address.
    pub(super) server_name: Option<String>,
    pub(super) path: String,
    /// With its `?`; empty without one.
    query: String,
    /// With names in lower case.
    headers: Vec<(String, String)>,
    /// The service that makes it; empty where nobody says.
    caller: String,
    /// The client's address; empty where nobody says.
    source: String,
}

/// What is spoken, by the scheme of the URL.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Speaks {
    /// HTTP in the clear.
    Http,
    /// HTTP over TLS.
    Https,
    /// Bytes.
    Tcp,
    /// Bytes over TLS, or TLS that is passed through.
    Tls,
}

impl Speaks {
    /// The scheme.
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
            Self::Tcp => "tcp",
            Self::Tls => "tls",
        }
    }
}

/// Why text is not a request.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RequestError {
    /// The method has forbidden characters.
    #[error("`{0}` is not a method: expected a name such as GET")]
    Method(String),
    /// There is something in the URL that no URL has.
    #[error("the URL has {0} in it: expected visible ASCII alone, and anything else as %XX in path or query")]
    Character(String),
    /// The URL is not one.
    #[error("`{0}` is not a URL: expected `http://HOST[:PORT]/PATH`, or `/PATH` with a Host header")]
    Url(String),
    /// The URL is not one of a connection.
    #[error("`{0}` is not the address of a connection: expected `tcp://HOST:PORT` or `tls://NAME[:PORT]`")]
    Connection(String),
    /// The path cannot be brought into its normal form: the proxy answers 400.
    #[error("the proxy refuses the path `{path}` with 400: {reason}")]
    Path {
        /// The path.
        path: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A header field is not one.
    #[error("`{0}` is not a header field: expected `Name: value`")]
    Header(String),
}

impl Request {
    /// Whether it asks for a tunnel.
    pub(super) fn is_connect(&self) -> bool {
        self.method == "CONNECT"
    }

    /// Where it is sent to. The port is the one that the URL names, as a listener's would be.
    pub(super) fn place(&self, prefix: usize) -> Place<'_> {
        let scheme = if self.speaks == Speaks::Https { Scheme::Https } else { Scheme::Http };
        let port = self.port.unwrap_or(scheme.port());
        let (host, path, query) = (self.host.as_bytes(), self.path.as_bytes(), self.query.as_bytes());
        Place { scheme, host, port, path, query, prefix }
    }

    /// Reads a method, a URL and header fields as `Name: value`. A `Host` field takes the place of the URL's host.
    ///
    /// # Errors
    /// What is wrong with them, and what was expected.
    pub fn parse<'a>(
        method: &str,
        url: &str,
        headers: impl IntoIterator<Item = &'a str>,
    ) -> Result<Self, RequestError> {
        if !is_token(method.as_bytes()) {
            return Err(RequestError::Method(method.escape_debug().to_string()));
        }
        visible(url)?;
        let bad_url = || RequestError::Url(url.to_owned());
        let mut headers = headers.into_iter().map(field).collect::<Result<Vec<_>, _>>()?;
        let (authority, target) = split(url).ok_or_else(bad_url)?;
        let target = target.split('#').next().unwrap_or_default();
        let (path, query) = target.split_at(target.find('?').unwrap_or(target.len()));
        let query = query.to_owned();
        let host_field = headers.iter().find(|(name, _)| name == "host").map(|(_, value)| value.clone());
        let named = host_field.as_deref().or(authority).ok_or_else(bad_url)?;
        let named_authority = split_authority(named.as_bytes()).ok_or_else(bad_url)?;
        let host = String::from_utf8_lossy(named_authority.host).into_owned();
        // The host and port that are connected to, which a Host field does not change.
        let (server, port) = match authority {
            Some(authority) => {
                let authority = split_authority(authority.as_bytes()).ok_or_else(bad_url)?;
                (authority.host, authority.port)
            }
            None => (named_authority.host, named_authority.port),
        };
        let server = String::from_utf8_lossy(server).into_owned();
        let is_address = server.parse::<IpAddr>().is_ok() || server.starts_with('[');
        let server_name = (!is_address).then_some(server);
        if host_field.is_none() {
            headers.push(("host".to_owned(), named.to_owned()));
        }
        let https = url.get(..8).is_some_and(|scheme| scheme.eq_ignore_ascii_case("https://"));
        let speaks = if https { Speaks::Https } else { Speaks::Http };
        let path = normal(path)?;
        let (method, caller, source) = (method.to_owned(), String::new(), String::new());
        Ok(Self { method, host, port, speaks, server_name, path, query, headers, caller, source })
    }

    /// Reads the address of a connection that carries no requests: `tcp://HOST:PORT`, or `tls://NAME[:PORT]` for one
    /// that asks for a server name.
    ///
    /// # Errors
    /// What is wrong with it, and what was expected.
    pub fn connection(url: &str) -> Result<Self, RequestError> {
        visible(url)?;
        let bad_url = || RequestError::Connection(url.to_owned());
        let (speaks, rest) = match url.split_once("://") {
            Some(("tcp", rest)) => (Speaks::Tcp, rest),
            Some(("tls", rest)) => (Speaks::Tls, rest),
            _ => return Err(bad_url()),
        };
        let authority =
            split_authority(rest.strip_suffix('/').unwrap_or(rest).as_bytes()).ok_or_else(bad_url)?;
        if speaks == Speaks::Tcp && authority.port.is_none() {
            return Err(bad_url());
        }
        Ok(Self {
            method: speaks.as_str().to_uppercase(),
            host: String::from_utf8_lossy(authority.host).into_owned(),
            port: authority.port,
            speaks,
            server_name: None,
            path: String::new(),
            query: String::new(),
            headers: Vec::new(),
            caller: String::new(),
            source: String::new(),
        })
    }

    /// The same, made by a service.
    #[must_use]
    pub fn made_by(self, caller: Option<&ServiceRef>) -> Self {
        Self { caller: caller.map(ServiceRef::to_string).unwrap_or_default(), ..self }
    }

    /// The same, by a client with this address.
    #[must_use]
    pub fn from_address(self, source: Option<IpAddr>) -> Self {
        let source = source.map(|source| source.to_canonical().to_string()).unwrap_or_default();
        Self { source, ..self }
    }

    /// The client's address, as requests are told apart by it; empty where nobody says.
    pub(super) const fn source(&self) -> &[u8] {
        self.source.as_bytes()
    }

    /// The service that makes it; empty where nobody says.
    pub(super) const fn caller(&self) -> &[u8] {
        self.caller.as_bytes()
    }

    /// Whether a URL is the address of a connection.
    pub fn is_connection(url: &str) -> bool {
        url.starts_with("tcp://") || url.starts_with("tls://")
    }
}

/// Refuses what is in no URL (RFC 3986, section 2): control characters, blanks, and what is not ASCII.
fn visible(url: &str) -> Result<(), RequestError> {
    let name = |c: char| match c {
        ' ' => "a blank".to_owned(),
        c if c.is_control() => format!("the control character U+{:04X}", u32::from(c)),
        c => format!("the character `{c}`"),
    };
    url.chars().find(|c| !c.is_ascii_graphic()).map_or(Ok(()), |c| Err(RequestError::Character(name(c))))
}

/// The authority, if there is one, and the rest of a URL.
fn split(url: &str) -> Option<(Option<&str>, &str)> {
    if url.starts_with('/') {
        return Some((None, url));
    }
    let rest = match url.split_once("://") {
        Some(("http" | "https", rest)) => rest,
        Some(_) => return None,
        None => url,
    };
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (authority, target) = rest.split_at(end);
    (!authority.is_empty()).then_some((Some(authority), target))
}

fn normal(path: &str) -> Result<String, RequestError> {
    let path = if path.is_empty() { "/" } else { path };
    let mut normal = Vec::new();
    match normalize_path(path.as_bytes(), &mut normal) {
        Ok(Normalized::Unchanged) => Ok(path.to_owned()),
        Ok(Normalized::Changed) => Ok(String::from_utf8_lossy(&normal).into_owned()),
        Err(error) => Err(RequestError::Path { path: path.to_owned(), reason: error.to_string() }),
    }
}

fn field(text: &str) -> Result<(String, String), RequestError> {
    match text.split_once(':') {
        Some((name, value)) if is_token(name.as_bytes()) && is_field_value(value.trim().as_bytes()) => {
            Ok((name.to_ascii_lowercase(), value.trim().to_owned()))
        }
        _ => Err(RequestError::Header(text.escape_debug().to_string())),
    }
}

impl RequestView for Request {
    fn method(&self) -> &[u8] {
        self.method.as_bytes()
    }

    fn host(&self) -> &[u8] {
        self.host.as_bytes()
    }

    fn path(&self) -> &[u8] {
        self.path.as_bytes()
    }

    fn query(&self) -> Option<&[u8]> {
        self.query.strip_prefix('?').map(str::as_bytes)
    }

    fn values<'a>(&'a self, lower_name: &'a [u8]) -> impl Iterator<Item = &'a [u8]> {
        let named = self.headers.iter().filter(move |(name, _)| name.as_bytes() == lower_name);
        named.map(|(_, value)| value.as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_urls() {
        let check = |url: &str, headers: &[&str], expected: (&str, Option<u16>, &str, Option<&str>)| {
            let request = Request::parse("GET", url, headers.iter().copied()).unwrap();
            let found = (
                &*request.host,
                request.port,
                &*request.path,
                request.query().map(|query| std::str::from_utf8(query).unwrap()),
            );
            assert_eq!(found, expected, "{url}");
        };
        check("http://shop/cart", &[], ("shop", None, "/cart", None));
        check("http://shop:8080", &[], ("shop", Some(8080), "/", None));
        check("http://shop?a=1", &[], ("shop", None, "/", Some("a=1")));
        check("https://shop/a/../b//c?x#y", &[], ("shop", None, "/b/c", Some("x")));
        check("shop:1/a", &[], ("shop", Some(1), "/a", None));
        check("/a", &["Host: shop:2"], ("shop", Some(2), "/a", None));
        check("http://127.0.0.1:8080/a", &["host: shop"], ("shop", Some(8080), "/a", None));
        check("http://[::1]:9/a", &[], ("[::1]", Some(9), "/a", None));
    }

    #[test]
    fn reads_connections() {
        let check = |url: &str, expected: Option<(Speaks, &str, Option<u16>)>| {
            let read = Request::connection(url).ok();
            let found = read.as_ref().map(|read| (read.speaks, &*read.host, read.port));
            assert_eq!(found, expected, "{url}");
        };
        check("tcp://127.0.0.1:5432", Some((Speaks::Tcp, "127.0.0.1", Some(5432))));
        check("tls://vault.example", Some((Speaks::Tls, "vault.example", None)));
        check("tls://vault.example:8443/", Some((Speaks::Tls, "vault.example", Some(8443))));
        for bad in ["tcp://a\0:1", "tcp://127.0.0.1", "http://a:1", "tcp://", "tls://a/b", "a:1"] {
            check(bad, None);
        }
    }

    #[test]
    fn headers_are_found_by_lower_case_name() {
        let request = Request::parse("GET", "http://h/", ["X-Version:  2 ", "x-version: 3"]).unwrap();
        assert_eq!(request.header(b"x-version"), Some(&b"2"[..]));
        assert_eq!(request.header(b"host"), Some(&b"h"[..]));
        assert_eq!(request.header(b"other"), None);
    }

    #[test]
    fn refuses_what_is_no_request() {
        let check = |method: &str, url: &str, header: &str, expected: &str| {
            let error =
                Request::parse(method, url, (!header.is_empty()).then_some(header)).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        };
        check("GE T", "http://h/", "", "not a method");
        check("", "http://h/", "", "not a method");
        check("GET", "/a", "", "with a Host header");
        check("GET", "ftp://h/", "", "not a URL");
        check("GET", "http:///a", "", "not a URL");
        check("GET", "http://h:99999/", "", "not a URL");
        check("GET", "http://h/%zz", "", "refuses the path `/%zz` with 400");
        check(
            "GET",
            "http://127.0.0.1\0/",
            "",
            "the URL has the control character U+0000 in it: expected visible",
        );
        check("GET", "http://h/a\nb", "", "the control character U+000A");
        check("GET", "http://h/a?b=\u{1b}[2J", "", "the control character U+001B");
        check("GET", "http://h/a b", "", "the URL has a blank in it");
        check("GET", "http://h/caf\u{e9}", "", "the URL has the character `\u{e9}` in it");
        check("G\u{7}T", "http://h/", "", "`G\\u{7}T` is not a method");
        check("GET", "http://h/", "a: b\nc: d", "`a: b\\nc: d` is not a header field");
        check("GET", "http://h/", "no colon", "not a header field");
        check("GET", "http://h/", "bad name: x", "not a header field");
    }
}
