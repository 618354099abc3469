//! Which certificate, which section, which protocol.

use std::sync::Arc;

use rcgen::{PKCS_ECDSA_P256_SHA256, PKCS_RSA_SHA256};
use rustls::pki_types::CertificateDer;
use rustls::{CipherSuite, NamedGroup, ProtocolVersion};

use super::{Authority, ONLY_TLS12, Stream, Trusting, connect, secure_documents};
use crate::support::{Client, Proxy, Upstream, eventually};

/// Whether a client that trusts the authority takes what it is shown for a name.
fn is_shown(trusting: &Trusting, proxy: &Proxy, name: &str) -> bool {
    trusting.connect(proxy.addr(), name).is_ok()
}

fn shown(client: &Client<Stream>) -> CertificateDer<'static> {
    client.stream.conn.peer_certificates().unwrap()[0].clone()
}

#[test]
fn the_name_chooses_the_certificate() {
    let authority = Authority::new();
    authority.write("first", &["a.example"]);
    authority.write("second", &["b.example", "*.b.example"]);
    let upstream = Upstream::echo();
    let documents = secure_documents(&authority, &[("", &["first", "second"])], &[upstream.addr]);
    let proxy = Proxy::gateway(&documents);
    let trusting = authority.trusting();
    for (name, expected) in [
        ("a.example", true),
        ("A.Example", true),
        ("b.example", true),
        ("x.b.example", true),
        // A wildcard stands for one label; then the first is shown, which is not for the name.
        ("x.y.b.example", false),
        ("c.example", false),
    ] {
        assert_eq!(is_shown(&trusting, &proxy, name), expected, "{name}");
    }
}

#[test]
fn the_name_chooses_the_section() {
    let authority = Authority::new();
    authority.write("one", &["a.shop.example"]);
    authority.write("wild", &["*.shop.example"]);
    let upstream = Upstream::echo();
    let listeners: [(&str, &[&str]); 2] = [("a.shop.example", &["one"]), ("*.shop.example", &["wild"])];
    let proxy = Proxy::gateway(&secure_documents(&authority, &listeners, &[upstream.addr]));
    let trusting = authority.trusting();
    let a = shown(&trusting.connect(proxy.addr(), "a.shop.example").unwrap());
    let b = shown(&trusting.connect(proxy.addr(), "b.shop.example").unwrap());
    assert_ne!(a, b);
    let refused = trusting.connect(proxy.addr(), "elsewhere").err().unwrap();
    assert!(refused.to_string().contains("UnrecognisedName"), "{refused}");
    // An address is no name, and no section is for everybody.
    trusting.connect(proxy.addr(), "127.0.0.1").err().unwrap();
    eventually("both are counted", || {
        proxy
            .text()
            .contains("weir_proxy_tls_handshake_failures_total{side=\"client\",reason=\"no_certificate\"} 2")
    });
}

