//! HTTP/2 inside TLS, on both sides.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;

use rustls::crypto::aws_lc_rs::default_provider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};

use super::raw::{ACK, END_HEADERS, END_STREAM, HEADERS, PREFACE, SETTINGS, frame, get};
use crate::support::{PATIENCE, Proxy, Upstream, documents};
use crate::tls::{Authority, Trusting, secure_documents};

/// Reads frames until one of a kind; gives its payload.
fn until(stream: &mut impl Read, kind: u8) -> Vec<u8> {
    loop {
        let mut head = [0; 9];
        stream.read_exact(&mut head).unwrap();
        let mut payload = vec![0; u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize];
        stream.read_exact(&mut payload).unwrap();
        if head[3] == kind {
            return payload;
        }
    }
}

#[test]
fn a_client_that_settles_on_h2_is_served() {
    let authority = Authority::new();
    authority.write("app", &["app"]);
    let upstream = Upstream::echo();
    let proxy = Proxy::gateway(&secure_documents(&authority, &[("", &["app"])], &[upstream.addr]));
    let trusting = Trusting { alpn: vec!["h2", "http/1.1"], ..authority.trusting() };
    let mut client = trusting.connect(proxy.addr(), "app").unwrap();
    assert_eq!(client.stream.conn.alpn_protocol(), Some(&b"h2"[..]));
    client.stream.write_all(&[PREFACE, &frame(SETTINGS, 0, 0, &[]), &get(1)].concat()).unwrap();
    assert!(!until(&mut client.stream, HEADERS).is_empty());
    let seen = String::from_utf8(until(&mut client.stream, 0)).unwrap();
    assert!(seen.starts_with("GET / HTTP/1.1\r\nHost: app\r\n"), "{seen}");
    assert!(seen.contains("\r\nx-forwarded-proto: https\r\n"), "{seen}");
}

/// An upstream that speaks HTTP/2 in TLS, and answers each connection's first request with nothing but its status.
fn secure_upstream(authority: &Authority) -> SocketAddr {
    authority.write("upstream", &["app.test"]);
    let chain = CertificateDer::pem_file_iter(authority.path("upstream.pem")).unwrap();
    let key = PrivateKeyDer::from_pem_file(authority.path("upstream.key")).unwrap();
    let builder = ServerConfig::builder_with_provider(Arc::new(default_provider()));
    let builder = builder.with_protocol_versions(rustls::ALL_VERSIONS).unwrap().with_no_client_auth();
    let mut config = builder.with_single_cert(chain.map(Result::unwrap).collect(), key).unwrap();
    config.alpn_protocols = vec![b"h2".to_vec()];
    let config = Arc::new(config);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for socket in listener.incoming() {
            let config = config.clone();
            std::thread::spawn(move || {
                let socket = socket.unwrap();
                socket.set_read_timeout(Some(PATIENCE)).unwrap();
                let mut stream = StreamOwned::new(ServerConnection::new(config).unwrap(), socket);
                let mut preface = [0; PREFACE.len()];
                stream.read_exact(&mut preface).unwrap();
                assert_eq!(preface, PREFACE);
                stream.write_all(&frame(SETTINGS, 0, 0, &[])).unwrap();
                until(&mut stream, HEADERS);
                stream.write_all(&frame(SETTINGS, ACK, 0, &[])).unwrap();
                // Indexed field 9 of HPACK's own table: `:status: 204`.
                stream.write_all(&frame(HEADERS, END_HEADERS | END_STREAM, 1, &[0x89])).unwrap();
                stream.flush().unwrap();
                let _ = stream.read(&mut [0]);
            });
        }
    });
    addr
}

#[test]
fn an_upstream_is_called_by_h2_over_tls() {
    let authority = Authority::new();
    let upstream = secure_upstream(&authority);
    let policy = "tls: {serverName: app.test, caRefs: [{name: ca}]}";
    let ca = authority.path("ca.pem");
    let ca = format!("---\nkind: Certificate\nmetadata: {{name: ca}}\nspec: {{caFile: \"{ca}\"}}\n");
    let documents = documents(&[upstream], policy)
        .replace("spec:\n  endpoints:", "spec:\n  protocol: http2\n  endpoints:");
    let proxy = Proxy::gateway(&(documents + &ca));
    let got = proxy.client().get("/");
    assert_eq!(got.status, 204, "{got:?}");
}
