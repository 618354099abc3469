//! The catalog at one moment, as sessions and snapshots read it.
//!
//! The position is read first, so what is read afterwards is at least as new. What changes in between marks the
//! streams it concerns, which then look once more: an update is never older than the position it carries. Declared
//! resources are one immutable set, so they are always of one revision.

use std::sync::Arc;

use weir_control::Catalog;
use weir_control::catalog::EndpointsView;
use weir_control::resources::ResourceSet;
use weir_model::{Position, Revision, ServiceRef};

use super::session::Moment;

/// What the catalog shows now.
pub(crate) struct CatalogMoment<'a> {
    catalog: &'a Catalog,
    position: Position,
    resources: Arc<ResourceSet>,
    resources_index: Revision,
}

impl<'a> CatalogMoment<'a> {
    pub(crate) fn now(catalog: &'a Catalog) -> Self {
        let position = catalog.position();
        let resources = catalog.resources();
        Self { catalog, position, resources: resources.entries, resources_index: resources.index }
    }
}

impl Moment for CatalogMoment<'_> {
    fn position(&self) -> Position {
        self.position
    }

    fn resources(&self) -> &Arc<ResourceSet> {
        &self.resources
    }

    fn endpoints(&self, service: &ServiceRef) -> EndpointsView {
        let mut view = self.catalog.endpoints(service);
        // Those that a document declares reach the proxy with that document.
        if let Some(document) = self.resources.service(service) {
            let declared: Vec<String> = document
                .endpoints
                .iter()
                .map(|fixed| format!("static/{}:{}", fixed.address, fixed.port))
                .collect();
            view.endpoints.retain(|endpoint| endpoint.inbound || !declared.contains(&endpoint.id));
        }
        view
    }

    fn endpoints_index(&self, service: &ServiceRef) -> Revision {
        self.catalog.service_index(service).max(self.resources_index)
    }

    fn resources_index(&self) -> Revision {
        self.resources_index
    }
}
