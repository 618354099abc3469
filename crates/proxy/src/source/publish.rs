//! From inputs to a snapshot in force: compile, bind, swap.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::Arc;

use weir_model::{Resource, ResourceId, ServiceRef};

use super::Shared;
use super::certificates::CertificateStore;
use super::names::Names;
use crate::Metrics;
use crate::snapshot::{Compiler, Inputs, ListenerConfig, Origin, Rejection, Resources, Role, Settings};

/// What binds a gateway's addresses. A trait so that publishing can be tested without sockets.
pub(super) trait Sockets: Send + Sync {
    /// Binds what is new in `wanted`, all or nothing, without accepting yet.
    fn bind(&self, wanted: &[SocketAddr]) -> Result<(), Vec<NotBound>>;
    /// Starts accepting on what was bound and drains what is not in `wanted`.
    fn commit(&self, wanted: &[SocketAddr]);
}

/// An address that could not be bound.
#[derive(Debug)]
pub(super) struct NotBound {
    /// Its place in the list that was given.
    pub(super) index: usize,
    /// The address and the system's reason.
    pub(super) reason: String,
}

/// Puts snapshots in force.
pub(super) struct Publisher {
    shared: Arc<Shared>,
    sockets: Arc<dyn Sockets>,
    compiler: Compiler,
    names: Names,
    certificates: CertificateStore,
    /// Where the ends of certificates are shown.
    metrics: Option<Arc<Metrics>>,
    /// What was last asked for and what became of its resources, so that endpoint changes need not try again what was
    /// refused.
    settled: Option<Settled>,
    /// The version that each resource last had in force, here or before this process began. Of what is in force, that.
    last_good: Arc<Resources>,
}

struct Settled {
    wanted: Arc<Resources>,
    effective: Arc<Resources>,
    rejections: Vec<Rejection>,
}

impl Publisher {
    pub(super) fn new(
        shared: Arc<Shared>,
        sockets: Arc<dyn Sockets>,
        role: Role,
        defaults: Settings,
    ) -> Self {
        let compiler = Compiler { defaults, ..Compiler::new(role) };
        // Until something is in force, names mean what they will mean then: services of the proxy's own namespace.
        if let Ok(empty) = compiler.compile(&Inputs::default(), None) {
            shared.snapshot.store(Arc::new(empty));
        }
        Self {
            shared,
            sockets,
            compiler,
            names: Names::default(),
            certificates: CertificateStore::default(),
            metrics: None,
            settled: None,
            last_good: Arc::default(),
        }
    }

    /// Shows the ends of certificates.
    pub(super) fn showing(mut self, metrics: Arc<Metrics>) -> Self {
        self.metrics = Some(metrics);
        self
    }

    /// Calls services as this proxy.
    pub(super) fn calling_as(mut self, origin: Origin) -> Self {
        self.compiler.origin = Arc::new(origin);
        self
    }

    /// Refuses gateways at addresses that others can reach, or takes them.
    pub(super) fn loopback_only(mut self, only: bool) -> Self {
        self.compiler.loopback_only = only;
        self
    }

    pub(super) const fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    /// The inputs of the snapshot in force.
    pub(super) fn in_force(&self) -> Inputs {
        self.shared.snapshot.load().inputs.clone()
    }

    /// Resolves the host names that inputs bring along and that are not known yet, within a bounded time, and reads the
    /// files of certificates.
    pub(super) async fn resolve(&mut self, inputs: &Inputs) {
        self.names.learn(inputs).await;
        self.compiler.addresses = self.names.addresses();
        self.certificates.learn(&[inputs, &self.in_force()]);
        self.compiler.certificates = Some(self.certificates.loaded());
    }

    /// Looks at the files of certificates, and publishes anew if one has changed. Says whether one has.
    pub(super) fn poll_certificates(&mut self) -> bool {
        if !self.certificates.poll() {
            return false;
        }
        self.compiler.certificates = Some(self.certificates.loaded());
        let inputs = self.in_force();
        if let Err(rejections) = self.whole(&inputs) {
            for rejection in rejections {
                tracing::error!("a changed certificate could not be put in force: {rejection}");
            }
        }
        true
    }

