//! Rules of `Gateway`.

use std::collections::HashSet;
use std::net::IpAddr;

use super::{Faults, certificate};
use crate::document::node::{push_key, shortened};
use crate::names;
use crate::resource::gateway::{
    ClientValidation, FrontendTls, GatewaySpec, Listener, ListenerProtocol, ListenerTls, MIN_VERSION_OPTION,
    TlsMode,
};

/// Most listeners of one gateway (the Gateway API's own limit).
pub const LISTENERS_MAX: usize = 64;
/// Most addresses of one gateway (the Gateway API's own limit).
pub const ADDRESSES_MAX: usize = 16;
/// Most certificates of one listener (the Gateway API's own limit).
pub const CERTIFICATES_MAX: usize = 64;

/// Most options of one listener's TLS (the Gateway API's own limit).
pub const OPTIONS_MAX: usize = 16;
/// Most ports with TLS settings of their own (the Gateway API's own limit).
pub const PORTS_MAX: usize = 64;
/// Most kinds of route that one listener names (the Gateway API's own limit).
pub const KINDS_MAX: usize = 8;

pub(super) fn validate(spec: &GatewaySpec, faults: &mut Faults) {
    addresses(spec, faults);
    if let Some(frontend) = spec.tls.as_ref().and_then(|tls| tls.frontend.as_ref()) {
        validations(spec, frontend, faults);
    }
    if spec.listeners.is_empty() {
        faults.add("spec.listeners", "it is empty", "at least one listener");
    }
    faults.at_most("spec.listeners", spec.listeners.len(), LISTENERS_MAX);
    let listeners = &spec.listeners[..spec.listeners.len().min(LISTENERS_MAX)];
    for (index, one) in listeners.iter().enumerate() {
        let path = format!("spec.listeners[{index}]");
        listener(&path, one, faults);
        let before = &listeners[..index];
        if before.iter().any(|other| other.name == one.name) {
            faults.add(format!("{path}.name"), format!("`{}` is there twice", one.name), "a name of its own");
        }
        if let Some(other) = before.iter().find(|other| other.port == one.port && !share_port(other, one)) {
            faults.add(
                format!("{path}.port"),
                format!("port {} is already taken by listener `{}`", one.port, other.name),
                "another port, or the same protocol with another `hostname`",
            );
        }
    }
}

/// Whether two listeners can be told apart on one port, as the Gateway API has it: by host name, within HTTP or within TLS.
fn share_port(a: &Listener, b: &Listener) -> bool {
    let family = |listener: &Listener| match listener.protocol {
        ListenerProtocol::Http => Some(false),
        ListenerProtocol::Https | ListenerProtocol::Tls => Some(true),
        ListenerProtocol::Tcp => None,
    };
    family(a).is_some() && family(a) == family(b) && hostname(a) != hostname(b)
}

fn hostname(listener: &Listener) -> Option<&str> {
    listener.hostname.as_deref().filter(|name| !name.is_empty())
}

fn addresses(spec: &GatewaySpec, faults: &mut Faults) {
    faults.at_most("spec.addresses", spec.addresses.len(), ADDRESSES_MAX);
    let mut seen = HashSet::new();
    for (index, address) in spec.addresses.iter().enumerate() {
        let path = format!("spec.addresses[{index}]");
        if address.kind != "IPAddress" {
            let shown = shortened(&address.kind);
            faults.add(format!("{path}.type"), format!("`{shown}` has no meaning here"), "`IPAddress`");
            continue;
        }
        match address.value.parse::<IpAddr>() {
            Err(_) => {
                let shown = shortened(&address.value);
                let expected = "an IPv4 or IPv6 address, without port";
                faults.add(format!("{path}.value"), format!("`{shown}` is not an IP address"), expected);
            }
            Ok(ip) if !seen.insert(ip) => {
                faults.add(format!("{path}.value"), format!("`{ip}` is there twice"), "each address once");
            }
            Ok(_) => {}
        }
    }
}

