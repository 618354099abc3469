//! `/v1/config`: config entries. They are read, judged, kept and shown; how they route is for `super::chain`.

mod judge;
mod kinds;
mod shape;

use std::sync::Arc;

use http::StatusCode;
use http::header::{HeaderName, HeaderValue};
use serde_json::{Map, Value, json};
use weir_control::catalog::{Moment, Topic};
use weir_control::records::{Fit, Record, RecordEntry, TableRef, When};
use weir_model::{ServiceRef, names};

use self::kinds::Kind;
use super::answer::{Answer, describe, json as answer_json, read};
use super::decode::{self, Fields};
use super::options::{check_datacenter, check_place, namespace};
use super::refusal::Refusal;
use super::{ConsulApi, chain};
use crate::http::{Query, Request, Response};

/// The only name that the defaults of all proxies have.
const GLOBAL: &str = "global";

/// Names the fields of an entry that was put that count for nothing.
const IGNORED: HeaderName = HeaderName::from_static("x-weir-ignored");
/// Says what an entry that was put does not achieve as things stand.
const HINTS: HeaderName = HeaderName::from_static("x-weir-hints");
/// The longest list of either that is sent.
const LIST_BYTES_MAX: usize = 4096;

fn table(namespace: &str, kind: &Kind) -> TableRef {
    TableRef::new(namespace, format!("{}{}", chain::TABLES, kind.name))
}

/// `PUT config`, with `cas`: whether it was put.
pub(super) async fn put(api: Arc<ConsulApi>, request: Request) -> Answer {
    check_place(&request.query, api.here().datacenter)?;
    let map = decode::object(&request.body)?;
    let fields = Fields::root(&map);
    check_datacenter(&fields.text("Datacenter")?, api.here().datacenter)?;
    let kind = kinds::named(&fields.text("Kind")?)?;
    let name = entry_name(kind, &fields.text("Name")?)?;
    let namespace = namespace(&request.query, Some(&fields.text("Namespace")?))?;
    let mut content = shape::read(&map, kind.fields)?;
    kind.normalize(&mut content);
    (kind.judge)(&name, &content)?;
    chain::judge(kind.name, &namespace, &name, &content, api.here().datacenter)?;
    let ignored = chain::ignored_fields(kind.name, &content, api.here().datacenter);
    let when = cas(&request.query)?.map_or(When::Always, When::At);
    let service = ServiceRef::new(&*namespace, &*name);
    let record = Record { name, content: Value::Object(content), ..Record::default() };
    let (head, judge) = (chain::head(), judge(&api, kind, service.clone(), Some(&record.content)));
    let fit = Some(Fit { head: &head, judge: &judge });
    let table = table(&namespace, kind);
    let committed = api.control.put_fitting_record(&table, &record, when, fit).await.map_err(refused)?;
    let mut response = answer_json(false, &committed.is_some())?;
    if !ignored.is_empty() {
        response.headers.insert(IGNORED, in_header(&ignored.join(", ")));
    }
    if committed.is_some() {
        let hints = hints(&api, kind, &service, &record.content);
        if !hints.is_empty() {
            response.headers.insert(HINTS, in_header(&hints.join(", ")));
        }
    }
    Ok(response)
}

/// What an entry that was put does not achieve as things stand.
fn hints(api: &ConsulApi, kind: &Kind, service: &ServiceRef, content: &Value) -> Vec<String> {
    let settings = api.control.settings();
    api.catalog().read(|moment| {
        let effective = api.effective.at(moment, settings);
        let datacenter = &settings.datacenter;
        let mut hints = chain::hints::of_protocols(moment, &effective, kind.name, service, datacenter);
        if kind.name == kinds::SERVICE_RESOLVER {
            hints.extend(chain::hints::of_resolver(moment, settings, service, content));
        }
        hints.extend(chain::hints::of_targets(moment, &effective, kind.name, service, content, datacenter));
        hints
    })
}

