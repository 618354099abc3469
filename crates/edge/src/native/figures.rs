//! What proxies report: added up by service, and proxy by proxy.

use std::sync::Arc;

use weir_api::native::List;
use weir_api::report::Wanted;

use super::refusal::Refusal;
use super::{NativeApi, known_parameters, ok};
use crate::http::{Request, Response};

impl NativeApi {
    /// `/figures?namespace=shop&service=cart`: what all proxies have counted together.
    pub(super) async fn figures(self: Arc<Self>, request: Request) -> Result<Response, Refusal> {
        known_parameters(&request, &["namespace", "service"])?;
        let filled = |name: &str| request.query.get_filled(name).map(str::to_owned);
        let wanted = Wanted { namespace: filled("namespace"), service: filled("service") };
        Ok(ok(&self.mesh.figures(&wanted)))
    }

    /// `/reports?proxy=ID`: what each proxy has reported last.
    pub(super) async fn reports(self: Arc<Self>, request: Request) -> Result<Response, Refusal> {
        known_parameters(&request, &["proxy"])?;
        let position = self.control.position();
        let mut items = self.mesh.reports();
        if let Some(wanted) = request.query.get_filled("proxy") {
            items.retain(|report| report.proxy == wanted);
        }
        Ok(ok(&List { position, items }))
    }
}
