//! `/v1/event`: small messages to whoever listens. They are kept in a ring in the store, so every replica shows the same.
//!
//! Clients that wait do not take `X-Consul-Index` for the last index but work it out from the id of the last event they
//! saw, by joining its halves with an exclusive or. So ids are made such that this gives the event's place in the order of
//! all events: it grows, and is small enough for clients that count in floating point.

use std::cell::LazyCell;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::StatusCode;
use regex::Regex;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;
use weir_control::catalog::{NodeView, Topic};
use weir_control::ids;
use weir_control::records::{RecordEntry, TableRef};
use weir_model::DEFAULT_NAMESPACE;
use weir_model::registry::Instance;

use super::ConsulApi;
use super::answer::{Answer, json, read};
use super::health::named;
use super::options::check_place;
use super::pattern::{self, Patterns};
use super::refusal::Refusal;
use crate::http::Request;

/// Events that are kept.
const EVENTS_MAX: u64 = 256;
/// Largest event, name and payload together, in bytes.
pub(super) const EVENT_BYTES_MAX: usize = 512;
/// The index of an answer without events. That of the first event is the next.
const INDEX_OF_NONE: u64 = 1;
/// The version of the events' form.
const VERSION: u32 = 1;

fn table() -> TableRef {
    TableRef::new(DEFAULT_NAMESPACE, "events")
}

/// An event, stored as it is shown.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Event {
    #[serde(rename = "ID")]
    id: String,
    name: String,
    /// In base64; absent if it is empty.
    payload: Option<String>,
    node_filter: String,
    service_filter: String,
    tag_filter: String,
    version: u32,
    /// Its place in the order of all events.
    #[serde(rename = "LTime")]
    time: u64,
}

impl Event {
    fn is_for_all(&self) -> bool {
        self.node_filter.is_empty() && self.service_filter.is_empty()
    }
}

/// The id of the event with this index: a UUID whose halves, joined by an exclusive or, give the index.
fn id_of(index: u64, random: u64) -> String {
    // The bits that say what a UUID is are fixed in both halves: the variant in the second, and the version in the first,
    // which the same bits of the second must then make up for.
    let second = random & !(0xc000 << 48) | (0x8000 << 48);
    let second = second & !0xf000 | ((0x4000 ^ index) & 0xf000);
    ids::uuid_of(u128::from(index ^ second) << 64 | u128::from(second))
}

/// Says that an event is too large, as Consul says it.
pub(super) fn too_large(_: Option<u64>, _: usize) -> String {
    format!("user event exceeds configured limit of {EVENT_BYTES_MAX} bytes before encoding")
}

/// `event/fire/:name`, with `node`, `service` and `tag`.
pub(super) async fn fire(api: Arc<ConsulApi>, request: Request) -> Answer {
    check_place(&request.query, api.here().datacenter)?;
    let name = named(&request, "Missing name")?;
    if name.len() + request.body.len() > EVENT_BYTES_MAX {
        let message = too_large(None, EVENT_BYTES_MAX);
        return Err(Refusal { status: StatusCode::PAYLOAD_TOO_LARGE, message });
    }
    let filter = |name: &str| {
        let text = request.query.get(name).unwrap_or_default();
        match pattern::compile(text) {
            Ok(_) => Ok(text.to_owned()),
            Err(error) => Err(Refusal::bad(format!("Invalid {name} filter: {error}"))),
        }
    };
    let event = Event {
        id: String::new(),
        name,
        payload: (!request.body.is_empty()).then(|| STANDARD.encode(&request.body)),
        node_filter: filter("node")?,
        service_filter: filter("service")?,
        tag_filter: filter("tag")?,
        version: VERSION,
        time: 0,
    };
    if !event.tag_filter.is_empty() && event.service_filter.is_empty() {
        return Err(Refusal::bad("Cannot provide tag filter without service filter"));
    }
    let random: u64 = rand::random();
    let at = |number: u64| {
        let time = INDEX_OF_NONE + 1 + number;
        Event { id: id_of(time, random), time, ..event.clone() }
    };
    let content = |number: u64| serde_json::to_value(at(number)).unwrap_or_default();
    let (number, _) = api.control.append_record(&table(), EVENTS_MAX, content).await?;
    // Whoever fires learns the id; when it was is known to those who list.
    json(request.query.has("pretty"), &Event { time: 0, ..at(number) })
}

