//! What a read may ask for in its query: how fresh, from which index on, how long to wait, which part of the cluster.

use std::time::Duration;

use http::StatusCode;
use weir_model::{DEFAULT_NAMESPACE, Revision};

use super::decode::{DecodeError, Fields, Object};
use super::filter::Filter;
use super::refusal::Refusal;
use crate::http::{Query, Request};

/// How long a blocking query waits when it does not say.
pub(super) const WAIT_DEFAULT: Duration = Duration::from_secs(300);
/// The longest a blocking query may wait; longer waits are cut to it.
pub(super) const WAIT_MAX: Duration = Duration::from_secs(600);
/// A wait is lengthened by up to one part in so many, so that watchers do not come back all at once.
const JITTER_PARTS: u32 = 16;

/// How fresh an answer must be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Consistency {
    Default,
    Stale,
    Consistent,
}

/// The options that all reads share.
#[derive(Clone, Debug)]
pub(super) struct ReadOptions {
    pub(super) namespace: String,
    /// Answer when the index is greater than this; 0 answers at once.
    pub(super) index: Revision,
    /// How long to wait for that, jitter included.
    pub(super) wait: Duration,
    pub(super) consistency: Consistency,
    pub(super) cached: bool,
    pub(super) pretty: bool,
    pub(super) filter: Filter,
}

impl ReadOptions {
    /// Reads them from a request to a cluster of that name.
    pub(super) fn of(request: &Request, datacenter: &str) -> Result<Self, Refusal> {
        let query = &request.query;
        check_place(query, datacenter)?;
        let consistency = match (query.has("stale"), query.has("consistent")) {
            (true, true) => {
                return Err(Refusal::bad("Cannot specify ?stale with ?consistent, conflicting semantics."));
            }
            (true, false) => Consistency::Stale,
            (false, true) => Consistency::Consistent,
            (false, false) => Consistency::Default,
        };
        let cached = query.has("cached");
        if cached && consistency == Consistency::Consistent {
            return Err(Refusal::bad("Cannot specify ?cached with ?consistent, conflicting semantics."));
        }
        let index = match query.get_filled("index") {
            None => 0,
            Some(text) => text.parse().map_err(|_| Refusal::bad("Invalid index"))?,
        };
        let wait = match query.get_filled("wait") {
            None => WAIT_DEFAULT,
            Some(text) => {
                let span: weir_model::units::Span =
                    text.parse().map_err(|_| Refusal::bad("Invalid wait time"))?;
                if span.0.is_zero() { WAIT_DEFAULT } else { span.0.min(WAIT_MAX) }
            }
        };
        Ok(Self {
            namespace: namespace(query, None)?,
            index,
            wait: if index == 0 { wait } else { wait + wait.mul_f64(rand::random::<f64>()) / JITTER_PARTS },
            consistency,
            cached,
            pretty: query.has("pretty"),
            filter: Filter::of(query)?,
        })
    }
}

/// Refuses what asks for another cluster or a division that does not exist here.
pub(super) fn check_place(query: &Query, datacenter: &str) -> Result<(), Refusal> {
    check_datacenter(query.get("dc").unwrap_or(""), datacenter)?;
    match query.get_filled("partition") {
        None | Some("default") => Ok(()),
        Some(_) => Err(Refusal::bad("partition: only the default partition exists")),
    }
}

/// Refuses the name of another datacenter.
pub(super) fn check_datacenter(asked: &str, own: &str) -> Result<(), Refusal> {
    if asked.is_empty() || asked.eq_ignore_ascii_case(own) {
        return Ok(());
    }
    Err(Refusal { status: StatusCode::INTERNAL_SERVER_ERROR, message: "No path to datacenter".to_owned() })
}

/// Refuses a body that names another partition than the only one.
pub(super) fn check_body_partition<O: Object>(fields: Fields<'_, O>) -> Result<(), DecodeError> {
    match &*fields.text("Partition")? {
        "" | "default" => Ok(()),
        _ => fields.wrong("Partition", "only the default partition exists"),
    }
}

/// The namespace a request is about: `ns` in its query or, failing that, `Namespace` in its body.
pub(super) fn namespace(query: &Query, in_body: Option<&str>) -> Result<String, Refusal> {
    let body = in_body.filter(|name| !name.is_empty());
    let name = match (query.get_filled("ns"), body) {
        (Some(a), Some(b)) if a != b => {
            return Err(Refusal::bad(format!("the query names namespace {a:?}, the body {b:?}")));
        }
        (a, b) => a.or(b).unwrap_or(DEFAULT_NAMESPACE),
    };
    let label = !name.is_empty()
        && name.len() <= 63
        && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
        && !name.starts_with('-')
        && !name.ends_with('-');
    if label {
        Ok(name.to_owned())
    } else {
        Err(Refusal::bad(format!(
            "ns: {name:?} is not a namespace: expected at most 63 lower-case letters, digits and inner dashes"
        )))
    }
}

/// A switch of a query, as `passing`, `passing=true` or `passing=1`.
pub(super) fn switch(query: &Query, name: &str) -> Result<bool, Refusal> {
    match query.get(name) {
        None => Ok(false),
        Some("") => Ok(true),
        Some(value) => go_bool(value).ok_or_else(|| Refusal::bad(format!("Invalid value for ?{name}"))),
    }
}

/// True or false in the words Go knows.
pub(super) fn go_bool(text: &str) -> Option<bool> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Some(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Some(false),
        _ => None,
    }
}

/// The wanted metadata of nodes: `node-meta=key:value`, any number of times.
pub(super) fn node_meta(query: &Query) -> Vec<(&str, &str)> {
    query.all("node-meta").map(|pair| pair.split_once(':').unwrap_or((pair, ""))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn switches_read_as_go_reads_them() {
        let check = |text: &str, expect: Option<bool>| {
            let query = Query::parse(text).unwrap();
            assert_eq!(switch(&query, "passing").ok(), expect, "{text}");
        };
        check("", Some(false));
        check("passing", Some(true));
        check("passing=", Some(true));
        check("passing=1", Some(true));
        check("passing=true", Some(true));
        check("passing=false", Some(false));
        check("passing=yes", None);
    }

    #[test]
    fn namespaces_are_labels() {
        let check = |text: &str, body: Option<&str>| namespace(&Query::parse(text).unwrap(), body).ok();
        assert_eq!(check("", None).as_deref(), Some("default"));
        assert_eq!(check("ns=", Some("")).as_deref(), Some("default"));
        assert_eq!(check("ns=a", None).as_deref(), Some("a"));
        assert_eq!(check("", Some("b")).as_deref(), Some("b"));
        assert_eq!(check("ns=a", Some("b")), None);
        assert_eq!(check("ns=a/b", None), None);
        assert_eq!(check("ns=*", None), None);
    }
}
