//! A data directory as a kill leaves it: looked at without being changed, and what is said when it is damaged.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use weir_tests::wait::free_ports;
use weir_tests::{Cluster, http};

/// Where the log's first record begins; nothing is known of what a kill leaves of the last one.
const FIRST_RECORD: usize = 4096;

struct Place {
    folder: tempfile::TempDir,
}

impl Place {
    /// A server wrote to it and was killed.
    fn killed() -> Self {
        let place = Self { folder: tempfile::tempdir().expect("a temporary folder") };
        let mut cluster = Cluster::start_with(&["--data-dir", text(&place.data())]);
        for key in ["a", "b", "c"] {
            assert_eq!(http::put(cluster.http, &format!("/v1/kv/{key}"), "x").unwrap().status, 200);
        }
        let (status, said) = weir(&["store", "check", "--data-dir", text(&place.data())]);
        assert_eq!(status, Some(6), "a server runs on it\n{said}");
        cluster.server.kill_9();
        place
    }

    fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    fn file(&self) -> PathBuf {
        self.data().join("store.redb")
    }

    fn log(&self) -> PathBuf {
        self.data().join("store.redb.wal")
    }

    fn files(&self) -> Vec<(PathBuf, Vec<u8>)> {
        let names = fs::read_dir(self.data()).unwrap().map(|entry| entry.unwrap().path());
        let mut files: Vec<_> = names.map(|path| (path.clone(), fs::read(path).unwrap())).collect();
        files.sort();
        files
    }

    /// Everybody refuses the directory, says why and what helps, and leaves it alone.
    fn assert_refused(&self, why: &str, helps: &str) {
        let data = self.data();
        let before = self.files();
        let [http, grpc] = free_ports();
        let (http, grpc) = (format!("127.0.0.1:{http}"), format!("127.0.0.1:{grpc}"));
        let server = ["server", "--dns", "off", "--http", &http, "--grpc", &grpc, "--data-dir", text(&data)];
        let export = self.folder.path().join("all.store");
        for (status, args) in [
            (6, &server[..]),
            (3, &["store", "check", "--data-dir", text(&data)]),
            (3, &["store", "export", text(&export), "--data-dir", text(&data)]),
        ] {
            let (found, said) = weir(args);
            assert_eq!(found, Some(status), "weir {args:?}\n{said}");
            assert!(said.contains(why) && said.contains(helps), "weir {args:?}\n{said}");
        }
        assert!(self.files() == before && !export.exists());
    }
}

fn text(path: &Path) -> &str {
    path.to_str().expect("a path")
}

/// A server that starts although it should not is ended.
fn weir(args: &[&str]) -> (Option<i32>, String) {
    let output = Command::new("timeout")
        .arg("60")
        .arg(weir_tests::binary::weir())
        .args(args)
        .output()
        .expect("it starts");
    let said = [output.stdout, output.stderr].concat();
    (output.status.code(), String::from_utf8_lossy(&said).into_owned())
}

#[test]
fn looking_at_what_a_kill_left_changes_nothing() {
    let place = Place::killed();
    let data = place.data();
    let file = place.folder.path().join("all.store");
    let before = place.files();
    assert!(place.log().exists());
    for args in [
        &["store", "check", "--data-dir", text(&data)][..],
        &["store", "export", text(&file), "--data-dir", text(&data)],
        &["store", "check", text(&file)],
    ] {
        let (status, said) = weir(args);
        assert_eq!(status, Some(0), "weir {args:?}\n{said}");
    }
    assert!(place.files() == before);
    // What was never answered is left out, and that is said.
    let mut log = before.iter().find(|(path, _)| *path == place.log()).expect("a log").1.clone();
    let starts = |at: &usize| log[*at..].starts_with(b"weir-rec");
    let last = (FIRST_RECORD..log.len()).step_by(4096).take_while(starts).last().expect("records");
    log[last + 100] ^= 1;
    fs::write(place.log(), &log).unwrap();
    let (status, said) = weir(&["store", "check", "--data-dir", text(&data)]);
    assert!(status == Some(0) && said.contains("an unfinished record"), "{said}");
}

#[test]
fn what_is_whole_of_a_damaged_store_is_saved() {
    let place = Place::killed();
    let data = place.data();
    let file = place.folder.path().join("part.store");
    let export = ["store", "export", text(&file), "--data-dir", text(&data), "--intact"];
    let (status, said) = weir(&export);
    assert_eq!(status, Some(0), "nothing is damaged\n{said}");
    let mut log = fs::read(place.log()).unwrap();
    let key = b"/kv/default/b";
    let at = log.windows(key.len()).position(|bytes| bytes == key).expect("the record of a key");
    log[at] ^= 1;
    fs::write(place.log(), &log).unwrap();
    let before = place.files();
    let (status, said) = weir(&export);
    assert_eq!(status, Some(8), "{said}");
    for part in
        ["everything that was written after revision", "records of the log", " writes)", "--replace` goes on"]
    {
        assert!(said.contains(part), "{part}\n{said}");
    }
    assert!(place.files() == before);
    let (status, said) = weir(&["store", "export", text(&file), "--store", "etcd://127.0.0.1:1", "--intact"]);
    assert_eq!(status, Some(2), "{said}");
    let (status, said) = weir(&["store", "restore", text(&file), "--data-dir", text(&data), "--replace"]);
    assert_eq!(status, Some(0), "{said}");
    let mut cluster = Cluster::start_with(&["--data-dir", text(&data)]);
    assert_eq!(http::get(cluster.http, "/v1/kv/a?raw").unwrap().text(), "x");
    for lost in ["b", "c"] {
        assert_eq!(http::get(cluster.http, &format!("/v1/kv/{lost}")).unwrap().status, 404);
    }
    assert!(cluster.server.terminate().success());
}

#[test]
fn what_is_damaged_is_refused_with_what_helps() {
    let place = Place::killed();
    let (file, log) = (fs::read(place.file()).unwrap(), fs::read(place.log()).unwrap());
    let restore = format!("`weir store restore FILE --data-dir {} --replace`", place.data().display());
    let restore_whole = || {
        fs::write(place.file(), &file).unwrap();
        fs::write(place.log(), &log).unwrap();
    };
    let mut damaged = log.clone();
    damaged[FIRST_RECORD + 100] ^= 1;
    fs::write(place.log(), &damaged).unwrap();
    place.assert_refused("there are later ones", &restore);
    place.assert_refused("there are later ones", "--intact` saves what is whole");
    fs::remove_file(place.log()).unwrap();
    place.assert_refused("it is missing", &restore);
    place.assert_refused("it is missing", "--intact` saves what is whole");
    restore_whole();
    fs::remove_file(place.file()).unwrap();
    place.assert_refused("it is missing, and its log", &restore);
    restore_whole();
    fs::write(place.file(), [b"?", &file[1..]].concat()).unwrap();
    place.assert_refused("it does not begin as the file of a store does", &restore);
    // An agent has no backup, and needs none.
    fs::write(place.data().join("node-id"), "8b5f2b0c-54a1-4b0b-9d5a-0f6f4e9d5c11\n").unwrap();
    place.assert_refused("it does not begin", "keep node-id");
    fs::remove_file(place.data().join("node-id")).unwrap();

    restore_whole();
    let mut cluster = Cluster::start_with(&["--data-dir", text(&place.data())]);
    assert_eq!(http::get(cluster.http, "/v1/kv/c?raw").unwrap().text(), "x");
    assert!(cluster.server.terminate().success());
}
