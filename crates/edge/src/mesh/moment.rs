//! The catalog at one revision, as sessions and snapshots read it.

use std::sync::Arc;

use weir_control::Settings;
use weir_control::catalog::{self, EndpointsView};
use weir_control::resources::ResourceSet;
use weir_model::{Position, Revision, ServiceRef};

use super::views::Views;
use crate::consul::chain::Effective;

/// The catalog at one revision, as far as a session asks for it.
pub(super) trait Moment {
    /// Which revision.
    fn position(&self) -> Position;
    /// The resources in force: those that were declared, and what config entries add to them.
    fn resources(&self) -> &Arc<ResourceSet>;
    /// The endpoints of a service by id, without those that its document declares.
    fn endpoints(&self, service: &ServiceRef) -> Arc<EndpointsView>;
    /// The revision at which that answer last changed, as the answer itself says too.
    fn endpoints_index(&self, service: &ServiceRef) -> Revision;
    /// The revision at which any of the resources last changed.
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
    pub(super) effective: &'a Effective,
    pub(super) settings: &'a Settings,
}

impl Moment for CatalogMoment<'_> {
    fn position(&self) -> Position {
        self.moment.position()
    }

    fn resources(&self) -> &Arc<ResourceSet> {
        self.effective.resources()
    }

    fn endpoints(&self, service: &ServiceRef) -> Arc<EndpointsView> {
        let index = self.endpoints_index(service);
        self.views.get(service, index, || self.effective.endpoints(self.moment, service, self.settings))
    }

    fn endpoints_index(&self, service: &ServiceRef) -> Revision {
        self.effective.endpoints_index(self.moment, service)
    }

    fn resources_index(&self) -> Revision {
        self.effective.resources_index(self.moment)
    }
}
