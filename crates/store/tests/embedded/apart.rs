//! A store's file and its log that came apart, and a store that is only looked at: nothing is lost without a word, and nothing is
//! changed by looking.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};

use weir_store::{Embedded, Error, Options, Position, Restore, Store};

use crate::support::{contents, open, put};

/// A folder with a store in it, and what a kill would leave of it.
struct Left {
    folder: tempfile::TempDir,
}

impl Left {
    fn new() -> Self {
        Self { folder: tempfile::tempdir().expect("a temporary folder") }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Copies a store as it is now.
    fn copy(&self, store: &str, copy: &str) {
        for ending in ["", ".wal"] {
            let from = self.path(&format!("{store}{ending}"));
            if from.exists() {
                fs::copy(from, self.path(&format!("{copy}{ending}"))).expect("copied");
            }
        }
    }

    /// All files and what is in them.
    fn files(&self) -> Vec<(PathBuf, Vec<u8>)> {
        let paths =
            fs::read_dir(self.folder.path()).expect("a folder").map(|entry| entry.expect("a name").path());
        let mut files: Vec<_> = paths.map(|path| (path.clone(), fs::read(path).expect("read"))).collect();
        files.sort();
        files
    }
}

async fn fill(store: &dyn Store, count: usize) {
    for number in 0..count {
        put(store, &format!("{number:03}"), "x").await.expect("accepted");
    }
}

async fn revision(store: &dyn Store) -> u64 {
    store.position().await.expect("a position").revision
}

fn restore(path: &Path, replace: bool) -> Result<Position, Error> {
    let options = Restore { from: Position::new(1, 1), replace };
    Embedded::restore(path, options, std::iter::empty::<Result<_, Error>>())
}

#[tokio::test]
async fn a_log_without_its_file_is_refused() {
    let left = Left::new();
    let store = open(&left.path("store"));
    fill(&store, 5).await;
    left.copy("store", "copy");
    let copy = left.path("copy");
    for is_empty in [false, true] {
        if is_empty {
            fs::write(&copy, b"").expect("emptied");
        } else {
            fs::remove_file(&copy).expect("removed");
        }
        assert!(Embedded::is_there(&copy));
        let before = left.files();
        let open = || Embedded::open(&copy, Options::default()).map(drop);
        for tried in [open(), Embedded::read(&copy).map(drop), restore(&copy, false).map(drop)] {
            let error = tried.expect_err("writes would be lost");
            let said = error.to_string();
            assert!(matches!(error, Error::Corrupt { .. }) && said.contains("copy.wal is there"), "{said}");
        }
        assert!(left.files() == before, "nothing was touched");
    }
    restore(&copy, true).expect("whoever says so loses it");
    assert!(!left.path("copy.wal").exists());
    assert!(contents(&open(&copy)).await.is_empty());
    assert!(!Embedded::is_there(left.path("none")));
    assert!(!Embedded::is_there(copy.join("below a file")));
}

#[tokio::test]
async fn a_log_that_has_more_than_its_file_is_put_aside() {
    let left = Left::new();
    let path = left.path("store");
    fill(&open(&path), 3).await;
    left.copy("store", "copy");
    let store = open(&path);
    fill(&store, 5).await;
    let copy = left.path("copy");
    let log = fs::read(left.path("store.wal")).expect("a log");
    // An older file, and a newer log; twice, and then one that nobody can read.
    for (aside, bytes) in [("copy.wal.old", &log), ("copy.wal.old2", &log), ("copy.wal.old3", &b"?".to_vec())]
    {
        fs::write(left.path("copy.wal"), bytes).expect("written");
        let before = left.files();
        assert_eq!(revision(&Embedded::read(&copy).expect("sound")).await, 3);
        assert!(left.files() == before, "who only looks leaves it");
        let again = open(&copy);
        assert_eq!(revision(&again).await, 3);
        drop(again);
        assert!(!left.path("copy.wal").exists());
        assert!(fs::read(left.path(aside)).expect("put aside") == *bytes);
    }
    // It goes on being the log of the file that names it.
    fs::copy(left.path("copy.wal.old"), left.path("store.wal")).expect("copied");
    assert_eq!(revision(&store).await, 8);
}

#[tokio::test]
async fn a_log_of_which_the_file_has_all_is_not_kept() {
    let left = Left::new();
    let path = left.path("store");
    let store = open(&path);
    fill(&store, 5).await;
    let log = fs::read(left.path("store.wal")).expect("a log");
    drop(store);
    // A process that ended between its last transaction and the removal.
    fs::write(left.path("store.wal"), &log).expect("written");
    let store = open(&path);
    assert_eq!(revision(&store).await, 5);
    fill(&store, 2).await;
    drop(store);
    assert_eq!(left.files().len(), 1, "the file alone");
}

#[tokio::test]
async fn logs_that_were_put_aside_are_never_written_over() {
    let left = Left::new();
    let path = left.path("store");
    fill(&open(&path), 1).await;
    let mut count = 0;
    let error = loop {
        fs::write(left.path("store.wal"), format!("log {count}")).expect("written");
        match Embedded::open(&path, Options::default()) {
            Ok(_) => count += 1,
            Err(error) => break error,
        }
    };
    assert!(error.to_string().contains("8 logs were put aside"), "{error}");
    let kept = left.files().into_iter().filter(|(_, bytes)| bytes.starts_with(b"log")).count();
    assert_eq!((count, kept), (8, 9));
}

#[tokio::test]
async fn what_is_only_read_stays_as_it_is() {
    let left = Left::new();
    let path = left.path("store");
    let store = open(&path);
    fill(&store, 40).await;
    assert!(matches!(Embedded::read(&path).err(), Some(Error::InUse { .. })), "it is in use");
    left.copy("store", "copy");
    let copy = left.path("copy");
    // As a kill left it, then as a stop did.
    for _ in 0..2 {
        let before = left.files();
        for _ in 0..2 {
            let read = Embedded::read(&copy).expect("sound");
            assert_eq!(contents(&read).await, contents(&store).await);
            assert_eq!(read.position().await, store.position().await);
            put(&read, "more", "x").await.expect("accepted");
        }
        assert!(matches!(restore(&copy, false), Err(Error::NotEmpty { keys: 40, .. })));
        assert!(left.files() == before);
        drop(open(&copy));
    }
    assert!(matches!(Embedded::read(left.path("none")).err(), Some(Error::Open { .. })));
    assert!(!left.path("none").exists());
    fs::write(left.path("other"), b"a letter to my mother").expect("written");
    let error = Embedded::read(left.path("other")).err().expect("refused").to_string();
    assert!(error.contains("it does not begin as the file of a store does"), "{error}");
}

/// Whoever restores may be root, and the server somebody else.
#[tokio::test]
async fn a_restored_store_belongs_to_whom_it_belonged() {
    const OTHER: u32 = 65534;
    let left = Left::new();
    let folder = fs::metadata(left.folder.path()).expect("a folder");
    // Only root can give a file away.
    let owner = if folder.uid() == 0 { OTHER } else { folder.uid() };
    let owner_of = |path: &Path| fs::metadata(path).expect("it is there").uid();
    chown(left.folder.path(), Some(owner), None).expect("given away");
    let path = left.path("store");
    restore(&path, false).expect("restored");
    assert_eq!(owner_of(&path), owner, "as the folder's");
    chown(left.folder.path(), Some(folder.uid()), None).expect("taken back");
    restore(&path, true).expect("restored");
    assert_eq!(owner_of(&path), owner, "as that of the file before it");
    assert_eq!(fs::metadata(&path).expect("it is there").permissions().mode() & 0o777, 0o600);
}

/// Whoever refuses a store has repaired nothing of it: what helps it, or who looks at it, finds it as it was.
#[tokio::test]
async fn what_is_refused_stays_as_it_is() {
    let left = Left::new();
    let path = left.path("store");
    let store = open(&path);
    fill(&store, 10).await;
    left.copy("store", "copy");
    let copy = left.path("copy");
    let (file, log) = (fs::read(&copy).expect("a file"), fs::read(left.path("copy.wal")).expect("a log"));
    drop(store);
    let mut damaged = log.clone();
    damaged[3 * 4096 + 80] ^= 1;
    let cut = log[..4096].to_vec();
    for wrong in [Some(damaged), Some(cut), None] {
        match &wrong {
            Some(wrong) => fs::write(left.path("copy.wal"), wrong).expect("written"),
            None => fs::remove_file(left.path("copy.wal")).expect("removed"),
        }
        // As a kill leaves it: its database has to be repaired.
        fs::write(&copy, &file).expect("written");
        let before = left.files();
        for _ in 0..2 {
            let refused = Embedded::open(&copy, Options::default()).err();
            assert!(matches!(refused, Some(Error::Corrupt { .. })), "{refused:?}");
            assert!(left.files() == before, "something was changed");
        }
    }
    fs::write(left.path("copy.wal"), &log).expect("put back");
    assert_eq!(revision(&open(&copy)).await, 10);
    assert!(fs::read(&copy).expect("a file") != file, "who uses it repairs it");
}

#[tokio::test]
async fn what_is_whole_of_a_damaged_store_can_be_read() {
    let left = Left::new();
    let path = left.path("store");
    fill(&open(&path), 3).await;
    let store = open(&path);
    for number in 0..10 {
        put(&store, &format!("more/{number}"), "x").await.expect("accepted");
    }
    left.copy("store", "copy");
    let copy = left.path("copy");
    drop(store);
    let (whole, none) = Embedded::read_intact(&copy).expect("sound");
    assert_eq!((revision(&whole).await, none), (13, None));
    let mut log = fs::read(left.path("copy.wal")).expect("a log");
    // The fifth record; the first is behind the header.
    log[5 * 4096 + 80] ^= 1;
    fs::write(left.path("copy.wal"), &log).expect("written");
    let before = left.files();
    let (part, left_out) = Embedded::read_intact(&copy).expect("read");
    let left_out = left_out.expect("some is damaged");
    assert_eq!((left_out.after, left_out.records, left_out.up_to), (7, 6, Some(13)));
    assert!(
        left_out.path.ends_with("copy.wal") && left_out.reason.contains("byte 20480 is damaged"),
        "{left_out:?}"
    );
    let found: Vec<String> = contents(&part).await.into_keys().collect();
    assert_eq!(found, ["000", "001", "002", "more/0", "more/1", "more/2", "more/3"]);
    assert_eq!(revision(&part).await, 7);
    assert!(left.files() == before);
    // Without its log there is what the file has; without its file there is nothing.
    fs::remove_file(left.path("copy.wal")).expect("removed");
    let (part, left_out) = Embedded::read_intact(&copy).expect("read");
    let left_out = left_out.expect("all of it is missing");
    assert_eq!((left_out.records, left_out.up_to, left_out.reason.as_str()), (0, None, "it is missing"));
    assert_eq!(contents(&part).await.len(), 3);
    fs::write(left.path("copy.wal"), &log).expect("written");
    fs::remove_file(&copy).expect("removed");
    assert!(matches!(Embedded::read_intact(&copy).err(), Some(Error::Corrupt { .. })));
}
