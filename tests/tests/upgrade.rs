//! A running proxy is replaced, by a new binary or with other flags, and its configuration is swapped: no request fails.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use weir_tests::cluster::START_LIMIT;
use weir_tests::load::Load;
use weir_tests::{App, Cluster, Process, documents, eventually, free_port, http};

const TEST_APP: &str = env!("CARGO_BIN_EXE_test-app");

/// A gateway from a file, with two applications behind it, and where its processes meet.
struct Stage {
    dir: tempfile::TempDir,
    port: u16,
    apps: [App; 2],
}

impl Stage {
    fn set() -> Self {
        let stage = Self {
            dir: tempfile::tempdir().unwrap(),
            port: free_port(),
            apps: [App::start(TEST_APP, "one"), App::start(TEST_APP, "two")],
        };
        stage.lead_to(0);
        stage
    }

    fn file(&self) -> PathBuf {
        self.dir.path().join("weir.yaml")
    }

    fn handover(&self) -> PathBuf {
        self.dir.path().join("handover.sock")
    }

    /// Makes the file one that sends everything to this application.
    fn lead_to(&self, app: usize) {
        let text = documents::gateway(self.port, "web") + &documents::service("web", &[self.apps[app].port]);
        let aside = self.dir.path().join("weir.yaml.new");
        std::fs::write(&aside, text).unwrap();
        std::fs::rename(aside, self.file()).unwrap();
    }

    /// Starts a process of the proxy with further arguments.
    fn process(&self, name: &str, more: &[&str]) -> Process {
        let (file, handover) = (self.file(), self.handover());
        let fixed = ["proxy", "-f", file.to_str().unwrap(), "--handover", handover.to_str().unwrap()];
        Process::weir(name, fixed.iter().chain(more))
    }

    /// The first process, once it serves and may be succeeded.
    fn first(&self, more: &[&str]) -> Process {
        let process = self.process("proxy-0", more);
        eventually("the proxy to answer", START_LIMIT, || http::get(self.port, "/").ok());
        eventually("the proxy to hand over", START_LIMIT, || self.handover().exists().then_some(()));
        process
    }

    fn load(&self, rate: u32) -> Load {
        Load {
            port: self.port,
            target: "/".to_owned(),
            host: "shop.test".to_owned(),
            rate,
            connections: 32,
            duration_max: Duration::from_secs(600),
        }
    }

    /// So many requests, each on a connection of its own: the kernel spreads them over all sockets of the address.
    fn ask_afresh(&self, times: usize) {
        for _ in 0..times {
            assert_eq!(http::get(self.port, "/").unwrap().status, 200);
        }
    }
}

const TAKEN_OVER: &str = "serving in the place of the proxy that ran before";

/// How many of something there are, unless the environment says otherwise.
fn count(variable: &str, usual: usize) -> usize {
    std::env::var(variable).map_or(usual, |text| text.parse().expect(variable))
}

#[test]
#[allow(clippy::print_stdout, reason = "the figures of a longer run are what it is made for")]
fn no_request_fails_in_swaps_and_upgrades() {
    let (upgrades, swaps) = (count("WEIR_TEST_UPGRADES", 20), count("WEIR_TEST_SWAPS", 200));
    let rate = u32::try_from(count("WEIR_TEST_RATE", 2000)).unwrap();
    let stage = Stage::set();
    let mut running = stage.first(&["--workers", "2"]);
    let mut former = Vec::new();
    let load = stage.load(rate).start_mixed(4);
    load.wait_for_first(START_LIMIT);
    let begin = Instant::now();
    let mut swapped = 0;
    for upgrade in 1..=upgrades {
        while swapped * upgrades < swaps * upgrade {
            swapped += 1;
            stage.lead_to(swapped % 2);
            running.signal(libc::SIGHUP);
            let expected = &stage.apps[swapped % 2].name;
            eventually("the change to be in force", START_LIMIT, || {
                (http::get(stage.port, "/").unwrap().text() == *expected).then_some(())
            });
        }
        // More and fewer workers than before.
        let workers = ["1", "4", "3", "2"][upgrade % 4];
        let mut next = stage.process(&format!("proxy-{upgrade}"), &["--workers", workers]);
        next.wait_for_line(TAKEN_OVER, START_LIMIT);
        former.push(std::mem::replace(&mut running, next));
    }
    load.wait_for_more(u64::from(rate), START_LIMIT);
    let elapsed = begin.elapsed();
    let outcome = load.stop();
    assert!(
        outcome.failures.is_empty(),
        "{} of {}: {:?}",
        outcome.failures.len(),
        outcome.good,
        outcome.failures
    );
    for process in &mut former {
        let status = process.wait(START_LIMIT);
        assert!(status.success(), "{status}\n{}", process.output());
    }
    println!(
        "{swapped} swaps, {upgrades} upgrades, {} requests in {elapsed:?}, none failed; slowest {:?}",
        outcome.good, outcome.slowest
    );
    assert!(running.terminate().success());
    assert!(!stage.handover().exists(), "the last one leaves nothing behind");
}

