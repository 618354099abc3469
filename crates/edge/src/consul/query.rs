//! `/v1/query`: prepared queries, which are questions for a service's instances that are kept under a name.
//!
//! ```text
//! name or id -> stored definition (or what a template makes of the name) -> instances that it takes -> order -> limit
//! ```

mod choose;
mod definition;
mod template;

use std::sync::Arc;

use http::StatusCode;
use rand::Rng;
use rand::seq::SliceRandom;
use serde::Serialize;
use weir_control::catalog::{ServiceMember, Topic};
use weir_control::records::{Record, RecordEntry, TableRef, When};
use weir_control::{Control, Error, ids};
use weir_model::{DEFAULT_NAMESPACE, Revision};

pub(super) use self::definition::Definition;
use self::definition::QueryJson;
use super::answer::{Answer, describe, done, json, read};
use super::decode::{self, Fields};
use super::near::Nearness;
use super::options::{ReadOptions, check_datacenter, check_place, switch};
use super::refusal::Refusal;
use super::views::HealthJson;
use super::{ConsulApi, own_service};
use crate::dns::Prepared;
use crate::http::{Request, Response};

const EXECUTE: &str = "/execute";
const EXPLAIN: &str = "/explain";

/// Longest name that is looked for, in bytes.
const ASKED_BYTES_MAX: usize = 1024;

/// Where they are kept: by id, and by name as their other name.
fn table() -> TableRef {
    TableRef::new(DEFAULT_NAMESPACE, "queries")
}

/// The other name of the query with this name. Names are compared without regard to case; the mark keeps them apart
/// from ids, and names the template for all names, which has none.
fn alias(name: &str) -> String {
    format!("n:{}", name.to_lowercase())
}

/// `POST query`: creates one and answers with its id.
pub(super) async fn create(api: Arc<ConsulApi>, request: Request) -> Answer {
    let (definition, session, id) = body(&api, &request)?;
    if !id.is_empty() {
        return Err(Refusal::bad("ID must be empty when creating a new prepared query"));
    }
    let id = ids::uuid();
    put(&api, &id, &definition, session, When::At(0)).await?;
    json(request.query.has("pretty"), &Created { id: &id })
}

#[derive(Serialize)]
struct Created<'a> {
    #[serde(rename = "ID")]
    id: &'a str,
}

/// `PUT query/:id`: replaces what is there.
pub(super) async fn update(api: Arc<ConsulApi>, request: Request) -> Answer {
    let (definition, session, _) = body(&api, &request)?;
    put(&api, id_of(&request)?, &definition, session, When::There).await?;
    done()
}

fn id_of(request: &Request) -> Result<&str, Refusal> {
    match request.rest() {
        "" => Err(Refusal::bad("Missing query ID")),
        id => Ok(id),
    }
}

fn body(api: &ConsulApi, request: &Request) -> Result<(Definition, Option<String>, String), Refusal> {
    check_place(&request.query, api.here().datacenter)?;
    let map = decode::object(&request.body)?;
    let fields = Fields::root(&map);
    check_datacenter(&fields.text("Datacenter")?, api.here().datacenter)?;
    let (definition, session) = Definition::read(fields)?;
    Ok((definition, session, fields.text("ID")?))
}

async fn put(
    api: &ConsulApi,
    id: &str,
    definition: &Definition,
    session: Option<String>,
    when: When,
) -> Result<(), Refusal> {
    let named = !definition.name.is_empty() || definition.is_template();
    let content = serde_json::to_value(definition).map_err(|error| Refusal::bad(error.to_string()))?;
    let alias = named.then(|| alias(&definition.name));
    let record = Record { name: id.to_owned(), alias, session, content };
    match api.control.put_record(&table(), &record, when).await {
        Ok(Some(_)) => Ok(()),
        // An id that was drawn is there already: as good as never.
        Ok(None) => Err(failed(format!("the ID {id} is taken; try again"))),
        Err(Error::NotFound { what }) if what.starts_with("session") => {
            Err(failed(format!("invalid session {:?}", record.session.unwrap_or_default())))
        }
        Err(Error::NotFound { .. }) => Err(unknown_for_change(id)),
        Err(Error::Refused { .. }) => Err(Refusal {
            status: StatusCode::CONFLICT,
            message: format!("name '{}' aliases an existing query name", definition.name),
        }),
        Err(error) => Err(error.into()),
    }
}