    /// Resolves the host names in force once more, and publishes anew if one changed.
    pub(super) async fn refresh_names(&mut self) {
        let inputs = self.in_force();
        if !self.names.refresh(&inputs).await {
            return;
        }
        self.compiler.addresses = self.names.addresses();
        if let Err(rejections) = self.whole(&inputs) {
            tracing::error!(?rejections, "new addresses of host names could not be put in force");
        }
    }

    /// The service whose application the proxy stands beside, which registers nowhere where there is no control plane.
    pub(super) fn own_service(&self) -> Option<&ServiceRef> {
        match &self.compiler.role {
            Role::Sidecar { service } => Some(service),
            Role::Gateway { .. } => None,
        }
    }

    /// Publishes anew what is in force, by what this proxy's own checks came to since.
    pub(super) fn refresh_verdicts(&mut self) {
        let inputs = self.in_force();
        if let Err(rejections) = self.whole(&inputs) {
            tracing::error!(?rejections, "what checks came to could not be put in force");
        }
    }

    /// Puts inputs in force as a whole.
    ///
    /// # Errors
    /// Every resource that stands in the way; then nothing has changed.
    pub(super) fn whole(&mut self, inputs: &Inputs) -> Result<(), Vec<Rejection>> {
        let previous = self.shared.snapshot.load_full();
        self.compiler.verdicts = self.shared.checks.verdicts();
        let snapshot = self.compiler.compile(inputs, Some(&previous))?;
        let wanted: Vec<SocketAddr> = snapshot.listeners.iter().map(|listener| listener.addr).collect();
        if let Err(failures) = self.sockets.bind(&wanted) {
            return Err(failures.iter().map(|failure| cannot_bind(&snapshot.listeners, failure)).collect());
        }
        self.shared.install(snapshot);
        if let Some(metrics) = &self.metrics {
            metrics.set_certificates(self.certificates.ends(inputs));
        }
        self.sockets.commit(&wanted);
        Ok(())
    }

    /// Takes these for the versions that were last in force, of resources of which none is.
    pub(super) fn remember<'a>(&mut self, resources: impl IntoIterator<Item = &'a Arc<Resource>>) {
        let in_force = self.in_force().resources;
        let missing = resources.into_iter().map(|resource| (resource.id(), Arc::clone(resource)));
        Arc::make_mut(&mut self.last_good).extend(missing.filter(|(id, _)| !in_force.contains_key(id)));
    }

    /// The version that a resource last had in force.
    pub(super) fn last_good(&self, id: &ResourceId) -> Option<&Arc<Resource>> {
        self.last_good.get(id)
    }

    /// Puts inputs in force but for the resources that are refused: of these the version in force stays; if there is none,
    /// the last one that was comes back, if it can. Gives what was refused.
    ///
    /// What was refused before is tried again only when some resource has changed, or when `retry` says so.
    pub(super) fn accept(&mut self, wanted: &Inputs, retry: bool) -> Vec<Rejection> {
        let in_force = self.in_force().resources;
        let mut effective = wanted.clone();
        let mut rejections = Vec::new();
        if let Some(settled) = &self.settled
            && !retry
            && Arc::ptr_eq(&settled.wanted, &wanted.resources)
        {
            effective.resources = Arc::clone(&settled.effective);
            rejections.clone_from(&settled.rejections);
        }
        while let Err(refused) = self.whole(&effective) {
            let ids: BTreeSet<_> = refused.iter().map(|rejection| rejection.resource.clone()).collect();
            // Nobody has asked for what came back.
            let asked_for = |id: &ResourceId| {
                in_force.contains_key(id) || effective.resources.get(id) == wanted.resources.get(id)
            };
            rejections.extend(refused.into_iter().filter(|rejection| asked_for(&rejection.resource)));
            if revert(&mut effective.resources, &in_force, &self.last_good, &ids) {
                continue;
            }
            // What is refused is what is in force already: something new stands in its way. All that is new goes.
            effective.resources = Arc::clone(&in_force);
            if let Err(refused) = self.whole(&effective) {
                tracing::error!(?refused, "not even the resources in force can be put in force again");
                break;
            }
        }
        rejections.dedup();
        self.note_good(&wanted.resources);
        self.settled = Some(Settled {
            wanted: Arc::clone(&wanted.resources),
            effective: effective.resources,
            rejections: rejections.clone(),
        });
        rejections
    }

    /// What is in force is good. Of what is wanted and not in force, what was good before stays so.
    fn note_good(&mut self, wanted: &Arc<Resources>) {
        let in_force = self.in_force().resources;
        if Arc::ptr_eq(&in_force, wanted) {
            self.last_good = in_force;
            return;
        }
        let missing = wanted.keys().filter(|id| !in_force.contains_key(*id));
        let earlier = missing.filter_map(|id| Some((id.clone(), Arc::clone(self.last_good.get(id)?))));
        let earlier: Vec<_> = earlier.collect();
        self.last_good = in_force;
        if !earlier.is_empty() {
            Arc::make_mut(&mut self.last_good).extend(earlier);
        }
    }
}

