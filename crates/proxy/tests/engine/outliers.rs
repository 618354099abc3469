//! Endpoints that do worse than the others get no requests for a while.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rand::SeedableRng;
use rand::rngs::SmallRng;
use weir_proxy::explain::{Request, explain};

use crate::support::{Client, Proxy, Upstream, documents, eventually};

/// An upstream that answers with 200, or with something else as long as it is ill.
pub(crate) struct Patient {
    pub(crate) upstream: Upstream,
    ill: Arc<AtomicBool>,
}

impl Patient {
    pub(crate) fn ill_with(answer: &'static str) -> Self {
        let ill = Arc::new(AtomicBool::new(true));
        let is_ill = ill.clone();
        let upstream = Upstream::start(move |conn| {
            loop {
                conn.request()?;
                if is_ill.load(Ordering::SeqCst) {
                    conn.write(answer)?;
                } else {
                    conn.ok(b"well")?;
                }
            }
        });
        Self { upstream, ill }
    }

    pub(crate) fn heal(&self) {
        self.ill.store(false, Ordering::SeqCst);
    }

    fn requests(&self) -> usize {
        self.upstream.requests()
    }
}

pub(crate) const BUSY: &str = "HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n";
const BROKEN: &str = "HTTP/1.1 500 Internal Server Error\r\nContent-Length: 0\r\n\r\n";
const UNAVAILABLE: &str =
    "HTTP/1.1 200 OK\r\nContent-Type: application/grpc\r\nContent-Length: 0\r\ngrpc-status: 14\r\n\r\n";

fn metric(proxy: &Proxy, line: &str) -> bool {
    proxy.text().lines().any(|one| one == line)
}

fn ejected(proxy: &Proxy, reason: &str, times: u32) -> bool {
    metric(proxy, &format!("weir_proxy_ejections_total{{service=\"app\",reason=\"{reason}\"}} {times}"))
}

/// Sends requests until something is so.
fn until(what: &str, client: &mut Client, mut is_so: impl FnMut() -> bool) {
    eventually(what, || {
        client.get("/");
        is_so()
    });
}

fn explained(proxy: &Proxy) -> String {
    let request = Request::parse("GET", "http://app/", []).unwrap();
    let snapshot = proxy.shared.snapshot.load();
    explain(&snapshot, &request, &mut SmallRng::seed_from_u64(1)).to_string()
}

fn two(ill: &Patient, well: &Upstream, outlier: &str) -> String {
    documents(&[ill.upstream.addr, well.addr], &format!("outlier: {{{outlier}}}"))
}

#[test]
fn failures_in_a_row_eject_and_a_new_snapshot_changes_nothing() {
    let (ill, well) = (Patient::ill_with(BUSY), Upstream::echo());
    let documents = two(&ill, &well, "consecutive: 3, ejection: 1h");
    let mut proxy = Proxy::gateway(&documents);
    let mut client = proxy.client();
    until("the ill one to be ejected", &mut client, || ejected(&proxy, "consecutive", 1));
    assert_eq!(ill.requests(), 3);
    assert!(metric(&proxy, "weir_proxy_endpoints_ejected{service=\"app\"} 1"));
    assert!(metric(&proxy, "weir_proxy_endpoints{service=\"app\",state=\"ejected\"} 1"));
    let text = explained(&proxy);
    assert!(text.contains("left out: ejected for 3"), "{text}");
    assert!(text.contains("s (1 in a row): 3 gateway failures in a row"), "{text}");
    for round in 0..2 {
        for _ in 0..20 {
            assert_eq!(client.get("/").status, 200, "round {round}");
        }
        proxy.publish(&documents.replace("ejection: 1h", "ejection: 2h"));
    }
    assert_eq!(ill.requests(), 3);
    // Who does not want it has all of them back at once.
    proxy.publish(&documents.replace("consecutive: 3", "enabled: false"));
    until("the ill one to be asked", &mut client, || ill.requests() > 3);
}

