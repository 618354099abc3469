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
    /// It has a meaning that Weir will never give it, for this reason.
    Refuse(&'static str),
    /// The same for one value.
    RefuseValue(&'static str, &'static str),
    /// It is called this, below `spec`.
    Elsewhere(&'static str),
}

use Treat::{Elsewhere, Ignore, NotYet, NotYetValue, Refuse, RefuseValue};

const KEPT_BY_KUBERNETES: &str = "kept by Kubernetes about its own copy";
const OBJECTS_OF_KUBERNETES: &str = "concerns objects that Kubernetes would create";
const NO_EXTENSIONS: &str = "Weir has no extensions to refer to: its filters are written in place, with `type` \
                             RequestHeaderModifier, ResponseHeaderModifier, RequestRedirect, URLRewrite, RequestMirror, \
                             CORS or Fault";
const BACKEND_TLS_IS_ELSEWHERE: &str =
    "the certificate that a service is shown is set by `tls.certificateRef` of a TrafficPolicy";
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
    ("spec.backendTLS", Refuse(BACKEND_TLS_IS_ELSEWHERE)),
    ("spec.tls.backend", Refuse(BACKEND_TLS_IS_ELSEWHERE)),
    ("spec.listeners[].allowedRoutes.namespaces.selector", NotYet),
    ("spec.listeners[].allowedRoutes.namespaces.from", NotYetValue("Selector")),
    ("spec.listeners[].allowedRoutes.namespaces.from", NotYetValue("None")),
    ("spec.listeners[].protocol", NotYetValue("UDP")),
];

/// Fields of `HTTPRoute` and `GRPCRoute` (Gateway API v1.4, experimental channel included).
const HTTP_ROUTE: &[(&str, Treat)] = &[
    ("spec.useDefaultGateways", NotYet),
    ("spec.rules[].retry", NotYet),
    ("spec.rules[].sessionPersistence", NotYet),
    ("spec.rules[].filters[].type", RefuseValue("ExtensionRef", NO_EXTENSIONS)),
    ("spec.rules[].filters[].type", NotYetValue("ExternalAuth")),
    ("spec.rules[].filters[].extensionRef", Refuse("there is nothing to refer to")),
    ("spec.rules[].filters[].externalAuth", NotYet),
    ("spec.rules[].backendRefs[].filters[].type", RefuseValue("ExtensionRef", NO_EXTENSIONS)),
    ("spec.rules[].backendRefs[].filters[].type", NotYetValue("ExternalAuth")),
    ("spec.rules[].backendRefs[].filters[].extensionRef", Refuse("there is nothing to refer to")),
    ("spec.rules[].backendRefs[].filters[].externalAuth", NotYet),
];

/// Fields of `TLSRoute` and `TCPRoute`.
const STREAM_ROUTE: &[(&str, Treat)] = &[("spec.useDefaultGateways", NotYet)];

/// Names that `TrafficPolicy` has elsewhere.
const TRAFFIC_POLICY: &[(&str, Treat)] = &[
    ("spec.breaker", Elsewhere("breakers")),
    ("spec.circuitBreaker", Elsewhere("breakers")),
    ("spec.circuitBreakers", Elsewhere("breakers")),
    ("spec.hedging", Elsewhere("hedge")),
    ("spec.outlierDetection", Elsewhere("outlier")),
    ("spec.loadBalancer", Elsewhere("balance")),
    ("spec.slowStart", Elsewhere("balance.slowStart")),
    ("spec.locality", Elsewhere("balance.locality")),
    ("spec.subset", Elsewhere("balance.subset")),
    ("spec.panicThreshold", Elsewhere("balance.panicThreshold")),
    ("spec.fallback", Elsewhere("breakers[].fallback")),
    ("spec.connectionPool", Elsewhere("connection")),
    ("spec.rateLimit", Refuse("limits are documents of their own, of kind RateLimit")),
];

/// Fields of `RateLimit` that proxies do not carry out yet, which go when they are in force, and names that it has elsewhere.
const RATE_LIMIT: &[(&str, Treat)] = &[
    // Names that are written elsewhere, or otherwise: these lines stay.
    ("spec.rate", Elsewhere("rates[].requests")),
    ("spec.requests", Elsewhere("rates[].requests")),
    ("spec.per", Elsewhere("rates[].per")),
    ("spec.burst", Elsewhere("rates[].burst")),
    ("spec.concurrency", Elsewhere("concurrencyMax")),
    ("spec.queueTimeout", Elsewhere("queue.timeout")),
    ("spec.queueMax", Elsewhere("queue.max")),
    ("spec.selector", Elsewhere("targetRefs")),
];

/// Takes the fields without meaning out of a document, and finds those that are not supported yet.
pub(super) fn set_aside(kind: Kind, root: &mut Node, faults: &mut Vec<Fault>) -> Vec<Ignored> {
    let own = match kind {
        Kind::Gateway => GATEWAY,
        Kind::HttpRoute | Kind::GrpcRoute => HTTP_ROUTE,
        Kind::TlsRoute | Kind::TcpRoute => STREAM_ROUTE,
        Kind::TrafficPolicy => TRAFFIC_POLICY,
        Kind::RateLimit => RATE_LIMIT,
        Kind::Service | Kind::Certificate | Kind::ListenerPolicy => &[],
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
        if let RefuseValue(value, why) = treat {
            if let Some(entry) = parent.entry(key).filter(|entry| entry.node.text() == Some(value)) {
                let place = entry.node.place;
                self.fault(place, format!("`{value}` has no meaning here: {why}"));
            }
            return;
        }
        let Some(entry) = parent.take(key) else { return };
        let why = match treat {
            Ignore(why) => why,
            Refuse(why) => {
                return self.fault(entry.place, format!("`{}` has no meaning here: {why}", shortened(key)));
            }
            Elsewhere(name) => return self.misnamed(entry.place, name),
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
        self.add(Fault { place: Some(place), path: self.path.clone(), message, ..Fault::default() });
    }

    fn misnamed(&mut self, place: Place, name: &str) {
        self.add(Fault {
            place: Some(place),
            path: self.path.clone(),
            message: "unknown field".to_owned(),
            suggestion: Some(format!("spec.{name}")),
            ..Fault::default()
        });
    }

    fn add(&mut self, fault: Fault) {
        if self.faults.len() < ERRORS_MAX {
            self.faults.push(fault);
        }
    }
}
