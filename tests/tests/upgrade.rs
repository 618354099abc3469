//! A running proxy is replaced, by a new binary or with other flags, and its configuration is swapped: no request fails.

use std::net::TcpListener;
use std::path::PathBuf;
use std::time::Duration;

use weir_tests::cluster::START_LIMIT;
use weir_tests::load::{Load, Running};
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
    // How many are asked for in a quarter of a second: a busy machine takes longer for them.
    let (some, mut swapped) = (u64::from(rate / 4), 0);
    for upgrade in 1..=upgrades {
        // Each begins under load, however much the one before has slowed it down.
        load.wait_for_more(some, START_LIMIT);
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
    load.wait_for_more(some, START_LIMIT);
    let reached = load.reached();
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
        "{swapped} swaps, {upgrades} upgrades, {} requests, {reached:.0} of {rate} a second, none failed; slowest {:?}",
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
        // From here on only the new one answers. It may say for a moment that a worker lacks a core.
        eventually("the next one to be ready", START_LIMIT, || {
            http::get(admin, "/readyz").ok().filter(|response| response.status == 200)
        });
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
fn after_one_that_serves_files_and_without_a_control_plane_the_next_process_serves_from_disk() {
    let mut meshed = Meshed::set();
    let data_dir = meshed.dir.path().join("data");
    let more = ["--data-dir", data_dir.to_str().unwrap()];
    let mut before = meshed.first(&more);
    eventually("the snapshot on disk", START_LIMIT, || data_dir.join("snapshot.json").exists().then_some(()));
    assert!(before.terminate().success());
    meshed.cluster.server.kill_9();

    let stage = Stage { port: meshed.port, ..Stage::set() };
    stage.lead_to(1);
    let (file, handover) = (stage.file(), meshed.handover());
    let arguments = ["proxy", "-f", file.to_str().unwrap(), "--handover", handover.to_str().unwrap()];
    let mut running = Process::weir("files", arguments);
    let answer = || http::get(meshed.port, "/").ok().map(|response| response.text());
    eventually("the files to be served", START_LIMIT, || answer().filter(|text| text == "two"));
    eventually("the proxy to hand over", START_LIMIT, || handover.exists().then_some(()));
    let load = meshed.load();
    let mut next = meshed.process("gateway-1", &more);
    next.wait_for_line("serving the last state from disk", START_LIMIT);
    next.wait_for_line(TAKEN_OVER, START_LIMIT);
    assert!(running.wait(START_LIMIT).success(), "{}", running.output());
    assert_eq!(answer().as_deref(), Some("web"));
    unharmed(load);
}

/// A gateway of a control plane, without a data directory, and where its processes meet.
struct Meshed {
    dir: tempfile::TempDir,
    cluster: Cluster,
    app: App,
    port: u16,
    /// Somebody else listens there.
    taken: TcpListener,
}

impl Meshed {
    fn set() -> Self {
        let (cluster, app) = (Cluster::start(), App::start(TEST_APP, "web"));
        let taken = TcpListener::bind("127.0.0.1:0").unwrap();
        let meshed = Self { dir: tempfile::tempdir().unwrap(), cluster, app, port: free_port(), taken };
        meshed.cluster.apply(&meshed.documents(&[]));
        meshed
    }

    /// The gateway with further ports.
    fn documents(&self, more: &[u16]) -> String {
        let also = |port: &u16| format!(", {{name: p{port}, port: {port}, protocol: HTTP}}");
        let listeners = more.iter().map(also).collect::<String>() + "]";
        let gateway = documents::gateway(self.port, "web");
        let end = format!("port: {}, protocol: HTTP}}", self.port);
        gateway.replace(&format!("{end}]"), &(end + &listeners))
            + &documents::service("web", &[self.app.port])
    }

    /// A version that no process can serve whole: one more port, which is taken.
    fn refused_version(&self) -> String {
        self.documents(&[self.taken.local_addr().unwrap().port()])
    }

    fn handover(&self) -> PathBuf {
        self.dir.path().join("handover.sock")
    }

    fn process(&self, name: &str, more: &[&str]) -> Process {
        let (grpc, handover) = (format!("127.0.0.1:{}", self.cluster.grpc), self.handover());
        let handover = handover.to_str().unwrap();
        let fixed = ["proxy", "--gateway", "edge", "--server", &grpc, "--handover", handover];
        Process::weir(name, fixed.iter().chain(more))
    }

    fn first(&self, more: &[&str]) -> Process {
        let process = self.process("gateway-0", more);
        self.until_served();
        eventually("the gateway to hand over", START_LIMIT, || self.handover().exists().then_some(()));
        process
    }

    fn until_served(&self) {
        eventually("the gateway to answer", START_LIMIT, || {
            http::get(self.port, "/").ok().filter(|response| response.status == 200)
        });
    }

    /// Applies documents as a user does. Gives the exit code and what was said.
    fn apply(&self, text: &str) -> (Option<i32>, String) {
        let file = self.dir.path().join("apply.yaml");
        std::fs::write(&file, text).unwrap();
        let mut command = std::process::Command::new(weir_tests::binary::weir());
        command.args(["apply", "-f"]).arg(file);
        let done = command.env("WEIR_SERVER", format!("127.0.0.1:{}", self.cluster.http)).output().unwrap();
        let said = [done.stdout, done.stderr].concat();
        (done.status.code(), String::from_utf8_lossy(&said).into_owned())
    }

    /// Applies a version that the gateway refuses, and waits until it has: the command waits for that, but not as long as it
    /// takes on a busy machine.
    fn have_refused(&self) {
        eventually("a version to be refused", START_LIMIT, || {
            (self.apply(&self.refused_version()).0 == Some(7)).then_some(())
        });
    }

    fn load(&self) -> Running {
        let load = Load {
            port: self.port,
            target: "/".to_owned(),
            host: "shop.test".to_owned(),
            rate: 500,
            connections: 16,
            duration_max: Duration::from_secs(300),
        };
        let load = load.start_mixed(4);
        load.wait_for_first(START_LIMIT);
        load
    }
}

/// Ends a load once that many more requests were answered: none has failed.
fn unharmed(load: Running) {
    load.wait_for_more(250, START_LIMIT);
    let outcome = load.stop();
    assert!(outcome.failures.is_empty(), "{:?}", outcome.failures);
}

#[test]
fn what_the_old_process_serves_in_place_of_what_it_refused_the_new_one_serves_too() {
    let meshed = Meshed::set();
    let mut running = meshed.first(&[]);
    let load = meshed.load();
    meshed.have_refused();
    for number in 1..=2 {
        let mut next = meshed.process(&format!("gateway-{number}"), &[]);
        next.wait_for_line(TAKEN_OVER, START_LIMIT);
        assert!(running.wait(START_LIMIT).success(), "{}", running.output());
        // It has heard of the version that cannot be served, from a control plane that it has joined.
        next.wait_for_line("refused: Gateway/edge", START_LIMIT);
        load.wait_for_more(250, START_LIMIT);
        running = next;
    }
    unharmed(load);

    // The new version comes into force when it can.
    let port = meshed.taken.local_addr().unwrap().port();
    drop(meshed.taken);
    eventually("the refused version to be tried again", START_LIMIT, || {
        http::get(port, "/").ok().filter(|response| response.status == 200)
    });
}

#[test]
fn a_process_takes_over_while_no_control_plane_answers_and_nothing_is_on_disk() {
    let mut meshed = Meshed::set();
    let mut running = meshed.first(&[]);
    let load = meshed.load();
    meshed.cluster.server.kill_9();
    let mut next = meshed.process("gateway-1", &[]);
    next.wait_for_line(TAKEN_OVER, START_LIMIT);
    assert!(running.wait(START_LIMIT).success(), "{}", running.output());
    load.wait_for_more(250, START_LIMIT);
    // It follows the control plane as soon as there is one.
    meshed.cluster.restart();
    let another = free_port();
    meshed.cluster.apply(&meshed.documents(&[another]));
    eventually("the change to be in force", START_LIMIT, || {
        http::get(another, "/").ok().filter(|response| response.status == 200)
    });
    unharmed(load);
}

#[test]
fn a_process_that_would_serve_less_does_not_take_over() {
    // It refuses what the running one has in force: others can reach the address.
    let meshed = Meshed::set();
    let open = meshed.documents(&[]).replace("{value: 127.0.0.1}", "{value: 0.0.0.0}");
    meshed.cluster.apply(&open);
    let mut running = meshed.first(&["--insecure"]);
    let load = meshed.load();
    let mut failing = meshed.process("careful", &[]);
    assert_eq!(failing.wait(START_LIMIT).code(), Some(6), "{}", failing.output());
    let said = failing.output();
    assert!(said.contains("the running proxy serves what this one refuses: Gateway/edge"), "{said}");
    assert!(said.contains("the running proxy goes on"), "{said}");
    running.wait_for_line("it ended before it served", START_LIMIT);
    unharmed(load);
    assert!(running.is_running());

    // One that serves files has nothing to send along. What takes over is told of a version that it cannot serve.
    let stage = Stage::set();
    let mut running = stage.first(&[]);
    let load = stage.load(500).start_mixed(4);
    load.wait_for_first(START_LIMIT);
    let meshed = Meshed { port: stage.port, ..meshed };
    let (code, said) = meshed.apply(&meshed.refused_version());
    assert!(matches!(code, Some(0 | 7)), "{said}");
    let handover = stage.handover();
    let grpc = format!("127.0.0.1:{}", meshed.cluster.grpc);
    let arguments = ["--gateway", "edge", "--server", &grpc, "--handover", handover.to_str().unwrap()];
    let mut failing = Process::weir("refusing", ["proxy"].iter().chain(&arguments));
    assert_eq!(failing.wait(START_LIMIT).code(), Some(6), "{}", failing.output());
    let said = failing.output();
    let expected = format!("nothing would serve 127.0.0.1:{} any more", stage.port);
    assert!(said.contains(&expected) && said.contains("Gateway/edge: spec.listeners[1].port"), "{said}");
    unharmed(load);
    assert!(running.is_running());
}

#[test]
fn after_a_restart_the_last_good_version_is_served_of_what_is_refused() {
    let mut meshed = Meshed::set();
    let data_dir = meshed.dir.path().join("data");
    let more = ["--data-dir", data_dir.to_str().unwrap()];
    let mut running = meshed.first(&more);
    let snapshot = data_dir.join("snapshot.json");
    eventually("the snapshot on disk", START_LIMIT, || snapshot.exists().then_some(()));
    meshed.have_refused();
    assert!(running.terminate().success());
    let mut running = meshed.process("gateway-1", &more);
    running.wait_for_line("joined the mesh", START_LIMIT);
    running.wait_for_line("refused: Gateway/edge", START_LIMIT);
    meshed.until_served();

    // The same without a control plane.
    assert!(running.terminate().success());
    meshed.cluster.server.kill_9();
    let _running = meshed.process("gateway-2", &more);
    meshed.until_served();
}