fn cannot_bind(listeners: &[ListenerConfig], failure: &NotBound) -> Rejection {
    let listener = &listeners[failure.index];
    Rejection {
        resource: listener.gateway.clone(),
        path: format!("spec.listeners[{}].port", listener.index),
        reason: failure.reason.clone(),
    }
}

/// Puts the version of each resource back that is in force, or else was last; if that is refused as well, none. Says whether
/// that changed anything.
fn revert(
    resources: &mut Arc<Resources>,
    in_force: &Resources,
    last_good: &Resources,
    ids: &BTreeSet<ResourceId>,
) -> bool {
    let mut changed = false;
    for id in ids {
        let now = resources.get(id);
        let earlier = || last_good.get(id).filter(|earlier| now.is_some_and(|now| now != *earlier));
        let before = in_force.get(id).or_else(earlier);
        if now == before {
            continue;
        }
        changed = true;
        let resources = Arc::make_mut(resources);
        match before {
            Some(before) => drop(resources.insert(id.clone(), Arc::clone(before))),
            None => drop(resources.remove(id)),
        }
    }
    changed
}

#[cfg(test)]
pub(super) mod tests {
    use std::sync::Mutex;

    use serde_json::json;
    use weir_model::Position;

    use super::*;
    use crate::snapshot::tests::{endpoint, gateway, inputs, resource, route, service, with_registered};

    /// Sockets that refuse some ports and remember what is open.
    #[derive(Default)]
    pub(in crate::source) struct FakeSockets {
        pub(in crate::source) refused: Mutex<Vec<u16>>,
        pub(in crate::source) open: Mutex<Vec<SocketAddr>>,
    }

    impl Sockets for FakeSockets {
        fn bind(&self, wanted: &[SocketAddr]) -> Result<(), Vec<NotBound>> {
            let refused = self.refused.lock().unwrap();
            let failures: Vec<_> = wanted
                .iter()
                .enumerate()
                .filter(|(_, addr)| refused.contains(&addr.port()))
                .map(|(index, addr)| NotBound { index, reason: format!("cannot listen on {addr}: taken") })
                .collect();
            if failures.is_empty() { Ok(()) } else { Err(failures) }
        }

        fn commit(&self, wanted: &[SocketAddr]) {
            *self.open.lock().unwrap() = wanted.to_vec();
        }
    }

    fn publisher() -> (Publisher, Arc<FakeSockets>) {
        let sockets: Arc<FakeSockets> = Arc::default();
        let role = Role::Gateway { gateways: vec![] };
        (Publisher::new(Shared::new(), sockets.clone(), role, Settings::default()), sockets)
    }

    fn gateway_on(name: &str, port: u16) -> Resource {
        resource("Gateway", name, json!({"listeners": [{"name": "web", "port": port, "protocol": "HTTP"}]}))
    }

    fn bad_route(name: &str) -> Resource {
        let rules = json!([{"matches": [{"path": {"value": "no-slash"}}], "backendRefs": []}]);
        resource("HTTPRoute", name, json!({"parentRefs": [{"name": "edge"}], "rules": rules}))
    }

    fn ports(sockets: &FakeSockets) -> Vec<u16> {
        sockets.open.lock().unwrap().iter().map(SocketAddr::port).collect()
    }

    fn rules(publisher: &Publisher) -> Vec<String> {
        let snapshot = publisher.shared.snapshot.load();
        let listeners = snapshot.listeners.iter();
        listeners.flat_map(|l| l.routes.rules()).map(|rule| rule.label.to_string()).collect()
    }

    #[test]
    fn nothing_is_in_force_before_the_first_snapshot() {
        let (mut publisher, sockets) = publisher();
        assert!(!publisher.shared.is_ready());
        publisher.whole(&inputs([gateway("edge")])).unwrap();
        assert!(publisher.shared.is_ready());
        assert_eq!(*publisher.shared.in_force().borrow(), Some(Position::new(0, 1)));
        assert_eq!(ports(&sockets), [8080]);
    }

