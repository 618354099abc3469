//! What is answered: the registry as a zone.
//!
//! ```text
//! question -> in which domain -> subject of the name -> read the registry -> records, or why there are none
//! ```
//!
//! Pure but for the registry that is read: chance is an argument. It knows neither packets nor sockets.

mod members;
mod name;
mod node;
mod reverse;

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use domain::base::iana::{Rcode, Rtype};
use domain::base::{Serial, Ttl};
use domain::rdata::{Ns, Ptr, Soa};
use rand::Rng;
use weir_control::catalog::{NodeEntry, Residents, ServiceMember};
use weir_model::DEFAULT_NAMESPACE;

use self::members::Order;
use self::name::Subject;
use self::reverse::Reverse;
use super::config::DnsConfig;
use super::record::{Answer, DnsName, DnsRecord, address, below, record, wants};

/// How often a secondary server would look for changes, if there were one; as Consul says it.
const REFRESH: Ttl = Ttl::from_secs(3600);
/// When it would try again.
const RETRY: Ttl = Ttl::from_secs(600);
/// When it would give up.
const EXPIRE: Ttl = Ttl::from_secs(86_400);

/// What a prepared query comes to.
pub(crate) struct Prepared {
    /// The instances that it takes, those to be answered with.
    pub(crate) members: Vec<ServiceMember>,
    /// Whether they are in an order that the answer is to keep.
    pub(crate) is_ordered: bool,
    /// The service that they belong to.
    pub(crate) service: String,
    /// How long the answer may be kept, if the query says so.
    pub(crate) ttl: Option<Duration>,
}

/// What is read of the registry.
pub(crate) trait Registry {
    /// The revision of what is read.
    fn revision(&self) -> u64;
    /// A service's instances, its name in any case; none if nobody knows it.
    fn members(&self, namespace: &str, service: &str) -> Vec<ServiceMember>;
    /// A node, its name in any case.
    fn node(&self, name: &str) -> Option<Arc<NodeEntry>>;
    /// Whether anything is or was registered in a namespace.
    fn has_namespace(&self, namespace: &str) -> bool;
    /// What the prepared query of this name comes to, its name in any case; `None` if there is none.
    fn query<R: Rng + ?Sized>(&self, name: &str, rng: &mut R) -> Option<Prepared>;
    /// Whether there are prepared queries whose names end in this one, behind a dot.
    fn has_queries_below(&self, name: &str) -> bool;
    /// Who has this address.
    fn at_address(&self, ip: IpAddr) -> Residents;
}

/// What a question comes to.
#[derive(Debug)]
pub(super) enum Outcome {
    /// This.
    Answer(Answer),
    /// A name that lies in no domain of ours; what to say where nobody else is asked.
    Elsewhere(Answer),
    /// An alias for a name elsewhere; what to say, to which others may add where it leads.
    Alias(Answer, DnsName),
}

/// Why a name has no records.
#[derive(Debug)]
enum Absence {
    /// The name is there.
    NoData(String),
    /// It is not.
    NoName(String),
}

/// What a name has, or why it has nothing.
type Found = Result<Records, Absence>;

/// What a name has.
#[derive(Debug, Default)]
struct Records {
    answers: Vec<DnsRecord>,
    additional: Vec<DnsRecord>,
    /// The name that the only answer, an alias, leads to.
    alias: Option<DnsName>,
}

/// The domains that are answered for, and how.
#[derive(Debug)]
pub(crate) struct Zone {
    config: DnsConfig,
    domains: Vec<DnsName>,
    datacenter: String,
    address: IpAddr,
}

/// A question while it is answered.
struct Asked<'a, G> {
    registry: &'a G,
    /// The name, which its records are to carry.
    name: &'a DnsName,
    rtype: Rtype,
    /// The domain that the name lies in.
    domain: &'a DnsName,
}

impl Zone {
    /// A zone of this datacenter; `address` is where the server itself is reached.
    pub(crate) fn new(config: DnsConfig, datacenter: &str, address: IpAddr) -> Self {
        let domains = std::iter::once(&config.domain).chain(&config.alt_domain).map(|domain| domain.name());
        let domains = domains.collect();
        Self { domains, config, datacenter: datacenter.to_owned(), address }
    }

    /// Answers a question.
    pub(super) fn answer<G: Registry, R: Rng + ?Sized>(
        &self,
        registry: &G,
        name: &DnsName,
        rtype: Rtype,
        rng: &mut R,
    ) -> Outcome {
        // The longest first: one domain may lie in the other.
        let domain =
            self.domains.iter().filter(|domain| name.ends_with(domain)).max_by_key(|name| name.len());
        if let Some(domain) = domain {
            let asked = Asked { registry, name, rtype, domain };
            let found = self.find(&asked, rng);
            return self.outcome(&asked, domain, found);
        }
        let refused = || {
            let why =
                Some("the name is in no domain of this server, and no recursor may be asked".to_owned());
            Outcome::Elsewhere(Answer { why, ..Answer::of(Rcode::REFUSED) })
        };
        let Some((tree, reverse)) = labels(name, 0).and_then(|labels| reverse::reverse(&labels)) else {
            return refused();
        };
        let asked = Asked { registry, name, rtype, domain: &self.domains[0] };
        let found = self.reverse(&asked, &reverse);
        let is_known = found.is_ok();
        match self.outcome(&asked, &tree, found) {
            Outcome::Answer(answer) if !is_known => Outcome::Elsewhere(answer),
            outcome => outcome,
        }
    }

