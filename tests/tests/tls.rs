//! TLS as others see it: `sslyze` with its check against Mozilla's intermediate level, curl and openssl.
//!
//! `sslyze` is installed at its pinned version below `clients/` when it is not there yet; `python3`, `curl` and `openssl`
//! must be.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Duration;

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, PKCS_ECDSA_P256_SHA256,
    PKCS_RSA_SHA256, SignatureAlgorithm, date_time_ymd,
};
use weir_tests::cluster::START_LIMIT;
use weir_tests::{App, Process, free_ports};

const TEST_APP: &str = env!("CARGO_BIN_EXE_test-app");

/// A gateway that speaks TLS as `app.test` and, with a certificate of its own, as whatever ends in `.wild.test`.
struct Stage {
    dir: tempfile::TempDir,
    port: u16,
    strict_port: u16,
    _proxy: Process,
    _app: App,
}

impl Stage {
    fn set() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let app = App::start(TEST_APP, "one");
        let issuer = authority(dir.path());
        certify(dir.path(), &issuer, "ecdsa", "app.test", &PKCS_ECDSA_P256_SHA256);
        certify(dir.path(), &issuer, "rsa", "app.test", &PKCS_RSA_SHA256);
        certify(dir.path(), &issuer, "wild", "*.wild.test", &PKCS_ECDSA_P256_SHA256);
        let [port, strict_port] = free_ports();
        let certificates: String = ["ecdsa", "rsa", "wild"]
            .map(|name| {
                let path = dir.path().join(name);
                let path = path.display();
                format!(
                    "---
kind: Certificate
metadata: {{name: {name}}}
spec: {{certFile: {path}.pem, keyFile: {path}.key}}
"
                )
            })
            .concat();
        let documents = format!(
            "kind: Gateway
metadata: {{name: edge}}
spec:
  addresses: [{{value: 127.0.0.1}}]
  listeners:
  - {{name: app, port: {port}, protocol: HTTPS, hostname: app.test, tls: {{certificateRefs: [{{name: ecdsa}}, {{name: rsa}}]}}}}
  - {{name: wild, port: {port}, protocol: HTTPS, hostname: \"*.wild.test\", tls: {{certificateRefs: [{{name: wild}}]}}}}
  - {{name: strict, port: {strict_port}, protocol: HTTPS, tls: {{certificateRefs: [{{name: ecdsa}}], options: {{weir.dev/min-version: \"1.3\"}}}}}}
---
kind: HTTPRoute
metadata: {{name: all}}
spec:
  parentRefs: [{{name: edge}}]
  rules: [{{backendRefs: [{{name: one}}]}}]
---
kind: Service
metadata: {{name: one}}
spec: {{endpoints: [{{address: 127.0.0.1, port: {}}}]}}
{certificates}",
            app.port
        );
        let file = dir.path().join("weir.yaml");
        fs::write(&file, documents).unwrap();
        let mut proxy = Process::weir("proxy", ["proxy".as_ref(), "-f".as_ref(), file.as_os_str()]);
        proxy.wait_for_line(&format!("127.0.0.1:{strict_port}"), START_LIMIT);
        Self { dir, port, strict_port, _proxy: proxy, _app: app }
    }

    fn ca(&self) -> PathBuf {
        self.dir.path().join("ca.pem")
    }

    /// curl to a name on a port of the stage. Gives what it printed, or why it failed.
    fn curl(&self, name: &str, port: u16, more: &[&str]) -> Result<String, String> {
        let output = Command::new("curl")
            .args(["--silent", "--show-error", "--max-time", "60", "--cacert"])
            .arg(self.ca())
            .args(["--resolve", &format!("{name}:{port}:127.0.0.1")])
            .args(more)
            .arg(format!("https://{name}:{port}/"))
            .output()
            .expect("curl is missing");
        text(&output)
    }
}

fn text(output: &Output) -> Result<String, String> {
    if output.status.success() {
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    } else {
        Err(String::from_utf8_lossy(&output.stderr).into_owned())
    }
}

/// An authority, with its certificate in `ca.pem`.
fn authority(dir: &Path) -> CertifiedIssuer<'static, KeyPair> {
    let mut params = CertificateParams::new(vec![]).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![rcgen::KeyUsagePurpose::KeyCertSign, rcgen::KeyUsagePurpose::CrlSign];
    params.distinguished_name.push(DnType::CommonName, "an authority of the tests");
    let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
    fs::write(dir.join("ca.pem"), issuer.pem()).unwrap();
    issuer
}

/// A certificate as public authorities make them: for a name, valid for a few months.
fn certify(
    dir: &Path,
    issuer: &CertifiedIssuer<'static, KeyPair>,
    file: &str,
    name: &str,
    algorithm: &'static SignatureAlgorithm,
) {
    let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    params.extended_key_usages = vec![rcgen::ExtendedKeyUsagePurpose::ServerAuth];
    params.key_usages = vec![rcgen::KeyUsagePurpose::DigitalSignature];
    params.use_authority_key_identifier_extension = true;
    let (year, month, day) = today();
    params.not_before = date_time_ymd(year, month, day);
    params.not_after = params.not_before + Duration::from_secs(80 * 24 * 3600);
    let key = KeyPair::generate_for(algorithm).unwrap();
    let certificate = params.signed_by(&key, issuer).unwrap();
    fs::write(dir.join(format!("{file}.pem")), certificate.pem()).unwrap();
    fs::write(dir.join(format!("{file}.key")), key.serialize_pem()).unwrap();
}

/// Today's date, in UTC.
fn today() -> (i32, u8, u8) {
    let output = Command::new("date").args(["-u", "+%Y %m %d"]).output().expect("date is missing");
    let text = String::from_utf8(output.stdout).unwrap();
    let mut parts = text.split_whitespace().map(|part| part.parse::<i32>().unwrap());
    let mut next = || parts.next().unwrap();
    (next(), next() as u8, next() as u8)
}

#[test]
fn nothing_is_found_at_mozillas_intermediate_level() {
    let clients = Path::new(env!("CARGO_MANIFEST_DIR")).join("clients");
    let (venv, list) = (clients.join(".venv/sslyze"), clients.join("requirements-sslyze.txt"));
    install_once(&venv, &list);
    let stage = Stage::set();
    let report = stage.dir.path().join("report.json");
    let output = Command::new(venv.join("bin/python"))
        // Slow, so that it does not give up on a busy machine.
        .args(["-m", "sslyze", "--slow_connection", "--mozilla_config=intermediate", "--certinfo_ca_file"])
        .arg(stage.ca())
        .arg("--json_out")
        .arg(&report)
        .args(["--sni", "app.test", &format!("app.test:{}{{127.0.0.1}}", stage.port)])
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && said.contains("OK - Compliant"), "{said}");
    // Not because there was nothing to look at.
    for seen in
        ["TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256", "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384", "(RSAPublicKey"]
    {
        assert!(said.contains(seen), "{seen}: {said}");
    }
    for finding in ["VULNERABLE -", "NOT SUPPORTED - TLS_FALLBACK", "Error when running"] {
        assert!(!said.contains(finding), "{finding}: {said}");
    }
}

fn install_once(venv: &Path, list: &Path) {
    let wanted = fs::read_to_string(list).unwrap();
    let mark = venv.join(".installed");
    if fs::read_to_string(&mark).is_ok_and(|installed| installed == wanted) {
        return;
    }
    let _ = fs::remove_dir_all(venv);
    let done = |command: &mut Command| {
        let output = command.output().unwrap_or_else(|error| panic!("cannot start {command:?}: {error}"));
        text(&output).unwrap_or_else(|error| panic!("{command:?}: {error}"));
    };
    done(Command::new("python3").args(["-m", "venv"]).arg(venv));
    done(Command::new(venv.join("bin/pip")).args(["install", "--quiet", "--requirement"]).arg(list));
    fs::write(mark, wanted).unwrap();
}

#[test]
fn curl_speaks_both_versions_of_http_over_it() {
    let stage = Stage::set();
    let version = ["--output", "/dev/null", "--write-out", "%{http_version} %{response_code}"];
    let http = |flag: &str| stage.curl("app.test", stage.port, &[&version[..], &[flag]].concat());
    assert_eq!(http("--http2"), Ok("2 200".to_owned()));
    assert_eq!(http("--http1.1"), Ok("1.1 200".to_owned()));
    assert_eq!(http("--http2-prior-knowledge"), Ok("2 200".to_owned()));
    assert_eq!(stage.curl("a.wild.test", stage.port, &version), Ok("2 200".to_owned()));
    let elsewhere = [&version[..], &["--header", "Host: a.wild.test"]].concat();
    assert_eq!(stage.curl("app.test", stage.port, &elsewhere), Ok("2 421".to_owned()));
    let refused = stage.curl("unknown.test", stage.port, &version).unwrap_err();
    assert!(refused.contains("unrecognized name"), "{refused}");
}

#[test]
fn a_listener_of_tls_1_3_takes_nothing_older() {
    let stage = Stage::set();
    let version = |port: u16, max: &str| {
        let sent = stage.curl("app.test", port, &["--tls-max", max, "--output", "/dev/null"]);
        sent.map(|_| ()).map_err(|error| error.contains("alert protocol version"))
    };
    assert_eq!(version(stage.port, "1.2"), Ok(()));
    assert_eq!(version(stage.strict_port, "1.2"), Err(true));
    assert_eq!(version(stage.strict_port, "1.3"), Ok(()));
}

#[test]
fn openssl_resumes_its_sessions() {
    let stage = Stage::set();
    for version in ["-tls1_2", "-tls1_3"] {
        let session = stage.dir.path().join("session.pem");
        let connect = |how: &str| {
            // It ends with its input, which asks for an answer first: the ticket of TLS 1.3 comes with that.
            let script = format!(
                "(printf 'GET / HTTP/1.1\\r\\nHost: app.test\\r\\nConnection: close\\r\\n\\r\\n'; sleep 0.5) | \
                 openssl s_client -connect 127.0.0.1:{} -servername app.test {version} -CAfile {} {how} {} -ign_eof",
                stage.port,
                stage.ca().display(),
                session.display()
            );
            text(&Command::new("sh").args(["-c", &script]).output().unwrap()).unwrap()
        };
        let first = connect("-sess_out");
        assert!(first.contains("Verify return code: 0 (ok)"), "{first}");
        assert!(first.contains("\nNew, "), "{version}: {first}");
        let second = connect("-sess_in");
        assert!(second.contains("\nReused, "), "{version}: {second}");
    }
}
