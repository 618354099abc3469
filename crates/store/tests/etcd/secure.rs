//! Clusters that speak TLS and let in only whom they know.

use std::path::PathBuf;

use rcgen::{CertificateParams, ExtendedKeyUsagePurpose, Issuer, KeyPair};
use weir_store::{Error, Etcd, EtcdAddress, EtcdOptions, KeyRange, list_and_watch};

use crate::member::{Member, Secured};
use crate::{names, open, put, put_in_time};

/// An authority whose certificates are for both sides.
struct Authority {
    issuer: Issuer<'static, KeyPair>,
    folder: tempfile::TempDir,
}

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).expect("valid");
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let key = KeyPair::generate().expect("a key");
        let folder = tempfile::tempdir().expect("a temporary folder");
        let certificate = params.self_signed(&key).expect("signed");
        std::fs::write(folder.path().join("ca.pem"), certificate.pem()).expect("written");
        Self { issuer: Issuer::new(params, key), folder }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn issue(&self, name: &str) -> (PathBuf, PathBuf) {
        let mut params = CertificateParams::new(vec!["127.0.0.1".to_owned()]).expect("valid");
        params.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        // etcd takes the common name for the user's.
        params.distinguished_name.push(rcgen::DnType::CommonName, name);
        let key = KeyPair::generate().expect("a key");
        let certificate = params.signed_by(&key, &self.issuer).expect("signed");
        let (cert, private) = (self.path(&format!("{name}.pem")), self.path(&format!("{name}.key")));
        std::fs::write(&private, key.serialize_pem()).expect("written");
        std::fs::write(&cert, certificate.pem()).expect("written");
        (cert, private)
    }

    fn member(&self) -> Member {
        let (cert, key) = self.issue("etcd");
        Member::secured(&Secured { cert, key, ca: self.path("ca.pem") })
    }

    /// The address of a member, for a client of this name.
    fn address(&self, host: &str, name: &str) -> String {
        let (cert, key) = self.issue(name);
        let ca = self.path("ca.pem");
        format!("etcd://{host}?ca={}&cert={}&key={}", ca.display(), cert.display(), key.display())
    }
}

