//! What proxies have reported, put into an explanation: one proxy's view decides (`weir_proxy::explain::Seen`); what the
//! others have counted, and how limits and breakers stand there, is shown beside it (`standing`).

use weir_api::native::ProxyView;
use weir_api::report::ProxyReport;
use weir_model::{DEFAULT_NAMESPACE, ServiceRef};
use weir_proxy::explain::{Explanation, Forwarded, Outcome, Reported};
use weir_proxy::snapshot::Role;

use super::standing::{at_callers, where_it_arrives};
use super::{no_such, service_ref};
use crate::exit::Failure;

/// Most things that are said of proxies which have not answered, or have something else in force.
const REMARKS_MAX: usize = 10;

/// What is known of the proxies that a server knows.
pub(super) struct Known {
    /// What they have reported.
    pub(super) reports: Vec<ProxyReport>,
    /// What they have in force.
    pub(super) proxies: Vec<ProxyView>,
    /// Those among them that were waited for, and have not reported anew.
    pub(super) silent: Vec<Silent>,
}

/// A proxy that has not reported since it was asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Silent {
    /// Its id.
    pub(super) proxy: String,
    /// How old its last report is, in milliseconds; none where it never reported.
    pub(super) age_ms: Option<u64>,
}

impl Known {
    /// The report whose view decides: of the proxy that is named, else of the first by id that plays the role.
    pub(super) fn view(&self, role: &Role, named: Option<&str>) -> Result<Option<&ProxyReport>, Failure> {
        let mut own: Vec<&ProxyReport> = self.reports.iter().filter(|report| plays(report, role)).collect();
        own.sort_by(|a, b| a.proxy.cmp(&b.proxy));
        let Some(named) = named else { return Ok(own.first().copied()) };
        match own.iter().find(|report| report.proxy == named) {
            Some(report) => Ok(Some(report)),
            None => {
                let names: Vec<String> = own.iter().map(|report| report.proxy.clone()).collect();
                Err(no_such("--as", "proxy that has reported for this", named, &names))
            }
        }
    }

    /// Adds what all proxies report that play the role; of a call inside the mesh also what limits it where it arrives.
    pub(super) fn add(&self, explanation: &mut Explanation, role: &Role, view: Option<&ProxyReport>) {
        let own: Vec<&ProxyReport> = self.reports.iter().filter(|report| plays(report, role)).collect();
        let mut oldest_ms = own.iter().map(|report| report.age_ms).max();
        for entrance in &mut explanation.entrances {
            let Outcome::Forward(forwarded) = &mut entrance.outcome else { continue };
            at_callers(forwarded, &own);
            forwarded.fallbacks.iter_mut().for_each(|fallback| at_callers(fallback, &own));
            if let Role::Sidecar { .. } = role {
                oldest_ms = oldest_ms.max(self.arrives(forwarded));
                for fallback in &mut forwarded.fallbacks {
                    oldest_ms = oldest_ms.max(self.arrives(fallback));
                }
            }
        }
        let view = view.map(|report| report.proxy.clone());
        explanation.reported = Some(Reported { proxies: own.len(), oldest_ms, view });
        explanation.remarks.extend(bounded(self.not_answered()));
        explanation.remarks.extend(bounded(self.something_else_in_force(role)));
    }

    /// Adds what limits a call where it arrives, and says how old the oldest word of that is.
    fn arrives(&self, forwarded: &mut Forwarded) -> Option<u64> {
        let callee = Role::Sidecar { service: service_ref(&forwarded.service, DEFAULT_NAMESPACE) };
        let callees: Vec<&ProxyReport> =
            self.reports.iter().filter(|report| plays(report, &callee)).collect();
        let limited = where_it_arrives(forwarded, &callees);
        callees.iter().map(|report| report.age_ms).max().filter(|_| limited)
    }

    /// The proxies whose word is not of now.
    fn not_answered(&self) -> Vec<String> {
        let said = |Silent { proxy, age_ms }: &Silent| match age_ms {
            Some(ms) => {
                let ago = *ms as f64 / 1000.0;
                format!("proxy {proxy} does not answer: what is told of it is as of {ago:.1} s ago")
            }
            None => format!("proxy {proxy} has not reported yet"),
        };
        self.silent.iter().map(said).collect()
    }

