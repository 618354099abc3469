//! The requests of each kind, as each subject wants them.

use anyhow::{Result, ensure};

use super::client::Client;
use super::grpc::{Message, number_in};
use super::http;
use super::subject::Subject;

/// What is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Register,
    /// The same of a subject that keeps such instances in memory only.
    RegisterEphemeral,
    Health,
    KvGet,
    KvPut,
    Heartbeat,
}

/// Instances of the service that is read and watched.
pub(crate) const MEMBERS: u64 = 5;
/// Checks (or leases) that heartbeats are for.
const HEARTBEATS: u64 = 1000;
/// Keys that are written to, so that writes meet a tree of some height.
const KEYS: u64 = 10_000;
/// Instances of one service, and of one node, among many.
const PER_SERVICE: u64 = 20;
const PER_NODE: u64 = 50;
const VALUE_BYTES: usize = 128;
/// How long a TTL check or lease lives: no measurement takes as long.
const TTL_S: u64 = 600;

/// What requests of a kind need to be there, and what each needs to know.
#[derive(Debug)]
pub(crate) struct Ground {
    kind: Kind,
    leases: Vec<u64>,
}

impl Ground {
    /// Puts it there.
    pub(crate) async fn prepare(subject: &Subject, kind: Kind) -> Result<Self> {
        let mut ground = Self { kind, leases: Vec::new() };
        let mut client = Client::connect(subject).await?;
        match kind {
            Kind::Register | Kind::RegisterEphemeral => {}
            Kind::Health => {
                for number in 0..MEMBERS {
                    client.register_member(number, 0).await?;
                }
            }
            Kind::KvGet | Kind::KvPut => client.put(&key(0), &value(0)).await?,
            Kind::Heartbeat => {
                for number in 0..HEARTBEATS {
                    match &mut client {
                        Client::Http(http) => {
                            let answer =
                                http.ask(&http::put("/v1/agent/service/register", &ttl(number))).await?;
                            ensure!(answer.status == 200, "answered with {}", answer.status);
                        }
                        Client::Etcd(etcd) => {
                            let grant = Message::default().number(1, TTL_S);
                            let answer = etcd.grpc.call("/etcdserverpb.Lease/LeaseGrant", &grant).await?;
                            ground.leases.extend(number_in(&answer, 2));
                        }
                        Client::Nacos(nacos) => nacos.register_beating(number).await?,
                    }
                }
            }
        }
        Ok(ground)
    }

    /// Reads back some of what was written by so many requests: not every subject's answer says that it was.
    pub(crate) async fn read_back(&self, subject: &Subject, asked: u64) -> Result<()> {
        let mut client = Client::connect(subject).await?;
        let some = asked / 2;
        match self.kind {
            Kind::Register | Kind::RegisterEphemeral => client.service_of(some, PER_SERVICE).await,
            Kind::KvPut => client.get(&key(some % KEYS), VALUE_BYTES).await,
            Kind::Health | Kind::KvGet | Kind::Heartbeat => Ok(()),
        }
    }

    /// Makes the request with this number and waits for its answer.
    pub(crate) async fn ask(&self, client: &mut Client, number: u64) -> Result<()> {
        match self.kind {
            Kind::Register => client.register(number, true).await,
            Kind::RegisterEphemeral => client.register_ephemeral(number).await,
            Kind::Health => client.members().await,
            Kind::KvGet => client.get(&key(0), VALUE_BYTES).await,
            Kind::KvPut => client.put(&key(number % KEYS), &value(number)).await,
            Kind::Heartbeat => match client {
                Client::Http(http) => {
                    let path = format!("/v1/agent/check/pass/service:beat-{:04}", number % HEARTBEATS);
                    let answer = http.ask(&http::put(&path, "")).await?;
                    ensure!(answer.status == 200, "answered with {}", answer.status);
                    Ok(())
                }
                Client::Etcd(etcd) => {
                    let lease = self.leases[usize::try_from(number % HEARTBEATS)?];
                    etcd.keep_alive(lease).await
                }
                Client::Nacos(nacos) => nacos.beat(number % HEARTBEATS).await,
            },
        }
    }
}

fn key(number: u64) -> String {
    format!("bench/key-{number:05}")
}

/// Each write has another value, so that none is found to change nothing.
fn value(number: u64) -> String {
    format!("{number:0>VALUE_BYTES$}")
}

/// The registration of an instance with a TTL check, at the server's own agent API.
fn ttl(number: u64) -> String {
    format!(
        r#"{{"ID":"beat-{number:04}","Name":"beat","Port":8080,"Check":{{"TTL":"{TTL_S}s","Status":"passing"}}}}"#
    )
}

/// One of many instances: with a tag, an address, metadata and, if wanted, a check.
pub(crate) fn registration(number: u64, checked: bool) -> String {
    let (service, address) = (service_of(number), address_of(number));
    let (node, place) = (node_of(number), number / PER_NODE);
    let check = if checked {
        format!(
            r#","Check":{{"CheckID":"service:app-{number:07}","Name":"alive","ServiceID":"app-{number:07}","Status":"passing","Output":"200 OK"}}"#
        )
    } else {
        String::new()
    };
    format!(
        r#"{{"Node":"{node}","Address":"10.200.{}.{}","SkipNodeUpdate":true,"Service":{{"ID":"app-{number:07}","Service":"{service}","Tags":["v1"],"Address":"{address}","Port":8080,"Meta":{{"version":"1.0.0"}}}}{check}}}"#,
        place >> 8 & 255,
        place & 255,
    )
}

/// The service of that instance.
pub(crate) fn service_of(number: u64) -> String {
    format!("service-{:05}", number / PER_SERVICE)
}

/// The address of that instance.
pub(crate) fn address_of(number: u64) -> String {
    format!("10.{}.{}.{}", number >> 16 & 255, number >> 8 & 255, number & 255)
}

/// The node of that instance.
pub(crate) fn node_of(number: u64) -> String {
    format!("node-{:05}", number / PER_NODE)
}

/// A member of the service that is read and watched; the mark makes it differ.
pub(crate) fn member(number: u64, mark: u64) -> String {
    format!(
        r#"{{"Node":"host-{number}","Address":"10.0.0.{number}","Service":{{"ID":"web-{number}","Service":"web","Tags":["v1"],"Port":8080,"Meta":{{"mark":"{mark}"}}}},"Check":{{"CheckID":"service:web-{number}","Name":"alive","ServiceID":"web-{number}","Status":"passing"}}}}"#
    )
}
