//! A log whose disk is full, or was: what was begun is given back, and what has room goes on.

use std::sync::Arc;
use std::time::Duration;

use weir_store::{Embedded, Options, Store, Txn};

use crate::faulty::{Fault, Faults, files};
use crate::log::{BLOCK, Image, Place, fill, log_of};
use crate::support::{contents, key, open, put};

/// Waits until the writer has done all that it does behind an answer.
async fn settled(store: &dyn Store) {
    store.commit(Txn::new().delete(key("nothing"))).await.expect("accepted");
}

fn bytes(path: &std::path::Path) -> u64 {
    std::fs::metadata(log_of(path)).expect("a log").len()
}

/// Once many keys were touched, and not before, the file has them and the log begins again.
#[tokio::test]
async fn the_file_takes_over_what_the_log_has() {
    let place = Place::new();
    let path = place.path("store");
    let mut options = Options::default();
    options.limits.log_keys_max = 10;
    let store = Embedded::open(&path, options).expect("a new store");
    let generation = |image: &Image| u64::from(image.log[BLOCK + 8]);
    fill(&store, 5).await;
    settled(&store).await;
    let before = Image::take(&path);
    fill(&store, 9).await;
    settled(&store).await;
    let image = Image::take(&path);
    assert_eq!(image.records().len(), 14, "nine keys are not many");
    assert!(before.file == image.file, "the file is left alone");
    let first = generation(&image);
    for batch in 1..10 {
        fill(&store, 20).await;
        settled(&store).await;
        // After each ten keys; the first record is of the second half.
        assert_eq!(generation(&Image::take(&path)), first + 2 * batch - 1);
    }
}

#[tokio::test]
async fn what_a_log_cannot_keep_is_given_back() {
    let place = Place::new();
    let path = place.path("store");
    let faults = Arc::new(Faults::default());
    let mut options = Options::default();
    options.files = Some(files(&faults));
    options.reopen_after = Duration::ZERO;
    // It begins with four blocks.
    options.limits.log_bytes_max = 64 * 4 * BLOCK as u64;
    let store = Embedded::open(&path, options).expect("a new store");
    // It is opened and gets its length, and then the disk is full.
    faults.fail_after(2);
    put(&store, "first", "x").await.expect("the file has room");
    assert!(!faults.heal() && !log_of(&path).exists());

    fill(&store, 2).await;
    assert_eq!(bytes(&path), 4 * BLOCK as u64);
    // The third record is the last for which there is room: it should grow, gets its length, and then the disk is full.
    faults.fail_after(1);
    put(&store, "third", "x").await.expect("the log has room");
    assert!(!faults.heal());
    assert_eq!(bytes(&path), 4 * BLOCK as u64, "what was gained is given back");
    // The disk has room again, which it notices when it begins again.
    fill(&store, 20).await;
    assert_eq!(bytes(&path), 32 * BLOCK as u64);
    let copy = place.path("copy");
    Image::take(&path).put(&copy);
    assert_eq!(contents(&open(&copy)).await, contents(&store).await);
}

/// The disk is too full for the file to take over what the log has. Nobody is refused for that while the log has room.
#[tokio::test]
async fn writes_go_on_in_the_log_of_a_file_that_cannot_grow() {
    let place = Place::new();
    let (path, copy) = (place.path("store"), place.path("copy"));
    let faults = Arc::new(Faults::default());
    let mut options = Options::default();
    options.files = Some(files(&faults));
    // A write that had to wait for this would be refused.
    options.reopen_after = Duration::from_secs(60);
    options.limits.log_keys_max = 100;
    let store = Embedded::open(&path, options).expect("a new store");
    let text = "x".repeat(90_000);
    for number in 0..99 {
        put(&store, &format!("{number:03}"), &text).await.expect("accepted");
    }
    settled(&store).await;
    let file = std::fs::read(&path).expect("read");
    faults.set(Fault::Room, true);
    for number in 0..40 {
        put(&store, &format!("more/{number}"), "x").await.expect("the log has room");
    }
    settled(&store).await;
    assert_eq!(store.stats().failed_batches, 0);
    let left = Image::take(&path);
    assert!(left.file.len() == file.len() && left.records().len() >= 139, "the file took nothing over");
    left.put(&copy);
    assert_eq!(contents(&open(&copy)).await, contents(&store).await);
    faults.set(Fault::Room, false);
    drop(store);
    assert_eq!(contents(&open(&path)).await.len(), 139, "it is taken over in the end");
}
