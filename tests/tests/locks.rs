//! Locks as users meet them: `weir lock` around real commands, and sessions over a restart of the server.

use std::process::{Command, Output};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use weir_tests::{Cluster, Process, eventually, http};

/// Longest a test waits for anything.
const PATIENCE: Duration = Duration::from_secs(60);

fn weir(cluster: &Cluster, args: &[&str]) -> Command {
    let mut command = Command::new(weir_tests::binary::weir());
    command.args(args).env("WEIR_SERVER", format!("127.0.0.1:{}", cluster.http));
    command.stdin(std::process::Stdio::null());
    command
}

fn run(cluster: &Cluster, args: &[&str]) -> (Option<i32>, String) {
    let Output { status, stdout, stderr } = weir(cluster, args).output().expect("weir starts");
    (status.code(), format!("{}{}", String::from_utf8_lossy(&stdout), String::from_utf8_lossy(&stderr)))
}

/// The claims on a lock: the holders', then the waiters' tokens.
fn line(cluster: &Cluster, lock: &str) -> (Vec<String>, Vec<String>) {
    let response = http::get(cluster.http, &format!("/weir/v1/locks/{lock}")).expect("an answer");
    if response.status == 404 {
        return (Vec::new(), Vec::new());
    }
    let lock = response.json();
    let tokens = |claims: &Value| {
        let claims = claims.as_array().expect("a list").iter();
        claims.map(|claim| claim["token"].as_str().expect("a token").to_owned()).collect::<Vec<_>>()
    };
    (tokens(&lock["holders"]), tokens(&lock["waiters"]))
}

fn until_held(cluster: &Cluster, lock: &str, holders: usize, waiters: usize) {
    eventually(&format!("{holders} holders and {waiters} waiters of {lock}"), PATIENCE, || {
        let (held, waiting) = line(cluster, lock);
        (held.len() == holders && waiting.len() == waiters).then_some(())
    });
}

/// `weir lock` around a command. What it has started ends with it, also where it is killed itself.
struct Holder(Process);

impl std::ops::Deref for Holder {
    type Target = Process;

    fn deref(&self) -> &Process {
        &self.0
    }
}

impl std::ops::DerefMut for Holder {
    fn deref_mut(&mut self) -> &mut Process {
        &mut self.0
    }
}

impl Holder {
    /// The process groups of its children: the command's is its own.
    fn groups(&self) -> Vec<String> {
        let own = self.0.pid().to_string();
        let numbers = std::fs::read_dir("/proc").expect("/proc").flatten();
        let numbers = numbers.filter_map(|entry| entry.file_name().into_string().ok());
        let is_child = |pid: &String| {
            let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
            // Behind the name: state, parent, group (proc_pid_stat(5)).
            let fields: Vec<_> = stat.rsplit(") ").next().unwrap_or_default().split(' ').collect();
            fields.get(1) == Some(&&*own) && fields.get(2) == Some(&&**pid)
        };
        numbers.filter(is_child).collect()
    }

    /// Ends it at once, and then what it has left behind.
    fn kill_with_command(&mut self) {
        let groups = self.groups();
        self.0.kill_9();
        for group in groups {
            let _ = Command::new("kill").args(["-9", "--", &format!("-{group}")]).status();
        }
    }
}

impl Drop for Holder {
    fn drop(&mut self) {
        if self.0.is_running() {
            self.kill_with_command();
        }
    }
}

/// A command that holds a lock until it is told to end.
fn holds(cluster: &Cluster, args: &[&str], script: &str) -> Holder {
    let mut all = vec!["lock"];
    all.extend(args);
    all.extend(["--", "sh", "-c", script]);
    Holder(Process::start("lock", weir(cluster, &all)))
}

