//! Every balancer, and what stands around them, with real endpoints.

mod around;
mod hashing;
mod load;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use rand::SeedableRng;
use rand::rngs::SmallRng;
use weir_proxy::explain::{Forwarded, Request, explain};

use crate::support::{Client, Proxy, Upstream, documents};

/// Upstreams that answer with their own address.
struct Fleet {
    upstreams: Vec<Upstream>,
}

impl Fleet {
    fn of(count: usize) -> Self {
        Self { upstreams: (0..count).map(|_| answering(Duration::ZERO, 200)).collect() }
    }

    fn addrs(&self) -> Vec<SocketAddr> {
        self.upstreams.iter().map(|upstream| upstream.addr).collect()
    }

    fn under(&self, balance: &str) -> String {
        documents(&self.addrs(), &format!("balance: {{{balance}}}"))
    }
}

/// An upstream that answers with its own address, after a while.
fn answering(after: Duration, status: u16) -> Upstream {
    Upstream::start(move |conn| {
        loop {
            conn.request()?;
            if !after.is_zero() {
                std::thread::sleep(after);
            }
            let body = conn.stream.local_addr()?.to_string();
            conn.write(format!("HTTP/1.1 {status} Said\r\nContent-Length: {}\r\n\r\n{body}", body.len()))?;
        }
    })
}

/// Who answers a request with these fields.
fn asked(client: &mut Client, target: &str, fields: &str) -> SocketAddr {
    client.send(format!("GET {target} HTTP/1.1\r\nHost: app\r\n{fields}\r\n"));
    client.response().text().parse().expect("an upstream's address")
}

/// How many of so many requests each upstream answers.
fn shares(client: &mut Client, requests: usize) -> BTreeMap<SocketAddr, usize> {
    let mut shares = BTreeMap::new();
    for _ in 0..requests {
        *shares.entry(asked(client, "/", "")).or_insert(0) += 1;
    }
    shares
}

fn explained(proxy: &Proxy, fields: &[&str]) -> (Forwarded, String) {
    let request = Request::parse("GET", "http://app/", fields.iter().copied()).unwrap();
    let snapshot = proxy.shared.snapshot.load();
    let explanation = explain(&snapshot, &request, &mut SmallRng::seed_from_u64(1));
    (explanation.forwarded().unwrap().clone(), explanation.to_string())
}
