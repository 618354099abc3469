//! `/v1/discovery-chain/:service`: how calls of a service go by config entries, in Consul's form. It is worked out by what
//! makes the routes (`super::resolve`), so the two say the same.

use std::collections::BTreeMap;
use std::sync::Arc;

use futures_util::future::select_all;
use serde_json::{Map, Value, json};
use weir_control::catalog::{Moment, Topic};
use weir_control::records::{RecordEntry, TableRef};
use weir_model::ServiceRef;
use weir_model::resource::Protocol;
use weir_model::resource::filter::{Filter, HeaderModifier, HeaderValue};

use super::entries::{Resolver, or};
use super::overrides::Overrides;
use super::resolve::{Share, Target, named};
use super::{Effective, Making, TABLES};
use crate::consul::answer::{Answer, read};
use crate::consul::{ConsulApi, health};
use crate::http::Request;

/// The kinds whose change may change a chain.
const KINDS: [&str; 5] =
    ["service-router", "service-splitter", "service-resolver", "service-defaults", "proxy-defaults"];
/// How long connecting may take where no entry says it.
const CONNECT_TIMEOUT: &str = "5s";

/// `GET discovery-chain/:service`, and `POST` with overrides.
pub(in crate::consul) async fn get(api: Arc<ConsulApi>, mut request: Request) -> Answer {
    let options = api.options(&request)?;
    let service = ServiceRef::new(&*options.namespace, health::named(&request, "Missing service name")?);
    let overrides = Overrides::of(&request, api.here().datacenter)?;
    let topics =
        KINDS.map(|kind| Topic::Table(TableRef::new(&*options.namespace, format!("{TABLES}{kind}"))));
    if options.index > 0 {
        request.waits();
        let waits = topics.iter().map(|topic| Box::pin(api.control.wait(topic, options.index, options.wait)));
        tokio::select! {
            (waited, ..) = select_all(waits) => drop(waited?),
            () = request.server_closing() => {}
        }
    }
    let index = topics.iter().map(|topic| api.catalog().index(topic)).max().unwrap_or(1);
    let (effective, protocol, written) = api.catalog().read(|moment| {
        let effective = api.effective.at(moment, api.control.settings());
        let protocol = effective.protocol(&service, &moment.endpoints(&service).endpoints);
        (effective, protocol, Written::of(moment))
    });
    let protocol = protocol.map(|stated| stated.protocol).unwrap_or_default();
    let chain = Chain::of(&effective, &written, &service, protocol, &overrides, api.here().datacenter);
    read(&options, index, &json!({"Chain": chain}))
}

/// Entries as they are kept, for what of them a chain shows as it is written.
struct Written(BTreeMap<&'static str, BTreeMap<ServiceRef, Arc<RecordEntry>>>);

impl Written {
    fn of(moment: &Moment<'_>) -> Self {
        let mut all = BTreeMap::new();
        for kind in &KINDS[..3] {
            let table = format!("{TABLES}{kind}");
            let records = moment.records(&table).filter(|(of, _)| of.name == table);
            let named = |(table, record): (&TableRef, &Arc<RecordEntry>)| {
                (ServiceRef::new(&*table.namespace, &*record.value.name), Arc::clone(record))
            };
            all.insert(*kind, records.map(named).collect());
        }
        Self(all)
    }

    /// A field of an entry.
    fn get(&self, kind: &str, service: &ServiceRef, field: &str) -> Option<&Value> {
        self.0.get(kind)?.get(service)?.value.content.get(field)
    }
}

/// A chain in the making.
struct Chain<'a> {
    making: Making<'a>,
    written: &'a Written,
    overrides: &'a Overrides,
    /// Whether routers and splitters count: connections are not told apart.
    divides: bool,
    /// Whether an override has changed something.
    customized: bool,
    datacenter: &'a str,
    nodes: Map<String, Value>,
    targets: Map<String, Value>,
}

impl<'a> Chain<'a> {
    fn of(
        effective: &'a Effective,
        written: &'a Written,
        service: &ServiceRef,
        own: Protocol,
        overrides: &'a Overrides,
        datacenter: &'a str,
    ) -> Value {
        let protocol = overrides.protocol.unwrap_or(own);
        let mut chain = Self {
            making: Making::new(&effective.entries, &effective.documents, datacenter),
            written,
            overrides,
            divides: protocol != Protocol::Tcp,
            customized: protocol != own,
            datacenter,
            nodes: Map::new(),
            targets: Map::new(),
        };
        let start = chain.router(service);
        let is_default = chain.nodes.len() == 1 && !effective.entries.routes(service);
        let hash = if chain.customized { overrides.hash() } else { String::new() };
        json!({
            "ServiceName": service.name, "Namespace": service.namespace, "Partition": "default",
            "Datacenter": datacenter, "Protocol": protocol.as_str(), "Default": is_default, "CustomizationHash": hash,
            "StartNode": start, "Nodes": chain.nodes, "Targets": chain.targets,
        })
    }

    fn router(&mut self, service: &ServiceRef) -> String {
        let entries = self.making.entries;
        let Some(router) = entries.routers.get(service).filter(|_| self.divides) else {
            return self.splitter(service);
        };
        let written = self.written.get("service-router", service, "Routes");
        let mut routes = Vec::new();
        for (at, route) in router.routes.iter().enumerate() {
            let (to, subset) = match &route.destination {
                None => (service.clone(), ""),
                Some(to) => (named(&to.namespace, &to.service, service), &*to.service_subset),
            };
            let next = if subset.is_empty() { self.splitter(&to) } else { self.resolver(&to, subset) };
            let definition = written.and_then(|routes| routes.get(at)).cloned().unwrap_or_default();
            routes.push(json!({"Definition": definition, "NextNode": next}));
        }
        let next = self.splitter(service);
        let all = json!({"HTTP": {"PathPrefix": "/"}});
        let to = json!({"Service": service.name, "Namespace": service.namespace, "Partition": "default"});
        routes.push(json!({"Definition": {"Match": all, "Destination": to}, "NextNode": next}));
        let name = format!("{}.{}.default", service.name, service.namespace);
        self.node(format!("router:{name}"), json!({"Type": "router", "Name": name, "Routes": routes}))
    }

