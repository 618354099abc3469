//! From inputs to a snapshot.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::net::IpAddr;
use std::sync::{Arc, OnceLock};

use serde::Serialize;
use weir_model::resource::TrafficPolicySpec;
use weir_model::{Kind, ResourceId, ServiceRef};

use super::policies::{self, RoutePolicies};
use super::ports::{self, Gateways};
use super::services::{self, Routes, ServiceRoutes};
use super::{Inputs, MeshService, MeshTable, Origin, Settings, Snapshot, Upstream, UpstreamTls, Verdicts};
use super::{endpoints, secure};
use crate::breaker::BreakerTable;
use crate::limit::LimitTable;
use crate::observe::process_now;
use crate::route::{KnownPatterns, Pattern, PatternError, Patterns, UpstreamIndex};
use crate::tls::Certificates;

/// The addresses that host names of endpoints stand for, as far as they could be resolved.
pub type Addresses = BTreeMap<String, Vec<IpAddr>>;

/// Which part of the inputs a proxy serves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Role {
    /// The listeners of gateways.
    Gateway {
        /// The gateways it serves, as `name` in the default namespace or `namespace/name`; all when empty.
        gateways: Vec<String>,
    },
    /// Calls of one application to the services of the mesh.
    Sidecar {
        /// The service that the application is an instance of.
        service: ServiceRef,
    },
}

/// Why one resource cannot take effect.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, thiserror::Error)]
#[error("{resource}: {path}: {reason}")]
pub struct Rejection {
    /// Which resource.
    pub resource: ResourceId,
    /// The field, as in `spec.rules[0].backendRefs[1].kind`.
    pub path: String,
    /// What is wrong, and what was expected.
    pub reason: String,
}

/// Compiles snapshots for one proxy.
#[derive(Clone, Debug)]
pub struct Compiler {
    /// What the proxy is.
    pub role: Role,
    /// How services are called where no policy says otherwise.
    pub defaults: Settings,
    /// Who this proxy is to the services that it calls, and where.
    pub origin: Arc<Origin>,
    /// What host names of endpoints stand for.
    pub addresses: Arc<Addresses>,
    /// What this proxy's own checks came to.
    pub verdicts: Arc<Verdicts>,
    /// What the files of certificates came to; TLS is left out where nobody has looked.
    pub certificates: Option<Arc<Certificates>>,
    /// Whether gateways are refused at addresses that others can reach: there is no TLS yet.
    pub loopback_only: bool,
}

impl Compiler {
    /// A compiler with the product's defaults that knows no host names and takes every address, for looking at what a
    /// proxy would do.
    pub fn new(role: Role) -> Self {
        Self {
            role,
            defaults: Settings::default(),
            origin: Arc::default(),
            addresses: Arc::default(),
            verdicts: Arc::default(),
            certificates: None,
            loopback_only: false,
        }
    }

    /// Compiles inputs. What has not changed since `previous` is shared with it, and the live state of every endpoint
    /// and upstream is carried over by identity.
    ///
    /// # Errors
    /// What cannot take effect, resource by resource: at least one, each a resource of these inputs.
    pub fn compile(&self, inputs: &Inputs, previous: Option<&Snapshot>) -> Result<Snapshot, Vec<Rejection>> {
        let mut rejections = Vec::new();
        let same_resources =
            previous.filter(|previous| Arc::ptr_eq(&previous.inputs.resources, &inputs.resources));
        // The tables of a gateway's ports are shared while what they are made from stays, so their indices must stay too.
        // A sidecar's are made anew each time: what it calls on demand comes and goes.
        let shared = previous.filter(|previous| match self.role {
            Role::Gateway { .. } => same_resources.is_some() || !is_sparse(previous, inputs),
            Role::Sidecar { .. } => false,
        });
        let mut names = Interner::starting_with(shared, previous);
        self.name_services(inputs, &mut names);

        let (mut gateways, routes) = match &self.role {
            Role::Gateway { .. } if same_resources.is_some() && shared.is_some() => {
                (shared.map(Gateways::of).unwrap_or_default(), Routes::default())
            }
            Role::Gateway { gateways } => {
                let made = ports::gateways(
                    inputs,
                    gateways,
                    self.loopback_only,
                    shared,
                    &mut names,
                    &mut rejections,
                );
                (made, Routes::default())
            }
            Role::Sidecar { service } => {
                (Gateways::default(), services::mesh(inputs, &service.namespace, &mut names, &mut rejections))
            }
        };
        let same_certificates = same_resources
            .is_some_and(|previous| same_loaded(previous.certificates.as_ref(), self.certificates.as_ref()));
        if let Some(certificates) = &self.certificates
            && !same_certificates
        {
            secure::listeners(inputs, certificates, previous, &mut gateways.listeners, &mut rejections);
        }
        if !rejections.is_empty() {
            return Err(rejections);
        }

        let upstreams = self.upstreams(inputs, previous, same_resources.is_some(), &names, &mut rejections);
        if !rejections.is_empty() {
            return Err(rejections);
        }
        let breakers = match same_resources {
            Some(same) => Arc::clone(&same.breakers),
            None => Arc::new(BreakerTable::compile(inputs, previous.map(|previous| &*previous.breakers))),
        };
        let policies = match same_resources {
            Some(same) => Arc::clone(&same.policies),
            None => Arc::new(RoutePolicies::compile(inputs)),
        };
        let limits = match same_resources {
            Some(same) => Arc::clone(&same.limits),
            None => Arc::new(LimitTable::compile(inputs, &self.role)),
        };
        let mesh = self.mesh_table(inputs, &upstreams, routes, &mut names);
        let (names, patterns) = names.finish();
        Ok(Snapshot {
            position: inputs.position,
            listeners: gateways.listeners,
            mesh,
            overlaps: gateways.overlaps,
            limits,
            breakers,
            policies,
            ports: gateways.ports,
            inputs: inputs.clone(),
            upstreams,
            names,
            patterns,
            origin: Arc::clone(&self.origin),
            addresses: Arc::clone(&self.addresses),
            verdicts: Arc::clone(&self.verdicts),
            certificates: self.certificates.clone(),
            owners: OnceLock::new(),
        })
    }