#[test]
fn one_request_probes_and_what_is_well_comes_back() {
    let (ill, well) = (Patient::ill_with(BUSY), Upstream::echo());
    let proxy = Proxy::gateway(&two(&ill, &well, "consecutive: 2, ejection: 20ms, ejectionMax: 50ms"));
    let mut client = proxy.client();
    until("it to be ejected", &mut client, || ejected(&proxy, "consecutive", 1));
    until("its probe to fail", &mut client, || !ejected(&proxy, "probe", 0) && ill.requests() > 2);
    eventually("the probe to be counted", || {
        proxy.text().contains("weir_proxy_ejections_total{service=\"app\",reason=\"probe\"}")
    });
    ill.heal();
    let back = "weir_proxy_ejections_ended_total{service=\"app\"} 1";
    until("it to be back", &mut client, || metric(&proxy, back));
    assert!(metric(&proxy, "weir_proxy_endpoints_ejected{service=\"app\"} 0"));
    let before = ill.requests();
    until("it to get requests", &mut client, || ill.requests() > before + 3);
    assert!(!explained(&proxy).contains("ejected"), "{}", explained(&proxy));
}

#[test]
fn no_more_than_half_are_ejected() {
    // The third is well, so that the others stand out.
    let patients = [Patient::ill_with(BUSY), Patient::ill_with(BUSY)];
    let well = Upstream::echo();
    let addrs = [patients[0].upstream.addr, patients[1].upstream.addr, well.addr];
    let proxy = Proxy::gateway(&documents(&addrs, "outlier: {consecutive: 3, ejection: 1h}"));
    let mut client = proxy.client();
    let spared = "weir_proxy_ejections_spared_total{service=\"app\"} 0";
    until("one to be spared", &mut client, || ejected(&proxy, "consecutive", 1) && !metric(&proxy, spared));
    until("the other one to get requests still", &mut client, || {
        patients.iter().map(Patient::requests).max() > Some(30)
    });
    assert!(ejected(&proxy, "consecutive", 1), "a third is all that half of three is");
}

#[test]
fn where_all_fail_alike_nobody_is_ejected() {
    let patients = [Patient::ill_with(BUSY), Patient::ill_with(BUSY), Patient::ill_with(BUSY)];
    let addrs = patients.each_ref().map(|patient| patient.upstream.addr);
    let policy = "balance: {policy: round_robin}\n  outlier: {consecutive: 5, ejection: 1h}";
    let proxy = Proxy::gateway(&documents(&addrs, policy));
    // In turn, so that they begin to fail together.
    let mut client = proxy.client();
    until("all to have failed often", &mut client, || patients.iter().all(|patient| patient.requests() > 30));
    assert!(!metric(&proxy, "weir_proxy_ejections_spared_total{service=\"app\"} 0"));
    assert!(!proxy.text().contains("weir_proxy_endpoints_ejected{service=\"app\"} 1"), "{}", proxy.text());
    patients.iter().for_each(Patient::heal);
    let before: Vec<usize> = patients.iter().map(Patient::requests).collect();
    until("all to serve again", &mut client, || {
        patients.iter().zip(&before).all(|(patient, before)| patient.requests() > *before)
    });
}

#[test]
fn shadow_ejects_nothing_and_says_what_it_would() {
    let (ill, well) = (Patient::ill_with(BUSY), Upstream::echo());
    let proxy = Proxy::gateway(&two(&ill, &well, "consecutive: 2, ejection: 1h, shadow: true"));
    let mut client = proxy.client();
    let counted = "weir_proxy_ejections_shadow_total{service=\"app\",reason=\"consecutive\"} 1";
    until("it to be thought of", &mut client, || metric(&proxy, counted));
    until("it to get requests all the same", &mut client, || ill.requests() > 10);
    assert!(!ejected(&proxy, "consecutive", 1));
    let text = explained(&proxy);
    assert!(text.contains("; in shadow ejected for "), "{text}");
}

#[test]
fn who_does_worse_than_the_others_is_ejected_by_comparison() {
    let (ill, well) = (Patient::ill_with(BROKEN), Upstream::echo());
    let proxy = Proxy::gateway(&two(&ill, &well, "consecutive: 0, interval: 200ms, ejection: 1h"));
    let mut client = proxy.client();
    until("it to be ejected", &mut client, || ejected(&proxy, "worse", 1));
    assert_eq!(client.get("/").status, 200);
    assert!(explained(&proxy).contains(" calls failed, 0 of "), "{}", explained(&proxy));
}

#[test]
fn calls_of_grpc_are_judged_by_their_status() {
    let (ill, well) = (Patient::ill_with(UNAVAILABLE), Upstream::echo());
    let proxy = Proxy::gateway(&two(&ill, &well, "consecutive: 3, ejection: 1h"));
    let mut client = proxy.client();
    until("it to be ejected", &mut client, || ejected(&proxy, "consecutive", 1));
    assert_eq!(ill.requests(), 3);
}
