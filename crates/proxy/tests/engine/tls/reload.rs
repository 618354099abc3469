//! Certificates that change while the proxy runs.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use super::{Authority, Trusting, secure_documents};
use crate::support::{Proxy, Upstream, eventually};

#[test]
fn a_new_certificate_comes_into_force_without_a_failed_request() {
    let authority = Authority::new();
    authority.write("app", &["app"]);
    let upstream = Upstream::echo();
    let documents = secure_documents(&authority, &[("", &["app"])], &[upstream.addr]);
    let mut proxy = Proxy::gateway(&documents);
    let shown = |trusting: &Trusting| {
        let mut client = trusting.connect(proxy.addr(), "app").unwrap();
        assert_eq!(client.get("/").status, 200);
        client.stream.conn.peer_certificates().unwrap()[0].clone()
    };
    let trusting = authority.trusting();
    let first = shown(&trusting);
    assert_eq!(shown(&trusting), first);

    let stop = Arc::new(AtomicBool::new(false));
    let served = Arc::new(AtomicUsize::new(0));
    let clients: Vec<_> = (0..4)
        .map(|number| {
            let (stop, served, trusting, addr) =
                (stop.clone(), served.clone(), trusting.clone(), proxy.addr());
            std::thread::spawn(move || {
                // Half of them keep their connection, half open one per request.
                let mut kept = trusting.connect(addr, "app").unwrap();
                while !stop.load(Ordering::Relaxed) {
                    if number % 2 == 0 {
                        assert_eq!(kept.get("/").status, 200);
                    } else {
                        assert_eq!(trusting.connect(addr, "app").unwrap().get("/").status, 200);
                    }
                    served.fetch_add(1, Ordering::Relaxed);
                }
            })
        })
        .collect();
    let mut last = first;
    for round in 1..=10 {
        authority.write("app", &["app"]);
        proxy.forget_certificates();
        proxy.publish(&documents);
        let mut client = trusting.connect(proxy.addr(), "app").unwrap();
        assert_eq!(client.get("/").status, 200);
        let now = client.stream.conn.peer_certificates().unwrap()[0].clone();
        assert_ne!(now, last, "round {round}");
        last = now;
        let before = served.load(Ordering::Relaxed);
        eventually("requests go on", || served.load(Ordering::Relaxed) > before + 8);
    }
    stop.store(true, Ordering::Relaxed);
    clients.into_iter().for_each(|client| client.join().unwrap());
}