    /// Compiles inputs without the resources that are refused. For looking at inputs from outside of a proxy, which
    /// keeps the old version of what it refuses.
    pub fn compile_rest(&self, inputs: &Inputs) -> (Snapshot, Vec<Rejection>) {
        let mut inputs = inputs.clone();
        let mut rejections = Vec::new();
        loop {
            match self.compile(&inputs, None) {
                Ok(snapshot) => return (snapshot, rejections),
                Err(refused) => {
                    let resources = Arc::make_mut(&mut inputs.resources);
                    for rejection in &refused {
                        resources.remove(&rejection.resource);
                    }
                    rejections.extend(refused);
                }
            }
        }
    }

    /// Every declared and every registered service is an upstream, whether or not a rule leads there yet.
    fn name_services(&self, inputs: &Inputs, names: &mut Interner) {
        for id in inputs.resources.keys().filter(|id| id.kind == Kind::Service) {
            names.index(&ServiceRef::new(&*id.namespace, &*id.name));
        }
        for service in inputs.services.keys() {
            names.index(service);
        }
    }

    fn upstreams(
        &self,
        inputs: &Inputs,
        previous: Option<&Snapshot>,
        same_resources: bool,
        names: &Interner,
        rejections: &mut Vec<Rejection>,
    ) -> Vec<Arc<Upstream>> {
        let policies = policies::of_services(inputs);
        let same_addresses = previous.is_some_and(|previous| previous.addresses == self.addresses);
        let mut build = |service: &ServiceRef| {
            let registered = inputs.services.get(service);
            let old = previous.and_then(|previous| previous.upstream_of(service));
            let policy = policies.get(service);
            let tls = self.upstream_tls(inputs, service, policy.copied(), old, rejections);
            let verdicts = self.verdicts.of(service);
            if let (Some(old), Some(previous)) = (old, previous)
                && old.tls.is(&tls)
                && same_resources
                && same_addresses
                && same_arc(registered, previous.inputs.services.get(service))
                && same_arc(verdicts, previous.verdicts.of(service))
            {
                return Arc::clone(old);
            }
            let settings = match policy {
                Some((id, policy)) => self.defaults.clone().overridden_by(id, policy),
                None => self.defaults.clone(),
            };
            let at = endpoints::At {
                inputs,
                addresses: &self.addresses,
                origin: &self.origin,
                before: previous.map(|previous| &previous.inputs),
                verdicts: verdicts.map(|verdicts| &**verdicts),
                over_tls: !matches!(tls, UpstreamTls::Plain),
                now: process_now(),
            };
            Arc::new(endpoints::upstream(service, settings, &at, old).with_tls(tls))
        };
        names.in_order().map(&mut build).collect()
    }

    /// How connections to a service are encrypted.
    fn upstream_tls(
        &self,
        inputs: &Inputs,
        service: &ServiceRef,
        policy: Option<(&ResourceId, &TrafficPolicySpec)>,
        previous: Option<&Arc<Upstream>>,
        rejections: &mut Vec<Rejection>,
    ) -> UpstreamTls {
        let Some((id, Some(tls))) = policy.map(|(id, policy)| (id, &policy.tls)) else {
            return UpstreamTls::Plain;
        };
        let Some(certificates) = &self.certificates else { return UpstreamTls::Unready };
        secure::upstream(inputs, certificates, (id, tls), service, previous).unwrap_or_else(|rejection| {
            if !rejections.contains(&rejection) {
                rejections.push(rejection);
            }
            UpstreamTls::Unready
        })
    }

