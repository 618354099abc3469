//! An archive of every format ever written, which every later version must read. A new format adds a file, and changes none.

use weir_store::archive::{Reader, verify};
use weir_store::{Memory, Position};

use crate::{export, fill, key};

const FORMAT_1: &[u8] = include_bytes!("golden/format-1.store");
/// The epoch of the store that the golden archive was made from.
const FORMAT_1_EPOCH: u64 = 1_795_984_060_526;

/// Written once per format, with `WEIR_GOLDEN=FILE`.
#[tokio::test]
#[ignore = "writes a golden file for a new format"]
async fn write_golden() {
    let path = std::env::var("WEIR_GOLDEN").expect("WEIR_GOLDEN names the file to write");
    let store = Memory::new();
    fill(&store).await;
    std::fs::write(path, export(&store).await).expect("written");
}

#[test]
fn format_1_is_read_for_ever() {
    let summary = verify(FORMAT_1).expect("it is whole");
    assert_eq!(summary.head.position, Position::new(FORMAT_1_EPOCH, 4));
    let found: Vec<_> =
        Reader::open(FORMAT_1).expect("a head").map(|entry| entry.expect("it is whole")).collect();
    let found = found.iter().map(|(key, entry)| {
        (key.clone(), entry.value.clone(), (entry.create_revision, entry.mod_revision, entry.version))
    });
    let a = (key("a"), b"2".into(), (1, 2, 2));
    let bytes = (key("bytes"), (&[0, 255, 10, 13]).into(), (4, 4, 1));
    let umlaut = (key("käse/"), b"".into(), (3, 3, 1));
    assert_eq!(found.collect::<Vec<_>>(), [a, bytes, umlaut]);
}
