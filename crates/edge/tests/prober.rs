//! The prober over a control plane in memory: real targets, real checks, real time.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use weir_control::catalog::{CheckRef, Topic};
use weir_control::{Control, Settings};
use weir_edge::prober::Prober;
use weir_model::registry::{Check, CheckDefinition, CheckKind, Health};
use weir_model::units::Span;

/// Longest a test waits for anything.
const PATIENCE: Duration = Duration::from_secs(60);

/// A control plane with its prober, and a web server that answers with a changeable status and counts requests.
struct World {
    control: Arc<Control>,
    status: Arc<AtomicU32>,
    requests: Arc<AtomicU32>,
    target: SocketAddr,
    tasks: JoinSet<()>,
}

impl World {
    async fn start() -> Self {
        let mut world = Self::without_prober().await;
        world.probe();
        world
    }

    fn probe(&mut self) {
        self.tasks.spawn(weir_edge::prober::run(Arc::clone(&self.control), std::future::pending()));
    }

    async fn without_prober() -> Self {
        let control = Control::start(Arc::new(weir_store::Memory::new()), Settings::default()).await.unwrap();
        let (status, requests) = (Arc::new(AtomicU32::new(200)), Arc::new(AtomicU32::new(0)));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let target = listener.local_addr().unwrap();
        let mut tasks = JoinSet::new();
        let (answer, count) = (Arc::clone(&status), Arc::clone(&requests));
        tasks.spawn(async move {
            loop {
                let (mut stream, _) = listener.accept().await.unwrap();
                let (answer, count) = (Arc::clone(&answer), Arc::clone(&count));
                tokio::spawn(async move {
                    let mut bytes = [0; 4096];
                    if stream.read(&mut bytes).await.unwrap_or(0) > 0 {
                        count.fetch_add(1, Ordering::SeqCst);
                        let status = answer.load(Ordering::SeqCst);
                        let text = format!("HTTP/1.1 {status} X\r\ncontent-length: 4\r\n\r\nbody");
                        let _ = stream.write_all(text.as_bytes()).await;
                    }
                });
            }
        });
        Self { control, status, requests, target, tasks }
    }

    fn check(&self, path: &str) -> Check {
        let kind = CheckKind::Http {
            url: format!("http://{}{path}", self.target),
            method: "GET".to_owned(),
            headers: Default::default(),
            body: String::new(),
        };
        let definition = CheckDefinition {
            kind,
            interval: Span(Duration::from_millis(20)),
            timeout: Span(Duration::from_secs(5)),
            successes_before_passing: 0,
            failures_before_critical: 0,
            failures_before_warning: 0,
            deregister_after: None,
        };
        Check {
            namespace: "default".to_owned(),
            node: "weir".to_owned(),
            id: "probe".to_owned(),
            name: "probe".to_owned(),
            definition: Some(definition),
            ..Check::default()
        }
    }

    /// Waits until the check reports this.
    async fn until(&self, health: Health) {
        let name = CheckRef::new("default", "weir", "probe");
        let reached = async {
            loop {
                let index = self.control.catalog().index(&Topic::node("weir"));
                let found = self.control.catalog().check(&name).map(|check| check.value.health);
                if found == Some(health) {
                    return;
                }
                self.control.wait(&Topic::node("weir"), index, PATIENCE).await.unwrap();
            }
        };
        tokio::time::timeout(PATIENCE, reached).await.unwrap_or_else(|_| panic!("never {health:?}"));
    }

    async fn until_requests(&self, more: u32) {
        let begun = self.requests.load(Ordering::SeqCst);
        let reached = async {
            while self.requests.load(Ordering::SeqCst) < begun + more {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        tokio::time::timeout(PATIENCE, reached).await.expect("it is looked at");
    }
}

#[tokio::test]
async fn a_check_follows_its_target() {
    let world = World::start().await;
    world.control.register_check(world.check("/")).await.unwrap();
    world.until(Health::Passing).await;
    world.status.store(500, Ordering::SeqCst);
    world.until(Health::Critical).await;
    world.status.store(429, Ordering::SeqCst);
    world.until(Health::Warning).await;
    let revision = world.control.position();
    world.until_requests(3).await;
    assert_eq!(world.control.position(), revision, "the same outcome again is not written again");
    world.status.store(204, Ordering::SeqCst);
    world.until(Health::Passing).await;
}

#[tokio::test]
async fn thresholds_are_kept() {
    let world = World::start().await;
    let mut check = world.check("/");
    let definition = check.definition.as_mut().unwrap();
    definition.failures_before_critical = 3;
    definition.successes_before_passing = 2;
    world.control.register_check(check).await.unwrap();
    world.until(Health::Passing).await;
    assert!(world.requests.load(Ordering::SeqCst) >= 2);
    world.status.store(503, Ordering::SeqCst);
    let begun = world.requests.load(Ordering::SeqCst);
    world.until(Health::Critical).await;
    assert!(world.requests.load(Ordering::SeqCst) >= begun + 2, "one failure is not enough");
}

#[tokio::test]
async fn an_agent_looks_soon_at_what_it_knew_before() {
    let mut world = World::without_prober().await;
    let mut check = world.check("/");
    check.definition.as_mut().unwrap().interval = Span(Duration::from_secs(24 * 3600));
    world.control.register_check(check).await.unwrap();
    let prober = Prober::new(Arc::clone(&world.control)).soon();
    world.tasks.spawn(prober.run(std::future::pending()));
    world.until(Health::Passing).await;
}

#[tokio::test]
async fn what_is_deregistered_is_left_alone() {
    let world = World::start().await;
    world.control.register_check(world.check("/")).await.unwrap();
    world.until_requests(2).await;
    world.control.deregister_check(&CheckRef::new("default", "weir", "probe")).await.unwrap();
    // A second check on the same prober shows that time passes and looks are taken; the first takes none.
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut other = world.check("/");
    other.id = "other".to_owned();
    let address = listener.local_addr().unwrap().to_string();
    other.definition.as_mut().unwrap().kind = CheckKind::Tcp { address };
    world.control.register_check(other).await.unwrap();
    let looks = async |count: u32| {
        for _ in 0..count {
            tokio::time::timeout(PATIENCE, listener.accept()).await.expect("looked at").unwrap();
        }
    };
    // A look that was under way may still arrive within the first of these.
    looks(3).await;
    let seen = world.requests.load(Ordering::SeqCst);
    looks(5).await;
    assert_eq!(world.requests.load(Ordering::SeqCst), seen);
}

#[tokio::test]
async fn checks_from_before_the_start_are_taken_up() {
    let mut world = World::without_prober().await;
    world.control.register_check(world.check("/")).await.unwrap();
    world.probe();
    world.until(Health::Passing).await;
}
