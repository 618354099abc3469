//! Rules of `Certificate`.

use super::Faults;
use crate::resource::CertificateSpec;

/// Longest path of a file, in bytes (Linux's `PATH_MAX`).
const PATH_BYTES_MAX: usize = 4096;

pub(super) fn validate(spec: &CertificateSpec, faults: &mut Faults) {
    for (path, file) in [("spec.certFile", &spec.cert_file), ("spec.keyFile", &spec.key_file)] {
        if file.is_empty() {
            faults.add(path, "it is empty", "the path of a PEM file");
        } else if file.len() > PATH_BYTES_MAX || file.contains('\0') {
            faults.add(path, "not a path", "the path of a PEM file");
        }
    }
}
