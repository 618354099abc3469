//! Rules of `Gateway`.

use std::collections::HashSet;
use std::net::IpAddr;

use super::Faults;
use crate::names;
use crate::resource::gateway::{GatewaySpec, Listener, ListenerProtocol, ListenerTls, TlsMode};

/// Most listeners of one gateway (the Gateway API's own limit).
pub const LISTENERS_MAX: usize = 64;
/// Most addresses of one gateway (the Gateway API's own limit).
pub const ADDRESSES_MAX: usize = 16;
/// Most certificates of one listener (the Gateway API's own limit).
pub const CERTIFICATES_MAX: usize = 64;

pub(super) fn validate(spec: &GatewaySpec, faults: &mut Faults) {
    addresses(spec, faults);
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
            let shown = crate::document::node::shortened(&address.kind);
            faults.add(format!("{path}.type"), format!("`{shown}` has no meaning here"), "`IPAddress`");
            continue;
        }
        match address.value.parse::<IpAddr>() {
            Err(_) => {
                let shown = crate::document::node::shortened(&address.value);
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
    faults.at_most(&refs, tls.certificate_refs.len(), CERTIFICATES_MAX);
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
    for (index, reference) in tls.certificate_refs.iter().enumerate() {
        let path = format!("{refs}[{index}]");
        faults.reference(
            &path,
            (reference.kind.as_deref(), &["Certificate"]),
            (reference.group.as_deref(), &["", "weir.dev"]),
        );
        faults.name(&format!("{path}.name"), names::subdomain(&reference.name));
        if let Some(namespace) = &reference.namespace {
            faults.name(&format!("{path}.namespace"), names::label(namespace));
        }
    }
}