    /// The answer of what was found below an origin.
    fn outcome<G: Registry>(&self, asked: &Asked<'_, G>, origin: &DnsName, found: Found) -> Outcome {
        let mut answer = Answer { authoritative: true, ..Answer::of(Rcode::NOERROR) };
        let absence = match found {
            Ok(records) if !records.answers.is_empty() => {
                answer.answers = records.answers;
                answer.additional = records.additional;
                return match records.alias {
                    Some(target) => Outcome::Alias(answer, target),
                    None => Outcome::Answer(answer),
                };
            }
            Ok(_) => Absence::NoData("there is nothing of this type".to_owned()),
            Err(absence) => absence,
        };
        let (rcode, why) = match absence {
            Absence::NoData(why) => (Rcode::NOERROR, why),
            Absence::NoName(why) => (Rcode::NXDOMAIN, why),
        };
        answer.rcode = rcode;
        answer.authority.push(self.soa(origin, asked.registry.revision()));
        answer.why = Some(why);
        Outcome::Answer(answer)
    }

    fn find<G: Registry, R: Rng + ?Sized>(&self, asked: &Asked<'_, G>, rng: &mut R) -> Found {
        let below_domain = labels(asked.name, asked.domain.label_count());
        let Some(labels) = below_domain else { return no_name("no name here is written so") };
        match name::subject(&labels, &self.datacenter) {
            Subject::Apex => Ok(self.apex(asked)),
            Subject::Nameserver => Ok(self.own_address(asked)),
            Subject::Service { namespace, labels } => self.service(asked, namespace, labels, rng),
            Subject::Underscored { namespace, service, tag } => {
                let members = asked.registry.members(namespace, service);
                if members.is_empty() {
                    return no_service(asked.registry, namespace, service);
                }
                self.members(asked, service, tag, &members, rng)
            }
            Subject::Node(node) => self.node(asked, &node),
            Subject::Query(query) => self.query(asked, &query, rng),
            Subject::Address(ip) => Ok(self.literal(asked, ip)),
            Subject::Branch { namespace }
                if namespace == DEFAULT_NAMESPACE || asked.registry.has_namespace(namespace) =>
            {
                no_data("only longer names have records")
            }
            Subject::Branch { namespace } => no_name(format!("there is no namespace {namespace}")),
            Subject::Nothing(why) => no_name(why),
        }
    }

    /// A service's instances. Names with dots are found too: the shortest name that is known is meant, what stands before
    /// it is a tag.
    fn service<G: Registry, R: Rng + ?Sized>(
        &self,
        asked: &Asked<'_, G>,
        namespace: &str,
        labels: &[String],
        rng: &mut R,
    ) -> Found {
        for at in (0..labels.len()).rev() {
            let service = labels[at..].join(".");
            let members = asked.registry.members(namespace, &service);
            if !members.is_empty() {
                let tag = (at > 0).then(|| labels[..at].join("."));
                return self.members(asked, &service, tag.as_deref(), &members, rng);
            }
        }
        match labels {
            // `_tcp.service` is on the way to `_web._tcp.service`.
            [only] if only.starts_with('_') => no_data("only longer names have records"),
            _ => no_service(asked.registry, namespace, &labels[labels.len() - 1]),
        }
    }

    /// The instances that a prepared query takes.
    fn query<G: Registry, R: Rng + ?Sized>(&self, asked: &Asked<'_, G>, name: &str, rng: &mut R) -> Found {
        let Some(Prepared { members, is_ordered, service, ttl }) = asked.registry.query(name, rng) else {
            if has_names_below(asked.registry, name) {
                return no_data("only longer names have records");
            }
            return no_name(format!("there is no prepared query {name}"));
        };
        if members.is_empty() {
            return no_name(format!("the prepared query {name} takes no instance"));
        }
        let ttl = ttl.unwrap_or_else(|| self.service_ttl(&service));
        let members: Vec<&ServiceMember> = members.iter().collect();
        let order = if is_ordered { Order::AsGiven } else { Order::ByChance };
        Ok(self.records(asked, ttl, &members, order, rng))
    }

    fn apex<G: Registry>(&self, asked: &Asked<'_, G>) -> Records {
        let mut records = Records::default();
        if matches!(asked.rtype, Rtype::SOA | Rtype::ANY) {
            records.answers.push(self.soa(asked.name, asked.registry.revision()));
        }
        if matches!(asked.rtype, Rtype::NS | Rtype::ANY)
            && let Some(server) = below(["ns"], asked.domain)
        {
            records.additional.push(address(&server, self.config.node_ttl, self.address));
            records.answers.push(record(asked.name, self.config.node_ttl, Ns::new(server)));
        }
        records
    }