#[test]
fn a_host_of_another_section_is_misdirected() {
    let authority = Authority::new();
    authority.write("a", &["a.shop.example"]);
    authority.write("wild", &["*.shop.example"]);
    let upstream = Upstream::echo();
    let listeners: [(&str, &[&str]); 2] = [("a.shop.example", &["a"]), ("*.shop.example", &["wild"])];
    let proxy = Proxy::gateway(&secure_documents(&authority, &listeners, &[upstream.addr]));
    let mut client = authority.trusting().connect(proxy.addr(), "b.shop.example").unwrap();
    let mut ask = |host: &str| {
        client.send(format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n"));
        let response = client.response();
        (response.status, response.field("x-weir-reason").map(str::to_owned))
    };
    let misdirected = (421, Some("misdirected".to_owned()));
    assert_eq!(ask("b.shop.example"), (200, None));
    assert_eq!(ask("c.shop.example:8443"), (200, None), "the same section serves it");
    assert_eq!(ask("a.shop.example"), misdirected);
    assert_eq!(ask("elsewhere"), misdirected);
    assert_eq!(ask("B.SHOP.EXAMPLE"), (200, None), "the connection goes on");
}

#[test]
fn the_client_s_algorithms_choose_among_certificates_for_one_name() {
    let authority = Authority::new();
    authority.write("ecdsa", &["app"]);
    authority.write_rsa("rsa", &["app"]);
    let upstream = Upstream::echo();
    let documents = secure_documents(&authority, &[("", &["ecdsa", "rsa"])], &[upstream.addr]);
    let proxy = Proxy::gateway(&documents);
    for (suite, signs_with) in [
        (CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256, &PKCS_ECDSA_P256_SHA256),
        (CipherSuite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256, &PKCS_RSA_SHA256),
    ] {
        let mut trusting = authority.trusting();
        trusting.versions = ONLY_TLS12;
        trusting.suites = Some(suite);
        let client = trusting.connect(proxy.addr(), "app").unwrap();
        assert_eq!(client.stream.conn.negotiated_cipher_suite().unwrap().suite(), suite, "{signs_with:?}");
    }
}

#[test]
fn protocols_are_negotiated() {
    let authority = Authority::new();
    authority.write("app", &["app"]);
    let upstream = Upstream::echo();
    let proxy = Proxy::gateway(&secure_documents(&authority, &[("", &["app"])], &[upstream.addr]));
    let negotiated = |alpn: &[&'static str]| {
        let trusting = Trusting { alpn: alpn.to_vec(), ..authority.trusting() };
        let client = trusting.connect(proxy.addr(), "app").map_err(|fault| fault.to_string())?;
        let protocol = client.stream.conn.alpn_protocol().map(|protocol| protocol.to_vec());
        Ok::<_, String>(protocol.map(|protocol| String::from_utf8(protocol).unwrap()))
    };
    assert_eq!(negotiated(&[]), Ok(None));
    assert_eq!(negotiated(&["http/1.1"]), Ok(Some("http/1.1".to_owned())));
    assert_eq!(negotiated(&["spdy/3", "http/1.1"]), Ok(Some("http/1.1".to_owned())));
    let refused = negotiated(&["spdy/3"]).unwrap_err();
    assert!(refused.contains("NoApplicationProtocol"), "{refused}");
}

#[test]
fn a_listener_may_demand_tls_1_3() {
    let authority = Authority::new();
    authority.write("app", &["app"]);
    let upstream = Upstream::echo();
    let documents = secure_documents(&authority, &[("", &["app"])], &[upstream.addr]);
    let old = Trusting { versions: ONLY_TLS12, ..authority.trusting() };
    let proxy = Proxy::gateway(&documents);
    let client = old.connect(proxy.addr(), "app").unwrap();
    assert_eq!(client.stream.conn.protocol_version(), Some(ProtocolVersion::TLSv1_2));

    drop((client, proxy));
    let strict = documents.replace("tls: {", "tls: {options: {weir.dev/min-version: \"1.3\"}, ");
    let proxy = Proxy::gateway(&strict);
    let refused = old.connect(proxy.addr(), "app").err().unwrap();
    assert!(refused.to_string().contains("ProtocolVersion"), "{refused}");
    let mut client = authority.trusting().connect(proxy.addr(), "app").unwrap();
    assert_eq!(client.get("/").status, 200);
    assert_eq!(client.stream.conn.protocol_version(), Some(ProtocolVersion::TLSv1_3));
    let group = client.stream.conn.negotiated_key_exchange_group().unwrap().name();
    assert_eq!(group, NamedGroup::X25519MLKEM768, "post-quantum where both can");
}

#[test]
fn sessions_are_resumed_in_both_versions_and_by_every_worker() {
    let authority = Authority::new();
    authority.write("app", &["app"]);
    let upstream = Upstream::echo();
    let documents = secure_documents(&authority, &[("", &["app"])], &[upstream.addr]);
    let mut proxy = Proxy::gateway_with(&documents, |config| config.workers = 3);
    for version in [&rustls::version::TLS12, &rustls::version::TLS13] {
        let versions: &'static [_] = Box::leak(Box::new([version]));
        let config = Trusting { versions, ..authority.trusting() }.config();
        for round in 0..12 {
            let mut client = connect(&config, proxy.addr(), "app").unwrap();
            // The ticket of TLS 1.3 comes with the first response.
            assert_eq!(client.get("/").status, 200);
            let kind = client.stream.conn.handshake_kind().unwrap();
            let resumed = kind == rustls::HandshakeKind::Resumed;
            assert_eq!(resumed, round > 0, "{version:?}, round {round}: {kind:?}");
            if round == 6 {
                // Other routes or an unchanged certificate change nothing about sessions.
                proxy.publish(&documents.replace("name: all", "name: everything"));
            }
        }
    }
    let metrics = proxy.text();
    for version in ["1.2", "1.3"] {
        let row = format!(
            "weir_proxy_tls_handshakes_total{{side=\"client\",version=\"{version}\",resumed=\"true\"}} 11"
        );
        assert!(metrics.contains(&row), "{metrics}");
    }
}

#[test]
fn clients_may_have_to_show_a_certificate() {
    let authority = Authority::new();
    authority.write("app", &["app"]);
    let upstream = Upstream::echo();
    let documents = secure_documents(&authority, &[("", &["app"])], &[upstream.addr]);
    let validation = |mode: &str| {
        let listeners = format!(
            "  tls: {{frontend: {{default: {{validation: {{caCertificateRefs: [{{name: ca}}], mode: {mode}}}}}}}}}\n  listeners:"
        );
        let ca = format!(
            "---\nkind: Certificate\nmetadata: {{name: ca}}\nspec: {{caFile: \"{}\"}}\n",
            authority.path("ca.pem")
        );
        documents.replacen("  listeners:", &listeners, 1) + &ca
    };
    let none = authority.trusting();
    let known = Trusting { identity: Some(authority.identity("a client")), ..authority.trusting() };
    let stranger =
        Trusting { identity: Some(Authority::new().identity("a stranger")), ..authority.trusting() };
    let served = |proxy: &Proxy, trusting: &Trusting| {
        // In TLS 1.3 the client hears of it after its own part is over.
        let mut client = trusting.connect(proxy.addr(), "app").ok()?;
        client.try_send("GET / HTTP/1.1\r\nHost: app\r\n\r\n").ok()?;
        client.try_response(false).ok().map(|response| response.status)
    };
    for versions in [&[&rustls::version::TLS12][..], &[&rustls::version::TLS13][..]] {
        let versions: &'static [_] = versions.to_vec().leak();
        let [none, known, stranger] =
            [&none, &known, &stranger].map(|one| Trusting { versions, ..one.clone() });
        let strict = Proxy::gateway(&validation("AllowValidOnly"));
        assert_eq!(served(&strict, &known), Some(200));
        assert_eq!(served(&strict, &none), None);
        assert_eq!(served(&strict, &stranger), None);
        let row = "weir_proxy_tls_handshake_failures_total{side=\"client\",reason=\"client_certificate\"} 2";
        eventually("both are counted", || strict.text().contains(row));
        drop(strict);
        let lenient = Proxy::gateway(&validation("AllowInsecureFallback"));
        for one in [&known, &none, &stranger] {
            assert_eq!(served(&lenient, one), Some(200));
        }
    }
}

#[test]
fn a_session_from_before_a_rule_for_certificates_is_not_resumed_after_it() {
    let authority = Authority::new();
    authority.write("app", &["app"]);
    let upstream = Upstream::echo();
    let documents = secure_documents(&authority, &[("", &["app"])], &[upstream.addr]);
    let mut proxy = Proxy::gateway(&documents);
    let config = authority.trusting().config();
    for _ in 0..2 {
        assert_eq!(connect(&config, proxy.addr(), "app").unwrap().get("/").status, 200);
    }
    let rule = "tls: {frontendValidation: {caCertificateRefs: [{name: ca}]}, ";
    let ca = format!(
        "---\nkind: Certificate\nmetadata: {{name: ca}}\nspec: {{caFile: \"{}\"}}\n",
        authority.path("ca.pem")
    );
    proxy.publish(&(documents.replace("tls: {", rule) + &ca));
    // The client offers its session, and has no certificate.
    let mut client = connect(&Arc::clone(&config), proxy.addr(), "app").unwrap();
    let answered =
        client.try_send("GET / HTTP/1.1\r\nHost: app\r\n\r\n").and_then(|()| client.try_response(false));
    answered.unwrap_err();
}

/// The status of a request on a connection that has been open for a while.
fn status(client: &mut Client<Stream>, host: &str) -> u16 {
    client.send(format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n"));
    client.response().status
}

#[test]
fn a_connection_from_before_a_rule_for_certificates_is_not_served_after_it() {
    let authority = Authority::new();
    authority.write("app", &["app"]);
    let upstream = Upstream::echo();
    let documents = secure_documents(&authority, &[("", &["app"])], &[upstream.addr]);
    let mut proxy = Proxy::gateway(&documents);
    let mut client = authority.trusting().connect(proxy.addr(), "app").unwrap();
    assert_eq!(status(&mut client, "app"), 200);
    // A change that has nothing to do with it does no harm.
    proxy.publish(&documents);
    assert_eq!(status(&mut client, "app"), 200);
    let rule = "tls: {frontendValidation: {caCertificateRefs: [{name: ca}]}, ";
    let ca = format!(
        "---\nkind: Certificate\nmetadata: {{name: ca}}\nspec: {{caFile: \"{}\"}}\n",
        authority.path("ca.pem")
    );
    proxy.publish(&(documents.replace("tls: {", rule) + &ca));
    assert_eq!(status(&mut client, "app"), 421);
}

#[test]
fn a_connection_is_for_its_own_section_wherever_that_stands() {
    let authority = Authority::new();
    authority.write("a", &["a.example"]);
    authority.write("b", &["b.example"]);
    let upstream = Upstream::echo();
    let listeners: [(&str, &[&str]); 2] = [("a.example", &["a"]), ("b.example", &["b"])];
    let documents = secure_documents(&authority, &listeners, &[upstream.addr]);
    let mut proxy = Proxy::gateway(&documents);
    let mut client = authority.trusting().connect(proxy.addr(), "a.example").unwrap();
    assert_eq!((status(&mut client, "a.example"), status(&mut client, "b.example")), (200, 421));
    let line = |name: &str| documents.lines().find(|line| line.contains(name)).unwrap().to_owned() + "\n";
    let (first, second) = (line("name: web0"), line("name: web1"));
    let swapped = documents.replace(&first, "").replace(&second, &(second.clone() + &first));
    assert_ne!(swapped, documents);
    proxy.publish(&swapped);
    assert_eq!((status(&mut client, "a.example"), status(&mut client, "b.example")), (200, 421));
    // Without its own section, what stands in its place is not for it.
    proxy.publish(&documents.replace(&first, ""));
    assert_eq!((status(&mut client, "a.example"), status(&mut client, "b.example")), (421, 421));
}
