//! Rules of `Certificate`.

use super::Faults;
use crate::names;
use crate::resource::CertificateSpec;
use crate::resource::gateway::CertificateRef;

/// Longest path of a file, in bytes (Linux's `PATH_MAX`).
const PATH_BYTES_MAX: usize = 4096;
/// Most authorities that are referred to in one place (the Gateway API's own limit).
pub const AUTHORITIES_MAX: usize = 8;

pub(super) fn validate(spec: &CertificateSpec, faults: &mut Faults) {
    let CertificateSpec { cert_file, key_file, ca_file } = spec;
    for (path, file) in [("spec.certFile", cert_file), ("spec.keyFile", key_file), ("spec.caFile", ca_file)] {
        let Some(file) = file else { continue };
        if file.is_empty() {
            faults.add(path, "it is empty", "the path of a PEM file");
        } else if file.len() > PATH_BYTES_MAX || file.contains('\0') {
            faults.add(path, "not a path", "the path of a PEM file");
        }
    }
    match (cert_file, key_file, ca_file) {
        (Some(_), None, _) => {
            faults.add("spec", "the field `keyFile` is missing", "`certFile` and `keyFile` together");
        }
        (None, Some(_), _) => {
            faults.add("spec", "the field `certFile` is missing", "`certFile` and `keyFile` together");
        }
        (None, None, None) => {
            faults.add("spec", "it names no file", "`certFile` and `keyFile`, or `caFile`, or all three");
        }
        _ => {}
    }
}

/// References to certificates.
pub(super) fn references(path: &str, references: &[CertificateRef], max: usize, faults: &mut Faults) {
    faults.at_most(path, references.len(), max);
    for (index, one) in references.iter().take(max).enumerate() {
        reference(&format!("{path}[{index}]"), one, faults);
    }
}

/// A reference to a certificate.
pub(super) fn reference(path: &str, reference: &CertificateRef, faults: &mut Faults) {
    faults.reference(
        path,
        (reference.kind.as_deref(), &["Certificate"]),
        (reference.group.as_deref(), &["", "weir.dev"]),
    );
    faults.name(&format!("{path}.name"), names::subdomain(&reference.name));
    if let Some(namespace) = &reference.namespace {
        faults.name(&format!("{path}.namespace"), names::label(namespace));
    }
}
