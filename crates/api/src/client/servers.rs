//! Several servers that are alike, as people write them.

use std::fmt;
use std::str::FromStr;

use super::{BadServer, ServerUrl};

/// Servers that are named at most.
const SERVERS_MAX: usize = 16;

/// One or more servers, separated by commas.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Servers(Vec<ServerUrl>);

impl From<ServerUrl> for Servers {
    fn from(server: ServerUrl) -> Self {
        Self(vec![server])
    }
}

impl IntoIterator for Servers {
    type Item = ServerUrl;
    type IntoIter = std::vec::IntoIter<ServerUrl>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}

impl FromStr for Servers {
    type Err = BadServer;

    fn from_str(text: &str) -> Result<Self, BadServer> {
        let servers: Vec<ServerUrl> =
            text.split(',').map(|server| server.trim().parse()).collect::<Result<_, _>>()?;
        if servers.len() > SERVERS_MAX {
            return Err(BadServer { text: text.to_owned(), reason: "more than 16 servers are named" });
        }
        Ok(Self(servers))
    }
}

impl fmt::Display for Servers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, server) in self.0.iter().enumerate() {
            write!(f, "{}{server}", if index > 0 { "," } else { "" })?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_read_back_as_written() {
        let text = "http://10.0.0.1:8500,https://b.example:8501";
        assert_eq!(text.parse::<Servers>().unwrap().to_string(), text);
        assert_eq!("a, b".parse::<Servers>().unwrap().to_string(), "http://a:8500,http://b:8500");
        for bad in ["", "a,", ",a", "a,,b"] {
            assert_eq!(bad.parse::<Servers>().unwrap_err().reason, "the host is missing", "{bad}");
        }
        let many = vec!["a"; SERVERS_MAX + 1].join(",");
        assert!(many.parse::<Servers>().is_err());
    }
}
