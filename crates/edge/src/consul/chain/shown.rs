//! `/v1/discovery-chain/:service`: how calls of a service go by config entries, in Consul's form. It is worked out by what
//! makes the routes (`super::resolve`), so the two say the same.

use std::sync::Arc;

use futures_util::future::select_all;
use serde_json::{Map, Value, json};
use weir_control::catalog::Topic;
use weir_control::records::TableRef;
use weir_model::ServiceRef;
use weir_model::resource::Protocol;

use super::entries::Resolver;
use super::resolve::{Target, named};
use super::{Effective, Making, TABLES, name};
use crate::consul::answer::{Answer, read};
use crate::consul::decode::{self, Fields};
use crate::consul::refusal::Refusal;
use crate::consul::{ConsulApi, health};
use crate::http::Request;

/// The kinds whose change may change a chain.
const KINDS: [&str; 5] =
    ["service-router", "service-splitter", "service-resolver", "service-defaults", "proxy-defaults"];
/// How long connecting may take where no entry says it.
const CONNECT_TIMEOUT: &str = "5s";

/// `GET discovery-chain/:service`, and `POST` with overrides, of which the protocol counts.
pub(in crate::consul) async fn get(api: Arc<ConsulApi>, mut request: Request) -> Answer {
    let options = api.options(&request)?;
    let service = ServiceRef::new(&*options.namespace, health::named(&request, "Missing service name")?);
    let protocol = overridden(&request)?;
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
    let (effective, of_instances) = api.catalog().read(|moment| {
        let effective = api.effective.at(moment, api.control.settings());
        (effective, moment.endpoints(&service).protocol)
    });
    let protocol = protocol.unwrap_or_else(|| {
        let document = effective.documents.service(&service).and_then(|document| document.protocol);
        let said = document.or_else(|| effective.entries.protocol(&service)).or(of_instances);
        let said = said.or_else(|| effective.entries.default_protocol(&service));
        name(said.unwrap_or(Protocol::Http)).to_owned()
    });
    let chain = Chain::of(&effective, &service, &protocol, &api.control.settings().datacenter);
    read(&options, index, &json!({"Chain": chain}))
}

fn overridden(request: &Request) -> Result<Option<String>, Refusal> {
    if request.body.is_empty() {
        return Ok(None);
    }
    let map = decode::object(&request.body)?;
    Ok(Some(Fields::root(&map).text("OverrideProtocol")?).filter(|protocol| !protocol.is_empty()))
}

/// A chain in the making.
struct Chain<'a> {
    making: Making<'a>,
    datacenter: &'a str,
    nodes: Map<String, Value>,
    targets: Map<String, Value>,
}

impl<'a> Chain<'a> {
    fn of(effective: &'a Effective, service: &ServiceRef, protocol: &str, datacenter: &'a str) -> Value {
        let making = Making::new(&effective.entries, &effective.documents);
        let mut chain = Self { making, datacenter, nodes: Map::new(), targets: Map::new() };
        let start = chain.router(service);
        let is_default = chain.nodes.len() == 1 && !effective.entries.routes(service);
        json!({
            "ServiceName": service.name, "Namespace": service.namespace, "Partition": "default",
            "Datacenter": datacenter, "Protocol": protocol, "Default": is_default, "CustomizationHash": "",
            "StartNode": start, "Nodes": chain.nodes, "Targets": chain.targets,
        })
    }

    fn router(&mut self, service: &ServiceRef) -> String {
        let Some(router) = self.making.entries.routers.get(service) else {
            return self.splitter(service);
        };
        let mut routes = Vec::new();
        for route in &router.routes {
            let (to, subset) = match &route.destination {
                None => (service.clone(), ""),
                Some(to) => (named(&to.namespace, &to.service, service), &*to.service_subset),
            };
            let next = if subset.is_empty() { self.splitter(&to) } else { self.resolver(&to, subset) };
            routes.push(json!({"Definition": {"Destination": {"Service": to.name, "ServiceSubset": subset}}, "NextNode": next}));
        }
        let next = self.splitter(service);
        let all = json!({"HTTP": {"PathPrefix": "/"}});
        routes.push(
            json!({"Definition": {"Match": all, "Destination": {"Service": service.name}}, "NextNode": next}),
        );
        let name = format!("{}.{}.default", service.name, service.namespace);
        self.node(format!("router:{name}"), json!({"Type": "router", "Name": name, "Routes": routes}))
    }

    fn splitter(&mut self, service: &ServiceRef) -> String {
        if !self.making.entries.splitters.contains_key(service) {
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
            splits.push(json!({"Weight": share.weight * 100.0, "NextNode": next}));
        }
        self.node(id, json!({"Type": "splitter", "Name": name, "Splits": splits}))
    }

    fn resolver(&mut self, service: &ServiceRef, subset: &str) -> String {
        let target = self.making.resolve(service, subset);
        self.target_node(&target)
    }

    fn target_node(&mut self, target: &Target) -> String {
        let id = self.target(target);
        let resolver = self.making.entries.resolvers.get(&target.service);
        let mut shown = json!({
            "Default": resolver.is_none(), "ConnectTimeout": connect_timeout(resolver), "Target": id,
        });
        let failover = resolver.and_then(|resolver| {
            resolver.failover.get(&*target.subset).or_else(|| resolver.failover.get("*"))
        });
        if let Some(failover) = failover {
            let spare = self.making.spare(&target.service, failover);
            let next: Vec<String> = spare.iter().map(|spare| self.target(spare)).collect();
            shown["Failover"] = json!({"Targets": next});
        }
        let node = json!({"Type": "resolver", "Name": id, "Resolver": shown});
        self.node(format!("resolver:{id}"), node)
    }

    fn target(&mut self, target: &Target) -> String {
        let Target { service, subset } = target;
        let prefix = if subset.is_empty() { String::new() } else { format!("{subset}.") };
        let id = format!("{prefix}{}.{}.default.{}", service.name, service.namespace, self.datacenter);
        let resolver = self.making.entries.resolvers.get(service);
        let of = resolver.and_then(|resolver| resolver.subsets.get(subset));
        let subset_shown =
            of.map_or_else(|| json!({}), |of| json!({"Filter": of.filter, "OnlyPassing": of.only_passing}));
        let shown = json!({
            "ID": id, "Service": service.name, "ServiceSubset": subset, "Namespace": service.namespace,
            "Partition": "default", "Datacenter": self.datacenter, "MeshGateway": {}, "Subset": subset_shown,
            "ConnectTimeout": connect_timeout(resolver),
        });
        self.targets.insert(id.clone(), shown);
        id
    }

    fn node(&mut self, id: String, node: Value) -> String {
        self.nodes.insert(id.clone(), node);
        id
    }
}

fn connect_timeout(resolver: Option<&Resolver>) -> &str {
    let said = resolver.map(|resolver| &*resolver.connect_timeout);
    said.filter(|text| !text.is_empty()).unwrap_or(CONNECT_TIMEOUT)
}
