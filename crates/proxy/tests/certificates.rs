//! Certificates whose files change under a running proxy, as `weir` runs it: written anew, moved into place, or swapped by
//! a symbolic link as Kubernetes and certbot do.

use std::fs;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use rustls::crypto::aws_lc_rs::default_provider;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use tokio::sync::oneshot;
use weir_proxy::{Mode, ProxyConfig, ProxyError, SourceConfig};

const PATIENCE: Duration = Duration::from_secs(60);

fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !condition() {
        assert!(Instant::now() < deadline, "never came true: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn free_addr() -> SocketAddr {
    ([127, 0, 0, 1], weir_tests::free_port()).into()
}

/// An upstream that answers every request, until the process ends.
fn upstream() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for socket in listener.incoming() {
            std::thread::spawn(move || answer(socket.unwrap()));
        }
    });
    addr
}

fn answer(mut socket: TcpStream) {
    let (mut seen, mut part) = (Vec::new(), [0; 4096]);
    while let Ok(n) = socket.read(&mut part)
        && n > 0
    {
        seen.extend_from_slice(&part[..n]);
        while let Some(at) = seen.windows(4).position(|end| end == b"\r\n\r\n") {
            seen.drain(..at + 4);
            if socket.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").is_err() {
                return;
            }
        }
    }
}

type Running = JoinHandle<Result<(), ProxyError>>;

/// An authority that certifies `app`, and a proxy whose certificate is in its directory.
struct Stage {
    issuer: CertifiedIssuer<'static, KeyPair>,
    dir: tempfile::TempDir,
    addr: SocketAddr,
    admin: SocketAddr,
    running: Option<(oneshot::Sender<()>, Running)>,
}

impl Stage {
    /// `certificate` is the directory, below the stage's own, that the documents name.
    fn new(certificate: &str) -> Self {
        let mut params = CertificateParams::new(vec![]).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, "an authority of the tests");
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let dir = tempfile::tempdir().unwrap();
        let stage = Self { issuer, dir, addr: free_addr(), admin: free_addr(), running: None };
        let folder = stage.path(certificate);
        let (port, upstream) = (stage.addr.port(), upstream().port());
        let documents = format!(
            "kind: Gateway
metadata: {{name: edge}}
spec:
  listeners: [{{name: web, port: {port}, protocol: HTTPS, tls: {{certificateRefs: [{{name: app}}]}}}}]
---
kind: Certificate
metadata: {{name: app}}
spec: {{certFile: {folder}/tls.crt, keyFile: {folder}/tls.key}}
---
kind: HTTPRoute
metadata: {{name: app}}
spec:
  parentRefs: [{{name: edge}}]
  rules: [{{backendRefs: [{{name: app}}]}}]
---
kind: Service
metadata: {{name: app}}
spec: {{endpoints: [{{address: 127.0.0.1, port: {upstream}}}]}}
",
            folder = folder.display()
        );
        fs::write(stage.path("weir.yaml"), documents).unwrap();
        stage
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Makes a certificate and writes it with its key into a directory. Gives what clients will be shown.
    fn certify(&self, folder: &str) -> CertificateDer<'static> {
        let (der, certificate, key) = self.make();
        fs::create_dir_all(self.path(folder)).unwrap();
        fs::write(self.path(folder).join("tls.crt"), certificate).unwrap();
        fs::write(self.path(folder).join("tls.key"), key).unwrap();
        der
    }

    fn make(&self) -> (CertificateDer<'static>, String, String) {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec!["app".to_owned()]).unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        (certificate.der().clone(), certificate.pem(), key.serialize_pem())
    }

    fn start(&mut self) {
        let mut config =
            ProxyConfig::new(Mode::Gateway, SourceConfig::Static { files: vec![self.path("weir.yaml")] });
        config.workers = 2;
        config.admin = Some(self.admin);
        let (stop, stopped) = oneshot::channel();
        let thread = std::thread::spawn(move || weir_proxy::run(config, stopped));
        self.running = Some((stop, thread));
        eventually("the proxy serves", || self.shown().is_ok());
    }

    fn connect(&self) -> io::Result<StreamOwned<ClientConnection, TcpStream>> {
        connect(&self.client(), self.addr)
    }

    fn client(&self) -> Arc<ClientConfig> {
        let mut roots = RootCertStore::empty();
        roots.add(self.issuer.der().clone()).unwrap();
        let config = ClientConfig::builder_with_provider(Arc::new(default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        Arc::new(config)
    }

    /// What a new client is shown.
    fn shown(&self) -> io::Result<CertificateDer<'static>> {
        let stream = self.connect()?;
        Ok(stream.conn.peer_certificates().unwrap()[0].clone())
    }

    fn admin(&self, path: &str) -> String {
        let mut socket = TcpStream::connect(self.admin).unwrap();
        write!(socket, "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").unwrap();
        let mut text = String::new();
        socket.read_to_string(&mut text).unwrap();
        text
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        if let Some((stop, thread)) = self.running.take() {
            let _ = stop.send(());
            let _ = thread.join();
        }
    }
}