#[test]
fn a_command_runs_with_the_token_and_its_status_is_passed_on() {
    let cluster = Cluster::start();
    let (status, output) =
        run(&cluster, &["lock", "a", "--", "sh", "-c", "echo $WEIR_LOCK_NAME $WEIR_LOCK_TOKEN; exit 42"]);
    assert_eq!(status, Some(42), "{output}");
    let (name, first) = output.trim().split_once(' ').expect("name and token");
    assert_eq!((name, first.len()), ("a", 29), "{output}");
    assert_eq!(line(&cluster, "a"), (vec![], vec![]), "it is released at once");
    let (_, second) = run(&cluster, &["lock", "a", "--", "sh", "-c", "echo $WEIR_LOCK_TOKEN"]);
    assert!(second.trim() > first, "{second} comes after {first}");
    assert_eq!(run(&cluster, &["lock", "a", "--", "sh", "-c", "kill -9 $$"]).0, Some(128 + 9));
    assert_eq!(run(&cluster, &["lock", "a", "--", "/no/such/command"]).0, Some(127));
    assert_eq!(run(&cluster, &["lock", "a", "--", "/etc/passwd"]).0, Some(126));
    assert_eq!(run(&cluster, &["lock", "a b", "--", "true"]).0, Some(2));
    assert_eq!(run(&cluster, &["lock", "a", "--ttl", "1s", "--kill-after", "1s", "--", "true"]).0, Some(2));
    assert_eq!(run(&cluster, &["lock", "a", "--server", "127.0.0.1:1", "--", "true"]).0, Some(5));
    assert_eq!(line(&cluster, "a"), (vec![], vec![]));
}

#[test]
fn who_does_not_want_to_wait_is_told_so_and_who_waits_comes_in_order() {
    let cluster = Cluster::start();
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("log");
    let mut first = holds(&cluster, &["a"], "read _ < /dev/null; while :; do sleep 0.05; done");
    until_held(&cluster, "a", 1, 0);
    let (status, output) = run(&cluster, &["lock", "--try", "a", "--", "true"]);
    assert_eq!(status, Some(123), "{output}");
    let began = Instant::now();
    assert_eq!(run(&cluster, &["lock", "--wait", "300ms", "a", "--", "true"]).0, Some(123));
    assert!(began.elapsed() >= Duration::from_millis(300));
    until_held(&cluster, "a", 1, 0);
    let waiters: Vec<_> = (1..=3)
        .map(|number| {
            let waiter = holds(&cluster, &["a"], &format!("echo {number} >> {}", log.display()));
            until_held(&cluster, "a", 1, number);
            waiter
        })
        .collect();
    let shown = cluster.weir(&["get", "locks", "a"]);
    assert!(shown.contains("held") && shown.contains("waits at 3"), "{shown}");
    assert_eq!(first.terminate().code(), Some(128 + 15), "the signal was passed on");
    for mut waiter in waiters {
        assert!(waiter.wait(PATIENCE).success());
    }
    assert_eq!(std::fs::read_to_string(log).unwrap(), "1\n2\n3\n");
    assert_eq!(line(&cluster, "a"), (vec![], vec![]));
}

#[test]
fn a_semaphore_lets_as_many_in_as_it_says() {
    let cluster = Cluster::start();
    let _holders: Vec<_> = (0..3).map(|_| holds(&cluster, &["--count", "2", "s"], "sleep 600")).collect();
    until_held(&cluster, "s", 2, 1);
    let (status, output) = run(&cluster, &["lock", "--count", "3", "s", "--", "true"]);
    assert_eq!(status, Some(1), "{output}");
    assert!(output.contains("all who claim a lock must name the same count"), "{output}");
}

#[test]
fn a_lock_that_is_taken_away_ends_the_command_and_all_that_it_has_started() {
    let cluster = Cluster::start();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("pid");
    // The one that is started ignores being asked.
    let script = format!(
        "trap '' TERM; sh -c 'trap \"\" TERM; echo $$ > {0}.new; mv {0}.new {0}; while :; do sleep 0.05; done' & wait",
        path.display()
    );
    let mut holder = holds(&cluster, &["--ttl", "9s", "--kill-after", "500ms", "a"], &script);
    let pid = eventually("the command's own child", PATIENCE, || std::fs::read_to_string(&path).ok());
    let taken = cluster.weir(&["unlock", "a"]);
    assert_eq!(taken, "lock a taken away from 1 holder\n");
    assert_eq!(holder.wait(PATIENCE).code(), Some(122));
    eventually("the command's child to be gone", PATIENCE, || {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", pid.trim()));
        stat.map_or(true, |stat| stat.contains(") Z ")).then_some(())
    });
    assert_eq!(run(&cluster, &["unlock", "a"]).0, Some(4), "nobody holds it");
}