    /// The proxies that have something else in force than what is explained.
    fn something_else_in_force(&self, role: &Role) -> Vec<String> {
        let own = self.proxies.iter().filter(|proxy| is_of(proxy, role));
        let mut remarks = Vec::new();
        for proxy in own {
            remarks.extend(proxy.rejections.iter().map(|refused| {
                format!(
                    "proxy {} has refused {}: {}: {}; there its older version is in force, if there was one",
                    proxy.id, refused.resource, refused.path, refused.reason
                )
            }));
            if !proxy.in_sync {
                remarks.push(format!(
                    "proxy {} has revision {} in force, and has not taken what came later yet",
                    proxy.id, proxy.applied
                ));
            }
        }
        remarks
    }
}

fn bounded(mut remarks: Vec<String>) -> Vec<String> {
    if remarks.len() > REMARKS_MAX {
        let more = remarks.len() - REMARKS_MAX;
        remarks.truncate(REMARKS_MAX);
        remarks.push(format!("{more} more like this: see `weir get proxies`"));
    }
    remarks
}

/// Whether a connected proxy plays a role.
pub(super) fn is_of(proxy: &ProxyView, role: &Role) -> bool {
    is_in_role((&proxy.role, &proxy.namespace, &proxy.service), &proxy.gateways, role)
}

fn plays(report: &ProxyReport, role: &Role) -> bool {
    is_in_role((&report.role, &report.namespace, &report.service), &report.gateways, role)
}

/// Whether a proxy plays a role, by its own role, its namespace, the service it stands in front of, and its gateways.
fn is_in_role((own, namespace, service): (&str, &str, &str), gateways: &[String], role: &Role) -> bool {
    match role {
        Role::Gateway { gateways: all } => all.iter().any(|wanted| {
            let wanted = service_ref(wanted, DEFAULT_NAMESPACE);
            gateways.iter().any(|served| service_ref(served, namespace) == wanted)
        }),
        Role::Sidecar { service: wanted } => {
            own == "sidecar" && ServiceRef::new(namespace, service) == *wanted
        }
    }
}

#[cfg(test)]
mod tests {
    use weir_api::native::RejectionView;
    use weir_api::report::{
        BreakerReport, EndpointReport, KeptAnswers, LimitReport, Refusing, Report, ServiceReport,
    };
    use weir_model::{Position, document};
    use weir_proxy::explain::Request;
    use weir_proxy::snapshot::Inputs;

    use super::*;

    const DOCUMENTS: &str = "
kind: Gateway
metadata: {name: edge}
spec: {listeners: [{name: web, port: 8080, protocol: HTTP}]}
---
kind: HTTPRoute
metadata: {name: shop}
spec: {parentRefs: [{name: edge}], rules: [{backendRefs: [{name: cart}]}]}
---
kind: Service
metadata: {name: cart}
spec: {endpoints: [{address: 127.0.0.1, port: 9001}, {address: 127.0.0.1, port: 9002}]}
---
kind: RateLimit
metadata: {name: cart}
spec: {targetRefs: [{name: cart}], rates: [{requests: 10, per: 1s}]}
---
kind: TrafficPolicy
metadata: {name: cart}
spec: {targetRefs: [{name: cart}], breakers: [{level: service, fallback: {cached: {}}}]}
";
    const IDS: [&str; 2] = ["127.0.0.1:9001", "127.0.0.1:9002"];

    fn gateway() -> Role {
        Role::Gateway { gateways: vec!["default/edge".to_owned()] }
    }

    fn explained(role: &Role, url: &str, reports: &[ProxyReport], named: Option<&str>) -> Explanation {
        explained_of(DOCUMENTS, role, url, reports, named)
    }