#[test]
fn no_socket_is_left_without_a_process_that_accepts_from_it() {
    let stage = Stage::set();
    let mut running = stage.first(&["--workers", "4"]);
    for (index, workers) in ["1", "3", "8", "2"].iter().enumerate() {
        let mut next = stage.process(&format!("proxy-{}", index + 1), &["--workers", workers]);
        next.wait_for_line(TAKEN_OVER, START_LIMIT);
        assert!(running.wait(START_LIMIT).success());
        // A connection to a socket that nobody accepts from would wait in vain.
        stage.ask_afresh(100);
        running = next;
    }
}

#[test]
fn a_process_that_fails_to_take_over_changes_nothing() {
    let stage = Stage::set();
    let mut running = stage.first(&[]);
    let load = stage.load(500).start_mixed(4);
    load.wait_for_first(START_LIMIT);
    let handover = stage.handover();
    let handover = handover.to_str().unwrap();

    // Its files are wrong.
    let broken = stage.dir.path().join("broken.yaml");
    std::fs::write(&broken, "kind: Gateway\n").unwrap();
    let mut failing =
        Process::weir("broken", ["proxy", "-f", broken.to_str().unwrap(), "--handover", handover]);
    assert_eq!(failing.wait(START_LIMIT).code(), Some(3), "{}", failing.output());
    running.wait_for_line("it ended before it served", START_LIMIT);

    // It is of another kind.
    let sidecar =
        "proxy --service web --app 127.0.0.1:1 --inbound 127.0.0.1:0 --outbound 127.0.0.1:0 --handover";
    let mut failing = Process::weir("sidecar", sidecar.split(' ').chain([handover]));
    assert_eq!(failing.wait(START_LIMIT).code(), Some(6), "{}", failing.output());
    let text = failing.output();
    assert!(text.contains("it is a sidecar of web: expected a gateway, as the running one"), "{text}");

    // It dies before anything is in force: its control plane does not answer.
    let waiting = ["proxy", "--gateway", "edge", "--server", "127.0.0.1:1", "--handover", handover];
    let mut dying = Process::weir("dying", waiting);
    dying.wait_for_line("taking over from the running proxy", START_LIMIT);
    load.wait_for_more(250, START_LIMIT);
    dying.kill_9();
    stage.ask_afresh(50);

    // None of them is in the way of one that is right.
    let mut next = stage.process("proxy-1", &[]);
    next.wait_for_line(TAKEN_OVER, START_LIMIT);
    assert!(running.wait(START_LIMIT).success());
    stage.ask_afresh(50);
    let outcome = load.stop();
    assert!(outcome.failures.is_empty(), "{:?}", outcome.failures);
}

#[test]
fn where_processes_meet_is_for_their_user_alone() {
    use std::os::unix::fs::PermissionsExt;
    use std::os::unix::process::CommandExt;

    let stage = Stage::set();
    let mut running = stage.first(&[]);
    let mode = std::fs::metadata(stage.handover()).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);

    // What is no socket is left alone.
    let file = stage.dir.path().join("notes.txt");
    std::fs::write(&file, "keep me").unwrap();
    let yaml = stage.file();
    let arguments = ["proxy", "-f", yaml.to_str().unwrap(), "--handover"];
    let mut failing = Process::weir("no-socket", arguments.iter().chain(&[file.to_str().unwrap()]));
    assert_eq!(failing.wait(START_LIMIT).code(), Some(6), "{}", failing.output());
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "keep me");

    // Another user cannot even connect; one who can, because of a careless mode, is refused. Only root can try.
    if std::fs::metadata("/proc/self").map(|own| std::os::unix::fs::MetadataExt::uid(&own)).unwrap() != 0 {
        return;
    }
    for path in [stage.dir.path().to_owned(), stage.handover()] {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o777)).unwrap();
    }
    let mut command = std::process::Command::new(weir_tests::binary::weir());
    command.args(arguments).arg(stage.handover()).uid(65_534);
    let mut stranger = Process::start("stranger", command);
    assert_eq!(stranger.wait(START_LIMIT).code(), Some(6), "{}", stranger.output());
    assert!(running.is_running());
    stage.ask_afresh(10);
}