async fn refused(address: &str) -> String {
    let address: EtcdAddress = address.parse().expect("an address");
    match Etcd::open(&address, EtcdOptions::default()).await.expect_err("it is not let in") {
        Error::Open { reason, .. } => reason,
        other => panic!("{other}"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cluster_with_tls_lets_in_who_shows_a_certificate() {
    let (ours, others) = (Authority::new(), Authority::new());
    let mut member = ours.member();
    let store = open(&ours.address(&member.host(), "weir")).await;
    let (_, _, mut watch) = list_and_watch(&store, &KeyRange::all()).await.expect("a list");
    put(&store, "a").await.expect("accepted");
    assert_eq!(names(&mut watch).await, ["a"]);
    member.kill();
    member.start_again();
    put_in_time(&store, "b").await;
    assert_eq!(names(&mut watch).await, ["b"]);

    let ca = ours.path("ca.pem");
    let nameless = refused(&format!("etcd://{}?ca={}", member.host(), ca.display())).await;
    assert!(
        nameless.contains("TLS") || nameless.contains("certificate") || nameless.contains("transport"),
        "{nameless}"
    );
    let mistrusting = format!("etcd://{}?ca={}", member.host(), others.path("ca.pem").display());
    let mistrusting = refused(&mistrusting).await;
    assert!(mistrusting.contains("certificate is not accepted"), "{mistrusting}");
    let plain = refused(&member.address()).await;
    assert!(!plain.is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_whose_certificate_was_replaced_connects_with_the_new_one() {
    let (ours, others) = (Authority::new(), Authority::new());
    let mut member = ours.member();
    let address = ours.address(&member.host(), "weir");
    let store = open(&address).await;
    put(&store, "a").await.expect("accepted");
    // One that etcd does not know is in the place of the one it was opened with, and then a good one again.
    let (cert, key) = others.issue("weir");
    std::fs::copy(&cert, ours.path("weir.pem")).expect("copied");
    std::fs::copy(&key, ours.path("weir.key")).expect("copied");
    member.kill();
    member.start_again();
    let error = put(&store, "b").await.expect_err("a stranger");
    assert!(matches!(error, Error::Unavailable { .. }), "{error}");
    ours.issue("weir");
    put_in_time(&store, "c").await;
}

/// A user who may touch nothing but the keys behind one prefix.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_user_with_a_password_is_let_in_and_again_after_its_token_is_gone() {
    let ours = Authority::new();
    let mut member = ours.member();
    for arguments in [
        &["user", "add", "root:secret"][..],
        &["user", "grant-role", "root", "root"],
        &["user", "add", "weir:pass word"],
        &["role", "add", "weir"],
        &["role", "grant-permission", "weir", "--prefix=true", "readwrite", "/shop"],
        &["user", "grant-role", "weir", "weir"],
        &["auth", "enable"],
    ] {
        member.ctl(None, arguments);
    }
    let password = ours.path("password");
    std::fs::write(&password, "pass word\n").expect("written");
    let host = member.host();
    // Not by the certificate: etcd knows no user of its name.
    let user = |password: &PathBuf, prefix: &str| {
        let tls = ours.address(&host, "nobody");
        format!("{tls}&prefix={prefix}&user=weir&password-file={}", password.display())
    };
    let store = open(&user(&password, "/shop")).await;
    let (_, _, mut watch) = list_and_watch(&store, &KeyRange::all()).await.expect("a list");
    let lease = store_lease(&store).await;
    put(&store, "a").await.expect("accepted");
    assert_eq!(names(&mut watch).await, ["a"]);

    let wrong = ours.path("wrong");
    std::fs::write(&wrong, "word").expect("written");
    let said = refused(&user(&wrong, "/shop")).await;
    assert!(said.contains("invalid user ID or password"), "{said}");
    let said = refused(&user(&password, "/other")).await;
    assert!(said.contains("permission denied"), "{said}");

    // A member forgets its tokens when it ends.
    member.kill();
    member.start_again();
    put_in_time(&store, "b").await;
    assert_eq!(names(&mut watch).await, ["b"]);
    weir_store::Store::keep_alive(&store, lease).await.expect("alive");
    // The watch as well, when nothing else asks for a new token.
    member.kill();
    member.start_again();
    let other = open(&user(&password, "/shop")).await;
    put_in_time(&other, "c").await;
    assert_eq!(names(&mut watch).await, ["c"]);
}

async fn store_lease(store: &Etcd) -> weir_store::LeaseId {
    weir_store::Store::grant(store, std::time::Duration::from_secs(600)).await.expect("a lease").id
}

/// With `--client-cert-auth`, etcd takes the common name for the user.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_user_may_be_known_by_its_certificate_alone() {
    let ours = Authority::new();
    let member = ours.member();
    for arguments in [
        &["user", "add", "root:secret"][..],
        &["user", "grant-role", "root", "root"],
        &["user", "add", "weir", "--no-password"],
        &["role", "add", "weir"],
        &["role", "grant-permission", "weir", "--prefix=true", "readwrite", "/shop"],
        &["user", "grant-role", "weir", "weir"],
        &["auth", "enable"],
    ] {
        member.ctl(None, arguments);
    }
    let store = open(&format!("{}&prefix=/shop", ours.address(&member.host(), "weir"))).await;
    let (_, _, mut watch) = list_and_watch(&store, &KeyRange::all()).await.expect("a list");
    put(&store, "a").await.expect("accepted");
    assert_eq!(names(&mut watch).await, ["a"]);
    let said = refused(&format!("{}&prefix=/shop", ours.address(&member.host(), "stranger"))).await;
    assert!(said.contains("permission denied") || said.contains("auth"), "{said}");
}