fn listener(path: &str, listener: &Listener, faults: &mut Faults) {
    faults.name(&format!("{path}.name"), names::subdomain(&listener.name));
    faults.port(&format!("{path}.port"), listener.port);
    if let Some(name) = hostname(listener) {
        faults.name(&format!("{path}.hostname"), names::hostname(name));
        if listener.protocol == ListenerProtocol::Tcp {
            faults.add(format!("{path}.hostname"), "plain TCP carries no host name", "no `hostname`");
        }
    }
    let named = listener.allowed_routes.as_ref().map_or(&[][..], |allowed| &allowed.kinds);
    faults.at_most(&format!("{path}.allowedRoutes.kinds"), named.len(), KINDS_MAX);
    for (index, named) in named.iter().take(KINDS_MAX).enumerate() {
        let path = format!("{path}.allowedRoutes.kinds[{index}]");
        let fitting: Vec<&str> = listener.fitting_kinds().iter().map(|kind| kind.as_str()).collect();
        let group = (named.group.as_deref(), &["gateway.networking.k8s.io"][..]);
        faults.reference(&path, (Some(&named.kind), &fitting), group);
    }
    let protocol = listener.protocol;
    match (&listener.tls, protocol) {
        (Some(_), ListenerProtocol::Http | ListenerProtocol::Tcp) => {
            faults.add(
                format!("{path}.tls"),
                "TLS settings on a listener without TLS",
                "`protocol: HTTPS` or `TLS`",
            );
        }
        (None, ListenerProtocol::Https | ListenerProtocol::Tls) => {
            faults.add(path, "the listener has no `tls`", "`tls` with `certificateRefs`");
        }
        (Some(settings), _) => tls(&format!("{path}.tls"), settings, protocol, faults),
        (None, _) => {}
    }
}

fn tls(path: &str, tls: &ListenerTls, protocol: ListenerProtocol, faults: &mut Faults) {
    let refs = format!("{path}.certificateRefs");
    if tls.mode == Some(TlsMode::Passthrough) {
        if protocol == ListenerProtocol::Https {
            faults.add(format!("{path}.mode"), "HTTPS is terminated here", "`Terminate`, or `protocol: TLS`");
        }
        if !tls.certificate_refs.is_empty() {
            faults.add(&refs, "TLS that is passed through needs no certificate", "none");
        }
    } else if tls.certificate_refs.is_empty() {
        faults.add(&refs, "there is no certificate to present", "at least one `Certificate`");
    }
    certificate::references(&refs, &tls.certificate_refs, CERTIFICATES_MAX, faults);
    if let Some(validation) = &tls.frontend_validation {
        client_validation(&format!("{path}.frontendValidation"), validation, faults);
        if tls.mode() == TlsMode::Passthrough {
            faults.add(
                format!("{path}.frontendValidation"),
                "TLS that is passed through is validated by the service",
                "none",
            );
        }
    }
    options(path, tls, faults);
}

/// Options are the implementation's own: what Weir does not know would silently change nothing.
fn options(path: &str, tls: &ListenerTls, faults: &mut Faults) {
    faults.at_most(&format!("{path}.options"), tls.options.len(), OPTIONS_MAX);
    for name in tls.options.keys().filter(|name| *name != MIN_VERSION_OPTION).take(OPTIONS_MAX) {
        let mut path = format!("{path}.options");
        push_key(&mut path, name);
        faults.add(path, "unknown option", format!("`{MIN_VERSION_OPTION}`"));
    }
    let mut path = format!("{path}.options");
    push_key(&mut path, MIN_VERSION_OPTION);
    if tls.mode() == TlsMode::Passthrough && tls.options.contains_key(MIN_VERSION_OPTION) {
        faults.add(path, "TLS that is passed through is spoken by the service", "none");
    } else if let Err(other) = tls.min_version() {
        faults.add(path, format!("`{}` is no version of TLS", shortened(other)), "\"1.2\" or \"1.3\"");
    }
}

fn validations(spec: &GatewaySpec, frontend: &FrontendTls, faults: &mut Faults) {
    let path = "spec.tls.frontend";
    if let Some(validation) = &frontend.default.validation {
        client_validation(&format!("{path}.default.validation"), validation, faults);
    }
    faults.at_most(&format!("{path}.perPort"), frontend.per_port.len(), PORTS_MAX);
    let mut seen = HashSet::new();
    for (index, per_port) in frontend.per_port.iter().take(PORTS_MAX).enumerate() {
        let path = format!("{path}.perPort[{index}]");
        let port = per_port.port;
        faults.port(&format!("{path}.port"), port);
        if !seen.insert(port) {
            faults.add(format!("{path}.port"), format!("port {port} is there twice"), "each port once");
        } else if !spec.listeners.iter().any(|listener| listener.port == port && terminates(listener)) {
            faults.add(
                format!("{path}.port"),
                format!("no listener terminates TLS on port {port}"),
                "the port of an HTTPS or TLS listener",
            );
        }
        if let Some(validation) = &per_port.tls.validation {
            client_validation(&format!("{path}.tls.validation"), validation, faults);
        }
    }
}

fn terminates(listener: &Listener) -> bool {
    matches!(listener.protocol, ListenerProtocol::Https | ListenerProtocol::Tls) && !listener.is_passthrough()
}

fn client_validation(path: &str, validation: &ClientValidation, faults: &mut Faults) {
    let path = format!("{path}.caCertificateRefs");
    if validation.ca_certificate_refs.is_empty() {
        faults.add(&path, "it is empty", "at least one `Certificate` with a `caFile`");
    }
    certificate::references(&path, &validation.ca_certificate_refs, certificate::AUTHORITIES_MAX, faults);
}
