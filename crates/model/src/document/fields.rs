//! Fields that manifests carry and Weir's types do not have.
//!
//! Two sorts, told apart with care: what has no meaning here (it is listed as ignored) and what has one that Weir
//! does not act on yet (it is refused, because dropping it silently would change what the document does).

use super::decode::Fault;
use super::node::{Node, Place, Value, push_index, push_key, shortened};
use super::{ERRORS_MAX, Ignored};
use crate::resource::Kind;

/// What happens to a field.
#[derive(Clone, Copy)]
enum Treat {
    /// It has no meaning here, for this reason.
    Ignore(&'static str),
    /// It has a meaning, and is not supported yet.
    NotYet,
    /// It is fine, but this value of it is not supported yet.
    NotYetValue(&'static str),
    /// A list of kinds of route, of which only `HTTPRoute` is there yet.
    RouteKinds,
}

use Treat::{Ignore, NotYet, NotYetValue, RouteKinds};

const KEPT_BY_KUBERNETES: &str = "kept by Kubernetes about its own copy";
const OBJECTS_OF_KUBERNETES: &str = "concerns objects that Kubernetes would create";
const RETRY_IS_ELSEWHERE: &str = "; retries are set by `retry` of a TrafficPolicy";

/// Fields of documents of every kind.
const COMMON: &[(&str, Treat)] = &[
    ("status", Ignore("written by the system, not by people")),
    ("metadata.uid", Ignore(KEPT_BY_KUBERNETES)),
    ("metadata.resourceVersion", Ignore(KEPT_BY_KUBERNETES)),
    ("metadata.generation", Ignore(KEPT_BY_KUBERNETES)),
    ("metadata.creationTimestamp", Ignore(KEPT_BY_KUBERNETES)),
    ("metadata.deletionTimestamp", Ignore(KEPT_BY_KUBERNETES)),
    ("metadata.deletionGracePeriodSeconds", Ignore(KEPT_BY_KUBERNETES)),
    ("metadata.managedFields", Ignore(KEPT_BY_KUBERNETES)),
    ("metadata.ownerReferences", Ignore(KEPT_BY_KUBERNETES)),
    ("metadata.finalizers", Ignore(KEPT_BY_KUBERNETES)),
    ("metadata.selfLink", Ignore(KEPT_BY_KUBERNETES)),
];

/// Fields of `Gateway` (Gateway API v1.4, experimental channel included).
const GATEWAY: &[(&str, Treat)] = &[
    ("spec.infrastructure", Ignore(OBJECTS_OF_KUBERNETES)),
    ("spec.allowedListeners", NotYet),
    ("spec.defaultScope", NotYet),
    ("spec.backendTLS", NotYet),
    ("spec.tls", NotYet),
    ("spec.listeners[].tls.options", NotYet),
    ("spec.listeners[].tls.frontendValidation", NotYet),
    ("spec.listeners[].allowedRoutes.kinds", RouteKinds),
    ("spec.listeners[].allowedRoutes.namespaces.selector", NotYet),
    ("spec.listeners[].allowedRoutes.namespaces.from", NotYetValue("Selector")),
    ("spec.listeners[].allowedRoutes.namespaces.from", NotYetValue("None")),
    ("spec.listeners[].protocol", NotYetValue("UDP")),
];

/// Fields of `HTTPRoute` (Gateway API v1.4, experimental channel included).
const HTTP_ROUTE: &[(&str, Treat)] = &[
    ("spec.useDefaultGateways", NotYet),
    ("spec.rules[].filters", NotYet),
    ("spec.rules[].retry", NotYet),
    ("spec.rules[].sessionPersistence", NotYet),
    ("spec.rules[].backendRefs[].filters", NotYet),
    ("spec.rules[].matches[].path.type", NotYetValue("RegularExpression")),
    ("spec.rules[].matches[].headers[].type", NotYetValue("RegularExpression")),
    ("spec.rules[].matches[].queryParams[].type", NotYetValue("RegularExpression")),
];

/// Fields of `TrafficPolicy` that the design has and the code has not.
const TRAFFIC_POLICY: &[(&str, Treat)] = &[
    ("spec.breaker", NotYet),
    ("spec.outlier", NotYet),
    ("spec.hedging", NotYet),
    ("spec.slowStart", NotYet),
    ("spec.locality", NotYet),
    ("spec.fallback", NotYet),
    ("spec.connectionPool", NotYet),
    ("spec.retry.budget", NotYet),
    ("spec.retry.statuses", NotYet),
    ("spec.balance.policy", NotYetValue("least_connections")),
    ("spec.balance.policy", NotYetValue("peak_ewma")),
    ("spec.balance.policy", NotYetValue("prequal")),
    ("spec.balance.policy", NotYetValue("ring_hash")),
    ("spec.balance.policy", NotYetValue("maglev")),
];

/// Takes the fields without meaning out of a document, and finds those that are not supported yet.
pub(super) fn set_aside(kind: Kind, root: &mut Node, faults: &mut Vec<Fault>) -> Vec<Ignored> {
    let own = match kind {
        Kind::Gateway => GATEWAY,
        Kind::HttpRoute => HTTP_ROUTE,
        Kind::TrafficPolicy => TRAFFIC_POLICY,
        Kind::Service | Kind::Certificate => &[],
    };
    let mut walk = Walk { ignored: Vec::new(), faults, path: String::new() };
    for (pattern, treat) in COMMON.iter().chain(own) {
        walk.step(root, pattern, *treat);
    }
    walk.ignored.sort_by_key(|ignored| ignored.line);
    walk.ignored
}

struct Walk<'a> {
    ignored: Vec<Ignored>,
    faults: &'a mut Vec<Fault>,
    path: String,
}

impl Walk<'_> {
    /// Follows a pattern (`spec.rules[].filters`) down the tree; treats what it leads to.
    fn step(&mut self, node: &mut Node, pattern: &str, treat: Treat) {
        let length = self.path.len();
        if let Some(rest) = pattern.strip_prefix("[]") {
            if let Value::List(items) = &mut node.value {
                for (index, item) in items.iter_mut().enumerate() {
                    push_index(&mut self.path, index);
                    self.step(item, rest.trim_start_matches('.'), treat);
                    self.path.truncate(length);
                }
            }
            return;
        }
        let end = pattern.find(['.', '[']).unwrap_or(pattern.len());
        let (key, rest) = (&pattern[..end], pattern[end..].trim_start_matches('.'));
        push_key(&mut self.path, key);
        if rest.is_empty() {
            self.treat(node, key, treat);
        } else if let Value::Map(entries) = &mut node.value
            && let Some(entry) = entries.iter_mut().find(|entry| entry.key == key)
        {
            self.step(&mut entry.node, rest, treat);
        }
        self.path.truncate(length);
    }

