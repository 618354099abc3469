//! Several servers over one etcd cluster: any of either may die or stand still, and nothing healthy is evicted.

#[path = "../../crates/store/tests/etcd/member.rs"]
mod member;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, RwLock};
use std::thread::JoinHandle;
use std::time::Duration;

use member::Member;

use weir_tests::{Process, eventually, free_ports, http};

/// Nothing here takes this long unless it hangs.
const PATIENCE: Duration = Duration::from_secs(90);
/// Instances that are kept alive.
const ALIVE: usize = 12;
/// Their checks' time to live. More than etcd takes to elect a leader.
const ALIVE_TTL: &str = "10s";
/// Instances that nobody keeps alive, each time.
const SILENT: usize = 6;
/// Their checks' time to live.
const SILENT_TTL: &str = "2s";

struct Replica {
    http: u16,
    grpc: u16,
    process: Process,
}

struct Replicas {
    members: Vec<Member>,
    replicas: Vec<Replica>,
}

fn run(http: u16, grpc: u16, store: &str) -> Process {
    let (http, grpc) = (format!("127.0.0.1:{http}"), format!("127.0.0.1:{grpc}"));
    Process::weir("server", ["server", "--store", store, "--http", &http, "--grpc", &grpc, "--dns", "off"])
}

impl Replicas {
    fn start() -> Self {
        let members = Member::cluster(3);
        let mut all = Self { members, replicas: Vec::new() };
        let store = all.store();
        let ports = free_ports::<6>();
        for port in ports.chunks(2) {
            let process = run(port[0], port[1], &store);
            all.replicas.push(Replica { http: port[0], grpc: port[1], process });
        }
        all.wait_for(3, &[0, 1, 2]);
        all
    }

    fn store(&self) -> String {
        let hosts: Vec<String> = self.members.iter().map(Member::host).collect();
        format!("etcd://{}?prefix=/shop", hosts.join(","))
    }

    fn http(&self, replica: usize) -> u16 {
        self.replicas[replica].http
    }

    /// Waits until each of these sees so many replicas.
    fn wait_for(&self, count: usize, seen_by: &[usize]) {
        for &replica in seen_by {
            let what = format!("replica {replica} sees {count} replicas");
            eventually(&what, PATIENCE, || {
                let answer = http::get(self.http(replica), "/weir/v1/replicas").ok()?;
                (answer.status == 200)
                    .then(|| answer.json()["items"].as_array().map_or(0, Vec::len))
                    .filter(|&found| found == count)
            });
        }
    }

    fn start_again(&mut self, replica: usize) {
        let store = self.store();
        let Replica { http, grpc, process } = &mut self.replicas[replica];
        *process = run(*http, *grpc, &store);
    }
}

fn register(port: u16, id: &str, ttl: &str) {
    let body = format!(
        r#"{{"Name": "web", "ID": "{id}", "Port": 80, "Check": {{"TTL": "{ttl}", "Status": "passing"}}}}"#
    );
    eventually("a registration", PATIENCE, || {
        http::put(port, "/v1/agent/service/register", &body).ok().filter(|answer| answer.status == 200)
    });
}

/// The ids of the instances that pass, as a replica sees them; none if it does not answer.
fn passing(port: u16) -> Option<Vec<String>> {
    found(port, "/v1/health/service/web?passing")
}

/// The ids of all instances, in the same way.
fn known(port: u16) -> Option<Vec<String>> {
    found(port, "/v1/health/service/web")
}

fn found(port: u16, path: &str) -> Option<Vec<String>> {
    let answer = http::get(port, path).ok().filter(|answer| answer.status == 200)?;
    let mut ids: Vec<String> = answer
        .json()
        .as_array()?
        .iter()
        .filter_map(|entry| entry["Service"]["ID"].as_str().map(str::to_owned))
        .collect();
    ids.sort();
    Some(ids)
}

/// Replicas that are not asked, since they are about to stand still and would only take time. Who asks one holds it
/// meanwhile, so that nobody waits for one that is avoided.
type Avoid = Arc<[RwLock<bool>; 3]>;

/// Asks a replica, unless it is avoided.
fn ask<T>(avoid: &Avoid, replica: usize, question: impl FnOnce() -> T) -> Option<T> {
    let is_avoided = avoid[replica].read().unwrap();
    (!*is_avoided).then(question)
}

/// Keeps instances alive by way of whichever replica answers, and looks whether any is taken for dead.
struct Keeper {
    stop: Arc<AtomicBool>,
    avoid: Avoid,
    beats: JoinHandle<()>,
    looks: Option<JoinHandle<Vec<String>>>,
}

