//! Three members of etcd and three servers on hosts of their own: one of each is killed, paused and cut off, both ways and one
//! way, while requests, heartbeats, writes and locks go on.

#[path = "partitions/client.rs"]
mod client;
#[path = "partitions/load.rs"]
mod load;
#[path = "partitions/rolling.rs"]
mod rolling;
#[path = "partitions/stage.rs"]
mod stage;

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use weir_tests::lan::Cut;

use client::{Client, ask, ask_patiently};
use load::{ALIVE, Load, passing, register_all, registration};
use stage::{APPS, Fault, PATIENCE, REPLICAS, Stage, get};

/// How soon what a lost replica watched over is judged by another: its lease of 6 s, the checks' full time of 2 s, and some.
const TAKEN_OVER_WITHIN: Duration = Duration::from_secs(60);
/// How soon a server that is cut off refuses what it cannot do: it does not wait for its store, which would take 7 s.
const AT_ONCE: Duration = Duration::from_secs(5);
/// Checks that nobody keeps alive.
const SILENT: usize = 6;

const FAULTS: [Fault; 5] =
    [Fault::Killed, Fault::Paused, Fault::Cut(Cut::Both), Fault::Cut(Cut::In), Fault::Cut(Cut::Out)];

#[allow(clippy::print_stdout)]
fn show(line: &str) {
    println!("{line}");
}

#[test]
fn one_of_each_may_be_killed_paused_or_cut_off() {
    let Some(mut stage) = Stage::set() else { return };
    register_all(&stage);
    move_to(&stage, 0);
    answered_by(&stage, 0);
    let gateway = stage.gateway();
    stage.until("the gateway to know what is alive", PATIENCE, move |_| {
        ask(gateway, "GET", "/", "").ok().filter(|answer| answer.status == 200)
    });
    let load = Load::start(&stage);
    for (round, fault) in FAULTS.into_iter().enumerate() {
        let begun = Instant::now();
        disturb_member(&mut stage, (round + 1) % 3, fault, round);
        show(&format!("etcd {fault:?}: {:?}", begun.elapsed()));
        let begun = Instant::now();
        disturb_replica(&mut stage, &load, round % REPLICAS, fault, round);
        show(&format!("server {fault:?}: {:?}", begun.elapsed()));
    }
    let written = load.shared.written();
    let wrong = load.stop();
    assert!(wrong.is_empty(), "{} times, first: {:?}", wrong.len(), &wrong[..wrong.len().min(5)]);
    assert!(written.len() > 100, "only {} writes", written.len());
    for replica in 0..REPLICAS {
        let written = written.clone();
        stage.until("every acknowledged write to be there", PATIENCE, move |servers| {
            let keys = get(servers[replica], "/v1/kv/written/?keys")?;
            let keys: Vec<&str> = keys.as_array()?.iter().filter_map(|key| key.as_str()).collect();
            written.iter().all(|key| keys.binary_search(&&**key).is_ok()).then_some(())
        });
    }
}

/// Which application the service `moving` is: the gateway hears of that from its server alone.
fn move_to(stage: &Stage, round: usize) {
    let body = registration("moving", "moving", stage.apps.at(APPS[round % 2]), "10m");
    stage.until("a registration", PATIENCE, move |servers| {
        Client::new(&servers, 0).done("PUT", "/v1/agent/service/register", &body).then_some(())
    });
}

fn answered_by(stage: &Stage, round: usize) {
    let (gateway, app) = (stage.gateway(), format!("app-{}", APPS[round % 2]));
    stage.until(&format!("the gateway to hear of {app}"), PATIENCE, move |_| {
        let answer = ask(gateway, "GET", "/moving", "").ok()?;
        (answer.status == 200 && answer.text() == app).then_some(())
    });
}

/// A member of etcd is lost: writes go on after a moment.
fn disturb_member(stage: &mut Stage, member: usize, fault: Fault, round: usize) {
    let Stage { members, lan, .. } = stage;
    members[member].disturb(lan, fault);
    for replica in 0..REPLICAS {
        stage.until(&format!("a write at {replica} without member {member}"), PATIENCE, move |servers| {
            let key = format!("/v1/kv/etcd/{round}/{replica}");
            ask(servers[replica], "PUT", &key, "x").ok().filter(|answer| answer.status == 200)
        });
    }
    let Stage { members, lan, .. } = stage;
    members[member].mend(lan, fault);
}

