//! Which names a server on loopback answers to.
//!
//! A page's own name can be made to lead to 127.0.0.1 (DNS rebinding): to the browser the server is then of the page's
//! origin, and the page may read and change everything there. What it cannot do is send another `Host` than that name.
//! So a server that only its own machine reaches answers to names that lead there anyway, and to those it is told.
//! One that listens beyond loopback is meant to be reached by names it cannot know, and does not look.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};

use http::HeaderMap;
use http::header::HOST;

/// Longest part of a name that a refusal repeats, in characters.
const SHOWN_MAX: usize = 100;

/// The names a server answers to.
#[derive(Debug)]
pub struct AllowedHosts {
    /// Names beside addresses and `localhost`, in lower case; `None` where every name will do.
    names: Option<Vec<String>>,
    /// What a refusal says beside that.
    more: &'static str,
}

impl AllowedHosts {
    /// For a server that listens there: beyond loopback, every name.
    pub fn of(listens_on: SocketAddr, names: &[String]) -> Self {
        let is_local = listens_on.ip().to_canonical().is_loopback();
        let more = " and the names in allowed-hosts (flag --allowed-hosts)";
        Self { names: is_local.then(|| names.iter().map(|name| folded(name)).collect()), more }
    }

    /// For a server that listens there and has no names beside.
    pub fn local(listens_on: SocketAddr) -> Self {
        Self { more: "", ..Self::of(listens_on, &[]) }
    }

    /// Passes a request for a name that is allowed. An HTTP/1.0 request without `Host` names none: no browser sends it.
    ///
    /// # Errors
    /// What to refuse it with.
    pub fn check(&self, headers: &HeaderMap) -> Result<(), String> {
        let (Some(names), Some(host)) = (&self.names, headers.get(HOST)) else { return Ok(()) };
        let host = host.to_str().unwrap_or_default();
        if is_allowed(host, names) {
            return Ok(());
        }
        let shown: String = host.chars().take(SHOWN_MAX).collect();
        Err(format!(
            "Host `{shown}` is not allowed: this server listens on loopback and answers to IP addresses, localhost{}",
            self.more
        ))
    }
}

fn is_allowed(host: &str, names: &[String]) -> bool {
    if let Some((address, port)) = host.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        return address.parse::<Ipv6Addr>().is_ok() && (port.is_empty() || is_port(port));
    }
    let name = match host.rfind(':') {
        Some(at) if is_port(&host[at..]) => &host[..at],
        Some(_) => return false,
        None => host,
    };
    if name.parse::<Ipv4Addr>().is_ok() {
        return true;
    }
    let name = folded(name);
    name == "localhost" || name.ends_with(".localhost") || names.contains(&name)
}

/// A colon, and digits if any.
fn is_port(text: &str) -> bool {
    text.strip_prefix(':').is_some_and(|digits| digits.bytes().all(|byte| byte.is_ascii_digit()))
}

/// Names differ neither by case nor by the dot of an absolute one.
fn folded(name: &str) -> String {
    name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn passes(listens_on: &str, host: &str) -> bool {
        let hosts =
            AllowedHosts::of(listens_on.parse().unwrap(), &["Weir.Example".to_owned(), "box".to_owned()]);
        let headers = [(HOST, http::HeaderValue::from_str(host).unwrap())].into_iter().collect();
        hosts.check(&headers).is_ok()
    }

    #[test]
    fn on_loopback_only_names_that_lead_there_anyway() {
        for host in [
            "127.0.0.1",
            "127.0.0.1:8500",
            "10.0.0.1:8500",
            "[::1]",
            "[::1]:8500",
            "localhost",
            "LOCALHOST:8500",
            "localhost.:80",
            "weir.localhost:8500",
            "weir.example:8500",
            "WEIR.example.",
            "box:",
        ] {
            assert!(passes("127.0.0.1:8500", host), "{host}");
            assert!(passes("[::1]:8500", host), "{host}");
            assert!(passes("[::ffff:127.0.0.1]:8500", host), "{host}");
        }
        for host in [
            "evil.example",
            "evil.example:8500",
            "127.0.0.1.evil.example",
            "localhost.evil.example",
            "notlocalhost",
            "a.weir.example",
            "127.0.0.1@evil.example",
            "evil.example:127.0.0.1",
            "[::1]evil.example",
            "[evil.example]",
            "",
            ".",
        ] {
            assert!(!passes("127.0.0.1:8500", host), "{host}");
        }
    }

    #[test]
    fn beyond_loopback_every_name_will_do() {
        assert!(passes("0.0.0.0:8500", "weir.prod.example"));
        assert!(passes("10.0.0.1:8500", "evil.example"));
        let none = AllowedHosts::of("127.0.0.1:1".parse().unwrap(), &[]);
        assert!(none.check(&HeaderMap::new()).is_ok(), "HTTP/1.0 names none");
    }
}