    fn explained_of(
        documents: &str,
        role: &Role,
        url: &str,
        reports: &[ProxyReport],
        named: Option<&str>,
    ) -> Explanation {
        let documents = document::parse("-", documents).unwrap().documents;
        let resources = documents.into_iter().map(|document| document.resource);
        let inputs = Inputs::of_resources(Position::default(), resources);
        let known = Known { reports: reports.to_vec(), proxies: Vec::new(), silent: Vec::new() };
        let view = known.view(role, named).unwrap();
        let request = Request::parse("GET", url, std::iter::empty()).unwrap();
        let mut explanation = super::super::explained(role, &inputs, &request, view);
        known.add(&mut explanation, role, view);
        explanation
    }

    /// A report by a proxy that has ejected some endpoints.
    fn report(proxy: &str, admitted: u64, ejected: &[&str]) -> ProxyReport {
        let endpoints = IDS.iter().map(|id| EndpointReport {
            id: (*id).to_owned(),
            in_flight: if *id == IDS[0] { 2 } else { 7 },
            is_ejected: ejected.contains(id),
            ejected: ejected.contains(id).then(|| "ejected for 3 s".to_owned()),
            ..EndpointReport::default()
        });
        let cart = ServiceReport {
            service: "cart".into(),
            endpoints: endpoints.collect(),
            ..ServiceReport::default()
        };
        let limit = LimitReport {
            limit: "RateLimit/cart".into(),
            target: "Service/cart".into(),
            admitted,
            refused: 1,
            state: format!("{admitted} left"),
            status: 429,
            ..LimitReport::default()
        };
        let breaker = BreakerReport {
            breaker: "TrafficPolicy/cart#0".into(),
            target: "Service/cart".into(),
            phase: "closed".into(),
            refused: 5,
            state: "closed".into(),
            kept: Some(KeptAnswers { answers: 3, bytes: 100, given: 2 }),
            ..BreakerReport::default()
        };
        let report = Report {
            services: vec![cart],
            limits: vec![limit],
            breakers: vec![breaker],
            ..Report::default()
        };
        ProxyReport {
            proxy: proxy.into(),
            role: "gateway".into(),
            namespace: "default".into(),
            gateways: vec!["edge".into()],
            age_ms: admitted,
            report,
            ..ProxyReport::default()
        }
    }

    #[track_caller]
    fn contains(explanation: &Explanation, parts: &[&str]) {
        let text = explanation.to_string();
        for part in parts {
            assert!(text.contains(part), "`{part}` is missing in:\n{text}");
        }
    }

    #[test]
    fn counts_of_the_gateways_proxies_are_shown_with_their_age() {
        let other = ProxyReport { gateways: vec!["inner".into()], ..report("other", 1000, &[]) };
        let reports = [report("b", 20, &[]), report("a", 100, &[]), other];
        let parts = [
            "as 2 proxies have reported, at most 0.1 s ago",
            "the choice: as proxy a sees them; another one's: --as PROXY",
            "RateLimit/cart of Service/cart: 120 let through, 2 refused",
            "a: 100 left",
            "b: 20 left",
            "TrafficPolicy/cart#0 of Service/cart: 10 refused",
            "a: closed",
            "an earlier answer, 6 answers kept (200 bytes), 4 given",
            "weight 1, 2 in flight",
            "sent to 127.0.0.1:9001 at",
        ];
        contains(&explained(&gateway(), "http://h/", &reports, None), &parts);
    }

    #[test]
    fn who_is_ejected_at_a_proxy_is_not_chosen_there() {
        let reports = [report("a", 1, &[IDS[0]]), report("b", 1, &[])];
        let choice = |named| {
            let explanation = explained(&gateway(), "http://h/", &reports, Some(named));
            let forwarded = explanation.forwarded().unwrap();
            let candidates = forwarded.endpoints.iter().filter(|endpoint| endpoint.candidate).count();
            (forwarded.choice.clone().unwrap().endpoint, candidates, explanation)
        };
        let (endpoint, candidates, explanation) = choice("a");
        assert_eq!((&*endpoint, candidates), (IDS[1], 1), "{explanation}");
        contains(&explanation, &["left out: ejected for 3 s"]);
        let (endpoint, candidates, explanation) = choice("b");
        assert_eq!((&*endpoint, candidates), (IDS[0], 2), "the less busy one of both: {explanation}");
    }

