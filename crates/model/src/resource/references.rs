//! What resources refer to, in one place for everything that follows references: validation, hints, what a proxy is
//! told, what a proxy compiles.

use std::fmt;

use super::Spec;
use super::filter::{Action, Filter, MirrorRef};
use super::gateway::CertificateRef;
use super::route::{BackendRef, ParentRef};
use crate::ResourceId;

/// A service that a route refers to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Backend<'a> {
    /// Where in the route.
    pub place: BackendPlace,
    /// The kind, as written.
    pub kind: Option<&'a str>,
    /// The namespace, as written; the route's when absent.
    pub namespace: Option<&'a str>,
    /// The name.
    pub name: &'a str,
}

/// Where in a route a service is referred to. Shown as the field's path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BackendPlace {
    /// In which rule.
    pub rule: usize,
    /// In which of its `backendRefs`, if in one.
    pub backend: Option<usize>,
    /// In which filter, of the rule or the backend: then it gets copies.
    pub mirror: Option<usize>,
}

impl fmt::Display for BackendPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "spec.rules[{}]", self.rule)?;
        if let Some(at) = self.backend {
            write!(f, ".backendRefs[{at}]")?;
        }
        match self.mirror {
            Some(at) => write!(f, ".filters[{at}].requestMirror.backendRef"),
            None => Ok(()),
        }
    }
}

/// What a certificate is referred to for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CertificateUse {
    /// To be presented: it needs `certFile` and `keyFile`.
    Present,
    /// To validate others: it needs `caFile`.
    Trust,
}

/// A certificate that a resource refers to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificateNeed<'a> {
    /// Path of the reference.
    pub path: String,
    /// The reference.
    pub reference: &'a CertificateRef,
    /// What for.
    pub usage: CertificateUse,
}

impl Spec {
    /// The parents of a route; none for what is no route.
    pub fn parent_refs(&self) -> &[ParentRef] {
        match self {
            Self::HttpRoute(route) => &route.parent_refs,
            Self::GrpcRoute(route) => &route.parent_refs,
            Self::TlsRoute(route) => &route.parent_refs,
            Self::TcpRoute(route) => &route.parent_refs,
            Self::Gateway(_)
            | Self::Service(_)
            | Self::Certificate(_)
            | Self::TrafficPolicy(_)
            | Self::ListenerPolicy(_)
            | Self::RateLimit(_) => &[],
        }
    }

    /// The host names of a route; none for what is no route, or has none.
    pub fn hostnames(&self) -> &[String] {
        match self {
            Self::HttpRoute(route) => &route.hostnames,
            Self::GrpcRoute(route) => &route.hostnames,
            Self::TlsRoute(route) => &route.hostnames,
            _ => &[],
        }
    }

    /// How many rules a route has, and for each its backends and its filters.
    pub fn rules(&self) -> Vec<(&[BackendRef], &[Filter])> {
        match self {
            Self::HttpRoute(route) => {
                route.rules.iter().map(|rule| (&*rule.backend_refs, &*rule.filters)).collect()
            }
            Self::GrpcRoute(route) => {
                route.rules.iter().map(|rule| (&*rule.backend_refs, &*rule.filters)).collect()
            }
            Self::TlsRoute(route) => route.rules.iter().map(|rule| (&*rule.backend_refs, &[][..])).collect(),
            Self::TcpRoute(route) => route.rules.iter().map(|rule| (&*rule.backend_refs, &[][..])).collect(),
            _ => Vec::new(),
        }
    }

    /// The names of a route's rules, for each the one that it may have; none for what is no route.
    pub fn rule_names(&self) -> Vec<Option<&str>> {
        match self {
            Self::HttpRoute(route) => route.rules.iter().map(|rule| rule.name.as_deref()).collect(),
            Self::GrpcRoute(route) => route.rules.iter().map(|rule| rule.name.as_deref()).collect(),
            Self::TlsRoute(route) => route.rules.iter().map(|rule| rule.name.as_deref()).collect(),
            Self::TcpRoute(route) => route.rules.iter().map(|rule| rule.name.as_deref()).collect(),
            _ => Vec::new(),
        }
    }

