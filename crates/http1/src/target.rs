//! Request targets (RFC 9112 section 3.2) and the authority in them and in `Host`.

use std::net::Ipv6Addr;

use crate::error::RequestError;
use crate::request::Method;
use crate::scan::{find_byte, find_host_end};
use crate::span::Span;

/// The four forms of a request target.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TargetForm {
    /// `/path?query`
    #[default]
    Origin,
    /// `http://host/path?query`
    Absolute,
    /// `host:port`, for CONNECT only.
    Authority,
    /// `*`, for OPTIONS only.
    Asterisk,
}

/// A target, taken apart.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Target {
    pub(crate) form: TargetForm,
    /// Empty unless absolute or authority form.
    pub(crate) authority: Span,
    /// Without the query. Empty stands for `/` (or for `*` where the form says so).
    pub(crate) path: Span,
}

/// A host with an optional port, as `Host` and URLs hold it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Authority<'a> {
    /// The name or address; an IPv6 address keeps its brackets.
    pub host: &'a [u8],
    /// The port, where one was given.
    pub port: Option<u16>,
}

/// Takes `name`, `name:port`, `[v6]` or `[v6]:port` apart; `None` when it is anything else.
///
/// Narrower than RFC 3986: no user information, no percent-encoding, no sub-delimiters. An empty port is accepted.
pub fn split_authority(text: &[u8]) -> Option<Authority<'_>> {
    let (host_end, port) = authority_parts(text)?;
    Some(Authority { host: &text[..host_end], port })
}

/// The length of the host, and the port.
#[inline]
pub(crate) fn authority_parts(text: &[u8]) -> Option<(usize, Option<u16>)> {
    let host_end = match text.first()? {
        b'[' => {
            let close = find_byte(text, 1, b']');
            let inner = std::str::from_utf8(text.get(1..close)?).ok()?;
            text.get(close)?;
            inner.parse::<Ipv6Addr>().ok()?;
            close + 1
        }
        _ => {
            let end = find_host_end(text);
            if end == 0 {
                return None;
            }
            end
        }
    };
    let port = match &text[host_end..] {
        [] | [b':'] => None,
        [b':', digits @ ..] if digits.len() <= 5 => {
            let mut port = 0u32;
            for digit in digits.iter().map(|byte| u32::from(byte.wrapping_sub(b'0'))) {
                if digit > 9 {
                    return None;
                }
                port = port * 10 + digit;
            }
            Some(u16::try_from(port).ok()?)
        }
        _ => return None,
    };
    Some((host_end, port))
}

/// Takes the target in `span` apart. Its bytes were checked before; the query begins at `path_end`, or the target ends there.
#[inline]
pub(crate) fn parse(buf: &[u8], span: Span, path_end: usize, method: Method) -> Result<Target, RequestError> {
    if buf.get(span.start as usize) == Some(&b'/') && method != Method::Connect {
        let path = Span::new(span.start as usize, path_end);
        return Ok(Target { form: TargetForm::Origin, authority: Span::default(), path });
    }
    unusual(buf, span, path_end, method)
}

#[cold]
fn unusual(buf: &[u8], span: Span, path_end: usize, method: Method) -> Result<Target, RequestError> {
    let text = span.of(buf);
    if method == Method::Connect {
        let authority = split_authority(text).ok_or(RequestError::BadConnectTarget)?;
        authority.port.ok_or(RequestError::BadConnectTarget)?;
        return Ok(Target { form: TargetForm::Authority, authority: span, ..Target::default() });
    }
    if text == b"*" {
        if method != Method::Options {
            return Err(RequestError::BadTarget);
        }
        return Ok(Target { form: TargetForm::Asterisk, path: span, ..Target::default() });
    }
    let scheme = [&b"http://"[..], b"https://"]
        .into_iter()
        .find(|scheme| text.get(..scheme.len()).is_some_and(|start| start.eq_ignore_ascii_case(scheme)))
        .ok_or(RequestError::BadTarget)?;
    let start = span.start as usize + scheme.len();
    let authority_text = buf.get(start..path_end).ok_or(RequestError::BadTarget)?;
    let path_at = start + find_byte(authority_text, 0, b'/');
    split_authority(&buf[start..path_at]).ok_or(RequestError::BadTarget)?;
    // RFC 9112 section 3.2.4: without a path and query, the last proxy sends the asterisk.
    let is_bare = path_at == span.end as usize && method == Method::Options;
    let form = if is_bare { TargetForm::Asterisk } else { TargetForm::Absolute };
    Ok(Target { form, authority: Span::new(start, path_at), path: Span::new(path_at, path_end) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn authorities() {
        let ok = |text: &'static str, host: &str, port| {
            assert_eq!(
                split_authority(text.as_bytes()),
                Some(Authority { host: host.as_bytes(), port }),
                "{text}"
            );
        };
        ok("a", "a", None);
        ok("a.b_c-d:80", "a.b_c-d", Some(80));
        ok("127.0.0.1:", "127.0.0.1", None);
        ok("[::1]:8080", "[::1]", Some(8080));
        ok("[::1]", "[::1]", None);
        for bad in [
            "",
            ":80",
            "a/b@c",
            "a b",
            "a:65536",
            "a:+1",
            "a:1:2",
            "[::1",
            "::1",
            "[a]",
            "[::1]x",
            "a,b",
            "u@h",
            "a:8a",
            "a:000080",
            "[::1%25lo]",
        ] {
            assert_eq!(split_authority(bad.as_bytes()), None, "{bad}");
        }
    }
}