/// `event/list`, with `name`: the events that are for this server's own node, or for the one that `node` names.
pub(super) async fn list(api: Arc<ConsulApi>, mut request: Request) -> Answer {
    let mut options = api.options(&request)?;
    let name = request.query.get_filled("name").map(str::to_owned);
    let node = request.query.get_filled("node").unwrap_or(api.here().node).to_owned();
    let asked = std::mem::take(&mut options.index);
    let deadline = Instant::now() + options.wait;
    loop {
        api.wait(&mut request, &options, &Topic::Table(table())).await?;
        let view = api.catalog().table_view(&table());
        let events = wanted(&api, &view.entries, name.as_deref(), &node);
        let index = events.last().map_or(INDEX_OF_NONE, |event| event.time);
        let left = deadline.saturating_duration_since(Instant::now());
        // Not only a later one: another index is that of another history.
        if asked != index || left.is_zero() || *request.closing.borrow() {
            return read(&options, index, &options.filter.apply(events)?);
        }
        (options.index, options.wait) = (view.index, left);
    }
}

/// The events of that name that are for a node, oldest first.
fn wanted(api: &ConsulApi, entries: &[Arc<RecordEntry>], name: Option<&str>, node: &str) -> Vec<Event> {
    let read = |entry: &Arc<RecordEntry>| serde_json::from_value(entry.value.content.clone()).ok();
    let mut events: Vec<Event> = entries.iter().filter_map(read).collect();
    // All that runs on a node may be much, and few events ask for it.
    let view = LazyCell::new(|| api.catalog().node_view(node).entries);
    let is_wanted = |event: &Event| {
        name.is_none_or(|name| event.name == name)
            && (event.is_for_all() || is_for(event, view.as_ref(), &api.patterns))
    };
    events.retain(is_wanted);
    events.sort_by_key(|event| event.time);
    events
}

/// Whether an event is for a node: its name matches, and a service on it does, with a tag that does if one is asked for.
fn is_for(event: &Event, node: Option<&NodeView>, patterns: &Patterns) -> bool {
    // What was stored was compiled before; whatever cannot be any more matches nothing.
    let pattern = |text: &str| (!text.is_empty()).then(|| patterns.get(text));
    let matches = |pattern: &Option<Option<Arc<Regex>>>, text: &str| match pattern {
        None => true,
        Some(regex) => regex.as_ref().is_some_and(|regex| regex.is_match(text)),
    };
    let [name, service, tag] =
        [&event.node_filter, &event.service_filter, &event.tag_filter].map(|text| pattern(text));
    let Some(node) = node else { return false };
    let has = |instance: &Instance| {
        matches(&service, &instance.service)
            && (tag.is_none() || instance.tags.iter().any(|own| matches(&tag, own)))
    };
    matches(&name, &node.node.node.value.name)
        && (service.is_none() || node.instances.iter().any(|entry| has(entry.value())))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The index as Consul's clients work it out.
    fn index_of(id: &str) -> u64 {
        let hex: String = id.chars().filter(|c| *c != '-').collect();
        let half = |text: &str| u64::from_str_radix(text, 16).unwrap();
        half(&hex[..16]) ^ half(&hex[16..])
    }

    proptest::proptest! {
        #[test]
        fn the_index_follows_from_the_id(index: u64, random: u64) {
            let id = id_of(index, random);
            proptest::prop_assert_eq!(index_of(&id), index);
            proptest::prop_assert!(id.as_bytes()[14] == b'4' && b"89ab".contains(&id.as_bytes()[19]), "{}", id);
        }
    }
}
