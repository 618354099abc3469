//! An address to listen on, as people write it.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::str::FromStr;

use serde::Deserialize;

/// `IP:PORT`, or `localhost` with a port; port 0 lets the system choose.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub(crate) struct ListenAddress(pub SocketAddr);

impl FromStr for ListenAddress {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Ok(address) = text.parse() {
            return Ok(Self(address));
        }
        if let Some(port) = text.strip_prefix("localhost:").and_then(|port| port.parse().ok()) {
            return Ok(Self(SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port)));
        }
        let expected = "expected IP:PORT, such as 127.0.0.1:8500 or [::1]:8500";
        let port = text.strip_prefix(':').unwrap_or(text);
        if port.parse::<u16>().is_ok() {
            return Err(format!(
                "{expected}; for this machine only write 127.0.0.1:{port}, for all its addresses 0.0.0.0:{port}"
            ));
        }
        if text.parse::<IpAddr>().is_ok() {
            return Err(format!("{expected}; the port is missing"));
        }
        if text.contains("://") {
            return Err(format!("{expected}; this is an address to listen on, not a URL"));
        }
        Err(format!("{expected}; host names other than `localhost` are not looked up here"))
    }
}

impl TryFrom<String> for ListenAddress {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl fmt::Display for ListenAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_addresses_and_helps_with_the_rest() {
        let good = |text: &str, shown: &str| {
            assert_eq!(text.parse::<ListenAddress>().unwrap().to_string(), shown);
        };
        good("127.0.0.1:8500", "127.0.0.1:8500");
        good("[::1]:0", "[::1]:0");
        good("localhost:80", "127.0.0.1:80");
        let bad = |text: &str, part: &str| {
            let error = text.parse::<ListenAddress>().unwrap_err();
            assert!(error.contains(part), "{text}: {error}");
        };
        bad("8500", "127.0.0.1:8500");
        bad(":8500", "0.0.0.0:8500");
        bad("127.0.0.1", "the port is missing");
        bad("http://127.0.0.1:1", "not a URL");
        bad("weir.example:80", "not looked up");
        bad("127.0.0.1:99999", "expected IP:PORT");
    }
}
