//! Carrying prepared queries out, over HTTP and for DNS.

use std::sync::Arc;

use rand::Rng;
use rand::seq::SliceRandom;
use serde::Serialize;
use weir_control::Control;
use weir_control::catalog::{ServiceMember, Topic};
use weir_control::records::RecordEntry;
use weir_model::Revision;

use super::definition::{Definition, Dns, QueryJson};
use super::{alias, choose, not_found, table, template};
use crate::consul::answer::{Answer, read};
use crate::consul::near::Nearness;
use crate::consul::options::{Consistency, ReadOptions, switch};
use crate::consul::refusal::Refusal;
use crate::consul::views::HealthJson;
use crate::consul::{ConsulApi, own_service};
use crate::dns::Prepared;
use crate::http::Request;

/// Longest name that is looked for, in bytes.
const ASKED_BYTES_MAX: usize = 1024;

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Executed<'a> {
    service: &'a str,
    nodes: Vec<HealthJson<'a>>,
    #[serde(rename = "DNS")]
    dns: &'a Dns,
    datacenter: &'a str,
    /// How many other datacenters were asked: there are none.
    failovers: u32,
    index: Revision,
    last_contact: u32,
    known_leader: bool,
}

/// `query/:name/execute`.
pub(super) async fn execute(api: &ConsulApi, request: &Request, name: &str) -> Answer {
    let options = fresh(api, request).await?;
    if switch(&request.query, "connect")? {
        return Err(Refusal::bad("connect: not supported, sidecars are found by the service itself"));
    }
    let limit = match request.query.get_filled("limit") {
        None => 0,
        Some(text) => text.parse().map_err(|_| Refusal::bad("Invalid limit"))?,
    };
    let Some((_, definition)) = find(&api.control, name) else {
        return Ok(not_found(&options, api.catalog().index(&Topic::Table(table()))));
    };
    let service = &definition.service;
    let near = request.query.get_filled("near").unwrap_or(&service.near);
    let nearness = Nearness::of(&api.control, near, Some(request.peer.ip()));
    let (index, mut members) = members(&api.control, &definition, nearness.as_ref(), &mut rand::rng());
    if limit > 0 {
        members.truncate(limit);
    }
    let executed = Executed {
        service: &service.service,
        nodes: members.iter().map(|member| HealthJson::of(member, api.here())).collect(),
        dns: &definition.dns,
        datacenter: api.here().datacenter,
        failovers: 0,
        index,
        last_contact: 0,
        known_leader: true,
    };
    read(&options, index, &executed)
}

/// `query/:name/explain`.
pub(super) async fn explain(api: &ConsulApi, request: &Request, name: &str) -> Answer {
    let options = fresh(api, request).await?;
    let index = api.catalog().index(&Topic::Table(table()));
    let Some((entry, definition)) = find(&api.control, name) else { return Ok(not_found(&options, index)) };
    read(&options, index, &Explained { query: QueryJson::of(&entry, &definition) })
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Explained<'a> {
    query: QueryJson<'a>,
}

/// The options of a read that never blocks.
async fn fresh(api: &ConsulApi, request: &Request) -> Result<ReadOptions, Refusal> {
    let options = api.options(request)?;
    if options.consistency == Consistency::Consistent {
        api.control.consistent().await?;
    }
    Ok(options)
}

/// The query with this id or name; failing that, what the template with the longest beginning makes of the name.
fn find(control: &Control, name: &str) -> Option<(Arc<RecordEntry>, Definition)> {
    let (catalog, table) = (control.catalog(), table());
    if let Some(entry) = catalog.record(&table.record(name)).entries {
        return Definition::stored(&entry).map(|definition| (entry, definition));
    }
    if name.len() > ASKED_BYTES_MAX {
        return None;
    }
    // From the whole name down to the template for all names.
    let ends = name.char_indices().map(|(at, _)| at).rev();
    for end in std::iter::once(name.len()).chain(ends) {
        let Some(entry) = catalog.find_record(&table, &alias(&name[..end])) else { continue };
        let definition = Definition::stored(&entry)?;
        if definition.is_template() {
            let rendered = template::render(&definition, name)?;
            return Some((entry, rendered));
        }
        if end == name.len() {
            return Some((entry, definition));
        }
    }
    None
}

/// The instances that a query takes, with the index of what they were taken from: in an order by chance, or the nearest
/// first.
fn members<R: Rng + ?Sized>(
    control: &Control,
    definition: &Definition,
    nearness: Option<&Nearness<'_>>,
    rng: &mut R,
) -> (Revision, Vec<ServiceMember>) {
    let service = &definition.service;
    let mut view = control.catalog().view_in_any_case(service.namespace(), &service.service);
    if view.entries.is_empty() && service.service.eq_ignore_ascii_case(own_service::NAME) {
        view.entries =
            own_service::members(control.catalog(), &control.settings().node_name, service.namespace());
    }
    let mut members = view.entries;
    members.retain(|member| choose::takes(service, member));
    members.shuffle(rng);
    if let Some(nearness) = nearness {
        nearness.sort(&mut members, |member| &member.node.node.value.name);
    }
    (view.index, members)
}

/// What the query with this name says to DNS, if there is one.
pub(crate) fn for_dns<R: Rng + ?Sized>(control: &Control, name: &str, rng: &mut R) -> Option<Prepared> {
    let (_, definition) = find(control, name)?;
    let nearness = Nearness::of(control, &definition.service.near, None);
    let (_, members) = members(control, &definition, nearness.as_ref(), rng);
    let is_ordered = nearness.is_some();
    Some(Prepared { members, is_ordered, ttl: definition.ttl(), service: definition.service.service })
}

/// Whether there are queries whose names end in this one, behind a dot.
pub(crate) fn are_below(control: &Control, name: &str) -> bool {
    let end = format!(".{}", name.to_lowercase());
    let entries = control.catalog().table_view(&table()).entries;
    entries.iter().any(|entry| entry.value.alias.as_ref().is_some_and(|alias| alias.ends_with(&end)))
}
