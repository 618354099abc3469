//! Health checks by the proxy itself, while the control plane is gone.

use std::sync::atomic::{AtomicUsize, Ordering};

use weir_model::registry::{ActiveChecks, CheckDefinition, CheckKind, Health, Weights};
use weir_model::units::Span;

use super::*;

/// How long the control plane may be gone here.
const AWAY_MAX: Duration = Duration::from_millis(300);

/// A port that counts who connects.
async fn listening() -> (SocketAddr, Arc<AtomicUsize>, JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (addr, count) = (listener.local_addr().unwrap(), Arc::new(AtomicUsize::new(0)));
    let counted = Arc::clone(&count);
    let accepting = tokio::spawn(async move {
        while listener.accept().await.is_ok() {
            counted.fetch_add(1, Ordering::SeqCst);
        }
    });
    (addr, count, accepting)
}

fn told(id: &str, addr: SocketAddr, health: Health) -> weir_api::snapshot::EndpointInputs {
    let definition = CheckDefinition {
        kind: CheckKind::Tcp { address: addr.to_string() },
        interval: Span(Duration::from_millis(100)),
        timeout: Span(Duration::from_secs(1)),
        successes_before_passing: 2,
        failures_before_critical: 2,
        failures_before_warning: 0,
        deregister_after: None,
    };
    let weights = Weights { passing: 3, warning: 1 };
    let checks = ActiveChecks { others: Health::Passing, weights, definitions: vec![definition] };
    let mut endpoint = endpoint(id, addr.port());
    (endpoint.health, endpoint.weight) = (health, 3);
    endpoint.active_checks = Some(Arc::new(checks));
    endpoint
}

impl Proxy {
    /// The health of a service's endpoints, and whether it is by this proxy's own checks.
    fn health(&self) -> Vec<(String, Health, bool)> {
        let snapshot = self.shared.snapshot.load();
        let upstream = snapshot.upstream_of(&ServiceRef::new("default", "cart")).unwrap();
        let of = |e: &crate::snapshot::Endpoint| (e.id.to_string(), e.health, e.checked.verdict.is_some());
        upstream.endpoints.iter().map(of).collect()
    }

    async fn until_health(&self, expected: [(Health, bool); 3]) {
        let is_so = || {
            let found = self.health();
            found.iter().map(|(_, health, own)| (*health, *own)).eq(expected)
        };
        let waiting = async {
            while !is_so() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        timeout(PATIENCE, waiting).await.unwrap_or_else(|_| panic!("{expected:?}: {:?}", self.health()));
    }
}

#[tokio::test]
async fn while_the_control_plane_is_gone_own_checks_count_and_its_first_word_ends_them() {
    use Health::{Critical, Passing};
    let mut server = Server::start().await;
    let proxy = start(settings(server.addr, edge())).await;
    proxy.shared.checks.set_away_max(AWAY_MAX);
    let shared = Arc::clone(&proxy.shared);
    let checking = tokio::spawn(async move { crate::check::run(&shared).await });
    let (alive, looks, _accepting) = listening().await;
    let (reborn, _, _accepting_too) = listening().await;
    let (dead, _, dying) = listening().await;
    let (mut stream, _) = server.welcome().await;
    let all = [told("a/1", alive, Passing), told("a/2", dead, Passing), told("a/3", reborn, Critical)];
    let mut shop = shop(1, 5);
    shop.endpoints = vec![endpoints("cart", true, &all, &[])];
    stream.update(shop).await;
    stream.ack().await;
    let by_registry = [(Passing, false), (Passing, false), (Critical, false)];
    proxy.until_health(by_registry).await;
    let snapshot = proxy.shared.snapshot.load_full();
    let cart = snapshot.upstream_of(&ServiceRef::new("default", "cart")).unwrap();
    assert_eq!(*cart.selected().candidates, [0, 1]);
    cart.state.touch(proxy.shared.now_s());

    dying.abort();
    let _ = dying.await;
    tokio::time::sleep(2 * AWAY_MAX).await;
    assert_eq!(looks.load(Ordering::SeqCst), 0, "with a control plane nothing is checked");
    assert!(!proxy.shared.checks.counts().ruling);

    let addr = server.kill().await;
    proxy.until_health([(Passing, true), (Critical, true), (Passing, true)]).await;
    let snapshot = proxy.shared.snapshot.load_full();
    let cart = snapshot.upstream_of(&ServiceRef::new("default", "cart")).unwrap();
    assert_eq!(*cart.selected().candidates, [0, 2]);
    assert!(looks.load(Ordering::SeqCst) >= 2);
    let counts = proxy.shared.checks.counts();
    assert!(counts.ruling && counts.endpoints == (0, 3), "{counts:?}");

    // A stream alone is no word yet.
    let mut server = Server::start_at(addr).await;
    let (mut stream, hello) = server.welcome().await;
    assert!(hello.resume.is_some());
    let seen = proxy.shared.checks.counts().looks;
    let waiting = async {
        while proxy.shared.checks.counts().looks == seen {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(PATIENCE, waiting).await.expect("checks go on");
    assert_eq!(proxy.health()[1].1, Critical);
    stream.update(update(1, 5)).await;
    stream.ack().await;
    proxy.until_health(by_registry).await;
    let counts = proxy.shared.checks.counts();
    assert!(!counts.ruling && counts.endpoints == (0, 0), "{counts:?}");
    checking.abort();
    proxy.stop().await;
}

#[tokio::test]
async fn a_proxy_that_never_reached_a_control_plane_checks_what_it_has_from_disk() {
    use Health::{Critical, Passing};
    let dir = tempfile::tempdir().unwrap();
    let mut server = Server::start().await;
    let with_disk = |addr| MeshSettings { data_dir: Some(dir.path().to_owned()), ..settings(addr, edge()) };
    let proxy = start(with_disk(server.addr)).await;
    let (mut stream, _) = server.welcome().await;
    let (alive, _, _accepting) = listening().await;
    let (dead, _, dying) = listening().await;
    dying.abort();
    let _ = dying.await;
    let all = [told("a/1", alive, Critical), told("a/2", dead, Passing), told("a/3", alive, Passing)];
    let mut shop = shop(1, 5);
    shop.endpoints = vec![endpoints("cart", true, &all, &[])];
    stream.update(shop).await;
    stream.ack().await;
    let file = dir.path().join("snapshot.json");
    let kept = async {
        while !std::fs::read_to_string(&file).is_ok_and(|text| text.contains("active_checks")) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(PATIENCE, kept).await.expect("kept on disk");
    let addr = server.kill().await;
    proxy.stop().await;

    let proxy = start(with_disk(addr)).await;
    proxy.shared.checks.set_away_max(AWAY_MAX);
    let shared = Arc::clone(&proxy.shared);
    let checking = tokio::spawn(async move { crate::check::run(&shared).await });
    proxy.until_health([(Critical, false), (Passing, false), (Passing, false)]).await;
    let snapshot = proxy.shared.snapshot.load_full();
    snapshot.upstream_of(&ServiceRef::new("default", "cart")).unwrap().state.touch(proxy.shared.now_s());
    proxy.until_health([(Passing, true), (Critical, true), (Passing, true)]).await;
    checking.abort();
    proxy.stop().await;
}