fn connect(
    config: &Arc<ClientConfig>,
    addr: SocketAddr,
) -> io::Result<StreamOwned<ClientConnection, TcpStream>> {
    let tcp = TcpStream::connect(addr)?;
    tcp.set_read_timeout(Some(PATIENCE))?;
    let name = ServerName::try_from("app").unwrap();
    let session = ClientConnection::new(config.clone(), name).map_err(io::Error::other)?;
    let mut stream = StreamOwned::new(session, tcp);
    while stream.conn.is_handshaking() {
        stream.conn.complete_io(&mut stream.sock)?;
    }
    Ok(stream)
}

fn request(stream: &mut StreamOwned<ClientConnection, TcpStream>) -> io::Result<()> {
    stream.write_all(b"GET / HTTP/1.1\r\nHost: app\r\n\r\n")?;
    let (mut seen, mut part) = (Vec::new(), [0; 1024]);
    while !seen.ends_with(b"\r\n\r\nok") {
        let n = stream.read(&mut part)?;
        if n == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        seen.extend_from_slice(&part[..n]);
    }
    assert!(seen.starts_with(b"HTTP/1.1 200 "), "{}", String::from_utf8_lossy(&seen));
    Ok(())
}

/// Clients that never stop: half keep their connection, half make a new one for each request.
struct Load {
    stop: Arc<AtomicBool>,
    served: Arc<AtomicUsize>,
    clients: Vec<JoinHandle<()>>,
}

impl Load {
    fn on(stage: &Stage) -> Self {
        let (stop, served): (Arc<AtomicBool>, Arc<AtomicUsize>) = Default::default();
        let clients = (0..4).map(|number| {
            let (stop, served, config, addr) = (stop.clone(), served.clone(), stage.client(), stage.addr);
            std::thread::spawn(move || {
                let mut kept = connect(&config, addr).unwrap();
                while !stop.load(Ordering::Relaxed) {
                    if number % 2 == 1 {
                        kept = connect(&config, addr).unwrap();
                    }
                    request(&mut kept).unwrap();
                    served.fetch_add(1, Ordering::Relaxed);
                }
            })
        });
        let clients = clients.collect();
        Self { stop, served, clients }
    }

    fn goes_on(&self) {
        let before = self.served.load(Ordering::Relaxed);
        eventually("requests go on", || self.served.load(Ordering::Relaxed) > before + 20);
    }

    fn end(self) {
        self.stop.store(true, Ordering::Relaxed);
        self.clients.into_iter().for_each(|client| client.join().expect("no request failed"));
    }
}

/// Makes a link point elsewhere in one step.
fn relink(target: &str, link: &Path) {
    let aside = link.with_extension("aside");
    let _ = fs::remove_file(&aside);
    symlink(target, &aside).unwrap();
    fs::rename(&aside, link).unwrap();
}

