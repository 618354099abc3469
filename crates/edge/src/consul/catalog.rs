//! `/v1/catalog`: reading what is registered. Registering there is in `catalog_write`.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde::Serialize;
use weir_control::catalog::{InstanceEntry, NodeEntry, ServiceMember, Topic};
use weir_model::DEFAULT_NAMESPACE;

use super::answer::{Answer, json, read, read_list, write};
use super::health::{MemberFilter, named, service_named};
use super::options::{ReadOptions, check_place, node_meta};
use super::refusal::Refusal;
use super::views::{CatalogServiceJson, NodeJson, ServiceJson};
use super::{ConsulApi, own_service};
use crate::http::Request;

/// `catalog/datacenters`: there is one.
pub(super) async fn datacenters(api: Arc<ConsulApi>, request: Request) -> Answer {
    check_place(&request.query, api.here().datacenter)?;
    json(request.query.has("pretty"), &[api.here().datacenter])
}

/// `catalog/services`: names and tags.
pub(super) async fn services(api: Arc<ConsulApi>, mut request: Request) -> Answer {
    let options = api.options(&request)?;
    api.wait(&mut request, &options, &Topic::Services { namespace: options.namespace.clone() }).await?;
    let view = api.catalog().services_view(&options.namespace);
    let meta = node_meta(&request.query);
    if !meta.is_empty() || options.filter.is_some() {
        return read(&options, view.index, &selected_services(&api, &options, &meta)?);
    }
    let mut services: BTreeMap<&str, &[Arc<str>]> =
        view.entries.iter().map(|service| (&*service.name, &*service.tags)).collect();
    if options.namespace == DEFAULT_NAMESPACE {
        services.entry(own_service::NAME).or_default();
    }
    read(&options, view.index, &services)
}

/// Names and tags of the instances that are on the wanted nodes and that the filter takes.
fn selected_services(
    api: &ConsulApi,
    options: &ReadOptions,
    meta: &[(&str, &str)],
) -> Result<BTreeMap<String, BTreeSet<String>>, Refusal> {
    let catalog = api.catalog();
    let nodes = catalog.nodes_view().entries;
    let mut services: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for node in nodes.iter().filter(|node| node_has(node, meta)) {
        let Some(view) = catalog.node_view(&node.node.value.name).entries else { continue };
        let own = own_service::instance(api.here().node, &view.node, &options.namespace);
        for instance in own.iter().chain(&view.instances) {
            let member = ServiceMember { node: Arc::clone(&view.node), instance: Arc::clone(instance) };
            let instance = instance.value();
            if instance.namespace == options.namespace
                && options.filter.takes(&CatalogServiceJson::of(&member, api.here()))?
            {
                services.entry(instance.service.clone()).or_default().extend(instance.tags.iter().cloned());
            }
        }
    }
    Ok(services)
}

/// `catalog/service/:service`: the instances of a service, healthy or not.
pub(super) async fn service(api: Arc<ConsulApi>, mut request: Request) -> Answer {
    let options = api.options(&request)?;
    let name = service_named(&request)?;
    api.wait(&mut request, &options, &Topic::service(&*options.namespace, &*name)).await?;
    api.about_service("catalog", &request, &options, &name, || {
        let view = api.service_view(&options.namespace, &name);
        let filter = MemberFilter::of(&request);
        let mut members: Vec<_> = view.entries.iter().filter(|member| filter.takes(member)).collect();
        if let Some(nearness) = api.nearness(&request) {
            nearness.sort(&mut members, |member| &member.node.node.value.name);
        }
        let lines: Vec<_> =
            members.into_iter().map(|member| CatalogServiceJson::of(member, api.here())).collect();
        Ok((view.index, write(options.pretty, &options.filter.apply(lines)?)?.into()))
    })
}

/// `catalog/nodes`.
pub(super) async fn nodes(api: Arc<ConsulApi>, mut request: Request) -> Answer {
    let options = api.options(&request)?;
    api.wait(&mut request, &options, &Topic::Nodes).await?;
    let view = api.catalog().nodes_view();
    let meta = node_meta(&request.query);
    let mut nodes: Vec<_> = view.entries.iter().filter(|node| node_has(node, &meta)).collect();
    if let Some(nearness) = api.nearness(&request) {
        nearness.sort(&mut nodes, |node| &node.node.value.name);
    }
    let nodes: Vec<_> = nodes.into_iter().map(|node| NodeJson::of(node, api.here())).collect();
    read_list(&options, view.index, nodes)
}

fn node_has(node: &NodeEntry, meta: &[(&str, &str)]) -> bool {
    let own = &node.node.value.metadata;
    meta.iter().all(|(key, value)| own.get(*key).is_some_and(|own| own == value))
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct NodeServices<'a, S> {
    node: Option<NodeJson<'a>>,
    services: S,
}

/// `catalog/node/:node`: a node and its instances by id; `null` for an unknown one.
pub(super) async fn node(api: Arc<ConsulApi>, mut request: Request) -> Answer {
    let options = api.options(&request)?;
    let name = named(&request, "Missing node name")?;
    api.wait(&mut request, &options, &Topic::node(&name)).await?;
    let view = api.catalog().node_view(&name);
    let own = view
        .entries
        .as_ref()
        .and_then(|node| own_service::instance(api.here().node, &node.node, &options.namespace));
    let of_namespace = |instance: &&Arc<InstanceEntry>| instance.value().namespace == options.namespace;
    let answer = view.entries.as_ref().map(|node| {
        let here = own.iter().chain(&node.instances).filter(of_namespace);
        let services =
            options.filter.apply(here.map(|instance| ServiceJson::of(instance, api.here())).collect())?;
        let services: BTreeMap<_, _> = services.into_iter().map(|service| (service.id(), service)).collect();
        Ok::<_, Refusal>(NodeServices { node: Some(NodeJson::of(&node.node, api.here())), services })
    });
    read(&options, view.index, &answer.transpose()?)
}

/// `catalog/node-services/:node`: a node and its instances as a list.
pub(super) async fn node_services(api: Arc<ConsulApi>, mut request: Request) -> Answer {
    let options = api.options(&request)?;
    let name = named(&request, "Missing node name")?;
    api.wait(&mut request, &options, &Topic::node(&name)).await?;
    let view = api.catalog().node_view(&name);
    let own = view
        .entries
        .as_ref()
        .and_then(|node| own_service::instance(api.here().node, &node.node, &options.namespace));
    let instances = view.entries.iter().flat_map(|node| &node.instances);
    let services: Vec<ServiceJson<'_>> = own
        .iter()
        .chain(instances)
        .filter(|instance| instance.value().namespace == options.namespace)
        .map(|instance| ServiceJson::of(instance, api.here()))
        .collect();
    let node = view.entries.as_ref().map(|node| NodeJson::of(&node.node, api.here()));
    read(&options, view.index, &NodeServices { node, services: options.filter.apply(services)? })
}