    /// The services that a route refers to, those that get copies included; none for what is no route.
    pub fn backends(&self) -> Vec<Backend<'_>> {
        let mut found = Vec::new();
        for (rule, (backends, filters)) in self.rules().into_iter().enumerate() {
            found.extend(mirrors(rule, None, filters));
            for (at, backend) in backends.iter().enumerate() {
                found.push(Backend {
                    place: BackendPlace { rule, backend: Some(at), mirror: None },
                    kind: backend.kind.as_deref(),
                    namespace: backend.namespace.as_deref(),
                    name: &backend.name,
                });
                found.extend(mirrors(rule, Some(at), &backend.filters));
            }
        }
        found
    }

    /// The certificates that a gateway or a traffic policy refers to.
    pub fn certificates(&self) -> Vec<CertificateNeed<'_>> {
        let mut found = Vec::new();
        let mut add = |path: &str, references, usage| needs(path, references, usage, &mut found);
        match self {
            Self::Gateway(spec) => {
                for (at, listener) in spec.listeners.iter().enumerate() {
                    let Some(tls) = &listener.tls else { continue };
                    let path = format!("spec.listeners[{at}].tls");
                    add(&format!("{path}.certificateRefs"), &tls.certificate_refs, CertificateUse::Present);
                    if let Some(validation) = &tls.frontend_validation {
                        let path = format!("{path}.frontendValidation.caCertificateRefs");
                        add(&path, &validation.ca_certificate_refs, CertificateUse::Trust);
                    }
                }
                if let Some(frontend) = spec.tls.as_ref().and_then(|tls| tls.frontend.as_ref()) {
                    let path = "spec.tls.frontend";
                    let of_ports = frontend.per_port.iter().enumerate();
                    let of_ports =
                        of_ports.map(|(at, port)| (format!("{path}.perPort[{at}].tls"), &port.tls));
                    for (path, tls) in
                        std::iter::once((format!("{path}.default"), &frontend.default)).chain(of_ports)
                    {
                        if let Some(validation) = &tls.validation {
                            let path = format!("{path}.validation.caCertificateRefs");
                            add(&path, &validation.ca_certificate_refs, CertificateUse::Trust);
                        }
                    }
                }
            }
            Self::TrafficPolicy(spec) => {
                if let Some(tls) = &spec.tls {
                    add("spec.tls.caRefs", &tls.ca_refs, CertificateUse::Trust);
                    if let Some(reference) = &tls.certificate_ref {
                        let path = "spec.tls.certificateRef".to_owned();
                        found.push(CertificateNeed { path, reference, usage: CertificateUse::Present });
                    }
                }
            }
            _ => {}
        }
        found
    }
}

/// What a rule of a route is called in logs, metrics and answers: `HTTPRoute/shop#buy` by its name, with which it stays what it
/// is when rules come before it, else `HTTPRoute/shop#0` by its place. A name that is a number could be another one's place.
pub fn rule_label(route: &ResourceId, index: usize, name: Option<&str>) -> String {
    match name.filter(|name| !name.bytes().all(|byte| byte.is_ascii_digit())) {
        Some(name) => format!("{route}#{name}"),
        None => format!("{route}#{index}"),
    }
}

fn needs<'a>(
    path: &str,
    references: &'a [CertificateRef],
    usage: CertificateUse,
    found: &mut Vec<CertificateNeed<'a>>,
) {
    let needs = references.iter().enumerate();
    found.extend(needs.map(|(at, reference)| CertificateNeed {
        path: format!("{path}[{at}]"),
        reference,
        usage,
    }));
}

fn mirrors(rule: usize, backend: Option<usize>, filters: &[Filter]) -> impl Iterator<Item = Backend<'_>> {
    filters.iter().enumerate().filter_map(move |(at, filter)| match filter.action() {
        Some(Action::Mirror(mirror)) => {
            let MirrorRef { kind, namespace, name, .. } = &mirror.backend_ref;
            let place = BackendPlace { rule, backend, mirror: Some(at) };
            Some(Backend { place, kind: kind.as_deref(), namespace: namespace.as_deref(), name })
        }
        _ => None,
    })
}
