//! Copies of a store: made while a server runs and is written to, restored elsewhere, moved between engines.

#[path = "../../crates/store/tests/etcd/member.rs"]
mod member;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use member::Member;
use serde_json::json;
use weir_tests::{Cluster, http};

/// Longest a test waits for what takes a moment.
const SOON: Duration = Duration::from_secs(60);

fn weir(args: &[&str]) -> (Option<i32>, String) {
    let output = Command::new(weir_tests::binary::weir()).args(args).output().expect("weir starts");
    let text = [output.stdout, output.stderr].concat();
    (output.status.code(), String::from_utf8_lossy(&text).into_owned())
}

/// Runs a command that must succeed.
fn done(args: &[&str]) -> String {
    let (status, text) = weir(args);
    assert_eq!(status, Some(0), "weir {args:?}\n{text}");
    text
}

fn refused(status: i32, said: &str, args: &[&str]) {
    let (found, text) = weir(args);
    assert_eq!(found, Some(status), "weir {args:?}\n{text}");
    assert!(text.contains(said), "weir {args:?}\n{text}");
}

fn text(path: &Path) -> &str {
    path.to_str().expect("a path")
}

/// Something of every kind that is carried, and a lock, which is not. Gives the lock's token.
fn fill(cluster: &Cluster) -> String {
    cluster.apply("kind: Service\nmetadata: {name: web}\nspec: {protocol: http}\n");
    let body = json!({"Name": "web", "ID": "web-1", "Port": 9000}).to_string();
    assert_eq!(http::put(cluster.http, "/v1/agent/service/register", &body).unwrap().status, 200);
    assert_eq!(http::put(cluster.http, "/v1/kv/plain", "\u{0}value").unwrap().status, 200);
    let session = http::put(cluster.http, "/v1/session/create", "{\"TTL\": \"600s\"}").unwrap().json();
    let path = format!("/v1/kv/locked?acquire={}", session["ID"].as_str().expect("an id"));
    assert_eq!(http::put(cluster.http, &path, "mine").unwrap().text(), "true");
    token(cluster, "nightly")
}

/// Takes a lock and gives its fencing token.
fn token(cluster: &Cluster, lock: &str) -> String {
    let body = json!({"ttl": "600s"}).to_string();
    let path = format!("/weir/v1/locks/{lock}/acquire");
    let response = http::request(cluster.http, "POST", &path, &[], body.as_bytes()).expect("an answer");
    assert_eq!(response.status, 200, "{}", response.text());
    response.json()["claim"]["token"].as_str().unwrap_or_else(|| panic!("{}", response.text())).to_owned()
}

/// What [`fill`] has put there is there, and a lock is taken with a greater token.
fn assert_filled(cluster: &Cluster, last_token: &str) -> String {
    let instances = http::get(cluster.http, "/v1/catalog/service/web").unwrap().json();
    assert_eq!(instances[0]["ServiceID"], "web-1", "{instances}");
    assert_eq!(http::get(cluster.http, "/v1/kv/plain?raw").unwrap().text(), "\u{0}value");
    let locked = http::get(cluster.http, "/v1/kv/locked").unwrap().json();
    let session = locked[0]["Session"].as_str().expect("it is still locked").to_owned();
    let info = http::get(cluster.http, &format!("/v1/session/info/{session}")).unwrap().json();
    assert_eq!(info[0]["TTL"], "10m0s", "{info}");
    let documents = http::get(cluster.http, "/weir/v1/resources/Service/web").unwrap();
    assert_eq!(documents.status, 200, "{}", documents.text());
    assert_eq!(
        http::get(cluster.http, "/weir/v1/changes").unwrap().json()["items"].as_array().unwrap().len(),
        1
    );
    let token = token(cluster, "nightly");
    assert!(*token > *last_token, "{last_token} {token}");
    token
}

fn epoch(cluster: &Cluster) -> u64 {
    http::get(cluster.http, "/weir/v1/position").unwrap().json()["position"]["epoch"]
        .as_u64()
        .expect("a number")
}

struct Place {
    folder: tempfile::TempDir,
}

impl Place {
    fn new() -> Self {
        Self { folder: tempfile::tempdir().expect("a temporary folder") }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }
}

