//! The catalog at one revision, as sessions and snapshots read it.

use std::sync::Arc;

use weir_control::Settings;
use weir_control::catalog::{self, EndpointsView};
use weir_control::resources::ResourceSet;
use weir_model::resource::Protocol;
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

/// Proxies that do not know of `ServiceEndpoints.protocol` yet hear what a service speaks from its document and its instances alone.
fn tell_older_proxies(view: &mut EndpointsView) {
    let told = Protocol::of_instances(view.endpoints.iter().map(|one| (&one.metadata, one.grpc_check)));
    let differs = |said: &Protocol| told.is_none_or(|told| told.protocol != *said);
    let Some(protocol) = view.protocol.filter(differs) else { return };
    for endpoint in &mut view.endpoints {
        endpoint.metadata.insert("protocol".to_owned(), protocol.as_str().to_owned());
    }
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
        self.views.get(service, index, || {
            let mut view = self.effective.endpoints(self.moment, service, self.settings);
            tell_older_proxies(&mut view);
            view
        })
    }

    fn endpoints_index(&self, service: &ServiceRef) -> Revision {
        self.effective.endpoints_index(self.moment, service)
    }

    fn resources_index(&self) -> Revision {
        self.effective.resources_index(self.moment)
    }
}
