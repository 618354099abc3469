//! What goes on all the time, from where clients are: requests through the gateway, heartbeats, writes, locks; and looks
//! whether anything that is well is taken for dead.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use weir_tests::http::Response;

use crate::client::{Client, ask, ask_patiently};
use crate::stage::{APPS, REPLICAS, Stage, get};

/// Instances that are kept alive.
pub(crate) const ALIVE: usize = 12;
/// Their checks' time to live.
const TTL: &str = "10s";
const BEAT_EVERY: Duration = Duration::from_millis(700);
/// Claims on locks live so long without a renewal.
const CLAIM_TTL: &str = "3s";
const LOCKERS: usize = 3;

/// What all of it is told and has found out.
#[derive(Default)]
pub(crate) struct Shared {
    stop: AtomicBool,
    /// Replicas that are disturbed: nobody looks at what they say.
    avoid: [AtomicBool; REPLICAS],
    /// What must not be.
    wrong: Mutex<Vec<String>>,
    /// Keys whose write was acknowledged.
    written: Mutex<Vec<String>>,
    resource: Mutex<Resource>,
}

/// Accepts what comes with the greatest token so far, and refuses what is stale.
#[derive(Default)]
struct Resource {
    greatest: String,
    owner: usize,
    /// Tokens that held the lock and do not any more.
    stale: Vec<String>,
    turns: usize,
    refused: usize,
}

pub(crate) struct Load {
    pub(crate) shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

impl Shared {
    fn goes_on(&self) -> bool {
        !self.stop.load(Ordering::Relaxed)
    }

    fn wrong(&self, what: String) {
        self.wrong.lock().unwrap().push(what);
    }

    pub(crate) fn avoid(&self, replica: usize, avoid: bool) {
        self.avoid[replica].store(avoid, Ordering::Relaxed);
    }

    pub(crate) fn written(&self) -> Vec<String> {
        self.written.lock().unwrap().clone()
    }
}

impl Load {
    pub(crate) fn start(stage: &Stage) -> Self {
        let (shared, servers) = (Arc::new(Shared::default()), stage.servers());
        let gateway = stage.gateway();
        let mut threads = Vec::new();
        let mut start = |work: Box<dyn FnOnce(&Shared) + Send>| {
            let shared = Arc::clone(&shared);
            threads.push(stage.clients.run(move || work(&shared)));
        };
        start(Box::new(move |shared| send_requests(shared, gateway)));
        for some in 0..3 {
            start(Box::new(move |shared| beat(shared, servers, some)));
        }
        start(Box::new(move |shared| write(shared, servers)));
        start(Box::new(move |shared| look(shared, servers)));
        for number in 0..LOCKERS {
            start(Box::new(move |shared| lock(shared, servers, number)));
        }
        Self { shared, threads }
    }

    /// Ends it, and says what was wrong.
    pub(crate) fn stop(self) -> Vec<String> {
        self.shared.stop.store(true, Ordering::Relaxed);
        for thread in self.threads {
            thread.join().expect("it does not panic");
        }
        let resource = self.shared.resource.lock().unwrap();
        let mut wrong = self.shared.wrong.lock().unwrap().clone();
        if resource.turns < LOCKERS * 3 || resource.refused == 0 {
            wrong.push(format!("{} turns, {} stale writes refused", resource.turns, resource.refused));
        }
        wrong
    }
}

pub(crate) fn registration(service: &str, id: &str, address: SocketAddr, ttl: &str) -> String {
    format!(
        r#"{{"Name": "{service}", "ID": "{id}", "Address": "{}", "Port": {},
            "Check": {{"TTL": "{ttl}", "Status": "passing"}}}}"#,
        address.ip(),
        address.port()
    )
}

pub(crate) fn alive(number: usize) -> String {
    format!("alive-{number:02}")
}

/// Registers those that are kept alive.
pub(crate) fn register_all(stage: &Stage) {
    let bodies: Vec<String> = (0..ALIVE)
        .map(|number| registration("web", &alive(number), stage.apps.at(APPS[number % APPS.len()]), TTL))
        .collect();
    stage.until("all to be registered", crate::stage::PATIENCE, move |servers| {
        let mut client = Client::new(&servers, 0);
        bodies.iter().all(|body| client.done("PUT", "/v1/agent/service/register", body)).then_some(())
    });
}