/// Says why an entry must not be put, or deleted, as things stand.
fn judge<'a>(
    api: &'a ConsulApi,
    kind: &'a Kind,
    service: ServiceRef,
    content: Option<&'a Value>,
) -> impl Fn(&Moment<'_>) -> Result<(), String> + Send + Sync + 'a {
    move |moment| {
        let settings = api.control.settings();
        let effective = api.effective.at(moment, settings);
        chain::judge_among(&effective, kind.name, &service, content, &settings.datacenter)
    }
}

/// Entries that do not fit are the client's doing, as malformed ones are.
fn refused(error: weir_control::Error) -> Refusal {
    match error {
        weir_control::Error::Refused { reason } => Refusal::bad(reason),
        other => other.into(),
    }
}

/// A text as a field of a head takes it: within bounds, what is not plain as `?`.
fn in_header(text: &str) -> HeaderValue {
    let plain = |c: char| if c == ' ' || c.is_ascii_graphic() { c } else { '?' };
    let text: String = text.chars().take(LIST_BYTES_MAX).map(plain).collect();
    HeaderValue::from_str(&text).unwrap_or(HeaderValue::from_static("?"))
}

fn entry_name(kind: &Kind, name: &str) -> Result<String, Refusal> {
    if kind.name == kinds::PROXY_DEFAULTS {
        return match name {
            "" | GLOBAL => Ok(GLOBAL.to_owned()),
            other => Err(Refusal::bad(format!("invalid name ({other:?}), only {GLOBAL:?} is supported"))),
        };
    }
    if kind.name == kinds::SERVICE_INTENTIONS && name == "*" {
        return Ok(name.to_owned());
    }
    match names::registered(name) {
        _ if name.is_empty() => Err(Refusal::bad("Name is required")),
        Ok(()) => Ok(name.to_owned()),
        Err(bad) => Err(Refusal::bad(format!("Name: {bad}; expected {}", bad.expected))),
    }
}

fn cas(query: &Query) -> Result<Option<u64>, Refusal> {
    let number = |text: &str| {
        text.parse().map_err(|_| {
            Refusal::bad(format!("Invalid value for ?cas: {text:?}, expected a number, at least 0"))
        })
    };
    query.get("cas").map(number).transpose()
}

/// `GET config/:kind` and `config/:kind/:name`.
pub(super) async fn get(api: Arc<ConsulApi>, mut request: Request) -> Answer {
    let options = api.options(&request)?;
    let (kind, name) = target(&request)?;
    let table = table(&options.namespace, kind);
    let Some(name) = name else {
        api.wait(&mut request, &options, &Topic::Table(table.clone())).await?;
        let view = api.catalog().table_view(&table);
        let entries = view.entries.iter().map(|entry| shown(kind, &options.namespace, entry)).collect();
        return read(&options, view.index, &options.filter.apply::<Value>(entries)?);
    };
    let record = table.record(&*name);
    api.wait(&mut request, &options, &Topic::Record(record.clone())).await?;
    let view = api.catalog().record(&record);
    let Some(entry) = view.entries else {
        let message = format!("Config entry not found for {:?} / {name:?}", kind.name);
        let mut response = Response::text(StatusCode::NOT_FOUND, message);
        describe(&mut response.headers, &options, view.index);
        return Ok(response);
    };
    read(&options, view.index, &shown(kind, &options.namespace, &entry))
}

/// `DELETE config/:kind/:name`, with `cas`: with it, whether it was deleted.
pub(super) async fn delete(api: Arc<ConsulApi>, request: Request) -> Answer {
    check_place(&request.query, api.here().datacenter)?;
    let namespace = namespace(&request.query, None)?;
    let (kind, name) = target(&request)?;
    let Some(name) = name else {
        return Err(Refusal::not_found("Must provide both a kind and name to delete"));
    };
    let at = cas(&request.query)?;
    let (head, judge) = (chain::head(), judge(&api, kind, ServiceRef::new(&*namespace, &*name), None));
    let fit = Some(Fit { head: &head, judge: &judge });
    let table = table(&namespace, kind);
    let done = api.control.delete_fitting_record(&table, &name, at, fit).await.map_err(refused)?;
    match at {
        Some(_) => answer_json(false, &done.is_some_and(|done| done.changed)),
        None => answer_json(false, &json!({})),
    }
}

fn target(request: &Request) -> Result<(&'static Kind, Option<String>), Refusal> {
    let (kind, name) = request.rest().split_once('/').unwrap_or((request.rest(), ""));
    let name = Some(name).filter(|name| !name.is_empty());
    Ok((kinds::named(kind)?, name.map(str::to_owned)))
}

fn shown(kind: &Kind, namespace: &str, entry: &RecordEntry) -> Value {
    let mut map = Map::new();
    map.insert("Kind".to_owned(), kind.name.into());
    map.insert("Name".to_owned(), (*entry.value.name).into());
    if namespace != weir_model::DEFAULT_NAMESPACE {
        map.insert("Namespace".to_owned(), namespace.into());
    }
    if let Value::Object(content) = &entry.value.content {
        map.extend(content.clone());
    }
    map.insert("CreateIndex".to_owned(), entry.create_revision.into());
    map.insert("ModifyIndex".to_owned(), entry.modify_revision.into());
    Value::Object(map)
}