#[test]
fn a_server_with_another_name_names_the_node_that_is_nobodys() {
    let place = Place::new();
    let data = place.path("data");
    let start = |name: &str| Cluster::start_with(&["--data-dir", text(&data), "--node-name", name]);
    let id = |cluster: &Cluster| {
        let own = http::get(cluster.http, "/v1/agent/self").unwrap().json();
        own["Config"]["NodeID"].as_str().unwrap().to_owned()
    };
    let former = "whose node is still registered";
    let mut cluster = start("old");
    assert_eq!(
        http::put(cluster.http, "/v1/agent/service/register", r#"{"Name": "web"}"#).unwrap().status,
        200
    );
    let first = id(&cluster);
    assert_eq!(first.len(), 36, "{first}");
    let nodes = http::get(cluster.http, "/v1/catalog/nodes").unwrap().json();
    assert_eq!(nodes[0]["ID"], *first);
    assert!(!cluster.server.output().contains(former));
    cluster.server.terminate();
    let mut cluster = start("new");
    let line = cluster.server.wait_for_line(former, SOON);
    assert!(line.contains("WARN") && line.contains("node=\"old\"") && line.contains("instances=1"), "{line}");
    assert_ne!(id(&cluster), first);
    // It says so until the node is gone.
    let gone = r#"{"Node": "old"}"#;
    assert_eq!(http::put(cluster.http, "/v1/catalog/deregister", gone).unwrap().status, 200);
    cluster.server.terminate();
    let mut cluster = start("new");
    assert!(!cluster.server.output().contains(former), "{}", cluster.server.output());
    cluster.server.terminate();
    let cluster = start("old");
    assert_ne!(id(&cluster), first, "another node of that name");
}

#[test]
fn a_backup_of_a_server_that_is_written_to_is_one_moment_and_comes_back() {
    let place = Place::new();
    let (data, file) = (place.path("data"), place.path("monday.store"));
    let mut cluster = Cluster::start_with(&["--data-dir", text(&data)]);
    let first = fill(&cluster);
    let before = epoch(&cluster);
    // Two keys that are always written together, with the same number.
    let (stop, port) = (Arc::new(AtomicBool::new(false)), cluster.http);
    let writer = std::thread::spawn({
        let stop = Arc::clone(&stop);
        move || {
            let mut number = 0;
            while !stop.load(Ordering::Relaxed) {
                // 1234 in base64, with another number each time.
                let value = format!("{:04}", number % 10_000);
                let value = base64(&value);
                let set = |key: &str| json!({"KV": {"Verb": "set", "Key": key, "Value": value}});
                let body = json!([set("pair/a"), set("pair/b")]).to_string();
                assert_eq!(http::put(port, "/v1/txn", &body).unwrap().status, 200);
                number += 1;
            }
            number
        }
    });
    let server = format!("127.0.0.1:{}", cluster.http);
    for _ in 0..5 {
        let said = done(&["store", "backup", text(&file), "--server", &server]);
        assert!(said.contains("keys at "), "{said}");
    }
    stop.store(true, Ordering::Relaxed);
    assert!(writer.join().expect("no write failed") > 0);
    let said = done(&["store", "check", text(&file)]);
    assert!(said.contains("session") && said.contains("changeset") && !said.contains("claim"), "{said}");
    refused(6, "in use", &["store", "export", text(&place.path("x")), "--data-dir", text(&data)]);
    refused(6, "in use", &["store", "restore", text(&file), "--data-dir", text(&data), "--replace"]);
    cluster.server.kill_9();

    // Over what is there, and into a place where nothing is.
    let other = place.path("other");
    refused(1, "--replace", &["store", "restore", text(&file), "--data-dir", text(&data)]);
    done(&["store", "restore", text(&file), "--data-dir", text(&data), "--replace"]);
    done(&["store", "restore", text(&file), "--data-dir", text(&other)]);
    let mut last = first;
    for data in [&data, &other] {
        let cluster = Cluster::start_with(&["--data-dir", text(data)]);
        last = assert_filled(&cluster, &last);
        assert!(epoch(&cluster) > before);
        let value = |key: &str| http::get(cluster.http, &format!("/v1/kv/pair/{key}?raw")).unwrap().text();
        assert_eq!(value("a"), value("b"), "both are of one moment");
    }
}

fn base64(digits: &str) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut out = String::new();
    for chunk in digits.as_bytes().chunks(3) {
        let bytes = [chunk[0], *chunk.get(1).unwrap_or(&0), *chunk.get(2).unwrap_or(&0)];
        let bits = u32::from_be_bytes([0, bytes[0], bytes[1], bytes[2]]);
        for place in 0..4 {
            let is_padding = place > chunk.len();
            let sign = ALPHABET[(bits >> (18 - 6 * place) & 63) as usize];
            out.push(if is_padding { '=' } else { char::from(sign) });
        }
    }
    out
}