    #[test]
    fn a_whole_set_is_refused_for_one_bad_resource() {
        let (mut publisher, sockets) = publisher();
        publisher.whole(&inputs([gateway("edge")])).unwrap();
        let refused = publisher.whole(&inputs([gateway_on("edge", 8081), bad_route("r")])).unwrap_err();
        assert_eq!(refused[0].resource.name, "r");
        assert_eq!(ports(&sockets), [8080]);
    }

    #[test]
    fn a_limit_is_not_changed_by_what_is_refused() {
        let (mut publisher, sockets) = publisher();
        let limit = |most: u32| {
            let spec =
                json!({"targetRefs": [{"name": "cart"}], "algorithm": "concurrency", "concurrencyMax": most});
            resource("RateLimit", "l", spec)
        };
        let in_force = |publisher: &Publisher| {
            let snapshot = publisher.shared.snapshot.load_full();
            snapshot.limits.all()[0].limiter().state(crate::observe::process_now()).all.unwrap().in_flight
        };
        publisher.whole(&inputs([gateway("edge"), service("cart", &[1]), limit(5)])).unwrap();
        assert_eq!(in_force(&publisher), Some((0, 5)));
        sockets.refused.lock().unwrap().push(8081);
        let unbound = inputs([gateway_on("edge", 8081), service("cart", &[1]), limit(1)]);
        publisher.whole(&unbound).unwrap_err();
        assert_eq!(in_force(&publisher), Some((0, 5)));
        sockets.refused.lock().unwrap().clear();
        publisher.whole(&unbound).unwrap();
        assert_eq!(in_force(&publisher), Some((0, 1)));
    }

    #[test]
    fn the_rest_is_accepted_and_the_old_version_stays() {
        let (mut publisher, _) = publisher();
        let good = || route("r", json!([{"name": "edge"}]), "cart");
        let other = || route("s", json!([{"name": "edge"}]), "cart");
        publisher.accept(&inputs([gateway("edge"), service("cart", &[1]), good()]), false);
        let refused = publisher
            .accept(&inputs([gateway("edge"), service("cart", &[1]), bad_route("r"), other()]), false);
        assert_eq!(refused.len(), 1);
        assert_eq!(refused[0].path, "spec.rules[0].matches[0].path.value");
        assert_eq!(rules(&publisher), ["HTTPRoute/r#0", "HTTPRoute/s#0"]);
        // A new one that is bad has no old version.
        let refused = publisher.accept(&inputs([gateway("edge"), bad_route("new")]), false);
        assert_eq!(refused.len(), 1);
        assert!(rules(&publisher).is_empty());
    }

    #[test]
    fn a_port_that_cannot_be_bound_is_refused_and_may_be_tried_again() {
        let (mut publisher, sockets) = publisher();
        publisher.accept(&inputs([gateway_on("edge", 8080)]), false);
        sockets.refused.lock().unwrap().push(8081);
        let wanted = inputs([gateway_on("edge", 8081), gateway_on("other", 8082)]);
        let refused = publisher.accept(&wanted, false);
        assert_eq!(refused.len(), 1);
        assert_eq!(
            refused[0].to_string(),
            "Gateway/edge: spec.listeners[0].port: cannot listen on 127.0.0.1:8081: taken"
        );
        assert_eq!(ports(&sockets), [8080, 8082]);

        sockets.refused.lock().unwrap().clear();
        assert_eq!(publisher.accept(&wanted, false), refused, "not tried again without a reason");
        assert_eq!(ports(&sockets), [8080, 8082]);
        assert_eq!(publisher.accept(&wanted, true), []);
        assert_eq!(ports(&sockets), [8081, 8082]);
    }

    #[test]
    fn a_newcomer_that_blocks_what_is_in_force_has_to_go() {
        let (mut publisher, sockets) = publisher();
        publisher.accept(&inputs([gateway_on("b", 8080)]), false);
        let refused = publisher.accept(&inputs([gateway_on("a", 8080), gateway_on("b", 8080)]), false);
        assert!(!refused.is_empty());
        assert_eq!(ports(&sockets), [8080]);
        assert_eq!(publisher.shared.snapshot.load().listeners[0].gateway.name, "b");
    }

