//! Config entries as they are kept, read for what routes by them. What is not read here counts for nothing
//! (`super::ignored`).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use weir_control::records::{RecordEntry, TableRef};
use weir_model::ServiceRef;
use weir_model::resource::Protocol;

use super::resolve::Target;
use super::{Ignored, TABLES, UNFIT, entry_name};
use crate::consul::refusal::Refusal;

/// All entries that route, by the service that they are for.
#[derive(Clone, Debug, Default)]
pub(super) struct Entries {
    protocols: BTreeMap<ServiceRef, Protocol>,
    /// Of all services of a namespace that have none of their own.
    default_protocols: BTreeMap<String, Protocol>,
    pub(super) resolvers: BTreeMap<ServiceRef, Arc<Resolver>>,
    pub(super) splitters: BTreeMap<ServiceRef, Arc<Splitter>>,
    pub(super) routers: BTreeMap<ServiceRef, Arc<Router>>,
}

impl Entries {
    /// Those of some records. What cannot be read (a newer version wrote it) is left out.
    pub(super) fn of<'a>(records: impl Iterator<Item = (&'a TableRef, &'a Arc<RecordEntry>)>) -> Self {
        let mut entries = Self::default();
        for (table, record) in records {
            let kind = table.name.strip_prefix(TABLES).unwrap_or_default();
            let service = ServiceRef::new(&*table.namespace, &*record.value.name);
            if let Err(Refusal { message, .. }) = entries.add(kind, service, &record.value.content) {
                tracing::error!(
                    kind,
                    name = record.value.name,
                    message,
                    "a kept config entry cannot be read"
                );
            }
        }
        entries
    }

    /// Adds an entry of a kind.
    pub(super) fn add(&mut self, kind: &str, service: ServiceRef, content: &Value) -> Result<(), Refusal> {
        match kind {
            "service-defaults" => {
                if let Some(protocol) = protocol(content.get("Protocol")) {
                    self.protocols.insert(service, protocol);
                }
            }
            "proxy-defaults" => {
                let said = content.get("Config").and_then(|config| config.get("protocol"));
                if let Some(protocol) = protocol(said) {
                    self.default_protocols.insert(service.namespace, protocol);
                }
            }
            "service-resolver" => drop(self.resolvers.insert(service, Arc::new(read(content)?))),
            "service-splitter" => drop(self.splitters.insert(service, Arc::new(read(content)?))),
            "service-router" => drop(self.routers.insert(service, Arc::new(read(content)?))),
            _ => {}
        }
        Ok(())
    }

    /// Takes an entry of a kind out.
    pub(super) fn remove(&mut self, kind: &str, service: &ServiceRef) {
        match kind {
            "service-defaults" => drop(self.protocols.remove(service)),
            "proxy-defaults" => drop(self.default_protocols.remove(&service.namespace)),
            "service-resolver" => drop(self.resolvers.remove(service)),
            "service-splitter" => drop(self.splitters.remove(service)),
            "service-router" => drop(self.routers.remove(service)),
            _ => {}
        }
    }

    /// The services that an entry may route.
    pub(super) fn services(&self) -> BTreeSet<&ServiceRef> {
        self.resolvers.keys().chain(self.splitters.keys()).chain(self.routers.keys()).collect()
    }

    /// Whether an entry may route a service.
    pub(super) fn routes(&self, service: &ServiceRef) -> bool {
        self.resolvers.contains_key(service)
            || self.splitters.contains_key(service)
            || self.routers.contains_key(service)
    }

    /// Whether any entry may route.
    pub(super) fn routes_any(&self) -> bool {
        !(self.resolvers.is_empty() && self.splitters.is_empty() && self.routers.is_empty())
    }

    /// What a service speaks, as far as an entry of its own says so.
    pub(super) fn protocol(&self, service: &ServiceRef) -> Option<Protocol> {
        self.protocols.get(service).copied()
    }

    /// What a service speaks of which nothing else says it.
    pub(super) fn default_protocol(&self, service: &ServiceRef) -> Option<Protocol> {
        self.default_protocols.get(&service.namespace).copied()
    }

    /// Takes out what is refused when it is written and would send requests elsewhere: it may have been kept before that.
    pub(super) fn drop_unfit(&mut self, datacenter: &str) -> Vec<Ignored> {
        let endless = |service: &&ServiceRef| self.follow(&Target::all(service), datacenter).is_err();
        let endless: Vec<ServiceRef> = self.resolvers.keys().filter(endless).cloned().collect();
        endless.iter().for_each(|service| drop(self.resolvers.remove(service)));
        let mut ignored = Vec::new();
        let mut fits = |kind: &str, service: &ServiceRef, fault: Option<String>| {
            let Some(fault) = fault else { return true };
            let entry = entry_name(kind, service);
            ignored.push(Ignored { entry, reason: format!("{UNFIT}: {fault}") });
            false
        };
        self.resolvers
            .retain(|service, resolver| fits("service-resolver", service, resolver.fault(datacenter)));
        self.routers.retain(|service, router| fits("service-router", service, router.fault()));
        ignored
    }
}

/// What a word says that a service speaks.
pub(super) fn protocol(said: Option<&Value>) -> Option<Protocol> {
    Protocol::of_word(said?.as_str()?)
}

fn read<T: DeserializeOwned>(content: &Value) -> Result<T, Refusal> {
    T::deserialize(content).map_err(|error| Refusal::bad(format!("the entry cannot be read: {error}")))
}