/// A server is lost: the others take over, whoever has to do with it goes elsewhere, and it comes back by itself.
fn disturb_replica(stage: &mut Stage, load: &Load, lost: usize, fault: Fault, round: usize) {
    load.shared.avoid(lost, true);
    let Stage { replicas, lan, .. } = stage;
    replicas[lost].disturb(lan, fault);
    let others: Vec<usize> = (0..REPLICAS).filter(|replica| *replica != lost).collect();
    let begun = Instant::now();
    register_silent(stage, round);
    move_to(stage, round + 1);
    answered_by(stage, round + 1);
    if let Fault::Cut(_) = fault {
        knows_that_it_is_cut_off(stage, lost);
    }
    stage.wait_for(REPLICAS - 1, &others);
    for &replica in &others {
        let what = format!("replica {replica} to judge what {lost} watched over");
        stage.until(&what, TAKEN_OVER_WITHIN.saturating_sub(begun.elapsed()), move |servers| {
            let silent = passing(servers[replica], &format!("silent-{round}"))?;
            silent.is_empty().then_some(())
        });
    }
    let Stage { replicas, lan, .. } = stage;
    replicas[lost].mend(lan, fault);
    stage.wait_for(REPLICAS, &[0, 1, 2]);
    stage.until("it to see what the others see", PATIENCE, move |servers| {
        let is_alive = passing(servers[lost], "web")?.len() == ALIVE;
        (is_alive && passing(servers[lost], &format!("silent-{round}"))?.is_empty()).then_some(())
    });
    load.shared.avoid(lost, false);
}

/// Instances that nobody keeps alive: some of them the lost one would have judged.
fn register_silent(stage: &Stage, round: usize) {
    let address = stage.apps.at(APPS[0]);
    stage.until("registrations", PATIENCE, move |servers| {
        let mut client = Client::new(&servers, 0);
        let mut register = |number| {
            let body =
                registration(&format!("silent-{round}"), &format!("s-{round}-{number}"), address, "2s");
            client.done("PUT", "/v1/agent/service/register", &body)
        };
        (0..SILENT).all(&mut register).then_some(())
    });
}

/// On its own host a cut-off server answers reads, says how old they are, takes nobody for dead, and refuses at once what it
/// cannot do.
fn knows_that_it_is_cut_off(stage: &Stage, lost: usize) {
    let server: SocketAddr = stage.servers()[lost];
    let own = move |method: &str, path: &str| ask_patiently(server, method, path, "");
    stage.replicas[lost].host.here(move || {
        weir_tests::eventually("the cut-off server to say how old its answers are", PATIENCE, || {
            let answer = own("GET", "/v1/health/service/web?passing").unwrap();
            let age_ms: u64 = answer.header("x-consul-lastcontact").unwrap().parse().unwrap();
            (age_ms > 6000).then(|| {
                assert_eq!(answer.header("x-consul-knownleader"), Some("false"));
                assert_eq!(answer.json().as_array().unwrap().len(), ALIVE, "it has taken some for dead");
            })
        });
        let services = own("GET", "/weir/v1/services").unwrap();
        let age_ms: u64 = services.header("x-weir-stale-ms").unwrap().parse().unwrap();
        assert!(services.status == 200 && age_ms > 6000, "{age_ms}");
        assert!(own("GET", "/readyz").unwrap().text().contains("STALE"));
        for (method, path) in [
            ("PUT", "/v1/kv/refused"),
            ("PUT", "/v1/agent/check/pass/service:alive-00"),
            ("GET", "/v1/kv/refused?consistent"),
            ("POST", "/weir/v1/locks/ledger/acquire"),
        ] {
            let asked = Instant::now();
            let body = if method == "POST" { r#"{"claim": "x"}"# } else { "" };
            let answer = ask_patiently(server, method, path, body).unwrap();
            assert_eq!(answer.status, 503, "{path}: {}", answer.text());
            assert!(answer.text().contains("store"), "{path}: {}", answer.text());
            assert!(asked.elapsed() < AT_ONCE, "{path}: {:?}", asked.elapsed());
        }
    });
}
