//! Locks under faults: `weir lock` processes around holders that write to a guarded resource, while holders, their
//! `weir lock` and the server are stopped, killed and started again. What the resource and an observer of the line
//! saw is then checked.
//!
//! Chance is drawn from one seed, which is printed and always the same; `WEIR_TEST_SEED` makes other choices.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use weir_tests::{Cluster, eventually, http};

const CLIENTS: usize = 6;
/// How long faults go on.
const FAULTS_FOR: Duration = Duration::from_secs(16);
/// How long a holder's lock lives without renewal: so long that renewals are in time on a busy machine.
const TTL: &str = "4s";
/// Longer than that: a stop after which the lock is another's.
const LONG_STOP: Duration = Duration::from_millis(4800);
const SHORT_STOP: Duration = Duration::from_millis(300);
/// Writes of a holder, 10 ms each: well within its lock's life, and well beyond it.
const WRITES: [u16; 2] = [25, 700];
const PATIENCE: Duration = Duration::from_secs(60);
/// What chance is drawn from usually.
const SEED: u64 = 0x5eed_10c5;

/// What one write to the resource was.
#[derive(Clone, Debug)]
struct Write_ {
    token: String,
    pid: u32,
    accepted: bool,
}

/// Accepts what comes with the greatest token so far, and refuses what is stale.
#[derive(Default)]
struct Resource {
    greatest: String,
    writes: Vec<Write_>,
    /// The holder that wrote last and its `weir lock`.
    last: Option<(u32, u32)>,
}

impl Resource {
    fn write(&mut self, token: &str, pid: u32, parent: u32) -> bool {
        let accepted = *token >= *self.greatest;
        if accepted {
            token.clone_into(&mut self.greatest);
            self.last = Some((pid, parent));
        }
        self.writes.push(Write_ { token: token.to_owned(), pid, accepted });
        accepted
    }
}

fn serve(resource: &Arc<Mutex<Resource>>) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let resource = Arc::clone(resource);
    std::thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let resource = Arc::clone(&resource);
            std::thread::spawn(move || {
                let mut answers = stream.try_clone().unwrap();
                for line in BufReader::new(stream).lines().map_while(Result::ok) {
                    let mut parts = line.split(' ');
                    let mut next = || parts.next().expect("a part");
                    let (token, pid, parent) = (next(), next().parse().unwrap(), next().parse().unwrap());
                    let accepted = resource.lock().unwrap().write(token, pid, parent);
                    let answer = if accepted { &b"ok\n"[..] } else { b"stale\n" };
                    if answers.write_all(answer).is_err() {
                        return;
                    }
                }
            });
        }
    });
    port
}

/// A generator of the xorshift family, so that a seed says everything.
struct Chance(u64);

impl Chance {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % bound
    }
}

fn signal(pid: u32, signal: i32) {
    #[allow(unsafe_code)]
    // SAFETY: kill has no memory effects; the id is that of a process of this test that was not waited for.
    unsafe {
        libc::kill(pid as i32, signal);
    }
}

/// What clients are to do.
const CALM: u8 = 0;
const DISTURBED: u8 = 1;
const ALL_LONG: u8 = 2;
const END: u8 = 3;

/// The `weir lock` processes under way. A process is waited for only under the lock, so no id in here is another's.
type Running = Arc<Mutex<Vec<Option<Child>>>>;

/// Runs `weir lock` again and again until told to stop.
fn client(at: usize, server: u16, resource: u16, running: &Running, phase: &AtomicU8) {
    for turn in 0.. {
        // Once things go wrong, one turn in three takes longer than the lock lives without renewal.
        let writes = match phase.load(Ordering::Relaxed) {
            CALM => WRITES[0],
            ALL_LONG => WRITES[1],
            DISTURBED => WRITES[usize::from((at + turn).is_multiple_of(3))],
            _ => return,
        };
        let mut command = Command::new(weir_tests::binary::weir());
        command.args(["lock", "--ttl", TTL, "--kill-after", "400ms", "chaos", "--"]);
        command.arg(env!("CARGO_BIN_EXE_test-holder")).args([resource.to_string(), writes.to_string()]);
        command.env("WEIR_SERVER", format!("127.0.0.1:{server}"));
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        running.lock().unwrap()[at] = Some(child);
        loop {
            std::thread::sleep(Duration::from_millis(10));
            let mut running = running.lock().unwrap();
            let child = running[at].as_mut().unwrap();
            if child.try_wait().unwrap().is_some() {
                running[at] = None;
                break;
            }
        }
    }
}