/// A text, or another where it is empty.
pub(super) fn or<'a>(text: &'a str, other: &'a str) -> &'a str {
    if text.is_empty() { other } else { text }
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub(super) struct Resolver {
    pub(super) default_subset: String,
    pub(super) subsets: BTreeMap<String, Subset>,
    pub(super) redirect: Option<Redirect>,
    pub(super) failover: BTreeMap<String, Failover>,
    pub(super) connect_timeout: String,
    pub(super) request_timeout: String,
    pub(super) load_balancer: Option<LoadBalancer>,
}

impl Resolver {
    /// What is called where a subset (all, if it has no name) has no instance that may be.
    pub(super) fn failover_of(&self, subset: &str) -> Option<&Failover> {
        self.failover.get(subset).or_else(|| self.failover.get("*"))
    }

    fn fault(&self, datacenter: &str) -> Option<String> {
        let redirect = self.redirect.as_ref()?;
        if !redirect.peer.is_empty() {
            return Some("Redirect.Peer: there are no peers".to_owned());
        }
        let is_elsewhere = !redirect.datacenter.is_empty() && redirect.datacenter != datacenter;
        is_elsewhere.then(|| format!("Redirect.Datacenter: {datacenter:?} is the only datacenter"))
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub(super) struct Subset {
    pub(super) filter: String,
    pub(super) only_passing: bool,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub(super) struct Redirect {
    pub(super) service: String,
    pub(super) service_subset: String,
    pub(super) namespace: String,
    pub(super) datacenter: String,
    pub(super) peer: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub(super) struct Failover {
    pub(super) service: String,
    pub(super) service_subset: String,
    pub(super) namespace: String,
    pub(super) datacenters: Vec<String>,
    pub(super) targets: Vec<FailoverTarget>,
}

impl Failover {
    /// Whether the datacenters that it goes to, if it names any, have this one among them.
    pub(super) fn is_here(&self, datacenter: &str) -> bool {
        self.datacenters.is_empty() || self.datacenters.iter().any(|named| named == datacenter)
    }

    /// Whether it also goes where there is nothing: to another datacenter or to a peer.
    pub(super) fn leads_elsewhere(&self, datacenter: &str) -> bool {
        self.datacenters.iter().any(|named| named != datacenter)
            || self.targets.iter().any(|to| !to.is_here(datacenter))
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub(super) struct FailoverTarget {
    pub(super) service: String,
    pub(super) service_subset: String,
    pub(super) namespace: String,
    pub(super) datacenter: String,
    pub(super) peer: String,
}

impl FailoverTarget {
    /// Whether it is in this datacenter.
    pub(super) fn is_here(&self, datacenter: &str) -> bool {
        self.peer.is_empty() && (self.datacenter.is_empty() || self.datacenter == datacenter)
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub(super) struct LoadBalancer {
    pub(super) policy: String,
    pub(super) hash_policies: Vec<HashPolicy>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub(super) struct HashPolicy {
    pub(super) field: String,
    pub(super) field_value: String,
    #[serde(rename = "SourceIP")]
    pub(super) source_ip: bool,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub(super) struct Splitter {
    pub(super) splits: Vec<Split>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub(super) struct Split {
    /// Of a hundred.
    pub(super) weight: f64,
    pub(super) service: String,
    pub(super) service_subset: String,
    pub(super) namespace: String,
    pub(super) request_headers: Headers,
    pub(super) response_headers: Headers,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub(super) struct Headers {
    pub(super) add: BTreeMap<String, String>,
    pub(super) set: BTreeMap<String, String>,
    pub(super) remove: Vec<String>,
}

impl Headers {
    /// The fields that it changes.
    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.set.keys().chain(self.add.keys()).chain(&self.remove).map(String::as_str)
    }

    /// How many bytes of names and values it has.
    pub(super) fn bytes(&self) -> usize {
        let values = self.set.values().chain(self.add.values()).map(String::len).sum::<usize>();
        self.names().map(str::len).sum::<usize>() + values
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub(super) struct Router {
    pub(super) routes: Vec<Route>,
}

impl Router {
    fn fault(&self) -> Option<String> {
        for (at, route) in self.routes.iter().enumerate() {
            let Some(http) = route.r#match.as_ref().and_then(|matched| matched.http.as_ref()) else {
                continue;
            };
            for (list, conditions) in [("Header", &http.header), ("QueryParam", &http.query_param)] {
                if let Some(index) = conditions.iter().position(|condition| condition.invert) {
                    return Some(format!("Routes[{at}].Match.HTTP.{list}[{index}].Invert is not supported"));
                }
            }
        }
        None
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub(super) struct Route {
    pub(super) r#match: Option<Match>,
    pub(super) destination: Option<Destination>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Match {
    #[serde(rename = "HTTP")]
    pub(super) http: Option<HttpMatch>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub(super) struct HttpMatch {
    pub(super) path_exact: String,
    pub(super) path_prefix: String,
    pub(super) path_regex: String,
    pub(super) case_insensitive: bool,
    pub(super) header: Vec<NamedMatch>,
    pub(super) query_param: Vec<NamedMatch>,
    pub(super) methods: Vec<String>,
}

/// A condition on a header field or a query parameter.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub(super) struct NamedMatch {
    pub(super) name: String,
    pub(super) exact: String,
    pub(super) prefix: String,
    pub(super) suffix: String,
    pub(super) contains: String,
    pub(super) regex: String,
    pub(super) ignore_case: bool,
    pub(super) invert: bool,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub(super) struct Destination {
    pub(super) service: String,
    pub(super) service_subset: String,
    pub(super) namespace: String,
    pub(super) prefix_rewrite: String,
    pub(super) request_timeout: String,
    pub(super) num_retries: u32,
    pub(super) retry_on: Vec<String>,
    pub(super) retry_on_status_codes: Vec<u16>,
    pub(super) request_headers: Headers,
    pub(super) response_headers: Headers,
}
