//! Which routes apply to calls inside the mesh: those whose parent is the service that is called (the Gateway API's mesh
//! profile, GAMMA).

use std::collections::{BTreeMap, HashMap};

use weir_api::snapshot::{MADE_OF, made_route_counts};
use weir_model::{Kind, ResourceId, ServiceRef};

use super::attach::{self, Route, is_kind, namespace_of};
use super::compile::Interner;
use super::{Inputs, Rejection, endpoints};
use crate::route::{
    Backends, Conditions, HostPattern, MatchSpec, PathPattern, RouteTable, RouteTableBuilder, Rule,
    StreamRule, StreamTable, StreamTableBuilder, TimeLimit, UpstreamIndex,
};

/// What is said of services that are the parent of a route.
pub(super) type Routes = HashMap<ServiceRef, ServiceRoutes>;

/// Where calls of a service go, as far as routes say so.
#[derive(Default)]
pub(super) struct ServiceRoutes {
    pub(super) requests: Option<RouteTable>,
    pub(super) connections: Option<StreamTable>,
}

/// Route tables of the services that are the parent of a route, for callers in a namespace.
pub(super) fn mesh(
    inputs: &Inputs,
    own_namespace: &str,
    names: &mut Interner,
    rejections: &mut Vec<Rejection>,
) -> Routes {
    let mut routes = attach::routes(inputs, Kind::Service);
    for route in &mut routes {
        route.compile(names, rejections);
    }
    let mut parents: BTreeMap<ServiceRef, Vec<&Route<'_>>> = BTreeMap::new();
    for route in &routes {
        let refs = route.resource.spec.parent_refs().iter();
        for parent in refs.filter(|parent| is_kind(parent, Kind::Service)) {
            let service = ServiceRef::new(namespace_of(parent, route.id), &*parent.name);
            let of_service = parents.entry(service).or_default();
            if !of_service.iter().any(|other| other.id == route.id) {
                of_service.push(route);
            }
        }
    }
    let tables = parents.into_iter().map(|(service, routes)| {
        let speaks = endpoints::protocol(inputs, &service).map(|stated| stated.protocol);
        let counts = |route: &&Route<'_>| {
            let is_made = route.resource.metadata.annotations.contains_key(MADE_OF);
            !is_made || made_route_counts(route.id.kind, speaks)
        };
        let routes: Vec<&Route<'_>> = routes.into_iter().filter(counts).collect();
        let tables = service_routes(&service, own_namespace, &routes);
        (service, tables)
    });
    tables.collect()
}

/// Of the routes of a service, those that apply. A caller's own routes count instead of those of the service's owner
/// (consumer and producer routes); routes of gRPC instead of those of HTTP, as the more specific.
fn service_routes(service: &ServiceRef, own_namespace: &str, routes: &[&Route<'_>]) -> ServiceRoutes {
    let of = |namespace: &str, kind: Kind| -> Vec<&Route<'_>> {
        let routes = routes.iter().copied();
        routes.filter(|route| route.id.namespace == namespace && route.id.kind == kind).collect()
    };
    let applied = |kinds: &[Kind]| {
        let namespaces = [own_namespace, &*service.namespace].into_iter();
        let ranked = namespaces.flat_map(|namespace| kinds.iter().map(move |&kind| (namespace, kind)));
        ranked.map(|(namespace, kind)| of(namespace, kind)).find(|routes| !routes.is_empty())
    };
    let requests = applied(&[Kind::GrpcRoute, Kind::HttpRoute]);
    let connections = applied(&[Kind::TcpRoute]);
    ServiceRoutes {
        requests: requests.map(|routes| table(service, &routes)),
        connections: connections
            .and_then(|routes| routes.first()?.connections().cloned())
            .map(|rule| connections_by(service, rule)),
    }
}

fn label(service: &ServiceRef) -> ResourceId {
    ResourceId::new(Kind::Service, &*service.namespace, &*service.name)
}

fn table(service: &ServiceRef, routes: &[&Route<'_>]) -> RouteTable {
    let mut builder = RouteTableBuilder::new();
    let section = builder.section(label(service).to_string(), HostPattern::Any);
    for route in routes {
        for compiled in route.requests() {
            // Hostnames of a route have no meaning when its parent is a service (GAMMA).
            builder.rule(section, &[HostPattern::Any], compiled.rule.clone(), &compiled.matches);
        }
    }
    builder.build()
}

fn connections_by(service: &ServiceRef, rule: StreamRule) -> StreamTable {
    let mut builder = StreamTableBuilder::new();
    let section = builder.section(label(service).to_string(), HostPattern::Any);
    builder.rule(section, &[HostPattern::Any], rule);
    builder.build()
}

/// The table of a service without routes: everything goes to itself.
pub(super) fn direct(service: &ServiceRef, upstream: UpstreamIndex) -> RouteTable {
    let id = ResourceId::new(Kind::Service, &*service.namespace, &*service.name);
    let rule = Rule {
        label: id.to_string().into(),
        route: id.clone(),
        index: 0,
        name: None,
        request_timeout: TimeLimit::Unset,
        attempt_timeout: TimeLimit::Unset,
        filters: None,
        backends: Backends::new([(1, upstream)]),
    };
    let everything = MatchSpec::new(PathPattern::Prefix("/".into()), Conditions::default());
    let asterisk = MatchSpec::new(PathPattern::Exact("*".into()), Conditions::default());
    let mut builder = RouteTableBuilder::new();
    let section = builder.section(id.to_string(), HostPattern::Any);
    builder.rule(section, &[HostPattern::Any], rule, &[everything, asterisk]);
    builder.build()
}