fn send_requests(shared: &Shared, gateway: SocketAddr) {
    while shared.goes_on() {
        match ask_patiently(gateway, "GET", "/", "") {
            Ok(answer) if answer.status == 200 => {}
            other => shared.wrong(format!("a request: {:?}", other.map(|answer| answer.text()))),
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Keeps a third of them alive by way of one server after another, as an agent with a list of them does.
fn beat(shared: &Shared, servers: [SocketAddr; REPLICAS], some: usize) {
    let mut client = Client::new(&servers, some);
    while shared.goes_on() {
        let begun = Instant::now();
        for number in (some..ALIVE).step_by(REPLICAS) {
            // One that nobody takes is made up for by the next.
            client.done("PUT", &format!("/v1/agent/check/pass/service:{}", alive(number)), "");
        }
        std::thread::sleep(BEAT_EVERY.saturating_sub(begun.elapsed()));
    }
}

/// Writes keys, each once, and keeps those that were acknowledged.
fn write(shared: &Shared, servers: [SocketAddr; REPLICAS]) {
    let mut client = Client::new(&servers, 1);
    for number in 0.. {
        if !shared.goes_on() {
            return;
        }
        let key = format!("written/{number:06}");
        if client.done("PUT", &format!("/v1/kv/{key}"), "x") {
            shared.written.lock().unwrap().push(key);
        }
        std::thread::sleep(Duration::from_millis(30));
    }
}

/// The ids of the instances of a service that pass, as a replica sees them; none if it does not answer.
pub(crate) fn passing(server: SocketAddr, service: &str) -> Option<Vec<String>> {
    let found = get(server, &format!("/v1/health/service/{service}?passing"))?;
    let ids = found.as_array()?.iter().filter_map(|entry| entry["Service"]["ID"].as_str());
    Some(ids.map(str::to_owned).collect())
}

/// Looks whether any that is alive is taken for dead.
fn look(shared: &Shared, servers: [SocketAddr; REPLICAS]) {
    while shared.goes_on() {
        for (replica, &server) in servers.iter().enumerate() {
            let is_disturbed = || shared.avoid[replica].load(Ordering::Relaxed);
            if is_disturbed() {
                continue;
            }
            if let Some(ids) = passing(server, "web")
                && ids.len() != ALIVE
                && !is_disturbed()
            {
                shared.wrong(format!("replica {replica} sees {} of {ALIVE}: {ids:?}", ids.len()));
            }
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}

fn held(answer: Option<Response>) -> Option<String> {
    let answer = answer.filter(|answer| answer.status == 200)?.json();
    (answer["held"] == true).then(|| answer["claim"]["token"].as_str().unwrap().to_owned())
}

/// Takes the lock again and again, and writes to the resource while it holds it; now and then without renewing, until the
/// lock is another's: then it is to be refused.
fn lock(shared: &Shared, servers: [SocketAddr; REPLICAS], number: usize) {
    let mut client = Client::new(&servers, number);
    for turn in 0.. {
        if !shared.goes_on() {
            return;
        }
        let claim = format!("client-{number}-{turn}");
        let acquire = format!(r#"{{"claim": "{claim}", "ttl": "{CLAIM_TTL}", "wait": "1s", "keep": true}}"#);
        let asked = Instant::now();
        let mut token = None;
        while shared.goes_on() && token.is_none() && asked.elapsed() < Duration::from_secs(20) {
            token = held(client.call("POST", "/weir/v1/locks/ledger/acquire", &acquire));
        }
        let release = format!(r#"{{"claim": "{claim}"}}"#);
        if let Some(token) = token {
            if (turn + number).is_multiple_of(4) {
                oversleep(shared, &token, number);
            } else {
                hold(shared, &mut client, &claim, &token, number);
            }
            shared.resource.lock().unwrap().stale.push(token);
        }
        client.call("POST", "/weir/v1/locks/ledger/release", &release);
        check_stale(shared, servers);
    }
}

/// Writes while every renewal succeeds.
fn hold(shared: &Shared, client: &mut Client, claim: &str, token: &str, number: usize) {
    let renew = format!(r#"{{"claim": "{claim}"}}"#);
    for _ in 0..4 {
        if shared.resource.lock().unwrap().write(token, number) == Some(false) {
            return;
        }
        std::thread::sleep(Duration::from_millis(50));
        if held(client.call("POST", "/weir/v1/locks/ledger/renew", &renew)).as_deref() != Some(token) {
            return;
        }
    }
    shared.resource.lock().unwrap().turns += 1;
}

/// Stands still until somebody else has written, and then writes.
fn oversleep(shared: &Shared, token: &str, number: usize) {
    shared.resource.lock().unwrap().write(token, number);
    let slept = Instant::now();
    while shared.goes_on() && slept.elapsed() < Duration::from_secs(15) {
        std::thread::sleep(Duration::from_millis(50));
        let mut resource = shared.resource.lock().unwrap();
        if resource.greatest.as_str() > token {
            assert_eq!(resource.write(token, number), Some(false));
            return;
        }
    }
}

impl Resource {
    /// Whether it was accepted.
    fn write(&mut self, token: &str, owner: usize) -> Option<bool> {
        if token < self.greatest.as_str() {
            self.refused += 1;
            return Some(false);
        }
        if token == self.greatest && owner != self.owner {
            return None;
        }
        token.clone_into(&mut self.greatest);
        self.owner = owner;
        Some(true)
    }
}

/// No server says of a token that was released, or that another has come after, that it holds the lock.
fn check_stale(shared: &Shared, servers: [SocketAddr; REPLICAS]) {
    let (stale, greatest) = {
        let resource = shared.resource.lock().unwrap();
        let stale = resource.stale.iter().filter(|token| **token < resource.greatest).max().cloned();
        (stale, resource.greatest.clone())
    };
    let Some(stale) = stale else { return };
    for (replica, &server) in servers.iter().enumerate() {
        if shared.avoid[replica].load(Ordering::Relaxed) {
            continue;
        }
        if let Ok(answer) = ask(server, "GET", &format!("/weir/v1/locks/ledger/check?token={stale}"), "")
            && answer.status == 200
        {
            shared.wrong(format!("replica {replica} believes token {stale}, though {greatest} has written"));
        }
    }
}