#[test]
fn a_new_certificate_is_served_however_it_came_and_no_request_fails() {
    let mut stage = Stage::new("live");
    let first = stage.certify("one");
    // As Kubernetes does it: the files are links to what is behind a link that is swapped.
    fs::create_dir(stage.path("live")).unwrap();
    symlink("../one", stage.path("live/data")).unwrap();
    for name in ["tls.crt", "tls.key"] {
        symlink(format!("data/{name}"), stage.path("live").join(name)).unwrap();
    }
    stage.start();
    assert_eq!(stage.shown().unwrap(), first);
    let load = Load::on(&stage);
    load.goes_on();

    let second = stage.certify("two");
    relink("../two", &stage.path("live/data"));
    eventually("the link's new target is served", || stage.shown().unwrap() == second);
    load.goes_on();

    // Written over where they are, one after the other.
    let third = stage.certify("two");
    eventually("what was written is served", || stage.shown().unwrap() == third);
    load.goes_on();

    // Moved into place.
    let fourth = stage.certify("three");
    for name in ["tls.crt", "tls.key"] {
        fs::rename(stage.path("three").join(name), stage.path("two").join(name)).unwrap();
    }
    eventually("what was moved there is served", || stage.shown().unwrap() == fourth);
    load.goes_on();
    load.end();
}

#[test]
fn what_cannot_be_used_is_refused_and_the_certificate_before_stays() {
    let mut stage = Stage::new("live");
    let first = stage.certify("live");
    stage.start();
    let load = Load::on(&stage);
    let stays = || {
        // The files are read once they have looked the same twice, a second apart.
        std::thread::sleep(Duration::from_secs(3));
        assert_eq!(stage.shown().unwrap(), first);
    };
    let good_key = fs::read(stage.path("live/tls.key")).unwrap();
    fs::write(stage.path("live/tls.crt"), "-----BEGIN CERTIFICATE-----\n!!!!").unwrap();
    stays();
    let (second, certificate, key) = stage.make();
    fs::write(stage.path("live/tls.crt"), certificate).unwrap();
    assert_eq!(fs::read(stage.path("live/tls.key")).unwrap(), good_key, "another certificate's key");
    stays();
    fs::remove_file(stage.path("live/tls.key")).unwrap();
    stays();
    load.goes_on();
    fs::write(stage.path("live/tls.key"), key).unwrap();
    eventually("it is served once it is whole", || stage.shown().unwrap() == second);
    load.end();
}

#[test]
fn the_end_of_a_certificate_is_shown() {
    let mut stage = Stage::new("live");
    stage.certify("live");
    stage.start();
    let metrics = stage.admin("/metrics");
    // rcgen's certificates last until the year 4096.
    assert!(
        metrics.contains("weir_proxy_certificate_expiry_seconds{certificate=\"Certificate/app\"} 67090"),
        "{metrics}"
    );
}

#[test]
fn files_that_cannot_be_used_at_the_start_are_named() {
    type Break<'a> = &'a dyn Fn(&Stage);
    let check = |break_it: Break<'_>, field: &str, expected: &str| {
        let stage = Stage::new("live");
        stage.certify("live");
        break_it(&stage);
        let config =
            ProxyConfig::new(Mode::Gateway, SourceConfig::Static { files: vec![stage.path("weir.yaml")] });
        let error = weir_proxy::run(config, std::future::pending::<()>()).unwrap_err().to_string();
        let place = format!("Certificate/app {field}");
        assert!(error.contains(&place) && error.contains(expected), "{error}");
        // With line and path.
        assert!(error.contains("weir.yaml:8: ") && error.contains("live/tls."), "{error}");
    };
    check(&|stage| fs::remove_file(stage.path("live/tls.crt")).unwrap(), "spec.certFile", "No such file");
    check(&|stage| fs::remove_file(stage.path("live/tls.key")).unwrap(), "spec.keyFile", "No such file");
    check(&|stage| fs::write(stage.path("live/tls.crt"), "x").unwrap(), "spec.certFile", "no certificate");
    check(&|stage| fs::write(stage.path("live/tls.key"), "x").unwrap(), "spec.keyFile", "no private key");
    let foreign = |stage: &Stage| fs::write(stage.path("live/tls.key"), stage.make().2).unwrap();
    check(&foreign, "spec.keyFile", "not the key of the certificate in");
    let reversed = |stage: &Stage| {
        let chain = stage.issuer.pem() + &fs::read_to_string(stage.path("live/tls.crt")).unwrap();
        fs::write(stage.path("live/tls.crt"), chain).unwrap();
    };
    check(&reversed, "spec.certFile", "expected the leaf first");
}
