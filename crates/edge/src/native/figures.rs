//! What proxies report: added up by service, and proxy by proxy; over all replicas.

use std::sync::Arc;

use weir_api::native::{PREFIX, ReportsAnswer};
use weir_api::report::{Figures, ProxyReport, Wanted, figures};

use super::refusal::Refusal;
use super::{NativeApi, OWN, flag, known_parameters, ok};
use crate::http::{Request, Response};

/// Asks for older reports as well, so that rates can be told.
const BASE: &str = "base";

impl NativeApi {
    /// `/figures?namespace=shop&service=cart`: what all proxies have counted together.
    pub(super) async fn figures(self: Arc<Self>, request: Request) -> Result<Response, Refusal> {
        known_parameters(&request, &["namespace", "service"])?;
        let filled = |name: &str| request.query.get_filled(name).map(str::to_owned);
        let wanted = Wanted { namespace: filled("namespace"), service: filled("service") };
        if self.control.replicas().len() < 2 {
            return Ok(ok(&self.mesh.figures(&wanted)));
        }
        let ReportsAnswer { proxies, items, missing, .. } = self.all_reports(true).await;
        Ok(ok(&Figures { proxies, missing, ..figures(items.iter().map(ProxyReport::seen), &wanted) }))
    }

    /// `/reports?proxy=ID`: what each proxy has reported last.
    pub(super) async fn reports(self: Arc<Self>, request: Request) -> Result<Response, Refusal> {
        known_parameters(&request, &["proxy", OWN, BASE])?;
        let base = flag(&request, BASE)?;
        let mut all =
            if flag(&request, OWN)? { self.own_reports(base) } else { self.all_reports(base).await };
        if let Some(wanted) = request.query.get_filled("proxy") {
            all.items.retain(|report| report.proxy == wanted);
        }
        Ok(ok(&all))
    }

    /// Those of the proxies that are connected to this replica.
    fn own_reports(&self, base: bool) -> ReportsAnswer {
        let (proxies, items) = (self.mesh.proxies().len() as u64, self.mesh.reports(base));
        ReportsAnswer { position: self.control.position(), proxies, items, missing: Vec::new() }
    }

    /// Those of all proxies.
    async fn all_reports(&self, base: bool) -> ReportsAnswer {
        let path = format!("{PREFIX}/reports?{OWN}{}", if base { "&base" } else { "" });
        let others = self.peers.ask::<ReportsAnswer>(&path).await;
        let mut all = self.own_reports(base);
        for answer in others.answers {
            all.proxies += answer.proxies;
            all.items.extend(answer.items);
        }
        // One that has just moved is known to both; the newer report counts.
        all.items.sort_by(|a, b| (&a.proxy, a.age_ms).cmp(&(&b.proxy, b.age_ms)));
        all.items.dedup_by(|next, first| next.proxy == first.proxy);
        ReportsAnswer { missing: others.missing, ..all }
    }
}