    fn treat(&mut self, parent: &mut Node, key: &str, treat: Treat) {
        if let NotYetValue(value) = treat {
            if let Some(entry) = parent.entry(key).filter(|entry| entry.node.text() == Some(value)) {
                let place = entry.node.place;
                self.fault(place, format!("`{value}` is not supported yet"));
            }
            return;
        }
        let Some(entry) = parent.take(key) else { return };
        let why = match treat {
            Ignore(why) => why,
            RouteKinds if only_http_routes(&entry.node) => "HTTPRoute is the only kind of route there is yet",
            // An empty one asks for nothing.
            _ if entry.node.is_void() => return,
            _ => {
                let hint = if key == "retry" { RETRY_IS_ELSEWHERE } else { "" };
                return self.fault(entry.place, format!("`{}` is not supported yet{hint}", shortened(key)));
            }
        };
        self.ignored.push(Ignored { path: self.path.clone(), line: entry.place.line, why: why.to_owned() });
    }

    fn fault(&mut self, place: Place, message: String) {
        if self.faults.len() >= ERRORS_MAX {
            return;
        }
        self.faults.push(Fault { place: Some(place), path: self.path.clone(), message, ..Fault::default() });
    }
}

fn only_http_routes(node: &Node) -> bool {
    match &node.value {
        Value::List(items) => {
            items.iter().all(|item| item.get("kind").and_then(Node::text) == Some("HTTPRoute"))
        }
        _ => false,
    }
}
