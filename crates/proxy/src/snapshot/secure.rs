//! TLS of a snapshot: which certificates each section of a listener presents, and how upstreams are called.
//!
//! The files were read by the source. What has not changed is the previous snapshot's.

use std::collections::BTreeMap;
use std::sync::Arc;

use weir_model::resource::gateway::{CertificateRef, ClientValidation, ClientValidationMode, TlsVersion};
use weir_model::resource::{GatewaySpec, Listener, ListenerProtocol, Protocol};
use weir_model::{Kind, ResourceId, ServiceRef, Spec};

use super::{Inputs, ListenerConfig, Rejection, Snapshot, Upstream, UpstreamTls, endpoints};
use crate::route::HostPattern;
use crate::tls::{
    CertificateFiles, Certificates, ClientCheck, ClientMode, ClientTls, ClientTlsSpec, LoadedCertificate,
    MinVersion, ServerTls, ServerTlsSpec, TlsAction, TlsPort, TlsSection,
};

/// Gives the listeners that speak TLS what they need for it.
pub(super) fn listeners(
    inputs: &Inputs,
    certificates: &Certificates,
    previous: Option<&Snapshot>,
    listeners: &mut [ListenerConfig],
    rejections: &mut Vec<Rejection>,
) {
    let mut ports: BTreeMap<(ResourceId, u16), Option<Arc<TlsPort>>> = BTreeMap::new();
    for config in listeners {
        if !matches!(config.protocol, ListenerProtocol::Https | ListenerProtocol::Tls) {
            continue;
        }
        let Some(Spec::Gateway(spec)) = inputs.resources.get(&config.gateway).map(|found| &found.spec) else {
            continue;
        };
        let key = (config.gateway.clone(), config.addr.port());
        let made = ports.entry(key).or_insert_with(|| {
            let before = previous.and_then(|previous| {
                let same = |one: &&ListenerConfig| {
                    one.gateway == config.gateway && one.addr.port() == config.addr.port()
                };
                previous.listeners.iter().find(same)?.tls.clone()
            });
            let found = Found { inputs, certificates, of: &config.gateway };
            found.port(spec, config.addr.port(), before.as_deref(), rejections)
        });
        config.tls.clone_from(made);
    }
}

/// How a service is called whose policy asks for TLS.
pub(super) fn upstream(
    inputs: &Inputs,
    certificates: &Certificates,
    (policy, tls): (&ResourceId, &weir_model::resource::traffic_policy::UpstreamTls),
    service: &ServiceRef,
    previous: Option<&Arc<Upstream>>,
) -> Result<UpstreamTls, Rejection> {
    let found = Found { inputs, certificates, of: policy };
    let authorities = found.certificates(&tls.ca_refs, "spec.tls.caRefs")?;
    let identity = tls.certificate_ref.as_ref();
    let identity =
        identity.map(|one| found.certificate(one, || "spec.tls.certificateRef".to_owned())).transpose()?;
    let spec = ClientTlsSpec {
        server_name: tls.server_name.clone(),
        authorities,
        identity,
        verify: !tls.insecure_skip_verify,
        protocols: match endpoints::protocol(inputs, service)
            .map(|stated| stated.protocol)
            .unwrap_or_default()
        {
            Protocol::Http => &[b"http/1.1"],
            Protocol::Http2 | Protocol::Grpc => &[b"h2"],
            _ => &[],
        },
    };
    let before = match previous.map(|upstream| &upstream.tls) {
        Some(UpstreamTls::Secure(before)) => Some(before),
        _ => None,
    };
    let made = ClientTls::new(&spec, before).map_err(|reason| found.reject("spec.tls".to_owned(), reason))?;
    if tls.insecure_skip_verify && !before.is_some_and(|before| Arc::ptr_eq(before, &made)) {
        tracing::warn!(%service, %policy, "INSECURE: certificates of the service's instances are not verified");
    }
    Ok(UpstreamTls::Secure(made))
}

/// What certificates a resource can refer to.
struct Found<'a> {
    inputs: &'a Inputs,
    certificates: &'a Certificates,
    of: &'a ResourceId,
}