    #[test]
    fn of_what_is_refused_the_last_version_that_was_good_comes_back_once_it_can() {
        let (mut publisher, sockets) = publisher();
        let before = inputs([gateway_on("edge", 8080)]);
        publisher.remember(before.resources.values());
        sockets.refused.lock().unwrap().extend([8080, 8081]);
        let wanted = inputs([gateway_on("edge", 8081)]);
        let refused = publisher.accept(&wanted, false);
        assert_eq!(refused.len(), 1, "what nobody asked for is not reported: {refused:?}");
        assert!(refused[0].reason.contains("8081"), "{refused:?}");
        assert!(ports(&sockets).is_empty());

        sockets.refused.lock().unwrap().retain(|port| *port != 8080);
        assert_eq!(publisher.accept(&wanted, true), refused);
        assert_eq!(ports(&sockets), [8080]);
        sockets.refused.lock().unwrap().clear();
        assert_eq!(publisher.accept(&wanted, true), []);
        assert_eq!(ports(&sockets), [8081]);

        // What is not asked for any more is forgotten.
        publisher.accept(&inputs([]), false);
        sockets.refused.lock().unwrap().push(8082);
        publisher.accept(&inputs([gateway_on("edge", 8082)]), false);
        assert!(ports(&sockets).is_empty());
    }

    #[tokio::test]
    async fn a_certificate_that_cannot_be_read_is_refused_until_it_can() {
        let (mut publisher, sockets) = publisher();
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
        let spec = json!({"certFile": path("cert.pem"), "keyFile": path("key.pem")});
        let tls = json!({"certificateRefs": [{"name": "shop"}]});
        let secure = json!([{"name": "web", "port": 8443, "protocol": "HTTPS", "tls": tls}]);
        let wanted = inputs([
            gateway_on("plain", 8080),
            resource("Gateway", "secure", json!({"listeners": secure})),
            resource("Certificate", "shop", spec),
        ]);
        publisher.resolve(&wanted).await;
        let refused = publisher.accept(&wanted, false);
        assert_eq!(refused[0].resource.to_string(), "Certificate/shop");
        assert_eq!(refused[0].path, "spec.certFile");
        assert!(refused[0].reason.starts_with(&path("cert.pem")), "{}", refused[0].reason);
        assert_eq!(ports(&sockets), [8080], "the rest is served");

        let made = rcgen::generate_simple_self_signed(["shop".to_owned()]).unwrap();
        std::fs::write(path("cert.pem"), made.cert.pem()).unwrap();
        std::fs::write(path("key.pem"), made.signing_key.serialize_pem()).unwrap();
        assert!(!publisher.poll_certificates(), "they may still be changing");
        assert!(publisher.poll_certificates());
        assert_eq!(publisher.accept(&wanted, true), []);
        assert_eq!(ports(&sockets), [8080, 8443]);
        let snapshot = publisher.shared.snapshot.load();
        let of = |port: u16| snapshot.listeners.iter().find(|one| one.addr.port() == port).unwrap();
        assert!(of(8443).tls.is_some() && of(8080).tls.is_none());
        let port = of(8443).tls.clone().unwrap();

        // A change of endpoints leaves TLS as it is.
        let moved = with_registered(wanted, "cart", true, &[endpoint("a/1", 9001)]);
        publisher.accept(&moved, false);
        let snapshot = publisher.shared.snapshot.load();
        let now = snapshot.listeners.iter().find(|one| one.addr.port() == 8443).unwrap().tls.clone();
        assert!(Arc::ptr_eq(&now.unwrap(), &port));
    }

    #[test]
    fn endpoints_flow_while_a_resource_is_refused() {
        let (mut publisher, _) = publisher();
        let wanted = inputs([gateway("edge"), bad_route("r")]);
        publisher.accept(&wanted, false);
        let tables = publisher.shared.snapshot.load().listeners[0].routes.clone();
        let wanted = with_registered(wanted, "cart", true, &[endpoint("a/1", 9001)]);
        assert_eq!(publisher.accept(&wanted, false).len(), 1);
        let snapshot = publisher.shared.snapshot.load();
        assert_eq!(snapshot.upstreams()[0].endpoints.len(), 1);
        assert!(Arc::ptr_eq(&tables, &snapshot.listeners[0].routes), "nothing was compiled again");
    }
}
