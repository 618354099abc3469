//! A port that speaks TLS: which of its sections serves a client, by the name that the client asks for.

use std::sync::Arc;

use super::ServerTls;
use crate::route::{HostBuffer, HostIndex, HostPattern};

/// One section: a listener of a gateway.
#[derive(Clone, Debug)]
pub struct TlsSection {
    /// What it is called: `Gateway/edge:web`.
    pub label: Arc<str>,
    /// The names it is for.
    pub host: HostPattern,
    /// Its place among the sections of the port's table: of requests' routes if HTTP is spoken inside, else of streams'.
    pub section: u32,
    /// Whether HTTP is spoken inside.
    pub http: bool,
    /// What is done with its clients.
    pub action: TlsAction,
}

/// What is done with clients of a section.
#[derive(Clone, Debug)]
pub enum TlsAction {
    /// TLS ends here.
    Terminate(Arc<ServerTls>),
    /// TLS is passed on as it is.
    Passthrough,
}

/// The port.
#[derive(Debug)]
pub struct TlsPort {
    sections: Vec<TlsSection>,
    by_host: HostIndex<usize>,
}

impl TlsPort {
    /// A port with these sections. Of two for the same names the first counts.
    pub fn new(sections: Vec<TlsSection>) -> Self {
        let mut by_host = HostIndex::default();
        for (index, section) in sections.iter().enumerate() {
            by_host.entry(&section.host, || index);
        }
        Self { sections, by_host }
    }

    /// The section for a name, the most specific; for clients that name none, the one for all names. None when no
    /// section is for it.
    pub fn select(&self, name: Option<&[u8]>) -> Option<&TlsSection> {
        let mut buffer = HostBuffer::default();
        let host = buffer.fold(name.unwrap_or_default());
        let found = self.by_host.matching(host).next();
        found.map(|&index| &self.sections[index])
    }

    /// Whether a client that came in by a section's TLS may ask for what a section of the requests' table serves: it is
    /// that section, and it would be let in today.
    pub(crate) fn admits(&self, server: &ServerTls, section: usize) -> bool {
        self.sections.iter().any(|one| {
            one.http
                && one.section as usize == section
                && matches!(&one.action, TlsAction::Terminate(present) if present.has_rule_of(server))
        })
    }

    /// Its sections.
    pub fn sections(&self) -> &[TlsSection] {
        &self.sections
    }

    /// The TLS of a section, by its label.
    pub fn server(&self, label: &str) -> Option<&Arc<ServerTls>> {
        self.sections.iter().find(|section| *section.label == *label).and_then(|section| {
            match &section.action {
                TlsAction::Terminate(server) => Some(server),
                TlsAction::Passthrough => None,
            }
        })
    }
}
