//! A limit that two gateways keep together: never more than it allows, most of it where it is needed, and still a limit
//! when the control plane is gone.

use std::time::{Duration, Instant};

use weir_tests::cluster::START_LIMIT;
use weir_tests::load::{Load, Running};
use weir_tests::{App, Cluster, Process, eventually, free_ports, http};

const TEST_APP: &str = env!("CARGO_BIN_EXE_test-app");

/// The limit: so many a second, and so many at once.
const RATE: u32 = 100;
const BURST: u32 = 10;

/// Connections of a load.
const CONNECTIONS: u32 = 3;

struct Gateway {
    port: u16,
    admin: u16,
    _process: Process,
}

impl Gateway {
    fn start(cluster: &Cluster, name: &str, port: u16, admin: u16) -> Self {
        let (server, address) = (format!("127.0.0.1:{}", cluster.grpc), format!("127.0.0.1:{admin}"));
        let args = ["proxy", "--gateway", name, "--id", name, "--server", &server, "--admin", &address];
        Self { port, admin, _process: Process::weir(name, args) }
    }

    /// A figure of the limit.
    fn figure(&self, name: &str) -> Option<f64> {
        let text = http::get(self.admin, "/metrics").ok()?.text();
        let line = text.lines().find(|line| line.starts_with(name) && line.as_bytes()[name.len()] == b'{')?;
        line.rsplit(' ').next()?.parse().ok()
    }

    fn share(&self) -> Option<f64> {
        self.figure("weir_proxy_limit_share")
    }

    fn is_leased(&self) -> bool {
        self.figure("weir_proxy_limit_leased") == Some(1.0)
    }

    /// Three times as much as the limit allows.
    fn load(&self) -> Running {
        Load {
            port: self.port,
            target: "/".to_owned(),
            host: "shop".to_owned(),
            rate: 3 * RATE,
            connections: CONNECTIONS,
            duration_max: Duration::from_secs(900),
        }
        .start()
    }
}

fn documents(ports: [u16; 2], app: &App) -> String {
    let gateway = |name: &str, port: u16| {
        format!(
            "kind: Gateway\nmetadata: {{name: {name}}}\nspec:\n  addresses: [{{value: 127.0.0.1}}]\n  \
             listeners: [{{name: http, port: {port}, protocol: HTTP}}]\n---\n"
        )
    };
    format!(
        "{}{}kind: HTTPRoute
metadata: {{name: web}}
spec:
  parentRefs: [{{name: one}}, {{name: two}}]
  rules: [{{backendRefs: [{{name: web}}]}}]
---
kind: Service
metadata: {{name: web}}
spec: {{endpoints: [{{address: 127.0.0.1, port: {}}}]}}
---
kind: RateLimit
metadata: {{name: web}}
spec:
  targetRefs: [{{name: web}}]
  scope: global
  rates: [{{requests: {RATE}, burst: {BURST}}}]
",
        gateway("one", ports[0]),
        gateway("two", ports[1]),
        app.port
    )
}

/// A moment from which on it is looked what is let through.
struct Since {
    begin: Instant,
    good: u64,
}

fn good(loads: &[Running]) -> u64 {
    loads.iter().map(Running::good).sum()
}

impl Since {
    fn now(loads: &[Running]) -> Self {
        // What is counted is read last: of what is let through meanwhile, none counts.
        Self { begin: Instant::now(), good: good(loads) }
    }

    /// Requests a second. The gateways' clocks and this one are the same, so that nothing but the burst, and one for each
    /// gateway, may be let through beside the rate.
    fn admits_no_more(&self, loads: &[Running]) -> f64 {
        // The time is read last: it can only be too long. An answer may have been under way when it began.
        let passed = good(loads) - self.good;
        let took = self.begin.elapsed();
        let most = f64::from(RATE) * took.as_secs_f64() + f64::from(BURST + 2 + UNDER_WAY);
        assert!(passed as f64 <= most, "{passed} in {took:?}, at most {most}");
        passed as f64 / took.as_secs_f64()
    }
}

/// Requests that may be under way at one time: one on each connection.
const UNDER_WAY: u32 = 2 * CONNECTIONS;

/// Waits until so many more were let through, and checks that it took as long as the limit says.
fn admits_no_more(loads: &[Running], count: u64) -> f64 {
    let since = Since::now(loads);
    eventually("requests to be let through", START_LIMIT, || {
        (good(loads) >= since.good + count).then_some(())
    });
    since.admits_no_more(loads)
}

/// The same, until most of what the limit allows was let through. What a busy machine does not even ask for in time is lost.
fn admits_most(loads: &[Running]) {
    eventually("most of the limit to be let through", 2 * START_LIMIT, || {
        (admits_no_more(loads, 300) > 0.6 * f64::from(RATE)).then_some(())
    });
}

#[test]
fn two_gateways_keep_one_limit() {
    let mut cluster = Cluster::start();
    let app = App::start(TEST_APP, "web-1");
    let [one, two, admin_one, admin_two] = free_ports();
    cluster.apply(&documents([one, two], &app));
    let gateways =
        [Gateway::start(&cluster, "one", one, admin_one), Gateway::start(&cluster, "two", two, admin_two)];
    let leased = |what: &str| {
        eventually(what, START_LIMIT, || {
            gateways.iter().all(Gateway::is_leased).then_some(())?;
            gateways
                .iter()
                .all(|gateway| gateway.figure("weir_proxy_limit_holders") == Some(2.0))
                .then_some(())
        });
    };
    leased("both gateways to have a lease");

    // Only one is asked for anything: it gets most of the limit.
    let mut loads = vec![gateways[0].load()];
    eventually("the busy gateway to have most of the limit", START_LIMIT, || {
        (gateways[0].share()? > 0.85 && gateways[1].share()? < 0.15).then_some(())
    });
    admits_most(&loads);
    // The server explains by what proxies report, which they do more often once somebody looks.
    let asked = format!("http://127.0.0.1:{one}/");
    eventually("the explanation to know of the lease", START_LIMIT, || {
        let explained = cluster.weir(&["explain", "GET", &asked, "--gateway", "one"]);
        explained.contains("shared by 2").then_some(())
    });

    // Then both.
    loads.push(gateways[1].load());
    eventually("both gateways to have a fair share", START_LIMIT, || {
        gateways.iter().all(|gateway| gateway.share().is_some_and(|share| share > 0.35)).then_some(())
    });
    admits_no_more(&loads, 300);

    // Without a control plane each keeps to half of it, and on the way there they have no more than that together.
    cluster.server.kill_9();
    let since = Since::now(&loads);
    eventually("each gateway to keep to half of the limit", START_LIMIT, || {
        let keeps = |gateway: &Gateway| !gateway.is_leased() && gateway.share() == Some(0.5);
        gateways.iter().all(keeps).then_some(())
    });
    since.admits_no_more(&loads);
    admits_most(&loads);

    cluster.restart();
    cluster.apply(&documents([one, two], &app));
    leased("both gateways to have a lease again");
    admits_no_more(&loads, 200);
    loads.into_iter().for_each(|load| drop(load.stop()));
}
