//! Where the servers serve DNS, as each of them says in its answers to signs of life.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};

use weir_api::client::ServerUrl;
use weir_api::native::DNS_OFF;
use weir_edge::dns::bounds::RECURSORS_MAX;
use weir_edge::dns::{Said, Target};

/// The port on which servers serve DNS that do not say it: those of former versions.
const PORT: u16 = 8600;

/// The servers, and where DNS is.
#[derive(Debug)]
pub struct ServersDns(Vec<One>);

#[derive(Debug)]
struct One {
    url: ServerUrl,
    said: Said,
    /// It was that server which said so, and not another.
    is_its_word: AtomicBool,
}

impl ServersDns {
    pub(super) fn new<'a>(urls: impl Iterator<Item = &'a ServerUrl>) -> Self {
        let one = |url: &ServerUrl| One {
            url: url.clone(),
            said: Said::nowhere("no server has said yet where it serves DNS"),
            is_its_word: AtomicBool::new(false),
        };
        Self(urls.map(one).collect())
    }

    /// Those that are asked.
    pub fn targets(&self) -> Vec<Target> {
        self.0.iter().take(RECURSORS_MAX).map(|one| Target::Said(one.said.clone())).collect()
    }

    /// Takes over what the `at`-th server says; of those that have not said it themselves, the same is believed.
    pub(crate) fn hear(&self, at: usize, dns: Option<&str>) {
        for (number, one) in self.0.iter().enumerate() {
            let is_its_word = one.is_its_word.fetch_or(number == at, Ordering::Relaxed) || number == at;
            if number == at || !is_its_word {
                one.said.set(place(&one.url, dns));
            }
        }
    }
}

/// Where a server serves DNS that is asked there over HTTP.
fn place(url: &ServerUrl, dns: Option<&str>) -> Result<String, String> {
    let on = |port| ServerUrl { port, ..url.clone() }.authority();
    match dns {
        None => Ok(on(PORT)),
        Some(DNS_OFF) => Err(format!("{} serves no DNS", url.authority())),
        Some(text) => match (text.parse::<u16>(), text.parse::<SocketAddr>()) {
            (Ok(port), _) => Ok(on(port)),
            (_, Ok(address)) => Ok(address.to_string()),
            _ => Err(format!(
                "{} says of its DNS what makes no sense: {}",
                url.authority(),
                text.escape_default()
            )),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_server_is_asked_where_it_says_and_others_alike() {
        let urls = ["10.0.0.1:9500", "b.example:8500"].map(|text| text.parse::<ServerUrl>().unwrap());
        let dns = ServersDns::new(urls.iter());
        let said = || dns.0.iter().map(|one| one.said.get()).collect::<Vec<_>>();
        assert!(said().iter().all(|said| said.as_ref().unwrap_err().contains("no server has said yet")));
        let are = |a: &str, b: &str| assert_eq!(said(), [Ok(a.to_owned()), Ok(b.to_owned())]);
        dns.hear(0, Some("9600"));
        are("10.0.0.1:9600", "b.example:9600");
        dns.hear(1, None);
        are("10.0.0.1:9600", "b.example:8600");
        dns.hear(0, Some("10.0.0.9:53"));
        are("10.0.0.9:53", "b.example:8600");
        for (word, says) in [("off", "10.0.0.1:9500 serves no DNS"), ("x", "what makes no sense: x")] {
            dns.hear(0, Some(word));
            assert!(said()[0].as_ref().unwrap_err().contains(says));
        }
        let of_one = ServersDns::new(urls[..1].iter());
        of_one.hear(7, Some("off"));
        assert_eq!(of_one.targets().len(), 1);
    }
}