/// The line of the lock at one moment: claims with their tokens, holders first.
struct Seen {
    holders: usize,
    line: Vec<(String, String)>,
}

fn observe(server: u16, stop: &AtomicBool) -> Vec<Seen> {
    let mut seen = Vec::new();
    while !stop.load(Ordering::Relaxed) {
        if let Ok(response) = http::get(server, "/weir/v1/locks/chaos")
            && response.status == 200
        {
            let lock = response.json();
            let claims = |field: &str| lock[field].as_array().unwrap().clone();
            let (holders, waiters) = (claims("holders"), claims("waiters"));
            let text = |value: &serde_json::Value| value.as_str().unwrap().to_owned();
            let line = holders.iter().chain(&waiters);
            let line = line.map(|claim| (text(&claim["claim"]), text(&claim["token"]))).collect();
            seen.push(Seen { holders: holders.len(), line });
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    seen
}

#[allow(clippy::print_stdout)]
fn show(line: &str) {
    println!("{line}");
}

#[test]
fn histories_under_stops_and_kills_are_those_of_a_lock() {
    let seed = weir_tests::chance::seed("WEIR_TEST_SEED", SEED);
    show(&format!("WEIR_TEST_SEED={seed}"));
    let folder = tempfile::tempdir().unwrap();
    let mut cluster = Cluster::start_with(&["--data-dir", folder.path().to_str().unwrap()]);
    let resource = Arc::new(Mutex::new(Resource::default()));
    let port = serve(&resource);
    let running: Running = Arc::new(Mutex::new((0..CLIENTS).map(|_| None).collect()));
    let (phase, stop_looking) = (Arc::new(AtomicU8::new(CALM)), Arc::new(AtomicBool::new(false)));
    let server = cluster.http;
    let clients: Vec<_> = (0..CLIENTS)
        .map(|at| {
            let (running, phase) = (Arc::clone(&running), Arc::clone(&phase));
            std::thread::spawn(move || client(at, server, port, &running, &phase))
        })
        .collect();
    let observer = {
        let stop = Arc::clone(&stop_looking);
        std::thread::spawn(move || observe(server, &stop))
    };
    undisturbed(&resource);
    phase.store(ALL_LONG, Ordering::Relaxed);
    outlive(&resource, &running);
    phase.store(DISTURBED, Ordering::Relaxed);
    disturb(&mut cluster, &resource, &running, &mut Chance(seed | 1));
    phase.store(END, Ordering::Relaxed);
    for client in clients {
        client.join().unwrap();
    }
    // No release is lost: what nobody holds any more can be had.
    let (held, waited) = (std::process::id().to_string(), Instant::now());
    let last = cluster.weir(&[
        "lock",
        "--wait",
        "120s",
        "--holder",
        &held,
        "chaos",
        "--",
        "sh",
        "-c",
        "echo $WEIR_LOCK_TOKEN",
    ]);
    show(&format!("free after {:?}", waited.elapsed()));
    stop_looking.store(true, Ordering::Relaxed);
    let seen = observer.join().unwrap();
    check_line(&seen);
    let resource = resource.lock().unwrap();
    check_writes(&resource.writes);
    assert!(last.lines().last().unwrap_or_default() > resource.greatest.as_str(), "{last}");
}

/// As long as nothing goes wrong the lock alone keeps holders apart: the resource has nothing to refuse.
fn undisturbed(resource: &Mutex<Resource>) {
    eventually("each client's turn", PATIENCE, || {
        let resource = resource.lock().unwrap();
        let tokens: BTreeSet<_> = resource.writes.iter().map(|write| &write.token).collect();
        assert!(resource.writes.iter().all(|write| write.accepted), "a stale write: {:?}", resource.writes);
        (tokens.len() > CLIENTS).then_some(())
    });
}

/// A holder whose `weir lock` stands still goes on, until the lock is another's: then it is refused.
fn outlive(resource: &Mutex<Resource>, running: &Running) {
    let stale = || resource.lock().unwrap().writes.iter().any(|write| !write.accepted);
    eventually("a holder that is refused", PATIENCE * 2, || {
        let parent = resource.lock().unwrap().last.map(|(_, parent)| parent);
        let in_table = running.lock().unwrap().iter().flatten().any(|child| Some(child.id()) == parent);
        if in_table {
            stop_client(running, parent, 0, LONG_STOP);
        }
        stale().then_some(())
    });
}

/// Stops, kills and starts again.
fn disturb(cluster: &mut Cluster, resource: &Mutex<Resource>, running: &Running, chance: &mut Chance) {
    let end = Instant::now() + FAULTS_FOR;
    while Instant::now() < end {
        std::thread::sleep(Duration::from_millis(100 + chance.below(500)));
        let (what, one) = (chance.below(10), chance.below(CLIENTS as u64) as usize);
        let stop_for = if chance.below(2) == 0 { SHORT_STOP } else { LONG_STOP };
        // Half of the faults are for whoever holds the lock.
        let last = resource.lock().unwrap().last.map(|(_, parent)| parent).filter(|_| chance.below(2) == 0);
        match what {
            0 | 1 => {
                cluster.server.kill_9();
                cluster.restart();
            }
            2 => {
                cluster.server.signal(libc::SIGSTOP);
                std::thread::sleep(stop_for);
                cluster.server.signal(libc::SIGCONT);
            }
            3..7 => stop_client(running, last, one, stop_for),
            _ => with_client(running, last, one, |pid| signal(pid, libc::SIGKILL)),
        }
    }
}

fn with_client(running: &Running, wanted: Option<u32>, one: usize, act: impl Fn(u32)) {
    let running = running.lock().unwrap();
    let by_pid = running.iter().flatten().map(Child::id).find(|pid| Some(*pid) == wanted);
    if let Some(pid) = by_pid.or_else(|| running[one].as_ref().map(Child::id)) {
        act(pid);
    }
}

/// Stops one `weir lock` for a while; the command that it runs goes on with its token.
fn stop_client(running: &Running, wanted: Option<u32>, one: usize, stop_for: Duration) {
    let stopped = Mutex::new(None);
    with_client(running, wanted, one, |pid| {
        signal(pid, libc::SIGSTOP);
        *stopped.lock().unwrap() = Some(pid);
    });
    std::thread::sleep(stop_for);
    let Some(pid) = *stopped.lock().unwrap() else { return };
    // Stopped, it cannot have ended by itself; only what is still in the table is signalled.
    let running = running.lock().unwrap();
    if running.iter().flatten().any(|child| child.id() == pid) {
        signal(pid, libc::SIGCONT);
    }
}

/// One holder at a time, in the order of the line, with rising tokens.
fn check_line(seen: &[Seen]) {
    assert!(seen.len() > 100, "only {} looks", seen.len());
    let mut greatest = String::new();
    let mut places: BTreeMap<String, String> = BTreeMap::new();
    let mut gone: BTreeSet<String> = BTreeSet::new();
    let mut present: BTreeSet<String> = BTreeSet::new();
    for look in seen {
        assert_eq!(look.holders, 1, "a mutex has one holder");
        let tokens: Vec<_> = look.line.iter().map(|(_, token)| token.clone()).collect();
        assert!(tokens.is_sorted_by(|a, b| a < b), "the line is in the order of the tokens: {tokens:?}");
        for (claim, token) in &look.line {
            let known = places.entry(claim.clone()).or_insert_with(|| token.clone());
            if known != token {
                // Its time was over while it could not reach the server; it came again, further behind.
                assert!(*token > *known, "{claim} moved forward in the line");
                *known = token.clone();
            }
            assert!(!gone.contains(token), "{token} has come back");
        }
        assert!(tokens[0] >= greatest, "the lock went back from {greatest} to {}", tokens[0]);
        greatest.clone_from(&tokens[0]);
        let now: BTreeSet<_> = tokens.into_iter().collect();
        gone.extend(present.difference(&now).cloned());
        present = now;
    }
    show(&format!("{} looks, {} claims", seen.len(), places.len()));
}

/// No two holders have the same token.
fn check_writes(writes: &[Write_]) {
    let mut owners: BTreeMap<&str, u32> = BTreeMap::new();
    for write in writes {
        let owner = owners.entry(&write.token).or_insert(write.pid);
        assert_eq!(*owner, write.pid, "two holders with token {}", write.token);
    }
    // How many depends on chance, but one at least was made to be.
    let stale = writes.iter().filter(|write| !write.accepted).count();
    show(&format!("{} holders, {} writes, {stale} of them stale", owners.len(), writes.len()));
    assert!(owners.len() > CLIENTS + 1, "only {} holders", owners.len());
}