fn failed(message: String) -> Refusal {
    Refusal { status: StatusCode::INTERNAL_SERVER_ERROR, message }
}

fn unknown_for_change(id: &str) -> Refusal {
    Refusal::not_found(format!("Cannot modify non-existent prepared query: '{id}'"))
}

/// `DELETE query/:id`.
pub(super) async fn delete(api: Arc<ConsulApi>, request: Request) -> Answer {
    check_place(&request.query, api.here().datacenter)?;
    let id = id_of(&request)?;
    match api.control.delete_record(&table(), id, None).await? {
        Some(committed) if committed.changed => done(),
        _ => Err(unknown_for_change(id)),
    }
}

/// `GET query`: all of them.
pub(super) async fn list(api: Arc<ConsulApi>, mut request: Request) -> Answer {
    let options = api.options(&request)?;
    api.wait(&mut request, &options, &Topic::Table(table())).await?;
    let view = api.catalog().table_view(&table());
    let queries: Vec<_> =
        view.entries.iter().filter_map(|entry| Some((entry, Definition::stored(entry)?))).collect();
    let queries: Vec<_> =
        queries.iter().map(|(entry, definition)| QueryJson::of(entry, definition)).collect();
    read(&options, view.index, &options.filter.apply(queries)?)
}

/// `GET query/:id`, `query/:name/execute` and `query/:name/explain`.
pub(super) async fn get(api: Arc<ConsulApi>, request: Request) -> Answer {
    let rest = request.rest().to_owned();
    if let Some(name) = rest.strip_suffix(EXECUTE) {
        execute(&api, &request, name).await
    } else if let Some(name) = rest.strip_suffix(EXPLAIN) {
        explain(&api, &request, name).await
    } else {
        one(&api, request, &rest).await
    }
}

async fn one(api: &ConsulApi, mut request: Request, id: &str) -> Answer {
    let options = api.options(&request)?;
    id_of(&request)?;
    let record = table().record(id);
    api.wait(&mut request, &options, &Topic::Record(record.clone())).await?;
    let view = api.catalog().record(&record);
    match view.entries.as_deref().and_then(|entry| Some((entry, Definition::stored(entry)?))) {
        Some((entry, definition)) => read(&options, view.index, &[QueryJson::of(entry, &definition)]),
        None => Ok(not_found(&options, view.index)),
    }
}

fn not_found(options: &ReadOptions, index: Revision) -> Response {
    let mut response = Response::text(StatusCode::NOT_FOUND, "Query not found");
    describe(&mut response.headers, options, index);
    response
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Executed<'a> {
    service: &'a str,
    nodes: Vec<HealthJson<'a>>,
    #[serde(rename = "DNS")]
    dns: &'a definition::Dns,
    datacenter: &'a str,
    /// How many other datacenters were asked: there are none.
    failovers: u32,
    index: Revision,
    last_contact: u32,
    known_leader: bool,
}

async fn execute(api: &ConsulApi, request: &Request, name: &str) -> Answer {
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

async fn explain(api: &ConsulApi, request: &Request, name: &str) -> Answer {
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
    if options.consistency == super::Consistency::Consistent {
        api.control.consistent().await?;
    }
    Ok(options)
}

/// The query with this id or name; failing that, what the template with the longest beginning makes of the name.
pub(super) fn find(control: &Control, name: &str) -> Option<(Arc<RecordEntry>, Definition)> {
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
    let mut view = control.catalog().service_view(service.namespace(), &service.service);
    if view.entries.is_empty() && service.service == own_service::NAME {
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
