//! The files of certificates: read when a `Certificate` first names them, and again when they change.
//!
//! A change is what the file system says of the file that a path leads to, symbolic links followed, so renaming another
//! file or another directory into place is seen like writing. Files are read once they have stopped changing: a chain
//! and its key are seldom replaced in one instant. What cannot be used is reported once, and what was read before
//! stays.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use weir_model::{ResourceId, Spec};
use weir_tls::FileMark;

use crate::snapshot::Inputs;
use crate::tls::{CertificateFiles, Certificates, LoadedCertificate};

/// How often the files are looked at.
pub(super) const POLL_EVERY: Duration = Duration::from_secs(1);

/// The certificates of a proxy.
#[derive(Debug, Default)]
pub(super) struct CertificateStore {
    loaded: Arc<Certificates>,
    /// What the files looked like when they were last read.
    read: BTreeMap<CertificateFiles, Vec<Mark>>,
    /// What they looked like at the last poll.
    seen: BTreeMap<CertificateFiles, Vec<Mark>>,
}

/// What the file system says of a file; none when it says nothing.
type Mark = Option<FileMark>;

impl CertificateStore {
    pub(super) fn loaded(&self) -> Arc<Certificates> {
        Arc::clone(&self.loaded)
    }

    /// Reads the files that inputs name and that were not read yet, and forgets those that none of `inputs` names.
    pub(super) fn learn(&mut self, inputs: &[&Inputs]) {
        let wanted: BTreeSet<_> =
            inputs.iter().flat_map(|inputs| files(inputs)).map(|(_, files)| files).collect();
        if self.read.keys().eq(&wanted) {
            return;
        }
        self.read.retain(|files, _| wanted.contains(files));
        let mut loaded = Certificates::clone(&self.loaded);
        loaded.retain(|files, _| wanted.contains(files));
        for files in wanted {
            if self.read.contains_key(&files) {
                continue;
            }
            self.read.insert(files.clone(), marks(&files));
            let result = LoadedCertificate::load(&files).map(Arc::new);
            if let Ok(certificate) = &result {
                warn(certificate);
            }
            loaded.insert(files, result);
        }
        self.seen.clone_from(&self.read);
        self.loaded = Arc::new(loaded);
    }

    /// Reads files that have changed and look the same as at the last poll. Says whether that gave another certificate.
    pub(super) fn poll(&mut self) -> bool {
        let mut changed = Vec::new();
        for (files, read) in &mut self.read {
            let now = marks(files);
            let seen = self.seen.insert(files.clone(), now.clone());
            if now != *read && seen.as_ref() == Some(&now) {
                *read = now;
                changed.push(files.clone());
            }
        }
        let mut loaded = None;
        for files in changed {
            let shown = files.paths().collect::<Vec<_>>().join(", ");
            match LoadedCertificate::load(&files) {
                Ok(certificate) => {
                    tracing::info!(files = %shown, "a certificate has changed and is in force");
                    warn(&certificate);
                    let loaded = loaded.get_or_insert_with(|| Certificates::clone(&self.loaded));
                    loaded.insert(files, Ok(Arc::new(certificate)));
                }
                Err(fault) => match self.loaded.get(&files) {
                    Some(Ok(_)) => {
                        tracing::error!(
                            "a changed certificate was refused, the one before stays: {}",
                            fault.reason
                        );
                    }
                    _ => {
                        let loaded = loaded.get_or_insert_with(|| Certificates::clone(&self.loaded));
                        loaded.insert(files, Err(fault));
                    }
                },
            }
        }
        let Some(loaded) = loaded else { return false };
        self.loaded = Arc::new(loaded);
        true
    }

    /// When each certificate of inputs ends, in seconds since 1970.
    pub(super) fn ends(&self, inputs: &Inputs) -> Vec<(String, i64)> {
        let end = |(id, files): (&ResourceId, CertificateFiles)| {
            let Ok(certificate) = self.loaded.get(&files)? else { return None };
            Some((id.to_string(), certificate.not_after()?))
        };
        files(inputs).filter_map(end).collect()
    }
}

/// The `Certificate`s of inputs with the files that they name.
fn files(inputs: &Inputs) -> impl Iterator<Item = (&ResourceId, CertificateFiles)> {
    inputs.resources.iter().filter_map(|(id, resource)| match &resource.spec {
        Spec::Certificate(spec) => Some((id, CertificateFiles::of(spec))),
        _ => None,
    })
}

fn warn(certificate: &LoadedCertificate) {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    if let Some(warning) = certificate.warning(i64::try_from(now).unwrap_or(i64::MAX)) {
        let path = certificate.files().cert.as_deref().unwrap_or_default();
        tracing::warn!(path, "a certificate {warning}");
    }
}

fn marks(files: &CertificateFiles) -> Vec<Mark> {
    files.paths().map(FileMark::of).collect()
}