impl Found<'_> {
    fn port(
        &self,
        spec: &GatewaySpec,
        port: u16,
        previous: Option<&TlsPort>,
        rejections: &mut Vec<Rejection>,
    ) -> Option<Arc<TlsPort>> {
        let here = spec.listeners.iter().enumerate().filter(|(_, listener)| listener.port == port);
        let mut sections = Vec::new();
        for (section, (index, listener)) in here.enumerate() {
            let label: Arc<str> = format!("{}:{}", self.of, listener.name).into();
            let action = if listener.is_passthrough() {
                TlsAction::Passthrough
            } else {
                let before = previous.and_then(|previous| previous.server(&label));
                match self.server(spec, listener, index, before) {
                    Ok(server) => TlsAction::Terminate(server),
                    Err(rejection) => {
                        rejections.push(rejection);
                        continue;
                    }
                }
            };
            sections.push(TlsSection {
                label,
                host: HostPattern::parse(listener.hostname.as_deref()),
                section: section as u32,
                http: listener.protocol == ListenerProtocol::Https,
                action,
            });
        }
        Some(Arc::new(TlsPort::new(sections)))
    }

    fn server(
        &self,
        gateway: &GatewaySpec,
        listener: &Listener,
        index: usize,
        previous: Option<&Arc<ServerTls>>,
    ) -> Result<Arc<ServerTls>, Rejection> {
        let path = format!("spec.listeners[{index}].tls.certificateRefs");
        let refs = listener.tls.as_ref().map_or(&[][..], |tls| &tls.certificate_refs);
        let certificates = self.certificates(refs, &path)?;
        let min_version = listener.tls.as_ref().map_or(Ok(TlsVersion::default()), |tls| tls.min_version());
        let min_version = match min_version {
            Ok(TlsVersion::V1_2) => MinVersion::Tls12,
            Ok(TlsVersion::V1_3) => MinVersion::Tls13,
            Err(other) => {
                let path = format!("spec.listeners[{index}].tls.options");
                return Err(self.reject(path, format!("`{other}` is no version: expected `1.2` or `1.3`")));
            }
        };
        let clients = match gateway.client_validation(listener) {
            Some(validation) => Some(self.clients(validation, listener, index)?),
            None => None,
        };
        let spec = ServerTlsSpec {
            certificates,
            min_version,
            clients,
            http: listener.protocol == ListenerProtocol::Https,
        };
        ServerTls::new(&spec, previous).map_err(|reason| self.reject(path, reason))
    }

    fn clients(
        &self,
        validation: &ClientValidation,
        listener: &Listener,
        index: usize,
    ) -> Result<ClientCheck, Rejection> {
        let own = listener.tls.as_ref().is_some_and(|tls| tls.frontend_validation.is_some());
        let path = if own {
            format!("spec.listeners[{index}].tls.frontendValidation.caCertificateRefs")
        } else {
            "spec.tls.frontend".to_owned()
        };
        Ok(ClientCheck {
            authorities: self.certificates(&validation.ca_certificate_refs, &path)?,
            mode: match validation.mode.unwrap_or_default() {
                ClientValidationMode::AllowValidOnly => ClientMode::ValidOnly,
                ClientValidationMode::AllowInsecureFallback => ClientMode::InsecureFallback,
            },
        })
    }

    fn certificates(
        &self,
        refs: &[CertificateRef],
        path: &str,
    ) -> Result<Vec<Arc<LoadedCertificate>>, Rejection> {
        let refs = refs.iter().enumerate();
        refs.map(|(at, one)| self.certificate(one, || format!("{path}[{at}]"))).collect()
    }

    fn certificate(
        &self,
        reference: &CertificateRef,
        path: impl Fn() -> String,
    ) -> Result<Arc<LoadedCertificate>, Rejection> {
        let namespace = reference.namespace.as_deref().unwrap_or(&self.of.namespace);
        let id = ResourceId::new(Kind::Certificate, namespace, &*reference.name);
        let Some(Spec::Certificate(spec)) = self.inputs.resources.get(&id).map(|found| &found.spec) else {
            return Err(self.reject(format!("{}.name", path()), format!("there is no {id}")));
        };
        match self.certificates.get(&CertificateFiles::of(spec)) {
            Some(Ok(loaded)) => Ok(Arc::clone(loaded)),
            Some(Err(fault)) => {
                Err(Rejection { resource: id, path: fault.field.to_owned(), reason: fault.reason.clone() })
            }
            None => Err(self.reject(path(), format!("the files of {id} were not looked at"))),
        }
    }

    fn reject(&self, path: String, reason: String) -> Rejection {
        Rejection { resource: self.of.clone(), path, reason }
    }
}
