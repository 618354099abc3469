//! From a service's router, splitter and resolver to the route whose parent it is.

use weir_api::snapshot::MADE_OF;
use weir_model::resource::filter::Filter;
use weir_model::resource::http_route::{HttpRouteRule, RouteTimeouts, RuleOrder};
use weir_model::resource::route::{BackendRef, ParentRef};
use weir_model::resource::stream_route::StreamRouteRule;
use weir_model::resource::{HttpRouteSpec, Metadata, Protocol, TcpRouteSpec};
use weir_model::{Resource, ServiceRef, Spec, names};

use super::entries::Route;
use super::resolve::{Share, Shares, Target, add_way, named};
use super::{Ignored, Making, UNFIT, entry_name, http, id_of, protocols, size};

/// Backends of all rules of one route that was made, but for one of each rule, which there always is room for.
const BACKENDS_MAX: usize = 16_384;
/// Names and values of header fields that the shares of all rules of one route change.
const SHARES_BYTES_MAX: usize = 1 << 20;
/// The longest route that is made, as text.
const DOCUMENT_BYTES_MAX: usize = 4 << 20;
/// The longest name of a service that stands in a document's as it is, so that something may stand before and behind it.
const PLAIN_BYTES_MAX: usize = 128;
/// Digits of the beginning of a name that is written shorter.
const HEAD_DIGITS: usize = 24;
/// The weight of all requests together.
pub(super) const WEIGHT: f64 = 1_000_000.0;

impl Making<'_> {
    /// Makes the route of a service, if it goes anywhere but to itself.
    pub(super) fn route(&mut self, service: &ServiceRef) {
        let Some(entry) = self.router_of(service) else { return };
        // Those of other namespaces are for who calls from there.
        let mut declared = self.documents.routes_of(&id_of(service)).iter();
        if let Some(declared) = declared.find(|id| id.namespace == service.namespace) {
            return self
                .ignore(&entry, format!("the document {declared} says where calls of the service go"));
        }
        let protocol = protocols::stated(self.entries, self.documents, service);
        if protocol != Some(Protocol::Tcp) {
            match self.requests(&entry, service) {
                Ok((spec, ways)) => {
                    let metadata = metadata(&entry, service);
                    let route = Resource { metadata, spec: Spec::HttpRoute(spec) };
                    self.ways.insert(route.id(), ways);
                    self.add(&entry, route);
                }
                Err(reason) => return self.ignore(&entry, reason),
            }
        } else if !entry.starts_with("service-resolver/") {
            self.ignore(&entry, "the service speaks tcp: only what its resolver says counts");
        }
        // What instances say is not known here: those that speak tcp are called by this one.
        if matches!(protocol, None | Some(Protocol::Tcp)) {
            self.connections(&entry, service);
        }
    }

    /// The entry that decides where calls of a service go; none if it is the service itself.
    fn router_of(&mut self, service: &ServiceRef) -> Option<String> {
        let kind = if self.entries.routers.contains_key(service) {
            "service-router"
        } else if self.entries.splitters.contains_key(service) {
            "service-splitter"
        } else {
            let target = self.resolve(service, "");
            if self.backend(&target) == *service {
                return None;
            }
            "service-resolver"
        };
        Some(entry_name(kind, service))
    }

    /// Makes the route of a service's connections, if they go anywhere but to itself.
    fn connections(&mut self, entry: &str, service: &ServiceRef) {
        let target = self.resolve(service, "");
        let to = self.backend(&target);
        if to == *service {
            return;
        }
        let rule = StreamRouteRule { name: None, backend_refs: vec![backend(&to, 1)] };
        let spec = TcpRouteSpec { parent_refs: vec![parent(service)], rules: vec![rule] };
        let metadata = metadata(entry, service);
        let route = Resource { metadata, spec: Spec::TcpRoute(spec) };
        self.ways.insert(route.id(), vec![self.entries.resolvers_of(&Target::all(service))]);
        self.add(entry, route);
    }

    /// The route of a service's requests, and by which entries each of its rules leads where it does.
    fn requests(
        &mut self,
        entry: &str,
        service: &ServiceRef,
    ) -> Result<(HttpRouteSpec, Vec<Vec<String>>), String> {
        self.left = Left::default();
        let mut left = DOCUMENT_BYTES_MAX;
        let router = self.entries.routers.get(service);
        let routes = router.map_or(&[][..], |router| &router.routes);
        let mut rules = Vec::with_capacity(routes.len() + 1);
        let mut ways = Vec::with_capacity(routes.len() + 1);
        let mut way = |made: Vec<String>| {
            let mut way: Vec<String> = router.iter().map(|_| entry.to_owned()).collect();
            add_way(&mut way, made);
            ways.push(way);
        };
        self.way.clear();
        for (at, route) in routes.iter().enumerate() {
            let rule = self.rule(service, at, route);
            let over = || format!("{UNFIT}: its route would have more than {DOCUMENT_BYTES_MAX} bytes");
            left = left.checked_sub(size(&rule)).ok_or_else(over)?;
            rules.push(rule);
            way(std::mem::take(&mut self.way));
            self.retry(entry, service, at, route);
        }
        // What no route takes goes to the service.
        rules.push(HttpRouteRule {
            backend_refs: self.backends(self.shares(service, "")),
            ..HttpRouteRule::default()
        });
        way(std::mem::take(&mut self.way));
        let spec = HttpRouteSpec {
            parent_refs: vec![parent(service)],
            rule_order: RuleOrder::Written,
            rules,
            ..HttpRouteSpec::default()
        };
        Ok((spec, ways))
    }

    fn rule(&mut self, service: &ServiceRef, at: usize, route: &Route) -> HttpRouteRule {
        let http = route.r#match.as_ref().and_then(|matched| matched.http.as_ref());
        let mut rule = HttpRouteRule {
            name: Some(rule_name(at)),
            matches: http.map(http::matches).unwrap_or_default(),
            ..HttpRouteRule::default()
        };
        let shares = match &route.destination {
            None => self.shares(service, ""),
            Some(to) => {
                rule.filters = http::with_headers(&[], &to.request_headers, &to.response_headers);
                rule.filters.extend(http::rewrite(http, &to.prefix_rewrite));
                rule.timeouts = http::span(&to.request_timeout)
                    .map(|request| RouteTimeouts { request: Some(request), backend_request: None });
                self.shares(&named(&to.namespace, &to.service, service), &to.service_subset)
            }
        };
        rule.backend_refs = self.backends(shares);
        rule
    }

    fn backends(&mut self, shares: Shares) -> Vec<BackendRef> {
        let of = |(to, share, filters): (ServiceRef, f64, Vec<Filter>)| {
            // At most a million: within 32 bits.
            BackendRef { filters, ..backend(&to, (share * WEIGHT).round() as u32) }
        };
        self.ends(shares).into_iter().map(of).collect()
    }

    /// The services that calls go to, with the share of each and the changes of header fields there.
    pub(super) fn ends(&mut self, shares: Shares) -> Vec<(ServiceRef, f64, Vec<Filter>)> {
        let Shares { all, ignored, by, .. } = shares;
        for Ignored { entry, reason } in ignored {
            self.ignore(&entry, reason);
        }
        add_way(&mut self.way, by);
        self.left.backends = self.left.backends.saturating_sub(all.len());
        let of = |share: Share| {
            self.left.bytes = self.left.bytes.saturating_sub(http::size(&share.filters));
            (self.backend(&share.target), share.weight, share.filters)
        };
        all.into_iter().map(of).collect()
    }
}