#[test]
fn what_an_earlier_process_left_behind_is_no_obstacle() {
    let stage = Stage::set();
    let mut running = stage.first(&[]);
    running.kill_9();
    assert!(stage.handover().exists());
    let mut again = stage.first(&[]);
    assert!(again.is_running());
}

#[test]
fn the_admin_listener_and_a_sidecar_pass_on_too() {
    let cluster = Cluster::start();
    let app = App::start(TEST_APP, "web");
    cluster.apply(&documents::service("web", &[app.port]));
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("handover.sock");
    let [inbound, outbound, admin] = weir_tests::free_ports();
    let data_dir = dir.path().join("data").to_str().unwrap().to_owned();
    let at = |port: u16| format!("127.0.0.1:{port}");
    let arguments: Vec<String> = [
        ("--service", "web".to_owned()),
        ("--app", at(app.port)),
        ("--inbound", at(inbound)),
        ("--outbound", at(outbound)),
        ("--admin", at(admin)),
        ("--server", at(cluster.grpc)),
        ("--handover", path.to_str().unwrap().to_owned()),
        ("--data-dir", data_dir),
    ]
    .into_iter()
    .flat_map(|(flag, value)| [flag.to_owned(), value])
    .collect();
    let start = |name: &str| Process::weir(name, ["proxy".to_owned()].iter().chain(&arguments));
    let mut running = start("sidecar-0");
    eventually("the sidecar to be ready", START_LIMIT, || {
        http::get(admin, "/readyz").ok().filter(|response| response.status == 200)
    });
    eventually("the sidecar to hand over", START_LIMIT, || path.exists().then_some(()));
    let load = |port| Load {
        port,
        target: "/".to_owned(),
        host: "web".to_owned(),
        rate: 200,
        connections: 8,
        duration_max: Duration::from_secs(120),
    };
    let loads = [load(inbound).start_mixed(2), load(outbound).start_mixed(2)];
    loads.iter().for_each(|load| load.wait_for_first(START_LIMIT));
    for number in 1..=3 {
        let mut next = start(&format!("sidecar-{number}"));
        next.wait_for_line(TAKEN_OVER, START_LIMIT);
        // From here on only the new one answers, and it is ready.
        assert_eq!(http::get(admin, "/readyz").unwrap().status, 200);
        assert!(running.wait(START_LIMIT).success(), "{}", running.output());
        let said = running.output();
        assert!(
            !said.contains("WARN") && !said.contains("ERROR"),
            "nothing is amiss when one follows the other:\n{said}"
        );
        running = next;
    }
    for load in loads {
        load.wait_for_more(100, START_LIMIT);
        let outcome = load.stop();
        assert!(outcome.failures.is_empty(), "{:?}", outcome.failures);
    }
}

#[test]
fn without_a_control_plane_the_next_process_serves_from_disk() {
    let mut cluster = Cluster::start();
    let app = App::start(TEST_APP, "web");
    let port = free_port();
    cluster.apply(&(documents::gateway(port, "web") + &documents::service("web", &[app.port])));
    let dir = tempfile::tempdir().unwrap();
    let (path, data_dir) = (dir.path().join("handover.sock"), dir.path().join("data"));
    let grpc = format!("127.0.0.1:{}", cluster.grpc);
    let fixed = ["proxy", "--gateway", "edge", "--server", &grpc, "--handover", path.to_str().unwrap()];
    let start =
        |name: &str| Process::weir(name, fixed.iter().chain(&["--data-dir", data_dir.to_str().unwrap()]));
    let mut running = start("gateway-0");
    eventually("the gateway to answer", START_LIMIT, || {
        http::get(port, "/").ok().filter(|response| response.status == 200)
    });
    eventually("the snapshot on disk", START_LIMIT, || std::fs::read_dir(&data_dir).ok()?.flatten().next());
    eventually("the gateway to hand over", START_LIMIT, || path.exists().then_some(()));
    let load = Load {
        port,
        target: "/".to_owned(),
        host: "shop.test".to_owned(),
        rate: 500,
        connections: 16,
        duration_max: Duration::from_secs(120),
    };
    let load = load.start_mixed(4);
    load.wait_for_first(START_LIMIT);
    cluster.server.kill_9();
    let mut next = start("gateway-1");
    next.wait_for_line(TAKEN_OVER, START_LIMIT);
    assert!(running.wait(START_LIMIT).success(), "{}", running.output());
    load.wait_for_more(250, START_LIMIT);
    let outcome = load.stop();
    assert!(outcome.failures.is_empty(), "{:?}", outcome.failures);
}
