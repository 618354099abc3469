//! A client of any subject: what Consul's API calls by path, etcd holds under keys and Nacos's API calls by parameters.

use anyhow::{Result, ensure};

use super::etcd::{Etcd, MEMBERS_PREFIX};
use super::http::{self, Http};
use super::nacos::{Keeping, Nacos};
use super::requests::{MEMBERS, member, registration, service_of};
use super::subject::Subject;

/// One client with one connection.
pub(crate) enum Client {
    /// Weir and Consul.
    Http(Http),
    Etcd(Etcd),
    Nacos(Nacos),
}

impl Client {
    pub(crate) async fn connect(subject: &Subject) -> Result<Self> {
        let port = subject.port;
        Ok(match subject.name {
            "etcd" => Self::Etcd(Etcd::connect(port).await?),
            "rnacos" => Self::Nacos(Nacos::connect(port).await?),
            _ => Self::Http(Http::connect(port).await?),
        })
    }

    /// Waits until a subject that has just started takes writes, if listening is not enough to know it.
    pub(crate) async fn await_ready(&mut self) -> Result<()> {
        match self {
            Self::Nacos(nacos) => nacos.await_ready().await,
            Self::Http(_) | Self::Etcd(_) => Ok(()),
        }
    }

    /// Registers one of many instances, to be kept when the subject starts again.
    pub(crate) async fn register(&mut self, number: u64, checked: bool) -> Result<()> {
        match self {
            Self::Http(http) => put_registration(http, &registration(number, checked)).await,
            Self::Etcd(etcd) => {
                let key = format!("registry/{}/app-{number:07}", service_of(number));
                etcd.put(&key, &registration(number, checked)).await
            }
            Self::Nacos(nacos) => nacos.register(number, Keeping::Kept).await,
        }
    }

    /// The same, with a check; a subject that has such instances keeps it in memory only.
    pub(crate) async fn register_ephemeral(&mut self, number: u64) -> Result<()> {
        match self {
            Self::Nacos(nacos) => nacos.register(number, Keeping::InMemory).await,
            Self::Http(_) | Self::Etcd(_) => self.register(number, true).await,
        }
    }

    /// Registers a member of the service that is read and watched.
    pub(crate) async fn register_member(&mut self, number: u64, mark: u64) -> Result<()> {
        match self {
            Self::Http(http) => put_registration(http, &member(number, mark)).await,
            Self::Etcd(etcd) => {
                etcd.put(&format!("{MEMBERS_PREFIX}web-{number}"), &member(number, mark)).await
            }
            Self::Nacos(nacos) => nacos.register_member(number, mark).await,
        }
    }

    /// Changes what is watched: a member, or Nacos's configuration.
    pub(crate) async fn change(&mut self, mark: u64) -> Result<()> {
        match self {
            Self::Nacos(nacos) => nacos.change(mark).await,
            Self::Http(_) | Self::Etcd(_) => self.register_member(0, mark).await,
        }
    }

    /// Reads the service's members; all of them must be there.
    pub(crate) async fn members(&mut self) -> Result<()> {
        self.service("web", MEMBERS).await
    }

    /// Reads the service of one of many instances, which must have so many.
    pub(crate) async fn service_of(&mut self, number: u64, count: u64) -> Result<()> {
        self.service(&service_of(number), count).await
    }

    async fn service(&mut self, name: &str, count: u64) -> Result<()> {
        let found = match self {
            Self::Http(http) => {
                let answer = http.ask(&http::get(&format!("/v1/health/service/{name}"))).await?;
                ensure!(answer.status == 200, "answered with {}", answer.status);
                answer.occurrences(b"\"Node\":{")
            }
            Self::Etcd(etcd) => etcd.count(&format!("registry/{name}/")).await?,
            Self::Nacos(nacos) => nacos.healthy(name).await?,
        };
        ensure!(found == count, "{found} instances of {name} instead of {count}");
        Ok(())
    }

    pub(crate) async fn put(&mut self, key: &str, value: &str) -> Result<()> {
        match self {
            Self::Http(http) => expect_true(&http.ask(&http::put(&format!("/v1/kv/{key}"), value)).await?),
            Self::Etcd(etcd) => etcd.put(key, value).await,
            Self::Nacos(nacos) => nacos.publish(key, value).await,
        }
    }

    /// Reads a key, whose value must have this length.
    pub(crate) async fn get(&mut self, key: &str, length: usize) -> Result<()> {
        let found = match self {
            Self::Http(http) => {
                let answer = http.ask(&http::get(&format!("/v1/kv/{key}?raw"))).await?;
                ensure!(answer.status == 200, "answered with {}", answer.status);
                answer.body.len()
            }
            Self::Etcd(etcd) => {
                let (answer, count) = etcd.range(key, None).await?;
                ensure!(count == 1 && answer.len() > length, "no such key");
                return Ok(());
            }
            Self::Nacos(nacos) => nacos.configuration(key).await?.body.len(),
        };
        ensure!(found == length, "{found} bytes instead of {length}");
        Ok(())
    }
}

async fn put_registration(http: &mut Http, body: &str) -> Result<()> {
    expect_true(&http.ask(&http::put("/v1/catalog/register", body)).await?)
}

fn expect_true(answer: &http::Answer) -> Result<()> {
    ensure!(answer.status == 200 && answer.text().trim() == "true", "answered with {answer}");
    Ok(())
}