#[test]
fn a_lock_is_lost_in_time_when_no_server_answers_and_kept_over_a_short_outage() {
    let folder = tempfile::tempdir().unwrap();
    let mut cluster = Cluster::start_with(&["--data-dir", folder.path().to_str().unwrap()]);
    let began = |name: &str| folder.path().join(name);
    let touch = |name: &str| format!("touch {}", began(name).display());
    let mut patient = holds(
        &cluster,
        &["--ttl", "60s", "patient"],
        &format!("{}; while :; do sleep 0.05; done", touch("patient")),
    );
    let mut hasty = holds(
        &cluster,
        &["--ttl", "2s", "--kill-after", "300ms", "hasty"],
        &format!("{}; sleep 600", touch("hasty")),
    );
    // Not only the server has to know that they hold their locks.
    for name in ["patient", "hasty"] {
        eventually("its command to run", PATIENCE, || began(name).exists().then_some(()));
    }
    let token = line(&cluster, "patient").0;
    cluster.server.kill_9();
    assert_eq!(hasty.wait(PATIENCE).code(), Some(122), "{}", hasty.output());
    cluster.restart();
    assert_eq!(line(&cluster, "patient").0, token, "it holds the lock still");
    assert!(patient.is_running());
    assert_eq!(patient.terminate().code(), Some(128 + 15));
    assert_eq!(line(&cluster, "patient").0, Vec::<String>::new());
}

#[test]
fn a_lock_is_free_at_once_when_its_instance_dies() {
    let cluster = Cluster::start();
    let put = |target: &str, body: &Value| {
        let response = http::put(cluster.http, target, &body.to_string()).expect(target);
        assert_eq!(response.status, 200, "{target}: {}", response.text());
    };
    put(
        "/v1/agent/service/register",
        &json!({"Name": "web", "ID": "web-1", "Check": {"TTL": "600s", "Status": "passing"}}),
    );
    let mut leader = holds(&cluster, &["--ttl", "600s", "--instance", "web-1", "leader"], "sleep 600");
    until_held(&cluster, "leader", 1, 0);
    put("/v1/agent/check/fail/service:web-1", &json!(null));
    until_held(&cluster, "leader", 0, 0);
    assert!(leader.is_running(), "it learns of it when it renews");
    // It is started once the lock is held.
    let groups =
        eventually("its command", PATIENCE, || Some(leader.groups()).filter(|groups| groups.len() == 1));
    leader.kill_with_command();
    eventually("its command to be gone", PATIENCE, || {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", groups[0]));
        stat.map_or(true, |stat| stat.contains(") Z ")).then_some(())
    });
}

/// A session, and the delay after it, that outlast the restart of a server on a busy machine.
const LASTING: &str = r#"{"TTL": "600s", "LockDelay": "60s"}"#;

#[test]
fn sessions_and_the_keys_they_hold_survive_a_kill() {
    let folder = tempfile::tempdir().unwrap();
    let mut cluster = Cluster::start_with(&["--data-dir", folder.path().to_str().unwrap()]);
    let put = |cluster: &Cluster, target: &str, body: &str| {
        http::put(cluster.http, target, body).expect("an answer").text()
    };
    let created: Value = serde_json::from_str(&put(&cluster, "/v1/session/create", LASTING)).unwrap();
    let id = created["ID"].as_str().unwrap();
    assert_eq!(put(&cluster, &format!("/v1/kv/k?acquire={id}"), "me"), "true");
    let get = |cluster: &Cluster, target: &str| http::get(cluster.http, target).expect("an answer").json();
    let (session, key) = (get(&cluster, "/v1/session/list"), get(&cluster, "/v1/kv/k"));
    cluster.server.kill_9();
    cluster.restart();
    assert_eq!((get(&cluster, "/v1/session/list"), get(&cluster, "/v1/kv/k")), (session, key));
    let renewed = http::put(cluster.http, &format!("/v1/session/renew/{id}"), "").expect("an answer");
    assert_eq!(renewed.status, 200);
    assert_eq!(put(&cluster, &format!("/v1/session/destroy/{id}"), ""), "true");
    let other: Value = serde_json::from_str(&put(&cluster, "/v1/session/create", "")).unwrap();
    let acquire = format!("/v1/kv/k?acquire={}", other["ID"].as_str().unwrap());
    assert_eq!(put(&cluster, &acquire, ""), "false", "within the lock delay");
    cluster.server.kill_9();
    cluster.restart();
    assert_eq!(put(&cluster, &acquire, ""), "false", "which a restart does not end");
}