    fn own_address<G: Registry>(&self, asked: &Asked<'_, G>) -> Records {
        self.literal(asked, self.address)
    }

    fn literal<G: Registry>(&self, asked: &Asked<'_, G>, ip: IpAddr) -> Records {
        let mut records = Records::default();
        if wants(asked.rtype, &ip) {
            records.answers.push(address(asked.name, self.config.node_ttl, ip));
        }
        records
    }

    /// The nodes at an address, else the services.
    fn reverse<G: Registry>(&self, asked: &Asked<'_, G>, reverse: &Reverse) -> Found {
        let Reverse::Address(ip) = reverse else {
            return match reverse {
                Reverse::Branch => no_data("only longer names have records"),
                _ => no_name("it is no address"),
            };
        };
        let residents = asked.registry.at_address(*ip);
        let mut targets: Vec<DnsName> =
            residents.nodes.iter().filter_map(|node| self.node_name(node, asked.domain)).collect();
        if targets.is_empty() {
            let names = residents.services.iter();
            targets = names
                .filter_map(|name| self.service_name(&name.namespace, &name.name, asked.domain))
                .collect();
        }
        if targets.is_empty() {
            return no_name("nobody here has this address");
        }
        let mut records = Records::default();
        if matches!(asked.rtype, Rtype::PTR | Rtype::ANY) {
            let pointers =
                targets.into_iter().map(|name| record(asked.name, self.config.node_ttl, Ptr::new(name)));
            records.answers = pointers.collect();
        }
        Ok(records)
    }

    /// What a server says of itself below an origin; how long others may keep that there is nothing.
    fn soa(&self, origin: &DnsName, revision: u64) -> DnsRecord {
        let own = |label| below([label], &self.domains[0]).unwrap_or_else(|| origin.clone());
        let negative_ttl = self.config.negative_ttl;
        // Serial numbers go round (RFC 1982), as the lower half of a revision does.
        let serial = Serial(revision as u32);
        let minimum = Ttl::from_duration_lossy(negative_ttl);
        let soa = Soa::new(own("ns"), own("hostmaster"), serial, REFRESH, RETRY, EXPIRE, minimum);
        record(origin, negative_ttl, soa)
    }

    /// A node's name in a domain; `None` if it cannot be one.
    fn node_name(&self, node: &str, domain: &DnsName) -> Option<DnsName> {
        below(node.split('.').chain(["node", self.datacenter.as_str()]), domain)
    }

    /// A service's name in a domain; `None` if it cannot be one.
    fn service_name(&self, namespace: &str, service: &str, domain: &DnsName) -> Option<DnsName> {
        let labels = service.split('.').chain(["service"]);
        if namespace == DEFAULT_NAMESPACE {
            return below(labels, domain);
        }
        below(labels.chain([namespace, "ns", &self.datacenter, "dc"]), domain)
    }

    fn service_ttl(&self, service: &str) -> Duration {
        self.config.service_ttls.of(service)
    }
}

fn no_data<T>(why: impl Into<String>) -> Result<T, Absence> {
    Err(Absence::NoData(why.into()))
}

fn no_name<T>(why: impl Into<String>) -> Result<T, Absence> {
    Err(Absence::NoName(why.into()))
}

/// Nobody is registered as this service, in this namespace.
fn no_service<G: Registry>(registry: &G, namespace: &str, service: &str) -> Found {
    if namespace == DEFAULT_NAMESPACE {
        return no_name(format!("there is no service {service}"));
    }
    if registry.has_namespace(namespace) {
        return no_name(format!("there is no service {service} in namespace {namespace}"));
    }
    no_name(format!("there is no namespace {namespace}"))
}

/// Whether the name is on the way to that of a prepared query, be it `NAME.query` or `_NAME._tcp.query`.
fn has_names_below<G: Registry>(registry: &G, name: &str) -> bool {
    let before_protocol = match name.rsplit_once('.') {
        Some((rest, last)) if last.starts_with('_') => registry.has_queries_below(rest),
        // `_tcp.query` is on the way to all of them.
        None => name.starts_with('_'),
        Some(_) => false,
    };
    before_protocol || registry.has_queries_below(name)
}

/// A name's labels in lower case, without the last ones; `None` if one of them is not printable.
fn labels(name: &DnsName, without: usize) -> Option<Vec<String>> {
    let count = name.label_count().saturating_sub(without.max(1));
    let label = |label: &domain::base::name::Label| {
        let is_plain = label.as_slice().iter().all(u8::is_ascii_graphic);
        is_plain.then(|| String::from_utf8_lossy(label.as_slice()).to_ascii_lowercase())
    };
    name.iter().take(count).map(label).collect()
}

#[cfg(test)]
mod tests;
