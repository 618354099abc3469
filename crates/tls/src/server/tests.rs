use std::path::Path;

use rcgen::{CertificateParams, ExtendedKeyUsagePurpose, Issuer, KeyPair};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::*;
use crate::{ClientFiles, Connector, Names};

const PROTOCOL: &[u8] = b"test";
const PATIENCE: Duration = Duration::from_secs(60);

/// An authority that writes files for its certificates.
struct Authority {
    issuer: Issuer<'static, KeyPair>,
    folder: tempfile::TempDir,
}

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let folder = tempfile::tempdir().unwrap();
        let certificate = params.self_signed(&key).unwrap();
        std::fs::write(folder.path().join("ca.pem"), certificate.pem()).unwrap();
        Self { issuer: Issuer::new(params, key), folder }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Writes `NAME.pem` and `NAME.key`.
    fn issue(&self, name: &str, host: &str) -> (PathBuf, PathBuf) {
        let mut params = CertificateParams::new(vec![host.to_owned()]).unwrap();
        params.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        let (cert, private) = (self.path(&format!("{name}.pem")), self.path(&format!("{name}.key")));
        std::fs::write(&private, key.serialize_pem()).unwrap();
        std::fs::write(&cert, certificate.pem()).unwrap();
        (cert, private)
    }

    fn server(&self, host: &str, client_ca: Option<&Path>) -> ServerFiles {
        let (cert, key) = self.issue("server", host);
        ServerFiles { cert, key, client_ca: client_ca.map(Path::to_owned) }
    }

    fn client(&self, identity: Option<(PathBuf, PathBuf)>) -> ClientFiles {
        ClientFiles { ca: Some(self.path("ca.pem")), identity, names: Names::default() }
    }
}

/// Both sides' results of one connection; what is sent comes back.
async fn shake(acceptor: &Acceptor, files: &ClientFiles) -> (Result<(), String>, Result<(), String>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let serving = async {
        let (stream, _) = listener.accept().await.unwrap();
        let mut io = acceptor.accept(stream).await.map_err(|(error, _)| error.to_string())?;
        let mut byte = [0];
        io.read_exact(&mut byte).await.map_err(|error| error.to_string())?;
        io.write_all(&byte).await.map_err(|error| error.to_string())
    };
    let calling = async {
        let connector = Connector::load(files, PROTOCOL)?;
        let stream = TcpStream::connect(address).await.map_err(|error| error.to_string())?;
        let mut io = connector.connect("127.0.0.1", stream).await.map_err(|error| error.to_string())?;
        io.write_all(b"x").await.map_err(|error| error.to_string())?;
        let mut byte = [0];
        io.read_exact(&mut byte).await.map_err(|error| error.to_string()).map(drop)
    };
    tokio::join!(serving, calling)
}

#[tokio::test]
async fn who_is_known_is_let_in_and_nobody_else() {
    let (ours, others) = (Authority::new(), Authority::new());
    let ca = ours.path("ca.pem");
    let acceptor = Acceptor::load(ours.server("127.0.0.1", Some(&ca)), PROTOCOL).unwrap();
    assert!(acceptor.asks_clients());
    let known = ours.client(Some(ours.issue("client", "me.example")));
    assert_eq!(shake(&acceptor, &known).await, (Ok(()), Ok(())));
    let nameless = shake(&acceptor, &ours.client(None)).await;
    let said = (nameless.0.unwrap_err(), nameless.1.unwrap_err());
    assert!(said.0.contains("the client shows no certificate"), "{said:?}");
    assert!(said.1.contains("--server-cert and --server-key name one"), "{said:?}");
    let stranger = ours.client(Some(others.issue("client", "me.example")));
    let strange = shake(&acceptor, &stranger).await;
    let said = (strange.0.unwrap_err(), strange.1.unwrap_err());
    assert!(said.0.contains("no authority of --tls-client-ca"), "{said:?}");
    assert!(said.1.contains("does not accept the certificate that --server-cert names"), "{said:?}");
    let mistrusting = others.client(Some(ours.issue("client", "me.example")));
    let error = shake(&acceptor, &mistrusting).await.1.unwrap_err();
    assert!(error.contains("certificate is not accepted"), "{error}");
    let elsewhere = Acceptor::load(ours.server("10.9.8.7", None), PROTOCOL).unwrap();
    assert!(!elsewhere.asks_clients());
    let error = shake(&elsewhere, &ours.client(None)).await.1.unwrap_err();
    assert!(error.contains("certificate is not accepted"), "{error}");
}