#[test]
fn a_file_that_was_cut_short_or_altered_changes_nothing() {
    let place = Place::new();
    let (data, file) = (place.path("data"), place.path("a.store"));
    let mut cluster = Cluster::start_with(&["--data-dir", text(&data)]);
    fill(&cluster);
    assert!(cluster.server.terminate().success());
    done(&["store", "export", text(&file), "--data-dir", text(&data)]);
    let (whole, before) = (fs::read(&file).unwrap(), fs::read(data.join("store.redb")).unwrap());
    let bad = place.path("bad.store");
    let import = ["store", "import", text(&bad), "--data-dir", text(&data), "--replace"];
    let check = ["store", "check", text(&bad)];
    fs::write(&bad, &whole[..whole.len() - 1]).unwrap();
    refused(3, "cut short", &import);
    refused(3, "cut short", &check);
    let mut altered = whole.clone();
    let middle = altered.len() / 2;
    altered[middle] ^= 1;
    fs::write(&bad, &altered).unwrap();
    refused(3, "bad.store: it ", &import);
    fs::write(&bad, "kind: Service\n").unwrap();
    refused(3, "not an export or a backup", &import);
    refused(4, "cannot read", &["store", "import", text(&place.path("none")), "--data-dir", text(&data)]);
    refused(
        4,
        "there is no store",
        &["store", "export", text(&bad), "--data-dir", text(&place.path("none"))],
    );
    // What is something else is named, with what fits it.
    refused(3, "it is a data directory: --data-dir ", &["store", "check", text(&data)]);
    refused(3, "whose directory is named: --data-dir ", &["store", "check", text(&data.join("store.redb"))]);
    refused(4, "`weir store check ", &["store", "check", "--data-dir", text(&file)]);
    refused(4, "it has no store.redb", &["store", "check", "--data-dir", text(place.folder.path())]);
    let snapshot = place.path("a.snap");
    fs::write(&snapshot, [0x1f, 0x8b, 8, 0]).unwrap();
    refused(3, "tar xzf ", &["store", "import", text(&snapshot), "--data-dir", text(&place.path("none"))]);
    refused(2, "no store is named", &["store", "export", text(&bad)]);
    refused(5, "cannot reach", &["store", "backup", text(&bad), "--server", "127.0.0.1:1"]);
    assert_eq!(fs::read(&bad).unwrap(), b"kind: Service\n", "what failed has replaced nothing");
    assert!(fs::read(data.join("store.redb")).unwrap() == before);
    assert!(!place.path("none").exists() && !place.path("bad.store.part").exists());
}

#[test]
fn a_store_moves_to_etcd_and_back() {
    let place = Place::new();
    let (data, back) = (place.path("data"), place.path("back"));
    let (out, home) = (place.path("out.store"), place.path("home.store"));
    let mut cluster = Cluster::start_with(&["--data-dir", text(&data), "--node-name", "weir"]);
    let first = fill(&cluster);
    assert!(cluster.server.terminate().success());
    done(&["store", "export", text(&out), "--data-dir", text(&data)]);

    let member = Member::start();
    let etcd = format!("{}?prefix=/shop", member.address());
    done(&["store", "import", text(&out), "--store", &etcd]);
    refused(1, "--replace", &["store", "import", text(&out), "--store", &etcd]);
    let mut cluster = Cluster::start_with(&["--store", &etcd]);
    let second = assert_filled(&cluster, &first);
    refused(6, "servers run on this store", &["store", "import", text(&out), "--store", &etcd, "--replace"]);
    let server = format!("127.0.0.1:{}", cluster.http);
    done(&["store", "backup", text(&home), "--server", &server]);
    assert!(cluster.server.terminate().success());
    // The same again from etcd itself, which is how it is done when no server runs.
    done(&["store", "export", text(&home), "--store", &etcd]);
    assert!(done(&["store", "check", "--store", &etcd]).contains("sound"));
    done(&["store", "import", text(&home), "--store", &etcd, "--replace"]);
    done(&["store", "import", text(&home), "--data-dir", text(&back)]);
    let third =
        assert_filled(&Cluster::start_with(&["--data-dir", text(&back), "--node-name", "weir"]), &second);
    assert_filled(&Cluster::start_with(&["--store", &etcd]), &second);
    assert!(third > second);
}
