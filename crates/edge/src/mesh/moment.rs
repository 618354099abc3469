//! The catalog at one revision, as sessions and snapshots read it.

use std::sync::Arc;

use weir_control::catalog::{self, EndpointsView};
use weir_control::resources::ResourceSet;
use weir_model::{Position, Revision, ServiceRef};

use super::views::Views;

/// The catalog at one revision, as far as a session asks for it.
pub(super) trait Moment {
    /// Which revision.
    fn position(&self) -> Position;
    /// The declared resources.
    fn resources(&self) -> &Arc<ResourceSet>;
    /// The endpoints of a service by id, without those that its document declares.
    fn endpoints(&self, service: &ServiceRef) -> Arc<EndpointsView>;
    /// The revision at which that answer last changed, as the answer itself says too.
    fn endpoints_index(&self, service: &ServiceRef) -> Revision;
    /// The revision at which any declared resource last changed.
    fn resources_index(&self) -> Revision;
}

/// The endpoints that proxies are told: those that a document declares reach them with that document.
pub(crate) fn registered_endpoints(moment: &catalog::Moment<'_>, service: &ServiceRef) -> EndpointsView {
    let mut view = moment.endpoints(service);
    view.endpoints.retain(|endpoint| !endpoint.fixed);
    view
}

/// The catalog's own moment, with the views that streams share.
pub(super) struct CatalogMoment<'a> {
    pub(super) moment: &'a catalog::Moment<'a>,
    pub(super) views: &'a Views,
}

impl Moment for CatalogMoment<'_> {
    fn position(&self) -> Position {
        self.moment.position()
    }

    fn resources(&self) -> &Arc<ResourceSet> {
        self.moment.resources()
    }

    fn endpoints(&self, service: &ServiceRef) -> Arc<EndpointsView> {
        let index = self.moment.endpoints_index(service);
        self.views.get(service, index, || registered_endpoints(self.moment, service))
    }

    fn endpoints_index(&self, service: &ServiceRef) -> Revision {
        self.moment.endpoints_index(service)
    }

    fn resources_index(&self) -> Revision {
        self.moment.resources_index()
    }
}
