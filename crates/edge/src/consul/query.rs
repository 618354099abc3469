//! `/v1/query`: prepared queries, which are questions for a service's instances that are kept under a name.
//!
//! ```text
//! name or id -> stored definition (or what a template makes of the name) -> instances that it takes -> order -> limit
//! ```

mod choose;
mod definition;
mod execute;
mod template;

use std::sync::Arc;

use http::StatusCode;
use serde::Serialize;
use weir_control::catalog::Topic;
use weir_control::records::{Record, TableRef, When};
use weir_control::{Error, ids};
use weir_model::{DEFAULT_NAMESPACE, Revision};

use self::definition::{Definition, QueryJson};
pub(crate) use self::execute::{are_below, for_dns};
use super::ConsulApi;
use super::answer::{Answer, describe, done, json, read};
use super::decode::{self, Fields};
use super::options::{ReadOptions, check_datacenter, check_place};
use super::refusal::Refusal;
use crate::http::{Request, Response};

const EXECUTE: &str = "/execute";
const EXPLAIN: &str = "/explain";

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
        execute::execute(&api, &request, name).await
    } else if let Some(name) = rest.strip_suffix(EXPLAIN) {
        execute::explain(&api, &request, name).await
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
