//! Redirects: where to, as the Gateway API's `HTTPRequestRedirectFilter` says.

use super::path::PathChange;

pub use weir_model::resource::filter::Scheme;

/// A redirect. What is absent is the request's own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Redirect {
    /// The scheme to go to.
    pub scheme: Option<Scheme>,
    /// The host to go to.
    pub host: Option<Box<str>>,
    /// The port to go to.
    pub port: Option<u16>,
    /// The path to go to.
    pub path: Option<PathChange>,
    /// The status of the answer.
    pub status: u16,
}

/// Where a request was sent to.
#[derive(Clone, Copy, Debug)]
pub struct Place<'a> {
    /// How it came.
    pub scheme: Scheme,
    /// The host, without a port.
    pub host: &'a [u8],
    /// The listener's port.
    pub port: u16,
    /// The path.
    pub path: &'a [u8],
    /// The query with its `?`, or nothing.
    pub query: &'a [u8],
    /// How many bytes of the path are the prefix that matched, without a slash at its end.
    pub prefix: usize,
}

impl Redirect {
    /// The value of `Location`, appended. The port is left out where it is the scheme's own; a request that names no host is
    /// sent to a path.
    pub fn write_location(&self, asked: &Place<'_>, out: &mut Vec<u8>) {
        let scheme = self.scheme.unwrap_or(asked.scheme);
        let port = match (self.port, self.scheme) {
            (Some(port), _) => port,
            (None, Some(scheme)) => scheme.port(),
            (None, None) => asked.port,
        };
        let host = self.host.as_deref().map_or(asked.host, str::as_bytes);
        if !host.is_empty() {
            for part in [scheme.as_str().as_bytes(), b"://", host] {
                out.extend_from_slice(part);
            }
            if port != scheme.port() {
                out.extend_from_slice(format!(":{port}").as_bytes());
            }
        }
        let path = if asked.path == b"*" { b"/" } else { asked.path };
        let (start, rest) = match &self.path {
            Some(change) => change.parts(path, asked.prefix),
            None => (path, &b""[..]),
        };
        for part in [start, rest, asked.query] {
            out.extend_from_slice(part);
        }
    }
}

impl std::fmt::Display for Redirect {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "redirect ({})", self.status)?;
        if let Some(scheme) = self.scheme {
            write!(f, " to {}", scheme.as_str())?;
        }
        if let Some(host) = &self.host {
            write!(f, " to host {host}")?;
        }
        if let Some(port) = self.port {
            write!(f, " to port {port}")?;
        }
        if let Some(path) = &self.path {
            write!(f, " to {path}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::Scheme::{Http, Https};
    use super::*;

    const NONE: Redirect = Redirect { scheme: None, host: None, port: None, path: None, status: 302 };

    fn location(redirect: &Redirect, scheme: Scheme, port: u16, url: &str, prefix: usize) -> String {
        let (host, rest) = url.split_at(url.find('/').unwrap());
        let (path, query) = rest.split_at(rest.find('?').unwrap_or(rest.len()));
        let asked = Place {
            scheme,
            host: host.as_bytes(),
            port,
            path: path.as_bytes(),
            query: query.as_bytes(),
            prefix,
        };
        let mut out = Vec::new();
        redirect.write_location(&asked, &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn ports_follow_the_scheme_or_the_listener() {
        let check = |scheme, port, (came, listener): (Scheme, u16), expected: &str| {
            let redirect = Redirect { scheme, port, host: Some("example.org".into()), ..NONE };
            assert_eq!(location(&redirect, came, listener, "shop/a", 0), expected);
        };
        check(None, None, (Http, 80), "http://example.org/a");
        check(None, Some(80), (Http, 80), "http://example.org/a");
        check(None, Some(8080), (Http, 80), "http://example.org:8080/a");
        check(Some(Https), None, (Http, 80), "https://example.org/a");
        check(Some(Https), Some(443), (Http, 80), "https://example.org/a");
        check(Some(Https), Some(8443), (Http, 80), "https://example.org:8443/a");
        check(None, None, (Http, 8080), "http://example.org:8080/a");
        check(None, Some(80), (Http, 8080), "http://example.org/a");
        check(Some(Https), None, (Http, 8080), "https://example.org/a");
        check(None, None, (Https, 443), "https://example.org/a");
        check(None, Some(443), (Https, 443), "https://example.org/a");
        check(None, Some(8443), (Https, 443), "https://example.org:8443/a");
        check(Some(Http), None, (Https, 443), "http://example.org/a");
        check(Some(Http), Some(80), (Https, 443), "http://example.org/a");
        check(Some(Http), Some(8080), (Https, 443), "http://example.org:8080/a");
    }

    #[test]
    fn what_is_not_said_is_the_requests_own() {
        let to = |redirect: Redirect, url: &str, prefix: usize, expected: &str| {
            assert_eq!(location(&redirect, Http, 80, url, prefix), expected);
        };
        to(NONE, "shop/a?b=c", 0, "http://shop/a?b=c");
        to(NONE, "[::1]/a", 0, "http://[::1]/a");
        to(NONE, "/a?b", 0, "/a?b");
        let full = Redirect { path: Some(PathChange::Full("/x".into())), ..NONE };
        to(full, "shop/a/b?c", 0, "http://shop/x?c");
        let prefix = Redirect { path: Some(PathChange::Prefix("/x".into())), ..NONE };
        to(prefix.clone(), "shop/a/b?c", 2, "http://shop/x/b?c");
        to(prefix, "shop/a", 2, "http://shop/x");
    }
}