    fn mesh_table(
        &self,
        inputs: &Inputs,
        upstreams: &[Arc<Upstream>],
        mut routes: Routes,
        names: &mut Interner,
    ) -> MeshTable {
        let Role::Sidecar { service: own } = &self.role else { return MeshTable::default() };
        let mut table = MeshTable::new(&*own.namespace, inputs.names.clone());
        for upstream in upstreams {
            let service = &upstream.service;
            if !upstream.known {
                // Only what the control plane has denied is known not to exist.
                if inputs.services.contains_key(service) {
                    table.insert(service, None);
                }
                continue;
            }
            let index = names.index(service);
            let ServiceRoutes { requests, connections } = routes.remove(service).unwrap_or_default();
            let entry = MeshService {
                service: service.clone(),
                upstream: index,
                routes: Arc::new(requests.unwrap_or_else(|| services::direct(service, index))),
                streams: connections.map(Arc::new),
            };
            table.insert(service, Some(&Arc::new(entry)));
        }
        table
    }
}

fn same_loaded(a: Option<&Arc<Certificates>>, b: Option<&Arc<Certificates>>) -> bool {
    match (a, b) {
        (Some(a), Some(b)) => Arc::ptr_eq(a, b),
        (None, None) => true,
        _ => false,
    }
}

fn same_arc<T>(a: Option<&Arc<T>>, b: Option<&Arc<T>>) -> bool {
    match (a, b) {
        (Some(a), Some(b)) => Arc::ptr_eq(a, b),
        (None, None) => true,
        _ => false,
    }
}

/// Names that may be kept although nothing has them any more, before all tables are made anew without them.
const STALE_NAMES_MAX: usize = 64;

/// Whether most of the services that a snapshot has names for are gone: shared tables keep all of them.
fn is_sparse(previous: &Snapshot, inputs: &Inputs) -> bool {
    let mut named: HashSet<ServiceRef> = inputs.services.keys().cloned().collect();
    for (id, resource) in inputs.resources.iter() {
        if id.kind == Kind::Service {
            named.insert(ServiceRef::new(&*id.namespace, &*id.name));
        }
        named.extend(
            resource
                .spec
                .backends()
                .into_iter()
                .map(|backend| ServiceRef::new(backend.namespace.unwrap_or(&id.namespace), backend.name)),
        );
        let fallbacks = resource.spec.fallbacks();
        named.extend(fallbacks.into_iter().map(|fallback| fallback.service(&id.namespace)));
    }
    let stale = previous.upstreams.iter().filter(|upstream| !named.contains(&upstream.service)).count();
    stale > STALE_NAMES_MAX && stale > named.len()
}

/// The index of each service's upstream.
#[derive(Debug, Default)]
pub(super) struct UpstreamNames(HashMap<ServiceRef, u32>);

impl UpstreamNames {
    pub(super) fn get(&self, service: &ServiceRef) -> Option<UpstreamIndex> {
        self.0.get(service).copied().map(UpstreamIndex)
    }
}

/// What routes name, each thing once: gives services their upstream indices, continuing those of an earlier snapshot, and
/// compiles regular expressions unless they are in use already.
pub(super) struct Interner {
    names: HashMap<ServiceRef, u32>,
    order: Vec<ServiceRef>,
    patterns: Patterns,
}

impl Interner {
    /// With the indices of one snapshot, and the expressions of another.
    fn starting_with(indices: Option<&Snapshot>, expressions: Option<&Snapshot>) -> Self {
        let known = expressions.map(|previous| (*previous.patterns).clone()).unwrap_or_default();
        let mut interner = Self { names: HashMap::new(), order: Vec::new(), patterns: Patterns::new(known) };
        for upstream in indices.map_or(&[][..], |previous| &previous.upstreams) {
            interner.index(&upstream.service);
        }
        interner
    }

    /// The index of a service, a new one if it has none yet.
    pub(super) fn index(&mut self, service: &ServiceRef) -> UpstreamIndex {
        let next = self.order.len() as u32;
        UpstreamIndex(*self.names.entry(service.clone()).or_insert_with(|| {
            self.order.push(service.clone());
            next
        }))
    }

    /// A regular expression.
    pub(super) fn pattern(&mut self, text: &str) -> Result<Arc<Pattern>, PatternError> {
        self.patterns.get(text)
    }

    fn in_order(&self) -> impl Iterator<Item = &ServiceRef> {
        self.order.iter()
    }

    fn finish(self) -> (Arc<UpstreamNames>, Arc<KnownPatterns>) {
        (Arc::new(UpstreamNames(self.names)), Arc::new(self.patterns.finish()))
    }
}
