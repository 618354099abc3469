//! A client of any subject: what Consul's API calls by path, etcd holds under keys.

use anyhow::{Context, Result, ensure};

use super::grpc::{Call, Grpc, Message, number_in};
use super::http::{self, Http};
use super::requests::{MEMBERS, member, registration, service_of};
use super::subject::Subject;

/// One client with one connection.
pub(crate) enum Client {
    /// Weir and Consul.
    Http(Http),
    Etcd(Etcd),
}

/// A client of etcd.
pub(crate) struct Etcd {
    pub(crate) grpc: Grpc,
    keep_alive: Option<Call>,
}

const PUT: &str = "/etcdserverpb.KV/Put";
const RANGE: &str = "/etcdserverpb.KV/Range";
const MEMBERS_PREFIX: &str = "registry/web/";

impl Client {
    pub(crate) async fn connect(subject: &Subject) -> Result<Self> {
        let port = subject.port;
        Ok(match subject.name {
            "etcd" => Self::Etcd(Etcd { grpc: Grpc::connect(port).await?, keep_alive: None }),
            _ => Self::Http(Http::connect(port).await?),
        })
    }

    /// Registers one of many instances.
    pub(crate) async fn register(&mut self, number: u64, checked: bool) -> Result<()> {
        let body = registration(number, checked);
        let key = format!("registry/{}/app-{number:07}", service_of(number));
        self.put_registration(&key, &body).await
    }

    /// Registers a member of the service that is read and watched.
    pub(crate) async fn register_member(&mut self, number: u64, mark: u64) -> Result<()> {
        self.put_registration(&format!("{MEMBERS_PREFIX}web-{number}"), &member(number, mark)).await
    }

    async fn put_registration(&mut self, key: &str, body: &str) -> Result<()> {
        match self {
            Self::Http(http) => expect_true(&http.ask(&http::put("/v1/catalog/register", body)).await?),
            Self::Etcd(etcd) => etcd.put(key, body).await,
        }
    }

    /// Reads the service's members; all of them must be there.
    pub(crate) async fn members(&mut self) -> Result<()> {
        self.service("web", MEMBERS, "registry/web/").await
    }

    /// Reads the service of one of many instances, which must have so many.
    pub(crate) async fn service_of(&mut self, number: u64, count: u64) -> Result<()> {
        let name = service_of(number);
        self.service(&name, count, &format!("registry/{name}/")).await
    }

    async fn service(&mut self, name: &str, count: u64, prefix: &str) -> Result<()> {
        let found = match self {
            Self::Http(http) => {
                let answer = http.ask(&http::get(&format!("/v1/health/service/{name}"))).await?;
                ensure!(answer.status == 200, "answered with {}", answer.status);
                occurrences(&answer.body, b"\"Node\":{")
            }
            Self::Etcd(etcd) => etcd.range(prefix, Some(&end_of(prefix))).await?.1,
        };
        ensure!(found == count, "{found} instances of {name} instead of {count}");
        Ok(())
    }

    pub(crate) async fn put(&mut self, key: &str, value: &str) -> Result<()> {
        match self {
            Self::Http(http) => expect_true(&http.ask(&http::put(&format!("/v1/kv/{key}"), value)).await?),
            Self::Etcd(etcd) => etcd.put(key, value).await,
        }
    }

    /// Reads a key, whose value must have this length.
    pub(crate) async fn get(&mut self, key: &str, length: usize) -> Result<()> {
        match self {
            Self::Http(http) => {
                let answer = http.ask(&http::get(&format!("/v1/kv/{key}?raw"))).await?;
                ensure!(answer.body.len() == length, "{} bytes instead of {length}", answer.body.len());
            }
            Self::Etcd(etcd) => {
                let (answer, count) = etcd.range(key, None).await?;
                ensure!(count == 1 && answer.len() > length, "no such key");
            }
        }
        Ok(())
    }
}

impl Etcd {
    async fn put(&mut self, key: &str, value: &str) -> Result<()> {
        let put = Message::default().bytes(1, key.as_bytes()).bytes(2, value.as_bytes());
        self.grpc.call(PUT, &put).await.map(drop)
    }

    /// The answer, and how many keys it holds.
    async fn range(&mut self, key: &str, end: Option<&str>) -> Result<(Vec<u8>, u64)> {
        let range = Message::default().bytes(1, key.as_bytes());
        let range = match end {
            Some(end) => range.bytes(2, end.as_bytes()),
            None => range,
        };
        let answer = self.grpc.call(RANGE, &range).await?;
        let count = number_in(&answer, 4).unwrap_or_default();
        Ok((answer, count))
    }

    /// Renews a lease, over one stream for all, as etcd's clients do.
    pub(crate) async fn keep_alive(&mut self, lease: u64) -> Result<()> {
        if self.keep_alive.is_none() {
            self.keep_alive = Some(self.grpc.open("/etcdserverpb.Lease/LeaseKeepAlive").await?);
        }
        let call = self.keep_alive.as_mut().context("opened above")?;
        call.send(&Message::default().number(1, lease), false)?;
        let answer = call.next().await?;
        ensure!(number_in(&answer, 3).unwrap_or_default() > 0, "the lease is gone");
        Ok(())
    }

    /// Watches the members; the first answer says that the watch is there.
    pub(crate) async fn watch_members(&mut self) -> Result<Call> {
        let create = Message::default()
            .bytes(1, MEMBERS_PREFIX.as_bytes())
            .bytes(2, end_of(MEMBERS_PREFIX).as_bytes());
        let mut call = self.grpc.open("/etcdserverpb.Watch/Watch").await?;
        call.send(&Message::default().message(1, &create), false)?;
        let answer = call.next().await?;
        ensure!(number_in(&answer, 3) == Some(1), "the watch was not created");
        Ok(call)
    }
}

fn expect_true(answer: &http::Answer) -> Result<()> {
    let body = String::from_utf8_lossy(&answer.body);
    ensure!(answer.status == 200 && body.trim() == "true", "answered with {}: {body}", answer.status);
    Ok(())
}

/// The first key after all that start with this text, which ends in a slash.
fn end_of(prefix: &str) -> String {
    format!("{}0", prefix.trim_end_matches('/'))
}

fn occurrences(text: &[u8], wanted: &[u8]) -> u64 {
    text.windows(wanted.len()).filter(|part| *part == wanted).count() as u64
}