    #[test]
    fn what_a_proxy_refuses_is_refused() {
        let mut open = report("a", 1, &[]);
        open.report.breakers[0].refusing = Some(Refusing {
            share: 1.0,
            why: "it is open for another 2.0 s: 3 calls in a row failed".into(),
            retry_after_ms: Some(1001),
        });
        let reports = [open, report("b", 1, &[])];
        let end = "answered with an earlier answer to the same request, else (503), by TrafficPolicy/cart#0 of \
                   Service/cart: it is open for another 2.0 s: 3 calls in a row failed; Retry-After: 2\n";
        contains(&explained(&gateway(), "http://h/", &reports, None), &[end]);
        contains(&explained(&gateway(), "http://h/", &reports, Some("b")), &["sent to 127.0.0.1:9001 at"]);
        let mut used_up = report("a", 1, &[]);
        used_up.report.limits[0].refusing =
            Some(Refusing { share: 1.0, why: "the rate is used up".into(), retry_after_ms: None });
        let end = "refused (429), by RateLimit/cart of Service/cart: the rate is used up\n";
        contains(&explained(&gateway(), "http://h/", &[used_up], None), &[end]);
    }

    #[test]
    fn a_proxy_that_nobody_knows_is_not_seen() {
        let known = Known { reports: vec![report("a", 1, &[])], proxies: Vec::new(), silent: Vec::new() };
        let failure = known.view(&gateway(), Some("b")).unwrap_err();
        assert_eq!(failure.message, "there is no proxy that has reported for this `b`; there is a");
    }

    fn sidecar(service: &str, admitted: u64) -> ProxyReport {
        ProxyReport {
            role: "sidecar".into(),
            service: service.into(),
            gateways: Vec::new(),
            ..report(service, admitted, &[])
        }
    }

    #[test]
    fn a_call_inside_the_mesh_is_limited_where_it_arrives() {
        let front = Role::Sidecar { service: ServiceRef::new("default", "front") };
        let mut callee = sidecar("cart", 40);
        callee.report.limits[0].refusing =
            Some(Refusing { share: 1.0, why: "the rate is used up".into(), retry_after_ms: None });
        let explanation = explained(&front, "http://cart/", &[callee, sidecar("front", 7)], None);
        let forwarded = explanation.forwarded().unwrap();
        let limits: Vec<_> = forwarded.limits.iter().map(|limit| (limit.admitted, &*limit.state)).collect();
        assert_eq!(limits, [(Some(40), "40 left")]);
        let expected = Reported { proxies: 1, oldest_ms: Some(40), view: Some("front".into()) };
        assert_eq!(explanation.reported, Some(expected));
        let end = "refused (429), by RateLimit/cart of Service/cart, at 1 of 1 sidecars where it may arrive: the rate is used up";
        contains(&explanation, &[end]);
    }

    #[test]
    fn a_call_that_is_sent_elsewhere_is_limited_where_it_arrives_there() {
        let documents = DOCUMENTS.replace("{cached: {}}", "{service: {name: spare}}")
            + "---
kind: Service
metadata: {name: spare}
spec: {endpoints: [{address: 127.0.0.1, port: 9003}]}
---
kind: RateLimit
metadata: {name: spare}
spec: {targetRefs: [{name: spare}], rates: [{requests: 10, per: 1s}]}
";
        let front = Role::Sidecar { service: ServiceRef::new("default", "front") };
        let (mut own, mut spare) = (sidecar("front", 7), sidecar("spare", 60));
        own.report.breakers[0].refusing =
            Some(Refusing { share: 1.0, why: "it is open".into(), retry_after_ms: None });
        let limit = &mut spare.report.limits[0];
        (limit.limit, limit.target) = ("RateLimit/spare".into(), "Service/spare".into());
        limit.refusing =
            Some(Refusing { share: 1.0, why: "the rate is used up".into(), retry_after_ms: None });
        let explanation = explained_of(&documents, &front, "http://cart/", &[own, spare], None);
        assert_eq!(explanation.reported.as_ref().and_then(|reported| reported.oldest_ms), Some(60));
        let parts = [
            "sent to service spare instead, by TrafficPolicy/cart#0 of Service/cart: it is open",
            "RateLimit/spare of Service/spare: 60 let through, 1 refused",
            "refused (429), by RateLimit/spare of Service/spare, at 1 of 1 sidecars where it may arrive: the rate is used up",
        ];
        contains(&explanation, &parts);
    }