    fn splitter(&mut self, service: &ServiceRef) -> String {
        if !self.divides || !self.making.entries.splitters.contains_key(service) {
            return self.resolver(service, "");
        }
        let name = format!("{}.{}.default", service.name, service.namespace);
        let id = format!("splitter:{name}");
        if self.nodes.contains_key(&id) {
            return id;
        }
        let mut splits = Vec::new();
        for share in self.making.shares(service, "").all {
            let next = self.target_node(&share.target);
            // As exact as Consul's own weights.
            let weight = (share.weight * 10_000.0).round() / 100.0;
            let definition = self.split(&share);
            splits.push(json!({"Definition": definition, "Weight": weight, "NextNode": next}));
        }
        self.node(id, json!({"Type": "splitter", "Name": name, "Splits": splits}))
    }

    /// A split as it is written, with the changes of header fields of all splits that led to it.
    fn split(&self, share: &Share) -> Value {
        let Some((splitter, at)) = &share.split else { return Value::Null };
        let splits = self.written.get("service-splitter", splitter, "Splits");
        let mut definition = splits.and_then(|splits| splits.get(*at)).cloned().unwrap_or_default();
        if let Value::Object(definition) = &mut definition {
            let response = |filter: &Filter| filter.response_header_modifier.as_ref().map(headers);
            let request = |filter: &Filter| filter.request_header_modifier.as_ref().map(headers);
            let both = [
                ("RequestHeaders", share.filters.iter().find_map(request)),
                ("ResponseHeaders", share.filters.iter().find_map(response)),
            ];
            for (name, headers) in both {
                headers.and_then(|headers| definition.insert(name.to_owned(), headers));
            }
        }
        definition
    }

    fn resolver(&mut self, service: &ServiceRef, subset: &str) -> String {
        let target = self.making.resolve(service, subset);
        self.target_node(&target)
    }

    fn target_node(&mut self, target: &Target) -> String {
        let id = self.target(target);
        let entries = self.making.entries;
        let resolver = entries.resolvers.get(&target.service).map(|resolver| &**resolver);
        let mut shown = json!({
            "Default": resolver.is_none(), "ConnectTimeout": self.connect_timeout(resolver), "Target": id,
        });
        if let Some(timeout) = resolver.map(|resolver| &*resolver.request_timeout).filter(|t| !t.is_empty()) {
            shown["RequestTimeout"] = timeout.into();
        }
        let failover = resolver.and_then(|resolver| resolver.failover_of(&target.subset));
        if let Some(failover) = failover {
            let spare = self.making.spare(target, failover);
            let next: Vec<String> = spare.iter().map(|spare| self.target(spare)).collect();
            shown["Failover"] = json!({"Targets": next});
        }
        let mut node = json!({"Type": "resolver", "Name": id, "Resolver": shown});
        if let Some(balancer) = self.written.get("service-resolver", &target.service, "LoadBalancer") {
            node["LoadBalancer"] = balancer.clone();
        }
        self.node(format!("resolver:{id}"), node)
    }

    fn target(&mut self, target: &Target) -> String {
        let Target { service, subset } = target;
        let id = target.id(self.datacenter);
        let entries = self.making.entries;
        let resolver = entries.resolvers.get(service).map(|resolver| &**resolver);
        let of = resolver.and_then(|resolver| resolver.subsets.get(subset));
        let subset_shown =
            of.map_or_else(|| json!({}), |of| json!({"Filter": of.filter, "OnlyPassing": of.only_passing}));
        let shown = json!({
            "ID": id, "Service": service.name, "ServiceSubset": subset, "Namespace": service.namespace,
            "Partition": "default", "Datacenter": self.datacenter, "MeshGateway": self.overrides.mesh_gateway(),
            "Subset": subset_shown, "ConnectTimeout": self.connect_timeout(resolver),
        });
        self.targets.insert(id.clone(), shown);
        id
    }

    fn node(&mut self, id: String, node: Value) -> String {
        self.nodes.insert(id.clone(), node);
        id
    }

    fn connect_timeout(&mut self, resolver: Option<&Resolver>) -> String {
        let own = or(resolver.map_or("", |resolver| &resolver.connect_timeout), CONNECT_TIMEOUT);
        match &self.overrides.connect_timeout {
            Some(other) if other != own => {
                self.customized = true;
                other.clone()
            }
            _ => own.to_owned(),
        }
    }
}

/// Changes of header fields in Consul's form.
fn headers(modifier: &HeaderModifier) -> Value {
    let map = |values: &[HeaderValue]| -> Map<String, Value> {
        values.iter().map(|field| (field.name.clone(), Value::from(&*field.value))).collect()
    };
    let mut shown = Map::new();
    for (name, values) in [("Add", map(&modifier.add)), ("Set", map(&modifier.set))] {
        if !values.is_empty() {
            shown.insert(name.to_owned(), values.into());
        }
    }
    if !modifier.remove.is_empty() {
        shown.insert("Remove".to_owned(), json!(modifier.remove));
    }
    shown.into()
}