impl Keeper {
    /// Begins to keep them alive, even before they are registered.
    fn start(ports: [u16; 3]) -> Self {
        let (stop, avoid) = (Arc::new(AtomicBool::new(false)), Avoid::default());
        let beats = {
            let (stop, avoid) = (stop.clone(), avoid.clone());
            std::thread::spawn(move || {
                let mut turn = 0;
                while !stop.load(Ordering::Relaxed) {
                    for id in 0..ALIVE {
                        beat(&ports, &avoid, &mut turn, &format!("alive-{id:02}"));
                    }
                    std::thread::sleep(Duration::from_millis(300));
                }
            })
        };
        Self { stop, avoid, beats, looks: None }
    }

    /// Begins to look.
    fn look(&mut self, ports: [u16; 3]) {
        let (stop, avoid) = (self.stop.clone(), self.avoid.clone());
        self.looks = Some(std::thread::spawn(move || {
            let mut wrong = Vec::new();
            while !stop.load(Ordering::Relaxed) {
                for (replica, &port) in ports.iter().enumerate() {
                    if let Some(ids) = ask(&avoid, replica, || passing(port)).flatten() {
                        let alive = ids.iter().filter(|id| id.starts_with("alive-")).count();
                        if alive != ALIVE {
                            wrong.push(format!("replica {replica} sees {alive} of {ALIVE}: {ids:?}"));
                        }
                    }
                }
                std::thread::sleep(Duration::from_millis(50));
            }
            wrong
        }));
    }

    fn avoid(&self, replica: usize, avoid: bool) {
        *self.avoid[replica].write().unwrap() = avoid;
    }

    fn stop(self) -> Vec<String> {
        self.stop.store(true, Ordering::Relaxed);
        self.beats.join().expect("heartbeats go out");
        self.looks.expect("it was to look").join().expect("somebody looks")
    }
}

/// One heartbeat, by the next replica that takes it.
fn beat(ports: &[u16; 3], avoid: &Avoid, turn: &mut usize, id: &str) {
    for _ in 0..ports.len() {
        *turn += 1;
        let replica = *turn % ports.len();
        let path = format!("/v1/agent/check/pass/service:{id}");
        if ask(avoid, replica, || http::put(ports[replica], &path, ""))
            .is_some_and(|answer| answer.is_ok_and(|answer| answer.status == 200))
        {
            return;
        }
    }
}

/// Waits until none of the silent ones pass any more, as all of these see it: somebody judges.
fn silent_ones_go(all: &Replicas, seen_by: &[usize], round: &str) {
    for id in 0..SILENT {
        register(all.http(seen_by[id % seen_by.len()]), &format!("silent-{round}-{id}"), SILENT_TTL);
    }
    let are_these = |id: &&String| id.starts_with(&format!("silent-{round}-"));
    for &replica in seen_by {
        let what = format!("replica {replica} sees that the silent ones of round {round} are gone");
        eventually(&what, PATIENCE, || {
            let (known, passing) = (known(all.http(replica))?, passing(all.http(replica))?);
            let count = |ids: &[String]| ids.iter().filter(are_these).count();
            (count(&known) == SILENT && count(&passing) == 0).then_some(())
        });
    }
}

#[test]
fn no_replica_and_no_member_of_etcd_is_needed() {
    let mut all = Replicas::start();
    let ports = [all.http(0), all.http(1), all.http(2)];
    let mut keeper = Keeper::start(ports);
    for id in 0..ALIVE {
        register(ports[id % 3], &format!("alive-{id:02}"), ALIVE_TTL);
    }
    for port in ports {
        eventually("all see all", PATIENCE, || passing(port).filter(|ids| ids.len() == ALIVE));
    }
    keeper.look(ports);
    silent_ones_go(&all, &[0, 1, 2], "all");

    // A replica dies: the others take over what it watched over.
    keeper.avoid(0, true);
    all.replicas[0].process.kill_9();
    all.wait_for(2, &[1, 2]);
    silent_ones_go(&all, &[1, 2], "killed");
    all.start_again(0);
    all.wait_for(3, &[0, 1, 2]);
    keeper.avoid(0, false);

    // One stands still until the others take it for dead, and then goes on as if nothing had happened.
    keeper.avoid(1, true);
    all.replicas[1].process.signal(libc::SIGSTOP);
    all.wait_for(2, &[0, 2]);
    silent_ones_go(&all, &[0, 2], "paused");
    all.replicas[1].process.signal(libc::SIGCONT);
    all.wait_for(3, &[0, 1, 2]);
    keeper.avoid(1, false);
    silent_ones_go(&all, &[0, 1, 2], "continued");

    // One says goodbye: that is noticed at once.
    keeper.avoid(2, true);
    assert!(all.replicas[2].process.terminate().success());
    all.wait_for(2, &[0, 1]);
    all.start_again(2);
    all.wait_for(3, &[0, 1, 2]);
    keeper.avoid(2, false);

    // The same for members of etcd.
    for member in 0..3 {
        all.members[member].kill();
        silent_ones_go(&all, &[0, 1, 2], &format!("etcd-{member}"));
        all.members[member].start_again();
    }
    let wrong = keeper.stop();
    assert!(wrong.is_empty(), "{} times, first: {:?}", wrong.len(), wrong.first());
}