#[tokio::test]
async fn changed_files_are_in_force_without_a_restart_and_bad_ones_never() {
    let (old, new) = (Authority::new(), Authority::new());
    let files = old.server("127.0.0.1", None);
    let acceptor = Acceptor::load(files.clone(), PROTOCOL).unwrap();
    let following = tokio::spawn(acceptor.clone().follow(std::future::pending()));
    assert_eq!(shake(&acceptor, &old.client(None)).await, (Ok(()), Ok(())));
    let (cert, key) = new.issue("server", "127.0.0.1");
    // For a while the key is not the certificate's.
    std::fs::copy(&cert, &files.cert).unwrap();
    tokio::time::sleep(POLL_EVERY * 3).await;
    assert_eq!(shake(&acceptor, &old.client(None)).await, (Ok(()), Ok(())));
    std::fs::copy(&key, &files.key).unwrap();
    let changed = async {
        while shake(&acceptor, &new.client(None)).await.1.is_err() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(PATIENCE, changed).await.expect("the new certificate is in force");
    assert!(shake(&acceptor, &old.client(None)).await.1.is_err());
    following.abort();
}

#[tokio::test]
async fn what_is_no_tls_is_told_apart_on_both_sides() {
    let ours = Authority::new();
    let acceptor = Acceptor::load(ours.server("127.0.0.1", None), PROTOCOL).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let mut plain = TcpStream::connect(address).await.unwrap();
    plain.write_all(b"GET / HTTP/1.1\r\n").await.unwrap();
    let (stream, _) = listener.accept().await.unwrap();
    let refused = acceptor.accept(stream).await.unwrap_err();
    let mut stream = match refused {
        (TlsError::NotTls, Some(stream)) => stream,
        other => panic!("{other:?}"),
    };
    let mut read = [0; 3];
    stream.read_exact(&mut read).await.unwrap();
    assert_eq!(&read, b"GET", "nothing of it was taken");
    let connector = Connector::load(&ours.client(None), PROTOCOL).unwrap();
    let calling = async {
        let stream = TcpStream::connect(address).await.unwrap();
        connector.connect("127.0.0.1", stream).await.unwrap_err().to_string()
    };
    let answering = async {
        let (mut stream, _) = listener.accept().await.unwrap();
        stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await.unwrap();
        stream
    };
    assert_eq!(tokio::join!(calling, answering).0, "the other side does not speak TLS");
}

#[test]
fn files_that_cannot_be_used_are_named() {
    let ours = Authority::new();
    let good = ours.server("127.0.0.1", None);
    let check = |files: ServerFiles, expected: &str| {
        let error = Acceptor::load(files, PROTOCOL).unwrap_err();
        assert!(error.contains(expected), "{error}");
    };
    check(ServerFiles { cert: "/nowhere.pem".into(), ..good.clone() }, "/nowhere.pem: No such file");
    check(ServerFiles { key: good.cert.clone(), ..good.clone() }, "no private key in it");
    check(ServerFiles { cert: good.key.clone(), ..good.clone() }, "no certificate in it");
    let (_, other) = ours.issue("other", "a.example");
    check(ServerFiles { key: other, ..good.clone() }, "not the key of the certificate");
    check(ServerFiles { client_ca: Some(good.key.clone()), ..good }, "no certificate in it");
    let error =
        Connector::load(&ClientFiles { ca: Some("/nowhere.pem".into()), ..ClientFiles::default() }, PROTOCOL);
    assert!(error.unwrap_err().starts_with("--server-ca: /nowhere.pem"));
}
