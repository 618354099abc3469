//! What a check looks at, read from the text of its definition.

/// Where an HTTP check goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpTarget {
    /// Host name or address to connect to, without brackets.
    pub host: String,
    /// Port to connect to.
    pub port: u16,
    /// What the `Host` field says.
    pub authority: String,
    /// Path and query.
    pub path: String,
}

/// Reads the URL of an HTTP check. An error is the reason, for people.
pub fn http_target(url: &str) -> Result<HttpTarget, &'static str> {
    let uri: http::Uri = url.parse().map_err(|_| "not a URL")?;
    match uri.scheme_str() {
        Some("http") => {}
        Some("https") => return Err("https checks are not available yet"),
        _ => return Err("expected a URL that starts with http://"),
    }
    let authority = uri.authority().ok_or("the URL has no host")?;
    let host = authority.host().trim_start_matches('[').trim_end_matches(']');
    if host.is_empty() {
        return Err("the URL has no host");
    }
    if authority.as_str().contains('@') {
        return Err("user and password do not belong into a URL; use Header");
    }
    let port = match &authority.as_str()[authority.host().len()..] {
        "" => 80,
        port => {
            port.trim_start_matches(':').parse().map_err(|_| "expected a port from 1 to 65535 after `:`")?
        }
    };
    if port == 0 {
        return Err("port 0 cannot be connected to");
    }
    let path = uri.path_and_query().map_or("/", |path| path.as_str());
    Ok(HttpTarget { host: host.to_owned(), port, authority: authority.to_string(), path: path.to_owned() })
}

/// Reads the `HOST:PORT` of a TCP check; IPv6 addresses stand in brackets.
pub fn tcp_target(text: &str) -> Option<(&str, u16)> {
    let (host, port) = text.rsplit_once(':')?;
    if !port.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let port = port.parse().ok().filter(|port| *port != 0)?;
    let host = match host.strip_prefix('[') {
        Some(v6) => v6.strip_suffix(']')?,
        None if host.contains(':') => return None,
        None => host,
    };
    let plain = !host.is_empty() && !host.contains(|c: char| c.is_whitespace() || c.is_control() || c == '/');
    plain.then_some((host, port))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_urls() {
        let check = |url: &str, host: &str, port: u16, authority: &str, path: &str| {
            let target = http_target(url).unwrap();
            assert_eq!(
                (&*target.host, target.port, &*target.authority, &*target.path),
                (host, port, authority, path)
            );
        };
        check("http://web", "web", 80, "web", "/");
        check("http://127.0.0.1:8080/health?x=1", "127.0.0.1", 8080, "127.0.0.1:8080", "/health?x=1");
        check("http://[::1]:8080/", "::1", 8080, "[::1]:8080", "/");
        for bad in [
            "",
            "web",
            "ftp://web",
            "https://web",
            "http://",
            "http://:80/",
            "http://a:99999",
            "http://a:0",
            "http://a b/",
            "http://u:p@a/",
        ] {
            assert!(http_target(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn reads_hosts_with_ports() {
        assert_eq!(tcp_target("web:80"), Some(("web", 80)));
        assert_eq!(tcp_target("[::1]:80"), Some(("::1", 80)));
        for bad in [
            "",
            "web",
            ":80",
            "web:",
            "web:0",
            "web:70000",
            "web:+80",
            "::1:80",
            "[::1:80",
            "tcp://web:80",
            "a b:80",
        ] {
            assert_eq!(tcp_target(bad), None, "{bad}");
        }
    }

    proptest::proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in ".{0,60}") {
            let _ = (http_target(&text), tcp_target(&text));
        }
    }
}