    #[test]
    fn where_nobody_has_reported_that_is_said() {
        let explanation = explained(&gateway(), "http://h/", &[], None);
        let parts = [
            "no proxy has reported yet: how limits and breakers stand is not known",
            "RateLimit/cart of Service/cart: not reported yet",
            "TrafficPolicy/cart#0 of Service/cart: not reported yet",
        ];
        contains(&explanation, &parts);
    }

    #[test]
    fn what_is_told_of_another_version_is_not_shown() {
        let mut old = report("a", 7, &[]);
        (old.report.limits[0].version, old.report.breakers[0].version) = (1, 1);
        let refusing = Some(Refusing { share: 1.0, why: "it is open".into(), retry_after_ms: None });
        (old.report.limits[0].refusing, old.report.breakers[0].refusing) = (refusing.clone(), refusing);
        let explanation = explained(&gateway(), "http://h/", &[old.clone()], None);
        let parts = [
            "RateLimit/cart of Service/cart: not reported yet",
            "TrafficPolicy/cart#0 of Service/cart: not reported yet",
            "whether it lets this request through is not known: the proxy has not reported of it yet",
            "sent to 127.0.0.1:9001 at",
        ];
        contains(&explanation, &parts);
        assert!(!explanation.to_string().contains("7 left"), "{explanation}");
        // One of two has the new version already: its counts are shown, and that the other is missing.
        let explanation = explained(&gateway(), "http://h/", &[old, report("b", 20, &[])], Some("b"));
        let parts = [
            "RateLimit/cart of Service/cart: 20 let through, 1 refused",
            "b: 20 left",
            "a: not reported yet",
            "TrafficPolicy/cart#0 of Service/cart: 5 refused",
        ];
        contains(&explanation, &parts);
    }

    #[test]
    fn who_does_not_answer_is_named() {
        let silent = |proxy: &str, age_ms| Silent { proxy: proxy.to_owned(), age_ms };
        let known = |silent| Known { reports: Vec::new(), proxies: Vec::new(), silent };
        assert_eq!(
            known(vec![silent("a", Some(9040)), silent("b", None)]).not_answered(),
            [
                "proxy a does not answer: what is told of it is as of 9.0 s ago",
                "proxy b has not reported yet"
            ]
        );
        let many = (0..12).map(|number| silent(&number.to_string(), None)).collect();
        let remarks = bounded(known(many).not_answered());
        assert_eq!((remarks.len(), &*remarks[REMARKS_MAX]), (11, "2 more like this: see `weir get proxies`"));
    }

    #[test]
    fn what_a_proxy_has_refused_is_said() {
        let proxy = |id: &str, rejections| ProxyView {
            id: id.into(),
            role: "gateway".into(),
            namespace: "default".into(),
            service: String::new(),
            gateways: vec!["edge".into()],
            node: String::new(),
            version: String::new(),
            admin: String::new(),
            connected_ms: 0,
            sent: Position::default(),
            applied: Position::default(),
            in_sync: id == "a",
            current: Position::default(),
            subscriptions: 0,
            rejections,
        };
        let refused = RejectionView {
            resource: "Gateway/edge".into(),
            path: "spec.addresses".into(),
            reason: "not this host's".into(),
        };
        let proxies = vec![proxy("a", vec![refused]), proxy("b", vec![])];
        let known = Known { reports: Vec::new(), proxies, silent: Vec::new() };
        assert_eq!(
            known.something_else_in_force(&gateway()),
            [
                "proxy a has refused Gateway/edge: spec.addresses: not this host's; there its older version is in force, if there was one",
                "proxy b has revision 0.0 in force, and has not taken what came later yet",
            ]
        );
        let other = Role::Gateway { gateways: vec!["default/other".to_owned()] };
        assert!(known.something_else_in_force(&other).is_empty());
    }
}