/// What the shares of a route's rules may still add to it. Beyond that, splitters that rules lead to do not count.
pub(super) struct Left {
    pub(super) backends: usize,
    pub(super) bytes: usize,
}

impl Default for Left {
    fn default() -> Self {
        Self { backends: BACKENDS_MAX, bytes: SHARES_BYTES_MAX }
    }
}

/// The name of the rule that a route of a router became.
pub(super) fn rule_name(at: usize) -> String {
    format!("route-{at}")
}

/// What a document of an entry is called. Names of services are freer than those of documents.
pub(super) fn metadata(entry: &str, service: &ServiceRef) -> Metadata {
    let kind = entry.split_once('/').map_or(entry, |(kind, _)| kind);
    Metadata {
        name: format!("{kind}.{}", written(&service.name)),
        namespace: service.namespace.clone(),
        annotations: [(MADE_OF.to_owned(), entry.to_owned())].into(),
        ..Metadata::default()
    }
}

/// A name as names of documents may hold it, another for each.
fn written(name: &str) -> String {
    /// What stands before a name that is written otherwise; no label begins so without being read back as it is.
    const MARK: &str = "x-";
    if names::subdomain(name).is_ok() && name.len() <= PLAIN_BYTES_MAX && !name.starts_with(MARK) {
        return name.to_owned();
    }
    let hex: String = name.bytes().map(|byte| format!("{byte:02x}")).collect();
    if MARK.len() + hex.len() <= names::LABEL_BYTES_MAX {
        return format!("{MARK}{hex}");
    }
    let sum = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, name.as_bytes());
    let sum: String = sum.as_ref()[..16].iter().map(|byte| format!("{byte:02x}")).collect();
    // Shorter ones have no dash behind their digits.
    format!("{MARK}{}-{sum}", &hex[..HEAD_DIGITS])
}

fn parent(service: &ServiceRef) -> ParentRef {
    ParentRef {
        group: None,
        kind: Some("Service".to_owned()),
        namespace: None,
        name: service.name.clone(),
        section_name: None,
        port: None,
    }
}

pub(super) fn backend(to: &ServiceRef, weight: u32) -> BackendRef {
    BackendRef {
        group: None,
        kind: None,
        name: to.name.clone(),
        namespace: Some(to.namespace.clone()),
        port: None,
        weight,
        filters: Vec::new(),
    }
}
